//! Payloads of any kind, and the SA payload.

use ikelab::wire::registry::{ExchangeType as X, NotifyType as N, PayloadType as P};

use super::world::Scene::{Plain, Rekey};
use super::{Beside, Check, See, check};
use crate::pair::End;

const INIT: X = X::IKE_SA_INIT;
const AUTH: X = X::IKE_AUTH;

const GARBAGE_CERT: Beside =
    Beside { end: End::Left, name: "add-garbage-cert", with: &[], exchange: Some(AUTH), times: None };

const CONFIG: Beside = Beside { end: End::Left, name: "unasked-config", with: &[], exchange: Some(AUTH), times: None };

pub(super) static CHECKS: &[Check] = &[
    check("omit-payload", Plain, See::Some(|p| p.is(INIT, false) && p.raw(P::NONCE).is_none())).during(INIT),
    check("duplicate-payload", Plain, See::Some(|p| p.count(P::NONCE) == 2)).during(INIT),
    check("move-payload", Plain, See::Some(|p| p.raws().last().is_some_and(|raw| raw.kind == P::SA.0)))
        .with(&[("payload", "SA")])
        .during(INIT),
    check(
        "reverse-payloads",
        Plain,
        See::Both(|honest, bent| {
            let kinds = |run: &super::Run| -> Vec<u8> {
                run.ours(INIT, false).map(|p| p.raws().iter().map(|raw| raw.kind).collect()).unwrap_or_default()
            };
            let mut other = kinds(bent);
            other.reverse();
            kinds(honest) == other
        }),
    )
    .during(INIT),
    check("add-notify", Plain, See::Some(|p| p.is(INIT, false) && p.has(N(40960)))).during(INIT),
    check("add-unknown-payload", Plain, See::Some(|p| p.raw(P(200)).is_some_and(|raw| raw.critical == 0x80)))
        .during(AUTH),
    check("add-vendor-id", Plain, See::Some(|p| p.body(P::VENDOR).starts_with(&[0, 0x11, 0x22]))).during(INIT),
    check("empty-payload", Plain, See::Some(|p| p.raw(P::NONCE).is_some_and(|raw| raw.length == 4))).during(INIT),
    check("garble-payload", Plain, See::Some(|p| p.raw(P::SA).is_some_and(|raw| raw.body.iter().all(|o| *o == 0xff))))
        .during(INIT),
    check(
        "lengthen-payload",
        Plain,
        See::Both(|honest, bent| {
            let body = |run: &super::Run| run.ours(INIT, false).map(|p| p.body(P::SA)).unwrap_or_default();
            [body(honest), vec![0; 4]].concat() == body(bent)
        }),
    )
    .during(INIT),
    check(
        "shorten-payload",
        Plain,
        See::Some(|p| p.is(INIT, false) && usize::from(u16::from_be_bytes(p.at(P::SA, 2))) == p.body(P::SA).len() + 4),
    )
    .during(INIT),
    check("wrong-payload-length", Plain, See::Some(|p| p.raw(P::NONCE).is_some_and(|raw| raw.length == 33)))
        .during(INIT),
    check("tiny-payload-length", Plain, See::Some(|p| p.raw(P::NONCE).is_some_and(|raw| raw.length == 0))).during(INIT),
    check("wrong-next-payload", Plain, See::Some(|p| p.raw(P::NONCE).is_some_and(|raw| raw.next == 33))).during(INIT),
    check(
        "critical-known-payloads",
        Plain,
        See::Some(|p| !p.raws().is_empty() && p.raws().iter().all(|raw| raw.critical == 0x80)),
    )
    .during(INIT),
    check(
        "reserved-payload-bits",
        Plain,
        See::Some(|p| !p.raws().is_empty() && p.raws().iter().all(|raw| raw.critical == 0x7f)),
    )
    .during(INIT),
    check("reserved-fields", Plain, See::Some(|p| p.at(P::KE, 2) == [0, 0xff])).during(INIT),
    // A proposal's, and both of its first transform's.
    check(
        "reserved-fields",
        Plain,
        See::Some(|p| p.is(INIT, false) && [1, 9, 13].iter().all(|at| p.at(P::SA, *at) == [0xff])),
    )
    .during(INIT),
    check("many-notifies", Plain, See::Some(|p| p.count(P::NOTIFY) >= 200)).during(INIT),
    check("oversized-message", Plain, See::Some(|p| p.bytes.len() > 3_000 && p.raw(P::VENDOR).is_some())).during(INIT),
    check(
        "notify-spi",
        Plain,
        See::Some(|p| p.notify(N::NAT_DETECTION_SOURCE_IP).is_some_and(|(spi, _)| spi == [1, 2, 3, 4])),
    )
    .during(INIT),
    check("wrong-notify-spi-size", Plain, See::Some(|p| p.at(P::NOTIFY, 1) == [200])).during(INIT),
    check(
        "wrong-notify-protocol",
        Rekey,
        See::Some(|p| p.is(X::CREATE_CHILD_SA, false) && p.has(N::REKEY_SA) && p.at(P::NOTIFY, 0) == [2, 4]),
    ),
    check("notify-in-clear", Plain, See::Some(|p| !p.outer.is_empty() && p.opened() && p.has(N(40962)))).during(AUTH),
    check("unknown-payload-in-clear", Plain, See::Some(|p| p.is(AUTH, false) && p.bytes[16] == 200 && p.opened()))
        .during(AUTH),
    check("wrong-cert-encoding", Plain, See::Some(|p| p.opened() && p.at(P::CERT, 0) == [1])).beside(GARBAGE_CERT),
    check("add-garbage-cert", Plain, See::Some(|p| p.opened() && p.body(P::CERT) == [&[4][..], &[0xa5; 64]].concat()))
        .during(AUTH),
    check(
        "pkcs7-cert",
        Plain,
        See::Some(|p| p.opened() && p.at(P::CERT, 0) == [1] && p.at(P::CERT, 1) == [0x30, 0x65]),
    )
    .beside(GARBAGE_CERT),
    check("broken-cert", Plain, See::Some(|p| p.opened() && p.body(P::CERT).ends_with(&[0xa5, 0xa4])))
        .beside(GARBAGE_CERT),
    check("unasked-config", Plain, See::Some(|p| p.opened() && p.at(P::CP, 0) == [2] && p.body(P::CP).len() == 12))
        .during(AUTH),
    check("reserved-attribute-bit", Plain, See::Some(|p| p.opened() && p.at(P::CP, 4) == [0x80, 1])).beside(CONFIG),
    check("wrong-attribute-length", Plain, See::Some(|p| p.opened() && p.at(P::CP, 6) == [0, 8])).beside(CONFIG),
    check("set-field", Plain, See::Some(|p| p.bytes[19] == 0x28)).during(INIT),
    check("add-to-field", Plain, See::Some(|p| p.bytes[19] == 0x07)).during(INIT),
    check("flip-field", Plain, See::Some(|p| p.bytes[19] == 0x09)).during(INIT),
    check("wrong-proposal-number", Plain, See::Some(|p| p.at(P::SA, 4) == [7])).during(INIT),
    check("wrong-proposal-protocol", Plain, See::Some(|p| p.at(P::SA, 5) == [2])).during(INIT),
    check("wrong-proposal-spi", Plain, See::Some(|p| p.at(P::SA, 6) == [6])).during(INIT),
    check(
        "zero-child-spi",
        Plain,
        See::Some(|p| p.is(AUTH, false) && p.at(P::SA, 6) == [4] && p.at(P::SA, 8) == [0; 4]),
    )
    .during(AUTH),
    check(
        "omit-transform",
        Plain,
        See::Some(|p| p.is(INIT, false) && p.transforms().iter().all(|(kind, ..)| *kind != 3)),
    )
    .during(INIT),
    check("add-transform", Plain, See::Some(|p| p.transforms().iter().any(|t| (t.0, t.1) == (1, 1023)))).during(INIT),
    check("swap-transform", Plain, See::Some(|p| p.is(INIT, true) && p.transforms().contains(&(1, 3, vec![]))))
        .right()
        .during(INIT),
    check(
        "wrong-key-length",
        Plain,
        See::Some(|p| p.transforms().iter().any(|(kind, _, with)| *kind == 1 && with == &[0x80, 14, 0, 96])),
    )
    .during(INIT),
    check(
        "no-key-length",
        Plain,
        See::Some(|p| p.is(INIT, false) && p.transforms().iter().any(|(kind, _, with)| *kind == 1 && with.is_empty())),
    )
    .during(INIT),
    check(
        "long-key-length",
        Plain,
        See::Some(|p| p.transforms().iter().any(|(kind, _, with)| *kind == 1 && with == &[0, 14, 0, 2, 0, 128])),
    )
    .during(INIT),
    check(
        "needless-key-length",
        Plain,
        See::Some(|p| p.transforms().iter().any(|(kind, _, with)| *kind == 2 && with == &[0x80, 14, 1, 0])),
    )
    .during(INIT),
    check(
        "empty-key-length",
        Plain,
        See::Some(|p| p.transforms().iter().any(|(kind, _, with)| *kind == 1 && with == &[0, 14, 0, 0])),
    )
    .during(INIT),
    check(
        "repeated-key-length",
        Plain,
        See::Some(|p| p.transforms().iter().any(|(.., with)| with == &[0x80, 14, 0, 128, 0x80, 14, 0, 128])),
    )
    .during(INIT),
    check(
        "unknown-attribute",
        Plain,
        See::Some(|p| p.transforms().first().is_some_and(|(.., with)| with.starts_with(&[0x80, 99]))),
    )
    .during(INIT),
    check(
        "key-length-as-length",
        Plain,
        See::Some(|p| p.transforms().first().is_some_and(|(.., with)| with == &[0, 14, 0, 128])),
    )
    .during(INIT),
    check("no-transforms", Plain, See::Some(|p| p.is(INIT, false) && p.at(P::SA, 7) == [0])).during(INIT),
    check(
        "many-proposals",
        Plain,
        See::Some(|p| p.is(INIT, false) && p.at(P::SA, 0) == [2] && p.body(P::SA).len() > 41 * 40),
    )
    .during(INIT),
    check(
        "wrong-proposal-length",
        Plain,
        See::Some(|p| p.is(INIT, false) && usize::from(u16::from_be_bytes(p.at(P::SA, 2))) == p.body(P::SA).len() + 4),
    )
    .during(INIT),
    check("wrong-spi-size", Plain, See::Some(|p| p.at(P::SA, 6) == [200])).during(INIT),
    check("wrong-transform-count", Plain, See::Some(|p| p.is(INIT, false) && p.at(P::SA, 7) == [6])).during(INIT),
    check("endless-proposals", Plain, See::Some(|p| p.is(INIT, false) && p.at(P::SA, 0) == [2])).during(INIT),
    check("wrong-transform-length", Plain, See::Some(|p| p.is(INIT, false) && p.at(P::SA, 10) == [0, 8])).during(INIT),
    check("wrong-last-transform", Plain, See::Some(|p| p.is(INIT, false) && p.at(P::SA, 8) == [0])).during(INIT),
    check("unknown-transform-type", Plain, See::Some(|p| p.at(P::SA, 12) == [200])).during(INIT),
];
