//! Loading: the embedded scenarios, files and folders of a user's own, and errors that name the place.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde_saphyr::Error as Yaml;

use super::change;
use super::file::{Expect, Role, RoleCase, Scenario, Sight, Step};
use crate::fault::table::did_you_mean;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");

/// A scenario and where it came from.
#[derive(Clone, Debug)]
pub struct LoadedScenario {
    /// The scenario.
    pub scenario: Scenario,
    /// Its file; relative to the project's `scenarios/` for an embedded one.
    pub file: PathBuf,
    /// It came with the program.
    pub embedded: bool,
}

/// What is wrong with a scenario file. Reads like `mine.yaml:7:5: unknown key "chnge"; did you mean "change"?`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{}: {message}", file.display(), place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
pub struct LoadError {
    /// The file.
    pub file: PathBuf,
    /// Line and column from 1, where known.
    pub place: Option<(u64, u64)>,
    /// What is wrong, and the nearest valid name.
    pub message: String,
}

/// All scenarios that came with the program, in the order of their phases and ids.
///
/// # Errors
/// None in a released program: a test loads them all.
pub fn embedded() -> Result<Vec<LoadedScenario>, LoadError> {
    let mut out = Vec::new();
    collect(&EMBEDDED, &mut out)?;
    sort(&mut out);
    Ok(out)
}

fn collect(dir: &Dir<'_>, out: &mut Vec<LoadedScenario>) -> Result<(), LoadError> {
    for file in dir.files().filter(|file| is_yaml(file.path())) {
        let name = file.path();
        let text = file.contents_utf8().unwrap_or_default();
        out.push(LoadedScenario { scenario: parse(text, name)?, file: name.to_owned(), embedded: true });
    }
    dir.dirs().try_for_each(|dir| collect(dir, out))
}

/// The scenarios of a file, or of a folder and the folders below it.
///
/// # Errors
/// The first problem, with its place.
pub fn from_path(path: &Path) -> Result<Vec<LoadedScenario>, LoadError> {
    let mut files = Vec::new();
    gather(path, &mut files).map_err(|error| problem(path, None, error.to_string()))?;
    files.sort();
    let mut out = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| problem(&file, None, error.to_string()))?;
        out.push(LoadedScenario { scenario: parse(&text, &file)?, file, embedded: false });
    }
    if out.is_empty() {
        return Err(problem(path, None, "there is no .yaml file".to_owned()));
    }
    sort(&mut out);
    Ok(out)
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() || is_yaml(&path) {
            gather(&path, files)?;
        }
    }
    Ok(())
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml")
}

fn sort(list: &mut [LoadedScenario]) {
    list.sort_by(|a, b| (a.scenario.phase, &a.scenario.id).cmp(&(b.scenario.phase, &b.scenario.id)));
}

/// Reads one scenario from `text`; `file` is named in errors.
///
/// # Errors
/// The first problem, with its place.
pub fn parse(text: &str, file: &Path) -> Result<Scenario, LoadError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let scenario: Scenario =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(file, &error))?;
    check(&scenario).map_err(|(needle, message)| problem(file, find_place(text, &needle), message))?;
    Ok(scenario)
}

/// The scenarios that `selectors` name: an id, its last part, an alias, a phase, or a pattern with `*`.
///
/// # Errors
/// Names the selector that matches nothing, and the nearest id.
pub fn select(all: Vec<LoadedScenario>, selectors: &[String]) -> Result<Vec<LoadedScenario>, String> {
    if selectors.is_empty() {
        return Ok(all);
    }
    for selector in selectors {
        if !all.iter().any(|one| selects(selector, &one.scenario)) {
            let names = all.iter().flat_map(|one| names(&one.scenario)).collect::<Vec<_>>();
            let near = did_you_mean(selector, names.iter().copied());
            return Err(format!("no scenario is called {selector:?}{near}"));
        }
    }
    Ok(all.into_iter().filter(|one| selectors.iter().any(|selector| selects(selector, &one.scenario))).collect())
}

fn names(scenario: &Scenario) -> impl Iterator<Item = &str> {
    let short = scenario.id.split('/').next_back().unwrap_or(&scenario.id);
    [scenario.id.as_str(), short].into_iter().chain(scenario.aliases.iter().map(String::as_str))
}

fn selects(selector: &str, scenario: &Scenario) -> bool {
    let selector = selector.trim_end_matches('/');
    scenario.phase.name() == selector || names(scenario).any(|name| glob(selector, name))
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => match text.strip_prefix(head) {
            None => false,
            Some(tail) => tail.char_indices().map(|(at, _)| &tail[at..]).chain([""]).any(|tail| glob(rest, tail)),
        },
    }
}

fn problem(file: &Path, place: Option<(u64, u64)>, message: String) -> LoadError {
    LoadError { file: file.to_owned(), place, message }
}

