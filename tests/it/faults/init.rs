//! Key exchange, nonces, SPIs, and IKE_SA_INIT.

use ikelab::wire::registry::{ExchangeType as X, NotifyType as N, PayloadType as P};

use super::world::Scene::{Curve, Nat, Plain, Rekey, RekeyIke};
use super::{Beside, Check, Run, See, check};
use crate::pair::End;

const INIT: X = X::IKE_SA_INIT;
const AUTH: X = X::IKE_AUTH;
const CREATE: X = X::CREATE_CHILD_SA;

const COOKIE: Beside = Beside { end: End::Right, name: "demand-cookie", with: &[], exchange: None, times: Some(1) };
const GROUP: Beside =
    Beside { end: End::Right, name: "demand-group", with: &[("group", "ecp256")], exchange: None, times: Some(1) };

fn ke(run: &Run) -> Vec<u8> {
    run.ours(INIT, false).map(|p| p.body(P::KE).split_off(4)).unwrap_or_default()
}

pub(super) static CHECKS: &[Check] = &[
    check("zero-key-exchange", Plain, See::Run(|r| ke(r) == [0; 32])),
    check("one-key-exchange", Plain, See::Run(|r| ke(r) == [&[1][..], &[0; 31]].concat())),
    check("minus-one-key-exchange", Plain, See::Run(|r| ke(r) == [&[0xec][..], &[0xff; 30], &[0x7f]].concat())),
    check(
        "off-curve-key-exchange",
        Curve,
        See::Both(|honest, bent| {
            let (honest, bent) = (ke(honest), ke(bent));
            honest.len() == 64 && honest[..63] == bent[..63] && honest[63] ^ 1 == bent[63]
        }),
    ),
    check("short-key-exchange", Plain, See::Run(|r| ke(r).len() == 16)),
    check("long-key-exchange", Plain, See::Run(|r| ke(r).len() == 33)),
    check(
        "wrong-key-exchange",
        Plain,
        See::Both(|honest, bent| {
            let (mut honest, bent) = (ke(honest), ke(bent));
            honest[4] ^= 1;
            honest == bent
        }),
    ),
    check(
        "repeated-key-exchange",
        RekeyIke,
        See::Run(|r| r.ours(CREATE, false).is_some_and(|p| p.body(P::KE)[4..] == ke(r))),
    ),
    check("wrong-ke-group", Plain, See::Some(|p| p.at(P::KE, 0) == [0, 5])).during(INIT),
    check("short-nonce", Plain, See::Some(|p| p.body(P::NONCE).len() == 8)).during(INIT),
    check("long-nonce", Plain, See::Some(|p| p.body(P::NONCE).len() > 256)).during(INIT),
    check(
        "repeated-nonce",
        Rekey,
        See::Run(|r| {
            let of = |exchange| r.ours(exchange, false).map(|p| p.body(P::NONCE));
            of(CREATE).is_some() && of(CREATE) == of(INIT)
        }),
    ),
    check("lowest-nonce", Plain, See::Some(|p| p.body(P::NONCE) == [0; 32])),
    check("highest-nonce", Plain, See::Some(|p| p.body(P::NONCE) == [0xff; 32])),
    check("fixed-ike-spi", Plain, See::Some(|p| p.bytes[..8] == [0x1b, 0xad, 0xc0, 0xde, 0x1b, 0xad, 0xc0, 0xde])),
    check(
        "repeated-ike-spi",
        RekeyIke,
        See::Run(|r| r.ours(CREATE, false).is_some_and(|p| p.at::<8>(P::SA, 8) == p.bytes[..8])),
    ),
    check("fixed-child-spi", Plain, See::Some(|p| p.is(AUTH, false) && p.at(P::SA, 8) == [0xc0, 0xff, 0xee, 0x01])),
    check("reserved-child-spi", Plain, See::Some(|p| p.is(AUTH, false) && p.at(P::SA, 8) == [0, 0, 0, 255])),
    check("no-nat-detection", Plain, See::Some(|p| p.is(INIT, false) && !p.has(N::NAT_DETECTION_SOURCE_IP))),
    check(
        "no-nat-destination",
        Plain,
        See::Some(|p| {
            p.is(INIT, false) && p.has(N::NAT_DETECTION_SOURCE_IP) && !p.has(N::NAT_DETECTION_DESTINATION_IP)
        }),
    ),
    check(
        "forge-nat-source",
        Plain,
        See::Some(|p| p.notify(N::NAT_DETECTION_SOURCE_IP).is_some_and(|(_, data)| data == [0x11; 20])),
    ),
    check(
        "forge-nat-destination",
        Plain,
        See::Some(|p| p.notify(N::NAT_DETECTION_DESTINATION_IP).is_some_and(|(_, data)| data == [0x22; 20])),
    ),
    check(
        "short-nat-hash",
        Plain,
        See::Some(|p| p.notify(N::NAT_DETECTION_SOURCE_IP).is_some_and(|(_, data)| data.len() == 8)),
    ),
    check("stay-on-500", Nat, See::Some(|p| p.is(AUTH, false) && p.path.local.port() == 500)),
    check("float-without-nat", Plain, See::Some(|p| p.is(AUTH, false) && p.path.local.port() == 4500)),
    check("demand-cookie", Plain, See::Some(|p| p.is(INIT, true) && p.has(N::COOKIE))).right().once(),
    check("unasked-cookie", Plain, See::Some(|p| p.is(INIT, false) && p.has(N::COOKIE))),
    check("withhold-cookie", Plain, See::No(|p| p.is(INIT, false) && p.has(N::COOKIE))).beside(COOKIE),
    check(
        "wrong-cookie",
        Plain,
        See::Run(|r| {
            let demanded = r.packets.iter().filter(|p| p.is(INIT, true)).find_map(|p| p.notify(N::COOKIE));
            let returned = r.packets.iter().filter(|p| p.is(INIT, false)).find_map(|p| p.notify(N::COOKIE));
            demanded.zip(returned).is_some_and(|(a, b)| a != b)
        }),
    )
    .beside(COOKIE),
    check("long-cookie", Plain, See::Some(|p| p.notify(N::COOKIE).is_some_and(|(_, data)| data.len() == 65)))
        .right()
        .beside(COOKIE),
    check("empty-cookie", Plain, See::Some(|p| p.notify(N::COOKIE).is_some_and(|(_, data)| data.is_empty())))
        .right()
        .beside(COOKIE),
    check("ignore-invalid-ke", Plain, See::No(|p| p.is(INIT, false) && p.at(P::KE, 0) == [0, 19])).beside(GROUP),
    check(
        "demand-group",
        Plain,
        See::Some(|p| p.notify(N::INVALID_KE_PAYLOAD).is_some_and(|(_, data)| data == [0, 19])),
    )
    .with(&[("group", "ecp256")])
    .right(),
    check(
        "demand-groups-in-turn",
        Plain,
        See::Run(|r| {
            let groups: Vec<Vec<u8>> =
                r.sent().filter_map(|p| p.notify(N::INVALID_KE_PAYLOAD)).map(|(_, data)| data).collect();
            groups.starts_with(&[vec![0, 19], vec![0, 14]])
        }),
    )
    .right(),
    check(
        "bad-invalid-ke",
        Plain,
        See::Some(|p| p.notify(N::INVALID_KE_PAYLOAD).is_some_and(|(_, data)| data.len() == 1)),
    )
    .right()
    .beside(GROUP),
    check("refuse-init", Plain, See::Some(|p| p.is(INIT, true) && p.has(N::NO_PROPOSAL_CHOSEN))).right(),
    check(
        "false-refusal",
        Plain,
        See::Run(|r| {
            let answers: Vec<_> = r.sent().filter(|p| p.is(INIT, true)).collect();
            answers.len() == 2 && answers[0].raw(P::KE).is_some() && answers[1].has(N::NO_PROPOSAL_CHOSEN)
        }),
    )
    .right(),
];
