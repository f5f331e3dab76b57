//! The state of a NAT or a stateful firewall in front of one end, without I/O: addresses and ports are translated or kept,
//! mappings expire. The simulated network and the boxes at our own sockets ([`middlebox`](super::middlebox)) share it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Between;
use crate::time::Instant;

/// A box keeps no more mappings than this, and a mapping no more remotes; the one that was silent longest makes room.
const MOST: usize = 4096;

/// What kind of NAT (RFC 4787).
#[derive(Clone, Debug)]
pub struct NatConfig {
    /// Its outside address; unspecified, if every inside address is its own outside one, and ports alone are translated.
    pub outside: IpAddr,
    /// Keep the inside port while it is free; else, and otherwise, ports are given out from `first_port` upwards.
    pub preserve_ports: bool,
    /// The first outside port to give out.
    pub first_port: u16,
    /// A mapping per destination ("symmetric") instead of one per inside port (RFC 4787 4.1).
    pub symmetric: bool,
    /// Let in only who was written to (address and port, RFC 4787 5); else anyone who hits a mapping.
    pub filter: bool,
    /// A mapping without outbound traffic dies after this long, and who was not written to for so long is a stranger
    /// again; `None` means never.
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

    /// A box of a scenario. Its outside address is the one by which the other end knows the inside; only a NAT gives out
    /// other ports.
    pub fn between(between: &Between) -> Self {
        NatConfig {
            preserve_ports: !between.translates,
            timeout: between.forgets,
            ..NatConfig::new(Ipv4Addr::UNSPECIFIED.into())
        }
    }
}

/// A NAT and its mappings.
#[derive(Debug)]
pub struct Nat {
    config: NatConfig,
    /// By outside address and port.
    mappings: BTreeMap<SocketAddr, Mapping>,
    next_port: u16,
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    /// The destination it was made for, if the NAT is symmetric.
    remote: Option<SocketAddr>,
    /// Who was written to, and when last.
    contacted: BTreeMap<SocketAddr, Instant>,
}

impl Mapping {
    fn last_out(&self) -> Instant {
        self.contacted.values().copied().max().unwrap_or(Instant::ZERO)
    }

    fn contact(&mut self, now: Instant, remote: SocketAddr) {
        if !self.contacted.contains_key(&remote) {
            make_room(&mut self.contacted, |last| *last);
        }
        self.contacted.insert(remote, now);
    }
}

impl Nat {
    /// With no mapping yet.
    pub fn new(config: NatConfig) -> Self {
        Nat { next_port: config.first_port, config, mappings: BTreeMap::new() }
    }

    /// The source that a packet from inside has outside. It makes a mapping, or keeps one alive.
    pub fn outbound(&mut self, now: Instant, inside: SocketAddr, remote: SocketAddr) -> SocketAddr {
        if let Some(outside) = self.refresh(now, inside, remote) {
            return outside;
        }
        let port = self.free_port(inside);
        self.map(now, inside, remote, port)
    }

    /// The source that a packet from inside has outside, if there is a mapping for it, which it keeps alive.
    pub fn refresh(&mut self, now: Instant, inside: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
        self.expire(now);
        if let Some((&port, _)) = self.config.forward.iter().find(|(_, to)| **to == inside) {
            return Some(self.outside_at(inside, port));
        }
        let key = self.config.symmetric.then_some(remote);
        let found = self.mappings.iter_mut().find(|(_, m)| m.inside == inside && m.remote == key);
        let (&outside, mapping) = found?;
        mapping.contact(now, remote);
        Some(outside)
    }

    /// Makes a mapping to an outside port that somebody else has chosen, for a packet from inside; returns the source that it
    /// has outside. Whatever had the port before is gone.
    pub fn map(&mut self, now: Instant, inside: SocketAddr, remote: SocketAddr, port: u16) -> SocketAddr {
        let outside = self.outside_at(inside, port);
        let key = self.config.symmetric.then_some(remote);
        make_room(&mut self.mappings, Mapping::last_out);
        let contacted = BTreeMap::from([(remote, now)]);
        self.mappings.insert(outside, Mapping { inside, remote: key, contacted });
        outside
    }

    /// Where a packet from outside goes inside, if anywhere.
    pub fn inbound(&mut self, now: Instant, source: SocketAddr, outside: SocketAddr) -> Option<SocketAddr> {
        self.expire(now);
        if let Some(&inside) = self.config.forward.get(&outside.port()) {
            return Some(inside);
        }
        let mapping = self.mappings.get(&outside)?;
        let wanted = !self.config.filter || mapping.contacted.contains_key(&source);
        wanted.then_some(mapping.inside)
    }

    /// The outside of an inside address that has written to `remote`. Changes nothing.
    pub fn outside_of(&self, inside: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
        let found = self.mappings.iter().find(|(_, m)| m.inside == inside && m.contacted.contains_key(&remote));
        found.map(|(outside, _)| *outside)
    }

    /// Forgets all mappings; ports that were given out are not given out again soon.
    pub fn forget(&mut self) {
        self.mappings.clear();
    }

    fn expire(&mut self, now: Instant) {
        if let Some(timeout) = self.config.timeout {
            self.mappings.retain(|_, mapping| {
                mapping.contacted.retain(|_, last| now.since(*last) < timeout);
                !mapping.contacted.is_empty()
            });
        }
    }

    /// The address that an inside one has outside, with this port.
    fn outside_at(&self, inside: SocketAddr, port: u16) -> SocketAddr {
        let mut outside = SocketAddr::new(self.config.outside, port);
        if self.config.outside.is_unspecified() {
            outside = inside;
            outside.set_port(port);
        }
        outside
    }

