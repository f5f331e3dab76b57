//! Data through tunnels with strongSwan's kernel-libipsec, which does ESP in user space over a TUN device: our ping against
//! its kernel's answers, and its host's ping against our echo responder. Native ESP and the TUN device between two ikelabs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{IKELAB, Ikelab, interrupt};
use crate::netns::{Block, Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig};
use crate::process::{run, wait_for};
use crate::strongswan::StrongSwan;
use crate::tunnel::{HANDSHAKE, listening};

/// An address behind each end.
const BEHIND_A: &str = "10.1.1.1";
const BEHIND_B: &str = "10.2.2.2";
const IKE: &str = "aes128-sha256-x25519";

/// ESP proposals that strongSwan's libipsec has, and whether tshark 4.0 decrypts them and checks their integrity.
const SUITES: &[(&str, bool, bool)] = &[
    ("aes128-sha1", true, true),
    ("aes192-sha256", true, true),
    ("aes256-sha512", true, true),
    ("aes256-sha384", true, true),
    ("aes128-md5", true, true),
    ("aes128-aesxcbc", true, false),
    ("aes128-aescmac", true, false),
    ("aes128ctr-sha256", true, true),
    ("aes256ctr-sha512", true, true),
    ("aes128gcm8", true, true),
    ("aes192gcm12", true, true),
    ("aes256gcm16", true, true),
    ("aes128ccm8", false, false),
    ("aes192ccm12", false, false),
    ("aes256ccm16", false, false),
    ("chacha20poly1305", false, false),
    ("3des-sha1", true, true),
];

/// strongSwan with its data plane in user space.
fn userspace(net: &Net, config: &PeerConfig) -> StrongSwan {
    StrongSwan::start(net, Side::B, config, DataPlane::Userspace)
}

#[track_caller]
fn ping_of(result: &Value) -> Value {
    result["data"]["pings"][0].clone()
}

/// The peer's host pings an address behind us.
#[track_caller]
fn pinged_by_the_peer(net: &Net, target: &str, count: u32) {
    let number = count.to_string();
    let args = ["-n", "-c", &number, "-i", "0.01", "-W", "2", "-s", "100", "-I", BEHIND_B, target];
    let done = run(net.command(Side::B, "ping").args(args), Duration::from_secs(10));
    assert!(done.stdout.contains(&format!(" {count} received, 0% packet loss")), "{done}");
}

/// An ESP packet as tshark sees it with our key tables.
#[derive(Debug, Default)]
struct EspPacket {
    /// Its integrity check was found good, or bad.
    icv: Option<bool>,
    /// ICMP type inside.
    icmp: Option<u8>,
}

#[track_caller]
fn decrypted(capture: &Path, profile: &Path) -> Vec<EspPacket> {
    let mut tshark = Command::new("tshark");
    tshark.env("WIRESHARK_CONFIG_DIR", profile).arg("-r").arg(capture);
    tshark.args(["-n", "-Y", "esp", "-T", "fields", "-E", "separator=,", "-e", "esp.icv_good", "-e", "esp.icv_bad"]);
    let text = run(tshark.args(["-e", "icmp.type"]), Duration::from_secs(60)).expect_success();
    let flag = |text: &str| matches!(text, "1" | "True" | "true");
    text.lines()
        .map(|line| {
            let columns: Vec<&str> = line.split(',').collect();
            let column = |at: usize| columns.get(at).copied().unwrap_or_default();
            let icv = match (flag(column(0)), flag(column(1))) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            };
            EspPacket { icv, icmp: column(2).parse().ok() }
        })
        .collect()
}

/// `connect --ping`: the peer's kernel answers every request.
#[test]
fn our_ping_through_strongswan() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let peer = userspace(&net, &b.suite(IKE, "aes256gcm16"));
    let ikelab = Ikelab::new(&net, Side::A, &a.suite(IKE, "aes256gcm16"), None);
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
    let peer = userspace(&net, &b.suite(IKE, "aes256gcm16"));
    let ikelab = Ikelab::new(&net, Side::A, &a.suite(IKE, "aes256gcm16"), None);
    let mut process = listening(&ikelab, &["--keys"]);
    peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
    let rundir = ikelab.run_dir();
    wait_for("the tunnel", HANDSHAKE, || rundir.up());
    for target in [BEHIND_A, "10.1.1.77"] {
        pinged_by_the_peer(&net, target, 10);
    }
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    let result = rundir.result().expect("a report");
    assert_eq!(result["data"]["echoes_answered"], 20, "{result}");
    assert_eq!((&result["data"]["encaps"], &result["data"]["decaps"]), (&20.into(), &20.into()), "{result}");
}

