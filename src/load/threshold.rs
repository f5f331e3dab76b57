//! Thresholds: `success>=99.9%`, `p99(setup)<200ms`, `rate>=500`, `rtx<=1%`, `failed(auth_failed)<=3`, `throughput>=80M`.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::Timed;
use super::summary::StageResult;
use super::traffic;
use crate::engine::FailureClass;
use crate::fault::table::did_you_mean;

/// One threshold.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// A ratio, a number, or microseconds.
    limit: f64,
}

#[derive(Clone, PartialEq, Debug)]
enum Metric {
    Success,
    Rate,
    Retransmits,
    Dropped,
    Lost,
    Failed(Option<FailureClass>),
    /// Of traffic: the largest share of packets that did not come back, of all its steps.
    Loss,
    /// The largest throughput of all its steps.
    Throughput,
    /// The largest rate offered of which as good as all came back.
    Carried,
    /// A quantile (1.0 is the largest) of a latency.
    Latency(f64, Timed),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// A threshold and what was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// As given.
    pub threshold: String,
    /// What was measured, in words; `nothing measured` if there was nothing.
    pub measured: String,
    /// It holds.
    pub met: bool,
}

/// Where there is no other: the share of set-ups that succeed.
pub const DEFAULT: &str = "success>=99.9%";

/// Where tunnels are kept for a while: none of them goes down unasked.
pub const NONE_LOST: &str = "lost<=0";
/// What traffic must meet as well, where there is no other: some rate that was offered is carried.
pub const CARRIES: &str = "carried>0";

/// What a soak must meet beside its thresholds.
pub const NO_LEAK: &str = "no leak";

/// A soak's leaks, as a threshold.
pub fn judge_leaks(leaks: &super::leak::Leaks) -> Judged {
    Judged { threshold: NO_LEAK.into(), measured: leaks.sentence.clone(), met: !leaks.leak }
}

/// What a failover must meet beside its thresholds.
pub const ALL_BACK: &str = "all tunnels are back";

/// A failover, as a threshold; `down` did not come back, `None` means that none went down.
pub fn judge_failover(down: Option<u64>) -> Judged {
    let measured = match down {
        None => "none went down".to_owned(),
        Some(0) => "yes".to_owned(),
        Some(down) => format!("{down} are not"),
    };
    Judged { threshold: ALL_BACK.into(), measured, met: down == Some(0) }
}

impl Threshold {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// In words, with the nearest valid form.
    pub fn parse(text: &str) -> Result<Threshold, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let at = compact.find(['<', '>']).ok_or_else(|| format!("`{text}` compares nothing: {EXAMPLES}"))?;
        let (name, rest) = compact.split_at(at);
        let (comparison, value) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Comparison::AtMost, &rest[2..]),
            [b'>', b'=', ..] => (Comparison::AtLeast, &rest[2..]),
            [b'<', ..] => (Comparison::Less, &rest[1..]),
            _ => (Comparison::More, &rest[1..]),
        };
        let metric = Metric::parse(name).map_err(|why| format!("`{text}`: {why}"))?;
        let limit = metric.value(value).ok_or_else(|| format!("`{text}`: `{value}` is not {}", metric.unit()))?;
        Ok(Threshold { text: compact, metric, comparison, limit })
    }

    /// Holds it against a stage.
    pub fn judge(&self, stage: &StageResult, times: &BTreeMap<String, Histogram<u64>>) -> Judged {
        self.judged(self.metric.measure(stage, times))
    }

    fn judged(&self, value: Option<f64>) -> Judged {
        let Some(value) = value else {
            return Judged { threshold: self.text.clone(), measured: "nothing measured".into(), met: false };
        };
        // 999 of 1,000 are 99.9 %, whatever the last binary digit says.
        let near = self.limit.abs() * ROUNDING;
        let met = match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::AtMost => value <= self.limit + near,
            Comparison::More => value > self.limit,
            Comparison::AtLeast => value >= self.limit - near,
        };
        Judged { threshold: self.text.clone(), measured: self.metric.words(value), met }
    }
}

