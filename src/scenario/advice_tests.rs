//! What the catalogue tells people to type on a box that carries other tunnels, too.

use super::load::embedded;
use crate::vendor::{commands, hazard};

/// Every fix: the scenario, the vendor, the lines.
fn fixes() -> Vec<(String, String, Vec<String>)> {
    let all = embedded().expect("they load");
    let of_one = |one: super::load::LoadedScenario| {
        let id = one.scenario.id;
        one.scenario.fix.into_iter().map(move |(vendor, lines)| (id.clone(), vendor.as_str().to_owned(), lines))
    };
    all.into_iter().flat_map(of_one).collect()
}

#[test]
fn no_fix_takes_down_other_tunnels() {
    let mut broken = Vec::new();
    for (id, vendor, lines) in fixes() {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        broken.extend(hazard::of(&vendor, &lines).into_iter().map(|what| format!("{id}, {vendor}: {what}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What may follow `crypto` and is one peer's, one interface's, or a thing with a name.
const OF_ONE: &[&str] = &[
    "crypto ca",
    "crypto ikev2 enable",
    "crypto ikev2 keyring",
    "crypto ikev2 policy",
    "crypto ikev2 profile",
    "crypto ikev2 proposal",
    "crypto ipsec ikev2 ipsec-proposal",
    "crypto ipsec profile",
    "crypto ipsec transform-set",
    "crypto map",
    "crypto pki",
];

#[test]
fn a_setting_of_the_whole_box_is_known_as_one() {
    for (id, vendor, lines) in fixes().into_iter().filter(|(_, vendor, _)| vendor.starts_with("cisco-")) {
        for line in lines.iter().filter(|line| !commands::is_advice(&vendor, line)) {
            let bare = line.strip_prefix("no ").unwrap_or(line);
            let of_one = OF_ONE.iter().any(|head| bare.starts_with(head));
            let global = bare.starts_with("crypto ") || bare.starts_with("sysopt ") || bare.starts_with("license ");
            assert_eq!(global && !of_one, commands::is_for_every_tunnel(line), "{id}, {vendor}: {line}");
        }
    }
}

/// Statements of others that we mend must not lead to the next outage.
#[test]
fn what_is_said_to_be_right_names_the_peer() {
    for one in embedded().expect("they load") {
        for claim in &one.scenario.wrong_claims {
            let clears = claim.truth.contains("clear crypto");
            assert!(!clears || claim.truth.contains("every tunnel"), "{}: {}", one.scenario.id, claim.truth);
        }
    }
}
