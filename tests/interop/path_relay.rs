//! `ikelab path` between two real boxes: two strongSwans, one in front of the relay, one behind it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cli::IKELAB;
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig, tail};
use crate::process::{Process, text_of, try_wait_for};
use crate::strongswan::StrongSwan;

/// The relay's addresses: the near box speaks to the first, the far one hears the second.
const NEAR_SIDE: &str = "10.98.0.254";
const FAR_SIDE: &str = "10.99.0.254";

/// A relay that does this to datagrams. It says when it listens.
#[track_caller]
fn relay(net: &Net, name: &str, path: &str) -> Process {
    let dir = net.dir().join(name);
    std::fs::create_dir_all(&dir).expect("the run directory is writable");
    let mut c = net.router_command(IKELAB);
    c.env("NO_COLOR", "1").args(["path", "--listen", NEAR_SIDE, "--from", FAR_SIDE]);
    c.args(["--near", &net.addr(Side::A).to_string(), "--to", &net.addr(Side::B).to_string()]);
    c.args(["--seed", "interop", "--path", path, "--out"]).arg(dir.join("run"));
    let mut process = Process::spawn(&dir, "relay", &mut c);
    let out = dir.join("relay.out");
    process.wait_until("it listens", Duration::from_secs(10), || text_of(&out).contains("listening on").then_some(()));
    process
}

/// Ends it; what it counted.
#[track_caller]
fn end(net: &Net, name: &str, mut process: Process) -> Value {
    process.signal(Signal::SIGINT);
    let code = process.wait(Duration::from_secs(8)).and_then(|status| status.code());
    assert_eq!(code, Some(0), "{}{}", process.stdout(), process.stderr());
    let text = text_of(&net.dir().join(name).join("run/result.json"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("result.json: {e}\n{text}"))
}

#[test]
fn two_strongswans_live_through_loss_and_a_short_blackout_and_notice_a_long_one() {
    let net = Net::with_relay();
    let (mut a, mut b) = PeerConfig::pair(&net);
    (a.remote, b.remote) = (NEAR_SIDE.parse().expect("an address"), FAR_SIDE.parse().expect("an address"));
    // Each asks every second; three waits of 500 ms until it gives up.
    let knobs = |config: PeerConfig| {
        config
            .knob(Knob::SwanConnection, "dpd_delay", "1s")
            .knob(Knob::Charon, "retransmit_timeout", "0.5")
            .knob(Knob::Charon, "retransmit_base", "1.0")
            .knob(Knob::Charon, "retransmit_tries", "4")
    };
    let far = StrongSwan::start(&net, Side::B, &knobs(b), DataPlane::Shim);
    let near = StrongSwan::start(&net, Side::A, &knobs(a), DataPlane::Shim);
    let said = || format!("{}\n---\n{}", tail(&near.log()), tail(&far.log()));

    let process = relay(&net, "bad", "loss=15%,delay=10ms,blackout=at 4s for 900ms");
    near.initiate().unwrap_or_else(|why| panic!("{why}\n{}", said()));
    let (ours, theirs) = (near.established(), far.established());
    assert_eq!((ours.spi_i, ours.spi_r), (theirs.spi_i, theirs.spi_r));
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(near.established().spi_i, ours.spi_i, "the same IKE SA, still up\n{}", said());
    assert_eq!(far.established().spi_i, ours.spi_i, "{}", said());
    let result = end(&net, "bad", process);
    let count = |way: &str, what: &str| result["path"][way][what].as_u64().expect("a number");
    // Of so few datagrams 15 % may be none; the blackout is longer than the time between two checks.
    assert!(count("out", "lost") + count("in", "lost") + count("out", "blackout") > 0, "{result:#}");
    assert!(near.log().contains("retransmit 1 of request"), "what was lost was sent again\n{}", said());

    // One that is too long: both boxes give each other up.
    let process = relay(&net, "dark", "blackout=at 1s for 60s");
    let dead = || (near.ike_sas().is_empty() && far.ike_sas().is_empty()).then_some(());
    let noticed = try_wait_for(Duration::from_secs(12), dead);
    assert!(noticed.is_some(), "they still believe in each other\n{}", said());
    assert!(near.log().contains("giving up after 4 retransmits"), "{}", said());
    let result = end(&net, "dark", process);
    assert!(result["path"]["out"]["blackout"].as_u64().is_some_and(|n| n >= 3), "{result:#}");

    // The path is good again: so is the tunnel, also when the far box begins.
    let process = relay(&net, "good", "delay=1ms");
    far.initiate().unwrap_or_else(|why| panic!("{why}\n{}", said()));
    near.established();
    end(&net, "good", process);
}
