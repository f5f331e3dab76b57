//! The Traffic Selector payloads (RFC 7296 3.13).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::{Fault, WireErrorKind};
use super::reader::Reader;
use super::registry::TsType;
use super::writer::Writer;

/// Octets of a selector before its body: type, protocol, length.
const SELECTOR_HEADER: usize = 4;
/// Start and end port of packets whose ports cannot be seen, such as fragments (RFC 7296 3.13.1).
const OPAQUE: (u16, u16) = (u16::MAX, 0);

/// TSi or TSr. One without selectors is decoded; the caller judges it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TsPayload {
    /// The selectors, at most 255.
    pub selectors: Vec<TrafficSelector>,
}

/// One traffic selector. `Display` prints `10.10.10.0/24`, `10.0.0.1-10.0.0.9`, `10.0.0.0/24[tcp/80]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TrafficSelector {
    /// IP Protocol ID; 0 for any. For [`TsRange::Unknown`] the octet in that place, whatever it means there.
    pub protocol: u8,
    /// Start Port. With `protocol` ICMP, ICMPv6 or MIPv6: message type and code (RFC 7296 3.13.1).
    pub start_port: u16,
    /// End Port. 65535 to 0 means OPAQUE.
    pub end_port: u16,
    /// The addresses.
    pub range: TsRange,
}

/// The addresses of a selector, ends included.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // start and end say it
pub enum TsRange {
    /// TS_IPV4_ADDR_RANGE.
    V4 { start: Ipv4Addr, end: Ipv4Addr },
    /// TS_IPV6_ADDR_RANGE.
    V6 { start: Ipv6Addr, end: Ipv6Addr },
    /// Another type: everything after the selector's length field. The ports are 0.
    Unknown { kind: TsType, body: Vec<u8> },
}

impl TrafficSelector {
    /// A network, any protocol and port. A prefix longer than the address counts as a host; host bits are cleared.
    pub fn from_net(addr: IpAddr, prefix: u8) -> Self {
        match addr {
            IpAddr::V4(addr) => {
                let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                let start = u32::from(addr) & !host;
                Self::any_port(TsRange::V4 { start: start.into(), end: (start | host).into() })
            }
            IpAddr::V6(addr) => {
                let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                let start = u128::from(addr) & !host;
                Self::any_port(TsRange::V6 { start: start.into(), end: (start | host).into() })
            }
        }
    }

    /// Every IPv4 packet: 0.0.0.0/0.
    pub fn any_v4() -> Self {
        Self::from_net(Ipv4Addr::UNSPECIFIED.into(), 0)
    }

    /// Every IPv6 packet: ::/0.
    pub fn any_v6() -> Self {
        Self::from_net(Ipv6Addr::UNSPECIFIED.into(), 0)
    }

    /// A range of addresses, any protocol and port.
    pub fn any_port(range: TsRange) -> Self {
        let end_port = if matches!(range, TsRange::Unknown { .. }) { 0 } else { u16::MAX };
        Self { protocol: 0, start_port: 0, end_port, range }
    }

    /// The type on the wire.
    pub fn kind(&self) -> TsType {
        match &self.range {
            TsRange::V4 { .. } => TsType::TS_IPV4_ADDR_RANGE,
            TsRange::V6 { .. } => TsType::TS_IPV6_ADDR_RANGE,
            TsRange::Unknown { kind, .. } => *kind,
        }
    }

    /// True for any protocol and any port.
    pub fn is_any_port(&self) -> bool {
        self.protocol == 0 && self.start_port == 0 && self.end_port == u16::MAX
    }

    /// Whether every packet of `other` matches `self` too. Selectors of an unknown type contain only their equals.
    pub fn contains(&self, other: &TrafficSelector) -> bool {
        match self.intersect(other) {
            Some(common) => common == *other,
            None => false,
        }
    }

    /// The packets that match both; `None` when there are none. OPAQUE ports meet only OPAQUE ports and the full
    /// port range, which includes them (RFC 7296 2.9).
    pub fn intersect(&self, other: &TrafficSelector) -> Option<TrafficSelector> {
        if let TsRange::Unknown { .. } = self.range {
            return (self == other).then(|| self.clone());
        }
        let range = match (&self.range, &other.range) {
            (TsRange::V4 { start: a, end: b }, TsRange::V4 { start: c, end: d }) => {
                let (start, end) = (*a.max(c), *b.min(d));
                (start <= end).then_some(TsRange::V4 { start, end })?
            }
            (TsRange::V6 { start: a, end: b }, TsRange::V6 { start: c, end: d }) => {
                let (start, end) = (*a.max(c), *b.min(d));
                (start <= end).then_some(TsRange::V6 { start, end })?
            }
            _ => return None,
        };
        let protocol = match (self.protocol, other.protocol) {
            (0, any) | (any, 0) => any,
            (one, two) if one == two => one,
            _ => return None,
        };
        let (start_port, end_port) = ports(self, other)?;
        Some(Self { protocol, start_port, end_port, range })
    }

