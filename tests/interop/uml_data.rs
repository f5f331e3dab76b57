//! Data through tunnels with a real kernel at the other end: pings both ways, natively and in UDP, in both modes, with each
//! cipher that the kernel has, across rekeys, until lifetimes end. What the kernel counts must be what we count.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{Knob, Peer, PeerConfig, tail};
use crate::process::{Process, try_wait_for, wait_for};
use crate::proposal::Proposal;
use crate::rundir::{OurSa, RunDir};
use crate::tunnel::{HANDSHAKE, Role, listening};
use crate::uml::KernelSa;
use crate::uml_peer::{Kind, UmlPeer};
use crate::uml_tests::Case;

const IKE: &str = "aes128-sha256-x25519";
/// Pings in each direction.
const COUNT: u32 = 8;
const SHORT: Duration = Duration::from_secs(5);

/// How ESP travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carry {
    Native,
    Udp,
}

/// One tunnel of a table.
#[derive(Clone, Debug)]
struct Wanted {
    role: Role,
    carry: Carry,
    transport: bool,
    esp: &'static str,
}

/// What is between the two ends, by mode: `(ours, the peer's)`.
fn addresses(net: &Net, transport: bool) -> (IpAddr, IpAddr) {
    if transport {
        (net.addr(Side::A), net.addr(Side::B))
    } else {
        (Ipv4Addr::new(10, 1, 1, 1).into(), Ipv4Addr::new(10, 2, 2, 2).into())
    }
}

/// Both ends' configurations.
fn configs(net: &Net, wanted: &Wanted) -> (PeerConfig, PeerConfig) {
    let (a, b) = PeerConfig::pair(net);
    let (mut a, mut b) = (a.suite(IKE, wanted.esp), b.suite(IKE, wanted.esp));
    if wanted.carry == Carry::Udp {
        a = a.knob(Knob::Ikelab, "nat", "{traversal: force}");
    }
    if wanted.transport {
        let host = |side| vec![format!("{}/32", net.addr(side))];
        (a.local_ts, a.remote_ts) = (host(Side::A), host(Side::B));
        (b.local_ts, b.remote_ts) = (host(Side::B), host(Side::A));
        a = a.knob(Knob::Ikelab, "child", "mode: transport");
        b = b.knob(Knob::SwanChild, "mode", "transport").knob(Knob::Libreswan, "type", "transport");
    }
    let esn = if Proposal::parse(wanted.esp).esn { "yes" } else { "no" };
    (a, b.knob(Knob::Libreswan, "esn", esn))
}

/// ikelab's end of a tunnel that is up.
struct Up {
    run: RunDir,
    process: Process,
    ours: OurSa,
}

/// Brings a tunnel up; as initiator ikelab pings through it.
#[track_caller]
fn bring_up(net: &Net, peer: &UmlPeer, role: Role, a: &PeerConfig, ping: &[&str]) -> Up {
    let ikelab = Ikelab::named(net, Side::A, "ikelab", a, None);
    let run = ikelab.run_dir();
    let mut process = match role {
        Role::Initiator => ikelab.spawn("connect", &[&["--keys"], ping].concat()),
        Role::Responder => {
            let process = listening(&ikelab, &["--keys"]);
            peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}\n{}", process.stdout(), tail(&peer.log())));
            process
        }
    };
    let up = try_wait_for(HANDSHAKE, || run.up().map(Some).or_else(|| (!process.is_running()).then_some(None)));
    let Some(ours) = up.flatten() else {
        panic!("no tunnel:\n{}{}\n{}", process.stdout(), process.stderr(), tail(&peer.log()))
    };
    peer.established();
    Up { run, process, ours }
}

impl Up {
    /// Pings from inside the machine; everything must be answered.
    #[track_caller]
    fn pinged(&self, peer: &UmlPeer, (ours, theirs): (IpAddr, IpAddr), count: u32, size: u32) {
        let answered = peer.uml.ping(theirs, ours, count, size);
        assert_eq!(
            answered,
            count,
            "answers to the peer's ping\n{}\n{:#?}\n{:?}\n{}",
            self.process.stdout(),
            peer.xfrm(),
            peer.uml.xfrm_errors(),
            tail(&peer.log())
        );
    }

    /// Waits until as many events of a name are told.
    #[track_caller]
    fn told(&self, name: &str, count: usize, within: Duration) {
        wait_for(&format!("{count} x {name}: {}", self.process.stdout()), within, || {
            (self.run.named(name).len() >= count).then_some(())
        });
    }

    /// Ctrl-C; the report.
    #[track_caller]
    fn end(mut self) -> Value {
        let code = interrupt(&mut self.process);
        let said = format!("{}{}", self.process.stdout(), self.process.stderr());
        assert_eq!(code, Some(0), "exit code after Ctrl-C: {said}");
        self.run.result().expect("a report is written")
    }
}

