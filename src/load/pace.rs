//! How long a closed loop lets answers gather, so that several share a wake-up and leave together.

use std::time::Duration;

use crate::time::Instant;

/// How often the rate is taken anew.
const PACE: Duration = Duration::from_millis(20);

/// How fast answers come.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    came: u64,
    per_second: f64,
}

impl Pace {
    /// Nothing is known yet, and nothing is waited for.
    pub fn new(now: Instant) -> Self {
        Pace { since: now, came: 0, per_second: 0.0 }
    }

    /// After a turn that took `received` datagrams: how long until about `together` are there. Nothing if this turn found
    /// as many: then they gather by themselves.
    pub fn pause(&mut self, received: u64, together: u64, now: Instant) -> Duration {
        self.came += received;
        let past = now.since(self.since);
        if past >= PACE {
            self.per_second = self.came as f64 / past.as_secs_f64();
            (self.since, self.came) = (now, 0);
        }
        if received >= together || self.per_second < 1.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((together - received) as f64 / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_gather_as_fast_as_they_come_and_a_backlog_is_not_waited_for() {
        let start = Instant::ZERO;
        let mut pace = Pace::new(start);
        assert_eq!(pace.pause(1, 16, start), Duration::ZERO, "nothing is known yet");
        // 40 in 20 ms are 2,000 a second: 15 more take 7.5 ms.
        assert_eq!(pace.pause(39, 16, start + PACE), Duration::ZERO, "a backlog");
        assert_eq!(pace.pause(1, 16, start + PACE), Duration::from_micros(7500));
        assert_eq!(pace.pause(0, 16, start + Duration::from_secs(10)), Duration::ZERO, "hardly anything comes");
    }
}
