//! Half-open accounting, limits, cookies, INITIAL_CONTACT, timers.

use std::sync::Arc;
use std::time::Duration;

use ikelab::seed::Seeds;
use ikelab::time::UnixTime;

use super::*;

fn guarded(limits: impl Fn(&mut Limits)) -> Pair {
    let mut right = config(vec![right_spec()], 2);
    limits(&mut right.limits);
    Pair::new(config(vec![], 1), right)
}

/// An IKE_SA_INIT of a further tunnel.
fn init(pair: &mut Pair, tunnel: u64) -> InFlight {
    pair.left.connect(pair.now, Arc::new(left_spec()), TunnelId(tunnel), address(LEFT));
    pair.collect();
    pair.flight.pop().expect("just sent")
}

#[test]
fn half_open_ike_sas_are_counted_up_and_down() {
    let mut pair = guarded(|_| {});
    let mut answers = Vec::new();
    for n in 0..6 {
        let request = init(&mut pair, n);
        pair.deliver(request);
        answers.extend(pair.take());
    }
    assert_eq!(pair.right.counters().half_open, 6);
    // One comes up, one is refused, the rest are forgotten.
    pair.flight = vec![answers.remove(0)];
    pair.settle();
    assert_eq!(pair.right.counters().half_open, 5);
    pair.take();
    let patience = Limits::default().half_open_timeout;
    pair.now = ikelab::time::Instant::ZERO + patience;
    pair.right.handle_timeout(pair.now);
    pair.collect();
    assert_eq!((pair.right.counters().half_open, pair.right.sa_count()), (0, 1));
    assert_eq!(pair.right.poll_timeout(), None, "timers of the forgotten are gone with them");
}

#[test]
fn each_limit_drops_silently_and_opens_again() {
    type Limit = fn(&mut Limits);
    let cases: [(&str, Limit); 3] = [
        ("in all", |l| l.max_half_open = 2),
        ("of one address", |l| l.max_half_open_per_address = Some(2)),
        ("IKE SAs", |l| l.max_ike_sas = Some(2)),
    ];
    for (what, limit) in cases {
        let mut pair = guarded(limit);
        for n in 0..10 {
            let request = init(&mut pair, n);
            pair.deliver(request);
        }
        assert_eq!(pair.take().len(), 2, "{what}");
        assert_eq!(pair.right.counters().ignored(IgnoredWhy::Limit), 8, "{what}");
        assert_eq!(pair.right.sa_count(), 2, "{what}");
        pair.now = ikelab::time::Instant::from_millis(31_000);
        pair.right.handle_timeout(pair.now);
        pair.collect();
        let request = init(&mut pair, 99);
        pair.deliver(request);
        assert_eq!(pair.take().len(), 1, "{what}: open again");
    }
    // Another address is another account.
    let mut pair = guarded(|l| l.max_half_open_per_address = Some(1));
    pair.right.set_config(Arc::new(EndpointConfig {
        connections: vec![Arc::new(ConnectionSpec { remote_addr: None, ..right_spec() })],
        limits: Limits { max_half_open_per_address: Some(1), ..Limits::default() },
        ..EndpointConfig::default()
    }));
    for n in 0..3 {
        let request = init(&mut pair, n);
        pair.deliver(from_elsewhere(&request, &format!("192.0.2.{n}:500")));
    }
    assert_eq!(pair.right.counters().half_open, 3);
}

/// The cookie that the responder demands of this request.
fn demanded(pair: &mut Pair, request: &InFlight) -> Vec<u8> {
    pair.deliver(request.clone());
    let answer = pair.take().remove(0).transmit;
    assert_eq!(answer.path, seen_by_receiver(&request.transmit.path));
    assert_eq!(header_of(&answer.bytes).spi_r, ikelab::wire::IkeSpi(0), "nothing was stored");
    match &notifies(&answer.bytes)[..] {
        [cookie] if cookie.kind == NotifyType::COOKIE => cookie.data.clone(),
        other => panic!("{other:?}"),
    }
}

/// The request again, with a cookie in front.
fn with_cookie(request: &InFlight, cookie: &[u8]) -> InFlight {
    let decoded = decode(&request.transmit.bytes).expect("whole");
    let mut outer = vec![Payload::Notify(NotifyPayload::with_data(NotifyType::COOKIE, cookie))];
    outer.extend(decoded.payloads);
    with_bytes(request, encoded(decoded.header, outer))
}

