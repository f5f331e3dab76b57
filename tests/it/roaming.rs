//! Ends that are somewhere else all of a sudden, engine and data plane together over a simulated network: MOBIKE (RFC 4555)
//! under loss and in the midst of rekeys, and what happens without it when a NAT changes its mind (RFC 7296 2.23).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ikelab::engine::*;
use ikelab::link::sim::{Chance, Conditions, HostId, NatConfig, SimConfig, SimFate};
use ikelab::net::{Class, Path, SocketRole};
use ikelab::time::Instant;
use ikelab::wire::registry::NotifyType;

use crate::pair::{LEFT, Pair, RIGHT, address, left_spec, right_spec};
use crate::world::{World, specs};

/// The initiator's second address.
const ELSEWHERE: &str = "10.0.0.3";
/// The outside of a NAT.
const OUTSIDE: &str = "192.0.2.9";

fn ms(n: u64) -> Instant {
    Instant::from_millis(n)
}

/// Both ends with MOBIKE.
fn mobile() -> (ConnectionSpec, ConnectionSpec) {
    let (mut left, mut right) = specs();
    left.mobike = Some(MobikeSpec::default());
    right.mobike = Some(MobikeSpec::default());
    // From wherever the initiator comes.
    right.remote_addr = None;
    (left, right)
}

/// A world whose initiator has two addresses.
fn world(seed: &str, left: &ConnectionSpec, right: &ConnectionSpec, conditions: Conditions) -> World {
    let mut sim = SimConfig::pair(address(LEFT), address(RIGHT), conditions);
    sim.hosts[0].addresses.push(address(ELSEWHERE));
    World::on(seed, left, right, sim)
}

fn go(world: &mut World, local: &str) {
    let local = SocketAddr::new(address(local), 4500);
    world.command(0, |_| Command::Move(local));
}

fn moves(world: &World, host: usize) -> Vec<(Side, Path, NatFinding)> {
    let moved = |e: &Event| match e {
        Event::Moved { by, path, nat } => Some((*by, *path, *nat)),
        _ => None,
    };
    world.data[host].events.iter().filter_map(moved).collect()
}

/// Where an end believes the other to be.
fn peer_of(world: &World, host: usize) -> IpAddr {
    let views = world.ends[host].endpoint.sas();
    let view = views.into_iter().find(|view| view.established).expect("the tunnel is up");
    view.path.remote.ip()
}

/// ESP packets on the wire since `since`, by sender's address and role.
fn esp(world: &World, since: Instant, host: usize) -> Vec<(IpAddr, IpAddr, SocketRole)> {
    let mut seen = Vec::new();
    world.world.with_net(|net| {
        let esp = |len: usize, role: SocketRole| role == SocketRole::Esp || len == 120;
        for r in net.fates().filter(|r| r.sent >= since && r.from == HostId(host) && esp(r.len, r.path.role)) {
            let entry = (r.path.local.ip(), r.path.remote.ip(), r.path.role);
            if !seen.contains(&entry) {
                seen.push(entry);
            }
        }
    });
    seen
}

/// The old address is dead: nothing from it or to it gets through, and 30 % of the rest is lost.
#[test]
fn a_move_survives_loss_and_takes_requests_in_flight_along() {
    for seed in 0..10 {
        let (mut left, mut right) = mobile();
        for spec in [&mut left, &mut right] {
            // No exponential backoff that chance alone could stretch beyond the test.
            (spec.retransmit.max_wait, spec.retransmit.attempts) = (Duration::from_millis(400), 100);
        }
        let lossy = Conditions { loss: Chance::percent(30), ..Conditions::clean(Duration::from_millis(8)) };
        let mut world = world(&format!("loss {seed}"), &left, &right, lossy);
        world.play(ms(20_000));
        assert!((0..2).all(|host| world.current(host).is_some()), "seed {seed}");
        // The initiator has gone; both ends have something to say just then.
        world.world.with_net(|net| net.set_addresses(HostId(0), vec![address(ELSEWHERE)]));
        world.command(0, |_| Command::Liveness);
        world.command(1, |_| Command::Liveness);
        world.play(ms(20_050));
        go(&mut world, ELSEWHERE);
        let since = world.now();
        world.play(ms(60_000));
        assert_eq!(peer_of(&world, 1), address(ELSEWHERE), "seed {seed}");
        for host in 0..2 {
            let alive = world.data[host].events.iter().any(|e| matches!(e, Event::Alive { .. }));
            assert!(alive, "seed {seed}: host {host}'s request in flight was answered");
        }
        world.world.with_net(|net| {
            let mut ours = net.fates().filter(|r| r.sent > since && r.from == HostId(0));
            assert!(ours.all(|r| r.path.local.ip() == address(ELSEWHERE)), "seed {seed}: all from the new address");
        });
        world.ping(0, "10.2.0.9", 100, 10);
        world.play(ms(70_000));
        let report = world.report(0);
        assert!(report.received > 20, "seed {seed}: {report:?}");
    }
}

