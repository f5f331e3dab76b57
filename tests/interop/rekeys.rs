//! A tunnel's life with real peers: rekeys of Child and IKE SAs with and without PFS, further Child SAs, reauthentication,
//! childless initiation. Either end starts, in both original roles.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::libreswan::Libreswan;
use crate::netns::{Capture, Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig, tail};
use crate::process::{Process, try_wait_for};
use crate::rundir::RunDir;
use crate::strongswan::StrongSwan;
use crate::tshark::{self, ALLOWED, Clean, Message};
use crate::tunnel::{HANDSHAKE, Role, listening};

const BOTH: [Role; 2] = [Role::Initiator, Role::Responder];
const CREATE_CHILD_SA: u8 = 36;
const KE: u8 = 34;
const IKE: &str = "aes256-sha256-modp2048";
const WITHOUT_PFS: &str = "aes256gcm16";

/// A peer that can be told to rekey.
trait Rekeys: Peer {
    fn rekey_now(&self, child: bool);
}

impl Rekeys for StrongSwan {
    fn rekey_now(&self, child: bool) {
        self.rekey(child);
    }
}

impl Rekeys for Libreswan {
    fn rekey_now(&self, child: bool) {
        self.rekey(child);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    StrongSwan,
    Libreswan,
}

impl Kind {
    /// A Child SA's proposal with a group: another than the IKE SA's, but for libreswan, which takes that one.
    fn with_pfs(self) -> &'static str {
        match self {
            Kind::StrongSwan => "aes256gcm16-ecp256",
            Kind::Libreswan => "aes256gcm16-modp2048",
        }
    }

    fn start(self, net: &Net, config: &PeerConfig) -> Box<dyn Rekeys> {
        match self {
            Kind::StrongSwan => Box::new(StrongSwan::start(net, Side::B, config, DataPlane::Shim)),
            Kind::Libreswan => Box::new(Libreswan::start(net, Side::B, config)),
        }
    }
}

/// ikelab beside a peer, with a tunnel that is up.
struct Life<'l> {
    run: RunDir,
    process: Process,
    capture: Capture,
    peer: &'l dyn Peer,
}

impl<'l> Life<'l> {
    #[track_caller]
    fn begin(net: &'l Net, role: Role, ours: &PeerConfig, peer: &'l dyn Peer) -> Life<'l> {
        let ikelab = Ikelab::named(net, Side::A, &format!("ikelab-{role:?}").to_lowercase(), ours, None);
        let capture = net.capture(Side::B);
        let process = match role {
            Role::Initiator => ikelab.spawn("connect", &["--keys"]),
            Role::Responder => listening(&ikelab, &["--keys"]),
        };
        let life = Life { run: ikelab.run_dir(), process, capture, peer };
        if role == Role::Responder {
            peer.initiate().unwrap_or_else(|why| panic!("{} as initiator: {why}\n{}", peer.name(), life.said()));
        }
        life.wait("child_inbound", 1);
        life
    }

    fn said(&self) -> String {
        format!("{}{}\n{}", self.process.stdout(), self.process.stderr(), tail(&self.peer.log()))
    }

    fn count(&self, event: &str) -> usize {
        self.run.events().iter().filter(|e| e["event"] == event).count()
    }

    /// Waits until the transcripts have so many of an event, or more.
    #[track_caller]
    fn wait(&self, event: &str, count: usize) {
        self.wait_long(event, count, HANDSHAKE);
    }

    #[track_caller]
    fn wait_long(&self, event: &str, count: usize, patience: Duration) {
        let there = try_wait_for(patience, || (self.count(event) >= count).then_some(()));
        assert!(there.is_some(), "{} of {count} {event} with {}\n{}", self.count(event), self.peer.name(), self.said());
    }

    /// Child SAs that ikelab has now: our inbound SPI and the peer's.
    fn children(&self) -> BTreeMap<u32, u32> {
        let spi = |e: &Value, key: &str| u32::from_str_radix(e[key].as_str().unwrap_or_default(), 16).unwrap_or(0);
        let mut children = BTreeMap::new();
        for e in self.run.events() {
            match e["event"].as_str() {
                Some("child_inbound") => drop(children.insert(spi(&e, "spi_in"), spi(&e, "spi_out"))),
                Some("child_down") => drop(children.remove(&spi(&e, "spi_in"))),
                _ => {}
            }
        }
        children
    }

    /// Both ends have the same so many Child SAs in one IKE SA, with the same keys.
    #[track_caller]
    fn agree(&self, count: usize) {
        let settled = || {
            let theirs = self.peer.ike_sas();
            let [sa] = &theirs[..] else { return None };
            let mirror: BTreeMap<u32, u32> =
                sa.children.iter().filter(|c| c.installed).map(|c| (c.spi_out, c.spi_in)).collect();
            (sa.established && mirror.len() == count && mirror == self.children()).then_some(mirror)
        };
        let Some(children) = try_wait_for(Duration::from_secs(6), settled) else {
            panic!("ours {:x?}, {} {:#x?}\n{}", self.children(), self.peer.name(), self.peer.ike_sas(), self.said());
        };
        let (ours, theirs) = (self.run.esp_keys(), self.peer.esp_sas());
        for spi in children.iter().flat_map(|(i, o)| [*i, *o]) {
            let (a, b) = (&ours[&spi], &theirs[&spi]);
            assert!(!a.0.is_empty() && a.0 == b.enc_key && a.1 == b.auth_key, "keys of {spi:08x}: {a:?} {b:?}");
        }
    }

    /// Ctrl-C: the peer has nothing left, and tshark has verified every message of every IKE SA with our keys. Returns the
    /// messages of both ends.
    #[track_caller]
    fn end(mut self) -> Vec<Message> {
        let code = interrupt(&mut self.process);
        assert_eq!(code, Some(0), "exit code after Ctrl-C: {}", self.said());
        let gone = || (!self.peer.ike_sas().iter().any(|sa| sa.established)).then_some(());
        let gone = try_wait_for(Duration::from_secs(3), gone);
        assert!(gone.is_some(), "{} still holds {:?}\n{}", self.peer.name(), self.peer.ike_sas(), self.said());
        assert!(self.children().is_empty(), "{:?}", self.children());
        let clean = Clean { allow: ALLOWED, verified: true };
        let packets = tshark::assert_clean(&self.capture.finish(), Some(&self.run.profile()), &clean);
        tshark::assert_clean(&self.run.capture(), Some(&self.run.profile()), &clean);
        packets.into_iter().flat_map(|p| p.messages).collect()
    }
}

