//! The embedded peer, over real loopback sockets: every scenario is reproduced, and none without its cause.

use std::path::Path;

use super::change::Setup;
use super::file::{Role, Scenario, Step};
use super::load;
use super::peer::{EmbeddedPeer, LoopbackPair, mirror};
use super::result::CaseResult;
use super::runner::{Bench, BenchSpec};
use super::verdict::Verdict;
use crate::engine::{Limits, RetransmitSpec};
use crate::link::udp::UdpLink;
use crate::seed::{KeySeed, Seeds};
use crate::time::RealClock;

fn bench(out: &Path, spec_text: &str) -> Bench<UdpLink> {
    let clock = RealClock::start();
    let loaded = crate::config::parse(spec_text, "embedded.yaml", Path::new(""), &|_| None).expect("a good file");
    let mut spec = loaded.spec;
    let pair = LoopbackPair::bind(clock).expect("loopback has ports");
    pair.address(&mut spec);
    spec.retransmit = RetransmitSpec {
        initial: std::time::Duration::from_millis(100),
        factor_percent: 200,
        max_wait: std::time::Duration::from_secs(1),
        attempts: 4,
        jitter_percent: 0,
    };
    let peer = EmbeddedPeer::start(pair.theirs, mirror(&spec), KeySeed::new([7; 32]));
    let limits = Limits { cookie_threshold: None, ..Limits::default() };
    Bench::new(BenchSpec {
        link: pair.ours,
        baseline: Setup { spec, limits },
        seeds: Seeds::simulated("end to end"),
        peer: Box::new(peer),
        out: out.to_owned(),
        export_keys: false,
        halt: super::halt::Halt::default(),
        tell: Box::new(|text| panic!("nobody is there to be told: {text}")),
    })
}

const BASELINE: &str = include_str!("../cli/embedded_baseline.yaml");

fn cases() -> Vec<(Scenario, Role)> {
    let all = load::embedded().expect("they load");
    let roles = |one: load::LoadedScenario| {
        let scenario = one.scenario;
        Role::ALL
            .into_iter()
            .filter(|role| scenario.roles.get(*role).is_some())
            .map(|r| (scenario.clone(), r))
            .collect::<Vec<_>>()
    };
    all.into_iter().flat_map(roles).collect()
}

fn honest(bench: &mut Bench<UdpLink>) {
    for role in Role::ALL {
        let result = bench.sanity(role).expect("files and sockets work");
        assert_eq!(result.verdict, Verdict::Pass, "{role}: {}", result.detail);
    }
}

