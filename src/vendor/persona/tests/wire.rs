//! Every habit shows: in what a persona's engine sends, beside the same persona without that one habit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Given};
use crate::engine::{ConnectionSpec, Endpoint, EndpointConfig, Event, IdMatch, Limits, ProposalSpec, Side, TunnelId};
use crate::net::{Class, SocketRole};
use crate::seed::{KeySeed, PlanSeed, Seeds};
use crate::time::{Instant, UnixTime};
use crate::vendor::persona::{Dress, Persona, Trait};
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType};
use crate::wire::{Flags, Header, Message, NotifyPayload, Payload, decode, encode_into};

const FILE: &str = "\
version: 1
local: {address: 127.0.0.1, id: fqdn:a.test}
remote: {address: 127.0.0.2, id: fqdn:b.test}
auth: {local: {psk_env: PSK}}
ike: {proposals: [aes256-sha256-ecp256, aes128-sha1-modp2048]}
children:
  - {name: lan, proposals: [aes256-sha256], local_ts: [10.1.0.0/24], remote_ts: [10.2.0.0/24, 10.3.0.0/24]}
";

fn parse(text: &str) -> ConnectionSpec {
    config::parse(text, "persona.yaml", Path::new("."), &|_| Some("sesame".to_owned())).expect("the file is right").spec
}

fn mirrored(spec: &ConnectionSpec) -> ConnectionSpec {
    let mut other = spec.clone();
    std::mem::swap(&mut other.local_addr, &mut other.remote_addr);
    for child in &mut other.children {
        std::mem::swap(&mut child.local_ts, &mut child.remote_ts);
    }
    let IdMatch::Exact(theirs) = std::mem::replace(&mut other.remote_id, IdMatch::Exact(spec.local_id.clone())) else {
        panic!("the file names the peer's identity")
    };
    other.local_id = theirs;
    other
}

/// What one end sends: a line for each message, repeats included.
type Sent = Vec<String>;

fn kinds(message: &Message) -> String {
    let one = |payload: &Payload| match payload {
        Payload::Notify(n) => n.kind.to_string(),
        Payload::Sa(sa) => {
            format!("SA{:?}", sa.proposals.iter().map(|p| p.transforms.len()).collect::<Vec<_>>())
        }
        Payload::TsI(ts) | Payload::TsR(ts) => format!("{}x{}", payload.kind(), ts.selectors.len()),
        Payload::Vendor(vendor) => format!("V{}", vendor.data.len()),
        other => other.kind().to_string(),
    };
    message.outer.iter().chain(message.sk.iter().flatten()).map(one).collect::<Vec<_>>().join(" ")
}

fn endpoint(spec: &ConnectionSpec, limits: Limits, n: u8) -> Endpoint {
    let config = EndpointConfig { connections: vec![Arc::new(spec.clone())], limits, ..EndpointConfig::default() };
    let seeds = Seeds::new(PlanSeed::from_text("persona"), KeySeed::new([n; 32]));
    Endpoint::new(Arc::new(config), seeds, UnixTime::default())
}

/// Lets `near` initiate to `far`, or to nobody, and gives what each sends within `span`.
fn play(near: &ConnectionSpec, far: Option<&ConnectionSpec>, span: Duration) -> (Sent, Sent) {
    let mut ends = vec![endpoint(near, Limits::default(), 1)];
    ends.extend(far.map(|far| endpoint(far, Limits::default(), 2)));
    let mut sent = [Sent::new(), Sent::new()];
    let mut now = Instant::ZERO;
    ends[0].connect(now, Arc::new(near.clone()), TunnelId(1), near.local_addr.expect("an address"));
    loop {
        let mut moved = false;
        for at in 0..ends.len() {
            while let Some((_, _, event)) = ends[at].poll_event() {
                let time = now.as_secs_f64().round();
                match event {
                    Event::Message(trace) if trace.from == Side::Us => {
                        let answer = if trace.message.header.flags.is_response() { "answer" } else { "request" };
                        let exchange = trace.message.header.exchange;
                        sent[at].push(format!("{time} {exchange} {answer}: {}", kinds(&trace.message)));
                    }
                    Event::Retransmit { header, .. } => sent[at].push(format!("{time} {} again", header.exchange)),
                    _ => {}
                }
            }
            while let Some(transmit) = ends[at].poll_transmit() {
                moved = true;
                if transmit.class == Class::Ike && ends.len() == 2 {
                    let path = transmit.path;
                    let back = crate::net::Path { local: path.remote, remote: path.local, role: path.role };
                    ends[1 - at].handle_datagram(now, back, &mut transmit.bytes.clone());
                }
            }
        }
        if !moved {
            match ends.iter_mut().filter_map(|end| end.poll_timeout().map(|(at, _)| at)).min() {
                Some(at) if at <= Instant::ZERO + span => now = at,
                _ => break,
            }
            ends.iter_mut().for_each(|end| end.handle_timeout(now));
        }
    }
    let [near, far] = sent;
    (near, far)
}

