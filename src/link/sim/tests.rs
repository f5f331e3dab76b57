//! The simulated network keeps its promises.

use super::*;
use crate::link::{Link, RxBatch, TxBatch, Wake};
use crate::time::UnixTime;

const A: HostId = HostId(0);
const B: HostId = HostId(1);

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn pair(seed: &str, conditions: Conditions) -> SimNet {
    let config = SimConfig::pair(address("192.0.2.1:0").ip(), address("192.0.2.2:0").ip(), conditions);
    SimNet::new(&PlanSeed::from_text(seed), config)
}

fn a_to_b(role: SocketRole, bytes: &[u8]) -> Transmit {
    let port = if role == SocketRole::Ike { 500 } else { 4500 };
    let (local, remote) = (address(&format!("192.0.2.1:{port}")), address(&format!("192.0.2.2:{port}")));
    Transmit { path: Path { local, remote, role }, class: Class::Ike, bytes: bytes.to_vec() }
}

fn back(transmit: &Transmit) -> Transmit {
    let Path { local, remote, role } = transmit.path;
    Transmit { path: Path { local: remote, remote: local, role }, ..transmit.clone() }
}

fn rough() -> Conditions {
    Conditions {
        loss: Chance::percent(20),
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(5),
        duplicate: Chance::percent(20),
        reorder: Chance::percent(20),
        reorder_by: Duration::from_millis(20),
        ..Conditions::default()
    }
}

/// Sends `count` numbered datagrams a millisecond apart; returns everything that arrives.
fn play(net: &mut SimNet, count: u16) -> Vec<Arrival> {
    for n in 0..count {
        net.send(Instant::from_millis(u64::from(n)), A, a_to_b(SocketRole::Ike, &n.to_be_bytes()));
    }
    net.pop_due(Instant::MAX)
}

#[test]
fn the_same_seed_gives_the_same_fates() {
    let (mut first, mut second, mut other) = (pair("x", rough()), pair("x", rough()), pair("y", rough()));
    let arrivals = play(&mut first, 200);
    assert_eq!(arrivals, play(&mut second, 200));
    assert!(first.fates().eq(second.fates()));
    assert_ne!(arrivals, play(&mut other, 200));
}

