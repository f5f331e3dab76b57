//! Configuration payloads in IKE_AUTH (RFC 7296 2.19, 3.15): an inner address, and what belongs to it.
//!
//! ```text
//!  initiator                                       responder
//!  ... CP(CFG_REQUEST) SAi2, TSi, TSr       -->
//!                                           <--    ... CP(CFG_REPLY) SAr2, TSi, TSr
//!                                           <--    ... N(INTERNAL_ADDRESS_FAILURE)     nothing left: no Child SA
//!                                           <--    ... N(FAILED_CP_REQUIRED)           nobody asked, and one must: no Child SA
//! ```
//!
//! Children named in [`CpSpec::dynamic`] follow the inner address: an IKE SA with one gets a copy of its connection in which
//! their selectors are that address. All others share theirs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::endpoint::Core;
use super::event::{Event, InnerConfig};
use super::failure::{Failure, LocalFault, PeerIncompatible};
use super::sa::IkeSa;
use super::spec::{ConnectionSpec, CpSpec, PoolSpec, SaId, Side};
use crate::wire::registry::{CfgAttr, CfgType, NotifyType};
use crate::wire::{CfgAttribute, CpPayload, NotifyPayload, Payload, TrafficSelector};

/// Inner addresses that are out, and to whom. An address is given out once, whichever pool it comes from.
#[derive(Default)]
pub(super) struct Leases {
    by_address: BTreeMap<IpAddr, SaId>,
}

impl Leases {
    /// The IKE SA is over: its addresses are free again.
    pub(super) fn release(&mut self, id: SaId) {
        if !self.by_address.is_empty() {
            self.by_address.retain(|_, holder| *holder != id);
        }
    }

    /// A rekey replaced the IKE SA: its addresses stay out.
    pub(super) fn inherit(&mut self, old: SaId, new: SaId) {
        self.by_address.values_mut().filter(|holder| **holder == old).for_each(|holder| *holder = new);
    }

    /// The wanted address if it is free and within bounds, else the lowest free one.
    fn take(&mut self, first: IpAddr, last: IpAddr, wanted: Option<IpAddr>, id: SaId) -> Option<IpAddr> {
        let inside = |a: &IpAddr| a.is_ipv4() == first.is_ipv4() && (first..=last).contains(a);
        let free = wanted.filter(inside).filter(|a| !self.by_address.contains_key(a));
        let address = free.or_else(|| {
            let mut next = Some(first);
            for taken in self.by_address.range(first..=last).map(|(a, _)| *a) {
                if next != Some(taken) {
                    break;
                }
                next = successor(taken);
            }
            next.filter(inside)
        })?;
        self.by_address.insert(address, id);
        Some(address)
    }
}

/// The initiator's request; nothing if the connection asks for nothing.
pub(super) fn request(spec: &CpSpec) -> Option<Payload> {
    let asked = spec.request.as_ref()?;
    let ask = |kind, value: Vec<u8>| CfgAttribute { kind, value };
    let mut attributes = Vec::new();
    if let Some(wanted) = asked.v4 {
        let value = if wanted.is_unspecified() { Vec::new() } else { wanted.octets().to_vec() };
        attributes.push(ask(CfgAttr::INTERNAL_IP4_ADDRESS, value));
        attributes.push(ask(CfgAttr::INTERNAL_IP4_DNS, Vec::new()));
        attributes.push(ask(CfgAttr::INTERNAL_IP4_SUBNET, Vec::new()));
    }
    if let Some(wanted) = asked.v6 {
        let mut value = Vec::new();
        if !wanted.is_unspecified() {
            value.extend(wanted.octets());
            value.push(128);
        }
        attributes.push(ask(CfgAttr::INTERNAL_IP6_ADDRESS, value));
        attributes.push(ask(CfgAttr::INTERNAL_IP6_DNS, Vec::new()));
        attributes.push(ask(CfgAttr::INTERNAL_IP6_SUBNET, Vec::new()));
    }
    attributes.push(ask(CfgAttr::APPLICATION_VERSION, Vec::new()));
    Some(Payload::Cp(CpPayload { kind: CfgType::CFG_REQUEST, attributes }))
}

