//! Repeats, retransmissions, the window, and what AUTH covers.

use std::collections::HashSet;
use std::time::Duration;

use ikelab::wire::registry::KeMethod;

use super::*;

#[test]
fn a_repeated_request_gets_the_cached_response_where_it_came_from() {
    let (mut pair, _) = established();
    for (end, command) in
        [(End::Left, Command::Liveness), (End::Right, Command::Notify(NotifyPayload::new(NotifyType(40_001))))]
    {
        let request = order(&mut pair, end, command).remove(0);
        pair.deliver(request.clone());
        let answer = pair.take().remove(0);
        let mut garbled = request.transmit.bytes.clone();
        garbled[40..].fill(0xaa);
        let elsewhere = from_elsewhere(&request, "203.0.113.9:9999");
        for repeat in [request.clone(), with_bytes(&request, garbled), elsewhere] {
            pair.deliver(repeat.clone());
            let again = pair.take();
            assert_eq!(again.len(), 1);
            assert_eq!(again[0].transmit.bytes, answer.transmit.bytes, "bit for bit");
            assert_eq!(again[0].transmit.path, seen_by_receiver(&repeat.transmit.path), "to where it came from");
        }
        let counters = pair.end(end.other()).counters();
        assert_eq!((counters.repeats_answered, counters.ignored(IgnoredWhy::Repeat)), (3, 3));
        pair.deliver(answer);
    }
}

#[test]
fn the_cache_holds_the_last_response_only() {
    let (mut pair, _) = established();
    let first = order(&mut pair, End::Left, Command::Liveness).remove(0);
    pair.deliver(first.clone());
    pair.settle();
    let second = order(&mut pair, End::Left, Command::Liveness).remove(0);
    pair.deliver(second.clone());
    let answer = pair.take().remove(0);
    pair.deliver(first);
    assert!(pair.take().is_empty(), "the window has moved on");
    assert_eq!(pair.right.counters().ignored(IgnoredWhy::OutsideWindow), 1);
    pair.deliver(second);
    assert_eq!(pair.take().remove(0).transmit.bytes, answer.transmit.bytes);
}

#[test]
fn message_ids_count_up_from_the_window_alone() {
    let (mut pair, _) = established();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = order(&mut pair, End::Left, Command::Liveness).remove(0);
        ids.push(header_of(&request.transmit.bytes).message_id);
        pair.deliver(request);
        pair.settle();
    }
    assert_eq!(ids, [2, 3, 4], "after IKE_SA_INIT and IKE_AUTH");
    let request = order(&mut pair, End::Right, Command::Liveness).remove(0);
    assert_eq!(header_of(&request.transmit.bytes).message_id, 0, "the responder's own requests begin at 0");
}

#[test]
fn a_second_request_waits_for_the_first() {
    let (mut pair, sa) = established();
    let first = order(&mut pair, End::Left, Command::Liveness);
    assert_eq!(first.len(), 1);
    pair.left.command(pair.now, sa, Command::Notify(NotifyPayload::new(NotifyType(40_002)))).expect("it is queued");
    pair.collect();
    assert!(pair.flight.is_empty(), "window size 1");
    // Meanwhile the peer's own request is answered.
    let theirs = order(&mut pair, End::Right, Command::Liveness).remove(0);
    pair.deliver(theirs);
    pair.settle();
    assert!(pair.said(End::Right).any(|e| matches!(e, Event::Alive { .. })));
    first.into_iter().for_each(|d| pair.deliver(d));
    pair.settle();
    let seen = pair.said(End::Right).any(|e| matches!(e, Event::PeerNotify(n) if n.kind == NotifyType(40_002)));
    assert!(seen);
}

#[test]
fn retransmissions_are_bit_for_bit_the_same() {
    // Each request in turn is lost three times.
    for lost in 0..3 {
        let mut pair = Pair::to(right_spec());
        pair.connect(left_spec());
        for _ in 0..lost.min(1) {
            let init = pair.take().remove(0);
            pair.deliver(init);
            pair.settle_one();
        }
        if lost == 2 {
            pair.settle();
            let sent = order(&mut pair, End::Left, Command::Liveness);
            pair.flight = sent;
        }
        let first = pair.take();
        assert_eq!(first.len(), 1);
        for _ in 0..3 {
            pair.now = pair.left.poll_timeout().expect("a retransmission").0;
            pair.left.handle_timeout(pair.now);
            pair.collect();
            let again = pair.take();
            assert_eq!(again.len(), 1);
            assert_eq!(again[0].transmit, first[0].transmit, "request {lost}");
        }
        assert_eq!(pair.left.counters().retransmits, 3);
        pair.deliver(first[0].clone());
        pair.settle();
        assert_joined(&pair, "after three losses");
    }
}

