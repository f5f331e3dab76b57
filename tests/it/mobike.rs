//! MOBIKE (RFC 4555): addresses change and the tunnel stays, told as a story of two ends and perhaps a NAT.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ikelab::engine::{
    Command, CommandError, ConnectionSpec, DpdMode, DpdSpec, Event, FailScope, Failure, MobikeSpec, NatTraversal, Side,
};
use ikelab::esp::{Plane, PlaneConfig};
use ikelab::net::{Class, Path, SocketRole};
use ikelab::wire::registry::NotifyType;
use ikelab::wire::{NotifyPayload, Payload};

use crate::pair::{End, InFlight, Pair, address, config, left_spec, right_spec, seen_by_receiver};

const ELSEWHERE: &str = "10.0.9.9";
const PUBLIC: &str = "203.0.113.7";

fn mobile(spec: ConnectionSpec) -> ConnectionSpec {
    ConnectionSpec { mobike: Some(MobikeSpec::default()), ..spec }
}

/// Two ends, and what lies between them.
struct World {
    pair: Pair,
    /// Where the initiator can be reached now.
    home: IpAddr,
    /// Its NAT: our port there, with the public address and port that it stands for.
    nat: Option<u16>,
    /// Both ends' data planes.
    planes: [Plane; 2],
    told: usize,
    lose: Option<fn(&InFlight, &mut u32) -> bool>,
    lost: u32,
}

impl World {
    fn new(left: ConnectionSpec, right: ConnectionSpec, nat: Option<u16>) -> World {
        let mut pair = Pair::new(config(vec![], 1), config(vec![right], 2));
        pair.connect(left);
        let plane = || Plane::new(PlaneConfig { native: true, ..PlaneConfig::default() });
        let home = address(crate::pair::LEFT);
        let mut world = World { pair, home, nat, planes: [plane(), plane()], told: 0, lose: None, lost: 0 };
        world.settle();
        assert!(world.pair.is_up(End::Left) && world.pair.is_up(End::Right), "{:?}", world.pair.events);
        world
    }

    fn plain() -> World {
        World::new(mobile(left_spec()), mobile(right_spec()), None)
    }

    /// Delivers as the network between them does, until nothing is in flight.
    fn settle(&mut self) {
        loop {
            self.tell_planes();
            if self.pair.flight.is_empty() {
                return;
            }
            let datagram = self.pair.flight.remove(0);
            self.carry(datagram);
        }
    }

    fn carry(&mut self, mut datagram: InFlight) {
        if self.lose.is_some_and(|lose| lose(&datagram, &mut self.lost)) || datagram.transmit.class != Class::Ike {
            return;
        }
        let Some(path) = self.across(datagram.to, datagram.transmit.path) else { return };
        let now = self.pair.now;
        self.pair.end(datagram.to).handle_datagram(now, path, &mut datagram.transmit.bytes);
        self.pair.collect();
    }

    /// The path as the receiver sees it; none if nobody is there, or if the source is not the sender's.
    fn across(&self, to: End, mut path: Path) -> Option<Path> {
        match (to, self.nat) {
            (End::Right, None) => (path.local.ip() == self.home).then_some(())?,
            (End::Right, Some(port)) => {
                (path.local.ip() == self.home).then_some(())?;
                path.local = SocketAddr::new(address(PUBLIC), port);
            }
            (End::Left, None) => (path.remote.ip() == self.home).then_some(())?,
            (End::Left, Some(port)) => {
                (path.remote == SocketAddr::new(address(PUBLIC), port)).then_some(())?;
                path.remote = SocketAddr::new(self.home, if path.role == SocketRole::NatT { 4500 } else { 500 });
            }
        }
        Some(seen_by_receiver(&path))
    }

    fn tell_planes(&mut self) {
        for (end, tunnel, sa, event) in &self.pair.events[self.told..] {
            self.planes[*end as usize].event(self.pair.now, *tunnel, *sa, event);
        }
        self.told = self.pair.events.len();
    }

