//! Two endpoints over a network that loses, repeats, delays and reorders, in virtual time, for thousands of seeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ikelab::crypto::ChildKeys;
use ikelab::engine::{
    ConnectionSpec, Endpoint, EndpointConfig, Event, FailScope, Limits, NatTraversal, ProposalSpec, TunnelId,
};
use ikelab::link::sim::{Chance, Conditions, HostId, SimConfig, SimNet};
use ikelab::net::Class;
use ikelab::seed::{PlanSeed, Seeds};
use ikelab::time::{Instant, UnixTime};
use ikelab::wire::registry::{EncrId, KeMethod, PrfId};
use ikelab::wire::{IkeSpi, TrafficSelector, Transform};

use crate::pair::{LEFT, RIGHT, address, left_spec, psk, right_spec};

/// Some fail by chance alone: an exchange fails when each of six transmissions loses the request or its answer, which is
/// 0.36 to the sixth or about one in five hundred.
const SEEDS: u64 = 2_400;

/// A fifth of all datagrams is lost; others are late, early, or there twice.
fn bad_network() -> Conditions {
    Conditions {
        loss: Chance::percent(20),
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(30),
        duplicate: Chance::percent(10),
        reorder: Chance::percent(10),
        reorder_by: Duration::from_millis(1_500),
        ..Conditions::default()
    }
}

/// One simulated run: two hosts and what they said.
struct Run {
    net: SimNet,
    ends: [Endpoint; 2],
    now: Instant,
    events: [Vec<Event>; 2],
    /// Every datagram as it was sent: instant, host, octets. Only if asked for.
    trace: Option<Vec<(Instant, usize, Vec<u8>)>>,
}

impl Run {
    fn new(seed: &str, left: &ConnectionSpec, right: EndpointConfig) -> Self {
        let config = SimConfig::pair(address(LEFT), address(RIGHT), bad_network());
        let seeds = Seeds::simulated(seed);
        let endpoint = |config| Endpoint::new(Arc::new(config), seeds.clone(), UnixTime::default());
        let left_config = EndpointConfig { trace: false, salt: 1, ..EndpointConfig::default() };
        let mut run = Run {
            net: SimNet::new(&PlanSeed::from_text(seed), config),
            ends: [endpoint(left_config), endpoint(right)],
            now: Instant::ZERO,
            events: [Vec::new(), Vec::new()],
            trace: None,
        };
        run.ends[0].connect(run.now, Arc::new(left.clone()), TunnelId(1), address(LEFT));
        run
    }

    /// Plays until `enough`, or nothing is left to happen before `until`.
    fn play(&mut self, until: Instant, enough: impl Fn(&Run) -> bool) {
        loop {
            self.drain();
            if enough(self) {
                return;
            }
            let timers = self.ends.iter().filter_map(Endpoint::poll_timeout).map(|(at, _)| at);
            let Some(next) = timers.chain(self.net.next_at()).min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            for mut arrival in self.net.pop_due(self.now) {
                if arrival.class == Class::Ike {
                    self.ends[arrival.host.0].handle_datagram(self.now, arrival.path, &mut arrival.bytes);
                }
            }
            self.ends.iter_mut().for_each(|end| end.handle_timeout(self.now));
        }
    }

    fn drain(&mut self) {
        for (host, end) in self.ends.iter_mut().enumerate() {
            while let Some((.., event)) = end.poll_event() {
                self.events[host].push(event);
            }
            while let Some(transmit) = end.poll_transmit() {
                if let Some(trace) = &mut self.trace {
                    trace.push((self.now, host, transmit.bytes.clone()));
                }
                self.net.send(self.now, HostId(host), transmit);
            }
            end.check_invariants();
        }
    }

    /// Plays until both ends are up, or the initiator has failed and everything has been forgotten.
    fn settle(&mut self) -> Outcome {
        let up = |run: &Run| (0..2).all(|host| run.child(host).is_some());
        self.play(Instant::from_millis(300_000), up);
        if up(self) {
            let said = [self.agreed(0), self.agreed(1)];
            assert_eq!(said[0], said[1], "both ends must agree");
            return Outcome::Up;
        }
        let failures = [self.failure(0), self.failure(1)];
        assert_eq!(self.ends.each_ref().map(Endpoint::sa_count), [0, usize::from(self.child(1).is_some())]);
        Outcome::Failed(failures)
    }

