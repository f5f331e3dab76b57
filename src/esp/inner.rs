//! Inner packets: what a tunnelled packet is, whether it lies within a Child SA's selectors, and the few kinds that are
//! made here (ICMP echo, UDP).

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, IpSlice, PacketBuilder, PacketBuilderStep};

use crate::wire::{TrafficSelector, TsRange};

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Next header of a tunnelled IPv4 packet.
pub const IPV4: u8 = 4;
/// Next header of a tunnelled IPv6 packet.
pub const IPV6: u8 = 41;
/// Next header of a dummy packet (RFC 4303 2.6).
pub const DUMMY: u8 = 59;

/// Hop limit of packets made here.
const HOP_LIMIT: u8 = 64;

/// An IP packet as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inner {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol behind extension headers.
    pub protocol: u8,
    /// Source and destination port; type and code of ICMP in both, as RFC 7296 3.13.1 puts them into selectors. `None`
    /// where they cannot be seen: fragments, and protocols without.
    pub ports: Option<(u16, u16)>,
    /// Octets of the packet by its own header, without the padding that may follow (RFC 4303 2.7).
    pub len: usize,
    /// Where the protocol's header and data stand.
    pub payload: Range<usize>,
    /// Hop limit, or time to live.
    pub hop_limit: u8,
    /// Part of a fragmented packet.
    pub fragment: bool,
}

impl Inner {
    /// Reads the headers; `None` if they are malformed or longer than the packet.
    pub fn parse(packet: &[u8]) -> Option<Inner> {
        let ip = IpSlice::from_slice(packet).ok()?;
        let (hop_limit, offset) = match (ip.ipv4(), ip.ipv6()) {
            (Some(v4), _) => (v4.header().ttl(), v4.header().fragments_offset().value()),
            (_, Some(v6)) => {
                let fragment = v6.extensions().clone().into_iter().find_map(|header| match header {
                    etherparse::Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment.fragment_offset().value()),
                    _ => None,
                });
                (v6.header().hop_limit(), fragment.unwrap_or(0))
            }
            _ => return None,
        };
        let payload = ip.payload();
        // The payload is a part of the packet and ends where the packet by its own header does.
        let start = (payload.payload.as_ptr() as usize).checked_sub(packet.as_ptr() as usize)?;
        let len = start + payload.payload.len();
        let protocol = payload.ip_number.0;
        Some(Inner {
            source: ip.source_addr(),
            destination: ip.destination_addr(),
            protocol,
            ports: if offset == 0 { ports(protocol, payload.payload) } else { None },
            len,
            payload: start..len,
            hop_limit,
            fragment: payload.fragmented,
        })
    }

    /// An ICMP or ICMPv6 echo, if it is one whose checksum is right.
    pub fn echo<'p>(&self, packet: &'p [u8]) -> Option<Echo<'p>> {
        let icmp = packet.get(self.payload.clone()).filter(|_| !self.fragment)?;
        let (header, data) = icmp.split_first_chunk::<8>()?;
        let &[kind, code, c0, c1, i0, i1, s0, s1] = header;
        let (id, seq) = (u16::from_be_bytes([i0, i1]), u16::from_be_bytes([s0, s1]));
        let echo = etherparse::IcmpEchoHeader { id, seq };
        let (request, sum) = match (self.protocol, kind, code, self.source, self.destination) {
            (ICMP, 8, 0, ..) => (true, Icmpv4Type::EchoRequest(echo).calc_checksum(data)),
            (ICMP, 0, 0, ..) => (false, Icmpv4Type::EchoReply(echo).calc_checksum(data)),
            (ICMPV6, 128 | 129, 0, IpAddr::V6(from), IpAddr::V6(to)) => {
                let kind = if kind == 128 { Icmpv6Type::EchoRequest(echo) } else { Icmpv6Type::EchoReply(echo) };
                let sum = kind.calc_checksum(from.octets(), to.octets(), data).ok()?;
                (matches!(kind, Icmpv6Type::EchoRequest(_)), sum)
            }
            _ => return None,
        };
        (sum == u16::from_be_bytes([c0, c1])).then_some(Echo { request, id, seq, data })
    }

    /// The data of a UDP datagram that is whole, with its ports.
    pub fn udp<'p>(&self, packet: &'p [u8]) -> Option<(u16, u16, &'p [u8])> {
        let (source, destination) = self.ports.filter(|_| self.protocol == UDP && !self.fragment)?;
        let udp = packet.get(self.payload.clone())?;
        let len = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
        Some((source, destination, udp.get(8..len)?))
    }
}

