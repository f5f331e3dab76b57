//! Two endpoints joined in memory, with a virtual clock, for tests of the engine.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ikelab::crypto::Secret;
use ikelab::engine::{
    AuthSpec, Behaviour, ChildSpec, ConnectionSpec, Endpoint, EndpointConfig, Event, IdMatch, Limits, Mode, NatSpec,
    Ports, ProposalSpec, RetransmitSpec, SaId, TunnelId,
};
use ikelab::net::{Class, Path, Transmit};
use ikelab::seed::Seeds;
use ikelab::time::{Instant, UnixTime};
use ikelab::wire::registry::{EncrId, EsnId, IdType, IntegId, KeMethod, PrfId};
use ikelab::wire::{IdPayload, TrafficSelector, Transform};

pub const LEFT: &str = "10.0.0.1";
pub const RIGHT: &str = "10.0.0.2";

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Left,
    Right,
}

impl End {
    pub fn other(self) -> End {
        if self == End::Left { End::Right } else { End::Left }
    }
}

/// A datagram that a test holds in its hands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InFlight {
    pub to: End,
    pub transmit: Transmit,
}

/// An initiator (left) and a responder (right).
pub struct Pair {
    pub left: Endpoint,
    pub right: Endpoint,
    pub now: Instant,
    pub flight: Vec<InFlight>,
    pub events: Vec<(End, TunnelId, SaId, Event)>,
}

pub fn id(name: &str) -> IdPayload {
    IdPayload::new(IdType::ID_FQDN, name.as_bytes().to_vec())
}

pub fn net(text: &str) -> TrafficSelector {
    let (address, prefix) = text.split_once('/').expect("a prefix");
    TrafficSelector::from_net(address.parse().expect("an address"), prefix.parse().expect("a number"))
}

/// AES-128-CBC, SHA-256, with these groups.
pub fn ike_proposal(groups: &[KeMethod]) -> ProposalSpec {
    let mut transforms = vec![
        Transform::encr(EncrId::ENCR_AES_CBC, Some(128)),
        Transform::prf(PrfId::PRF_HMAC_SHA2_256),
        Transform::integ(IntegId::AUTH_HMAC_SHA2_256_128),
    ];
    transforms.extend(groups.iter().map(|group| Transform::ke(*group)));
    ProposalSpec { transforms }
}

pub fn esp_proposal() -> ProposalSpec {
    ProposalSpec { transforms: vec![Transform::encr(EncrId::ENCR_AES_GCM_16, Some(128)), Transform::esn(EsnId(0))] }
}

/// The initiator's connection, which fits [`right_spec`].
pub fn left_spec() -> ConnectionSpec {
    ConnectionSpec {
        mobike: None,
        name: "left".into(),
        local_addr: Some(address(LEFT)),
        remote_addr: Some(address(RIGHT)),
        local_ports: Ports::default(),
        remote_ports: Ports::default(),
        local_id: id("left.test"),
        remote_id: IdMatch::Exact(id("right.test")),
        send_idr: true,
        local_auth: psk("correct horse"),
        remote_auth: psk("correct horse"),
        ike_proposals: vec![ike_proposal(&[KeMethod::CURVE25519, KeMethod::ECP_256])],
        children: vec![ChildSpec {
            name: "lan".into(),
            mode: Mode::Tunnel,
            proposals: vec![esp_proposal()],
            pfs: Vec::new(),
            local_ts: vec![net("10.1.0.0/24")],
            remote_ts: vec![net("10.2.0.0/24")],
            lifetime: None,
        }],
        retransmit: RetransmitSpec::default(),
        nat: NatSpec::default(),
        dpd: None,
        lifetime: None,
        fragmentation: false,
        cp: Default::default(),
        behaviour: Behaviour::default(),
    }
}

/// The responder's connection, which fits [`left_spec`].
pub fn right_spec() -> ConnectionSpec {
    let left = left_spec();
    let mut spec = left.clone();
    spec.name = "right".into();
    (spec.local_addr, spec.remote_addr) = (left.remote_addr, left.local_addr);
    spec.local_id = id("right.test");
    spec.remote_id = IdMatch::Exact(id("left.test"));
    let child = &mut spec.children[0];
    std::mem::swap(&mut child.local_ts, &mut child.remote_ts);
    spec
}

