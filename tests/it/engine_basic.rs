//! Handshakes, refusals and endings between two honest endpoints.

use std::time::Duration;

use ikelab::crypto::ChildKeys;
use ikelab::engine::*;
use ikelab::wire::registry::{ExchangeType, KeMethod, NotifyType};
use ikelab::wire::{NotifyPayload, Transform};

use crate::pair::*;

fn child(pair: &Pair, end: End) -> &ChildSa {
    pair.said(end)
        .find_map(|e| match e {
            Event::ChildInbound(child) => Some(&**child),
            _ => None,
        })
        .expect("a Child SA")
}

fn failure(pair: &Pair, end: End) -> &Failed {
    pair.said(end)
        .find_map(|e| match e {
            Event::Failed(failed) | Event::ChildFailed(failed) => Some(&**failed),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no failure at {end:?}: {:#?}", pair.events))
}

fn same_keys(a: &ChildKeys, b: &ChildKeys) -> bool {
    a.i_encr == b.i_encr && a.i_integ == b.i_integ && a.r_encr == b.r_encr && a.r_integ == b.r_integ
}

#[test]
fn four_messages_make_an_ike_sa_and_a_child_with_the_same_keys() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    let mut messages = 0;
    while let Some(datagram) = (!pair.flight.is_empty()).then(|| pair.flight.remove(0)) {
        messages += 1;
        pair.deliver(datagram);
    }
    assert_eq!(messages, 4);
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    let (left, right) = (child(&pair, End::Left), child(&pair, End::Right));
    assert_eq!((left.spi_in, left.spi_out), (right.spi_out, right.spi_in));
    assert_eq!(left.suite, right.suite);
    assert_eq!((&left.local_ts, &left.remote_ts), (&right.remote_ts, &right.local_ts));
    assert!(same_keys(&left.keys, &right.keys));
    assert!(left.initiator && !right.initiator && !left.encapsulated && !left.narrowed);
}

#[test]
fn the_inbound_sa_is_announced_before_the_packet_that_names_its_spi() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    for _ in 0..2 {
        let datagram = pair.flight.remove(0);
        pair.deliver(datagram);
    }
    let auth = pair.flight.remove(0);
    let path = seen_by_receiver(&auth.transmit.path);
    pair.right.handle_datagram(pair.now, path, &mut auth.transmit.bytes.clone());
    let announced = std::iter::from_fn(|| pair.right.poll_event()).any(|(.., e)| matches!(e, Event::ChildInbound(_)));
    assert!(announced, "events hold it while the response still waits in poll_transmit");
    assert!(pair.right.poll_transmit().is_some());
}

#[test]
fn every_group_and_a_wrong_first_guess() {
    let groups = [KeMethod::MODP_1024, KeMethod::MODP_2048, KeMethod::ECP_256, KeMethod::ECP_521, KeMethod::CURVE25519];
    for wanted in groups {
        let mut right = right_spec();
        right.ike_proposals = vec![ike_proposal(&[wanted])];
        let mut left = left_spec();
        let other = if wanted == KeMethod::ECP_384 { KeMethod::ECP_256 } else { KeMethod::ECP_384 };
        left.ike_proposals = vec![ike_proposal(&[other, wanted])];
        let mut pair = Pair::to(right);
        pair.connect(left);
        pair.settle();
        assert!(pair.is_up(End::Left), "{wanted}");
        let asked = pair.said(End::Left).any(|e| match e {
            Event::Message(m) => m
                .message
                .outer
                .iter()
                .filter_map(|p| p.as_notify())
                .any(|n| n.kind == NotifyType::INVALID_KE_PAYLOAD && n.data == wanted.0.to_be_bytes()),
            _ => false,
        });
        assert!(asked, "{wanted}: INVALID_KE_PAYLOAD named it");
    }
}

#[test]
fn no_common_proposal_is_told_and_both_lists_are_known() {
    let mut right = right_spec();
    right.ike_proposals = vec![ike_proposal(&[KeMethod::MODP_4096])];
    let mut pair = Pair::to(right);
    pair.connect(left_spec());
    pair.settle();
    let left = failure(&pair, End::Left);
    assert!(matches!(left.why, Failure::Rejected { notify: NotifyType::NO_PROPOSAL_CHOSEN, protected: false, .. }));
    assert_eq!((left.scope, left.found_by), (FailScope::IkeSa, Side::Peer));
    match &failure(&pair, End::Right).why {
        Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted }) => {
            assert!(offered[0].transforms.contains(&Transform::ke(KeMethod::CURVE25519)));
            assert!(wanted[0].transforms.contains(&Transform::ke(KeMethod::MODP_4096)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_responder_that_stays_silent_looks_like_no_answer() {
    let mut right = right_spec();
    right.ike_proposals = vec![ike_proposal(&[KeMethod::MODP_4096])];
    right.behaviour.answer_no_proposal = false;
    let mut pair = Pair::to(right);
    pair.connect(left_spec());
    pair.settle();
    pair.run_for(RetransmitSpec::default().total() + Duration::from_secs(1));
    assert_eq!(failure(&pair, End::Left).why, Failure::NoAnswer { attempts: 6, heard: Heard::Nothing });
}

#[test]
fn a_wrong_psk_is_found_by_the_responder_and_named_to_the_initiator() {
    let mut left = left_spec();
    left.local_auth = psk("correct h0rse");
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    assert!(!pair.is_up(End::Left) && !pair.is_up(End::Right));
    let at_right = failure(&pair, End::Right);
    assert_eq!(at_right.why, Failure::AuthFailed(AuthFault::Mismatch { id: id("left.test") }));
    let at_left = failure(&pair, End::Left);
    assert!(matches!(
        at_left.why,
        Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, protected: true, .. }
    ));
    pair.run_for(Duration::from_secs(10));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0));
}

#[test]
fn an_initiator_that_rejects_the_responder_says_so_in_an_informational() {
    let mut left = left_spec();
    left.remote_auth = psk("another key");
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    assert!(pair.is_up(End::Right), "the responder believed it (RFC 7296 2.21.2)");
    assert_eq!(failure(&pair, End::Left).why, Failure::AuthFailed(AuthFault::Mismatch { id: id("right.test") }));
    let at_right = failure(&pair, End::Right);
    assert!(matches!(
        at_right.why,
        Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, protected: true, .. }
    ));
    assert_eq!(at_right.found_by, Side::Peer);
    pair.run_for(Duration::from_secs(10));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0));
}

