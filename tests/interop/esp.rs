//! Data through tunnels with strongSwan's kernel-libipsec, which does ESP in user space over a TUN device: our ping against
//! its kernel's answers, and its host's ping against our echo responder.

use std::time::Duration;

use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Peer, PeerConfig};
use crate::process::{run, wait_for};
use crate::strongswan::StrongSwan;
use crate::tunnel::{HANDSHAKE, listening};

/// An address behind each end.
const BEHIND_A: &str = "10.1.1.1";
const BEHIND_B: &str = "10.2.2.2";

/// strongSwan with its data plane in user space.
fn userspace(net: &Net, config: &PeerConfig) -> StrongSwan {
    StrongSwan::start(net, Side::B, config, DataPlane::Userspace)
}

#[track_caller]
fn ping_of(result: &Value) -> Value {
    result["data"]["pings"][0].clone()
}

/// `connect --ping`: the peer's kernel answers every request.
#[test]
fn our_ping_through_strongswan() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let peer = userspace(&net, &b.suite("aes128-sha256-x25519", "aes256gcm16"));
    let ikelab = Ikelab::new(&net, Side::A, &a.suite("aes128-sha256-x25519", "aes256gcm16"), None);
    let args = ["--once", "--keys", "--ping", BEHIND_B, "--ping-count", "20", "--ping-interval", "20ms"];
    let done = ikelab.run("connect", &args, Duration::from_secs(15));
    assert_eq!(done.code(), Some(0), "{done}\n{}", peer.log());
    let result = ikelab.run_dir().result().expect("a report");
    let ping = ping_of(&result);
    assert_eq!((&ping["sent"], &ping["received"], &ping["lost"]), (&20.into(), &20.into(), &0.into()), "{result}");
    assert_eq!((&result["data"]["encaps"], &result["data"]["decaps"]), (&20.into(), &20.into()), "{result}");
    assert!(done.stdout.contains("#pkts encaps: 20, #pkts decaps: 20, #send errors 0, #recv errors 0"), "{done}");
}

/// `listen` answers the peer's ping for every address of its selectors.
#[test]
fn strongswans_ping_through_us() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let peer = userspace(&net, &b.suite("aes128-sha256-x25519", "aes256gcm16"));
    let ikelab = Ikelab::new(&net, Side::A, &a.suite("aes128-sha256-x25519", "aes256gcm16"), None);
    let mut process = listening(&ikelab, &["--keys"]);
    peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
    let rundir = ikelab.run_dir();
    wait_for("the tunnel", HANDSHAKE, || rundir.up());
    for target in [BEHIND_A, "10.1.1.77"] {
        let args = ["-n", "-c", "10", "-i", "0.02", "-W", "2", "-s", "100", "-I", BEHIND_B, target];
        let done = run(net.command(Side::B, "ping").args(args), Duration::from_secs(10));
        assert!(done.stdout.contains(" 10 received, 0% packet loss"), "{done}\n{}", process.stdout());
    }
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    let result = rundir.result().expect("a report");
    assert_eq!(result["data"]["echoes_answered"], 20, "{result}");
    assert_eq!((&result["data"]["encaps"], &result["data"]["decaps"]), (&20.into(), &20.into()), "{result}");
}