    fn read(r: &mut Reader<'_>, nth: usize) -> Result<Self, Fault> {
        let start = r.offset();
        let whole = r.remain();
        let &[kind, protocol, l0, l1] = r.fixed::<SELECTOR_HEADER>("a selector's header")?;
        let kind = TsType(kind);
        let says = u16::from_be_bytes([l0, l1]);
        let size =
            |needs| Fault { offset: start + 2, kind: WireErrorKind::SelectorSize { selector: nth, kind, says, needs } };
        let body_len = usize::from(says).checked_sub(SELECTOR_HEADER).ok_or_else(|| size(SELECTOR_HEADER))?;
        let Some(body) = r.take(body_len) else {
            let kind = WireErrorKind::SelectorLength { selector: nth, says, remain: whole };
            return Err(Fault { offset: start + 2, kind });
        };
        let (ports, range) = match kind {
            TsType::TS_IPV4_ADDR_RANGE => {
                let body: &[u8; 12] = body.try_into().map_err(|_| size(16))?;
                let &[p0, p1, p2, p3, a, b, c, d, e, f, g, h] = body;
                let range = TsRange::V4 { start: Ipv4Addr::new(a, b, c, d), end: Ipv4Addr::new(e, f, g, h) };
                ([p0, p1, p2, p3], range)
            }
            TsType::TS_IPV6_ADDR_RANGE => {
                let (ports, addresses) = body.split_first_chunk::<4>().ok_or_else(|| size(40))?;
                let (start, rest) = addresses.split_first_chunk::<16>().ok_or_else(|| size(40))?;
                let end: &[u8; 16] = rest.try_into().map_err(|_| size(40))?;
                (*ports, TsRange::V6 { start: Ipv6Addr::from(*start), end: Ipv6Addr::from(*end) })
            }
            kind => ([0; 4], TsRange::Unknown { kind, body: body.to_vec() }),
        };
        let [p0, p1, p2, p3] = ports;
        let start_port = u16::from_be_bytes([p0, p1]);
        Ok(Self { protocol, start_port, end_port: u16::from_be_bytes([p2, p3]), range })
    }

    fn write(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.u8("type", self.kind().0);
        w.u8("protocol", self.protocol);
        w.u16("length", 0);
        match &self.range {
            TsRange::Unknown { body, .. } => w.bytes("body", body),
            range => {
                w.u16("start_port", self.start_port);
                w.u16("end_port", self.end_port);
                match range {
                    TsRange::V4 { start, end } => {
                        w.bytes("start_addr", &start.octets());
                        w.bytes("end_addr", &end.octets());
                    }
                    TsRange::V6 { start, end } => {
                        w.bytes("start_addr", &start.octets());
                        w.bytes("end_addr", &end.octets());
                    }
                    TsRange::Unknown { .. } => {}
                }
            }
        }
        w.patch_len(start + 2, start);
    }
}

/// The common ports of two selectors.
fn ports(one: &TrafficSelector, two: &TrafficSelector) -> Option<(u16, u16)> {
    const FULL: (u16, u16) = (0, u16::MAX);
    match ((one.start_port, one.end_port), (two.start_port, two.end_port)) {
        (OPAQUE, OPAQUE | FULL) | (FULL, OPAQUE) => Some(OPAQUE),
        // Any other range that ends before it starts holds no port.
        ((a, b), (c, d)) => (a.max(c) <= b.min(d)).then_some((a.max(c), b.min(d))),
    }
}

impl TsPayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[count, _, _, _] = r.fixed::<4>("the number of selectors with its reserved field")?;
        let count_at = r.offset() - 4;
        let mut selectors = Vec::with_capacity(usize::from(count).min(r.remain() / 16));
        while !r.is_empty() {
            let selector = TrafficSelector::read(r, selectors.len() + 1)?;
            selectors.push(selector);
        }
        if selectors.len() != usize::from(count) {
            let kind = WireErrorKind::SelectorCount { says: count, found: selectors.len() };
            return Err(Fault { offset: count_at, kind });
        }
        Ok(Self { selectors })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("count", self.selectors.len() as u8);
        w.bytes("reserved", &[0; 3]);
        for (index, selector) in self.selectors.iter().enumerate() {
            let mark = w.enter("selector", Some(index));
            selector.write(w);
            w.leave(mark);
        }
    }
}