/// Every cipher in both roles; tshark decrypts our capture with our `esp_sa` table where it can.
#[test]
fn every_cipher_in_both_roles() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let peer = userspace(&net, &b.clone().suite(IKE, SUITES[0].0));
    for &(esp, decrypts, verifies) in SUITES {
        let (a, b) = (a.clone().suite(IKE, esp), b.clone().suite(IKE, esp));
        peer.load(&b);
        let ikelab = Ikelab::named(&net, Side::A, &format!("connect-{esp}"), &a, None);
        let args = ["--once", "--keys", "--ping", BEHIND_B, "--ping-count", "5", "--ping-interval", "10ms"];
        let done = ikelab.run("connect", &args, Duration::from_secs(15));
        assert_eq!(done.code(), Some(0), "{esp}: {done}\n{}", peer.log());
        let result = ikelab.run_dir().result().expect("a report");
        assert_eq!(ping_of(&result)["received"], 5, "{esp}: {result}");

        let packets = decrypted(&ikelab.run_dir().capture(), &ikelab.run_dir().profile());
        assert_eq!(packets.len(), 10, "{esp}: the capture holds what went over the wire");
        let with = |kind| packets.iter().filter(|packet| packet.icmp == Some(kind)).count();
        let expected = if decrypts { (5, 5) } else { (0, 0) };
        assert_eq!((with(8), with(0)), expected, "{esp}: {packets:?}");
        let good = packets.iter().filter(|packet| packet.icv == Some(true)).count();
        assert_eq!(good, if verifies { 10 } else { 0 }, "{esp}: {packets:?}");
        assert!(packets.iter().all(|packet| packet.icv != Some(false)), "{esp}: {packets:?}");

        let ikelab = Ikelab::named(&net, Side::A, &format!("listen-{esp}"), &a, None);
        let mut process = listening(&ikelab, &[]);
        peer.initiate().unwrap_or_else(|why| panic!("{esp}: {why}\n{}", process.stdout()));
        wait_for("the tunnel", HANDSHAKE, || ikelab.run_dir().up());
        pinged_by_the_peer(&net, BEHIND_A, 5);
        assert_eq!(interrupt(&mut process), Some(0), "{esp}: {}{}", process.stdout(), process.stderr());
        let result = ikelab.run_dir().result().expect("a report");
        assert_eq!((&result["data"]["decaps"], &result["data"]["encaps"]), (&5.into(), &5.into()), "{esp}: {result}");
    }
}

/// Our ping goes on while Child SAs and IKE SAs are rekeyed by the peer, and by us because lifetimes end; 5 % of all ESP
/// and 20 % of all IKE is lost. What is lost of the ping is what the firewalls have counted, and nothing else.
#[test]
fn nothing_is_lost_across_rekeys_that_the_network_did_not_lose() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let (a, b) = (a.suite(IKE, "aes128gcm16"), b.suite(IKE, "aes128gcm16"));
    let a = a.knob(Knob::Ikelab, "child", "lifetime: 9s").knob(
        Knob::Ikelab,
        "retransmit",
        "{initial: 200ms, attempts: 10}",
    );
    // Begun 6 s before the end, a rekey comes through whatever the path does to it.
    let a = a.knob(Knob::Ikelab, "rekey", "{margin: 6s, jitter_percent: 0}");
    let b = b.knob(Knob::Charon, "retransmit_timeout", "0.3").knob(Knob::Charon, "retransmit_tries", "8");
    let peer = userspace(&net, &b);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let losses = [Side::A, Side::B].map(|side| (net.block(side, Block::SomeEsp), net.block(side, Block::SomeIke)));
    let args = ["--once", "--keys", "--ping", BEHIND_B, "--ping-count", "1200", "--ping-interval", "10ms"];
    let mut process = ikelab.spawn("connect", &args);
    wait_for("the tunnel", HANDSHAKE, || ikelab.run_dir().up());
    for child in [true, false, true, false] {
        std::thread::sleep(Duration::from_millis(2_300));
        peer.rekey(child);
    }
    let code = process.wait(Duration::from_secs(20)).and_then(|status| status.code());
    assert_eq!(code, Some(0), "{}{}\n{}", process.stdout(), process.stderr(), peer.log());
    let result = ikelab.run_dir().result().expect("a report");
    let ping = ping_of(&result);
    let dropped: u64 = losses.iter().map(|(esp, _)| esp.packets()).sum();
    assert_eq!(ping["sent"], 1200, "{result}");
    assert!(dropped > 40, "5 % of about 2,400 packets, and not {dropped}");
    assert_eq!(ping["lost"], dropped, "{}\n{result}", process.stdout());
    let used = ping["by_child"].as_array().map_or(0, Vec::len);
    assert!(used >= 4, "{used} Child SAs in 12 seconds: {result}");
    assert!(losses.iter().any(|(_, ike)| ike.packets() > 0), "IKE was lost, too");
    // tshark has the keys of every Child SA there was.
    let packets = decrypted(&ikelab.run_dir().capture(), &ikelab.run_dir().profile());
    assert!(
        packets.len() > 2_000 && packets.iter().all(|packet| packet.icv == Some(true)),
        "{} packets",
        packets.len()
    );
}

