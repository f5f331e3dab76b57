//! CREATE_CHILD_SA between two honest endpoints: each path and each refusal, either end asking.

use std::time::Duration;

use ikelab::engine::*;
use ikelab::net::Class;
use ikelab::wire::Payload;
use ikelab::wire::registry::{ExchangeType, KeMethod, NotifyType};

use crate::pair::*;
use crate::rekey_plane::Planes;

pub const BOTH: [End; 2] = [End::Left, End::Right];

/// A tunnel that is up, with both ends' handles.
pub struct Tunnel {
    pub pair: Pair,
    pub planes: Planes,
}

impl Tunnel {
    pub fn up(left: ConnectionSpec, right: ConnectionSpec) -> Tunnel {
        Tunnel::over(Pair::to(right), left)
    }

    pub fn over(mut pair: Pair, left: ConnectionSpec) -> Tunnel {
        pair.connect(left);
        pair.settle();
        assert!(pair.is_up(End::Left) && pair.is_up(End::Right), "{:#?}", pair.events);
        let mut tunnel = Tunnel { pair, planes: Planes::default() };
        tunnel.look();
        tunnel
    }

    pub fn look(&mut self) {
        self.planes.follow(&self.pair);
        if let Err(fault) = self.planes.check() {
            panic!("{fault}\n{}", self.story());
        }
    }

    /// The current IKE SA of one end.
    pub fn sa(&mut self, end: End) -> SaView {
        let sas: Vec<SaView> = self.pair.end(end).sas().into_iter().filter(|sa| sa.established).collect();
        assert_eq!(sas.len(), 1, "{end:?}\n{}", self.story());
        sas.into_iter().next().expect("one")
    }

    pub fn child(&mut self, end: End) -> u32 {
        self.sa(end).children[0].spi_in
    }

    pub fn command(&mut self, end: End, command: Command) {
        let (now, id) = (self.pair.now, self.sa(end).sa);
        self.pair.end(end).command(now, id, command).expect("up");
        self.pair.collect();
        self.look();
    }

    /// Delivers one by one, with a look at the data plane after each.
    pub fn settle(&mut self) {
        while !self.pair.flight.is_empty() {
            let datagram = self.pair.flight.remove(0);
            self.pair.deliver(datagram);
            self.look();
        }
    }

    pub fn order(&mut self, end: End, command: Command) {
        self.command(end, command);
        self.settle();
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.pair.run_for(duration);
        self.look();
    }

    pub fn mirrored(&mut self, names: &[&str]) {
        self.look();
        if let Err(fault) = self.planes.mirrored(names) {
            panic!("{fault}\n{}", self.story());
        }
    }

    pub fn count(&self, end: End, wanted: impl Fn(&Event) -> bool) -> usize {
        self.pair.said(end).filter(|e| wanted(e)).count()
    }

    pub fn failures(&self, end: End) -> Vec<&Failed> {
        self.pair
            .said(end)
            .filter_map(|e| match e {
                Event::Failed(failed) | Event::ChildFailed(failed) => Some(&**failed),
                _ => None,
            })
            .collect()
    }

    /// Messages that `end` sent: exchange, response, and the names of its payloads.
    pub fn sent(&self, end: End, exchange: ExchangeType, response: bool) -> Vec<&[Payload]> {
        self.pair
            .said(end)
            .filter_map(|e| match e {
                Event::Message(m) if m.from == Side::Us => Some(&m.message),
                _ => None,
            })
            .filter(|m| m.header.exchange == exchange && m.header.flags.is_response() == response)
            .filter_map(|m| m.sk.as_deref())
            .collect()
    }

    /// Whether `end` has answered a CREATE_CHILD_SA with this notify.
    pub fn answered(&self, end: End, kind: NotifyType) -> bool {
        let answers = self.sent(end, ExchangeType::CREATE_CHILD_SA, true);
        answers.iter().any(|inner| inner.iter().any(|p| p.as_notify().is_some_and(|n| n.kind == kind)))
    }