pub fn psk(text: &str) -> AuthSpec {
    AuthSpec::Psk(Arc::new(Secret::new(text.as_bytes())))
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn config(specs: Vec<ConnectionSpec>, salt: u64) -> EndpointConfig {
    let connections = specs.into_iter().map(Arc::new).collect();
    // Shorter than by default, for tests that wait until everything is forgotten.
    let limits = Limits { linger: Duration::from_secs(2), ..Limits::default() };
    EndpointConfig { connections, limits, salt, export_keys: true, ..EndpointConfig::default() }
}

impl Pair {
    pub fn new(left: EndpointConfig, right: EndpointConfig) -> Self {
        let endpoint = |cfg, seed| Endpoint::new(Arc::new(cfg), Seeds::simulated(seed), UnixTime::default());
        Pair {
            left: endpoint(left, "left"),
            right: endpoint(right, "right"),
            now: Instant::ZERO,
            flight: Vec::new(),
            events: Vec::new(),
        }
    }

    /// With the responder's connection given, and the usual initiator.
    pub fn to(right: ConnectionSpec) -> Self {
        Pair::new(config(vec![], 1), config(vec![right], 2))
    }

    pub fn end(&mut self, end: End) -> &mut Endpoint {
        match end {
            End::Left => &mut self.left,
            End::Right => &mut self.right,
        }
    }

    pub fn connect(&mut self, spec: ConnectionSpec) -> SaId {
        let local = spec.local_addr.expect("the test's initiator knows its address");
        let id = self.left.connect(self.now, Arc::new(spec), TunnelId(1), local);
        self.collect();
        id
    }

    /// Drains both ends' queues into `events` and `flight`.
    pub fn collect(&mut self) {
        for end in [End::Left, End::Right] {
            let endpoint = match end {
                End::Left => &mut self.left,
                End::Right => &mut self.right,
            };
            while let Some((tunnel, sa, event)) = endpoint.poll_event() {
                self.events.push((end, tunnel, sa, event));
            }
            while let Some(transmit) = endpoint.poll_transmit() {
                self.flight.push(InFlight { to: end.other(), transmit });
            }
            endpoint.check_invariants();
        }
    }

    /// Delivers one datagram to where it goes.
    pub fn deliver(&mut self, datagram: InFlight) {
        let InFlight { to, transmit } = datagram;
        if transmit.class != Class::Ike {
            return;
        }
        let path = seen_by_receiver(&transmit.path);
        let now = self.now;
        let mut bytes = transmit.bytes;
        self.end(to).handle_datagram(now, path, &mut bytes);
        self.collect();
    }

    /// Takes the datagrams in flight out of the network.
    pub fn take(&mut self) -> Vec<InFlight> {
        std::mem::take(&mut self.flight)
    }

    /// Delivers everything, in order, until nothing is in flight.
    pub fn settle(&mut self) {
        while !self.flight.is_empty() {
            let datagram = self.flight.remove(0);
            self.deliver(datagram);
        }
    }

    /// Moves to `at`, with both ends' timers going off on the way, and settles each time.
    pub fn run_until(&mut self, at: Instant) {
        loop {
            let due = [&self.left, &self.right].into_iter().filter_map(|e| e.poll_timeout()).map(|(at, _)| at).min();
            match due.filter(|due| *due <= at) {
                Some(due) => {
                    self.now = self.now.max(due);
                    self.left.handle_timeout(self.now);
                    self.right.handle_timeout(self.now);
                    self.collect();
                    self.settle();
                }
                None => break,
            }
        }
        self.now = at;
    }

    /// The same for so long, while nothing gets through.
    pub fn run_until_without_network(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let due = [&self.left, &self.right].into_iter().filter_map(|e| e.poll_timeout()).map(|(at, _)| at).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.left.handle_timeout(self.now);
            self.right.handle_timeout(self.now);
            self.collect();
            self.flight.clear();
        }
        self.now = end;
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Events of one end, without the message trace.
    pub fn said(&self, end: End) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |(e, ..)| *e == end).map(|(.., event)| event)
    }

    pub fn is_up(&self, end: End) -> bool {
        self.said(end).any(|e| matches!(e, Event::IkeUp(_)))
            && self.said(end).any(|e| matches!(e, Event::ChildInbound(_)))
    }
}

/// The same datagram's path as its receiver sees it.
pub fn seen_by_receiver(path: &Path) -> Path {
    Path { local: path.remote, remote: path.local, role: path.role }
}