    fn run_for(&mut self, span: Duration) {
        let until = self.pair.now + span;
        loop {
            let due = [&self.pair.left, &self.pair.right]
                .into_iter()
                .filter_map(|e| e.poll_timeout())
                .map(|(at, _)| at)
                .min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.pair.now = self.pair.now.max(due);
            let now = self.pair.now;
            self.pair.left.handle_timeout(now);
            self.pair.right.handle_timeout(now);
            self.pair.collect();
            self.settle();
        }
        self.pair.now = until;
    }

    /// The initiator is somewhere else, and knows it.
    fn go(&mut self, to: &str) {
        self.home = address(to);
        self.order(End::Left, Command::Move(SocketAddr::new(self.home, 4500))).expect("it may move");
    }

    fn order(&mut self, end: End, command: Command) -> Result<(), CommandError> {
        let sa = self.pair.events.iter().rev().find_map(|(e, _, sa, event)| {
            (*e == end && matches!(event, Event::IkeUp(_) | Event::IkeRekeyed(_))).then_some(*sa)
        });
        let now = self.pair.now;
        let outcome = self.pair.end(end).command(now, sa.expect("it is up"), command);
        self.pair.collect();
        outcome
    }

    fn moves(&self, end: End) -> Vec<(Side, Path)> {
        let moved = |event: &Event| match event {
            Event::Moved { by, path, .. } => Some((*by, *path)),
            _ => None,
        };
        self.pair.said(end).filter_map(moved).collect()
    }

    fn failed(&self, end: End) -> Vec<&Failure> {
        self.pair.said(end).filter_map(|event| if let Event::Failed(f) = event { Some(&f.why) } else { None }).collect()
    }

    /// An ESP packet of either end gets to the other one along the path that the planes believe in.
    fn esp_passes(&mut self) -> [Result<(SocketRole, SocketAddr), String>; 2] {
        [(End::Left, "10.1.0.1", "10.2.0.1"), (End::Right, "10.2.0.1", "10.1.0.1")].map(
            |(from, source, destination)| {
                let mut packet = Vec::new();
                let echo = ikelab::esp::inner::Echo { request: true, id: 1, seq: 1, data: &[7; 8] };
                assert!(ikelab::esp::inner::build_echo(&mut packet, address(source), address(destination), &echo));
                let now = self.pair.now;
                let here = &mut self.planes[from as usize];
                here.send(now, None, &packet).map_err(|e| format!("{e:?}"))?;
                let mut transmit = here.poll_transmit().ok_or("nothing was sent")?;
                let gone_by = (transmit.path.role, transmit.path.remote);
                let path = self.across(from.other(), transmit.path).ok_or("nobody is there")?;
                let there = &mut self.planes[from.other() as usize];
                let before = there.counters().decaps;
                there.handle_packet(now, path, &mut transmit.bytes);
                let answers: Vec<_> = std::iter::from_fn(|| there.poll_transmit()).collect();
                drop(answers);
                (there.counters().decaps == before + 1).then_some(gone_by).ok_or_else(|| "not understood".to_owned())
            },
        )
    }
}

fn notifies(pair: &Pair, end: End) -> Vec<NotifyType> {
    let sent = pair.said(end).filter_map(|event| match event {
        Event::Message(trace) if trace.from == Side::Us => trace.message.sk.as_deref(),
        _ => None,
    });
    sent.flatten().filter_map(Payload::as_notify).map(|notify| notify.kind).collect()
}

