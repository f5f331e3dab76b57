//! A load through tunnels to a headend that plays a licensed box, in virtual time: what the licence cuts off is seen and named.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use ikelab::config;
use ikelab::engine::{ConnectionSpec, IdMatch, NatTraversal};
use ikelab::load::arrival::{Lane, Schedule};
use ikelab::load::capacity;
use ikelab::load::gauge::Gauges;
use ikelab::load::peers::{Peers, Sources};
use ikelab::load::run::Outcome;
use ikelab::load::shard::{Order, Report, Shard, ShardConfig, Stage, Work};
use ikelab::load::summary::StageResult;
use ikelab::load::traffic::{self, TrafficSpec};
use ikelab::scenario::embedded::{VirtualPeer, in_virtual_time};
use ikelab::scenario::peer::{PeerDriver, mirror};
use ikelab::seed::{KeySeed, Seeds};
use ikelab::time::Instant;
use ikelab::vendor::persona::{Dress, Persona};

const SECOND: Duration = Duration::from_secs(1);
/// How long each rate is offered. A licence lets a quarter of a second's worth pass at once: that is a part of it.
const STEP: Duration = Duration::from_secs(4);

const FILE: &str = "version: 1\nname: load\nlocal: {address: 127.0.0.1, id: \"fqdn:us.test\"}\n\
    remote: {address: 127.0.0.2, id: \"fqdn:box.test\"}\nauth: {local: {psk: \"no secret\"}}\n\
    ike: {proposals: [aes128gcm16-prfsha256-ecp256]}\n\
    children: [{proposals: [aes128gcm16], local_ts: [10.1.0.0/16], remote_ts: [10.2.0.0/16]}]\n";

/// One shard of a load, the box at the other end of a simulated network, and when the next stage begins.
struct Lab {
    shard: ShardConfig,
    spec: ConnectionSpec,
    theirs: ConnectionSpec,
    persona: &'static str,
    stages: Vec<Stage>,
    next: Instant,
}

impl Lab {
    fn new(persona: &'static str, tunnels: u64) -> Lab {
        let loaded = config::parse(FILE, "load.yaml", Path::new(""), &|_| None).expect("a good file");
        // As `ikelab load` does it for traffic.
        let mut spec = loaded.spec;
        spec.nat.traversal = NatTraversal::Force;
        spec.behaviour.initial_contact = false;
        let theirs = ConnectionSpec { remote_id: IdMatch::Any, ..mirror(&spec) };
        let source: IpAddr = "192.0.2.1".parse().expect("an address");
        let shard = ShardConfig {
            lane: Lane { first: 0, stride: 1 },
            octet: 0,
            peers: Arc::new(Peers::new(spec.clone(), source).expect("no template")),
            sources: Sources { addresses: vec![source], shared: false },
            tunnels,
            seeds: Seeds::simulated("licence"),
            rules: Vec::new(),
            linger: Duration::ZERO,
            gauges: Arc::new(Gauges::new(tunnels)),
            stop: Arc::new(AtomicBool::new(false)),
            in_flight: 1000,
            too_late: SECOND,
            keeper: None,
            traffic: Some(TrafficSpec { size: 1400, target: None, udp: false, natt_ports: (4500, 4500) }),
        };
        Lab { shard, spec, theirs, persona, stages: Vec::new(), next: Instant::ZERO + SECOND }
    }

    /// One more stage, which has so much time.
    fn stage(&mut self, work: Work, length: Duration) {
        let (label, start) = (self.stages.len().to_string(), self.next);
        self.stages.push(Stage { label, start, work, warm_up: Duration::ZERO, drain: 3 * SECOND });
        self.next = start + length + 5 * SECOND;
    }

    /// Plays all stages: what each came to, and the box.
    fn play(self) -> (Vec<Outcome>, VirtualPeer) {
        let Lab { mut shard, mut spec, theirs, stages, .. } = self;
        let dress = Dress::all(*Persona::named(self.persona).expect("it is there"));
        let seeds = Seeds::simulated("licence");
        let (link, peer) = in_virtual_time(&mut spec, &theirs, &seeds.plan, KeySeed::new([7; 32]), Some(dress));
        let peers = Peers::new(spec.clone(), spec.local_addr.expect("it was given one")).expect("no template");
        shard.peers = Arc::new(peers);
        let (orders, inbox) = mpsc::channel();
        let (outbox, reports) = mpsc::channel();
        for stage in &stages {
            orders.send(Order::Stage(stage.clone())).expect("the inbox is here");
        }
        orders.send(Order::End).expect("the inbox is here");
        Shard::new(shard, link).serve(&inbox, &outbox);
        drop(outbox);
        let reports: Vec<Report> = reports.into_iter().map(|report| report.expect("the network works")).collect();
        assert_eq!(reports.len(), stages.len());
        let outcome = |(report, stage): (Report, &Stage)| Outcome {
            stats: report.stats,
            used: vec![report.used],
            cpu: report.whole.cpu,
            process_cpu: Duration::ZERO,
            cores: Vec::new(),
            link: report.link,
            up: report.up,
            sas: report.sas,
            queue: report.queue,
            warm_up: stage.warm_up,
            from: stage.start,
            to: stage.start,
            stopped: report.stopped,
        };
        (reports.into_iter().zip(&stages).map(outcome).collect(), peer)
    }
}

