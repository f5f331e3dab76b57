//! `ikelab faults`: the catalogue of named faults to read; and `--fault` of `connect` and `listen`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::data::Data;
use super::exit::{CliError, Exit};
use super::term;
use crate::engine::Endpoint;
use crate::fault::table::{self, FaultRow, Roles};
use crate::fault::{FaultPlan, FiringLog, Seam};
use crate::report::paint::{Paint, Tone, wrap};
use crate::seed::PlanSeed;

/// Version of what `--json` prints.
const VERSION: u32 = 1;

/// Arguments of `ikelab faults`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// One fault; without it all are listed, by the seam at which they act
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `--fault` of the commands that speak IKE.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct FaultArgs {
    /// Misbehave so, may be repeated: NAME, NAME=VALUE or NAME=ARG=VALUE,...; `ikelab faults` lists them
    #[arg(long = "fault", value_name = "NAME[=ARG...]")]
    faults: Vec<String>,
}

impl FaultArgs {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The plan that the flags ask for, if any.
    pub fn plan(&self, plan_seed: &str) -> Result<Option<FaultPlan>, CliError> {
        let rules = self.faults.iter().map(|text| table::parse(text));
        let rules = rules.collect::<Result<Vec<_>, _>>().map_err(|e| CliError::usage(format!("--fault: {e}")))?;
        Ok((!rules.is_empty()).then(|| FaultPlan::new(rules, &PlanSeed::from_text(plan_seed))))
    }
}

/// Installs a plan in engine and data plane; what it does can be asked afterwards.
pub fn bend(plan: FaultPlan, plan_seed: &str, endpoint: &mut Endpoint, data: &mut Data) -> Fired {
    let fired = Fired { log: plan.log(), names: plan.names() };
    if let Some(esp) = plan.for_esp(&PlanSeed::from_text(plan_seed)) {
        data.set_tamper(Box::new(esp));
    }
    endpoint.set_tamper(Box::new(plan));
    fired
}

/// What the faults of a run did.
pub struct Fired {
    log: FiringLog,
    names: Vec<String>,
}

impl Fired {
    /// A line for each fault, also for one that did nothing.
    pub fn lines(&self) -> Vec<String> {
        let line = |name: &String| match self.log.effective(name) {
            0 => format!("fault {name} never had an effect\n"),
            count => format!("fault {name} had its effect {}\n", times(count)),
        };
        self.names.iter().map(line).collect()
    }

