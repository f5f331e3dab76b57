//! `ikelab run` for people: a line per case as it ends, what a box will show, and a summary. Plain lines only, so that a
//! pipe, a CI log and a terminal hold the same text.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style as Ansi};

use crate::scenario::file::{Evidence, Role, Scenario, Who};
use crate::scenario::load::LoadedScenario;
use crate::scenario::matcher::Hit;
use crate::scenario::persona::PeerLine;
use crate::scenario::result::{CaseResult, RunResult};
use crate::scenario::runner::PEER_LOG;
use crate::scenario::verdict::Verdict;
use crate::vendor::commands;

/// Stands once before what is to be typed.
pub(super) const FIX_NOTE: &str = "Names, numbers and addresses are samples. A policy, proposal or profile may serve other \
                                   tunnels, and a line replaces what it held or adds to it: look first what is there, and \
                                   keep the values that others need.";
/// What an FTD has, where only the ASA's lines are written: its engine is the same.
pub(super) const FTD_NOTE: &str = "the ASA's settings, entered in FMC or FDM and deployed; show, clear and debug in system \
                                   support diagnostic-cli";

/// Which of [`FIX_NOTE`] and [`FTD_NOTE`] belong to fixes, by the vendors' names in files: neither, where there is nothing
/// to type.
pub(super) fn notes_for<'a>(fixes: impl Iterator<Item = (&'a str, &'a [String])>) -> (bool, bool) {
    let (mut typed, mut asa, mut ftd) = (false, false, false);
    for (vendor, lines) in fixes {
        let commands = lines.iter().any(|line| !commands::is_advice(vendor, line));
        typed |= commands;
        asa |= commands && vendor == "cisco-asa";
        ftd |= vendor == "cisco-ftd";
    }
    (typed, asa && !ftd)
}

/// Width of the verdict's column.
const VERDICT: usize = 12;
/// So many lines of a persona's log are shown without `-v`.
const LOG_LINES: usize = 4;
/// Width of the column of id and role.
const NAME: usize = 42;

/// Prints a run.
#[derive(Clone, Debug)]
pub struct RunText {
    color: bool,
    verbose: bool,
    phase: Option<&'static str>,
}

impl RunText {
    /// With or without colours; `verbose` prints proofs, every vendor and the files.
    pub fn new(color: bool, verbose: bool) -> Self {
        RunText { color, verbose, phase: None }
    }

