//! Reauthentication (RFC 7296 2.8.3, RFC 4478), childless initiation (RFC 6023), and a connection's further children.

use std::time::Duration;

use ikelab::engine::*;
use ikelab::wire::Payload;
use ikelab::wire::registry::{ExchangeType, NotifyType};

use crate::pair::*;
use crate::rekey::{BOTH, Tunnel, two_children};

fn ups(t: &Tunnel, end: End) -> usize {
    t.count(end, |e| matches!(e, Event::IkeUp(_)))
}

/// The new IKE SA is complete before the old one goes: there is always something to send on.
#[test]
fn make_before_break() {
    let (mut left, right) = two_children();
    left.behaviour.all_children = true;
    let mut t = Tunnel::up(left, right);
    t.run_for(Duration::from_secs(3));
    t.mirrored_any(&["lan", "other"]);
    let old = t.sa(End::Left);
    t.command(End::Left, Command::Reauthenticate);
    t.command(End::Left, Command::Reauthenticate); // once is enough
    while !t.pair.flight.is_empty() {
        let datagram = t.pair.flight.remove(0);
        t.pair.deliver(datagram);
        t.planes.follow(&t.pair);
        for end in BOTH {
            assert_eq!(t.planes.at(end).sending.len(), 2, "no gap at {end:?}");
        }
    }
    t.run_for(Duration::from_secs(3));
    t.mirrored_any(&["lan", "other"]);
    let new = t.sa(End::Left);
    assert_ne!(new.spis, old.spis);
    assert_eq!(new.tunnel, old.tunnel);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
    assert_eq!((ups(&t, End::Left), ups(&t, End::Right)), (2, 2));
    let begun = |e: &Event| matches!(e, Event::Reauthenticating { old: from, break_first: false } if *from == old.sa);
    assert_eq!(t.count(End::Left, begun), 1);
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::Deleted { .. })), 0, "the tunnel lives on");
    let contact =
        |end| t.sent(end, ExchangeType::IKE_AUTH, false).iter().filter(|p| has(p, NotifyType::INITIAL_CONTACT)).count();
    assert_eq!(contact(End::Left), 1, "the second IKE_AUTH must not have the first IKE SA thrown away");
}

#[test]
fn break_before_make() {
    let mut left = left_spec();
    left.behaviour.rekey.reauth = ReauthOrder::BreakFirst;
    let mut t = Tunnel::up(left, right_spec());
    let old = t.sa(End::Left).spis;
    t.command(End::Left, Command::Reauthenticate);
    t.pair.settle();
    t.run_for(Duration::from_secs(3));
    t.mirrored(&["lan"]);
    assert_ne!(t.sa(End::Left).spis, old);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::Deleted { .. })), 0);
    assert_eq!(t.count(End::Right, |e| matches!(e, Event::Deleted { by: Side::Peer })), 1);
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::Reauthenticating { break_first: true, .. })), 1);
}

/// The peer deletes, or never answers, while we wait to break first: the new one is begun all the same.
#[test]
fn break_before_make_with_a_silent_peer() {
    let mut left = left_spec();
    left.behaviour.rekey.reauth = ReauthOrder::BreakFirst;
    let mut t = Tunnel::up(left, right_spec());
    t.command(End::Left, Command::Reauthenticate);
    let until = t.pair.now + Duration::from_secs(70);
    while let Some((at, _)) = t.pair.left.poll_timeout().filter(|(at, _)| *at < until) {
        t.pair.take(); // everything is lost
        t.pair.now = at;
        t.pair.left.handle_timeout(at);
        t.pair.collect();
    }
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::Reauthenticating { break_first: true, .. })), 1);
    t.run_for(Duration::from_secs(60));
    t.mirrored(&["lan"]);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1), "INITIAL_CONTACT cleared the old one");
}

/// A new IKE SA that comes to nothing leaves the old one alone, and is tried again.
#[test]
fn a_failed_reauthentication_leaves_the_old_ike_sa() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    let old = t.sa(End::Left).spis;
    // Nobody answers an IKE_SA_INIT any more.
    t.pair.right.set_config(std::sync::Arc::new(EndpointConfig { respond: false, ..config(vec![], 2) }));
    t.command(End::Left, Command::Reauthenticate);
    t.pair.settle();
    t.run_for(Duration::from_secs(70));
    assert_eq!(t.sa(End::Left).spis, old);
    t.mirrored(&["lan"]);
    assert!(matches!(t.failures(End::Left)[0].why, Failure::NoAnswer { .. }));
    t.pair.right.set_config(std::sync::Arc::new(config(vec![right_spec()], 2)));
    t.run_for(Duration::from_secs(70));
    assert_ne!(t.sa(End::Left).spis, old, "tried again after a minute");
    t.mirrored(&["lan"]);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
}

#[test]
fn only_who_began_the_tunnel_can_authenticate_again() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    t.order(End::Right, Command::RekeyIke);
    assert!(t.sa(End::Right).initiator, "the rekey's initiator is the new IKE SA's");
    let (now, id) = (t.pair.now, t.sa(End::Right).sa);
    assert_eq!(t.pair.right.command(now, id, Command::Reauthenticate), Err(CommandError::NotOurs));
    t.command(End::Left, Command::Reauthenticate);
    t.pair.settle();
    t.run_for(Duration::from_secs(3));
    t.mirrored(&["lan"]);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
}

