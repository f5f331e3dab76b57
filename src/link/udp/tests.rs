//! Over real sockets on loopback.

use std::net::UdpSocket;

use super::*;
use crate::net::Transmit;

const SOON: u64 = 2_000;

fn bind(addresses: &[&str]) -> UdpLink {
    let addresses = addresses.iter().map(|a| a.parse().expect("an address")).collect();
    let config = UdpConfig { addresses, ike_port: 0, natt_port: 0, socket_buffer: 1 << 18, ..UdpConfig::default() };
    UdpLink::bind(&config, RealClock::start()).expect("loopback binds")
}

fn soon(link: &UdpLink) -> Option<Instant> {
    Some(link.now() + std::time::Duration::from_millis(SOON))
}

/// Receives until `count` datagrams have come or nothing more comes.
fn receive(link: &mut UdpLink, count: usize) -> Vec<Received> {
    let mut rx = RxBatch::new(100);
    let mut out = Vec::new();
    while out.len() < count {
        let until = soon(link);
        if link.recv_until(until, &mut rx).expect("the link works") == Wake::Timeout {
            break;
        }
        out.extend_from_slice(rx.received());
    }
    out
}

fn send_one(link: &mut UdpLink, path: Path, class: Class, bytes: &[u8]) -> TxOutcome {
    let mut batch = TxBatch::new();
    batch.push(Transmit { path, class, bytes: bytes.to_vec() });
    link.send(&mut batch).expect("the link works");
    batch.items.pop().expect("one item").outcome
}

fn at(link: &UdpLink, address: &str, role: SocketRole) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), link.port(role))
}

fn path(local: SocketAddr, remote: SocketAddr, role: SocketRole) -> Path {
    Path { local, remote, role }
}

#[test]
fn both_roles_carry_ike_in_both_families() {
    for address in ["127.0.0.1", "::1"] {
        let (mut a, mut b) = (bind(&[address]), bind(&[address]));
        for role in [SocketRole::Ike, SocketRole::NatT] {
            let there = path(at(&a, address, role), at(&b, address, role), role);
            let outcome = send_one(&mut a, there, Class::Ike, b"an IKE message");
            assert!(matches!(outcome, TxOutcome::Sent(_)), "{outcome:?}");
            let got = receive(&mut b, 1);
            assert_eq!(got.len(), 1);
            assert_eq!((got[0].class, &got[0].bytes[..]), (Class::Ike, &b"an IKE message"[..]));
            assert_eq!(got[0].path, path(there.remote, there.local, role));
        }
    }
}

#[test]
fn the_marker_follows_the_role_and_verbatim_adds_none() {
    let mut link = bind(&["127.0.0.1"]);
    let plain = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
    plain.set_read_timeout(Some(std::time::Duration::from_millis(SOON))).expect("a timeout");
    let remote = plain.local_addr().expect("bound");
    let mut heard = |role, class, bytes: &[u8]| {
        let local = at(&link, "127.0.0.1", role);
        send_one(&mut link, path(local, remote, role), class, bytes);
        let mut buffer = [0; 100];
        let (len, from) = plain.recv_from(&mut buffer).expect("a datagram");
        assert_eq!(from, local);
        buffer[..len].to_vec()
    };
    assert_eq!(heard(SocketRole::Ike, Class::Ike, b"xyz"), b"xyz");
    assert_eq!(heard(SocketRole::NatT, Class::Ike, b"xyz"), b"\0\0\0\0xyz");
    assert_eq!(heard(SocketRole::NatT, Class::Esp, b"12345678"), b"12345678");
    assert_eq!(heard(SocketRole::NatT, Class::Keepalive, &[0xff]), [0xff]);
    assert_eq!(heard(SocketRole::NatT, Class::Verbatim, b"xyz"), b"xyz");
    assert_eq!(heard(SocketRole::Ike, Class::Verbatim, b""), b"");
    let counters = link.counters();
    assert_eq!((counters.sent, counters.sent_octets), (6, 3 + 7 + 8 + 1 + 3));
    assert_eq!((counters.ike_out, counters.esp_out, counters.keepalives_out, counters.verbatim_out), (2, 1, 1, 2));
}

