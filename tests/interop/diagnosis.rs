//! Makes the cases of `tests/diagnosis` anew: a real peer is misconfigured, or the path is, and what our end's transcript says
//! about it is kept beside the right answer. The cases hold no name of what was done, and no key.
//!
//! Ignored by default, since a recording is no test; the replay in `tests/it/diagnosis.rs` is. To record:
//! `cargo test --test interop record_ -- --ignored`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{Ikelab, connection_yaml, interrupt};
use crate::libreswan::Libreswan;
use crate::netns::{Block, Net, Side};
use crate::peer::{DataPlane, Id, Knob, Peer, PeerConfig, hex};
use crate::process::{text_of, try_wait_for};
use crate::strongswan::StrongSwan;
use crate::tunnel::listening;

/// What a diagnosis ought to say.
#[derive(Clone, Copy)]
pub enum Answer {
    /// These causes, all of them, and no doubt.
    Exact(&'static [&'static str]),
    /// Nobody can tell from our end; these must be among the causes, the first being what it really was.
    Among(&'static [&'static str]),
    /// This role does not see it.
    Nothing,
}

use Answer::{Among, Exact, Nothing};

/// How the peer's end, or ours, differs from what works.
struct Mistake {
    theirs: fn(&mut PeerConfig),
    ours: fn(&mut PeerConfig),
    as_initiator: Answer,
    as_responder: Answer,
}

/// Our key: look-alikes, both cases, and what shells and parsers trip over.
pub const KEY: &str = "Inter0p$Lab-l1st!Key 7";

const AUTH: Answer = Among(&["psk", "identity", "auth_method"]);
const AUTH_BY_ID: Answer = Among(&["identity", "psk", "auth_method"]);
const VARIANT: Answer = Exact(&["psk_variant"]);
const IKE_ENCR: Answer = Among(&["ike_encryption", "ike_group", "ike_prf", "ike_integrity"]);
const IKE_GROUP: Answer = Among(&["ike_group", "ike_encryption", "ike_prf", "ike_integrity"]);
const IKE_PRF: Answer = Among(&["ike_prf", "ike_encryption", "ike_group", "ike_integrity"]);
const IKE_INTEG: Answer = Among(&["ike_integrity", "ike_encryption", "ike_group", "ike_prf"]);
const ESP: Answer = Among(&["esp_algorithms", "esp_esn"]);
const ESN: Answer = Among(&["esp_esn", "esp_algorithms"]);
const TS: Answer = Among(&["selectors", "selectors_pairs", "selectors_any"]);

fn same(_: &mut PeerConfig) {}

fn key(make: fn(&mut PeerConfig)) -> Mistake {
    Mistake { theirs: make, ours: same, as_initiator: AUTH, as_responder: VARIANT }
}

fn ike(make: fn(&mut PeerConfig), as_initiator: Answer, exact: &'static [&'static str]) -> Mistake {
    Mistake { theirs: make, ours: same, as_initiator, as_responder: Exact(exact) }
}