impl Pair {
    /// Delivers what is in flight now, and nothing of what that sets off.
    fn settle_one(&mut self) {
        self.take().into_iter().for_each(|d| self.deliver(d));
    }
}

#[test]
fn every_lost_response_is_made_good_by_a_repeat() {
    let (mut pair, lost) = (Pair::to(right_spec()), 2);
    pair.connect(left_spec());
    for _ in 0..2 {
        let mut answer = Vec::new();
        for _ in 0..=lost {
            let request = pair.take().into_iter().find(|d| d.to == End::Right).expect("a request");
            pair.deliver(request);
            let answers = pair.take();
            assert_eq!(answers.len(), 1);
            assert!(answer.is_empty() || answer == answers, "the same answer");
            answer = answers;
            pair.now = pair.left.poll_timeout().expect("a retransmission").0;
            pair.left.handle_timeout(pair.now);
            pair.collect();
        }
        pair.take();
        pair.flight = answer;
        pair.settle_one();
    }
    assert_joined(&pair, "two answers lost of each");
    assert_eq!((pair.right.counters().ike_up, pair.right.sa_count()), (1, 1));
}

#[test]
fn ike_sa_init_is_looked_up_by_the_whole_packet() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    let init = pair.take().remove(0);
    pair.deliver(init.clone());
    let answer = pair.take().remove(0);
    pair.deliver(init.clone());
    assert_eq!(pair.take(), std::slice::from_ref(&answer), "a repeat");
    assert_eq!(pair.right.sa_count(), 1);
    // Same SPIi, another nonce: another IKE SA.
    let mut other = init.transmit.bytes.clone();
    let nonce = decode(&other).expect("whole").payloads.iter().find_map(|p| match p {
        Payload::Nonce(nonce) => Some(nonce.data.clone()),
        _ => None,
    });
    let nonce = nonce.expect("a nonce");
    let at = other.windows(nonce.len()).position(|w| w == nonce).expect("in the packet");
    other[at] ^= 1;
    pair.deliver(with_bytes(&init, other));
    let second = pair.take().remove(0);
    assert_eq!(pair.right.sa_count(), 2);
    let (a, b) = (header_of(&answer.transmit.bytes), header_of(&second.transmit.bytes));
    assert_eq!(a.spi_i, b.spi_i);
    assert_ne!(a.spi_r, b.spi_r);
    // The same packet from another port, as behind a NAT: another one again, since its NAT detection differs.
    pair.deliver(from_elsewhere(&init, "10.0.0.1:61000"));
    assert_eq!(pair.right.sa_count(), 3);
    pair.take();
    pair.flight = vec![answer];
    pair.settle();
    assert_joined(&pair, "the first of three");
}

/// What the responder draws never repeats, although the packet does.
#[test]
fn a_recorded_handshake_cannot_be_played_back() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    let init = pair.take().remove(0);
    pair.deliver(init.clone());
    let answer = pair.take().remove(0);
    pair.deliver(answer.clone());
    let auth = pair.take().remove(0);
    pair.deliver(auth.clone());
    pair.settle();
    order(&mut pair, End::Left, Command::Delete).into_iter().for_each(|d| pair.deliver(d));
    pair.settle();
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.right.sa_count(), 0);
    pair.deliver(init);
    let again = pair.take().remove(0);
    let (a, b) = (header_of(&answer.transmit.bytes), header_of(&again.transmit.bytes));
    assert_ne!(a.spi_r, b.spi_r);
    let drawn = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let octets = |p: &Payload| match p {
            Payload::Ke(ke) => Some(ke.data.clone()),
            Payload::Nonce(nonce) => Some(nonce.data.clone()),
            _ => None,
        };
        decode(bytes).expect("whole").payloads.iter().filter_map(octets).collect()
    };
    let (a, b) = (drawn(&answer.transmit.bytes), drawn(&again.transmit.bytes));
    assert!(a.len() == 2 && a.iter().all(|octets| !b.contains(octets)));
    pair.deliver(auth);
    assert_eq!((pair.right.counters().ike_up, pair.right.counters().half_open), (1, 1));
}

