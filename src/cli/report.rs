//! `ikelab report`: prints a finished run again: a load run, or failure scenarios. Joins the load runs of several machines.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::exit::{CliError, Exit};
use super::run::REPORT;
use super::rundir::RunDir;
use super::term;
use crate::load::files;
use crate::load::merge::{Times, merge};
use crate::load::summary::{LoadResult, RESULT_VERSION};
use crate::report::run_text::RunText;
use crate::report::{compare, html, load_html, load_text, run_junit};
use crate::scenario::result::{self as run_result, RunResult};
use crate::scenario::syslog;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directories of runs
    #[arg(value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,
    /// Join the shards of one load run
    #[arg(long)]
    merge: bool,
    /// --merge: write the joined run to this directory
    #[arg(long, value_name = "DIR", requires = "merge")]
    out: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write the page again, to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Failure scenarios: write JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Failure scenarios: put the lines of the box's own log into the ladders, and write the page again
    #[arg(long, value_name = "FILE")]
    syslog: Vec<PathBuf>,
    /// --syslog: added to the box's clock, for its time zone or its error, like -3600s or 1.5s
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, requires = "syslog")]
    syslog_shift: Option<String>,
    /// Failure scenarios: print only what is different from this run before; exit code 1 if a verdict is
    #[arg(long, value_name = "DIR", conflicts_with_all = ["merge", "json", "syslog"])]
    compare: Option<PathBuf>,
    /// Print every proof, vendor and file
    #[arg(short, long)]
    verbose: bool,
}

/// Reads, joins, prints.
pub fn run(args: &Args) -> Result<Exit, CliError> {
    if args.runs.len() > 1 && !args.merge {
        return Err(CliError::usage("several runs: join the shards of one load run with --merge"));
    }
    let results = args.runs.iter().map(|dir| Ok((dir.as_path(), value(dir)?)));
    let results = results.collect::<Result<Vec<_>, CliError>>()?;
    match results.as_slice() {
        [(dir, one)] if one["command"] == "run" && !args.merge => scenarios(args, dir, one),
        _ if args.junit.is_some() || args.compare.is_some() || !args.syslog.is_empty() => Err(CliError::usage(
            "--junit, --syslog and --compare are for a run of failure scenarios, and there is none",
        )),
        all => load(args, all),
    }
}

/// A run of failure scenarios.
fn read_run(dir: &Path, value: &Value) -> Result<RunResult, CliError> {
    let wrong = |what: String| CliError::usage(format!("{}/result.json: {what}", dir.display()));
    if value["version"] != run_result::RESULT_VERSION {
        let mine = run_result::RESULT_VERSION;
        return Err(wrong(format!("version {} is not {mine}, which this ikelab reads", value["version"])));
    }
    serde_json::from_value(value.clone()).map_err(|e| wrong(e.to_string()))
}

fn scenarios(args: &Args, dir: &Path, value: &Value) -> Result<Exit, CliError> {
    let mut run = read_run(dir, value)?;
    let shift = args.syslog_shift.as_deref().map_or(Ok(0), shift_ms)?;
    for file in &args.syslog {
        let log = std::fs::read(file)
            .map_err(|e| CliError::usage(format!("--syslog: cannot read {}: {e}", file.display())))?;
        let done = syslog::place(&mut run, &String::from_utf8_lossy(&log), shift);
        term::print(&format!(
            "{}: {} lines placed, {} while no scenario ran, {} without a time\n",
            file.display(),
            done.placed,
            done.outside,
            done.undated
        ));
        if done.placed == 0 && done.outside > 0 {
            term::warning("no line fits: is the box's clock in another zone? --syslog-shift moves it");
        }
    }
    let page = args.html.clone().or_else(|| (!args.syslog.is_empty()).then(|| dir.join(REPORT)));
    let files = [(page, html::page(&run)), (args.junit.clone(), run_junit::junit(&run))];
    for (file, text) in files {
        if let Some(file) = file {
            let failed = |e| CliError::environment(format!("cannot write {}: {e}", file.display()));
            std::fs::write(&file, text).map_err(failed)?;
        }
    }
    if let Some(old) = &args.compare {
        let before = self::value(old)?;
        if before["command"] != "run" {
            return Err(CliError::usage(format!("--compare: {} holds no run of failure scenarios", old.display())));
        }
        let compared = compare::compare(&read_run(old, &before)?, &format!("{}/", old.display()), &run);
        term::print(&compared.text);
        return Ok(if compared.verdicts_differ { Exit::NotMet } else { Exit::Met });
    }
    if args.json {
        term::print(&run_junit::json(&run));
    } else {
        let mut text = RunText::new(term::stdout_paint().colour, args.verbose);
        term::print(&text.head(&run, &format!("{}/", dir.display())));
        run.cases.iter().for_each(|case| term::print(&text.case(case)));
        term::print(&text.summary(&run));
    }
    Ok(exit(run.exit_code()))
}

