//! Tests.

use std::net::IpAddr;

use super::*;
use crate::link::sim::{Conditions, HostId, SimConfig, SimWorld};
use crate::net::SocketRole;

const HOSTS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// Numbers of packets, and when they arrived.
type Numbered = Vec<(u32, Instant)>;

struct Bench {
    world: SimWorld,
    near: Netem<crate::link::sim::SimLink>,
    far: crate::link::sim::SimLink,
}

impl Bench {
    fn new(spec: PathSpec, seed: &str) -> Bench {
        let [a, b] = HOSTS.map(|h| h.parse::<IpAddr>().expect("an address"));
        let plan = PlanSeed::from_text(seed);
        let config = SimConfig::pair(a, b, Conditions::clean(Duration::from_millis(1)));
        let world = SimWorld::new(&plan, config, UnixTime::default());
        let near = Netem::new(world.link(HostId(0)), spec, &plan);
        let far = world.link(HostId(1));
        Bench { world, near, far }
    }

    fn path(forth: bool) -> Path {
        let [a, b] = HOSTS.map(|h| std::net::SocketAddr::new(h.parse().expect("an address"), 4500));
        let (local, remote) = if forth { (a, b) } else { (b, a) };
        Path { local, remote, role: SocketRole::NatT }
    }

    /// Sends packet `n` at `ms`; ESP, so that the octets say which it is.
    fn packet(n: u32) -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, 0];
        bytes.extend_from_slice(&n.to_be_bytes());
        bytes.extend_from_slice(&[7; 100]);
        bytes
    }

    /// Sends `count` packets each way, one every 10 ms; gives the numbers that arrived (with their instant) at the far
    /// end and here.
    fn exchange(&mut self, count: u32) -> (Numbered, Numbered) {
        let (mut there, mut here) = (Vec::new(), Vec::new());
        let mut rx = RxBatch::new(64);
        for step in 0..u64::from(count) * 10 + 2_000 {
            let now = Instant::ZERO + Duration::from_millis(step);
            self.world.advance(now);
            if step % 10 == 0 && step / 10 < u64::from(count) {
                let n = (step / 10) as u32;
                let mut batch = TxBatch::new();
                batch.push(Transmit { path: Bench::path(true), class: Class::Esp, bytes: Bench::packet(n) });
                self.near.send(&mut batch).expect("the simulator takes it");
                let mut batch = TxBatch::new();
                batch.push(Transmit { path: Bench::path(false), class: Class::Esp, bytes: Bench::packet(n) });
                self.far.send(&mut batch).expect("the simulator takes it");
            }
            let number = |r: &Received| u32::from_be_bytes(r.bytes[4..8].try_into().expect("four"));
            self.near.recv_until(Some(now), &mut rx).expect("the simulator gives it");
            here.extend(rx.received().iter().map(|r| (number(r), now)));
            rx.clear();
            self.far.recv_until(Some(now), &mut rx).expect("the simulator gives it");
            there.extend(rx.received().iter().map(|r| (number(r), now)));
            rx.clear();
        }
        (there, here)
    }
}

fn both(spec: Impairment) -> PathSpec {
    PathSpec { out: spec.clone(), inward: spec }
}

#[test]
fn what_arrives_is_what_was_sent_less_what_the_log_says_was_lost() {
    let mut bench = Bench::new(both(Impairment { loss: Chance::percent(5), ..Impairment::default() }), "loss");
    let (there, here) = bench.exchange(1000);
    for (way, arrived) in [(Way::Out, there), (Way::In, here)] {
        let log: Vec<&Fated> = bench.near.fates().iter().filter(|f| f.way == way).collect();
        assert_eq!(log.len(), 1000);
        let passed: Vec<u32> = log
            .iter()
            .filter(|f| !f.fate.is_loss())
            .map(|f| u32::from_be_bytes(f.head[4..].try_into().expect("four")))
            .collect();
        assert_eq!(arrived.iter().map(|(n, _)| *n).collect::<Vec<_>>(), passed, "{way:?}");
        assert!((20..=90).contains(&(1000 - passed.len())), "{way:?}: {} lost", 1000 - passed.len());
    }
    let recorded = std::iter::from_fn(|| bench.near.poll_dropped()).count();
    let lost = bench.near.fates().iter().filter(|f| f.way == Way::In && f.fate.is_loss()).count();
    assert_eq!(recorded, lost, "what came and was taken away is there for the record");
}

