//! What a run leaves in its directory beside `result.json`: HdrHistogram logs and a CSV time series.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};

use super::summary::StageResult;

/// Name of the histogram log.
pub const HLOG: &str = "latency.hlog";
/// Name of the time series.
pub const CSV: &str = "series.csv";

/// The interval log of all stages: one entry per stage and latency, tagged `stage.latency`, values in microseconds.
///
/// # Errors
///
/// Never for memory; the type is that of the serializer's.
pub fn hlog(stages: &[StageResult], times: &[BTreeMap<String, Histogram<u64>>]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut serializer = V2Serializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("ikelab load; values in microseconds")
        .with_max_value_divisor(1e3)
        .begin_log_with(&mut out, &mut serializer)?;
    for (number, (stage, times)) in stages.iter().zip(times).enumerate() {
        for (name, histogram) in times {
            let tag = format!("{number}.{}.{name}", stage.name);
            let seconds = |s: f64| Duration::from_secs_f64(s.max(0.0));
            let tag = Tag::new(&tag).ok_or_else(|| io::Error::other("a tag with a blank"))?;
            log.write_histogram(histogram, seconds(stage.from), seconds(stage.to - stage.from), Some(tag))
                .map_err(|e| io::Error::other(format!("{e:?}")))?;
        }
    }
    Ok(out)
}

/// Reads such a log: for each stage its latencies by name.
///
/// # Errors
///
/// In words, what is wrong with it.
pub fn read_hlog(bytes: &[u8]) -> Result<Vec<BTreeMap<String, Histogram<u64>>>, String> {
    let mut out: Vec<BTreeMap<String, Histogram<u64>>> = Vec::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(bytes) {
        let entry = entry.map_err(|e| format!("{e:?}"))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let (stage, name) = place(&interval).ok_or("an entry without a tag of ours")?;
        let encoded = base64(interval.encoded_histogram()).ok_or("an entry that is not base64")?;
        let histogram = deserializer.deserialize(&mut encoded.as_slice()).map_err(|e| e.to_string())?;
        if stage > 1000 {
            return Err(format!("stage {stage} is out of range"));
        }
        if out.len() <= stage {
            out.resize(stage + 1, BTreeMap::new());
        }
        out[stage].insert(name, histogram);
    }
    Ok(out)
}

fn place(interval: &IntervalLogHistogram<'_>) -> Option<(usize, String)> {
    let tag = interval.tag()?;
    let mut parts = tag.as_str().splitn(3, '.');
    let stage = parts.next()?.parse().ok()?;
    Some((stage, parts.nth(1)?.to_owned()))
}

/// Standard base64 (RFC 4648 4), padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()
}

/// The time series: one line per stage and second.
pub fn csv(stages: &[StageResult]) -> String {
    let mut out = String::from("stage,second,due,started,done,failed,dropped\n");
    for stage in stages {
        for (second, b) in stage.bins.iter().enumerate() {
            let _ =
                writeln!(out, "{},{second},{},{},{},{},{}", stage.name, b.due, b.started, b.done, b.failed, b.dropped);
        }
    }
    out
}

/// Writes both.
///
/// # Errors
///
/// With the file's name.
pub fn write(dir: &Path, stages: &[StageResult], times: &[BTreeMap<String, Histogram<u64>>]) -> io::Result<()> {
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display())))
    };
    put(HLOG, &hlog(stages, times)?)?;
    put(CSV, csv(stages).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::histogram;

    #[test]
    fn base64_by_the_rfc() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn a_log_comes_back_without_loss() {
        let stages =
            ["setup", "delete"].map(|name| StageResult { name: name.into(), to: 2.0, ..StageResult::default() });
        let filled = |step: u64| {
            let mut h = histogram();
            (1..500).for_each(|n| h.record(n * step).expect("in range"));
            h
        };
        let times = vec![
            BTreeMap::from([("T_up".to_owned(), filled(7)), ("start_lag".to_owned(), filled(1))]),
            BTreeMap::from([("T_delete".to_owned(), filled(1_000_000))]),
        ];
        let bytes = hlog(&stages, &times).expect("memory");
        assert_eq!(read_hlog(&bytes).expect("our own log"), times);
        let mut merged = read_hlog(&bytes).expect("again").remove(0).remove("T_up").expect("there");
        merged.add(filled(7)).expect("one layout");
        assert_eq!((merged.len(), merged.max()), (998, filled(7).max()));
        assert!(read_hlog(b"not a log").is_err());
    }
}