#[test]
fn both_ends_have_to_announce_it() {
    for (left, right, expected) in [(true, true, true), (true, false, false), (false, true, false)] {
        let made = |wanted, spec| if wanted { mobile(spec) } else { spec };
        let mut world = World::new(made(left, left_spec()), made(right, right_spec()), None);
        let agreed = |end| world.pair.said(end).any(|event| matches!(event, Event::IkeUp(up) if up.mobike));
        assert_eq!((agreed(End::Left), agreed(End::Right)), (expected, expected));
        let announced =
            [End::Left, End::Right].map(|end| notifies(&world.pair, end).contains(&NotifyType::MOBIKE_SUPPORTED));
        assert_eq!(announced, [left, left && right], "a responder answers, it does not ask");
        let elsewhere = SocketAddr::new(address(ELSEWHERE), 4500);
        let outcome = world.order(End::Left, Command::Move(elsewhere));
        assert_eq!(outcome.is_ok(), expected, "{outcome:?}");
        assert_eq!(
            world.order(End::Right, Command::Move(elsewhere)),
            Err(CommandError::CannotMove),
            "the responder stays"
        );
    }
}

/// RFC 4555 3.3: on port 4500 from IKE_AUTH on, since a NAT may come later; ESP is native until one does.
#[test]
fn it_runs_on_the_port_for_nats_from_the_beginning() {
    let mut world = World::plain();
    let up = world.pair.said(End::Left).find_map(|e| if let Event::IkeUp(up) = e { Some(up.path) } else { None });
    assert_eq!(up.map(|path| (path.role, path.remote.port())), Some((SocketRole::NatT, 4500)));
    assert!(world.esp_passes().iter().all(|passed| matches!(passed, Ok((SocketRole::Esp, _)))));
}

#[test]
fn a_move_takes_ike_and_esp_along() {
    let mut world = World::plain();
    world.go(ELSEWHERE);
    assert!(world.moves(End::Left).is_empty(), "not before the peer has answered");
    world.settle();
    let (left, right) = (world.moves(End::Left), world.moves(End::Right));
    assert_eq!((left.len(), right.len()), (1, 1));
    assert_eq!((left[0].0, left[0].1.local.ip()), (Side::Us, address(ELSEWHERE)));
    assert_eq!((right[0].0, right[0].1.remote.ip()), (Side::Peer, address(ELSEWHERE)));
    let [there, back] = world.esp_passes();
    assert_eq!(there.unwrap().0, SocketRole::Esp);
    assert_eq!(back.unwrap().1.ip(), address(ELSEWHERE));
    // The responder's own requests find it.
    world.order(End::Right, Command::Liveness).unwrap();
    world.settle();
    assert!(world.pair.said(End::Right).any(|event| matches!(event, Event::Alive { .. })));
}

/// Whatever is lost, the move is made good by a repeat; a request that was under way is repeated from the new address.
#[test]
fn losses_and_requests_under_way_do_not_matter() {
    for n in 0..4 {
        let mut world = World::plain();
        // A liveness check is out when the address goes away.
        world.order(End::Left, Command::Liveness).unwrap();
        world.pair.take();
        world.lose = Some(|_, n| n.checked_sub(1).map(|left| *n = left).is_some());
        world.lost = n;
        world.go(ELSEWHERE);
        world.settle();
        world.run_for(Duration::from_secs(30));
        assert!(world.pair.said(End::Left).any(|event| matches!(event, Event::Alive { .. })), "{n} lost");
        assert_eq!((world.moves(End::Left).len(), world.moves(End::Right).len()), (1, 1), "{n} lost");
        assert!(world.esp_passes().iter().all(Result::is_ok), "{n} lost");
    }
}

/// Two moves at once: the peer ends at the last one.
#[test]
fn a_second_move_overtakes_the_first() {
    let mut world = World::plain();
    world.go("10.0.9.8");
    world.go(ELSEWHERE);
    world.settle();
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.moves(End::Right).last().unwrap().1.remote.ip(), address(ELSEWHERE));
    assert_eq!(world.moves(End::Left).last().unwrap().1.local.ip(), address(ELSEWHERE));
    assert!(world.esp_passes().iter().all(Result::is_ok));
}

