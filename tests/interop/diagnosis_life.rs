//! More cases for `tests/diagnosis`: certificates, EAP, paths that lose or refuse, outages, peers that go away, rekeys. As in
//! `diagnosis`, these are recorders and no tests: `cargo test --test interop record_life -- --ignored`.

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use crate::cli::{Ikelab, interrupt};
use crate::diagnosis::Answer::{self, Among, Exact};
use crate::diagnosis::{Cases, base};
use crate::libreswan::Libreswan;
use crate::netns::{Block, Net, Side};
use crate::peer::{Certs, DataPlane, Knob, OwnCert, Peer, PeerConfig, TrustCerts};
use crate::pki::{Ca, Flaw, Key, Leaf};
use crate::process::{put, try_wait_for};
use crate::strongswan::StrongSwan;
use crate::tunnel::listening;

/// Starts a peer at B.
pub type Start = fn(&Net, &PeerConfig) -> Box<dyn Peer>;

/// What a peer needs to be told for certificates.
pub type Dress = fn(PeerConfig) -> PeerConfig;

pub fn strongswan(net: &Net, b: &PeerConfig) -> Box<dyn Peer> {
    Box::new(StrongSwan::start(net, Side::B, b, DataPlane::Shim))
}

pub fn libreswan(net: &Net, b: &PeerConfig) -> Box<dyn Peer> {
    Box::new(Libreswan::start(net, Side::B, &b.clone().knob(Knob::Libreswan, "retransmit-timeout", "2s")))
}

pub fn own(leaf: &Leaf, chain: &[&Ca]) -> Option<OwnCert> {
    let chain = chain.iter().map(|ca| ca.pem()).collect();
    Some(OwnCert { leaf: leaf.pem.clone(), chain, key: leaf.key.clone(), more: "send: always".into() })
}

pub fn trust(ca: &[&Ca]) -> Option<TrustCerts> {
    Some(TrustCerts { ca: ca.iter().map(|ca| ca.pem()).collect(), ..TrustCerts::default() })
}

/// Runs `connect --once`, or listens and lets the peer begin.
pub fn run(
    cases: &mut Cases,
    what: &str,
    net: &Net,
    ours: &PeerConfig,
    initiator: bool,
    peer: &dyn Peer,
    answer: Answer,
) {
    let ikelab = Ikelab::named(net, Side::A, &what.replace(' ', "-"), ours, None);
    if initiator {
        ikelab.run("connect", &["--once"], Duration::from_secs(15));
    } else {
        let mut process = listening(&ikelab, &[]);
        let _ = peer.initiate();
        let _ = try_wait_for(Duration::from_secs(4), || process.stdout().contains("  x #").then_some(()));
        peer.terminate();
        interrupt(&mut process);
    }
    peer.terminate();
    cases.keep_all(what, &ikelab, false, answer);
}

const ISSUER: Answer = Among(&["cert_trust", "cert_validity", "identity", "auth_method"]);
const VALIDITY: Answer = Among(&["cert_validity", "cert_trust", "identity", "auth_method"]);

