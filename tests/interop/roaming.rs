//! Through a NAT with strongSwan, in both roles: keepalives, and mappings that change or expire (RFC 7296 2.23, RFC 4555 3.8).
//! strongSwan has its data plane in user space, so that a ping goes through the tunnel before and after.

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

/// UPDATE_SA_ADDRESSES requests with NAT detection in a capture of which tshark has no complaint, and in which it found each
/// IKE message genuine.
#[track_caller]
fn updates(capture: &Path, run: &RunDir) -> usize {
    let clean = Clean { allow: ALLOWED, verified: true };
    let packets = tshark::assert_clean(capture, Some(&run.profile()), &clean);
    let requests = packets.iter().flat_map(|p| &p.messages).filter(|m| m.exchange == INFORMATIONAL && !m.response);
    let has = |m: &&tshark::Message, kind| m.notifies.contains(&kind);
    requests.filter(|m| has(m, UPDATE_SA_ADDRESSES) && has(m, 16388) && has(m, 16389)).count()
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

/// The responder is behind a NAT that forwards the ports to it: ESP goes into UDP, the responder alone sends keepalives.
#[test]
fn a_responder_behind_a_nat_in_both_roles() {
    for ours in [Side::A, Side::B] {
        let net = Net::behind_nat();
        net.forward_ports();
        let (a, b) = suited(&net);
        let both = |config: PeerConfig| {
            let config = config.knob(Knob::Ikelab, "nat", "{keepalive: 1s}");
            config.knob(Knob::SwanConnection, "mobike", "no").knob(Knob::Charon, "keep_alive", "1s")
        };
        let (here, there) = if ours == Side::A { (both(a), both(b)) } else { (both(b), both(a)) };
        let capture = net.capture(Side::A);
        let peer = StrongSwan::start(&net, ours.other(), &there, DataPlane::Userspace);
        let ikelab = Ikelab::new(&net, ours, &here, None);
        let mut process = match ours {
            Side::A => listening(&ikelab, &["--keys"]),
            Side::B => ikelab.spawn("connect", &["--keys"]),
        };
        let run = ikelab.run_dir();
        if ours == Side::A {
            peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
        }
        wait_for("the tunnel", HANDSHAKE, || run.up());
        let done = ping(&net, ours.other(), 10);
        assert_eq!(received(&done), 10, "{ours:?}: {done}\n{}\n{}", process.stdout(), tail(&peer.log()));
        std::thread::sleep(Duration::from_millis(2_500));
        assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
        let file = capture.finish();
        assert!(!keepalives(&file, &net.addr(Side::A).to_string()).is_empty(), "{ours:?}: its mapping must live");
        assert_eq!(keepalives(&file, &net.addr(Side::B).to_string()), [] as [f64; 0], "{ours:?}");
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
    assert_eq!(moved[0]["by"], "peer");
    let up = events(&tunnel.run, "ike_up");
    assert_ne!(moved[0]["remote"], up[0]["remote"], "another port of the NAT's");
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
    let a = a.knob(Knob::Ikelab, "dpd", "{interval: 1s}").knob(Knob::Ikelab, "nat", "{keepalive: 0s}").knob(
        Knob::Ikelab,
        "mobike",
        "{}",
    );
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let mut process = ikelab.spawn("connect", &["--keys"]);
    let run = ikelab.run_dir();
    wait_for("the tunnel", HANDSHAKE, || run.up());
    assert_eq!(received(&ping(&net, Side::B, 5)), 5);
    // What strongSwan says of our mapping in the answer to a check is what later ones are compared with.
    wait_for("a check", PATIENCE, || (!events(&run, "alive").is_empty()).then_some(()));
    let before = events(&run, "moved").len();
    net.forget_mappings();
    wait_for("an update", PATIENCE, || (events(&run, "moved").len() > before).then_some(()));
    works_again(&net, Side::B, || format!("{}\n{}", process.stdout(), tail(&peer.log())));
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    assert_eq!(updates(&run.capture(), &run), 1, "{}", process.stdout());
}