#[test]
fn an_unknown_identity_is_refused_by_the_responder() {
    let mut left = left_spec();
    left.local_id = id("stranger.test");
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    assert_eq!(failure(&pair, End::Right).why, Failure::AuthFailed(AuthFault::Identity { got: id("stranger.test") }));
}

#[test]
fn a_wrong_responder_identity_is_refused_by_the_initiator() {
    let mut right = right_spec();
    right.local_id = id("impostor.test");
    let mut pair = Pair::to(right);
    pair.connect(left_spec());
    pair.settle();
    assert_eq!(failure(&pair, End::Left).why, Failure::AuthFailed(AuthFault::Identity { got: id("impostor.test") }));
}

#[test]
fn a_child_without_common_proposal_leaves_the_ike_sa_up() {
    let mut left = left_spec();
    left.children[0].proposals[0].transforms[0] =
        Transform::encr(ikelab::wire::registry::EncrId::ENCR_AES_GCM_16, Some(256));
    let mut pair = Pair::to(right_spec());
    let sa = pair.connect(left);
    pair.settle();
    for end in [End::Left, End::Right] {
        let failed = failure(&pair, end);
        assert_eq!(failed.scope, FailScope::Child);
        assert!(pair.said(end).any(|e| matches!(e, Event::IkeUp(_))));
        assert!(!pair.said(end).any(|e| matches!(e, Event::ChildInbound(_))));
    }
    pair.left.command(pair.now, sa, Command::Liveness).expect("still there");
    pair.collect();
    pair.settle();
    assert!(pair.said(End::Left).any(|e| matches!(e, Event::Alive { .. })));
}