#[test]
fn a_move_behind_a_nat_puts_esp_into_udp_and_back() {
    let mut world = World::plain();
    world.nat = Some(61_000);
    world.go("192.168.1.5");
    world.settle();
    let [there, back] = world.esp_passes();
    assert_eq!(there.unwrap().0, SocketRole::NatT);
    assert_eq!(back.unwrap(), (SocketRole::NatT, SocketAddr::new(address(PUBLIC), 61_000)));
    world.run_for(Duration::from_secs(25));
    world.nat = None;
    world.go(ELSEWHERE);
    world.settle();
    let [there, back] = world.esp_passes();
    assert_eq!((there.unwrap().0, back.unwrap().0), (SocketRole::Esp, SocketRole::Esp));
}

/// RFC 4555 3.8: the mapping changes, a liveness check finds it, and the responder is told.
#[test]
fn a_new_mapping_of_the_nat_is_noticed() {
    let dpd = DpdSpec {
        interval: Duration::from_secs(10),
        mode: DpdMode::Periodic,
        retransmit: None,
        action: ikelab::engine::DpdAction::Clear,
    };
    let left = ConnectionSpec { dpd: Some(dpd), ..mobile(left_spec()) };
    let right = ConnectionSpec { remote_addr: None, ..mobile(right_spec()) };
    let mut world = World::new(left, right, Some(61_000));
    world.run_for(Duration::from_secs(15));
    assert!(world.esp_passes().iter().all(Result::is_ok));
    world.nat = Some(62_000);
    let [_, back] = world.esp_passes();
    assert!(back.is_err(), "the responder does not follow by itself (3.8)");
    world.run_for(Duration::from_secs(15));
    let [there, back] = world.esp_passes();
    assert_eq!((there.is_ok(), back.unwrap().1.port()), (true, 62_000));
}

/// RFC 4555 3.9: who wants no NATs is told of one, and the tunnel stays where it was.
#[test]
fn a_nat_that_is_not_wanted_is_found() {
    let mut left = mobile(left_spec());
    left.nat.traversal = NatTraversal::Off;
    let mut world = World::new(left, mobile(right_spec()), None);
    world.go(ELSEWHERE);
    world.settle();
    assert_eq!(world.moves(End::Right).len(), 1, "no NAT");
    world.nat = Some(61_000);
    world.go("192.168.1.5");
    world.settle();
    assert!(notifies(&world.pair, End::Right).contains(&NotifyType::UNEXPECTED_NAT_DETECTED));
    let expected = NotifyType::UNEXPECTED_NAT_DETECTED;
    assert!(matches!(world.failed(End::Left)[..], [Failure::Rejected { notify, .. }] if *notify == expected));
    assert_eq!(world.moves(End::Right).len(), 1, "it has not followed");
    (world.nat, world.home) = (None, address(ELSEWHERE));
    assert!(world.esp_passes().iter().all(Result::is_ok), "both are where they were");
}

#[test]
fn a_responder_may_refuse_the_new_address() {
    let mut right = mobile(right_spec());
    right.mobike.as_mut().unwrap().accept = false;
    let mut world = World::new(mobile(left_spec()), right, None);
    world.go(ELSEWHERE);
    world.settle();
    assert!(world.moves(End::Left).is_empty() && world.moves(End::Right).is_empty());
    let refused = |event: &&Event| matches!(event, Event::Failed(failed) if failed.scope == FailScope::Exchange);
    assert_eq!(world.pair.said(End::Left).filter(refused).count(), 1);
    world.home = address(crate::pair::LEFT);
    assert!(world.esp_passes().iter().all(Result::is_ok), "the tunnel is where it was");
}

/// RFC 4555 3.7: ESP follows only who has proved to be there.
#[test]
fn a_careful_responder_asks_first() {
    let mut right = mobile(right_spec());
    right.mobike.as_mut().unwrap().check = true;
    let mut world = World::new(mobile(left_spec()), right, None);
    world.go(ELSEWHERE);
    let update = world.pair.take().remove(0);
    world.carry(update);
    world.tell_planes();
    assert!(world.moves(End::Right).is_empty(), "not yet");
    assert!(notifies(&world.pair, End::Right).contains(&NotifyType::COOKIE2));
    world.settle();
    assert_eq!(world.moves(End::Right).len(), 1);
    assert!(world.esp_passes().iter().all(Result::is_ok));
}

