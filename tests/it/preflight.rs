//! The rehearsal, against peers that are right and peers that are wrong.

use std::time::Duration;

use ikelab::config::PeerFacts;
use ikelab::diagnose::{Facts, diagnose};
use ikelab::engine::*;
use ikelab::preflight::outlook::{First, outlook};
use ikelab::preflight::{Options, Order, Pings, Preflight, Report, TUNNEL, Trial, Verdict, plan};
use ikelab::wire::registry::KeMethod;

use crate::pair::*;

/// Rehearses `left` against `right`; `answers` says how many of three echo requests come back.
fn rehearse(left: ConnectionSpec, right: ConnectionSpec, options: Options, answers: u64) -> Report {
    let mut pair = Pair::new(config(vec![left.clone()], 1), config(vec![right.clone()], 2));
    let mut flight = Preflight::new(plan(&left), true, options);
    let (mut seen, mut turns) = (0, 0);
    while !flight.is_done() {
        turns += 1;
        assert!(turns < 10_000, "it goes on for ever: {:?}\n{:#?}", flight.current(), flight.report());
        while let Some(order) = flight.poll_order(pair.now) {
            match order {
                Order::Connect => {
                    pair.connect(left.clone());
                }
                Order::Command(sa, command) => {
                    if let Err(why) = pair.left.command(pair.now, sa, command) {
                        flight.refused(pair.now, &why.to_string());
                    }
                    pair.collect();
                }
                Order::Ping { count, .. } => flight.pinged(pair.now, Pings { sent: count, answered: answers }),
                Order::PeerRekey { ike } => {
                    let sa = pair.right.sas().into_iter().find(|sa| sa.established).expect("the tunnel is up");
                    let command = if ike { Command::RekeyIke } else { Command::RekeyChild(sa.children[0].spi_in) };
                    pair.right.command(pair.now, sa.sa, command).expect("it is up");
                    pair.collect();
                }
                Order::PeerInitiate => {
                    let local = right.local_addr.expect("the test's peer knows its address");
                    pair.right.connect(pair.now, std::sync::Arc::new(right.clone()), TunnelId(7), local);
                    pair.collect();
                }
            }
        }
        pair.settle();
        let (events, now) = (&pair.events, pair.now);
        let news = events.len();
        for (end, _, sa, event) in &events[seen..] {
            if *end == End::Left {
                flight.event(now, *sa, event);
            }
        }
        if news == seen && !flight.is_done() {
            // Nothing happened: whatever is due first happens next.
            let timers = [pair.left.poll_timeout(), pair.right.poll_timeout()];
            let due = timers.into_iter().flatten().map(|(at, _)| at).chain(flight.poll_timeout()).min();
            if let Some(at) = due {
                pair.run_until(at.max(pair.now));
                flight.handle_timeout(pair.now);
            }
        }
        seen = news;
    }
    flight.report().clone()
}

fn verdicts(report: &Report) -> Vec<(String, Verdict)> {
    report.outcomes.iter().map(|o| (o.trial.title(), o.verdict.clone())).collect()
}

fn with_command() -> Options {
    Options {
        initiates: true,
        rekeys: [false; 2],
        hint: "ask somebody".into(),
        initiate_within: Duration::from_secs(60),
        wait: None,
        target: Some(address("10.2.0.1")),
    }
}

fn outcome<'a>(report: &'a Report, wanted: &Trial) -> &'a ikelab::preflight::Outcome {
    report.outcomes.iter().find(|o| o.trial == *wanted).unwrap_or_else(|| panic!("{wanted:?} in {report:#?}"))
}

#[test]
fn a_sound_tunnel_passes_and_what_was_not_tried_says_so() {
    assert_eq!(TUNNEL, TunnelId(1));
    let report = rehearse(left_spec(), right_spec(), with_command(), 3);
    use Verdict::*;
    let expected = [
        ("connect", Worked),
        ("Child rekey without PFS", Worked),
        ("Child rekey with PFS (CURVE25519)", Noted),
        ("IKE rekey", Worked),
        ("second Child SA (lan again)", Worked),
        ("liveness check", Worked),
        ("delete and connect again", Worked),
        ("the peer connects", Worked),
        ("the peer rekeys the Child SA", NotTested),
        ("the peer rekeys the IKE SA", NotTested),
    ];
    let got = verdicts(&report);
    for (have, (title, verdict)) in got.iter().zip(expected) {
        assert_eq!((have.0.as_str(), &have.1), (title, &verdict), "{report:#?}");
    }
    assert_eq!(got.len(), 10);
    assert!(report.clean() && report.data_tested && !report.complete(), "{report:#?}");
    let pinged = report.outcomes.iter().filter(|o| o.after.is_some_and(|p| p.whole())).count();
    assert_eq!(pinged, 8, "after each that was tried: {report:#?}");
}

