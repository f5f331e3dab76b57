//! A simulated network with a virtual clock: loss, delay, jitter, duplicates, reordering, one-way rules, blackouts, and
//! NATs, all decided by the plan seed.
//!
//! The same seed, hosts and traffic give the same fate to every datagram. Each direction of each pair of hosts draws
//! from its own stream, and a fixed number of values per datagram, so that a rule for one direction never shifts what
//! happens in another, and two runs that differ in one probability differ only where it bites.

mod link;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use link::{SimLink, SimWorld};

use super::demux;
use super::nat::Nat;
pub use super::nat::NatConfig;
use crate::net::{Class, Path, SocketRole, Transmit};
use crate::seed::PlanSeed;
use crate::time::Instant;

/// Number of a simulated host, in the order of [`SimConfig::hosts`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub usize);

/// The hosts and how datagrams travel between them.
#[derive(Clone, Debug, Default)]
pub struct SimConfig {
    /// The hosts.
    pub hosts: Vec<HostConfig>,
    /// How datagrams travel where `one_way` says nothing.
    pub conditions: Conditions,
    /// Rules for one direction: from the first host to the second.
    pub one_way: BTreeMap<(HostId, HostId), Conditions>,
    /// How many past datagrams [`SimNet::fates`] remembers; older ones are forgotten.
    pub log_limit: usize,
}

impl SimConfig {
    /// Two hosts with one address each and ports 500 and 4500, on a path with these conditions.
    pub fn pair(a: IpAddr, b: IpAddr, conditions: Conditions) -> Self {
        let hosts = vec![HostConfig::new("a", a), HostConfig::new("b", b)];
        SimConfig { hosts, conditions, one_way: BTreeMap::new(), log_limit: 10_000 }
    }
}

/// A simulated host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Name for people.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Its port without the non-ESP marker.
    pub ike_port: u16,
    /// Its port with the non-ESP marker.
    pub natt_port: u16,
    /// The NAT in front of it, if any. Its own addresses are then reachable only from inside.
    pub nat: Option<NatConfig>,
}

impl HostConfig {
    /// A host with one address, the usual ports, and no NAT.
    pub fn new(name: &str, address: IpAddr) -> Self {
        HostConfig { name: name.to_owned(), addresses: vec![address], ike_port: 500, natt_port: 4500, nat: None }
    }
}

/// A probability in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Chance(u32);

impl Chance {
    /// Never.
    pub const NEVER: Chance = Chance(0);
    /// Always.
    pub const ALWAYS: Chance = Chance(1_000_000);

    /// This many in a hundred, at most all.
    pub fn percent(percent: u32) -> Self {
        Chance(percent.min(100) * 10_000)
    }

    /// This many in a million, at most all.
    pub fn millionths(millionths: u32) -> Self {
        Chance(millionths.min(1_000_000))
    }

    pub(super) fn hits(self, draw: u64) -> bool {
        ((draw >> 32) * 1_000_000) >> 32 < u64::from(self.0)
    }
}

/// How datagrams travel in one direction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// Lost without trace.
    pub loss: Chance,
    /// Each datagram takes this long.
    pub delay: Duration,
    /// And up to this much longer, evenly distributed. Jitter alone may reorder.
    pub jitter: Duration,
    /// Arrives twice, the copy with a jitter of its own.
    pub duplicate: Chance,
    /// Held back by `reorder_by`, so that later ones overtake it.
    pub reorder: Chance,
    /// How long a reordered datagram is held back.
    pub reorder_by: Duration,
    /// Datagrams with more octets of UDP payload than this vanish: a path that drops IP fragments, or an MTU black hole.
    pub longest: Option<usize>,
    /// While one of these lasts nothing gets through.
    pub blackouts: Vec<Range<Instant>>,
    /// ESP without UDP (IP protocol 50) vanishes.
    pub no_native_esp: bool,
}

impl Conditions {
    /// Nothing is lost and everything takes `delay`.
    pub fn clean(delay: Duration) -> Self {
        Conditions { delay, ..Conditions::default() }
    }
}

/// A datagram that reached a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Which host.
    pub host: HostId,
    /// From where to where, as that host sees it.
    pub path: Path,
    /// What it is; [`Class::Verbatim`] for what is neither IKE, ESP nor keepalive.
    pub class: Class,
    /// The UDP payload without the non-ESP marker.
    pub bytes: Vec<u8>,
}

/// What became of a datagram, or of the copy of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SimFate {
    /// On its way.
    Travelling,
    /// It arrived.
    Delivered(Instant),
    /// Lost by chance.
    Lost,
    /// Sent during a blackout.
    Blackout,
    /// Longer than the path lets through.
    TooLong,
    /// No host has the address, or none can be reached at it.
    NoRoute,
    /// The host has no socket on the port.
    PortClosed,
    /// The NAT in front of the host had no mapping for it.
    NatBlocked,
}

