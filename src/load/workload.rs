//! Workloads: which stages a run has, and in which order.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::arrival::{Lane, Schedule, Segment, Spacing};
use super::book::Open;
use super::gauge::Gauges;
use super::leak::{self, Held, Leaks};
use super::run::{Fleet, Outcome};
use super::shard::Work;
use super::summary::{Capacity, Recovery, StageResult, TrafficFinding, histograms};
use crate::time::Instant;

/// What is done to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    /// Bring tunnels up, and delete them at the end.
    Setup,
    /// The same one after the other, as the BMWG drafts measure: the rate is the inverse of the latency.
    Serial,
    /// Keep so many set-ups open per thread until all tunnels are up: how fast both ends together can be.
    Closed(u64),
    /// Bring tunnels up, keep them for a while with liveness checks, delete them.
    Hold(Duration),
    /// Tunnels come, live for a while, and go.
    Churn(Duration),
    /// The same for long, then a look at what was not given back: memory, file descriptors, IKE SAs.
    Soak {
        /// How long a tunnel lives.
        live: Duration,
        /// How long to wait at the end until no IKE SA answers repeats any more.
        settle: Duration,
    },
    /// Bring tunnels up, forget them as if the peer had reloaded, bring all of them up again at once.
    Storm,
    /// Bring tunnels up and keep them with liveness checks; whatever goes down meanwhile, because the peer is really reloaded or
    /// fails over, is brought up again.
    Failover(Duration),
    /// Bring tunnels up, then rekey each of them.
    Rekey {
        /// The IKE SAs, or their Child SAs.
        ike: bool,
        /// Spread over this time; none means all at once.
        over: Duration,
    },
    /// Bring tunnels up, then give each of them more Child SAs: the phase 2 rate.
    Children {
        /// How many more.
        each: u64,
        /// Spread over this time; none means all at once.
        over: Duration,
    },
    /// Bring tunnels up, then send packets through them, at one rate after the other.
    Traffic {
        /// How long each rate is kept.
        length: Duration,
    },
    /// IKE_SA_INIT only.
    Flood,
    /// Bring tunnels up until one is refused.
    Tunnels,
}

impl Workload {
    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Setup => "setup",
            Workload::Serial => "serial",
            Workload::Closed(_) => "closed",
            Workload::Hold(_) => "hold",
            Workload::Churn(_) => "churn",
            Workload::Soak { .. } => "soak",
            Workload::Storm => "storm",
            Workload::Failover(_) => "failover",
            Workload::Rekey { ike: true, .. } => "rekey-ike",
            Workload::Rekey { ike: false, .. } => "rekey-child",
            Workload::Children { .. } => "children",
            Workload::Traffic { .. } => "traffic",
            Workload::Flood => "flood",
            Workload::Tunnels => "tunnels",
        }
    }
}

/// What a person asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is done.
    pub workload: Workload,
    /// When tunnels begin.
    pub schedule: Schedule,
    /// How many tunnels there are.
    pub tunnels: u64,
    /// Operations planned before this are not measured.
    pub warm_up: Duration,
    /// How long open operations are waited for.
    pub drain: Duration,
    /// Deletes per second at the end; `None` leaves everything up.
    pub delete_rate: Option<f64>,
    /// When the first stage begins.
    pub start: Option<Instant>,
    /// Traffic: bits of inner packets per second, one step after the other.
    pub offers: Vec<f64>,
    /// Rekeys and more Child SAs over a time: evenly spread, or each at a random time.
    pub spacing: Spacing,
    /// How often the limit of tunnels is searched for.
    pub trials: u32,
}

impl Order {
    /// How many tunnels the run is to have, all processes together: what the drafts call configured.
    pub fn configured(&self) -> u64 {
        match self.workload {
            Workload::Churn(_) | Workload::Soak { .. } | Workload::Serial | Workload::Closed(_) => self.tunnels,
            _ => self.tunnels.min(self.schedule.total()),
        }
    }
}

/// What the caller sees of a run while it lasts: the stage's name, the gauges, the time since the stage began.
pub type Watch<'a> = dyn FnMut(&str, &[(Lane, Arc<Gauges>)], Instant) + 'a;

/// Stages that are over.
#[derive(Debug, Default)]
pub struct Played {
    /// Their results, in order.
    pub stages: Vec<StageResult>,
    /// Their latencies.
    pub times: Vec<BTreeMap<String, Histogram<u64>>>,
    /// Storm: seconds until 50, 90, 99 and 100 % were up again.
    pub recovery: Option<Recovery>,
    /// What a search has found.
    pub capacity: Option<Capacity>,
    /// What steps of traffic have found.
    pub traffic: Option<TrafficFinding>,
    /// What a soak says about leaks.
    pub leaks: Option<Leaks>,
    /// Ended by a signal.
    pub interrupted: bool,
}

/// How often the live view is fed.
const EVERY: Duration = Duration::from_millis(200);
/// How often a soak looks at what the process holds.
const LOOK: Duration = Duration::from_secs(1);