/// Judges a run. Thresholds are about the stage that the workload is about: the storm or the rekeys, else the first. What
/// happens to tunnels that are up, and to those that go, belongs to the run as a whole; so do the steps of traffic.
pub fn judge_run(
    thresholds: &[Threshold],
    stages: &[StageResult],
    times: &[BTreeMap<String, Histogram<u64>>],
) -> Vec<Judged> {
    let about = stages
        .iter()
        .position(|s| ["storm", "children"].contains(&s.name.as_str()) || s.name.starts_with("rekey"))
        .unwrap_or(0);
    let (Some(stage), Some(own)) = (stages.get(about), times.get(about)) else { return Vec::new() };
    let (mut stage, mut own) = (stage.clone(), own.clone());
    for (other, more) in stages.iter().zip(times).skip(about + 1) {
        for (class, count) in &other.lost {
            *stage.lost.entry(*class).or_default() += count;
        }
        // Rounds of one thing, one after the other.
        let round = other.name == stage.name;
        if round {
            super::merge::add_counts(&mut stage, other);
        }
        for (name, histogram) in more {
            match own.get_mut(name) {
                Some(times) if round || name == Timed::Dpd.name() => {
                    times.add(histogram).expect("all histograms have one layout");
                }
                Some(_) => {}
                None => drop(own.insert(name.clone(), histogram.clone())),
            }
        }
    }
    thresholds
        .iter()
        .map(|t| t.metric.of_traffic(stages).map_or_else(|| t.judge(&stage, &own), |v| t.judged(v)))
        .collect()
}

/// What is lost in binary fractions.
const ROUNDING: f64 = 1e-12;

const EXAMPLES: &str = "write success>=99.9%, p99(setup)<200ms, rate>=500, rtx<=1%, failed(auth_failed)<=0, lost<=0 or dropped<=0; of traffic \
     throughput>=80M, carried>=50M or loss<=0.1%";

impl Metric {
    fn parse(name: &str) -> Result<Metric, String> {
        let (head, inside) = match name.split_once('(') {
            Some((head, inside)) => {
                (head, Some(inside.strip_suffix(')').ok_or_else(|| "a parenthesis is not closed".to_owned())?))
            }
            None => (name, None),
        };
        let plain = |metric| if inside.is_none() { Ok(metric) } else { Err(format!("{head} takes no parentheses")) };
        match head {
            "success" => return plain(Metric::Success),
            "rate" => return plain(Metric::Rate),
            "rtx" => return plain(Metric::Retransmits),
            "dropped" => return plain(Metric::Dropped),
            "lost" => return plain(Metric::Lost),
            "loss" => return plain(Metric::Loss),
            "throughput" => return plain(Metric::Throughput),
            "carried" => return plain(Metric::Carried),
            "failed" => return inside.map(class).transpose().map(Metric::Failed),
            _ => {}
        }
        let quantile = match head.strip_prefix('p') {
            Some(digits) => digits.parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p)).map(|p| p / 100.0),
            None => (head == "max").then_some(1.0),
        };
        let Some(quantile) = quantile else { return Err(format!("`{head}` is not measured; {EXAMPLES}")) };
        let word = inside.unwrap_or(Timed::Up.word());
        match Timed::ALL.into_iter().find(|t| t.word() == word || t.name() == word) {
            Some(timed) => Ok(Metric::Latency(quantile, timed)),
            None => {
                let words: Vec<&str> = Timed::ALL.iter().map(|t| t.word()).collect();
                Err(format!("`{word}` is not timed; {} are", words.join(", ")))
            }
        }
    }

    fn unit(&self) -> &'static str {
        match self {
            Metric::Success | Metric::Retransmits | Metric::Loss => "a percentage, like 99.9%",
            Metric::Throughput | Metric::Carried => "a rate in bits per second, like 80M",
            Metric::Latency(..) => "a duration, like 200ms",
            _ => "a number",
        }
    }

    fn value(&self, text: &str) -> Option<f64> {
        match self {
            Metric::Throughput | Metric::Carried if text == "0" => Some(0.0),
            Metric::Throughput | Metric::Carried => traffic::parse_bits(text),
            Metric::Success | Metric::Retransmits | Metric::Loss => {
                text.strip_suffix('%')?.parse::<f64>().ok().filter(|p| p.is_finite()).map(|p| p / 100.0)
            }
            Metric::Latency(..) => {
                // Fractions of a millisecond are written as microseconds.
                match text.strip_suffix("us") {
                    Some(micros) => micros.parse().ok(),
                    None if text.ends_with(|c: char| c.is_ascii_digit()) => None,
                    None => crate::config::duration(text).ok().map(|d| d.as_secs_f64() * 1e6),
                }
            }
            _ => text.parse::<f64>().ok().filter(|n| n.is_finite()),
        }
    }

    /// What all steps of traffic say of it: nothing if nothing was sent; `None` if it is not about traffic.
    fn of_traffic(&self, stages: &[StageResult]) -> Option<Option<f64>> {
        let sent = || stages.iter().filter_map(|stage| stage.traffic.as_ref()).filter(|step| step.sent > 0);
        let found = || traffic::finding(stages).filter(|_| sent().next().is_some());
        match self {
            Metric::Loss => Some(sent().map(|step| step.loss).reduce(f64::max)),
            Metric::Throughput => Some(found().map(|found| found.best)),
            Metric::Carried => Some(found().map(|found| found.carried)),
            _ => None,
        }
    }

    fn measure(&self, stage: &StageResult, times: &BTreeMap<String, Histogram<u64>>) -> Option<f64> {
        match self {
            Metric::Success => (stage.window.started > 0).then(|| stage.window.success()),
            Metric::Rate => (stage.started > 0).then_some(stage.achieved_rate),
            Metric::Retransmits => (stage.requests > 0).then_some(stage.retransmit_ratio),
            Metric::Dropped => Some(stage.dropped.total() as f64),
            Metric::Lost => Some(stage.lost.values().sum::<u64>() as f64),
            Metric::Loss | Metric::Throughput | Metric::Carried => self.of_traffic(std::slice::from_ref(stage))?,
            Metric::Failed(None) => Some(stage.failed as f64),
            Metric::Failed(Some(class)) => {
                Some(stage.failures.iter().filter(|f| f.class == *class).map(|f| f.count).sum::<u64>() as f64)
            }
            Metric::Latency(quantile, what) => {
                let times = times.get(what.name()).filter(|h| !h.is_empty())?;
                Some(if *quantile >= 1.0 { times.max() } else { times.value_at_quantile(*quantile) } as f64)
            }
        }
    }

    fn words(&self, value: f64) -> String {
        match self {
            Metric::Success | Metric::Retransmits | Metric::Loss => format!("{:.3}%", value * 100.0),
            Metric::Throughput | Metric::Carried => traffic::bits(value),
            Metric::Latency(..) => duration(value),
            Metric::Rate => format!("{value:.1}/s"),
            _ => format!("{value:.0}"),
        }
    }
}

