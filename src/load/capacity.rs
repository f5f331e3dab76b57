//! The search for a peer's limit: the largest rate that it holds, what happens beyond, and how many tunnels it takes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::arrival::{Lane, Schedule, Segment, Spacing};
use super::book::Open;
use super::gauge::Gauges;
use super::measure::Timed;
use super::run::Fleet;
use super::shard::Work;
use super::summary::{Capacity, Ceiling, StageResult, Step, Tester, histograms};
use super::threshold::Threshold;
use super::verdict;
use super::workload::{Played, Watch};
use crate::time::Instant;

/// Of what the largest rate is searched for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sought {
    /// New tunnels.
    SetUps,
    /// Tunnels that come, live this long, and go: a set-up and a DELETE each.
    Churn(Duration),
    /// Rekeys of tunnels that are up (what the BMWG drafts call the rekey rate).
    Rekeys {
        /// Of the IKE SAs, or of their Child SAs.
        ike: bool,
        /// How many tunnels are up while they are rekeyed.
        tunnels: u64,
        /// How fast these are set up, per second.
        set_up: f64,
    },
}

impl Sought {
    /// What [`Capacity::of`] says.
    pub fn name(self) -> &'static str {
        match self {
            Sought::SetUps => Capacity::SET_UPS,
            Sought::Churn(_) => Capacity::CHURN,
            Sought::Rekeys { ike: true, .. } => "rekeys of IKE SAs per second",
            Sought::Rekeys { ike: false, .. } => "rekeys of Child SAs per second",
        }
    }

    /// The latency that belongs to it.
    fn timed(self) -> Timed {
        match self {
            Sought::SetUps | Sought::Churn(_) => Timed::Up,
            Sought::Rekeys { ike: true, .. } => Timed::RekeyIke,
            Sought::Rekeys { ike: false, .. } => Timed::RekeyChild,
        }
    }
}

/// What is searched for, and how.
#[derive(Clone, Debug)]
pub struct Search {
    /// Of what.
    pub of: Sought,
    /// The first rate tried, per second.
    pub from: f64,
    /// No rate above this is tried.
    pub up_to: f64,
    /// How long each rate is held.
    pub length: Duration,
    /// Of that, what is not measured.
    pub warm_up: Duration,
    /// How often the search is repeated.
    pub trials: u32,
    /// The search ends when the bounds are this close: 0.05 is 5 %.
    pub precision: f64,
    /// What a rate must meet to be held; the share of retransmits (1 %) comes on top.
    pub thresholds: Vec<Threshold>,
    /// How long open operations are waited for.
    pub drain: Duration,
    /// Deletes per second between rates.
    pub delete_rate: f64,
    /// How long the peer is left alone after a rate that was not held.
    pub rest: Duration,
    /// Draw the goodput up to three times the limit.
    pub curve: bool,
}

/// The share of operations that succeed where a peer has not stopped answering.
const ANSWERED: f64 = 0.99;
/// Requests sent again, at most, for a rate to count as held.
const RETRANSMITS: f64 = 0.01;
/// Rates of the curve, in multiples of the limit.
const CURVE: [f64; 7] = [0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0];

/// Bisects the largest rate that is held.
///
/// # Errors
///
/// If a shard's sockets have become unusable.
pub fn rate(
    fleet: &mut Fleet,
    tester: &Tester,
    search: &Search,
    watch: &mut Watch<'_>,
) -> io::Result<(Capacity, Played)> {
    let mut hunt = Hunt { fleet, tester, search, watch, played: Played::default(), steps: Vec::new(), up: 0 };
    let mut trials: Vec<(f64, Ceiling)> = Vec::new();
    let mut futile = None;
    for trial in 1..=search.trials {
        let known = trials.iter().map(|(rate, _)| *rate).fold(0.0, f64::max);
        let found = hunt.trial(trial, known)?;
        trials.push(found);
        if found.1 == Ceiling::Futile {
            futile = hunt.steps.last().map(|step| (trial, step.offered));
            break;
        }
        if hunt.played.interrupted {
            break;
        }
    }
    trials.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (median, mut ceiling) = trials[trials.len() / 2];
    let mut curve = Vec::new();
    if search.curve && median > 0.0 {
        for factor in CURVE {
            if hunt.played.interrupted {
                break;
            }
            let (step, _) = hunt.probe(0, median * factor)?;
            curve.push(step);
        }
    }
    hunt.tidy()?;
    let mut finding = finding(median, search, &curve, ceiling);
    if let Some((trial, rate)) = futile {
        ceiling = Ceiling::Futile;
        finding = match trial {
            1 => format!("not one succeeded at {rate:.1} per second, so nothing lower was tried"),
            _ => format!("{finding}; but in trial {trial} not one succeeded at {rate:.1} per second"),
        };
    }
    let range = (trials[0].0, trials[trials.len() - 1].0);
    let (trials, steps) = (trials.into_iter().map(|(rate, _)| rate).collect(), std::mem::take(&mut hunt.steps));
    let of = search.of.name().into();
    Ok((Capacity { of, median, range, trials, steps, curve, finding, ceiling }, hunt.played))
}

