//! Every failure scenario that is played, against every real peer, in both roles, as a person runs them: `ikelab run
//! --peer`, with a connection file whose `control` drives the peer. What each has to come to is in `expectations.yaml`.
//!
//! Each peer is played by several daemons at once, each in a network of its own, since they mostly wait. A [`Lane`] is
//! one of them in one role: which scenarios, and what they need of the peer.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::time::Duration;

use ikelab::scenario::file::{Need, PeerOrder, Role, RoleCase, Scenario, Step};
use ikelab::scenario::load::LoadedScenario;
use serde_json::{Value, json};

use crate::cli::Ikelab;
use crate::expectations::{self, Counts, Name, Outcome, Row};
use crate::libreswan::Libreswan;
use crate::netns::{Net, Side};
use crate::openiked::{self, OpenIked};
use crate::peer::{Certs, DataPlane, Knob, OwnCert, Peer, PeerConfig, TrustCerts, tail};
use crate::pki::{Ca, Flaw, Key, Leaf};
use crate::process::{put, spell};
use crate::rundir::esp_packets;
use crate::strongswan::StrongSwan;
use crate::tshark::{self, ALLOWED, Clean};

/// What a scenario needs of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    /// Nothing special. There are many, so they are dealt out.
    Plain(usize),
    /// ESP that flows.
    Data,
    /// ESP that flows, and a NAT or a firewall at our sockets that forgets within half a minute: our clock is faster.
    Between,
    /// Liveness checks of the peer every two seconds, and our clock faster, since these take minutes.
    Timers,
    /// Our lifetimes of up to ten minutes, and our clock faster.
    Lifetimes,
    /// The peer has a second Child SA to ask for.
    Second,
    /// Both ends have certificates, and we the key of a CA.
    Certificates,
    /// We send what tshark finds malformed, too.
    Malformed,
}

const PLAIN: usize = 3;

/// How often what differs is played again.
const RETRIES: usize = 2;
/// If so many differ, it is not that a peer is flaky.
const FLAKY_MOST: usize = 10;

/// Scenarios that live by timers of minutes.
const TIMERS: &[&str] = &[
    "liveness/dpd-one-sided",
    "liveness/dpd-too-aggressive",
    "liveness/dpd-unanswered",
    "liveness/initial-contact-kills-sibling",
    "liveness/initial-contact-missing",
    "liveness/invalid-ike-spi",
    "liveness/nobody-begins",
    "path/blackout",
    "path/one-way-loss",
    "path/scheduled-outage",
    "rekey/delete-ignored",
];

/// Scenarios that wait for lifetimes of ours.
const LIFETIMES: &[&str] =
    &["rekey/child-lifetime-mismatch", "rekey/ike-lifetime-periodic-drop", "rekey/reauth-break-before-make"];

/// Scenarios with messages that are wrong in themselves.
const MALFORMED: &[&str] = &["sa-init/malformed"];

/// What tshark says to those, and it has to say all of it.
const MALFORMED_SAYS: &[&str] = &["_ws.expert", "_ws.malformed", "isakmp.payloadlength.invalid"];

/// What tshark may say where ESP packets are lost, repeated or quoted in ICMP on purpose.
const ESP_LOST: &[(&str, &str)] =
    &[("esp.sequence-analysis.wrong-sequence-number", "scenarios lose and repeat ESP packets on purpose")];

impl Lane {
    const ALL: [Lane; PLAIN + 7] = [
        Lane::Lifetimes,
        Lane::Timers,
        Lane::Between,
        Lane::Data,
        Lane::Plain(0),
        Lane::Plain(1),
        Lane::Plain(2),
        Lane::Certificates,
        Lane::Second,
        Lane::Malformed,
    ];