/// Time, by our own plan or by the peer's AUTH_LIFETIME; a rekey in between does not renew the authentication.
#[test]
fn an_authentication_comes_to_its_end() {
    let hour = Duration::from_secs(3600);
    let (mut ours, mut announced) = (left_spec(), right_spec());
    ours.behaviour.rekey.reauth_after = Some(hour);
    announced.behaviour.rekey.auth_lifetime = Some(hour);
    for (left, right) in [(ours, right_spec()), (left_spec(), announced.clone())] {
        let mut t = Tunnel::up(left, right);
        for end in BOTH {
            t.run_for(hour / 4);
            t.order(end, Command::RekeyIke);
        }
        t.run_for(hour / 4);
        assert_eq!(ups(&t, End::Left), 1);
        t.run_for(hour / 4);
        assert_eq!(ups(&t, End::Left), 2, "between 80 % and 90 % of the hour");
        t.mirrored(&["lan"]);
        assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
        t.run_for(hour * 10);
        assert!((10..=14).contains(&ups(&t, End::Left)), "{}", ups(&t, End::Left));
        assert_eq!(t.failures(End::Right), Vec::<&Failed>::new());
    }
    // An initiator that does not obey is thrown out.
    let mut deaf = left_spec();
    deaf.behaviour.rekey.obey_auth_lifetime = false;
    let mut t = Tunnel::up(deaf, announced);
    t.order(End::Left, Command::RekeyIke);
    t.run_for(hour - Duration::from_secs(1));
    t.mirrored(&["lan"]);
    t.run_for(Duration::from_secs(2));
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::Deleted { by: Side::Peer })), 1);
}

/// The peer's rekey of the old IKE SA while the new one is being made: what has taken its place is deleted.
#[test]
fn a_rekey_of_the_old_one_meanwhile() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    t.command(End::Right, Command::RekeyIke);
    t.command(End::Left, Command::Reauthenticate);
    t.pair.settle();
    t.run_for(Duration::from_secs(10));
    t.mirrored(&["lan"]);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
}

fn has(payloads: &[Payload], kind: NotifyType) -> bool {
    payloads.iter().any(|p| p.as_notify().is_some_and(|n| n.kind == kind))
}

fn childless(mut spec: ConnectionSpec, policy: Childless) -> ConnectionSpec {
    spec.behaviour.childless = policy;
    spec
}

/// RFC 6023: an IKE_AUTH without a Child SA, and the Child SA by CREATE_CHILD_SA.
#[test]
fn childless_initiation() {
    let cases = [
        (Childless::Allow, Childless::Allow, false),
        (Childless::Prefer, Childless::Allow, true),
        (Childless::Prefer, Childless::Never, false),
        (Childless::Force, Childless::Allow, true),
        (Childless::Force, Childless::Force, true),
    ];
    for (ours, theirs, without) in cases {
        let mut t = Tunnel::up(childless(left_spec(), ours), childless(right_spec(), theirs));
        t.run_for(Duration::from_secs(3));
        t.mirrored(&["lan"]);
        let auth = t.sent(End::Left, ExchangeType::IKE_AUTH, false);
        let asked = auth[0].iter().any(|p| matches!(p, Payload::Sa(_) | Payload::TsI(_) | Payload::TsR(_)));
        assert_eq!(asked, !without, "{ours:?} {theirs:?}");
        let created = t.sent(End::Left, ExchangeType::CREATE_CHILD_SA, false).len();
        assert_eq!(created, usize::from(without), "{ours:?} {theirs:?}");
        assert_eq!(t.failures(End::Left), Vec::<&Failed>::new());
    }
}

#[test]
fn a_peer_without_childless_support_is_refused_by_force() {
    let mut pair = Pair::to(childless(right_spec(), Childless::Never));
    pair.connect(childless(left_spec(), Childless::Force));
    pair.settle();
    let failed = pair.said(End::Left).find_map(|e| match e {
        Event::Failed(failed) => Some(failed.why.to_string()),
        _ => None,
    });
    assert!(failed.is_some_and(|why| why.contains("CHILDLESS_IKEV2_SUPPORTED")));
    assert_eq!(pair.left.sa_count(), 0);
}

/// A responder that wants none in IKE_AUTH refuses the Child SA, and the IKE SA stands.
#[test]
fn a_child_in_ike_auth_is_refused_by_force() {
    let mut pair = Pair::to(childless(right_spec(), Childless::Force));
    pair.connect(left_spec());
    pair.settle();
    let refused = |e: &Event| match e {
        Event::ChildFailed(f) => matches!(f.why, Failure::Rejected { notify: NotifyType::NO_ADDITIONAL_SAS, .. }),
        _ => false,
    };
    assert!(pair.said(End::Left).any(refused));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (1, 1));
}

/// All of a connection's children come up, the further ones by CREATE_CHILD_SA.
#[test]
fn further_children_follow_ike_auth() {
    for (left_policy, created) in [(Childless::Allow, 1), (Childless::Prefer, 2)] {
        let (mut left, right) = two_children();
        left.behaviour.all_children = true;
        let mut t = Tunnel::up(childless(left, left_policy), right);
        t.run_for(Duration::from_secs(3));
        t.mirrored_any(&["lan", "other"]);
        assert_eq!(t.sent(End::Left, ExchangeType::CREATE_CHILD_SA, false).len(), created);
    }
}

/// An end that refuses further Child SAs leaves the first one and the IKE SA alone.
#[test]
fn further_children_that_are_refused() {
    let (mut left, mut right) = two_children();
    left.behaviour.all_children = true;
    right.behaviour.rekey.answer = CreateChildPolicy::RekeyOnly;
    let mut t = Tunnel::up(left, right);
    t.mirrored(&["lan"]);
    assert_eq!(t.failures(End::Left).len(), 1);
    t.order(End::Left, Command::RekeyChild(t.pair.left.sas()[0].children[0].spi_in));
    t.mirrored(&["lan"]);
}
