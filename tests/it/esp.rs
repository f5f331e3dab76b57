//! Endpoints with data planes over the simulated network: nothing is lost that the network did not lose.

use std::time::Duration;

use ikelab::engine::{Command, Event, Mode};
use ikelab::esp::RecvError;
use ikelab::link::sim::{Chance, Conditions, HostId};
use ikelab::net::{Class, Path, SocketRole, Transmit};
use ikelab::time::Instant;
use ikelab::wire::Payload;
use ikelab::wire::registry::EsnId;

use crate::pair::{LEFT, RIGHT, address, net};
use crate::world::{World, lossy, specs};

/// Both ends ping while Child SAs and IKE SAs are rekeyed by either end and by both at once. Each lost ping is one packet
/// that the network lost: its request or its answer.
#[test]
fn rekeys_lose_nothing_that_the_network_did_not_lose() {
    for seed in 0..12 {
        let (left, right) = specs();
        let mut world = World::new(&format!("rekeys {seed}"), &left, &right, lossy());
        world.play(Instant::from_millis(4_000));
        assert!((0..2).all(|host| world.current(host).is_some()), "seed {seed}");
        world.ping(0, "10.2.0.9", 1_000, 20);
        world.ping(1, "10.1.0.9", 1_000, 20);
        let child = Command::RekeyChild;
        for (at, host, ike) in
            [(6, 0, false), (8, 1, false), (10, 0, true), (13, 1, true), (16, 0, false), (19, 1, false)]
        {
            world.play(Instant::from_millis(at * 1_000));
            world.command(host, |spi| if ike { Command::RekeyIke } else { child(spi) });
        }
        world.play(Instant::from_millis(21_000));
        world.command(0, child);
        world.command(1, child);
        world.play(Instant::from_millis(40_000));

        let lost = world.lost();
        let (sent, received): (Vec<u64>, Vec<u64>) =
            (0..2).map(|host| (world.report(host).sent, world.report(host).received)).unzip();
        assert_eq!(sent, [1_000, 1_000], "seed {seed}: every request had an SA to go on");
        assert!((0..2).all(|host| world.report(host).done));
        assert_eq!(
            2_000 - received.iter().sum::<u64>(),
            lost[0] + lost[1],
            "seed {seed}: lost by the network {lost:?}"
        );
        assert!(lost[0] + lost[1] > 100, "seed {seed}: 5 % of about 4,000 packets, and not {lost:?}");
        for host in 0..2 {
            let counters = world.data[host].plane.counters();
            let other: Vec<_> = counters.errors().filter(|(_, why)| *why != RecvError::Replayed.text()).collect();
            assert_eq!(other, [], "seed {seed}: only the network's copies are refused");
            assert!(counters.dropped(RecvError::Replayed) > 20, "seed {seed}: {counters:?}");
            assert!(world.report(host).by_child.len() >= 5, "seed {seed}: {:?}", world.report(host).by_child);
            assert_eq!(world.data[host].plane.children().count(), 1, "seed {seed}: one pair at rest");
        }
    }
}

/// A lifetime by packets begins a rekey by what the data plane tells the engine.
#[test]
fn traffic_alone_rekeys_where_a_lifetime_counts_packets() {
    let (mut left, right) = specs();
    left.behaviour.rekey.child_packets = Some(100);
    let mut world = World::new("volume", &left, &right, Conditions::clean(Duration::from_millis(5)));
    world.ping(0, "10.2.0.9", 400, 10);
    world.play(Instant::from_millis(10_000));
    let report = world.report(0);
    assert_eq!((report.received, report.lost), (400, 0));
    // 800 packets in both directions, and an SA lasts for 80 to 100 of them.
    assert!((8..=11).contains(&report.by_child.len()), "{:?}", report.by_child);
}

#[test]
fn transport_mode_and_extended_numbers_between_two_endpoints() {
    let (mut left, mut right) = specs();
    for spec in [&mut left, &mut right] {
        let child = &mut spec.children[0];
        child.mode = Mode::Transport;
        for transform in &mut child.proposals[0].transforms {
            if transform.kind == ikelab::wire::registry::TransformType::ESN {
                transform.id = EsnId(1).0;
            }
        }
    }
    let hosts = (vec![net("10.0.0.1/32")], vec![net("10.0.0.2/32")]);
    (left.children[0].local_ts, left.children[0].remote_ts) = hosts.clone();
    (right.children[0].local_ts, right.children[0].remote_ts) = (hosts.1, hosts.0);
    let mut world = World::new("transport", &left, &right, Conditions::clean(Duration::from_millis(5)));
    world.ping(0, RIGHT, 50, 10);
    world.play(Instant::from_millis(3_000));
    let child = world.data[0].plane.children().next().expect("it is up");
    assert_eq!((child.mode(), child.suite().esn), (Mode::Transport, true));
    assert_eq!((world.report(0).received, world.data[1].arrivals), (50, 50));
}

