//! A finished run to try reports on.

use super::file::{Evidence, Phase, Role, Who};
use super::proof::Proof;
use super::result::{CaseResult, FaultCount, PeerInfo, RunResult, Security, Summary, VendorLine};
use super::verdict::Verdict;

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
        story: String::new(),
        fix: Vec::new(),
        ladder: Vec::new(),
        at: 0.0,
        seconds: 0.118,
        virtual_time: false,
        honest_after: None,
        stopped: false,
        capture: Some("002-x.pcapng".to_owned()),
        transcript: Some("002-x".to_owned()),
        peer_log: vec![],
        differs: None,
    }
}

/// One of each verdict.
pub fn sample() -> RunResult {
    let mut reproduced = case(
        "sa-init/no-proposal-encr",
        Some(Phase::SaInit),
        Verdict::Reproduced,
        "the peer answers NO_PROPOSAL_CHOSEN (packet 4)",
    );
    let line = |vendor: &str, line: &str, evidence| VendorLine {
        vendor: vendor.into(),
        line: line.into(),
        evidence,
        sources: Vec::new(),
    };
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
        command: "run".to_owned(),
        version: 1,
        tool: "ikelab 0.1.0".into(),
        plan_seed: "monday".into(),
        baseline: "isr-to-pan.yaml".into(),
        peer: PeerInfo {
            address: "192.0.2.10:500".into(),
            embedded: false,
            notes: vec![],
            persona: None,
            controlled: true,
        },
        started_unix_ms: 0,
        seconds: 99.4,
        security: Security::default(),
        summary: Summary::of(&cases, 4),
        cases,
        stopped: None,
        interrupted: false,
    }
}
