//! Peer or us? Who was the limit of a run, in one sentence.

use super::summary::{Latency, Limit, LoadResult, StageResult, Tester};
use super::threshold::{self, duration};
use super::traffic;

/// What the tester allows itself before it calls itself the limit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Honesty {
    /// Share of a core that one thread may use.
    pub cpu: f64,
    /// 99th percentile of how late starts may be, in microseconds.
    pub lag: f64,
}

impl Default for Honesty {
    fn default() -> Self {
        Honesty { cpu: 0.8, lag: 1_000.0 }
    }
}

/// Shorter than this a stage says nothing about how busy the tester is, in seconds.
const MOMENT: f64 = 0.1;

/// Says of a run whose thresholds are judged what it came to: what it must meet beside them, who was the limit, and with
/// which code it ends. The same for one run and for several merged ones.
pub fn conclude(result: &mut LoadResult) {
    result.flood = flood(&result.stages);
    let failover = failover(&result.stages);
    result.failover = failover.as_ref().map(|(sentence, _)| sentence.clone());
    result.thresholds.extend(result.leaks.as_ref().map(threshold::judge_leaks));
    result.thresholds.extend(failover.as_ref().map(|(_, down)| threshold::judge_failover(*down)));
    let met = result.thresholds.iter().all(|t| t.met);
    result.limit = limit(&result.stages, &result.tester, met);
    // What was asked for, where that is not who was the limit: the last of these that there is.
    let found = result.capacity.as_ref().map(|found| format!("{}.", found.finding));
    let flooded = result.flood.as_ref().map(|flood| format!("{flood}; the tester had room to spare."));
    if let Some(sentence) = result.failover.clone().or(flooded).or(found).filter(|_| !result.limit.tester_limited) {
        result.limit.sentence = sentence;
    }
    let begun: u64 = result.stages.iter().map(|s| s.started + s.faulty.started).sum();
    result.exit_code = match () {
        () if result.limit.tester_limited || result.interrupted && begun == 0 => 4,
        // Nothing that was waited for has happened.
        () if failover.is_some_and(|(_, down)| down.is_none()) => 4,
        () => u8::from(!met),
    };
}

/// Judges the measured stages of a run. `met` says whether every threshold was.
pub fn limit(stages: &[StageResult], tester: &Tester, met: bool) -> Limit {
    let reasons: Vec<String> = stages.iter().flat_map(|stage| tester_reasons(stage, tester)).collect();
    if let Some(first) = reasons.first() {
        let more = match reasons.len() - 1 {
            0 => String::new(),
            n => format!(" ({n} more such {})", if n == 1 { "sign" } else { "signs" }),
        };
        return Limit {
            who: "tester".into(),
            sentence: format!("This tester was the limit, so the figures say little about the peer: {first}{more}."),
            tester_limited: true,
        };
    }
    let (who, sentence) = match stages.iter().find_map(peer_reason).or_else(|| traffic_reason(stages)) {
        Some(reason) => ("peer", format!("The peer (or the path to it) was the limit: {reason}; the tester had room to spare.")),
        None if met => ("nobody", "Nobody was the limit: the peer took everything that was offered, and the tester had room to spare.".into()),
        None => ("peer", "The peer (or the path to it) was the limit: it answered everything, but not within the thresholds; the tester had room to spare.".into()),
    };
    Limit { who: who.into(), sentence, tester_limited: false }
}

/// What a flood of half-open IKE SAs has met, if one of the stages is one.
pub fn flood(stages: &[StageResult]) -> Option<String> {
    let stage = stages.iter().find(|stage| stage.name == "flood" && stage.faulty.started > 0)?;
    let (begun, answered) = (stage.faulty.started, stage.faulty_answered);
    let rest = begun.saturating_sub(answered);
    Some(format!(
        "{begun} IKE_SA_INIT requests without an IKE_AUTH to follow: the peer answered {answered} (each a half-open IKE SA there, \
         cookies returned where it asked for them) and held off {rest}"
    ))
}