/// The YAML reader's error in our words.
fn explain(file: &Path, error: &Yaml) -> LoadError {
    let error = error.without_snippet();
    let place = error.location().map(|at| (at.line(), at.column())).filter(|(line, _)| *line > 0);
    let message = match error {
        Yaml::SerdeUnknownField { field, expected, .. } => {
            let near = did_you_mean(field, expected.iter().copied());
            let near = if near.is_empty() { format!("; valid are {}", expected.join(", ")) } else { near };
            format!("unknown key {field:?}{near}")
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            let near = did_you_mean(variant, expected.iter().copied());
            let near = if near.is_empty() { format!("; valid are {}", expected.join(", ")) } else { near };
            format!("{variant:?} is not known here{near}")
        }
        Yaml::SerdeMissingField { field, .. } => format!("the key {field:?} is missing"),
        Yaml::SerdeInvalidType { unexpected, expected, .. } => format!("{unexpected} where {expected} belongs"),
        Yaml::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} stands here twice"),
        other => {
            // The reader's own words end with the place, which stands in front already.
            let words = other.to_string();
            words.split(" at line ").next().unwrap_or(&words).to_owned()
        }
    };
    problem(file, place, message)
}

/// Where `needle` stands as a key or value; failing that, its last word.
fn find_place(text: &str, needle: &str) -> Option<(u64, u64)> {
    let place_of = |needle: &str| {
        text.lines().enumerate().find_map(|(number, line)| {
            let column = line.find(needle)?;
            Some((number as u64 + 1, column as u64 + 1))
        })
    };
    place_of(needle).or_else(|| place_of(needle.rsplit(' ').next()?))
}

/// What the schema cannot say. An error comes with the text to look for in the file.
fn check(scenario: &Scenario) -> Result<(), (String, String)> {
    let fail = |needle: &str, message: String| Err((needle.to_owned(), message));
    match scenario.id.split_once('/') {
        Some((phase, name)) if phase == scenario.phase.name() && !name.is_empty() => {}
        _ => {
            let wanted = format!("the id {:?} must begin with its phase, {:?}", scenario.id, scenario.phase.name());
            return fail(&scenario.id, wanted);
        }
    }
    let played = scenario.roles.initiator.is_some() || scenario.roles.responder.is_some();
    match (played, scenario.explained.is_some()) {
        (false, false) => return fail("roles", "no role is given, and `explained` does not say why".to_owned()),
        (true, true) => return fail("explained", "it has roles to play, so `explained` is wrong".to_owned()),
        _ => {}
    }
    for role in Role::ALL {
        if let Some(case) = scenario.roles.get(role) {
            check_case(role, case)?;
        }
    }
    Ok(())
}

fn check_case(role: Role, case: &RoleCase) -> Result<(), (String, String)> {
    for (path, op) in &case.change {
        change::check(path, op).map_err(|message| (path.clone(), message))?;
    }
    for fault in &case.faults {
        fault.rule().map_err(|message| (format!("use: {}", fault.name), message))?;
    }
    let step = |step: &Step| step.is_cause() || matches!(step, Step::Path(_));
    if case.change.is_empty() && case.faults.is_empty() && !case.steps.iter().any(step) {
        let message = format!("role {role}: nothing is changed and no fault is ordered, so nothing can be reproduced");
        return Err((role.name().to_owned(), message));
    }
    let starts = |step: &Step| match role {
        Role::Initiator => matches!(step, Step::Establish(_) | Step::Tunnel(_) | Step::Collide(_)),
        Role::Responder => matches!(step, Step::PeerInitiates(_) | Step::Tunnel(_) | Step::Collide(_)),
    };
    if !case.steps.iter().any(starts) {
        let wanted = if role == Role::Initiator { "establish" } else { "peer_initiates" };
        return Err((role.name().to_owned(), format!("role {role} has no step {wanted:?}")));
    }
    let mut expects = case.steps.iter().filter_map(|step| match step {
        Step::Expect(expect) => Some(expect),
        _ => None,
    });
    let mut any = false;
    expects.try_for_each(|expect| {
        any = true;
        check_expect(expect)
    })?;
    if !any {
        return Err((role.name().to_owned(), format!("role {role} expects nothing")));
    }
    Ok(())
}

fn check_expect(expect: &Expect) -> Result<(), (String, String)> {
    if expect.any.is_empty() && expect.all.is_empty() && expect.none.is_empty() {
        return Err(("expect".to_owned(), "an expectation needs any, all or none".to_owned()));
    }
    for sight in expect.any.iter().chain(&expect.all).chain(&expect.none) {
        if is_empty(sight) {
            return Err(("expect".to_owned(), "an empty sight would match everything".to_owned()));
        }
    }
    Ok(())
}

fn is_empty(sight: &Sight) -> bool {
    sight.exchange.is_none() && sight.notify.is_none() && sight.payload.is_none() && sight.event.is_none()
}

/// The JSON Schema of scenario files, for editors.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Scenario)).expect("a schema is JSON")
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
