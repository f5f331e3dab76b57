//! `ikelab load` against strongSwan: some hundred tunnels, each with its own identity, beside some with a wrong key.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::Ikelab;
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Id, Knob, Peer, PeerConfig};
use crate::process::{Finished, run};
use crate::strongswan::StrongSwan;

/// The machine that runs the tests may be busy: how late the tester is, is not the question here.
const PATIENT: [&str; 6] = ["--max-lag", "20s", "--max-cpu", "100%", "--too-late", "20s"];
const LIMIT: Duration = Duration::from_secs(120);

struct Lab {
    net: Net,
    a: PeerConfig,
    peer: StrongSwan,
}

/// Us as many, each with an identity of its own, and a strongSwan that lets all of them in.
fn ends(net: &Net) -> (PeerConfig, PeerConfig) {
    let (mut a, mut b) = PeerConfig::pair(net);
    a.local_id = Id::Email("peer-{n}@a.test".into());
    b.remote_id = Id::Email("*@a.test".into());
    (a, b.knob(Knob::SwanConnection, "unique", "never"))
}

impl Lab {
    fn new() -> Lab {
        let net = Net::new();
        let (a, b) = ends(&net);
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        Lab { net, a, peer }
    }

    fn load(&self, name: &str, args: &[&str]) -> (Finished, Value) {
        load(&self.net, &self.a, name, args)
    }
}

