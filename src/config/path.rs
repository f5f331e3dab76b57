//! The section `path`: what a bad path does to datagrams, in words that people use for it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{Problem, did_you_mean};
use super::file::At;
use super::value;
use crate::link::netem::{Blackout, Impairment, PathSpec};
use crate::link::sim::Chance;

/// How long a reordered datagram is held back unless it is said.
const REORDER_BY: Duration = Duration::from_millis(50);

/// A bad path. What stands directly here holds for both directions.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathSection {
    /// Share of datagrams that are lost, as in `5%`.
    pub loss: Option<At<String>>,
    /// Each datagram takes this much longer, as in `20ms`.
    pub delay: Option<At<String>>,
    /// And up to this much more.
    pub jitter: Option<At<String>>,
    /// Share of datagrams that arrive twice.
    pub duplicate: Option<At<String>>,
    /// Share of datagrams that later ones overtake, and by how long: `2%` or `2% by 50ms`.
    pub reorder: Option<At<String>>,
    /// Share of datagrams in which a bit turns over.
    pub corrupt: Option<At<String>>,
    /// Rate limit, as in `10mbit` or `200kbit`.
    pub rate: Option<At<String>>,
    /// Longest UDP payload that passes, in octets: longer ones vanish like IP fragments on some paths.
    pub longest: Option<At<String>>,
    /// When nothing passes: `every 5m for 20s`, `at 30s for 10s`.
    pub blackout: Option<At<String>>,
    /// For what we send only.
    #[serde(default)]
    pub out: WaySection,
    /// For what we receive only.
    #[serde(default, rename = "in")]
    pub inward: WaySection,
}

/// One direction of a bad path.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaySection {
    /// As `path.loss`.
    pub loss: Option<At<String>>,
    /// As `path.delay`.
    pub delay: Option<At<String>>,
    /// As `path.jitter`.
    pub jitter: Option<At<String>>,
    /// As `path.duplicate`.
    pub duplicate: Option<At<String>>,
    /// As `path.reorder`.
    pub reorder: Option<At<String>>,
    /// As `path.corrupt`.
    pub corrupt: Option<At<String>>,
    /// As `path.rate`.
    pub rate: Option<At<String>>,
    /// As `path.longest`.
    pub longest: Option<At<String>>,
    /// As `path.blackout`.
    pub blackout: Option<At<String>>,
}

const KEYS: &[&str] = &["loss", "delay", "jitter", "duplicate", "reorder", "corrupt", "rate", "longest", "blackout"];

/// What a section means.
pub(crate) fn build(section: &PathSection) -> Result<PathSpec, Problem> {
    let mut spec = PathSpec::default();
    let s = section;
    let both = [&s.loss, &s.delay, &s.jitter, &s.duplicate, &s.reorder, &s.corrupt, &s.rate, &s.longest, &s.blackout];
    for (key, at) in KEYS.iter().zip(both) {
        let Some(at) = at else { continue };
        for way in [&mut spec.out, &mut spec.inward] {
            set(way, key, &at.value).map_err(|problem| problem.at(at.place))?;
        }
    }
    for (way, s) in [(&mut spec.out, &section.out), (&mut spec.inward, &section.inward)] {
        let one =
            [&s.loss, &s.delay, &s.jitter, &s.duplicate, &s.reorder, &s.corrupt, &s.rate, &s.longest, &s.blackout];
        for (key, at) in KEYS.iter().zip(one) {
            let Some(at) = at else { continue };
            set(way, key, &at.value).map_err(|problem| problem.at(at.place))?;
        }
    }
    Ok(spec)
}

/// What a flag's text means: settings between commas, `out.` or `in.` before a key for one direction only.
pub(crate) fn parse(text: &str) -> Result<PathSpec, Problem> {
    let mut spec = PathSpec::default();
    for setting in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| Problem::new(format!("`{setting}` has no value")).hint("for example loss=5%"))?;
        match key.trim().split_once('.') {
            None => {
                set(&mut spec.out, key.trim(), value)?;
                set(&mut spec.inward, key.trim(), value)?;
            }
            Some(("out", key)) => set(&mut spec.out, key, value)?,
            Some(("in", key)) => set(&mut spec.inward, key, value)?,
            Some((way, _)) => {
                return Err(Problem::new(format!("`{way}` is no direction")).hint("out or in"));
            }
        }
    }
    Ok(spec)
}

