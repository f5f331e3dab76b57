//! IP and UDP headers around a datagram, as they would have stood on the wire, with valid checksums.

use std::net::{IpAddr, SocketAddr};

use super::{Datagram, Direction};
use crate::net::SocketRole;

const UDP_HEADER: usize = 8;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ESP: u8 = 50;
const HOP_LIMIT: u8 = 64;

/// Appends the whole IP packet of a datagram to `out`. `number` becomes the IPv4 identification.
///
/// Returns the length that the packet should have; it is longer than what was appended if the datagram is too large
/// for IP, which only a tampered one can be.
pub fn append_packet(out: &mut Vec<u8>, datagram: &Datagram<'_>) -> usize {
    let (source, destination) = match datagram.direction {
        Direction::In => (datagram.path.remote, datagram.path.local),
        Direction::Out => (datagram.path.local, datagram.path.remote),
    };
    if datagram.path.role == SocketRole::Esp {
        let start = out.len();
        let (from, to, len) = (source.ip(), destination.ip(), datagram.bytes.len());
        let header_len = append_ip_header(out, from, to, PROTOCOL_ESP, len, datagram.number);
        out.extend_from_slice(datagram.bytes);
        out.truncate(start + (header_len + len).min(usize::from(u16::MAX)));
        return header_len + len;
    }
    let marker = datagram.class.marker(datagram.path.role);
    let udp_len = UDP_HEADER + marker.len() + datagram.bytes.len();
    let start = out.len();
    let header_len = append_ip_header(out, source.ip(), destination.ip(), PROTOCOL_UDP, udp_len, datagram.number);
    let udp_start = out.len();
    append_udp_header(out, source, destination, udp_len);
    out.extend_from_slice(marker);
    out.extend_from_slice(datagram.bytes);
    let sum = pseudo_header_sum(source.ip(), destination.ip(), udp_len) + sum_of(&out[udp_start..]);
    // Zero would mean "none" (RFC 768).
    let checksum = match fold(sum) {
        0 => 0xffff,
        other => other,
    };
    out[udp_start + 6..udp_start + 8].copy_from_slice(&checksum.to_be_bytes());
    let total = header_len + udp_len;
    out.truncate(start + total.min(usize::from(u16::MAX)));
    total
}

fn append_ip_header(
    out: &mut Vec<u8>,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: usize,
    number: u64,
) -> usize {
    let start = out.len();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(20 + payload).unwrap_or(u16::MAX);
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&total.to_be_bytes());
            out.extend_from_slice(&(number as u16).to_be_bytes());
            out.extend_from_slice(&[0, 0, HOP_LIMIT, protocol, 0, 0]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
            let checksum = fold(sum_of(&out[start..]));
            out[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        (source, destination) => {
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&u16::try_from(payload).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(&[protocol, HOP_LIMIT]);
            out.extend_from_slice(&v6_octets(source));
            out.extend_from_slice(&v6_octets(destination));
        }
    }
    out.len() - start
}

fn append_udp_header(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr, len: usize) {
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
}

fn pseudo_header_sum(source: IpAddr, destination: IpAddr, udp_len: usize) -> u64 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => sum_of(&source.octets()) + sum_of(&destination.octets()),
        (source, destination) => sum_of(&v6_octets(source)) + sum_of(&v6_octets(destination)),
    };
    addresses + u64::from(PROTOCOL_UDP) + udp_len as u64
}

/// A path never mixes families; if it did, the IPv4 end would be shown as a mapped address.
fn v6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The sum of 16-bit words, an odd octet at the end padded with zero (RFC 1071).
fn sum_of(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low)));
    pairs.sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Class, Path, SocketRole};
    use crate::record::Fate;
    use crate::time::Instant;

    fn packet(local: &str, remote: &str, class: Class, bytes: &[u8]) -> (Vec<u8>, usize) {
        let (local, remote) = (local.parse().expect("an address"), remote.parse().expect("an address"));
        let path = Path { local, remote, role: SocketRole::NatT };
        let (direction, fate) = (Direction::Out, Fate::Passed);
        let mut out = vec![0xee];
        let datagram = Datagram { number: 9, at: Instant::ZERO, direction, path: &path, class, bytes, fate };
        let total = append_packet(&mut out, &datagram);
        (out.split_off(1), total)
    }

    #[test]
    fn ipv4_headers_sum_to_zero() {
        for bytes in [&b"odd"[..], b"even", b""] {
            let (packet, total) = packet("192.0.2.1:4500", "198.51.100.2:4501", Class::Ike, bytes);
            assert_eq!((packet.len(), total), (32 + bytes.len(), 32 + bytes.len()), "20 IP, 8 UDP, 4 marker");
            assert_eq!(fold(sum_of(&packet[..20])), 0, "IP checksum");
            let pseudo = sum_of(&packet[12..20]) + 17 + (packet.len() - 20) as u64;
            assert_eq!(fold(pseudo + sum_of(&packet[20..])), 0, "UDP checksum");
            assert_eq!(&packet[20..24], &[0x11, 0x94, 0x11, 0x95], "ports");
        }
    }

    #[test]
    fn ipv6_headers_sum_to_zero() {
        let (packet, _) = packet("[2001:db8::1]:4500", "[2001:db8::2]:4500", Class::Esp, b"12345678");
        assert_eq!((packet.len(), packet[0], packet[6]), (56, 0x60, 17), "40 IP, 8 UDP, no marker before ESP");
        let pseudo = sum_of(&packet[8..40]) + 17 + 16;
        assert_eq!(fold(pseudo + sum_of(&packet[40..])), 0);
    }

    #[test]
    fn native_esp_stands_behind_the_ip_header() {
        for (local, remote, header) in [("192.0.2.1:0", "192.0.2.2:0", 20), ("[2001:db8::1]:0", "[2001:db8::2]:0", 40)]
        {
            let (local, remote) = (local.parse().expect("an address"), remote.parse().expect("an address"));
            let path = Path { local, remote, role: SocketRole::Esp };
            let (direction, fate, bytes) = (Direction::In, Fate::Passed, &b"SPI.SEQ.data"[..]);
            let mut out = Vec::new();
            let datagram =
                Datagram { number: 9, at: Instant::ZERO, direction, path: &path, class: Class::Esp, bytes, fate };
            assert_eq!(append_packet(&mut out, &datagram), header + bytes.len());
            assert_eq!((out[if header == 20 { 9 } else { 6 }], &out[header..]), (50, bytes));
            if header == 20 {
                assert_eq!(fold(sum_of(&out[..20])), 0, "IP checksum");
                assert_eq!(&out[12..16], &[192, 0, 2, 2], "the remote end has sent it");
            }
        }
    }

    #[test]
    fn a_zero_checksum_is_sent_as_ones() {
        // Find a payload whose checksum comes out as zero: the one's complement of the sum without it.
        let (packet, _) = packet("192.0.2.1:4500", "192.0.2.2:4500", Class::Esp, &[0, 0]);
        let without = u16::from_be_bytes([packet[26], packet[27]]);
        let (packet, _) = self::packet("192.0.2.1:4500", "192.0.2.2:4500", Class::Esp, &without.to_be_bytes());
        assert_eq!(&packet[26..28], &[0xff, 0xff]);
    }

    #[test]
    fn what_is_too_large_for_ip_is_cut_and_says_so() {
        let (packet, total) = packet("192.0.2.1:4500", "192.0.2.2:4500", Class::Verbatim, &vec![7; 70_000]);
        assert_eq!((packet.len(), total), (65_535, 70_028));
    }
}