/// Milliseconds of `-3600s`, `1.5s`, `2`.
fn shift_ms(text: &str) -> Result<i64, CliError> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok().filter(|s| s.abs() <= 1e9);
    let wrong = || CliError::usage(format!("--syslog-shift: {text:?} is no number of seconds, like -3600s or 1.5s"));
    Ok((seconds.ok_or_else(wrong)? * 1000.0).round() as i64)
}

fn load(args: &Args, results: &[(&Path, Value)]) -> Result<Exit, CliError> {
    let parts = results.iter().map(|(dir, value)| read(dir, value)).collect::<Result<Vec<_>, _>>()?;
    let (result, times) = if args.merge {
        let (result, times, warnings) = merge(parts).map_err(|e| CliError::usage(format!("--merge: {e}")))?;
        warnings.iter().for_each(|warning| term::warning(warning));
        (result, times)
    } else {
        parts.into_iter().next().expect("clap wants one")
    };
    let value = serde_json::to_value(&result).expect("a result is plain data");
    if let Some(out) = &args.out {
        let dir = RunDir::create(Some(out), crate::time::UnixTime(0))?;
        files::write(dir.path(), &result.stages, &times).map_err(CliError::environment)?;
        dir.write_result(&value)?;
        dir.write(REPORT, load_html::page(&result).as_bytes())?;
    }
    if let Some(file) = &args.html {
        std::fs::write(file, load_html::page(&result))
            .map_err(|e| CliError::environment(format!("cannot write {}: {e}", file.display())))?;
    }
    if args.json {
        term::print(&format!("{value}\n"));
    } else {
        term::print(&load_text::render(&result, term::stdout_paint()));
    }
    Ok(exit(result.exit_code))
}

fn exit(code: u8) -> Exit {
    match code {
        0 => Exit::Met,
        1 => Exit::NotMet,
        _ => Exit::Inconclusive,
    }
}

fn get(dir: &Path, name: &str) -> Result<Vec<u8>, CliError> {
    let path = dir.join(name);
    std::fs::read(&path).map_err(|e| CliError::usage(format!("cannot read {}: {e}", path.display())))
}

fn value(dir: &Path) -> Result<Value, CliError> {
    serde_json::from_slice(&get(dir, "result.json")?)
        .map_err(|e| CliError::usage(format!("{}/result.json is no JSON: {e}", dir.display())))
}

fn read(dir: &Path, value: &Value) -> Result<(LoadResult, Times), CliError> {
    if value["command"] != "load" {
        return Err(CliError::usage(format!("{} holds no load run", dir.display())));
    }
    if value["version"] != RESULT_VERSION {
        return Err(CliError::usage(format!(
            "{}: version {} of the result is not {RESULT_VERSION}, which this ikelab reads",
            dir.display(),
            value["version"]
        )));
    }
    let result: LoadResult = serde_json::from_value(value.clone())
        .map_err(|e| CliError::usage(format!("{}/result.json: {e}", dir.display())))?;
    let mut times = files::read_hlog(&get(dir, files::HLOG)?)
        .map_err(|e| CliError::usage(format!("{}/{}: {e}", dir.display(), files::HLOG)))?;
    // A stage without latencies has no entry.
    times.resize(result.stages.len(), Default::default());
    Ok((result, times))
}
