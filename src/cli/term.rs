//! Standard output and standard error.

use std::io::{IsTerminal, Write};

use crate::report::paint::{Paint, Tone};

/// How standard output is to look: colours only on a terminal, without NO_COLOR; its width if it is one.
pub fn stdout_paint() -> Paint {
    let terminal = std::io::stdout().is_terminal();
    Paint {
        colour: terminal && colours_allowed(),
        width: terminal.then(terminal_size::terminal_size).flatten().map(|(w, _)| usize::from(w.0)),
    }
}

fn colours_allowed() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v: std::ffi::OsString| !v.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes to standard output. A reader that went away is no error of ours.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes `error: ...` to standard error.
pub fn error(message: &str) {
    labelled("error", Tone::Bad, message);
}

/// Writes `warning: ...` to standard error.
pub fn warning(message: &str) {
    labelled("warning", Tone::Warn, message);
}

fn labelled(label: &str, tone: Tone, message: &str) {
    let mut err = std::io::stderr().lock();
    let paint = Paint { colour: err.is_terminal() && colours_allowed(), width: None };
    let _ = writeln!(err, "{}: {message}", paint.tone(tone, label));
}