    /// The lane of the scenario with this number in the catalogue.
    fn of(number: usize, scenario: &Scenario, case: &RoleCase) -> Lane {
        let id = scenario.id.as_str();
        let told = |step: &Step, what: PeerOrder| matches!(step, Step::Peer(order) if order.does == what);
        let between = |step: &Step| matches!(step, Step::Nat(_) | Step::Firewall(_));
        let pings = |step: &Step| matches!(step, Step::Ping(_)) || told(step, PeerOrder::Ping);
        match () {
            () if MALFORMED.contains(&id) => Lane::Malformed,
            () if scenario.needs.contains(&Need::Certificate) => Lane::Certificates,
            () if TIMERS.contains(&id) => Lane::Timers,
            () if LIFETIMES.contains(&id) => Lane::Lifetimes,
            () if case.steps.iter().any(between) => Lane::Between,
            () if case.steps.iter().any(pings) => Lane::Data,
            () if case.steps.iter().any(|step| told(step, PeerOrder::SecondChild)) => Lane::Second,
            () => Lane::Plain(number % PLAIN),
        }
    }

    /// How much faster our clock runs than the peer's.
    fn hurry(self, peer: Name) -> Option<&'static str> {
        match self {
            Lane::Timers => Some("10"),
            // Nothing flows there, which takes a minute each to find out.
            Lane::Data | Lane::Between if peer == Name::Libreswan => Some("3"),
            Lane::Between => Some("2"),
            Lane::Lifetimes => Some("10"),
            _ => None,
        }
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase().replace(['(', ')'], "")
    }
}

/// How long one lane may take.
const WHOLE_RUN: Duration = Duration::from_secs(240);
/// How many lanes play at once.
const AT_ONCE: usize = 8;

/// Plays the scenarios `ids` and returns the cases of the result.
fn play(
    net: &Net,
    name: Name,
    role: Role,
    lane: Lane,
    ids: &[&str],
    ours: &PeerConfig,
    peer: &dyn Peer,
) -> Result<Vec<Value>, String> {
    let mut control = peer.control();
    // A host behind the peer pings one behind us.
    let mut ping = net.command(Side::B, "ping");
    ping.args(["-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", "10.2.2.2", "10.1.1.1"]);
    control.orders.push(("ping", spell(&ping)));
    if lane != Lane::Certificates {
        control.orders.retain(|(key, _)| *key != "certificate");
    }
    let ikelab = Ikelab::new(net, Side::A, ours, Some(&control));
    let capture = net.capture(Side::B);
    let address = ours.remote.to_string();
    let mut args = ids.to_vec();
    args.extend(["--peer", &address, "--role", role.name()]);
    if let Some(times) = lane.hurry(name) {
        args.extend(["--hurry", times]);
    }
    let done = ikelab.run("run", &args, WHOLE_RUN);
    let result = ikelab.run_dir().result().ok_or_else(|| format!("no result: {done}"))?;
    let cases: Vec<Value> = result["cases"].as_array().cloned().unwrap_or_default();
    let (mut played, honest): (Vec<Value>, Vec<Value>) = cases.into_iter().partition(|case| !case["phase"].is_null());
    // The exit code must tell the same as the result.
    let verdicts: Vec<&str> = played.iter().filter_map(|case| case["verdict"].as_str()).collect();
    let code = match () {
        () if verdicts.contains(&"not-seen") => 1,
        () if verdicts.contains(&"inconclusive") || honest.iter().any(|case| case["verdict"] != "pass") => 4,
        () => 0,
    };
    if done.code() != Some(code) || played.len() != ids.len() {
        return Err(format!("exit code {:?}, {} of {} cases\n{done}", done.code(), played.len(), ids.len()));
    }
    if honest.iter().any(|case| case["verdict"] != "pass") {
        return Err(format!("an honest tunnel did not come up\n{done}\n{}", tail(&peer.log())));
    }
    let data = matches!(lane, Lane::Data | Lane::Timers) && name == Name::Libreswan;
    if data || lane == Lane::Between {
        for case in &mut played {
            let file = case["capture"].as_str().map(|file| ikelab.out().join(file));
            let esp = file.map(|file| esp_packets(&file)).unwrap_or_default();
            let from = |source: IpAddr| if source == ours.local { "us" } else { "peer" };
            case["esp"] = esp.iter().map(|esp| json!([esp.number, from(esp.source), esp.in_udp])).collect();
        }
    }
    let capture = capture.finish();
    match lane {
        Lane::Malformed => tshark::assert_complaints(&capture, MALFORMED_SAYS),
        // These scenarios are wrong in what they ask for, not in how they write it.
        _ => {
            let lost = matches!(lane, Lane::Data | Lane::Timers | Lane::Between);
            let allow = if lost { ESP_LOST } else { ALLOWED };
            tshark::assert_clean(&capture, None, &Clean { allow, verified: false });
        }
    }
    Ok(played)
}

