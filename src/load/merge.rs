//! Joins the results of several processes of one load run.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;

use super::leak::{Held, Leaks};
use super::measure::FailureCounts;
use super::summary::{
    Bin, Capacity, Context, Failures, Latency, Limit, LoadResult, StageResult, Tester, TrafficResult, Window,
};
use super::threshold::{self, Threshold};
use super::verdict;
use crate::time::utc_nanos;

/// Thresholds that follow from the workload and are judged anew.
const DERIVED: [&str; 2] = [threshold::NO_LEAK, threshold::ALL_BACK];

/// Latencies of each stage, by name.
pub type Times = Vec<BTreeMap<String, Histogram<u64>>>;

/// Joins them; the first one gives what all have in common. Sentences about what is missing or does not fit come along.
///
/// # Errors
///
/// In words, if they are no parts of one run.
pub fn merge(mut parts: Vec<(LoadResult, Times)>) -> Result<(LoadResult, Times, Vec<String>), String> {
    parts.sort_by_key(|(result, _)| result.tester.shard);
    let mut warnings = Vec::new();
    let Some((first, _)) = parts.first() else { return Err("no results".into()) };
    let (workload, shards) = (first.workload.clone(), first.tester.shards);
    let mut seen = BTreeSet::new();
    for (part, times) in &parts {
        let shard = part.tester.shard;
        if part.workload != workload || part.tester.shards != shards {
            return Err(format!(
                "shard {shard} ran {} as one of {}, the first one {workload} as one of {shards}: not of one run",
                part.workload, part.tester.shards
            ));
        }
        if !seen.insert(shard) {
            return Err(format!("shard {shard} of {shards} stands here twice"));
        }
        if part.stages.len() != times.len() {
            return Err(format!("shard {shard}: {} stages, but latencies of {}", part.stages.len(), times.len()));
        }
        warnings.extend(differences(first, part));
        // How long issuing certificates took differs from machine to machine.
        let same = Context { issue_micros: first.context.issue_micros, ..part.context.clone() };
        if part.connection.remote != first.connection.remote || same != first.context {
            warnings
                .push(format!("shard {shard} had another peer or other algorithms than shard {}", first.tester.shard));
        }
    }
    let missing: Vec<String> = (0..shards).filter(|n| !seen.contains(n)).map(|n| n.to_string()).collect();
    if !missing.is_empty() {
        warnings.push(format!("of {shards} shards these are missing: {}", missing.join(", ")));
    }
    let limited: Vec<(u64, String)> = parts
        .iter()
        .filter(|(part, _)| part.limit.tester_limited)
        .map(|(part, _)| (part.tester.shard, part.limit.sentence.clone()))
        .collect();
    let mut parts = parts.into_iter();
    let (mut result, mut times) = parts.next().expect("there is a first one");
    if result.capacity.take_if(|found| found.of != Capacity::TUNNELS).is_some() {
        return Err(
            "a search for the largest rate is no part of a larger one: search on one machine, or give each shard the \
                    same --rate"
                .into(),
        );
    }
    for (mut part, mut more) in parts {
        if !align((&mut result.stages, &mut times), (&mut part.stages, &mut more)) {
            return Err(format!("shard {} has other stages than shard {}", part.tester.shard, result.tester.shard));
        }
        for ((stage, times), (other, more)) in
            result.stages.iter_mut().zip(&mut times).zip(part.stages.iter().zip(more))
        {
            add_stage(stage, other);
            for (name, histogram) in more {
                match times.get_mut(&name) {
                    Some(into) => into.add(&histogram).map_err(|e| format!("{name}: {e}"))?,
                    None => {
                        times.insert(name, histogram);
                    }
                }
            }
            stage.latency = times.iter().map(|(name, h)| (name.clone(), Latency::of(h))).collect();
        }
        if let (Some(a), Some(b)) = (&mut result.capacity, &part.capacity) {
            add_capacity(a, b);
        }
        if let (Some(a), Some(b)) = (&mut result.leaks, &part.leaks) {
            add_leaks(a, b);
        }
        add_tester(&mut result.tester, &part.tester);
        result.seconds = result.seconds.max(part.seconds);
        result.interrupted |= part.interrupted;
    }
    result.traffic = super::traffic::finding(&result.stages);
    result.recovery = super::workload::recovery(&result.stages, &times);
    let given = result.thresholds.iter().filter(|t| !DERIVED.contains(&t.threshold.as_str()));
    let thresholds: Vec<Threshold> = given.map(|t| Threshold::parse(&t.threshold)).collect::<Result<_, _>>()?;
    result.thresholds = threshold::judge_run(&thresholds, &result.stages, &times);
    verdict::conclude(&mut result);
    if let Some(limit) = limited_by(&limited, shards) {
        (result.limit, result.exit_code) = (limit, 4);
    }
    Ok((result, times, warnings))
}