/// `10.1.1.1 -> 10.2.2.2 icmp`, `10.1.1.1 -> 10.2.2.2 udp 40000 -> 7`.
impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} ", self.source, self.destination)?;
        match (self.protocol, self.ports) {
            (ICMP | ICMPV6, Some((kind, _))) => write!(f, "icmp type {} code {}", kind >> 8, kind & 0xff),
            (6, Some((from, to))) => write!(f, "tcp {from} -> {to}"),
            (UDP, Some((from, to))) => write!(f, "udp {from} -> {to}"),
            (ICMP | ICMPV6, None) => f.write_str("icmp fragment"),
            (protocol, _) => write!(f, "protocol {protocol}"),
        }
    }
}

/// An ICMP or ICMPv6 echo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo<'p> {
    /// A request, or a reply.
    pub request: bool,
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
    /// The data behind it.
    pub data: &'p [u8],
}

/// Whether a packet lies within selectors, of which `ours` speak of our side and `theirs` of the peer's (RFC 7296 2.9,
/// RFC 4301 4.4.1.1).
pub fn within(inner: &Inner, outbound: bool, ours: &[TrafficSelector], theirs: &[TrafficSelector]) -> bool {
    let source = (inner.source, inner.ports.map(|(source, _)| source));
    let destination = (inner.destination, inner.ports.map(|(_, destination)| destination));
    let (our, their) = if outbound { (source, destination) } else { (destination, source) };
    let any =
        |list: &[TrafficSelector], (address, port)| list.iter().any(|ts| covers(ts, address, inner.protocol, port));
    any(ours, our) && any(theirs, their)
}

/// Whether one selector covers an address with a protocol and a port; `None` for a port that cannot be seen.
fn covers(selector: &TrafficSelector, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
    covers_address(selector, address)
        && (selector.protocol == 0 || selector.protocol == protocol)
        && match ((selector.start_port, selector.end_port), port) {
            ((0, u16::MAX), _) | ((u16::MAX, 0), None) => true,
            ((first, last), Some(port)) => (first..=last).contains(&port),
            _ => false,
        }
}

/// Whether a selector covers an address, whatever the protocol.
pub fn covers_address(selector: &TrafficSelector, address: IpAddr) -> bool {
    match (&selector.range, address) {
        (TsRange::V4 { start, end }, IpAddr::V4(address)) => (*start..=*end).contains(&address),
        (TsRange::V6 { start, end }, IpAddr::V6(address)) => (*start..=*end).contains(&address),
        _ => false,
    }
}

/// A host within selectors that packets may come from: the only one, or the first behind the network's own address.
pub fn host_in(selectors: &[TrafficSelector], v6: bool) -> Option<IpAddr> {
    selectors.iter().find_map(|ts| match ts.range {
        TsRange::V4 { start, end } if !v6 => {
            let (first, last) = (u32::from(start), u32::from(end));
            // 0.0.0.0/0 names everything and no one.
            (first <= last && last - first < u32::MAX)
                .then(|| IpAddr::V4((if first == last { first } else { first + 1 }).into()))
        }
        TsRange::V6 { start, end } if v6 => {
            let (first, last) = (u128::from(start), u128::from(end));
            (first <= last && last - first < u128::MAX)
                .then(|| IpAddr::V6((if first == last { first } else { first + 1 }).into()))
        }
        _ => None,
    })
}