/// Both groups that both ends have, an ESP proposal, and for us an address of the peer's side that answers.
fn baseline(net: &Net, esp: &str, name: Name, lane: Lane) -> (PeerConfig, PeerConfig) {
    let (a, b) = PeerConfig::pair(net);
    let with = |c: PeerConfig| PeerConfig {
        ike: vec!["aes256-sha256-modp2048".to_owned(), "aes256-sha256-ecp256".to_owned()],
        esp: vec![esp.to_owned()],
        ..c
    };
    let a = with(a).knob(Knob::Ikelab, "data", "{ping: {address: 10.2.2.2}}");
    let a = match lane.hurry(name) {
        Some(_) => a.knob(Knob::Ikelab, "retransmit", "{initial: 2s, attempts: 4}"),
        None if name == Name::OpenIked => a,
        None => a.knob(Knob::Ikelab, "retransmit", "{initial: 500ms}"),
    };
    (a, with(b))
}

/// Both ends get certificates, each of an intermediate of its own below one root, and we get the key of ours.
fn certified(net: &Net, (mut a, mut b): (PeerConfig, PeerConfig)) -> (PeerConfig, PeerConfig) {
    let root = Ca::root("Root", Key::P256);
    let trust = || Some(TrustCerts { ca: vec![root.pem()], ..TrustCerts::default() });
    let own = |name: &str, above: &Ca, more: String| {
        let Leaf { pem: leaf, key, .. } = above.leaf(name, Key::P256, Flaw::None);
        Some(OwnCert { leaf, chain: vec![above.pem()], key, more })
    };
    let (ours, theirs) = (root.below("Ours", Key::P256), root.below("Theirs", Key::P256));
    let [issuer, key] = ["issuer.pem", "issuer.key"].map(|name| net.dir().join(name));
    put(&issuer, &ours.pem());
    put(&key, &ours.key());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    let more = format!("issuer: \"{}\", issuer_key: \"{}\"", issuer.display(), key.display());
    a.certs = Certs { own: own("a.test", &ours, more), trust: trust() };
    b.certs = Certs { own: own("b.test", &theirs, String::new()), trust: trust() };
    (a, b)
}

fn strongswan_lane(lane: Lane, role: Role, ids: &[&str]) -> Result<Vec<Value>, String> {
    let (net, name) = (Net::new(), Name::StrongSwan);
    let (mut a, mut b) = baseline(&net, "aes256gcm16", name, lane);
    let data = match lane {
        Lane::Data | Lane::Timers | Lane::Between => DataPlane::Userspace,
        _ => DataPlane::Shim,
    };
    match lane {
        // A second IKE SA beside the first is begun only if it may not use that one.
        Lane::Timers => b = b.knob(Knob::SwanConnection, "dpd_delay", "2").knob(Knob::Charon, "reuse_ikesa", "no"),
        Lane::Second => b = b.knob(Knob::SwanSecondChild, "local_ts", "10.2.2.128/25"),
        // An intermediate that was sent once is not to be known for ever.
        Lane::Certificates => (a, b) = certified(&net, (a, b.knob(Knob::Charon, "cert_cache", "no"))),
        _ => {}
    }
    let peer = StrongSwan::start(&net, Side::B, &b.wants_cookies(), data);
    play(&net, name, role, lane, ids, &a, &peer)
}

