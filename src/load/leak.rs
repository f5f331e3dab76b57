//! Does a long run keep what it should give back? Memory, file descriptors and IKE SAs, looked at while it lasts.
//!
//! Memory rises until as many tunnels are up as the plan keeps up, and until the IKE SAs that still answer repeats come and
//! go at one pace. After that it must stay. So the second quarter of the load is held against the last one, and only where
//! there were never more IKE SAs than in the first half; a run too short for that says so and does not guess. What must be
//! back at its beginning when all tunnels are gone are IKE SAs and file descriptors; an allocator may keep pages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Memory may differ by this share between two quarters.
const SLACK: f64 = 0.05;
/// And by so many octets: an allocator's own pages.
const SLACK_OCTETS: u64 = 1 << 20;
/// Fewer looks than this in a quarter say nothing.
const LOOKS: usize = 5;

/// What a process held at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Seconds since the run began.
    pub at: f64,
    /// Resident memory in octets.
    pub resident: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// IKE SAs in the tables, those that only answer repeats included.
    pub sas: u64,
}

impl Held {
    /// Of this process now.
    pub fn now(at: f64, sas: u64) -> Held {
        Held { at, resident: super::resource::resident(), descriptors: super::resource::descriptors(), sas }
    }
}

/// What a long run says about leaks.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Leaks {
    /// Before the first tunnel.
    pub begin: Held,
    /// The most memory of the second quarter of the load, with the IKE SAs and descriptors of that time.
    pub early: Option<Held>,
    /// The most memory of the last quarter of the load.
    pub late: Option<Held>,
    /// When all tunnels were gone and nothing answered repeats any more.
    pub end: Held,
    /// Something was kept.
    pub leak: bool,
    /// Memory could be judged: the load was long and even enough.
    pub memory_judged: bool,
    /// In a sentence.
    pub sentence: String,
}

/// Judges what was seen: `under_load` in order of time.
pub fn judge(begin: Held, under_load: &[Held], end: Held) -> Leaks {
    // What counts as load: at least half as many IKE SAs as there ever were.
    let most_sas = under_load.iter().map(|held| held.sas).max().unwrap_or_default();
    let under_load: Vec<Held> = under_load.iter().copied().filter(|held| held.sas * 2 >= most_sas).collect();
    let quarter = under_load.len() / 4;
    let most = |part: &[Held]| part.iter().copied().max_by_key(|held| held.resident);
    let (early, late) = match quarter >= LOOKS {
        true => (most(&under_load[quarter..2 * quarter]), most(&under_load[under_load.len() - quarter..])),
        false => (None, None),
    };
    let mut kept = Vec::new();
    if end.sas > begin.sas {
        kept.push(format!("{} IKE SAs are left in the tables", end.sas - begin.sas));
    }
    if end.descriptors > begin.descriptors {
        kept.push(format!("{} file descriptors are left open", end.descriptors - begin.descriptors));
    }
    // More tunnels need more memory, and a crowd leaves pages with the allocator; that is no leak.
    let peak = |part: &[Held]| part.iter().map(|held| held.sas).max().unwrap_or_default() as f64;
    let is_even = peak(&under_load) <= peak(&under_load[..2 * quarter]) * 1.05 + 10.0;
    let even = early.zip(late).filter(|_| is_even);
    if let Some((early, late)) = even {
        let allowed = (early.resident as f64 * SLACK) as u64 + SLACK_OCTETS;
        if late.resident > early.resident + allowed {
            kept.push(format!(
                "memory grew from {} to {} between the second and the last quarter, with as many IKE SAs",
                octets(early.resident),
                octets(late.resident)
            ));
        }
    }
    let leak = !kept.is_empty();
    let sentence = match (leak, even) {
        (true, _) => format!("A leak: {}.", kept.join("; ")),
        (false, Some((early, late))) => format!(
            "No leak: memory {} in the second quarter of the load and {} in the last one, {} IKE SAs and {} file descriptors left over.",
            octets(early.resident),
            octets(late.resident),
            end.sas.saturating_sub(begin.sas),
            end.descriptors.saturating_sub(begin.descriptors)
        ),
        (false, None) => {
            "IKE SAs and file descriptors are back where they began; the load was too short or too uneven to judge \
                          memory by."
                .into()
        }
    };
    Leaks { begin, early, late, end, leak, memory_judged: even.is_some(), sentence }
}

/// `12.3 MB`.
pub fn octets(count: u64) -> String {
    format!("{:.1} MB", count as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of a hundred looks: 20 MB and what `more` adds at each.
    fn seen(sas: impl Fn(u64) -> u64, more: impl Fn(u64) -> u64) -> Vec<Held> {
        let held = |n| Held { at: n as f64, resident: 20_000_000 + more(n), descriptors: 12, sas: sas(n) };
        (0..100).map(held).collect()
    }

    const BEGIN: Held = Held { at: 0.0, resident: 10_000_000, descriptors: 12, sas: 0 };
    const END: Held = Held { at: 120.0, resident: 22_000_000, descriptors: 12, sas: 0 };

    #[test]
    fn what_stays_is_told_from_what_only_rises_to_its_level() {
        // Up to its level in the first fifth, and a wobble.
        let level = seen(|n| n.min(20) * 10, |n| n.min(20) * 100_000 + n % 7 * 50_000);
        let found = judge(BEGIN, &level, END);
        assert!(
            !found.leak && found.memory_judged && found.sentence.starts_with("No leak: memory 22.3 MB"),
            "{found:?}"
        );
        // 40 kB more at every look, with as many IKE SAs.
        let found = judge(BEGIN, &seen(|_| 200, |n| n * 60_000), END);
        assert!(found.leak && found.sentence.contains("memory grew from 22.9 MB to 25.9 MB"), "{}", found.sentence);
        // The same where there are more and more of them is for no one to judge.
        let found = judge(BEGIN, &seen(|n| n * 10, |n| n * 60_000), END);
        assert!(!found.leak && !found.memory_judged && found.sentence.contains("too uneven"), "{}", found.sentence);
        // And so it is where a crowd came in between, whose memory the allocator keeps.
        let crowd = seen(|n| if n == 60 { 260 } else { 200 }, |n| if n < 60 { 0 } else { 3_000_000 });
        let found = judge(BEGIN, &crowd, END);
        assert!(!found.leak && !found.memory_judged && found.sentence.contains("too uneven"), "{}", found.sentence);
    }

    #[test]
    fn ike_sas_and_descriptors_must_be_back() {
        let level = seen(|_| 200, |_| 0);
        let found = judge(BEGIN, &level, Held { sas: 3, descriptors: 14, ..END });
        assert!(found.leak, "{found:?}");
        assert_eq!(found.sentence, "A leak: 3 IKE SAs are left in the tables; 2 file descriptors are left open.");
        let short = judge(BEGIN, &level[..10], END);
        assert!(!short.leak && !short.memory_judged && short.early.is_none(), "{short:?}");
    }
}