/// Replaces `out` by an echo packet. False if the addresses are not of one family or the data is too long.
pub fn build_echo(out: &mut Vec<u8>, source: IpAddr, destination: IpAddr, echo: &Echo<'_>) -> bool {
    out.clear();
    let Some(builder) = ip(source, destination) else { return false };
    let (id, seq) = (echo.id, echo.seq);

    match (source.is_ipv4(), echo.request) {
        (true, true) => builder.icmpv4_echo_request(id, seq).write_to_vec(out, echo.data).is_ok(),
        (true, false) => builder.icmpv4_echo_reply(id, seq).write_to_vec(out, echo.data).is_ok(),
        (false, true) => builder.icmpv6_echo_request(id, seq).write_to_vec(out, echo.data).is_ok(),
        (false, false) => builder.icmpv6_echo_reply(id, seq).write_to_vec(out, echo.data).is_ok(),
    }
}

/// Replaces `out` by a UDP packet. False if the addresses are not of one family or the data is too long.
pub fn build_udp(out: &mut Vec<u8>, from: (IpAddr, u16), to: (IpAddr, u16), data: &[u8]) -> bool {
    out.clear();
    let Some(builder) = ip(from.0, to.0) else { return false };
    builder.udp(from.1, to.1).write_to_vec(out, data).is_ok()
}

/// Replaces `out` by an IP packet with any payload: what transport mode carries, with the header that the outer packet
/// had. False if the addresses are not of one family or the payload is too long.
pub fn build_ip(out: &mut Vec<u8>, source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> bool {
    out.clear();
    let Some(builder) = ip(source, destination) else { return false };
    builder.write_to_vec(out, IpNumber(protocol), payload).is_ok()
}

fn ip(source: IpAddr, destination: IpAddr) -> Option<PacketBuilderStep<etherparse::IpHeaders>> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = etherparse::Ipv4Header {
                time_to_live: HOP_LIMIT,
                dont_fragment: false,
                source: source.octets(),
                destination: destination.octets(),
                ..Default::default()
            };
            Some(PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, Default::default())))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = etherparse::Ipv6Header {
                hop_limit: HOP_LIMIT,
                source: source.octets(),
                destination: destination.octets(),
                ..Default::default()
            };
            Some(PacketBuilder::ip(etherparse::IpHeaders::Ipv6(header, Default::default())))
        }
        _ => None,
    }
}

fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    match protocol {
        // TCP, UDP, DCCP, SCTP, UDP-Lite.
        6 | UDP | 33 | 132 | 136 => Some((word(0)?, word(2)?)),
        ICMP | ICMPV6 => word(0).map(|both| (both, both)),
        // Mobility header: its type in the high half.
        135 => payload.get(2).map(|kind| (u16::from(*kind) << 8, u16::from(*kind) << 8)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn net(text: &str) -> TrafficSelector {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        TrafficSelector::from_net(self::address(address), prefix.parse().expect("a number"))
    }

    #[test]
    fn echoes_are_built_and_read_again() {
        for (from, to) in [("10.1.1.1", "10.2.2.2"), ("fd01::1", "fd02::2")] {
            for request in [true, false] {
                let (from, to) = (address(from), address(to));
                let echo = Echo { request, id: 0x1234, seq: 7, data: b"odd octets!" };
                let mut packet = Vec::new();
                assert!(build_echo(&mut packet, from, to, &echo));
                let inner = Inner::parse(&packet).expect("well-formed");
                assert_eq!((inner.source, inner.destination, inner.hop_limit), (from, to, 64));
                assert_eq!(inner.len, packet.len());
                assert_eq!(inner.echo(&packet), Some(echo));
                // Padding behind the packet is not part of it.
                packet.extend_from_slice(&[0; 100]);
                assert_eq!(Inner::parse(&packet).expect("well-formed").echo(&packet), Some(echo));
                // A changed octet spoils the checksum.
                let last = inner.len - 1;
                packet[last] ^= 1;
                assert_eq!(Inner::parse(&packet).expect("well-formed").echo(&packet), None);
            }
        }
    }

    #[test]
    fn udp_is_built_and_read_again() {
        let mut packet = Vec::new();
        assert!(build_udp(&mut packet, (address("fd01::1"), 40_000), (address("fd02::2"), 7), b"data"));
        let inner = Inner::parse(&packet).expect("well-formed");
        assert_eq!(inner.udp(&packet), Some((40_000, 7, &b"data"[..])));
        assert_eq!(inner.to_string(), "fd01::1 -> fd02::2 udp 40000 -> 7");
        assert!(!build_udp(&mut packet, (address("fd01::1"), 1), (address("10.0.0.1"), 7), b""), "two families");
    }

    #[test]
    fn garbage_is_no_packet() {
        let mut good = Vec::new();
        assert!(build_udp(&mut good, (address("10.0.0.1"), 1), (address("10.0.0.2"), 2), b"x"));
        for packet in [&[][..], &[0x45], &[0x45; 19], &[0x60; 39], &[0x00; 64], &good[..28]] {
            assert_eq!(Inner::parse(packet), None, "{packet:02x?}");
        }
        // Any octets at all must be read or refused.
        for len in 0..80 {
            for first in [0x44, 0x45, 0x46, 0x4f, 0x60, 0x6f, 0xff] {
                let mut bytes = vec![0x3a; len];
                if let Some(octet) = bytes.first_mut() {
                    *octet = first;
                }
                if let Some(inner) = Inner::parse(&bytes) {
                    assert!(inner.len <= len && inner.payload.end <= len);
                    let _ = (inner.echo(&bytes), inner.udp(&bytes));
                }
            }
        }
    }

    #[test]
    fn selectors_are_of_addresses_protocol_and_ports() {
        let (ours, theirs) = (net("10.1.0.0/24"), net("10.2.0.0/24"));
        let mut packet = Vec::new();
        assert!(build_udp(&mut packet, (address("10.1.0.5"), 4000), (address("10.2.0.9"), 53), b""));
        let inner = Inner::parse(&packet).expect("well-formed");
        let check = |ours: &TrafficSelector, theirs: &TrafficSelector, outbound| {
            within(&inner, outbound, std::slice::from_ref(ours), std::slice::from_ref(theirs))
        };
        assert!(check(&ours, &theirs, true));
        assert!(!check(&ours, &theirs, false), "the other way its addresses are on the wrong sides");
        assert!(check(&theirs, &ours, false));
        let dns = TrafficSelector { protocol: UDP, start_port: 53, end_port: 53, ..theirs.clone() };
        assert!(check(&ours, &dns, true));
        assert!(!check(&ours, &TrafficSelector { start_port: 54, end_port: 60, ..dns.clone() }, true));
        assert!(!check(&ours, &TrafficSelector { protocol: 6, ..dns.clone() }, true));
        assert!(!check(&ours, &TrafficSelector { start_port: u16::MAX, end_port: 0, ..dns.clone() }, true), "OPAQUE");
        // A later fragment shows no ports: it needs all of them, or OPAQUE.
        let fragment = Inner { ports: None, fragment: true, ..inner.clone() };
        let check = |theirs: TrafficSelector| within(&fragment, true, std::slice::from_ref(&ours), &[theirs]);
        assert!(check(theirs.clone()));
        assert!(!check(dns.clone()));
        assert!(check(TrafficSelector { start_port: u16::MAX, end_port: 0, ..dns }));
    }

    #[test]
    fn icmp_selectors_are_of_type_and_code() {
        let mut packet = Vec::new();
        let echo = Echo { request: true, id: 1, seq: 1, data: &[] };
        assert!(build_echo(&mut packet, address("10.1.0.5"), address("10.2.0.9"), &echo));
        let inner = Inner::parse(&packet).expect("well-formed");
        let of = |kind: u16| TrafficSelector {
            protocol: ICMP,
            start_port: kind << 8,
            end_port: kind << 8,
            ..net("10.2.0.0/24")
        };
        assert!(within(&inner, true, &[net("10.1.0.0/24")], &[of(8)]));
        assert!(!within(&inner, true, &[net("10.1.0.0/24")], &[of(0)]));
    }

    #[test]
    fn a_host_to_speak_for_a_network() {
        assert_eq!(host_in(&[net("10.1.0.0/24")], false), Some(address("10.1.0.1")));
        assert_eq!(host_in(&[net("10.1.0.7/32")], false), Some(address("10.1.0.7")));
        assert_eq!(host_in(&[net("fd01::/64"), net("10.1.0.0/24")], true), Some(address("fd01::1")));
        assert_eq!(host_in(&[TrafficSelector::any_v4()], false), None);
        assert_eq!(host_in(&[net("10.1.0.0/24")], true), None);
    }
}