/// ESP packets that our own seeded path has lost, by its log.
#[track_caller]
fn lost_on_the_path(result: &Value) -> u64 {
    let lost = |way: &str| result["path"][way]["esp_lost"].as_u64().unwrap_or_else(|| panic!("no log: {result}"));
    lost("out") + lost("in")
}

/// The same on our own path, seeded and logged, in both roles: everything, IKE as well, is lost with 5 % each way.
#[test]
fn nothing_is_lost_across_rekeys_that_our_seeded_path_did_not_lose() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let (a, b) = (a.suite(IKE, "aes256-sha256"), b.suite(IKE, "aes256-sha256"));
    let a = a.knob(Knob::Ikelab, "retransmit", "{initial: 200ms, attempts: 10}");
    let b = b.knob(Knob::Charon, "retransmit_timeout", "0.3").knob(Knob::Charon, "retransmit_tries", "8");
    let peer = userspace(&net, &b);
    let path = ["--path", "loss=5%", "--seed", "fifty"];
    let rekeys = || {
        for child in [true, false, true] {
            std::thread::sleep(Duration::from_millis(1_500));
            peer.rekey(child);
        }
    };

    let ikelab = Ikelab::named(&net, Side::A, "initiator", &a, None);
    let ping = ["--once", "--ping", BEHIND_B, "--ping-count", "600", "--ping-interval", "10ms"];
    let mut process = ikelab.spawn("connect", &[&path[..], &ping].concat());
    wait_for("the tunnel", HANDSHAKE, || ikelab.run_dir().up());
    rekeys();
    let code = process.wait(Duration::from_secs(20)).and_then(|status| status.code());
    assert_eq!(code, Some(0), "{}{}\n{}", process.stdout(), process.stderr(), peer.log());
    let result = ikelab.run_dir().result().expect("a report");
    let (ping, lost) = (ping_of(&result), lost_on_the_path(&result));
    assert_eq!((&ping["sent"], &ping["lost"]), (&600.into(), &lost.into()), "{}\n{result}", process.stdout());
    assert!(lost > 20 && ping["by_child"].as_array().is_some_and(|used| used.len() >= 3), "{result}");

    let ikelab = Ikelab::named(&net, Side::A, "responder", &a, None);
    let mut process = listening(&ikelab, &path);
    peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
    wait_for("the tunnel", HANDSHAKE, || ikelab.run_dir().up());
    let dir = ikelab.file().parent().expect("a directory");
    let args = ["-n", "-c", "600", "-i", "0.01", "-W", "2", "-I", BEHIND_B, BEHIND_A];
    let mut pinging = crate::process::Process::spawn(dir, "ping", net.command(Side::B, "ping").args(args));
    rekeys();
    pinging.wait(Duration::from_secs(20));
    let received =
        pinging.stdout().split(" received").next().and_then(|text| text.rsplit(' ').next()?.parse::<u64>().ok());
    let received = received.unwrap_or_else(|| panic!("ping said: {}", pinging.stdout()));
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    let result = ikelab.run_dir().result().expect("a report");
    assert_eq!(600 - received, lost_on_the_path(&result), "{}\n{result}", pinging.stdout());
    assert!(received < 580, "5 % each way");
}