fn libreswan_lane(lane: Lane, role: Role, ids: &[&str]) -> Result<Vec<Value>, String> {
    let (net, name) = (Net::new(), Name::Libreswan);
    let (mut a, mut b) = baseline(&net, "aes256gcm16", name, lane);
    b = b.knob(Knob::LibreswanSetup, "ddos-mode", "busy");
    if lane == Lane::Certificates {
        (a, b) = certified(&net, (a, b));
        let knobs = [("leftcert", "own"), ("leftsendcert", "always"), ("sendca", "all"), ("authby", "ecdsa")];
        b = knobs.iter().fold(b, |b, (key, value)| b.knob(Knob::Libreswan, key, value));
    }
    if lane == Lane::Timers {
        b = b.knob(Knob::Libreswan, "dpddelay", "2s").knob(Knob::LibreswanSetup, "uniqueids", "no");
    }
    let peer = Libreswan::start(&net, Side::B, &b);
    play(&net, name, role, lane, ids, &a, &peer)
}

/// Plays lanes side by side: the cases, and the lanes that came to nothing.
#[allow(clippy::type_complexity)]
fn at_once(
    name: Name,
    suffix: &str,
    work: &[(Lane, Role, Vec<&str>)],
    lane: &(impl Fn(Lane, Role, &[&str]) -> Result<Vec<Value>, String> + Sync),
) -> (Vec<Value>, Vec<(Lane, Role, String)>) {
    let (queue, cases, failed) = (Mutex::new(work.iter()), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((at, role, ids)) = queue.lock().expect("no panic holds it").next() else { return };
                    let title = format!("scenarios.{name}.{}.{role:?}{suffix}", at.name()).to_lowercase();
                    // A thread of its own: its name is the name of the run's directory, and its panic is its own.
                    let thread = std::thread::Builder::new().name(title);
                    let done = std::thread::scope(|inner| {
                        let run = thread.spawn_scoped(inner, || lane(*at, *role, ids)).expect("a thread starts");
                        run.join().unwrap_or_else(|_| Err("it panicked; the message is above".to_owned()))
                    });
                    match done {
                        Ok(found) => cases.lock().expect("no panic holds it").extend(found),
                        Err(why) => failed.lock().expect("no panic holds it").push((*at, *role, why)),
                    }
                }
            });
        }
    });
    (cases.into_inner().expect("done"), failed.into_inner().expect("done"))
}