impl fmt::Display for TsPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, selector) in self.selectors.iter().enumerate() {
            write!(f, "{}{selector}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.range {
            TsRange::V4 { start, end } => {
                let (low, high) = (u32::from(*start), u32::from(*end));
                match prefix(low.into(), high.into(), 32) {
                    Some(prefix) => write!(f, "{start}/{prefix}")?,
                    None => write!(f, "{start}-{end}")?,
                }
            }
            TsRange::V6 { start, end } => match prefix((*start).into(), (*end).into(), 128) {
                Some(prefix) => write!(f, "{start}/{prefix}")?,
                None => write!(f, "{start}-{end}")?,
            },
            TsRange::Unknown { kind, body } => return write!(f, "{kind}:{}", super::dump::Hex(body)),
        }
        if self.is_any_port() {
            return Ok(());
        }
        let protocol = match self.protocol {
            0 => "any".to_owned(),
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            50 => "esp".to_owned(),
            58 => "icmpv6".to_owned(),
            132 => "sctp".to_owned(),
            other => format!("proto {other}"),
        };
        match (self.start_port, self.end_port) {
            (0, u16::MAX) => write!(f, "[{protocol}]"),
            OPAQUE => write!(f, "[{protocol}/opaque]"),
            (start, end) if matches!(self.protocol, 1 | 58) => {
                // Type in the high octet, code in the low one.
                let (t0, c0, t1, c1) = (start >> 8, start & 0xff, end >> 8, end & 0xff);
                if start == end {
                    write!(f, "[{protocol}/{t0}:{c0}]")
                } else {
                    write!(f, "[{protocol}/{t0}:{c0}-{t1}:{c1}]")
                }
            }
            (start, end) if start == end => write!(f, "[{protocol}/{start}]"),
            (start, end) => write!(f, "[{protocol}/{start}-{end}]"),
        }
    }
}

