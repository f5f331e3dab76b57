//! Handshakes over real UDP on loopback: a thread of initiators keeps 1,000 in flight, a thread answers.
//!
//! Printed are, per side and handshake, the thread's CPU time and its allocations (counted in a run of their own), and
//! how many datagrams a system call moves. The same handshakes in memory, in the same process, are the comparison.

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ikelab::drive::{Driver, Observer};
use ikelab::engine::{ConnectionSpec, Endpoint, EndpointConfig, Event, Ports, SaId, TunnelId};
use ikelab::link::udp::{UdpConfig, UdpLink};
use ikelab::link::{Link, LinkCounters};
use ikelab::net::SocketRole;
use ikelab::record::Recorder;
use ikelab::seed::{KeySeed, PlanSeed, Seeds};
use ikelab::time::{Instant, RealClock};
use support::{FAST, LEFT, RIGHT, World, address, config, cpu, left_spec, right_spec};

#[global_allocator]
static ALLOC: support::alloc::Counting = support::alloc::Counting;

const HANDSHAKES: u64 = 20_000;
const IN_FLIGHT: u64 = 1_000;

fn main() {
    if !support::wanted() {
        return;
    }
    let [left, right] = run(false);
    let [left_counted, right_counted] = run(true);
    let memory = in_memory();
    println!(
        "{HANDSHAKES} handshakes over loopback UDP, {IN_FLIGHT} in flight, {FAST}; the same in memory: {memory:.1} us"
    );
    println!("                 CPU      / in memory   allocations   datagrams per call: sent  received   repeats");
    for (name, side, counted) in [("initiator", left, left_counted), ("responder", right, right_counted)] {
        let LinkCounters { sent, send_calls, received, receive_calls, wait_calls, .. } = side.link;
        println!(
            "{name:<12} {:>6.1} us {:>12.2} {:>13.1} {:>25.1} {:>9.1} {:>9}",
            side.micros,
            side.micros / memory,
            counted.allocations,
            sent as f64 / send_calls as f64,
            received as f64 / (receive_calls + wait_calls) as f64,
            side.repeats,
        );
    }
    println!("{:.0} handshakes per second", HANDSHAKES as f64 / left.wall.as_secs_f64());
}

/// What one side used per handshake.
#[derive(Clone, Copy)]
struct Side {
    micros: f64,
    allocations: f64,
    link: LinkCounters,
    repeats: u64,
    wall: Duration,
}

/// Counts what came up.
#[derive(Default)]
struct Ups {
    up: u64,
}

impl Observer for Ups {
    fn event(&mut self, _: Instant, _: TunnelId, _: SaId, event: Event) {
        match event {
            Event::ChildOutbound { .. } => self.up += 1,
            Event::Failed(failed) => panic!("{}", failed.why),
            _ => {}
        }
    }
}

/// CPU time per side of the same handshakes without sockets, in microseconds.
fn in_memory() -> f64 {
    let specs: Vec<_> = (0..2_000).map(|tunnel| Arc::new(left_spec(&FAST, tunnel))).collect();
    let mut world = World::new(&FAST, "memory");
    let start = cpu();
    for (spec, tunnel) in specs.iter().zip(0..) {
        world.handshake(spec, tunnel);
    }
    (cpu() - start).as_secs_f64() * 1e6 / (2 * specs.len()) as f64
}

fn run(count: bool) -> [Side; 2] {
    let clock = RealClock::start();
    let bind = |text: &str| {
        let addresses = vec![address(text)];
        let config = UdpConfig { addresses, ike_port: 0, natt_port: 0, ..UdpConfig::default() };
        UdpLink::bind(&config, clock).expect("loopback binds")
    };
    let (left, right) = (bind(LEFT), bind(RIGHT));
    let ports = |link: &UdpLink| Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
    let (left_ports, right_ports) = (ports(&left), ports(&right));
    let spec = |tunnel| {
        let spec = left_spec(&FAST, tunnel);
        Arc::new(ConnectionSpec { local_ports: left_ports, remote_ports: right_ports, ..spec })
    };
    let specs: Vec<_> = (0..HANDSHAKES).map(spec).collect();
    let answering = ConnectionSpec { local_ports: right_ports, remote_ports: left_ports, ..right_spec(&FAST) };
    let done = AtomicBool::new(false);
    support::alloc::count(count);
    let sides = std::thread::scope(|scope| {
        let responder = scope.spawn(|| respond(right, config(vec![answering], 2), &done));
        let initiator = scope.spawn(|| {
            let side = initiate(left, &specs);
            done.store(true, Relaxed);
            side
        });
        [initiator, responder].map(|thread| thread.join().expect("it reports its panic"))
    });
    support::alloc::count(false);
    sides
}

fn driver(link: UdpLink, config: EndpointConfig) -> Driver<UdpLink> {
    let seeds = Seeds::new(PlanSeed::from_text("loopback"), KeySeed::new([config.salt as u8; 32]));
    let endpoint = Endpoint::new(Arc::new(config), seeds, link.epoch());
    Driver::new(endpoint, link, Recorder::new())
}

fn initiate(link: UdpLink, specs: &[Arc<ConnectionSpec>]) -> Side {
    let local: IpAddr = address(LEFT);
    let mut driver = driver(link, config(Vec::new(), 1));
    let mut ups = Ups::default();
    let start = Start::now(&driver);
    let mut begun = 0;
    while ups.up < HANDSHAKES {
        while begun < HANDSHAKES && begun - ups.up < IN_FLIGHT {
            let spec = Arc::clone(&specs[begun as usize]);
            driver.endpoint.connect(driver.link.now(), spec, TunnelId(begun), local);
            begun += 1;
        }
        driver.turn(None, &mut ups).expect("loopback works");
    }
    start.side(&driver)
}

fn respond(link: UdpLink, config: EndpointConfig, done: &AtomicBool) -> Side {
    let mut driver = driver(link, config);
    let mut ups = Ups::default();
    let start = Start::now(&driver);
    while !done.load(Relaxed) {
        let soon = driver.link.now() + Duration::from_millis(20);
        driver.turn(Some(soon), &mut ups).expect("loopback works");
    }
    assert_eq!(ups.up, HANDSHAKES, "every tunnel is up at both ends");
    start.side(&driver)
}

struct Start {
    cpu: Duration,
    allocations: u64,
    at: Instant,
}

impl Start {
    fn now(driver: &Driver<UdpLink>) -> Self {
        Start { cpu: cpu(), allocations: support::alloc::calls(), at: driver.link.now() }
    }

    fn side(&self, driver: &Driver<UdpLink>) -> Side {
        let counters = driver.endpoint.counters();
        Side {
            micros: (cpu() - self.cpu).as_secs_f64() * 1e6 / HANDSHAKES as f64,
            allocations: (support::alloc::calls() - self.allocations) as f64 / HANDSHAKES as f64,
            link: driver.link.counters(),
            repeats: counters.retransmits + counters.repeats_answered,
            wall: driver.link.now() - self.at,
        }
    }
}