/// Nothing went wrong in the data plane, neither of ours nor of the kernel's.
#[track_caller]
fn assert_no_errors(result: &Value, peer: &UmlPeer) {
    assert_eq!(result["data"]["errors"], serde_json::json!({}), "{result}");
    for (name, count) in peer.uml.xfrm_errors() {
        let ours = ["XfrmInStateProtoError", "XfrmInStateSeqError", "XfrmInStateModeError", "XfrmInTmplMismatch"];
        assert!(!ours.contains(&name.as_str()), "{name} {count}");
    }
}

/// The two directions in the kernel: what it receives and what it sends.
#[track_caller]
fn directions(peer: &UmlPeer, ours: &OurSa) -> (KernelSa, KernelSa) {
    let sas = peer.xfrm();
    let by = |spi: u32| {
        let found = sas.iter().find(|sa| sa.spi == spi);
        found.cloned().unwrap_or_else(|| panic!("the kernel has no {spi:08x}: {sas:?}"))
    };
    (by(ours.children[0].spi_out), by(ours.children[0].spi_in))
}

/// One tunnel: keys, mode, encapsulation and ESN in the kernel; pings both ways; counters on both sides.
fn carries(wanted: Wanted) -> Case {
    let Wanted { role, carry, transport, esp } = wanted;
    let mode = if transport { "transport" } else { "tunnel" };
    let name = format!("{role:?}, {carry:?}, {mode} mode, {esp}: data both ways").to_lowercase();
    Case::new(name, move |net, peer| {
        let (a, b) = configs(net, &wanted);
        peer.load(&b);
        let ends = addresses(net, transport);
        let count = COUNT.to_string();
        let ping = ["--ping", &ends.1.to_string(), "--ping-count", &count, "--ping-interval", "20ms"];
        let errors = peer.uml.xfrm_errors();
        let up = bring_up(net, peer, role, &a, &ping);
        let proposal = Proposal::parse(esp);
        let keys = up.run.esp_keys();
        let (inward, outward) = directions(peer, &up.ours);
        for sa in [&inward, &outward] {
            let (encr, integ) = keys.get(&sa.spi).unwrap_or_else(|| panic!("no exported keys for {:08x}", sa.spi));
            assert_eq!((&sa.enc_key, &sa.auth_key), (encr, integ), "keys of {esp}, {:08x}", sa.spi);
            let is = (sa.mode.as_str(), sa.encapsulated, sa.esn);
            assert_eq!(is, (mode, carry == Carry::Udp, proposal.esn), "{sa:?}");
        }
        // From inside, with sizes on both sides of a block.
        let mut sent = 0;
        for size in [0, 56, 57, 1200] {
            up.pinged(peer, ends, 2, size);
            sent += 2;
        }
        if role == Role::Initiator {
            // Ours began when the Child SA came up, and are over by now or soon.
            wait_for("the kernel to have seen our pings", SHORT, || {
                (directions(peer, &up.ours).0.packets >= u64::from(sent + COUNT)).then_some(())
            });
            sent += COUNT;
        }
        let sent = u64::from(sent);
        let (inward, outward) = directions(peer, &up.ours);
        assert_eq!((inward.packets, outward.packets), (sent, sent), "the kernel's packets in and out");
        assert_eq!((inward.stats, outward.stats), ([0; 3], [0; 3]), "replay window, replay, failed");
        assert_eq!(peer.uml.xfrm_errors(), errors, "the kernel's error counters");
        let result = up.end();
        let data = &result["data"];
        assert_eq!((&data["encaps"], &data["decaps"]), (&sent.into(), &sent.into()), "{result}");
        assert_eq!(data["echoes_answered"], 8, "{result}");
        if role == Role::Initiator {
            let ping = &data["pings"][0];
            assert_eq!((&ping["sent"], &ping["received"]), (&COUNT.into(), &COUNT.into()), "{result}");
        }
        assert_no_errors(&result, peer);
    })
}

/// Who starts a rekey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Us,
    Peer,
}