/// CREATE_CHILD_SA messages with a key exchange, by IKE SA.
fn with_ke(messages: &[Message]) -> usize {
    messages.iter().filter(|m| m.exchange == CREATE_CHILD_SA && m.payloads.contains(&KE)).count()
}

/// The peer rekeys the Child SA, the IKE SA, and the Child SA again in the new IKE SA.
fn the_peer_rekeys(kind: Kind) {
    let pfs = kind.with_pfs();
    for (role, esp) in [(BOTH[0], WITHOUT_PFS), (BOTH[0], pfs), (BOTH[1], WITHOUT_PFS), (BOTH[1], pfs)] {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let peer = kind.start(&net, &b.suite(IKE, esp));
        let life = Life::begin(&net, role, &a.suite(IKE, esp), &*peer);
        life.agree(1);
        peer.rekey_now(true);
        life.wait("child_rekeyed", 1);
        life.agree(1);
        peer.rekey_now(false);
        life.wait("ike_rekeyed", 1);
        life.agree(1);
        peer.rekey_now(true);
        life.wait("child_rekeyed", 2);
        life.agree(1);
        assert_eq!((life.count("child_rekeyed"), life.count("ike_rekeyed")), (2, 1), "{}", life.said());
        let messages = life.end();
        // Request and answer of the IKE SA's rekey, and of both of the Child's where it has a group.
        assert_eq!(with_ke(&messages), if esp == kind.with_pfs() { 6 } else { 2 }, "{kind:?} {role:?} {esp}");
    }
}

#[test]
fn strongswan_rekeys() {
    the_peer_rekeys(Kind::StrongSwan);
}

#[test]
fn libreswan_rekeys() {
    the_peer_rekeys(Kind::Libreswan);
}

/// ikelab rekeys by its lifetimes: the Child SA every three seconds, the IKE SA after seven.
fn ikelab_rekeys(kind: Kind) {
    for (role, esp) in [(BOTH[0], kind.with_pfs()), (BOTH[1], WITHOUT_PFS)] {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let peer = kind.start(&net, &b.suite(IKE, esp));
        let ours = a
            .suite(IKE, esp)
            .knob(Knob::Ikelab, "child", "lifetime: 6s")
            .knob(Knob::Ikelab, "ike", "lifetime: 14s")
            .knob(Knob::Ikelab, "rekey", "{margin: 50%, jitter_percent: 0}");
        let life = Life::begin(&net, role, &ours, &*peer);
        life.wait_long("child_rekeyed", 3, Duration::from_secs(15));
        life.wait("ike_rekeyed", 1);
        life.agree(1);
        assert_eq!(life.count("failed") + life.count("child_failed"), 0, "{}", life.said());
        assert!(with_ke(&life.end()) >= if esp == kind.with_pfs() { 8 } else { 2 }, "{kind:?} {role:?}");
    }
}

#[test]
fn ikelab_rekeys_strongswan() {
    ikelab_rekeys(Kind::StrongSwan);
}

#[test]
fn ikelab_rekeys_libreswan() {
    ikelab_rekeys(Kind::Libreswan);
}