fn finding(median: f64, search: &Search, curve: &[Step], ceiling: Ceiling) -> String {
    let rate = match median > 0.0 {
        true => format!("{median:.1} per second was held"),
        false => format!("not even {:.1} per second was held", search.from),
    };
    let mut out = match ceiling {
        Ceiling::MaxRate => format!("{rate}, and no more was tried (--max-rate)"),
        Ceiling::Tunnels => {
            format!("{rate}; above it this tester was the limit: no tunnel was free (--tunnels allows more)")
        }
        Ceiling::Tester if median > 0.0 => {
            format!("{rate}; above it this tester was the limit, so the peer may take more")
        }
        Ceiling::Tester => format!("{rate}, and this tester was the limit, so that says nothing about the peer"),
        Ceiling::Peer | Ceiling::Futile => rate,
    };
    if let Some(last) = curve.last().filter(|_| median > 0.0) {
        let best = curve.iter().map(|s| s.goodput).fold(0.0, f64::max);
        let kept = last.goodput / best.max(f64::MIN_POSITIVE) * 100.0;
        let shape = match kept {
            k if k >= 90.0 => "a plateau",
            k if k >= 50.0 => "a decline",
            _ => "a collapse",
        };
        let times = last.offered / median;
        out += &format!("; beyond it, {shape}: at {times:.1} times that rate the goodput is {kept:.0} % of its best");
    }
    out
}

struct Hunt<'a, 'w> {
    fleet: &'a mut Fleet,
    tester: &'a Tester,
    search: &'a Search,
    watch: &'a mut Watch<'w>,
    played: Played,
    steps: Vec<Step>,
    /// Tunnels that are up.
    up: u64,
}

impl Hunt<'_, '_> {
    /// One search: the largest rate that was held, and what kept it from going higher. `known` is what an earlier one found.
    fn trial(&mut self, trial: u32, known: f64) -> io::Result<(f64, Ceiling)> {
        let search = self.search;
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut ceiling = Ceiling::Peer;
        let mut rate = if known > 0.0 { known } else { search.from };
        let mut doubted = false;
        while !self.played.interrupted {
            rate = rate.min(search.up_to);
            let (step, missed) = self.probe(trial, rate)?;
            self.steps.push(step);
            match missed {
                None => low = rate,
                Some(Ceiling::Futile) if low == 0.0 => return Ok((0.0, Ceiling::Futile)),
                // It was held once: something else may have been going on.
                Some(_) if rate == known && !doubted => {
                    doubted = true;
                    continue;
                }
                Some(why) => {
                    // What stops half of the arrivals is the peer's doing as well.
                    ceiling = if why == Ceiling::Futile { Ceiling::Peer } else { why };
                    high = rate;
                }
            }
            if low >= search.up_to {
                return Ok((low, Ceiling::MaxRate));
            }
            if low > 0.0 && high / low <= 1.0 + search.precision || high < 0.01 {
                break;
            }
            rate = if high.is_infinite() { low * 2.0 } else { f64::midpoint(low, high) };
        }
        Ok((low, ceiling))
    }

