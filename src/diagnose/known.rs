//! The lines of "What we know": the transcript in sentences, and nothing else.

use std::time::Duration;

use super::Facts;
use crate::crypto::{Encr, Group, Integ, Prf};
use crate::engine::{
    AuthFault, ConnectionSpec, Failed, Failure, Heard, PeerIncompatible, PeerMisbehaved, ProposalSpec, RetransmitSpec,
};
use crate::vendor::words::{duration_words, encr_word, integ_word, prf_word, proposal_words};
use crate::wire::registry::{ExchangeType, IntegId, KeMethod, NotifyType, PrfId, TransformType};
use crate::wire::{Proposal, TrafficSelector, Transform};

/// What the transcript shows about a failure.
pub(super) fn lines(failed: &Failed, facts: &Facts, spec: &ConnectionSpec) -> Vec<String> {
    let mut lines = Vec::new();
    if facts.received == 0 {
        lines.push(match facts.sent {
            0 => "no message was exchanged".to_owned(),
            n => format!("{n} transmissions, and no answer of any kind"),
        });
    }
    lines.extend(facts.notes.iter().cloned());
    if let Some(suite) = &facts.suite {
        let read = if facts.auth_reply_read { "; the reply decrypted, so the keys match" } else { "" };
        lines.push(format!("IKE_SA_INIT agreed ({suite}){read}"));
    }
    match facts.nat {
        Some(nat) if nat.us && nat.peer => lines.push("both ends are behind a NAT".into()),
        Some(nat) if nat.us => lines.push("we are behind a NAT".into()),
        Some(nat) if nat.peer => lines.push("the peer is behind a NAT".into()),
        Some(nat) if nat.peer_detects => lines.push("no NAT was found".into()),
        Some(_) => lines.push("the peer does not detect NATs".into()),
        None => {}
    }
    if facts.floated && matches!(failed.why, Failure::NoAnswer { .. }) {
        lines.push(format!("we had moved to UDP {}", spec.remote_ports.natt));
    }
    if facts.up && failed.exchange != ExchangeType::IKE_AUTH {
        lines.push("the IKE SA was up before".into());
    }
    if failed.exchange == ExchangeType::CREATE_CHILD_SA {
        lines.extend(super::ike_rekey::known(failed, facts).or_else(|| super::pfs::known(facts)));
    }
    of_the_failure(failed, facts, spec, &mut lines);
    super::timing::known(failed, facts, &mut lines);
    for (why, count) in &facts.ignored {
        lines.push(format!("{count} ignored: {why}"));
    }
    lines
}