fn dressed(dress: &Dress, spec: &ConnectionSpec) -> ConnectionSpec {
    let mut spec = spec.clone();
    dress.apply(&mut spec, Given::default());
    spec
}

const SHORT: Duration = Duration::from_secs(600);
const LONG: Duration = Duration::from_secs(9 * 3600);

fn initiates(dress: &Dress) -> Sent {
    let near = dressed(dress, &parse(FILE));
    play(&near, Some(&mirrored(&parse(FILE))), Duration::from_secs(3)).0
}

fn responds(dress: &Dress) -> Sent {
    let near = parse(&FILE.replace("10.1.0.0/24", "10.0.0.0/8"));
    play(&near, Some(&dressed(dress, &mirrored(&parse(FILE)))), Duration::from_secs(3)).1
}

fn answers_one_pair(dress: &Dress) -> Sent {
    let near = parse(&FILE.replace("10.1.0.0/24", "10.1.0.0/25, 10.1.0.128/25"));
    play(&near, Some(&dressed(dress, &mirrored(&parse(FILE)))), Duration::from_secs(3)).1
}

fn first_child_refused(dress: &Dress) -> Sent {
    let far = mirrored(&parse(&FILE.replace("proposals: [aes256-sha256],", "proposals: [aes128-sha1],")));
    play(&dressed(dress, &parse(FILE)), Some(&far), Duration::from_secs(3)).0
}

fn refuses_first_child(dress: &Dress) -> Sent {
    let near = parse(&FILE.replace("proposals: [aes256-sha256],", "proposals: [aes128-sha1],"));
    play(&near, Some(&dressed(dress, &mirrored(&parse(FILE)))), Duration::from_secs(3)).1
}

const OTHER_IKE: &str = "aes192-sha384-ecp384";

fn other_ike() -> String {
    FILE.replace("aes256-sha256-ecp256, aes128-sha1-modp2048", OTHER_IKE)
}

fn no_proposal_of_theirs(dress: &Dress) -> Sent {
    play(&parse(&other_ike()), Some(&dressed(dress, &mirrored(&parse(FILE)))), SHORT).1
}

fn no_proposal_of_ours(dress: &Dress) -> Sent {
    play(&dressed(dress, &parse(FILE)), Some(&mirrored(&parse(&other_ike()))), SHORT).0
}

fn narrowed(dress: &Dress) -> Sent {
    let far = mirrored(&parse(&FILE.replace("10.1.0.0/24", "10.1.0.0/25")));
    play(&dressed(dress, &parse(FILE)), Some(&far), Duration::from_secs(3)).0
}

fn unknown_identity(dress: &Dress) -> Sent {
    let mut far = mirrored(&parse(FILE));
    far.local_id = config::identity("fqdn:somebody.else").expect("an identity");
    play(&dressed(dress, &parse(FILE)), Some(&far), Duration::from_secs(3)).0
}

fn nobody_answers(dress: &Dress) -> Sent {
    play(&dressed(dress, &parse(FILE)), None, SHORT).0
}

fn lives(dress: &Dress) -> Sent {
    let mut far = mirrored(&parse(&FILE.replace(", 10.3.0.0/24", "")));
    far.behaviour.rekey.as_responder = false;
    play(&dressed(dress, &parse(&FILE.replace(", 10.3.0.0/24", ""))), Some(&far), LONG).0
}

fn without_proposals(dress: &Dress) -> Sent {
    let mut spec = parse(FILE);
    spec.ike_proposals.clear();
    spec.children[0].proposals.clear();
    dress.propose(&mut spec);
    vec![format!("{:?} {:?}", spec.ike_proposals, spec.children[0].proposals)]
}