    /// Holds one rate, and says why it was not held if it was not. New tunnels are deleted again, those that are rekeyed stay
    /// for the next rate.
    fn probe(&mut self, trial: u32, rate: f64) -> io::Result<(Step, Option<Ceiling>)> {
        let search = self.search;
        let schedule = Arc::new(Schedule::constant(rate, search.length));
        let planned = (schedule.total(), search.length.as_secs_f64());
        let name = format!("{rate:.1}/s");
        // Every rate is tried with the same tunnels.
        let set_up = |live| Work::SetUp { schedule: Arc::clone(&schedule), live, until_refused: false, again: true };
        let work = match search.of {
            Sought::SetUps => set_up(None),
            Sought::Churn(live) => set_up(Some(live)),
            Sought::Rekeys { ike, tunnels, set_up } => {
                self.fill(tunnels, set_up)?;
                Work::Create { schedule, what: if ike { Open::RekeyIke } else { Open::RekeyChild } }
            }
        };
        let (result, times) = self.stage(&name, work, search.warm_up, planned)?;
        let limited = verdict::limit(std::slice::from_ref(&result), self.tester, true).tester_limited;
        let met =
            result.retransmit_ratio <= RETRANSMITS && search.thresholds.iter().all(|t| t.judge(&result, &times).met);
        // Where the peer does not answer, tunnels stay busy, and that is not for want of tunnels.
        let starved = result.dropped.no_tunnel * 100 > result.started && result.success >= ANSWERED;
        let missed = match () {
            () if result.done == 0 && result.started > 0 => Some(Ceiling::Futile),
            () if starved => Some(Ceiling::Tunnels),
            () if limited => Some(Ceiling::Tester),
            () if !met => Some(Ceiling::Peer),
            () => None,
        };
        let step = Step {
            trial,
            offered: rate,
            goodput: result.achieved_rate,
            success: result.success,
            p99: result.latency.get(search.of.timed().name()).map_or(0, |l| l.p99),
            held: missed.is_none(),
            tester_limited: missed.is_some_and(Ceiling::is_tester),
        };
        self.played.stages.push(result);
        self.played.times.push(times);
        if !matches!(search.of, Sought::Rekeys { .. }) {
            self.tidy()?;
        }
        if missed.is_some() && !self.played.interrupted {
            // Half-open IKE SAs and repeats of what was too much are not the next rate's.
            self.stage("rest", Work::Hold(search.rest), Duration::ZERO, (0, search.rest.as_secs_f64()))?;
        }
        Ok((step, missed))
    }

    /// Brings up what is missing of the tunnels that are to be rekeyed.
    fn fill(&mut self, tunnels: u64, rate: f64) -> io::Result<()> {
        let missing = tunnels.saturating_sub(self.up);
        if missing == 0 || self.played.interrupted {
            return Ok(());
        }
        let schedule = Arc::new(Schedule::count(missing, rate));
        let planned = (missing, missing as f64 / rate);
        let work = Work::SetUp { schedule, live: None, until_refused: false, again: true };
        let (result, times) = self.stage("setup", work, Duration::ZERO, planned)?;
        self.played.stages.push(result);
        self.played.times.push(times);
        Ok(())
    }

    /// Deletes what is up.
    fn tidy(&mut self) -> io::Result<()> {
        let up = self.up;
        if up > 0 {
            let last = self.played.stages.last().map_or(0.0, |stage| stage.planned_rate);
            let rate = match self.search.of {
                Sought::Rekeys { .. } => self.search.delete_rate,
                _ => self.search.delete_rate.max(last),
            };
            let length = Duration::from_secs_f64(up as f64 / rate * 2.0 + 10.0);
            let schedule = Schedule::new(vec![Segment { from: rate, to: rate, length }], Spacing::Even, None);
            self.stage("delete", Work::Delete(Arc::new(schedule)), Duration::ZERO, (up, up as f64 / rate))?;
        }
        Ok(())
    }

