//! Tests of personas and their logs.

mod wire;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::log::{LogLine, LogWriter};
use super::{Basis, Persona};
use crate::config::{self, Given};
use crate::engine::{ChildFailure, ConnectionSpec, Endpoint, EndpointConfig, Event, SaId, TunnelId};
use crate::net::Class;
use crate::seed::{KeySeed, PlanSeed, Seeds};
use crate::time::{Instant, UnixTime};
use crate::vendor::evidence::Evidence;

const FILE: &str = "\
version: 1
local: {address: 127.0.0.1, id: fqdn:a.test}
remote: {address: 127.0.0.2, id: fqdn:b.test}
auth: {local: {psk_env: PSK}}
ike: {proposals: [aes256-sha256-modp2048]}
children:
  - {name: lan, proposals: [aes256-sha256], local_ts: [10.1.0.0/24], remote_ts: [10.2.0.0/24]}
";

fn spec() -> ConnectionSpec {
    parse(FILE, "sesame")
}

fn parse(text: &str, key: &str) -> ConnectionSpec {
    config::parse(text, "persona.yaml", Path::new("."), &|_| Some(key.to_owned())).expect("the file is right").spec
}

fn mirrored(spec: &ConnectionSpec) -> ConnectionSpec {
    let mut other = spec.clone();
    std::mem::swap(&mut other.local_addr, &mut other.remote_addr);
    for child in &mut other.children {
        std::mem::swap(&mut child.local_ts, &mut child.remote_ts);
    }
    let mine = crate::engine::IdMatch::Exact(spec.local_id.clone());
    let crate::engine::IdMatch::Exact(theirs) = std::mem::replace(&mut other.remote_id, mine) else {
        panic!("the file names the peer's identity")
    };
    other.local_id = theirs;
    other
}

/// Lets `near` initiate to `far` and gives each end's log lines.
fn play(persona: &Persona, near: ConnectionSpec, far: ConnectionSpec) -> (Vec<LogLine>, Vec<LogLine>) {
    let (near, far) = (Arc::new(near), Arc::new(far));
    let seeds = |n: u8| Seeds::new(PlanSeed::from_text("persona"), KeySeed::new([n; 32]));
    let config = |spec: &Arc<ConnectionSpec>| {
        Arc::new(EndpointConfig { connections: vec![Arc::clone(spec)], ..EndpointConfig::default() })
    };
    let epoch = UnixTime::default();
    let mut a = Endpoint::new(config(&near), seeds(1), epoch);
    let mut b = Endpoint::new(config(&far), seeds(2), epoch);
    let (mut log_a, mut log_b) =
        (LogWriter::new(persona, Arc::clone(&near)), LogWriter::new(persona, Arc::clone(&far)));
    let (mut lines_a, mut lines_b) = (Vec::new(), Vec::new());
    let local = near.local_addr.expect("an address");
    let mut now = Instant::ZERO;
    a.connect(now, Arc::clone(&near), TunnelId(1), local);
    for _ in 0..200 {
        let mut moved = false;
        let drain = |end: &mut Endpoint, log: &mut LogWriter, out: &mut Vec<LogLine>| {
            while let Some((_, sa, event)) = end.poll_event() {
                out.extend(note(log, sa, &event));
            }
        };
        drain(&mut a, &mut log_a, &mut lines_a);
        drain(&mut b, &mut log_b, &mut lines_b);
        for forth in [true, false] {
            let (sender, receiver) = if forth { (&mut a, &mut b) } else { (&mut b, &mut a) };
            while let Some(transmit) = sender.poll_transmit() {
                if transmit.class == Class::Ike {
                    moved = true;
                    receiver.handle_datagram(now, reversed(transmit.path), &mut transmit.bytes.clone());
                }
            }
        }
        if !moved {
            match a.poll_timeout().into_iter().chain(b.poll_timeout()).map(|(at, _)| at).min() {
                Some(at) if at.as_secs_f64() < 500.0 => now = at,
                _ => break,
            }
            a.handle_timeout(now);
            b.handle_timeout(now);
        }
    }
    for line in lines_a.iter().chain(&lines_b) {
        stands_where_it_is_said_to(persona, line);
    }
    (lines_a, lines_b)
}