/// What every peer can be told.
fn common() -> Vec<Mistake> {
    vec![
        key(|c| c.psk = KEY.to_lowercase()),
        key(|c| c.psk = KEY.to_uppercase()),
        key(|c| c.psk = KEY.replace('0', "O")),
        key(|c| c.psk = KEY.replace("l1", "ll")),
        key(|c| c.psk = "Inter0p".to_owned()),
        key(|c| c.psk = format!("{KEY} ")),
        key(|c| c.psk = KEY.replace("Key", "Kex")),
        Mistake {
            theirs: |c| c.psk = "nobody would guess this one".to_owned(),
            ours: same,
            as_initiator: AUTH,
            as_responder: Among(&["psk", "init_changed"]),
        },
        ike(|c| c.ike = vec!["aes128-sha256-modp2048".into()], IKE_ENCR, &["ike_key_length"]),
        ike(|c| c.ike = vec!["aes256-sha512-modp2048".into()], IKE_PRF, &["ike_integrity", "ike_prf"]),
        ike(|c| c.ike = vec!["aes256-sha256-ecp256".into()], IKE_GROUP, &["ike_group"]),
        ike(|c| c.ike = vec!["aes256-sha256-modp4096".into()], IKE_GROUP, &["ike_group"]),
        ike(|c| c.ike = vec!["aes128-sha256-ecp384".into()], IKE_ENCR, &["ike_key_length", "ike_group"]),
        ike(|c| c.ike = vec!["aes256gcm16-prfsha256-modp2048".into()], IKE_ENCR, &["ike_encryption"]),
        ike(|c| c.esp = vec!["aes256gcm16".into()], ESP, &["esp_encryption"]),
        ike(|c| c.esp = vec!["aes256-sha1".into()], ESP, &["esp_key_length"]),
        ike(|c| c.esp = vec!["aes128-sha256".into()], ESP, &["esp_integrity"]),
        ike(|c| c.esp = vec!["aes256-sha256".into()], ESP, &["esp_key_length", "esp_integrity"]),
        ike(|c| c.remote_ts = vec!["192.0.2.0/24".into()], TS, &["selectors_network"]),
        ike(|c| c.remote_ts = vec!["10.1.3.0/24".into()], TS, &["selectors_network"]),
        ike(|c| c.local_ts = vec!["10.2.3.0/24".into()], TS, &["selectors_network"]),
        ike(|c| c.local_ts = vec!["172.16.0.0/16".into()], TS, &["selectors_network"]),
        Mistake {
            theirs: |c| c.local_ts = vec!["10.2.2.0/24".into()],
            ours: |c| c.remote_ts = vec!["10.2.3.0/24".into()],
            as_initiator: TS,
            as_responder: Exact(&["selectors_network"]),
        },
        Mistake {
            theirs: same,
            ours: |c| c.ike = vec!["aes256-sha256-modp3072".into(), "aes256gcm16-prfsha512-ecp521".into()],
            as_initiator: IKE_GROUP,
            as_responder: Exact(&["ike_group"]),
        },
        Mistake {
            theirs: |c| c.local_ts = vec!["10.2.0.0/16".into()],
            ours: |c| c.knobs.push((Knob::Ikelab, "behaviour".into(), "{narrowing: refuse-wider}".into())),
            as_initiator: Nothing,
            as_responder: Exact(&["selectors_mask"]),
        },
        ike(|c| c.local_id = Id::fqdn("somebody.test"), Exact(&["identity"]), &["identity"]),
        Mistake {
            theirs: |c| {
                c.local_id = Id::fqdn("somebody.test");
                c.psk = KEY.to_lowercase();
            },
            ours: same,
            as_initiator: Nothing,
            as_responder: Exact(&["identity", "psk_variant"]),
        },
        Mistake {
            theirs: |c| {
                c.local_id = Id::fqdn("somebody.test");
                c.psk = "nobody would guess this one".to_owned();
            },
            ours: same,
            as_initiator: Nothing,
            as_responder: Among(&["wrong_box", "identity"]),
        },
        // It expects somebody else: to our end it looks like any other refusal.
        Mistake {
            theirs: |c| c.remote_id = Id::fqdn("other.test"),
            ours: same,
            as_initiator: AUTH_BY_ID,
            as_responder: Nothing,
        },
    ]
}

/// What can be told only in octets, or in strongSwan's words.
fn in_octets() -> Vec<Mistake> {
    vec![
        key(|c| c.psk = format!("{KEY}\n")),
        key(|c| c.psk = format!("{KEY}\r\n")),
        key(|c| c.psk = format!(" {KEY}")),
        key(|c| c.psk = format!("\"{KEY}\"")),
        key(|c| c.psk = hex(KEY.as_bytes())),
        key(|c| c.psk = format!("{KEY}{KEY}")),
        ike(|c| c.ike = vec!["aes256-sha256-prfsha512-modp2048".into()], IKE_PRF, &["ike_prf"]),
        ike(|c| c.ike = vec!["aes256-sha512-prfsha256-modp2048".into()], IKE_INTEG, &["ike_integrity"]),
        ike(|c| c.esp = vec!["aes128-sha1-esn".into()], ESN, &["esp_esn"]),
        // libreswan refuses instead.
        Mistake {
            theirs: |c| c.local_ts = vec!["10.2.2.0/25".into()],
            ours: |c| c.knobs.push((Knob::Ikelab, "behaviour".into(), "{accept_narrowed: false}".into())),
            as_initiator: Exact(&["selectors_mask"]),
            as_responder: Nothing,
        },
    ]
}

