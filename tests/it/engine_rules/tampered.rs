//! The seams: none is called where no rule is concerned, and each bends the wire as documented.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ikelab::wire::registry::{EncrId, KeMethod};
use ikelab::wire::{FieldEdit, Transform};

use super::*;

/// Concerned with nothing, and offended by every question.
struct Unconcerned;

impl Tamper for Unconcerned {
    fn concerns(&mut self, _: &SaCx) -> bool {
        false
    }
    fn decide(&mut self, _: &SaCx, decision: Decision<'_>) {
        panic!("decide: {decision:?}");
    }
    fn secret(&mut self, _: &SaCx, kind: SecretKind, _: &mut Vec<u8>) {
        panic!("secret: {kind:?}");
    }
    fn message(&mut self, cx: &MsgCx, _: &mut Message) {
        panic!("message: {cx:?}");
    }
    fn layout(&mut self, cx: &MsgCx, _: LayoutPart, _: &ikelab::wire::FieldMap, _: &mut Layout) {
        panic!("layout: {cx:?}");
    }
    fn plaintext(&mut self, cx: &MsgCx, _: &mut SkBody) {
        panic!("plaintext: {cx:?}");
    }
    fn fragments(&mut self, cx: &MsgCx, _: &mut Vec<Fragment>) {
        panic!("fragments: {cx:?}");
    }
    fn datagrams(&mut self, cx: &MsgCx, _: &mut Vec<Outgoing>) {
        panic!("datagrams: {cx:?}");
    }
    fn inject(&mut self, _: &SaCx, trigger: &Trigger, _: &mut Vec<Injected>) {
        panic!("inject: {trigger:?}");
    }
    fn timer(&mut self, _: &SaCx, timer: Timer, _: Duration) -> Option<Duration> {
        panic!("timer: {timer:?}");
    }
    fn inbound(&mut self, cx: &RecvCx, _: &mut Vec<u8>) -> Deliver {
        panic!("inbound: {cx:?}");
    }
    fn parsed(&mut self, cx: &RecvCx, _: &mut Message) -> Deliver {
        panic!("parsed: {cx:?}");
    }
}

#[test]
fn no_seam_is_called_where_no_rule_is_concerned() {
    let mut right = right_spec();
    right.ike_proposals = vec![ike_proposal(&[KeMethod::ECP_256])];
    right.fragmentation = true;
    let mut config = config(vec![right], 2);
    config.limits.cookie_threshold = Some(0);
    let mut pair = Pair::new(crate::pair::config(vec![], 1), config);
    pair.left.set_tamper(Box::new(Unconcerned));
    pair.right.set_tamper(Box::new(Unconcerned));
    let mut left = left_spec();
    left.nat.traversal = NatTraversal::Force;
    left.dpd = Some(DpdSpec::new(Duration::from_secs(5), DpdMode::Periodic));
    left.fragmentation = true;
    // Large enough to be fragmented.
    left.local_id.data = vec![b'x'; 2000];
    let Some(first) = pair.right_connections_accepting(&left) else { unreachable!("replaced below") };
    pair.right.set_config(first);
    pair.connect(left);
    pair.settle();
    assert_joined(&pair, "with two unconcerned tampers");
    pair.run_for(Duration::from_secs(60));
    let stray = header_of(&[vec![1; 16], vec![0, 0x20, 37, 8, 0, 0, 0, 0, 0, 0, 0, 28]].concat());
    let path = InFlight {
        to: End::Right,
        transmit: Transmit { path: pair.left_path(), class: ikelab::net::Class::Ike, bytes: vec![] },
    };
    pair.deliver(with_bytes(&path, encoded(stray, vec![])));
    pair.deliver(with_bytes(&path, vec![1, 2, 3]));
    pair.settle();
    pair.flight = order(&mut pair, End::Left, Command::Delete);
    pair.settle();
    pair.run_for(Duration::from_secs(10));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0));
}

