//! MOBIKE (RFC 4555) with strongSwan: either end gets another address, and data goes on.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig};
use crate::process::{run, wait_for};
use crate::strongswan::StrongSwan;
use crate::tshark::{self, Clean};
use crate::tunnel::{HANDSHAKE, listening};

const IKE: &str = "aes128-sha256-x25519";
const ESP: &str = "aes256gcm16";
const BEHIND_A: &str = "10.1.1.1";
const BEHIND_B: &str = "10.2.2.2";
/// Other addresses of either end.
const ELSEWHERE_A: &str = "10.99.0.77";
const ELSEWHERE_B: &str = "10.99.0.88";

fn address(net: &Net, side: Side, change: &str, address: &str) {
    let word = format!("{address}/24");
    run(net.command(side, "ip").args(["addr", change, &word, "dev", "e0"]), Duration::from_secs(5)).expect_success();
}

/// Both addresses of the last packets in UDP that carry ESP, one for each direction.
fn last_esp(capture: &Path) -> Vec<(String, String)> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args([
        "-n",
        "-Y",
        // Not those that an ICMP error quotes.
        "esp && !icmp && !icmpv6",
        "-T",
        "fields",
        "-E",
        "separator=,",
        "-e",
        "ip.src",
        "-e",
        "ip.dst",
    ]);
    let text = run(&mut tshark, Duration::from_secs(60)).expect_success();
    let ends: Vec<(String, String)> =
        text.lines().filter_map(|l| l.split_once(',')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let mut last: Vec<(String, String)> = ends[ends.len().saturating_sub(6)..].to_vec();
    last.sort();
    last.dedup();
    last
}

/// `connect --move-to`: strongSwan follows us, and the ping goes on. Its data plane in user space cannot change an SA, so
/// that it rekeys the Child SA after the move.
#[test]
fn strongswan_follows_us() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let peer = StrongSwan::start(&net, Side::B, &b.suite(IKE, ESP), DataPlane::Userspace);
    address(&net, Side::A, "add", ELSEWHERE_A);
    let capture = net.capture(Side::B);
    let ikelab = Ikelab::new(&net, Side::A, &a.suite(IKE, ESP), None);
    let to = format!("{ELSEWHERE_A}@2s");
    let args = ["--hold", "6s", "--keys", "--move-to", &to, "--ping", BEHIND_B, "--ping-interval", "50ms"];
    let done = ikelab.run("connect", &args, Duration::from_secs(20));
    assert_eq!(done.code(), Some(0), "{done}\n{}", peer.log());
    assert!(done.stdout.contains("MOBIKE     addresses may change"), "{done}");
    assert!(done.stdout.contains(&format!("~ we have moved, and the peer follows: {ELSEWHERE_A}:4500")), "{done}");
    let result = ikelab.run_dir().result().expect("a report");
    assert!(result["ike_sa"]["path"].as_str().unwrap().starts_with(&format!("{ELSEWHERE_A}:4500")), "{result}");
    let ping = &result["data"]["pings"][0];
    let (sent, received) = (ping["sent"].as_u64().unwrap(), ping["received"].as_u64().unwrap());
    assert!(sent > 100 && received + 20 >= sent, "{received} of {sent}, a moment is lost at most: {done}");
    let file = capture.finish();
    let (ours, theirs) = (ELSEWHERE_A.to_owned(), "10.99.0.2".to_owned());
    assert_eq!(last_esp(&file), [(theirs.clone(), ours.clone()), (ours, theirs)], "{done}");
    // tshark has nothing to complain of in what was sent, and decrypts it with our keys.
    let profile = ikelab.run_dir().profile();
    let packets = tshark::assert_clean(&file, Some(&profile), &Clean { allow: &[], verified: true });
    let notifies: Vec<u16> = packets.iter().flat_map(|p| &p.messages).flat_map(|m| m.notifies.clone()).collect();
    for (kind, name) in [(16396, "MOBIKE_SUPPORTED"), (16400, "UPDATE_SA_ADDRESSES")] {
        assert!(notifies.contains(&kind), "{name}: {notifies:?}");
    }
}

/// strongSwan's address goes, another one comes: it says so, and we follow.
#[test]
fn we_follow_strongswan() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let b = b.suite(IKE, ESP).knob(Knob::SwanConnection, "local_addrs", "%any");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    let a = a.suite(IKE, ESP).knob(Knob::Ikelab, "mobike", "{check: true}");
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let mut process = listening(&ikelab, &["--keys"]);
    let capture = net.capture(Side::A);
    peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
    let rundir = ikelab.run_dir();
    wait_for("the tunnel", HANDSHAKE, || rundir.up());
    let pings = |count: &str| {
        let args = ["-n", "-c", count, "-i", "0.2", "-W", "1", "-I", BEHIND_B, BEHIND_A];
        run(net.command(Side::B, "ping").args(args), Duration::from_secs(30)).stdout.clone()
    };
    let before = pings("5");
    assert!(before.contains(" 5 received"), "{before}");
    address(&net, Side::B, "add", ELSEWHERE_B);
    // The first address of a network takes the others with it, unless it is told otherwise.
    let promote = ["-qw", "net.ipv4.conf.e0.promote_secondaries=1"];
    run(net.command(Side::B, "sysctl").args(promote), Duration::from_secs(5)).expect_success();
    address(&net, Side::B, "del", "10.99.0.2");
    wait_for("the move", Duration::from_secs(15), || process.stdout().contains("the peer has moved").then_some(()));
    wait_for("a ping after it", Duration::from_secs(10), || pings("3").contains(" 3 received").then_some(()));
    let file = capture.finish();
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    let (ours, theirs) = ("10.99.0.1".to_owned(), ELSEWHERE_B.to_owned());
    assert_eq!(last_esp(&file), [(ours.clone(), theirs.clone()), (theirs, ours)], "{}", process.stdout());
    let packets = tshark::assert_clean(&file, Some(&rundir.profile()), &Clean { allow: &[], verified: true });
    let notifies: Vec<u16> = packets.iter().flat_map(|p| &p.messages).flat_map(|m| m.notifies.clone()).collect();
    assert!(notifies.iter().filter(|kind| **kind == 16401).count() >= 2, "COOKIE2 there and back: {notifies:?}");
}