#[test]
fn every_scenario_is_reproduced_and_the_peer_stays_well() {
    let out = tempfile::tempdir().expect("a folder");
    let mut bench = bench(out.path(), BASELINE);
    honest(&mut bench);
    let mut wrong = Vec::new();
    for (scenario, role) in cases() {
        let case = scenario.roles.get(role).expect("it has the role");
        let result = bench.case(&scenario, role, case).expect("files and sockets work");
        println!("{:?} {} {role}: {} [{:.3}]", result.verdict, scenario.id, result.detail, result.seconds);
        if result.verdict != Verdict::Reproduced {
            wrong.push(report(&result));
        } else {
            assert_eq!(result.proofs.len(), case.change.len(), "{} {role}", scenario.id);
            assert!(result.faults.iter().all(|fault| fault.fired > 0));
            let capture = out.path().join(result.capture.as_deref().expect("a capture"));
            assert!(capture.metadata().expect("the capture is there").len() > 300);
        }
        let sanity = bench.sanity(Role::Initiator).expect("files and sockets work");
        if sanity.verdict != Verdict::Pass {
            wrong.push(format!("after {} {role}: {}", scenario.id, sanity.detail));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With its cause taken away no scenario may claim to have reproduced anything: neither with the change undone but still
/// claimed, nor with the faults not armed.
#[test]
fn without_its_cause_nothing_is_reproduced() {
    let out = tempfile::tempdir().expect("a folder");
    let mut bench = bench(out.path(), BASELINE);
    honest(&mut bench);
    for (scenario, role) in cases() {
        let mut case = scenario.roles.get(role).expect("it has the role").clone();
        if case.steps.iter().any(|step| matches!(step, Step::HalfOpen(_))) {
            continue; // the step is the cause
        }
        for step in &mut case.steps {
            // Nothing will come, and it need not be waited for long.
            if let Step::Expect(expect) = step {
                expect.within.0 = expect.within.0.min(std::time::Duration::from_millis(700));
            }
        }
        let mut idle = case.clone();
        idle.change.clear();
        idle.faults.clear();
        let result = bench.case(&scenario, role, &idle).expect("files and sockets work");
        assert_ne!(result.verdict, Verdict::Reproduced, "{} {role} without its cause", scenario.id);
        // A change that is claimed and has no effect: the same value once more.
        for path in case.change.keys() {
            let mut claimed = idle.clone();
            let (path, op) = no_change(path);
            claimed.change.insert(path, op);
            let result = bench.case(&scenario, role, &claimed).expect("files and sockets work");
            assert_ne!(result.verdict, Verdict::Reproduced, "{} {role} with an idle change", scenario.id);
        }
        // A fault that never fires: it waits for a message that never comes.
        for fault in &case.faults {
            let mut never = case.clone();
            let mut fault = fault.clone();
            fault.when.message_id = Some(4711);
            fault.when.exchange = Some(crate::wire::registry::ExchangeType::IKE_SESSION_RESUME);
            never.faults = vec![fault];
            let result = bench.case(&scenario, role, &never).expect("files and sockets work");
            assert_ne!(result.verdict, Verdict::Reproduced, "{} {role} with a fault that never fires", scenario.id);
            assert_eq!(result.verdict, Verdict::Inconclusive, "{}", report(&result));
        }
        let sanity = bench.sanity(Role::Initiator).expect("files and sockets work");
        assert_eq!(sanity.verdict, Verdict::Pass, "after {} {role}: {}", scenario.id, sanity.detail);
    }
}

/// A setting of the same path that is what the baseline has already.
fn no_change(path: &str) -> (String, super::file::ChangeOp) {
    use super::file::ChangeOp::Set;
    let set = |path: &str, value: &str| (path.to_owned(), Set(vec![value.to_owned()]));
    match path {
        "children.0.local_ts" => set(path, "10.10.10.0/24"),
        "nat.traversal" => set(path, "auto"),
        "limits.cookie_threshold" => set(path, "never"),
        path if path.starts_with("children") => set("children.0.proposals", "aes256-sha256"),
        _ => set("ike.proposals", "aes256-sha256-modp2048-ecp256"),
    }
}

#[test]
fn until_an_honest_tunnel_comes_up_nothing_is_judged() {
    let out = tempfile::tempdir().expect("a folder");
    let mut bench = bench(out.path(), BASELINE);
    let (scenario, role) = cases().into_iter().next().expect("there are scenarios");
    let case = scenario.roles.get(role).expect("it has the role").clone();
    let result = bench.case(&scenario, role, &case).expect("files and sockets work");
    assert_eq!(result.verdict, Verdict::Inconclusive);
    assert!(result.detail.contains("no honest tunnel"), "{}", result.detail);
    honest(&mut bench);
    let result = bench.case(&scenario, role, &case).expect("files and sockets work");
    assert_eq!(result.verdict, Verdict::Reproduced, "{}", report(&result));
}

#[test]
fn a_baseline_that_lacks_what_is_needed_is_unsupported() {
    let out = tempfile::tempdir().expect("a folder");
    let one_group = BASELINE.replace("-modp2048-ecp256", "-ecp256");
    let mut bench = bench(out.path(), &one_group);
    honest(&mut bench);
    let (scenario, role) = cases()
        .into_iter()
        .find(|(s, role)| s.id == "sa-init/invalid-ke-retry" && *role == Role::Responder)
        .expect("it is there");
    let case = scenario.roles.get(role).expect("it has the role").clone();
    let result = bench.case(&scenario, role, &case).expect("files and sockets work");
    assert_eq!(result.verdict, Verdict::Unsupported);
    assert_eq!(result.detail, "the baseline has no second key exchange group");
}

fn report(result: &CaseResult) -> String {
    format!(
        "{} {}: {:?} {} expected {:?} actual {:?} proofs {:?}",
        result.id, result.role, result.verdict, result.detail, result.expected, result.actual, result.proofs
    )
}
