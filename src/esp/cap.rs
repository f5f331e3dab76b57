//! So much ESP and no more, as the licences of some boxes have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Instant;

/// What a licence lets pass in each direction. All data planes of one box share it, whatever threads they are in.
#[derive(Debug)]
pub struct Cap {
    /// Nanoseconds that an octet takes.
    octet: f64,
    /// So many nanoseconds' worth may come at once.
    depth: u64,
    inbound: Way,
    outbound: Way,
}

/// One direction, in nanoseconds since the run began.
#[derive(Debug, Default)]
struct Way {
    /// When all that has passed would have passed, had it come evenly: ahead of the present by what was taken in advance.
    busy_until: AtomicU64,
    /// Drops are not told of again before.
    quiet_until: AtomicU64,
}

impl Cap {
    /// What may pass in this time may come at once: the longest interval over which routers are said to measure.
    const DEPTH: Duration = Duration::from_millis(250);
    /// A drop is told of once in this time.
    const TOLD: Duration = Duration::from_secs(1);

    /// So many bits a second in each direction.
    pub fn of(bits: f64) -> Arc<Cap> {
        let octet = 8e9 / bits.max(1.0);
        // At least one packet fits, however low the rate is.
        let depth = (Cap::DEPTH.as_nanos() as f64).max(1600.0 * octet) as u64;
        Arc::new(Cap { octet, depth, inbound: Way::default(), outbound: Way::default() })
    }

    /// So many thousand bits a second in each direction, as licences are sold.
    pub fn of_kilobits(kilobits: u32) -> Arc<Cap> {
        Cap::of(f64::from(kilobits) * 1000.0)
    }

    /// Whether so many octets may pass now.
    pub(super) fn admits(&self, now: Instant, outbound: bool, octets: usize) -> bool {
        let takes = (octets as f64 * self.octet).round() as u64;
        let passes = |busy_until: u64| {
            let until = busy_until.max(now.0).saturating_add(takes);
            (until - now.0 <= self.depth).then_some(until)
        };
        self.way(outbound).busy_until.fetch_update(Relaxed, Relaxed, passes).is_ok()
    }

    /// Whether a drop is to be told of.
    pub(super) fn tells(&self, now: Instant, outbound: bool) -> bool {
        let due = |at: u64| (at <= now.0).then_some((now + Cap::TOLD).0);
        self.way(outbound).quiet_until.fetch_update(Relaxed, Relaxed, due).is_ok()
    }

    fn way(&self, outbound: bool) -> &Way {
        if outbound { &self.outbound } else { &self.inbound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_rate_halves_and_drops_are_told_of_once_a_second() {
        // A kilobyte every 50 microseconds is 160 Mb/s.
        let cap = Cap::of_kilobits(80_000);
        for outbound in [false, true] {
            let (mut passed, mut told) = (0, 0);
            for n in 0..40_000u64 {
                let now = Instant(n * 50_000);
                if cap.admits(now, outbound, 1000) {
                    passed += 1;
                } else {
                    told += usize::from(cap.tells(now, outbound));
                }
            }
            // Two seconds at 10 MB/s, and a quarter of a second's worth that was there before.
            assert!((22_400..22_600).contains(&passed), "{passed}");
            assert_eq!(told, 2);
        }
    }

    #[test]
    fn however_low_the_rate_is_a_packet_passes_now_and_then() {
        let cap = Cap::of(8_000.0);
        let passed = (0..1000u64).filter(|n| cap.admits(Instant(n * 100_000_000), false, 1500)).count();
        assert!((66..=68).contains(&passed), "{passed}");
    }

    #[test]
    fn threads_that_share_a_cap_pass_no_more_than_one_does() {
        let cap = Cap::of_kilobits(80_000);
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (cap, passed) = (&cap, &passed);
                scope.spawn(move || {
                    for n in 0..10_000u64 {
                        let now = Instant((n * 4 + thread) * 50_000);
                        passed.fetch_add(u64::from(cap.admits(now, false, 1000)), Relaxed);
                    }
                });
            }
        });
        // Threads run as they like: one that is ahead of the others has taken what would have been theirs.
        let passed = passed.into_inner();
        assert!(passed <= 22_600, "{passed}");
    }
}