    /// What happened, for a failing test.
    pub fn story(&self) -> String {
        let mut text = String::new();
        for (end, _, sa, event) in &self.pair.events {
            let line = match event {
                Event::Message(m) if m.from == Side::Us => {
                    let response = m.message.header.flags.is_response();
                    let inner = m.message.sk.as_deref().map(|p| ikelab::wire::summary(p, response)).unwrap_or_default();
                    let kind = if response { "response" } else { "request" };
                    let header = &m.message.header;
                    format!("{:x} {} {kind} {}: {inner}", header.spi_i.0 >> 48, header.exchange, header.message_id)
                }
                Event::Message(_) | Event::IkeKeys(_) | Event::InitDone(_) => continue,
                Event::ChildInbound(child) => format!("ChildInbound {:08x} -> {:08x}", child.spi_in, child.spi_out),
                other => format!("{other:x?}"),
            };
            text.push_str(&format!("{end:?} {sa:?} {line}\n"));
        }
        text
    }
}

fn pfs(mut spec: ConnectionSpec, groups: &[KeMethod]) -> ConnectionSpec {
    spec.children[0].pfs = groups.to_vec();
    spec
}

/// Both specs with a second child, which is not made by itself.
pub fn two_children() -> (ConnectionSpec, ConnectionSpec) {
    let (mut left, mut right) = (left_spec(), right_spec());
    for (spec, local, remote) in
        [(&mut left, "10.11.0.0/24", "10.12.0.0/24"), (&mut right, "10.12.0.0/24", "10.11.0.0/24")]
    {
        let mut second = spec.children[0].clone();
        second.name = "other".into();
        (second.local_ts, second.remote_ts) = (vec![net(local)], vec![net(remote)]);
        spec.children.push(second);
    }
    left.behaviour.all_children = false;
    (left, right)
}

/// ```text
///  A                                                       B
///  N(REKEY_SA), SA, Ni, TSi, TSr                    -->
///                                                   <--    SA, Nr, TSi, TSr      B still sends on the old one
///  D(old)                                           -->                          B sends on the new one
///                                                   <--    D(old)
/// ```
#[test]
fn a_child_is_rekeyed_by_either_end() {
    for end in BOTH {
        let mut t = Tunnel::up(left_spec(), right_spec());
        let (old, other_old) = (t.child(end), t.child(end.other()));
        t.command(end, Command::RekeyChild(old));
        let request = t.pair.flight.remove(0);
        t.pair.deliver(request);
        t.look();
        let answerer = t.planes.at(end.other());
        assert_eq!(answerer.sending["lan"], other_old, "the answerer waits for a sign");
        assert_eq!(answerer.installed.len(), 2, "and receives on both");
        t.settle();
        t.mirrored(&["lan"]);
        let new = t.child(end);
        assert_ne!(new, old);
        for e in BOTH {
            assert_eq!(t.count(e, |e| matches!(e, Event::ChildRekeyed { .. })), 1);
            assert_eq!(t.count(e, |e| matches!(e, Event::ChildDown { .. })), 1);
        }
        let requests = t.sent(end, ExchangeType::CREATE_CHILD_SA, false);
        assert!(!requests[0].iter().any(|p| matches!(p, Payload::Ke(_))), "no PFS");
        let rekeyed = requests[0][0].as_notify().expect("REKEY_SA comes first");
        assert_eq!((rekeyed.kind, rekeyed.spi.as_slice()), (NotifyType::REKEY_SA, &old.to_be_bytes()[..]));
        assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
    }
}

#[test]
fn esp_on_the_new_child_tells_the_answerer_to_use_it() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    let old = t.child(End::Left);
    t.command(End::Left, Command::RekeyChild(old));
    for _ in 0..2 {
        let datagram = t.pair.flight.remove(0);
        t.pair.deliver(datagram);
    }
    t.look();
    let new_at_right = *t
        .planes
        .right
        .installed
        .keys()
        .find(|spi| Some(**spi) != t.planes.right.sending.get("lan").copied())
        .expect("two");
    let now = t.pair.now;
    t.pair.right.esp_activity(now, new_at_right, EspNote::Received { packets: 1, bytes: 100 });
    t.pair.collect();
    t.look();
    assert_eq!(t.planes.right.sending["lan"], new_at_right);
    t.settle();
    t.mirrored(&["lan"]);
    assert_eq!(t.count(End::Right, |e| matches!(e, Event::ChildOutbound { .. })), 2, "once each");
}