fn of_the_failure(failed: &Failed, facts: &Facts, spec: &ConnectionSpec, lines: &mut Vec<String>) {
    match &failed.why {
        Failure::Rejected { notify, protected, data } => {
            let seal =
                if *protected { "under the IKE SA's keys" } else { "unprotected, so anybody could have sent it" };
            lines.push(format!("the peer said {notify}, {seal}"));
            if *notify == NotifyType::INVALID_KE_PAYLOAD
                && let [a, b] = data[..]
            {
                lines.push(format!("it asks for {}", KeMethod(u16::from_be_bytes([a, b]))));
            }
            if *notify == NotifyType::NO_PROPOSAL_CHOSEN {
                let ours = match failed.exchange {
                    ExchangeType::IKE_SA_INIT => words(&spec.ike_proposals),
                    // Said already, as it was sent.
                    _ if super::refused_create(failed, facts).is_some_and(|c| c.ike) => return,
                    _ => spec.children.first().map(|c| words(&c.proposals)).unwrap_or_default(),
                };
                lines.push(format!("we offered {ours}"));
            }
            if *notify == NotifyType::TS_UNACCEPTABLE
                && let Some(child) = spec.children.first()
            {
                lines.push(format!("we offered {} === {}", selectors(&child.local_ts), selectors(&child.remote_ts)));
            }
        }
        Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted }) => {
            lines.push(format!("the peer offered {}", wire_words(offered)));
            lines.push(format!("we accept {}", wire_words(wanted)));
            let apart = super::exact::nearest(offered, wanted);
            if let [kinds] = &apart[..] {
                let words: Vec<String> = kinds.iter().map(|k| k.words()).collect();
                lines.push(format!("nothing in common for: {}", words.join(", ")));
            }
        }
        Failure::Incompatible(PeerIncompatible::Selectors { offered_i, offered_r, wanted_i, wanted_r }) => {
            lines.push(format!("the peer's   {} === {}", selectors(offered_i), selectors(offered_r)));
            lines.push(format!("ours         {} === {}", selectors(wanted_i), selectors(wanted_r)));
            lines.extend(super::selectors::compared(offered_i, wanted_i));
            lines.extend(super::selectors::compared(offered_r, wanted_r));
        }
        Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(got)) => {
            lines.push(format!("the peer answered with {}", selectors(got)));
        }
        Failure::AuthFailed(AuthFault::Identity { got }) => {
            lines.push(format!("the peer says it is {got}"));
            if let crate::engine::IdMatch::Exact(wanted) = &spec.remote_id {
                lines.push(format!("we expect {wanted}"));
            }
        }
        Failure::AuthFailed(AuthFault::Mismatch { id }) => {
            lines.push(format!("the peer says it is {id}, and its AUTH does not verify with the key we have for it"));
        }
        Failure::AuthFailed(AuthFault::Method { got }) => lines.push(format!("the peer authenticates by {got}")),
        Failure::AuthFailed(AuthFault::Certificate(fault)) => {
            lines.push(format!("the check that failed: {}", fault.check()));
            lines.push(fault.to_string());
        }
        Failure::AuthFailed(_) => lines.push(failed.why.to_string()),
        Failure::NoAnswer { attempts, heard } => {
            let asked = facts.asked.filter(|a| a.exchange == failed.exchange && !a.answered);
            let over = match asked {
                // In tenths of a second.
                Some(asked) => {
                    Duration::from_millis((facts.now.0.saturating_sub(asked.at.0) + 50_000_000) / 100_000_000 * 100)
                }
                None => schedule(spec, failed.exchange).total(),
            };
            let over = duration_words(over);
            let answered = match heard {
                Heard::Nothing => "never answered",
                Heard::Fragments => "answered with fragments that never became whole",
                Heard::Rekey => "never answered, while the peer rekeyed the same SA",
            };
            lines.push(format!("{} was sent {attempts} times over {over} and {answered}", failed.exchange));
        }
        Failure::Misbehaved(_) | Failure::Malformed(_) | Failure::Incompatible(_) | Failure::Local(_) => {
            lines.push(failed.why.to_string());
        }
        Failure::DeletedByPeer => lines.push("the peer sent DELETE for the IKE SA".into()),
    }
}

fn words(proposals: &[ProposalSpec]) -> String {
    proposals.iter().map(proposal_words).collect::<Vec<_>>().join(", ")
}

pub(super) fn wire_words(proposals: &[Proposal]) -> String {
    let spec = |p: &Proposal| proposal_words(&ProposalSpec { transforms: p.transforms.clone() });
    match proposals {
        [] => "nothing".into(),
        some => some.iter().map(spec).collect::<Vec<_>>().join(", "),
    }
}

pub(super) fn selectors(list: &[TrafficSelector]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn list(transforms: &[Transform]) -> String {
    let mut words: Vec<String> = Vec::new();
    for t in transforms {
        let word = match t.kind {
            TransformType::ENCR => Encr::from_transform(t).map(encr_word),
            TransformType::INTEG => Integ::from_id(IntegId(t.id)).map(|i| integ_word(i).to_owned()),
            TransformType::PRF => Prf::from_id(PrfId(t.id)).map(|p| prf_word(p).to_owned()),
            TransformType::KE => Group::from_method(KeMethod(t.id)).map(|g| g.name().to_owned()),
            _ => None,
        };
        let word = word.unwrap_or_else(|| t.to_string());
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join("/")
}

/// How a request is sent again. Silence in an INFORMATIONAL is noticed by liveness checks, which may have a schedule of
/// their own.
fn schedule(spec: &ConnectionSpec, exchange: ExchangeType) -> &RetransmitSpec {
    let own = spec.dpd.as_ref().and_then(|dpd| dpd.retransmit.as_ref());
    own.filter(|_| exchange == ExchangeType::INFORMATIONAL).unwrap_or(&spec.retransmit)
}