/// What became of the tunnels in a failover, in a sentence, and how many did not come back; `None` if no stage was one.
pub fn failover(stages: &[StageResult]) -> Option<(String, Option<u64>)> {
    let stage = stages.iter().find(|stage| stage.name == "failover")?;
    let lost: u64 = stage.lost.values().sum();
    if lost == 0 {
        let length = duration((stage.to - stage.from) * 1e6);
        return Some((
            format!(
                "No tunnel went down in {length}: was the headend reloaded, or its partner made active, meanwhile?"
            ),
            None,
        ));
    }
    let causes: Vec<String> = stage.lost.iter().map(|(class, count)| format!("{class} {count}")).collect();
    let down = lost.saturating_sub(stage.done);
    let back = if down == 0 { "all came up again".to_owned() } else { format!("{down} did not come up again") };
    let mut sentence = format!("{lost} tunnels went down unasked ({}), {back}", causes.join(", "));
    if let Some(outage) = stage.latency.get("T_outage") {
        sentence += &format!(
            "; from the last word of the peer to a tunnel again: half within {}, 99 % within {}, the slowest {}",
            duration(outage.p50 as f64),
            duration(outage.p99 as f64),
            duration(outage.max as f64)
        );
    }
    Some((sentence + ".", Some(down)))
}

fn tester_reasons(stage: &StageResult, tester: &Tester) -> Vec<String> {
    let mut out = Vec::new();
    let name = &stage.name;
    let d = &stage.dropped;
    if d.not_sent > 0 {
        let why = stage.used.not_sent_why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        out.push(format!("in {name} the system would not send {} datagrams{why}", d.not_sent));
    }
    // Where the tunnels are used up, the plan was larger than the run; that is no lack of power.
    if d.late + d.in_flight > 0 {
        out.push(format!(
            "in {name} it could not begin {} of {} planned operations ({} too late, {} with too many open)",
            d.late + d.in_flight,
            stage.started + d.total(),
            d.late,
            d.in_flight
        ));
    }
    if let Some(traffic) = stage.traffic.as_ref().filter(|t| t.late * 100 > t.sent + t.late) {
        out.push(format!(
            "in {name} it could not send {} of {} packets in time",
            traffic.late,
            traffic.late + traffic.sent
        ));
    }
    // Where tunnels were lost, that is the reason, and it is the peer's.
    if let Some(traffic) =
        stage.traffic.as_ref().filter(|t| stage.lost.is_empty() && stage.up > 0 && t.unsent * 100 > t.sent)
    {
        out.push(format!(
            "in {name} {} of {} packets had no tunnel to go through, though {} were up: do the selectors hold the host that \
             echoes (--echo)?",
            traffic.unsent,
            traffic.unsent + traffic.late + traffic.sent,
            stage.up
        ));
    }
    if d.no_tunnel * 100 > stage.started && ["churn", "soak"].contains(&name.as_str()) {
        out.push(format!(
            "in {name} no tunnel was free for {} of {} planned set-ups (--tunnels allows more)",
            d.no_tunnel,
            stage.started + d.total()
        ));
    }
    out.extend(overflows(stage, tester));
    if name == "delete" {
        // How late and how busy it was while it tidied up is no one's figure.
        return out;
    }
    let (thread, busiest) = (0..)
        .zip(&stage.used.threads)
        .map(|(n, share)| (n, *share))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, 0.0));
    // A moment is always busy.
    if busiest > tester.max_cpu && stage.to - stage.from >= MOMENT {
        out.push(format!("in {name} its thread {thread} used {:.0} % of a core", busiest * 100.0));
    }
    let waited = stage.used.waited.iter().copied().fold(0.0, f64::max);
    let lag = stage.latency.get("start_lag").filter(|lag| lag.count > 0);
    if let Some(lag) = lag.filter(|_| stage.at_once) {
        let last = stage.latency.values().map(|l| l.max).max().unwrap_or_default();
        if lag.max as f64 > tester.max_lag && lag.max as f64 > last as f64 * AT_ONCE {
            out.push(format!(
                "in {name} beginning {} operations at once took it {} of the {} until the last one was done",
                lag.count,
                duration(lag.max as f64),
                duration(last as f64)
            ));
        }
    } else if let Some((share, late)) = lag.and_then(|lag| late(lag, tester.max_lag)) {
        out.push(format!(
            "in {name} {share} % of its starts were {} late or later (its threads waited for a core {:.0} % of the time)",
            duration(late as f64),
            waited * 100.0
        ));
    }
    out
}

