//! `ikelab report`: prints a finished load run again, or joins the runs of several machines.

use std::path::{Path, PathBuf};

use super::exit::{CliError, Exit};
use super::rundir::RunDir;
use super::term;
use crate::load::files;
use crate::load::merge::{Times, merge};
use crate::load::summary::{LoadResult, RESULT_VERSION};
use crate::report::load_text;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directories of load runs
    #[arg(value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,
    /// Join the shards of one run
    #[arg(long)]
    merge: bool,
    /// --merge: write the joined run to this directory
    #[arg(long, value_name = "DIR", requires = "merge")]
    out: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Reads, joins, prints.
pub fn run(args: &Args) -> Result<Exit, CliError> {
    if args.runs.len() > 1 && !args.merge {
        return Err(CliError::usage("several runs: join the shards of one with --merge"));
    }
    let parts = args.runs.iter().map(|dir| read(dir)).collect::<Result<Vec<_>, _>>()?;
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
    }
    if args.json {
        term::print(&format!("{value}\n"));
    } else {
        term::print(&load_text::render(&result, term::stdout_paint()));
    }
    Ok(match result.exit_code {
        0 => Exit::Met,
        1 => Exit::NotMet,
        _ => Exit::Inconclusive,
    })
}

fn read(dir: &Path) -> Result<(LoadResult, Times), CliError> {
    let get = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|e| CliError::usage(format!("cannot read {}: {e}", path.display())))
    };
    let bytes = get("result.json")?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| CliError::usage(format!("{}/result.json is no JSON: {e}", dir.display())))?;
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
    let result: LoadResult =
        serde_json::from_value(value).map_err(|e| CliError::usage(format!("{}/result.json: {e}", dir.display())))?;
    let mut times = files::read_hlog(&get(files::HLOG)?)
        .map_err(|e| CliError::usage(format!("{}/{}: {e}", dir.display(), files::HLOG)))?;
    // A stage without latencies has no entry.
    times.resize(result.stages.len(), Default::default());
    Ok((result, times))
}