/// Collects the cases of one peer.
#[derive(Default)]
pub struct Cases {
    lines: Vec<String>,
    trouble: String,
}

impl Cases {
    /// Keeps what a run left, if it has the failure that it ought to have.
    fn keep(&mut self, what: &str, ikelab: &Ikelab<'_>, config: &PeerConfig, answer: Answer) {
        let mut files: Vec<_> =
            fs::read_dir(ikelab.out().join("transcript")).into_iter().flatten().flatten().map(|e| e.path()).collect();
        files.sort();
        let failed =
            |text: &String| text.contains("\"event\":\"failed\"") || text.contains("\"event\":\"child_failed\"");
        let Some(text) = files.iter().map(|f| text_of(f)).find(failed) else {
            self.trouble += &format!("{what}: no failure in {files:?}\n");
            return;
        };
        let mut lines: Vec<Value> = Vec::new();
        for line in text.lines() {
            let mut value: Value = serde_json::from_str(line).expect("a transcript is JSON");
            shorten(&mut value);
            let last = value["event"] == "failed" || value["event"] == "child_failed";
            lines.push(value);
            // What comes after the first failure belongs to no diagnosis of it.
            if last {
                break;
            }
        }
        let connection = connection_yaml(config, None).replace("psk_file: ./psk", "psk_env: KEY");
        let answer = match answer {
            Exact(codes) => json!({"exact": codes}),
            Among(codes) => json!({"among": codes}),
            Nothing => unreachable!("not kept"),
        };
        self.lines.push(json!({"answer": answer, "connection": connection, "transcript": lines}).to_string());
    }

    /// Keeps all that a run left of all its IKE SAs, up to the first failure or the last one.
    pub fn keep_all(&mut self, what: &str, ikelab: &Ikelab<'_>, last: bool, answer: Answer) {
        let files = fs::read_dir(ikelab.out().join("transcript")).into_iter().flatten().flatten();
        let text: String = files.map(|entry| text_of(&entry.path())).collect();
        let mut lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.sort_by(|a, b| a["t"].as_f64().unwrap_or(0.0).total_cmp(&b["t"].as_f64().unwrap_or(0.0)));
        let failed = |line: &Value| line["event"] == "failed" || line["event"] == "child_failed";
        let end = if last { lines.iter().rposition(failed) } else { lines.iter().position(failed) };
        let Some(end) = end else {
            self.trouble += &format!("{what}: no failure in {} lines\n", lines.len());
            return;
        };
        lines.truncate(end + 1);
        lines.iter_mut().for_each(shorten);
        // Signs of life are many and say the same; so do repeats while a whole outage lasts.
        let repeat = |line: &Value| last && line["event"] == "retransmit" && line["exchange"] == "IKE_SA_INIT";
        lines.retain(|line| line["event"] != "alive" && !repeat(line));
        let connection = text_of(ikelab.file()).replace("psk_file: ./psk", "psk_env: KEY");
        let connection = connection.replace("psk_file: ../psk", "psk_env: KEY").replace("../", "./");
        let answer = match answer {
            Exact(codes) => json!({"exact": codes}),
            Among(codes) => json!({"among": codes}),
            Nothing => unreachable!("not kept"),
        };
        let which = if last { "last" } else { "first" };
        let case = json!({"answer": answer, "failure": which, "connection": connection, "transcript": lines});
        self.lines.push(case.to_string());
    }

    /// In the latest case our own certificate holds this name, and not our identity.
    pub fn own_certificate(&mut self, name: &str) {
        let Some(line) = self.lines.last_mut() else { return };
        let mut case: Value = serde_json::from_str(line).expect("a case is JSON");
        case["own_certificate"] = name.into();
        *line = case.to_string();
    }

    /// Adds what another has collected.
    pub fn extend(&mut self, other: Cases) {
        self.lines.extend(other.lines);
        self.trouble += &other.trouble;
    }

    #[track_caller]
    pub fn write(self, name: &str) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnosis");
        fs::create_dir_all(&dir).expect("the tree is writable");
        println!("{name}: {} cases\n{}", self.lines.len(), self.trouble);
        fs::write(dir.join(name), self.lines.join("\n") + "\n").expect("the tree is writable");
    }
}