impl Pair {
    /// The usual responder, for this initiator's identity and with everything that makes it answer without state.
    fn right_connections_accepting(&self, left: &ConnectionSpec) -> Option<Arc<EndpointConfig>> {
        let mut right = right_spec();
        right.remote_id = IdMatch::Exact(left.local_id.clone());
        right.ike_proposals = vec![ike_proposal(&[KeMethod::ECP_256])];
        right.fragmentation = true;
        let mut config = config(vec![right], 2);
        config.limits.cookie_threshold = Some(0);
        Some(Arc::new(config))
    }

    fn left_path(&self) -> ikelab::net::Path {
        let end = |text: &str| format!("{text}:500").parse().expect("an address");
        ikelab::net::Path { local: end(LEFT), remote: end(RIGHT), role: ikelab::net::SocketRole::Ike }
    }
}

/// What one end sent, first transmissions only.
fn sent(pair: &Pair, end: End, exchange: ExchangeType, response: bool) -> Vec<&Message> {
    pair.said(end)
        .filter_map(|e| match e {
            Event::Message(m) if m.from == Side::Us => Some(&m.message),
            _ => None,
        })
        .filter(|m| m.header.exchange == exchange && m.header.flags.is_response() == response)
        .collect()
}

#[test]
fn secrets_are_adopted() {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    for (end, kinds) in [(End::Left, 6), (End::Right, 6)] {
        seen.lock().expect("not poisoned").clear();
        let names = Arc::clone(&seen);
        let secret = move |kind: SecretKind, octets: &mut Vec<u8>| {
            names.lock().expect("not poisoned").insert(format!("{kind:?}"));
            match kind {
                SecretKind::IkeSpi => *octets = vec![0xa1; 8],
                SecretKind::Nonce => *octets = vec![0xa2; 40],
                SecretKind::ChildSpi => *octets = vec![0xa3; 4],
                _ => {}
            }
        };
        let mut pair = bent(end, Bend { secret: Some(Box::new(secret)), ..Bend::default() });
        pair.connect(left_spec());
        pair.settle();
        assert_joined(&pair, "with chosen SPIs and nonce");
        let spis = ike_up(&pair, end).spis;
        let ours = if end == End::Left { spis.0 } else { spis.1 };
        assert_eq!(ours.to_be_bytes(), [0xa1; 8]);
        assert_eq!(child(&pair, end).spi_in, 0xa3a3_a3a3);
        let init = sent(&pair, end, ExchangeType::IKE_SA_INIT, end == End::Right)[0];
        assert!(init.outer.iter().any(|p| matches!(p, Payload::Nonce(n) if n.data == [0xa2; 40])));
        assert_eq!(seen.lock().expect("not poisoned").len(), kinds, "{seen:?}");
    }
}

#[test]
fn a_secret_that_lies_is_found_out() {
    for (end, kind) in [
        (End::Left, SecretKind::Auth),
        (End::Right, SecretKind::Auth),
        (End::Left, SecretKind::KeyExchange),
        (End::Right, SecretKind::KeyExchange),
    ] {
        let bend = move |which: SecretKind, octets: &mut Vec<u8>| {
            if which == kind {
                octets[3] ^= 1;
            }
        };
        let mut pair = bent(end, Bend { secret: Some(Box::new(bend)), ..Bend::default() });
        pair.connect(left_spec());
        pair.settle();
        if kind == SecretKind::Auth {
            let failed = failures(&pair, end.other());
            assert!(matches!(failed[0].why, Failure::AuthFailed(AuthFault::Mismatch { .. })));
        } else {
            // The private value stays, so the two ends have different keys.
            pair.run_for(Duration::from_secs(100));
            assert!(pair.right.counters().ignored(IgnoredWhy::BadIcv) > 0);
            assert!(matches!(failures(&pair, End::Left)[0].why, Failure::NoAnswer { .. }));
        }
    }
    // A cookie of our making that we ourselves will not take back.
    let mut config = config(vec![right_spec()], 2);
    config.limits.cookie_threshold = Some(0);
    let mut pair = Pair::new(crate::pair::config(vec![], 1), config);
    let mut n = 0;
    let bend = move |kind: SecretKind, octets: &mut Vec<u8>| {
        if kind == SecretKind::Cookie {
            n += 1;
            *octets = vec![n; 8];
        }
    };
    pair.right.set_tamper(Box::new(Bend { secret: Some(Box::new(bend)), ..Bend::default() }));
    pair.connect(left_spec());
    pair.settle();
    assert_eq!(failures(&pair, End::Left)[0].why, Failure::Misbehaved(PeerMisbehaved::CookieLoop(4)));
}

