//! Thresholds: `success>=99.9%`, `p99(setup)<200ms`, `rate>=500`, `rtx<=1%`, `failed(auth_failed)<=3`.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::Timed;
use super::summary::StageResult;
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
        let Some(value) = self.metric.measure(stage, times) else {
            return Judged { threshold: self.text.clone(), measured: "nothing measured".into(), met: false };
        };
        let met = match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::More => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
        };
        Judged { threshold: self.text.clone(), measured: self.metric.words(value), met }
    }
}

/// Judges a run. Thresholds are about the stage that the workload is about: the storm or the rekeys, else the first. What
/// happens to tunnels that are up, and to those that go, belongs to the run as a whole.
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
        for (name, histogram) in more {
            own.entry(name.clone()).or_insert_with(|| histogram.clone());
        }
    }
    thresholds.iter().map(|t| t.judge(&stage, &own)).collect()
}

const EXAMPLES: &str =
    "write success>=99.9%, p99(setup)<200ms, rate>=500, rtx<=1%, failed(auth_failed)<=0, lost<=0 or dropped<=0";

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
            Metric::Success | Metric::Retransmits => "a percentage, like 99.9%",
            Metric::Latency(..) => "a duration, like 200ms",
            _ => "a number",
        }
    }

    fn value(&self, text: &str) -> Option<f64> {
        match self {
            Metric::Success | Metric::Retransmits => {
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

    fn measure(&self, stage: &StageResult, times: &BTreeMap<String, Histogram<u64>>) -> Option<f64> {
        match self {
            Metric::Success => (stage.window.started > 0).then(|| stage.window.success()),
            Metric::Rate => (stage.started > 0).then_some(stage.achieved_rate),
            Metric::Retransmits => (stage.requests > 0).then_some(stage.retransmit_ratio),
            Metric::Dropped => Some(stage.dropped.total() as f64),
            Metric::Lost => Some(stage.lost.values().sum::<u64>() as f64),
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
            Metric::Success | Metric::Retransmits => format!("{:.3}%", value * 100.0),
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
    fn what_cannot_be_compared_is_explained() {
        for (text, says) in [
            ("success", "compares nothing"),
            ("sucess>=1%", "`sucess` is not measured"),
            ("success>=99", "a percentage"),
            ("p99(setup)<200", "a duration"),
            ("p99(stup)<1s", "`stup` is not timed; init, auth, setup"),
            ("rate>=fast", "a number"),
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
}
