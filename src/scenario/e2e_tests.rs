//! The embedded peer, in the simulated network and over real loopback sockets: every scenario is reproduced, and none
//! without its cause.

use std::path::Path;

use super::change::Setup;
use super::embedded::{EmbeddedPeer, LoopbackPair, VirtualLink, in_udp, in_virtual_time};
use super::file::{Need, Role, RoleCase, Scenario, Step, Tunnel};
use super::load;
use super::peer::{PeerDriver, mirror};
use super::person::Person;
use super::pki::Authority;
use super::result::CaseResult;
use super::runner::{Bench, BenchSpec};
use super::stand_in;
use super::station::Carry;
use super::verdict::Verdict;
use crate::engine::{Limits, RetransmitSpec};
use crate::link::Link;
use crate::link::hurried::Hurried;
use crate::link::middlebox::Middleboxes;
use crate::link::udp::{UdpConfig, UdpLink};
use crate::seed::{KeySeed, Seeds};
use crate::time::RealClock;

/// Both ends' baseline, before addresses.
fn baseline(spec_text: &str) -> Setup {
    let loaded = crate::config::parse(spec_text, "embedded.yaml", Path::new(""), &|_| None).expect("a good file");
    let mut spec = loaded.spec;
    spec.retransmit = RetransmitSpec {
        initial: std::time::Duration::from_millis(100),
        factor_percent: 200,
        max_wait: std::time::Duration::from_secs(1),
        attempts: 4,
        jitter_percent: 0,
    };
    Setup::new(spec, Limits { cookie_threshold: None, ..Limits::default() })
}

fn of<L: Link>(
    out: &Path,
    link: L,
    baseline: Setup,
    carry: Carry,
    peer: Box<dyn PeerDriver>,
    virtual_time: bool,
) -> Bench<L> {
    Bench::new(BenchSpec {
        link,
        baseline,
        carry,
        number_from: 0,
        virtual_time,
        ping: None,
        seeds: Seeds::simulated("end to end"),
        peer,
        out: out.to_owned(),
        export_keys: false,
        halt: super::halt::Halt::default(),
        person: Person::reading(|text| panic!("nobody is there to be told: {text}")),
        doubles: None,
    })
}

/// Over loopback sockets.
fn bench(out: &Path, lane: u8, spec_text: &str) -> Bench<UdpLink> {
    let mut setup = baseline(spec_text);
    let pair = LoopbackPair::bind(lane, RealClock::start()).expect("loopback has ports");
    pair.address(&mut setup.spec);
    let peer = EmbeddedPeer::start(pair.theirs, &setup.spec, &mirror(&setup.spec), KeySeed::new([7; 32]));
    let carry = in_udp(&setup.spec);
    of(out, pair.ours, setup, carry, Box::new(peer), false)
}

/// In the simulated network.
fn simulated(out: &Path) -> Bench<VirtualLink> {
    let mut setup = baseline(BASELINE);
    let seeds = Seeds::simulated("end to end");
    let theirs = mirror(&setup.spec);
    let (link, peer) = in_virtual_time(&mut setup.spec, &theirs, &seeds.plan, KeySeed::new([7; 32]), None);
    let carry = super::embedded::simulated(&setup.spec);
    of(out, link, setup, carry, Box::new(peer), true)
}

/// In the simulated network, with certificates at both ends.
fn certified(out: &Path) -> Bench<VirtualLink> {
    let mut setup = baseline(BASELINE);
    let seeds = Seeds::simulated("end to end");
    let (theirs, authority) = stand_in::certified(&mut setup.spec, RealClock::start().epoch()).expect("certificates");
    let (link, peer) = in_virtual_time(&mut setup.spec, &theirs, &seeds.plan, KeySeed::new([7; 32]), None);
    let carry = super::embedded::simulated(&setup.spec);
    of(out, link, Setup { authority: Some(authority), ..setup }, carry, Box::new(peer), true)
}

pub(super) fn needs_certificates(scenario: &Scenario) -> bool {
    scenario.needs.contains(&Need::Certificate)
}

