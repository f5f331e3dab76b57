//! CREATE_CHILD_SA, INFORMATIONAL, timers and restarts.

use ikelab::net::Class;
use ikelab::time::Instant;
use ikelab::wire::registry::{ExchangeType as X, NotifyType as N, PayloadType as P};

use super::world::Scene::{DeleteChild, Dpd, Lifetime, Liveness, Lost, Nat, PeerLiveness, Plain, Rekey, RekeyIke};
use super::{Beside, Check, See, check};
use crate::pair::End;

const INIT: X = X::IKE_SA_INIT;
const AUTH: X = X::IKE_AUTH;
const CREATE: X = X::CREATE_CHILD_SA;
const INFO: X = X::INFORMATIONAL;

const LATE_AUTH: Beside =
    Beside { end: End::Left, name: "delay-sent", with: &[("by", "2s")], exchange: Some(AUTH), times: None };

pub(super) static CHECKS: &[Check] = &[
    check("refuse-create", Rekey, See::Some(|p| p.is(CREATE, true) && p.has(N::NO_ADDITIONAL_SAS))).right(),
    check("ignore-rekey", Rekey, See::No(|p| p.is(CREATE, true))).right(),
    check("collide-with-rekey", Rekey, See::Some(|p| p.is(CREATE, false) && p.has(N::REKEY_SA))).right(),
    check(
        "rekey-child-unasked",
        Plain,
        See::Some(|p| p.is(CREATE, false) && p.has(N::REKEY_SA) && p.at == Instant::from_millis(1_000)),
    )
    .once(),
    check(
        "rekey-ike-unasked",
        Plain,
        See::Some(|p| p.is(CREATE, false) && p.at(P::SA, 5) == [1] && p.at == Instant::from_millis(1_000)),
    )
    .once(),
    check(
        "forget-rekey",
        Rekey,
        See::Run(|r| r.ours(CREATE, true).is_some_and(|p| p.raw(P::SA).is_some()) && r.children() == 0),
    )
    .right(),
    check(
        "forget-child",
        Plain,
        See::Run(|r| r.children() == 0 && r.ours(AUTH, false).is_some() && r.ours(INFO, false).is_none()),
    ),
    check(
        "rekey-unknown-child",
        Rekey,
        See::Both(|honest, bent| {
            let spi =
                |run: &super::Run| run.ours(CREATE, false).and_then(|p| p.notify(N::REKEY_SA)).map(|(spi, _)| spi);
            spi(honest).zip(spi(bent)).is_some_and(|(a, b)| a[0] == !b[0] && a[1..] == b[1..])
        }),
    ),
    check("no-rekey-notify", Rekey, See::Some(|p| p.is(CREATE, false) && p.opened() && !p.has(N::REKEY_SA))),
    check("rekey-other-selectors", Rekey, See::Some(|p| p.is(CREATE, false) && p.at(P::TSI, 12) == [203, 0, 113, 0])),
    check(
        "rekey-without-ke",
        RekeyIke,
        See::Some(|p| p.is(CREATE, false) && p.raw(P::SA).is_some() && p.raw(P::KE).is_none()),
    ),
    check(
        "rekey-without-nonce",
        Rekey,
        See::Some(|p| p.is(CREATE, false) && p.raw(P::SA).is_some() && p.raw(P::NONCE).is_none()),
    ),
    check("hasty-rekey", Lifetime, See::Some(|p| p.is(CREATE, false) && p.at < Instant::from_millis(10_000))),
    check("no-answer", Liveness, See::No(|p| p.is(INFO, true))).right(),
    check("no-liveness", Liveness, See::No(|p| p.is(INFO, true))).right(),
    check("late-liveness", Liveness, See::Some(|p| p.is(INFO, true) && p.at == Instant::from_millis(12_000))).right(),
    check("hasty-liveness", Dpd, See::Some(|p| p.is(INFO, false) && p.at <= Instant::from_millis(5_000))),
    check("no-keepalives", Nat, See::No(|p| p.class == Class::Keepalive)),
    check("hasty-keepalives", Nat, See::Some(|p| p.class == Class::Keepalive && p.at < Instant::from_millis(5_000))),
    check(
        "hasty-retransmit",
        Lost,
        See::Some(|p| p.is(INIT, false) && p.at > Instant::ZERO && p.at < Instant::from_millis(500)),
    ),
    check("no-retransmits", Lost, See::No(|p| p.is(INIT, false) && p.at > Instant::ZERO)),
    check("hasty-half-open", Plain, See::No(|p| p.is(AUTH, true) && p.opened())).right().beside(LATE_AUTH),
    check("stray-notify", Plain, See::Some(|p| p.is(INFO, false) && p.sk.is_none() && p.has(N::AUTHENTICATION_FAILED))),
    check(
        "request-beyond-window",
        Plain,
        See::Some(|p| p.is(INFO, false) && p.opened() && p.header.is_some_and(|h| h.message_id == 1_000)),
    ),
    check(
        "reused-message-id",
        Plain,
        See::Some(|p| p.is(INFO, false) && p.opened() && p.header.is_some_and(|h| h.message_id == 1)),
    ),
    check(
        "requests-at-once",
        Plain,
        See::Run(|r| {
            let ids: Vec<u32> = r
                .sent()
                .filter(|p| p.is(INFO, false) && p.opened())
                .filter_map(|p| p.header)
                .map(|h| h.message_id)
                .collect();
            ids == [2, 3, 4, 5, 6]
        }),
    ),
    check(
        "unasked-response",
        Plain,
        See::Some(|p| p.is(INFO, true) && p.opened() && p.header.is_some_and(|h| h.message_id == 77)),
    ),
    check("unknown-exchange-request", Plain, See::Some(|p| p.is(X(240), false) && p.opened())),
    check("invent-delete", Plain, See::Some(|p| p.is(INFO, false) && p.opened() && p.at(P::DELETE, 0) == [1, 0, 0, 0])),
    check("forged-delete", Plain, See::Some(|p| p.is(INFO, false) && p.sk.is_none() && p.at(P::DELETE, 0) == [1])),
    check(
        "delete-unknown-child",
        Plain,
        See::Some(|p| p.opened() && p.body(P::DELETE) == [3, 4, 0, 1, 0xde, 0xad, 0xbe, 0xef]),
    ),
    check("ignore-delete", DeleteChild, See::No(|p| p.is(INFO, true) && p.raw(P::DELETE).is_some())).right(),
    check("overlook-payload", DeleteChild, See::No(|p| p.is(INFO, true) && p.raw(P::DELETE).is_some()))
        .with(&[("payload", "D")])
        .right(),
    check("no-delete", DeleteChild, See::No(|p| p.raw(P::DELETE).is_some())),
    check(
        "delete-wrong-spi",
        DeleteChild,
        See::Both(|honest, bent| {
            let body = |run: &super::Run| run.sent().map(|p| p.body(P::DELETE)).find(|body| body.len() == 8);
            body(honest).zip(body(bent)).is_some_and(|(a, b)| a[4] == !b[4] && a[5..] == b[5..])
        }),
    ),
    check(
        "wrong-delete-count",
        DeleteChild,
        See::Some(|p| p.is(INFO, false) && p.at(P::DELETE, 2) == [0, 201] && p.body(P::DELETE).len() == 8),
    ),
    check(
        "wrong-delete-protocol",
        DeleteChild,
        See::Some(|p| p.is(INFO, false) && p.opened() && p.at(P::DELETE, 0) == [2, 4, 0, 1]),
    ),
    check(
        "wrong-delete-spi-size",
        DeleteChild,
        See::Some(|p| p.is(INFO, false) && p.at(P::DELETE, 0) == [3, 8, 0, 1] && p.body(P::DELETE).len() == 8),
    ),
    check("forget-ike", PeerLiveness, See::No(|p| p.is(INFO, true) && p.sk.is_some())),
    check("reboot", Plain, See::Some(|p| p.is(INIT, false) && p.at == Instant::from_millis(1_000))).once(),
    check(
        "reboot",
        Plain,
        See::Run(|r| {
            let late = |p: &&super::Packet| p.is(AUTH, false) && p.at >= Instant::from_millis(1_000);
            r.sent().find(late).is_some_and(|p| p.opened() && !p.has(N::INITIAL_CONTACT))
        }),
    )
    .with(&[("contact", "no")])
    .once(),
];
