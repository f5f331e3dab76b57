//! The rules that every printed fix keeps, so that nobody takes down the other tunnels of a box with it. Only tests ask.

use std::net::IpAddr;

/// What the lines of one fix would do to more than the tunnel that they are about, in words.
pub(crate) fn of(vendor: &str, lines: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let (before, after) = (&lines[..n], &lines[n + 1..]);
        out.extend(clears(vendor, line));
        out.extend(debugs(vendor, line, before, after));
        out.extend(replaces(line, before));
    }
    out
}

/// How each box names the one peer whose SAs it is to drop.
const CLEARS: &[(&str, &str)] = &[
    ("cisco-ios-xe", "crypto ikev2 sa remote"),
    ("cisco-ios-xe", "crypto sa peer"),
    ("cisco-ios-xe", "crypto session remote"),
    ("cisco-asa", "crypto ikev2 sa"),
    ("cisco-asa", "crypto ipsec sa peer"),
    ("paloalto-panos", "vpn ike-sa gateway"),
    ("paloalto-panos", "vpn ipsec-sa tunnel"),
];

/// A `clear` that names no peer drops every tunnel of the box.
fn clears(vendor: &str, line: &str) -> Option<String> {
    let vendor = if vendor == "cisco-ftd" { "cisco-asa" } else { vendor };
    for what in commands(line, "clear ") {
        let of_a_box = what.starts_with("crypto ") || what.starts_with("vpn ");
        if !of_a_box && !line.trim_start().starts_with("clear ") {
            continue;
        }
        let one_peer = CLEARS.iter().filter(|(name, _)| *name == vendor).any(|(_, form)| {
            what.strip_prefix(form).and_then(|rest| rest.strip_prefix(' ')).is_some_and(|rest| names(vendor, rest))
        });
        if !one_peer {
            return Some(format!("{line:?} clears more than one peer's"));
        }
    }
    None
}

/// Whether the first word of `rest` is a peer.
fn names(vendor: &str, rest: &str) -> bool {
    let word = rest.split_whitespace().next().unwrap_or_default().trim_end_matches([',', ';', ':']);
    if vendor == "paloalto-panos" {
        return !word.is_empty() && !["at", "and", "on", "or"].contains(&word);
    }
    word.parse::<IpAddr>().is_ok() || word.starts_with('<') || word == "A.B.C.D"
}

/// A debug is bound to one peer before it begins, and switched off.
fn debugs(vendor: &str, line: &str, before: &[&str], after: &[&str]) -> Option<String> {
    let condition = if vendor == "cisco-ios-xe" { "condition peer ipv4 " } else { "condition peer " };
    let bound = |line: &&str| {
        commands(line, "debug crypto ").any(|what| what.strip_prefix(condition).is_some_and(|rest| names(vendor, rest)))
    };
    let later = |command: &str| after.iter().any(|line| line.trim() == command || line.contains(command));
    for what in commands(line, "debug crypto ") {
        let is_condition = what.starts_with("condition");
        if is_condition && !bound(&line) {
            return Some(format!("{line:?} is no condition of this box"));
        }
        if !is_condition && !before.iter().any(bound) {
            return Some(format!("{line:?} has no condition before it"));
        }
        if !is_condition && !later("undebug all") {
            return Some(format!("{line:?} is never switched off"));
        }
    }
    for (on, off) in
        [("debug ike pcap on", "debug ike pcap off"), ("debug ike global on debug", "debug ike global on normal")]
    {
        if line.contains(on) && !later(off) {
            return Some(format!("{line:?} is never switched off"));
        }
    }
    let mut words = line.split_whitespace();
    if let (Some("capture"), Some(name), Some("interface")) = (words.next(), words.next(), words.next())
        && !later(&format!("no capture {name}"))
    {
        return Some(format!("{line:?} is never removed"));
    }
    None
}

/// What takes the place of something that serves others.
fn replaces(line: &str, before: &[&str]) -> Option<String> {
    let command = line.trim_start();
    if command.starts_with("crypto isakmp identity") {
        return Some(format!("{line:?} changes how the box names itself to every peer"));
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    let below_an_interface = line.starts_with(' ')
        && before.iter().rev().find(|line| !line.starts_with(' ')).is_some_and(|line| line.starts_with("interface "));
    let applied = match words.as_slice() {
        ["crypto", "map", _, "interface", ..] => true,
        ["crypto", "map", _] => below_an_interface,
        _ => false,
    };
    if applied && !before.iter().any(|line| line.contains("an interface has one crypto map")) {
        return Some(format!("{line:?} takes the crypto map of the others off the interface, and does not say so"));
    }
    if line.contains("sync-to-remote") && !line.contains("overwrites") {
        return Some(format!("{line:?} overwrites the other unit, and does not say so"));
    }
    None
}

/// What follows `head` wherever it stands as a command of its own.
fn commands<'a>(line: &'a str, head: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(head)
        .filter(|(at, _)| !line[..*at].ends_with(char::is_alphanumeric))
        .map(move |(at, _)| &line[at + head.len()..])
}

#[test]
fn each_rule_has_teeth() {
    let broken = |vendor: &str, lines: &[&str]| of(vendor, lines).len();
    for (vendor, lines) in [
        ("cisco-ios-xe", &["clear crypto ikev2 sa"][..]),
        ("cisco-ios-xe", &["compare the two; then clear crypto session"]),
        ("cisco-ios-xe", &["clear crypto ipsec sa peer 198.51.100.20"]),
        ("cisco-ios-xe", &["clear crypto ikev2 sa remote"]),
        ("cisco-asa", &["clear crypto ikev2 sa remote 198.51.100.20"]),
        ("cisco-asa", &["clear crypto ipsec sa"]),
        ("cisco-ftd", &["clear xlate"]),
        ("paloalto-panos", &["clear vpn ike-sa gateway"]),
        ("paloalto-panos", &["debug ike pcap on", "less mp-log ikemgr.log"]),
        ("paloalto-panos", &["debug ike pcap off", "debug ike pcap on"]),
        ("cisco-asa", &["debug crypto ca 14", "undebug all"]),
        ("cisco-asa", &["debug crypto condition peer 198.51.100.20", "debug crypto ca 14"]),
        ("cisco-ios-xe", &["debug crypto condition peer 198.51.100.20"]),
        ("cisco-asa", &["capture X interface outside match udp any any eq 500", "no capture Y"]),
        ("cisco-asa", &["crypto isakmp identity auto"]),
        ("cisco-asa", &["crypto map M interface outside"]),
        ("cisco-ios-xe", &["interface GigabitEthernet1", " crypto map M"]),
        ("paloalto-panos", &["request high-availability sync-to-remote running-config"]),
    ] {
        assert_eq!(broken(vendor, lines), 1, "{vendor} {lines:?}: {:?}", of(vendor, lines));
    }
    for (vendor, lines) in [
        ("cisco-ios-xe", &["so that nothing leaves in clear when the tunnel is down"][..]),
        ("cisco-ios-xe", &["clear crypto ikev2 sa remote 198.51.100.20, at both ends"]),
        ("cisco-asa", &["clear crypto ikev2 sa <ADDRESS>"]),
        ("cisco-asa", &["crypto map M 10 set peer 198.51.100.20"]),
        ("cisco-asa", &["debug crypto condition peer 198.51.100.20", "debug crypto ca 14", "undebug all"]),
        ("cisco-asa", &["an interface has one crypto map: look", "crypto map M interface outside"]),
    ] {
        assert_eq!(broken(vendor, lines), 0, "{vendor} {lines:?}: {:?}", of(vendor, lines));
    }
}
