//! The verdict: from what was changed, what fired and what was seen to one of five words.

use serde::{Deserialize, Serialize};

use super::expect::Match;
use super::proof::Proof;

/// What a scenario came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// An honest tunnel came up.
    Pass,
    /// The documented failure was seen.
    Reproduced,
    /// It was provoked, and something else was seen.
    NotSeen,
    /// Nothing can be said: it was not really provoked, or the peer was not in a fit state.
    Inconclusive,
    /// The baseline has nothing to provoke it with.
    Unsupported,
    /// The persona has a habit that keeps it from showing: without that habit it was seen.
    Differs,
}

impl Verdict {
    /// As printed.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Reproduced => "REPRODUCED",
            Verdict::NotSeen => "NOT SEEN",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Unsupported => "UNSUPPORTED",
            Verdict::Differs => "DIFFERS",
        }
    }
}

/// The evidence of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Why the scenario makes no sense with this baseline.
    pub unsupported: Option<String>,
    /// No honest tunnel has come up since the last one that did not.
    pub no_sanity: Option<String>,
    /// The peer had to initiate and did not, or another thing outside the scenario went wrong.
    pub environment: Option<String>,
    /// Each change, and the proof or why there is none.
    pub changes: Vec<Result<Proof, String>>,
    /// Each fault, and how often it had an effect on the wire.
    pub faults: Vec<(String, usize)>,
    /// A step of the scenario is what provokes the failure: half-open IKE SAs, a restart.
    pub step_is_cause: bool,
    /// What came of the expectations.
    pub expectation: Option<Outcome>,
}

/// What came of the expectations.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// All of them were met.
    Met(Vec<Match>),
    /// One was not.
    Unmet {
        /// What was expected.
        expected: String,
        /// What was seen.
        actual: String,
    },
}

/// A verdict and its reason.
#[derive(Clone, PartialEq, Debug)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// In one line.
    pub detail: String,
    /// What was expected, if it was not seen.
    pub expected: Option<String>,
    /// What was seen instead.
    pub actual: Option<String>,
}

/// Judges. A change that did not show in what was sent, or a fault that had no effect on the wire, leaves nothing to
/// judge, whatever was seen.
pub fn judge(evidence: &Evidence) -> Judgement {
    let plain = |verdict, detail: &str| Judgement { verdict, detail: detail.to_owned(), expected: None, actual: None };
    if let Some(why) = &evidence.unsupported {
        return plain(Verdict::Unsupported, why);
    }
    if let Some(why) = &evidence.no_sanity {
        return plain(Verdict::Inconclusive, why);
    }
    if let Some(why) = &evidence.environment {
        return plain(Verdict::Inconclusive, why);
    }
    if let Some(Err(why)) = evidence.changes.iter().find(|change| change.is_err()) {
        return plain(Verdict::Inconclusive, why);
    }
    if let Some((name, _)) = evidence.faults.iter().find(|(_, fired)| *fired == 0) {
        return plain(Verdict::Inconclusive, &format!("the fault {name} never had an effect on the wire"));
    }
    if evidence.changes.is_empty() && evidence.faults.is_empty() && !evidence.step_is_cause {
        return plain(Verdict::Inconclusive, "nothing was changed and no fault was ordered");
    }
    match &evidence.expectation {
        None => plain(Verdict::Inconclusive, "no expectation was reached"),
        Some(Outcome::Met(matches)) => plain(Verdict::Reproduced, &seen(matches)),
        Some(Outcome::Unmet { expected, actual }) => Judgement {
            verdict: Verdict::NotSeen,
            detail: provoked(evidence),
            expected: Some(expected.clone()),
            actual: Some(actual.clone()),
        },
    }
}

fn seen(matches: &[Match]) -> String {
    let one = |found: &Match| match found.packet {
        Some(packet) => format!("{} (packet {packet})", found.words),
        None => found.words.clone(),
    };
    match matches {
        [] => "nothing forbidden was seen".to_owned(),
        matches => matches.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// By what it was provoked, as the detail of a failure that was not seen.
fn provoked(evidence: &Evidence) -> String {
    let changes = evidence.changes.iter().flatten().map(|proof| match proof.packet {
        Some(packet) => format!("changed {}, seen in packet {packet}", proof.path),
        None => format!("changed {}", proof.path),
    });
    let faults = evidence.faults.iter().map(|(name, fired)| format!("fault {name} fired {}", times(*fired)));
    changes.chain(faults).collect::<Vec<_>>().join("; ")
}

fn times(n: usize) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> Result<Proof, String> {
        Ok(Proof {
            path: "ike.encr".into(),
            field: "SA".into(),
            baseline: "AES_CBC_256".into(),
            sent: "AES_CBC_128".into(),
            packet: Some(3),
        })
    }

    fn met() -> Option<Outcome> {
        Some(Outcome::Met(vec![Match { words: "the peer answers X".into(), packet: Some(4), count: 1 }]))
    }

    fn unmet() -> Option<Outcome> {
        Some(Outcome::Unmet { expected: "X within 5 s".into(), actual: "the tunnel came up".into() })
    }

    #[test]
    fn reproduced_needs_a_proof_and_a_sight() {
        let evidence = Evidence { changes: vec![proof()], expectation: met(), ..Evidence::default() };
        let judgement = judge(&evidence);
        assert_eq!(judgement.verdict, Verdict::Reproduced);
        assert_eq!(judgement.detail, "the peer answers X (packet 4)");
        let judgement = judge(&Evidence { expectation: unmet(), ..evidence });
        assert_eq!(judgement.verdict, Verdict::NotSeen);
        assert_eq!(judgement.detail, "changed ike.encr, seen in packet 3");
        assert_eq!(judgement.actual.as_deref(), Some("the tunnel came up"));
    }

    /// Whatever was seen: without a cause that was on the wire it proves nothing.
    #[test]
    fn without_a_cause_on_the_wire_nothing_is_reproduced() {
        let causes = [
            Evidence { changes: vec![Err("not seen".into())], ..Evidence::default() },
            Evidence { changes: vec![proof(), Err("not seen".into())], ..Evidence::default() },
            Evidence { faults: vec![("drop-sent".into(), 0)], ..Evidence::default() },
            Evidence { changes: vec![proof()], faults: vec![("drop-sent".into(), 0)], ..Evidence::default() },
            Evidence::default(),
            Evidence { changes: vec![proof()], no_sanity: Some("no honest tunnel".into()), ..Evidence::default() },
            Evidence { changes: vec![proof()], environment: Some("never initiated".into()), ..Evidence::default() },
        ];
        for evidence in causes {
            for expectation in [met(), unmet(), None] {
                let judgement = judge(&Evidence { expectation, ..evidence.clone() });
                assert_eq!(judgement.verdict, Verdict::Inconclusive, "{evidence:?}");
                assert!(!judgement.detail.is_empty());
            }
        }
    }

    #[test]
    fn unsupported_comes_before_everything() {
        let evidence = Evidence {
            unsupported: Some("the baseline has no Child SA".into()),
            no_sanity: Some("x".into()),
            ..Evidence::default()
        };
        assert_eq!(judge(&evidence).verdict, Verdict::Unsupported);
    }

    #[test]
    fn a_fault_alone_is_a_cause() {
        let evidence = Evidence { faults: vec![("drop-sent".into(), 3)], expectation: unmet(), ..Evidence::default() };
        let judgement = judge(&evidence);
        assert_eq!((judgement.verdict, judgement.detail.as_str()), (Verdict::NotSeen, "fault drop-sent fired 3 times"));
    }
}