#[test]
fn pfs_at_one_end_only_is_found_and_the_rest_is_still_tried() {
    let mut right = right_spec();
    right.children[0].pfs = vec![KeMethod::CURVE25519];
    let report = rehearse(left_spec(), right, with_command(), 3);
    let configured = report.outcomes.iter().find(|o| matches!(o.trial, Trial::RekeyChild { configured: true, .. }));
    let configured = configured.expect("it was tried");
    assert_eq!(configured.verdict, Verdict::Failed, "{report:#?}");
    assert!(configured.detail.contains("NO_PROPOSAL_CHOSEN"), "{}", configured.detail);
    let other = report.outcomes.iter().find(|o| matches!(o.trial, Trial::RekeyChild { configured: false, .. }));
    let other = other.expect("it was tried");
    assert_eq!(
        (&other.verdict, other.detail.as_str()),
        (&Verdict::Worked, "the peer takes it, although PFS is off here")
    );
    assert_eq!(outcome(&report, &Trial::RekeyIke).verdict, Verdict::Worked);
    assert!(!report.clean());
    let mut spec = left_spec();
    spec.children[0].lifetime = Some(Duration::from_secs(3600));
    let look = outlook(&spec, &PeerFacts::default(), &report);
    assert!(look[1].text.contains("a rekey that we begin FAILED just now"), "{}", look[1].text);
}

#[test]
fn a_peer_without_rekeys_fails_where_it_matters_and_is_noted_where_it_does_not() {
    let mut right = right_spec();
    right.behaviour.rekey.answer = CreateChildPolicy::Nothing;
    let report = rehearse(left_spec(), right, with_command(), 3);
    assert_eq!(outcome(&report, &Trial::RekeyIke).verdict, Verdict::Failed, "{report:#?}");
    let second = Trial::SecondChild { name: "lan".into(), again: true };
    assert_eq!(outcome(&report, &second).verdict, Verdict::Noted);
    assert_eq!(outcome(&report, &Trial::Recreate).verdict, Verdict::Worked);
    assert!(!report.clean());
}

#[test]
fn without_a_tunnel_everything_else_is_not_tested() {
    let mut right = right_spec();
    right.local_auth = psk("wrong");
    right.remote_auth = psk("wrong");
    let report = rehearse(left_spec(), right, with_command(), 3);
    assert_eq!(report.outcomes[0].verdict, Verdict::Failed);
    assert!(report.outcomes[1..].iter().all(|o| o.verdict == Verdict::NotTested), "{report:#?}");
    assert!(!report.data_tested && !report.complete());
}

#[test]
fn the_peers_half_needs_a_command_or_patience() {
    let silent = Options { initiates: false, target: None, ..with_command() };
    let report = rehearse(left_spec(), right_spec(), silent, 3);
    let peer = outcome(&report, &Trial::PeerConnects);
    assert_eq!(peer.verdict, Verdict::NotTested);
    assert!(peer.detail.contains("ask somebody"), "{}", peer.detail);
    assert!(!report.data_tested && report.clean() && !report.complete());

    let mut right = right_spec();
    right.children[0].lifetime = Some(Duration::from_secs(60));
    right.lifetime = Some(Duration::from_secs(100));
    let patient = Options { wait: Some(Duration::from_secs(120)), ..with_command() };
    let report = rehearse(left_spec(), right, patient.clone(), 3);
    assert_eq!(outcome(&report, &Trial::PeerRekeysChild).verdict, Verdict::Worked, "{report:#?}");
    assert_eq!(outcome(&report, &Trial::PeerRekeysIke).verdict, Verdict::Worked, "{report:#?}");
    assert!(report.complete() && report.clean(), "{report:#?}");

    let report = rehearse(left_spec(), right_spec(), patient, 3);
    let peer = outcome(&report, &Trial::PeerRekeysChild);
    assert_eq!((&peer.verdict, peer.detail.as_str()), (&Verdict::NotTested, "the peer did not rekey within 120s"));
}

#[test]
fn commands_make_the_peer_rekey_and_what_is_refused_here_has_failed() {
    let commands = Options { rekeys: [true; 2], ..with_command() };
    let report = rehearse(left_spec(), right_spec(), commands.clone(), 3);
    assert!(report.complete() && report.clean(), "{report:#?}");
    for trial in [Trial::PeerRekeysChild, Trial::PeerRekeysIke] {
        assert_eq!(outcome(&report, &trial).verdict, Verdict::Worked);
    }

    // The peer asks without a group, which we must have.
    let mut left = left_spec();
    left.children[0].pfs = vec![KeMethod::CURVE25519];
    let report = rehearse(left, right_spec(), commands, 3);
    let peer = outcome(&report, &Trial::PeerRekeysChild);
    assert_eq!(peer.verdict, Verdict::Failed, "{report:#?}");
    assert!(peer.detail.starts_with("the peer asked, and was refused here"), "{}", peer.detail);
}

