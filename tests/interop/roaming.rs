//! Ends that move, with strongSwan: MOBIKE (RFC 4555) in both roles, and NATs that change or lose their mappings
//! (RFC 7296 2.23). strongSwan has its data plane in user space, so that a ping goes through the tunnel before and after.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig, tail};
use crate::process::{Finished, Process, run, try_wait_for, wait_for};
use crate::rundir::RunDir;
use crate::strongswan::StrongSwan;
use crate::tshark::{self, ALLOWED, Clean};
use crate::tunnel::{HANDSHAKE, listening};

const IKE: &str = "aes128-sha256-x25519";
const ESP: &str = "aes256gcm16";
/// An address behind each end.
const BEHIND: [&str; 2] = ["10.1.1.1", "10.2.2.2"];
/// Where an end of the link moves.
const ELSEWHERE: &str = "10.99.0.3";
const UPDATE_SA_ADDRESSES: u16 = 16400;
const INFORMATIONAL: u8 = 37;
const PATIENCE: Duration = Duration::from_secs(8);

fn suited(net: &Net) -> (PeerConfig, PeerConfig) {
    let (a, b) = PeerConfig::pair(net);
    (a.suite(IKE, ESP), b.suite(IKE, ESP))
}

fn behind(side: Side) -> &'static str {
    BEHIND[usize::from(side == Side::B)]
}

/// A host pings an address behind the other end through the tunnel of its own end.
fn ping(net: &Net, from: Side, count: u32) -> Finished {
    let number = count.to_string();
    let args = ["-n", "-c", &number, "-i", "0.05", "-W", "1", "-I", behind(from), behind(from.other())];
    run(net.command(from, "ping").args(args), Duration::from_secs(20))
}

