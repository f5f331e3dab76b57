//! The catalogue against every persona: what a box would log follows from what happened to it and from nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::change;
use super::e2e_tests::{BASELINE, cases, needs_certificates, without_cause};
use super::embedded::VirtualLink;
use super::file::{Role, RoleCase, Scenario, Step};
use super::matcher;
use super::peer::mirror;
use super::persona::{Difference, Doubles, PeerLine};
use super::pki::Authority;
use super::runner::Bench;
use super::stand_in;
use super::verdict::Verdict;
use crate::config::Vendor;
use crate::engine::ConnectionSpec;
use crate::seed::{KeySeed, Seeds};
use crate::time::RealClock;
use crate::vendor::persona::{Dress, Persona};

/// All that the baseline's pre-shared key can play.
fn psk_cases() -> Vec<(Scenario, Role)> {
    cases().into_iter().filter(|(scenario, _)| !needs_certificates(scenario)).collect()
}

fn baseline() -> ConnectionSpec {
    crate::config::parse(BASELINE, "embedded.yaml", Path::new(""), &|_| None).expect("a good file").spec
}

fn doubles(persona: &Persona, theirs: ConnectionSpec, scratch: &Path) -> Doubles {
    Doubles {
        ours: baseline(),
        theirs,
        dress: Dress::all(*persona),
        authority: None,
        seeds: Seeds::simulated("personas"),
        key: KeySeed::new([7; 32]),
        scratch: scratch.to_owned(),
    }
}

/// Benches whose peer plays one persona: with a pre-shared key, and with certificates.
struct Benches {
    psk: Bench<VirtualLink>,
    certified: Bench<VirtualLink>,
}

impl Benches {
    fn of(&mut self, scenario: &Scenario) -> &mut Bench<VirtualLink> {
        if needs_certificates(scenario) { &mut self.certified } else { &mut self.psk }
    }
}

/// Both ends with certificates of one authority, and what makes bad ones.
struct Certified {
    ours: ConnectionSpec,
    theirs: ConnectionSpec,
    authority: Arc<Authority>,
}

impl Certified {
    fn new() -> Self {
        let mut ours = baseline();
        let (theirs, authority) = stand_in::certified(&mut ours, RealClock::start().epoch()).expect("certificates");
        Certified { ours, theirs, authority }
    }
}

/// Both benches, each after an honest tunnel in each role.
fn ready(persona: &Persona, certified: &Certified, scratch: &Path) -> Benches {
    let psk = doubles(persona, mirror(&baseline()), &scratch.join("psk"));
    let certified = Doubles {
        ours: certified.ours.clone(),
        authority: Some(Arc::clone(&certified.authority)),
        ..doubles(persona, certified.theirs.clone(), &scratch.join("certified"))
    };
    let honest = |doubles: &Doubles| {
        let mut bench = doubles.bench(doubles.dress).expect("files work");
        for role in Role::ALL {
            let result = bench.sanity(role).expect("files work");
            assert_eq!(result.verdict, Verdict::Pass, "{} {role}: {}", persona.name, result.detail);
        }
        bench
    };
    Benches { psk: honest(&psk), certified: honest(&certified) }
}

/// What cannot say anything: another name, title and text for everything that has one.
fn renamed(scenario: &Scenario) -> Scenario {
    let mut other = scenario.clone();
    other.id = format!("sa-init/renamed-{}", scenario.id.len());
    other.title = "Another title".to_owned();
    other.story = "Another story.".to_owned();
    other.mechanics = "Other mechanics.".to_owned();
    (other.aliases, other.sources) = (Vec::new(), Vec::new());
    other.symptoms.clear();
    other.fix.clear();
    other
}

/// The words of a line, without what differs from one tunnel to the next: addresses, SPIs and other numbers.
fn words(line: &PeerLine) -> String {
    let word = |word: &&str| word.len() > 1 && !word.chars().all(|c| c.is_ascii_hexdigit());
    line.text.split(|c: char| !c.is_ascii_alphanumeric()).filter(word).collect::<Vec<_>>().join(" ")
}

/// The lines that the scenario lists as a symptom at this vendor's box.
fn symptoms<'a>(lines: &'a [PeerLine], scenario: &Scenario, vendor: Vendor) -> Vec<&'a PeerLine> {
    let own = |line: &&PeerLine| {
        matcher::find(&line.text, [scenario]).iter().any(|hit| {
            let named = scenario.symptoms.keys().find(|name| name.label() == hit.vendor);
            named.is_some_and(|name| name.as_str() == vendor.name())
        })
    };
    lines.iter().filter(own).collect()
}