#[test]
fn cookies_are_good_for_their_owner_and_time_only() {
    let mut pair = Pair::new(
        config(vec![], 1),
        EndpointConfig {
            connections: vec![Arc::new(ConnectionSpec { remote_addr: None, ..right_spec() })],
            limits: Limits { cookie_threshold: Some(0), ..Limits::default() },
            salt: 2,
            ..EndpointConfig::default()
        },
    );
    let request = init(&mut pair, 1);
    let cookie = demanded(&mut pair, &request);
    let bad = |pair: &mut Pair, request: InFlight, what: &str| {
        let before = pair.right.counters().ignored(IgnoredWhy::BadCookie);
        demanded(pair, &request);
        assert_eq!(pair.right.counters().ignored(IgnoredWhy::BadCookie), before + 1, "{what}");
        assert_eq!(pair.right.sa_count(), 0, "{what}");
    };
    bad(&mut pair, with_cookie(&request, &[0; 17]), "forged");
    bad(&mut pair, with_cookie(&request, b""), "empty");
    bad(&mut pair, with_cookie(&request, &cookie[..16]), "cut");
    for at in 0..cookie.len() {
        let mut other = cookie.clone();
        other[at] ^= 1;
        bad(&mut pair, with_cookie(&request, &other), "altered");
    }
    bad(&mut pair, from_elsewhere(&with_cookie(&request, &cookie), "192.0.2.7:500"), "from another address");
    let second = init(&mut pair, 2);
    bad(&mut pair, with_cookie(&second, &cookie), "of another IKE SA");
    pair.now = ikelab::time::Instant::from_millis(119_000);
    assert_eq!(pair.right.sa_count(), 0);
    let mut later = guarded(|_| {});
    std::mem::swap(&mut later, &mut pair);
    let mut pair = later;
    pair.now = ikelab::time::Instant::from_millis(121_000);
    bad(&mut pair, with_cookie(&request, &cookie), "stale");
    pair.now = ikelab::time::Instant::from_millis(200_000);
    let fresh = demanded(&mut pair, &request);
    assert_ne!(fresh, cookie);
    pair.deliver(with_cookie(&request, &fresh));
    assert_eq!((pair.right.sa_count(), pair.right.counters().half_open), (1, 1));
}

#[test]
fn cookies_are_demanded_from_the_threshold_on() {
    let mut pair = guarded(|l| l.cookie_threshold = Some(2));
    for n in 0..2 {
        let request = init(&mut pair, n);
        pair.deliver(request);
    }
    assert_eq!((pair.take().len(), pair.right.counters().cookies_sent), (2, 0));
    let request = init(&mut pair, 3);
    let cookie = demanded(&mut pair, &request);
    assert_eq!(pair.right.counters().cookies_sent, 1);
    pair.deliver(with_cookie(&request, &cookie));
    assert_eq!(pair.right.counters().half_open, 3);
}

#[test]
fn initial_contact_counts_only_when_authenticated() {
    let (mut pair, _) = established();
    // The same identity, INITIAL_CONTACT, and the wrong key.
    let mut stranger = Endpoint::new(Arc::new(config(vec![], 77)), Seeds::simulated("stranger"), UnixTime::default());
    std::mem::swap(&mut pair.left, &mut stranger);
    let mut spec = left_spec();
    spec.local_auth = psk("guessed");
    assert!(spec.behaviour.initial_contact);
    pair.connect(spec);
    pair.settle();
    let replaced = |pair: &Pair| {
        failures(pair, End::Right)
            .iter()
            .filter(|f| f.why == Failure::Local(LocalFault::ReplacedByInitialContact))
            .count()
    };
    assert_eq!(replaced(&pair), 0);
    // With the right key the old one goes, and a closed one that still answers repeats is not failed again.
    pair.connect(left_spec());
    pair.settle();
    assert_eq!(replaced(&pair), 1);
    order_last(&mut pair);
    pair.connect(left_spec());
    pair.settle();
    assert_eq!(replaced(&pair), 1);
}

/// Deletes the newest IKE SA of the left end.
fn order_last(pair: &mut Pair) {
    let last = pair
        .events
        .iter()
        .rev()
        .find_map(|(end, _, sa, e)| (*end == End::Left && matches!(e, Event::IkeUp(_))).then_some(*sa));
    pair.left.command(pair.now, last.expect("up"), Command::Delete).expect("established");
    pair.collect();
    pair.settle();
}

