//! The drive loop over real loopback sockets and over a simulated network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ikelab::drive::{Driver, Observer, Queue};
use ikelab::engine::{ConnectionSpec, Endpoint, Event, Ports, SaId, TunnelId};
use ikelab::link::sim::{Chance, Conditions, HostId, NatConfig, SimConfig, SimFate, SimLink, SimWorld};
use ikelab::link::udp::{UdpConfig, UdpLink};
use ikelab::link::{Link, LinkNote};
use ikelab::net::SocketRole;
use ikelab::record::Recorder;
use ikelab::seed::{PlanSeed, Seeds};
use ikelab::time::{Instant, RealClock, UnixTime};

use crate::pair::{LEFT, RIGHT, address, config, left_spec, right_spec};

fn driver<L: Link>(spec: &ConnectionSpec, salt: u64, seed: &str, link: L) -> Driver<L> {
    let endpoint = Endpoint::new(Arc::new(config(vec![spec.clone()], salt)), Seeds::simulated(seed), link.epoch());
    Driver::new(endpoint, link, Recorder::new())
}

fn is_up(queue: &Queue) -> bool {
    queue.events.iter().any(|(.., event)| matches!(event, Event::ChildOutbound { .. }))
}

#[test]
fn a_tunnel_comes_up_and_down_over_real_sockets() {
    let clock = RealClock::start();
    let bind = |address: IpAddr| {
        let config = UdpConfig { addresses: vec![address], ike_port: 0, natt_port: 0, ..UdpConfig::default() };
        UdpLink::bind(&config, clock).expect("loopback binds")
    };
    let (ours, theirs) = (address("127.0.0.21"), address("127.0.0.22"));
    let (a, b) = (bind(ours), bind(theirs));
    let ports = |link: &UdpLink| Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
    let (mut left, mut right) = (left_spec(), right_spec());
    (left.local_addr, left.remote_addr) = (Some(ours), Some(theirs));
    (right.local_addr, right.remote_addr) = (Some(theirs), Some(ours));
    (left.local_ports, left.remote_ports) = (ports(&a), ports(&b));
    (right.local_ports, right.remote_ports) = (ports(&b), ports(&a));

    let (mut a, mut b) = (driver(&left, 1, "x", a), driver(&right, 2, "x", b));
    let (mut a_sees, mut b_sees) = (Queue::default(), Queue::default());
    a.endpoint.connect(a.link.now(), Arc::new(left), TunnelId(1), ours);
    let end = a.link.now() + Duration::from_secs(10);
    let mut deleted = false;
    let closed = |queue: &Queue| queue.events.iter().any(|(.., event)| matches!(event, Event::Deleted { .. }));
    while !(closed(&a_sees) && closed(&b_sees)) {
        assert!(a.link.now() < end, "a: {:?}\nb: {:?}", a_sees.events, b_sees.events);
        let soon = a.link.now() + Duration::from_millis(1);
        a.turn(Some(soon), &mut a_sees).expect("loopback works");
        b.turn(Some(soon), &mut b_sees).expect("loopback works");
        if is_up(&a_sees) && is_up(&b_sees) && !deleted {
            deleted = true;
            a.endpoint.delete_all(a.link.now());
        }
    }
    assert!(deleted);
    assert_eq!((a.link.counters().ike_out, b.link.counters().ike_out), (3, 3));
}

#[test]
fn a_refused_port_is_heard_of_and_the_request_is_sent_again() {
    let config =
        UdpConfig { addresses: vec![address("127.0.0.23")], ike_port: 0, natt_port: 0, ..UdpConfig::default() };
    let link = UdpLink::bind(&config, RealClock::start()).expect("loopback binds");
    let closed = std::net::UdpSocket::bind("127.0.0.24:0").and_then(|s| s.local_addr()).expect("loopback binds");
    let mut left = left_spec();
    (left.local_addr, left.remote_addr) = (Some(address("127.0.0.23")), Some(closed.ip()));
    left.local_ports = Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
    left.remote_ports = Ports { ike: closed.port(), natt: 4500 };
    left.retransmit.initial = Duration::from_millis(20);
    let mut a = driver(&left, 1, "x", link);
    let mut seen = Queue::default();
    a.endpoint.connect(a.link.now(), Arc::new(left), TunnelId(1), address("127.0.0.23"));
    let end = a.link.now() + Duration::from_secs(10);
    let retransmitted = |seen: &Queue| seen.events.iter().any(|(.., event)| matches!(event, Event::Retransmit { .. }));
    while !retransmitted(&seen) {
        assert!(a.link.now() < end, "{:?}", seen.events);
        a.turn(None, &mut seen).expect("loopback works");
    }
    assert!(seen.notes.iter().any(|(_, note)| matches!(note, LinkNote::Refused { path } if path.remote == closed)));
}

struct World {
    world: SimWorld,
    a: Driver<SimLink>,
    b: Driver<SimLink>,
}