/// One line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FateRecord {
    /// Number of the datagram, from 1 in the order of sending; a copy has the number of its original.
    pub number: u64,
    /// True for the copy of a duplicated datagram.
    pub copy: bool,
    /// When it was sent.
    pub sent: Instant,
    /// Which host sent it.
    pub from: HostId,
    /// From where to where, as the sender saw it.
    pub path: Path,
    /// Octets of UDP payload on the wire.
    pub len: usize,
    /// What became of it.
    pub fate: SimFate,
}

/// The network: sockets, wires and NATs of all hosts.
pub struct SimNet {
    hosts: Vec<Host>,
    conditions: Conditions,
    one_way: BTreeMap<(HostId, HostId), Conditions>,
    plan: PlanSeed,
    streams: BTreeMap<(HostId, HostId), ChaCha20Rng>,
    travelling: BTreeMap<(Instant, u64), Travelling>,
    order: u64,
    sent: u64,
    log: VecDeque<FateRecord>,
    log_start: u64,
    log_limit: usize,
}

struct Host {
    config: HostConfig,
    nat: Option<Nat>,
}

struct Travelling {
    /// As they stand in the packet between the hosts, after the sender's NAT.
    source: SocketAddr,
    destination: SocketAddr,
    payload: Vec<u8>,
    /// Absolute index in the log.
    log: u64,
}

impl SimNet {
    /// A network whose chances follow from `plan`.
    pub fn new(plan: &PlanSeed, config: SimConfig) -> Self {
        let hosts = config.hosts.into_iter().map(|config| Host { nat: config.nat.clone().map(Nat::new), config });
        SimNet {
            hosts: hosts.collect(),
            conditions: config.conditions,
            one_way: config.one_way,
            plan: plan.clone(),
            streams: BTreeMap::new(),
            travelling: BTreeMap::new(),
            order: 0,
            sent: 0,
            log: VecDeque::new(),
            log_start: 0,
            log_limit: config.log_limit.max(1),
        }
    }

    /// Sends a datagram from a host.
    pub fn send(&mut self, now: Instant, from: HostId, transmit: Transmit) {
        self.sent += 1;
        let Transmit { path, class, bytes } = transmit;
        let mut payload = class.marker(path.role).to_vec();
        payload.extend_from_slice(&bytes);
        let len = payload.len();
        let record = |copy, fate| FateRecord { number: 0, copy, sent: now, from, path, len, fate };

        let Some(to) = self.host_at(path.remote.ip()) else {
            self.remember(record(false, SimFate::NoRoute));
            return;
        };
        let conditions = self.one_way.get(&(from, to)).unwrap_or(&self.conditions).clone();
        let stream = self.streams.entry((from, to)).or_insert_with(|| self.plan.stream(&stream_label(from, to)));
        let [loss, duplicate, reorder, jitter, copy_jitter] = std::array::from_fn(|_| stream.next_u64());

        // The NAT translates before the wire loses: a mapping lives on although the packet does not.
        let nat = self.hosts.get_mut(from.0).and_then(|host| host.nat.as_mut());
        let source = nat.map_or(path.local, |nat| nat.outbound(now, path.local, path.remote));
        let fate = if conditions.blackouts.iter().any(|when| when.contains(&now)) {
            Some(SimFate::Blackout)
        } else if conditions.longest.is_some_and(|longest| len > longest) {
            Some(SimFate::TooLong)
        } else if conditions.loss.hits(loss) || (conditions.no_native_esp && path.role == SocketRole::Esp) {
            Some(SimFate::Lost)
        } else {
            None
        };
        if let Some(fate) = fate {
            self.remember(record(false, fate));
            return;
        }

        let held = if conditions.reorder.hits(reorder) { conditions.reorder_by } else { Duration::ZERO };
        let at = now + conditions.delay + part_of(conditions.jitter, jitter) + held;
        let log = self.remember(record(false, SimFate::Travelling));
        self.launch(at, Travelling { source, destination: path.remote, payload: payload.clone(), log });
        if conditions.duplicate.hits(duplicate) {
            let at = now + conditions.delay + part_of(conditions.jitter, copy_jitter);
            let log = self.remember(record(true, SimFate::Travelling));
            self.launch(at, Travelling { source, destination: path.remote, payload, log });
        }
    }

