//! IKE_SA_INIT: cookies, groups, NAT detection, false answers.

use super::row::{FaultRow, arg, fault, in_init, init_request, init_response};
use crate::engine::SecretKind;
use crate::fault::action::{Action, Choice, Invention, Moment};
use crate::fault::octets::OctetEdit;
use crate::fault::rule::PayloadSel;
use crate::wire::registry::{ExchangeType, NotifyType};
use crate::wire::{NotifyPayload, Payload};

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "no-nat-detection",
        "Leaves out NAT_DETECTION_SOURCE_IP: no NAT is ever found, as on a box with NAT traversal off.",
        "Goes on without NAT traversal.",
        "RFC 7296 2.23",
        |_| Ok(Action::Omit(PayloadSel::notify(NotifyType::NAT_DETECTION_SOURCE_IP))),
    )
    .when(in_init),
    fault(
        "no-nat-destination",
        "Leaves out NAT_DETECTION_DESTINATION_IP only.",
        "Goes on without NAT traversal, or judges by what is there.",
        "RFC 7296 2.23",
        |_| Ok(Action::Omit(PayloadSel::notify(NotifyType::NAT_DETECTION_DESTINATION_IP))),
    )
    .when(in_init),
    fault(
        "forge-nat-source",
        "Sends a NAT_DETECTION_SOURCE_IP that fits no address: we seem to be behind a NAT.",
        "Moves to port 4500 and expects ESP in UDP.",
        "RFC 7296 2.23",
        |_| Ok(Action::NotifyData(NotifyType::NAT_DETECTION_SOURCE_IP, OctetEdit::Fill(0x11))),
    )
    .when(in_init),
    fault(
        "forge-nat-destination",
        "Sends a NAT_DETECTION_DESTINATION_IP that fits no address: the peer seems to be behind a NAT.",
        "Moves to port 4500, sends keepalives and ESP in UDP.",
        "RFC 7296 2.23; RFC 3948 4",
        |_| Ok(Action::NotifyData(NotifyType::NAT_DETECTION_DESTINATION_IP, OctetEdit::Fill(0x22))),
    )
    .when(in_init),
    fault(
        "short-nat-hash",
        "Cuts NAT_DETECTION_SOURCE_IP to fewer octets than a hash has.",
        "Refuses the notify, or finds a NAT.",
        "RFC 7296 2.23, 3.10",
        |args| Ok(Action::NotifyData(NotifyType::NAT_DETECTION_SOURCE_IP, OctetEdit::Resize(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "8", "length sent; a hash has 20")])
    .when(in_init),
    fault(
        "stay-on-500",
        "Does not move to the NAT traversal port although a NAT was found.",
        "Takes IKE_AUTH on port 500 all the same, or drops it.",
        "RFC 7296 2.23",
        |_| Ok(Action::Decide(Choice::Float(false))),
    )
    .played_by_initiator(),
    fault(
        "float-without-nat",
        "Moves to the NAT traversal port although no NAT was found.",
        "Takes IKE_AUTH there: an initiator may use port 4500 from the start.",
        "RFC 7296 2.23",
        |_| Ok(Action::Decide(Choice::Float(true))),
    )
    .played_by_initiator(),
    fault(
        "demand-cookie",
        "Demands a cookie of every initiator, as under load, and goes on with one that returns it.",
        "Returns it, and the rest of its request unchanged.",
        "RFC 7296 2.6",
        |_| Ok(Action::Decide(Choice::DemandCookie(true))),
    )
    .when(in_init)
    .played_by_responder()
    .used("{use: demand-cookie, times: 1}"),
    fault(
        "unasked-cookie",
        "Returns a cookie that nobody demanded.",
        "Ignores it, or demands one of its own.",
        "RFC 7296 2.6, 3.10.1",
        |args| {
            let notify = NotifyPayload::with_data(NotifyType::COOKIE, vec![0xa5; args.int("octets")?]);
            Ok(Action::Add { payload: Payload::Notify(notify), first: true })
        },
    )
    .args(&[arg("octets", "octets", "32", "its length")])
    .when(init_request)
    .played_by_initiator(),
    fault(
        "withhold-cookie",
        "Never returns the cookie that the peer demands.",
        "Keeps no state for us, and demands it again.",
        "RFC 7296 2.6",
        |_| Ok(Action::Decide(Choice::ReturnCookie(false))),
    )
    .when(in_init)
    .played_by_initiator(),
    fault(
        "wrong-cookie",
        "Returns a cookie other than the one demanded.",
        "Treats the message as if it held no cookie, and demands one again.",
        "RFC 7296 2.6",
        |_| Ok(Action::NotifyData(NotifyType::COOKIE, OctetEdit::Xor(0, 0xff))),
    )
    .when(init_request)
    .played_by_initiator(),
    fault(
        "long-cookie",
        "Hands out a cookie longer than the 64 octets allowed.",
        "Refuses it, or returns it unchanged.",
        "RFC 7296 2.6, 3.10.1",
        |args| {
            let edit = OctetEdit::Resize(args.int("octets")?);
            Ok(Action::Secret { kind: SecretKind::Cookie, edit })
        },
    )
    .args(&[arg("octets", "octets", "65", "its length")])
    .played_by_responder()
    .used("{use: long-cookie}, {use: demand-cookie, times: 1}"),
    fault(
        "empty-cookie",
        "Hands out a cookie of no octets.",
        "Refuses it, or returns it as it is.",
        "RFC 7296 2.6, 3.10.1",
        |_| Ok(Action::Secret { kind: SecretKind::Cookie, edit: OctetEdit::Set(Vec::new()) }),
    )
    .played_by_responder()
    .used("{use: empty-cookie}, {use: demand-cookie, times: 1}"),
    fault(
        "ignore-invalid-ke",
        "Does not follow INVALID_KE_PAYLOAD, but goes on sending the same KE.",
        "Refuses it every time.",
        "RFC 7296 1.3, 2.7",
        |_| Ok(Action::Decide(Choice::FollowInvalidKe(false))),
    )
    .when(in_init)
    .played_by_initiator(),
    fault(
        "demand-group",
        "Answers every IKE_SA_INIT with INVALID_KE_PAYLOAD for one group, even when it is the one used.",
        "Follows once if it offered the group, and does not go round for ever.",
        "RFC 7296 1.3, 2.7",
        |args| Ok(Action::Decide(Choice::DemandGroup(args.group("group")?))),
    )
    .args(&[arg("group", "group", "modp4096", "the group demanded")])
    .when(in_init)
    .played_by_responder()
    .used("{use: demand-group, with: {group: ecp256}}"),
    fault(
        "demand-groups-in-turn",
        "Answers IKE_SA_INIT with INVALID_KE_PAYLOAD for two groups in turn, for ever.",
        "Gives up after a few rounds.",
        "RFC 7296 1.3, 2.7",
        |args| Ok(Action::Decide(Choice::DemandGroups(args.group("one")?, args.group("other")?))),
    )
    .args(&[arg("one", "group", "modp2048", "a group"), arg("other", "group", "ecp256", "another group")])
    .when(in_init)
    .played_by_responder(),
    fault(
        "bad-invalid-ke",
        "Sends INVALID_KE_PAYLOAD with fewer or more than the two octets of a group.",
        "Ignores it or fails; it does not guess a group.",
        "RFC 7296 1.3, 3.10.1",
        |args| Ok(Action::NotifyData(NotifyType::INVALID_KE_PAYLOAD, OctetEdit::Resize(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "1", "how many")])
    .played_by_responder()
    .used("{use: bad-invalid-ke}, {use: demand-group, with: {group: ecp256}}"),
    fault(
        "refuse-init",
        "Refuses IKE_SA_INIT with a notify.",
        "Gives up, or goes on waiting for a while: the refusal is not protected.",
        "RFC 7296 2.21.1",
        |args| Ok(Action::Decide(Choice::RefuseInit(args.notify("notify")?))),
    )
    .args(&[arg("notify", "notify", "NO_PROPOSAL_CHOSEN", "name or number")])
    .when(in_init)
    .played_by_responder()
    .used("{use: refuse-init, with: {notify: INVALID_SYNTAX}}"),
    fault(
        "false-refusal",
        "Sends an unprotected refusal of IKE_SA_INIT behind the good answer.",
        "Goes on with the good answer.",
        "RFC 7296 2.21.1, 2.21.4",
        |args| {
            let what = Invention {
                exchange: ExchangeType::IKE_SA_INIT,
                response: true,
                payloads: vec![Payload::Notify(NotifyPayload::new(args.notify("notify")?))],
                sealed: false,
                message_id: Some(0),
                count: 1,
            };
            Ok(Action::Invent { what, at: Moment::Sent })
        },
    )
    .args(&[arg("notify", "notify", "NO_PROPOSAL_CHOSEN", "name or number")])
    .when(init_response)
    .played_by_responder(),
];