impl Core {
    /// The initiator reads the reply. An address feeds the dynamic children; a missing one is the Child's failure.
    pub(super) fn take_config(
        &mut self,
        sa: &mut IkeSa,
        cp: Option<&CpPayload>,
        answered: Option<&[TrafficSelector]>,
    ) -> Result<(), Failure> {
        let asked = sa.spec.cp.request.is_some();
        let reply = cp.filter(|cp| cp.kind == CfgType::CFG_REPLY);
        if let Some(reply) = reply {
            let config = read(reply, asked);
            let selectors = hosts(&config.addresses);
            self.events.push_back((sa.tunnel, sa.id, Event::Config(Box::new(config))));
            let fits = answered.is_some_and(|ts| super::selectors::within(ts, &selectors));
            // A responder that did not narrow to the address it gave is taken at its word.
            if asked && fits {
                sa.spec = with_selectors(&sa.spec, &selectors, Side::Us);
            }
            if !selectors.is_empty() {
                return Ok(());
            }
        }
        if asked { Err(Failure::Incompatible(PeerIncompatible::NoInnerAddress)) } else { Ok(()) }
    }

    /// The responder answers a request: the payload to send, or why there is no Child SA.
    #[allow(clippy::result_large_err)] // once for each refused Child
    pub(super) fn grant(
        &mut self,
        sa: &mut IkeSa,
        cp: Option<&CpPayload>,
    ) -> Result<Option<Payload>, (NotifyPayload, Failure)> {
        let asked = cp.filter(|cp| cp.kind == CfgType::CFG_REQUEST);
        let Some(pool) = sa.spec.cp.pool.clone() else {
            // Without a pool a request is not understood, which is allowed (RFC 7296 2.19, 4).
            return Ok(None);
        };
        let Some(asked) = asked else {
            if pool.required {
                let why = Failure::Incompatible(PeerIncompatible::NoConfigRequest);
                return Err((NotifyPayload::new(NotifyType::FAILED_CP_REQUIRED), why));
            }
            return Ok(None);
        };
        let find = |kind| asked.attributes.iter().find(|a| a.kind == kind);
        let v4 = find(CfgAttr::INTERNAL_IP4_ADDRESS).zip(pool.v4);
        let v6 = find(CfgAttr::INTERNAL_IP6_ADDRESS).zip(pool.v6);
        let mut addresses = Vec::new();
        if let Some((wish, (first, last))) = v4 {
            let wish = <[u8; 4]>::try_from(&wish.value[..]).ok().map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
            addresses.extend(self.leases.take(first.into(), last.into(), wish, sa.id));
        }
        if let Some((wish, (first, last))) = v6 {
            let wish = wish.value.first_chunk::<16>().map(|octets| IpAddr::from(Ipv6Addr::from(*octets)));
            addresses.extend(self.leases.take(first.into(), last.into(), wish, sa.id));
        }
        if addresses.is_empty() {
            let why = match (v4, v6) {
                (None, None) => Failure::Incompatible(PeerIncompatible::NoAddressFamily),
                _ => Failure::Local(LocalFault::PoolExhausted),
            };
            return Err((NotifyPayload::new(NotifyType::INTERNAL_ADDRESS_FAILURE), why));
        }
        let wants_version = find(CfgAttr::APPLICATION_VERSION).is_some();
        let reply = reply(&pool, &addresses, wants_version);
        let config = InnerConfig { by: Side::Us, ..read(&reply, true) };
        self.events.push_back((sa.tunnel, sa.id, Event::Config(Box::new(config))));
        sa.spec = with_selectors(&sa.spec, &hosts(&addresses), Side::Peer);
        Ok(Some(Payload::Cp(reply)))
    }
}