/// One shard that was the limit limits the run: its late starts would be few among those of all.
fn limited_by(limited: &[(u64, String)], shards: u64) -> Option<Limit> {
    let ((shard, why), others) = limited.split_first()?;
    let mut sentence = format!("In shard {shard} of {shards}: {why}");
    if !others.is_empty() {
        let numbers: Vec<String> = others.iter().map(|(shard, _)| shard.to_string()).collect();
        sentence += &format!(" So it was in shard {}.", numbers.join(", "));
    }
    Some(Limit { who: "tester".into(), sentence, tester_limited: true })
}

/// Shards that began further apart than this, in seconds, were not one load.
const TOGETHER: f64 = 1.0;

/// What shards of one run have in common, and this one has not in common with the first, in sentences.
fn differences(first: &LoadResult, part: &LoadResult) -> Vec<String> {
    let (one, shard) = (first.tester.shard, part.tester.shard);
    let mut out = Vec::new();
    let begin = |r: &LoadResult| Some(utc_nanos(&r.started)? as f64 / 1e9 + r.stages.first()?.from);
    if let Some(later) = begin(part).zip(begin(first)).map(|(this, first)| this - first)
        && later.abs() > TOGETHER
    {
        let when = if later > 0.0 { "later" } else { "earlier" };
        out.push(format!(
            "shard {shard} began {:.1} s {when} than shard {one}, so the peer had less than the whole load at a time \
             (--start-at aligns them)",
            later.abs()
        ));
    }
    if part.interrupted {
        out.push(format!("shard {shard} was ended by a signal before its plan was over"));
    }
    // Of a plan that was cut short nothing can be said.
    if !first.interrupted && !part.interrupted && first.stages.iter().zip(&part.stages).enumerate().any(other_plan) {
        let words = |r: &LoadResult| {
            r.stages.first().map_or_else(String::new, |s| format!("{} in {:.1} s", s.planned, s.planned_seconds))
        };
        out.push(format!(
            "shard {shard} had another plan ({}) than shard {one} ({}): all of them need the same --rate, --for and \
             --tunnels, and the same of what the workload takes",
            words(part),
            words(first)
        ));
    }
    let judged = |r: &LoadResult| {
        let given = r.thresholds.iter().map(|t| t.threshold.as_str()).filter(|t| !DERIVED.contains(t));
        given.map(str::to_owned).collect::<Vec<_>>().join(", ")
    };
    if judged(first) != judged(part) {
        out.push(format!(
            "shard {shard} had other thresholds ({}) than shard {one} ({}), which count",
            judged(part),
            judged(first)
        ));
    }
    out
}