/// A connection of strongSwan's with selectors that hold both of ours.
const SECOND: &str = "- {name: d, proposals: [aes256gcm16], local_ts: [10.1.1.128/25], remote_ts: [10.2.2.0/24]}";

/// A second Child SA by CREATE_CHILD_SA, of ours and of strongSwan's.
#[test]
fn a_second_child_sa() {
    let net = Net::new();
    let (mut a, b) = PeerConfig::pair(&net);
    a.local_ts = vec!["10.1.1.0/25".to_owned()];
    let a = a.suite(IKE, WITHOUT_PFS).knob(Knob::Ikelab, "more-children", SECOND);
    let b = b.suite(IKE, WITHOUT_PFS);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let life = Life::begin(&net, Role::Initiator, &a, &peer);
    life.wait("child_inbound", 2);
    life.agree(2);
    peer.rekey_now(false);
    life.wait("ike_rekeyed", 1);
    life.agree(2);
    life.end();

    // strongSwan reuses the IKE SA for another connection's child if the two agree about the IKE SA.
    let net = Net::new();
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let half = |ts: &str| PeerConfig { remote_ts: vec![ts.to_owned()], ..b.clone() };
    peer.load_many(&[half("10.1.1.0/25"), half("10.1.1.128/25")]);
    let ikelab = Ikelab::named(&net, Side::A, "ikelab-second", &a, None);
    let capture = net.capture(Side::B);
    let process = listening(&ikelab, &["--keys"]);
    let life = Life { run: ikelab.run_dir(), process, capture, peer: &peer };
    for n in 0..2 {
        peer.initiate_nth(n).unwrap_or_else(|why| panic!("{why}\n{}", life.said()));
    }
    life.wait("child_inbound", 2);
    assert_eq!(life.count("ike_up"), 1, "{}", life.said());
    life.agree(2);
    life.end();
}

/// ikelab authenticates again, in both orders; so does strongSwan.
#[test]
fn reauthentication() {
    for (kind, order) in [
        (Kind::StrongSwan, "make-first"),
        (Kind::StrongSwan, "break-first"),
        (Kind::Libreswan, "make-first"),
        (Kind::Libreswan, "break-first"),
    ] {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let peer = kind.start(&net, &b.suite(IKE, WITHOUT_PFS));
        let rekey = format!("{{reauth: 6s, reauth_order: {order}, margin: 50%, jitter_percent: 0}}");
        let ours = a.suite(IKE, WITHOUT_PFS).knob(Knob::Ikelab, "rekey", &rekey);
        let life = Life::begin(&net, Role::Initiator, &ours, &*peer);
        life.wait("ike_up", 2);
        life.agree(1);
        assert_eq!((life.count("reauthenticating"), life.count("deleted")), (1, 0), "{order}: {}", life.said());
        life.end();
    }
    for make_first in ["no", "yes"] {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let b = b.suite(IKE, WITHOUT_PFS).knob(Knob::Charon, "make_before_break", make_first);
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let life = Life::begin(&net, Role::Responder, &a.suite(IKE, WITHOUT_PFS), &peer);
        peer.raw(&["--rekey", "--ike", "p", "--reauth"]);
        life.wait("ike_up", 2);
        life.agree(1);
        life.end();
    }
}

/// strongSwan is told when to authenticate again (RFC 4478).
#[test]
fn auth_lifetime() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let b = b.suite(IKE, WITHOUT_PFS).knob(Knob::SwanConnection, "over_time", "2s");
    let b = b.knob(Knob::SwanConnection, "rand_time", "0");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let ours = a.suite(IKE, WITHOUT_PFS).knob(Knob::Ikelab, "rekey", "{auth_lifetime: 5s}");
    let life = Life::begin(&net, Role::Responder, &ours, &peer);
    life.agree(1);
    assert_eq!(life.count("ike_up"), 1, "not at once: {}", life.said());
    life.wait("ike_up", 2);
    life.agree(1);
    life.end();
}

/// RFC 6023: IKE_AUTH without a Child SA, from either end.
#[test]
fn childless_initiation() {
    for role in BOTH {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let force = if role == Role::Initiator { "force" } else { "allow" };
        let ours = a.suite(IKE, WITHOUT_PFS).knob(Knob::Ikelab, "behaviour", &format!("{{childless: {force}}}"));
        let theirs = if role == Role::Initiator { "allow" } else { "force" };
        let b = b.suite(IKE, WITHOUT_PFS).knob(Knob::SwanConnection, "childless", theirs);
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let life = Life::begin(&net, role, &ours, &peer);
        life.agree(1);
        let messages = life.end();
        let auth: Vec<_> = messages.iter().filter(|m| m.exchange == 35).collect();
        assert!(auth.iter().all(|m| !m.payloads.contains(&33)), "no SA payload in IKE_AUTH: {auth:?}");
        assert_eq!(messages.iter().filter(|m| m.exchange == CREATE_CHILD_SA).count(), 2);
    }
}