#[test]
fn pinned_spis_of_two_ike_sas_break_no_index() {
    let secret = |kind: SecretKind, octets: &mut Vec<u8>| match kind {
        SecretKind::IkeSpi => *octets = vec![0; 8],
        SecretKind::ChildSpi => *octets = vec![0; 4],
        _ => {}
    };
    for end in [End::Left, End::Right] {
        let mut pair = bent(end, Bend { secret: Some(Box::new(secret)), ..Bend::default() });
        for _ in 0..3 {
            pair.connect(left_spec());
            pair.settle();
        }
        pair.run_for(Duration::from_secs(200));
        pair.left.delete_all(pair.now);
        pair.right.delete_all(pair.now);
        pair.collect();
        pair.settle();
        pair.run_for(Duration::from_secs(200));
        assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0));
    }
}

/// An edit of the message is under AUTH, one of the datagram is not.
#[test]
fn message_edits_keep_auth_honest_and_datagram_edits_do_not() {
    for end in [End::Left, End::Right] {
        let extra = || notify(NotifyType(40_005));
        let bend = on_message(ExchangeType::IKE_SA_INIT, end == End::Right, move |m| m.outer.push(extra()));
        let mut pair = bent(end, bend);
        pair.connect(left_spec());
        pair.settle();
        assert_joined(&pair, "with another notify");
        assert!(sent(&pair, end, ExchangeType::IKE_SA_INIT, end == End::Right)[0].outer.contains(&extra()));

        let datagrams = |cx: &MsgCx, all: &mut Vec<Outgoing>| {
            if cx.exchange == ExchangeType::IKE_SA_INIT {
                for datagram in all {
                    let decoded = decode(&datagram.bytes).expect("our own");
                    let mut outer = decoded.payloads;
                    outer.push(notify(NotifyType(40_005)));
                    datagram.bytes = encoded(decoded.header, outer);
                }
            }
        };
        let mut pair = bent(end, Bend { datagrams: Some(Box::new(datagrams)), ..Bend::default() });
        pair.connect(left_spec());
        pair.settle();
        assert!(!pair.is_up(End::Left));
        let culprits: Vec<_> = failures(&pair, end.other()).iter().map(|f| f.why.clone()).collect();
        assert!(matches!(culprits[0], Failure::AuthFailed(AuthFault::Mismatch { .. })), "{culprits:?}");
    }
}

#[test]
fn layout_edits_are_under_the_icv() {
    let edits: [(LayoutPart, FieldEdit); 2] = [
        (LayoutPart::Inner, FieldEdit::Set { path: "idi.type".into(), value: vec![11] }),
        (LayoutPart::Outer, FieldEdit::Set { path: "header.flags".into(), value: vec![0x88] }),
    ];
    for (part, edit) in edits {
        let layout = move |cx: &MsgCx, which: LayoutPart, map: &ikelab::wire::FieldMap, layout: &mut Layout| {
            if cx.exchange == ExchangeType::IKE_AUTH && which == part {
                assert!(map.get(edit.path()).is_some(), "{} in {map:?}", edit.path());
                layout.edits.push(edit.clone());
            }
        };
        let mut pair = bent(End::Left, Bend { layout: Some(Box::new(layout)), ..Bend::default() });
        pair.connect(left_spec());
        let mut flags = Vec::new();
        while !pair.flight.is_empty() {
            let datagram = pair.flight.remove(0);
            flags.push(datagram.transmit.bytes[19]);
            pair.deliver(datagram);
        }
        assert_eq!(pair.right.counters().ignored(IgnoredWhy::BadIcv), 0);
        match part {
            // Another type of identity with a good ICV: nobody we know.
            LayoutPart::Inner => {
                assert!(matches!(failures(&pair, End::Right)[0].why, Failure::AuthFailed(AuthFault::Identity { .. })));
            }
            // A reserved flag is ignored, and covered.
            LayoutPart::Outer => {
                assert_eq!(flags[2], 0x88);
                assert_joined(&pair, "with a reserved flag");
            }
        }
    }
}

