//! Lifetimes by time, octets and packets, in virtual time.

use std::time::Duration;

use ikelab::engine::*;
use ikelab::wire::registry::{ExchangeType, KeMethod};

use crate::pair::*;
use crate::rekey::{BOTH, Tunnel};

const HOUR: Duration = Duration::from_secs(3600);

fn lasting(mut spec: ConnectionSpec, ike: Duration, child: Duration) -> ConnectionSpec {
    spec.lifetime = Some(ike);
    spec.children[0].lifetime = Some(child);
    spec.ike_proposals = vec![ike_proposal(&[KeMethod::CURVE25519])];
    spec
}

/// A week of a tunnel whose two ends both renew: one-hour Child SAs with PFS, eight-hour IKE SAs, liveness every half
/// minute. No gap, nothing left over, and as many rekeys as a week has room for.
#[test]
fn a_week_of_tunnel_life() {
    #[allow(clippy::disallowed_methods)] // it is only printed
    let begun = std::time::Instant::now();
    let life = |mut spec: ConnectionSpec| {
        spec.children[0].pfs = vec![KeMethod::CURVE25519];
        spec.dpd = Some(DpdSpec::new(Duration::from_secs(30), DpdMode::Periodic));
        lasting(spec, 8 * HOUR, HOUR)
    };
    let (mut left, mut right) = (config(vec![], 1), config(vec![life(right_spec())], 2));
    (left.trace, right.trace) = (false, false);
    let mut t = Tunnel::over(Pair::new(left, right), life(left_spec()));
    for _ in 0..7 * 24 * 12 {
        t.run_for(Duration::from_secs(300));
        for end in BOTH {
            assert_eq!(t.planes.at(end).sending.len(), 1, "always something to send on");
        }
    }
    // A margin of 10 % and up to 10 % of jitter: each lives between 80 % and 90 % of its lifetime.
    let children = t.pair.left.counters().child_rekeyed;
    let ikes = t.pair.left.counters().ike_rekeyed;
    println!("a week: {children} Child rekeys, {ikes} IKE rekeys, {:?}", begun.elapsed());
    assert!((186..=211).contains(&children), "{children} Child SAs in a week of hours");
    assert!((23..=27).contains(&ikes), "{ikes} IKE SAs in a week of eight hours");
    for end in BOTH {
        assert_eq!(t.failures(end), Vec::<&Failed>::new());
        let alive = t.count(end, |e| matches!(e, Event::Alive { .. }));
        assert!(alive > 5_000, "{end:?} asked {alive} times whether the peer lives");
        assert_eq!(t.count(end, |e| matches!(e, Event::Deleted { .. })), 0);
    }
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
    t.mirrored(&["lan"]);
}

/// Who rekeys when both have the same lifetime is drawn; with `as_responder` off it is always the initiator, and the
/// responder's lifetimes only delete.
#[test]
fn a_responder_that_does_not_rekey_deletes_at_the_end() {
    let mut right = lasting(right_spec(), 2 * HOUR, HOUR);
    right.behaviour.rekey.as_responder = false;
    let mut t = Tunnel::up(left_spec(), right);
    t.run_for(HOUR - Duration::from_secs(1));
    t.mirrored(&["lan"]);
    t.run_for(Duration::from_secs(2));
    t.mirrored(&[]);
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::ChildDown { by: Side::Peer, .. })), 1);
    t.run_for(HOUR);
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::Deleted { by: Side::Peer })), 1);
    assert_eq!(t.count(End::Left, |e| matches!(e, Event::ChildRekeyed { .. } | Event::IkeRekeyed(_))), 0);
}

/// The margin and the jitter say when a rekey begins: between 80 % and 90 % here, and not always at the same time.
#[test]
fn margin_and_jitter() {
    let mut left = lasting(left_spec(), 1000 * HOUR, HOUR);
    left.behaviour.rekey.margin = Some(Duration::from_secs(600));
    left.behaviour.rekey.jitter_percent = 20;
    let mut t = Tunnel::up(left, right_spec());
    let (mut last, mut gaps) = (t.pair.now, Vec::new());
    while gaps.len() < 40 {
        let before = t.pair.left.counters().child_rekeyed;
        t.run_for(Duration::from_secs(1));
        if t.pair.left.counters().child_rekeyed > before {
            gaps.push(t.pair.now.since(last).as_secs());
            last = t.pair.now;
        }
    }
    // 3600 less the margin of 600, less up to 720 of jitter; looked at once a second.
    assert!(gaps.iter().all(|gap| (2279..=3001).contains(gap)), "{gaps:?}");
    let (least, most) = (gaps.iter().min().expect("some"), gaps.iter().max().expect("some"));
    assert!(most - least > 300, "{gaps:?}");
}

/// Octets and packets, of both directions together: the rekey begins a margin before the limit, and at the limit the
/// Child SA is deleted.
#[test]
fn lifetimes_by_octets_and_packets() {
    type Limit = fn(&mut RekeySpec);
    let limits: [(Limit, u64, u64); 2] =
        [(|r| r.child_bytes = Some(100_000), 1, 1_000), (|r| r.child_packets = Some(100), 1, 1)];
    for (limit, packets, bytes) in limits {
        let mut left = left_spec();
        limit(&mut left.behaviour.rekey);
        let mut t = Tunnel::up(left, right_spec());
        let first = t.child(End::Left);
        let mut sent = 0;
        while t.child(End::Left) == first && sent < 200 {
            sent += 1;
            let now = t.pair.now;
            let note =
                if sent % 2 == 0 { EspNote::Sent { packets, bytes } } else { EspNote::Received { packets, bytes } };
            t.pair.left.esp_activity(now, first, note);
            t.pair.collect();
            t.settle();
        }
        assert!((80..=90).contains(&sent), "rekeyed after {sent} of 100");
        assert_eq!(t.count(End::Left, |e| matches!(e, Event::ChildRekeyed { .. })), 1);
        t.mirrored(&["lan"]);

        // The peer refuses the rekey: the Child SA goes at its limit all the same.
        let mut right = right_spec();
        right.behaviour.rekey.answer = CreateChildPolicy::Nothing;
        let mut left = left_spec();
        limit(&mut left.behaviour.rekey);
        let mut t = Tunnel::up(left, right);
        let first = t.child(End::Left);
        for sent in 1..=100 {
            assert_eq!(t.sa(End::Left).children.len(), 1, "after {sent}");
            let now = t.pair.now;
            t.pair.left.esp_activity(now, first, EspNote::Sent { packets, bytes });
            t.pair.collect();
            t.settle();
        }
        t.mirrored(&[]);
        let asked = t.sent(End::Left, ExchangeType::CREATE_CHILD_SA, false).len();
        assert_eq!(asked, 1, "asked once, and not at each packet");
    }
}

/// A rekey that is refused for good is tried again while there is time, and the SA goes at its end.
#[test]
fn a_refused_rekey_is_tried_again_and_the_child_goes_at_its_end() {
    let mut right = right_spec();
    right.behaviour.rekey.answer = CreateChildPolicy::Nothing;
    let mut t = Tunnel::up(lasting(left_spec(), 100 * HOUR, HOUR), right);
    t.run_for(HOUR - Duration::from_secs(1));
    t.mirrored(&["lan"]);
    let asked = t.sent(End::Left, ExchangeType::CREATE_CHILD_SA, false).len();
    assert!((3..=10).contains(&asked), "asked {asked} times, at half of what was left each time");
    t.run_for(Duration::from_secs(2));
    t.mirrored(&[]);
    assert_eq!((t.pair.left.sa_count(), t.pair.right.sa_count()), (1, 1));
}