/// No NAT, and privilege: ESP is IP protocol 50, in both roles, over IPv4 and IPv6.
#[test]
fn native_esp_between_two_ikelabs() {
    for v6 in [false, true] {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let (a, b) = (a.suite(IKE, "aes256gcm16"), b.suite(IKE, "aes256gcm16"));
        let (a, b) = if v6 { (a.over_ipv6(&net, Side::A), b.over_ipv6(&net, Side::B)) } else { (a, b) };
        let right = Ikelab::new(&net, Side::B, &b, None);
        let mut listener = listening(&right, &[]);
        let left = Ikelab::new(&net, Side::A, &a, None);
        let capture = net.capture(Side::B);
        let args = ["--once", "--keys", "--ping", BEHIND_B, "--ping-count", "5", "--ping-interval", "10ms"];
        let done = left.run("connect", &args, Duration::from_secs(15));
        assert_eq!(done.code(), Some(0), "{done}");
        assert_eq!(ping_of(&left.run_dir().result().expect("a report"))["received"], 5);
        assert_eq!(interrupt(&mut listener), Some(0), "{}", listener.stdout());
        for file in [capture.finish(), left.run_dir().capture()] {
            let packets = decrypted(&file, &left.run_dir().profile());
            assert_eq!(packets.iter().filter(|p| p.icv == Some(true) && p.icmp.is_some()).count(), 10, "{packets:?}");
            let udp = run(Command::new("tshark").arg("-r").arg(&file).args(["-n", "-Y", "esp and udp"]), HANDSHAKE);
            assert_eq!(udp.stdout, "", "none of it in UDP");
        }
    }
}

/// Without privilege native ESP is refused plainly, and by default the tunnel says what its data would need.
#[test]
fn without_privilege_native_esp_is_refused_in_plain_words() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let right = Ikelab::new(&net, Side::B, &b, None);
    let mut listener = listening(&right, &[]);
    let unprivileged = |name: &str, args: &[&str]| {
        let ikelab = Ikelab::named(&net, Side::A, name, &a, None);
        let mut command = net.command(Side::A, "setpriv");
        command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw", IKELAB, "connect", "-c"]);
        command.arg(ikelab.file()).arg("--out").arg(ikelab.out()).args(args);
        run(command.env("NO_COLOR", "1"), Duration::from_secs(15))
    };
    let done = unprivileged("native", &["--once", "--encapsulation", "native"]);
    assert_eq!(done.code(), Some(3), "{done}");
    assert!(done.stderr.contains("native ESP") && done.stderr.contains("cap_net_raw"), "{done}");
    let ping = ["--once", "--ping", BEHIND_B, "--ping-count", "2", "--ping-interval", "10ms"];
    let done = unprivileged("auto", &ping);
    assert_eq!(done.code(), Some(1), "{done}");
    assert!(done.stdout.contains("needs native ESP") && done.stdout.contains("traversal: force"), "{done}");
    assert_eq!(interrupt(&mut listener), Some(0), "{}", listener.stdout());
}

/// Real programs use the tunnel through the TUN device.
#[test]
fn real_programs_use_the_tunnel_through_the_tun_device() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let _peer = userspace(&net, &b.suite(IKE, "aes256gcm16"));
    let ikelab = Ikelab::new(&net, Side::A, &a.suite(IKE, "aes256gcm16"), None);
    let mut process = ikelab.spawn("connect", &["--tun", "ikelab0"]);
    wait_for("the tunnel", HANDSHAKE, || ikelab.run_dir().up());
    let said = process.wait_until("the commands", HANDSHAKE, || {
        let text = crate::process::text_of(&ikelab.stdout_file());
        text.contains("ip route add").then_some(text)
    });
    // The line is what a person would enter.
    let route =
        said.lines().find_map(|line| line.split_once("ip route add ")).map(|(_, route)| route.trim().to_owned());
    let route = route.expect("just seen");
    assert_eq!(route, "10.2.2.0/24 dev ikelab0", "{said}");
    let mut ip = net.command(Side::A, "ip");
    run(ip.args(["route", "add"]).args(route.split(' ')).args(["src", BEHIND_A]), HANDSHAKE).expect_success();
    let args = ["-n", "-c", "10", "-i", "0.02", "-W", "2", "-s", "1200", BEHIND_B];
    let done = run(net.command(Side::A, "ping").args(args), Duration::from_secs(10));
    assert!(done.stdout.contains(" 10 received, 0% packet loss"), "{done}\n{}", process.stdout());
    // The other way the host itself answers.
    pinged_by_the_peer(&net, BEHIND_A, 5);
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    let result = ikelab.run_dir().result().expect("a report");
    assert_eq!((&result["data"]["encaps"], &result["data"]["echoes_answered"]), (&15.into(), &0.into()), "{result}");
    let gone = run(net.command(Side::A, "ip").args(["link", "show", "ikelab0"]), HANDSHAKE);
    assert!(!gone.success(), "the device is still there");
}