/// How much of an operation that is due at once may pass with beginning it: beyond that the tester paces the storm.
const AT_ONCE: f64 = 0.25;

/// The share of starts, in percent, that was later than allowed. It is 1 % of many and more of few, so that one hiccup among
/// fifty starts is not yet a sign.
fn late(lag: &Latency, allowed: f64) -> Option<(u32, u64)> {
    let (share, value) = match lag.count {
        300.. => (1, lag.p99),
        60.. => (5, lag.p95),
        30.. => (10, lag.p90),
        _ => (50, lag.p50),
    };
    (value as f64 > allowed).then_some((share, value))
}

fn overflows(stage: &StageResult, tester: &Tester) -> Option<String> {
    if stage.used.receive_overflows == 0 {
        return None;
    }
    let granted = tester.buffer_granted.map_or_else(String::new, |octets| {
        format!(
            "; the kernel granted {octets} octets of receive buffer instead of {} (net.core.rmem_max)",
            tester.buffer_wanted
        )
    });
    let (name, lost) = (&stage.name, stage.used.receive_overflows);
    Some(format!("in {name} its full receive buffers lost {lost} datagrams{granted}"))
}

fn peer_reason(stage: &StageResult) -> Option<String> {
    // That tunnels go down is what it waits for.
    if stage.name == "failover" {
        return None;
    }
    let worst = stage.failures.iter().max_by_key(|f| f.count);
    if let Some(worst) = worst.filter(|_| stage.failed > 0) {
        return Some(format!(
            "{} of {} operations failed in {}, {} of them with {} in {}",
            stage.failed, stage.started, stage.name, worst.count, worst.class, worst.stage
        ));
    }
    if let Some((class, count)) = stage.lost.iter().max_by_key(|(_, count)| **count) {
        return Some(format!("{count} tunnels that were up went down in {} ({class})", stage.name));
    }
    (stage.retransmit_ratio > 0.01).then(|| {
        format!("{:.1} % of the requests in {} had to be sent again", stage.retransmit_ratio * 100.0, stage.name)
    })
}

