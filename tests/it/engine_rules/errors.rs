//! The error notifies of RFC 7296, each where the RFC names it.

use ikelab::wire::registry::{IdType, KeMethod, PayloadType};
use ikelab::wire::{FieldEdit, IkeSpi, RawPayload, Transform};

use super::*;

/// The 2048-bit MODP prime (RFC 3526 3).
const PRIME: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404ddef95\
     19b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7edee386bfb\
     5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3\
     ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e8603\
     9b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aacaa68ffff\
     ffffffffffff";

/// The responder's unprotected answer to the usual IKE_SA_INIT after a change, and the responder's failure if it says one.
fn answer_to(group: KeMethod, change: impl Fn(&mut Header, &mut Vec<Payload>)) -> (Pair, Vec<NotifyPayload>) {
    let mut left = left_spec();
    left.ike_proposals = vec![ike_proposal(&[group])];
    let mut right = right_spec();
    right.ike_proposals = vec![ike_proposal(&[group, KeMethod::ECP_256])];
    let mut pair = Pair::to(right);
    pair.connect(left);
    let init = pair.take().remove(0);
    let decoded = decode(&init.transmit.bytes).expect("whole");
    let (mut header, mut outer) = (decoded.header, decoded.payloads);
    change(&mut header, &mut outer);
    pair.deliver(with_bytes(&init, encoded(header, outer)));
    let answers = pair.take();
    let said = answers.first().map(|d| notifies(&d.transmit.bytes)).unwrap_or_default();
    if let Some(answer) = answers.first() {
        let header = header_of(&answer.transmit.bytes);
        assert!(header.flags.is_response() && !header.flags.is_initiator());
        assert_eq!(header.message_id, 0);
    }
    (pair, said)
}

fn critical(kind: u8) -> Payload {
    Payload::Raw(RawPayload { kind: PayloadType(kind), critical: true, body: vec![1, 2, 3] })
}

fn without(kind: PayloadType, payloads: &mut Vec<Payload>) {
    let before = payloads.len();
    payloads.retain(|p| p.kind() != kind);
    assert!(payloads.len() < before, "{kind} was there");
}

#[test]
fn a_malformed_ike_sa_init_is_answered_invalid_syntax() {
    for kind in [PayloadType::SA, PayloadType::KE, PayloadType::NONCE] {
        let (pair, said) = answer_to(KeMethod::CURVE25519, |_, outer| without(kind, outer));
        assert_eq!(said[0].kind, NotifyType::INVALID_SYNTAX, "without {kind}");
        let missing = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
        assert_eq!(failures(&pair, End::Right)[0].why, missing);
        assert_eq!(pair.right.sa_count(), 0);
    }
    let (pair, said) = answer_to(KeMethod::CURVE25519, |_, outer| {
        outer.push(Payload::Raw(RawPayload { kind: PayloadType::NOTIFY, critical: false, body: vec![0] }));
    });
    assert_eq!(said[0].kind, NotifyType::INVALID_SYNTAX);
    assert!(matches!(failures(&pair, End::Right)[0].why, Failure::Malformed(_)));
}

#[test]
fn unknown_payloads_matter_only_with_the_critical_bit() {
    let (pair, said) = answer_to(KeMethod::CURVE25519, |_, outer| outer.push(critical(201)));
    assert_eq!((said[0].kind, &said[0].data[..]), (NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[201][..]));
    assert_eq!(pair.right.sa_count(), 0);
    let (pair, _) = answer_to(KeMethod::CURVE25519, |_, outer| {
        outer.push(Payload::Raw(RawPayload { kind: PayloadType(201), critical: false, body: vec![] }));
    });
    assert_eq!(pair.right.counters().half_open, 1);
}

#[test]
fn a_wrong_group_is_answered_with_the_right_one() {
    let (pair, said) = answer_to(KeMethod::CURVE25519, |_, outer| {
        for payload in outer {
            if let Payload::Ke(ke) = payload {
                ke.group = KeMethod::MODP_2048;
            }
        }
    });
    assert_eq!(
        (said[0].kind, &said[0].data[..]),
        (NotifyType::INVALID_KE_PAYLOAD, &KeMethod::CURVE25519.0.to_be_bytes()[..])
    );
    assert_eq!(pair.right.sa_count(), 0);
}