/// A line that is called observed or documented is one of the quotes.
fn stands_where_it_is_said_to(persona: &Persona, line: &LogLine) {
    let evidence = match line.basis {
        Basis::Observed => Evidence::Observed,
        Basis::Documented => Evidence::Documented,
        Basis::Modelled => return,
    };
    // FTD has the ASA's engine; what is known of its lines is known of the ASA's.
    let (vendor, text) = match persona.name {
        "cisco-ftd" => ("cisco-asa", line.text.replace("%FTD-", "%ASA-")),
        name => (name, line.text.clone()),
    };
    let sources = crate::vendor::quotes::sources(vendor, &text, evidence);
    assert!(!sources.is_empty(), "{}: {}: {text}", persona.name, line.basis);
}

/// A datagram's path as its receiver sees it.
fn reversed(path: crate::net::Path) -> crate::net::Path {
    crate::net::Path { local: path.remote, remote: path.local, role: path.role }
}

fn note(log: &mut LogWriter, sa: SaId, event: &Event) -> Vec<LogLine> {
    log.event(sa, event)
}

#[test]
fn names_are_unique_and_every_habit_says_where_it_is_from() {
    let names: BTreeSet<_> = Persona::ALL.iter().map(|p| p.name).collect();
    assert_eq!(names.len(), Persona::ALL.len());
    assert!(Persona::ALL.iter().map(|p| p.name).eq(config::PERSONAS.iter().copied()), "config reads the same names");
    for persona in Persona::ALL {
        assert!(persona.vendor.is_none_or(|v| v.name() == persona.name), "{}", persona.name);
        for habit in persona.habits {
            assert!(!habit.source.is_empty() && !habit.text.ends_with('.'), "{}: {}", persona.name, habit.text);
        }
    }
}

#[test]
fn a_persona_changes_the_connection_but_not_what_the_file_has_set() {
    let ios = Persona::named("cisco-ios-xe").expect("it is there");
    let mut spec = spec();
    ios.apply(&mut spec, Given::default());
    assert_eq!(spec.behaviour.child_failure, ChildFailure::DeleteIkeSa);
    assert!(spec.behaviour.vendor_ids.iter().any(|id| id == b"CISCO-DELETE-REASON"));
    assert!(!spec.fragmentation);

    let mut told = self::spec();
    told.behaviour.vendor_ids = vec![b"ours".to_vec()];
    ios.apply(&mut told, Given { fragmentation: true, retransmit: true, nat: true });
    assert_eq!(told.behaviour.vendor_ids, [b"ours".to_vec()]);
    assert!(told.fragmentation);
}

#[test]
fn each_box_words_a_wrong_key_in_its_own_way_at_both_ends() {
    for (name, responder_says, initiator_says) in [
        (
            "cisco-asa",
            "%ASA-4-750003: Local:127.0.0.2:500 Remote:127.0.0.1:500 Username:a.test IKEv2 Negotiation aborted due to ERROR: Failed to authenticate the IKE SA",
            "%ASA-4-752012: IKEv2 was unsuccessful at setting up a tunnel.",
        ),
        ("cisco-ftd", "%FTD-4-750003: ", "%FTD-3-752015: "),
        ("cisco-ios-xe", "Verification of peer's authentication data FAILED", ": Auth exchange failed"),
        ("paloalto-panos", "authentication result: failure", "received notify type AUTHENTICATION_FAILED"),
        ("strongswan", "is initiating an IKE_SA", "received AUTHENTICATION_FAILED notify"),
    ] {
        let persona = Persona::named(name).expect("it is there");
        let near = spec();
        let mut far = mirrored(&near);
        far.remote_auth = parse(FILE, "open sesame").remote_auth;
        let (a, b) = play(persona, near, far);
        assert!(b.iter().any(|l| l.text.contains(responder_says)), "{name} as responder: {b:#?}");
        assert!(a.iter().any(|l| l.text.contains(initiator_says)), "{name} as initiator: {a:#?}");
    }
}