#[test]
fn handles_of_what_was_refused_are_never_used_again() {
    let mut right = right_spec();
    right.ike_proposals = vec![ike_proposal(&[ikelab::wire::registry::KeMethod::MODP_4096])];
    let mut pair = Pair::to(right);
    for n in 0..3 {
        let request = init(&mut pair, n);
        pair.deliver(request);
        pair.settle();
    }
    pair.right.set_config(Arc::new(config(vec![right_spec()], 2)));
    let request = init(&mut pair, 9);
    pair.deliver(request);
    let mut closed: Vec<SaId> = Vec::new();
    for (end, _, sa, event) in &pair.events {
        if *end == End::Right {
            assert!(matches!(event, Event::Message(_)) || !closed.contains(sa), "{sa:?} spoke after Closed: {event:?}");
            if matches!(event, Event::Closed) {
                closed.push(*sa);
            }
        }
    }
    assert_eq!(closed.len(), 3);
    assert!(pair.said(End::Right).any(|e| matches!(e, Event::InitDone(_))));
}

/// A liveness check behind another request neither spins nor is lost.
#[test]
fn liveness_waits_behind_another_request_without_spinning() {
    let mut left = left_spec();
    left.dpd = Some(DpdSpec::new(Duration::from_secs(2), DpdMode::Periodic));
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    order(&mut pair, End::Left, Command::Notify(NotifyPayload::new(NotifyType(40_003))));
    let mut wakes = 0;
    while pair.left.sa_count() > 0 {
        pair.now = pair.left.poll_timeout().expect("a timer").0;
        pair.left.handle_timeout(pair.now);
        pair.collect();
        pair.take();
        wakes += 1;
    }
    assert!(wakes < 60, "{wakes} wake-ups in 61 s");
    assert!(matches!(failures(&pair, End::Left)[0].why, Failure::NoAnswer { .. }));
    assert_eq!(pair.left.poll_timeout(), None);
}

#[test]
fn no_timer_survives_its_ike_sa() {
    for end in [End::Left, End::Right] {
        let mut left = left_spec();
        left.dpd = Some(DpdSpec::new(Duration::from_secs(5), DpdMode::Periodic));
        left.nat.traversal = NatTraversal::Force;
        let mut pair = Pair::to(right_spec());
        let sa = pair.connect(left);
        pair.settle();
        assert!(pair.left.poll_timeout().is_some(), "liveness and keepalive");
        let (sa, now) = (if end == End::Left { sa } else { right_sa(&pair) }, pair.now);
        pair.end(end).abandon(now, sa);
        pair.collect();
        assert_eq!(pair.end(end).poll_timeout(), None);
        assert_eq!(pair.end(end).sa_count(), 0);
        assert_eq!(pair.end(end).command(now, sa, Command::Liveness), Err(CommandError::NoSuchSa));
    }
}

#[test]
fn commands_before_and_after_are_refused() {
    let mut pair = Pair::to(right_spec());
    let sa = pair.connect(left_spec());
    assert_eq!(pair.left.command(pair.now, sa, Command::Liveness), Err(CommandError::NotEstablished));
    pair.settle();
    order(&mut pair, End::Left, Command::Delete);
    assert_eq!(pair.left.command(pair.now, sa, Command::Liveness), Err(CommandError::NotEstablished));
    assert_eq!(pair.left.command(pair.now, sa, Command::DeleteChild(1)), Err(CommandError::NotEstablished));
}

/// A driver that stops waits for nothing: half-open and unanswered IKE SAs are dropped, established ones say DELETE.
#[test]
fn delete_all_in_every_phase() {
    for steps in 0..5 {
        let mut pair = Pair::to(right_spec());
        pair.connect(left_spec());
        for _ in 0..steps {
            if !pair.flight.is_empty() {
                let datagram = pair.flight.remove(0);
                pair.deliver(datagram);
            }
        }
        pair.left.delete_all(pair.now);
        pair.right.delete_all(pair.now);
        pair.collect();
        pair.settle();
        pair.run_for(Duration::from_secs(200));
        assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0), "after {steps} messages");
        assert_eq!((pair.left.poll_timeout(), pair.right.poll_timeout()), (None, None));
    }
}
