//! What is known comes from the transcript; what is likely is never narrower than the evidence.

use std::path::Path;

use super::*;
use crate::engine::{AuthFault, Failure, Heard, PeerIncompatible, Side};
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, TransformType};

fn spec() -> ConnectionSpec {
    let text = include_str!("../../examples/isr-to-pan.yaml");
    crate::config::parse(text, "lab.yaml", Path::new(""), &|_| Some("sesame".into())).unwrap().spec
}

fn rejected(notify: NotifyType, exchange: ExchangeType) -> Failed {
    let protected = exchange != ExchangeType::IKE_SA_INIT;
    Failed {
        scope: FailScope::IkeSa,
        exchange,
        found_by: Side::Peer,
        why: Failure::Rejected { notify, data: Vec::new(), protected },
    }
}

#[test]
fn where_to_look_does_no_harm() {
    for place in table::PLACES {
        let lines: Vec<&str> = place.text.split(';').collect();
        assert_eq!(crate::vendor::hazard::of(place.vendor.name(), &lines), [""; 0]);
    }
}

#[test]
fn a_rejected_auth_is_never_only_the_key() {
    let facts = Facts { packets: 6, received: 3, auth_reply_read: true, ..Facts::default() };
    let failed = rejected(NotifyType::AUTHENTICATION_FAILED, ExchangeType::IKE_AUTH);
    let finding = diagnose(&failed, &facts, &spec(), None);
    assert_eq!(finding.headline, "not connected: the peer rejected our AUTH (IKE_AUTH, packet 6)");
    assert_eq!(finding.class, "auth_failed");
    assert_eq!(
        finding.likely.iter().map(|c| c.text.as_str()).collect::<Vec<_>>(),
        [
            "the pre-shared key differs for \"ipv4:203.0.113.10\"",
            "the peer has no entry for the identity \"ipv4:203.0.113.10\"",
            "the peer wants another authentication method of us",
        ]
    );
    assert!(finding.on_peer.iter().any(|l| l.vendor == Vendor::CiscoAsa));
    let for_panos = diagnose(&failed, &facts, &spec(), Some(Vendor::PaloAltoPanos));
    assert!(!for_panos.on_peer.is_empty() && for_panos.on_peer.iter().all(|l| l.vendor == Vendor::PaloAltoPanos));
}

#[test]
fn what_differs_is_named() {
    let wire = |text: &str| {
        vec![crate::config::ike_proposal(text).unwrap().to_wire(1, crate::wire::registry::ProtocolId::IKE, Vec::new())]
    };
    let failed = Failed {
        scope: FailScope::IkeSa,
        exchange: ExchangeType::IKE_SA_INIT,
        found_by: Side::Us,
        why: Failure::Incompatible(PeerIncompatible::NoProposal {
            offered: wire("aes256-sha256-prfsha1-modp2048"),
            wanted: wire("aes256-sha256-modp2048"),
        }),
    };
    let finding = diagnose(&failed, &Facts { received: 1, ..Facts::default() }, &spec(), None);
    assert_eq!(
        finding.known,
        [
            "the peer offered aes256-sha256-prfsha1-modp2048",
            "we accept aes256-sha256-modp2048",
            "nothing in common for: PRF (theirs prfsha1, ours prfsha256)",
        ]
    );
}

#[test]
fn silence_is_told_from_silence() {
    let silent = |exchange| Failed {
        scope: FailScope::IkeSa,
        exchange,
        found_by: Side::Us,
        why: Failure::NoAnswer { attempts: 6, heard: Heard::Nothing },
    };
    let nothing = Facts { sent: 6, packets: 6, ..Facts::default() };
    let finding = diagnose(&silent(ExchangeType::IKE_SA_INIT), &nothing, &spec(), None);
    assert_eq!(finding.headline, "not connected: nobody answered (IKE_SA_INIT, packet 6)");
    assert_eq!(finding.known[0], "6 transmissions, and no answer of any kind");
    let floated = Facts { sent: 7, received: 1, packets: 8, floated: true, ..Facts::default() };
    let finding = diagnose(&silent(ExchangeType::IKE_AUTH), &floated, &spec(), None);
    assert_eq!(finding.likely[0].text, "UDP 4500 is filtered, in one direction or both");
    let up = Facts { up: true, received: 4, ..Facts::default() };
    let finding = diagnose(&silent(ExchangeType::INFORMATIONAL), &up, &spec(), None);
    assert_eq!(finding.headline, "the IKE SA is lost: the peer stopped answering (INFORMATIONAL)");
}