/// What a box of this kind is by nature, whatever the other end does: its habit is the whole failure.
const BY_NATURE: &[(&str, &str, Role)] = &[
    // It announces no fragmentation.
    ("cisco-ios-xe", "auth/fragmentation-mismatch", Role::Responder),
    ("paloalto-panos", "auth/fragmentation-mismatch", Role::Responder),
    // It does not look for NATs.
    ("paloalto-panos", "nat/traversal-off", Role::Responder),
];

/// Every case three times: as it is, under another name, and without its cause.
fn the_log_follows_from_what_happens(name: &str) {
    let persona = Persona::named(name).expect("it is there");
    let folder = tempfile::tempdir().expect("a folder");
    let certified = Certified::new();
    let benches = |part: &str| ready(persona, &certified, &folder.path().join(part));
    let (mut played, mut other, mut idle) = (benches("played"), benches("renamed"), benches("idle"));
    let honest: BTreeSet<String> = honest_lines(&mut benches("honest"));
    let (mut wrong, mut shown, mut logged, mut with_certificates) = (Vec::new(), 0, 0, 0);
    for (scenario, role) in cases() {
        let case = scenario.roles.get(role).expect("it has the role").clone();
        let what = format!("{} {role}", scenario.id);
        let idle = idle.of(&scenario);
        let result = played.of(&scenario).case(&scenario, role, &case).expect("files work");
        let again = other.of(&scenario).case(&renamed(&scenario), role, &case).expect("files work");
        assert_eq!(result.peer_log, again.peer_log, "{what}: the name has a part in the log");
        assert_eq!(result.verdict, again.verdict, "{what}");
        logged += usize::from(!result.peer_log.is_empty());
        with_certificates += usize::from(!result.peer_log.is_empty() && needs_certificates(&scenario));

        let calm = idle.case(&scenario, role, &without_cause(&case)).expect("files work");
        if matches!(calm.verdict, Verdict::Reproduced | Verdict::Pass) {
            wrong.push(format!("{what}: {:?} without its cause", calm.verdict));
        }
        // The same judgement as if nothing asked for a cause.
        let seen = idle.expectations_hold(&scenario, role, &without_cause(&case)).expect("files work");
        if (seen == Some(true)) != BY_NATURE.contains(&(name, scenario.id.as_str(), role)) {
            wrong.push(format!("{what}: seen without its cause: {seen:?}"));
        }
        let Some(vendor) = persona.vendor else { continue };
        let symptoms_of = |lines: &[PeerLine]| -> BTreeSet<String> {
            let found = symptoms(lines, &scenario, vendor).into_iter().map(words);
            found.filter(|line| !honest.contains(line)).collect()
        };
        let with = symptoms_of(&result.peer_log);
        shown += usize::from(!with.is_empty());
        let without = symptoms_of(&calm.peer_log);
        if !without.is_empty() {
            wrong.push(format!("{what}: logged without its cause: {without:?}"));
        }
    }
    println!(
        "{name}: {logged} cases with a log, {with_certificates} of them with certificates, {shown} with a line that the \
         scenario lists"
    );
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    // A log that says nothing would pass all of the above.
    assert_eq!(logged > 100, persona.vendor.is_some(), "{name}: {logged}");
    assert_eq!(shown > 3, persona.vendor.is_some(), "{name}: {shown}");
    assert_eq!(with_certificates > 10, persona.vendor.is_some(), "{name}: {with_certificates}");
}

/// What the box logs of a tunnel that comes up, lives and ends, in either role: symptoms of nothing.
fn honest_lines(benches: &mut Benches) -> BTreeSet<String> {
    let all = cases();
    let mut lines = BTreeSet::new();
    for certified in [false, true] {
        let one = all.iter().find(|(scenario, _)| needs_certificates(scenario) == certified);
        let (scenario, _) = one.expect("there are such scenarios");
        for role in Role::ALL {
            let tunnel = RoleCase {
                change: Default::default(),
                faults: Vec::new(),
                steps: vec![Step::Tunnel(Default::default())],
                ..scenario.roles.get(role).or(scenario.roles.get(role.other())).expect("one of them").clone()
            };
            let result = benches.of(scenario).case(scenario, role, &tunnel).expect("files work");
            lines.extend(result.peer_log.iter().map(words));
        }
    }
    lines
}