#[test]
fn an_initiator_may_delete_the_ike_sa_when_its_first_child_fails() {
    let mut left = left_spec();
    left.children[0].remote_ts = vec![net("172.16.0.0/24")];
    left.behaviour.child_failure = ChildFailure::DeleteIkeSa;
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    let at_left = failure(&pair, End::Left);
    assert!(matches!(at_left.why, Failure::Rejected { notify: NotifyType::TS_UNACCEPTABLE, .. }));
    assert!(pair.said(End::Right).any(|e| matches!(e, Event::Deleted { by: Side::Peer })));
    assert!(pair.said(End::Left).any(|e| matches!(e, Event::Deleted { by: Side::Us })));
}

#[test]
fn selectors_are_narrowed_or_refused_by_policy() {
    let mut left = left_spec();
    left.children[0].remote_ts = vec![net("10.2.0.0/23")];
    let mut pair = Pair::to(right_spec());
    pair.connect(left.clone());
    pair.settle();
    assert_eq!(child(&pair, End::Left).remote_ts, vec![net("10.2.0.0/24")]);
    assert!(child(&pair, End::Left).narrowed && child(&pair, End::Right).narrowed);

    let mut right = right_spec();
    right.behaviour.narrowing = Narrowing::RefuseWider;
    let mut pair = Pair::to(right);
    pair.connect(left.clone());
    pair.settle();
    assert!(matches!(failure(&pair, End::Left).why, Failure::Rejected { notify: NotifyType::TS_UNACCEPTABLE, .. }));

    left.behaviour.accept_narrowed = false;
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    assert!(matches!(failure(&pair, End::Left).why, Failure::Incompatible(PeerIncompatible::Selectors { .. })));
    let taken_back = pair.said(End::Right).any(|e| matches!(e, Event::ChildDown { by: Side::Peer, .. }));
    assert!(taken_back, "the responder believed in the Child; the initiator deletes it");
}

#[test]
fn a_cookie_is_demanded_returned_and_then_enough() {
    let mut config = config(vec![right_spec()], 2);
    config.limits.cookie_threshold = Some(0);
    let mut pair = Pair::new(crate::pair::config(vec![], 1), config);
    pair.connect(left_spec());
    pair.settle();
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert_eq!(pair.right.counters().cookies_sent, 1);
}

/// RFC 7296 2.6.1: after COOKIE and INVALID_KE_PAYLOAD the cookie is sent again with the new KE, and four round trips
/// become three.
#[test]
fn cookie_and_invalid_ke_interact() {
    let mut right = right_spec();
    right.ike_proposals = vec![ike_proposal(&[KeMethod::ECP_256])];
    let mut config = config(vec![right], 2);
    config.limits.cookie_threshold = Some(0);
    let mut pair = Pair::new(crate::pair::config(vec![], 1), config);
    pair.connect(left_spec());
    pair.settle();
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert_eq!(pair.right.counters().cookies_sent, 1, "the cookie was kept for the second KE");
    let sent = pair.said(End::Left).filter(|e| match e {
        Event::Message(m) => m.from == Side::Us && m.message.header.exchange == ExchangeType::IKE_SA_INIT,
        _ => false,
    });
    assert_eq!(sent.count(), 3);
}

#[test]
fn delete_is_answered_and_both_ends_forget() {
    for end in [End::Left, End::Right] {
        let mut pair = Pair::to(right_spec());
        pair.connect(left_spec());
        pair.settle();
        let now = pair.now;
        pair.end(end).delete_all(now);
        pair.collect();
        pair.settle();
        assert!(pair.said(end).any(|e| matches!(e, Event::Deleted { by: Side::Us })));
        assert!(pair.said(end.other()).any(|e| matches!(e, Event::Deleted { by: Side::Peer })));
        assert!(pair.said(end).any(|e| matches!(e, Event::ChildDown { by: Side::Us, .. })));
        assert!(pair.said(end.other()).any(|e| matches!(e, Event::ChildDown { by: Side::Peer, .. })));
        pair.run_for(Duration::from_secs(10));
        assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0));
    }
}

