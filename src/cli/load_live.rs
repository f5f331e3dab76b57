//! The live view of a load run.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::term;
use crate::load::arrival::Lane;
use crate::load::gauge::Gauges;
use crate::time::Instant;

/// The line that moves while a run lasts: in place on a terminal, once in five seconds elsewhere.
pub struct Live {
    shown: bool,
    terminal: bool,
    stage: String,
    next: Instant,
    last: (Instant, u64),
    dirty: bool,
}

impl Live {
    /// One that shows something, or nothing at all.
    pub fn new(shown: bool) -> Self {
        Live {
            shown,
            terminal: std::io::stdout().is_terminal(),
            stage: String::new(),
            next: Instant::ZERO,
            last: (Instant::ZERO, 0),
            dirty: false,
        }
    }

    /// Shows the line, if it is time for it.
    pub fn show(&mut self, stage: &str, shards: &[(Lane, Arc<Gauges>)], since: Instant) {
        if !self.shown {
            return;
        }
        if self.stage != stage {
            self.end();
            self.stage = stage.to_owned();
            (self.next, self.last) = (Instant::ZERO, (Instant::ZERO, 0));
        }
        if since < self.next {
            return;
        }
        self.next = since + if self.terminal { Duration::from_millis(500) } else { Duration::from_secs(5) };
        let sum = |field: fn(&Gauges) -> &std::sync::atomic::AtomicU64| {
            shards.iter().map(|(_, gauges)| field(gauges).load(Relaxed)).sum::<u64>()
        };
        let done = sum(|g| &g.done);
        let rate = done.saturating_sub(self.last.1) as f64 / since.since(self.last.0).as_secs_f64().max(1e-3);
        self.last = (since, done);
        let line = format!(
            "{:>6.1} s  {stage}  {rate:>7.0}/s  up {}  opening {}  failed {}  dropped {}  retransmits {}",
            since.as_secs_f64(),
            sum(|g| &g.up),
            sum(|g| &g.half_open),
            sum(|g| &g.failed),
            sum(|g| &g.dropped),
            sum(|g| &g.retransmits),
        );
        if self.terminal {
            term::print(&format!("\r\x1b[K{line}"));
            self.dirty = true;
        } else {
            term::print(&format!("{line}\n"));
        }
    }

    /// The line gives way to what is printed next.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.dirty) {
            term::print("\r\x1b[K");
        }
    }
}
