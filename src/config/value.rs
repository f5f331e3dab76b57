//! Values of a connection file that are not algorithms: identities, selectors, durations, byte strings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::error::{Problem, did_you_mean};
use crate::wire::registry::IdType;
use crate::wire::{IdPayload, TrafficSelector, TsRange, dn_from_text};

/// An identity: `ipv4:10.0.0.1`, `fqdn:gw.example`, `email:a@b`, `keyid:text` or `keyid:0x6162`, `dn:C=CH, CN=gw`; or bare, when an
/// address, a text with @ and anything else stand for address, e-mail and domain name.
pub fn identity(text: &str) -> Result<IdPayload, String> {
    identity_problem(text).map_err(|p| p.message)
}

pub(crate) fn identity_problem(text: &str) -> Result<IdPayload, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Problem::new("an empty identity"));
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok(address_id(addr));
    }
    let Some((prefix, value)) = text.split_once(':') else {
        // strongSwan and libreswan write @gw.example for a domain name.
        let (kind, value) = match text.strip_prefix('@') {
            Some(name) => (IdType::ID_FQDN, name),
            None if text.contains('@') => (IdType::ID_RFC822_ADDR, text),
            None => (IdType::ID_FQDN, text),
        };
        return Ok(IdPayload::new(kind, value.as_bytes().to_vec()));
    };
    let value = value.trim();
    let wrong = |what: &str| Problem::new(format!("`{value}` is not {what}"));
    match prefix.to_ascii_lowercase().as_str() {
        "ipv4" => value.parse::<Ipv4Addr>().map(|a| address_id(a.into())).map_err(|_| wrong("an IPv4 address")),
        "ipv6" => value.parse::<Ipv6Addr>().map(|a| address_id(a.into())).map_err(|_| wrong("an IPv6 address")),
        "ipaddr" | "address" => value.parse().map(address_id).map_err(|_| wrong("an IP address")),
        _ if value.is_empty() => Err(Problem::new(format!("`{text}` has no value"))),
        "fqdn" | "dns" => Ok(IdPayload::new(IdType::ID_FQDN, value.as_bytes().to_vec())),
        "email" | "ufqdn" | "rfc822" => Ok(IdPayload::new(IdType::ID_RFC822_ADDR, value.as_bytes().to_vec())),
        "keyid" | "key-id" => Ok(IdPayload::new(IdType::ID_KEY_ID, octets(value)?)),
        "dn" | "asn1dn" => {
            let data = dn_from_text(value).map_err(|why| Problem::new(why).hint("dn:C=CH, O=Lab, CN=gw.example"))?;
            Ok(IdPayload::new(IdType::ID_DER_ASN1_DN, data))
        }
        other => Err(Problem::new(format!("unknown identity type `{other}`")).maybe_hint(
            did_you_mean(other, ["ipv4", "ipv6", "fqdn", "email", "keyid", "dn"])
                .or_else(|| Some("ipv4:, ipv6:, fqdn:, email:, keyid: or dn:".into())),
        )),
    }
}

/// The identity of an address.
pub fn address_id(addr: IpAddr) -> IdPayload {
    match addr {
        IpAddr::V4(a) => IdPayload::new(IdType::ID_IPV4_ADDR, a.octets().to_vec()),
        IpAddr::V6(a) => IdPayload::new(IdType::ID_IPV6_ADDR, a.octets().to_vec()),
    }
}

/// Text as octets, or `0x` and hex digits.
pub(crate) fn octets(text: &str) -> Result<Vec<u8>, Problem> {
    let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        return Ok(text.as_bytes().to_vec());
    };
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    match digits {
        Some(digits) if !digits.is_empty() && digits.len().is_multiple_of(2) => {
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(Problem::new("0x must be followed by an even number of hex digits")),
    }
}