/// Public values, nonces and the like are long, and no diagnosis looks at them.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => text.truncate(16),
        Value::Array(list) => list.iter_mut().for_each(shorten),
        Value::Object(map) => {
            map.remove("summary");
            map.values_mut().for_each(shorten);
        }
        _ => {}
    }
}

pub fn base(net: &Net) -> (PeerConfig, PeerConfig) {
    let (a, b) = PeerConfig::pair(net);
    let (ike, esp) = ("aes256-sha256-modp2048", "aes128-sha1");
    let with = |c: PeerConfig| PeerConfig { psk: KEY.to_owned(), ..c.suite(ike, esp) };
    (with(a).knob(Knob::Ikelab, "retransmit", "{initial: 100ms, attempts: 3}"), with(b))
}

/// Plays every mistake in both roles with one peer, which `load` reconfigures.
fn play(net: &Net, peer: &dyn Peer, load: &dyn Fn(&PeerConfig), mistakes: &[Mistake]) -> Cases {
    let (a, b) = base(net);
    let mut cases = Cases { lines: Vec::new(), trouble: String::new() };
    for (n, mistake) in mistakes.iter().enumerate() {
        let (mut ours, mut theirs) = (a.clone(), b.clone());
        (mistake.theirs)(&mut theirs);
        (mistake.ours)(&mut ours);
        load(&theirs);
        if !matches!(mistake.as_initiator, Nothing) {
            let ikelab = Ikelab::named(net, Side::A, &format!("connect-{n}"), &ours, None);
            ikelab.run("connect", &["--once"], Duration::from_secs(15));
            cases.keep(&format!("connect {n}"), &ikelab, &ours, mistake.as_initiator);
            peer.terminate();
        }
        if !matches!(mistake.as_responder, Nothing) {
            let ikelab = Ikelab::named(net, Side::A, &format!("listen-{n}"), &ours, None);
            let mut process = listening(&ikelab, &[]);
            let _ = peer.initiate();
            let noticed = || process.stdout().contains("  x #").then_some(());
            let _ = try_wait_for(Duration::from_secs(3), noticed);
            peer.terminate();
            interrupt(&mut process);
            cases.keep(&format!("listen {n}"), &ikelab, &ours, mistake.as_responder);
        }
    }
    cases
}

/// Starts a peer; returns it with the command that makes it rekey its Child SA.
type Rekeying<'a> = &'a dyn Fn(&Net, &PeerConfig) -> (Box<dyn Peer>, String);

/// The peer rekeys its Child SA, and only one end has PFS; or both, with other groups.
fn rekeys(cases: &mut Cases, start: Rekeying<'_>) {
    for (n, (ours, theirs)) in [
        ("aes128-sha1", "aes128-sha1-modp2048"),
        ("aes128-sha1-modp2048", "aes128-sha1"),
        ("aes128-sha1-ecp256", "aes128-sha1-modp3072"),
    ]
    .into_iter()
    .enumerate()
    {
        let net = Net::new();
        let (mut a, mut b) = base(&net);
        (a.esp, b.esp) = (vec![ours.to_owned()], vec![theirs.to_owned()]);
        let (_peer, command) = start(&net, &b);
        let ikelab = Ikelab::named(&net, Side::A, &format!("rekey-{n}"), &a, None);
        let mut process = ikelab.spawn("connect", &[]);
        let _ = try_wait_for(Duration::from_secs(5), || process.stdout().contains("Child SA").then_some(()));
        crate::cli::shell(&command);
        let _ = try_wait_for(Duration::from_secs(4), || process.stdout().contains("x no Child SA").then_some(()));
        interrupt(&mut process);
        cases.keep(&format!("rekey {n}"), &ikelab, &a, Exact(&["pfs"]));
    }
}

