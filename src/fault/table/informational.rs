//! INFORMATIONAL, timers and restarts.

use std::time::Duration;

use super::names::exchange_by_name;
use super::row::{FaultRow, arg, fault, in_informational, informational_request};
use crate::engine::{Order, Timer};
use crate::fault::action::{Action, Choice, Invention, Moment};
use crate::fault::octets::OctetEdit;
use crate::fault::rule::PayloadSel;
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use crate::wire::{DeletePayload, FieldEdit, NotifyPayload, Payload};

/// An INFORMATIONAL request of our own making, protected, with the next message id.
fn request(payloads: Vec<Payload>) -> Invention {
    Invention {
        exchange: ExchangeType::INFORMATIONAL,
        response: false,
        payloads,
        sealed: true,
        message_id: None,
        count: 1,
    }
}

fn delete(protocol: ProtocolId, spi_size: u8, spis: Vec<Vec<u8>>) -> Payload {
    Payload::Delete(DeletePayload { protocol, spi_size, spis })
}

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "no-answer",
        "Takes requests of an exchange and never answers them.",
        "Sends its request again, and finds us dead.",
        "RFC 7296 2.1, 2.4",
        |args| Ok(Action::Decide(Choice::Answer(exchange_by_name(args.get("exchange")?)?, false))),
    )
    .args(&[arg("exchange", "exchange", "INFORMATIONAL", "which requests")])
    .used("{use: no-answer, with: {exchange: INFORMATIONAL}}"),
    fault(
        "no-liveness",
        "Reads no INFORMATIONAL: to the peer we are dead, although ESP may flow.",
        "Sends its liveness check again, and finds us dead.",
        "RFC 7296 2.4",
        |_| Ok(Action::DropReceived),
    )
    .when(in_informational),
    fault(
        "late-liveness",
        "Answers INFORMATIONAL, and too late.",
        "Sends its liveness check again, and takes the late answer if it still waits.",
        "RFC 7296 2.4",
        |args| Ok(Action::HoldAccepted(args.millis("by")?)),
    )
    .args(&[arg("by", "duration", "10s", "how long")])
    .when(informational_request),
    fault(
        "hasty-liveness",
        "Asks whether the peer lives after a share of the honest time.",
        "Answers every time.",
        "RFC 7296 2.4",
        |args| Ok(Action::Timer { timer: Timer::Liveness, percent: args.int("percent")? }),
    )
    .args(&[arg("percent", "percent", "5", "of the honest wait; 0 never asks")]),
    fault(
        "no-keepalives",
        "Sends no NAT keepalives, so that the NAT forgets us.",
        "Keeps sending to a mapping that is gone.",
        "RFC 3948 4",
        |_| Ok(Action::Timer { timer: Timer::Keepalive, percent: 0 }),
    ),
    fault(
        "hasty-keepalives",
        "Sends NAT keepalives after a share of the honest time.",
        "Drops each one.",
        "RFC 3948 4",
        |args| Ok(Action::Timer { timer: Timer::Keepalive, percent: args.int("percent")? }),
    )
    .args(&[arg("percent", "percent", "5", "of the honest wait")]),
    fault("hasty-retransmit", "Retransmits much too fast.", "Answers each repeat alike.", "RFC 7296 2.1", |args| {
        Ok(Action::Timer { timer: Timer::Retransmit, percent: args.int("percent")? })
    })
    .args(&[arg("percent", "percent", "5", "of the honest wait")]),
    fault(
        "no-retransmits",
        "Sends every request once, and waits for ever.",
        "Sees a request lost for good if the path loses it.",
        "RFC 7296 2.1",
        |_| Ok(Action::Timer { timer: Timer::Retransmit, percent: 0 }),
    ),
    fault(
        "hasty-half-open",
        "Forgets a half-open IKE SA after a share of the honest time.",
        "Gets no answer to its IKE_AUTH, and begins again.",
        "RFC 7296 2.4, 2.6",
        |args| Ok(Action::Timer { timer: Timer::HalfOpen, percent: args.int("percent")? }),
    )
    .args(&[arg("percent", "percent", "1", "of the honest wait")]),
    fault(
        "stray-notify",
        "Sends an INFORMATIONAL with a notify once the IKE SA is up.",
        "Changes nothing if it is unprotected.",
        "RFC 7296 2.21.4",
        |args| {
            let (notify, sealed) = (args.notify("notify")?, args.yes("sealed")?);
            Ok(Action::InjectNotify { notify, sealed, message_id: args.int("id")? })
        },
    )
    .args(&[
        arg("notify", "notify", "AUTHENTICATION_FAILED", "name or number"),
        arg("sealed", "yes or no", "no", "protected by the IKE SA"),
        arg("id", "number", "2", "message id"),
    ])
    .used("{use: stray-notify, with: {notify: INVALID_IKE_SPI}}"),
    fault(
        "request-beyond-window",
        "Sends an INFORMATIONAL request whose message id is far ahead; it is protected.",
        "Drops it, and may say INVALID_MESSAGE_ID.",
        "RFC 7296 2.2, 2.3",
        |args| {
            let what = Invention { message_id: Some(args.int("id")?), ..request(Vec::new()) };
            Ok(Action::Invent { what, at: Moment::Up(Duration::ZERO) })
        },
    )
    .args(&[arg("id", "number", "1000", "message id")]),
    fault(
        "reused-message-id",
        "Sends another request with a message id that was used before; it is protected.",
        "Takes it for a repeat: answers with the old answer, or drops it.",
        "RFC 7296 2.1, 2.2",
        |args| {
            let notify = Payload::Notify(NotifyPayload::new(NotifyType(40963)));
            let what = Invention { message_id: Some(args.int("id")?), ..request(vec![notify]) };
            Ok(Action::Invent { what, at: Moment::Up(args.millis("after")?) })
        },
    )
    .args(&[arg("id", "number", "1", "message id"), arg("after", "duration", "1s", "how long after")])
    .played_by_initiator(),
    fault(
        "requests-at-once",
        "Sends several INFORMATIONAL requests without waiting for answers, whatever the window is.",
        "Answers what is inside its window, and drops the rest.",
        "RFC 7296 2.3",
        |args| {
            let what = Invention { count: args.int("count")?, ..request(Vec::new()) };
            Ok(Action::Invent { what, at: Moment::Up(Duration::ZERO) })
        },
    )
    .args(&[arg("count", "number", "5", "how many")]),
    fault(
        "unasked-response",
        "Sends a protected response that nobody asked for.",
        "Drops it.",
        "RFC 7296 2.1, 2.2",
        |args| {
            let message_id = Some(args.int("id")?);
            let what = Invention { response: true, message_id, ..request(Vec::new()) };
            Ok(Action::Invent { what, at: Moment::Up(Duration::ZERO) })
        },
    )
    .args(&[arg("id", "number", "77", "message id")]),
    fault(
        "unknown-exchange-request",
        "Sends a protected request of an exchange that nobody knows.",
        "Answers INVALID_SYNTAX or drops it; the IKE SA may end.",
        "RFC 7296 2.21.3, 3.1",
        |args| {
            let exchange = ExchangeType(args.int("type")?);
            let what = Invention { exchange, ..request(Vec::new()) };
            Ok(Action::Invent { what, at: Moment::Up(Duration::ZERO) })
        },
    )
    .args(&[arg("type", "number", "240", "exchange type")]),
    fault(
        "invent-delete",
        "Deletes the IKE SA out of the blue, and stays.",
        "Closes the IKE SA with its Child SAs, and answers with an empty message.",
        "RFC 7296 1.4.1",
        |args| {
            let what = request(vec![delete(ProtocolId::IKE, 0, Vec::new())]);
            Ok(Action::Invent { what, at: Moment::Up(args.millis("after")?) })
        },
    )
    .args(&[arg("after", "duration", "1s", "how long after the IKE SA came up")]),
    fault(
        "forged-delete",
        "Sends a deletion of the IKE SA that is not protected.",
        "Drops it.",
        "RFC 7296 1.4, 2.21.4",
        |args| {
            let what = Invention { sealed: false, ..request(vec![delete(ProtocolId::IKE, 0, Vec::new())]) };
            Ok(Action::Invent { what, at: Moment::Up(args.millis("after")?) })
        },
    )
    .args(&[arg("after", "duration", "1s", "how long after the IKE SA came up")]),
    fault(
        "delete-unknown-child",
        "Deletes a Child SA that does not exist.",
        "Answers with an empty message, and changes nothing.",
        "RFC 7296 1.4.1",
        |args| {
            let what = request(vec![delete(ProtocolId::ESP, 4, vec![args.octets("spi", 4)?])]);
            Ok(Action::Invent { what, at: Moment::Up(Duration::ZERO) })
        },
    )
    .args(&[arg("spi", "hex", "deadbeef", "4 octets")]),
    fault(
        "ignore-delete",
        "Overlooks Delete payloads and answers as if there were none.",
        "Has closed what it deleted; we still send on it.",
        "RFC 7296 1.4.1",
        |_| Ok(Action::Overlook(PayloadSel::of(PayloadType::DELETE))),
    ),
    fault(
        "overlook-payload",
        "Overlooks payloads of an authentic message.",
        "Sees an answer as if it had not sent them.",
        "RFC 7296 2.5",
        |args| Ok(Action::Overlook(args.payload("payload")?)),
    )
    .args(&[arg("payload", "payload", "N(REKEY_SA)", "SA, KE, TSi, N(NAME), ...")]),
    fault(
        "no-delete",
        "Leaves Delete payloads out of our messages: what we closed stays open at the other end.",
        "Keeps what it was not told to delete.",
        "RFC 7296 1.4.1, 2.8",
        |_| Ok(Action::Omit(PayloadSel::of(PayloadType::DELETE))),
    )
    .when(in_informational),
    fault(
        "delete-wrong-spi",
        "Deletes another Child SA than was meant.",
        "Ignores an SPI that it does not know, and keeps the one that was meant.",
        "RFC 7296 1.4.1, 3.11",
        |_| Ok(Action::DeletedSpis(OctetEdit::Xor(0, 0xff))),
    )
    .when(in_informational),
    fault(
        "wrong-delete-count",
        "Says another number of SPIs in a Delete payload than there are.",
        "Answers INVALID_SYNTAX or drops the message.",
        "RFC 7296 2.21.3, 3.11",
        |args| {
            let path = "delete.count".to_owned();
            Ok(Action::Field(FieldEdit::Add { path, delta: args.int("delta")? }))
        },
    )
    .args(&[arg("delta", "number", "200", "what to add; may be negative")]),
    fault(
        "wrong-delete-protocol",
        "Names another protocol in a Delete payload than the SA is of.",
        "Finds no such SA and answers without deleting, or answers INVALID_SYNTAX.",
        "RFC 7296 1.4.1, 2.21.3, 3.11",
        |args| {
            Ok(Action::Field(FieldEdit::Set { path: "delete.protocol".to_owned(), value: vec![args.int("protocol")?] }))
        },
    )
    .args(&[arg("protocol", "number", "2", "1 IKE, 2 AH, 3 ESP")]),
    fault(
        "wrong-delete-spi-size",
        "Says another SPI size in a Delete payload than its SPIs have.",
        "Answers INVALID_SYNTAX or drops the message.",
        "RFC 7296 2.21.3, 3.11",
        |args| {
            Ok(Action::Field(FieldEdit::Set { path: "delete.spi_size".to_owned(), value: vec![args.int("octets")?] }))
        },
    )
    .args(&[arg("octets", "octets", "8", "the size said")]),
    fault(
        "forget-ike",
        "Forgets the IKE SA without a word, so long after it came up.",
        "Gets unprotected INVALID_IKE_SPI or nothing, and finds us dead by its own checks.",
        "RFC 7296 1.5, 2.4",
        |args| Ok(Action::Order { order: Order::ForgetIke, at: Moment::Up(args.millis("after")?) }),
    )
    .args(&[arg("after", "duration", "1s", "how long after")]),
    fault(
        "reboot",
        "Forgets the IKE SA without a word, and begins the tunnel anew.",
        "Closes the old IKE SA when told INITIAL_CONTACT, and otherwise when its own checks find it dead.",
        "RFC 7296 2.4",
        |args| Ok(Action::Reboot { after: args.millis("after")?, contact: args.yes("contact")? }),
    )
    .args(&[
        arg("after", "duration", "1s", "how long after it came up"),
        arg("contact", "yes or no", "yes", "say INITIAL_CONTACT then"),
    ])
    .used("{use: reboot, with: {after: 5s, contact: no}, times: 1}"),
];
