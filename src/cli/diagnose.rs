//! `ikelab diagnose`: what went wrong, from the transcripts of a run that is over.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::{CliError, Exit};
use super::live::finding_json;
use super::term;
use crate::config;
use crate::diagnose::transcript::{self, Ours};
use crate::diagnose::{Finding, diagnose};
use crate::engine::{ConnectionSpec, IdMatch, ProposalSpec};
use crate::report::diagnosis;
use crate::report::paint::Paint;
use crate::vendor::persona::Persona;
use crate::wire::Proposal;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run directories, or transcripts: files of JSON lines
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The connection file of the run; without it, what the transcript shows of it has to do
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show where to look on this box only
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// Print findings as JSON lines
    #[arg(long)]
    json: bool,
}

/// Reads, explains, prints.
pub fn run(args: &Args) -> Result<Exit, CliError> {
    let vendor = match args.vendor.as_deref() {
        None => None,
        Some(name) => Some(config::vendor(name).map_err(|e| CliError::usage(format!("--vendor: {e}")))?),
    };
    let mut loaded = args.config.as_deref().map(config::load).transpose()?;
    loaded.iter_mut().for_each(Persona::complete);
    let vendor = vendor.or(loaded.as_ref().and_then(|l| l.peer.vendor));
    let mut findings: Vec<Finding> = Vec::new();
    for path in &args.paths {
        let files = transcripts(path)?;
        let mut texts = Vec::new();
        for file in &files {
            let text = std::fs::read_to_string(file)
                .map_err(|e| CliError::usage(format!("cannot read {}: {e}", file.display())))?;
            transcript::read(&text).map_err(|e| CliError::usage(format!("{}: {e}", file.display())))?;
            texts.push(text);
        }
        // Together: an outage that comes again spans the IKE SAs that follow one another, each of which has its own file.
        let (past, ours) = transcript::read(&transcript::merged(&texts)).map_err(CliError::usage)?;
        let spec = match &loaded {
            Some(loaded) => loaded.spec.clone(),
            None => stand_in(&ours),
        };
        for past in past {
            let finding = diagnose(&past.failed, &past.facts, &spec, vendor);
            let name = format!("-sa-{}.", past.sa);
            let file = files.iter().find(|f| f.to_string_lossy().contains(&name)).unwrap_or(path);
            if args.json {
                let mut line = json!({"file": file.display().to_string(), "t": past.at, "sa": past.sa});
                line["finding"] = finding_json(&finding);
                term::print(&format!("{line}\n"));
            } else {
                term::print(&format!("{:.3} s, IKE SA {}\n", past.at, past.sa));
                term::print(&format!("{}\n", diagnosis::render(&finding, term::stdout_paint())));
            }
            findings.push(finding);
        }
    }
    if findings.is_empty() {
        if !args.json {
            term::print("no failure is in there\n");
        }
        return Ok(Exit::Met);
    }
    Ok(Exit::NotMet)
}

/// The first failure in a directory of transcripts, explained, for a run that has just been played; empty if there is none.
pub(super) fn first_failure(dir: &Path, paint: Paint) -> String {
    let Ok(files) = transcripts(dir) else { return String::new() };
    let texts: Vec<String> = files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    if let Ok((past, ours)) = transcript::read(&transcript::merged(&texts))
        && let Some(past) = past.first()
    {
        return diagnosis::render(&diagnose(&past.failed, &past.facts, &stand_in(&ours), None), paint);
    }
    String::new()
}

/// The transcripts that a path stands for.
fn transcripts(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let inner = path.join("transcript");
    let dir = if inner.is_dir() { inner } else { path.to_owned() };
    let entries =
        std::fs::read_dir(&dir).map_err(|e| CliError::usage(format!("cannot read {}: {e}", dir.display())))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::usage(format!("{} holds no transcript (*.jsonl)", path.display())));
    }
    Ok(files)
}

/// A connection with what a transcript shows of ours, and nothing that it does not.
fn stand_in(ours: &Ours) -> ConnectionSpec {
    const PLAIN: &str = "version: 1\nname: transcript\nremote: {address: 192.0.2.1, id: any}\nauth: {local: {psk_env: NONE}, remote: {psk_env: NONE}}\n\
                         ike: {proposals: [aes256-sha256-modp2048]}\n\
                         children: [{name: c, proposals: [aes256-sha256], local_ts: [0.0.0.0/0], remote_ts: [0.0.0.0/0]}]\n";
    let nothing = |_: &str| Some("nothing that is used".to_owned());
    let mut spec = config::parse(PLAIN, "transcript.yaml", Path::new(""), &nothing).expect("a plain file").spec;
    let specs =
        |list: &[Proposal]| list.iter().map(|p| ProposalSpec { transforms: p.transforms.clone() }).collect::<Vec<_>>();
    spec.remote_id = IdMatch::Any;
    spec.remote_addr = ours.peer;
    spec.ike_proposals = specs(&ours.ike);
    if let Some(id) = &ours.id {
        spec.local_id = id.clone();
    }
    if let Some(child) = spec.children.first_mut() {
        child.proposals = specs(&ours.child);
        if let Some((i, r)) = &ours.selectors {
            (child.local_ts, child.remote_ts) = (i.clone(), r.clone());
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_stands_for_a_connection_file() {
        let spec = stand_in(&Ours::default());
        assert!(spec.ike_proposals.is_empty() && spec.remote_addr.is_none() && spec.children.len() == 1);
    }
}