#[test]
fn a_child_is_rekeyed_with_perfect_forward_secrecy() {
    for end in BOTH {
        for group in [KeMethod::MODP_2048, KeMethod::ECP_256, KeMethod::CURVE25519] {
            let mut t = Tunnel::up(pfs(left_spec(), &[group]), pfs(right_spec(), &[group]));
            let old = t.child(end);
            t.order(end, Command::RekeyChild(old));
            t.mirrored(&["lan"]);
            for (e, response) in [(end, false), (end.other(), true)] {
                let sent = t.sent(e, ExchangeType::CREATE_CHILD_SA, response);
                assert!(sent[0].iter().any(|p| matches!(p, Payload::Ke(ke) if ke.group == group)));
            }
            let suite = t.pair.said(end).filter_map(|e| match e {
                Event::ChildInbound(child) => Some(child.suite),
                _ => None,
            });
            assert_eq!(suite.last().and_then(|s| s.ke).map(|g| g.method()), Some(group));
        }
    }
}

/// ```text
///  A                                                       B
///  N(REKEY_SA), SA(19, 31), Ni, KEi(19), ..         -->
///                                                   <--    N(INVALID_KE_PAYLOAD 31)
///  N(REKEY_SA), SA(19, 31), Ni, KEi(31), ..         -->
/// ```
#[test]
fn another_group_is_demanded_and_remembered() {
    let left = pfs(left_spec(), &[KeMethod::ECP_256, KeMethod::CURVE25519]);
    let mut t = Tunnel::up(left, pfs(right_spec(), &[KeMethod::CURVE25519]));
    let old = t.child(End::Left);
    t.order(End::Left, Command::RekeyChild(old));
    t.mirrored(&["lan"]);
    assert!(t.answered(End::Right, NotifyType::INVALID_KE_PAYLOAD));
    assert_eq!(t.sent(End::Left, ExchangeType::CREATE_CHILD_SA, false).len(), 2);
    assert!(t.failures(End::Left).is_empty() && t.failures(End::Right).is_empty());
    let old = t.child(End::Left);
    t.order(End::Left, Command::RekeyChild(old));
    t.mirrored(&["lan"]);
    assert_eq!(t.sent(End::Left, ExchangeType::CREATE_CHILD_SA, false).len(), 3, "the agreed group is tried first");
}

#[test]
fn pfs_on_one_side_only_is_no_proposal_chosen_at_the_first_rekey() {
    let group = [KeMethod::ECP_256];
    for (left, right) in [(pfs(left_spec(), &group), right_spec()), (left_spec(), pfs(right_spec(), &group))] {
        let mut t = Tunnel::up(left, right);
        let old = t.child(End::Left);
        t.order(End::Left, Command::RekeyChild(old));
        t.mirrored(&["lan"]);
        assert_eq!(t.child(End::Left), old, "the old one stays");
        let refused = Failure::Rejected { notify: NotifyType::NO_PROPOSAL_CHOSEN, data: vec![], protected: true };
        assert_eq!(t.failures(End::Left)[0].why, refused);
        let at_right = t.failures(End::Right)[0];
        assert!(matches!(at_right.why, Failure::Incompatible(PeerIncompatible::NoProposal { .. })));
        assert_eq!((at_right.scope, at_right.exchange), (FailScope::Child, ExchangeType::CREATE_CHILD_SA));
    }
}

#[test]
fn different_pfs_groups_are_no_proposal_chosen() {
    let mut t = Tunnel::up(pfs(left_spec(), &[KeMethod::ECP_256]), pfs(right_spec(), &[KeMethod::MODP_2048]));
    let old = t.child(End::Left);
    t.order(End::Left, Command::RekeyChild(old));
    assert!(t.answered(End::Right, NotifyType::NO_PROPOSAL_CHOSEN));
    t.mirrored(&["lan"]);
}

/// ```text
///  A                                                       B
///  SA, Ni, TSi, TSr                                 -->
///                                                   <--    SA, Nr, TSi, TSr
///  anything                                         -->                          B sends on it now, or after a while
/// ```
#[test]
fn another_child_by_either_end() {
    for end in BOTH {
        let (left, right) = two_children();
        let mut t = Tunnel::up(left, right);
        t.order(end, Command::NewChild("other".into()));
        assert_eq!(t.planes.at(end).sending.len(), 2);
        assert_eq!(t.planes.at(end.other()).sending.len(), 1, "the answerer waits for a sign");
        t.order(end, Command::Liveness);
        t.mirrored_any(&["lan", "other"]);
        let id = t.sa(end).sa;
        let now = t.pair.now;
        let unknown = t.pair.end(end).command(now, id, Command::NewChild("nobody".into()));
        assert_eq!(unknown, Err(CommandError::NoSuchChild));
    }
    let (left, right) = two_children();
    let mut t = Tunnel::up(left, right);
    t.order(End::Left, Command::NewChild("other".into()));
    t.run_for(Duration::from_secs(3));
    t.mirrored_any(&["lan", "other"]);
}