/// Whether the shares that two shards had in a stage are not of one plan. What is done to tunnels that are up depends on how
/// many are.
fn other_plan((number, (a, b)): (usize, (&StageResult, &StageResult))) -> bool {
    let differ = |a: f64, b: f64| (a - b).abs() > 1e-6 * a.abs().max(b.abs());
    // Each is offered what its part of the tunnels makes.
    let offered =
        |s: &StageResult| Some(s.traffic.as_ref()?.offered / s.configured as f64).filter(|_| s.configured > 0);
    let shares = number == 0 && (a.planned.abs_diff(b.planned) > 1 || a.configured.abs_diff(b.configured) > 1);
    let offers = offered(a).zip(offered(b)).is_some_and(|(a, b)| differ(a, b));
    let same = a.name == b.name && a.name != DELETE;
    same && (shares || differ(a.planned_seconds, b.planned_seconds) || differ(a.warm_up, b.warm_up) || offers)
}

/// The stage that a shard has not, if none of its tunnels was up.
const DELETE: &str = "delete";

/// Gives a shard that had nothing to delete a stage in which it did nothing, beside the other's; false if the stages still
/// are not the same.
fn align(
    (ours, our_times): (&mut Vec<StageResult>, &mut Times),
    (theirs, their_times): (&mut Vec<StageResult>, &mut Times),
) -> bool {
    let mut at = 0;
    while at < ours.len().max(theirs.len()) {
        match (ours.get(at), theirs.get(at)) {
            (Some(a), Some(b)) if a.name == b.name => {}
            (_, Some(b)) if b.name == DELETE => {
                let idle = idle(b, at.checked_sub(1).and_then(|before| ours.get(before)));
                ours.insert(at, idle);
                our_times.insert(at, BTreeMap::new());
            }
            (Some(a), _) if a.name == DELETE => {
                let idle = idle(a, at.checked_sub(1).and_then(|before| theirs.get(before)));
                theirs.insert(at, idle);
                their_times.insert(at, BTreeMap::new());
            }
            _ => return false,
        }
        at += 1;
    }
    true
}

/// A stage at the time of another shard's in which nothing was done; what the process held is what it held `before`.
fn idle(beside: &StageResult, before: Option<&StageResult>) -> StageResult {
    let (name, method) = (beside.name.clone(), beside.method.clone());
    let mut stage =
        StageResult { name, method, from: beside.from, to: beside.to, success: 1.0, ..StageResult::default() };
    if let Some(before) = before {
        (stage.configured, stage.up, stage.sas) = (before.configured, before.up, before.sas);
        stage.used.threads = vec![0.0; before.used.threads.len()];
        stage.used.waited = vec![0.0; before.used.waited.len()];
        (stage.used.resident, stage.used.descriptors) = (before.used.resident, before.used.descriptors);
    }
    stage
}

fn add_tester(into: &mut Tester, other: &Tester) {
    into.threads += other.threads;
    into.sources += other.sources;
    into.buffer_granted = into.buffer_granted.into_iter().chain(other.buffer_granted).min();
    into.sources_mean = Tester::sources_words(into.sources);
}

/// Each shard brought up tunnels until one of its own was refused: together they are what the peer took.
fn add_capacity(into: &mut Capacity, other: &Capacity) {
    into.median += other.median;
    into.range = (into.range.0 + other.range.0, into.range.1 + other.range.1);
    into.trials = into.trials.iter().zip(&other.trials).map(|(a, b)| a + b).collect();
    if !into.finding.contains(&other.finding) {
        into.finding = format!("{}; in another shard, {}", into.finding, other.finding);
    }
}

fn add_leaks(into: &mut Leaks, other: &Leaks) {
    let add = |a: &mut Held, b: &Held| {
        a.resident += b.resident;
        a.descriptors += b.descriptors;
        a.sas += b.sas;
    };
    let both = |a: &mut Option<Held>, b: &Option<Held>| match (a.as_mut(), b) {
        (Some(a), Some(b)) => add(a, b),
        _ => *a = None,
    };
    add(&mut into.begin, &other.begin);
    add(&mut into.end, &other.end);
    both(&mut into.early, &other.early);
    both(&mut into.late, &other.late);
    // One shard that leaks is what is to be read, not the many that do not.
    if !into.leak && (other.leak || !other.memory_judged) {
        into.sentence.clone_from(&other.sentence);
    }
    into.leak |= other.leak;
    into.memory_judged &= other.memory_judged;
}