/// Certificates with one thing wrong, judged by us in both roles and by the peer as responder.
fn certificates(cases: &mut Cases, start: Start, key: Key, dress: Dress, ours_more: &str) {
    let (root, other) = (Ca::root("Root", key), Ca::root("Another Root", key));
    let between = root.below("Intermediate", key);
    let flaws = [
        ("expired", Exact(&["cert_expired"]), VALIDITY),
        ("not yet valid", Exact(&["cert_not_yet_valid"]), VALIDITY),
        ("other root", Among(&["cert_ca", "cert_chain"]), ISSUER),
        ("no intermediate", Among(&["cert_chain", "cert_ca"]), ISSUER),
        ("key usage", Exact(&["cert_usage"]), VALIDITY),
        ("revoked", Exact(&["cert_revoked"]), VALIDITY),
    ];
    let make = |name: &str, end: &str| {
        let leaf = |flaw| root.leaf(end, key, flaw);
        match name {
            "expired" => (own(&leaf(Flaw::Expired), &[]), trust(&[&root])),
            "not yet valid" => (own(&leaf(Flaw::NotYetValid), &[]), trust(&[&root])),
            "other root" => (own(&other.leaf(end, key, Flaw::None), &[]), trust(&[&root])),
            "no intermediate" => (own(&between.leaf(end, key, Flaw::None), &[]), trust(&[&root])),
            "key usage" => (own(&leaf(Flaw::WrongKeyUsage), &[]), trust(&[&root])),
            _ => {
                let leaf = leaf(Flaw::None);
                let trusted = TrustCerts { crl: vec![root.crl(&[&leaf])], ..trust(&[&root]).expect("a root") };
                (own(&leaf, &[]), Some(trusted))
            }
        }
    };
    let good = |end: &str| own(&root.leaf(end, key, Flaw::None), &[]);
    let bare = |certs: Option<OwnCert>| certs.map(|own| OwnCert { more: String::new(), ..own });
    for (name, by_us, by_peer) in flaws {
        for initiator in [true, false] {
            let net = Net::new();
            let (mut a, mut b) = base(&net);
            let (theirs, trusted) = make(name, "b.test");
            a.certs = Certs { own: good("a.test"), trust: trusted };
            a.certs.own.as_mut().expect("ours").more = ours_more.to_owned();
            b.certs = Certs { own: bare(theirs), trust: trust(&[&root]) };
            // libreswan does not load a certificate of its own that is not valid.
            let Ok(peer) = std::panic::catch_unwind(|| start(&net, &dress(b.clone()))) else {
                println!("{name}: the peer does not load it");
                continue;
            };
            run(cases, &format!("we judge {name} {initiator}"), &net, &a, initiator, &*peer, by_us);
        }
        let net = Net::new();
        let (mut a, mut b) = base(&net);
        let (ours, trusted) = make(name, "a.test");
        a.certs = Certs { own: ours, trust: trust(&[&root]) };
        a.certs.own.as_mut().expect("ours").more = ours_more.to_owned();
        b.certs = Certs { own: bare(good("b.test")), trust: trusted };
        let peer = start(&net, &dress(b));
        run(cases, &format!("it judges {name}"), &net, &a, true, &*peer, by_peer);
    }
}

/// A peer that is not there, filters that say so, and what is too long for the path.
fn paths(cases: &mut Cases, start: Start, key: Key, dress: Dress, ours_more: &str) {
    let (listens, rejects) = (Among(&["not_listening", "path_rejected"]), Among(&["path_rejected", "not_listening"]));
    for (n, (block, answer)) in
        [(None, listens), (Some(Block::Refuse500), rejects), (Some(Block::Prohibit500), Exact(&["path_rejected"]))]
            .into_iter()
            .enumerate()
    {
        let net = Net::new();
        let (a, b) = base(&net);
        let peer = block.map(|block| (start(&net, &b), net.block(Side::B, block)));
        let ikelab = Ikelab::named(&net, Side::A, &format!("refuse-{n}"), &a, None);
        ikelab.run("connect", &["--once"], Duration::from_secs(15));
        cases.keep_all(&format!("refuse {n}"), &ikelab, false, answer);
        drop(peer);
    }
    // A chain of four makes IKE_AUTH longer than a packet.
    let root = Ca::root("Root", key);
    let one = root.below("One", key);
    let two = one.below("Two", key);
    let three = two.below("Three", key);
    for (n, fragmentation) in [false, true].into_iter().enumerate() {
        let net = Net::new();
        let (mut a, mut b) = base(&net);
        a.certs =
            Certs { own: own(&three.leaf("a.test", key, Flaw::None), &[&three, &two, &one]), trust: trust(&[&root]) };
        a.certs.own.as_mut().expect("ours").more = ours_more.to_owned();
        b.certs = Certs { own: own(&root.leaf("b.test", key, Flaw::None), &[]), trust: trust(&[&root]) };
        b.certs.own.as_mut().expect("theirs").more = String::new();
        let peer = start(&net, &dress(b));
        let a = if fragmentation { a } else { a.knob(Knob::Ikelab, "ike", "fragmentation: false") };
        let _blocked = if fragmentation { net.block(Side::B, Block::Long) } else { net.drop_fragments(Side::B) };
        run(cases, &format!("long {n}"), &net, &a, true, &*peer, Among(&["fragment_lost", "silent_fault"]));
    }
}