/// Whoever sends back another COOKIE2 is closed.
#[test]
fn a_wrong_cookie2_ends_it() {
    struct Liar;
    impl ikelab::engine::Tamper for Liar {
        fn concerns(&mut self, _: &ikelab::engine::SaCx) -> bool {
            true
        }

        fn message(&mut self, _: &ikelab::engine::MsgCx, message: &mut ikelab::wire::Message) {
            for payload in message.sk.iter_mut().flatten() {
                if let Payload::Notify(NotifyPayload { kind: NotifyType::COOKIE2, data, .. }) = payload {
                    data[0] ^= 1;
                }
            }
        }
    }
    let mut right = mobile(right_spec());
    right.mobike.as_mut().unwrap().check = true;
    let mut pair = Pair::new(config(vec![], 1), config(vec![right], 2));
    pair.left.set_tamper(Box::new(Liar));
    let sa = pair.connect(mobile(left_spec()));
    pair.settle();
    pair.left.command(pair.now, sa, Command::Move(SocketAddr::new(address(ELSEWHERE), 4500))).unwrap();
    pair.collect();
    pair.settle();
    let why = pair
        .said(End::Right)
        .find_map(|e| if let Event::Failed(failed) = e { Some(failed.why.to_string()) } else { None });
    assert_eq!(
        why.as_deref(),
        Some("the peer broke the protocol: it did not prove that it is where it claims to be (COOKIE2)")
    );
}

/// RFC 4555 1.2: the initiator is who began the tunnel, whoever has rekeyed it since.
#[test]
fn a_rekeyed_ike_sa_moves_as_well() {
    for who in [End::Left, End::Right] {
        let mut world = World::plain();
        world.order(who, Command::RekeyIke).unwrap();
        world.settle();
        world.run_for(Duration::from_secs(1));
        world.go(ELSEWHERE);
        world.settle();
        assert_eq!((world.moves(End::Left).len(), world.moves(End::Right).len()), (1, 1), "{who:?}");
        assert!(world.esp_passes().iter().all(Result::is_ok), "{who:?}");
    }
}

/// The address goes away while a rekey of the IKE SA is under way, at each of its messages.
#[test]
fn a_move_in_the_middle_of_a_rekey() {
    for who in [End::Left, End::Right] {
        for delivered in 0..4 {
            let mut world = World::plain();
            world.order(who, Command::RekeyIke).unwrap();
            for _ in 0..delivered {
                if !world.pair.flight.is_empty() {
                    let datagram = world.pair.flight.remove(0);
                    world.carry(datagram);
                }
            }
            world.go(ELSEWHERE);
            world.settle();
            world.run_for(Duration::from_secs(60));
            let place = (who, delivered);
            assert!(world.failed(End::Left).is_empty() && world.failed(End::Right).is_empty(), "{place:?}");
            assert_eq!(world.moves(End::Right).last().map(|m| m.1.remote.ip()), Some(address(ELSEWHERE)), "{place:?}");
            assert!(world.esp_passes().iter().all(Result::is_ok), "{place:?}");
        }
    }
}

/// Our other addresses are named, and may be named anew.
#[test]
fn other_addresses_are_named() {
    let mut left = mobile(left_spec());
    left.mobike.as_mut().unwrap().addresses = vec![address("10.0.9.9"), address("2001:db8::9")];
    let world = World::new(left, mobile(right_spec()), None);
    let sent = notifies(&world.pair, End::Left);
    assert!(sent.contains(&NotifyType::ADDITIONAL_IP4_ADDRESS) && sent.contains(&NotifyType::ADDITIONAL_IP6_ADDRESS));
}
