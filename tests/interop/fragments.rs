//! Large messages on narrow paths, with strongSwan: IP fragmentation seen and forbidden, fragments that vanish, and smaller
//! ones that get through (RFC 7383 2.5.2).

use std::time::Duration;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig};
use crate::process::{run, wait_for};
use crate::strongswan::StrongSwan;
use crate::tunnel::{HANDSHAKE, listening};

const SOON: Duration = Duration::from_secs(20);

/// Both ends with so many traffic selectors that IKE_AUTH has about 2,000 octets.
fn large(net: &Net) -> (PeerConfig, PeerConfig) {
    let (mut a, mut b) = PeerConfig::pair(net);
    // strongSwan joins neighbours.
    let nets = |second: u8| (0..60).map(|n| format!("10.{second}.{}.0/24", 2 * n)).collect::<Vec<_>>();
    (a.local_ts, a.remote_ts) = (nets(1), nets(2));
    (b.local_ts, b.remote_ts) = (nets(2), nets(1));
    let quick = "{initial: 300ms, attempts: 6}";
    (a.knob(Knob::Ikelab, "retransmit", quick), b.knob(Knob::Charon, "retransmit_timeout", "0.4"))
}

/// Both ends of the link carry IP packets of so many octets.
fn set_mtu(net: &Net, mtu: &str) {
    for side in [Side::A, Side::B] {
        let text = run(net.command(side, "ip").args(["-o", "link", "show", "type", "veth"]), SOON).expect_success();
        let name = text.split(": ").nth(1).and_then(|n| n.split('@').next()).expect("a veth").to_owned();
        run(net.command(side, "ip").args(["link", "set", &name, "mtu", mtu]), SOON).expect_success();
    }
}

/// With IKE fragmentation off the trace says that the kernel fragments, and DF can be set instead.
#[test]
fn ip_fragmentation_is_seen_and_can_be_forbidden() {
    let net = Net::new();
    set_mtu(&net, "1300");
    let (a, b) = large(&net);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let off = a.clone().knob(Knob::Ikelab, "ike", "fragmentation: false");
    let ikelab = Ikelab::named(&net, Side::A, "off", &off, None);
    let done = ikelab.run("connect", &["--once"], SOON);
    assert_eq!(done.code(), Some(0), "the kernel's fragments arrive: {done}\n{}", peer.log());
    assert!(done.stdout.contains("IP-fragmented, ") && done.stdout.contains(" octets > MTU 1300"), "{done}");

    let forbidden = Ikelab::named(&net, Side::A, "df", &off, None);
    let done = forbidden.run("connect", &["--once", "--dont-fragment"], SOON);
    assert_eq!(done.code(), Some(1), "{done}");
    assert!(done.stdout.contains("longer than the route carries (MTU 1300), and it must not be fragmented"), "{done}");

    // With RFC 7383 nothing is longer than the route carries.
    let on = Ikelab::named(&net, Side::A, "on", &a, None);
    let done = on.run("connect", &["--once", "--dont-fragment"], SOON);
    assert_eq!(done.code(), Some(0), "{done}\n{}", peer.log());
    assert!(!done.stdout.contains("IP-fragmented"), "{done}");
}

/// A load run forbids it as well.
#[test]
fn a_load_run_can_forbid_ip_fragmentation() {
    let net = Net::new();
    set_mtu(&net, "1300");
    let (a, b) = large(&net);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let off = a.knob(Knob::Ikelab, "ike", "fragmentation: false");
    let load = |name: &str, more: &[&str]| {
        let ikelab = Ikelab::named(&net, Side::A, name, &off, None);
        let args = ["--rate", "1", "--for", "1s", "--drain", "3s", "--max-lag", "20s", "--max-cpu", "100%"];
        let done = ikelab.run("load", &[&args[..], more].concat(), SOON);
        let result = ikelab.run_dir().result().unwrap_or_else(|| panic!("no result: {done}"));
        let stage = &result["stages"][0];
        (done, stage["done"].as_u64(), stage["used"]["not_sent"].as_u64())
    };
    let (done, up, not_sent) = load("load", &[]);
    assert_eq!((up, not_sent), (Some(1), Some(0)), "{done}\n{}", peer.log());
    let (done, up, not_sent) = load("load-df", &["--dont-fragment"]);
    assert!(up == Some(0) && not_sent > Some(0), "{done}\n{}", peer.log());
}

/// A path that lets only small datagrams through: a dead end for whole messages, and not for smaller fragments, as
/// initiator and as responder.
#[test]
fn smaller_fragments_get_through() {
    let net = Net::new();
    let (a, b) = large(&net);
    let b = b.knob(Knob::SwanConnection, "fragmentation", "yes").knob(Knob::Charon, "fragment_size", "560");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let path = ["--path", "longest=600"];

    let plain = Ikelab::named(&net, Side::A, "plain", &a, None);
    let done = plain.run("connect", &[&path[..], &["--once"]].concat(), SOON);
    assert_eq!(done.code(), Some(1), "{done}");
    assert!(done.stdout.contains("a fragment of it is dropped"), "{done}");

    let small = a.knob(Knob::Ikelab, "ike", "fragment_fallback: 540");
    let initiator = Ikelab::named(&net, Side::A, "initiator", &small, None);
    let done = initiator.run("connect", &[&path[..], &["--once"]].concat(), SOON);
    assert_eq!(done.code(), Some(0), "{done}\n{}", peer.log());

    let responder = Ikelab::named(&net, Side::A, "responder", &small, None);
    let mut process = listening(&responder, &path);
    peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
    wait_for("the tunnel", HANDSHAKE, || responder.run_dir().up());
    assert_eq!(interrupt(&mut process), Some(0), "{}", process.stdout());
}