    fn free_port(&mut self, inside: SocketAddr) -> u16 {
        let taken = |port: u16| {
            self.mappings.contains_key(&self.outside_at(inside, port)) || self.config.forward.contains_key(&port)
        };
        if self.config.preserve_ports && !taken(inside.port()) {
            return inside.port();
        }
        let mut port = self.next_port;
        while taken(port) && port != self.next_port.wrapping_sub(1) {
            port = port.checked_add(1).unwrap_or(self.config.first_port.max(1));
        }
        self.next_port = port.checked_add(1).unwrap_or(self.config.first_port.max(1));
        port
    }
}

/// Takes out what was silent longest, if there is no room for one more.
fn make_room<K: Ord + Copy, V>(map: &mut BTreeMap<K, V>, last: impl Fn(&V) -> Instant) {
    if map.len() >= MOST
        && let Some(oldest) = map.iter().min_by_key(|(_, value)| last(value)).map(|(key, _)| *key)
    {
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn standing(translates: bool, forgets: u64) -> Nat {
        let forgets = Some(Duration::from_secs(forgets));
        Nat::new(NatConfig::between(&Between { translates, forgets, drops_esp: false }))
    }

    const PEER: &str = "192.0.2.2:4500";

    #[test]
    fn a_firewall_keeps_ports_and_lets_in_who_was_written_to_until_it_forgets() {
        let mut wall = standing(false, 20);
        let (ours, peer, other) = (address("192.0.2.1:4500"), address(PEER), address("192.0.2.2:500"));
        assert_eq!(wall.inbound(at(0), peer, ours), None, "nobody has asked for it");
        assert_eq!(wall.outbound(at(0), ours, peer), ours);
        assert_eq!(wall.inbound(at(19), peer, ours), Some(ours));
        assert_eq!(wall.inbound(at(19), other, ours), None, "another port of the same host");
        assert_eq!(wall.inbound(at(20), peer, ours), None, "what comes in keeps nothing alive");
        assert_eq!(wall.outbound(at(30), ours, peer), ours, "the same port again");
        assert_eq!(wall.inbound(at(31), peer, ours), Some(ours));
        // IP protocol 50 has state of its own, by addresses alone.
        let (ours_50, peer_50) = (address("192.0.2.1:0"), address("192.0.2.2:0"));
        assert_eq!(wall.inbound(at(31), peer_50, ours_50), None);
        assert_eq!(wall.outbound(at(31), ours_50, peer_50), ours_50);
        assert_eq!(wall.inbound(at(32), peer_50, ours_50), Some(ours_50));
    }

    #[test]
    fn who_was_not_written_to_for_long_is_a_stranger_again() {
        let mut wall = standing(false, 20);
        let (ours, peer, other) = (address("192.0.2.1:4500"), address(PEER), address("192.0.2.3:4500"));
        wall.outbound(at(0), ours, other);
        wall.outbound(at(15), ours, peer);
        assert_eq!(wall.inbound(at(25), peer, ours), Some(ours));
        assert_eq!(wall.inbound(at(25), other, ours), None);
    }

    #[test]
    fn a_nat_gives_another_port_after_it_has_forgotten_and_drops_what_comes_to_the_old_one() {
        let mut nat = standing(true, 10);
        let (inside, remote) = (address(PEER), address("192.0.2.1:4500"));
        let first = nat.outbound(at(0), inside, remote);
        assert_eq!(first.ip(), inside.ip(), "a scenario's box keeps the address");
        assert_ne!(first.port(), inside.port());
        assert_eq!(nat.outbound(at(9), inside, remote), first, "used, it lives");
        assert_eq!(nat.inbound(at(18), remote, first), Some(inside));
        assert_eq!(nat.outside_of(inside, remote), Some(first));
        assert_eq!(nat.inbound(at(19), remote, first), None, "ten seconds without a word from inside");
        assert_eq!(nat.outside_of(inside, remote), None);
        let second = nat.outbound(at(20), inside, remote);
        assert_ne!(second, first);
        assert_eq!((nat.inbound(at(21), remote, first), nat.inbound(at(21), remote, second)), (None, Some(inside)));
        assert_eq!(nat.inbound(at(21), remote, inside), None, "the inside port is not there outside");
    }

    #[test]
    fn ports_may_be_chosen_by_somebody_else() {
        let mut nat = standing(true, 10);
        let (inside, remote) = (address("192.0.2.1:500"), address("192.0.2.2:500"));
        assert_eq!(nat.refresh(at(0), inside, remote), None);
        let outside = nat.map(at(0), inside, remote, 41_000);
        assert_eq!(outside, address("192.0.2.1:41000"));
        assert_eq!(nat.refresh(at(5), inside, remote), Some(outside));
        assert_eq!(nat.inbound(at(14), remote, outside), Some(inside));
        assert_eq!(nat.refresh(at(15), inside, remote), None, "it needs another one now");
    }

    #[test]
    fn a_flood_does_not_fill_memory() {
        let mut nat = standing(true, 10);
        let remote = address("192.0.2.1:4500");
        for n in 0..MOST as u32 + 10 {
            let inside = SocketAddr::new(Ipv4Addr::from(0x0a00_0000 + n).into(), 4500);
            nat.outbound(Instant(u64::from(n)), inside, remote);
        }
        assert_eq!(nat.mappings.len(), MOST);
        assert_eq!(nat.outside_of(address("10.0.0.0:4500"), remote), None, "the oldest made room");
    }
}
