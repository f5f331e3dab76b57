//! CREATE_CHILD_SA: rekeys refused, ignored, collided with, forgotten, or asked for in the wrong way.

use super::row::{FaultRow, arg, create_request, fault, in_create};
use crate::engine::{Order, Timer};
use crate::fault::action::{Action, Choice, Moment, TsEdit};
use crate::fault::octets::OctetEdit;
use crate::fault::rule::PayloadSel;
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType};

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "refuse-create",
        "Refuses CREATE_CHILD_SA with a notify.",
        "Keeps what it has, and tries again later; after NO_ADDITIONAL_SAS it begins a new IKE SA.",
        "RFC 7296 1.3, 2.25",
        |args| Ok(Action::Decide(Choice::RefuseCreate(args.notify("notify")?))),
    )
    .args(&[arg("notify", "notify", "NO_ADDITIONAL_SAS", "name or number")])
    .when(in_create)
    .used("{use: refuse-create, with: {notify: TEMPORARY_FAILURE}}"),
    fault(
        "ignore-rekey",
        "Takes requests of CREATE_CHILD_SA and never answers them.",
        "Sends its request again, and finds us dead.",
        "RFC 7296 2.4, 2.8",
        |_| Ok(Action::Decide(Choice::Answer(ExchangeType::CREATE_CHILD_SA, false))),
    ),
    fault(
        "collide-with-rekey",
        "Holds the peer's CREATE_CHILD_SA back, and asks for a rekey of our own meanwhile.",
        "Finds out by the nonces which SA is redundant, and its owner deletes it; no packet is lost.",
        "RFC 7296 2.8.1, 2.25",
        |args| {
            let words = [("child", Order::RekeyChild), ("ike", Order::RekeyIke)];
            Ok(Action::Collide { order: args.one_of("ask", &words)?, hold: args.millis("hold")? })
        },
    )
    .args(&[arg("ask", "word", "child", "child or ike"), arg("hold", "duration", "200ms", "how long the peer waits")])
    .when(create_request),
    fault(
        "rekey-child-unasked",
        "Rekeys the newest Child SA out of turn, so long after the IKE SA came up.",
        "Answers, moves to the new Child SA, and takes the deletion of the old one.",
        "RFC 7296 1.3.3, 2.8",
        |args| Ok(Action::Order { order: Order::RekeyChild, at: Moment::Up(args.millis("after")?) }),
    )
    .args(&[arg("after", "duration", "1s", "how long after")]),
    fault(
        "rekey-ike-unasked",
        "Rekeys the IKE SA out of turn, so long after it came up.",
        "Answers, moves its Child SAs to the new IKE SA, and takes the deletion of the old one.",
        "RFC 7296 1.3.2, 2.8",
        |args| Ok(Action::Order { order: Order::RekeyIke, at: Moment::Up(args.millis("after")?) }),
    )
    .args(&[arg("after", "duration", "1s", "how long after")])
    .used("{use: rekey-ike-unasked, with: {after: 1s}, times: 1}"),
    fault(
        "forget-rekey",
        "Answers a request of CREATE_CHILD_SA, and then forgets the new Child SA without a word.",
        "Sends on the new Child SA into the void; INVALID_SPI unprotected proves nothing to it.",
        "RFC 7296 1.5, 2.8",
        |_| Ok(Action::Order { order: Order::ForgetChild, at: Moment::Accepted }),
    )
    .when(create_request),
    fault(
        "forget-child",
        "Forgets the newest Child SA without a word, so long after the IKE SA came up.",
        "Sends on into the void; INVALID_SPI unprotected proves nothing to it.",
        "RFC 7296 1.4.1, 1.5",
        |args| Ok(Action::Order { order: Order::ForgetChild, at: Moment::Up(args.millis("after")?) }),
    )
    .args(&[arg("after", "duration", "1s", "how long after")]),
    fault(
        "rekey-unknown-child",
        "Asks to rekey a Child SA that the peer does not have.",
        "Answers CHILD_SA_NOT_FOUND with that SPI.",
        "RFC 7296 1.3.3, 2.25",
        |_| Ok(Action::NotifySpi(NotifyType::REKEY_SA, OctetEdit::Xor(0, 0xff))),
    )
    .when(create_request),
    fault(
        "no-rekey-notify",
        "Leaves REKEY_SA out of a rekey: it becomes one Child SA more.",
        "Makes a second Child SA beside the old one, or answers NO_ADDITIONAL_SAS.",
        "RFC 7296 1.3.1, 1.3.3",
        |_| Ok(Action::Omit(PayloadSel::notify(NotifyType::REKEY_SA))),
    )
    .when(create_request),
    fault(
        "rekey-other-selectors",
        "Rekeys a Child SA with another network for our own side.",
        "Answers TS_UNACCEPTABLE, and keeps the old one.",
        "RFC 7296 2.8, 2.9.2",
        |args| Ok(Action::Selectors(TsEdit::Ours(args.network("network")?))),
    )
    .args(&[arg("network", "network", "203.0.113.0/24", "the network")])
    .when(in_create),
    fault(
        "rekey-without-ke",
        "Leaves KE out of CREATE_CHILD_SA although its proposal names a group.",
        "Answers INVALID_KE_PAYLOAD or INVALID_SYNTAX; an IKE SA cannot be rekeyed without.",
        "RFC 7296 1.3.1, 1.3.2, 2.21.3",
        |_| Ok(Action::Omit(PayloadSel::of(PayloadType::KE))),
    )
    .when(in_create),
    fault(
        "rekey-without-nonce",
        "Leaves the nonce out of CREATE_CHILD_SA.",
        "Answers INVALID_SYNTAX.",
        "RFC 7296 1.3, 2.21.3",
        |_| Ok(Action::Omit(PayloadSel::of(PayloadType::NONCE))),
    )
    .when(in_create),
    fault(
        "hasty-rekey",
        "Rekeys after a share of the honest time.",
        "Answers every time, and keeps nothing of the old SAs.",
        "RFC 7296 2.8",
        |args| Ok(Action::Timer { timer: Timer::Lifetime, percent: args.int("percent")? }),
    )
    .args(&[arg("percent", "percent", "5", "of the honest wait; 0 never rekeys")]),
];
