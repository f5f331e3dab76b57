//! `ikelab failures`: the catalogue to read, and the entry that a pasted log line points to.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::term;
use crate::report::run_text;
use crate::scenario::load;
use crate::scenario::matcher;

/// Arguments of `ikelab failures`.
#[derive(Args, Clone, Debug, Default)]
pub struct FailuresArgs {
    /// An id, its last part or an alias; without it the catalogue is listed.
    pub id: Option<String>,
    /// Find the entry for a log line.
    #[arg(long = "match", value_name = "LINE")]
    pub line: Option<String>,
    /// More entries: a file, or a folder.
    #[arg(long, value_name = "PATH")]
    pub scenarios: Vec<PathBuf>,
}

/// What to do when no entry has the line.
const NO_HIT: &str = "nothing in the catalogue looks like that line; paste the message without time and host name, or read \
                      `ikelab failures`";

/// Runs the command; the exit code.
pub fn run(args: &FailuresArgs) -> u8 {
    match render(args, width()) {
        Ok((text, code)) => {
            // Whoever closes the pipe has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            code
        }
        Err(message) => {
            term::error(&message);
            2
        }
    }
}

fn render(args: &FailuresArgs, width: usize) -> Result<(String, u8), String> {
    let mut all = load::embedded().map_err(|error| error.to_string())?;
    for path in &args.scenarios {
        all.extend(load::from_path(path).map_err(|error| error.to_string())?);
    }
    if let Some(line) = &args.line {
        let hits = matcher::find(line, all.iter().map(|one| &one.scenario));
        return Ok(match hits.as_slice() {
            [] => (format!("{NO_HIT}\n"), 1),
            hits => (run_text::hits(&hits[..hits.len().min(5)]), 0),
        });
    }
    let Some(id) = &args.id else { return Ok((run_text::catalogue(&all, width), 0)) };
    let all_of_them = |error: String| match error.contains("did you mean") {
        true => error,
        false => format!("{error}; `ikelab failures` lists them"),
    };
    let found = load::select(all, std::slice::from_ref(id)).map_err(all_of_them)?;
    let entries: Vec<String> = found.iter().map(|one| run_text::entry(one, width)).collect();
    Ok((entries.join("\n"), 0))
}

/// Columns of the terminal, or 100 for a pipe.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    match std::io::stdout().is_terminal() {
        true => columns.unwrap_or(100).clamp(60, 140),
        false => 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_by_line() {
        let args = |id: Option<&str>, line: Option<&str>| FailuresArgs {
            id: id.map(str::to_owned),
            line: line.map(str::to_owned),
            scenarios: Vec::new(),
        };
        let (text, code) = render(&args(Some("psk-mismatch"), None), 80).expect("it is there");
        assert!(code == 0 && text.starts_with("auth/psk-mismatch\n"));
        assert!(text.lines().filter(|line| line.starts_with("  ") && !line.starts_with("    ")).all(|l| l.len() <= 80));
        let (text, code) = render(&args(None, Some("received notify type AUTHENTICATION_FAILED")), 80).expect("found");
        // The notify alone tells neither from the other.
        assert!(code == 0 && text.contains("auth/psk-mismatch") && text.contains("auth/id-mismatch"), "{text}");
        let (text, code) = render(&args(None, Some("%SYS-5-CONFIG_I: Configured from console")), 80).expect("no error");
        assert!(code == 1 && text.contains("nothing") && text.contains("`ikelab failures`"));
        assert!(render(&args(Some("psk-mismach"), None), 80).expect_err("misspelt").contains("psk-mismatch"));
        let error = render(&args(Some("psk"), None), 80).expect_err("a part of several");
        assert!(error.contains("; did you mean \"auth/psk-"), "{error}");
        let (text, code) = render(&args(None, None), 80).expect("the list");
        assert!(code == 0 && text.contains("\nauth/psk-mismatch ") && text.contains(" (explained)\n"));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