    /// When the next datagram arrives somewhere.
    pub fn next_at(&self) -> Option<Instant> {
        self.travelling.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Everything that has arrived by `now`, in order of arrival. Two that arrive at one instant stay in the order in
    /// which they were sent.
    pub fn pop_due(&mut self, now: Instant) -> Vec<Arrival> {
        let mut out = Vec::new();
        while let Some(entry) = self.travelling.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), packet) = entry.remove_entry();
            match self.deliver(at, &packet) {
                Ok(arrival) => {
                    self.settle(packet.log, SimFate::Delivered(at));
                    out.push(arrival);
                }
                Err(fate) => self.settle(packet.log, fate),
            }
        }
        out
    }

    /// The log: each datagram and each copy, in the order of sending.
    pub fn fates(&self) -> impl Iterator<Item = &FateRecord> {
        self.log.iter()
    }

    /// Changes the conditions in one direction from now on.
    pub fn set_one_way(&mut self, from: HostId, to: HostId, conditions: Conditions) {
        self.one_way.insert((from, to), conditions);
    }

    /// Lets ESP without UDP pass from now on, or not, both ways between all hosts.
    pub fn set_native_esp(&mut self, passes: bool) {
        self.conditions.no_native_esp = !passes;
        self.one_way.values_mut().for_each(|conditions| conditions.no_native_esp = !passes);
    }

    /// Makes the NAT in front of a host forget its mappings, as after a reboot: the next datagram out gets a new
    /// outside port.
    pub fn rebind(&mut self, host: HostId) {
        if let Some(nat) = self.hosts.get_mut(host.0).and_then(|host| host.nat.as_mut()) {
            nat.forget();
        }
    }

    /// Puts a NAT in front of a host, or takes it away: as when a laptop goes from one network to another.
    pub fn set_nat(&mut self, host: HostId, nat: Option<NatConfig>) {
        if let Some(host) = self.hosts.get_mut(host.0) {
            host.nat = nat.clone().map(Nat::new);
            host.config.nat = nat;
        }
    }

    /// Changes a host's own addresses.
    pub fn set_addresses(&mut self, host: HostId, addresses: Vec<IpAddr>) {
        if let Some(host) = self.hosts.get_mut(host.0) {
            host.config.addresses = addresses;
        }
    }

    /// The host's configuration.
    pub fn host(&self, host: HostId) -> Option<&HostConfig> {
        self.hosts.get(host.0).map(|host| &host.config)
    }

    /// Who answers to an address from outside: the host itself, or the NAT in front of it.
    fn host_at(&self, address: IpAddr) -> Option<HostId> {
        let found = self.hosts.iter().position(|host| match &host.config.nat {
            Some(nat) => nat.outside == address,
            None => host.config.addresses.contains(&address),
        });
        found.map(HostId)
    }

    fn launch(&mut self, at: Instant, packet: Travelling) {
        self.order += 1;
        self.travelling.insert((at, self.order), packet);
    }

    fn deliver(&mut self, at: Instant, packet: &Travelling) -> Result<Arrival, SimFate> {
        let id = self.host_at(packet.destination.ip()).ok_or(SimFate::NoRoute)?;
        let host = self.hosts.get_mut(id.0).ok_or(SimFate::NoRoute)?;
        let local = match &mut host.nat {
            Some(nat) => nat.inbound(at, packet.source, packet.destination).ok_or(SimFate::NatBlocked)?,
            None => packet.destination,
        };
        let role = match local.port() {
            // No UDP: IP protocol 50.
            0 => SocketRole::Esp,
            port if port == host.config.ike_port => SocketRole::Ike,
            port if port == host.config.natt_port => SocketRole::NatT,
            _ => return Err(SimFate::PortClosed),
        };
        let path = Path { local, remote: packet.source, role };
        let classified = demux::classify(role, &packet.payload);
        let skip = if let demux::Classified::Ike { marker } = classified { marker } else { 0 };
        let bytes = packet.payload.get(skip..).unwrap_or_default().to_vec();
        Ok(Arrival { at, host: id, path, class: classified.class(), bytes })
    }

    fn remember(&mut self, mut record: FateRecord) -> u64 {
        record.number = self.sent;
        if self.log.len() >= self.log_limit {
            self.log.pop_front();
            self.log_start += 1;
        }
        self.log.push_back(record);
        self.log_start + self.log.len() as u64 - 1
    }

    fn settle(&mut self, log: u64, fate: SimFate) {
        let index = log.checked_sub(self.log_start).and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.log.get_mut(index)) {
            record.fate = fate;
        }
    }
}

fn stream_label(from: HostId, to: HostId) -> String {
    format!("sim {} -> {}", from.0, to.0)
}

/// An even share of `whole`, chosen by `draw`.
pub(super) fn part_of(whole: Duration, draw: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(u64::try_from((u128::from(nanos) * u128::from(draw)) >> 64).unwrap_or(nanos))
}

#[cfg(test)]
mod tests;
