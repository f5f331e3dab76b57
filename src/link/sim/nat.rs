//! A NAT in front of one simulated host: addresses and ports are translated, mappings expire.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::time::Instant;

/// What kind of NAT (RFC 4787).
#[derive(Clone, Debug)]
pub struct NatConfig {
    /// Its outside address.
    pub outside: IpAddr,
    /// Keep the inside port while it is free; else, and otherwise, ports are given out from `first_port` upwards.
    pub preserve_ports: bool,
    /// The first outside port to give out.
    pub first_port: u16,
    /// A mapping per destination ("symmetric") instead of one per inside port (RFC 4787 4.1).
    pub symmetric: bool,
    /// Let in only who was written to (address and port, RFC 4787 5); else anyone who hits a mapping.
    pub filter: bool,
    /// A mapping without outbound traffic dies after this long; `None` means never.
    pub timeout: Option<Duration>,
    /// Fixed port forwardings: an outside port to an inside address and port.
    pub forward: BTreeMap<u16, SocketAddr>,
}

impl NatConfig {
    /// An ordinary home router: one mapping per inside port, outside ports from 20000, filtered, no time-out.
    pub fn new(outside: IpAddr) -> Self {
        NatConfig {
            outside,
            preserve_ports: false,
            first_port: 20_000,
            symmetric: false,
            filter: true,
            timeout: None,
            forward: BTreeMap::new(),
        }
    }
}

pub(super) struct Nat {
    config: NatConfig,
    by_port: BTreeMap<u16, Mapping>,
    next_port: u16,
}

struct Mapping {
    inside: SocketAddr,
    /// The destination it was made for, if the NAT is symmetric.
    remote: Option<SocketAddr>,
    contacted: BTreeMap<SocketAddr, Instant>,
    last_out: Instant,
}

impl Nat {
    pub fn new(config: NatConfig) -> Self {
        Nat { next_port: config.first_port, config, by_port: BTreeMap::new() }
    }

    /// The source that a packet from inside has outside.
    pub fn outbound(&mut self, now: Instant, inside: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.expire(now);
        if let Some((&port, _)) = self.config.forward.iter().find(|(_, to)| **to == inside) {
            return SocketAddr::new(self.config.outside, port);
        }
        let key = self.config.symmetric.then_some(remote);
        let known = self.by_port.iter().find(|(_, m)| m.inside == inside && m.remote == key).map(|(&port, _)| port);
        let port = known.unwrap_or_else(|| self.free_port(inside.port()));
        let mapping = self.by_port.entry(port).or_insert_with(|| Mapping {
            inside,
            remote: key,
            contacted: BTreeMap::new(),
            last_out: now,
        });
        mapping.last_out = now;
        mapping.contacted.insert(remote, now);
        SocketAddr::new(self.config.outside, port)
    }

    /// Where a packet from outside goes inside, if anywhere.
    pub fn inbound(&mut self, now: Instant, source: SocketAddr, outside: SocketAddr) -> Option<SocketAddr> {
        self.expire(now);
        if let Some(&inside) = self.config.forward.get(&outside.port()) {
            return Some(inside);
        }
        let mapping = self.by_port.get(&outside.port())?;
        let wanted = !self.config.filter || mapping.contacted.contains_key(&source);
        wanted.then_some(mapping.inside)
    }

    /// Forgets all mappings; ports that were given out are not given out again soon.
    pub fn forget(&mut self) {
        self.by_port.clear();
    }

    fn expire(&mut self, now: Instant) {
        if let Some(timeout) = self.config.timeout {
            self.by_port.retain(|_, mapping| now.since(mapping.last_out) < timeout);
        }
    }

    fn free_port(&mut self, inside: u16) -> u16 {
        let taken = |port: &u16| self.by_port.contains_key(port) || self.config.forward.contains_key(port);
        if self.config.preserve_ports && !taken(&inside) {
            return inside;
        }
        let mut port = self.next_port;
        while taken(&port) && port != self.next_port.wrapping_sub(1) {
            port = port.checked_add(1).unwrap_or(self.config.first_port.max(1));
        }
        self.next_port = port.checked_add(1).unwrap_or(self.config.first_port.max(1));
        port
    }
}
