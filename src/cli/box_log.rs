//! What the box that `ikelab listen --threads` plays would log: lines of all its threads, in one file and on the screen.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::{Value, json};

use super::exit::CliError;
use super::rundir::RunDir;
use crate::engine::ConnectionSpec;
use crate::load::answer::{Heard, Scribe};
use crate::report::paint::{Paint, Tone};
use crate::scenario::persona::PeerLine;
use crate::scenario::runner::PEER_LOG;
use crate::time::Instant;
use crate::vendor::persona::Persona;
use crate::vendor::persona::log::{LogLine, LogWriter};

/// Lines that may wait to be written; no thread waits for the disk.
const QUEUE: usize = 65_536;
/// Lines shown in a second; a load makes more than anybody reads.
const SHOWN: u32 = 20;
const SECOND: u64 = 1_000_000_000;

type Line = (Instant, LogLine);

/// The log of one box.
pub struct BoxLog {
    lines: Receiver<Line>,
    lost: Arc<AtomicU64>,
    file: BufWriter<File>,
    written: u64,
    /// The second that is shown, how many lines of it were, and how many were not.
    shown: (u64, u32, u64),
    paint: Paint,
}

/// Lines that are on their way, before there is a file for them.
pub struct Lines {
    lines: Receiver<Line>,
    lost: Arc<AtomicU64>,
}

/// A writer for each thread of a box that plays `persona` with `spec`, and where their lines come out. None for one that has
/// no log.
pub fn scribes(persona: &Persona, spec: &ConnectionSpec, threads: u8) -> Option<(Vec<Scribe>, Lines)> {
    persona.vendor?;
    let first = LogWriter::new(persona, Arc::new(spec.clone()));
    let (to, lines) = sync_channel(QUEUE);
    let lost = Arc::<AtomicU64>::default();
    let scribes = (0..threads).map(|_| scribe(first.beside(), to.clone(), Arc::clone(&lost))).collect();
    Some((scribes, Lines { lines, lost }))
}

fn scribe(mut log: LogWriter, to: SyncSender<Line>, lost: Arc<AtomicU64>) -> Scribe {
    Scribe::new(move |now, heard| {
        let lines = match heard {
            Heard::Event(sa, event) => log.event(sa, event),
            Heard::Capped { outbound } => log.capped(outbound),
        };
        for line in lines {
            if to.try_send((now, line)).is_err() {
                lost.fetch_add(1, Relaxed);
            }
        }
    })
}

impl BoxLog {
    /// Writes what comes to a file in the run directory.
    pub fn open(lines: Lines, dir: &RunDir, paint: Paint) -> Result<BoxLog, CliError> {
        let path = dir.file(PEER_LOG);
        let file =
            File::create(&path).map_err(|e| CliError::environment(format!("cannot create {}: {e}", path.display())))?;
        let Lines { lines, lost } = lines;
        Ok(BoxLog { lines, lost, file: BufWriter::new(file), written: 0, shown: (0, 0, 0), paint })
    }

    /// Writes what has come so far, and shows the first lines of each second.
    pub fn take(&mut self, now: Instant, say: &dyn Fn(&str)) -> Result<(), CliError> {
        let mut lines: Vec<Line> = self.lines.try_iter().collect();
        // Each thread's come in order, but not one thread's after another's.
        lines.sort_by_key(|(at, _)| *at);
        for (at, line) in lines {
            let line = PeerLine { at: at.as_secs_f64(), text: line.text, basis: line.basis };
            writeln!(self.file, "{line}").map_err(CliError::environment)?;
            self.written += 1;
            if at.0 / SECOND > self.shown.0 {
                self.show_hidden(say);
                self.shown.0 = at.0 / SECOND;
            }
            if self.shown.1 < SHOWN {
                self.shown.1 += 1;
                let text = format!("{:>6.3}    log  {}  [{}]", line.at, line.text, line.basis);
                say(&format!("{}\n", self.paint.tone(Tone::Faint, &text)));
            } else {
                self.shown.2 += 1;
            }
        }
        if now.0 / SECOND > self.shown.0 {
            self.show_hidden(say);
        }
        self.file.flush().map_err(CliError::environment)
    }

    fn show_hidden(&mut self, say: &dyn Fn(&str)) {
        if self.shown.2 > 0 {
            let text = format!("          log  and {} more lines in that second, in {PEER_LOG}", self.shown.2);
            say(&format!("{}\n", self.paint.tone(Tone::Faint, &text)));
        }
        (self.shown.1, self.shown.2) = (0, 0);
    }

    /// Says what was not shown and what was lost; for `result.json`, what there is.
    pub fn end(mut self, now: Instant, say: &dyn Fn(&str)) -> Result<Value, CliError> {
        self.take(now, say)?;
        self.show_hidden(say);
        let lost = self.lost.load(Relaxed);
        if lost > 0 {
            say(&format!("{lost} lines of the log came faster than they could be written, and are lost\n"));
        }
        Ok(json!({"file": PEER_LOG, "lines": self.written, "lost": lost}))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::vendor::persona::Basis;

    #[test]
    fn every_line_is_kept_and_the_first_of_each_second_are_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = RunDir::create(Some(dir.path()), crate::time::UnixTime(0)).expect("it is empty");
        let (to, lines) = sync_channel(QUEUE);
        let paint = Paint { colour: false, width: None };
        let lost = Arc::new(AtomicU64::new(2));
        let mut log = BoxLog::open(Lines { lines, lost }, &dir, paint).expect("it can be written");
        let shown = RefCell::new(String::new());
        let say = |text: &str| shown.borrow_mut().push_str(text);
        // Two threads, one behind the other.
        for n in (0..30).chain([100, 15]) {
            let line = LogLine { text: format!("line {n}"), basis: Basis::Documented };
            to.send((Instant::from_millis(n * 20), line)).expect("there is room");
        }
        log.take(Instant::from_millis(700), &say).expect("it can be written");
        assert_eq!(shown.borrow().matches("line").count(), 20 + 1 + 1, "{}", shown.borrow());
        assert!(shown.borrow().contains("and 11 more lines in that second, in peer.log\n 2.000    log  line 100"));
        let value = log.end(Instant::from_millis(3000), &say).expect("it can be written");
        assert_eq!(value, json!({"file": "peer.log", "lines": 32, "lost": 2}));
        assert!(shown.borrow().ends_with("2 lines of the log came faster than they could be written, and are lost\n"));
        let kept = std::fs::read_to_string(dir.file(PEER_LOG)).expect("it was written");
        let times: Vec<&str> = kept.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(times.len() == 32 && times.is_sorted(), "{kept}");
        assert!(kept.starts_with("    0.000  documented  line 0\n"), "{kept}");
    }
}
