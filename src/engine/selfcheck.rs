//! What must hold for two endpoints whatever happens to them, in one place for the fuzz target and the tests.
//!
//! Octets are read as a list of operations: connections, commands, the passing of time, and a network that drops,
//! doubles, delays, corrupts and invents datagrams.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{
    AuthSpec, Behaviour, ChildSpec, Command, ConnectionSpec, DpdMode, DpdSpec, Endpoint, EndpointConfig, Event,
    FailScope, IdMatch, Limits, Mode, NatSpec, NatTraversal, Ports, ProposalSpec, RetransmitSpec, SaId, TunnelId,
    UnprotectedErrors,
};
use crate::crypto::Secret;
use crate::net::{Class, Path, SocketRole, Transmit};
use crate::seed::Seeds;
use crate::time::{Instant, UnixTime};
use crate::wire::registry::{EncrId, EsnId, IdType, IntegId, KeMethod, NotifyType, PrfId};
use crate::wire::{Header, IdPayload, NotifyPayload, TrafficSelector, Transform};

/// Operations that one run carries out at most.
const MAX_OPERATIONS: usize = 256;
/// Connections that one run begins at most.
const MAX_CONNECTS: u64 = 12;
/// IKE SAs that an endpoint takes as responder at most.
const MAX_IKE_SAS: u32 = 24;
/// Datagrams in the network at most; what is beyond is lost.
const MAX_FLIGHT: usize = 128;
/// Datagrams that one operation may set off at one endpoint. Each IKE SA sends a few at most.
const MAX_BURST: usize = 512;

/// Runs two endpoints through the operations that `data` spells, and asserts after each:
///
/// - no panic, and [`Endpoint::check_invariants`];
/// - no more IKE SAs than were begun or allowed, and a bounded number of datagrams;
/// - an IKE SA comes up once, ends once, says Closed once and nothing after it, and takes its Child SAs with it;
///
/// and at the end that [`Endpoint::delete_all`] leaves nothing behind, no IKE SA and no timer, with nobody answering.
///
/// # Panics
/// When one of these does not hold: it is a check, for the fuzz target and for tests.
pub fn selfcheck(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(&mut input);
    for _ in 0..MAX_OPERATIONS {
        let Some(operation) = input.octet() else { break };
        world.operate(operation, &mut input);
    }
    world.finish();
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An octet, or 0 at the end.
    fn number(&mut self) -> usize {
        usize::from(self.octet().unwrap_or(0))
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        first
    }
}

/// What is known of an IKE SA from its events.
#[derive(Default)]
struct Life {
    up: u32,
    ended: u32,
    closed: bool,
    children: Vec<u32>,
}