/// The first likely cause when `end` rekeys the Child SA of a tunnel between these two, as `left` sees it.
fn likely(left: &[KeMethod], right: &[KeMethod], end: End) -> (String, Vec<String>) {
    let (mut l, mut r) = (left_spec(), right_spec());
    (l.children[0].pfs, r.children[0].pfs) = (left.to_vec(), right.to_vec());
    let mut tunnel = crate::rekey::Tunnel::up(l.clone(), r);
    let spi = tunnel.child(end);
    tunnel.order(end, Command::RekeyChild(spi));
    let mut facts = Facts::default();
    tunnel.pair.said(End::Left).for_each(|event| facts.note(ikelab::time::Instant::ZERO, event));
    let failures = tunnel.failures(End::Left);
    let finding = diagnose(failures.first().expect("it failed"), &facts, &l, None);
    (finding.likely[0].text.clone(), finding.known)
}

#[test]
fn a_first_rekey_that_is_refused_points_at_pfs() {
    let (x25519, p256) = (KeMethod::CURVE25519, KeMethod::ECP_256);
    let cases: [(&[KeMethod], &[KeMethod], End, &str); 5] = [
        (&[x25519], &[], End::Left, "PFS mismatch: it is on here with x25519, and off"),
        (&[], &[x25519], End::Left, "PFS mismatch: it is on at the peer, and off here"),
        (&[], &[p256], End::Right, "PFS mismatch: it is on at the peer with ecp256, and off"),
        (&[p256], &[], End::Right, "PFS mismatch: it is on here, and off at the peer"),
        (&[p256], &[x25519], End::Left, "PFS mismatch: it is on here with ecp256"),
    ];
    for (left, right, end, says) in cases {
        let (text, known) = likely(left, right, end);
        assert!(text.starts_with(says), "{left:?} {right:?} {end:?}: {text}");
        assert!(known.iter().any(|line| line.contains("came from IKE_AUTH, which never carries a group")), "{known:?}");
    }
}

#[test]
fn a_later_rekey_that_is_refused_does_not_point_at_pfs() {
    let group = vec![KeMethod::CURVE25519];
    let (mut l, mut r) = (left_spec(), right_spec());
    (l.children[0].pfs, r.children[0].pfs) = (group.clone(), group);
    let mut tunnel = crate::rekey::Tunnel::up(l.clone(), r);
    for pfs in [Pfs::AsConfigured, Pfs::Without] {
        let spi = tunnel.child(End::Left);
        tunnel.order(End::Left, Command::RekeyChildWith(spi, pfs));
    }
    let mut facts = Facts::default();
    tunnel.pair.said(End::Left).for_each(|event| facts.note(ikelab::time::Instant::ZERO, event));
    let failures = tunnel.failures(End::Left);
    let finding = diagnose(failures.first().expect("it failed"), &facts, &l, None);
    assert!(!finding.likely[0].text.contains("PFS"), "{finding:?}");
}

#[test]
fn a_lost_echo_request_spoils_a_clean_report() {
    let report = rehearse(left_spec(), right_spec(), with_command(), 2);
    assert!(report.data_lost().count() >= 8 && !report.clean(), "{report:#?}");
    assert!(report.with(Verdict::Failed).next().is_none());
}

#[test]
fn who_rekeys_first_follows_from_both_lifetimes() {
    let hour = Duration::from_secs(3600);
    let with = |ours: Option<Duration>, peers: Option<Duration>| {
        let mut spec = left_spec();
        spec.lifetime = ours;
        let peer = PeerFacts { ike_lifetime: peers, ..PeerFacts::default() };
        outlook(&spec, &peer, &Report::default()).remove(0)
    };
    assert_eq!(with(Some(hour), Some(8 * hour)).first, First::We);
    assert_eq!(with(Some(8 * hour), Some(hour)).first, First::Peer);
    assert_eq!(with(Some(hour), Some(hour)).first, First::Either);
    assert_eq!(with(Some(hour), None).first, First::Unknown);
    assert_eq!(with(None, Some(hour)).first, First::Peer);
    assert_eq!(with(None, None).first, First::Nobody);
    let text = with(Some(hour), Some(8 * hour)).text;
    assert!(text.starts_with("we rekey it after 48m to 54m, the peer's lifetime is 8h, so we begin"), "{text}");
    assert!(text.ends_with("a rekey that we begin was not tested"), "{text}");
}
