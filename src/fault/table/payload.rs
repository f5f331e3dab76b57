//! Payloads of any kind, and single fields of them.

use super::row::{ArgSpec, FaultRow, arg, fault, needed};
use crate::fault::action::Action;
use crate::fault::octets::OctetEdit;
use crate::fault::rule::PayloadSel;
use crate::wire::registry::{CfgAttr, CfgType, PayloadType};
use crate::wire::{CfgAttribute, CpPayload, FieldEdit, NotifyPayload, Payload, RawPayload};

const PAYLOAD: ArgSpec = arg("payload", "payload", "Nonce", "SA, KE, IDi, AUTH, TSi, N(NAME), ...");
const PATH: ArgSpec = needed("path", "field", "header.flags", "the field, such as sa.proposal[0].transform[2].length");

const CONFIG_TYPE: &str = "cp.attribute[0].type";
const CONFIG_LENGTH: &str = "cp.attribute[0].length";

fn raw(kind: PayloadType, critical: bool, body: Vec<u8>) -> Payload {
    Payload::Raw(RawPayload { kind, critical, body })
}

fn body(payload: PayloadSel, edit: OctetEdit) -> Action {
    Action::Body { payloads: vec![payload], edit }
}

/// The field of a payload's generic header.
fn generic(payload: PayloadSel, field: &str) -> Result<String, String> {
    let names = [
        (PayloadType::SA, "sa"),
        (PayloadType::KE, "ke"),
        (PayloadType::IDI, "idi"),
        (PayloadType::IDR, "idr"),
        (PayloadType::CERT, "cert"),
        (PayloadType::CERTREQ, "certreq"),
        (PayloadType::AUTH, "auth"),
        (PayloadType::NONCE, "nonce"),
        (PayloadType::NOTIFY, "notify"),
        (PayloadType::DELETE, "delete"),
        (PayloadType::VENDOR, "vendor"),
        (PayloadType::TSI, "tsi"),
        (PayloadType::TSR, "tsr"),
        (PayloadType::CP, "cp"),
        (PayloadType::EAP, "eap"),
    ];
    let name = names.iter().find(|(kind, _)| *kind == payload.kind).map(|(_, name)| name);
    match (name, payload.notify) {
        (Some(name), None) => Ok(format!("{name}.{field}")),
        _ => Err("payload: name its type only, such as N for the first notify".to_owned()),
    }
}

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "omit-payload",
        "Leaves a payload out.",
        "Refuses a message without what it must have (INVALID_SYNTAX); does without what it need not have.",
        "RFC 7296 1.2, 2.21",
        |args| Ok(Action::Omit(args.payload("payload")?)),
    )
    .args(&[PAYLOAD])
    .used("{use: omit-payload, with: {payload: TSi}, when: {exchange: IKE_AUTH}}"),
    fault(
        "duplicate-payload",
        "Sends a payload twice.",
        "Refuses a second one where only one may be (INVALID_SYNTAX), or takes no notice of it.",
        "RFC 7296 2.21, 3.2",
        |args| Ok(Action::Duplicate(args.payload("payload")?)),
    )
    .args(&[PAYLOAD]),
    fault(
        "move-payload",
        "Moves a payload to the front or the back.",
        "Does not mind the order of payloads.",
        "RFC 7296 2, 3.2",
        |args| {
            let first = args.one_of("to", &[("first", true), ("last", false)])?;
            Ok(Action::Move { payload: args.payload("payload")?, first })
        },
    )
    .args(&[PAYLOAD, arg("to", "word", "last", "first or last")])
    .used("{use: move-payload, with: {payload: KE, to: first}}"),
    fault(
        "reverse-payloads",
        "Sends the payloads in the reverse order.",
        "Does not mind the order of payloads.",
        "RFC 7296 2, 3.2",
        |_| Ok(Action::Reverse),
    ),
    fault(
        "add-notify",
        "Adds a notify.",
        "Ignores a status that it does not know; takes an unknown error in an answer for a failure.",
        "RFC 7296 3.10, 3.10.1",
        |args| {
            let data = if args.get("data")? == "none" { Vec::new() } else { args.hex("data")? };
            let payload = Payload::Notify(NotifyPayload::with_data(args.notify("notify")?, data));
            Ok(Action::Add { payload, first: false })
        },
    )
    .args(&[
        arg("notify", "notify", "40960", "name or number"),
        arg("data", "hex", "none", "notification data, or none"),
    ])
    .used("{use: add-notify, with: {notify: INITIAL_CONTACT}}"),
    fault(
        "add-unknown-payload",
        "Adds a payload of an unknown type.",
        "Refuses the message with UNSUPPORTED_CRITICAL_PAYLOAD if the critical bit is set, and skips the payload if not.",
        "RFC 7296 2.5, 3.2",
        |args| {
            let payload = raw(PayloadType(args.int("type")?), args.yes("critical")?, vec![0; 4]);
            Ok(Action::Add { payload, first: false })
        },
    )
    .args(&[arg("type", "number", "200", "payload type"), arg("critical", "yes or no", "yes", "the critical bit")])
    .used("{use: add-unknown-payload, with: {critical: no}, when: {exchange: IKE_AUTH}}"),
    fault(
        "add-vendor-id",
        "Adds a Vendor ID that nobody knows.",
        "Ignores it.",
        "RFC 7296 3.12",
        |args| Ok(Action::Add { payload: raw(PayloadType::VENDOR, false, args.hex("id")?), first: false }),
    )
    .args(&[arg("id", "hex", "00112233445566778899aabbccddeeff", "its octets")]),
    fault(
        "empty-payload",
        "Sends a payload as nothing but its generic header.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.2",
        |args| Ok(body(args.payload("payload")?, OctetEdit::Set(Vec::new()))),
    )
    .args(&[PAYLOAD]),
    fault(
        "garble-payload",
        "Fills a payload's body with one value.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.2",
        |args| Ok(body(args.payload("payload")?, OctetEdit::Fill(args.int("value")?))),
    )
    .args(&[arg("payload", "payload", "SA", "which one"), arg("value", "octet", "0xff", "the value")]),
    fault(
        "lengthen-payload",
        "Adds zero octets to the end of a payload, and says so in its length.",
        "Refuses the message with INVALID_SYNTAX, or ignores what it does not understand.",
        "RFC 7296 2.21, 3.2",
        |args| Ok(body(args.payload("payload")?, OctetEdit::Append(vec![0; args.int("octets")?]))),
    )
    .args(&[arg("payload", "payload", "SA", "which one"), arg("octets", "octets", "4", "how many")]),
    fault(
        "shorten-payload",
        "Cuts octets off the end of a payload, and says so in its length.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.2",
        |args| Ok(body(args.payload("payload")?, OctetEdit::Shorten(args.int("octets")?))),
    )
    .args(&[arg("payload", "payload", "SA", "which one"), arg("octets", "octets", "4", "how many")]),
    fault(
        "wrong-payload-length",
        "Adds to the length of a payload in its generic header.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.2",
        |args| {
            let path = generic(args.payload("payload")?, "length")?;
            Ok(Action::Field(FieldEdit::Add { path, delta: args.int("delta")? }))
        },
    )
    .args(&[PAYLOAD, arg("delta", "octets", "-3", "what to add; may be negative")])
    .used("{use: wrong-payload-length, with: {payload: SA, delta: 1000}}"),
    fault(
        "tiny-payload-length",
        "Says a length that is shorter than the payload's own generic header.",
        "Refuses the message, and does not read it for ever.",
        "RFC 7296 2.21, 3.2",
        |args| {
            let path = generic(args.payload("payload")?, "length")?;
            Ok(Action::Field(FieldEdit::Set { path, value: vec![0, args.int("octets")?] }))
        },
    )
    .args(&[PAYLOAD, arg("octets", "octets", "0", "0 to 3")]),
    fault(
        "wrong-next-payload",
        "Names another type of the payload that follows, or one where none does.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.2",
        |args| {
            let path = generic(args.payload("payload")?, "next")?;
            Ok(Action::Field(FieldEdit::Set { path, value: vec![args.int("type")?] }))
        },
    )
    .args(&[PAYLOAD, arg("type", "number", "33", "payload type")]),
    fault(
        "critical-known-payloads",
        "Sets the critical bit of every payload, all of which the peer knows.",
        "Ignores the bit on payloads that it knows.",
        "RFC 7296 2.5, 3.2",
        |_| Ok(Action::EveryField { suffixes: &[".critical"], mask: 0x80 }),
    ),
    fault(
        "reserved-payload-bits",
        "Sets the reserved bits of every generic payload header.",
        "Ignores them.",
        "RFC 7296 2.5, 3.2",
        |_| Ok(Action::EveryField { suffixes: &[".critical"], mask: 0x7f }),
    ),
    fault(
        "reserved-fields",
        "Sets bits of the reserved fields inside payloads.",
        "Ignores them.",
        "RFC 7296 2.5, 3.3.1, 3.4",
        |_| Ok(Action::EveryField { suffixes: &[".reserved", ".reserved2"], mask: 0xff }),
    ),
    fault(
        "many-notifies",
        "Adds a great many notifies.",
        "Reads them or refuses the message, but stays responsive.",
        "RFC 7296 3.10; RFC 8019 2",
        |args| {
            let payload = Payload::Notify(NotifyPayload::new(args.notify("notify")?));
            Ok(Action::AddMany(payload, args.int("count")?))
        },
    )
    .args(&[arg("notify", "notify", "40961", "name or number"), arg("count", "number", "200", "how many")]),
    fault(
        "oversized-message",
        "Adds a Vendor ID of so many octets, so that the datagram must be fragmented.",
        "Reads it or drops it; a path that drops IP fragments drops it first.",
        "RFC 7296 2; RFC 7383 1",
        |args| Ok(Action::Add { payload: raw(PayloadType::VENDOR, false, vec![0x5a; args.int("octets")?]), first: false }),
    )
    .args(&[arg("octets", "octets", "3000", "how many")]),
    fault(
        "notify-spi",
        "Gives a notify an SPI that it should not have, or another one than it has.",
        "Ignores the SPI where there should be none.",
        "RFC 7296 3.10",
        |args| {
            let edit = OctetEdit::Set(args.hex("spi")?);
            Ok(Action::NotifySpi(args.notify("notify")?, edit))
        },
    )
    .args(&[
        arg("notify", "notify", "NAT_DETECTION_SOURCE_IP", "name or number"),
        arg("spi", "hex", "01020304", "its octets"),
    ]),
    fault(
        "wrong-notify-spi-size",
        "Says another SPI size in the first notify than its SPI has.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.10",
        |args| {
            let path = "notify.spi_size".to_owned();
            Ok(Action::Field(FieldEdit::Set { path, value: vec![args.int("octets")?] }))
        },
    )
    .args(&[arg("octets", "octets", "200", "the size said")]),
    fault(
        "wrong-notify-protocol",
        "Names another protocol in a notify than its SPI is of.",
        "Finds no such SA, or takes the notify for malformed.",
        "RFC 7296 1.3.3, 2.21, 3.10",
        |args| Ok(Action::NotifyProtocol(args.notify("notify")?, args.int("protocol")?)),
    )
    .args(&[
        arg("notify", "notify", "REKEY_SA", "name or number"),
        arg("protocol", "number", "2", "0 none, 1 IKE, 2 AH, 3 ESP"),
    ]),
    fault(
        "notify-in-clear",
        "Puts a notify in clear before the encrypted payload.",
        "Ignores what stands outside, although the integrity check covers it.",
        "RFC 7296 2.21.4, 3.14",
        |args| Ok(Action::AddOutside(Payload::Notify(NotifyPayload::new(args.notify("notify")?)))),
    )
    .args(&[arg("notify", "notify", "40962", "name or number")])
    .used("{use: notify-in-clear, when: {exchange: IKE_AUTH}}"),
    fault(
        "unknown-payload-in-clear",
        "Puts a payload of an unknown type in clear before the encrypted payload.",
        "Answers UNSUPPORTED_CRITICAL_PAYLOAD if it is critical, or drops the message; otherwise ignores it.",
        "RFC 7296 2.5, 3.14",
        |args| {
            let (kind, critical) = (PayloadType(args.int("type")?), args.yes("critical")?);
            Ok(Action::AddOutside(raw(kind, critical, vec![0xa5; 16])))
        },
    )
    .args(&[arg("type", "number", "200", "payload type"), arg("critical", "word", "yes", "yes or no")])
    .used("{use: unknown-payload-in-clear, when: {exchange: IKE_AUTH}}"),
    fault(
        "wrong-cert-encoding",
        "Says another encoding of the certificate than it has.",
        "Ignores it where the authentication does not need it, and otherwise says AUTHENTICATION_FAILED.",
        "RFC 7296 3.6",
        |args| Ok(body(PayloadSel::of(PayloadType::CERT), OctetEdit::Put(0, args.int("encoding")?))),
    )
    .args(&[arg("encoding", "number", "1", "1 PKCS #7, 4 X.509, 12 and 13 hash and URL")]),
    fault(
        "add-garbage-cert",
        "Adds a CERT payload that holds no certificate.",
        "Ignores it where the authentication does not need it, and otherwise says AUTHENTICATION_FAILED.",
        "RFC 7296 3.6",
        |args| {
            let mut octets = vec![4];
            octets.resize(1 + args.int::<usize>("octets")?, 0xa5);
            Ok(Action::Add { payload: raw(PayloadType::CERT, false, octets), first: false })
        },
    )
    .args(&[arg("octets", "octets", "64", "how many")])
    .used("{use: add-garbage-cert, when: {exchange: IKE_AUTH}}"),
    fault(
        "pkcs7-cert",
        "Sends our first certificate inside a PKCS #7.",
        "Takes it out, or does as without a certificate and says AUTHENTICATION_FAILED.",
        "RFC 7296 3.6; RFC 2315 9.1",
        |_| Ok(body(PayloadSel::of(PayloadType::CERT), OctetEdit::Pkcs7)),
    )
    .used("{use: pkcs7-cert, when: {exchange: IKE_AUTH}}"),
    fault(
        "broken-cert",
        "Flips a bit at the end of our first certificate: of the signature of whoever issued it.",
        "Does not believe the certificate, and says AUTHENTICATION_FAILED where the authentication needs it.",
        "RFC 7296 3.6; RFC 5280 6.1.3",
        |_| Ok(body(PayloadSel::of(PayloadType::CERT), OctetEdit::Xor(-1, 1))),
    )
    .used("{use: broken-cert, when: {exchange: IKE_AUTH}}"),
    fault(
        "unasked-config",
        "Adds a CFG_REPLY that nobody asked for.",
        "Ignores it.",
        "RFC 7296 2.19, 3.15",
        |_| {
            let address = CfgAttribute { kind: CfgAttr::INTERNAL_IP4_ADDRESS, value: vec![192, 0, 2, 99] };
            let payload = CpPayload { kind: CfgType::CFG_REPLY, attributes: vec![address] };
            Ok(Action::Add { payload: Payload::Cp(payload), first: false })
        },
    )
    .used("{use: unasked-config, when: {exchange: IKE_AUTH}}"),
    fault(
        "reserved-attribute-bit",
        "Sets the reserved bit of the first configuration attribute.",
        "Ignores it.",
        "RFC 7296 2.5, 3.15.1",
        |_| Ok(Action::Field(FieldEdit::Xor { path: CONFIG_TYPE.to_owned(), mask: vec![0x80, 0] })),
    )
    .used("{use: reserved-attribute-bit, when: {exchange: IKE_AUTH}}"),
    fault(
        "wrong-attribute-length",
        "Adds to the length of the first configuration attribute.",
        "Refuses the message with INVALID_SYNTAX, or ignores the payload.",
        "RFC 7296 2.21, 3.15.1",
        |args| Ok(Action::Field(FieldEdit::Add { path: CONFIG_LENGTH.to_owned(), delta: args.int("delta")? })),
    )
    .args(&[arg("delta", "octets", "4", "what to add; may be negative")])
    .used("{use: wrong-attribute-length, when: {exchange: IKE_AUTH}}"),
    fault(
        "set-field",
        "Writes a field of the encoded message; integrity check and encryption cover the change.",
        "Does what the field's section says.",
        "RFC 7296 3",
        |args| Ok(Action::Field(FieldEdit::Set { path: args.get("path")?.to_owned(), value: args.hex("value")? })),
    )
    .args(&[PATH, needed("value", "hex", "0x28", "its octets")])
    .used("{use: set-field, with: {path: header.version, value: 0x30}, when: {exchange: IKE_SA_INIT}}"),
    fault(
        "add-to-field",
        "Adds to a field of the encoded message, wrapping at its width.",
        "Does what the field's section says.",
        "RFC 7296 3",
        |args| Ok(Action::Field(FieldEdit::Add { path: args.get("path")?.to_owned(), delta: args.int("delta")? })),
    )
    .args(&[PATH, needed("delta", "number", "-1", "what to add; may be negative")])
    .used("{use: add-to-field, with: {path: sa.length, delta: -1}}"),
    fault(
        "flip-field",
        "Flips bits of a field of the encoded message.",
        "Does what the field's section says.",
        "RFC 7296 3",
        |args| Ok(Action::Field(FieldEdit::Xor { path: args.get("path")?.to_owned(), mask: args.hex("mask")? })),
    )
    .args(&[PATH, needed("mask", "hex", "0x01", "bits to flip")])
    .used("{use: flip-field, with: {path: header.flags, mask: 0x07}}"),
];