pub(super) const BASELINE: &str = include_str!("../cli/embedded_baseline.yaml");

pub(super) fn cases() -> Vec<(Scenario, Role)> {
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

fn honest<L: Link>(bench: &mut Bench<L>) {
    for role in Role::ALL {
        let result = bench.sanity(role).expect("files and sockets work");
        assert_eq!(result.verdict, Verdict::Pass, "{role}: {}", result.detail);
    }
}

/// Plays all that `wanted` names; everything has to be reproduced, and the peer to stay well.
fn reproduce<L: Link>(bench: &mut Bench<L>, out: &Path, wanted: &dyn Fn(&Scenario) -> bool) {
    honest(bench);
    let mut wrong = Vec::new();
    for (scenario, role) in cases().into_iter().filter(|(scenario, _)| wanted(scenario)) {
        let case = scenario.roles.get(role).expect("it has the role");
        let result = bench.case(&scenario, role, case).expect("files and sockets work");
        println!("{:?} {} {role}: {} [{:.3}]", result.verdict, scenario.id, result.detail, result.seconds);
        if result.verdict != Verdict::Reproduced {
            wrong.push(report(&result));
        } else {
            assert_eq!(result.proofs.len(), case.change.len(), "{} {role}", scenario.id);
            assert!(result.faults.iter().all(|fault| fault.fired > 0));
            let capture = out.join(result.capture.as_deref().expect("a capture"));
            assert!(capture.metadata().expect("the capture is there").len() > 300);
        }
        let sanity = bench.sanity(Role::Initiator).expect("files and sockets work");
        if sanity.verdict != Verdict::Pass {
            wrong.push(format!("after {} {role}: {}", scenario.id, sanity.detail));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_scenario_is_reproduced_and_the_peer_stays_well() {
    let out = tempfile::tempdir().expect("a folder");
    reproduce(&mut simulated(out.path()), out.path(), &|scenario| !needs_certificates(scenario));
    let out = tempfile::tempdir().expect("a folder");
    reproduce(&mut certified(out.path()), out.path(), &needs_certificates);
}

#[test]
fn over_real_sockets_as_in_the_simulated_network() {
    let out = tempfile::tempdir().expect("a folder");
    let short = ["sa-init/no-proposal-encr", "auth/psk-mismatch", "child/ts-mask-wider", "rekey/pfs-mismatch"];
    reproduce(&mut bench(out.path(), 100, BASELINE), out.path(), &|scenario| short.contains(&scenario.id.as_str()));
}

/// A NAT and a firewall that stand at our own sockets, with a clock that runs faster than the peer's.
#[test]
fn over_real_sockets_behind_boxes_that_do_as_they_are_told() {
    let out = tempfile::tempdir().expect("a folder");
    let mut setup = baseline(BASELINE);
    // An eighth of that is what the peer has to answer in.
    setup.spec.retransmit.initial = std::time::Duration::from_secs(1);
    let pair = LoopbackPair::bind(103, RealClock::start()).expect("loopback has ports");
    pair.address(&mut setup.spec);
    let peer = EmbeddedPeer::start(pair.theirs, &setup.spec, &mirror(&setup.spec), KeySeed::new([7; 32]));
    let carry = in_udp(&setup.spec);
    let link = Hurried::new(Middleboxes::new(pair.ours, UdpConfig::default()), 8);
    let mut bench = of(out.path(), link, setup, carry, Box::new(peer), false);
    let played = ["nat/mapping-expiry", "path/firewall-forgets"];
    reproduce(&mut bench, out.path(), &|scenario| played.contains(&scenario.id.as_str()));

    // ESP is in UDP there.
    let (scenario, role) = cases().into_iter().find(|(s, _)| s.id == "path/esp-blocked").expect("it is there");
    let case = scenario.roles.get(role).expect("it has the role");
    let result = bench.case(&scenario, role, case).expect("files and sockets work");
    assert_eq!(result.verdict, Verdict::Unsupported);
    assert!(result.detail.contains("IP protocol 50"), "{}", result.detail);
}

/// With its cause taken away no scenario is seen: neither a change that is undone, nor a fault that is not armed, nor a
/// step that is left out.
#[test]
fn without_its_cause_nothing_is_seen() {
    let out = tempfile::tempdir().expect("a folder");
    let mut benches = [simulated(out.path()), certified(out.path())];
    benches.iter_mut().for_each(honest);
    let mut wrong = Vec::new();
    for (scenario, role) in cases() {
        let bench = &mut benches[usize::from(needs_certificates(&scenario))];
        let case = scenario.roles.get(role).expect("it has the role").clone();
        let idle = without_cause(&case);
        // What would be judged if nothing asked for a cause: the expectations themselves.
        let seen = bench.expectations_hold(&scenario, role, &idle).expect("files and sockets work");
        if seen != Some(false) {
            wrong.push(format!("{} {role}: seen without its cause: {seen:?}", scenario.id));
        }
        let result = bench.case(&scenario, role, &idle).expect("files and sockets work");
        assert_ne!(result.verdict, Verdict::Reproduced, "{} {role} without its cause", scenario.id);
        // A fault that never fires: it waits for an occasion that never comes.
        for fault in &case.faults {
            let mut never = case.clone();
            let mut fault = fault.clone();
            fault.when.nth = Some(1_000_000);
            fault.rule().expect("every seam can count");
            never.faults = vec![fault];
            let result = bench.case(&scenario, role, &never).expect("files and sockets work");
            assert_ne!(result.verdict, Verdict::Reproduced, "{} {role} with a fault that never fires", scenario.id);
        }
        let sanity = bench.sanity(Role::Initiator).expect("files and sockets work");
        assert_eq!(sanity.verdict, Verdict::Pass, "after {} {role}: {}", scenario.id, sanity.detail);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same steps with nothing changed and nothing bent.
pub(super) fn without_cause(case: &RoleCase) -> RoleCase {
    let mut idle = case.clone();
    idle.change.clear();
    idle.faults.clear();
    idle.steps.retain(|step| !step.is_cause() && !matches!(step, Step::Path(_)));
    if !idle.steps.iter().any(|step| matches!(step, Step::Establish(_) | Step::PeerInitiates(_) | Step::Tunnel(_))) {
        idle.steps.insert(0, Step::Tunnel(Tunnel::default()));
    }
    idle
}

/// A change that is claimed and has no effect proves nothing, whatever is seen.
#[test]
fn an_idle_change_is_no_cause() {
    let out = tempfile::tempdir().expect("a folder");
    let mut benches = [simulated(out.path()), certified(out.path())];
    benches.iter_mut().for_each(honest);
    for (scenario, role) in cases() {
        let bench = &mut benches[usize::from(needs_certificates(&scenario))];
        let case = scenario.roles.get(role).expect("it has the role").clone();
        for path in case.change.keys() {
            let mut claimed = case.clone();
            let (path, op) = no_change(path);
            claimed.change = std::iter::once((path, op)).collect();
            claimed.faults.clear();
            let result = bench.case(&scenario, role, &claimed).expect("files and sockets work");
            assert_ne!(result.verdict, Verdict::Reproduced, "{} {role} with an idle change", scenario.id);
        }
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
        "children.0.pfs" => set(path, "none"),
        "children.0.mode" => set(path, "tunnel"),
        "children.0.esn" => set(path, "no"),
        "rekey.answer" => set(path, "all"),
        "behaviour.initial_contact" => set(path, "true"),
        "children.0.lifetime" | "ike.lifetime" | "ike.reauth_after" | "dpd.interval" => set(path, "9h"),
        path if path.starts_with("children") => set("children.0.proposals", "aes256-sha256"),
        _ => set("ike.proposals", "aes256-sha256-modp2048-ecp256"),
    }
}

#[test]
fn until_an_honest_tunnel_comes_up_nothing_is_judged() {
    let out = tempfile::tempdir().expect("a folder");
    let mut bench = bench(out.path(), 101, BASELINE);
    let (scenario, role) = cases().into_iter().next().expect("there are scenarios");
    let case = scenario.roles.get(role).expect("it has the role").clone();
    let result = bench.case(&scenario, role, &case).expect("files and sockets work");
    assert_eq!(result.verdict, Verdict::Inconclusive);
    assert!(result.detail.contains("no honest tunnel"), "{}", result.detail);
    honest(&mut bench);
    let result = bench.case(&scenario, role, &case).expect("files and sockets work");
    assert_eq!(result.verdict, Verdict::Reproduced, "{}", report(&result));
}

/// A connection file that names the key of the lab's CA: bad certificates are made with it, and what cannot be made is said.
#[test]
fn certificates_of_a_ca_in_the_connection_file() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("writable");
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "A lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", params.clone().self_signed(&ca_key).expect("a certificate").pem());
    write("ca.key", ca_key.serialize_pem());
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("us.embedded.test".try_into().expect("ASCII"))];
    write("us.pem", params.signed_by(&key, &issuer).expect("a certificate").pem());
    write("us.key", key.serialize_pem());
    let auth = "auth:\n  local: {certificate: {chain: us.pem, key: us.key, issuer: ca.pem, issuer_key: ca.key}}\n  \
                remote: {certificate: {ca: [ca.pem]}}";
    let text = BASELINE.replace("auth: {local: {psk: \"a demonstration, no secret\"}}", auth);
    let parse = |text: &str| crate::config::parse(text, "lab.yaml", dir.path(), &|_| None);
    let loaded = parse(&text).expect("a good file");
    let error = parse(&text.replace(", issuer_key: ca.key", "")).expect_err("half of it").to_string();
    assert!(error.contains("no `issuer_key`"), "{error}");
    let error = parse(&text.replace("issuer_key: ca.key", "issuer_key: us.key")).expect_err("another key").to_string();
    assert!(error.contains("not that of `issuer`"), "{error}");

    let now = RealClock::start().epoch();
    let authority = Authority::of(loaded.issuer.as_ref().expect("it is named"), now).expect("a CA");
    let mut setup = Setup { spec: loaded.spec, authority: Some(std::sync::Arc::new(authority)), ..baseline(BASELINE) };
    setup.spec.retransmit = baseline(BASELINE).spec.retransmit;
    let theirs = stand_in::counterpart(&mut setup.spec).expect("another end");
    // The stand-in trusts our certificate alone; a box trusts its authority.
    let mut theirs = theirs;
    let trust = crate::auth::Trust {
        anchors: vec![loaded.issuer.as_ref().expect("it is named").certificate.clone()],
        ..Default::default()
    };
    theirs.remote_auth = crate::engine::AuthSpec::Trust(std::sync::Arc::new(trust));
    let seeds = Seeds::simulated("end to end");
    let (link, peer) = in_virtual_time(&mut setup.spec, &theirs, &seeds.plan, KeySeed::new([7; 32]), None);
    let carry = super::embedded::simulated(&setup.spec);
    let mut bench = of(dir.path(), link, setup, carry, Box::new(peer), true);
    honest(&mut bench);
    for (scenario, role) in cases().into_iter().filter(|(scenario, _)| scenario.id.starts_with("auth/cert-")) {
        let case = scenario.roles.get(role).expect("it has the role");
        let result = bench.case(&scenario, role, case).expect("files and sockets work");
        let (verdict, detail) = match scenario.id.as_str() {
            "auth/cert-revoked" => (Verdict::Unsupported, "needs a revocation list at the peer"),
            "auth/cert-missing-chain" => (Verdict::Unsupported, "needs a certificate with an intermediate CA"),
            _ if !case.change.contains_key("auth.certificate") => continue,
            _ => (Verdict::Reproduced, ""),
        };
        assert!(result.verdict == verdict && result.detail.contains(detail), "{}", report(&result));
    }
}

#[test]
fn a_baseline_that_lacks_what_is_needed_is_unsupported() {
    let out = tempfile::tempdir().expect("a folder");
    let one_group = BASELINE.replace("-modp2048-ecp256", "-ecp256");
    let mut bench = bench(out.path(), 102, &one_group);
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