/// From the office to a home behind a NAT and back: ESP goes in UDP meanwhile, keepalives go out, and stop.
#[test]
fn a_move_behind_a_nat_and_out_again() {
    let (mut left, right) = mobile();
    left.nat.keepalive = Duration::from_secs(2);
    let mut world = world("roaming", &left, &right, Conditions::clean(Duration::from_millis(8)));
    world.play(ms(1_000));
    world.ping(0, "10.2.0.9", 400, 50);
    world.play(ms(3_000));
    assert_eq!(esp(&world, ms(1_000), 0), [(address(LEFT), address(RIGHT), SocketRole::Esp)]);
    world.world.with_net(|net| net.set_nat(HostId(0), Some(NatConfig::new(address(OUTSIDE)))));
    go(&mut world, ELSEWHERE);
    world.play(ms(13_000));
    assert_eq!(peer_of(&world, 1), address(OUTSIDE));
    let found = moves(&world, 0).last().expect("it moved").2;
    assert_eq!((found.us, found.peer), (true, false));
    let found = moves(&world, 1).last().expect("it followed").2;
    assert_eq!((found.us, found.peer), (false, true));
    assert_eq!(esp(&world, ms(3_100), 0), [(address(ELSEWHERE), address(RIGHT), SocketRole::NatT)]);
    assert_eq!(esp(&world, ms(3_100), 1), [(address(RIGHT), address(OUTSIDE), SocketRole::NatT)]);
    let keepalives = |world: &World, from: u64, to: u64| {
        world.world.with_net(|net| {
            net.fates()
                .filter(|r| r.len == 1 && r.sent >= ms(from) && r.sent < ms(to))
                .map(|r| r.from.0)
                .collect::<Vec<_>>()
        })
    };
    let sent = keepalives(&world, 3_000, 13_000);
    assert!((4..=5).contains(&sent.len()) && sent.iter().all(|host| *host == 0), "{sent:?}");
    world.world.with_net(|net| net.set_nat(HostId(0), None));
    go(&mut world, LEFT);
    world.play(ms(25_000));
    assert!(keepalives(&world, 13_100, 25_000).is_empty(), "no NAT, no keepalives");
    assert_eq!(esp(&world, ms(13_100), 1), [(address(RIGHT), address(LEFT), SocketRole::Esp)]);
    let report = world.report(0);
    assert!(report.received >= 396, "only what was under way at the moves is lost: {report:?}");
}

/// A rekey of the IKE SA by either end is under way when the initiator moves, at every moment of the rekey.
#[test]
fn a_move_in_the_midst_of_a_rekey_is_never_forgotten() {
    for rekeyer in 0..2 {
        for ike in [true, false] {
            for at in (0..90).step_by(5) {
                let (left, right) = mobile();
                let conditions =
                    Conditions { jitter: Duration::from_millis(6), ..Conditions::clean(Duration::from_millis(10)) };
                let mut world = world(&format!("{rekeyer} {at}"), &left, &right, conditions);
                world.play(ms(1_000));
                world.command(rekeyer, |spi| if ike { Command::RekeyIke } else { Command::RekeyChild(spi) });
                world.play(ms(1_000 + at));
                // The old address dies with the move.
                world.world.with_net(|net| net.set_addresses(HostId(0), vec![address(ELSEWHERE)]));
                go(&mut world, ELSEWHERE);
                world.play(ms(15_000));
                let story = format!("rekeyed by {rekeyer}, IKE SA {ike}, moved after {at} ms");
                assert_eq!(peer_of(&world, 1), address(ELSEWHERE), "{story}");
                for host in 0..2 {
                    let up = world.ends[host].endpoint.sas();
                    assert_eq!(up.len(), 1, "{story}: at rest there is one IKE SA: {up:?}");
                    world.ends[host].endpoint.check_invariants();
                }
                world.ping(0, "10.2.0.9", 10, 10);
                world.ping(1, "10.1.0.9", 10, 10);
                world.play(ms(18_000));
                assert_eq!((world.report(0).received, world.report(1).received), (10, 10), "{story}");
                // MOBIKE is inherited.
                world.world.with_net(|net| net.set_addresses(HostId(0), vec![address(LEFT)]));
                go(&mut world, LEFT);
                world.play(ms(20_000));
                assert_eq!(peer_of(&world, 1), address(LEFT), "{story}");
            }
        }
    }
}

