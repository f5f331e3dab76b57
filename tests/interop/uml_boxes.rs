//! The scenarios with a NAT or a firewall that stands at our sockets, with peers whose kernel does ESP, in UDP and without.
//! What needs a peer that follows ESP to a new port (RFC 7296 2.23) shows with strongSwan only.

use std::time::Duration;

use serde_json::Value;

use ikelab::scenario::file::{Role, Step};

use crate::cli::Ikelab;
use crate::expectations;
use crate::netns::{Net, Side};
use crate::peer::{Knob, Peer, PeerConfig, tail};
use crate::tshark::{self, Clean};
use crate::uml::Uml;
use crate::uml_peer::{Kind, UmlPeer};

const IKE: &str = "aes256-sha256-modp2048";
const ESP: &str = "aes256gcm16";
/// What tshark may say: boxes stop ESP on purpose.
const ESP_LOST: &[(&str, &str)] = &[("esp.sequence-analysis.wrong-sequence-number", "boxes stop ESP on purpose")];
/// They wait for half a minute each, at twice the speed.
const WHOLE_RUN: Duration = Duration::from_secs(240);

/// The scenarios that put a box on the path, and how many cases they have.
fn with_a_box() -> (Vec<String>, usize) {
    let (mut ids, mut cases) = (Vec::new(), 0);
    for one in expectations::catalogue() {
        let stands = |role: &Role| {
            let case = one.scenario.roles.get(*role);
            case.is_some_and(|case| case.steps.iter().any(|step| matches!(step, Step::Nat(_) | Step::Firewall(_))))
        };
        let roles = Role::ALL.iter().filter(|role| stands(role)).count();
        if roles > 0 {
            ids.push(one.scenario.id.clone());
            cases += roles;
        }
    }
    (ids, cases)
}

/// Plays all of them, as initiator and as responder. They have to be reproduced, but for `unseen`, where the peer goes on
/// answering to the port that was.
#[track_caller]
fn all_are_reproduced(kind: Kind, unseen: &[(&str, Role)]) {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let a = a.suite(IKE, ESP).knob(Knob::Ikelab, "data", "{ping: {address: 10.2.2.2}}").knob(
        Knob::Ikelab,
        "retransmit",
        "{initial: 2s, attempts: 4}",
    );
    let peer = UmlPeer::start(&net, Uml::boot(&net, Side::B), kind, &b.suite(IKE, ESP));
    let ikelab = Ikelab::new(&net, Side::A, &a, Some(&peer.control()));
    let capture = net.capture(Side::B);
    let (ids, cases) = with_a_box();
    let address = a.remote.to_string();
    let mut args: Vec<&str> = ids.iter().map(String::as_str).collect();
    args.extend(["--peer", &address, "--hurry", "2"]);
    let done = ikelab.run("run", &args, WHOLE_RUN);
    let log = peer.log();
    let result = ikelab.run_dir().result().unwrap_or_else(|| panic!("no result: {done}\n{}", tail(&log)));
    let all = result["cases"].as_array().cloned().unwrap_or_default();
    let (played, honest): (Vec<Value>, Vec<Value>) = all.into_iter().partition(|case| !case["phase"].is_null());
    assert_eq!(played.len(), cases, "{done}");
    for case in &played {
        let name = format!("{kind:?} {} {}", case["id"], case["role"]);
        println!("{name}: {} {}", case["verdict"], case["detail"]);
    }
    for case in played.iter().chain(&honest) {
        let unseen = unseen.iter().any(|(id, role)| case["id"] == *id && case["role"] == role.name());
        let wanted = match unseen {
            true => "not-seen",
            false if case["phase"].is_null() => "pass",
            false => "reproduced",
        };
        let well = case["verdict"] == wanted && case["honest_after"] != false;
        assert!(well, "{kind:?} {case:#}\n{done}\n{}", tail(&log));
    }
    tshark::assert_clean(&capture.finish(), None, &Clean { allow: ESP_LOST, verified: false });
    peer.uml.power_off();
}

#[test]
fn strongswan() {
    all_are_reproduced(Kind::StrongSwan, &[]);
}

#[test]
fn libreswan() {
    let comes_back = [("nat/mapping-expiry", Role::Initiator), ("nat/no-keepalive", Role::Initiator)];
    all_are_reproduced(Kind::Libreswan, &comes_back);
}