#[test]
fn what_arrives_is_told_apart_and_counted() {
    let mut link = bind(&["127.0.0.1"]);
    let plain = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
    let natt = at(&link, "127.0.0.1", SocketRole::NatT);
    let ike = at(&link, "127.0.0.1", SocketRole::Ike);
    let sent: [(&[u8], SocketAddr, Class, &[u8]); 8] = [
        (b"\0\0\0\0ike", natt, Class::Ike, b"ike"),
        (&[0xff], natt, Class::Keepalive, &[0xff]),
        (b"\0\0\0\x01\0\0\0\x01", natt, Class::Esp, b"\0\0\0\x01\0\0\0\x01"),
        (b"\0\0\0\0", natt, Class::Verbatim, b"\0\0\0\0"),
        (b"", natt, Class::Verbatim, b""),
        (b"junk", natt, Class::Verbatim, b"junk"),
        (b"", ike, Class::Verbatim, b""),
        (b"\0\0\0\0ike", ike, Class::Ike, b"\0\0\0\0ike"),
    ];
    for (bytes, to, class, expected) in sent {
        plain.send_to(bytes, to).expect("loopback takes it");
        let got = receive(&mut link, 1);
        assert_eq!((got[0].class, &got[0].bytes[..]), (class, expected), "{bytes:02x?} to {to}");
    }
    let c = link.counters();
    assert_eq!((c.received, c.ike_in, c.esp_in, c.keepalives_in, c.empty_in, c.garbage_in), (8, 2, 1, 1, 3, 1));
}

#[test]
fn an_answer_from_a_wildcard_socket_leaves_from_the_address_that_was_asked() {
    for (any, ours) in [("0.0.0.0", "127.0.0.77"), ("::", "::1")] {
        let mut link = bind(&[any]);
        let loopback = if any == "::" { "[::1]:0" } else { "127.0.0.1:0" };
        let plain = UdpSocket::bind(loopback).expect("loopback binds");
        plain.set_read_timeout(Some(std::time::Duration::from_millis(SOON))).expect("a timeout");
        let to = at(&link, ours, SocketRole::NatT);
        plain.send_to(b"\0\0\0\0question", to).expect("loopback takes it");
        let got = receive(&mut link, 1);
        assert_eq!(got[0].path.local, to, "the datagram's own destination");
        send_one(&mut link, got[0].path, Class::Ike, b"answer");
        let mut buffer = [0; 100];
        let (len, from) = plain.recv_from(&mut buffer).expect("an answer");
        assert_eq!((&buffer[..len], from), (&b"\0\0\0\0answer"[..], to));
    }
}

#[test]
fn several_addresses_share_a_port_and_keep_apart() {
    let ours = ["127.0.0.11", "127.0.0.12", "127.0.0.13"];
    let mut link = bind(&ours);
    let mut peer = bind(&["127.0.0.99"]);
    let remote = at(&peer, "127.0.0.99", SocketRole::Ike);
    for address in ours {
        let local = at(&link, address, SocketRole::Ike);
        send_one(&mut link, path(local, remote, SocketRole::Ike), Class::Ike, address.as_bytes());
        let got = receive(&mut peer, 1);
        assert_eq!((got[0].path.remote, &got[0].bytes[..]), (local, address.as_bytes()));
    }
    let stranger = path(at(&link, "127.0.0.14", SocketRole::Ike), remote, SocketRole::Ike);
    let outcome = send_one(&mut link, stranger, Class::Ike, b"x");
    assert!(matches!(outcome, TxOutcome::Failed(_)), "never from another address than asked for: {outcome:?}");
    assert!(matches!(link.poll_note(), Some(LinkNote::NotSent { why, .. }) if why.contains("127.0.0.14")));
}

