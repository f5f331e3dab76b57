//! Plays the checks of all named faults, and sees to it that none is without.

#[path = "esp.rs"]
mod esp;

use std::collections::BTreeSet;

use ikelab::fault::table;

use crate::faults::seen::SEEN;
use crate::faults::{Check, SECTIONS};

fn judge(checks: &[Check]) {
    let wrong: Vec<String> = checks.iter().filter_map(|check| check.judge().err()).collect();
    assert!(wrong.is_empty(), "{} of {} checks:\n{}", wrong.len(), checks.len(), wrong.join("\n"));
}

#[test]
fn every_fault_has_its_check() {
    let checked: BTreeSet<&str> =
        SECTIONS.iter().copied().flatten().map(|check| check.name).chain(esp::names()).collect();
    let missing: Vec<&str> = table::all().map(|row| row.name).filter(|name| !checked.contains(name)).collect();
    assert!(missing.is_empty(), "without a check: {missing:?}");
    let unknown: Vec<&&str> = checked.iter().filter(|name| table::find(name).is_err()).collect();
    assert!(unknown.is_empty(), "no such faults: {unknown:?}");
}

#[test]
fn what_wireshark_shows_of_it_is_said_of_every_fault() {
    let said: BTreeSet<&str> = SEEN.iter().map(|(name, _)| *name).collect();
    assert_eq!(said.len(), SEEN.len(), "a fault stands twice");
    let of: BTreeSet<&str> = SECTIONS.iter().copied().flatten().map(|check| check.name).collect();
    let missing: Vec<&&str> = of.difference(&said).collect();
    let unknown: Vec<&&str> = said.difference(&of).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}; unknown: {unknown:?}");
}

#[test]
fn datagrams_and_headers() {
    judge(SECTIONS[0]);
}

#[test]
fn payloads_and_proposals() {
    judge(SECTIONS[1]);
}

#[test]
fn key_exchange_and_the_first_exchange() {
    judge(SECTIONS[2]);
}

#[test]
fn authentication_protection_and_fragments() {
    judge(SECTIONS[3]);
}

#[test]
fn rekeys_deletes_and_timers() {
    judge(SECTIONS[4]);
}

/// A condition that nobody can judge where the fault acts is an error of the scenario file, with its place.
#[test]
fn a_senseless_rule_in_a_scenario_file_is_an_error_with_its_line() {
    let wrong = "id: auth/mine
title: A test
phase: auth
story: The fault no-keepalives is named here as well.
mechanics: None.
sources: [RFC 7296]
roles:
  initiator:
    plays: nothing that could be
    faults:
      - {use: no-keepalives, when: {exchange: IKE_AUTH}}
    detects: us
    steps:
      - establish: {}
      - expect: {any: [{is: it comes up, event: up}], within: 5s}
";
    let parse = |text: &str| ikelab::scenario::load::parse(text, std::path::Path::new("mine.yaml"));
    let error = parse(wrong).expect_err("no timer belongs to an exchange").to_string();
    let expected = "mine.yaml:11:10: fault no-keepalives acts at the seam timer, where \"exchange\" is not known";
    assert_eq!(error, expected);
    parse(&wrong.replace(", when: {exchange: IKE_AUTH}", "")).expect("without the condition it is fine");
}