impl Tunnel {
    /// As [`Tunnel::mirrored`], whatever the order of the SPIs.
    pub fn mirrored_any(&mut self, names: &[&str]) {
        self.look();
        let mut reversed = names.to_vec();
        reversed.reverse();
        let (left, right) = (self.planes.mirrored(names), self.planes.mirrored(&reversed));
        let count = |end: End| self.planes.at(end).installed.len();
        assert_eq!((count(End::Left), count(End::Right)), (names.len(), names.len()));
        for end in BOTH {
            let sending: Vec<&str> = self.planes.at(end).sending.keys().map(String::as_str).collect();
            assert_eq!(sending, names, "{left:?} {right:?}");
        }
    }
}

#[test]
fn additional_children_are_refused_by_policy() {
    for (policy, rekeys) in [(CreateChildPolicy::RekeyOnly, true), (CreateChildPolicy::Nothing, false)] {
        let (left, mut right) = two_children();
        right.behaviour.rekey.answer = policy;
        let mut t = Tunnel::up(left, right);
        t.order(End::Left, Command::NewChild("other".into()));
        assert!(t.answered(End::Right, NotifyType::NO_ADDITIONAL_SAS));
        let refused = Failure::Rejected { notify: NotifyType::NO_ADDITIONAL_SAS, data: vec![], protected: true };
        assert_eq!(t.failures(End::Left)[0].why, refused);
        let old = t.child(End::Left);
        t.order(End::Left, Command::RekeyChild(old));
        t.order(End::Left, Command::RekeyIke);
        t.mirrored(&["lan"]);
        assert_eq!(t.child(End::Left) != old, rekeys);
        assert_eq!(t.pair.left.counters().ike_rekeyed, u64::from(rekeys));
        let scopes: Vec<FailScope> = t.failures(End::Left).iter().map(|f| f.scope).collect();
        let expected =
            if rekeys { vec![FailScope::Child] } else { vec![FailScope::Child, FailScope::Child, FailScope::Exchange] };
        assert_eq!(scopes, expected);
    }
}

#[test]
fn unacceptable_selectors_of_another_child_leave_the_rest_alone() {
    let (left, mut right) = two_children();
    right.children.truncate(1);
    let mut t = Tunnel::up(left, right);
    t.order(End::Left, Command::NewChild("other".into()));
    assert!(t.answered(End::Right, NotifyType::TS_UNACCEPTABLE));
    t.mirrored(&["lan"]);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
}

/// A narrower answer than we accept: the answerer believes in the Child, so it is taken back.
#[test]
fn a_new_child_that_we_refuse_is_taken_back() {
    let (mut left, right) = two_children();
    left.behaviour.accept_narrowed = false;
    left.children[1].remote_ts = vec![net("10.12.0.0/23")];
    let mut t = Tunnel::up(left, right);
    t.order(End::Left, Command::NewChild("other".into()));
    t.mirrored(&["lan"]);
    assert!(matches!(t.failures(End::Left)[0].why, Failure::Incompatible(PeerIncompatible::Selectors { .. })));
    assert_eq!(t.count(End::Right, |e| matches!(e, Event::ChildDown { by: Side::Peer, .. })), 1);
}

#[test]
fn transport_mode_is_asked_for_again_when_rekeying() {
    let (mut left, mut right) = (left_spec(), right_spec());
    left.children[0].mode = Mode::Transport;
    right.children[0].mode = Mode::Transport;
    let mut t = Tunnel::up(left, right);
    let old = t.child(End::Left);
    t.order(End::Left, Command::RekeyChild(old));
    t.mirrored(&["lan"]);
    for end in BOTH {
        let modes = t.pair.said(end).filter_map(|e| match e {
            Event::ChildInbound(child) => Some(child.mode),
            _ => None,
        });
        assert_eq!(modes.collect::<Vec<_>>(), [Mode::Transport, Mode::Transport]);
    }
}