fn set(way: &mut Impairment, key: &str, text: &str) -> Result<(), Problem> {
    let text = text.trim();
    match key {
        "loss" => way.loss = share(text)?,
        "delay" => way.delay = value::duration(text)?,
        "jitter" => way.jitter = value::duration(text)?,
        "duplicate" => way.duplicate = share(text)?,
        "corrupt" => way.corrupt = share(text)?,
        "reorder" => {
            let (chance, by) = text.split_once(" by ").map_or((text, None), |(a, b)| (a, Some(b)));
            way.reorder = share(chance.trim())?;
            way.reorder_by = by.map(value::duration).transpose()?.unwrap_or(REORDER_BY);
        }
        "rate" => way.rate = Some(rate(text)?),
        "longest" => {
            let wrong = |_| Problem::new(format!("`{text}` is no number of octets")).hint("for example 1400");
            way.longest = Some(text.parse().map_err(wrong)?);
        }
        "blackout" => way.blackouts = vec![blackout(text)?],
        other => {
            let message = format!("unknown setting of a path `{other}`");
            return Err(Problem::new(message).maybe_hint(did_you_mean(other, KEYS.iter().copied())));
        }
    }
    Ok(())
}

fn share(text: &str) -> Result<Chance, Problem> {
    let wrong = || Problem::new(format!("`{text}` is no share")).hint("for example 5% or 0.1%");
    let number: f64 = text.trim_end_matches('%').trim().parse().map_err(|_| wrong())?;
    if !text.ends_with('%') || !(0.0..=100.0).contains(&number) {
        return Err(wrong());
    }
    Ok(Chance::millionths((number * 10_000.0).round() as u32))
}

/// Octets per second.
fn rate(text: &str) -> Result<u64, Problem> {
    let wrong = || Problem::new(format!("`{text}` is no rate")).hint("for example 10mbit or 200kbit");
    let lower = text.to_ascii_lowercase();
    let (number, factor) = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)]
        .into_iter()
        .find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, factor)))
        .ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let octets = (number * factor / 8.0) as u64;
    if octets == 0 { Err(wrong()) } else { Ok(octets) }
}

fn blackout(text: &str) -> Result<Blackout, Problem> {
    let wrong = || Problem::new(format!("`{text}` is no blackout")).hint("`every 5m for 20s` or `at 30s for 10s`");
    let (when, lasts) = text.split_once(" for ").ok_or_else(wrong)?;
    let lasts = value::duration(lasts)?;
    let blackout = match when.trim().split_once(' ') {
        Some(("every", every)) => {
            let every = value::duration(every)?;
            Blackout { first: every, every, lasts }
        }
        Some(("at", first)) => Blackout { first: value::duration(first)?, every: Duration::ZERO, lasts },
        _ => return Err(wrong()),
    };
    if lasts.is_zero() || (!blackout.every.is_zero() && lasts >= blackout.every) {
        return Err(Problem::new("a blackout lasts longer than nothing and ends before the next one begins"));
    }
    Ok(blackout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_mean_what_they_say() {
        let spec =
            parse("loss=5%, out.delay=20ms,in.blackout=every 5m for 20s,rate=8mbit,reorder=2% by 70ms").expect("right");
        assert_eq!(spec.out.loss, Chance::percent(5));
        assert_eq!(spec.inward.loss, Chance::percent(5));
        assert_eq!((spec.out.delay, spec.inward.delay), (Duration::from_millis(20), Duration::ZERO));
        assert_eq!(spec.out.rate, Some(1_000_000));
        assert_eq!(spec.inward.reorder_by, Duration::from_millis(70));
        let minutes = Duration::from_secs(300);
        assert_eq!(
            spec.inward.blackouts,
            [Blackout { first: minutes, every: minutes, lasts: Duration::from_secs(20) }]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_an_example() {
        for (text, expected) in [
            ("loss=5", "`5` is no share (for example 5% or 0.1%)"),
            ("los=5%", "unknown setting of a path `los` (did you mean loss?)"),
            ("up.loss=5%", "`up` is no direction (out or in)"),
            ("rate=fast", "`fast` is no rate (for example 10mbit or 200kbit)"),
            ("blackout=daily", "`daily` is no blackout (`every 5m for 20s` or `at 30s for 10s`)"),
            ("blackout=every 5s for 9s", "a blackout lasts longer than nothing and ends before the next one begins"),
            ("loss", "`loss` has no value (for example loss=5%)"),
        ] {
            assert_eq!(super::super::path(text).expect_err(text), expected);
        }
    }
}