/// The tunnel is up, and then something happens; what liveness checks make of it.
fn lives(cases: &mut Cases, start: Start, kill: fn(&Net)) {
    let quick = |a: PeerConfig| {
        a.knob(Knob::Ikelab, "dpd", "{interval: 500ms, retransmit: {initial: 100ms, attempts: 4, factor: 1}}")
    };
    let up = |ikelab: &Ikelab<'_>| {
        let process = ikelab.spawn("connect", &[]);
        let _ = try_wait_for(Duration::from_secs(6), || process.stdout().contains("Child SA").then_some(()));
        process
    };
    // Loss, until four in a row are lost.
    for n in 0..2 {
        let net = Net::new();
        let (a, b) = base(&net);
        let _peer = start(&net, &b);
        let ikelab = Ikelab::named(&net, Side::A, &format!("loss-{n}"), &quick(a), None);
        let mut process = up(&ikelab);
        let _blocked = net.block(Side::B, Block::Half);
        let _ = process.wait(Duration::from_secs(90));
        cases.keep_all("loss", &ikelab, false, Among(&["path_loss", "path_down"]));
    }
    // The daemon is killed.
    let net = Net::new();
    let (a, b) = base(&net);
    let peer = start(&net, &b);
    let ikelab = Ikelab::named(&net, Side::A, "killed", &quick(a), None);
    let mut process = up(&ikelab);
    kill(&net);
    let _ = process.wait(Duration::from_secs(10));
    cases.keep_all("killed", &ikelab, false, Among(&["not_listening", "path_rejected"]));
    drop(peer);
    // It is killed and started again, and knows nothing.
    let net = Net::new();
    let (a, b) = base(&net);
    let peer = start(&net, &b);
    let slow = a.knob(Knob::Ikelab, "dpd", "{interval: 4s, retransmit: {initial: 500ms, attempts: 4, factor: 1}}");
    let ikelab = Ikelab::named(&net, Side::A, "restarted", &slow, None);
    let mut process = up(&ikelab);
    kill(&net);
    drop(peer);
    for left in [net.sockets().join("vici-b"), net.sockets().join("pluto-b"), net.dir().join("libreswan-b")] {
        let _ = std::fs::remove_file(&left).or_else(|_| std::fs::remove_dir_all(&left));
    }
    let again = start(&net, &b);
    let _ = process.wait(Duration::from_secs(15));
    cases.keep_all("restarted", &ikelab, false, Among(&["peer_restarted", "path_down"]));
    drop(again);
    // Everything is gone, as with a broken line.
    let net = Net::new();
    let (a, b) = base(&net);
    let _peer = start(&net, &b);
    let ikelab = Ikelab::named(&net, Side::A, "cut", &quick(a), None);
    let mut process = up(&ikelab);
    let _blocked = net.block(Side::A, Block::Everything);
    let _ = process.wait(Duration::from_secs(10));
    cases.keep_all("cut", &ikelab, false, Among(&["path_down", "peer_restarted"]));
}

/// We rekey: without an answer, or with groups that the peer has not.
fn rekeys(cases: &mut Cases, start: Start) {
    let life = "lifetime: 6s";
    let net = Net::new();
    let (a, b) = base(&net);
    let _peer = start(&net, &b);
    let a = a.knob(Knob::Ikelab, "child", life).knob(Knob::Ikelab, "rekey", "{margin: 4s}");
    let ikelab = Ikelab::named(&net, Side::A, "rekey-silent", &a, None);
    let mut process = ikelab.spawn("connect", &[]);
    let _ = try_wait_for(Duration::from_secs(5), || process.stdout().contains("Child SA").then_some(()));
    let _blocked = net.block(Side::B, Block::CreateChildSa);
    let _ = process.wait(Duration::from_secs(12));
    let _ = interrupt(&mut process);
    cases.keep_all("rekey without answer", &ikelab, false, Among(&["rekey_ignored", "path_down"]));
    for (n, (ours, theirs)) in [
        ("aes128-sha1-modp2048", "aes128-sha1"),
        ("aes128-sha1", "aes128-sha1-modp2048"),
        ("aes128-sha1-ecp256", "aes128-sha1-modp3072"),
    ]
    .into_iter()
    .enumerate()
    {
        let net = Net::new();
        let (mut a, mut b) = base(&net);
        (a.esp, b.esp) = (vec![ours.to_owned()], vec![theirs.to_owned()]);
        let _peer = start(&net, &b);
        let a = a.knob(Knob::Ikelab, "child", life).knob(Knob::Ikelab, "rekey", "{margin: 4s}");
        let ikelab = Ikelab::named(&net, Side::A, &format!("rekey-{n}"), &a, None);
        let mut process = ikelab.spawn("connect", &[]);
        let said = || process.stdout().contains("x no Child SA").then_some(());
        let _ = try_wait_for(Duration::from_secs(10), said);
        interrupt(&mut process);
        // One that wants none may answer a request with a group all the same.
        cases.keep_all(&format!("we rekey {n}"), &ikelab, false, Among(&["pfs"]));
    }
}