impl World {
    fn new(seed: &str, left: &ConnectionSpec, right: &ConnectionSpec, sim: SimConfig) -> Self {
        let world = SimWorld::new(&PlanSeed::from_text(seed), sim, UnixTime(0));
        let (a, b) = (world.link(HostId(0)), world.link(HostId(1)));
        let mut a = driver(left, 1, seed, a);
        let b = driver(right, 2, seed, b);
        a.endpoint.connect(Instant::ZERO, Arc::new(left.clone()), TunnelId(1), address(LEFT));
        World { world, a, b }
    }

    /// Plays until nothing is left to do or `until` has come.
    fn play(&mut self, until: Instant, a_sees: &mut impl Observer, b_sees: &mut impl Observer) {
        while self.world.now() <= until {
            let first = self.a.turn(None, a_sees).expect("the simulation never fails");
            let second = self.b.turn(None, b_sees).expect("the simulation never fails");
            if first.is_idle() && second.is_idle() {
                let times = [self.world.next_arrival(), self.a.next_timeout(), self.b.next_timeout()];
                match times.into_iter().flatten().min() {
                    Some(next) => self.world.advance(next),
                    None => return,
                }
            }
        }
    }
}

fn clean() -> SimConfig {
    SimConfig::pair(address(LEFT), address(RIGHT), Conditions::clean(Duration::from_millis(5)))
}

#[test]
fn a_nat_on_the_way_is_found_and_crossed() {
    let mut sim = clean();
    sim.hosts[0].nat = Some(NatConfig::new(address("203.0.113.9")));
    let mut right = right_spec();
    right.remote_addr = None;
    let mut world = World::new("x", &left_spec(), &right, sim);
    let (mut a, mut b) = (Queue::default(), Queue::default());
    world.play(Instant::from_millis(1_000), &mut a, &mut b);
    assert!(is_up(&a) && is_up(&b), "{:?}", a.events);
    let nat = |queue: &Queue| {
        queue.events.iter().find_map(|(.., event)| match event {
            Event::InitDone(init) => Some((init.nat.us, init.nat.peer)),
            _ => None,
        })
    };
    assert_eq!((nat(&a), nat(&b)), (Some((true, false)), Some((false, true))));
    // The request of IKE_AUTH goes out behind the marker, through a mapping of its own.
    let arrived: Vec<_> =
        world.world.with_net(|net| net.fates().filter(|r| r.from == HostId(1)).map(|r| r.path.to_string()).collect());
    assert_eq!(arrived, ["10.0.0.2:500 -> 203.0.113.9:20000", "10.0.0.2:4500 -> 203.0.113.9:20001"]);
}

#[test]
fn tunnels_come_up_over_a_bad_network() {
    let conditions = Conditions {
        loss: Chance::percent(30),
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(30),
        duplicate: Chance::percent(20),
        reorder: Chance::percent(20),
        reorder_by: Duration::from_millis(1_500),
        ..Conditions::default()
    };
    let mut left = left_spec();
    left.retransmit.attempts = 12;
    let mut retransmitted = 0;
    for n in 0..20 {
        let sim = SimConfig::pair(address(LEFT), address(RIGHT), conditions.clone());
        let mut world = World::new(&format!("bad {n}"), &left, &right_spec(), sim);
        let (mut a, mut b) = (Queue::default(), Queue::default());
        world.play(Instant::from_millis(120_000), &mut a, &mut b);
        assert!(is_up(&a) && is_up(&b), "seed {n}: {:?}", a.events);
        retransmitted += a.events.iter().filter(|(.., event)| matches!(event, Event::Retransmit { .. })).count();
    }
    assert!(retransmitted > 5, "30 % are lost");
}

/// Notes how many datagrams a host had sent when it learnt of its inbound Child SA.
struct Early {
    world: SimWorld,
    host: HostId,
    sent_before: Option<usize>,
}

impl Observer for Early {
    fn event(&mut self, _: Instant, _: TunnelId, _: SaId, event: Event) {
        if matches!(event, Event::ChildInbound(_)) {
            let host = self.host;
            self.sent_before = Some(self.world.with_net(|net| net.fates().filter(|r| r.from == host).count()));
        }
    }
}

#[test]
fn an_inbound_sa_is_known_before_the_peer_learns_of_it() {
    let mut world = World::new("x", &left_spec(), &right_spec(), clean());
    let mut early = Early { world: world.world.clone(), host: HostId(1), sent_before: None };
    world.play(Instant::from_millis(1_000), &mut Queue::default(), &mut early);
    assert_eq!(early.sent_before, Some(1), "the answer to IKE_SA_INIT, and not yet that to IKE_AUTH");
    let delivered = world.world.with_net(|net| net.fates().filter(|r| matches!(r.fate, SimFate::Delivered(_))).count());
    assert_eq!(delivered, 4);
}