/// Plays a workload.
///
/// # Errors
///
/// If a shard's sockets have become unusable.
pub fn play(fleet: &mut Fleet, order: &Order, watch: &mut Watch<'_>) -> io::Result<Played> {
    let schedule = Arc::new(order.schedule.clone());
    // Our part of it, where other processes have the rest.
    let (process, processes) = fleet.process();
    let mine = Lane { first: process, stride: processes }.share(order.schedule.total());
    let planned = (mine, order.schedule.length().as_secs_f64());
    let configured = Lane { first: process, stride: processes }.share(order.configured());
    // What is done to tunnels that are up is planned for those of this process, and a plan is dealt out to all processes:
    // hence `up * processes` below.
    let mut player = Player { fleet, watch, played: Played::default(), drain: order.drain, configured, held: None };
    let until_refused = order.workload == Workload::Tunnels;
    let set_up = |live| Work::SetUp { schedule: Arc::clone(&schedule), live, until_refused, again: false };
    match order.workload {
        Workload::Setup => {
            player.stage("setup", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
        }
        Workload::Tunnels => {
            let mut trials = Vec::new();
            for trial in 0..order.trials.max(1) {
                let start = order.start.filter(|_| trial == 0);
                let outcome = player.stage("setup", "open-loop", start, set_up(None), order.warm_up, planned)?;
                trials.push(outcome.stats.refused.clone().ok_or(outcome.stats.done));
                if player.played.interrupted {
                    break;
                }
                // What is still up after the last trial is deleted below, or kept.
                if trial + 1 < order.trials {
                    player.delete(order.delete_rate.unwrap_or(DELETES))?;
                }
            }
            player.played.capacity = Some(super::capacity::tunnels(&trials, order.tunnels.min(planned.0)));
        }
        Workload::Flood => {
            player.stage("flood", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
        }
        Workload::Serial => {
            let count = order.tunnels;
            player.stage("serial", "bmwg-serial", order.start, Work::Serial { count }, Duration::ZERO, (count, 0.0))?;
        }
        Workload::Closed(window) => {
            let work = Work::Closed { count: order.tunnels, window };
            let mine = Lane { first: process, stride: processes }.share(order.tunnels);
            player.stage("closed", "closed-loop", order.start, work, Duration::ZERO, (mine, 0.0))?;
        }
        Workload::Churn(live) => {
            player.stage("churn", "open-loop", order.start, set_up(Some(live)), order.warm_up, planned)?;
        }
        Workload::Soak { live, settle } => {
            let begin = Held::now(player.fleet.now().as_secs_f64(), 0);
            player.held = Some(Vec::new());
            let outcome = player.stage("soak", "open-loop", order.start, set_up(Some(live)), order.warm_up, planned)?;
            let seen = player.held.take().unwrap_or_default();
            // While tunnels come and go; at the end they only go.
            let end = outcome.from.as_secs_f64() + planned.1;
            let seen: Vec<Held> = seen.into_iter().filter(|held| held.at <= end).collect();
            if !player.played.interrupted {
                let work = Work::Hold(settle);
                let settled = player.stage("settle", "none", None, work, Duration::ZERO, (0, settle.as_secs_f64()))?;
                let end = Held::now(player.fleet.now().as_secs_f64(), settled.sas);
                if !settled.stopped {
                    player.played.leaks = Some(leak::judge(begin, &seen, end));
                }
            }
        }
        Workload::Hold(length) => {
            player.stage("setup", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
            player.stage("hold", "none", None, Work::Hold(length), Duration::ZERO, (0, length.as_secs_f64()))?;
        }
        Workload::Failover(length) => {
            player.stage("setup", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
            let work = Work::Failover(length);
            player.stage("failover", "none", None, work, Duration::ZERO, (0, length.as_secs_f64()))?;
        }
        Workload::Rekey { ike, over } => {
            player.stage("setup", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
            let up = player.played.stages.last().map_or(0, |s| s.up);
            let seconds = over.as_secs_f64();
            let schedule = match seconds > 0.0 {
                true => Schedule::within(up * processes, over, order.spacing),
                false => Schedule::at_once(up * processes),
            };
            let what = if ike { Open::RekeyIke } else { Open::RekeyChild };
            let work = Work::Create { schedule: Arc::new(schedule), what };
            player.stage(order.workload.name(), "open-loop", None, work, Duration::ZERO, (up, seconds))?;
        }
        Workload::Children { each, over } => {
            player.stage("setup", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
            let up = player.played.stages.last().map_or(0, |s| s.up);
            // One round after the other: a tunnel makes one Child SA at a time.
            let seconds = over.as_secs_f64();
            let (rounds, count) = if seconds > 0.0 { (1, up * each) } else { (each, up) };
            for _ in 0..rounds {
                let schedule = match seconds > 0.0 {
                    true => Schedule::within(count * processes, over, order.spacing),
                    false => Schedule::at_once(count * processes),
                };
                let work = Work::Create { schedule: Arc::new(schedule), what: Open::NewChild };
                player.stage("children", "open-loop", None, work, Duration::ZERO, (count, seconds))?;
            }
        }
        Workload::Traffic { length } => {
            player.stage("setup", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
            // Our part of it is that of the tunnels.
            let part = configured as f64 / order.configured().max(1) as f64;
            for rate in order.offers.iter().map(|rate| rate * part) {
                let work = Work::Traffic { rate, length };
                player.stage("traffic", "open-loop", None, work, Duration::ZERO, (0, length.as_secs_f64()))?;
                let stage = player.played.stages.last_mut().expect("it was played just now");
                stage.offer(rate);
                if player.played.interrupted {
                    break;
                }
            }
            player.played.traffic = super::traffic::finding(&player.played.stages);
        }
        Workload::Storm => {
            player.stage("setup", "open-loop", order.start, set_up(None), order.warm_up, planned)?;
            let up = player.played.stages.last().map_or(0, |s| s.up);
            player.stage("forget", "none", None, Work::Forget, Duration::ZERO, (0, 0.0))?;
            let storm = Arc::new(Schedule::at_once(up * processes));
            player.stage(
                "storm",
                "open-loop",
                None,
                Work::SetUp { schedule: storm, live: None, until_refused: false, again: true },
                Duration::ZERO,
                (up, 0.0),
            )?;
            player.played.recovery = recovery(&player.played.stages, &player.played.times);
        }
    }
    if let Some(rate) = order.delete_rate {
        player.delete(rate)?;
    }
    Ok(player.played)
}

/// Deletes per second between trials where the run itself deletes nothing.
const DELETES: f64 = 200.0;

struct Player<'a, 'w> {
    fleet: &'a mut Fleet,
    watch: &'a mut Watch<'w>,
    played: Played,
    drain: Duration,
    configured: u64,
    /// What the process held, second by second, where somebody wants to know.
    held: Option<Vec<Held>>,
}

impl Player<'_, '_> {
    fn stage(
        &mut self,
        name: &str,
        method: &str,
        at: Option<Instant>,
        work: Work,
        warm_up: Duration,
        planned: (u64, f64),
    ) -> io::Result<Outcome> {
        let begin = at.unwrap_or_else(|| self.fleet.now());
        let at_once = match &work {
            Work::SetUp { schedule, .. } | Work::Create { schedule, .. } => schedule.is_at_once(),
            // What a reload takes away goes at once.
            Work::Failover(_) => true,
            _ => false,
        };
        let (watch, held) = (&mut self.watch, &mut self.held);
        let mut next = begin;
        let mut seen = |gauges: &[(Lane, Arc<Gauges>)], now: Instant| {
            watch(name, gauges, Instant::ZERO + now.since(begin));
            if let Some(held) = held.as_mut().filter(|_| now >= next) {
                next = now + LOOK;
                let sas = gauges.iter().map(|(_, gauges)| gauges.sas.load(Relaxed)).sum();
                held.push(Held::now(now.as_secs_f64(), sas));
            }
        };
        let outcome = self.fleet.stage(at, work, warm_up, self.drain, EVERY, &mut seen)?;
        let mut result = StageResult::of(name, method, &outcome, planned);
        (result.at_once, result.configured) = (at_once, self.configured);
        self.played.stages.push(result);
        self.played.times.push(histograms(&outcome.stats));
        self.played.interrupted |= outcome.stopped;
        Ok(outcome)
    }

    /// Deletes everything that is up.
    fn delete(&mut self, rate: f64) -> io::Result<()> {
        let up = self.played.stages.last().map_or(0, |s| s.up);
        if up == 0 {
            return Ok(());
        }
        // Our part of the rate.
        let seconds = up as f64 / (rate / self.fleet.process().1 as f64);
        // Longer than it can take: the stage ends when no tunnel is up.
        let length = Duration::from_secs_f64(seconds * 2.0 + 10.0);
        let segments = vec![Segment { from: rate, to: rate, length }];
        let schedule = Arc::new(Schedule::new(segments, Spacing::Even, None));
        let planned = (up, seconds);
        self.stage("delete", "open-loop", None, Work::Delete(schedule), Duration::ZERO, planned)?;
        Ok(())
    }
}

/// The set-up times of a storm are counted from one instant: their quantiles are the recovery. What would be ideal is as fast
/// as the same tunnels came up by plan.
pub fn recovery(stages: &[StageResult], times: &[BTreeMap<String, Histogram<u64>>]) -> Option<Recovery> {
    let (storm, times) = stages.iter().zip(times).find(|(stage, _)| stage.name == "storm")?;
    let times = times.get(super::measure::Timed::Up.name());
    let tunnels = storm.planned;
    let at = |share: f64| {
        let wanted = (tunnels as f64 * share).ceil() as u64;
        let times = times.filter(|times| wanted > 0 && times.len() >= wanted)?;
        Some(times.value_at_quantile(wanted as f64 / times.len() as f64) as f64 / 1e6)
    };
    let seconds: Vec<Option<f64>> = [0.5, 0.9, 0.99, 1.0].map(at).to_vec();
    let rate = stages.iter().find(|stage| stage.name == "setup").map(|stage| stage.planned_rate)?;
    let ideal = tunnels as f64 / rate.max(f64::MIN_POSITIVE);
    let factor = seconds[3].map(|all| all / ideal.max(f64::MIN_POSITIVE));
    Some(Recovery { seconds, factor })
}