    fn stage(
        &mut self,
        name: &str,
        work: Work,
        warm_up: Duration,
        planned: (u64, f64),
    ) -> io::Result<(StageResult, BTreeMap<String, Histogram<u64>>)> {
        let begin = self.fleet.now();
        let watch = &mut self.watch;
        let mut seen =
            |gauges: &[(Lane, Arc<Gauges>)], now: Instant| watch(name, gauges, Instant::ZERO + now.since(begin));
        let every = Duration::from_millis(200);
        let outcome = self.fleet.stage(None, work, warm_up, self.search.drain, every, &mut seen)?;
        self.played.interrupted |= outcome.stopped;
        self.up = outcome.up;
        Ok((StageResult::of(name, "open-loop", &outcome, planned), histograms(&outcome.stats)))
    }
}

/// Says what trials have found that set up tunnels until the first refusal: how many came up before it and why it was, or
/// how many came up in all.
pub fn tunnels(trials: &[Result<(u64, String), u64>], asked: u64) -> Capacity {
    let mut found: Vec<f64> = trials.iter().map(|t| t.as_ref().map_or_else(|up| *up, |(up, _)| *up) as f64).collect();
    found.sort_by(f64::total_cmp);
    let median = found.get(found.len() / 2).copied().unwrap_or_default();
    // The trial that stands for all: the one in the middle, if it met a limit.
    let refused = trials.iter().filter_map(|t| t.as_ref().ok()).min_by_key(|(up, _)| up.abs_diff(median as u64));
    let finding = match refused {
        Some((before, words)) => format!("tunnel {} was refused: {words}", before + 1),
        None => format!("all of {asked} tunnels came up: no limit was met"),
    };
    let refusals = trials.iter().filter(|t| t.is_ok()).count();
    let finding = match refusals {
        0 => finding,
        n if n == trials.len() => finding,
        n => format!("{finding}; {n} of {} trials met a limit", trials.len()),
    };
    let range = (found.first().copied().unwrap_or_default(), found.last().copied().unwrap_or_default());
    Capacity { of: Capacity::TUNNELS.into(), median, range, trials: found, finding, ..Capacity::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(offered: f64, goodput: f64) -> Step {
        Step { trial: 0, offered, goodput, success: 1.0, p99: 1, held: true, tester_limited: false }
    }

    fn search() -> Search {
        Search {
            of: Sought::SetUps,
            from: 10.0,
            up_to: 1000.0,
            length: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            trials: 3,
            precision: 0.05,
            thresholds: Vec::new(),
            drain: Duration::from_secs(1),
            delete_rate: 100.0,
            rest: Duration::ZERO,
            curve: true,
        }
    }

    #[test]
    fn the_limit_of_tunnels_is_the_median_of_trials() {
        let refused = |up: u64| Ok((up, "NO_ADDITIONAL_SAS".to_owned()));
        let found = tunnels(&[refused(225), refused(230), refused(225)], 1000);
        assert_eq!((found.median, found.range, found.trials.len()), (225.0, (225.0, 230.0), 3));
        assert_eq!(found.finding, "tunnel 226 was refused: NO_ADDITIONAL_SAS");
        let found = tunnels(&[Err(300), refused(299), Err(300)], 300);
        assert_eq!(found.median, 300.0);
        assert_eq!(found.finding, "tunnel 300 was refused: NO_ADDITIONAL_SAS; 1 of 3 trials met a limit");
        assert_eq!(tunnels(&[Err(5)], 5).finding, "all of 5 tunnels came up: no limit was met");
    }

    #[test]
    fn the_shape_beyond_the_limit_is_named() {
        let curve = |last| [step(50.0, 50.0), step(100.0, 100.0), step(300.0, last)];
        for (last, shape) in [(99.0, "a plateau"), (60.0, "a decline"), (10.0, "a collapse")] {
            let text = finding(100.0, &search(), &curve(last), Ceiling::Peer);
            assert!(text.contains(shape) && text.contains("at 3.0 times"), "{text}");
        }
        for (median, ceiling, words) in [
            (0.0, Ceiling::Peer, "not even 10.0 per second was held"),
            (0.0, Ceiling::Tester, "says nothing about the peer"),
            (1000.0, Ceiling::MaxRate, "no more was tried"),
            (100.0, Ceiling::Tester, "this tester was the limit, so the peer may take more"),
            (100.0, Ceiling::Tunnels, "--tunnels allows more"),
        ] {
            assert!(finding(median, &search(), &[], ceiling).contains(words), "{ceiling:?}");
        }
    }
}