#[test]
fn bad_public_values_are_refused_at_both_ends() {
    let octet = |at: usize| u8::from_str_radix(&PRIME[at..at + 2], 16).expect("hex");
    let prime: Vec<u8> = (0..PRIME.len()).step_by(2).map(octet).collect();
    let mut top = prime.clone();
    *top.last_mut().expect("octets") -= 1;
    let mut one = vec![0; 256];
    one[255] = 1;
    let mut beyond = prime.clone();
    *beyond.last_mut().expect("octets") = 0xff;
    let off_curve = [vec![1; 32], vec![2; 32]].concat();
    let cases: [(KeMethod, Vec<u8>); 14] = [
        (KeMethod::MODP_2048, vec![0; 256]),
        (KeMethod::MODP_2048, one),
        (KeMethod::MODP_2048, top),
        (KeMethod::MODP_2048, prime),
        (KeMethod::MODP_2048, beyond),
        (KeMethod::MODP_2048, vec![5; 255]),
        (KeMethod::ECP_256, vec![0; 64]),
        (KeMethod::ECP_256, off_curve),
        (KeMethod::ECP_256, vec![0xff; 64]),
        (KeMethod::ECP_256, vec![4; 65]),
        (KeMethod::ECP_256, vec![]),
        (KeMethod::CURVE25519, vec![0; 32]),
        (KeMethod::CURVE25519, vec![9; 31]),
        (KeMethod::CURVE25519, vec![9; 33]),
    ];
    for (group, value) in cases {
        let set = |outer: &mut Vec<Payload>, value: &[u8]| {
            for payload in outer {
                if let Payload::Ke(ke) = payload {
                    ke.data = value.to_vec();
                }
            }
        };
        let (pair, said) = answer_to(group, |_, outer| set(outer, &value));
        assert_eq!(said[0].kind, NotifyType::INVALID_SYNTAX, "RFC 6989 5: {group}, {} octets", value.len());
        let why = &failures(&pair, End::Right)[0].why;
        assert!(matches!(why, Failure::Misbehaved(PeerMisbehaved::BadKeyExchange(_))), "{why:?}");
        assert_eq!((pair.right.sa_count(), pair.right.counters().half_open), (0, 0));

        let mut left = left_spec();
        left.ike_proposals = vec![ike_proposal(&[group])];
        let mut right = right_spec();
        right.ike_proposals = left.ike_proposals.clone();
        let mut pair = Pair::to(right);
        let bad = value.clone();
        pair.right.set_tamper(Box::new(on_message(ExchangeType::IKE_SA_INIT, true, move |m| set(&mut m.outer, &bad))));
        pair.connect(left);
        pair.settle();
        let failed = failures(&pair, End::Left)[0];
        assert!(matches!(failed.why, Failure::Misbehaved(PeerMisbehaved::BadKeyExchange(_))), "{failed:?}");
    }
}

#[test]
fn bad_nonces_are_refused_at_both_ends() {
    for (len, good) in [(0, false), (1, false), (15, false), (16, true), (256, true), (257, false)] {
        let set = move |outer: &mut Vec<Payload>| {
            for payload in outer {
                if let Payload::Nonce(nonce) = payload {
                    nonce.data = vec![7; len];
                }
            }
        };
        let (pair, said) = answer_to(KeMethod::CURVE25519, |_, outer| set(outer));
        assert_eq!(pair.right.counters().half_open, u32::from(good), "{len}");
        if !good {
            assert_eq!(said[0].kind, NotifyType::INVALID_SYNTAX);
            assert_eq!(failures(&pair, End::Right)[0].why, Failure::Misbehaved(PeerMisbehaved::BadNonce(len)));
            let mut pair = bent(End::Right, on_message(ExchangeType::IKE_SA_INIT, true, move |m| set(&mut m.outer)));
            pair.connect(left_spec());
            pair.settle();
            assert_eq!(failures(&pair, End::Left)[0].why, Failure::Misbehaved(PeerMisbehaved::BadNonce(len)));
        }
    }
}

