//! When tunnels are to start: an open loop, so that a slow peer slows nobody's plan.
//!
//! A [`Schedule`] is a rate over time. The k-th arrival of an even schedule comes when the rate's integral reaches k, so
//! every shard computes its own share (every n-th arrival) without asking another. Poisson arrivals are drawn per shard
//! from the plan seed; the union of independent Poisson streams is one.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use crate::seed::PlanSeed;

/// A stretch of time in which the rate changes evenly.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Segment {
    /// Arrivals per second at its begin.
    pub from: f64,
    /// Arrivals per second at its end.
    pub to: f64,
    /// How long it is.
    pub length: Duration,
}

/// How arrivals are spread around the planned rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spacing {
    /// Evenly.
    #[default]
    Even,
    /// As a Poisson process, drawn from the plan seed.
    Poisson,
}

/// When everything is to start, for all shards together.
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    segments: Vec<Segment>,
    spacing: Spacing,
    /// No more arrivals than this.
    limit: Option<u64>,
    /// All of them at once, at the begin.
    at_once: Option<u64>,
    /// All of them at random times within the length.
    jitter: Option<u64>,
}

/// Which part of the arrivals (and of the tunnels) belongs to one shard: `first`, `first + stride`, and so on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane {
    /// Its first number.
    pub first: u64,
    /// From one of its numbers to the next.
    pub stride: u64,
}

impl Lane {
    /// The number at place `index` of this lane.
    pub fn number(self, index: u64) -> u64 {
        self.first + index * self.stride
    }

    /// The place of a number of this lane; `None` if it belongs to another.
    pub fn index(self, number: u64) -> Option<u64> {
        let beyond = number.checked_sub(self.first)?;
        beyond.is_multiple_of(self.stride).then(|| beyond / self.stride)
    }

    /// How many of the numbers below `total` it has.
    pub fn share(self, total: u64) -> u64 {
        total.saturating_sub(self.first).div_ceil(self.stride)
    }
}

impl Schedule {
    /// A schedule of segments, one after the other.
    pub fn new(segments: Vec<Segment>, spacing: Spacing, limit: Option<u64>) -> Self {
        Schedule { segments, spacing, limit, at_once: None, jitter: None }
    }

    /// Evenly `rate` arrivals per second for `length`.
    pub fn constant(rate: f64, length: Duration) -> Self {
        Schedule::new(vec![Segment { from: rate, to: rate, length }], Spacing::Even, None)
    }

    /// `count` arrivals as fast as `rate` allows.
    pub fn count(count: u64, rate: f64) -> Self {
        let length = Duration::from_secs_f64(count as f64 / rate.max(1e-9));
        Schedule::new(vec![Segment { from: rate, to: rate, length }], Spacing::Even, Some(count))
    }

    /// `count` arrivals within `length`: evenly, or each at a random time of its own (jitter).
    pub fn within(count: u64, length: Duration, spacing: Spacing) -> Self {
        let rate = count as f64 / length.as_secs_f64().max(1e-9);
        let jitter = (spacing == Spacing::Poisson).then_some(count);
        Schedule { jitter, ..Schedule::new(vec![Segment { from: rate, to: rate, length }], Spacing::Even, Some(count)) }
    }

    /// `count` arrivals at the same instant.
    pub fn at_once(count: u64) -> Self {
        Schedule {
            segments: Vec::new(),
            spacing: Spacing::Even,
            limit: Some(count),
            at_once: Some(count),
            jitter: None,
        }
    }

    /// From the begin to the end of the plan: until the limit is reached, where there is one. Random arrivals may reach it
    /// sooner or later than that.
    pub fn length(&self) -> Duration {
        let whole = self.segments.iter().map(|s| s.length).sum();
        let limit = self.limit.and_then(|count| self.time_of(count as f64));
        limit.map_or(whole, |at| whole.min(Duration::from_secs_f64(at)))
    }

    /// Everything is due at the begin.
    pub fn is_at_once(&self) -> bool {
        self.at_once.is_some()
    }

    /// The planned rate in arrivals per second: the mean over the whole plan.
    pub fn mean_rate(&self) -> f64 {
        let seconds = self.length().as_secs_f64();
        if seconds > 0.0 { self.cumulative(seconds) / seconds } else { 0.0 }
    }

    /// Arrivals planned between two times, in seconds from the begin.
    pub fn planned(&self, from: f64, to: f64) -> f64 {
        if let Some(count) = self.at_once {
            return if from <= 0.0 && to > 0.0 { count as f64 } else { 0.0 };
        }
        let limit = self.limit.map_or(f64::INFINITY, |n| n as f64);
        self.cumulative(to).min(limit) - self.cumulative(from).min(limit)
    }

