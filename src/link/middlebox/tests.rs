//! Over real sockets on loopback: a plain socket is the peer.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::net::{Class, Transmit};
use crate::time::RealClock;

/// How long a box remembers in these tests.
const FORGETS: Duration = Duration::from_millis(600);
/// Longer than that.
const LONGER: Duration = Duration::from_millis(700);
/// How long something that comes may take.
const SOON: Duration = Duration::from_secs(2);
/// How long is waited for what must not come.
const QUIET: Duration = Duration::from_millis(40);

struct Bench {
    link: Middleboxes,
    peer: UdpSocket,
    rx: RxBatch,
}

impl Bench {
    fn new(ours: bool, translates: bool) -> Bench {
        let addresses = vec!["127.0.0.1".parse().expect("an address")];
        let config = UdpConfig { addresses, ike_port: 0, natt_port: 0, socket_buffer: 1 << 18, ..UdpConfig::default() };
        let link = UdpLink::bind(&config, RealClock::start()).expect("loopback binds");
        let peer = UdpSocket::bind("127.0.0.2:0").expect("loopback binds");
        peer.set_read_timeout(Some(SOON)).expect("a timeout");
        let mut link = Middleboxes::new(link, config);
        let between = Between { translates, forgets: Some(FORGETS), drops_esp: true };
        assert!(link.put_between(ours, Some(&between)));
        Bench { link, peer, rx: RxBatch::new(8) }
    }

    /// As the engine knows it, to the peer's true address.
    fn path(&self) -> Path {
        let local = SocketAddr::new("127.0.0.1".parse().expect("an address"), self.link.inner.port(SocketRole::NatT));
        Path { local, remote: self.peer.local_addr().expect("bound"), role: SocketRole::NatT }
    }

    /// What became of an IKE message that leaves on `path`, and the path that is recorded.
    fn send(&mut self, path: Path) -> (TxOutcome, Path) {
        let mut batch = TxBatch::new();
        batch.push(Transmit { path, class: Class::Ike, bytes: b"hello".to_vec() });
        self.link.send(&mut batch).expect("the link works");
        let item = batch.items.pop().expect("one item");
        (item.outcome, item.transmit.path)
    }

    /// Where a datagram that the peer hears comes from.
    fn heard(&self) -> SocketAddr {
        let mut buffer = [0; 64];
        let (len, from) = self.peer.recv_from(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..len], b"\0\0\0\0hello");
        from
    }

    fn says(&self, to: SocketAddr) {
        self.peer.send_to(b"\0\0\0\0answer", to).expect("loopback takes it");
    }

    /// The next datagram that comes, or is dropped.
    fn next(&mut self, within: Duration) -> Option<Result<Received, &'static str>> {
        let until = self.link.now() + within;
        while self.link.now() < until {
            self.link.recv_until(Some(until), &mut self.rx).expect("the link works");
            if let Some(received) = self.rx.received().first() {
                assert_eq!((received.class, &received.bytes[..]), (Class::Ike, &b"answer"[..]));
                return Some(Ok(received.clone()));
            }
            if let Some((received, why)) = self.link.poll_dropped() {
                assert_eq!(&received.bytes[..], b"answer", "it is there for the record");
                return Some(Err(why));
            }
        }
        None
    }

    fn comes(&mut self) -> Path {
        self.next(SOON).expect("a datagram").expect("it is let in").path
    }

    fn is_dropped(&mut self) -> &'static str {
        self.next(SOON).expect("a datagram").expect_err("it is not let in")
    }

    fn pause(&mut self) {
        assert!(self.next(LONGER).is_none(), "nothing comes");
    }
}

#[test]
fn a_firewall_before_us_lets_in_answers_and_forgets() {
    let mut bench = Bench::new(true, false);
    let path = bench.path();
    bench.says(path.local);
    assert!(bench.is_dropped().contains("firewall has no state"));
    let (outcome, recorded) = bench.send(path);
    assert!(matches!(outcome, TxOutcome::Sent(_)), "{outcome:?}");
    assert_eq!((bench.heard(), recorded), (path.local, path), "a firewall changes no port");
    bench.says(path.local);
    assert_eq!(bench.comes(), path);
    bench.pause();
    bench.says(path.local);
    assert!(bench.is_dropped().contains("firewall has no state"));
    bench.send(path);
    bench.heard();
    bench.says(path.local);
    assert_eq!(bench.comes(), path);
    assert_eq!(bench.link.between_effects(), Some(2), "what it let through it did not touch");
}