#[test]
fn an_identity_mismatch_shows_both_identities() {
    let failed = Failed {
        scope: FailScope::IkeSa,
        exchange: ExchangeType::IKE_AUTH,
        found_by: Side::Us,
        why: Failure::AuthFailed(AuthFault::Identity { got: crate::config::identity("fw.example").unwrap() }),
    };
    let finding = diagnose(&failed, &Facts { received: 2, ..Facts::default() }, &spec(), None);
    assert_eq!(finding.known, ["the peer says it is fqdn:fw.example", "we expect ipv4:198.51.100.20"]);
    assert_eq!(finding.class, "id_mismatch");
}

fn ike_wire(text: &str) -> Vec<crate::wire::Proposal> {
    let protocol = crate::wire::registry::ProtocolId::IKE;
    vec![crate::config::ike_proposal(text).unwrap().to_wire(1, protocol, Vec::new())]
}

/// What the peer says to our rekey of the IKE SA, which was made with aes256-sha256-modp2048.
fn refused_rekey(offer: &str, ke: KeMethod, notify: NotifyType, data: &[u8]) -> Finding {
    let offered = ike_wire(offer);
    let groups = offered[0].transforms.iter().filter(|t| t.kind == TransformType::KE).map(|t| KeMethod(t.id)).collect();
    let ours = CreateRequest { by: Side::Us, ike: true, offered, groups, ke: Some(ke) };
    let theirs = CreateRequest { by: Side::Peer, ike: false, offered: Vec::new(), groups: Vec::new(), ke: None };
    let facts = Facts {
        up: true,
        received: 4,
        // The peer asked for something of its own meanwhile.
        create: Some(theirs),
        asked_to_create: Some(ours),
        ike_agreed: ike_wire("aes256-sha256-modp2048").pop(),
        ..Facts::default()
    };
    let why = Failure::Rejected { notify, data: data.to_vec(), protected: true };
    let failed =
        Failed { scope: FailScope::Exchange, exchange: ExchangeType::CREATE_CHILD_SA, found_by: Side::Peer, why };
    let finding = diagnose(&failed, &facts, &spec(), None);
    assert_eq!(finding.phase, "rekey of the IKE SA");
    finding
}

fn codes(finding: &Finding) -> Vec<&'static str> {
    finding.likely.iter().map(|cause| cause.code).collect()
}