fn load(net: &Net, ours: &PeerConfig, name: &str, args: &[&str]) -> (Finished, Value) {
    let ikelab = Ikelab::named(net, Side::A, name, ours, None);
    let all: Vec<&str> = args.iter().chain(&PATIENT).copied().collect();
    let done = ikelab.run("load", &all, LIMIT);
    let result = ikelab.run_dir().result().unwrap_or_else(|| panic!("no result: {done}"));
    (done, result)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn hundreds_of_tunnels_with_their_own_identities() {
    let lab = Lab::new();
    let (done, result) = lab.load("up", &["--rate", "100", "--for", "10s", "--tunnels", "300", "--keep"]);
    assert_eq!(done.code(), Some(0), "{done}");
    let stage = &result["stages"][0];
    assert_eq!((number(&stage["done"]), number(&stage["failed"]), number(&stage["up"])), (300, 0, 300), "{stage:#}");
    assert_eq!(number(&stage["latency"]["T_up"]["count"]), 300);
    // strongSwan holds every one of them, under its own name.
    let log = lab.peer.log();
    for n in [0, 150, 299] {
        assert!(log.contains(&format!("peer-{n}@a.test")), "peer-{n}");
    }
    assert_eq!(lab.peer.ike_sas().len(), 300);
}

/// Two threads, each with a source address of its own.
#[test]
fn over_ipv6_from_two_addresses() {
    let net = Net::new();
    run(net.command(Side::A, "ip").args(["addr", "add", "fd99::3/64", "dev", "e0", "nodad"]), LIMIT).expect_success();
    let (a, b) = ends(&net);
    let (a, b) = (a.over_ipv6(&net, Side::A), b.over_ipv6(&net, Side::B));
    let b = b.knob(Knob::SwanConnection, "remote_addrs", "fd99::1,fd99::3");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let args = ["--rate", "50", "--for", "4s", "--threads", "2", "--sources", "fd99::1,fd99::3", "--keep"];
    let (done, result) = load(&net, &a, "ipv6", &args);
    assert_eq!(done.code(), Some(0), "{done}");
    let stage = &result["stages"][0];
    assert_eq!((number(&stage["done"]), number(&stage["failed"]), number(&stage["up"])), (200, 0, 200), "{stage:#}");
    assert_eq!((&result["connection"]["remote"], &result["tester"]["sources"]), (&"[fd99::2]:500".into(), &2.into()));
    // strongSwan has half of them from each address.
    let log = peer.log();
    let from = |address: &str| {
        let end = format!("...{address}[");
        log.lines().filter(|line| line.contains("established between") && line.contains(&end)).count()
    };
    assert_eq!((from("fd99::1"), from("fd99::3"), peer.ike_sas().len()), (100, 100, 200));
}

#[test]
fn wrong_keys_fail_beside_honest_tunnels_and_all_are_deleted() {
    let lab = Lab::new();
    let args = ["--rate", "50", "--for", "4s", "--tunnels", "200", "--fault", "bad-psk", "--fault-share", "20%"];
    let (done, result) = lab.load("faults", &args);
    assert_eq!(done.code(), Some(0), "{done}");
    let stage = &result["stages"][0];
    assert_eq!((number(&stage["done"]), number(&stage["failed"])), (160, 0), "{stage:#}");
    assert_eq!(stage["faulty_failures"][0]["class"], "auth_failed", "{stage:#}");
    assert_eq!(number(&stage["faulty"]["failed"]), 40);
    assert_eq!(number(&result["stages"][1]["done"]), 160);
    assert!(lab.peer.ike_sas().is_empty(), "{:?}", lab.peer.ike_sas().len());
}

#[test]
fn strongswan_rekeys_with_us_under_load() {
    let lab = Lab::new();
    for workload in ["rekey-ike", "rekey-child"] {
        let args = ["--workload", workload, "--rate", "50", "--for", "2s", "--tunnels", "100", "--over", "2s"];
        let (done, result) = lab.load(workload, &args);
        assert_eq!(done.code(), Some(0), "{done}");
        let stage = &result["stages"][1];
        assert_eq!((&stage["name"], number(&stage["done"])), (&workload.into(), 100), "{stage:#}");
    }
}

/// The peer keeps the IKE SAs of before, as a headend does that has not noticed; all come back at once.
#[test]
fn everybody_comes_back_to_strongswan_at_once() {
    let lab = Lab::new();
    let args = ["--workload", "storm", "--rate", "50", "--for", "2s", "--tunnels", "100"];
    let (done, result) = lab.load("storm", &args);
    assert_eq!(done.code(), Some(0), "{done}");
    let storm = result["stages"].as_array().unwrap().iter().find(|s| s["name"] == "storm").unwrap();
    assert_eq!(
        (number(&storm["done"]), number(&storm["up"]), &storm["at_once"]),
        (100, 100, &true.into()),
        "{storm:#}"
    );
    let seconds: Vec<f64> =
        result["recovery"]["seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert!(seconds.len() == 4 && seconds.is_sorted(), "{seconds:?}");
}

/// charon is killed, which says nothing to anybody, and another one takes its place two seconds later.
#[test]
fn a_strongswan_that_crashes_is_noticed_and_everybody_comes_back() {
    let net = Net::new();
    let (a, b) = ends(&net);
    let a = a.knob(Knob::Ikelab, "dpd", "{interval: 1s}");
    let a = a.knob(Knob::Ikelab, "retransmit", "{initial: 500ms, attempts: 3}");
    let mut lab = Lab { peer: StrongSwan::start(&net, Side::B, &b, DataPlane::Shim), net, a };
    let args = ["--workload", "failover", "--rate", "25", "--for", "2s", "--tunnels", "50", "--hold", "25s"];
    let (done, result) = std::thread::scope(|scope| {
        let Lab { net, a, peer } = &mut lab;
        let load = scope.spawn(|| load(net, a, "failover", &args));
        let begun = Instant::now();
        while peer.ike_sas().len() < 50 {
            assert!(begun.elapsed() < LIMIT, "the tunnels do not come up");
            std::thread::sleep(Duration::from_millis(200));
        }
        std::thread::sleep(Duration::from_secs(2));
        peer.kill();
        std::thread::sleep(Duration::from_secs(2));
        *peer = StrongSwan::start(net, Side::B, &b, DataPlane::Shim);
        load.join().expect("its panic is above")
    });
    assert_eq!(done.code(), Some(0), "{done}");
    let stage = &result["stages"][1];
    assert_eq!(
        (&stage["name"], number(&stage["lost"]["dpd_timeout"]), number(&stage["done"]), number(&stage["up"])),
        (&"failover".into(), 50, 50, 50),
        "{stage:#}"
    );
    let outage = &stage["latency"]["T_outage"];
    assert!(number(&outage["count"]) == 50 && number(&outage["p50"]) > 2_000_000, "{outage:#}");
    let sentence = result["failover"].as_str().unwrap_or_default();
    assert!(sentence.contains("50 tunnels went down unasked (dpd_timeout 50), all came up again"), "{sentence}");
}

#[test]
fn cookies_are_answered_and_a_flood_is_held_off() {
    let net = Net::new();
    let (a, b) = ends(&net);
    let b = b.wants_cookies();
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let lab = Lab { net, a, peer };
    // Cookies from the first half-open IKE SA on, and room for a thousand of one address.
    let flood = ["--workload", "flood", "--rate", "100", "--for", "1s", "--drain", "1s"];
    let (_, result) = lab.load("flood", &flood);
    assert_eq!(number(&result["stages"][0]["faulty"]["started"]), 100, "{result:#}");
    // The peer now wants cookies of everybody, and honest tunnels come up nevertheless.
    let (done, _) = lab.load("honest", &["--rate", "20", "--for", "1s", "--tunnels", "20"]);
    assert_eq!(done.code(), Some(0), "{done}");
}

/// Pings through strongSwan's userspace ESP to its kernel, which echoes: what was sealed is told from its sequence numbers.
#[test]
fn traffic_through_strongswans_tunnels_comes_back() {
    let net = Net::new();
    let (mut a, mut b) = PeerConfig::pair(&net);
    a.local_id = Id::Email("peer-{n}@a.test".into());
    b.remote_id = Id::Email("*@a.test".into());
    let b = b.knob(Knob::SwanConnection, "unique", "never");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    let lab = Lab { net, a, peer };
    // One tunnel: where many have the same selectors, its data plane answers on the newest.
    let args = ["--workload", "traffic", "--rate", "1", "--for", "1s", "--threads", "1", "--offer", "100k,1M"];
    let more = ["--echo", "10.2.2.2", "--packet-size", "1200", "--hold", "2s"];
    let (done, result) = lab.load("traffic", &[&args[..], &more].concat());
    assert_eq!(done.code(), Some(0), "{done}");
    assert_eq!(number(&result["stages"][0]["latency"]["T_first_packet"]["count"]), 1, "{result:#}");
    let steps: Vec<&Value> = result["stages"].as_array().unwrap().iter().map(|s| &s["traffic"]).collect();
    for (step, least) in [(steps[1], 20), (steps[2], 200)] {
        assert!(number(&step["sent"]) >= least && step["sent"] == step["returned"], "{step:#}");
        let lost = ["loss", "loss_there", "loss_back"].map(|key| step[key].as_f64());
        assert_eq!((lost, number(&step["active"])), ([Some(0.0); 3], 1), "{step:#}");
    }
    assert!(result["traffic"]["finding"].as_str().unwrap().starts_with("everything offered was carried"), "{result:#}");
}
