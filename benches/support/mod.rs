//! What the benchmarks share: connections, two endpoints joined in memory, CPU time, medians.
#![allow(dead_code)] // each benchmark uses its own part

pub mod alloc;
pub mod bare;
pub mod fill;
pub mod softirq;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ikelab::crypto::{Encr, EspSuite, Group, IkeSuite, Integ, Prf, Secret};
use ikelab::engine::{
    AuthSpec, Behaviour, ChildSpec, Command, ConnectionSpec, Endpoint, EndpointConfig, Event, IdMatch, Limits, Mode,
    NatSpec, Ports, ProposalSpec, RetransmitSpec, SaId, TunnelId,
};
use ikelab::esp::Plane;
use ikelab::net::{Path, Transmit};
use ikelab::seed::Seeds;
use ikelab::time::{Instant, UnixTime};
use ikelab::wire::registry::IdType;
use ikelab::wire::{IdPayload, TrafficSelector};
use nix::time::{ClockId, clock_gettime};

/// AES-128-GCM, HMAC-SHA-256, X25519.
pub const FAST: IkeSuite =
    IkeSuite { encr: Encr::AesGcm { bits: 128, icv: 16 }, prf: Prf::HmacSha256, integ: None, ke: Group::X25519 };

pub const PSK: &[u8] = b"correct horse battery staple";
pub const LEFT: &str = "127.0.0.1";
pub const RIGHT: &str = "127.0.0.2";

/// CPU time that this thread has used.
pub fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// True when run as a benchmark; `cargo test --all-targets` only builds and starts it.
pub fn wanted() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// ESP that goes with an IKE suite: the same kind of protection.
pub fn esp_suite(ike: &IkeSuite) -> EspSuite {
    match ike.integ {
        None => EspSuite { encr: Encr::AesGcm { bits: 128, icv: 16 }, integ: None, ke: None, esn: false },
        Some(_) => EspSuite { encr: Encr::AesCbc(128), integ: Some(Integ::HmacSha256_128), ke: None, esn: false },
    }
}

fn id(name: String) -> IdPayload {
    IdPayload::new(IdType::ID_FQDN, name.into_bytes())
}

/// The initiator's connection of one tunnel; each has an identity of its own.
pub fn left_spec(suite: &IkeSuite, tunnel: u64) -> ConnectionSpec {
    let net = |prefix: &str| vec![TrafficSelector::from_net(address(prefix), 24)];
    let psk = || AuthSpec::Psk(Arc::new(Secret::new(PSK)));
    ConnectionSpec {
        mobike: None,
        name: "bench".into(),
        local_addr: Some(address(LEFT)),
        remote_addr: Some(address(RIGHT)),
        local_ports: Ports::default(),
        remote_ports: Ports::default(),
        local_id: id(format!("client-{tunnel:06}.bench.test")),
        remote_id: IdMatch::Exact(id("headend.bench.test".into())),
        send_idr: true,
        local_auth: psk(),
        remote_auth: psk(),
        ike_proposals: vec![ProposalSpec { transforms: suite.to_proposal(1, Vec::new()).transforms }],
        children: vec![ChildSpec {
            name: "lan".into(),
            mode: Mode::Tunnel,
            proposals: vec![ProposalSpec { transforms: esp_suite(suite).to_proposal(1, Vec::new()).transforms }],
            pfs: Vec::new(),
            local_ts: net("10.1.0.0"),
            remote_ts: net("10.2.0.0"),
            lifetime: None,
        }],
        retransmit: RetransmitSpec::default(),
        nat: NatSpec::default(),
        dpd: None,
        lifetime: None,
        fragmentation: true,
        cp: Default::default(),
        behaviour: Behaviour::default(),
    }
}

/// The responder's connection for all of them.
pub fn right_spec(suite: &IkeSuite) -> ConnectionSpec {
    let mut spec = left_spec(suite, 0);
    std::mem::swap(&mut spec.local_addr, &mut spec.remote_addr);
    spec.remote_addr = None;
    spec.local_id = id("headend.bench.test".into());
    spec.remote_id = IdMatch::Any;
    let child = &mut spec.children[0];
    std::mem::swap(&mut child.local_ts, &mut child.remote_ts);
    spec
}