/// Eight tunnels, and rates one after the other: what `ikelab load --workload traffic` makes of them.
fn offered(persona: &'static str, rates: &[f64]) -> (Vec<StageResult>, VirtualPeer) {
    let mut lab = Lab::new(persona, 8);
    let schedule = Arc::new(Schedule::count(8, 20.0));
    lab.stage(Work::SetUp { schedule, live: None, until_refused: false, again: false }, SECOND);
    for &rate in rates {
        lab.stage(Work::Traffic { rate, length: STEP }, STEP);
    }
    let (outcomes, peer) = lab.play();
    assert_eq!((outcomes[0].up, outcomes[0].stats.failed), (8, 0));
    let result = |(outcome, rate): (&Outcome, &f64)| {
        let mut result = StageResult::of("traffic", "open-loop", outcome, (0, STEP.as_secs_f64()));
        result.offer(*rate);
        result
    };
    (outcomes[1..].iter().zip(rates).map(result).collect(), peer)
}

#[test]
fn eighty_five_megabits_per_direction_are_a_plateau_and_the_licence_is_named() {
    let (stages, mut peer) = offered("cisco-ios-xe", &[60e6, 110e6, 160e6]);
    let passed: Vec<_> = stages.iter().map(|s| s.traffic.as_ref().expect("packets were sent")).collect();
    assert_eq!((passed[0].loss, passed[0].unsent, passed[0].late), (0.0, 0, 0), "{:?}", passed[0]);
    for (step, lost) in passed[1..].iter().zip([0.15, 0.4]) {
        // 85 Mb/s of ESP, in a packet of 1400 octets 34 of them not carried; and what may pass at once.
        let licensed = 85e6 * 1400.0 / 1434.0 * (1.0 + 0.25 / STEP.as_secs_f64());
        assert!((step.throughput / licensed - 1.0).abs() < 0.02, "{step:?} {licensed}");
        // The box drops what comes in, and what it has answered is never above its licence.
        assert!(step.loss > lost && step.loss_there.is_some_and(|loss| loss > lost), "{step:?}");
        assert_eq!((step.loss_back, step.bad), (Some(0.0), 0), "{step:?}");
    }
    let found = traffic::finding(&stages).expect("there were steps");
    assert!(found.plateau.is_some_and(|at| (at / 85e6 - 1.0).abs() < 0.04), "{found:?}");
    assert!((found.carried - 60e6).abs() < 1.0, "{found:?}");
    assert!(found.finding.starts_with("a plateau at 8"), "{found:?}");
    assert!(found.finding.contains("Mb/s per direction: 110.0 Mb/s, 160.0 Mb/s were offered, and no more came back"));
    assert!(found.finding.contains("85 Mb/s per direction is where Cisco IOS routers stop that have no HSEC licence"));

    // What such a box would print: once a second, while it drops.
    let lines = peer.log().expect("it plays a box");
    let capped: Vec<f64> = lines.iter().filter(|l| l.text.contains("%CERM-4-RX_BW_LIMIT")).map(|l| l.at).collect();
    assert!((7..=10).contains(&capped.len()), "{capped:?}");
    assert!(capped.windows(2).all(|pair| pair[1] - pair[0] >= 1.0), "{capped:?}");
    assert!(
        !lines.iter().any(|line| line.text.contains("%CERM-4-TX_BW_LIMIT")),
        "what it answers is less than it takes"
    );
}

#[test]
fn a_box_without_the_licence_carries_all_of_it() {
    let (stages, mut peer) = offered("cisco-asa", &[60e6, 110e6]);
    let found = traffic::finding(&stages).expect("there were steps");
    assert_eq!(found.plateau, None, "{found:?}");
    assert!(found.finding.starts_with("everything offered was carried, up to 110.0 Mb/s"), "{found:?}");
    let lines = peer.log().expect("it plays a box");
    assert!(!lines.is_empty() && !lines.iter().any(|line| line.text.contains("CERM")));
}

#[test]
fn the_tunnel_after_the_two_hundred_and_twenty_fifth_is_refused() {
    let mut lab = Lab::new("cisco-ios-xe", 230);
    let schedule = Arc::new(Schedule::count(230, 50.0));
    lab.stage(Work::SetUp { schedule, live: None, until_refused: true, again: false }, 6 * SECOND);
    let (outcomes, _) = lab.play();
    let [outcome] = &outcomes[..] else { panic!("one stage") };
    let found = capacity::tunnels(&[outcome.stats.refused.clone().ok_or(outcome.stats.done)], 230);
    assert_eq!((found.median, outcome.up), (225.0, 225), "{found:?}");
    assert!(found.finding.starts_with("tunnel 226 was refused: NO_ADDITIONAL_SAS"), "{}", found.finding);
}
