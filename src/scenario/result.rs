//! The result of a run: what `result.json` holds and every report reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{Evidence, Phase, Role, Who};
use super::persona::{Difference, PeerLine};
use super::proof::Proof;
use super::rung::Rung;
use super::verdict::Verdict;

/// Version of the layout of `result.json`; counts up when a reader must change.
pub const RESULT_VERSION: u32 = 1;

/// Everything about a finished run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// [`RESULT_VERSION`].
    pub version: u32,
    /// The command that wrote it: `run`.
    pub command: String,
    /// The program and its version.
    pub tool: String,
    /// The plan seed, as given or made up.
    pub plan_seed: String,
    /// Name of the baseline.
    pub baseline: String,
    /// Who was tested.
    pub peer: PeerInfo,
    /// Wall-clock time of the start, in milliseconds since 1970-01-01T00:00:00Z.
    pub started_unix_ms: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What to know before sharing it.
    pub security: Security,
    /// The sanity handshakes and scenarios, in order.
    pub cases: Vec<CaseResult>,
    /// Why it ended before its last scenario, if it did.
    pub stopped: Option<String>,
    /// It ended early because of a signal.
    pub interrupted: bool,
    /// How many of each.
    pub summary: Summary,
}

/// Who was tested.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerInfo {
    /// Its address and port.
    pub address: String,
    /// It is our own embedded peer.
    pub embedded: bool,
    /// The persona that it plays.
    #[serde(default)]
    pub persona: Option<String>,
    /// What that means, and what is different from the defaults.
    pub notes: Vec<String>,
    /// How the box is driven, if it is.
    pub controlled: bool,
}

/// What to know before a result is shared.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Security {
    /// Keys were exported into the run directory: whoever has it can decrypt the capture.
    pub keys_exported: bool,
    /// The key seed came from the operating system and is not stored.
    pub key_seed_from_os: bool,
}

/// One sanity handshake, or one scenario in one role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CaseResult {
    /// The scenario's id, or `sanity`.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its phase; none for a sanity handshake.
    pub phase: Option<Phase>,
    /// Our role.
    pub role: Role,
    /// Who was to notice.
    pub detects: Option<Who>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one line.
    pub detail: String,
    /// What was expected, if it was not seen.
    pub expected: Option<String>,
    /// What was seen instead.
    pub actual: Option<String>,
    /// How to run this again.
    pub again: Option<String>,
    /// Proofs of the changes.
    pub proofs: Vec<Proof>,
    /// Faults and how often they had an effect on the wire.
    pub faults: Vec<FaultCount>,
    /// What the boxes show.
    pub you_will_see: Vec<VendorLine>,
    /// What happens to a person; empty for a sanity handshake.
    pub story: String,
    /// What to type on the boxes.
    pub fix: Vec<VendorFix>,
    /// What was on the wire and what came of it, in order.
    pub ladder: Vec<Rung>,
    /// Begun so many seconds after the run.
    pub at: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its seconds passed in a simulated network with a virtual clock.
    pub virtual_time: bool,
    /// It was not run to its end, or not at all, because the run was stopped.
    pub stopped: bool,
    /// Whether an honest tunnel came up with us as initiator right after it; none if that was not tried.
    #[serde(default)]
    pub honest_after: Option<bool>,
    /// Its capture, relative to the run directory.
    pub capture: Option<String>,
    /// Its transcript, relative to the run directory.
    pub transcript: Option<String>,
    /// What the box that the embedded peer plays would have logged; empty without a persona.
    #[serde(default)]
    pub peer_log: Vec<PeerLine>,
    /// Why the persona does not show it, if the plain peer does.
    #[serde(default)]
    pub differs: Option<Difference>,
}

/// A fault and how often it had an effect on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FaultCount {
    /// Its name.
    pub name: String,
    /// How often.
    pub fired: usize,
}

/// A line that a vendor's box shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VendorLine {
    /// The vendor in print.
    pub vendor: String,
    /// The line.
    pub line: String,
    /// How it is known.
    pub evidence: Evidence,
    /// The works in which it stands; none for what is inferred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// What to type on a vendor's box.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VendorFix {
    /// The vendor in print.
    pub vendor: String,
    /// The commands.
    pub commands: Vec<String>,
}

/// How many of each verdict; sanity handshakes apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Scenario cases chosen.
    pub chosen: usize,
    /// Scenario cases run to their end.
    pub run: usize,
    /// Documented failures seen.
    pub reproduced: usize,
    /// Provoked and not seen.
    pub not_seen: usize,
    /// Nothing can be said.
    pub inconclusive: usize,
    /// The baseline has nothing to provoke it with.
    pub unsupported: usize,
    /// The persona has a habit that makes it differ, and without it the failure is seen.
    #[serde(default)]
    pub differs: usize,
    /// Scenarios among those chosen that are explained and have nothing to play.
    #[serde(default)]
    pub explained: usize,
    /// Sanity handshakes that came up.
    pub sanity_passed: usize,
    /// Sanity handshakes that did not.
    pub sanity_failed: usize,
}

/// The JSON Schema of [`RunResult`], as committed in `schema/run-result.schema.json`.
pub fn schema() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(RunResult)).expect("a schema prints") + "\n"
}

impl RunResult {
    /// As [`Summary::exit_code`]; but nothing is said, by 4, about a run that was interrupted.
    pub fn exit_code(&self) -> u8 {
        if self.interrupted { 4 } else { self.summary.exit_code() }
    }
}

impl Summary {
    /// Counts; what was stopped is not run.
    pub fn of(cases: &[CaseResult], chosen: usize) -> Summary {
        let mut out = Summary { chosen, ..Summary::default() };
        for case in cases.iter().filter(|case| !case.stopped) {
            if case.phase.is_none() {
                match case.verdict {
                    Verdict::Pass => out.sanity_passed += 1,
                    _ => out.sanity_failed += 1,
                }
                continue;
            }
            out.run += 1;
            match case.verdict {
                Verdict::Reproduced | Verdict::Pass => out.reproduced += 1,
                Verdict::NotSeen => out.not_seen += 1,
                Verdict::Inconclusive => out.inconclusive += 1,
                Verdict::Unsupported => out.unsupported += 1,
                Verdict::Differs => out.differs += 1,
            }
        }
        out
    }

    /// 0 if every expectation was met, 1 if one was not, 4 if nothing can be said about some, or if the honest tunnel
    /// did not come up.
    pub fn exit_code(&self) -> u8 {
        match self {
            Summary { not_seen: 1.., .. } => 1,
            Summary { inconclusive: 1.., .. } | Summary { sanity_failed: 1.., .. } => 4,
            Summary { run, chosen, .. } if run < chosen => 4,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/run-result.schema.json");
        if std::env::var_os("IKELAB_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, schema()).expect("the source tree is writable");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == schema(), "schema/run-result.schema.json is stale; IKELAB_WRITE_SCHEMA=1 writes it");
    }

    #[test]
    fn exit_codes() {
        let all = Summary { chosen: 2, run: 2, reproduced: 2, sanity_passed: 4, ..Summary::default() };
        assert_eq!(all.exit_code(), 0);
        assert_eq!(Summary { unsupported: 1, ..all }.exit_code(), 0);
        assert_eq!(Summary { inconclusive: 1, ..all }.exit_code(), 4);
        assert_eq!(Summary { sanity_failed: 1, ..all }.exit_code(), 4);
        assert_eq!(Summary { run: 1, ..all }.exit_code(), 4, "stopped early");
        assert_eq!(Summary { not_seen: 1, inconclusive: 1, ..all }.exit_code(), 1);
    }
}
