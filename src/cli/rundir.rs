//! The directory of a run.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::exit::CliError;
use crate::time::{UnixTime, utc_text};

/// Version of the layout of `result.json`; counts up when a reader must change.
pub const RESULT_VERSION: u32 = 1;

/// A directory that holds everything of one run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Creates `wanted`, or `runs/<UTC time>` below the current directory. An existing default directory is never
    /// written to; a wanted one may exist, but not hold a run.
    pub fn create(wanted: Option<&Path>, epoch: UnixTime) -> Result<RunDir, CliError> {
        let failed = |path: &Path, e: std::io::Error| {
            CliError::environment(format!("cannot create {}: {}", path.display(), words(&e)))
        };
        if let Some(path) = wanted {
            std::fs::create_dir_all(path).map_err(|e| failed(path, e))?;
            let entries = std::fs::read_dir(path).map_err(|e| failed(path, e))?;
            if entries.flatten().any(|entry| is_of_a_run(Path::new(&entry.file_name()))) {
                return Err(CliError::usage(format!("--out: {} holds a run already", path.display())));
            }
            return Ok(RunDir(path.to_owned()));
        }
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs).map_err(|e| failed(runs, e))?;
        // 2026-11-21T02:21:36.123Z without what file systems and shells dislike.
        let stamp = utc_text(epoch.0)[..19].replace(':', "-");
        for n in 1..1000 {
            let path = runs.join(if n == 1 { stamp.clone() } else { format!("{stamp}.{n}") });
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(RunDir(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(&path, e)),
            }
        }
        Err(CliError::environment(format!("runs/{stamp} and 999 others exist")))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        let path = self.file(name);
        std::fs::write(&path, bytes)
            .map_err(|e| CliError::environment(format!("cannot write {}: {}", path.display(), words(&e))))
    }

    /// Writes `result.json`.
    pub fn write_result(&self, value: &Value) -> Result<(), CliError> {
        let path = self.file("result.json");
        let text = serde_json::to_string_pretty(value).expect("a JSON value prints");
        std::fs::write(&path, text + "\n")
            .map_err(|e| CliError::environment(format!("cannot write {}: {}", path.display(), words(&e))))
    }
}

/// What every `result.json` begins with.
pub fn head(command: &str, plan_seed: &str, epoch: UnixTime, keys_exported: bool) -> Value {
    json!({
        "version": RESULT_VERSION,
        "tool": format!("ikelab {}", env!("CARGO_PKG_VERSION")),
        "command": command,
        "plan_seed": plan_seed,
        "started": utc_text(epoch.0),
        "security": {
            "keys_exported": keys_exported,
            "key_seed_from_os": true,
        },
    })
}

/// Whether a file is one that every run leaves, even one that was cut short.
fn is_of_a_run(name: &Path) -> bool {
    name == Path::new("result.json") || name.extension().is_some_and(|ext| ext == "pcapng")
}

/// An I/O error without its number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