    fn paint(&self, style: Ansi, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The lines before everything: who is tested, with what, where the files go.
    pub fn head(&self, run: &RunResult, out: &str) -> String {
        let mut text = format!(
            "Peer {}   baseline {}   plan seed {}   out {out}\n",
            run.peer.address, run.baseline, run.plan_seed
        );
        for note in &run.peer.notes {
            writeln!(text, "     {note}").expect("a String takes any text");
        }
        if run.security.keys_exported {
            let warning = "KEYS ARE WRITTEN to the run directory: whoever has it can decrypt the captures";
            writeln!(text, "     {}", self.paint(AnsiColor::Red.on_default().bold(), warning))
                .expect("a String takes any text");
        }
        text
    }

    /// The lines of a case, with a heading if a new phase begins.
    pub fn case(&mut self, case: &CaseResult) -> String {
        let mut text = String::new();
        let phase = case.phase.map(|phase| phase.name());
        if phase.is_some() && phase != self.phase {
            writeln!(text, "{}", self.paint(Ansi::new().bold(), phase.unwrap_or_default()))
                .expect("a String takes any text");
            self.phase = phase;
        }
        let name = match case.phase {
            Some(_) => format!("{} {}", case.id, case.role),
            None => case.id.clone(),
        };
        let verdict = format!("{:>VERDICT$}", case.verdict.label());
        let verdict = self.paint(colour(case.verdict), &verdict);
        let unit = if case.virtual_time { 'v' } else { 's' };
        let line = format!("{verdict} [{:>7.3}{unit}] {name:<NAME$} {}", case.seconds, case.detail);
        writeln!(text, "{}", line.trim_end()).expect("a String takes any text");
        let mut more = |label: &str, value: &str| {
            writeln!(text, "{:14}{label:<14}{value}", "").expect("a String takes any text");
        };
        if let Some(expected) = &case.expected {
            more("expected", expected);
        }
        if let Some(actual) = &case.actual {
            more("actual", actual);
        }
        if let Some(again) = &case.again {
            more("again", again);
        }
        if self.verbose {
            for proof in &case.proofs {
                let packet = proof.packet.map(|n| format!(", packet {n}")).unwrap_or_default();
                more(
                    "changed",
                    &format!("{}: {} instead of {} ({}{packet})", proof.path, proof.sent, proof.baseline, proof.field),
                );
            }
            for fault in &case.faults {
                more("fault", &format!("{} fired {}x", fault.name, fault.fired));
            }
            if let Some(who) = case.detects {
                more("detected by", if who == Who::Us { "us" } else { "the peer" });
            }
        }
        if case.verdict == Verdict::Reproduced {
            let shown =
                case.you_will_see.iter().filter(|line| self.verbose || MAIN_VENDORS.contains(&line.vendor.as_str()));
            for (n, line) in shown.enumerate() {
                let label = if n == 0 { "you will see" } else { "" };
                more(label, &format!("{:<8}{}  ({})", line.vendor, line.line, line.evidence.name()));
            }
        }
        // The same line again and again is one line.
        let lines: Vec<&[PeerLine]> = case.peer_log.chunk_by(|a, b| a.text == b.text).collect();
        // Instead of the last one it would be said that it is missing.
        let shown = if self.verbose || lines.len() == LOG_LINES + 1 { lines.len() } else { LOG_LINES };
        for (n, same) in lines.iter().take(shown).enumerate() {
            let label = if n == 0 { "it logs" } else { "" };
            let times = if same.len() > 1 { format!(", {} times", same.len()) } else { String::new() };
            more(label, &format!("{}  ({}{times})", same[0].text, same[0].basis));
        }
        if lines.len() > shown {
            let left: usize = lines[shown..].iter().map(|same| same.len()).sum();
            more("", &format!("and {left} lines more, with -v and in {PEER_LOG}"));
        }
        if self.verbose
            && let Some(capture) = &case.capture
        {
            more("capture", capture);
        }
        text
    }

    /// The last line.
    pub fn summary(&self, run: &RunResult) -> String {
        let s = &run.summary;
        let mut parts = vec![format!("{} reproduced", s.reproduced)];
        for (n, word) in [
            (s.not_seen, "not seen"),
            (s.inconclusive, "inconclusive"),
            (s.unsupported, "unsupported"),
            (s.differs, "not this persona"),
        ] {
            if n > 0 {
                parts.push(format!("{n} {word}"));
            }
        }
        if s.explained > 0 {
            parts.push(format!("{} explained, nothing to play", s.explained));
        }
        if s.sanity_failed > 0 {
            parts.push(format!("{} honest tunnels failed", s.sanity_failed));
        }
        if let Some(why) = &run.stopped
            && s.run < s.chosen
        {
            parts.push(format!("{} not run ({why})", s.chosen - s.run));
        }
        let label = format!("{:>VERDICT$}", "Summary");
        format!("{label} [{:>7.3}s] {}/{} run: {}\n", run.seconds, s.run, s.chosen, parts.join(", "))
    }
}

/// The vendors that are named without `-v`.
const MAIN_VENDORS: &[&str] = &["IOS-XE", "ASA", "PAN-OS"];

fn colour(verdict: Verdict) -> Ansi {
    match verdict {
        Verdict::Pass | Verdict::Reproduced => AnsiColor::Green.on_default(),
        Verdict::NotSeen => AnsiColor::Red.on_default(),
        Verdict::Inconclusive => AnsiColor::Yellow.on_default(),
        Verdict::Unsupported | Verdict::Differs => AnsiColor::BrightBlack.on_default(),
    }
}

/// `ikelab run --list`: a line per scenario with its roles and who detects.
pub fn list(scenarios: &[LoadedScenario]) -> String {
    let mut text = String::new();
    let widest = |of: fn(&Scenario) -> &str| scenarios.iter().map(|one| of(&one.scenario).chars().count()).max();
    let (id, title) = (widest(|s| s.id.as_str()).unwrap_or(0), widest(|s| s.title.as_str()).unwrap_or(0));
    for one in scenarios {
        let scenario = &one.scenario;
        let roles: Vec<String> = Role::ALL
            .iter()
            .filter_map(|role| {
                let case = scenario.roles.get(*role)?;
                let who = if case.detects == Who::Us { "we detect" } else { "the peer detects" };
                Some(format!("{role} ({who})"))
            })
            .collect();
        let roles = if scenario.explained.is_some() { "explained".to_owned() } else { roles.join(", ") };
        writeln!(text, "{:<id$}  {:<title$}  {roles}", scenario.id, scenario.title).expect("a String takes any text");
    }
    text
}

/// `ikelab failures`: what there is to read, by phase, in a terminal of `width` columns.
pub fn catalogue(scenarios: &[LoadedScenario], width: usize) -> String {
    let head = format!(
        "{} documented failures. `ikelab failures ID` tells all about one, `ikelab failures --match LINE` finds the one \
         behind a log line, `ikelab run ID` plays it.",
        scenarios.len()
    );
    let mut text = wrap(&head, width, 0);
    let widest = scenarios.iter().map(|one| one.scenario.id.chars().count()).max().unwrap_or(0);
    let mut phase = None;
    for Scenario { id, title, phase: of, explained, .. } in scenarios.iter().map(|one| &one.scenario) {
        if phase.replace(of) != Some(of) {
            text.push('\n');
        }
        let mark = if explained.is_some() { " (explained)" } else { "" };
        let title = wrap(&format!("{title}{mark}"), width, widest + 2);
        writeln!(text, "{id:<widest$}{}", title.trim_end().get(widest..).unwrap_or_default())
            .expect("a String takes any text");
    }
    text
}

/// `ikelab failures ID`: a catalogue entry to read in a terminal of `width` columns.
pub fn entry(one: &LoadedScenario, width: usize) -> String {
    let s = &one.scenario;
    let mut text = format!("{}\n{}\n", s.id, s.title);
    let mut section = |name: &str, body: &str| {
        write!(text, "\n{name}\n{body}").expect("a String takes any text");
    };
    section("What happens", &wrap(&s.story, width, 2));
    section("On the wire", &wrap(&s.mechanics, width, 2));
    let mut body = String::new();
    if let Some(explained) = &s.explained {
        body.push_str(&wrap(&format!("nothing to play: {}", explained.because), width, 2));
        for other in &explained.looks_like {
            writeln!(body, "  looks the same from outside: ikelab run {other}").expect("a String takes any text");
        }
    }
    for role in Role::ALL {
        if let Some(case) = s.roles.get(role) {
            let who = if case.detects == Who::Us { "we detect it" } else { "the peer detects it" };
            body.push_str(&wrap(&format!("{role}: {} ({who})", case.plays), width, 2));
        }
    }
    if let Some(why) = &s.roles.only_one_because {
        body.push_str(&wrap(&format!("only one role: {why}"), width, 2));
    }
    if s.explained.is_none() {
        writeln!(body, "  run it: ikelab run {}", s.id).expect("a String takes any text");
    }
    section("How it is reproduced", &body);
    section("What you will see", &symptoms(s, width));
    let (typed, ftd) = notes_for(s.fix.iter().map(|(vendor, lines)| (vendor.as_str(), lines.as_slice())));
    let mut body = if typed { wrap(FIX_NOTE, width, 2) } else { String::new() };
    if s.fix.values().flatten().any(|line| commands::is_for_every_tunnel(line)) {
        body.push_str(&wrap("[every tunnel] marks a setting of the whole box.", width, 2));
    }
    let mut fixes: Vec<_> = s.fix.iter().collect();
    fixes.sort_by_key(|(vendor, _)| vendor.order());
    for (vendor, lines) in fixes {
        let known = |line: &String| commands::evidence(vendor.as_str(), line);
        let from = if lines.iter().any(|line| known(line) == Some(Evidence::Observed)) {
            " (commands as in published configurations; we tried them on no box)"
        } else {
            ""
        };
        writeln!(body, "  {}{from}", vendor.label()).expect("a String takes any text");
        for line in lines {
            if commands::is_advice(vendor.as_str(), line) {
                body.push_str(&in_our_words(line, width));
                continue;
            }
            let tags: Vec<&str> = [
                (known(line) == Some(Evidence::Inferred), "[inferred]"),
                (commands::is_for_every_tunnel(line), "[every tunnel]"),
            ]
            .into_iter()
            .filter_map(|(is, tag)| is.then_some(tag))
            .collect();
            writeln!(body, "{}", format!("      {line}  {}", tags.join(" ")).trim_end())
                .expect("a String takes any text");
        }
        if vendor.as_str() == "cisco-asa" && ftd {
            body.push_str("  FTD\n");
            body.push_str(&in_our_words(FTD_NOTE, width));
        }
    }
    section("Fix", &body);
    if !s.wrong_claims.is_empty() {
        let claims: Vec<String> = s
            .wrong_claims
            .iter()
            .map(|c| wrap(&format!("\"{}\" ({}). Wrong: {}", c.claim.trim(), c.source, c.truth.trim()), width, 2))
            .collect();
        section("What is often said and wrong", &claims.join(""));
    }
    let sources: Vec<String> = s.sources.iter().map(|source| wrap(source, width, 2)).collect();
    section("Sources", &sources.join(""));
    text
}

fn symptoms(s: &Scenario, width: usize) -> String {
    let mut body = String::new();
    let mut vendors: Vec<_> = s.symptoms.iter().collect();
    vendors.sort_by_key(|(vendor, _)| vendor.order());
    for (vendor, list) in vendors {
        for symptom in list.iter() {
            let role = symptom.role.map(|role| format!(" as {role}")).unwrap_or_default();
            writeln!(body, "  {}{role} ({})", vendor.label(), symptom.evidence.name())
                .expect("a String takes any text");
            for line in symptom.log.iter().chain(&symptom.show) {
                writeln!(body, "      {line}").expect("a String takes any text");
            }
            if let Some(note) = &symptom.note {
                body.push_str(&in_our_words(note, width));
            }
            let sources = symptom.sources(vendor.as_str());
            if !sources.is_empty() {
                let titles: Vec<&str> = sources.iter().map(|source| source.title()).collect();
                body.push_str(&wrap(&format!("from: {}", titles.join("; ")), width, 6));
            }
        }
    }
    body
}

/// `ikelab failures --match`: the entries that a pasted line points to.
pub fn hits(hits: &[Hit]) -> String {
    let mut text = String::new();
    for hit in hits {
        writeln!(text, "{:<30} {}", hit.id, hit.title).expect("a String takes any text");
        let source = hit.sources.first().map_or(String::new(), |source| format!(", {}", source.title()));
        writeln!(text, "  {} ({}{source}): {}", hit.vendor, hit.evidence.name(), hit.line)
            .expect("a String takes any text");
    }
    text
}

/// What stands beside lines of a box and is none: marked, so that nobody looks for it on the box or types it there.
fn in_our_words(text: &str, width: usize) -> String {
    wrap(text, width, 8).replacen("        ", "      - ", 1)
}

/// `text` in lines of at most `width` columns, indented.
fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > width {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out.push('\n');
    out
}

#[cfg(test)]
#[path = "run_text_tests.rs"]
mod tests;