/// The prefix length of a range that is one network; `None` when it is not.
fn prefix(start: u128, end: u128, bits: u32) -> Option<u32> {
    let differ = start ^ end;
    let host = u128::BITS - differ.leading_zeros();
    let mask = if host == 128 { u128::MAX } else { (1u128 << host) - 1 };
    (start <= end && differ == mask && start & mask == 0).then_some(bits - host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::any_selector;
    use super::*;

    fn range(start: [u8; 4], end: [u8; 4]) -> TrafficSelector {
        TrafficSelector::any_port(TsRange::V4 { start: start.into(), end: end.into() })
    }

    fn ports(protocol: u8, start_port: u16, end_port: u16) -> TrafficSelector {
        TrafficSelector {
            protocol,
            start_port,
            end_port,
            ..TrafficSelector::from_net(Ipv4Addr::new(10, 0, 0, 0).into(), 24)
        }
    }

    #[test]
    fn networks_become_ranges() {
        let net = |text: &str, prefix| TrafficSelector::from_net(text.parse().expect("an address"), prefix);
        assert_eq!(net("10.10.10.77", 24), range([10, 10, 10, 0], [10, 10, 10, 255]));
        assert_eq!(net("10.10.10.77", 32), range([10, 10, 10, 77], [10, 10, 10, 77]));
        assert_eq!(net("10.10.10.77", 99), net("10.10.10.77", 32));
        assert_eq!(TrafficSelector::any_v4(), range([0; 4], [255; 4]));
        let six = |start: &str, end: &str| {
            let range =
                TsRange::V6 { start: start.parse().expect("an address"), end: end.parse().expect("an address") };
            TrafficSelector::any_port(range)
        };
        assert_eq!(net("2001:db8::1", 32), six("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert_eq!(net("2001:db8::1", 128), six("2001:db8::1", "2001:db8::1"));
        assert_eq!(TrafficSelector::any_v6(), six("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    }

    #[test]
    fn selectors_read_as_people_write_them() {
        let cases = [
            (range([10, 10, 10, 0], [10, 10, 10, 255]), "10.10.10.0/24"),
            (range([10, 10, 10, 7], [10, 10, 10, 7]), "10.10.10.7/32"),
            (range([10, 0, 0, 1], [10, 0, 0, 9]), "10.0.0.1-10.0.0.9"),
            (range([10, 0, 0, 1], [10, 0, 1, 0]), "10.0.0.1-10.0.1.0"),
            (range([10, 0, 0, 9], [10, 0, 0, 1]), "10.0.0.9-10.0.0.1"),
            (TrafficSelector::any_v4(), "0.0.0.0/0"),
            (TrafficSelector::any_v6(), "::/0"),
            (TrafficSelector::from_net("2001:db8::".parse().expect("an address"), 48), "2001:db8::/48"),
            (ports(6, 80, 80), "10.0.0.0/24[tcp/80]"),
            (ports(17, 1000, 2000), "10.0.0.0/24[udp/1000-2000]"),
            (ports(17, 0, 65535), "10.0.0.0/24[udp]"),
            (ports(0, 53, 53), "10.0.0.0/24[any/53]"),
            (ports(6, 65535, 0), "10.0.0.0/24[tcp/opaque]"),
            (ports(1, 0x0800, 0x0800), "10.0.0.0/24[icmp/8:0]"),
            (ports(1, 0x0000, 0x08ff), "10.0.0.0/24[icmp/0:0-8:255]"),
            (ports(47, 0, 65535), "10.0.0.0/24[proto 47]"),
            (
                TrafficSelector::any_port(TsRange::Unknown { kind: TsType::TS_SECLABEL, body: vec![0xab] }),
                "TS_SECLABEL:ab",
            ),
        ];
        for (selector, expected) in cases {
            assert_eq!(selector.to_string(), expected);
        }
    }

    #[test]
    fn intersections_narrow_every_part() {
        let net = TrafficSelector::from_net(Ipv4Addr::new(10, 0, 0, 0).into(), 8);
        let both = net.intersect(&ports(6, 80, 90)).expect("they overlap");
        assert_eq!(both, ports(6, 80, 90));
        assert_eq!(ports(6, 1, 85).intersect(&ports(0, 80, 90)), Some(ports(6, 80, 85)));
        assert_eq!(ports(6, 1, 85).intersect(&ports(17, 80, 90)), None);
        assert_eq!(ports(6, 1, 79).intersect(&ports(6, 80, 90)), None);
        assert_eq!(range([10, 0, 0, 1], [10, 0, 0, 9]).intersect(&range([10, 0, 0, 10], [10, 0, 0, 11])), None);
        assert_eq!(
            range([10, 0, 0, 1], [10, 0, 0, 9]).intersect(&range([10, 0, 0, 5], [10, 0, 0, 20])),
            Some(range([10, 0, 0, 5], [10, 0, 0, 9]))
        );
        assert_eq!(TrafficSelector::any_v4().intersect(&TrafficSelector::any_v6()), None);
    }

    #[test]
    fn opaque_ports_meet_opaque_and_all_ports_only() {
        let opaque = ports(6, 65535, 0);
        assert_eq!(opaque.intersect(&opaque), Some(opaque.clone()));
        assert_eq!(opaque.intersect(&ports(6, 0, 65535)), Some(opaque.clone()));
        assert_eq!(ports(0, 0, 65535).intersect(&opaque), Some(opaque.clone()));
        assert_eq!(opaque.intersect(&ports(6, 80, 80)), None);
        assert_eq!(ports(6, 1, 65535).intersect(&opaque), None);
        // Another range the wrong way round is empty, not opaque.
        assert_eq!(ports(6, 2078, 0).intersect(&ports(6, 27259, 0)), None);
        assert_eq!(ports(6, 2078, 0).intersect(&ports(6, 0, 65535)), None);
        assert_eq!(ports(6, 2078, 0).to_string(), "10.0.0.0/24[tcp/2078-0]");
    }

    #[test]
    fn containment_is_of_packets() {
        let net = TrafficSelector::from_net(Ipv4Addr::new(10, 0, 0, 0).into(), 8);
        assert!(net.contains(&ports(6, 80, 80)));
        assert!(!ports(6, 80, 80).contains(&net));
        assert!(net.contains(&net));
        assert!(!net.contains(&TrafficSelector::any_v4()));
        assert!(TrafficSelector::any_v4().contains(&net));
        assert!(!TrafficSelector::any_v6().contains(&net));
    }

    proptest! {
        #[test]
        fn an_intersection_is_inside_both(one in any_selector(), two in any_selector()) {
            prop_assert_eq!(one.intersect(&two), two.intersect(&one));
            if let Some(both) = one.intersect(&two) {
                prop_assert!(one.contains(&both) && two.contains(&both));
            }
        }
    }
}