/// Padding of any length, also such as no block cipher takes, in every kind of cipher.
#[test]
fn plaintext_edits_are_sealed_whatever_they_are() {
    let ciphers = [
        (Transform::encr(EncrId::ENCR_AES_CBC, Some(128)), true),
        (Transform::encr(EncrId::ENCR_AES_GCM_16, Some(256)), false),
        (Transform::encr(EncrId::ENCR_3DES, None), true),
    ];
    for (cipher, integ) in ciphers {
        for padding in [0, 1, 7, 48, 255] {
            let mut spec = ike_proposal(&[KeMethod::CURVE25519]);
            spec.transforms[0] = cipher.clone();
            if !integ {
                spec.transforms.remove(2);
            }
            let (mut left, mut right) = (left_spec(), right_spec());
            left.ike_proposals = vec![spec.clone()];
            right.ike_proposals = vec![spec];
            let mut pair = Pair::to(right);
            let plaintext = move |_: &MsgCx, body: &mut SkBody| {
                let block = body.padding.len() + body.inner.len() + 1;
                let more = if padding % 16 == 0 { padding } else { padding + block % 3 };
                body.padding.extend(std::iter::repeat_n(0x77, more));
                body.pad_length = body.padding.len() as u8;
            };
            pair.left.set_tamper(Box::new(Bend { plaintext: Some(Box::new(plaintext)), ..Bend::default() }));
            pair.connect(left);
            pair.settle();
            assert_eq!(pair.right.counters().ignored(IgnoredWhy::BadIcv), 0, "{padding}");
            if padding == 48 {
                assert_joined(&pair, "with more padding than needed");
            }
        }
    }
    // A pad length that lies: a good ICV, and still nothing to act upon.
    let plaintext = |_: &MsgCx, body: &mut SkBody| body.pad_length = 255;
    let mut left = left_spec();
    left.children.clear();
    let mut pair = bent(End::Left, Bend { plaintext: Some(Box::new(plaintext)), ..Bend::default() });
    pair.connect(left);
    pair.settle();
    assert_eq!((pair.right.counters().half_open, pair.right.counters().ignored(IgnoredWhy::BadIcv)), (1, 1));
    // An IV of the wrong length, an empty inside.
    for iv in [0, 1, 15, 17, 100] {
        let plaintext = move |_: &MsgCx, body: &mut SkBody| {
            body.iv.resize(iv, 0);
            body.inner.clear();
            body.padding.clear();
        };
        let mut pair = bent(End::Left, Bend { plaintext: Some(Box::new(plaintext)), ..Bend::default() });
        pair.connect(left_spec());
        pair.settle();
        assert_eq!(pair.right.counters().ike_up, 0);
    }
}

