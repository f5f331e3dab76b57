//! Why a run ends before its last scenario: a person wants it to, or its time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::time::Instant;

/// How long the peer may take to answer the DELETE of a run that is stopped.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// When a run is to stop early. Every wait of a run looks at it.
#[derive(Clone, Debug, Default)]
pub struct Halt {
    asked: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Halt {
    /// Stops once `asked` is true; whoever sets it must wake the link. Stops at `deadline`, too, if there is one.
    pub fn new(asked: Arc<AtomicBool>, deadline: Option<Instant>) -> Self {
        Halt { asked, deadline }
    }

    /// Why the run is to stop now, if it is.
    pub fn why(&self, now: Instant) -> Option<&'static str> {
        match self.deadline {
            _ if self.interrupted() => Some("interrupted"),
            Some(deadline) if deadline <= now => Some("the time given with --max-time is over"),
            _ => None,
        }
    }

    /// Whether it is a person or a supervisor who wants it to stop.
    pub fn interrupted(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// `until`, or the deadline if that comes first.
    pub fn bound(&self, until: Instant) -> Instant {
        self.deadline.map_or(until, |deadline| deadline.min(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_comes_before_a_deadline() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let asked = Arc::new(AtomicBool::new(false));
        let halt = Halt::new(Arc::clone(&asked), Some(at(5)));
        assert_eq!((halt.why(at(4)), halt.interrupted()), (None, false));
        assert_eq!(halt.why(at(5)), Some("the time given with --max-time is over"));
        assert_eq!((halt.bound(at(4)), halt.bound(at(6))), (at(4), at(5)));
        asked.store(true, Ordering::SeqCst);
        assert_eq!((halt.why(at(5)), halt.interrupted()), (Some("interrupted"), true));
        assert_eq!(Halt::default().why(at(1000)), None);
    }
}