/// The class of this name, or the nearest one in words.
fn class(name: &str) -> Result<FailureClass, String> {
    FailureClass::from_name(name).ok_or_else(|| {
        let names = || FailureClass::ALL.into_iter().map(FailureClass::as_str);
        match did_you_mean(name, names()) {
            near if near.is_empty() => {
                format!("`{name}` is no class of failures; {} are", names().collect::<Vec<_>>().join(", "))
            }
            near => format!("`{name}` is no class of failures{near}"),
        }
    })
}

/// Microseconds in words.
pub fn duration(micros: f64) -> String {
    let d = Duration::from_nanos((micros * 1e3).max(0.0) as u64);
    match d.as_secs_f64() {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::{During, Stats, histogram};

    #[test]
    fn thresholds_are_read_and_judged() {
        let mut stats = Stats::default();
        (stats.started, stats.done, stats.failed) = (1000, 998, 2);
        (stats.requests, stats.retransmits) = (2000, 10);
        (stats.window.started, stats.window.done) = (1000, 998);
        stats.failures.insert((FailureClass::AuthFailed, During::Auth), 2);
        let mut stage = StageResult::of_stats("setup", &stats);
        stage.achieved_rate = 499.5;
        let mut setup = histogram();
        (1..=1000).for_each(|n| setup.record(n * 100).expect("in range"));
        let times = BTreeMap::from([("T_up".to_owned(), setup)]);
        for (text, met, measured) in [
            ("success>=99.9%", false, "99.800%"),
            ("success >= 99.8%", true, "99.800%"),
            ("p50(setup)<60ms", true, "50."),
            ("p99<100ms", true, "99."),
            ("max(setup)<=100100us", true, "100.0 ms"),
            ("rate>=500", false, "499.5/s"),
            ("rate>=499.5", true, "499.5/s"),
            ("rtx<=1%", true, "0.500%"),
            ("failed(auth_failed)<=1", false, "2"),
            ("failed(no_response)<=0", true, "0"),
            ("failed<3", true, "2"),
            ("dropped<=0", true, "0"),
            ("p99(dpd)<1s", false, "nothing measured"),
        ] {
            let judged = Threshold::parse(text).expect(text).judge(&stage, &times);
            assert_eq!(judged.met, met, "{judged:?}");
            assert!(judged.measured.starts_with(measured), "{judged:?}");
        }
    }

    #[test]
    fn traffic_is_judged_over_all_its_steps() {
        use crate::load::summary::TrafficResult;

        let step = |offered: f64, throughput: f64, loss: f64| {
            let traffic = TrafficResult { offered, throughput, loss, sent: 100, ..TrafficResult::default() };
            StageResult { name: "traffic".into(), traffic: Some(traffic), ..StageResult::default() }
        };
        let setup = StageResult { name: "setup".into(), ..StageResult::default() };
        let stages = [setup.clone(), step(5e7, 5e7, 0.0), step(1e8, 8.5e7, 0.15), step(2e8, 8.4e7, 0.58)];
        let times = vec![BTreeMap::new(); stages.len()];
        let judge = |text: &str, stages: &[StageResult]| {
            let threshold = Threshold::parse(text).expect(text);
            let judged = judge_run(&[threshold], stages, &times[..stages.len()]);
            (judged[0].met, judged[0].measured.clone())
        };
        for (text, met, measured) in [
            ("throughput>=80M", true, "85.0 Mb/s"),
            ("throughput>=0.1G", false, "85.0 Mb/s"),
            ("carried>=50M", true, "50.0 Mb/s"),
            ("carried>=100M", false, "50.0 Mb/s"),
            ("loss<=1%", false, "58.000%"),
            (CARRIES, true, "50.0 Mb/s"),
        ] {
            assert_eq!(judge(text, &stages), (met, measured.to_owned()), "{text}");
        }
        // An echo host that does not answer; and where nothing was sent, nothing is known.
        let dead = [setup.clone(), step(5e7, 0.0, 1.0)];
        assert_eq!(judge(CARRIES, &dead), (false, "0 kb/s".into()));
        assert_eq!(judge("loss<100%", &dead), (false, "100.000%".into()));
        assert_eq!(judge("loss<=1%", &[setup]), (false, "nothing measured".into()));
    }

    #[test]
    fn what_cannot_be_compared_is_explained() {
        for (text, says) in [
            ("success", "compares nothing"),
            ("sucess>=1%", "`sucess` is not measured"),
            ("success>=99", "a percentage"),
            ("p99(setup)<200", "a duration"),
            ("p99(stup)<1s", "`stup` is not timed; init, auth, setup"),
            ("rate>=fast", "a number"),
            ("loss<=1", "a percentage"),
            ("throughput>=85Mb", "a rate in bits per second, like 80M"),
            ("p101<1s", "not measured"),
            ("success(x)>1%", "no parentheses"),
            ("failed(auth_faild)<=1", "`auth_faild` is no class of failures; did you mean \"auth_failed\"?"),
            ("failed(NO_RESPONSE)<=1", "did you mean \"no_response\"?"),
            ("failed(limit_dropped)<=1", "no class of failures"),
            ("failed(xyz)<=1", "no_response, cookie_loop, no_proposal_ike"),
            ("failed()<=1", "no class of failures"),
        ] {
            let error = Threshold::parse(text).expect_err(text);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_last_binary_digit_decides_nothing() {
        let mut stats = Stats::default();
        (stats.window.started, stats.window.done) = (1000, 999);
        (stats.started, stats.requests, stats.retransmits) = (1000, 1000, 7);
        let mut stage = StageResult::of_stats("setup", &stats);
        stage.achieved_rate = 496.0;
        for (text, met) in [
            ("success>=99.9%", true),
            ("success>=99.91%", false),
            ("rtx<=0.7%", true),
            ("rtx<=0.69%", false),
            ("rate>=496", true),
            ("rate>=496.01", false),
        ] {
            let judged = Threshold::parse(text).expect(text).judge(&stage, &BTreeMap::new());
            assert_eq!(judged.met, met, "{judged:?}");
        }
    }

    #[test]
    fn all_rounds_of_one_thing_are_judged() {
        let round = |done: u64, millis: u64| {
            let mut stats = Stats::default();
            (stats.window.started, stats.window.done, stats.started, stats.done) = (10, done, 10, done);
            (0..done).for_each(|_| stats.time(Timed::Child, Duration::from_millis(millis)));
            (StageResult::of_stats("children", &stats), super::super::summary::histograms(&stats))
        };
        let mut setup = round(10, 1);
        setup.0.name = "setup".into();
        let (stages, times): (Vec<_>, Vec<_>) = [setup, round(10, 1), round(0, 1), round(10, 90)].into_iter().unzip();
        let thresholds = ["success>=99.9%", "max(child)<50ms"].map(|text| Threshold::parse(text).expect(text));
        let judged = judge_run(&thresholds, &stages, &times);
        assert!(judged.iter().all(|j| !j.met) && judged[0].measured == "66.667%", "{judged:?}");
    }
}