/// A request that is no first IKE_SA_INIT gets no answer and leaves no state.
#[test]
fn nonsense_in_the_header_of_ike_sa_init() {
    type Change = fn(&mut Header);
    let changes: [Change; 4] =
        [|h| h.spi_i = IkeSpi(0), |h| h.spi_r = IkeSpi(1), |h| h.message_id = 1, |h| h.flags = Flags(0)];
    for change in changes {
        let (pair, said) = answer_to(KeMethod::CURVE25519, |header, _| change(header));
        assert!(said.is_empty());
        assert_eq!((pair.right.sa_count(), pair.right.counters().ignored(IgnoredWhy::WrongFlags)), (0, 1));
    }
}

#[test]
fn a_higher_major_version_is_told_ours_and_ikev1_nothing() {
    for (version, told) in [(0x30, true), (0xf1, true), (0x10, false), (0x00, false)] {
        let mut pair = Pair::to(right_spec());
        pair.connect(left_spec());
        let mut init = pair.take().remove(0);
        init.transmit.bytes[17] = version;
        pair.deliver(init);
        let answers = pair.take();
        assert_eq!(answers.len(), usize::from(told), "{version:#x}");
        if let Some(answer) = answers.first() {
            assert_eq!(notifies(&answer.transmit.bytes)[0].kind, NotifyType::INVALID_MAJOR_VERSION);
            assert_eq!(header_of(&answer.transmit.bytes).version, 0x20, "the highest we speak");
        }
    }
}

#[test]
fn unknown_spis_are_told_so_within_limits() {
    let mut right = config(vec![right_spec()], 2);
    right.limits.stateless_per_second = 3;
    let mut pair = Pair::new(config(vec![], 1), right);
    pair.connect(left_spec());
    let path = pair.take().remove(0);
    let header = Header::new(IkeSpi(5), IkeSpi(6), ExchangeType::INFORMATIONAL, Flags::INITIATOR, 77);
    for _ in 0..10 {
        pair.deliver(with_bytes(&path, encoded(header, vec![])));
    }
    let answers = pair.take();
    assert_eq!(answers.len(), 3);
    let answer = header_of(&answers[0].transmit.bytes);
    assert_eq!((answer.spi_i, answer.spi_r, answer.message_id), (header.spi_i, header.spi_r, 77));
    assert_eq!(answer.flags, Flags::RESPONSE);
    assert_eq!(notifies(&answers[0].transmit.bytes)[0].kind, NotifyType::INVALID_IKE_SPI);
    // From the responder's side of an IKE SA that we do not know, the flag is the other way round.
    pair.now += std::time::Duration::from_secs(1);
    pair.deliver(with_bytes(&path, encoded(Header { flags: Flags(0), ..header }, vec![])));
    let answer = header_of(&pair.take()[0].transmit.bytes);
    assert_eq!(answer.flags, Flags::RESPONSE | Flags::INITIATOR);
    // A response is never answered.
    pair.deliver(with_bytes(&path, encoded(Header { flags: Flags::RESPONSE, ..header }, vec![])));
    assert!(pair.take().is_empty());
    assert_eq!(pair.right.counters().ignored(IgnoredWhy::UnknownSpi), 12);
}

