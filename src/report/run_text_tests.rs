use super::*;
use crate::report::run_junit;
use crate::scenario::file::Phase;
use crate::scenario::load;
use crate::scenario::proof::Proof;
use crate::scenario::result::{FaultCount, PeerInfo, Security, Summary, VendorLine};

fn case(id: &str, phase: Option<Phase>, verdict: Verdict, detail: &str) -> CaseResult {
    CaseResult {
        id: id.to_owned(),
        title: "t".to_owned(),
        phase,
        role: Role::Initiator,
        detects: Some(Who::Peer),
        verdict,
        detail: detail.to_owned(),
        expected: None,
        actual: None,
        again: None,
        proofs: Vec::new(),
        faults: Vec::new(),
        you_will_see: Vec::new(),
        at: 0.0,
        seconds: 0.118,
        virtual_time: false,
        stopped: false,
        capture: Some("002-x.pcapng".to_owned()),
        transcript: Some("002-x".to_owned()),
    }
}

/// One of each verdict.
fn sample() -> RunResult {
    let mut reproduced = case(
        "sa-init/no-proposal-encr",
        Some(Phase::SaInit),
        Verdict::Reproduced,
        "the peer answers NO_PROPOSAL_CHOSEN (packet 4)",
    );
    let line = |vendor: &str, line: &str, evidence| VendorLine { vendor: vendor.into(), line: line.into(), evidence };
    reproduced.you_will_see = vec![
        line("ASA", "%ASA-4-750003 ... ERROR: Received no proposal chosen notify", Evidence::Observed),
        line("PAN-OS", "no proposal chosen", Evidence::Inferred),
        line("AWS", "No Proposal Match Found by AWS", Evidence::Documented),
    ];
    reproduced.proofs = vec![Proof {
        path: "ike.encr".into(),
        field: "SA, ENCR".into(),
        baseline: "AES_CBC_256".into(),
        sent: "AES_CBC_128".into(),
        packet: Some(3),
    }];
    let mut not_seen = case(
        "child/ts-mask-wider",
        Some(Phase::Child),
        Verdict::NotSeen,
        "changed children.0.local_ts, seen in packet 29",
    );
    not_seen.seconds = 5.003;
    not_seen.expected = Some("the peer narrows or the peer answers TS_UNACCEPTABLE within 5 s".into());
    not_seen.actual = Some("the tunnel came up: <b> & \"c\"".into());
    not_seen.again = Some("ikelab run child/ts-mask-wider --role initiator --peer 192.0.2.10 --seed monday -v".into());
    let mut inconclusive =
        case("path/udp-500-silent", Some(Phase::Path), Verdict::Inconclusive, "the peer never initiated");
    inconclusive.role = Role::Responder;
    inconclusive.seconds = 60.01;
    inconclusive.faults = vec![FaultCount { name: "drop-received".into(), fired: 0 }];
    let mut unsupported = case(
        "sa-init/invalid-ke-retry",
        Some(Phase::SaInit),
        Verdict::Unsupported,
        "the baseline has no second key exchange group",
    );
    unsupported.capture = None;
    let cases = vec![
        case("sanity", None, Verdict::Pass, "IKE SA up, aes256-sha256-modp2048"),
        inconclusive,
        reproduced,
        unsupported,
        not_seen,
        case("sanity", None, Verdict::Pass, "peer alive after the suite"),
    ];
    RunResult {
        version: 1,
        tool: "ikelab 0.1.0".into(),
        plan_seed: "monday".into(),
        baseline: "isr-to-pan.yaml".into(),
        peer: PeerInfo { address: "192.0.2.10:500".into(), embedded: false, notes: vec![], controlled: true },
        started_unix_ms: 0,
        seconds: 99.4,
        security: Security::default(),
        summary: Summary::of(&cases, 4),
        cases,
        stopped: None,
        interrupted: false,
    }
}

fn print(run: &RunResult, color: bool, verbose: bool) -> String {
    let mut report = RunText::new(color, verbose);
    let mut text = report.head(run, "runs/0412-1530/");
    for case in &run.cases {
        text.push_str(&report.case(case));
    }
    text.push_str(&report.summary(run));
    text
}

#[test]
fn piped() {
    insta::assert_snapshot!(print(&sample(), false, false));
}

#[test]
fn verbose() {
    insta::assert_snapshot!(print(&sample(), false, true));
}

#[test]
fn coloured_says_the_same() {
    let coloured = print(&sample(), true, false);
    assert!(coloured.contains("\u{1b}[32m  REPRODUCED\u{1b}[0m"), "{coloured:?}");
    assert!(coloured.contains("\u{1b}[31m    NOT SEEN\u{1b}[0m"));
    assert!(coloured.contains("\u{1b}[33mINCONCLUSIVE\u{1b}[0m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, behind)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = behind.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    assert_eq!(plain, print(&sample(), false, false));
    // No cursor movement, no carriage return: a log keeps every line.
    assert!(!coloured.contains('\r') && !coloured.contains("\u{1b}[A") && !coloured.contains("\u{1b}[K"));
}

#[test]
fn keys_are_announced_loudly() {
    let mut run = sample();
    run.security.keys_exported = true;
    run.peer.notes = vec!["embedded peer: a demonstration, not evidence about a vendor".into()];
    let text = print(&run, false, false);
    assert!(text.contains("KEYS ARE WRITTEN"));
    assert!(text.contains("not evidence about a vendor"));
}

#[test]
fn junit_tells_a_wrong_peer_from_a_broken_lab() {
    insta::assert_snapshot!(run_junit::junit(&sample()));
}

#[test]
fn json_is_versioned() {
    let value: serde_json::Value = serde_json::from_str(&run_junit::json(&sample())).expect("it is JSON");
    assert_eq!(value["version"], 1);
    assert_eq!(value["plan_seed"], "monday");
    assert_eq!(value["cases"][2]["verdict"], "reproduced");
    assert_eq!(value["cases"][4]["verdict"], "not-seen");
    assert_eq!(value["summary"]["unsupported"], 1);
}

#[test]
fn a_catalogue_entry_reads_well() {
    let all = load::embedded().expect("they load");
    let one = all.iter().find(|one| one.scenario.id == "auth/psk-mismatch").expect("it is there");
    insta::assert_snapshot!(entry(one, 100));
}

#[test]
fn the_list() {
    insta::assert_snapshot!(list(&load::embedded().expect("they load")));
}