/// Answers each IKE_SA_INIT with the demand for another group.
fn groups_demanded_forever(dress: &Dress) -> Sent {
    let near = dressed(dress, &parse(&FILE.replace("ecp256, aes128-sha1-modp2048", "ecp256-modp2048-ecp384-modp3072")));
    let mut end = endpoint(&near, Limits::default(), 1);
    end.connect(Instant::ZERO, Arc::new(near.clone()), TunnelId(1), near.local_addr.expect("an address"));
    let mut sent = Sent::new();
    let mut groups = [14u16, 20, 15, 19].into_iter().cycle();
    while let Some(transmit) = end.poll_transmit() {
        let request = decode(&transmit.bytes).expect("an IKE message");
        sent.push(request.header.exchange.to_string());
        let group = groups.next().expect("it goes on forever");
        let spi = request.header.spi_i;
        let header =
            Header::new(spi, crate::wire::IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, Flags(Flags::RESPONSE.0), 0);
        let demand = NotifyPayload::with_data(NotifyType::INVALID_KE_PAYLOAD, group.to_be_bytes());
        let mut bytes = Vec::new();
        encode_into(&mut bytes, &Message { header, outer: vec![Payload::Notify(demand)], sk: None }, None);
        let path =
            crate::net::Path { local: transmit.path.local, remote: transmit.path.remote, role: transmit.path.role };
        end.handle_datagram(Instant::ZERO, path, &mut bytes);
    }
    sent
}