#[test]
fn fragments_have_a_good_icv() {
    let cut = |cx: &MsgCx, fragments: &mut Vec<Fragment>| {
        if cx.exchange == ExchangeType::IKE_AUTH {
            let whole = fragments.remove(0).inner;
            let total = whole.len().div_ceil(50) as u16;
            let pieces = whole.chunks(50).zip(1..);
            fragments.extend(pieces.map(|(inner, number)| Fragment { number, total, inner: inner.to_vec() }));
            fragments.reverse();
        }
    };
    let (mut left, mut right) = (left_spec(), right_spec());
    (left.fragmentation, right.fragmentation) = (true, true);
    let mut pair = Pair::to(right);
    pair.left.set_tamper(Box::new(Bend { fragments: Some(Box::new(cut)), ..Bend::default() }));
    pair.connect(left.clone());
    pair.settle();
    assert_joined(&pair, "in fragments, last one first");
    // A number beyond the total, with a good ICV: stray.
    let lie = |_: &MsgCx, fragments: &mut Vec<Fragment>| fragments[0].number = 9;
    let mut right = right_spec();
    right.fragmentation = true;
    let mut pair = Pair::to(right);
    pair.left.set_tamper(Box::new(Bend { fragments: Some(Box::new(lie)), ..Bend::default() }));
    pair.connect(left);
    pair.settle();
    let counters = pair.right.counters();
    let refused = counters.ignored(IgnoredWhy::StrayFragment) + counters.ignored(IgnoredWhy::NotIke);
    assert_eq!((refused, counters.ignored(IgnoredWhy::BadIcv)), (1, 0));
}

#[test]
fn datagrams_are_bent_on_a_copy_at_each_transmission() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let elsewhere: std::net::SocketAddr = "192.0.2.99:1234".parse().expect("an address");
    let datagrams = move |cx: &MsgCx, all: &mut Vec<Outgoing>| {
        if cx.exchange != ExchangeType::IKE_SA_INIT {
            return;
        }
        seen.lock().expect("not poisoned").push(cx.attempt);
        match cx.attempt {
            0 => all.clear(),
            1 => all[0].bytes[30] ^= 0xff,
            2 => {
                let twin = all[0].clone();
                all.push(Outgoing { after: Duration::from_millis(250), ..twin.clone() });
                all.push(Outgoing { path: ikelab::net::Path { remote: elsewhere, ..twin.path }, ..twin });
            }
            _ => {}
        }
    };
    let mut pair = bent(End::Left, Bend { datagrams: Some(Box::new(datagrams)), ..Bend::default() });
    pair.connect(left_spec());
    assert!(pair.flight.is_empty(), "the first transmission was taken out");
    let mut sent = Vec::new();
    for _ in 0..4 {
        pair.now = pair.left.poll_timeout().expect("a timer").0;
        pair.left.handle_timeout(pair.now);
        pair.collect();
        sent.push((pair.now.elapsed().as_millis(), pair.take()));
    }
    assert_eq!(
        sent.iter().map(|(at, all)| (*at, all.len())).collect::<Vec<_>>(),
        [(1000, 1), (3000, 2), (3250, 1), (7000, 1)]
    );
    let honest = &sent[3].1[0].transmit.bytes;
    assert_ne!(sent[0].1[0].transmit.bytes, *honest, "bent on a copy");
    assert_eq!(sent[1].1[0].transmit.bytes, *honest);
    assert_eq!((sent[1].1[1].transmit.path.remote, &sent[1].1[1].transmit.bytes), (elsewhere, honest));
    assert_eq!(sent[2].1[0].transmit.bytes, *honest);
    assert_eq!(*attempts.lock().expect("not poisoned"), [0, 1, 2, 3]);
    pair.flight = sent.remove(3).1;
    pair.settle();
    assert_joined(&pair, "once an honest copy got through");
}