    /// All arrivals of an even schedule; the mean of a random one.
    pub fn total(&self) -> u64 {
        let mean = self.planned(-1.0, self.length().as_secs_f64().max(1.0) + 1.0).round() as u64;
        if self.spacing == Spacing::Poisson || self.at_once.is_some() || self.jitter.is_some() {
            return mean;
        }
        // The first one comes at the begin: where the integral ends between two numbers, there is one more than the lower.
        let more = self.limit.is_none_or(|limit| mean < limit) && self.time_of(mean as f64).is_some();
        mean + u64::from(more)
    }

    /// The rate's integral from the begin to `seconds`.
    fn cumulative(&self, seconds: f64) -> f64 {
        let mut left = seconds.max(0.0);
        let mut sum = 0.0;
        for s in &self.segments {
            let length = s.length.as_secs_f64();
            let t = left.min(length);
            sum += s.from * t + (s.to - s.from) * t * t / (2.0 * length.max(f64::MIN_POSITIVE));
            left -= t;
            if left <= 0.0 {
                break;
            }
        }
        sum
    }

    /// When the integral reaches `count`, in seconds; `None` if it never does.
    fn time_of(&self, count: f64) -> Option<f64> {
        let mut before = 0.0;
        let mut left = count;
        for s in &self.segments {
            let length = s.length.as_secs_f64();
            let here = (s.from + s.to) / 2.0 * length;
            if left < here {
                let slope = (s.to - s.from) / length;
                // slope/2 t^2 + from t = left, written so that slope 0 is no special case.
                let root = (s.from * s.from + 2.0 * slope * left).max(0.0).sqrt();
                return Some(before + 2.0 * left / (s.from + root).max(f64::MIN_POSITIVE));
            }
            left -= here;
            before += length;
        }
        None
    }
}

/// One shard's arrivals, one after the other.
#[derive(Debug)]
pub struct Arrivals {
    schedule: Arc<Schedule>,
    lane: Lane,
    given: u64,
    /// Operational time of a Poisson stream: the rate's integral, of which this shard sees 1/stride.
    drawn: f64,
    rng: ChaCha20Rng,
    /// Random times, drawn beforehand and sorted.
    jittered: Option<std::vec::IntoIter<f64>>,
    next: Option<Duration>,
}

impl Arrivals {
    /// The part of `schedule` that belongs to `lane`. `label` tells the streams of one plan seed apart.
    pub fn new(schedule: Arc<Schedule>, lane: Lane, seed: &PlanSeed, label: &str) -> Self {
        let mut rng = seed.stream(&format!("arrivals {label} {}/{}", lane.first, lane.stride));
        let jittered = schedule.jitter.map(|count| {
            let length = schedule.length().as_secs_f64();
            let mut times: Vec<f64> = (0..lane.share(count)).map(|_| uniform(&mut rng) * length).collect();
            times.sort_by(f64::total_cmp);
            times.into_iter()
        });
        let mut arrivals = Arrivals { schedule, lane, given: 0, drawn: 0.0, rng, jittered, next: None };
        arrivals.find();
        arrivals
    }

    /// When the next one is planned, from the begin.
    pub fn peek(&self) -> Option<Duration> {
        self.next
    }

    /// Takes the next one.
    pub fn take(&mut self) -> Option<Duration> {
        let taken = self.next.take()?;
        self.given += 1;
        self.find();
        Some(taken)
    }

    fn find(&mut self) {
        let number = self.lane.number(self.given);
        if self.schedule.limit.is_some_and(|limit| number >= limit) {
            return;
        }
        if self.schedule.at_once.is_some() {
            self.next = Some(Duration::ZERO);
            return;
        }
        if let Some(times) = &mut self.jittered {
            self.next = times.next().map(Duration::from_secs_f64);
            return;
        }
        let at = match self.schedule.spacing {
            Spacing::Even => number as f64,
            Spacing::Poisson => {
                self.drawn -= uniform(&mut self.rng).ln() * self.lane.stride as f64;
                self.drawn
            }
        };
        self.next = self.schedule.time_of(at).map(Duration::from_secs_f64);
    }
}

