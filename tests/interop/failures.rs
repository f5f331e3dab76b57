//! A real peer that is misconfigured, or a firewall on the way: what `ikelab connect` and `ikelab listen` say about it.
//! The scenarios misconfigure ikelab; here it is the other end, as in life.

use std::time::Duration;

use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::libreswan::Libreswan;
use crate::netns::{Block, Net, Side};
use crate::peer::{DataPlane, Id, Knob, Peer, PeerConfig};
use crate::process::try_wait_for;
use crate::strongswan::StrongSwan;
use crate::tunnel::listening;

/// How the peer's configuration differs from the one that works, and the class that either role must find.
struct Mistake {
    name: &'static str,
    make: fn(&mut PeerConfig),
    as_initiator: &'static str,
    as_responder: &'static str,
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "another key",
        make: |c| c.psk = "another-psk-0123456789".to_owned(),
        as_initiator: "auth_failed",
        as_responder: "auth_failed",
    },
    Mistake {
        name: "another cipher",
        make: |c| c.ike = vec!["aes128-sha256-modp2048".to_owned()],
        as_initiator: "no_proposal_ike",
        as_responder: "no_proposal_ike",
    },
    Mistake {
        name: "another hash",
        make: |c| c.ike = vec!["aes256-sha512-modp2048".to_owned()],
        as_initiator: "no_proposal_ike",
        as_responder: "no_proposal_ike",
    },
    Mistake {
        name: "another group",
        make: |c| c.ike = vec!["aes256-sha256-ecp256".to_owned()],
        as_initiator: "no_proposal_ike",
        as_responder: "no_proposal_ike",
    },
    Mistake {
        name: "another ESP cipher",
        make: |c| c.esp = vec!["aes256gcm16".to_owned()],
        as_initiator: "no_proposal_child",
        as_responder: "no_proposal_child",
    },
    Mistake {
        name: "other selectors",
        make: |c| c.remote_ts = vec!["192.0.2.0/24".to_owned()],
        as_initiator: "ts_unacceptable",
        as_responder: "ts_unacceptable",
    },
    Mistake {
        name: "another name for itself",
        make: |c| c.local_id = Id::fqdn("somebody.test"),
        as_initiator: "id_mismatch",
        as_responder: "id_mismatch",
    },
];

/// Plays every mistake in both roles with one peer, which `load` reconfigures.
#[track_caller]
fn every_mistake(net: &Net, peer: &dyn Peer, load: &dyn Fn(&PeerConfig)) {
    let (a, b) = base(net);
    let mut wrong = String::new();
    let mut check = |what: String, wanted: &str, found: Result<String, String>| match found {
        Ok(class) if class == wanted => {}
        other => wrong += &format!("{} {what}: {wanted} expected, {other:?}\n", peer.name()),
    };
    for (n, mistake) in MISTAKES.iter().enumerate() {
        let mut theirs = b.clone();
        (mistake.make)(&mut theirs);
        load(&theirs);
        let ikelab = Ikelab::named(net, Side::A, &format!("connect-{n}"), &a, None);
        let done = ikelab.run("connect", &["--once"], Duration::from_secs(15));
        let found = match (done.code(), ikelab.run_dir().result()) {
            (Some(1), Some(result)) => classes(&result),
            _ => Err(done.to_string()),
        };
        check(format!("connect, {}", mistake.name), mistake.as_initiator, found);
        peer.terminate();

        let ikelab = Ikelab::named(net, Side::A, &format!("listen-{n}"), &a, None);
        let mut process = listening(&ikelab, &[]);
        let tried = peer.initiate();
        // A command that does not wait for the outcome comes back first.
        let noticed = || process.stdout().contains("  x #").then_some(());
        let seen = try_wait_for(Duration::from_secs(3), noticed).is_some();
        peer.terminate();
        let found = match (tried, seen, interrupt(&mut process), ikelab.run_dir().result()) {
            (Err(_), true, Some(0), Some(result)) => classes(&result),
            (tried, _, code, _) => Err(format!("initiated: {tried:?}, exit {code:?}\n{}", process.stdout())),
        };
        check(format!("listen, {}", mistake.name), mistake.as_responder, found);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The one class of all findings: a peer may try again and fail again.
fn classes(result: &Value) -> Result<String, String> {
    let mut all: Vec<&str> =
        result["findings"].as_array().into_iter().flatten().filter_map(|f| f["class"].as_str()).collect();
    all.dedup();
    match all[..] {
        [one] => Ok(one.to_owned()),
        _ => Err(format!("findings {all:?}")),
    }
}

fn base(net: &Net) -> (PeerConfig, PeerConfig) {
    let (a, b) = PeerConfig::pair(net);
    let (ike, esp) = ("aes256-sha256-modp2048", "aes128-sha1");
    (a.suite(ike, esp), b.suite(ike, esp))
}

#[test]
fn strongswan_misconfigured() {
    let net = Net::new();
    let peer = StrongSwan::start(&net, Side::B, &base(&net).1, DataPlane::Shim);
    every_mistake(&net, &peer, &|config| peer.load(config));
}

#[test]
fn libreswan_misconfigured() {
    let net = Net::new();
    // Its command waits for as long as it tries.
    let knobs = |c: PeerConfig| c.knob(Knob::Libreswan, "retransmit-timeout", "1s");
    let peer = Libreswan::start(&net, Side::B, &knobs(base(&net).1));
    every_mistake(&net, &peer, &|config| peer.load(&knobs(config.clone())));
}

/// A real packet filter, not one of ikelab's own faults.
#[test]
fn firewalls_are_told_apart() {
    for (block, nat, exchange, word) in
        [(Block::Udp500, false, "IKE_SA_INIT", "500"), (Block::Udp4500, true, "IKE_AUTH", "4500")]
    {
        let net = if nat { Net::behind_nat() } else { Net::new() };
        let (a, b) = base(&net);
        let a = a.knob(Knob::Ikelab, "retransmit", "{initial: 100ms, attempts: 3}");
        let b = b.knob(Knob::SwanConnection, "remote_addrs", "%any");
        let _peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let blocked = net.block(Side::B, block);
        let ikelab = Ikelab::new(&net, Side::A, &a, None);
        let done = ikelab.run("connect", &["--once"], Duration::from_secs(15));
        assert_eq!(done.code(), Some(1), "{done}");
        assert_eq!(blocked.packets(), 3, "all transmissions met the filter");
        let result = ikelab.run_dir().result().expect("a report");
        let finding = &result["findings"][0];
        assert_eq!(finding["class"], "no_response", "{finding}");
        assert!(done.stdout.contains(exchange) && finding.to_string().contains(word), "{finding}");
        blocked.lift();
        let done = ikelab.run("connect", &["--once"], Duration::from_secs(15));
        assert_eq!(done.code(), Some(0), "{done}");
    }
}
