//! Two hosts with endpoints and data planes over the simulated network.

use std::sync::Arc;
use std::time::Duration;

use ikelab::drive::{Driver, Observer};
use ikelab::engine::{Command, ConnectionSpec, Endpoint, EspNote, Event, SaId, TunnelId};
use ikelab::esp::{PingReport, PingSpec, Plane, PlaneConfig};
use ikelab::link::Link;
use ikelab::link::sim::{Chance, Conditions, HostId, SimConfig, SimFate, SimLink, SimWorld};
use ikelab::net::{Path, SocketRole, Transmit};
use ikelab::record::Recorder;
use ikelab::seed::{PlanSeed, Seeds};
use ikelab::time::{Instant, UnixTime};

use crate::pair::{LEFT, RIGHT, address, config, left_spec, right_spec};

/// A data plane as an observer, and what the engine said.
pub struct Data {
    pub plane: Plane,
    pub events: Vec<Event>,
    /// When native ESP packets arrived.
    pub arrivals: usize,
}

impl Data {
    pub fn new(config: PlaneConfig) -> Self {
        Data { plane: Plane::new(config), events: Vec::new(), arrivals: 0 }
    }
}

impl Observer for Data {
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        self.plane.event(now, tunnel, sa, &event);
        self.events.push(event);
    }

    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {
        self.arrivals += 1;
        self.plane.handle_packet(now, path, packet);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.plane.poll_timeout().is_some_and(|at| at <= now) {
            self.plane.handle_timeout(now);
        }
        self.plane.poll_transmit()
    }

    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.plane.poll_note()
    }

    fn reclaim(&mut self, buffer: Vec<u8>) {
        self.plane.reclaim(buffer);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.plane.poll_timeout()
    }
}

/// Two hosts, each with an endpoint and a data plane.
pub struct World {
    pub world: SimWorld,
    pub ends: [Driver<SimLink>; 2],
    pub data: [Data; 2],
}

impl World {
    pub fn new(seed: &str, left: &ConnectionSpec, right: &ConnectionSpec, conditions: Conditions) -> Self {
        World::on(seed, left, right, SimConfig::pair(address(LEFT), address(RIGHT), conditions))
    }

    /// On a network of its own.
    pub fn on(seed: &str, left: &ConnectionSpec, right: &ConnectionSpec, mut sim: SimConfig) -> Self {
        sim.log_limit = 1_000_000;
        let world = SimWorld::new(&PlanSeed::from_text(seed), sim, UnixTime::default());
        let driver = |spec: &ConnectionSpec, host| {
            let link = world.link(HostId(host));
            let config = config(vec![spec.clone()], host as u64);
            let endpoint = Endpoint::new(Arc::new(config), Seeds::simulated(seed), link.epoch());
            Driver::new(endpoint, link, Recorder::new())
        };
        let mut ends = [driver(left, 0), driver(right, 1)];
        ends[0].endpoint.connect(Instant::ZERO, Arc::new(left.clone()), TunnelId(1), address(LEFT));
        let data = || Data::new(PlaneConfig { native: true, ..PlaneConfig::default() });
        World { world, ends, data: [data(), data()] }
    }

    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// Plays until `until`.
    pub fn play(&mut self, until: Instant) {
        loop {
            let mut idle = true;
            for (end, data) in self.ends.iter_mut().zip(&mut self.data) {
                idle &= end.turn(None, data).expect("the simulation never fails").is_idle();
            }
            if !idle {
                continue;
            }
            let timers =
                self.ends.iter().map(Driver::next_timeout).chain(self.data.iter().map(|d| d.plane.poll_timeout()));
            let next = timers.chain([self.world.next_arrival()]).flatten().min();
            match next.filter(|next| *next <= until) {
                Some(next) => self.world.advance(next),
                None => return self.world.advance(until),
            }
        }
    }

    /// The one IKE SA that stands, and its Child SA.
    pub fn current(&self, host: usize) -> Option<(SaId, u32)> {
        let views = self.ends[host].endpoint.sas();
        let view = views.into_iter().find(|view| view.established)?;
        Some((view.sa, view.children.last()?.spi_in))
    }

    pub fn command(&mut self, host: usize, command: impl Fn(u32) -> Command) {
        let now = self.now();
        let (sa, spi_in) = self.current(host).expect("the tunnel is up");
        self.ends[host].endpoint.command(now, sa, command(spi_in)).expect("it stands");
    }

    pub fn ping(&mut self, host: usize, target: &str, count: u64, interval: u64) {
        let interval = Duration::from_millis(interval);
        let tunnel = match host {
            0 => TunnelId(1),
            _ => self.ends[host].endpoint.sas()[0].tunnel,
        };
        let spec = PingSpec { count: Some(count), interval, ..PingSpec::new(tunnel, address(target)) };
        let now = self.now();
        self.data[host].plane.ping(now, spec, host as u16 + 1);
    }

    pub fn report(&self, host: usize) -> &PingReport {
        self.data[host].plane.pings()[0].report()
    }

    /// ESP packets that the network lost, by sender. A lost one has no copy.
    pub fn lost(&self) -> [u64; 2] {
        let mut lost = [0; 2];
        self.world.with_net(|net| {
            for record in net.fates().filter(|record| record.path.role == SocketRole::Esp && !record.copy) {
                match record.fate {
                    SimFate::Delivered(_) => {}
                    SimFate::Lost => lost[record.from.0] += 1,
                    other => panic!("{other:?}"),
                }
            }
        });
        lost
    }
}

/// Losses and copies, and everything else in the order in which it was sent.
pub fn lossy() -> Conditions {
    Conditions {
        loss: Chance::percent(5),
        duplicate: Chance::percent(5),
        ..Conditions::clean(Duration::from_millis(8))
    }
}

pub fn specs() -> (ConnectionSpec, ConnectionSpec) {
    let (mut left, mut right) = (left_spec(), right_spec());
    for spec in [&mut left, &mut right] {
        spec.retransmit.initial = Duration::from_millis(100);
        spec.retransmit.attempts = 12;
        spec.behaviour.rekey.retry = Duration::from_millis(200);
    }
    (left, right)
}