/// The counts of two stages of one name, side by side or one after the other. What was lost is not among them: that
/// belongs to the run.
pub(super) fn add_counts(into: &mut StageResult, other: &StageResult) {
    let window = |a: &mut Window, b: &Window| {
        a.started += b.started;
        a.done += b.done;
        a.failed += b.failed;
    };
    into.started += other.started;
    into.done += other.done;
    into.failed += other.failed;
    into.unfinished += other.unfinished;
    window(&mut into.window, &other.window);
    window(&mut into.faulty, &other.faulty);
    into.faulty_answered += other.faulty_answered;
    window(&mut into.aside, &other.aside);
    into.success = into.window.success();
    into.dropped.late += other.dropped.late;
    into.dropped.in_flight += other.dropped.in_flight;
    into.dropped.no_tunnel += other.dropped.no_tunnel;
    into.dropped.not_sent += other.dropped.not_sent;
    into.failures = together(&into.failures, &other.failures);
    into.faulty_failures = together(&into.faulty_failures, &other.faulty_failures);
    into.requests += other.requests;
    into.retransmits += other.retransmits;
    into.retried += other.retried;
    into.retransmit_ratio = if into.requests == 0 { 0.0 } else { into.retransmits as f64 / into.requests as f64 };
}

fn add_stage(into: &mut StageResult, other: &StageResult) {
    into.from = into.from.min(other.from);
    into.to = into.to.max(other.to);
    into.planned_seconds = into.planned_seconds.max(other.planned_seconds);
    into.planned += other.planned;
    into.planned_rate += other.planned_rate;
    into.configured += other.configured;
    add_counts(into, other);
    for (class, count) in &other.lost {
        *into.lost.entry(*class).or_default() += count;
    }
    if let (Some(a), Some(b)) = (&mut into.traffic, &other.traffic) {
        add_traffic(a, b);
    }
    into.up += other.up;
    into.sas += other.sas;
    let (a, b) = (&mut into.used, &other.used);
    a.threads.extend(&b.threads);
    a.waited.extend(&b.waited);
    a.cores.extend(&b.cores);
    a.cpu_seconds += b.cpu_seconds;
    a.process_cpu_seconds += b.process_cpu_seconds;
    let operations = into.done + into.failed + into.faulty.done + into.faulty.failed;
    a.cpu_per_operation = a.cpu_seconds * 1e6 / operations.max(1) as f64;
    a.datagrams = (a.datagrams.0 + b.datagrams.0, a.datagrams.1 + b.datagrams.1);
    a.octets = (a.octets.0 + b.octets.0, a.octets.1 + b.octets.1);
    a.receive_overflows += b.receive_overflows;
    a.queue_octets = a.queue_octets.max(b.queue_octets);
    a.not_sent += b.not_sent;
    if a.not_sent_why.is_none() {
        a.not_sent_why.clone_from(&b.not_sent_why);
    }
    a.icmp_errors += b.icmp_errors;
    a.resident += b.resident;
    a.descriptors += b.descriptors;
    if into.bins.len() < other.bins.len() {
        into.bins.resize(other.bins.len(), Bin::default());
    }
    for (a, b) in into.bins.iter_mut().zip(&other.bins) {
        a.due += b.due;
        a.started += b.started;
        a.done += b.done;
        a.failed += b.failed;
        a.dropped += b.dropped;
    }
    into.warm_up = into.warm_up.max(other.warm_up);
    into.rates(if into.planned_seconds > 0.0 { into.planned_seconds } else { into.to - into.from });
}