struct World {
    ends: [Endpoint; 2],
    specs: [Arc<ConnectionSpec>; 2],
    now: Instant,
    /// Datagrams on their way, and to which end.
    flight: VecDeque<(usize, Transmit)>,
    lives: [BTreeMap<SaId, Life>; 2],
    connects: u64,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let options = input.number();
        let limits = input.number();
        let specs = [0, 1].map(|end| Arc::new(spec(end, options)));
        let ends = [0, 1].map(|end| {
            let limits = Limits {
                cookie_threshold: [None, Some(0), Some(2), Some(1)][limits & 3],
                max_half_open: 16,
                max_half_open_per_address: (limits & 4 != 0).then_some(3),
                max_ike_sas: Some(MAX_IKE_SAS),
                stateless_per_second: 10,
                ..Limits::default()
            };
            let config = EndpointConfig {
                connections: vec![Arc::clone(&specs[end])],
                limits,
                trace: options & 128 == 0,
                salt: end as u64,
                ..EndpointConfig::default()
            };
            Endpoint::new(Arc::new(config), Seeds::simulated("selfcheck"), UnixTime::default())
        });
        let lives = [BTreeMap::new(), BTreeMap::new()];
        World { ends, specs, now: Instant::ZERO, flight: VecDeque::new(), lives, connects: 0 }
    }

    fn operate(&mut self, operation: u8, input: &mut Input<'_>) {
        let end = usize::from(operation >> 7);
        match operation & 0x0f {
            0 => self.connect(end, input),
            1 => self.deliver(0),
            2 => self.deliver(input.number()),
            3 => {
                let at = input.number();
                self.pick(at).map(|at| self.flight.remove(at));
            }
            4 => {
                let at = input.number();
                if let Some(twin) = self.pick(at).map(|at| self.flight[at].clone()) {
                    self.flight.push_back(twin);
                }
            }
            5 => {
                let (at, offset, mask) = (input.number(), input.number(), input.number());
                if let Some(at) = self.pick(at) {
                    let bytes = &mut self.flight[at].1.bytes;
                    // The first octets, which say most, and every other one too.
                    let offset = if offset < 64 { offset } else { offset * bytes.len() / 256 };
                    if let Some(octet) = bytes.get_mut(offset) {
                        *octet ^= mask as u8;
                    }
                }
            }
            6 => {
                let len = input.number();
                let bytes = input.take(len).to_vec();
                self.invent(end, bytes);
            }
            7 => {
                // A genuine header with an invented body of the right length.
                let (at, next, len) = (input.number(), input.octet().unwrap_or(0), input.number());
                let body = input.take(len);
                let genuine = self.pick(at).map(|at| &self.flight[at]);
                let header = genuine.and_then(|(to, t)| Some((1 - to, t.bytes.get(..Header::LEN)?)));
                if let Some((end, header)) = header {
                    let mut bytes = [header, body].concat();
                    bytes[16] = next;
                    let len = bytes.len() as u32;
                    bytes[24..28].copy_from_slice(&len.to_be_bytes());
                    self.invent(end, bytes);
                }
            }
            8 => {
                self.until_timeout();
            }
            9 => {
                let wait = Duration::from_millis(input.number() as u64 * 100);
                self.advance(self.now + wait);
            }
            10 => self.command(end, input),
            11 => self.ends[end].delete_all(self.now),
            12 => {
                let (at, port) = (input.number(), input.number());
                if let Some(at) = self.pick(at) {
                    // A NAT changes its mind, or another socket of the receiver's is hit.
                    let path = &mut self.flight[at].1.path;
                    path.local.set_port(1024 + port as u16);
                    if port & 1 != 0 {
                        path.role = if path.role == SocketRole::Ike { SocketRole::NatT } else { SocketRole::Ike };
                    }
                }
            }
            13 => {
                for _ in 0..16 {
                    self.deliver(0);
                }
            }
            14 => {
                if let Some(id) = self.known(end, input.number()) {
                    self.ends[end].abandon(self.now, id);
                }
            }
            _ => self.flight.clear(),
        }
        self.collect();
    }

    fn connect(&mut self, end: usize, input: &mut Input<'_>) {
        if self.connects == MAX_CONNECTS {
            return;
        }
        self.connects += 1;
        let tunnel = TunnelId(input.number() as u64 & 3);
        let spec = Arc::clone(&self.specs[end]);
        let id = self.ends[end].connect(self.now, spec, tunnel, address(end));
        self.lives[end].entry(id).or_default();
    }

    fn command(&mut self, end: usize, input: &mut Input<'_>) {
        let (which, what) = (input.number(), input.number());
        let Some(id) = self.known(end, which) else { return };
        let child = self.lives[end].get(&id).and_then(|life| life.children.first()).copied();
        let command = match what & 3 {
            0 => Command::Delete,
            1 => Command::Liveness,
            2 => Command::Notify(NotifyPayload::new(NotifyType(what as u16 * 64))),
            _ => Command::DeleteChild(child.unwrap_or(what as u32)),
        };
        let _ = self.ends[end].command(self.now, id, command);
    }

    /// Some IKE SA that has spoken, in a fixed order.
    fn known(&self, end: usize, which: usize) -> Option<SaId> {
        let mut open: Vec<SaId> = self.lives[end].iter().filter(|(_, life)| !life.closed).map(|(id, _)| *id).collect();
        open.sort_unstable();
        (!open.is_empty()).then(|| open[which % open.len()])
    }

    fn pick(&self, which: usize) -> Option<usize> {
        (!self.flight.is_empty()).then(|| which % self.flight.len())
    }

    fn deliver(&mut self, which: usize) {
        let Some((to, transmit)) = self.pick(which).and_then(|at| self.flight.remove(at)) else { return };
        if transmit.class != Class::Ike {
            return;
        }
        let Transmit { path, mut bytes, .. } = transmit;
        let path = Path { local: path.remote, remote: path.local, role: path.role };
        self.ends[to].handle_datagram(self.now, path, &mut bytes);
        self.collect();
    }

    /// A datagram that seems to come from `end`.
    fn invent(&mut self, end: usize, bytes: Vec<u8>) {
        let path =
            Path { local: (address(end), 500).into(), remote: (address(1 - end), 500).into(), role: SocketRole::Ike };
        self.flight.push_front((1 - end, Transmit { path, class: Class::Ike, bytes }));
        self.deliver(0);
    }

    fn until_timeout(&mut self) -> bool {
        let due = self.ends.iter().filter_map(Endpoint::poll_timeout).map(|(at, _)| at).min();
        if let Some(at) = due {
            self.advance(self.now.max(at));
        }
        due.is_some()
    }

    fn advance(&mut self, at: Instant) {
        self.now = at;
        for end in &mut self.ends {
            end.handle_timeout(at);
        }
        self.collect();
    }

    fn collect(&mut self) {
        for end in 0..2 {
            while let Some((_, id, event)) = self.ends[end].poll_event() {
                if id != SaId::NONE {
                    self.lives[end].entry(id).or_default().note(&event);
                }
            }
            let mut burst = 0;
            while let Some(transmit) = self.ends[end].poll_transmit() {
                burst += 1;
                if self.flight.len() < MAX_FLIGHT {
                    self.flight.push_back((1 - end, transmit));
                }
            }
            assert!(burst <= MAX_BURST, "{burst} datagrams at once");
            self.ends[end].check_invariants();
            assert!(self.ends[end].sa_count() as u64 <= MAX_CONNECTS + u64::from(MAX_IKE_SAS));
        }
    }

    /// Everybody leaves, and nobody hears it.
    fn finish(mut self) {
        for end in 0..2 {
            self.ends[end].delete_all(self.now);
        }
        self.collect();
        for _ in 0..2000 {
            self.flight.clear();
            if !self.until_timeout() {
                break;
            }
        }
        for (end, lives) in self.ends.iter().zip(&self.lives) {
            assert_eq!((end.sa_count(), end.poll_timeout()), (0, None), "something is left behind");
            for (id, life) in lives {
                assert!(life.closed && life.children.is_empty(), "{id:?} did not close");
            }
        }
    }
}