#[test]
fn a_tunnel_that_comes_up_leaves_no_line_of_a_failure() {
    for persona in Persona::ALL {
        let near = spec();
        let far = mirrored(&near);
        let (a, b) = play(persona, near, far);
        for line in a.iter().chain(&b) {
            assert!(
                !line.text.to_lowercase().contains("fail") && !line.text.contains("ERROR"),
                "{}: {}",
                persona.name,
                line.text
            );
        }
        assert_eq!(a.is_empty(), persona.vendor.is_none(), "{}", persona.name);
    }
}

/// The answer that refuses is sent when the box has forgotten already, and it is no request of its own.
#[test]
fn a_responder_that_refuses_begins_nothing() {
    let near = spec();
    let mut far = mirrored(&near);
    far.ike_proposals =
        parse(&FILE.replace("aes256-sha256-modp2048", "aes128-sha256-modp2048"), "sesame").ike_proposals;
    let begins = |lines: &[LogLine], what: &str| lines.iter().filter(|l| l.text.contains(what)).count();
    for (name, ours, theirs) in [
        ("cisco-asa", "KEY_ACQUIRE", "Received a IKE_INIT_SA request"),
        ("cisco-ftd", "KEY_ACQUIRE", "Received a IKE_INIT_SA request"),
        ("strongswan", "initiating IKE_SA", "is initiating an IKE_SA"),
    ] {
        let (a, b) = play(Persona::named(name).expect("it is there"), near.clone(), far.clone());
        assert_eq!((begins(&a, ours), begins(&a, theirs)), (1, 0), "{name}: {a:#?}");
        assert_eq!((begins(&b, ours), begins(&b, theirs)), (0, 1), "{name}: {b:#?}");
    }
}

/// What is not believed is named as the box would name it, not in our sentences.
#[test]
fn panos_names_the_notify_that_it_does_not_believe() {
    let panos = Persona::named("paloalto-panos").expect("it is there");
    let mut near = spec();
    let mut far = mirrored(&near);
    far.ike_proposals =
        parse(&FILE.replace("aes256-sha256-modp2048", "aes128-sha256-modp2048"), "sesame").ike_proposals;
    panos.apply(&mut near, Given::default());
    let (a, _) = play(panos, near, far);
    let ignored: Vec<&str> = a.iter().map(|l| l.text.as_str()).filter(|t| t.contains("ignoring")).collect();
    assert!(!ignored.is_empty(), "{a:#?}");
    let wanted = " ignoring notification payload (type NO_PROPOSAL_CHOSEN) inside unauthenticated response";
    assert!(ignored.iter().all(|line| line.ends_with(wanted)), "{ignored:#?}");
}

#[test]
fn the_expected_and_received_policies_name_the_transform_that_differs() {
    let ios = Persona::named("cisco-ios-xe").expect("it is there");
    let near = spec();
    let mut far = mirrored(&near);
    far.ike_proposals =
        parse(&FILE.replace("aes256-sha256-modp2048", "aes128-sha256-modp2048"), "sesame").ike_proposals;
    let (_, b) = play(ios, near, far);
    let line = |what: &str| b.iter().find(|l| l.text.contains(what)).map(|l| l.text.clone()).expect("the line");
    assert!(line("Received Policies").contains("ENCRYPTION: AES-CBC-256"));
    assert!(line("Expected Policies").contains("ENCRYPTION: AES-CBC-128"));
    assert!(b.iter().all(|l| l.basis == Basis::Observed || !l.text.contains("Policies")));
}
