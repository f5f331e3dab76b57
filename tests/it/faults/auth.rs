//! IKE_AUTH, its protection, and fragments.

use ikelab::engine::{AuthFault, Event, Failure};
use ikelab::wire::registry::{ExchangeType as X, NotifyType as N, PayloadType as P};

use super::world::Scene::{Long, Plain};
use super::{Beside, Check, Run, See, check};
use crate::pair::End;

const AUTH: X = X::IKE_AUTH;

const BROKEN: Beside = Beside { end: End::Left, name: "broken-auth", with: &[], exchange: None, times: None };

fn body(run: &Run, kind: P) -> Vec<u8> {
    run.ours(AUTH, false).map(|p| p.body(kind)).unwrap_or_default()
}

/// All but the last octet is the same.
fn last_differs(honest: Vec<u8>, bent: Vec<u8>) -> bool {
    let cut = honest.len().saturating_sub(1);
    honest.len() == bent.len() && honest[..cut] == bent[..cut] && honest != bent
}

pub(super) static CHECKS: &[Check] = &[
    check("no-initial-contact", Plain, See::Some(|p| p.is(AUTH, false) && !p.has(N::INITIAL_CONTACT))),
    check("accept-any-auth", Plain, See::Some(|p| p.is(AUTH, true) && p.raw(P::AUTH).is_some())).right().beside(BROKEN),
    check("refuse-good-auth", Plain, See::Some(|p| p.is(AUTH, true) && p.has(N::AUTHENTICATION_FAILED))).right(),
    check("refuse-auth", Plain, See::Some(|p| p.is(AUTH, true) && p.has(N::NO_PROPOSAL_CHOSEN)))
        .with(&[("notify", "NO_PROPOSAL_CHOSEN")])
        .right(),
    check("refuse-child", Plain, See::Some(|p| p.raw(P::AUTH).is_some() && p.has(N::TS_UNACCEPTABLE))).right(),
    check("broken-auth", Plain, See::Both(|honest, bent| last_differs(body(honest, P::AUTH), body(bent, P::AUTH)))),
    check("empty-auth", Plain, See::Some(|p| p.raw(P::AUTH).is_some_and(|raw| raw.length == 8))),
    check("short-auth", Plain, See::Some(|p| p.raw(P::AUTH).is_some_and(|raw| raw.length == 12))),
    check("wrong-auth-method", Plain, See::Some(|p| p.opened() && p.at(P::AUTH, 0) == [1])),
    check("wrong-id-type", Plain, See::Some(|p| p.opened() && p.at(P::IDI, 0) == [11])),
    check("wrong-id", Plain, See::Both(|honest, bent| last_differs(body(honest, P::IDI), body(bent, P::IDI)))),
    check("wrong-id", Plain, See::Some(|p| p.is(AUTH, true) && p.body(P::IDR).ends_with(b"right.tesT"))).right(),
    check("empty-id", Plain, See::Some(|p| p.raw(P::IDI).is_some_and(|raw| raw.length == 8))),
    // The other end takes the proof: AUTH covers what was sent.
    check(
        "reserved-id-octets",
        Plain,
        See::Run(|r| body(r, P::IDI) == *b"\x02\xff\xff\xffleft.test" && r.children() == 1),
    ),
    check(
        "reserved-id-octets",
        Plain,
        See::Run(|r| {
            let said = r.ours(AUTH, true).map(|p| p.body(P::IDR)).unwrap_or_default();
            said == *b"\x02\xff\xff\xffright.test" && r.children() == 1
        }),
    )
    .right(),
    check("other-id", Plain, See::Some(|p| p.opened() && p.body(P::IDI) == *b"\x02\0\0\0nobody.invalid")),
    check(
        "other-id",
        Plain,
        See::Run(|r| r.ours(AUTH, true).is_some_and(|p| p.body(P::IDR) == *b"\x0b\0\0\0x") && refused_as(r, b"x")),
    )
    .with(&[("id", "x"), ("type", "11")])
    .right(),
    check(
        "no-child",
        Plain,
        See::Some(|p| p.raw(P::AUTH).is_some() && p.raw(P::SA).is_none() && p.raw(P::TSI).is_none()),
    ),
    check(
        "swap-selectors",
        Plain,
        See::Some(|p| p.at(P::TSI, 12) == [10, 2, 0, 0] && p.at(P::TSR, 12) == [10, 1, 0, 0]),
    ),
    check(
        "backwards-selectors",
        Plain,
        See::Some(|p| p.at(P::TSI, 12) == [10, 1, 0, 255] && p.at(P::TSI, 16) == [10, 1, 0, 0]),
    ),
    check("no-selectors", Plain, See::Some(|p| p.body(P::TSI) == [0; 4] && p.body(P::TSR) == [0; 4])),
    check(
        "widen-selectors",
        Plain,
        See::Some(|p| p.raw(P::TSI).is_some() && p.at(P::TSI, 12) == [0; 4] && p.at(P::TSI, 16) == [255; 4]),
    ),
    check("widen-selectors", Plain, See::Some(|p| p.at(P::TSR, 16) == [255; 4] && p.at(P::TSI, 12) == [10, 1, 0, 0]))
        .right(),
    check("other-selectors", Plain, See::Some(|p| p.at(P::TSI, 12) == [203, 0, 113, 0])),
    check("other-peer-selectors", Plain, See::Some(|p| p.at(P::TSR, 12) == [198, 51, 100, 0])),
    check("selector-protocol", Plain, See::Some(|p| p.at(P::TSI, 5) == [132] && p.at(P::TSR, 5) == [132])),
    check("many-selectors", Plain, See::Some(|p| p.at(P::TSI, 0) == [100] && p.body(P::TSI).len() == 4 + 100 * 16)),
    check("unknown-selector-type", Plain, See::Some(|p| p.at(P::TSI, 4) == [99])),
    check("wrong-selector-count", Plain, See::Some(|p| p.at(P::TSI, 0) == [2] && p.body(P::TSI).len() == 20)),
    check("wrong-selector-length", Plain, See::Some(|p| p.at(P::TSI, 6) == [0, 12])),
    check("transport-mode-unasked", Plain, See::Some(|p| p.is(AUTH, false) && p.has(N::USE_TRANSPORT_MODE))),
    check(
        "peer-id-of-somebody-else",
        Plain,
        See::Both(|honest, bent| last_differs(body(honest, P::IDR), body(bent, P::IDR))),
    ),
    check("send-in-clear", Plain, See::Some(|p| p.is(AUTH, false) && p.sk.is_none() && p.raw(P::IDI).is_some()))
        .during(AUTH),
    check(
        "short-icv",
        Plain,
        See::Both(|honest, bent| {
            let len = |run: &Run| run.ours(AUTH, false).map_or(0, |p| p.bytes.len());
            len(honest) == len(bent) + 4 && bent.ours(AUTH, false).is_some_and(|p| !p.opened() && p.sk.is_some())
        }),
    )
    .during(AUTH),
    check(
        "corrupt-iv",
        Plain,
        See::Both(|honest, bent| {
            let differs = |(a, b): (&super::Packet, &super::Packet)| {
                let places: Vec<usize> =
                    (0..a.bytes.len().min(b.bytes.len())).filter(|n| a.bytes[*n] != b.bytes[*n]).collect();
                places == [32] && !b.opened()
            };
            honest.ours(AUTH, false).zip(bent.ours(AUTH, false)).is_some_and(differs)
        }),
    )
    .during(AUTH),
    check("zero-iv", Plain, See::Some(|p| p.sk.as_ref().is_some_and(|sk| sk.opened && sk.iv == [0; 16]))).during(AUTH),
    check("odd-padding", Plain, See::Some(|p| p.sk.as_ref().is_some_and(|sk| sk.opened && sk.padding == 3 && sk.bad)))
        .with(&[("octets", "31"), ("says", "3")])
        .during(AUTH),
    check(
        "more-padding",
        Plain,
        See::Some(|p| p.sk.as_ref().is_some_and(|sk| sk.opened && !sk.bad && sk.padding >= 64)),
    )
    .during(AUTH),
    check(
        "garbage-inside",
        Plain,
        See::Some(|p| p.opened() && p.text().len() > 100 && p.text().iter().all(|o| *o == 0xff)),
    )
    .during(AUTH),
    check("nothing-inside", Plain, See::Some(|p| p.opened() && p.text().is_empty())).during(AUTH),
    check(
        "trailing-octets-inside",
        Plain,
        See::Some(|p| p.opened() && p.text().ends_with(&[0xa5; 5]) && p.sk.as_ref().is_some_and(|sk| sk.bad)),
    )
    .during(AUTH),
    check(
        "wrong-first-inner-payload",
        Plain,
        See::Some(|p| p.opened() && p.sk.as_ref().is_some_and(|sk| sk.next == 34)),
    )
    .during(AUTH),
    check(
        "wrong-sk-length",
        Plain,
        See::Some(|p| {
            p.is(AUTH, false) && usize::from(u16::from_be_bytes([p.bytes[30], p.bytes[31]])) + 4 == p.bytes.len() - 28
        }),
    )
    .during(AUTH),
    check("lose-fragment", Long, See::No(|p| p.fragment().is_some_and(|(n, _)| n == 2))),
    check("repeat-fragment", Long, See::Run(|r| r.fragments().windows(2).any(|pair| pair[0] == pair[1]))),
    check(
        "overlap-fragment",
        Long,
        See::Run(|r| r.fragments().windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1)),
    ),
    check(
        "reverse-fragments",
        Long,
        See::Run(|r| {
            let numbers: Vec<u16> = r.fragments().iter().map(|((n, _), _)| *n).collect();
            numbers.len() > 1 && numbers.windows(2).all(|pair| pair[0] > pair[1])
        }),
    ),
    check(
        "endless-fragments",
        Long,
        See::Some(|p| p.opened() && p.fragment().is_some_and(|(_, total)| total == 65_535)),
    ),
    check("renumber-fragment", Long, See::Run(|r| r.sent().any(|p| p.is(AUTH, false) && number(&p.bytes) == Some(0)))),
    check("wrong-fragment-total", Long, See::Some(|p| p.opened() && p.fragment() == Some((2, 9)))),
    check(
        "tiny-fragments",
        Plain,
        See::Some(|p| p.opened() && p.fragment().is_some_and(|(_, t)| t > 5) && p.text().len() <= 16),
    )
    .during(AUTH),
    check(
        "garble-fragment",
        Long,
        See::Some(|p| p.opened() && p.fragment().is_some_and(|(n, _)| n == 1) && p.text().iter().all(|o| *o == 0)),
    ),
    check(
        "empty-fragment",
        Long,
        See::Some(|p| p.opened() && p.fragment().is_some_and(|(n, _)| n == 1) && p.text().is_empty()),
    ),
    check("surplus-fragment", Long, See::Run(|r| r.sent().any(|p| p.is(AUTH, false) && surplus(&p.bytes)))),
];

/// The other end refuses the identity, not its proof.
fn refused_as(run: &Run, data: &[u8]) -> bool {
    let is = |event: &Event| match event {
        Event::Failed(failed) => {
            matches!(&failed.why, Failure::AuthFailed(AuthFault::Identity { got }) if got.data == data)
        }
        _ => false,
    };
    run.pair.events.iter().any(|(end, .., event)| *end == run.bent.other() && is(event))
}

/// The fragment number behind the header of SKF, whatever a decoder thinks of it.
fn number(bytes: &[u8]) -> Option<u16> {
    (bytes[16] == 53).then(|| u16::from_be_bytes([bytes[32], bytes[33]]))
}

fn surplus(bytes: &[u8]) -> bool {
    number(bytes).is_some_and(|number| number > u16::from_be_bytes([bytes[34], bytes[35]]))
}