/// The connection as it must be asked for anew: where an earlier IKE SA's address was put in, everything again.
pub(super) fn unresolved(spec: &Arc<ConnectionSpec>) -> Arc<ConnectionSpec> {
    let Some(asked) = &spec.cp.request else { return Arc::clone(spec) };
    let v4 = asked.v4.map(|_| TrafficSelector::any_v4());
    let v6 = asked.v6.map(|_| TrafficSelector::any_v6());
    let all: Vec<TrafficSelector> = v4.into_iter().chain(v6).collect();
    let same = |n: &u16| spec.children.get(usize::from(*n)).is_none_or(|child| child.local_ts == all);
    if spec.cp.dynamic.iter().all(same) { Arc::clone(spec) } else { with_selectors(spec, &all, Side::Us) }
}

/// A copy in which the dynamic children have these selectors on one side.
fn with_selectors(spec: &Arc<ConnectionSpec>, selectors: &[TrafficSelector], side: Side) -> Arc<ConnectionSpec> {
    if spec.cp.dynamic.is_empty() || selectors.is_empty() {
        return Arc::clone(spec);
    }
    let mut copy = ConnectionSpec::clone(spec);
    for n in &spec.cp.dynamic {
        if let Some(child) = copy.children.get_mut(usize::from(*n)) {
            let list = if side == Side::Us { &mut child.local_ts } else { &mut child.remote_ts };
            *list = selectors.to_vec();
        }
    }
    Arc::new(copy)
}

fn hosts(addresses: &[IpAddr]) -> Vec<TrafficSelector> {
    addresses.iter().map(|a| TrafficSelector::from_net(*a, if a.is_ipv4() { 32 } else { 128 })).collect()
}

/// What the pool gives beside the addresses: name servers and split networks of each family.
fn reply(pool: &PoolSpec, addresses: &[IpAddr], wants_version: bool) -> CpPayload {
    let mut attributes = Vec::new();
    let mut add = |kind, value: Vec<u8>| attributes.push(CfgAttribute { kind, value });
    for address in addresses {
        match address {
            IpAddr::V4(a) => add(CfgAttr::INTERNAL_IP4_ADDRESS, a.octets().to_vec()),
            IpAddr::V6(a) => add(CfgAttr::INTERNAL_IP6_ADDRESS, [&a.octets()[..], &[128]].concat()),
        }
    }
    let family = |a: &IpAddr| addresses.iter().any(|given| given.is_ipv4() == a.is_ipv4());
    for server in pool.dns.iter().filter(|a| family(a)) {
        match server {
            IpAddr::V4(a) => add(CfgAttr::INTERNAL_IP4_DNS, a.octets().to_vec()),
            IpAddr::V6(a) => add(CfgAttr::INTERNAL_IP6_DNS, a.octets().to_vec()),
        }
    }
    for (net, prefix) in pool.split.iter().filter(|(a, _)| family(a)) {
        match net {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from((*prefix).min(32))).unwrap_or(0);
                add(CfgAttr::INTERNAL_IP4_SUBNET, [a.octets(), mask.to_be_bytes()].concat());
            }
            IpAddr::V6(a) => add(CfgAttr::INTERNAL_IP6_SUBNET, [&a.octets()[..], &[*prefix]].concat()),
        }
    }
    if let Some(version) = pool.version.as_ref().filter(|_| wants_version) {
        add(CfgAttr::APPLICATION_VERSION, version.as_bytes().to_vec());
    }
    CpPayload { kind: CfgType::CFG_REPLY, attributes }
}