#[test]
fn the_plain_peers_log_is_empty() {
    the_log_follows_from_what_happens("plain");
}

#[test]
fn an_ios_xe_log_follows_from_what_happens() {
    the_log_follows_from_what_happens("cisco-ios-xe");
}

#[test]
fn an_asa_log_follows_from_what_happens() {
    the_log_follows_from_what_happens("cisco-asa");
}

#[test]
fn an_ftd_log_follows_from_what_happens() {
    the_log_follows_from_what_happens("cisco-ftd");
}

#[test]
fn a_panos_log_follows_from_what_happens() {
    the_log_follows_from_what_happens("paloalto-panos");
}

#[test]
fn a_strongswan_log_follows_from_what_happens() {
    the_log_follows_from_what_happens("strongswan");
}

/// Here the failure lies in our half alone, and there is nothing that the peer could have right or wrong: what we ask for is
/// too little, or is announced by one end only.
const OURS_ALONE: &[(&str, Role)] = &[
    ("auth/fragmentation-mismatch", Role::Initiator),
    ("auth/fragmentation-mismatch", Role::Responder),
    ("child/ts-host-first", Role::Initiator),
    ("child/ts-mask-narrower", Role::Initiator),
    ("child/ts-protocol-port", Role::Initiator),
    ("data/selectors-violated", Role::Initiator),
];

/// A scenario changes our half of the configuration, and the failure is that the two halves no longer fit. A peer whose half
/// was changed as well is right, and then there is no failure to be seen.
#[test]
fn a_peer_that_is_right_shows_nothing() {
    // What makes two halves unlike; the rest is a matter of one end alone, like timers and limits.
    const SHARED: &[&str] = &["ike.", "children.", "auth.", "local.id", "local.psk"];
    let folder = tempfile::tempdir().expect("a folder");
    let (mut tried, mut wrong) = (0, Vec::new());
    for (scenario, role) in psk_cases() {
        let case = scenario.roles.get(role).expect("it has the role").clone();
        let shared = |path: &String| {
            SHARED.iter().any(|prefix| path.starts_with(prefix))
                && !path.contains("lifetime")
                && !path.contains("reauth")
        };
        if case.change.is_empty() || !case.faults.is_empty() || !case.change.keys().all(shared) {
            continue;
        }
        let mut setup = change::Setup::new(baseline(), Default::default());
        for (path, op) in &case.change {
            change::apply(path, op, &mut setup).expect("the baseline has it");
        }
        let plain = Persona::named("plain").expect("it is there");
        let right = doubles(plain, mirror(&setup.spec), &folder.path().join("right"));
        let mut bench = right.bench(right.dress).expect("files work");
        let seen = bench.expectations_hold(&scenario, role, &case).expect("files work");
        tried += 1;
        if (seen == Some(true)) != OURS_ALONE.contains(&(scenario.id.as_str(), role)) {
            wrong.push(format!("{} {role}: {seen:?} {:?}", scenario.id, case.change.keys().collect::<Vec<_>>()));
        }
    }
    println!("{tried} cases against a peer that is right");
    assert!(wrong.is_empty(), "seen although the peer is right:\n{}", wrong.join("\n"));
    assert!(tried >= 25, "{tried}");
}

/// The reason for a difference is found by leaving one habit out, not by asking a list.
#[test]
fn a_difference_names_the_habit_without_which_it_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (scenario, role) = psk_cases()
        .into_iter()
        .find(|(scenario, role)| scenario.id == "sa-init/cookie-challenge" && *role == Role::Initiator)
        .expect("it is there");
    let case = scenario.roles.get(role).expect("it has the role").clone();
    let of = |name: &str| {
        let persona = Persona::named(name).expect("it is there");
        let doubles = doubles(persona, mirror(&baseline()), &folder.path().join(name));
        doubles.difference(&scenario, role, &case).expect("files work")
    };
    let kind = |found: Option<Difference>| found.map(|difference| difference.kind);
    assert_eq!(kind(of("cisco-ios-xe")).as_deref(), Some("half-open-limits"));
    assert_eq!(kind(of("paloalto-panos")).as_deref(), Some("half-open-limits"));
    // What no peer shows is no difference of a persona's.
    let persona = Persona::named("cisco-asa").expect("it is there");
    let doubles = doubles(persona, mirror(&baseline()), &folder.path().join("idle"));
    assert_eq!(doubles.difference(&scenario, role, &without_cause(&case)).expect("files work"), None);
}