/// When an outage begins, three times.
enum When {
    /// At each whole minute.
    Clock,
    /// Each minute, but not at a whole one.
    Period,
    /// Without a rule.
    Chance,
}

/// Outages of some seconds, and a tunnel that is made anew after each.
fn outages(start: Start, when: &When) -> Cases {
    let mut cases = Cases::default();
    let net = Net::new();
    let (a, b) = base(&net);
    let _peer = start(&net, &b);
    let mut a = a;
    a.knobs.retain(|(_, key, _)| key != "retransmit");
    let a = a.knob(Knob::Ikelab, "retransmit", "{initial: 300ms, attempts: 80, factor: 1}").knob(
        Knob::Ikelab,
        "dpd",
        "{interval: 1s, action: restart, retransmit: {initial: 200ms, attempts: 4, factor: 1}}",
    );
    let ikelab = Ikelab::named(&net, Side::A, "outages", &a, None);
    let mut process = ikelab.spawn("connect", &[]);
    let _ = try_wait_for(Duration::from_secs(5), || process.stdout().contains("Child SA").then_some(()));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let begun = now();
    let next_minute = |offset: u64| {
        let minutes = (begun.as_secs() + 8) / 60 + 1;
        Duration::from_secs(minutes * 60 + offset)
    };
    let begins: Vec<Duration> = match when {
        When::Clock => (0..3).map(|n| next_minute(60 * n)).collect(),
        When::Period => (0..3).map(|n| next_minute(60 * n + 23)).collect(),
        When::Chance => [11, 52, 131, 160].into_iter().map(|s| begun + Duration::from_secs(s)).collect(),
    };
    for at in begins {
        sleep(at.saturating_sub(now()));
        let _blocked = net.block(Side::B, Block::Everything);
        sleep(Duration::from_secs(7));
    }
    let _ = interrupt(&mut process);
    let (what, answer) = match when {
        When::Clock => ("outages by the clock", Among(&["outage_clock", "path_down"])),
        When::Period => ("outages each minute", Among(&["outage_period", "path_down"])),
        When::Chance => ("outages by chance", Among(&["outage_random", "path_down"])),
    };
    cases.keep_all(what, &ikelab, true, answer);
    cases
}

/// EAP with strongSwan; libreswan has none with passwords.
fn eap(cases: &mut Cases) {
    const USER: &str = "carol.test";
    let net = Net::new();
    let (a, b) = base(&net);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    put(&net.dir().join("password"), "Ar3etTnp");
    let loads = |server: bool, method: &str, user: &str, password: &str| {
        let (local, remote, psk) = (&b.local, &b.remote, &b.psk);
        let (ours, theirs, selector) = if server {
            ("auth = psk".to_owned(), format!("auth = {method}\n eap_id = %any"), "local_ts = 10.2.2.0/24")
        } else {
            (format!("auth = {method}\n eap_id = {user}"), "auth = psk".to_owned(), "remote_ts = 10.1.1.0/24")
        };
        peer.load_text(&format!(
            "connections {{\n p {{\n version = 2\n local_addrs = {local}\n remote_addrs = {remote}
 proposals = aes256-sha256-modp2048\n local {{\n {ours}\n id = b.test\n }}\n remote {{\n {theirs}\n id = a.test\n }}
 children {{\n c {{\n {selector}\n esp_proposals = aes128-sha1\n }}\n }}\n }}\n}}
