//! IKE_AUTH: identities, AUTH, the first Child SA and its selectors.

use super::row::{FaultRow, arg, auth_request, fault, in_auth};
use crate::engine::SecretKind;
use crate::fault::action::{Action, Choice, TsEdit};
use crate::fault::octets::OctetEdit;
use crate::fault::rule::PayloadSel;
use crate::wire::FieldEdit;
use crate::wire::registry::{NotifyType, PayloadType};

fn auth(edit: OctetEdit) -> Action {
    Action::Secret { kind: SecretKind::Auth, edit }
}

/// Our own identity: IDi of an initiator, who also sends IDr, and IDr of a responder.
fn our_id(edit: OctetEdit) -> Action {
    Action::Body { payloads: vec![PayloadSel::of(PayloadType::IDI), PayloadSel::of(PayloadType::IDR)], edit }
}

/// Our own identity before it is signed.
fn signed_id(edit: OctetEdit) -> Action {
    Action::Secret { kind: SecretKind::Identity, edit }
}

fn set(path: &str, value: Vec<u8>) -> Action {
    Action::Field(FieldEdit::Set { path: path.to_owned(), value })
}

fn add(path: &str, delta: i64) -> Action {
    Action::Field(FieldEdit::Add { path: path.to_owned(), delta })
}

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "no-initial-contact",
        "Leaves out INITIAL_CONTACT.",
        "Keeps its old SAs with us until it finds them dead.",
        "RFC 7296 2.4",
        |_| Ok(Action::Omit(PayloadSel::notify(NotifyType::INITIAL_CONTACT))),
    )
    .when(in_auth)
    .played_by_initiator(),
    fault(
        "accept-any-auth",
        "Accepts the peer's AUTH whatever it is: the failure is then the peer's alone to find.",
        "Notices nothing.",
        "RFC 7296 2.15",
        |_| Ok(Action::Decide(Choice::AcceptAuth(true))),
    )
    .when(in_auth),
    fault(
        "refuse-good-auth",
        "Refuses the peer's AUTH although it verifies.",
        "Gives the IKE SA up when told AUTHENTICATION_FAILED.",
        "RFC 7296 2.21.2",
        |_| Ok(Action::Decide(Choice::AcceptAuth(false))),
    )
    .when(in_auth),
    fault("refuse-auth", "Refuses IKE_AUTH with a notify.", "Gives the IKE SA up.", "RFC 7296 2.21.2", |args| {
        Ok(Action::Decide(Choice::RefuseAuth(args.notify("notify")?)))
    })
    .args(&[arg("notify", "notify", "AUTHENTICATION_FAILED", "name or number")])
    .when(in_auth)
    .played_by_responder(),
    fault(
        "refuse-child",
        "Refuses the Child SA with a notify and keeps the IKE SA.",
        "Keeps the IKE SA without the Child SA, or deletes it in good order.",
        "RFC 7296 1.2, 2.21.2",
        |args| Ok(Action::Decide(Choice::RefuseChild(args.notify("notify")?))),
    )
    .args(&[arg("notify", "notify", "TS_UNACCEPTABLE", "name or number")])
    .when(in_auth)
    .played_by_responder()
    .used("{use: refuse-child, with: {notify: NO_PROPOSAL_CHOSEN}}"),
    fault(
        "broken-auth",
        "Flips a bit of our AUTH value.",
        "Answers AUTHENTICATION_FAILED, or deletes the IKE SA if we are the responder.",
        "RFC 7296 2.15, 2.21.2",
        |_| Ok(auth(OctetEdit::Xor(-1, 1))),
    ),
    fault(
        "empty-auth",
        "Sends an AUTH payload without a value.",
        "Answers AUTHENTICATION_FAILED or INVALID_SYNTAX.",
        "RFC 7296 2.21.2, 3.8",
        |_| Ok(auth(OctetEdit::Set(Vec::new()))),
    ),
    fault(
        "short-auth",
        "Cuts our AUTH value.",
        "Answers AUTHENTICATION_FAILED: a right beginning is not enough.",
        "RFC 7296 2.15, 3.8",
        |args| Ok(auth(OctetEdit::Resize(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "4", "how many are left")]),
    fault(
        "wrong-auth-method",
        "Names another authentication method than AUTH was made with.",
        "Answers AUTHENTICATION_FAILED.",
        "RFC 7296 2.15, 3.8",
        |args| Ok(set("auth.method", vec![args.int("method")?])),
    )
    .args(&[arg("method", "number", "1", "1 RSA, 2 shared key, 14 digital signature")]),
    fault(
        "wrong-id-type",
        "Gives our identity another type than it was authenticated with.",
        "Finds no such peer, or AUTH wrong: AUTHENTICATION_FAILED.",
        "RFC 7296 2.15, 3.5",
        |args| Ok(our_id(OctetEdit::Put(0, args.int("type")?))),
    )
    .args(&[arg("type", "number", "11", "ID type")])
    .when(in_auth),
    fault(
        "wrong-id",
        "Changes the last octet of our identity behind AUTH.",
        "Finds no such peer, or AUTH wrong: AUTHENTICATION_FAILED.",
        "RFC 7296 2.15, 3.5",
        |_| Ok(our_id(OctetEdit::Xor(-1, 0x20))),
    )
    .when(in_auth),
    fault(
        "empty-id",
        "Sends an identity of a type and no octets.",
        "Finds no such peer: AUTHENTICATION_FAILED.",
        "RFC 7296 2.15, 3.5",
        |_| Ok(our_id(OctetEdit::Resize(4))),
    )
    .when(in_auth),
    fault(
        "reserved-id-octets",
        "Sets the reserved octets of our identity; AUTH covers them as they are sent.",
        "Ignores them, and verifies AUTH over what it has received.",
        "RFC 7296 2.15, 3.5",
        |args| Ok(signed_id(OctetEdit::Write(1, args.octets("octets", 3)?))),
    )
    .args(&[arg("octets", "hex", "ffffff", "the three octets")]),
    fault(
        "other-id",
        "Claims another identity, and makes AUTH for it with the key that we have.",
        "Finds no such peer, or another key or certificate than that peer's: AUTHENTICATION_FAILED.",
        "RFC 7296 2.15, 2.21.2, 3.5",
        |args| {
            let head = vec![args.int("type")?, 0, 0, 0];
            Ok(signed_id(OctetEdit::Set([head, args.get("id")?.as_bytes().to_vec()].concat())))
        },
    )
    .args(&[
        arg("id", "text", "nobody.invalid", "the identity"),
        arg("type", "number", "2", "ID type: 2 FQDN, 3 email, 11 key id"),
    ]),
    fault(
        "no-child",
        "Leaves SA, TSi and TSr out of IKE_AUTH, although nobody said that it may.",
        "Refuses the message, or brings the IKE SA up without a Child SA.",
        "RFC 6023 3, 4; RFC 7296 1.2",
        |_| {
            let of = [PayloadType::SA, PayloadType::TSI, PayloadType::TSR];
            Ok(Action::OmitSeveral(of.map(PayloadSel::of).to_vec()))
        },
    )
    .when(in_auth),
    fault(
        "swap-selectors",
        "Sends TSi as TSr and TSr as TSi.",
        "Answers TS_UNACCEPTABLE, unless both sides may be either.",
        "RFC 7296 2.9",
        |_| Ok(Action::Selectors(TsEdit::Swap)),
    ),
    fault(
        "backwards-selectors",
        "Sends selectors whose first address comes after their last one.",
        "Answers TS_UNACCEPTABLE or INVALID_SYNTAX: they hold nothing.",
        "RFC 7296 2.9, 3.13.1",
        |_| Ok(Action::Selectors(TsEdit::Backwards)),
    ),
    fault(
        "no-selectors",
        "Sends TSi and TSr without any selector.",
        "Answers INVALID_SYNTAX or TS_UNACCEPTABLE.",
        "RFC 7296 2.9, 3.13",
        |_| Ok(Action::Selectors(TsEdit::None)),
    ),
    fault(
        "widen-selectors",
        "Offers everything for our own side; in an answer, more than was asked for.",
        "Narrows an offer to its policy; refuses an answer that is wider than what it asked for.",
        "RFC 7296 2.9",
        |_| Ok(Action::Selectors(TsEdit::Widen)),
    ),
    fault(
        "other-selectors",
        "Sends another network for our own side.",
        "Answers TS_UNACCEPTABLE, or refuses an answer outside of what it asked for.",
        "RFC 7296 2.9",
        |args| Ok(Action::Selectors(TsEdit::Ours(args.network("network")?))),
    )
    .args(&[arg("network", "network", "203.0.113.0/24", "the network")])
    .used("{use: other-selectors, with: {network: 203.0.113.0/24}, when: {exchange: CREATE_CHILD_SA}}"),
    fault(
        "other-peer-selectors",
        "Sends another network for the peer's side.",
        "Answers TS_UNACCEPTABLE, or refuses an answer outside of what it asked for.",
        "RFC 7296 2.9",
        |args| Ok(Action::Selectors(TsEdit::Theirs(args.network("network")?))),
    )
    .args(&[arg("network", "network", "198.51.100.0/24", "the network")]),
    fault(
        "selector-protocol",
        "Limits all selectors to one IP protocol.",
        "Narrows to it, or answers TS_UNACCEPTABLE.",
        "RFC 7296 2.9, 3.13.1",
        |args| Ok(Action::Selectors(TsEdit::Protocol(args.int("protocol")?))),
    )
    .args(&[arg("protocol", "number", "132", "IP protocol")]),
    fault(
        "many-selectors",
        "Repeats the first selector of each side.",
        "Takes the ones that it can take.",
        "RFC 7296 2.9, 3.13",
        |args| Ok(Action::Selectors(TsEdit::Many(args.int("count")?))),
    )
    .args(&[arg("count", "number", "100", "how many of each; 1 to 255")]),
    fault(
        "unknown-selector-type",
        "Gives the first selector of TSi a type that nobody knows.",
        "Ignores that selector; answers TS_UNACCEPTABLE if nothing is left.",
        "RFC 7296 2.9, 3.13.1",
        |args| Ok(set("tsi.selector[0].type", vec![args.int("type")?])),
    )
    .args(&[arg("type", "number", "99", "TS type")]),
    fault(
        "wrong-selector-count",
        "Says another number of selectors in TSi.",
        "Answers INVALID_SYNTAX, or drops the message.",
        "RFC 7296 2.21, 3.13",
        |args| Ok(add("tsi.count", args.int("delta")?)),
    )
    .args(&[arg("delta", "number", "1", "what to add; may be negative")]),
    fault(
        "wrong-selector-length",
        "Adds to the length of TSi's first selector.",
        "Answers INVALID_SYNTAX, or drops the message.",
        "RFC 7296 2.21, 3.13.1",
        |args| Ok(add("tsi.selector[0].length", args.int("delta")?)),
    )
    .args(&[arg("delta", "octets", "-4", "what to add; may be negative")]),
    fault(
        "transport-mode-unasked",
        "Says USE_TRANSPORT_MODE although tunnel mode is meant; in an answer, although nobody asked.",
        "Declines by leaving it out of its answer; takes an unasked one for a failed Child SA or ignores it.",
        "RFC 7296 1.3.1",
        |_| {
            let notify = crate::wire::NotifyPayload::new(NotifyType::USE_TRANSPORT_MODE);
            Ok(Action::Add { payload: crate::wire::Payload::Notify(notify), first: false })
        },
    )
    .when(in_auth),
    fault(
        "peer-id-of-somebody-else",
        "Asks for another identity of the responder than it has.",
        "Answers with its own identity or AUTHENTICATION_FAILED.",
        "RFC 7296 1.2, 2.15",
        |_| Ok(Action::Body { payloads: vec![PayloadSel::of(PayloadType::IDR)], edit: OctetEdit::Xor(-1, 0x20) }),
    )
    .when(auth_request)
    .played_by_initiator(),
];
