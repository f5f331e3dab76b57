//! From a failure and what was seen before it to a finding: what we know, what is likely, what to look at, what to try.
//!
//! [`Facts`] collects only what the transcript shows. [`table`] holds the knowledge, as data. A cause is never narrowed
//! further than the evidence goes: AUTHENTICATION_FAILED covers keys, identities and methods alike.

mod access;
mod checks;
mod exact;
mod facts;
mod faults;
mod ike_rekey;
mod known;
mod pfs;
mod selectors;
pub mod table;
pub mod timing;
pub mod transcript;

use crate::engine::{ConnectionSpec, FailScope, Failed, Failure};
use crate::vendor::Vendor;
use crate::vendor::evidence::Source;
use crate::wire::registry::ExchangeType;

pub use facts::{Asked, CreateRequest, Facts};
pub use table::Evidence;

/// What can be said about a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// One line: "not connected: the peer rejected our AUTH (IKE_AUTH, packet 6)".
    pub headline: String,
    /// Its class in the closed set of failure classes.
    pub class: &'static str,
    /// Which phase of a tunnel's life it failed in, in words.
    pub phase: &'static str,
    /// How sure the causes are.
    pub certainty: Certainty,
    /// What the transcript shows.
    pub known: Vec<String>,
    /// Causes: all of them true if they are exact, else the likeliest first.
    pub likely: Vec<Cause>,
    /// What to look for in the box's own log.
    pub on_peer: Vec<PeerLine>,
    /// What to try next.
    pub next: Vec<String>,
}

/// How sure the causes of a finding are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certainty {
    /// The transcript proves every one of them.
    Exact,
    /// Any of them may be it, the likeliest first.
    Ranked,
    /// Nothing can be said.
    Unknown,
}

impl Certainty {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Certainty::Exact => "exact",
            Certainty::Ranked => "ranked",
            Certainty::Unknown => "unknown",
        }
    }
}

/// A cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// For programs: one word that stays the same when the sentence is improved.
    pub code: &'static str,
    /// In words.
    pub text: String,
    /// What in the transcript speaks for it, or against it.
    pub because: Option<String>,
    /// The entry of the failure catalogue that tells more.
    pub failure: Option<&'static str>,
}

impl Cause {
    fn plain(code: &'static str, text: &str) -> Cause {
        Cause { code, text: text.to_owned(), because: None, failure: None }
    }

    fn because(code: &'static str, text: String, because: String) -> Cause {
        Cause { code, text, because: Some(because), failure: None }
    }

    fn see(self, failure: &'static str) -> Cause {
        Cause { failure: Some(failure), ..self }
    }
}

/// A log line of the box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerLine {
    /// Whose log.
    pub vendor: Vendor,
    /// The line, shortened with `...`.
    pub text: &'static str,
    /// How we know.
    pub evidence: Evidence,
}

impl PeerLine {
    /// The works in which it stands; none for what is inferred.
    pub fn sources(&self) -> Vec<Source> {
        match self.evidence {
            Evidence::Inferred => Vec::new(),
            evidence => crate::vendor::quotes::sources(self.vendor.name(), self.text, evidence),
        }
    }
}

/// Diagnoses a failure. `vendor` narrows the log lines to the box at hand.
pub fn diagnose(failed: &Failed, facts: &Facts, spec: &ConnectionSpec, vendor: Option<Vendor>) -> Finding {
    let entry = table::entry(failed, facts, spec);
    let fill = |text: &str| {
        text.replace("{our id}", &spec.local_id.to_string())
            .replace(
                "{peer id}",
                &match &spec.remote_id {
                    crate::engine::IdMatch::Any => "any".to_owned(),
                    crate::engine::IdMatch::Exact(id) => id.to_string(),
                },
            )
            .replace("{ike port}", &spec.remote_ports.ike.to_string())
            .replace("{natt port}", &spec.remote_ports.natt.to_string())
            .replace("{why}", &failed.why.to_string())
            .replace("{groups}", &pfs::offered(facts))
            .replace("{demanded group}", &pfs::demanded(failed))
    };
    let what = match failed.scope {
        FailScope::Child => "no Child SA",
        _ if facts.up => "the IKE SA is lost",
        _ => "not connected",
    };
    let place = match facts.packet.unwrap_or(facts.packets.into()) {
        0 => failed.exchange.to_string(),
        n => format!("{}, packet {n}", failed.exchange),
    };
    let mine = |line: &&PeerLine| vendor.is_none_or(|v| v == line.vendor);
    let general = || {
        let likely = entry.likely.iter();
        likely.map(|(code, text, failure)| Cause { failure: *failure, ..Cause::plain(code, &fill(text)) }).collect()
    };
    let proof = exact::proof(failed, facts, spec);
    let (certainty, likely, next, headline) = match proof {
        Some(proof) => (proof.certainty, proof.causes, proof.next, proof.headline),
        None => {
            let likely = timing::weigh(general(), failed, facts, spec);
            (if likely.is_empty() { Certainty::Unknown } else { Certainty::Ranked }, likely, Vec::new(), None)
        }
    };
    let certainty = if likely.len() == 1 && certainty == Certainty::Ranked && timing::is_proved(&likely[0]) {
        Certainty::Exact
    } else {
        certainty
    };
    let mut on_peer: Vec<PeerLine> = entry.on_peer.iter().filter(mine).copied().collect();
    // Every box has a place to look at, also where no line of its log is known.
    on_peer.extend(
        table::PLACES
            .iter()
            .filter(mine)
            .filter(|p| !on_peer.iter().any(|l| l.vendor == p.vendor))
            .copied()
            .collect::<Vec<_>>(),
    );
    let general_next = entry.next.iter().map(|text| fill(text));
    Finding {
        headline: format!("{what}: {} ({place})", fill(headline.unwrap_or(entry.headline))),
        class: failed.class().as_str(),
        phase: phase(failed, facts),
        certainty,
        known: known::lines(failed, facts, spec),
        likely,
        on_peer,
        next: next.into_iter().chain(general_next).collect(),
    }
}

/// The CREATE_CHILD_SA request that a failure is about: ours, where the peer has refused it.
fn refused_create<'f>(failed: &Failed, facts: &'f Facts) -> Option<&'f CreateRequest> {
    let ours = matches!(failed.why, Failure::Rejected { .. });
    if ours { facts.asked_to_create.as_ref() } else { facts.create.as_ref() }
}

/// The phase of a tunnel's life in which something failed.
fn phase(failed: &Failed, facts: &Facts) -> &'static str {
    match failed.exchange {
        ExchangeType::IKE_SA_INIT => "IKE_SA_INIT: agreeing on algorithms and keys",
        ExchangeType::IKE_AUTH if failed.scope == FailScope::Child => "IKE_AUTH: the first Child SA",
        ExchangeType::IKE_AUTH if matches!(failed.why, Failure::NoAnswer { .. }) => {
            "IKE_AUTH: waiting for the peer's proof"
        }
        ExchangeType::IKE_AUTH => "IKE_AUTH: proving who is who",
        ExchangeType::CREATE_CHILD_SA if refused_create(failed, facts).is_some_and(|c| c.ike) => "rekey of the IKE SA",
        ExchangeType::CREATE_CHILD_SA => "a further Child SA or a rekey",
        _ => "the tunnel's life: liveness, deletes, notifies",
    }
}

#[cfg(test)]
mod tests;
