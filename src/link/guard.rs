//! Keeps a test tool inside the lab: which targets are plainly not somebody else's machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for an address that cannot be a stranger's on the public internet: loopback, private use (RFC 1918, RFC 4193),
/// shared address space (RFC 6598), link-local, documentation (RFC 5737, RFC 3849, RFC 9637) and benchmarking
/// (RFC 2544, RFC 5180).
pub fn is_lab_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_lab_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_lab_v4(v4),
            None => is_lab_v6(v6),
        },
    }
}

/// Lets a lab address pass, and any other only if the person has said that it is theirs.
///
/// # Errors
///
/// The sentence to show, which names the flag to use.
pub fn check_target(address: IpAddr, owned: bool) -> Result<(), String> {
    if owned || is_lab_address(address) {
        return Ok(());
    }
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("{address} is not the address of one host"));
    }
    Err(format!(
        "{address} is a public address. Test traffic can lock out or crash a VPN gateway, and may be against the law \
         without its owner's consent. If it is yours to test, say so with --i-own-this-target"
    ))
}

fn is_lab_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_documentation()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
}

fn is_lab_v6(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    v6.is_loopback()
        || v6.is_unique_local()
        || v6.is_unicast_link_local()
        || (s[0] == 0x2001 && s[1] == 0x0db8)
        || (s[0] == 0x3fff && s[1] & 0xf000 == 0)
        || (s[0] == 0x2001 && s[1] == 2 && s[2] == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(text: &str) -> bool {
        is_lab_address(text.parse().expect("an address"))
    }

    #[test]
    fn lab_ranges_and_their_neighbours() {
        for (inside, outside) in [
            ("127.255.255.255", "128.0.0.0"),
            ("10.0.0.1", "11.0.0.0"),
            ("172.16.0.1", "172.15.255.255"),
            ("172.31.255.255", "172.32.0.0"),
            ("192.168.255.255", "192.169.0.0"),
            ("100.64.0.0", "100.63.255.255"),
            ("100.127.255.255", "100.128.0.0"),
            ("169.254.1.1", "169.255.0.0"),
            ("192.0.2.255", "192.0.3.0"),
            ("198.51.100.7", "198.51.101.0"),
            ("203.0.113.7", "203.0.114.0"),
            ("198.18.0.0", "198.17.255.255"),
            ("198.19.255.255", "198.20.0.0"),
            ("::1", "::2"),
            ("fc00::1", "fbff::1"),
            ("fdff:ffff::1", "fe00::1"),
            ("fe80::1", "fec0::1"),
            ("2001:db8::1", "2001:db9::1"),
            ("3fff:fff::1", "3fff:1000::1"),
            ("2001:2::1", "2001:2:1::1"),
            ("::ffff:10.0.0.1", "::ffff:8.8.8.8"),
        ] {
            assert!(lab(inside), "{inside} is a lab address");
            assert!(!lab(outside), "{outside} is not");
        }
    }

    #[test]
    fn a_public_target_needs_consent() {
        let public = "8.8.8.8".parse().expect("an address");
        let refusal = check_target(public, false).expect_err("public");
        assert!(refusal.contains("8.8.8.8") && refusal.contains("--i-own-this-target"), "{refusal}");
        assert_eq!(check_target(public, true), Ok(()));
        assert_eq!(check_target("192.0.2.1".parse().expect("an address"), false), Ok(()));
    }

    #[test]
    fn a_group_is_no_target() {
        for address in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"] {
            let refusal = check_target(address.parse().expect("an address"), false).expect_err("no host");
            assert!(!refusal.contains("--i-own"), "{refusal}");
        }
    }
}
