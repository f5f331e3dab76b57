//! Tunnels with peers whose kernel really does ESP, in user-mode Linux. A machine takes seconds to boot, so each test is a list
//! of cases that share one; every case is reported by its name.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::netns::{Net, Side};
use crate::peer::PeerConfig;
use crate::proposal::Proposal;
use crate::tunnel::{Role, bring_up};
use crate::uml::Uml;
use crate::uml_data;
use crate::uml_peer::{Kind, UmlPeer};

/// What a case does to the network and the machine in it.
type Play = Box<dyn Fn(&Net, &UmlPeer)>;

/// A case: it gets the net and the peer, which holds no SA.
pub struct Case {
    name: String,
    run: Play,
}

impl Case {
    pub fn new(name: impl Into<String>, run: impl Fn(&Net, &UmlPeer) + 'static) -> Case {
        Case { name: name.into(), run: Box::new(run) }
    }
}

/// Boots a machine, starts the peer, plays every case even if one fails, and switches off.
#[track_caller]
fn play(kind: Kind, net: &Net, cases: &[Case]) {
    // For a person who works on one case.
    let only = std::env::var("IKELAB_UML_ONLY").unwrap_or_default();
    let cases: Vec<&Case> = cases.iter().filter(|case| case.name.contains(&only)).collect();
    assert!(!cases.is_empty(), "no case has `{only}` in its name");
    let begin = Instant::now();
    let uml = Uml::boot(net, Side::B);
    let boot = uml.boot;
    let peer = UmlPeer::start(net, uml, kind, &PeerConfig::of(net, Side::B));
    println!("{kind:?} in user-mode Linux: booted in {boot:.1?}, ready after {:.1?}", begin.elapsed());
    let mut failed = Vec::new();
    for case in &cases {
        let start = Instant::now();
        // A panic prints its own message.
        let fine = catch_unwind(AssertUnwindSafe(|| (case.run)(net, &peer))).is_ok();
        let word = if fine { "ok" } else { "FAILED" };
        println!("{kind:?}: {} ... {word} ({:.1?})", case.name, start.elapsed());
        if !fine {
            failed.push(case.name.as_str());
        }
    }
    peer.uml.power_off();
    assert!(failed.is_empty(), "{kind:?}: {} of {} cases failed: {}", failed.len(), cases.len(), failed.join(", "));
}

const BOTH: [Role; 2] = [Role::Initiator, Role::Responder];

/// Up in a role, both ends agree, every key in the peer's kernel is the one that we exported, and down again.
fn installed(role: Role, ike: &'static str, esp: &'static str) -> Case {
    Case::new(format!("{role:?} {ike} {esp}: keys in the kernel are ours").to_lowercase(), move |net, peer| {
        let (a, b) = PeerConfig::pair(net);
        peer.load(&b.suite(ike, esp));
        let tunnel = bring_up(net, Side::A, role, &a.suite(ike, esp), peer).unwrap_or_else(|why| panic!("{why}"));
        let sas = peer.xfrm();
        assert_eq!(sas.len(), 2, "one pair in the kernel: {sas:?}");
        let aead = Proposal::parse(esp).encr.is_aead();
        for sa in &sas {
            assert_eq!((sa.mode.as_str(), sa.encapsulated, sa.mac.is_empty()), ("tunnel", false, aead), "{sa:?}");
        }
        tunnel.take_down().unwrap_or_else(|why| panic!("{why}"));
        let left = peer.xfrm();
        assert!(left.is_empty(), "after our DELETE the kernel still holds {left:?}");
    })
}

fn key_cases() -> Vec<Case> {
    let suites = [("aes128-sha256-x25519", "aes128-sha256"), ("aes256gcm16-prfsha384-ecp256", "aes256gcm16")];
    BOTH.iter().flat_map(|role| suites.iter().map(|(ike, esp)| installed(*role, ike, esp))).collect()
}

fn all_cases(kind: Kind) -> Vec<Case> {
    key_cases().into_iter().chain(uml_data::cases(kind)).collect()
}

#[test]
fn strongswan_with_a_real_kernel() {
    play(Kind::StrongSwan, &Net::new(), &all_cases(Kind::StrongSwan));
}

#[test]
fn libreswan_with_a_real_kernel() {
    play(Kind::Libreswan, &Net::new(), &all_cases(Kind::Libreswan));
}
