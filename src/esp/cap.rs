//! So much ESP and no more, as the licences of some boxes have it.

use std::time::Duration;

use crate::time::Instant;

/// A token bucket for one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cap {
    /// Octets per nanosecond.
    rate: f64,
    /// Octets left.
    left: f64,
    last: Instant,
    /// When a drop was last told of.
    told: Option<Instant>,
}

impl Cap {
    /// What may pass in this time may come at once: the longest interval over which routers are said to measure.
    const DEPTH: Duration = Duration::from_millis(250);
    /// A drop is told of once in this time.
    const TOLD: Duration = Duration::from_secs(1);

    /// So many thousand bits a second.
    pub(super) fn new(kilobits: u32) -> Cap {
        let rate = f64::from(kilobits) * 1000.0 / 8e9;
        Cap { rate, left: rate * Cap::DEPTH.as_nanos() as f64, last: Instant::ZERO, told: None }
    }

    /// Whether so many octets may pass now.
    pub(super) fn admits(&mut self, now: Instant, octets: usize) -> bool {
        // At least one packet fits, however low the rate is.
        let depth = (self.rate * Cap::DEPTH.as_nanos() as f64).max(1600.0);
        self.left = (self.left + self.rate * now.since(self.last).as_nanos() as f64).min(depth);
        self.last = self.last.max(now);
        let fits = self.left >= octets as f64;
        if fits {
            self.left -= octets as f64;
        }
        fits
    }

    /// Whether a drop is to be told of.
    pub(super) fn tells(&mut self, now: Instant) -> bool {
        let due = self.told.is_none_or(|at| now.since(at) >= Cap::TOLD);
        if due {
            self.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_rate_halves_and_drops_are_told_of_once_a_second() {
        // A kilobyte every 50 microseconds is 160 Mb/s.
        let mut cap = Cap::new(80_000);
        let (mut passed, mut told) = (0, 0);
        for n in 0..40_000u64 {
            let now = Instant(n * 50_000);
            if cap.admits(now, 1000) {
                passed += 1;
            } else {
                told += usize::from(cap.tells(now));
            }
        }
        // Two seconds at 10 MB/s, and a quarter of a second's worth that was there before.
        assert!((22_400..22_600).contains(&passed), "{passed}");
        assert_eq!(told, 2);
    }
}