fn add_traffic(a: &mut TrafficResult, b: &TrafficResult) {
    // Shares weigh as much as what they are shares of.
    let mean = |x: Option<f64>, y: Option<f64>, of: (u64, u64)| {
        let whole = (of.0 + of.1).max(1) as f64;
        x.zip(y).map(|(x, y)| (x * of.0 as f64 + y * of.1 as f64) / whole)
    };
    let sent = (a.sent, b.sent);
    let sealed = |t: &TrafficResult| (t.sent as f64 * (1.0 - t.loss_there.unwrap_or(0.0))) as u64;
    a.loss_back = mean(a.loss_back, b.loss_back, (sealed(a), sealed(b)));
    a.loss_there = mean(a.loss_there, b.loss_there, sent);
    a.loss = mean(Some(a.loss), Some(b.loss), sent).unwrap_or(0.0);
    a.overhead = mean(Some(a.overhead), Some(b.overhead), sent).unwrap_or(1.0);
    a.first_back = a.first_back.into_iter().chain(b.first_back).reduce(f64::min);
    a.offered += b.offered;
    a.sent += b.sent;
    a.late += b.late;
    a.unsent += b.unsent;
    a.returned += b.returned;
    a.sent_rate += b.sent_rate;
    a.throughput += b.throughput;
    a.bad += b.bad;
    a.active += b.active;
}