#[test]
fn the_same_seed_gives_the_same_fates_and_another_gives_others() {
    let spec =
        || both(Impairment { loss: Chance::percent(20), jitter: Duration::from_millis(30), ..Impairment::default() });
    let run = |seed| {
        let mut bench = Bench::new(spec(), seed);
        let arrived = bench.exchange(300);
        (arrived, bench.near.fates().to_vec())
    };
    assert_eq!(run("monday"), run("monday"));
    assert_ne!(run("monday").1, run("tuesday").1);
}

#[test]
fn delay_jitter_and_reordering_move_packets_and_lose_none() {
    let spec = Impairment {
        delay: Duration::from_millis(40),
        jitter: Duration::from_millis(3),
        reorder: Chance::percent(10),
        reorder_by: Duration::from_millis(25),
        ..Impairment::default()
    };
    let mut bench = Bench::new(PathSpec { out: spec, ..PathSpec::default() }, "delay");
    let (there, here) = bench.exchange(200);
    assert_eq!((there.len(), here.len()), (200, 200));
    assert!(there.windows(2).any(|w| w[0].0 > w[1].0), "some overtook others");
    assert!(here.windows(2).all(|w| w[0].0 < w[1].0), "the other direction is untouched");
    for (n, at) in there {
        let took = at.since(Instant::ZERO + Duration::from_millis(u64::from(n) * 10));
        assert!(took >= Duration::from_millis(41) && took <= Duration::from_millis(71), "{n} took {took:?}");
    }
}

#[test]
fn duplicates_corruption_length_and_blackouts_do_what_they_say() {
    let run = |spec: Impairment, seed: &str| {
        let mut bench = Bench::new(PathSpec { out: spec, ..PathSpec::default() }, seed);
        let (there, _) = bench.exchange(200);
        (there.len(), bench.near.fates().iter().filter(|f| f.way == Way::Out).map(|f| f.fate).collect::<Vec<_>>())
    };
    let (arrived, fates) = run(Impairment { duplicate: Chance::percent(10), ..Impairment::default() }, "twice");
    let twice = fates.iter().filter(|f| **f == Doom::Duplicated).count();
    assert!(twice > 5 && arrived == 200 + twice);

    let (_, fates) = run(Impairment { corrupt: Chance::ALWAYS, ..Impairment::default() }, "bits");
    assert!(fates.iter().all(|f| *f == Doom::Corrupted));

    let (arrived, fates) = run(Impairment { longest: Some(107), ..Impairment::default() }, "long");
    assert!(arrived == 0 && fates.iter().all(|f| *f == Doom::TooLong), "108 octets each");
    let (arrived, _) = run(Impairment { longest: Some(108), ..Impairment::default() }, "long");
    assert_eq!(arrived, 200);

    let second = Duration::from_secs(1);
    let every = Blackout { first: second, every: second, lasts: second / 4 };
    let (arrived, fates) = run(Impairment { blackouts: vec![every], ..Impairment::default() }, "dark");
    assert_eq!(arrived, 175, "one second of two is whole, of the other a quarter is dark");
    assert!(fates[100..125].iter().all(|f| *f == Doom::Blackout) && fates[125] == Doom::Passed);
}

#[test]
fn a_rate_limit_paces_and_then_loses() {
    // 108 octets every 10 ms are 10,800 in a second.
    let fits = Impairment { rate: Some(20_000), ..Impairment::default() };
    let mut bench = Bench::new(PathSpec { out: fits, ..PathSpec::default() }, "rate");
    assert_eq!(bench.exchange(300).0.len(), 300);
    let narrow = Impairment { rate: Some(5_400), ..Impairment::default() };
    let mut bench = Bench::new(PathSpec { out: narrow, ..PathSpec::default() }, "rate");
    let (there, _) = bench.exchange(400);
    let lost = bench.near.fates().iter().filter(|f| f.fate == Doom::QueueFull).count();
    assert!(there.len() + lost == 400 && (150..=200).contains(&lost), "{lost} of 400");
}

#[test]
fn a_clean_path_changes_nothing_and_logs_nothing() {
    let mut bench = Bench::new(PathSpec::default(), "clean");
    let (there, here) = bench.exchange(50);
    assert_eq!((there.len(), here.len(), bench.near.fates().len()), (50, 50, 0));
    let mut copy = vec![1, 2, 3, 4];
    turn_bit(&mut copy, u64::MAX);
    assert_eq!(copy, [1, 2, 3, 4 ^ 0x80]);
    turn_bit(&mut [], 5);
}