/// ```text
///  A                                                       B
///  SA, Ni, KEi          (old IKE SA)                -->
///                                                   <--    SA, Nr, KEr           the Child SAs are in the new one
///  D                    (old IKE SA)                -->
///                                                   <--    {}
///  {} message id 0      (new IKE SA)                -->
/// ```
#[test]
fn the_ike_sa_is_rekeyed_by_either_end_and_its_child_moves() {
    for end in BOTH {
        let mut t = Tunnel::up(left_spec(), right_spec());
        let old = t.sa(end);
        t.order(end, Command::RekeyIke);
        t.mirrored(&["lan"]);
        let new = t.sa(end);
        assert_ne!(new.spis, old.spis);
        assert_eq!(new.children, old.children, "SPIs and keys are inherited");
        assert_eq!((new.tunnel, new.initiator), (old.tunnel, true), "who rekeys is the new original initiator");
        assert!(!t.sa(end.other()).initiator);
        for e in BOTH {
            let rekeyed = t.pair.said(e).filter_map(|e| match e {
                Event::IkeRekeyed(rekeyed) => Some(rekeyed),
                _ => None,
            });
            let rekeyed: Vec<_> = rekeyed.collect();
            assert_eq!((rekeyed.len(), rekeyed[0].spis, rekeyed[0].initiator), (1, new.spis, e == end));
            assert_eq!(t.count(e, |e| matches!(e, Event::Deleted { .. } | Event::ChildDown { .. })), 0);
        }
        // Message ids start over, either way, and the keys are the same at both ends.
        for e in BOTH {
            t.order(e, Command::Liveness);
            assert_eq!(t.count(e, |e| matches!(e, Event::Alive { .. })), 1);
        }
        let ids = t.pair.said(end).filter_map(|e| match e {
            Event::Message(m) if m.message.header.spi_i == new.spis.0 => Some(m.message.header.message_id),
            _ => None,
        });
        assert_eq!(ids.collect::<Vec<_>>(), [0, 0, 0, 0], "each end's first request and its answer");
        // The old one is gone once it has answered repeats for a while; a command to its handle finds the new one.
        let now = t.pair.now;
        t.run_for(Duration::from_secs(5));
        assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
        assert_eq!(t.pair.end(end).command(now, old.sa, Command::Liveness), Err(CommandError::NoSuchSa));
        // Later Child SAs come from the new SK_d, and both ends agree about it.
        let child = t.child(end);
        t.order(end, Command::RekeyChild(child));
        t.mirrored(&["lan"]);
    }
}

#[test]
fn a_rekeyed_ike_sa_is_rekeyed_again_by_alternate_ends() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    for round in 0..6 {
        let end = BOTH[round % 2];
        t.order(end, Command::RekeyIke);
        let child = t.child(end.other());
        t.order(end.other(), Command::RekeyChild(child));
        t.mirrored(&["lan"]);
    }
    assert_eq!(t.pair.left.counters().ike_rekeyed, 6);
    assert_eq!(t.pair.right.counters().child_rekeyed, 6);
    t.run_for(Duration::from_secs(5));
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
}

#[test]
fn the_old_ike_sa_still_answers_repeats_and_its_delete() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    t.command(End::Left, Command::RekeyIke);
    let request = t.pair.flight.remove(0);
    t.pair.deliver(request.clone());
    let answer = t.pair.take();
    // The answer is lost; the repeat is answered from the cache, bit for bit.
    t.pair.deliver(request);
    let again = t.pair.take();
    assert_eq!(answer[0].transmit.bytes, again[0].transmit.bytes);
    t.pair.flight = again;
    t.settle();
    t.mirrored(&["lan"]);
    assert_eq!(t.pair.right.counters().ike_rekeyed, 1);
}

#[test]
fn a_command_for_a_replaced_ike_sa_goes_to_its_successor() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    let old = t.sa(End::Right).sa;
    t.command(End::Left, Command::RekeyIke);
    let request = t.pair.flight.remove(0);
    t.pair.deliver(request);
    let answer = t.pair.take();
    let now = t.pair.now;
    t.pair.right.command(now, old, Command::Delete).expect("the successor is there");
    t.pair.collect();
    t.pair.flight.splice(0..0, answer);
    t.settle();
    t.run_for(Duration::from_secs(30));
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (0, 0), "{}", t.story());
    t.mirrored(&[]);
}

#[test]
fn a_group_for_the_ike_sa_is_demanded_and_followed() {
    let (mut left, mut right) = (left_spec(), right_spec());
    left.ike_proposals = vec![ike_proposal(&[KeMethod::CURVE25519, KeMethod::ECP_256])];
    right.ike_proposals = vec![ike_proposal(&[KeMethod::CURVE25519])];
    let mut t = Tunnel::up(left, right.clone());
    // The responder's policy changes between the two.
    right.ike_proposals = vec![ike_proposal(&[KeMethod::CURVE25519])];
    t.order(End::Left, Command::RekeyIke);
    assert!(!t.answered(End::Right, NotifyType::INVALID_KE_PAYLOAD), "the group in use is tried first");
    t.mirrored(&["lan"]);
}