/// Sealed with the IKE SA's keys, in clear, raw, and on a timer of its own.
#[test]
fn injections_are_sent_as_they_stand() {
    let inject = |sa: &SaCx, trigger: &Trigger, out: &mut Vec<Injected>| {
        let message = |kind: u16| {
            let flags = Flags::of(sa.initiator, false);
            let header = Header::new(sa.spis.0, sa.spis.1, ExchangeType::INFORMATIONAL, flags, 2);
            Box::new(Message { header, outer: vec![], sk: Some(vec![notify(NotifyType(kind))]) })
        };
        match trigger {
            Trigger::Up(_) => {
                out.push(Injected::Message { message: message(40_006), sealed: true, after: Duration::ZERO });
                let mut clear = message(40_007);
                clear.outer = clear.sk.take().unwrap_or_default();
                out.push(Injected::Message { message: clear, sealed: false, after: Duration::from_millis(5) });
                out.push(Injected::Wake(Duration::from_millis(40)));
            }
            Trigger::Timer(_) => {
                let end = |text: &str| text.parse().expect("an address");
                let path = ikelab::net::Path {
                    local: end("10.0.0.1:500"),
                    remote: end("10.0.0.2:500"),
                    role: ikelab::net::SocketRole::Ike,
                };
                let class = ikelab::net::Class::Ike;
                out.push(Injected::Raw(Outgoing { path, class, after: Duration::ZERO, bytes: vec![1, 2, 3] }));
            }
            _ => {}
        }
    };
    let mut pair = bent(End::Left, Bend { inject: Some(Box::new(inject)), ..Bend::default() });
    pair.connect(left_spec());
    pair.settle();
    let told = |pair: &Pair, kind| {
        pair.said(End::Right).any(|e| matches!(e, Event::PeerNotify(n) if n.kind == NotifyType(kind)))
    };
    assert!(told(&pair, 40_006));
    pair.run_for(Duration::from_millis(10));
    assert!(!told(&pair, 40_007), "in clear it is not believed");
    assert_eq!(ignored_in_all(pair.right.counters()), 1);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.right.counters().ignored(IgnoredWhy::NotIke), 1);
}

#[test]
fn timers_are_changed_and_cancelled() {
    let quick = |timer: Timer, honest: Duration| match timer {
        Timer::Retransmit => Some(honest / 10),
        _ => Some(honest),
    };
    let mut pair = bent(End::Left, Bend { timer: Some(Box::new(quick)), ..Bend::default() });
    pair.connect(left_spec());
    assert_eq!(
        pair.left.poll_timeout().map(|(at, why)| (at.elapsed(), why)),
        Some((Duration::from_millis(100), Timer::Retransmit))
    );
    let never = |_: Timer, _: Duration| None;
    let mut pair = bent(End::Left, Bend { timer: Some(Box::new(never)), ..Bend::default() });
    pair.connect(left_spec());
    assert_eq!(pair.left.poll_timeout(), None);
    // At once, always: it comes to an end all the same.
    let zero = |_: Timer, _: Duration| Some(Duration::ZERO);
    let mut left = left_spec();
    left.dpd = Some(DpdSpec::new(Duration::from_secs(1), DpdMode::Periodic));
    left.nat.traversal = NatTraversal::Force;
    let mut pair = bent(End::Left, Bend { timer: Some(Box::new(zero)), ..Bend::default() });
    pair.connect(left);
    pair.settle();
    pair.run_for(Duration::from_millis(50));
    assert!(pair.left.counters().transmitted < 200);
}

#[test]
fn inbound_drops_holds_and_doubles() {
    let mut n = 0;
    let inbound = move |cx: &RecvCx, _: &mut Vec<u8>| {
        n += 1;
        match n {
            1 => Deliver::Drop,
            2 => Deliver::HoldUntil(cx.now + Duration::from_millis(300)),
            3 => Deliver::Twice(Duration::from_millis(10)),
            _ => Deliver::Yes,
        }
    };
    let mut pair = bent(End::Right, Bend { inbound: Some(Box::new(inbound)), ..Bend::default() });
    pair.connect(left_spec());
    let init = pair.take().remove(0);
    pair.deliver(init.clone());
    assert_eq!((pair.right.sa_count(), pair.right.counters().ignored(IgnoredWhy::Tampered)), (0, 1));
    pair.deliver(init.clone());
    assert_eq!(pair.right.sa_count(), 0);
    assert_eq!(
        pair.right.poll_timeout().map(|(at, why)| (at.elapsed(), why)),
        Some((Duration::from_millis(300), Timer::Held))
    );
    pair.now = ikelab::time::Instant::from_millis(300);
    pair.right.handle_timeout(pair.now);
    pair.collect();
    assert_eq!(pair.right.sa_count(), 1);
    pair.settle();
    pair.run_for(Duration::from_millis(20));
    assert_joined(&pair, "one dropped, one held, one twice");
    assert_eq!(pair.right.counters().ignored(IgnoredWhy::Repeat), 1, "IKE_AUTH came twice");
}