fn received(done: &Finished) -> u32 {
    let number = done.stdout.split(" received").next().and_then(|text| text.rsplit(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("ping said: {done}"))
}

/// Until a ping is answered: a peer may need a moment to follow.
#[track_caller]
fn works_again(net: &Net, from: Side, log: impl Fn() -> String) {
    let works = try_wait_for(PATIENCE, || (received(&ping(net, from, 1)) == 1).then_some(()));
    assert!(works.is_some(), "no ping gets through any more\n{}", log());
    let done = ping(net, from, 10);
    assert_eq!(received(&done), 10, "{done}\n{}", log());
}

fn events(run: &RunDir, name: &str) -> Vec<Value> {
    run.events().into_iter().filter(|e| e["event"] == name).collect()
}

#[track_caller]
fn await_event(run: &RunDir, process: &Process, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = try_wait_for(PATIENCE, || run.events().into_iter().find(|e| wanted(e)));
    found.unwrap_or_else(|| panic!("no {what}\n{}{}", process.stdout(), process.stderr()))
}

/// A capture has no complaint of tshark's, and each of its IKE messages was found genuine. Returns the UPDATE_SA_ADDRESSES
/// requests and answers with NAT detection.
#[track_caller]
fn judge(capture: &Path, run: &RunDir) -> (usize, usize) {
    let clean = Clean { allow: ALLOWED, verified: true };
    let packets = tshark::assert_clean(capture, Some(&run.profile()), &clean);
    let informational = packets.iter().flat_map(|p| &p.messages).filter(|m| m.exchange == INFORMATIONAL);
    let (mut updates, mut answers) = (0, 0);
    for message in informational {
        let has = |kind| message.notifies.contains(&kind);
        updates += usize::from(!message.response && has(UPDATE_SA_ADDRESSES) && has(16388) && has(16389));
        answers += usize::from(message.response && has(16388) && has(16389));
    }
    (updates, answers)
}

/// Requests of ours with COOKIE2, and strongSwan's answers with one.
fn cookies(run: &RunDir) -> (usize, usize) {
    let with = |from: &str| {
        let all = events(run, "message").into_iter();
        let these = all.filter(|e| e["from"] == from && e["response"] == (from == "peer"));
        these.filter(|e| e["summary"].as_str().is_some_and(|text| text.contains("COOKIE2"))).count()
    };
    (with("us"), with("peer"))
}

/// We move; strongSwan follows. The old address is gone, so nothing that still went there would arrive.
#[test]
fn strongswan_follows_our_move() {
    let net = Net::new();
    let (a, b) = suited(&net);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    net.ip(Side::A, &format!("addr add {ELSEWHERE}/24 dev e0"));
    let ours = format!("{{mobike: true, mobike_check: true, mobike_addresses: [10.99.0.1, {ELSEWHERE}]}}");
    let a = a.knob(Knob::Ikelab, "nat", &ours);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let capture = net.capture(Side::B);
    let to = format!("{ELSEWHERE}@2s");
    let args = ["--keys", "--move-to", &to, "--ping", behind(Side::B), "--ping-interval", "100ms"];
    let mut process = ikelab.spawn("connect", &args);
    let run = ikelab.run_dir();
    wait_for("the tunnel", HANDSHAKE, || run.up());
    assert_eq!(events(&run, "mobike").len(), 1, "{}", process.stdout());
    std::thread::sleep(Duration::from_millis(1_500));
    works_again(&net, Side::B, || tail(&peer.log()));
    await_event(&run, &process, "agreement", |e| e["event"] == "moved" && e["step"] == "agreed");
    net.ip(Side::A, "addr del 10.99.0.1/24 dev e0");
    // Deleting the first address of a subnet takes the second one along.
    net.ip(Side::A, &format!("addr replace {ELSEWHERE}/24 dev e0"));
    works_again(&net, Side::B, || tail(&peer.log()));
    let theirs = peer.raw(&["--list-sas"]);
    assert!(theirs.contains(&format!("remote-host={ELSEWHERE}")), "{theirs}");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(interrupt(&mut process), Some(0), "{}{}\n{}", process.stdout(), process.stderr(), tail(&peer.log()));
    let result = run.result().expect("a report");
    let ping = &result["data"]["pings"][0];
    let (sent, got) = (ping["sent"].as_u64().expect("a number"), ping["received"].as_u64().expect("a number"));
    assert!(sent > 30 && got > sent / 2, "our own ping goes on after the move: {ping}\n{}", process.stdout());
    assert!(process.stdout().contains("the peer has followed"), "{}", process.stdout());
    assert_eq!(cookies(&run), (1, 1), "in the update, and in strongSwan's answer");
    assert!(peer.log().contains("ADD_4_ADDR"), "our list was understood\n{}", tail(&peer.log()));
    for file in [capture.finish(), run.capture()] {
        assert_eq!(judge(&file, &run), (1, 1), "one update, and its answer");
    }
}

/// strongSwan moves when its address goes away; we follow.
#[test]
fn we_follow_strongswans_move() {
    let net = Net::new();
    let (a, b) = suited(&net);
    let a = a.knob(Knob::Ikelab, "nat", "{mobike: true, mobike_check: true}");
    let b = b.knob(Knob::SwanConnection, "local_addrs", "%any").knob(Knob::SwanConnection, "mobike", "yes");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let mut process = listening(&ikelab, &["--keys"]);
    let capture = net.capture(Side::A);
    peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
    let run = ikelab.run_dir();
    wait_for("the tunnel", HANDSHAKE, || run.up());
    assert_eq!(received(&ping(&net, Side::B, 10)), 10, "{}", tail(&peer.log()));
    net.ip(Side::B, &format!("addr add {ELSEWHERE}/24 dev e0"));
    std::thread::sleep(Duration::from_millis(300));
    net.ip(Side::B, "addr del 10.99.0.2/24 dev e0");
    net.ip(Side::B, &format!("addr replace {ELSEWHERE}/24 dev e0"));
    let moved = await_event(&run, &process, "move", |e| e["event"] == "moved" && e["step"] == "agreed");
    assert_eq!((&moved["by"], &moved["remote"]), (&"peer".into(), &format!("{ELSEWHERE}:4500").into()), "{moved}");
    works_again(&net, Side::B, || format!("{}\n{}", process.stdout(), tail(&peer.log())));
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    assert!(process.stdout().contains("the peer has moved from 10.99.0.2:4500"), "{}", process.stdout());
    assert_eq!(cookies(&run), (1, 1), "we asked strongSwan whether it is there, and it was");
    for file in [capture.finish(), run.capture()] {
        let (updates, answers) = judge(&file, &run);
        assert!(updates >= 1 && answers >= updates, "{updates} updates, {answers} answers");
    }
}

/// Times of the one-octet keepalives that left a host, in seconds since the capture's first packet.
fn keepalives(capture: &Path, from: &str) -> Vec<f64> {
    let mut tshark = Command::new("tshark");
    let filter = format!("udp.length == 9 && udpencap.nat_keepalive && ip.src == {from}");
    tshark.arg("-r").arg(capture).args(["-n", "-Y", &filter, "-T", "fields", "-e", "frame.time_relative"]);
    run(&mut tshark, PATIENCE).expect_success().lines().filter_map(|line| line.parse().ok()).collect()
}

/// A tunnel of ours through a NAT, in either role: the end behind it begins. `strongswan` is its other end.
struct Natted<'n> {
    net: &'n Net,
    /// Where ikelab is.
    ours: Side,
    peer: StrongSwan,
    process: Process,
    run: RunDir,
}

