//! Every failure scenario against every real peer, in both roles, as a person runs them: `ikelab run --peer`, with a
//! connection file whose `control` drives the peer. What each has to come to is in one table; any difference fails.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Ikelab;
use crate::libreswan::Libreswan;
use crate::netns::{Net, Side};
use crate::openiked::{self, OpenIked};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig, tail};
use crate::strongswan::StrongSwan;
use crate::tshark::{self, ALLOWED, Clean};
use crate::tunnel::Role;

/// What a scenario must come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    /// The documented failure is seen.
    Reproduced,
    /// `NOT SEEN`, since this peer does not have what the scenario is about.
    PeerLacksFeature,
    /// `NOT SEEN`, since this peer takes what others refuse.
    PeerTolerates,
    /// The scenario has no such role.
    RoleAbsent,
    /// This peer has not met it.
    NotPlayed,
}

use Expect::{NotPlayed, PeerLacksFeature, PeerTolerates, Reproduced, RoleAbsent};
use Role::{Initiator, Responder};

/// The peers, in the order of the table's columns.
const PEERS: [&str; 3] = ["strongSwan", "libreswan", "OpenIKED"];

/// Scenario, ikelab's role, and what it comes to with strongSwan, libreswan and OpenIKED.
const TABLE: &[(&str, Role, [Expect; 3])] = &[
    ("sa-init/no-proposal-encr", Initiator, [Reproduced; 3]),
    ("sa-init/no-proposal-encr", Responder, [Reproduced; 3]),
    ("sa-init/no-proposal-prf", Initiator, [Reproduced; 3]),
    ("sa-init/no-proposal-prf", Responder, [Reproduced; 3]),
    ("sa-init/no-common-group", Initiator, [Reproduced; 3]),
    ("sa-init/no-common-group", Responder, [Reproduced; 3]),
    ("sa-init/invalid-ke-retry", Initiator, [Reproduced; 3]),
    ("sa-init/invalid-ke-retry", Responder, [Reproduced; 3]),
    ("sa-init/invalid-ke-no-retry", Initiator, [Reproduced; 3]),
    ("sa-init/invalid-ke-no-retry", Responder, [Reproduced; 3]),
    // OpenIKED never demands a cookie.
    ("sa-init/cookie-challenge", Initiator, [Reproduced, Reproduced, PeerLacksFeature]),
    ("sa-init/cookie-challenge", Responder, [Reproduced; 3]),
    ("auth/psk-mismatch", Initiator, [Reproduced; 3]),
    ("auth/psk-mismatch", Responder, [Reproduced; 3]),
    ("child/no-proposal", Initiator, [Reproduced; 3]),
    ("child/no-proposal", Responder, [Reproduced; 3]),
    // OpenIKED answers with the selectors that it has, whatever was asked for; the engine refuses those.
    ("child/ts-not-mirrored", Initiator, [Reproduced, Reproduced, PeerTolerates]),
    ("child/ts-not-mirrored", Responder, [Reproduced; 3]),
    ("child/ts-mask-narrower", Initiator, [Reproduced, Reproduced, PeerTolerates]),
    ("child/ts-mask-narrower", Responder, [Reproduced; 3]),
    ("child/ts-mask-wider", Initiator, [Reproduced; 3]),
    ("child/ts-mask-wider", Responder, [Reproduced; 3]),
    ("child/ts-extra-subnet", Initiator, [Reproduced; 3]),
    // A peer that does not ask for our extra subnet sees nothing wrong.
    ("child/ts-extra-subnet", Responder, [RoleAbsent; 3]),
    ("path/udp-500-silent", Initiator, [Reproduced; 3]),
    ("path/udp-500-silent", Responder, [Reproduced; 3]),
    ("path/udp-4500-blocked", Initiator, [Reproduced; 3]),
    ("path/udp-4500-blocked", Responder, [Reproduced; 3]),
    // The rest of what a handshake and the life of a tunnel have; what needs minutes or a data plane has not met them.
    ("sa-init/no-proposal-integ", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("sa-init/bad-key-exchange", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("sa-init/nonce-too-short", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("sa-init/ikev1-to-ikev2", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("sa-init/major-version-higher", Initiator, [Reproduced, Reproduced, NotPlayed]),
    // Reproduced with both, too, but nothing that tshark could find clean: it would spoil the capture for the others.
    ("sa-init/malformed", Initiator, [NotPlayed; 3]),
    ("auth/psk-one-direction", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("auth/method-mismatch", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("auth/id-mismatch", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("auth/id-mismatch-half-open", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("auth/critical-payload", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("auth/response-lost", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("auth/certificate-refused", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("auth/fragmentation-mismatch", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("child/ts-disjoint", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("child/ts-narrowed-silently", Initiator, [Reproduced, Reproduced, NotPlayed]),
    // libreswan has extended sequence numbers and takes them.
    ("child/esn-mismatch", Initiator, [Reproduced, PeerTolerates, NotPlayed]),
    ("child/transport-vs-tunnel", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("child/vti-vs-proxy-id", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("child/single-pair-required", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("child/childless", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("rekey/pfs-mismatch", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("rekey/pfs-mismatch-second-child", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("rekey/no-rekey-notify", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("rekey/ts-asymmetric", Initiator, [Reproduced, Reproduced, NotPlayed]),
    // libreswan answers a DELETE with one of its own whatever SPI was named.
    ("rekey/delete-wrong-spi", Initiator, [Reproduced, PeerTolerates, NotPlayed]),
    ("rekey/message-id", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("liveness/unknown-spi", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("liveness/flapping", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("nat/traversal-off", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("nat/detection-forced", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("nat/stays-on-500", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("path/first-packets-lost", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("path/slow-line", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("path/duplicated-packets", Initiator, [Reproduced, Reproduced, NotPlayed]),
    ("sa-init/no-proposal-integ", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("sa-init/ikev1-to-ikev2", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/psk-one-direction", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/id-mismatch", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/id-mismatch-half-open", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/method-mismatch", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/critical-payload", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/response-lost", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/certificate-refused", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("auth/fragmentation-mismatch", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("child/ts-disjoint", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("child/ts-narrowed-silently", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("child/esn-mismatch", Responder, [Reproduced, PeerTolerates, NotPlayed]),
    ("child/single-pair-required", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("child/config-request", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("rekey/ts-asymmetric", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("rekey/no-rekey-notify", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("rekey/message-id", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("liveness/unknown-spi", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("nat/traversal-off", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("nat/detection-forced", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("path/first-packets-lost", Responder, [Reproduced, Reproduced, NotPlayed]),
    ("path/duplicated-packets", Responder, [Reproduced, Reproduced, NotPlayed]),
];

/// How long all scenarios of one role may take with one peer.
const WHOLE_RUN: Duration = Duration::from_secs(150);

/// Plays every scenario in one role and compares with a column of the table.
fn play(net: &Net, role: Role, ours: &PeerConfig, peer: &dyn Peer) -> Result<(), String> {
    let ikelab = Ikelab::new(net, Side::A, ours, Some(&peer.control()));
    let capture = net.capture(Side::B);
    let (address, word) = (ours.remote.to_string(), format!("{role:?}").to_lowercase());
    // What stands in the table; the rest of the catalogue has not met real peers yet.
    let ids = TABLE
        .iter()
        .filter(|(_, r, columns)| *r == role && !matches!(expected(columns, peer.name()), RoleAbsent | NotPlayed));
    let mut args: Vec<&str> = ids.map(|(id, ..)| *id).collect();
    args.extend(["--peer", &address, "--role", &word]);
    let done = ikelab.run("run", &args, WHOLE_RUN);
    let result = ikelab.run_dir().result().ok_or_else(|| format!("no result: {done}"))?;
    let differences = compare(&result, role, peer.name());
    if !differences.is_empty() {
        return Err(format!("{differences}\n{done}\n{}", tail(&peer.log())));
    }
    // The exit code must tell the same as the result.
    let unseen = |e| matches!(e, PeerLacksFeature | PeerTolerates);
    let missed = TABLE.iter().any(|(_, r, columns)| *r == role && unseen(expected(columns, peer.name())));
    if done.code() != Some(i32::from(missed)) {
        return Err(format!("exit code {:?}\n{done}", done.code()));
    }
    // These scenarios are wrong in what they ask for, not in how they write it.
    tshark::assert_clean(&capture.finish(), None, &Clean { allow: ALLOWED, verified: false });
    Ok(())
}

fn expected(columns: &[Expect; 3], peer: &str) -> Expect {
    columns[PEERS.iter().position(|name| *name == peer).expect("every peer has a column")]
}

/// Differences between a result and the table, one per line.
fn compare(result: &Value, role: Role, peer: &str) -> String {
    let mut text = String::new();
    let cases: Vec<&Value> = result["cases"].as_array().into_iter().flatten().collect();
    for case in cases.iter().filter(|c| c["phase"].is_null() && c["verdict"] != "pass") {
        let _ = writeln!(text, "{peer}: an honest tunnel: {}", case["detail"]);
    }
    for (id, _, columns) in TABLE.iter().filter(|row| row.1 == role) {
        let case = cases.iter().find(|c| c["id"] == *id);
        let verdict = case.and_then(|c| c["verdict"].as_str());
        let wanted = expected(columns, peer);
        let right = match wanted {
            Reproduced => verdict == Some("reproduced"),
            PeerLacksFeature | PeerTolerates => verdict == Some("not-seen"),
            RoleAbsent | NotPlayed => case.is_none(),
        };
        if !right {
            let why = case.map(|c| format!("{}; {}", c["detail"], c["actual"])).unwrap_or_default();
            let _ = writeln!(text, "{peer} {id} {role:?}: {wanted:?} expected, {verdict:?}: {why}");
        }
    }
    for case in cases.iter().filter(|c| !c["phase"].is_null()) {
        if !TABLE.iter().any(|(id, r, _)| *r == role && case["id"] == *id) {
            let _ = writeln!(text, "{} {role:?} is not in the table", case["id"]);
        }
    }
    text
}

/// Both roles at once, in namespaces of their own: they mostly wait.
#[track_caller]
fn both_roles(peer: &str, play: impl Fn(Role) + Sync) {
    let failed: Vec<Role> = std::thread::scope(|scope| {
        let start = |role: Role| {
            let play = &play;
            let name = format!("scenarios.{peer}.{role:?}").to_lowercase();
            std::thread::Builder::new().name(name).spawn_scoped(scope, move || play(role)).expect("a thread starts")
        };
        let running = [Initiator, Responder].map(|role| (role, start(role)));
        running.into_iter().filter_map(|(role, thread)| thread.join().is_err().then_some(role)).collect()
    });
    assert!(failed.is_empty(), "{peer}: ikelab as {failed:?}; the messages are above");
}

/// Two groups that both ends have, and an ESP proposal.
fn baseline(net: &Net, esp: &str) -> (PeerConfig, PeerConfig) {
    let (a, b) = PeerConfig::pair(net);
    let with = |c: PeerConfig| PeerConfig {
        ike: vec!["aes256-sha256-modp2048".to_owned(), "aes256-sha256-ecp256".to_owned()],
        esp: vec![esp.to_owned()],
        ..c
    };
    (with(a), with(b))
}

#[test]
fn strongswan() {
    both_roles("strongswan", |role| {
        let net = Net::new();
        let (a, b) = baseline(&net, "aes256gcm16");
        let peer = StrongSwan::start(&net, Side::B, &b.wants_cookies(), DataPlane::Shim);
        play(&net, role, &a, &peer).unwrap_or_else(|why| panic!("{why}"));
    });
}

#[test]
fn libreswan() {
    both_roles("libreswan", |role| {
        let net = Net::new();
        let (a, b) = baseline(&net, "aes256gcm16");
        let b = b.knob(Knob::LibreswanSetup, "ddos-mode", "busy");
        let peer = Libreswan::start(&net, Side::B, &b);
        play(&net, role, &a, &peer).unwrap_or_else(|why| panic!("{why}"));
    });
}

#[test]
fn openiked() {
    both_roles("openiked", |role| {
        openiked::with_retries(|| {
            let net = Net::new();
            let (a, b) = baseline(&net, openiked::CHILD);
            let peer = OpenIked::start(&net, Side::B, &b);
            play(&net, role, &a, &peer)
        });
    });
}