    /// The same for `result.json`, in the form that `ikelab run` gives to a case's faults: `fired` counts effects on the
    /// wire.
    pub fn json(&self) -> Value {
        self.names.iter().map(|name| json!({"name": name, "fired": self.log.effective(name)})).collect()
    }
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit, CliError> {
    let row = args.name.as_deref().map(table::find).transpose().map_err(|error| {
        let more = if error.contains("did you mean") { "" } else { "; `ikelab faults` lists them" };
        CliError::usage(error + more)
    })?;
    let text = match (row, args.json) {
        (Some(row), false) => page(row, term::stdout_paint()),
        (None, false) => list(term::stdout_paint()),
        (row, true) => format!("{:#}\n", to_json(row)),
    };
    term::print(&text);
    Ok(Exit::Met)
}

fn seams() -> BTreeSet<Seam> {
    table::all().map(FaultRow::seam).collect()
}

fn list(paint: Paint) -> String {
    let widest = table::all().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!("{} named faults. `ikelab faults NAME` tells all about one.\n", table::all().count());
    for seam in seams() {
        text += &format!("\n{}: {}\n", paint.tone(Tone::Strong, seam.name()), seam.about());
        for row in table::all().filter(|row| row.seam() == seam) {
            let room = paint.width.map(|columns| columns.saturating_sub(widest + 4).max(30));
            let indent = format!("\n{}", " ".repeat(widest + 4));
            text += &format!("  {:widest$}  {}\n", row.name, wrap(row.help, room).join(&indent));
        }
    }
    text
}

fn page(row: &FaultRow, paint: Paint) -> String {
    let room = paint.width.map(|columns| columns.saturating_sub(11).max(30));
    let line = |label: &str, text: &str| {
        let text = wrap(text, room).join("\n           ");
        format!("{}{}{text}\n", paint.tone(Tone::Strong, label), " ".repeat(11 - label.len()))
    };
    let mut text = format!("{}\n", paint.tone(Tone::Strong, row.name));
    text += &line("Does", row.help);
    text += &line("The peer", row.peer);
    text += &line("RFC", row.rfc);
    text += &line("Seam", &format!("{}: {}", row.seam().name(), row.seam().about()));
    text += &line("Section", table::phase_of(row).title());
    text += &line("As", row.roles.words());
    for arg in row.args {
        let default = arg.default.map_or_else(|| "must be given".to_owned(), |text| format!("default {text}"));
        text += &line("Argument", &format!("{} ({}): {}; {default}", arg.name, arg.unit, arg.help));
    }
    text += &line("Scenario", &format!("faults: [{}]", row.example()));
    text += &line("Command", &command(row));
    text
}

/// A command that orders the fault, with samples for what must be given: of the end that can play it.
pub(super) fn command(row: &FaultRow) -> String {
    let given: Vec<String> = row.sample().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let order = if given.is_empty() { row.name.to_owned() } else { format!("{}={}", row.name, given.join(",")) };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:=/@+%".contains(c);
    let order = if order.chars().all(plain) { order } else { format!("'{order}'") };
    let end = if row.roles == Roles::Responder { "listen" } else { "connect" };
    format!("ikelab {end} -c FILE --fault {order}")
}

fn to_json(only: Option<&FaultRow>) -> Value {
    let one = |row: &FaultRow| {
        let args: Vec<Value> = row
            .args
            .iter()
            .map(|arg| json!({"name": arg.name, "unit": arg.unit, "help": arg.help, "default": arg.default}))
            .collect();
        json!({
            "name": row.name,
            "section": table::phase_of(row).name(),
            "seam": row.seam().name(),
            "as": row.roles.words(),
            "does": row.help,
            "peer": row.peer,
            "rfc": row.rfc,
            "arguments": args,
            "example": row.example(),
        })
    };
    let list: Vec<Value> = match only {
        Some(row) => vec![one(row)],
        None => table::all().map(one).collect(),
    };
    json!({"version": VERSION, "faults": list})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list() {
        let text = list(Paint::PLAIN);
        assert!(!text.contains('\x1b'), "no colours in a pipe");
        assert!(table::all().all(|row| text.contains(row.name)));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_page() {
        let pages =
            ["move-payload", "set-field", "drop-sent"].map(|name| page(table::find(name).unwrap(), Paint::PLAIN));
        insta::assert_snapshot!(pages.join("\n"));
        let narrow = page(table::find("demand-groups-in-turn").unwrap(), Paint { colour: false, width: Some(60) });
        assert!(narrow.lines().filter(|l| !l.starts_with("Command")).all(|line| line.len() <= 62), "{narrow}");
        let coloured = page(table::find("drop-sent").unwrap(), Paint { colour: true, width: None });
        assert!(coloured.contains('\x1b'));
    }

    #[test]
    fn as_json() {
        let all = to_json(None);
        assert_eq!(all["version"], VERSION);
        assert_eq!(all["faults"].as_array().map(Vec::len), Some(table::all().count()));
        insta::assert_snapshot!(format!("{:#}", to_json(Some(table::find("set-field").unwrap()))));
    }

    #[test]
    fn flags_become_a_plan() {
        let args = |list: &[&str]| FaultArgs { faults: list.iter().map(|text| (*text).to_owned()).collect() };
        assert!(args(&[]).plan("s").unwrap().is_none());
        assert!(args(&["drop-sent", "esp-drop=times=3"]).plan("s").unwrap().is_some());
        let error = args(&["drop-snt"]).plan("s").err().map(|error| error.message).unwrap_or_default();
        assert!(error.starts_with("--fault: ") && error.contains("drop-sent"), "{error}");
    }
}