#[test]
fn a_rekey_of_an_unknown_child_is_child_sa_not_found_and_negotiated_anew() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    let (left, right) = (t.child(End::Left), t.child(End::Right));
    // The right end loses it and the left end never hears of that.
    t.command(End::Right, Command::DeleteChild(right));
    let delete = t.pair.take();
    t.command(End::Left, Command::RekeyChild(left));
    t.settle();
    assert!(t.answered(End::Right, NotifyType::TEMPORARY_FAILURE), "while it closes it (2.25.1)");
    t.pair.flight = delete;
    t.settle();
    t.mirrored(&[]);
    // Now one that is silently gone: a repeat of history in which the DELETE's answer was believed.
    t.run_for(Duration::from_secs(10));
    t.mirrored(&[]);
    assert_eq!(t.pair.left.counters().child_up, 1, "what the peer deleted is not made again");
}

#[test]
fn the_window_stays_one_request_wide() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    let child = t.child(End::Left);
    t.command(End::Left, Command::RekeyChild(child));
    t.command(End::Left, Command::Liveness);
    t.command(End::Left, Command::RekeyIke);
    t.command(End::Left, Command::NewChild("lan".into()));
    assert_eq!(t.pair.flight.len(), 1);
    while !t.pair.flight.is_empty() {
        assert_eq!(t.pair.flight.iter().filter(|f| f.transmit.class == Class::Ike).count(), 1, "{}", t.story());
        let datagram = t.pair.flight.remove(0);
        t.pair.deliver(datagram);
        // The old IKE SA's DELETE and the new one's first request are requests of two IKE SAs.
        if t.pair.left.counters().ike_rekeyed > 0 {
            break;
        }
        t.look();
    }
    t.settle();
    t.run_for(Duration::from_secs(5));
    assert_eq!(t.planes.left.installed.len(), 2, "the additional Child waited for the rekeyed IKE SA\n{}", t.story());
    assert_eq!(t.sa(End::Left).children.len(), 2);
    assert_eq!(t.sa(End::Right).children.len(), 2);
}

#[test]
fn keys_of_the_new_ike_sa_are_exported() {
    let mut t = Tunnel::up(left_spec(), right_spec());
    t.order(End::Left, Command::RekeyIke);
    let new = t.sa(End::Left);
    let export = |end| {
        t.pair.said(end).find_map(|e| match e {
            Event::IkeKeys(keys) if keys.spis == new.spis => Some(keys.clone()),
            _ => None,
        })
    };
    let (left, right) = (export(End::Left).expect("exported"), export(End::Right).expect("exported"));
    assert_eq!((left.sk_d, left.sk_ei, left.sk_er), (right.sk_d, right.sk_ei, right.sk_er));
}

/// `group 14` or none, whatever the connection says: how a rehearsal finds out what a peer takes.
#[test]
fn a_rekey_can_be_ordered_with_another_key_exchange_than_the_connection_asks_for() {
    let with_pfs = |mut spec: ConnectionSpec| {
        spec.children[0].pfs = vec![KeMethod::CURVE25519];
        spec
    };
    let (left, right) = (left_spec(), right_spec());
    for (peer_wants, order, accepted, ke) in [
        (false, Pfs::Without, true, false),
        (false, Pfs::With(KeMethod::CURVE25519), false, true),
        (true, Pfs::Without, false, false),
        (true, Pfs::With(KeMethod::CURVE25519), true, true),
    ] {
        let right = if peer_wants { with_pfs(right.clone()) } else { right.clone() };
        let mut tunnel = Tunnel::up(left.clone(), right);
        let old = tunnel.child(End::Left);
        tunnel.order(End::Left, Command::RekeyChildWith(old, order));
        let asked = tunnel.sent(End::Left, ExchangeType::CREATE_CHILD_SA, false);
        let has_ke = asked.iter().any(|inner| inner.iter().any(|p| matches!(p, Payload::Ke(_))));
        assert_eq!(has_ke, ke, "{order:?}");
        assert_eq!(tunnel.child(End::Left) != old, accepted, "{order:?} with a peer that wants PFS: {peer_wants}");
        assert_eq!(tunnel.answered(End::Right, NotifyType::NO_PROPOSAL_CHOSEN), !accepted, "{order:?}");
        tunnel.mirrored(&["lan"]);
    }
}