impl<'n> Natted<'n> {
    #[track_caller]
    fn up(net: &'n Net, ours: Side, nat: &str) -> Natted<'n> {
        let (a, b) = suited(net);
        // Without MOBIKE: what arrives says where the peer is.
        let both = |config: PeerConfig| {
            config.knob(Knob::Ikelab, "nat", nat).knob(Knob::SwanConnection, "mobike", "no").knob(
                Knob::Charon,
                "keep_alive",
                "1s",
            )
        };
        let (a, b) = (both(a), both(b));
        let (here, there) = if ours == Side::A { (a, b) } else { (b, a) };
        let peer = StrongSwan::start(net, ours.other(), &there, DataPlane::Userspace);
        let ikelab = Ikelab::new(net, ours, &here, None);
        let process = match ours {
            Side::A => ikelab.spawn("connect", &["--keys"]),
            Side::B => listening(&ikelab, &["--keys"]),
        };
        let run = ikelab.run_dir();
        if ours == Side::B {
            peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
        }
        wait_for("the tunnel", HANDSHAKE, || run.up());
        Natted { net, ours, peer, process, run }
    }

    fn log(&self) -> String {
        format!("{}{}\n{}", self.process.stdout(), self.process.stderr(), tail(&self.peer.log()))
    }

    /// strongSwan's host pings through the tunnel.
    fn ping(&self, count: u32) -> u32 {
        received(&ping(self.net, self.ours.other(), count))
    }

    #[track_caller]
    fn down(mut self) -> (Value, PathBuf) {
        assert_eq!(interrupt(&mut self.process), Some(0), "{}", self.log());
        (self.run.result().expect("a report"), self.run.capture())
    }
}

/// Through a NAT in both roles: ESP passes, and the end behind the NAT keeps its mapping alive once a second, the other not.
#[test]
fn through_a_nat_in_both_roles_with_keepalives_of_the_end_behind_it() {
    for ours in [Side::A, Side::B] {
        let net = Net::behind_nat();
        let capture = net.capture(Side::A);
        let tunnel = Natted::up(&net, ours, "{keepalive: 1s}");
        assert_eq!(tunnel.ping(10), 10, "{ours:?}\n{}", tunnel.log());
        std::thread::sleep(Duration::from_millis(5_200));
        let run = RunDir::new(tunnel.run.capture().parent().expect("a directory"));
        tunnel.down();
        let file = capture.finish();
        let sent = keepalives(&file, &net.addr(Side::A).to_string());
        let outside = keepalives(&file, &net.addr(Side::B).to_string());
        assert_eq!(outside, [] as [f64; 0], "{ours:?}: who is not behind a NAT sends none");
        if ours == Side::A {
            // Ours come by the clock, whatever else is sent.
            assert!((4..=7).contains(&sent.len()), "{sent:?}");
            let gaps: Vec<f64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| (0.9..1.4).contains(gap)), "{gaps:?}");
        } else {
            assert!(sent.len() >= 3, "strongSwan's: {sent:?}");
        }
        let clean = Clean { allow: ALLOWED, verified: true };
        tshark::assert_clean(&file, Some(&run.profile()), &clean);
    }
}