/// A rekey under a ping that never stops: nothing is lost, and both ends use the new SAs.
fn survives(who: Who, child: bool, carry: Carry) -> Case {
    let what = if child { "child" } else { "ike" };
    let name = format!("{carry:?}, {what} rekey by {who:?}: no packet lost").to_lowercase();
    Case::new(name, move |net, peer| {
        let esp = if child { "aes256gcm16-x25519" } else { "aes128-sha256" };
        let (mut a, b) = configs(net, &Wanted { role: Role::Initiator, carry, transport: false, esp });
        if who == Who::Us {
            a = if child {
                a.knob(Knob::Ikelab, "child", "lifetime: 6s")
            } else {
                a.knob(Knob::Ikelab, "ike", "lifetime: 6s")
            };
        }
        peer.load(&b);
        let ends = addresses(net, false);
        // Long enough for a lifetime of 6 s, less its margin and jitter, to come to its rekey; and for a command in the peer's
        // machine, which may be slow, to end well before the last ping.
        let (pings, interval) = (140, 50);
        let (count, wait) = (pings.to_string(), format!("{interval}ms"));
        let ping = ["--ping", &ends.1.to_string(), "--ping-count", &count, "--ping-interval", &wait];
        let begin = Instant::now();
        let up = bring_up(net, peer, Role::Initiator, &a, &ping);
        let before = up.ours.clone();
        if who == Who::Peer {
            peer.rekey(child);
        }
        up.told(if child { "child_rekeyed" } else { "ike_rekeyed" }, 1, Duration::from_secs(8));
        if child {
            // The old Child SA is deleted by whoever began; a new one stands in both ends.
            up.told("child_down", 1, SHORT);
            let rekeyed = up.run.named("child_rekeyed").remove(0);
            let new = u32::from_str_radix(rekeyed["new"].as_str().unwrap_or_default(), 16).expect("an SPI");
            assert_eq!(rekeyed["old"], format!("{:08x}", before.children[0].spi_in));
            let keys = up.run.esp_keys();
            let sas = peer.xfrm();
            let kernel = sas.iter().find(|sa| sa.spi == new).unwrap_or_else(|| panic!("{new:08x}: {sas:?}"));
            assert_eq!(keys.get(&new), Some(&(kernel.enc_key.clone(), kernel.auth_key.clone())), "the new keys");
        }
        up.pinged(peer, ends, 10, 56);
        // All of ours are answered before the end.
        let over = Duration::from_millis((pings + 10) * interval);
        std::thread::sleep(over.saturating_sub(begin.elapsed()));
        let stats: Vec<_> = peer.xfrm().into_iter().filter(|sa| sa.stats != [0; 3]).collect();
        assert!(stats.is_empty(), "replays or failures in the kernel: {stats:?}");
        let result = up.end();
        let ping = &result["data"]["pings"][0];
        let count = |key: &str| ping[key].as_u64().unwrap_or_default();
        assert_eq!((count("sent"), count("received"), count("lost")), (pings, pings, 0), "{result}");
        let by_child = ping["by_child"].as_array().map_or(0, Vec::len);
        assert_eq!(by_child, if child { 2 } else { 1 }, "answers came on these Child SAs: {result}");
        assert_no_errors(&result, peer);
    })
}

/// The kernel counts to the end of a lifetime, and strongSwan rekeys: `knobs` are the child's.
fn expires(name: &'static str, knobs: &'static [(&'static str, &'static str)]) -> Case {
    Case::new(format!("lifetime in {name} ends in the kernel: rekeyed"), move |net, peer| {
        let wanted = Wanted { role: Role::Initiator, carry: Carry::Native, transport: false, esp: "aes256gcm16" };
        let (a, b) = configs(net, &wanted);
        let b = knobs.iter().fold(b, |b, (key, value)| b.knob(Knob::SwanChild, key, value));
        peer.load(&b);
        let ends = addresses(net, false);
        let up = bring_up(net, peer, Role::Initiator, &a, &[]);
        up.pinged(peer, ends, 4, 56);
        assert!(up.run.named("child_rekeyed").is_empty(), "too early: {}", up.process.stdout());
        up.pinged(peer, ends, 10, 56);
        up.told("child_rekeyed", 1, SHORT);
        up.pinged(peer, ends, 4, 56);
        let result = up.end();
        assert_no_errors(&result, peer);
    })
}

/// Every case for a peer.
pub fn cases(kind: Kind) -> Vec<Case> {
    let wanted = |role, carry, transport, esp| Wanted { role, carry, transport, esp };
    let mut cases = Vec::new();
    for role in [Role::Initiator, Role::Responder] {
        for carry in [Carry::Native, Carry::Udp] {
            cases.push(carries(wanted(role, carry, false, "aes256gcm16")));
            cases.push(carries(wanted(role, carry, true, "aes128-sha256")));
        }
    }
    let ciphers = [
        "aes128-sha1",
        "aes256-sha512",
        "aes256-sha384",
        "aes128gcm16",
        "chacha20poly1305",
        "3des-sha1",
        "null-sha256",
    ];
    cases.extend(ciphers.iter().map(|esp| carries(wanted(Role::Initiator, Carry::Native, false, esp))));
    for esp in ["aes256gcm16-esn", "aes128-sha256-esn", "chacha20poly1305-esn"] {
        cases.push(carries(wanted(Role::Initiator, Carry::Native, false, esp)));
    }
    cases.push(carries(wanted(Role::Responder, Carry::Udp, true, "aes256gcm16-esn")));
    for who in [Who::Us, Who::Peer] {
        for child in [true, false] {
            let carry = if who == Who::Us { Carry::Native } else { Carry::Udp };
            cases.push(survives(who, child, carry));
        }
    }
    if kind == Kind::StrongSwan {
        // Packets and bytes of either direction; the pings above are 84 octets each inside.
        cases.push(expires("packets", &[("rekey_packets", "10"), ("life_packets", "1000"), ("rand_packets", "0")]));
        cases.push(expires("bytes", &[("rekey_bytes", "800"), ("life_bytes", "100000"), ("rand_bytes", "0")]));
    }
    cases
}
