//! When boxes send an unanswered request again, as data. None of it has been measured on a box by us.

use std::time::Duration;

use crate::engine::RetransmitSpec;

/// A box's schedule.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Name in files.
    pub name: &'static str,
    /// How it is known: `documented` by the vendor, or `modelled` by us.
    pub basis: &'static str,
    /// Where from, and what is not certain.
    pub source: &'static str,
    initial_ms: u64,
    factor_percent: u32,
    max_wait: u64,
    attempts: u8,
}

impl Schedule {
    /// Every schedule.
    pub const ALL: &'static [Schedule] = &[
        Schedule {
            name: "strongswan",
            basis: "documented",
            source: "strongSwan documentation: 4.0 s, factor 1.8, five repeats; 165 s in all",
            initial_ms: 4000,
            factor_percent: 180,
            max_wait: 600,
            attempts: 6,
        },
        Schedule {
            name: "paloalto-panos",
            basis: "documented",
            source: "PAN-OS administrator's guide, IKEv2 liveness check: 5, 10, 20, 40 s, then six times 60 s; 435 s in all",
            initial_ms: 5000,
            factor_percent: 200,
            max_wait: 60,
            attempts: 10,
        },
        Schedule {
            name: "paloalto-panos-7",
            basis: "modelled",
            source: "PAN-OS 7 knowledge base: 1, 2, 4 s and so on, then 64 s each, 319 s in all; the number of repeats is inferred",
            initial_ms: 1000,
            factor_percent: 200,
            max_wait: 64,
            attempts: 10,
        },
        Schedule {
            name: "cisco-ios-xe",
            basis: "modelled",
            source: "`dpd 10 2 periodic`: a repeat every 2 s is configured, that there are five is an assumption",
            initial_ms: 2000,
            factor_percent: 100,
            max_wait: 2,
            attempts: 6,
        },
        Schedule {
            name: "cisco-asa",
            basis: "modelled",
            source: "`isakmp keepalive threshold 10 retry 2`: the interval is documented, the number of repeats is not",
            initial_ms: 2000,
            factor_percent: 100,
            max_wait: 2,
            attempts: 6,
        },
    ];

    /// The schedule with this name.
    pub fn named(name: &str) -> Option<&'static Schedule> {
        Schedule::ALL.iter().find(|s| s.name == name)
    }

    /// As the engine takes it.
    pub fn spec(&self) -> RetransmitSpec {
        RetransmitSpec {
            initial: Duration::from_millis(self.initial_ms),
            factor_percent: self.factor_percent,
            max_wait: Duration::from_secs(self.max_wait),
            attempts: self.attempts,
            jitter_percent: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_are_those_that_the_vendors_give() {
        let total = |name: &str| Schedule::named(name).expect(name).spec().total().as_secs();
        assert_eq!(total("strongswan"), 165);
        assert_eq!(total("paloalto-panos"), 435);
        assert_eq!(total("paloalto-panos-7"), 319);
        assert_eq!(total("cisco-ios-xe"), 12);
        assert!(Schedule::ALL.iter().all(|s| matches!(s.basis, "documented" | "modelled") && !s.source.is_empty()));
    }
}