#[test]
fn one_direction_does_not_shift_the_other() {
    let (mut alone, mut busy) = (pair("x", rough()), pair("x", rough()));
    let expected: Vec<_> = play(&mut alone, 50);
    for n in 0..50_u16 {
        let transmit = a_to_b(SocketRole::Ike, &n.to_be_bytes());
        busy.send(Instant::from_millis(u64::from(n)), B, back(&transmit));
        busy.send(Instant::from_millis(u64::from(n)), A, transmit);
    }
    let got: Vec<_> = busy.pop_due(Instant::MAX).into_iter().filter(|arrival| arrival.host == B).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_rule_changes_only_what_it_hits() {
    let without_copies = Conditions { duplicate: Chance::NEVER, ..rough() };
    let (mut full, mut less) = (pair("x", rough()), pair("x", without_copies));
    play(&mut full, 200);
    play(&mut less, 200);
    assert!(full.fates().filter(|record| !record.copy).eq(less.fates()));
}

#[test]
fn chances_are_about_what_they_say() {
    let mut net = pair("x", rough());
    let arrivals = play(&mut net, 2000);
    let count = |wanted: fn(&FateRecord) -> bool| net.fates().filter(|record| wanted(record)).count();
    let lost = count(|record| record.fate == SimFate::Lost);
    let copies = count(|record| record.copy);
    assert!((350..450).contains(&lost), "{lost} of 2000 lost at 20 %");
    assert!((270..370).contains(&copies), "{copies} of 1600 doubled at 20 %");
    assert_eq!(arrivals.len(), 2000 - lost + copies);
    let numbers: Vec<_> = arrivals.iter().map(|arrival| arrival.bytes.clone()).collect();
    assert!(!numbers.is_sorted(), "20 % are overtaken");
    assert!(net.fates().all(|record| match record.fate {
        SimFate::Delivered(at) => (10..=35).contains(&(at.since(record.sent).as_millis())) && at > record.sent,
        fate => fate == SimFate::Lost,
    }));
    assert_eq!((Chance::NEVER.hits(0), Chance::ALWAYS.hits(u64::MAX)), (false, true));
}

#[test]
fn a_clean_path_keeps_order_and_time() {
    let mut net = pair("x", Conditions::clean(Duration::from_millis(7)));
    net.send(Instant::ZERO, A, a_to_b(SocketRole::Ike, b"1"));
    net.send(Instant::ZERO, A, a_to_b(SocketRole::NatT, b"2"));
    assert_eq!(net.next_at(), Some(Instant::from_millis(7)));
    assert_eq!(net.pop_due(Instant::from_millis(6)), []);
    let got = net.pop_due(Instant::from_millis(7));
    assert_eq!(
        got.iter().map(|a| (&a.bytes[..], a.path.role)).collect::<Vec<_>>(),
        [(&b"1"[..], SocketRole::Ike), (&b"2"[..], SocketRole::NatT)]
    );
    assert_eq!(got[1].path.to_string(), "192.0.2.2:4500 -> 192.0.2.1:4500");
    assert_eq!(net.fates().map(|record| record.len).collect::<Vec<_>>(), [1, 5], "the marker is on the wire");
    assert_eq!(net.next_at(), None);
}

#[test]
fn one_way_rules_blackouts_and_length_limits() {
    let mut net = pair("x", Conditions::default());
    let transmit = a_to_b(SocketRole::NatT, &[1; 100]);
    net.set_one_way(A, B, Conditions { loss: Chance::ALWAYS, ..Conditions::default() });
    net.send(Instant::ZERO, A, transmit.clone());
    net.send(Instant::ZERO, B, back(&transmit));
    let blackouts = vec![Instant::from_millis(10)..Instant::from_millis(20)];
    net.set_one_way(A, B, Conditions { longest: Some(104), blackouts, ..Conditions::default() });
    for millis in [9, 10, 19, 20] {
        net.send(Instant::from_millis(millis), A, transmit.clone());
    }
    net.send(Instant::from_millis(30), A, a_to_b(SocketRole::NatT, &[1; 101]));
    net.pop_due(Instant::MAX);
    let at = |millis| SimFate::Delivered(Instant::from_millis(millis));
    assert_eq!(
        net.fates().map(|record| record.fate).collect::<Vec<_>>(),
        [SimFate::Lost, at(0), at(9), SimFate::Blackout, SimFate::Blackout, at(20), SimFate::TooLong]
    );
}

#[test]
fn who_is_not_there_does_not_hear() {
    let mut net = pair("x", Conditions::default());
    let mut nobody = a_to_b(SocketRole::Ike, b"x");
    nobody.path.remote = address("192.0.2.3:500");
    let mut closed = a_to_b(SocketRole::Ike, b"x");
    closed.path.remote = address("192.0.2.2:501");
    net.send(Instant::ZERO, A, nobody);
    net.send(Instant::ZERO, A, closed);
    assert_eq!(net.pop_due(Instant::MAX), []);
    let fates: Vec<_> = net.fates().map(|record| (record.number, record.fate)).collect();
    assert_eq!(fates, [(1, SimFate::NoRoute), (2, SimFate::PortClosed)]);
}

#[test]
fn the_log_is_bounded() {
    let mut config = SimConfig::pair(address("192.0.2.1:0").ip(), address("192.0.2.2:0").ip(), Conditions::default());
    config.log_limit = 3;
    let mut net = SimNet::new(&PlanSeed::from_text("x"), config);
    assert_eq!(play(&mut net, 10).len(), 10);
    let kept: Vec<_> = net.fates().map(|record| record.number).collect();
    assert_eq!(kept, [8, 9, 10]);
    assert!(net.fates().all(|record| matches!(record.fate, SimFate::Delivered(_))));
}

fn behind_nat(nat: NatConfig) -> SimNet {
    let inside = address("10.0.0.1:0").ip();
    let mut config = SimConfig::pair(inside, address("192.0.2.2:0").ip(), Conditions::default());
    config.hosts[0].nat = Some(nat);
    SimNet::new(&PlanSeed::from_text("x"), config)
}

fn from_inside(remote: &str) -> Transmit {
    let path = Path { local: address("10.0.0.1:4500"), remote: address(remote), role: SocketRole::NatT };
    Transmit { path, class: Class::Ike, bytes: b"out".to_vec() }
}

fn only(mut arrivals: Vec<Arrival>) -> Arrival {
    assert_eq!(arrivals.len(), 1);
    arrivals.remove(0)
}

#[test]
fn a_nat_translates_both_ways_and_keeps_strangers_out() {
    let mut net = behind_nat(NatConfig::new(address("203.0.113.9:0").ip()));
    net.send(Instant::ZERO, A, from_inside("192.0.2.2:4500"));
    let seen = only(net.pop_due(Instant::ZERO));
    assert_eq!(seen.path.remote, address("203.0.113.9:20000"));

    let answer = Transmit { path: seen.path, class: Class::Ike, bytes: b"in".to_vec() };
    net.send(Instant::ZERO, B, answer.clone());
    let got = only(net.pop_due(Instant::ZERO));
    assert_eq!((got.host, got.path.local, got.path.remote), (A, address("10.0.0.1:4500"), address("192.0.2.2:4500")));

    // From another port of the same host, to a port without mapping, and straight to the inside address.
    let mut stranger = answer.clone();
    stranger.path.local = address("192.0.2.2:500");
    let mut wrong_port = answer.clone();
    wrong_port.path.remote = address("203.0.113.9:4500");
    let mut inside = answer;
    inside.path.remote = address("10.0.0.1:4500");
    for transmit in [stranger, wrong_port, inside] {
        net.send(Instant::ZERO, B, transmit);
    }
    assert_eq!(net.pop_due(Instant::ZERO), []);
    let last: Vec<_> = net.fates().skip(2).map(|record| record.fate).collect();
    assert_eq!(last, [SimFate::NatBlocked, SimFate::NatBlocked, SimFate::NoRoute]);
}

#[test]
fn a_mapping_lives_while_used_and_a_rebind_changes_the_port() {
    let timeout = Some(Duration::from_secs(30));
    let mut net = behind_nat(NatConfig { timeout, ..NatConfig::new(address("203.0.113.9:0").ip()) });
    let port_at = |net: &mut SimNet, seconds: u64| {
        let now = Instant::from_millis(seconds * 1000);
        net.send(now, A, from_inside("192.0.2.2:4500"));
        only(net.pop_due(now)).path.remote.port()
    };
    assert_eq!([port_at(&mut net, 0), port_at(&mut net, 29), port_at(&mut net, 58)], [20_000; 3]);
    assert_eq!(port_at(&mut net, 88), 20_001, "30 s without a packet out");
    net.rebind(A);
    assert_eq!(port_at(&mut net, 89), 20_002);
}

#[test]
fn port_preservation_symmetry_and_forwarding() {
    let outside = address("203.0.113.9:0").ip();
    let port = |net: &mut SimNet, transmit: Transmit| {
        net.send(Instant::ZERO, A, transmit);
        only(net.pop_due(Instant::ZERO)).path.remote.port()
    };
    let mut net = behind_nat(NatConfig { preserve_ports: true, ..NatConfig::new(outside) });
    assert_eq!(port(&mut net, from_inside("192.0.2.2:4500")), 4500);
    let mut net = behind_nat(NatConfig { symmetric: true, ..NatConfig::new(outside) });
    let natt = port(&mut net, from_inside("192.0.2.2:4500"));
    assert_ne!(natt, port(&mut net, from_inside("192.0.2.2:500")));
    assert_eq!(natt, port(&mut net, from_inside("192.0.2.2:4500")));
    let forward = BTreeMap::from([(4500, address("10.0.0.1:4500"))]);
    let mut net = behind_nat(NatConfig { forward, ..NatConfig::new(outside) });
    let path = Path { local: address("192.0.2.2:4500"), remote: address("203.0.113.9:4500"), role: SocketRole::NatT };
    net.send(Instant::ZERO, B, Transmit { path, class: Class::Keepalive, bytes: vec![0xff] });
    let got = only(net.pop_due(Instant::ZERO));
    assert_eq!((got.host, got.path.local, got.class), (A, address("10.0.0.1:4500"), Class::Keepalive));
}

#[test]
fn links_share_the_virtual_clock() {
    let config = SimConfig::pair(
        address("192.0.2.1:0").ip(),
        address("192.0.2.2:0").ip(),
        Conditions::clean(Duration::from_millis(5)),
    );
    let world = SimWorld::new(&PlanSeed::from_text("x"), config, UnixTime(1_000));
    let (mut a, mut b) = (world.link(A), world.link(B));
    let mut batch = TxBatch::new();
    batch.push(a_to_b(SocketRole::NatT, b"hello"));
    a.send(&mut batch).expect("the simulation never fails");
    let mut rx = RxBatch::new(4);
    assert_eq!(b.recv_until(None, &mut rx).expect("the simulation never fails"), Wake::Timeout);
    let next = world.next_arrival().expect("one on its way");
    world.advance(next);
    // Whoever looks first moves the packets; they wait for their host.
    assert_eq!(a.recv_until(None, &mut rx).expect("the simulation never fails"), Wake::Timeout);
    assert_eq!(world.next_arrival(), Some(Instant::from_millis(5)));
    assert_eq!(b.recv_until(None, &mut rx).expect("the simulation never fails"), Wake::Data);
    assert_eq!(
        (&rx.received()[0].bytes[..], rx.received()[0].at, b.now()),
        (&b"hello"[..], Instant::from_millis(5), Instant::from_millis(5))
    );
    assert_eq!((a.counters().sent_octets, b.counters().received_octets, b.counters().ike_in), (9, 9, 1));
}