/// What the initiator's IKE_AUTH must hold, or be refused as a whole; the repeat is refused with the same octets.
#[test]
fn a_malformed_ike_auth_is_refused_as_a_whole() {
    let kinds = [PayloadType::IDI, PayloadType::SA, PayloadType::TSI, PayloadType::TSR];
    for kind in kinds {
        let bend = on_message(ExchangeType::IKE_AUTH, false, move |m| {
            without(kind, m.sk.as_mut().expect("protected"));
        });
        let mut pair = bent(End::Left, bend);
        pair.connect(left_spec());
        pair.settle();
        let missing = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
        assert_eq!(failures(&pair, End::Right)[0].why, missing);
        assert!(!pair.said(End::Right).any(|e| matches!(e, Event::IkeUp(_))));
        refused_with(&pair, NotifyType::INVALID_SYNTAX);
    }
    let bend = on_message(ExchangeType::IKE_AUTH, false, |m| m.sk.as_mut().expect("protected").push(critical(99)));
    let mut pair = bent(End::Left, bend);
    pair.connect(left_spec());
    pair.settle();
    refused_with(&pair, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);

    let layout = |cx: &MsgCx, part: LayoutPart, _: &ikelab::wire::FieldMap, layout: &mut Layout| {
        if cx.exchange == ExchangeType::IKE_AUTH && part == LayoutPart::Inner {
            layout.edits.push(FieldEdit::Set { path: "auth.length".into(), value: vec![0, 3] });
        }
    };
    let mut pair = bent(End::Left, Bend { layout: Some(Box::new(layout)), ..Bend::default() });
    pair.connect(left_spec());
    pair.settle();
    assert!(matches!(failures(&pair, End::Right)[0].why, Failure::Malformed(_)));
    refused_with(&pair, NotifyType::INVALID_SYNTAX);

    // Without AUTH it asks for EAP, which is not on offer here.
    let bend =
        on_message(ExchangeType::IKE_AUTH, false, |m| without(PayloadType::AUTH, m.sk.as_mut().expect("protected")));
    let mut pair = bent(End::Left, bend);
    pair.connect(left_spec());
    pair.settle();
    refused_with(&pair, NotifyType::AUTHENTICATION_FAILED);
}

fn refused_with(pair: &Pair, kind: NotifyType) {
    let why = &failures(pair, End::Left)[0].why;
    assert!(matches!(why, Failure::Rejected { notify, protected: true, .. } if *notify == kind), "{why:?}");
    assert_eq!(pair.left.sa_count(), 0);
}

/// The initiator refuses a bad answer to IKE_AUTH in an INFORMATIONAL, and that ends the responder's IKE SA too (2.21.2).
#[test]
fn a_bad_answer_to_ike_auth_ends_both_ends() {
    type Change = fn(&mut Vec<Payload>);
    let cases: [(Change, NotifyType); 5] = [
        (|sk| without(PayloadType::IDR, sk), NotifyType::INVALID_SYNTAX),
        (|sk| without(PayloadType::AUTH, sk), NotifyType::INVALID_SYNTAX),
        (|sk| sk.push(critical(98)), NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD),
        (
            |sk| {
                for payload in sk {
                    if let Payload::Auth(auth) = payload {
                        auth.data[0] ^= 1;
                    }
                }
            },
            NotifyType::AUTHENTICATION_FAILED,
        ),
        (
            |sk| {
                for payload in sk {
                    if let Payload::IdR(id) = payload {
                        (id.kind, id.data) = (IdType::ID_FQDN, b"other.test".to_vec());
                    }
                }
            },
            NotifyType::AUTHENTICATION_FAILED,
        ),
    ];
    for (change, kind) in cases {
        let bend = on_message(ExchangeType::IKE_AUTH, true, move |m| change(m.sk.as_mut().expect("protected")));
        let mut pair = bent(End::Right, bend);
        pair.connect(left_spec());
        pair.settle();
        assert!(!pair.said(End::Left).any(|e| matches!(e, Event::IkeUp(_))));
        assert_eq!(failures(&pair, End::Left).len(), 1);
        let at_right = failures(&pair, End::Right);
        assert!(
            matches!(at_right[..], [Failed { why: Failure::Rejected { notify, protected: true, .. }, .. }] if *notify == kind),
            "{kind}: {at_right:?}"
        );
        assert_eq!(pair.left.sa_count(), 0);
        pair.run_for(std::time::Duration::from_secs(5));
        assert_eq!(pair.right.sa_count(), 0);
    }
}

