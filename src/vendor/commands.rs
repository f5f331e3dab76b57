//! Commands that fixes tell people to type, by how they are known: by their first words, as they stand in published
//! configurations and sessions of that kind of box. None of them was tried on a box by us.

use super::evidence::Evidence;

/// How the command in a line of a fix is known; `None` for a line that is advice in words.
pub fn evidence(vendor: &str, line: &str) -> Option<Evidence> {
    let (_, known, inferred) = list(vendor)?;
    let line = line.trim_start();
    // Longest first, or `crypto ikev2` would speak for all that follows it.
    let longest = |heads: &[&str]| heads.iter().filter(|head| begins(line, head)).map(|head| head.len()).max();
    match (longest(known), longest(inferred)) {
        (Some(a), Some(b)) if a > b => Some(Evidence::Observed),
        (_, Some(_)) => Some(Evidence::Inferred),
        (Some(_), None) => Some(Evidence::Observed),
        (None, None) if STRONG.iter().any(|head| begins(line, head)) => Some(Evidence::Inferred),
        (None, None) => None,
    }
}

/// Whether a line of a fix is advice in words: nothing to be typed.
pub fn is_advice(vendor: &str, line: &str) -> bool {
    list(vendor).is_some() && evidence(vendor, line).is_none()
}

/// The commands of a box. An FTD has the ASA's.
fn list(vendor: &str) -> Option<&'static List> {
    let vendor = if vendor == "cisco-ftd" { "cisco-asa" } else { vendor };
    LISTS.iter().find(|(name, ..)| *name == vendor)
}

/// Whether a command is a setting of the whole box, and so one of every tunnel's.
pub fn is_for_every_tunnel(line: &str) -> bool {
    // A line that stands below another one belongs to what that one names.
    let line = line.strip_prefix("no ").unwrap_or(line);
    EVERY_TUNNEL.iter().any(|head| begins(line, head))
}

/// What has neither a peer, a profile nor an interface.
const EVERY_TUNNEL: &[&str] = &[
    "crypto ikev2 cookie-challenge",
    "crypto ikev2 dpd",
    "crypto ikev2 fragmentation",
    "crypto ikev2 http-url",
    "crypto ikev2 limit",
    "crypto ikev2 nat",
    "crypto ikev2 notify",
    "crypto ikev2 window",
    "crypto ipsec nat-transparency",
    "crypto ipsec security-association",
    "crypto isakmp",
    "license",
    "sysopt connection",
];

/// It is this command and no longer word.
fn begins(line: &str, head: &str) -> bool {
    line.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',', ';', ':']))
}

/// First words that no advice begins with.
const STRONG: &[&str] = &[
    "crypto",
    "clear",
    "debug",
    "delete network",
    "no crypto",
    "show",
    "tunnel-group",
    "undebug",
    "access-list",
    "group-policy",
    "sysopt",
    "license",
    "set network",
    "set shared",
    "set rulebase",
    "set deviceconfig",
    "request",
    "test vpn",
];

