//! Datagrams on their way, and the IKE header.

use ikelab::net::{Class, SocketRole};
use ikelab::time::Instant;
use ikelab::wire::registry::ExchangeType as X;

use super::world::Scene;
use super::{Check, See, check};
use crate::pair::End;

const INIT: X = X::IKE_SA_INIT;
const AUTH: X = X::IKE_AUTH;
const INFO: X = X::INFORMATIONAL;

pub(super) static CHECKS: &[Check] = &[
    check("drop-sent", Scene::Plain, See::No(|p| p.is(AUTH, false))).during(AUTH),
    check("drop-received", Scene::Plain, See::No(|p| p.is(INIT, true))).right().during(INIT),
    check("delay-sent", Scene::Plain, See::Some(|p| p.is(AUTH, false) && p.at == Instant::from_millis(500)))
        .during(AUTH)
        .once(),
    check("delay-received", Scene::Plain, See::Some(|p| p.is(INIT, true) && p.at == Instant::from_millis(500)))
        .right()
        .during(INIT)
        .once(),
    check("repeat-sent", Scene::Plain, See::Run(|r| r.sent().filter(|p| p.is(AUTH, false)).count() == 2)).during(AUTH),
    check("receive-twice", Scene::Plain, See::Run(|r| r.sent().filter(|p| p.is(AUTH, true)).count() == 2))
        .right()
        .during(AUTH),
    check(
        "hold-sent",
        Scene::Plain,
        See::Run(|r| {
            let at: Vec<_> = r.sent().filter(|p| p.is(AUTH, false)).map(|p| p.at).collect();
            at == [Instant::from_millis(1_000); 2]
        }),
    )
    .during(AUTH)
    .once(),
    check(
        "replay-sent",
        Scene::Liveness,
        See::Run(|r| {
            let sent: Vec<_> = r.sent().collect();
            let asked = sent.iter().position(|p| p.is(INFO, false));
            asked.is_some_and(|at| sent[at..].iter().any(|p| p.is(AUTH, false)))
        }),
    )
    .during(AUTH)
    .once(),
    check("fall-silent", Scene::Plain, See::No(|p| p.is(AUTH, false))).during(INIT),
    check("fall-deaf", Scene::Plain, See::Some(|p| p.is(AUTH, false) && p.at >= Instant::from_millis(1_000)))
        .during(INIT),
    check("corrupt-sent", Scene::Plain, See::Some(|p| p.is(AUTH, false) && !p.opened())).during(AUTH),
    check("truncate-sent", Scene::Plain, See::Some(|p| p.bytes.len() == 40)).during(AUTH),
    check(
        "extend-sent",
        Scene::Plain,
        See::Some(|p| p.header.is_some_and(|h| h.length as usize + 8 == p.bytes.len()) && p.bytes.ends_with(&[0; 8])),
    )
    .during(INIT),
    check("from-other-port", Scene::Plain, See::Some(|p| p.path.local.port() == 40_500)).during(AUTH),
    check("from-other-address", Scene::Plain, See::Some(|p| p.path.local.ip().to_string() == "192.0.2.77"))
        .during(AUTH),
    check("to-other-port", Scene::Plain, See::Some(|p| p.path.remote.port() == 4_999)).during(AUTH),
    check(
        "other-port-pair",
        Scene::Plain,
        See::Some(|p| (p.path.local.port(), p.path.remote.port(), p.path.role) == (4500, 4500, SocketRole::NatT)),
    )
    .during(AUTH),
    check("wrong-marker", Scene::Plain, See::Some(|p| p.class == Class::Verbatim && p.bytes.starts_with(&[0; 4])))
        .during(AUTH),
    check(
        "wrong-marker",
        Scene::Nat,
        See::Some(|p| p.path.role == SocketRole::NatT && p.class == Class::Verbatim && !p.bytes.starts_with(&[0; 4])),
    )
    .during(AUTH),
    check("ikev1-main-mode", Scene::Plain, See::Some(|p| p.bytes.get(16..19) == Some(&[1, 0x10, 2]))),
    check("random-datagram", Scene::Plain, See::Some(|p| p.class == Class::Verbatim && p.bytes.len() == 120))
        .during(INIT),
    check("empty-datagram", Scene::Plain, See::Some(|p| p.class == Class::Verbatim && p.bytes.is_empty())).during(INIT),
    check("stray-keepalive", Scene::Plain, See::Some(|p| p.class == Class::Keepalive && p.bytes == [0xff]))
        .during(INIT),
    check(
        "stray-esp",
        Scene::Plain,
        See::Some(|p| p.class == Class::Esp && p.bytes.starts_with(&[0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1])),
    )
    .during(INIT),
    check("answer-late", Scene::Liveness, See::Some(|p| p.is(INFO, true) && p.at == Instant::from_millis(5_000)))
        .right()
        .during(INFO),
    check("zero-initiator-spi", Scene::Plain, See::Some(|p| p.bytes[..8] == [0; 8])).during(INIT),
    check(
        "wrong-initiator-spi",
        Scene::Plain,
        See::Run(|r| {
            let first = r.ours(INIT, false).map(|p| p.bytes[..8].to_vec());
            let then = r.ours(AUTH, false).map(|p| p.bytes[..8].to_vec());
            first.zip(then).is_some_and(|(a, b)| a[..4] == b[..4] && a[4..].iter().zip(&b[4..]).all(|(a, b)| *a == !*b))
        }),
    )
    .during(AUTH),
    check("zero-responder-spi", Scene::Plain, See::Some(|p| p.is(AUTH, false) && p.bytes[8..16] == [0; 8]))
        .during(AUTH),
    check(
        "wrong-responder-spi",
        Scene::Plain,
        See::Run(|r| {
            let first = r.first(End::Right, INIT, true).map(|p| p.bytes[8..16].to_vec());
            let then = r.ours(AUTH, false).map(|p| p.bytes[8..16].to_vec());
            first.is_some() && first != then
        }),
    )
    .during(AUTH),
    check("wrong-first-payload", Scene::Plain, See::Some(|p| p.bytes[16] == 39)).during(INIT),
    check("major-version", Scene::Plain, See::Some(|p| p.bytes[17] == 0x30)),
    check("minor-version", Scene::Plain, See::Some(|p| p.is(AUTH, false) && p.bytes[17] == 0x27 && p.opened()))
        .during(AUTH),
    check("unknown-exchange", Scene::Plain, See::Some(|p| p.bytes[18] == 240 && p.opened())).during(AUTH),
    check("flip-initiator-flag", Scene::Plain, See::Some(|p| p.bytes[19] & 0x08 == 0)).during(AUTH),
    check("flip-response-flag", Scene::Plain, See::Some(|p| p.bytes[19] & 0x20 != 0)).during(AUTH),
    check("version-flag", Scene::Plain, See::Some(|p| p.bytes[19] == 0x18)).during(INIT),
    check("reserved-flags", Scene::Plain, See::Some(|p| p.bytes[19] & 0xc7 == 0xc7)).during(INIT),
    check("wrong-message-id", Scene::Plain, See::Some(|p| p.is(AUTH, false) && p.bytes[20..24] == [0, 0, 0, 2]))
        .during(AUTH),
    check(
        "wrong-length",
        Scene::Plain,
        See::Some(|p| p.header.is_some_and(|h| h.length as usize + 4 == p.bytes.len())),
    )
    .during(INIT),
];