/// Packets did not come back as they were offered.
fn traffic_reason(stages: &[StageResult]) -> Option<String> {
    let mut steps = stages.iter().filter_map(|stage| stage.traffic.as_ref());
    steps.any(|step| !traffic::carries(step)).then(|| traffic::finding(stages))?.map(|found| found.finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FailureClass;
    use crate::load::measure::During;
    use crate::load::summary::{Dropped, Failures, TrafficResult};

    fn tester() -> Tester {
        Tester {
            shard: 0,
            shards: 1,
            threads: 1,
            sources: 1,
            sources_mean: String::new(),
            ports: (500, 4500),
            shared_port: false,
            buffer_wanted: 100,
            buffer_granted: Some(50),
            max_cpu: 0.8,
            max_lag: 1e3,
        }
    }

    fn stage() -> StageResult {
        StageResult { name: "setup".into(), started: 100, done: 100, to: 1.0, ..StageResult::default() }
    }

    fn judge(stage: StageResult, met: bool) -> Limit {
        limit(&[stage], &tester(), met)
    }

    #[test]
    fn the_tester_blames_itself_first() {
        let mut dropped = stage();
        dropped.dropped = Dropped { late: 3, ..Dropped::default() };
        dropped.failed = 5;
        let mut busy = stage();
        busy.used.threads = vec![0.1, 0.93];
        let mut late = stage();
        let lag = Latency { count: 900, mean: 1.0, p50: 1, p90: 1, p95: 1, p99: 2_500, p99_9: 9_000, max: 9_000 };
        late.latency.insert("start_lag".into(), lag);
        let mut lossy = stage();
        lossy.used.receive_overflows = 7;
        let mut elsewhere = StageResult { up: 1, ..stage() };
        elsewhere.traffic = Some(TrafficResult { sent: 25, unsent: 75, ..TrafficResult::default() });
        let mut gone = elsewhere.clone();
        gone.lost.insert(FailureClass::PeerDeleted, 3);
        assert_eq!(judge(gone, true).who, "peer", "what could not be sent because tunnels went down");
        let mut unsent = stage();
        unsent.dropped.not_sent = 8;
        unsent.used.not_sent_why = Some("from 192.0.2.1 to 192.0.2.2: no route".into());
        for (stage, says) in [
            (unsent, "would not send 8 datagrams (from 192.0.2.1 to 192.0.2.2: no route)"),
            (elsewhere, "75 of 100 packets had no tunnel"),
            (dropped, "could not begin 3 of 103"),
            (busy, "thread 1 used 93 % of a core"),
            (late, "2.50 ms late"),
            (lossy, "lost 7 datagrams; the kernel granted 50 octets"),
        ] {
            let limit = judge(stage, true);
            assert!(limit.tester_limited && limit.who == "tester" && limit.sentence.contains(says), "{limit:?}");
        }
    }

    #[test]
    fn what_is_no_sign_of_a_weak_tester() {
        let lag = |count, p50, p90, max| Latency { count, mean: 1.0, p50, p90, p95: p90, p99: max, p99_9: max, max };
        // One hiccup among fifty starts, a lazy clean-up, and tunnels that a rekey had no use for.
        let mut hiccup = stage();
        hiccup.latency.insert("start_lag".into(), lag(50, 100, 200, 5_000));
        let mut clean_up = stage();
        clean_up.name = "delete".into();
        clean_up.used.threads = vec![0.95];
        clean_up.latency.insert("start_lag".into(), lag(5000, 9_000, 9_000, 9_000));
        let mut busy = stage();
        busy.dropped = Dropped { no_tunnel: 4, ..Dropped::default() };
        for stage in [hiccup.clone(), clean_up, busy.clone()] {
            assert!(!judge(stage.clone(), true).tester_limited, "{stage:?}");
        }
        hiccup.latency.insert("start_lag".into(), lag(50, 100, 2_000, 5_000));
        assert!(judge(hiccup, true).sentence.contains("10 % of its starts were 2.00 ms late"));
        busy.name = "churn".into();
        assert!(judge(busy, true).sentence.contains("no tunnel was free for 4 of 104"));
        // A storm of thousands takes time to begin; what counts is whether the peer took longer.
        let mut storm = stage();
        (storm.name, storm.at_once) = ("storm".into(), true);
        storm.latency.insert("start_lag".into(), lag(5000, 200_000, 400_000, 500_000));
        storm.latency.insert("T_up".into(), lag(5000, 4_000_000, 8_000_000, 9_000_000));
        assert!(!judge(storm.clone(), true).tester_limited);
        storm.latency.insert("T_up".into(), lag(5000, 400_000, 800_000, 900_000));
        let limit = judge(storm, true);
        assert!(limit.sentence.contains("5000 operations at once took it 500.0 ms of the 900.0 ms"), "{limit:?}");
    }

    #[test]
    fn then_the_peer_then_nobody() {
        let mut failing = stage();
        failing.failed = 4;
        failing.failures = vec![Failures { class: FailureClass::NoResponse, stage: During::Init, count: 4 }];
        let limit = judge(failing, false);
        assert!(limit.who == "peer" && limit.sentence.contains("4 of them with no_response in init"), "{limit:?}");
        let mut lost = stage();
        lost.lost.insert(FailureClass::DpdTimeout, 2);
        assert!(judge(lost, true).sentence.contains("2 tunnels that were up went down"));
        assert!(judge(stage(), false).sentence.contains("not within the thresholds"));
        assert_eq!(judge(stage(), true).who, "nobody");
        let passed = |throughput| {
            let traffic = TrafficResult { offered: 1e8, sent: 1000, throughput, ..TrafficResult::default() };
            StageResult { name: "traffic".into(), traffic: Some(traffic), up: 1, ..StageResult::default() }
        };
        let limit = judge(passed(8.5e7), true);
        assert!(
            limit.who == "peer" && limit.sentence.contains("of 100.0 Mb/s offered 85.0 Mb/s came back"),
            "{limit:?}"
        );
        assert!(judge(passed(0.0), true).sentence.contains("nothing came back of 100.0 Mb/s"));
        assert_eq!(judge(passed(9.9e7), true).who, "nobody");
    }
}