/// Uniform in (0, 1], so that its logarithm is finite.
fn uniform(rng: &mut ChaCha20Rng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Lane = Lane { first: 0, stride: 1 };

    fn times(schedule: Schedule, lane: Lane) -> Vec<f64> {
        let mut arrivals = Arrivals::new(Arc::new(schedule), lane, &PlanSeed::from_text("x"), "test");
        std::iter::from_fn(|| arrivals.take()).map(|t| t.as_secs_f64()).collect()
    }

    #[test]
    fn a_constant_rate_is_even_and_shards_share_it_without_overlap() {
        let whole = times(Schedule::constant(100.0, Duration::from_secs(2)), ALL);
        assert_eq!(whole.len(), 200);
        assert!(whole.windows(2).all(|w| (w[1] - w[0] - 0.01).abs() < 1e-6), "{whole:?}");
        let mut joined: Vec<f64> = (0..3)
            .flat_map(|first| times(Schedule::constant(100.0, Duration::from_secs(2)), Lane { first, stride: 3 }))
            .collect();
        joined.sort_by(f64::total_cmp);
        assert_eq!(joined, whole);
    }

    #[test]
    fn a_ramp_and_steps_have_the_planned_number_in_every_second() {
        let second = Duration::from_secs(1);
        let ramp = Schedule::new(vec![Segment { from: 10.0, to: 110.0, length: 10 * second }], Spacing::Even, None);
        let steps = Schedule::new(
            [5.0, 50.0, 20.0].map(|rate| Segment { from: rate, to: rate, length: 2 * second }).to_vec(),
            Spacing::Even,
            None,
        );
        for schedule in [ramp, steps] {
            let seconds = schedule.length().as_secs();
            let all = times(schedule.clone(), ALL);
            assert_eq!(all.len() as u64, schedule.total());
            for second in 0..seconds {
                let (from, to) = (second as f64, second as f64 + 1.0);
                let got = all.iter().filter(|t| (from..to).contains(*t)).count() as f64;
                let planned = schedule.planned(from, to);
                assert!((got - planned).abs() <= 1.0, "second {second}: {got}, planned {planned}");
            }
        }
        let falling = Schedule::new(vec![Segment { from: 20.0, to: 0.0, length: second }], Spacing::Even, None);
        assert_eq!(times(falling, ALL).len(), 10);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let schedule = Schedule::new(
            vec![Segment { from: 1000.0, to: 1000.0, length: Duration::from_secs(20) }],
            Spacing::Poisson,
            None,
        );
        let mut all: Vec<f64> = (0..2).flat_map(|first| times(schedule.clone(), Lane { first, stride: 2 })).collect();
        all.sort_by(f64::total_cmp);
        // 20,000 expected, standard deviation 141.
        assert!((all.len() as f64 - 20_000.0).abs() < 700.0, "{}", all.len());
        let gaps: Vec<f64> = all.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "exponential gaps have the coefficient of variation 1");
        assert_eq!(all.len(), {
            let again: Vec<f64> = (0..2).flat_map(|first| times(schedule.clone(), Lane { first, stride: 2 })).collect();
            again.len()
        });
    }

    #[test]
    fn a_limit_and_everything_at_once() {
        assert_eq!(times(Schedule::count(7, 1000.0), ALL).len(), 7);
        assert_eq!(times(Schedule::at_once(5), Lane { first: 1, stride: 2 }), [0.0, 0.0]);
        assert_eq!(Schedule::at_once(5).total(), 5);
        assert_eq!(Schedule::count(7, 1000.0).total(), 7);
        for (rate, count) in [(33.3, 34), (33.5, 34), (33.7, 34), (0.4, 1), (33.0, 33), (0.1, 1)] {
            let fraction = Schedule::constant(rate, Duration::from_secs(1));
            assert_eq!((times(fraction.clone(), ALL).len(), fraction.total()), (count, count as u64), "{rate}");
        }
        // A plan that is used up early is no longer than that, and its rate is the one at which it is used up.
        let short = Schedule::new(
            vec![Segment { from: 100.0, to: 100.0, length: Duration::from_secs(60) }],
            Spacing::Even,
            Some(200),
        );
        assert_eq!((short.length(), short.mean_rate(), short.total()), (Duration::from_secs(2), 100.0, 200));
    }

    #[test]
    fn jittered_arrivals_are_all_within_the_time_and_nowhere_even() {
        let schedule = Schedule::within(1000, Duration::from_secs(10), Spacing::Poisson);
        let mut all: Vec<f64> = (0..2).flat_map(|first| times(schedule.clone(), Lane { first, stride: 2 })).collect();
        all.sort_by(f64::total_cmp);
        assert!(all.len() == 1000 && all.iter().all(|t| (0.0..=10.0).contains(t)), "{}", all.len());
        let first_half = all.iter().filter(|t| **t < 5.0).count();
        assert!((420..580).contains(&first_half), "{first_half}");
        let even = all.windows(2).filter(|w| (w[1] - w[0] - 0.01).abs() < 1e-3).count();
        assert!(even < 300, "{even} gaps of the mean length");
        let even = times(Schedule::within(100, Duration::from_secs(10), Spacing::Even), ALL);
        assert!(even.len() == 100 && even.windows(2).all(|w| (w[1] - w[0] - 0.1).abs() < 1e-6), "{even:?}");
    }

    #[test]
    fn a_lane_knows_its_numbers() {
        let lane = Lane { first: 3, stride: 4 };
        assert_eq!((lane.number(0), lane.number(2)), (3, 11));
        assert_eq!((lane.index(11), lane.index(12), lane.index(2)), (Some(2), None, None));
        assert_eq!((lane.share(3), lane.share(4), lane.share(7), lane.share(8)), (0, 1, 1, 2));
    }
}