/// Vendor, heads seen in what others have published, and heads that only follow from others.
type List = (&'static str, &'static [&'static str], &'static [&'static str]);

const LISTS: &[List] = &[
    ("cisco-ios-xe", IOS, &["eku request", "subject-alt-name", "debug crypto pki validation"]),
    (
        "cisco-asa",
        ASA,
        &[
            "crypto ikev2 fragmentation mtu 576 preferred-method ietf",
            "crypto map M 10 set ikev2 mode transport",
            "crypto map M 10 set security-association lifetime kilobytes unlimited",
            "debug crypto ca",
        ],
    ),
    (
        "paloalto-panos",
        PAN,
        &[
            "set network tunnel ipsec T anti-replay-window",
            "set network ike crypto-profiles ipsec-crypto-profiles X lifesize",
            "set network ike gateway G authentication certificate local-certificate hash-and-url",
            "set network ike gateway G protocol-common nat-traversal keep-alive-interval",
            "set shared certificate-profile",
            "show counter global filter delta yes packet-filter yes",
            "debug ike global on normal",
        ],
    ),
];

const IOS: &[&str] = &[
    "address",
    "authentication local",
    "authentication remote",
    "chain-validation continue",
    "clear crypto ikev2 sa",
    "clear crypto sa peer",
    "clear crypto session",
    "copy running-config startup-config",
    "crypto ikev2 cookie-challenge",
    "crypto ikev2 dpd",
    "crypto ikev2 fragmentation",
    "crypto ikev2 keyring",
    "crypto ikev2 limit max-in-negotiation-sa",
    "crypto ikev2 nat keepalive",
    "crypto ikev2 policy",
    "crypto ikev2 profile",
    "crypto ikev2 proposal",
    "crypto ikev2 window",
    "crypto ipsec nat-transparency udp-encapsulation",
    "crypto ipsec profile",
    "crypto ipsec security-association replay window-size",
    "crypto ipsec transform-set",
    "crypto map",
    "crypto pki authenticate",
    "crypto pki enroll",
    "crypto pki trustpoint",
    "debug crypto condition peer",
    "debug crypto ikev2",
    "deny",
    "dpd",
    "encryption",
    "enrollment terminal",
    "frequency",
    "group",
    "icmp-echo",
    "identity local",
    "integrity",
    "interface",
    "ip access-list extended",
    "ip mtu",
    "ip route",
    "ip sla",
    "ip tcp adjust-mss",
    "license feature hseck9",
    "lifetime",
    "match address",
    "match identity remote",
    "mode tunnel",
    "nat force-encap",
    "no crypto ikev2 cookie-challenge",
    "no crypto ikev2 http-url cert",
    "no crypto ipsec security-association idle-time",
    "no responder-only",
    "ntp server",
    "peer",
    "permit esp",
    "permit ip",
    "permit udp",
    "ppk manual id",
    "pqc",
    "pre-shared-key",
    "prf",
    "responder-only",
    "revocation-check",
    "rsakeypair",
    "set ikev2-profile",
    "set peer",
    "set pfs",
    "set security-association lifetime",
    "show clock",
    "show crypto key mypubkey",
    "show crypto pki certificates",
    "show interfaces",
    "show ip route",
    "show ip sla statistics",
    "show policy-map control-plane",
    "track",
    "tunnel mode ipsec ipv4",
    "tunnel protection ipsec policy ipv4",
    "tunnel protection ipsec profile",
    "undebug all",
];

const ASA: &[&str] = &[
    "access-list",
    "capture",
    "clear crypto ikev2 sa",
    "clear crypto ipsec sa peer",
    "crypto ca authenticate",
    "crypto ca enroll",
    "crypto ca import",
    "crypto ca trustpoint",
    "crypto ikev2 cookie-challenge",
    "crypto ikev2 enable",
    "crypto ikev2 fragmentation",
    "crypto ikev2 limit max-in-negotiation-sa",
    "crypto ikev2 notify invalid-selectors",
    "crypto ikev2 policy",
    "crypto ipsec ikev2 ipsec-proposal",
    "crypto ipsec profile",
    "crypto ipsec security-association replay window-size",
    "crypto isakmp identity",
    "crypto isakmp nat-traversal",
    "crypto map",
    "debug crypto condition peer",
    "encryption",
    "group",
    "group-policy",
    "ignore-ipsec-keyusage",
    "ikev2 local-authentication",
    "ikev2 remote-authentication",
    "integrity",
    "interface",
    "isakmp keepalive threshold",
    "lifetime seconds",
    "logging timestamp",
    "nat (inside,outside) source static",
    "no capture",
    "ntp server",
    "peer-id-validate",
    "ping",
    "prf",
    "protocol esp encryption",
    "protocol esp integrity",
    "revocation-check",
    "route outside",
    "set ikev2 ipsec-proposal",
    "show asp drop",
    "show capture",
    "show clock",
    "show crypto ca certificates",
    "show crypto key mypubkey",
    "show interface",
    "show version",
    "show vpn-sessiondb detail l2l",
    "sla monitor",
    "sysopt connection permit-vpn",
    "sysopt connection tcpmss",
    "tunnel mode ipsec ipv4",
    "tunnel-group",
    "type echo protocol ipIcmpEcho",
    "undebug all",
    "vpn-idle-timeout",
    "vpn-tunnel-protocol",
    "write memory",
];

const PAN: &[&str] = &[
    "clear vpn ike-sa gateway",
    "clear vpn ipsec-sa tunnel",
    "commit",
    "debug ike global on debug",
    "debug ike pcap off",
    "debug ike pcap on",
    "less mp-log ikemgr.log",
    "ping",
    "set deviceconfig system ntp-servers",
    "set network ike crypto-profiles ike-crypto-profiles X dh-group",
    "set network ike crypto-profiles ike-crypto-profiles X encryption",
    "set network ike crypto-profiles ike-crypto-profiles X hash",
    "set network ike crypto-profiles ike-crypto-profiles X lifetime",
    "set network ike crypto-profiles ipsec-crypto-profiles X dh-group",
    "set network ike crypto-profiles ipsec-crypto-profiles X esp",
    "set network ike crypto-profiles ipsec-crypto-profiles X lifetime",
    "set network ike gateway",
    "set network interface ethernet ethernet1/1 layer3 adjust-tcp-mss",
    "set network interface tunnel units",
    "set network tunnel ipsec T auto-key proxy-id",
    "set network tunnel ipsec T tunnel-monitor",
    "set network virtual-router default routing-table ip static-route",
    "set rulebase nat rules",
    "set rulebase security rules",
    "show clock",
    "show interface",
    "show running resource-monitor",
    "show system info",
    "test vpn ike-sa gateway",
    "test vpn ipsec-sa tunnel",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_advice() {
        let of = |line| evidence("cisco-ios-xe", line);
        assert_eq!(of(" crypto ikev2 dpd 10 2 periodic"), Some(Evidence::Observed));
        assert_eq!(of("crypto ikev2 frobnicate"), Some(Evidence::Inferred), "not on the list");
        assert_eq!(of("license frobnicate"), Some(Evidence::Inferred));
        assert_eq!(of("nothing is broken"), None);
        assert_eq!(of("peers that begin at once"), None, "no command, though one is called peer");
        let panos = "set network ike gateway G protocol-common nat-traversal keep-alive-interval 10";
        assert_eq!(evidence("paloalto-panos", panos), Some(Evidence::Inferred), "the longer head counts");
        assert_eq!(evidence("nobody", "crypto map M"), None);
        assert!(is_advice("cisco-ftd", "change it in the manager") && !is_advice("cisco-ftd", "show asp drop"));
    }

    #[test]
    fn lists_are_in_order_and_without_twins() {
        for (vendor, known, inferred) in LISTS {
            assert!(known.windows(2).all(|pair| pair[0] < pair[1]), "{vendor}");
            assert!(inferred.iter().all(|head| !known.contains(head)), "{vendor}");
        }
    }
}