/// Three moves within a round trip: the answers to the earlier ones say nothing.
#[test]
fn the_last_of_several_quick_moves_counts() {
    let (left, right) = mobile();
    let mut world = world("quick", &left, &right, Conditions::clean(Duration::from_millis(50)));
    world.play(ms(1_000));
    for (at, place) in [(1_000, ELSEWHERE), (1_020, LEFT), (1_040, ELSEWHERE)] {
        world.play(ms(at));
        go(&mut world, place);
    }
    world.play(ms(5_000));
    assert_eq!(peer_of(&world, 1), address(ELSEWHERE));
    let (by, path, _) = moves(&world, 0).pop().expect("it moved");
    assert_eq!((by, path.local.ip()), (Side::Us, address(ELSEWHERE)));
}

/// Without MOBIKE the end that is not behind a NAT follows the newest authentic packet, of IKE or of ESP, with both
/// (RFC 7296 2.23).
#[test]
fn without_mobike_ike_and_esp_follow_a_new_mapping_whichever_comes_first() {
    for esp_first in [true, false] {
        let (left, mut right) = specs();
        right.remote_addr = None;
        let mut sim = SimConfig::pair(address(LEFT), address(RIGHT), Conditions::clean(Duration::from_millis(8)));
        sim.hosts[0].nat = Some(NatConfig::new(address(OUTSIDE)));
        let mut world = World::on("new mapping", &left, &right, sim);
        world.play(ms(1_000));
        let before = world.ends[1].endpoint.sas()[0].path.remote;
        world.world.with_net(|net| net.rebind(HostId(0)));
        if esp_first {
            world.ping(0, "10.2.0.9", 1, 10);
        } else {
            world.command(0, |_| Command::Liveness);
        }
        world.play(ms(2_000));
        let after = world.ends[1].endpoint.sas()[0].path.remote;
        assert_ne!(before, after, "ESP first: {esp_first}");
        assert!(matches!(moves(&world, 1)[..], [(Side::Peer, ..)]));
        assert_eq!(moves(&world, 0), [], "who is behind the NAT does not know and does not follow");
        // Both now go through the new mapping, in the direction that only it lets in.
        world.command(1, |_| Command::Liveness);
        world.ping(1, "10.1.0.9", 5, 10);
        world.play(ms(4_000));
        assert!(world.data[1].events.iter().any(|e| matches!(e, Event::Alive { .. })));
        assert_eq!(world.report(1).received, 5);
        world.world.with_net(|net| {
            let blocked = net.fates().filter(|r| r.fate == SimFate::NatBlocked).count();
            assert_eq!(blocked, 0, "nothing was sent to the old mapping");
        });
    }
}

/// Without MOBIKE again: what is forged, repeated, or comes to an end that is behind a NAT itself moves nothing.
#[test]
fn without_mobike_a_peer_that_is_not_behind_a_nat_is_not_followed() {
    let mut pair = Pair::to(right_spec());
    let sa = pair.connect(left_spec());
    pair.settle();
    pair.left.command(pair.now, sa, Command::Liveness).expect("up");
    pair.collect();
    let mut request = pair.take().remove(0);
    assert_eq!(request.transmit.class, Class::Ike);
    let home = pair.right.sas()[0].path;
    request.transmit.path.local = "198.51.100.66:500".parse().expect("an address and port");
    pair.deliver(request);
    assert_eq!(pair.right.sas()[0].path, home);
    let spi = pair.right.sas()[0].children[0].spi_in;
    let elsewhere = ikelab::net::Path { remote: "198.51.100.66:500".parse().expect("an address and port"), ..home };
    pair.right.esp_activity(pair.now, spi, EspNote::From(elsewhere));
    assert_eq!(pair.right.sas()[0].path, home);
}

/// Where NAT traversal is off, a NAT is an attack, from IKE_AUTH on (RFC 4555 3.9).
#[test]
fn where_no_nat_is_allowed_ike_auth_finds_it_out() {
    for nat in [false, true] {
        let (mut left, mut right) = mobile();
        left.nat.traversal = NatTraversal::Off;
        right.nat.traversal = NatTraversal::Off;
        let mut sim = SimConfig::pair(address(LEFT), address(RIGHT), Conditions::clean(Duration::from_millis(8)));
        sim.hosts[0].nat = nat.then(|| NatConfig::new(address(OUTSIDE)));
        let mut world = World::on("no nats", &left, &right, sim);
        world.play(ms(3_000));
        let refused = world.data[0].events.iter().any(|e| match e {
            Event::Failed(failed) => matches!(
                failed.why,
                Failure::Rejected { notify: NotifyType::UNEXPECTED_NAT_DETECTED, protected: true, .. }
            ),
            _ => false,
        });
        assert_eq!((refused, world.current(0).is_some()), (nat, !nat));
    }
}