#[test]
fn parsed_messages_are_changed_or_withheld() {
    let mut n = 0;
    let parsed = move |_: &RecvCx, _: &mut Message| {
        n += 1;
        if n == 1 { Deliver::Drop } else { Deliver::Yes }
    };
    let mut pair = bent(End::Right, Bend { parsed: Some(Box::new(parsed)), ..Bend::default() });
    pair.connect(left_spec());
    pair.settle();
    assert_eq!((pair.right.counters().half_open, pair.right.counters().ignored(IgnoredWhy::Tampered)), (1, 1));
    pair.run_for(Duration::from_secs(1));
    assert_joined(&pair, "the repeat is asked about again");
    let parsed = |_: &RecvCx, message: &mut Message| {
        message.sk.as_mut().expect("protected").retain(|p| !matches!(p, Payload::Auth(_)));
        Deliver::Yes
    };
    let mut pair = bent(End::Right, Bend { parsed: Some(Box::new(parsed)), ..Bend::default() });
    pair.connect(left_spec());
    pair.settle();
    assert!(matches!(failures(&pair, End::Right)[0].why, Failure::AuthFailed(AuthFault::EapUnwanted)));
}

/// A pair with one end's decisions turned, after its handshake came to rest.
fn decided(end: End, left: ConnectionSpec, decide: impl FnMut(Decision<'_>) + Send + 'static) -> Pair {
    let mut pair = bent(end, Bend { decide: Some(Box::new(decide)), ..Bend::default() });
    pair.connect(left);
    pair.settle();
    pair
}

fn rejected(pair: &Pair, kind: NotifyType, scope: FailScope) {
    let failed = failures(pair, End::Left);
    assert!(
        matches!(failed[..], [Failed { why: Failure::Rejected { notify, .. }, scope: s, .. }] if *notify == kind && *s == scope),
        "{failed:?}"
    );
}

#[test]
fn decisions_to_refuse() {
    let refused = NotifyType::TEMPORARY_FAILURE;
    let pair = decided(End::Right, left_spec(), move |d| {
        if let Decision::RefuseInit(kind) = d {
            *kind = Some(refused);
        }
    });
    rejected(&pair, refused, FailScope::IkeSa);
    assert_eq!(pair.right.sa_count(), 0);
    let pair = decided(End::Right, left_spec(), move |d| {
        if let Decision::RefuseAuth(kind) = d {
            *kind = Some(refused);
        }
    });
    rejected(&pair, refused, FailScope::IkeSa);
    assert!(!pair.said(End::Right).any(|e| matches!(e, Event::IkeUp(_) | Event::ChildInbound(_))), "before it was up");
    let pair = decided(End::Right, left_spec(), move |d| {
        if let Decision::RefuseChild(kind) = d {
            *kind = Some(refused);
        }
    });
    rejected(&pair, refused, FailScope::Child);
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (1, 1));
}

#[test]
fn decisions_about_authentication() {
    for end in [End::Left, End::Right] {
        let mut left = left_spec();
        if end == End::Right {
            left.local_auth = psk("wrong");
        } else {
            left.remote_auth = psk("wrong");
        }
        let pair = decided(end, left, |d| {
            if let Decision::AcceptAuth(accept) = d {
                assert!(!*accept, "honestly it is refused");
                *accept = true;
            }
        });
        assert_joined(&pair, "a wrong key accepted on purpose");
        let pair = decided(end, left_spec(), |d| {
            if let Decision::AcceptAuth(accept) = d {
                *accept = false;
            }
        });
        assert!(matches!(failures(&pair, end)[0].why, Failure::AuthFailed(AuthFault::Mismatch { .. })));
    }
}