#[test]
fn a_retry_of_a_tunnel_repeats_nothing() {
    let mut pair = Pair::to(right_spec());
    let mut seen = HashSet::new();
    let mut ivs = HashSet::new();
    for _ in 0..5 {
        let sa = pair.connect(left_spec());
        let init = pair.flight[0].transmit.bytes.clone();
        assert!(seen.insert(header_of(&init).spi_i.to_be_bytes().to_vec()));
        for payload in decode(&init).expect("whole").payloads {
            match payload {
                Payload::Ke(ke) => assert!(seen.insert(ke.data)),
                Payload::Nonce(nonce) => assert!(seen.insert(nonce.data)),
                _ => {}
            }
        }
        while !pair.flight.is_empty() {
            let datagram = pair.flight.remove(0);
            if let Some(sk) = decode(&datagram.transmit.bytes).expect("whole").sk {
                let iv = &datagram.transmit.bytes[sk.body.start..sk.body.start + 16];
                assert!(ivs.insert(iv.to_vec()), "an IV of AES-CBC again, which makes it foreseeable");
            }
            pair.deliver(datagram);
        }
        pair.left.abandon(pair.now, sa);
        pair.collect();
    }
    assert!(ivs.len() >= 10);
}

#[test]
fn auth_covers_the_request_that_was_answered() {
    // With a cookie, after INVALID_KE_PAYLOAD, both, and in both orders.
    for (threshold, group) in [(Some(0), None), (None, Some(KeMethod::ECP_256)), (Some(0), Some(KeMethod::ECP_256))] {
        let mut right = right_spec();
        if let Some(group) = group {
            right.ike_proposals = vec![ike_proposal(&[group])];
        }
        let mut config = config(vec![right], 2);
        config.limits.cookie_threshold = threshold;
        let mut pair = Pair::new(crate::pair::config(vec![], 1), config);
        pair.connect(left_spec());
        pair.settle();
        assert_joined(&pair, "after COOKIE and INVALID_KE_PAYLOAD");
        let sent = pair.said(End::Left).filter(|e| match e {
            Event::Message(m) => m.from == Side::Us && m.message.header.exchange == ExchangeType::IKE_SA_INIT,
            _ => false,
        });
        assert_eq!(sent.count(), 1 + usize::from(threshold.is_some()) + usize::from(group.is_some()));
    }
}

/// One bit of IKE_SA_INIT changed on the way, that neither end can see: AUTH finds it.
#[test]
fn auth_covers_both_messages_as_sent() {
    for (direction, culprit) in [(End::Right, End::Right), (End::Left, End::Left)] {
        let mut left = left_spec();
        left.behaviour.vendor_ids = vec![b"a vendor id".to_vec()];
        let mut right = right_spec();
        right.behaviour.vendor_ids = vec![b"a vendor id".to_vec()];
        let mut pair = Pair::to(right);
        pair.connect(left);
        while !pair.flight.is_empty() {
            let mut datagram = pair.flight.remove(0);
            let bytes = &mut datagram.transmit.bytes;
            if datagram.to == direction && header_of(bytes).exchange == ExchangeType::IKE_SA_INIT {
                *bytes.last_mut().expect("octets") ^= 1;
            }
            pair.deliver(datagram);
        }
        let failed = failures(&pair, culprit);
        assert!(matches!(failed[0].why, Failure::AuthFailed(AuthFault::Mismatch { .. })), "{failed:?}");
    }
}

#[test]
fn deletes_that_cross_end_both_ends_once() {
    let (mut pair, _) = established();
    let mut crossing = order(&mut pair, End::Left, Command::Delete);
    crossing.extend(order(&mut pair, End::Right, Command::Delete));
    pair.flight = crossing;
    pair.settle();
    for end in [End::Left, End::Right] {
        assert_eq!(pair.said(end).filter(|e| matches!(e, Event::Deleted { .. })).count(), 1);
        assert_eq!(pair.said(end).filter(|e| matches!(e, Event::ChildDown { .. })).count(), 1);
        assert!(failures(&pair, end).is_empty());
    }
    pair.run_for(Duration::from_secs(10));
    for end in [End::Left, End::Right] {
        assert_eq!(pair.said(end).filter(|e| matches!(e, Event::Closed)).count(), 1);
        assert_eq!(pair.end(end).sa_count(), 0);
        assert_eq!(pair.end(end).poll_timeout(), None, "no timer is left");
    }
}