/// Reads a reply leniently: what has an odd length or an unknown type is named and otherwise ignored (RFC 7296 3.15.1).
fn read(cp: &CpPayload, asked: bool) -> InnerConfig {
    let mut config = InnerConfig { by: Side::Peer, asked, ..InnerConfig::default() };
    for attribute in &cp.attributes {
        let value = &attribute.value[..];
        let v4 = || <[u8; 4]>::try_from(value).ok().map(|o| IpAddr::from(Ipv4Addr::from(o)));
        let v6 = || value.first_chunk::<16>().map(|o| IpAddr::from(Ipv6Addr::from(*o)));
        let understood = match attribute.kind {
            CfgAttr::INTERNAL_IP4_ADDRESS => v4().map(|a| config.addresses.push(a)),
            CfgAttr::INTERNAL_IP6_ADDRESS => v6().map(|a| config.addresses.push(a)),
            CfgAttr::INTERNAL_IP4_DNS => v4().map(|a| config.dns.push(a)),
            CfgAttr::INTERNAL_IP6_DNS => v6().map(|a| config.dns.push(a)),
            CfgAttr::INTERNAL_IP4_SUBNET => <&[u8; 8]>::try_from(value).ok().map(|o| {
                let net = Ipv4Addr::new(o[0], o[1], o[2], o[3]);
                let mask = u32::from_be_bytes([o[4], o[5], o[6], o[7]]);
                config.subnets.push((net.into(), mask.leading_ones() as u8));
            }),
            CfgAttr::INTERNAL_IP6_SUBNET => <&[u8; 17]>::try_from(value).ok().and_then(|o| {
                let (net, prefix) = o.split_first_chunk::<16>()?;
                config.subnets.push((Ipv6Addr::from(*net).into(), *prefix.first()?));
                Some(())
            }),
            CfgAttr::APPLICATION_VERSION => {
                let text: String = String::from_utf8_lossy(value).chars().take(120).collect();
                config.version = Some(text.chars().map(|c| if c.is_control() { '.' } else { c }).collect());
                Some(())
            }
            // With the address's own netmask nothing is done here, but it is no stranger.
            CfgAttr::INTERNAL_IP4_NETMASK => Some(()),
            _ => None,
        };
        if understood.is_none() {
            config.others.push((attribute.kind, value.len()));
        }
    }
    config
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_add(1).map(|n| Ipv4Addr::from(n).into()),
        IpAddr::V6(a) => u128::from(a).checked_add(1).map(|n| Ipv6Addr::from(n).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sa(slot: u32) -> SaId {
        SaId { slot, generation: 0 }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_pool_gives_each_address_once_and_takes_it_back() {
        let mut leases = Leases::default();
        let mut take = |wanted: Option<&str>, id| leases.take(ip("10.0.0.1"), ip("10.0.0.3"), wanted.map(ip), sa(id));
        assert_eq!(take(None, 1), Some(ip("10.0.0.1")));
        assert_eq!(take(Some("10.0.0.3"), 2), Some(ip("10.0.0.3")));
        assert_eq!(take(Some("10.0.0.3"), 3), Some(ip("10.0.0.2")));
        assert_eq!(take(Some("10.9.9.9"), 4), None);
        leases.release(sa(1));
        assert_eq!(leases.take(ip("10.0.0.1"), ip("10.0.0.3"), Some(ip("::1")), sa(5)), Some(ip("10.0.0.1")));
        let end = ip("255.255.255.255");
        assert_eq!(leases.take(end, end, None, sa(6)), Some(end));
        assert_eq!(leases.take(end, end, None, sa(7)), None);
    }

    #[test]
    fn a_reply_is_read_as_written_and_strangers_are_named() {
        let pool = PoolSpec {
            v4: None,
            v6: None,
            dns: vec![ip("10.0.0.53"), ip("2001:db8::53")],
            split: vec![(ip("10.1.0.0"), 16), (ip("0.0.0.0"), 0), (ip("2001:db8:1::"), 48)],
            required: false,
            version: Some("ikelab".into()),
        };
        let mut payload = reply(&pool, &[ip("10.77.0.1"), ip("2001:db8::1")], true);
        payload.attributes.push(CfgAttribute { kind: CfgAttr(28_672), value: b"banner".to_vec() });
        payload.attributes.push(CfgAttribute { kind: CfgAttr::INTERNAL_IP4_DNS, value: vec![1] });
        let config = read(&payload, true);
        assert_eq!(config.addresses, [ip("10.77.0.1"), ip("2001:db8::1")]);
        assert_eq!((config.dns, config.subnets), (pool.dns, pool.split));
        assert_eq!(config.version.as_deref(), Some("ikelab"));
        assert_eq!(config.others, [(CfgAttr(28_672), 6), (CfgAttr::INTERNAL_IP4_DNS, 1)]);
    }
}