#[test]
fn decisions_about_groups_and_cookies() {
    let pair = decided(End::Right, left_spec(), |d| {
        if let Decision::DemandGroup(group) = d {
            *group = Some(KeMethod::ECP_256);
        }
    });
    // Demanded for ever: the group that was sent is asked for again, and nobody answers.
    assert_eq!(sent(&pair, End::Left, ExchangeType::IKE_SA_INIT, false).len(), 2);
    let mut demands = 0;
    let pair = decided(End::Right, left_spec(), move |d| {
        if let Decision::DemandCookie(demand) = d {
            demands += 1;
            *demand = demands == 1;
        }
    });
    assert_joined(&pair, "one cookie on purpose");
    assert_eq!(pair.right.counters().cookies_sent, 1);

    let guarded = |decide: fn(Decision<'_>)| {
        let mut right = right_spec();
        right.ike_proposals = vec![ike_proposal(&[KeMethod::ECP_256])];
        let mut config = config(vec![right], 2);
        config.limits.cookie_threshold = Some(0);
        let mut pair = Pair::new(crate::pair::config(vec![], 1), config);
        pair.left.set_tamper(Box::new(Bend { decide: Some(Box::new(decide)), ..Bend::default() }));
        pair.connect(left_spec());
        pair.settle();
        pair
    };
    let pair = guarded(|d| {
        if let Decision::ReturnCookie(follow) = d {
            *follow = false;
        }
    });
    assert_eq!(sent(&pair, End::Left, ExchangeType::IKE_SA_INIT, false).len(), 1);
    let pair = guarded(|d| {
        if let Decision::FollowInvalidKe(group, follow) = d {
            assert_eq!(group, KeMethod::ECP_256);
            *follow = false;
        }
    });
    assert_eq!(sent(&pair, End::Left, ExchangeType::IKE_SA_INIT, false).len(), 2, "with the cookie, without the group");
}

/// Each end believes in another suite: what the decision changes is what is used.
#[test]
fn decisions_about_suites() {
    for end in [End::Left, End::Right] {
        let mut pair = decided(end, left_spec(), |d| {
            if let Decision::Suite(suite) = d {
                suite.prf = ikelab::crypto::Prf::HmacSha512;
            }
        });
        pair.run_for(Duration::from_secs(100));
        assert!(pair.right.counters().ignored(IgnoredWhy::BadIcv) > 0, "other keys");
        let pair = decided(end, left_spec(), |d| {
            if let Decision::ChildSuite(suite) = d {
                suite.encr = ikelab::crypto::Encr::AesGcm { bits: 256, icv: 16 };
            }
        });
        assert_eq!(child(&pair, end).suite.encr, ikelab::crypto::Encr::AesGcm { bits: 256, icv: 16 });
        assert_eq!(child(&pair, end.other()).suite.encr, ikelab::crypto::Encr::AesGcm { bits: 128, icv: 16 });
    }
}

#[test]
fn decisions_to_float_and_to_answer() {
    let pair = decided(End::Left, left_spec(), |d| {
        if let Decision::Float(float) = d {
            assert!(!*float);
            *float = true;
        }
    });
    assert_joined(&pair, "floated without a NAT");
    assert_eq!(ike_up(&pair, End::Right).path.remote.port(), 4500);
    let mut silent = 3;
    let mut pair = decided(End::Right, left_spec(), move |d| {
        if let Decision::Answer(exchange, answer) = d {
            assert_eq!(exchange, ExchangeType::IKE_AUTH);
            silent -= 1;
            *answer = silent < 1;
        }
    });
    assert!(!pair.is_up(End::Right));
    pair.run_for(Duration::from_secs(10));
    assert_joined(&pair, "answered at the third time of asking");
}
