//! From a failure and what was seen before it to a finding: what we know, what is likely, what to look at, what to try.
//!
//! [`Facts`] collects only what the transcript shows. [`table`] holds the knowledge, as data. A cause is never narrowed
//! further than the evidence goes: AUTHENTICATION_FAILED covers keys, identities and methods alike.

mod access;
mod facts;
mod known;
mod pfs;
pub mod table;

use crate::engine::{ConnectionSpec, FailScope, Failed};
use crate::vendor::Vendor;

pub use facts::{CreateRequest, Facts};
pub use table::Evidence;

/// What can be said about a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// One line: "not connected: the peer rejected our AUTH (IKE_AUTH, packet 6)".
    pub headline: String,
    /// Its class in the closed set of failure classes.
    pub class: &'static str,
    /// What the transcript shows.
    pub known: Vec<String>,
    /// Likely causes, the likeliest first.
    pub likely: Vec<Cause>,
    /// What to look for in the box's own log.
    pub on_peer: Vec<PeerLine>,
    /// What to try next.
    pub next: Vec<String>,
}

/// A likely cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// In words.
    pub text: String,
    /// The entry of the failure catalogue that tells more.
    pub failure: Option<&'static str>,
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
    Finding {
        headline: format!("{what}: {} ({place})", fill(entry.headline)),
        class: failed.why.class(failed.exchange),
        known: known::lines(failed, facts, spec),
        likely: entry.likely.iter().map(|(text, failure)| Cause { text: fill(text), failure: *failure }).collect(),
        on_peer: entry.on_peer.iter().filter(mine).copied().collect(),
        next: entry.next.iter().map(|text| fill(text)).collect(),
    }
}

#[cfg(test)]
mod tests;
