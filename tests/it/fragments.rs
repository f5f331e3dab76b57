//! RFC 7383 where it hurts: a path that lets only small datagrams through, strangers that never finish a message, and
//! Cisco's scheme from before it.

use std::sync::Arc;
use std::time::Duration;

use ikelab::diagnose::{Facts, diagnose};
use ikelab::engine::*;
use ikelab::wire::Header;
use ikelab::wire::registry::{ExchangeType, PayloadType};

use crate::pair::*;

/// Selectors enough to need several fragments.
fn large(mut spec: ConnectionSpec, fallback: u16) -> ConnectionSpec {
    let many = |c: u8| (0..100).map(|n| net(&format!("10.{c}.{n}.0/24"))).collect::<Vec<_>>();
    let (ours, theirs) = if spec.name == "left" { (1, 2) } else { (2, 1) };
    (spec.children[0].local_ts, spec.children[0].remote_ts) = (many(ours), many(theirs));
    spec.fragmentation = true;
    spec.behaviour.fragments.fallback = fallback;
    spec
}

/// Delivers what has at most `longest` octets, until `until`, and returns how many others there were.
fn narrow_path(pair: &mut Pair, longest: usize, until: Duration) -> usize {
    let end = pair.now + until;
    let mut lost = 0;
    loop {
        while !pair.flight.is_empty() {
            let datagram = pair.flight.remove(0);
            if datagram.transmit.bytes.len() <= longest { pair.deliver(datagram) } else { lost += 1 }
        }
        let due = [&pair.left, &pair.right].into_iter().filter_map(|e| e.poll_timeout()).map(|(at, _)| at).min();
        let Some(due) = due.filter(|due| *due <= end) else { return lost };
        pair.now = pair.now.max(due);
        pair.left.handle_timeout(pair.now);
        pair.right.handle_timeout(pair.now);
        pair.collect();
    }
}

/// RFC 7383 2.5.2: large fragments vanish, so the request is split anew, and the answer as well.
#[test]
fn smaller_fragments_when_nothing_answers() {
    let small = FragmentSpec::SMALL;
    let mut pair = Pair::to(large(right_spec(), small));
    pair.connect(large(left_spec(), small));
    let lost = narrow_path(&mut pair, 576, Duration::from_secs(60));
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right), "{lost} lost: {:#?}", pair.events);
    assert!(lost > 6, "three times those of the request, and those of the answer: {lost}");
    // Whatever follows is small from the beginning.
    let child = pair.left.sas()[0].clone();
    pair.left.command(pair.now, child.sa, Command::RekeyChild(child.children[0].spi_in)).expect("it is up");
    pair.collect();
    let sizes: Vec<usize> = pair.flight.iter().map(|d| d.transmit.bytes.len()).collect();
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= usize::from(small)), "{sizes:?}");
    assert_eq!(narrow_path(&mut pair, 576, Duration::from_millis(100)), 0, "and so is its answer");
    assert_eq!(pair.said(End::Left).filter(|e| matches!(e, Event::ChildRekeyed { .. })).count(), 1);

    // A message that needed no fragments at first is split, too; a path that carries it sees none of this.
    let whole = |mut spec: ConnectionSpec| {
        spec.fragmentation = true;
        spec.behaviour.fragments = FragmentSpec { size: 1_228, fallback: FragmentSpec::LEAST };
        spec
    };
    let mut pair = Pair::to(whole(right_spec()));
    pair.connect(whole(left_spec()));
    for _ in 0..2 {
        let datagram = pair.flight.remove(0);
        pair.deliver(datagram);
    }
    assert_eq!(pair.flight.len(), 1, "IKE_AUTH in one piece");
    narrow_path(&mut pair, 200, Duration::from_secs(60));
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right), "{:#?}", pair.events);
}