#[test]
fn a_batch_larger_than_a_system_call_arrives_whole_and_in_order() {
    let (mut a, mut b) = (bind(&["127.0.0.1"]), bind(&["127.0.0.1"]));
    let mut batch = TxBatch::new();
    for n in 0..150_u32 {
        for role in [SocketRole::Ike, SocketRole::NatT] {
            let there = path(at(&a, "127.0.0.1", role), at(&b, "127.0.0.1", role), role);
            batch.push(Transmit { path: there, class: Class::Ike, bytes: n.to_be_bytes().to_vec() });
        }
    }
    a.send(&mut batch).expect("the link works");
    assert!(batch.items().iter().all(|item| matches!(item.outcome, TxOutcome::Sent(_))));
    assert!(a.counters().send_calls <= 8, "{} system calls", a.counters().send_calls);
    let got = receive(&mut b, 300);
    for role in [SocketRole::Ike, SocketRole::NatT] {
        let numbers: Vec<_> = got.iter().filter(|r| r.path.role == role).map(|r| r.bytes.clone()).collect();
        let wanted: Vec<_> = (0..150_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(numbers, wanted, "{role:?}");
    }
    assert!(b.counters().receive_calls <= 16, "{} system calls", b.counters().receive_calls);
}

#[test]
fn a_large_datagram_is_whole_and_one_too_large_fails_alone() {
    let (mut a, mut b) = (bind(&["127.0.0.1"]), bind(&["127.0.0.1"]));
    let role = SocketRole::NatT;
    let there = path(at(&a, "127.0.0.1", role), at(&b, "127.0.0.1", role), role);
    let mut batch = TxBatch::new();
    for len in [65_504, 65_503, 3] {
        batch.push(Transmit { path: there, class: Class::Ike, bytes: vec![7; len] });
    }
    a.send(&mut batch).expect("the link works");
    let outcomes: Vec<_> = batch.items().iter().map(|i| matches!(i.outcome, TxOutcome::Sent(_))).collect();
    assert_eq!(outcomes, [false, true, true], "the limit is 65507 octets, of which the marker takes four");
    assert_eq!(receive(&mut b, 2).iter().map(|r| r.bytes.len()).collect::<Vec<_>>(), [65_503, 3]);
    assert!(matches!(a.poll_note(), Some(LinkNote::Unreachable { .. } | LinkNote::NotSent { .. })));
}

#[test]
fn a_closed_port_is_a_note_and_hits_nobody_else() {
    for address in ["127.0.0.1", "::1"] {
        let (mut a, mut b) = (bind(&[address]), bind(&[address]));
        let role = SocketRole::Ike;
        let closed = {
            let socket = UdpSocket::bind((address.parse::<IpAddr>().expect("an address"), 0)).expect("loopback binds");
            socket.local_addr().expect("bound")
        };
        let local = at(&a, address, role);
        send_one(&mut a, path(local, closed, role), Class::Ike, b"anybody?");
        // The error is pending on the socket when the next datagram, for somebody else, is sent.
        let outcome = send_one(&mut a, path(local, at(&b, address, role), role), Class::Ike, b"hello");
        assert!(matches!(outcome, TxOutcome::Sent(_)), "{outcome:?}");
        assert_eq!(receive(&mut b, 1)[0].bytes, b"hello");
        let note = a.poll_note().expect("a note");
        assert_eq!(note, LinkNote::Refused { path: path(local, closed, role) });
        assert!(note.to_string().contains("nothing listens"), "{note}");
        assert_eq!((a.counters().icmp_errors, a.counters().not_sent), (1, 0));

        // And when it is found while waiting, the wait goes on.
        send_one(&mut a, path(local, closed, role), Class::Ike, b"anybody?");
        let mut rx = RxBatch::new(4);
        let until = a.now() + std::time::Duration::from_millis(30);
        assert_eq!(a.recv_until(Some(until), &mut rx).expect("the link works"), Wake::Timeout);
        assert!(a.now() >= until);
        assert!(matches!(a.poll_note(), Some(LinkNote::Refused { .. })));
    }
}

#[test]
fn waiting_ends_on_time_or_by_the_waker() {
    let mut link = bind(&["127.0.0.1"]);
    let mut rx = RxBatch::new(4);
    let start = link.now();
    let wake = link.recv_until(Some(start + std::time::Duration::from_millis(20)), &mut rx);
    assert_eq!(wake.expect("the link works"), Wake::Timeout);
    let late = link.now().since(start);
    assert!(late >= std::time::Duration::from_millis(20) && late < std::time::Duration::from_millis(500), "{late:?}");

    let waker = link.waker();
    let thread = std::thread::spawn(move || {
        waker.wake();
        waker.wake();
    });
    assert_eq!(link.recv_until(None, &mut rx).expect("the link works"), Wake::Control);
    thread.join().expect("the thread ends");
    let past = link.now();
    let second = link.recv_until(Some(past), &mut rx).expect("the link works");
    let third = link.recv_until(Some(past), &mut rx).expect("the link works");
    assert!(matches!(second, Wake::Control | Wake::Timeout));
    assert_eq!(third, Wake::Timeout, "a wake counts once");
}

#[test]
fn buffers_are_used_again() {
    let (mut a, mut b) = (bind(&["127.0.0.1"]), bind(&["127.0.0.1"]));
    let role = SocketRole::NatT;
    let there = path(at(&a, "127.0.0.1", role), at(&b, "127.0.0.1", role), role);
    let mut rx = RxBatch::new(1);
    let mut places = Vec::new();
    for _ in 0..3 {
        send_one(&mut a, there, Class::Ike, b"again");
        let until = soon(&b);
        assert_eq!(b.recv_until(until, &mut rx).expect("the link works"), Wake::Data);
        places.push(rx.received()[0].bytes.as_ptr());
    }
    assert!(places.iter().all(|&place| place == places[0]));
    // An engine that keeps a buffer is no harm either.
    std::mem::take(&mut rx.received_mut()[0].bytes);
    send_one(&mut a, there, Class::Ike, b"again");
    let until = soon(&b);
    b.recv_until(until, &mut rx).expect("the link works");
    assert_eq!(rx.received()[0].bytes, b"again");
}

#[test]
fn what_does_not_fit_the_batch_waits_for_the_next_turn() {
    let (mut a, mut b) = (bind(&["127.0.0.1"]), bind(&["127.0.0.1"]));
    let role = SocketRole::Ike;
    let there = path(at(&a, "127.0.0.1", role), at(&b, "127.0.0.1", role), role);
    for n in 0..5_u8 {
        send_one(&mut a, there, Class::Ike, &[n]);
    }
    let mut rx = RxBatch::new(2);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 5 {
        let until = soon(&b);
        assert_eq!(b.recv_until(until, &mut rx).expect("the link works"), Wake::Data);
        sizes.push(rx.len());
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[test]
fn a_full_receive_buffer_is_counted() {
    let addresses = vec!["127.0.0.1".parse().expect("an address")];
    let config = UdpConfig { addresses, ike_port: 0, natt_port: 0, socket_buffer: 4096, ..UdpConfig::default() };
    let mut link = UdpLink::bind(&config, RealClock::start()).expect("loopback binds");
    let plain = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
    let to = at(&link, "127.0.0.1", SocketRole::Ike);
    for _ in 0..200 {
        plain.send_to(&[1; 1000], to).expect("loopback takes it");
    }
    let kept = {
        let mut rx = RxBatch::new(300);
        let until = soon(&link);
        link.recv_until(until, &mut rx).expect("the link works");
        rx.len()
    };
    // The count travels with datagrams that were queued after the loss.
    plain.send_to(&[1; 1000], to).expect("loopback takes it");
    receive(&mut link, 1);
    assert!(kept < 200);
    assert_eq!(link.counters().receive_overflows, 200 - kept as u64);
    assert_eq!(link.sockets().find(|s| s.role == SocketRole::Ike).map(|s| s.overflows as usize), Some(200 - kept));
}

#[test]
fn what_cannot_be_bound_is_explained() {
    let words = |config: &UdpConfig| match UdpLink::bind(config, RealClock::start()) {
        Ok(_) => panic!("{config:?} must not bind"),
        Err(error) => error.to_string(),
    };
    let loopback: IpAddr = "127.0.0.1".parse().expect("an address");
    let base = UdpConfig { addresses: vec![loopback], ike_port: 0, natt_port: 0, ..UdpConfig::default() };

    let taken = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
    let port = taken.local_addr().expect("bound").port();
    let text = words(&UdpConfig { natt_port: port, ..base.clone() });
    assert!(text.contains(&format!("127.0.0.1:{port} is in use")) && text.contains("--source-port"), "{text}");

    let text = words(&UdpConfig { ike_port: 4500, natt_port: 4500, ..base.clone() });
    assert!(text.contains("both 4500") && text.contains("marker"), "{text}");

    let foreign = vec!["198.51.100.200".parse().expect("an address")];
    let text = words(&UdpConfig { addresses: foreign, ..base.clone() });
    assert!(text.contains("198.51.100.200 is not an address of this host"), "{text}");

    let text = words(&UdpConfig { interface: Some("nosuch0".to_owned()), ..base.clone() });
    assert!(text.contains("nosuch0"), "{text}");

    let text = words(&UdpConfig { addresses: vec![], ..base });
    assert!(text.contains("no local address"), "{text}");
}

#[test]
fn granted_buffers_can_be_read() {
    let link = bind(&["127.0.0.1"]);
    for socket in link.sockets() {
        assert!(socket.receive_buffer > 0 && socket.send_buffer > 0, "{socket:?}");
    }
    // With or without privilege, a huge wish is either granted or reported as clamped.
    let addresses = vec!["127.0.0.1".parse().expect("an address")];
    let config = UdpConfig { addresses, ike_port: 0, natt_port: 0, socket_buffer: 1 << 29, ..UdpConfig::default() };
    let link = UdpLink::bind(&config, RealClock::start()).expect("loopback binds");
    let granted = link.sockets().map(|s| s.receive_buffer).min().expect("two sockets");
    assert_eq!(link.receive_buffer_clamp(), (granted < 1 << 29).then_some(granted));
}

#[test]
fn the_routing_table_knows_our_address() {
    let ours = source_address_for("127.0.0.5".parse().expect("an address")).expect("loopback has a route");
    assert!(ours.is_loopback());
}