impl Life {
    fn note(&mut self, event: &Event) {
        assert!(!self.closed, "after Closed: {event:?}");
        match event {
            Event::IkeUp(_) => self.up += 1,
            Event::Deleted { .. } => self.ended += 1,
            Event::Failed(failed) if failed.scope == FailScope::IkeSa => self.ended += 1,
            Event::ChildInbound(child) => {
                assert!(self.up > 0 && self.ended == 0, "a Child SA outside an IKE SA that is up");
                self.children.push(child.spi_in);
            }
            Event::ChildDown { spi_in, .. } => {
                let at = self.children.iter().position(|c| c == spi_in).expect("only what was up goes down");
                self.children.remove(at);
            }
            Event::Closed => {
                assert!(self.children.is_empty(), "Child SAs outlive their IKE SA");
                self.closed = true;
            }
            _ => {}
        }
        assert!(self.up <= 1, "up twice");
        assert!(self.ended <= 1, "ended twice: {event:?}");
    }
}

fn address(end: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1 + end as u8).into()
}

/// The connection of one end; each bit of `options` is something in which peers differ.
fn spec(end: usize, options: usize) -> ConnectionSpec {
    let bit = |n: usize| options >> n & 1 != 0;
    let id = |end: usize| IdPayload::new(IdType::ID_FQDN, vec![b'a' + end as u8; if bit(0) { 1400 } else { 4 }]);
    let net = |end: usize| TrafficSelector::from_net(Ipv4Addr::new(192, 168, end as u8, 0).into(), 24);
    let mut transforms = if bit(1) {
        vec![Transform::encr(EncrId::ENCR_AES_GCM_16, Some(128)), Transform::prf(PrfId::PRF_HMAC_SHA2_256)]
    } else {
        vec![
            Transform::encr(EncrId::ENCR_AES_CBC, Some(128)),
            Transform::prf(PrfId::PRF_HMAC_SHA2_256),
            Transform::integ(IntegId::AUTH_HMAC_SHA2_256_128),
        ]
    };
    // The first guess of one end is wrong for the other.
    let groups =
        if end == 0 || !bit(2) { &[KeMethod::CURVE25519, KeMethod::ECP_256][..] } else { &[KeMethod::ECP_256] };
    transforms.extend(groups.iter().map(|group| Transform::ke(*group)));
    let auth = AuthSpec::Psk(Arc::new(Secret::new(if bit(3) && end == 1 { &b"another"[..] } else { b"a key" })));
    let esp = vec![Transform::encr(EncrId::ENCR_AES_GCM_16, Some(128)), Transform::esn(EsnId(0))];
    ConnectionSpec {
        mobike: None,
        name: format!("end {end}"),
        local_addr: Some(address(end)),
        remote_addr: Some(address(1 - end)),
        local_ports: Ports::default(),
        remote_ports: Ports::default(),
        local_id: id(end),
        remote_id: IdMatch::Exact(id(1 - end)),
        send_idr: true,
        local_auth: auth.clone(),
        remote_auth: auth,
        ike_proposals: vec![ProposalSpec { transforms }],
        children: vec![ChildSpec {
            name: "lan".into(),
            mode: Mode::Tunnel,
            proposals: vec![ProposalSpec { transforms: esp }],
            pfs: Vec::new(),
            local_ts: vec![net(end)],
            remote_ts: vec![net(if bit(4) { end } else { 1 - end })],
            lifetime: None,
        }],
        retransmit: RetransmitSpec { attempts: 4, jitter_percent: 10, ..RetransmitSpec::default() },
        nat: NatSpec {
            traversal: if bit(5) && end == 0 { NatTraversal::Force } else { NatTraversal::Auto },
            ..NatSpec::default()
        },
        dpd: (end == 0).then_some(DpdSpec::new(Duration::from_secs(10), DpdMode::Periodic)),
        lifetime: None,
        fragmentation: bit(0),
        cp: Default::default(),
        behaviour: Behaviour {
            unprotected_errors: match options >> 6 & 1 {
                0 => UnprotectedErrors::Ignore,
                _ => UnprotectedErrors::Wait(Duration::from_secs(2)),
            },
            initial_contact: !bit(2),
            ..Behaviour::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path};

    use super::*;

    /// Operations worth beginning with.
    fn corpus() -> Vec<(&'static str, Vec<u8>)> {
        let handshake = |options: u8, limits: u8| vec![options, limits, 0, 1, 13];
        let then = |options: u8, more: &[u8]| [&handshake(options, 0)[..], more].concat();
        vec![
            ("handshake", handshake(0, 0)),
            ("handshake-aead", handshake(2, 0)),
            ("handshake-cookie", handshake(0, 1)),
            ("handshake-cookie-and-group", handshake(4, 1)),
            ("handshake-fragments", handshake(3, 0)),
            ("handshake-nat", handshake(32, 0)),
            ("wrong-key", handshake(8, 0)),
            ("wrong-selectors", handshake(16, 0)),
            ("both-connect", vec![0, 0, 0, 1, 0x80, 2, 13, 13]),
            ("delete", then(0, &[10, 0, 0, 13])),
            ("deletes-cross", then(0, &[10, 0, 0, 0x8a, 0, 0, 13])),
            ("child-deletes-cross", then(0, &[10, 0, 3, 0x8a, 0, 3, 13])),
            ("liveness-lost", then(0, &[10, 0, 1, 3, 0, 8, 8, 13])),
            ("notifies-queued", then(0, &[10, 0, 2, 10, 0, 6, 10, 0, 10, 13])),
            ("everything-twice", vec![0, 0, 0, 1, 4, 0, 1, 1, 4, 0, 1, 1, 4, 0, 1, 1, 13]),
            ("late-repeats", vec![0, 0, 0, 1, 4, 0, 4, 0, 13, 9, 100, 13]),
            ("corrupted", vec![0, 0, 0, 1, 4, 0, 5, 0, 40, 1, 1, 1, 4, 0, 5, 0, 50, 255, 1, 13]),
            ("forged-header", then(0, &[10, 0, 1, 7, 0, 41, 8, 0, 0, 0, 8, 0, 0, 0, 24, 13])),
            ("raw", vec![0, 0, 6, 4, 1, 2, 3, 4, 6, 0]),
            ("nat-rebinding", then(32, &[10, 0, 1, 12, 0, 77, 13, 0x8a, 0, 1, 13])),
            ("abandoned", then(0, &[14, 0, 0x8a, 0, 1, 13, 8, 8, 8, 8, 13])),
            ("retransmitted", vec![0, 0, 0, 1, 15, 8, 15, 8, 13, 8, 13]),
            ("limits", vec![0, 4, 0, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 1, 15, 8, 13, 13]),
            ("left-alone", then(0, &[9, 255, 9, 255, 15, 9, 255, 8, 8, 8, 8, 8])),
        ]
    }

    /// The seed corpus in `fuzz/corpus/endpoint` is the list above. After a change run this with `IKELAB_WRITE_CORPUS=1`.
    #[test]
    fn the_seed_corpus_is_current() {
        let directory = path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/endpoint");
        let write = env::var_os("IKELAB_WRITE_CORPUS").is_some();
        for (name, bytes) in corpus() {
            println!("{name}"); // names it when the check below panics
            selfcheck(&bytes);
            if write {
                fs::create_dir_all(&directory).expect("the directory can be made");
                fs::write(directory.join(name), &bytes).expect("the file can be written");
            }
            assert_eq!(fs::read(directory.join(name)).ok().as_deref(), Some(&bytes[..]), "{name}");
        }
    }

    /// The operations do what they say: a handshake comes up at both ends, a wrong key does not.
    #[test]
    fn a_handshake_comes_up() {
        for (name, up) in
            [("handshake", 1), ("handshake-fragments", 1), ("handshake-cookie-and-group", 1), ("wrong-key", 0)]
        {
            let (_, bytes) = corpus().into_iter().find(|(n, _)| *n == name).expect("a seed of that name");
            let mut input = Input(&bytes);
            let mut world = World::new(&mut input);
            while let Some(operation) = input.octet() {
                world.operate(operation, &mut input);
            }
            let ups = world.lives.each_ref().map(|lives| lives.values().map(|life| life.up).sum::<u32>());
            assert_eq!(ups, [up, up], "{name}");
        }
    }

    #[test]
    fn the_check_can_fail() {
        let mut life = Life::default();
        life.note(&Event::Closed);
        assert!(std::panic::catch_unwind(move || life.note(&Event::Closed)).is_err());
    }
}