#[test]
fn without_smaller_fragments_such_a_path_is_a_dead_end() {
    let mut pair = Pair::to(large(right_spec(), 0));
    pair.connect(large(left_spec(), 0));
    narrow_path(&mut pair, 576, Duration::from_secs(200));
    let silent = |e: &Event| matches!(e, Event::Failed(f) if matches!(f.why, Failure::NoAnswer { .. }));
    assert!(pair.said(End::Left).any(silent), "{:#?}", pair.events);
}

/// Many half-open IKE SAs, each with the first fragments of a message that never ends.
#[test]
fn strangers_cannot_take_all_the_memory_for_fragments() {
    let most = 60_000;
    let mut cfg = config(vec![large(right_spec(), 0)], 2);
    (cfg.limits.fragment_octets, cfg.limits.cookie_threshold) = (most, None);
    let mut pair = Pair::new(config(vec![], 1), cfg);
    let spec = Arc::new(large(left_spec(), 0));
    for tunnel in 1..=100 {
        let local = spec.local_addr.expect("it is in the specification");
        pair.left.connect(pair.now, Arc::clone(&spec), TunnelId(tunnel), local);
        pair.collect();
        for _ in 0..2 {
            let datagram = pair.flight.remove(0);
            pair.deliver(datagram);
        }
        let mut fragments = pair.take();
        assert!(fragments.len() > 2);
        fragments.pop();
        for fragment in fragments {
            pair.deliver(fragment);
            assert!(pair.right.fragment_octets() <= most / 2, "{}", pair.right.fragment_octets());
        }
    }
    assert!(pair.right.fragment_octets() > most / 3, "{}", pair.right.fragment_octets());
    assert!(pair.right.counters().ignored(IgnoredWhy::FragmentMemory) > 50);
    // They are forgotten with their IKE SAs, and then there is room again.
    pair.run_for(Duration::from_secs(120));
    assert_eq!(pair.right.fragment_octets(), 0);
    let before = pair.right.counters().ike_up;
    let local = spec.local_addr.expect("it is in the specification");
    pair.left.connect(pair.now, spec, TunnelId(200), local);
    pair.collect();
    pair.settle();
    assert_eq!(pair.right.counters().ike_up, before + 1);
}

/// What a Cisco box sends where RFC 7383 was not agreed on is named, in the trace and in the diagnosis.
#[test]
fn ciscos_own_fragments_are_named() {
    let spec = left_spec();
    let mut pair = Pair::to(right_spec());
    pair.connect(spec.clone());
    for _ in 0..2 {
        let datagram = pair.flight.remove(0);
        pair.deliver(datagram);
    }
    let request = pair.take().remove(0);
    let mut header = Header::read(&request.transmit.bytes).expect("our own");
    // Payload 132: id, number and flags, then a piece of the sealed message.
    let mut piece = vec![0, 0, 0, 12, 0, 1, 1, 0, 0xde, 0xad, 0xbe, 0xef];
    header.flags = ikelab::wire::Flags(0x20);
    header.next = PayloadType::CISCO_FRAGMENT;
    header.length = (Header::LEN + piece.len()) as u32;
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    bytes.append(&mut piece);
    let mut back = request.clone();
    back.to = End::Left;
    back.transmit.path = seen_by_receiver(&back.transmit.path);
    back.transmit.bytes = bytes;
    pair.deliver(back);
    assert_eq!(pair.left.counters().ignored(IgnoredWhy::CiscoFragment), 1);
    // The genuine answer never comes.
    pair.run_until_without_network(Duration::from_secs(300));
    let mut facts = Facts::default();
    pair.said(End::Left).for_each(|event| facts.note(ikelab::time::Instant::ZERO, event));
    let failed = pair.said(End::Left).find_map(|e| if let Event::Failed(f) = e { Some(f) } else { None });
    let failed = failed.expect("nobody answered");
    assert_eq!(failed.exchange, ExchangeType::IKE_AUTH);
    let finding = diagnose(failed, &facts, &spec, None);
    assert!(finding.known.iter().any(|line| line.contains("payload 132")), "{finding:#?}");
    assert!(finding.likely[0].text.contains("Cisco"), "{finding:#?}");
}