/// As under load: no trace, no keys exported, no cookies, no limits.
pub fn config(connections: Vec<ConnectionSpec>, salt: u64) -> EndpointConfig {
    let connections = connections.into_iter().map(Arc::new).collect();
    let limits = Limits { cookie_threshold: None, max_half_open: u32::MAX, ..Limits::default() };
    EndpointConfig { connections, limits, trace: false, export_keys: false, salt, ..EndpointConfig::default() }
}

pub fn endpoint(config: EndpointConfig, seed: &str) -> Endpoint {
    Endpoint::new(Arc::new(config), Seeds::simulated(seed), UnixTime::default())
}

/// An initiator and a responder that hand each other their datagrams.
pub struct World {
    pub left: Endpoint,
    pub right: Endpoint,
    /// Data planes beside them, if there are any.
    pub planes: [Option<Plane>; 2],
    now: Instant,
    /// Octets of each IKE message of the last exchange, in order.
    pub sizes: Vec<usize>,
}

/// What an endpoint has said: how many Child SAs came up, and the IKE SA.
#[derive(Default)]
pub struct Said {
    pub children: usize,
    pub sa: Option<SaId>,
    pub child: Option<u32>,
}

impl World {
    pub fn new(suite: &IkeSuite, seed: &str) -> Self {
        let left = endpoint(config(Vec::new(), 1), seed);
        let right = endpoint(config(vec![right_spec(suite)], 2), seed);
        World { left, right, planes: [None, None], now: Instant::ZERO, sizes: Vec::new() }
    }

    /// Brings up one tunnel and checks that it is up at both ends.
    pub fn handshake(&mut self, spec: &Arc<ConnectionSpec>, tunnel: u64) -> (Said, Said) {
        let local = spec.local_addr.expect("a benchmark's initiator knows its address");
        self.now += Duration::from_micros(100);
        self.left.connect(self.now, Arc::clone(spec), TunnelId(tunnel), local);
        let said = self.settle();
        assert!(said.0.children == 1 && said.1.children == 1, "the handshake must succeed");
        said
    }

    /// The responder asks whether the initiator lives, which caches its answer.
    pub fn check_the_initiator(&mut self, sa: SaId) {
        self.right.command(self.now, sa, Command::Liveness).expect("the IKE SA is there");
        self.settle();
    }

    /// Deletes a Child SA from the initiator's side.
    pub fn delete_child(&mut self, sa: SaId, spi_in: u32) {
        self.left.command(self.now, sa, Command::DeleteChild(spi_in)).expect("the Child SA is there");
        self.settle();
    }

    /// Delivers until nothing is in flight.
    pub fn settle(&mut self) -> (Said, Said) {
        let (mut left, mut right) = (Said::default(), Said::default());
        self.sizes.clear();
        loop {
            drain(self.now, &mut self.left, &mut self.planes[0], &mut left);
            let request = self.left.poll_transmit();
            let idle = request.is_none();
            if let Some(request) = request {
                self.sizes.push(request.bytes.len());
                deliver(self.now, &mut self.right, request);
            }
            drain(self.now, &mut self.right, &mut self.planes[1], &mut right);
            while let Some(answer) = self.right.poll_transmit() {
                self.sizes.push(answer.bytes.len());
                deliver(self.now, &mut self.left, answer);
            }
            if idle {
                drain(self.now, &mut self.left, &mut self.planes[0], &mut left);
                match self.left.poll_transmit() {
                    None => return (left, right),
                    Some(answer) => deliver(self.now, &mut self.right, answer),
                }
            }
        }
    }
}

fn deliver(now: Instant, to: &mut Endpoint, mut datagram: Transmit) {
    let Path { local, remote, role } = datagram.path;
    to.handle_datagram(now, Path { local: remote, remote: local, role }, &mut datagram.bytes);
}

fn drain(now: Instant, endpoint: &mut Endpoint, plane: &mut Option<Plane>, said: &mut Said) {
    while let Some((tunnel, sa, event)) = endpoint.poll_event() {
        if let Some(plane) = plane {
            plane.event(now, tunnel, sa, &event);
        }
        match event {
            Event::ChildInbound(child) => {
                said.children += 1;
                said.child = Some(child.spi_in);
                said.sa = Some(sa);
            }
            Event::Failed(failed) => panic!("{}", failed.why),
            _ => {}
        }
    }
}