secrets {{\n eap-1 {{\n id = {user}\n secret = \"{password}\"\n }}
 ike-1 {{\n id-a = a.test\n id-b = b.test\n secret = \"{psk}\"\n }}\n}}\n"
        ));
    };
    let ours = |name: &str, auth: &str, patience: &str| {
        let ikelab = Ikelab::named(&net, Side::A, name, &a, None);
        let text = format!(
            "version: 1\nname: access\nlocal: {{address: {}, id: a.test}}\nremote: {{address: {}, id: b.test}}
auth:\n{auth}\nretransmit: {patience}\nike: {{proposals: [aes256-sha256-modp2048]}}
children:\n  - {{name: c, proposals: [aes128-sha1], local_ts: [10.1.1.0/24], remote_ts: [10.2.2.0/24]}}\n",
            a.local, a.remote
        );
        put(ikelab.file(), &text);
        ikelab
    };
    let client = |method: &str| {
        format!(
            "  local: {{eap: {{identity: {USER}, method: {method}, password_file: ../password}}}}\n  remote: {{psk_file: ./psk}}"
        )
    };
    // strongSwan waits some seconds after a wrong password; who does not wait as long sees silence.
    let (patient, hasty) = ("{initial: 1s, attempts: 4}", "{initial: 100ms, attempts: 3}");
    let delay = Among(&["eap_delay"]);
    for (n, (server_method, user, password, method, answer)) in [
        ("eap-mschapv2", USER, "another", "mschapv2", delay),
        ("eap-mschapv2", "dave.test", "Ar3etTnp", "mschapv2", delay),
        ("eap-mschapv2", USER, "another", "mschapv2", Exact(&["eap_user"])),
        ("eap-mschapv2", "dave.test", "Ar3etTnp", "mschapv2", Exact(&["eap_user"])),
        ("eap-md5", USER, "another", "md5", Among(&["eap_user", "radius"])),
        ("eap-md5", "dave.test", "Ar3etTnp", "md5", Among(&["eap_user", "radius"])),
        ("eap-md5", USER, "Ar3etTnp", "mschapv2", Exact(&["eap_method"])),
        ("psk", USER, "Ar3etTnp", "mschapv2", Among(&["eap_connection", "eap_key"])),
    ]
    .into_iter()
    .enumerate()
    {
        loads(true, server_method, user, password);
        let ikelab = ours(&format!("client-{n}"), &client(method), if n < 2 { hasty } else { patient });
        ikelab.run("connect", &["--once"], Duration::from_secs(15));
        cases.keep_all(&format!("client {n}"), &ikelab, false, answer);
        peer.terminate();
    }
    for (n, (client_method, user, password, methods, answer)) in [
        ("eap-mschapv2", USER, "another", "mschapv2", Exact(&["eap_password"])),
        ("eap-mschapv2", "dave.test", "Ar3etTnp", "mschapv2", Exact(&["eap_user_unknown"])),
        ("eap-md5", USER, "another", "md5", Exact(&["eap_password"])),
        ("eap-md5", USER, "Ar3etTnp", "mschapv2", Exact(&["eap_method"])),
    ]
    .into_iter()
    .enumerate()
    {
        loads(false, client_method, user, password);
        let users = format!("users: [{{name: {USER}, password_file: ../password}}]");
        let auth = format!("  local: {{psk_file: ./psk}}\n  remote: {{eap: {{methods: [{methods}], {users}}}}}");
        let ikelab = ours(&format!("server-{n}"), &auth, hasty);
        let mut process = listening(&ikelab, &[]);
        let _ = peer.initiate();
        let _ = try_wait_for(Duration::from_secs(4), || process.stdout().contains("  x #").then_some(()));
        peer.terminate();
        interrupt(&mut process);
        cases.keep_all(&format!("server {n}"), &ikelab, false, answer);
    }
}

/// Ends every process in B's namespace, and all at once: nothing is deleted and nobody is told.
fn kill_daemon(net: &Net) {
    let script = format!("ip netns pids {} | xargs -r kill -9", net.ns(Side::B));
    crate::cli::shell(&script);
    sleep(Duration::from_millis(100));
}

fn record(name: &str, start: Start, key: Key, dress: Dress, ours_more: &str) {
    let mut cases = Cases::default();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = [When::Clock, When::Period, When::Chance]
            .into_iter()
            .map(|when| scope.spawn(move || outages(start, &when)))
            .collect();
        certificates(&mut cases, start, key, dress, ours_more);
        paths(&mut cases, start, key, dress, ours_more);
        lives(&mut cases, start, kill_daemon);
        rekeys(&mut cases, start);
        for outage in waiting {
            cases.extend(outage.join().expect("no outage panics"));
        }
    });
    cases.write(name);
}

#[test]
#[ignore = "records, and tests nothing: see the head of the file"]
fn record_life_strongswan() {
    let dress: Dress = |b| b.knob(Knob::SwanConnection, "send_cert", "always");
    record("life.jsonl", strongswan, Key::P256, dress, "send: always");
}

#[test]
#[ignore = "records, and tests nothing: see the head of the file"]
fn record_life_libreswan() {
    let dress: Dress = |b| {
        let knobs = [("leftcert", "own"), ("leftsendcert", "always"), ("authby", "rsa-sha2")];
        knobs.iter().fold(b, |c, (key, value)| c.knob(Knob::Libreswan, key, value))
    };
    record("held-out-life.jsonl", libreswan, Key::Rsa, dress, "send: always, signature: pss");
}

#[test]
#[ignore = "records, and tests nothing: see the head of the file"]
fn record_life_eap() {
    let mut cases = Cases::default();
    eap(&mut cases);
    cases.write("life-eap.jsonl");
}