/// A duration: `10s`, `500ms`, `5m`, `8h`, `1d`, or a bare number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, Problem> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || Problem::new(format!("`{text}` is not a duration")).hint("for example 500ms, 10s, 8h");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "ms" => number / 1e3,
        "" | "s" | "sec" | "seconds" => number,
        "m" | "min" | "minutes" => number * 60.0,
        "h" | "hours" => number * 3600.0,
        "d" | "days" => number * 86400.0,
        _ => return Err(wrong()),
    };
    // A century is more than any timer needs and less than what overflows.
    if seconds > 3.2e9 { Err(wrong()) } else { Ok(Duration::from_secs_f64(seconds)) }
}

/// A duration in the shortest unit that needs no fraction, as the file spells it.
pub fn duration_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    if !millis.is_multiple_of(1000) { format!("{millis}ms") } else { format!("{}s", millis / 1000) }
}

/// A selector and, when something in it looks unintended, a warning.
pub(crate) fn selector(text: &str) -> Result<(TrafficSelector, Option<String>), Problem> {
    let text = text.trim();
    let (addresses, ports) = match text.split_once('[') {
        Some((addresses, rest)) => {
            let inside = rest.strip_suffix(']').ok_or_else(|| Problem::new(format!("`{text}` has [ without ]")))?;
            (addresses.trim(), Some(inside.trim()))
        }
        None => (text, None),
    };
    let (mut selector, warning) = addresses_of(addresses)?;
    if let Some(ports) = ports {
        let (protocol, start, end) = protocol_and_ports(ports)?;
        selector.protocol = protocol;
        (selector.start_port, selector.end_port) = (start, end);
    }
    Ok((selector, warning))
}

fn addresses_of(text: &str) -> Result<(TrafficSelector, Option<String>), Problem> {
    let wrong = || {
        Problem::new(format!("`{text}` is not a network, an address or a range"))
            .hint("for example 10.0.0.0/24, 10.0.0.1 or 10.0.0.1-10.0.0.9")
    };
    if text.eq_ignore_ascii_case("any") {
        return Ok((TrafficSelector::any_v4(), None));
    }
    if let Some((start, end)) = text.split_once('-') {
        let range = match (start.trim().parse(), end.trim().parse()) {
            (Ok(IpAddr::V4(start)), Ok(IpAddr::V4(end))) if start <= end => TsRange::V4 { start, end },
            (Ok(IpAddr::V6(start)), Ok(IpAddr::V6(end))) if start <= end => TsRange::V6 { start, end },
            (Ok(start), Ok(end)) if IpAddr::is_ipv4(&start) == IpAddr::is_ipv4(&end) => {
                return Err(Problem::new(format!("the range `{text}` ends before it begins")));
            }
            _ => return Err(wrong()),
        };
        return Ok((TrafficSelector::any_port(range), None));
    }
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr.trim(), Some(prefix.trim())),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    let longest = if addr.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = match prefix {
        None => longest,
        Some(prefix) => prefix.parse().ok().filter(|p| *p <= longest).ok_or_else(|| {
            Problem::new(format!("`/{prefix}` is not a prefix length")).hint(format!("0 to {longest}"))
        })?,
    };
    let selector = TrafficSelector::from_net(addr, prefix);
    let first = match selector.range {
        TsRange::V4 { start, .. } => IpAddr::V4(start),
        TsRange::V6 { start, .. } => IpAddr::V6(start),
        TsRange::Unknown { .. } => addr,
    };
    let warning = (first != addr).then(|| format!("{text} has host bits set; taken as {selector}"));
    Ok((selector, warning))
}