/// What so many first messages of one address lead to: answers, cookies, silence.
fn flooded(dress: &Dress, many: u64) -> Sent {
    let mut limits = Limits::default();
    dress.limit(&mut limits);
    let spec = dressed(dress, &mirrored(&parse(FILE)));
    let mut far = endpoint(&spec, limits, 2);
    let near = parse(FILE);
    let mut us = endpoint(&near, Limits::default(), 1);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..many {
        us.connect(Instant::ZERO, Arc::new(near.clone()), TunnelId(n), near.local_addr.expect("an address"));
        while let Some(transmit) = us.poll_transmit() {
            let path = crate::net::Path {
                local: transmit.path.remote,
                remote: SocketAddr::new(transmit.path.local.ip(), 500),
                role: SocketRole::Ike,
            };
            far.handle_datagram(Instant::ZERO, path, &mut transmit.bytes.clone());
            let answer = far.poll_transmit().map(|answer| decode(&answer.bytes).expect("an IKE message"));
            let word = match answer {
                None => "silence",
                Some(answer) if answer.payloads.iter().any(|p| p.kind() == PayloadType::SA) => "answered",
                Some(_) => "cookie",
            };
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        while far.poll_event().is_some() {}
        while us.poll_event().is_some() {}
    }
    counts.into_iter().map(|(word, count)| format!("{word} {count}")).collect()
}

/// Every situation in which a habit may show.
fn all(dress: &Dress) -> Vec<(&'static str, Sent)> {
    vec![
        ("it initiates", initiates(dress)),
        ("it responds", responds(dress)),
        ("it is asked for two pairs", answers_one_pair(dress)),
        ("its first Child is refused", first_child_refused(dress)),
        ("it refuses the first Child", refuses_first_child(dress)),
        ("no proposal of theirs fits", no_proposal_of_theirs(dress)),
        ("no proposal of its own fits", no_proposal_of_ours(dress)),
        ("it is narrowed", narrowed(dress)),
        ("it does not know the responder", unknown_identity(dress)),
        ("nobody answers", nobody_answers(dress)),
        ("it lives for nine hours", lives(dress)),
        ("it has no proposals", without_proposals(dress)),
        ("another group is demanded forever", groups_demanded_forever(dress)),
        ("510 begin and none ends", flooded(dress, 510)),
    ]
}

/// Habits that say what the RFC's peer does as well: they state a fact and change nothing.
fn says_the_usual(change: &Trait) -> bool {
    use crate::engine::{ChildFailure, Narrowing, UnprotectedErrors};
    matches!(
        change,
        Trait::AnswerNoProposal(true)
            | Trait::ChildFailure(ChildFailure::KeepIkeSa)
            | Trait::Narrowing(Narrowing::Narrow)
            | Trait::InitialContact(true)
            | Trait::UnprotectedErrors(UnprotectedErrors::Believe)
    )
}

#[test]
fn every_habit_shows_in_what_is_sent() {
    let mut idle = Vec::new();
    for persona in Persona::ALL {
        if persona.name == "cisco-ftd" {
            continue; // the ASA's habits
        }
        let whole = all(&Dress::all(*persona));
        for (habit, without) in Dress::each_without(*persona) {
            let change = habit.trait_.expect("it does something");
            // These have tests of their own below: they take traffic, or hundreds of tunnels.
            if matches!(change, Trait::ChildOctets(_) | Trait::Tunnels(_) | Trait::Bandwidth(_) | Trait::NoLiveness) {
                continue;
            }
            let bare = all(&without);
            let shows: Vec<&str> = whole.iter().zip(&bare).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect();
            println!("{}: {:?}: {shows:?}", persona.name, change.kind());
            if shows.is_empty() != says_the_usual(&change) {
                idle.push(format!("{}: {} shows in {shows:?}", persona.name, habit.text));
            }
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
}

fn of(name: &str) -> Dress {
    Dress::all(*Persona::named(name).expect("it is there"))
}

fn with(sent: &[String], what: &str) -> bool {
    sent.iter().any(|line| line.contains(what))
}

#[test]
fn the_first_child_that_fails_takes_the_ike_sa_along_at_an_ios_box_only() {
    // The Child SA is taken back, then the IKE SA is deleted: two INFORMATIONALs.
    let deletes = |sent: &Sent| sent.iter().filter(|l| l.contains("INFORMATIONAL request: Delete")).count();
    assert_eq!(deletes(&first_child_refused(&of("cisco-ios-xe"))), 2);
    assert_eq!(deletes(&refuses_first_child(&of("cisco-ios-xe"))), 1);
    for name in ["plain", "paloalto-panos", "strongswan"] {
        assert_eq!(deletes(&first_child_refused(&of(name))), 0, "{name}");
        assert_eq!(deletes(&refuses_first_child(&of(name))), 0, "{name}");
    }
}

#[test]
fn panos_is_silent_without_a_common_proposal_and_deaf_to_unprotected_errors() {
    assert_eq!(no_proposal_of_theirs(&of("paloalto-panos")), Sent::new());
    assert_eq!(no_proposal_of_ours(&of("paloalto-panos")).len(), 10, "ten transmissions");
    for name in ["plain", "cisco-ios-xe", "cisco-asa", "strongswan"] {
        assert!(with(&no_proposal_of_theirs(&of(name)), "NO_PROPOSAL_CHOSEN"), "{name}");
        assert_eq!(no_proposal_of_ours(&of(name)).len(), 1, "{name} gives up at once");
    }
}

#[test]
fn one_pair_of_selectors_for_each_child_of_a_firewall() {
    for (name, single) in [("cisco-asa", true), ("paloalto-panos", true), ("strongswan", false), ("plain", false)] {
        let sent = initiates(&of(name));
        assert_eq!(with(&sent, "TSrx2"), !single, "{name}: {sent:?}");
        // The second pair is another Child SA.
        assert_eq!(with(&sent, "CREATE_CHILD_SA request"), single, "{name}: {sent:?}");
    }
    let answered = answers_one_pair(&of("paloalto-panos"));
    assert!(with(&answered, "TSix1 TSrx1"), "{answered:?}");
}

#[test]
fn wider_selectors_are_refused_by_an_asa_and_narrowed_by_others() {
    assert!(with(&responds(&of("cisco-asa")), "TS_UNACCEPTABLE"));
    for name in ["plain", "paloalto-panos", "strongswan"] {
        assert!(with(&responds(&of(name)), "TSix1"), "{name}");
    }
    // Who takes no narrower answer gives the Child SA back.
    assert!(with(&narrowed(&of("paloalto-panos")), "INFORMATIONAL request: Delete"));
    assert!(!with(&narrowed(&of("strongswan")), "INFORMATIONAL"));
}

#[test]
fn an_ios_initiator_leaves_an_unknown_responder_without_a_word() {
    let told = |name: &str| with(&unknown_identity(&of(name)), "AUTHENTICATION_FAILED");
    assert!(!told("cisco-ios-xe"));
    assert!(told("plain") && told("cisco-asa") && told("paloalto-panos") && told("strongswan"));
}

#[test]
fn half_open_limits_and_cookies() {
    let of_510 = |name: &str| flooded(&of(name), 510).join(", ");
    assert_eq!(of_510("plain"), "answered 510");
    assert_eq!(of_510("cisco-ios-xe"), "answered 40, silence 470");
    assert_eq!(of_510("cisco-asa"), "answered 50, cookie 460");
    assert_eq!(of_510("paloalto-panos"), "answered 500, cookie 10");
    assert_eq!(of_510("strongswan"), "answered 3, cookie 507");
}

#[test]
fn liveness_and_lifetimes_are_the_boxes_own() {
    let checks = |name: &str| {
        let sent = lives(&of(name));
        sent.iter().filter(|l| l.contains("INFORMATIONAL request: ") && l.ends_with(": ")).count()
    };
    assert_eq!((checks("cisco-ios-xe"), checks("strongswan")), (0, 0), "only where it is configured");
    let (asa, panos) = (checks("cisco-asa"), checks("paloalto-panos"));
    assert!(asa > 3_000 && panos > 6_000, "{asa} {panos}");
    let rekeys = |name: &str| lives(&of(name)).iter().filter(|l| l.contains("CREATE_CHILD_SA request")).count();
    assert_eq!(rekeys("plain"), 0);
    // Of the Child SA every hour and after eight, and of the IKE SA after eight.
    let (ios, asa, panos) = (rekeys("cisco-ios-xe"), rekeys("cisco-asa"), rekeys("paloalto-panos"));
    assert!((9..13).contains(&ios) && asa == 1 && (10..14).contains(&panos), "{ios} {asa} {panos}");
}

/// The licence: 225 tunnels, 85,000 kb/s.
#[test]
fn the_licence_caps_tunnels_and_bandwidth() {
    let dress = of("cisco-ios-xe");
    let mut limits = Limits { half_open_timeout: Duration::from_secs(3600), ..Limits::default() };
    dress.limit(&mut limits);
    limits.max_half_open = 1000;
    let file = FILE.replace("remote_ts: [10.2.0.0/24, 10.3.0.0/24]", "remote_ts: [10.2.0.0/24]");
    let mut near = parse(&file.replace(
        "ike: {proposals: [aes256-sha256-ecp256, aes128-sha1-modp2048]}",
        "ike: {proposals: [aes256-sha256-ecp256]}",
    ));
    near.behaviour.initial_contact = false;
    let mut far = endpoint(&dressed(&dress, &mirrored(&near)), limits, 2);
    let mut us = endpoint(&near, Limits::default(), 1);
    let (mut up, mut refused) = (0, 0);
    for n in 0..230 {
        us.connect(Instant::ZERO, Arc::new(near.clone()), TunnelId(n), near.local_addr.expect("an address"));
        loop {
            let mut moved = false;
            for (from, to) in [(true, false), (false, true)] {
                let sender = if from { &mut us } else { &mut far };
                let Some(transmit) = sender.poll_transmit() else { continue };
                moved = true;
                let path = transmit.path;
                let back = crate::net::Path { local: path.remote, remote: path.local, role: path.role };
                let receiver = if to { &mut us } else { &mut far };
                receiver.handle_datagram(Instant::ZERO, back, &mut transmit.bytes.clone());
            }
            while far.poll_event().is_some() {}
            while let Some((_, _, event)) = us.poll_event() {
                match event {
                    Event::ChildInbound(_) => up += 1,
                    Event::ChildFailed(_) => refused += 1,
                    _ => {}
                }
            }
            if !moved {
                break;
            }
        }
    }
    assert_eq!((up, refused), (225, 5));
    assert_eq!(dress.bandwidth(), Some(85_000));
    for name in ["plain", "cisco-asa", "cisco-ftd", "paloalto-panos", "strongswan"] {
        assert_eq!(of(name).bandwidth(), None, "{name}");
    }
    // A Child SA's share of data is an order to the engine's rekeying.
    let spec = dressed(&dress, &near);
    assert_eq!(spec.behaviour.rekey.child_bytes, Some(4_608_000 * 1024));
}

#[test]
fn proposals_that_a_file_leaves_out_are_the_boxes_own() {
    let bare = FILE
        .replace("ike: {proposals: [aes256-sha256-ecp256, aes128-sha1-modp2048]}", "ike: {}")
        .replace("proposals: [aes256-sha256], ", "");
    let load = |persona: &str| {
        let text = format!("{bare}persona: {persona}\n");
        config::parse(&text, "persona.yaml", Path::new("."), &|_| Some("sesame".to_owned()))
    };
    for persona in Persona::ALL {
        let has = persona.habits.iter().any(|h| matches!(h.trait_, Some(Trait::IkeProposals(_))));
        assert_eq!(has, config::PERSONAS_WITH_PROPOSALS.contains(&persona.name), "{}", persona.name);
        match load(persona.name) {
            Ok(mut loaded) => {
                assert!(has, "{}", persona.name);
                Persona::dress(&mut loaded);
                assert!(!loaded.spec.ike_proposals.is_empty() && !loaded.spec.children[0].proposals.is_empty());
            }
            Err(error) => assert!(!has && error.to_string().contains("proposals is missing"), "{error}"),
        }
    }
    let mut loaded = load("cisco-ios-xe").expect("it has defaults");
    Persona::dress(&mut loaded);
    let [ProposalSpec { transforms }] = &loaded.spec.ike_proposals[..] else { panic!("one proposal") };
    assert_eq!(transforms.len(), 3 + 5 + 5 + 2, "three key lengths, five hashes as PRF and integrity, two groups");
}