/// The NAT forgets its mapping and makes another one, with another port; the end outside follows.
#[test]
fn a_nat_that_changes_its_mapping_is_followed() {
    // strongSwan is behind the NAT: its ESP tells us.
    let net = Net::behind_nat();
    let tunnel = Natted::up(&net, Side::B, "{keepalive: 1s}");
    assert_eq!(tunnel.ping(5), 5, "{}", tunnel.log());
    let before = events(&tunnel.run, "moved").len();
    net.forget_mappings();
    works_again(&net, Side::A, || tunnel.log());
    let moved = &events(&tunnel.run, "moved")[before..];
    assert_eq!(moved.len(), 1, "{moved:?}\n{}", tunnel.log());
    assert_eq!((&moved[0]["by"], &moved[0]["step"]), (&"peer".into(), &"followed".into()));
    assert_ne!(moved[0]["remote"], moved[0]["from_remote"]);
    // Our own requests take the new mapping, too: the peer answers DELETE.
    let (result, _) = tunnel.down();
    assert_eq!(result["counters"]["retransmits"], 0, "{result}");

    // We are behind it: strongSwan follows our liveness checks, and tells its data plane by a rekey.
    let net = Net::behind_nat();
    let (a, b) = suited(&net);
    let b = b.knob(Knob::SwanConnection, "mobike", "no");
    let a = a.knob(Knob::Ikelab, "dpd", "{interval: 1s}").knob(Knob::Ikelab, "nat", "{keepalive: 0s}");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let mut process = ikelab.spawn("connect", &["--keys"]);
    wait_for("the tunnel", HANDSHAKE, || ikelab.run_dir().up());
    assert_eq!(received(&ping(&net, Side::B, 5)), 5);
    net.forget_mappings();
    works_again(&net, Side::B, || format!("{}\n{}", process.stdout(), tail(&peer.log())));
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
}

/// A mapping that lives for three seconds: with keepalives every second the outside still reaches us after six, without
/// them it does not, until we say something.
#[test]
fn keepalives_are_what_keeps_a_short_lived_mapping() {
    for (nat, reached) in [("{keepalive: 1s}", 5), ("{keepalive: 0s}", 0)] {
        let net = Net::behind_nat();
        net.mapping_lifetime(2, 3);
        let tunnel = Natted::up(&net, Side::A, nat);
        assert_eq!(tunnel.ping(5), 5, "{nat}: {}", tunnel.log());
        std::thread::sleep(Duration::from_secs(6));
        assert_eq!(tunnel.ping(5), reached, "{nat}\n{}", tunnel.log());
        tunnel.down();
    }
}

/// With MOBIKE, who is behind the NAT notices by its liveness checks that the peer sees it elsewhere, and says so.
#[test]
fn with_mobike_we_tell_strongswan_of_our_nats_new_mapping() {
    let net = Net::behind_nat();
    let (a, b) = suited(&net);
    let a = a.knob(Knob::Ikelab, "dpd", "{interval: 1s}").knob(Knob::Ikelab, "nat", "{mobike: true, keepalive: 0s}");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let mut process = ikelab.spawn("connect", &["--keys"]);
    let run = ikelab.run_dir();
    wait_for("the tunnel", HANDSHAKE, || run.up());
    assert_eq!(received(&ping(&net, Side::B, 5)), 5);
    let agreed = |run: &RunDir| events(run, "moved").iter().filter(|e| e["step"] == "agreed").count();
    // One for want of something to compare with.
    try_wait_for(Duration::from_secs(3), || (agreed(&run) > 0).then_some(()));
    let before = agreed(&run);
    net.forget_mappings();
    wait_for("an update", PATIENCE, || (agreed(&run) > before).then_some(()));
    works_again(&net, Side::B, || format!("{}\n{}", process.stdout(), tail(&peer.log())));
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    let (updates, _) = judge(&run.capture(), &run);
    assert!(updates >= 1, "{}", process.stdout());
}