/// `tcp/80`, `udp/1000-2000`, `icmp`, `17/500`, `/443`.
fn protocol_and_ports(text: &str) -> Result<(u8, u16, u16), Problem> {
    let (protocol, ports) = match text.split_once('/') {
        Some((protocol, ports)) => (protocol.trim(), ports.trim()),
        None => (text, ""),
    };
    let names =
        [("any", 0), ("icmp", 1), ("ipip", 4), ("tcp", 6), ("udp", 17), ("gre", 47), ("ipv6-icmp", 58), ("sctp", 132)];
    let lower = protocol.to_ascii_lowercase();
    let number = names.iter().find(|(name, _)| *name == lower).map(|(_, number)| *number);
    let number = match (number, protocol.parse()) {
        (Some(number), _) | (None, Ok(number)) => number,
        _ if protocol.is_empty() => 0,
        _ => {
            return Err(Problem::new(format!("unknown protocol `{protocol}`"))
                .maybe_hint(did_you_mean(protocol, names.map(|(name, _)| name))));
        }
    };
    let wrong = || Problem::new(format!("`{ports}` is not a port or a range of ports"));
    let (start, end) = match ports.split_once('-') {
        _ if ports.is_empty() || ports.eq_ignore_ascii_case("any") => (0, u16::MAX),
        Some((start, end)) => (start.trim().parse().map_err(|_| wrong())?, end.trim().parse().map_err(|_| wrong())?),
        None => {
            let port = ports.parse().map_err(|_| wrong())?;
            (port, port)
        }
    };
    if start > end { Err(wrong()) } else { Ok((number, start, end)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        for (text, wanted) in [
            ("ipv4:10.0.0.1", "ipv4:10.0.0.1"),
            ("10.0.0.1", "ipv4:10.0.0.1"),
            ("2001:db8::1", "ipv6:2001:db8::1"),
            ("ipv6:2001:db8::1", "ipv6:2001:db8::1"),
            ("gw.example", "fqdn:gw.example"),
            ("@gw.example", "fqdn:gw.example"),
            ("me@lab", "email:me@lab"),
            ("ufqdn:me@lab", "email:me@lab"),
            ("keyid:0x6162", "keyid:ab"),
            ("key-id:site-7", "keyid:site-7"),
        ] {
            assert_eq!(identity(text).unwrap().to_string(), wanted, "{text}");
        }
        for (text, wanted) in [
            ("ipv4:10.0.0", "`10.0.0` is not an IPv4 address"),
            ("fqdm:gw", "unknown identity type `fqdm`"),
            ("fqdn:", "`fqdn:` has no value"),
            ("keyid:0x616", "0x must be followed by an even number of hex digits"),
        ] {
            assert_eq!(identity(text).unwrap_err(), wanted, "{text}");
        }
    }

    #[test]
    fn selectors() {
        for (text, wanted) in [
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("10.0.0.7", "10.0.0.7/32"),
            ("10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("10.0.0.0/24[tcp/80]", "10.0.0.0/24[tcp/80]"),
            ("10.0.0.0/24[17/1000-2000]", "10.0.0.0/24[udp/1000-2000]"),
        ] {
            let (selector, warning) = selector(text).unwrap();
            assert_eq!((selector.to_string().as_str(), warning), (wanted, None), "{text}");
        }
        let (wide, warning) = selector("10.0.0.5/24").unwrap();
        assert_eq!(wide.to_string(), "10.0.0.0/24");
        assert_eq!(warning.as_deref(), Some("10.0.0.5/24 has host bits set; taken as 10.0.0.0/24"));
        for (text, wanted) in [
            ("10.0.0.0/33", "`/33` is not a prefix length"),
            ("10.0.0.9-10.0.0.1", "the range `10.0.0.9-10.0.0.1` ends before it begins"),
            ("lan", "`lan` is not a network, an address or a range"),
            ("10.0.0.0/24[tpc/80]", "unknown protocol `tpc`"),
            ("10.0.0.0/24[tcp/80", "`10.0.0.0/24[tcp/80` has [ without ]"),
        ] {
            assert_eq!(selector(text).unwrap_err().message, wanted, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("10", 10_000), ("1.5s", 1_500), ("8h", 28_800_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "s", "ten", "10 parsecs", "-5s", "1e9s", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration_words(Duration::from_millis(1500)), "1500ms");
        assert_eq!(duration_words(Duration::from_secs(28800)), "28800s");
    }
}