/// A path that lets some of it through, and a peer that goes away.
fn paths(cases: &mut Cases, start: &dyn Fn(&Net, &PeerConfig) -> Box<dyn Peer>) {
    let silent = Among(&["path_ike", "no_entry", "no_proposal_silent", "wrong_address"]);
    let natt = Among(&["path_natt", "silent_fault"]);
    let auth = Among(&["silent_fault"]);
    for (n, (block, side, nat, answer)) in [
        (Block::Udp500, Side::B, false, silent),
        (Block::Udp500, Side::A, false, silent),
        (Block::Udp4500, Side::B, true, natt),
        (Block::Udp4500, Side::A, true, natt),
        (Block::IkeAuth, Side::B, false, auth),
        (Block::IkeAuth, Side::A, false, auth),
    ]
    .into_iter()
    .enumerate()
    {
        let net = if nat { Net::behind_nat() } else { Net::new() };
        let (a, b) = base(&net);
        let _peer = start(&net, &b.knob(Knob::SwanConnection, "remote_addrs", "%any"));
        let blocked = net.block(side, block);
        let ikelab = Ikelab::named(&net, Side::A, &format!("path-{n}"), &a, None);
        ikelab.run("connect", &["--once"], Duration::from_secs(15));
        cases.keep(&format!("path {n}"), &ikelab, &a, answer);
        drop(blocked);
    }
    // It begins, and its IKE_AUTH never comes; or our answer never arrives.
    let half = |answer: Answer, block: Block, side: Side, cases: &mut Cases| {
        let net = Net::new();
        let (a, b) = base(&net);
        let a = a.knob(Knob::Ikelab, "limits", "{half_open_timeout: 3s}");
        let peer = start(&net, &b);
        let _blocked = net.block(side, block);
        let ikelab = Ikelab::new(&net, Side::A, &a, None);
        let mut process = listening(&ikelab, &[]);
        let _ = peer.initiate();
        let _ = try_wait_for(Duration::from_secs(5), || process.stdout().contains("  x #").then_some(()));
        interrupt(&mut process);
        cases.keep("half open", &ikelab, &a, answer);
    };
    half(Among(&["path_natt", "peer_gave_up"]), Block::IkeAuth, Side::A, cases);
    half(Among(&["answer_lost", "peer_gave_up"]), Block::Udp500, Side::B, cases);
    // Up, and then nothing any more.
    let net = Net::new();
    let (a, b) = base(&net);
    let a = a.knob(Knob::Ikelab, "dpd", "{interval: 1s}");
    let _peer = start(&net, &b);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let mut process = ikelab.spawn("connect", &[]);
    let _ = try_wait_for(Duration::from_secs(5), || process.stdout().contains("+ connected").then_some(()));
    let _blocked = (net.block(Side::B, Block::Udp500), net.block(Side::B, Block::Udp4500));
    let _ = process.wait(Duration::from_secs(10));
    cases.keep("dead", &ikelab, &a, Among(&["path_down", "peer_restarted"]));
}

#[test]
#[ignore = "records, and tests nothing: see the head of the file"]
fn record_strongswan() {
    let net = Net::new();
    // Octets in hex say exactly which key it is.
    let octets = |c: &PeerConfig| PeerConfig { psk: format!("0x{}", hex(c.psk.as_bytes())), ..c.clone() };
    let peer = StrongSwan::start(&net, Side::B, &octets(&base(&net).1), DataPlane::Shim);
    let mut all = common();
    all.extend(in_octets());
    let mut cases = play(&net, &peer, &|config| peer.load(&octets(config)), &all);
    paths(&mut cases, &|net, b| Box::new(StrongSwan::start(net, Side::B, &octets(b), DataPlane::Shim)));
    rekeys(&mut cases, &|net, b| {
        let peer = StrongSwan::start(net, Side::B, &octets(b), DataPlane::Shim);
        let command = peer.rekey_command(true);
        (Box::new(peer), command)
    });
    cases.write("cases.jsonl");
}

#[test]
#[ignore = "records, and tests nothing: see the head of the file"]
fn record_libreswan() {
    let net = Net::new();
    // Its command waits for as long as it tries.
    let knobs = |c: PeerConfig| c.knob(Knob::Libreswan, "retransmit-timeout", "1s");
    let peer = Libreswan::start(&net, Side::B, &knobs(base(&net).1));
    let mut cases = play(&net, &peer, &|config| peer.load(&knobs(config.clone())), &common());
    paths(&mut cases, &|net, b| Box::new(Libreswan::start(net, Side::B, b)));
    rekeys(&mut cases, &|net, b| {
        let peer = Libreswan::start(net, Side::B, b);
        let command = peer.rekey_command(true);
        (Box::new(peer), command)
    });
    cases.write("held-out.jsonl");
}