#[test]
fn delete_without_an_answer_ends_all_the_same() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    pair.settle();
    pair.left.delete_all(pair.now);
    pair.collect();
    for _ in 0..20 {
        pair.take();
        let Some((at, _)) = pair.left.poll_timeout() else { break };
        pair.now = at;
        pair.left.handle_timeout(at);
        pair.collect();
    }
    assert_eq!(pair.left.sa_count(), 0);
    assert!(pair.said(End::Left).any(|e| matches!(e, Event::Deleted { by: Side::Us })));
}

#[test]
fn one_child_is_deleted_and_the_ike_sa_stays() {
    let mut pair = Pair::to(right_spec());
    let sa = pair.connect(left_spec());
    pair.settle();
    let (mine, theirs) = (child(&pair, End::Left).spi_in, child(&pair, End::Right).spi_in);
    pair.left.command(pair.now, sa, Command::DeleteChild(mine)).expect("it is there");
    pair.collect();
    pair.settle();
    assert!(pair.said(End::Left).any(|e| matches!(e, Event::ChildDown { spi_in, by: Side::Us } if *spi_in == mine)));
    assert!(
        pair.said(End::Right).any(|e| matches!(e, Event::ChildDown { spi_in, by: Side::Peer } if *spi_in == theirs))
    );
    assert_eq!(pair.left.command(pair.now, sa, Command::DeleteChild(mine)), Err(CommandError::NoSuchChild));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (1, 1));
}

#[test]
fn liveness_is_checked_only_when_nothing_was_heard() {
    let mut left = left_spec();
    left.dpd = Some(DpdSpec::new(Duration::from_secs(10), DpdMode::Periodic));
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    pair.run_for(Duration::from_secs(35));
    let checks = pair.said(End::Left).filter(|e| matches!(e, Event::Alive { .. })).count();
    assert_eq!(checks, 3);
    assert_eq!(pair.left.counters().failed, 0);
}

#[test]
fn a_dead_peer_is_noticed_after_all_retransmissions() {
    let mut left = left_spec();
    left.dpd = Some(DpdSpec::new(Duration::from_secs(10), DpdMode::Periodic));
    let expected = Duration::from_secs(10) + left.retransmit.total();
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    let start = pair.now;
    let mut at = start;
    while pair.left.sa_count() > 0 {
        at = pair.left.poll_timeout().expect("a timer").0;
        pair.left.handle_timeout(at);
        pair.collect();
        pair.take(); // nothing arrives
    }
    assert_eq!(at.since(start), expected);
    assert!(matches!(failure(&pair, End::Left).why, Failure::NoAnswer { attempts: 6, heard: Heard::Nothing }));
}

#[test]
fn a_nat_moves_both_ends_to_the_nat_t_ports() {
    let mut left = left_spec();
    left.nat.traversal = NatTraversal::Force;
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    let path = pair.said(End::Right).find_map(|e| match e {
        Event::IkeUp(up) => Some(up.path),
        _ => None,
    });
    let path = path.expect("up");
    assert_eq!((path.local.port(), path.remote.port()), (4500, 4500));
    assert_eq!(path.role, ikelab::net::SocketRole::NatT);
    assert!(child(&pair, End::Left).encapsulated && child(&pair, End::Right).encapsulated);
    pair.run_for(Duration::from_secs(21));
    let keepalive = pair.flight.iter().chain(&[]).count();
    assert_eq!(keepalive, 0, "run_for delivered it");
}

#[test]
fn initial_contact_replaces_the_older_ike_sa() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    pair.settle();
    pair.left = Endpoint::new(
        std::sync::Arc::new(config(vec![], 77)),
        ikelab::seed::Seeds::simulated("rebooted"),
        ikelab::time::UnixTime::default(),
    );
    pair.connect(left_spec());
    pair.settle();
    let replaced = pair.said(End::Right).any(|e| match e {
        Event::Failed(f) => f.why == Failure::Local(LocalFault::ReplacedByInitialContact),
        _ => false,
    });
    assert!(replaced);
    assert_eq!(pair.right.sa_count(), 1);
}