#[test]
fn a_refused_rekey_of_the_ike_sa_is_explained_as_far_as_the_transcript_goes() {
    let same = "aes256-sha256-modp2048";
    let (modp2048, modp3072) = (KeMethod::MODP_2048, KeMethod::MODP_3072);
    // The offer lacks what the peer accepted before.
    let other = refused_rekey("aes128-sha256-modp2048", modp2048, NotifyType::NO_PROPOSAL_CHOSEN, &[]);
    assert_eq!((other.certainty, codes(&other)), (Certainty::Exact, vec!["ike_rekey"]));
    assert!(other.likely[0].text.contains("offered aes128, in use aes256"), "{}", other.likely[0].text);
    // It does not: then nobody can tell from here.
    let refused = refused_rekey(same, modp2048, NotifyType::NO_PROPOSAL_CHOSEN, &[]);
    assert_eq!((refused.certainty, codes(&refused)[0]), (Certainty::Ranked, "ike_rekey"));
    assert!(codes(&refused).contains(&"no_rekey"));
    assert!(refused.known.iter().any(|line| line.contains("the IKE SA uses aes256-sha256-modp2048")), "{refused:?}");

    let wants = |group: KeMethod| group.0.to_be_bytes();
    let unoffered = refused_rekey(same, modp2048, NotifyType::INVALID_KE_PAYLOAD, &wants(KeMethod::ECP_256));
    assert_eq!((unoffered.certainty, codes(&unoffered)), (Certainty::Exact, vec!["ike_group"]));
    let both = "aes256-sha256-modp2048-modp3072";
    let not_followed = refused_rekey(both, modp3072, NotifyType::INVALID_KE_PAYLOAD, &wants(modp2048));
    assert_eq!((not_followed.certainty, codes(&not_followed)), (Certainty::Exact, vec!["ike_group"]));
    let looping = refused_rekey(same, modp2048, NotifyType::INVALID_KE_PAYLOAD, &wants(modp2048));
    assert_eq!((looping.certainty, codes(&looping)[0]), (Certainty::Ranked, "group_loop"));

    let busy = refused_rekey(same, modp2048, NotifyType::TEMPORARY_FAILURE, &[]);
    assert_eq!((busy.certainty, codes(&busy)[0]), (Certainty::Ranked, "busy"));
    let none = refused_rekey(same, modp2048, NotifyType::NO_ADDITIONAL_SAS, &[]);
    assert_eq!((none.certainty, codes(&none)[0]), (Certainty::Ranked, "no_rekey"));
}

/// Vendor, evidence and text of every line that the tables call observed or documented, as written in their source.
fn lines_of_the_tables() -> Vec<(&'static str, Evidence, String)> {
    let files = [include_str!("table.rs"), include_str!("access.rs"), include_str!("pfs.rs"), include_str!("mod.rs")];
    let mut found = Vec::new();
    for text in files {
        for (call, evidence) in [
            ("observed(", Evidence::Observed),
            ("documented(", Evidence::Documented),
            ("inferred(", Evidence::Inferred),
        ] {
            for (at, _) in text.match_indices(call) {
                let Some((vendor, rest)) = text[at + call.len()..].trim_start().split_once(',') else { continue };
                let vendor = match vendor {
                    "CiscoIosXe" => "cisco-ios-xe",
                    "CiscoAsa" => "cisco-asa",
                    "CiscoFtd" => "cisco-ftd",
                    "PaloAltoPanos" => "paloalto-panos",
                    // The definition of the function.
                    _ => continue,
                };
                let literal = rest.trim_start().strip_prefix('"').expect("a text follows the vendor");
                let end = literal.find("\",").or(literal.find("\")")).unwrap_or(literal.len());
                let text = literal[..end.min(literal.find("\")").unwrap_or(end))].to_owned();
                found.push((vendor, evidence, text));
            }
        }
    }
    found
}

#[test]
fn lines_of_boxes_stand_where_they_are_said_to_stand() {
    let lines = lines_of_the_tables();
    let made = include_str!("table.rs").matches("PeerLine { vendor").count();
    assert_eq!(made, 3, "lines are made by the three functions only");
    assert!(lines.len() > 30, "{}", lines.len());
    for (vendor, evidence, text) in &lines {
        let sources = crate::vendor::quotes::sources(vendor, text, *evidence);
        match evidence {
            Evidence::Inferred => assert!(sources.is_empty(), "{vendor}: {text}"),
            _ => assert!(!sources.is_empty(), "{vendor}: {evidence:?}, and stands in no work: {text}"),
        }
    }
    let counted = |wanted| lines.iter().filter(|(_, evidence, _)| *evidence == wanted).count();
    println!(
        "lines of diagnosis: {} observed, {} documented, {} inferred",
        counted(Evidence::Observed),
        counted(Evidence::Documented),
        counted(Evidence::Inferred)
    );
}