/// Plays everything that `wanted` names against one peer, and compares with the rows.
#[track_caller]
fn everything(
    name: Name,
    strict: bool,
    wanted: impl Fn(&[Row], &str, Role) -> bool,
    lane: impl Fn(Lane, Role, &[&str]) -> Result<Vec<Value>, String> + Sync,
) {
    let (rows, catalogue) = (expectations::rows(), expectations::catalogue());
    let mut work: Vec<(Lane, Role, Vec<&str>)> = Vec::new();
    for at in Lane::ALL {
        for role in Role::ALL {
            let mine = |(number, one): (usize, &LoadedScenario)| {
                let case = one.scenario.roles.get(role)?;
                let lane = match name {
                    // What it plays is short, and it is best left alone.
                    Name::OpenIked => Lane::Plain(0),
                    _ => Lane::of(number, &one.scenario, case),
                };
                (lane == at).then_some(number)
            };
            let numbers = catalogue.iter().enumerate().filter_map(mine);
            let ids = numbers.map(|number| catalogue[number].scenario.id.as_str());
            let ids: Vec<&str> = ids.filter(|id| wanted(&rows, id, role)).collect();
            if !ids.is_empty() {
                work.push((at, role, ids));
            }
        }
    }
    // While something is mended: IKELAB_LANES=timers,data plays only those lanes.
    let only = std::env::var("IKELAB_LANES").ok();
    if let Some(only) = &only {
        work.retain(|(lane, ..)| only.split(',').any(|name| name == lane.name()));
    }
    let (mut cases, mut failed) = at_once(name, "", &work, &lane);
    // A flaky peer is asked again, twice at most, and every time is told and kept with the results.
    let mut again_for = String::new();
    for attempt in 1..=RETRIES {
        let wrong = expectations::differing(name, &rows, &cases);
        let again: Vec<(Lane, Role, Vec<&str>)> = work
            .iter()
            .filter_map(|(at, role, ids)| {
                let all = failed.iter().any(|(lane, failed, _)| lane == at && failed == role);
                let differs = |id: &&str| wrong.iter().any(|(one, other, _)| one == *id && other == role);
                let ids: Vec<&str> = ids.iter().copied().filter(|id| all || differs(id)).collect();
                (!ids.is_empty()).then_some((*at, *role, ids))
            })
            .collect();
        if again.is_empty() || wrong.len() > FLAKY_MOST {
            break;
        }
        for (id, role, why) in &wrong {
            let _ = writeln!(again_for, "played again ({attempt} of {RETRIES}): {id} {role}: {why}");
        }
        for (lane, role, why) in &failed {
            let _ = writeln!(again_for, "played again ({attempt} of {RETRIES}): all of {} {role}: {why}", lane.name());
        }
        let (played, failed_again) = at_once(name, &format!(".again{attempt}"), &again, &lane);
        let anew = |case: &Value| played.iter().any(|new| new["id"] == case["id"] && new["role"] == case["role"]);
        cases.retain(|case| !anew(case));
        cases.extend(played);
        failed = failed_again;
    }
    print!("{again_for}");
    let mut failures = String::new();
    for (lane, role, why) in &failed {
        let _ = writeln!(failures, "{} {role}: {why}", lane.name());
    }
    let order = |case: &Value| (case["id"].as_str().map(str::to_owned), case["role"].as_str().map(str::to_owned));
    cases.sort_by_key(order);
    let file = format!("{}/target/interop/scenarios.{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let again_for: String = again_for.lines().map(|line| format!("# {line}\n")).collect();
    put(file.as_ref(), &(again_for + &expectations::as_rows(name, &cases)));
    let differences = match only {
        None => expectations::compare(name, &rows, &cases, &catalogue, strict),
        Some(_) => expectations::differences(name, &rows, &cases),
    };
    for difference in differences {
        let _ = writeln!(failures, "{difference}");
    }
    println!("{}", Counts::of(name, &rows));
    assert!(failures.is_empty(), "{failures}\nwhat it came to is in target/interop/scenarios.{name}.yaml");
}

#[test]
fn strongswan() {
    everything(Name::StrongSwan, true, |_, _, _| true, strongswan_lane);
}

#[test]
fn libreswan() {
    everything(Name::Libreswan, true, |_, _, _| true, libreswan_lane);
}

/// What has a row.
#[test]
fn openiked() {
    let has_row = |rows: &[Row], id: &str, role: Role| {
        let mut rows = rows.iter().filter(|row| row.peer == Name::OpenIked && row.result != Outcome::NotPlayed);
        rows.any(|row| row.scenario == id && row.role == role)
    };
    everything(Name::OpenIked, false, has_row, |lane, role, ids| {
        let found = Mutex::new(Vec::new());
        openiked::with_retries(|| {
            let (net, name) = (Net::new(), Name::OpenIked);
            let (a, b) = baseline(&net, openiked::CHILD, name, lane);
            let peer = OpenIked::start(&net, Side::B, &b);
            let cases = play(&net, name, role, lane, ids, &a, &peer)?;
            let differences = expectations::differences(Name::OpenIked, &expectations::rows(), &cases);
            if !differences.is_empty() {
                return Err(differences.join("\n"));
            }
            *found.lock().expect("no panic holds it") = cases;
            Ok(())
        });
        Ok(found.into_inner().expect("done"))
    });
}