    fn child(&self, host: usize) -> Option<&ikelab::engine::ChildSa> {
        self.events[host].iter().find_map(|event| match event {
            Event::ChildInbound(child) => Some(&**child),
            _ => None,
        })
    }

    /// What both ends must see alike: IKE SPIs, the initiator's and the responder's ESP SPI, selectors and keys.
    fn agreed(&self, host: usize) -> Option<Agreed<'_>> {
        let spis = self.events[host].iter().find_map(|event| match event {
            Event::IkeUp(up) => Some(up.spis),
            _ => None,
        })?;
        let child = self.child(host)?;
        let (ours, theirs) = ((child.spi_in, &child.local_ts[..]), (child.spi_out, &child.remote_ts[..]));
        let (initiator, responder) = if child.initiator { (ours, theirs) } else { (theirs, ours) };
        Some(Agreed { spis, initiator, responder, keys: &child.keys })
    }

    fn failure(&self, host: usize) -> Option<&'static str> {
        self.events[host].iter().find_map(|event| match event {
            Event::Failed(failed) if failed.scope == FailScope::IkeSa => Some(failed.class().as_str()),
            _ => None,
        })
    }
}

#[derive(PartialEq, Debug)]
struct Agreed<'a> {
    spis: (IkeSpi, IkeSpi),
    initiator: (u32, &'a [TrafficSelector]),
    responder: (u32, &'a [TrafficSelector]),
    keys: &'a ChildKeys,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Up,
    /// The classes of both ends' failures, if they report one.
    Failed([Option<&'static str>; 2]),
}

/// X25519 with AES-128-GCM, and first of all other groups, if any.
fn proposal(groups: &[KeMethod]) -> ProposalSpec {
    let mut transforms =
        vec![Transform::encr(EncrId::ENCR_AES_GCM_16, Some(128)), Transform::prf(PrfId::PRF_HMAC_SHA2_256)];
    transforms.extend(groups.iter().copied().map(Transform::ke));
    ProposalSpec { transforms }
}

fn specs() -> (ConnectionSpec, ConnectionSpec) {
    let (mut left, mut right) = (left_spec(), right_spec());
    left.ike_proposals = vec![proposal(&[KeMethod::CURVE25519])];
    right.ike_proposals = left.ike_proposals.clone();
    (left, right)
}

fn responder(spec: &ConnectionSpec) -> EndpointConfig {
    EndpointConfig { connections: vec![Arc::new(spec.clone())], trace: false, salt: 2, ..EndpointConfig::default() }
}

/// Runs `play` for every seed, on every core, and counts the outcomes.
fn outcomes<T: Ord + Send>(seeds: u64, play: impl Fn(&str) -> T + Sync) -> BTreeMap<T, u64> {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut counts = BTreeMap::new();
    std::thread::scope(|scope| {
        let play = &play;
        let work = |worker| move || (worker..seeds).step_by(workers as usize).map(|n| play(&n.to_string())).collect();
        let handles: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        for handle in handles {
            let results: Vec<T> = handle.join().expect("a failing seed says so above");
            results.into_iter().for_each(|outcome| *counts.entry(outcome).or_insert(0) += 1);
        }
    });
    counts
}

/// At least so many of 100 are up; the initiator of every other one names its reason.
fn expect_up(percent: u64, counts: &BTreeMap<Outcome, u64>) {
    let total: u64 = counts.values().sum();
    let up = counts.get(&Outcome::Up).copied().unwrap_or(0);
    assert!(up * 100 >= total * percent, "{counts:?}");
    for outcome in counts.keys() {
        assert!(!matches!(outcome, Outcome::Failed([None, _])), "a failure without a reason: {counts:?}");
    }
}

#[test]
fn tunnels_come_up_over_a_bad_network_and_go_down_without_trace() {
    let (left, right) = specs();
    let counts = outcomes(SEEDS, |seed| {
        let mut run = Run::new(seed, &left, responder(&right));
        let outcome = run.settle();
        if outcome == Outcome::Up {
            assert_eq!(run.ends.each_ref().map(Endpoint::sa_count), [1, 1], "the tunnel and nothing else");
            // What the network still held must not disturb it.
            let failed = run.ends.each_ref().map(|end| end.counters().failed);
            run.play(run.now + Duration::from_secs(10), |_| false);
            assert_eq!(run.ends.each_ref().map(|end| end.counters().failed), failed);
            run.ends[0].delete_all(run.now);
            run.play(run.now + Duration::from_secs(300), |_| false);
            let deleted = |host: usize| run.events[host].iter().any(|e| matches!(e, Event::Deleted { .. }));
            assert!(deleted(0), "by the answer, or by giving up");
            // Where every DELETE was lost, the responder cannot know (liveness checks are off).
            assert_eq!(run.ends.each_ref().map(Endpoint::sa_count), [0, usize::from(!deleted(1))]);
        }
        outcome
    });
    expect_up(99, &counts);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (left, right) = specs();
    let play = |seed: &str| {
        let mut config = responder(&right);
        config.trace = true;
        let mut run = Run::new(seed, &left, config);
        run.trace = Some(Vec::new());
        run.settle();
        run.ends[0].delete_all(run.now);
        run.play(run.now + Duration::from_secs(300), |_| false);
        let fates: Vec<_> = run.net.fates().cloned().collect();
        (run.trace.take(), format!("{:?}", run.events), fates)
    };
    let distinct = outcomes(200, |seed| {
        let first = play(seed);
        assert!(first == play(seed), "seed {seed} must replay");
        first.0
    });
    assert_eq!(distinct.len(), 200, "and another seed gives others");
}

#[test]
fn a_responder_that_always_demands_cookies_is_reached() {
    let (left, right) = specs();
    let counts = outcomes(1_000, |seed| {
        let mut config = responder(&right);
        config.limits.cookie_threshold = Some(0);
        let mut run = Run::new(seed, &left, config);
        let outcome = run.settle();
        assert!(run.ends[1].counters().cookies_sent > 0 || outcome != Outcome::Up, "nobody is up without a cookie");
        outcome
    });
    expect_up(99, &counts);
}

#[test]
fn another_group_is_asked_for_and_taken() {
    let (mut left, mut right) = specs();
    left.ike_proposals = vec![proposal(&[KeMethod::CURVE25519, KeMethod::ECP_256])];
    right.ike_proposals = vec![proposal(&[KeMethod::ECP_256])];
    expect_up(99, &outcomes(1_000, |seed| Run::new(seed, &left, responder(&right)).settle()));
    // The two round trips more, together (RFC 7296 2.6.1).
    let limits = Limits { cookie_threshold: Some(0), ..Limits::default() };
    let counts = outcomes(1_000, |seed| {
        Run::new(seed, &left, EndpointConfig { limits: limits.clone(), ..responder(&right) }).settle()
    });
    expect_up(99, &counts);
}

#[test]
fn a_forced_nat_moves_everything_after_the_first_exchange() {
    let (mut left, right) = specs();
    left.nat.traversal = NatTraversal::Force;
    let counts = outcomes(1_000, |seed| {
        let mut run = Run::new(seed, &left, responder(&right));
        let outcome = run.settle();
        if outcome == Outcome::Up {
            let encapsulated = |host| run.child(host).is_some_and(|child| child.encapsulated);
            assert!(encapsulated(0) && encapsulated(1), "both ends encapsulate");
        }
        outcome
    });
    expect_up(99, &counts);
}

#[test]
fn a_wrong_secret_never_comes_up_and_both_ends_know_why() {
    let (mut left, right) = specs();
    left.local_auth = psk("wrong horse");
    let counts = outcomes(1_000, |seed| {
        let mut run = Run::new(seed, &left, responder(&right));
        run.play(Instant::from_millis(300_000), |_| false);
        for (host, events) in run.events.iter().enumerate() {
            assert!(!events.iter().any(|e| matches!(e, Event::IkeUp(_))), "host {host} is up");
        }
        assert_eq!(run.ends.each_ref().map(Endpoint::sa_count), [0, 0], "everything is forgotten");
        [run.failure(0), run.failure(1)]
    });
    let total: u64 = counts.values().sum();
    let usual = counts.get(&[Some("auth_failed"), Some("auth_failed")]).copied().unwrap_or(0);
    assert!(usual * 100 >= total * 98, "{counts:?}");
    assert!(counts.keys().all(|[left, _]| left.is_some()), "the initiator always has a reason: {counts:?}");
}