/// INVALID_SYNTAX in an established IKE SA is fatal at both ends; an unknown critical payload costs only its message.
#[test]
fn errors_inside_an_established_ike_sa() {
    let bend = on_message(ExchangeType::INFORMATIONAL, false, |m| m.sk.as_mut().expect("protected").push(critical(97)));
    let mut pair = bent(End::Left, bend);
    pair.connect(left_spec());
    pair.settle();
    pair.flight = order(&mut pair, End::Left, Command::Liveness);
    pair.settle();
    let told = |e: &Event| matches!(e, Event::PeerNotify(n) if n.kind == NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD && n.data == [97]);
    assert!(pair.said(End::Left).any(told));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (1, 1));
    assert_eq!(failures(&pair, End::Right)[0].scope, FailScope::Exchange);

    let layout = |cx: &MsgCx, part: LayoutPart, _: &ikelab::wire::FieldMap, layout: &mut Layout| {
        if cx.exchange == ExchangeType::INFORMATIONAL && part == LayoutPart::Inner {
            layout.edits.push(FieldEdit::Set { path: "notify[0].length".into(), value: vec![0, 1] });
        }
    };
    let mut pair = bent(End::Left, Bend { layout: Some(Box::new(layout)), ..Bend::default() });
    pair.connect(left_spec());
    pair.settle();
    pair.flight = order(&mut pair, End::Left, Command::Notify(NotifyPayload::new(NotifyType(40_004))));
    pair.settle();
    assert!(matches!(failures(&pair, End::Right)[0].why, Failure::Malformed(_)));
    assert!(matches!(failures(&pair, End::Left)[0].why, Failure::Rejected { notify: NotifyType::INVALID_SYNTAX, .. }));
    pair.run_for(std::time::Duration::from_secs(5));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0));
}

/// A failed Child is not a dead IKE SA, whichever end finds the fault (RFC 7296 1.2, 2.21.2).
#[test]
fn a_failed_child_leaves_the_ike_sa() {
    type Change = fn(&mut ConnectionSpec);
    let cases: [(Change, NotifyType); 3] = [
        (|s| s.children[0].remote_ts = vec![net("172.16.0.0/12")], NotifyType::TS_UNACCEPTABLE),
        (|s| s.children[0].local_ts = vec![net("172.16.0.0/12")], NotifyType::TS_UNACCEPTABLE),
        (
            |s| {
                s.children[0].proposals[0].transforms[0] =
                    Transform::encr(ikelab::wire::registry::EncrId::ENCR_AES_CTR, Some(192))
            },
            NotifyType::NO_PROPOSAL_CHOSEN,
        ),
    ];
    for (change, kind) in cases {
        let mut left = left_spec();
        change(&mut left);
        let mut pair = Pair::to(right_spec());
        pair.connect(left);
        pair.settle();
        ike_up(&pair, End::Left);
        let failed = failures(&pair, End::Left);
        assert!(
            matches!(failed[..], [Failed { scope: FailScope::Child, why: Failure::Rejected { notify, .. }, .. }] if *notify == kind)
        );
        for end in [End::Left, End::Right] {
            pair.flight = order(&mut pair, end, Command::Liveness);
            pair.settle();
            assert!(pair.said(end).any(|e| matches!(e, Event::Alive { .. })), "{kind}");
        }
    }
    // The initiator finds the fault: it takes the Child back.
    let bend = on_message(ExchangeType::IKE_AUTH, true, |m| {
        for payload in m.sk.as_mut().expect("protected") {
            if let Payload::TsR(ts) = payload {
                ts.selectors = vec![net("0.0.0.0/0")];
            }
        }
    });
    let mut pair = bent(End::Right, bend);
    pair.connect(left_spec());
    pair.settle();
    assert!(matches!(failures(&pair, End::Left)[0].why, Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(_))));
    assert!(pair.said(End::Right).any(|e| matches!(e, Event::ChildDown { by: Side::Peer, .. })));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (1, 1));
}
