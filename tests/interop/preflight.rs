//! `connect --preflight` against strongSwan with its data plane in user space: our half, the peer's half by `control`
//! commands or by waiting for its lifetimes, and peers at which the first rekey fails.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Ikelab;
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig};
use crate::process::Finished;
use crate::strongswan::StrongSwan;

const BEHIND_B: &str = "10.2.2.2";
const IKE: &str = "aes128-sha256-x25519";
const PFS: &str = "aes256gcm16-ecp256";
const WITHOUT_PFS: &str = "aes256gcm16";
/// "In under a minute": nothing here waits for a lifetime longer than that.
const MINUTE: Duration = Duration::from_secs(60);

/// Both ends, and strongSwan running.
struct Lab {
    net: Net,
    ours: PeerConfig,
    peer: StrongSwan,
}

impl Lab {
    fn new(ours: &str, theirs: &str, knobs: &[(Knob, &str, &str)]) -> Lab {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let b = knobs.iter().fold(b.suite(IKE, theirs), |b, (place, key, value)| b.knob(*place, key, value));
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
        Lab { net, ours: a.suite(IKE, ours), peer }
    }

    /// With `control` commands of these names.
    fn control(mut self, names: &[&str]) -> Lab {
        let commands = names.iter().map(|name| {
            let command = match *name {
                "initiate" => self.peer.control().initiate,
                "rekey_child" => self.peer.rekey_command(true),
                "rekey_ike" => self.peer.rekey_command(false),
                other => panic!("no command {other}"),
            };
            ((*name).to_owned(), command.into())
        });
        let section = Value::Object(commands.collect());
        self.ours = self.ours.clone().knob(Knob::Ikelab, "control", &section.to_string());
        self
    }

    /// One preflight: what it printed, and its part of the result.
    #[track_caller]
    fn preflight(&self, name: &str, args: &[&str]) -> (Finished, Value) {
        let ikelab = Ikelab::named(&self.net, Side::A, name, &self.ours, None);
        let done = ikelab.run("connect", &[&["--preflight", "--keys"], args].concat(), MINUTE);
        let result = ikelab.run_dir().result().unwrap_or_else(|| panic!("no result: {done}"));
        (done, result)
    }
}

fn trial<'r>(result: &'r Value, title: &str) -> &'r Value {
    let trials = result["preflight"]["trials"].as_array().into_iter().flatten();
    let found = trials.clone().find(|t| t["title"] == *title);
    found.unwrap_or_else(|| panic!("no trial {title:?} among {:?}", trials.collect::<Vec<_>>()))
}

/// `(title, verdict)` of each trial, in order.
fn verdicts(result: &Value) -> Vec<(&str, &str)> {
    let trials = result["preflight"]["trials"].as_array().expect("trials");
    trials
        .iter()
        .map(|t| (t["title"].as_str().unwrap_or_default(), t["verdict"].as_str().unwrap_or_default()))
        .collect()
}

fn whole() -> Value {
    json!({"sent": 3, "answered": 3})
}

/// Everything that a night brings, from both sides, with data before and after each.
#[test]
fn both_halves_by_commands() {
    let lab = Lab::new(PFS, PFS, &[]).control(&["initiate", "rekey_child", "rekey_ike"]);
    let (done, result) = lab.preflight("preflight", &["--ping", BEHIND_B]);
    let expected = [
        ("connect", "ok"),
        ("Child rekey with PFS (ECP_256)", "ok"),
        ("Child rekey without PFS", "note"),
        ("IKE rekey", "ok"),
        ("second Child SA (c again)", "ok"),
        ("liveness check", "ok"),
        ("delete and connect again", "ok"),
        ("the peer connects", "ok"),
        ("the peer rekeys the Child SA", "ok"),
        ("the peer rekeys the IKE SA", "ok"),
    ];
    assert_eq!(verdicts(&result), expected, "{done}\n{}", lab.peer.log());
    assert_eq!(done.code(), Some(0), "{done}");
    let trials = result["preflight"]["trials"].as_array().expect("trials");
    for (n, trial) in trials.iter().enumerate() {
        assert_eq!(trial["ping_after"], whole(), "{trial}");
        assert!(n == 0 || trial["ping_before"] == whole(), "{trial}");
        let peers = n >= 7;
        assert_eq!(trial["begun_by"], if peers { "peer" } else { "us" }, "{trial}");
    }
    assert!(done.stdout.contains("+ everything that tonight brings has just worked"), "{done}");
    assert!(result["seconds"].as_f64().is_some_and(|s| s < 60.0), "{result}");
    // The peer has seen them, too: ours and its own.
    let log = lab.peer.log();
    assert!(log.matches("parsed CREATE_CHILD_SA request").count() >= 4, "{log}");
    assert!(log.matches("generating CREATE_CHILD_SA request").count() >= 2, "{log}");
}