#[test]
fn a_notify_of_ours_reaches_the_peer() {
    let mut pair = Pair::to(right_spec());
    let sa = pair.connect(left_spec());
    pair.settle();
    pair.left.command(pair.now, sa, Command::Notify(NotifyPayload::new(NotifyType(40_000)))).expect("up");
    pair.collect();
    pair.settle();
    let seen = pair.said(End::Right).any(|e| matches!(e, Event::PeerNotify(n) if n.kind == NotifyType(40_000)));
    assert!(seen);
}

#[test]
fn a_half_open_ike_sa_is_forgotten() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    let init = pair.flight.remove(0);
    pair.deliver(init);
    assert_eq!(pair.right.counters().half_open, 1);
    pair.take();
    let right = &mut pair.right;
    let (at, why) = right.poll_timeout().expect("a timer");
    assert_eq!(why, Timer::HalfOpen);
    right.handle_timeout(at);
    pair.collect();
    assert_eq!((pair.right.counters().half_open, pair.right.sa_count()), (0, 0));
    assert!(matches!(failure(&pair, End::Right).why, Failure::Local(LocalFault::HalfOpenExpired)));
}

#[test]
fn limits_of_half_open_ike_sas_drop_silently() {
    let mut config = config(vec![right_spec()], 2);
    config.limits.max_half_open_per_address = Some(1);
    let mut pair = Pair::new(crate::pair::config(vec![], 1), config);
    pair.connect(left_spec());
    let first = pair.flight.remove(0);
    pair.deliver(first);
    pair.take();
    pair.connect(left_spec());
    let second = pair.flight.remove(0);
    pair.deliver(second);
    assert!(pair.flight.is_empty());
    assert_eq!(pair.right.counters().ignored(IgnoredWhy::Limit), 1);
}

/// Selectors enough to need several fragments.
fn many_selectors(mut spec: ConnectionSpec) -> ConnectionSpec {
    let many = |c: u8| (0..150).map(|n| net(&format!("10.{c}.{n}.0/24"))).collect::<Vec<_>>();
    let child = &mut spec.children[0];
    (child.local_ts, child.remote_ts) = (many(1), many(2));
    spec.fragmentation = true;
    spec
}

#[test]
fn a_large_ike_auth_is_fragmented_and_put_together_in_any_order() {
    let mut right = many_selectors(right_spec());
    let lan = &mut right.children[0];
    std::mem::swap(&mut lan.local_ts, &mut lan.remote_ts);
    let mut pair = Pair::to(right);
    pair.connect(many_selectors(left_spec()));
    let init = pair.flight.remove(0);
    pair.deliver(init);
    let answer = pair.flight.remove(0);
    pair.deliver(answer);
    let mut fragments = pair.take();
    assert!(fragments.len() > 3, "{}", fragments.len());
    assert!(fragments.iter().all(|f| f.transmit.bytes.len() <= 1228));
    fragments.reverse();
    let again = fragments.clone();
    for fragment in fragments {
        pair.deliver(fragment);
    }
    let response = pair.take();
    assert!(response.len() > 3);
    assert!(pair.said(End::Right).any(|e| matches!(e, Event::IkeUp(_))));
    // A repeat is answered once, for its first fragment (RFC 7383 2.6.1), from the cache.
    for fragment in again {
        pair.deliver(fragment);
    }
    let repeated = pair.take();
    let octets = |f: &[InFlight]| f.iter().map(|f| f.transmit.bytes.clone()).collect::<Vec<_>>();
    assert_eq!(octets(&repeated), octets(&response));
    for fragment in response.into_iter().rev() {
        pair.deliver(fragment);
    }
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert_eq!(child(&pair, End::Left).local_ts.len(), 150);
}

#[test]
fn without_both_ends_support_nothing_is_fragmented() {
    let mut right = many_selectors(right_spec());
    let lan = &mut right.children[0];
    std::mem::swap(&mut lan.local_ts, &mut lan.remote_ts);
    right.fragmentation = false;
    let mut pair = Pair::to(right);
    pair.connect(many_selectors(left_spec()));
    for _ in 0..2 {
        let datagram = pair.flight.remove(0);
        pair.deliver(datagram);
    }
    assert_eq!(pair.flight.len(), 1);
    assert!(pair.flight[0].transmit.bytes.len() > 4000);
    pair.settle();
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
}