fn together(a: &[Failures], b: &[Failures]) -> Vec<Failures> {
    let mut sum = FailureCounts::new();
    for f in a.iter().chain(b) {
        *sum.entry((f.class, f.stage)).or_default() += f.count;
    }
    sum.into_iter().map(|((class, stage), count)| Failures { class, stage, count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FailureClass;
    use crate::load::measure::{During, histogram};
    use crate::load::summary::testing;

    fn part(shard: u64, done: u64, micros: u64) -> (LoadResult, Times) {
        let mut result = testing::result(shard, 2);
        let mut h = histogram();
        (0..done).for_each(|_| h.record(micros).expect("in range"));
        let stage = &mut result.stages[0];
        (stage.started, stage.done, stage.requests) = (done + 1, done, 2 * done);
        (stage.failed, stage.window.started, stage.window.done) = (1, done + 1, done);
        stage.failures = vec![Failures { class: FailureClass::NoResponse, stage: During::Init, count: 1 }];
        stage.bins = vec![Bin { done, ..Bin::default() }; shard as usize + 1];
        (result, vec![BTreeMap::from([("T_up".to_owned(), h)])])
    }

    #[test]
    fn two_shards_are_joined_and_judged_anew() {
        let (result, times, warnings) = merge(vec![part(1, 300, 9_000), part(0, 100, 1_000)]).expect("of one run");
        assert!(warnings.is_empty(), "{warnings:?}");
        let stage = &result.stages[0];
        assert_eq!((stage.started, stage.done, stage.failed, stage.requests), (402, 400, 2, 800));
        assert_eq!(stage.failures[0].count, 2);
        assert_eq!(stage.bins.iter().map(|b| b.done).collect::<Vec<_>>(), [400, 300]);
        assert_eq!((times[0]["T_up"].len(), stage.latency["T_up"].count), (400, 400));
        assert!(stage.latency["T_up"].p50 >= 8_990, "three quarters are slow");
        assert_eq!(result.thresholds[0].measured, "99.502%");
        assert_eq!((result.thresholds[0].met, result.exit_code), (false, 1));
        assert_eq!((result.tester.threads, result.tester.sources), (2, 2));
    }

    #[test]
    fn a_storm_and_a_soak_are_judged_over_all_shards() {
        use super::super::leak;

        let storm = |shard, micros| {
            let (mut result, mut times) = part(shard, 100, micros);
            let mut again = result.stages[0].clone();
            result.stages[0].planned_rate = 50.0;
            (again.name, again.planned) = ("storm".into(), 100);
            result.stages.push(again);
            times.push(times[0].clone());
            result.recovery = super::super::workload::recovery(&result.stages, &times);
            let end = leak::Held { sas: shard, descriptors: 9, ..leak::Held::default() };
            result.leaks = Some(leak::judge(leak::Held { descriptors: 9, ..leak::Held::default() }, &[], end));
            (result, times)
        };
        let (one, other) = (storm(0, 1_000), storm(1, 9_000));
        let at = |result: &LoadResult| result.recovery.as_ref().expect("a storm has one").seconds.clone();
        assert!(at(&one.0)[3].is_some_and(|all| all < 0.0011), "{:?}", one.0.recovery);
        let (result, _, _) = merge(vec![one, other]).expect("of one run");
        let seconds = at(&result);
        assert!(seconds[0].is_some_and(|s| s < 0.0011) && seconds[3].is_some_and(|s| s > 0.0089), "{seconds:?}");
        let leaks = result.leaks.as_ref().expect("both have them");
        assert!(leaks.leak && leaks.end.sas == 1 && leaks.sentence.contains("1 IKE SAs are left"), "{leaks:?}");
        let judged = result.thresholds.last().expect("no leak is one");
        assert!(judged.threshold == threshold::NO_LEAK && !judged.met && result.exit_code == 1, "{judged:?}");
    }

    /// A shard whose tunnels have all failed, so that it had nothing to delete.
    fn blocked(shard: u64) -> (LoadResult, Times) {
        let (mut result, mut times) = part(shard, 0, 1);
        result.stages[0].used.threads = vec![0.3];
        result.stages[0].used.resident = 1000;
        times[0].clear();
        (result, times)
    }

    /// One whose tunnels came up and were deleted.
    fn honest(shard: u64) -> (LoadResult, Times) {
        let (mut result, mut times) = part(shard, 100, 1_000);
        result.stages[0].used.threads = vec![0.2];
        let mut delete = StageResult { name: "delete".into(), started: 100, done: 100, ..StageResult::default() };
        (delete.from, delete.to, delete.planned, delete.used.threads) = (3.0, 4.0, 100, vec![0.1]);
        delete.used.resident = 500;
        result.stages.push(delete);
        times.push(times[0].clone());
        (result, times)
    }

    #[test]
    fn a_shard_with_nothing_up_is_joined_too() {
        for parts in [vec![blocked(0), honest(1)], vec![honest(0), blocked(1)]] {
            let (result, times, warnings) = merge(parts).expect("of one run");
            assert!(warnings.is_empty(), "{warnings:?}");
            let [setup, delete] = &result.stages[..] else { panic!("{:?}", result.stages) };
            assert_eq!((setup.done, setup.failed, delete.done, delete.planned), (100, 2, 100, 100));
            assert_eq!((delete.from, delete.to, delete.success, delete.used.resident), (3.0, 4.0, 1.0, 1500));
            assert_eq!((delete.used.threads.len(), times.len(), times[1]["T_up"].len()), (2, 2, 100));
            assert_eq!((result.exit_code, result.limit.who.as_str()), (1, "peer"));
        }
        // Between the trials of a search for the number of tunnels, too.
        let trials = |mut one: (LoadResult, Times)| {
            let again = one.clone();
            one.0.stages.extend(again.0.stages);
            one.1.extend(again.1);
            one
        };
        let (result, ..) = merge(vec![trials(blocked(0)), trials(honest(1))]).expect("of one run");
        let names: Vec<&str> = result.stages.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["setup", "delete", "setup", "delete"]);
        let mut other = honest(1);
        other.0.stages[1].name = "storm".into();
        assert!(merge(vec![honest(0), other]).expect_err("another workload").contains("has other stages"));
    }

    #[test]
    fn one_shard_that_was_the_limit_limits_the_run() {
        let limited = |shard: u64, share: u64| {
            let (mut result, times) = part(shard, 100, 1_000);
            result.tester.shards = 4;
            (result.stages[0].failed, result.stages[0].failures) = (0, Vec::new());
            result.stages[0].window.started = 100;
            let why = format!("This tester was the limit: {share} % of its starts were late.");
            let who = if share > 1 { "tester" } else { "nobody" };
            result.limit = Limit { who: who.into(), sentence: why, tester_limited: share > 1 };
            (result, times)
        };
        let (result, ..) = merge((0..4).map(|n| limited(n, 0)).collect()).expect("of one run");
        assert_eq!((result.exit_code, result.limit.tester_limited), (0, false), "{:?}", result.limit);
        let (result, ..) = merge((0..4).map(|n| limited(n, n)).collect()).expect("of one run");
        assert_eq!((result.exit_code, result.limit.who.as_str()), (4, "tester"));
        let says = "In shard 2 of 4: This tester was the limit: 2 % of its starts were late. So it was in shard 3.";
        assert_eq!((result.limit.sentence.as_str(), result.limit.tester_limited), (says, true));
    }

    #[test]
    fn shards_of_different_times_rates_or_thresholds_are_named() {
        let shard = |n: u64| {
            let mut one = part(n, 10, 1_000);
            one.0.started = "2026-11-21T02:21:36.500Z".into();
            (one.0.stages[0].from, one.0.stages[0].planned, one.0.stages[0].planned_seconds) = (2.0, 500, 10.0);
            one
        };
        let warnings = |change: &dyn Fn(&mut LoadResult)| {
            let (one, mut other) = (shard(0), shard(1));
            change(&mut other.0);
            merge(vec![one, other]).expect("of one run").2
        };
        // A process that was started later waits less for its begin; and not every number can be halved.
        assert!(warnings(&|_| {}).is_empty());
        let aligned = warnings(&|r| {
            (r.started, r.stages[0].from, r.stages[0].planned) = ("2026-11-21T02:21:37.600Z".into(), 0.9, 499);
        });
        assert!(aligned.is_empty(), "{aligned:?}");
        let another_day = warnings(&|r| r.started = "2026-11-22T02:21:36.500Z".into());
        assert!(another_day.len() == 1 && another_day[0].contains("shard 1 began 86400.0 s later"), "{another_day:?}");
        let rate = warnings(&|r| r.stages[0].planned = 1000);
        assert!(rate.len() == 1 && rate[0].contains("(1000 in 10.0 s) than shard 0 (500 in 10.0 s)"), "{rate:?}");
        let length = warnings(&|r| r.stages[0].planned_seconds = 20.0);
        assert!(length.len() == 1 && length[0].contains("another plan"), "{length:?}");
        let cold = warnings(&|r| r.stages[0].warm_up = 5.0);
        assert!(cold.len() == 1 && cold[0].contains("another plan"), "{cold:?}");
        // Of 3 Mb/s each is offered what its tunnels make.
        let offers = |second: f64| {
            let (mut one, mut other) = (shard(0), shard(1));
            for (part, configured, offered) in [(&mut one, 2, 2e6), (&mut other, 1, second)] {
                let traffic = TrafficResult { offered, ..TrafficResult::default() };
                (part.0.stages[0].configured, part.0.stages[0].traffic) = (configured, Some(traffic));
            }
            merge(vec![one, other]).expect("of one run").2
        };
        assert!(offers(1e6).is_empty() && offers(2e6)[0].contains("another plan"), "{:?}", offers(1e6));
        let judged = warnings(&|r| r.thresholds[0].threshold = "success>=50%".into());
        assert!(judged.len() == 1 && judged[0].contains("other thresholds (success>=50%)"), "{judged:?}");
        let stopped = warnings(&|r| (r.interrupted, r.stages[0].planned) = (true, 3));
        assert!(stopped.len() == 1 && stopped[0].contains("shard 1 was ended by a signal"), "{stopped:?}");
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        assert!(merge(vec![part(0, 1, 1), part(0, 1, 1)]).expect_err("twice").contains("twice"));
        let mut other = part(1, 1, 1);
        other.0.workload = "churn".into();
        assert!(merge(vec![part(0, 1, 1), other]).expect_err("another").contains("not of one run"));
        let (_, _, warnings) = merge(vec![part(1, 1, 1)]).expect("a part");
        assert_eq!(warnings, ["of 2 shards these are missing: 0"]);
        assert!(merge(Vec::new()).is_err());
    }
}