/// What was not tried is not green, and nobody to ping is said.
#[test]
fn what_is_not_tried_says_so() {
    let lab = Lab::new(PFS, PFS, &[]);
    let (done, result) = lab.preflight("preflight", &[]);
    for title in ["the peer connects", "the peer rekeys the Child SA", "the peer rekeys the IKE SA"] {
        assert_eq!(trial(&result, title)["verdict"], "not tested", "{done}");
    }
    for trial in result["preflight"]["trials"].as_array().expect("trials") {
        assert_eq!((&trial["ping_before"], &trial["ping_after"]), (&Value::Null, &Value::Null), "{trial}");
    }
    assert_eq!(result["preflight"]["data_tested"], false);
    assert_eq!(done.code(), Some(4), "neither good nor bad: {done}");
    assert!(done.stdout.contains("data not tested"), "{done}");
    assert!(done.stdout.contains("the peer's half  not tested"), "{done}");
    assert!(!done.stdout.contains("+ everything"), "{done}");
}

/// The peer's own lifetimes run out while we wait; what it did during our half counts, too.
#[test]
fn the_peers_half_by_waiting() {
    let knobs = [
        (Knob::SwanConnection, "rekey_time", "9s"),
        (Knob::SwanConnection, "rand_time", "0"),
        (Knob::SwanConnection, "over_time", "5s"),
        (Knob::SwanChild, "rekey_time", "6s"),
        (Knob::SwanChild, "life_time", "12s"),
        (Knob::SwanChild, "rand_time", "0"),
    ];
    let lab = Lab::new(PFS, PFS, &knobs).control(&["initiate"]);
    let (done, result) = lab.preflight("preflight", &["--ping", BEHIND_B, "--wait", "20s"]);
    let words = verdicts(&result);
    assert!(words.iter().all(|(_, verdict)| ["ok", "note"].contains(verdict)), "{done}\n{}", lab.peer.log());
    assert_eq!(done.code(), Some(0), "{done}");
    for title in ["the peer rekeys the Child SA", "the peer rekeys the IKE SA"] {
        assert_eq!((&trial(&result, title)["verdict"], &trial(&result, title)["ping_after"]), (&"ok".into(), &whole()));
    }

    // A peer that does not rekey in that time has not been tested.
    let lab = Lab::new(PFS, PFS, &[]);
    let (done, result) = lab.preflight("patience", &["--ping", BEHIND_B, "--wait", "1s"]);
    let rekey = trial(&result, "the peer rekeys the Child SA");
    assert_eq!(rekey["verdict"], "not tested", "{done}");
    assert_eq!(rekey["detail"], "the peer did not rekey within 1s", "{done}");
    assert_eq!(done.code(), Some(4), "{done}");
}

/// PFS at one end only, or with another group: the tunnel comes up, carries data, and fails at its first rekey.
#[test]
fn a_pfs_mismatch_fails_where_the_first_rekey_would() {
    let lab = Lab::new(PFS, WITHOUT_PFS, &[]);
    let (done, result) = lab.preflight("with", &["--ping", BEHIND_B]);
    assert_eq!(trial(&result, "connect")["verdict"], "ok", "{done}");
    let rekey = trial(&result, "Child rekey with PFS (ECP_256)");
    assert_eq!(rekey["verdict"], "FAILED", "{done}");
    assert!(rekey["detail"].as_str().is_some_and(|d| d.contains("NO_PROPOSAL_CHOSEN")), "{rekey}");
    // The old Child SA lives on.
    assert_eq!(rekey["ping_after"], whole(), "{rekey}");
    assert_eq!(done.code(), Some(1), "{done}");
    assert!(done.stdout.contains("x it will not survive tonight: Child rekey with PFS (ECP_256)"), "{done}");
    let finding = named_pfs(&result);
    assert!(finding["likely"][0]["text"].as_str().is_some_and(|t| t.contains("on here with ecp256")), "{finding}");

    let lab = Lab::new(WITHOUT_PFS, PFS, &[]);
    let (done, result) = lab.preflight("without", &["--ping", BEHIND_B]);
    assert_eq!(trial(&result, "Child rekey without PFS")["verdict"], "FAILED", "{done}");
    assert!(done.stdout.contains("x it will not survive tonight: Child rekey without PFS"), "{done}");
    let finding = named_pfs(&result);
    assert!(finding["likely"][0]["text"].as_str().is_some_and(|t| t.contains("on at the peer, and off here")));

    let lab = Lab::new(PFS, "aes256gcm16-ecp384", &[]);
    let (done, result) = lab.preflight("group", &["--ping", BEHIND_B]);
    assert_eq!(trial(&result, "Child rekey with PFS (ECP_256)")["verdict"], "FAILED", "{done}");
    named_pfs(&result);
}

/// The finding that names PFS.
#[track_caller]
fn named_pfs(result: &Value) -> Value {
    let findings = result["findings"].as_array().expect("findings");
    let first = findings.first().unwrap_or_else(|| panic!("no finding: {result}"));
    assert!(first["likely"][0]["text"].as_str().is_some_and(|t| t.starts_with("PFS mismatch")), "{first:#}");
    first.clone()
}