#[test]
fn child_deletes_that_cross_leave_the_ike_sa() {
    let (mut pair, _) = established();
    let (left, right) = (child(&pair, End::Left).spi_in, child(&pair, End::Right).spi_in);
    let mut crossing = order(&mut pair, End::Left, Command::DeleteChild(left));
    crossing.extend(order(&mut pair, End::Right, Command::DeleteChild(right)));
    pair.flight = crossing;
    pair.settle();
    for end in [End::Left, End::Right] {
        assert_eq!(pair.said(end).filter(|e| matches!(e, Event::ChildDown { .. })).count(), 1);
        assert_eq!(pair.end(end).sa_count(), 1);
    }
    // RFC 7296 1.4.1: the answer to a DELETE that crossed does not name the Child again.
    let empty = |m: &MessageTrace| m.message.header.flags.is_response() && m.message.sk.as_deref() == Some(&[]);
    let answers = pair.said(End::Left).filter(|e| matches!(e, Event::Message(m) if empty(m) && m.from == Side::Us));
    assert_eq!(answers.count(), 1);
}

#[test]
fn a_closed_ike_sa_answers_repeats_for_a_while_and_nothing_else() {
    let (mut pair, _) = established();
    let delete = order(&mut pair, End::Left, Command::Delete).remove(0);
    pair.deliver(delete.clone());
    let answer = pair.take().remove(0);
    pair.run_for(Duration::from_millis(500));
    pair.take();
    pair.deliver(delete.clone());
    assert_eq!(pair.take().remove(0).transmit.bytes, answer.transmit.bytes);
    let linger = Limits::default().linger;
    pair.now = ikelab::time::Instant::ZERO + linger;
    pair.right.handle_timeout(pair.now);
    pair.collect();
    assert_eq!(pair.right.sa_count(), 0);
    pair.deliver(delete);
    let answer = pair.take().remove(0);
    assert_eq!(notifies(&answer.transmit.bytes)[0].kind, NotifyType::INVALID_IKE_SPI);
    pair.deliver(answer);
    assert_eq!(pair.left.counters().ignored(IgnoredWhy::Unprotected), 1, "a hint at most (RFC 7296 2.21.4)");
    assert_eq!(pair.left.sa_count(), 1);
}

/// A peer behind a NAT is followed to its latest authentic address; who is behind a NAT does not follow (RFC 7296 2.23).
#[test]
fn only_a_peer_behind_a_nat_is_followed() {
    let mut left = left_spec();
    left.nat.traversal = NatTraversal::Force;
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    assert_joined(&pair, "NAT");
    let moved = "10.0.0.1:62000";
    let request = order(&mut pair, End::Left, Command::Liveness).remove(0);
    let mut forged = request.transmit.bytes.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    pair.deliver(from_elsewhere(&with_bytes(&request, forged), "198.51.100.66:1"));
    pair.deliver(from_elsewhere(&request, moved));
    let answer = pair.take().remove(0);
    assert_eq!(answer.transmit.path.remote.to_string(), moved);
    pair.deliver(answer);
    pair.deliver(from_elsewhere(&request, "198.51.100.66:2"));
    pair.take();
    let theirs = order(&mut pair, End::Right, Command::Liveness).remove(0);
    assert_eq!(theirs.transmit.path.remote.to_string(), moved, "not where a forgery or a repeat came from");
    let home = seen_by_receiver(&theirs.transmit.path);
    pair.deliver(from_elsewhere(&theirs, "203.0.113.1:4500"));
    pair.take();
    let ours = order(&mut pair, End::Left, Command::Liveness).remove(0);
    assert_eq!(ours.transmit.path.remote, home.remote, "the end behind the NAT stays");
}

/// A half-open responder, then IKE_AUTH on the NAT-T socket from a floated port, although no NAT was found.
#[test]
fn ike_auth_may_arrive_on_the_other_socket() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    for _ in 0..2 {
        pair.settle_one();
    }
    let mut auth = pair.take().remove(0);
    auth.transmit.path.role = ikelab::net::SocketRole::NatT;
    auth.transmit.path.local.set_port(4500);
    auth.transmit.path.remote.set_port(4500);
    pair.deliver(auth);
    assert_eq!(pair.flight[0].transmit.path.remote.port(), 4500);
    pair.settle();
    assert_joined(&pair, "on the other socket");
    // Real peers begin on 4500 without a NAT (RFC 4555), and their kernels then drop ESP in UDP.
    assert!(!child(&pair, End::Right).encapsulated, "what NAT detection found decides, not the port");
}