/// Reordering within the replay window and copies of everything: each packet is taken exactly once.
#[test]
fn reordered_and_repeated_packets_are_taken_once() {
    let conditions = Conditions {
        duplicate: Chance::percent(50),
        reorder: Chance::percent(20),
        reorder_by: Duration::from_millis(60),
        jitter: Duration::from_millis(10),
        ..Conditions::clean(Duration::from_millis(5))
    };
    let (left, right) = specs();
    let mut world = World::new("disorder", &left, &right, conditions);
    world.ping(0, "10.2.0.9", 1_000, 5);
    world.play(Instant::from_millis(20_000));
    let report = world.report(0);
    assert_eq!((report.received, report.lost, report.duplicates, report.late), (1_000, 0, 0, 0));
    let right = world.data[1].plane.counters();
    assert_eq!((right.decaps, right.echoes_answered), (1_000, 1_000));
    assert!(right.dropped(RecvError::Replayed) > 300 && right.dropped(RecvError::TooOld) == 0, "{right:?}");
}

/// The responder of IKE_AUTH sends ESP at once, and the answer that brings the initiator's Child SA up is overtaken.
#[test]
fn a_packet_that_overtakes_the_message_that_makes_its_child_waits_for_it() {
    let conditions = Conditions {
        reorder: Chance::percent(30),
        reorder_by: Duration::from_millis(60),
        ..Conditions::clean(Duration::from_millis(5))
    };
    let mut held_back = 0;
    for seed in 0..20 {
        let (left, right) = specs();
        let mut world = World::new(&format!("overtaken {seed}"), &left, &right, conditions.clone());
        while world.data[1].plane.children().count() == 0 {
            world.play(world.now() + Duration::from_micros(100));
            assert!(world.now() < Instant::from_millis(2_000), "seed {seed}: it comes up");
        }
        world.ping(1, "10.1.0.9", 20, 2);
        world.play(Instant::from_millis(5_000));
        let report = world.report(1);
        assert_eq!((report.sent, report.received), (20, 20), "seed {seed}");
        let counters = world.data[0].plane.counters();
        assert_eq!(counters.errors().collect::<Vec<_>>(), [], "seed {seed}");
        held_back += world.ends[0].held_back();
    }
    assert!(held_back > 20, "packets have overtaken: {held_back}");
}

/// What never gets its Child SA is counted like any other unknown SPI, after a second, and no more than a few wait.
#[test]
fn a_packet_whose_child_never_comes_is_counted() {
    let (left, right) = specs();
    let mut world = World::new("never", &left, &right, Conditions::clean(Duration::from_millis(5)));
    world.play(Instant::from_millis(1_000));
    // A rekey that the peer never sees.
    let lost = Conditions { loss: Chance::percent(100), ..Conditions::clean(Duration::from_millis(5)) };
    world.world.with_net(|net| net.set_one_way(HostId(0), HostId(1), lost));
    world.command(0, Command::RekeyChild);
    world.play(Instant::from_millis(1_100));
    let offered = world.data[0].events.iter().rev().find_map(|event| match event {
        Event::Message(trace) => trace.message.sk.iter().flatten().find_map(|payload| match payload {
            Payload::Sa(sa) => <[u8; 4]>::try_from(sa.proposals[0].spi.as_slice()).ok(),
            _ => None,
        }),
        _ => None,
    });
    let spi = offered.expect("the request offers an SPI");
    let unknown = |world: &World| world.data[0].plane.counters().dropped(RecvError::UnknownSpi);
    let forge = |world: &mut World, spi: [u8; 4]| {
        let at = |host: &str| std::net::SocketAddr::new(address(host), 4500);
        let path = Path { local: at(RIGHT), remote: at(LEFT), role: SocketRole::NatT };
        let bytes = [&spi[..], &[0; 60]].concat();
        let now = world.now();
        world.world.with_net(|net| net.send(now, HostId(1), Transmit { path, class: Class::Esp, bytes }));
    };
    (0..100).for_each(|_| forge(&mut world, spi));
    forge(&mut world, [9; 4]);
    world.play(Instant::from_millis(1_200));
    assert_eq!((unknown(&world), world.ends[0].held_back()), (37, 64), "36 are too many, and one is of nobody");
    world.play(Instant::from_millis(2_500));
    assert_eq!(unknown(&world), 101, "a second later");
}