#[test]
fn a_firewall_before_the_peer_ends_what_we_send() {
    let mut bench = Bench::new(false, false);
    let path = bench.path();
    let (outcome, _) = bench.send(path);
    assert!(matches!(outcome, TxOutcome::Dropped(why) if why.contains("firewall has no state")), "{outcome:?}");
    bench.says(path.local);
    assert_eq!(bench.comes(), path);
    assert!(matches!(bench.send(path).0, TxOutcome::Sent(_)));
    assert_eq!(bench.heard(), path.local);
    bench.pause();
    assert!(matches!(bench.send(path).0, TxOutcome::Dropped(_)), "it has forgotten");
    assert_eq!(bench.link.between_effects(), Some(2));
}

#[test]
fn a_nat_before_us_has_ports_of_its_own_and_another_one_after_it_forgot() {
    let mut bench = Bench::new(true, true);
    let path = bench.path();
    let (outcome, recorded) = bench.send(path);
    assert!(matches!(outcome, TxOutcome::Sent(_)), "{outcome:?}");
    let first = bench.heard();
    assert_eq!(recorded, Path { local: first, ..path }, "what is recorded is what is on the wire");
    assert!(first.ip() == path.local.ip() && first.port() != path.local.port(), "{first}");
    bench.says(first);
    assert_eq!(bench.comes(), path, "the engine believes in its own port");
    assert_eq!(bench.link.outside(&path).local, first);
    bench.says(path.local);
    assert!(bench.is_dropped().contains("no mapping"), "the inside is not reached from outside");
    bench.send(path);
    assert_eq!(bench.heard(), first, "one mapping, one port");

    bench.pause();
    bench.says(first);
    assert!(bench.is_dropped().contains("no mapping"));
    bench.send(path);
    let second = bench.heard();
    assert_ne!(second, first);
    bench.says(first);
    assert!(bench.is_dropped().contains("no mapping"));
    bench.says(second);
    assert_eq!(bench.comes(), path);

    // Without the box everything is as it was.
    assert!(bench.link.put_between(true, None));
    bench.send(path);
    assert_eq!(bench.heard(), path.local);
    bench.says(second);
    assert!(bench.next(QUIET).is_none(), "its sockets are gone");
    bench.says(path.local);
    assert_eq!(bench.comes(), path);
}

#[test]
fn a_nat_before_the_peer_makes_up_ports_for_it() {
    let mut bench = Bench::new(false, true);
    let path = bench.path();
    assert!(matches!(bench.send(path).0, TxOutcome::Dropped(why) if why.contains("no mapping")));
    bench.says(path.local);
    let seen = bench.comes();
    assert_eq!((seen.local, seen.remote.ip()), (path.local, path.remote.ip()));
    assert_ne!(seen.remote.port(), path.remote.port());
    let (outcome, recorded) = bench.send(seen);
    assert!(matches!(outcome, TxOutcome::Sent(_)), "{outcome:?}");
    assert_eq!((bench.heard(), recorded), (path.local, seen));
    assert!(matches!(bench.send(path).0, TxOutcome::Dropped(_)), "nobody knows its inside port");

    bench.pause();
    assert!(matches!(bench.send(seen).0, TxOutcome::Dropped(_)), "the port that was");
    bench.says(path.local);
    let again = bench.comes();
    assert_ne!(again.remote, seen.remote);
    assert!(matches!(bench.send(seen).0, TxOutcome::Dropped(_)));
    assert!(matches!(bench.send(again).0, TxOutcome::Sent(_)));
    bench.heard();
}

#[test]
fn esp_without_udp_ends_at_a_box_that_knows_udp_only() {
    for (ours, translates) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut bench = Bench::new(ours, translates);
        let end = |end: SocketAddr| SocketAddr::new(end.ip(), 0);
        let Path { local, remote, .. } = bench.path();
        let path = Path { local: end(local), remote: end(remote), role: SocketRole::Esp };
        let (outcome, recorded) = bench.send(path);
        assert!(matches!(outcome, TxOutcome::Dropped(why) if why.contains("protocol 50")), "{outcome:?}");
        assert_eq!(recorded, path);
        let mut received = Received { at: bench.link.now(), path, class: Class::Esp, bytes: vec![1; 8] };
        assert!(bench.link.inward(&mut received).is_err());
    }
}
