//! The IKE header, field by field.

use super::row::{FaultRow, always, arg, fault, in_init};
use crate::fault::action::Action;
use crate::wire::FieldEdit;

fn set(path: &str, value: Vec<u8>) -> Action {
    Action::Field(FieldEdit::Set { path: path.to_owned(), value })
}

fn flip(path: &str, mask: &[u8]) -> Action {
    Action::Field(FieldEdit::Xor { path: path.to_owned(), mask: mask.to_vec() })
}

fn add(path: &str, delta: i64) -> Action {
    Action::Field(FieldEdit::Add { path: path.to_owned(), delta })
}

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "zero-initiator-spi",
        "Writes zero for the initiator's SPI, which must not be zero.",
        "Drops the message.",
        "RFC 7296 3.1",
        |_| Ok(set("header.spi_i", vec![0; 8])),
    ),
    fault(
        "wrong-initiator-spi",
        "Flips bits of the initiator's SPI.",
        "Finds no IKE SA with these SPIs, and changes nothing.",
        "RFC 7296 2.6, 2.21.4",
        |args| Ok(flip("header.spi_i", &args.hex("mask")?)),
    )
    .args(&[arg("mask", "hex", "0x00000000ffffffff", "which bits")]),
    fault(
        "zero-responder-spi",
        "Writes zero for the responder's SPI in a message that must have one.",
        "Finds no IKE SA with these SPIs, and changes nothing.",
        "RFC 7296 2.6, 3.1",
        |_| Ok(set("header.spi_r", vec![0; 8])),
    )
    .used("{use: zero-responder-spi, when: {exchange: IKE_AUTH}}"),
    fault(
        "wrong-responder-spi",
        "Flips bits of the responder's SPI; of zero in a first request that makes something else.",
        "Finds no IKE SA with these SPIs, and changes nothing.",
        "RFC 7296 2.6, 2.21.4",
        |args| Ok(flip("header.spi_r", &args.hex("mask")?)),
    )
    .args(&[arg("mask", "hex", "0x00000000ffffffff", "which bits")]),
    fault(
        "wrong-first-payload",
        "Names another type of the first payload in the header.",
        "Refuses the message with INVALID_SYNTAX or drops it.",
        "RFC 7296 2.21, 3.1",
        |args| Ok(set("header.next", vec![args.int("type")?])),
    )
    .args(&[arg("type", "number", "39", "payload type")]),
    fault(
        "major-version",
        "Sends another major version.",
        "Answers a higher one with INVALID_MAJOR_VERSION and its own version, or drops it.",
        "RFC 7296 2.5, 3.1",
        |args| Ok(set("header.version", args.hex("version")?)),
    )
    .args(&[arg("version", "hex", "0x30", "the version octet")])
    .when(in_init),
    fault(
        "minor-version",
        "Sends a higher minor version.",
        "Ignores the minor version.",
        "RFC 7296 2.5, 3.1",
        |args| Ok(set("header.version", vec![0x20 | (args.int::<u8>("minor")? & 0x0f)])),
    )
    .args(&[arg("minor", "number", "7", "0 to 15")])
    .when(always),
    fault(
        "unknown-exchange",
        "Names another exchange type than the message is of.",
        "Drops what is no exchange, or answers INVALID_SYNTAX where the message was protected.",
        "RFC 7296 2.21, 3.1",
        |args| Ok(set("header.exchange", vec![args.int("type")?])),
    )
    .args(&[arg("type", "number", "240", "exchange type")]),
    fault(
        "flip-initiator-flag",
        "Claims to be the other end of the IKE SA by the flag I.",
        "Drops the message.",
        "RFC 7296 3.1",
        |_| Ok(flip("header.flags", &[0x08])),
    ),
    fault(
        "flip-response-flag",
        "Sends a request as a response, or a response as a request, by the flag R.",
        "Drops the message: a response to nothing, or a request of no sense.",
        "RFC 7296 2.2, 3.1",
        |_| Ok(flip("header.flags", &[0x20])),
    ),
    fault(
        "version-flag",
        "Sets the flag V: claims to speak a higher major version, too.",
        "Ignores it: there is none.",
        "RFC 7296 2.5, 3.1",
        |_| Ok(flip("header.flags", &[0x10])),
    ),
    fault("reserved-flags", "Sets the reserved bits of the flags.", "Ignores them.", "RFC 7296 2.5, 3.1", |_| {
        Ok(flip("header.flags", &[0xc7]))
    }),
    fault(
        "wrong-message-id",
        "Adds to the message id.",
        "Drops what is outside its window or answers nothing that it asked.",
        "RFC 7296 2.2, 2.3",
        |args| Ok(add("header.message_id", args.int("delta")?)),
    )
    .args(&[arg("delta", "number", "1", "what to add; may be negative")])
    .used("{use: wrong-message-id, with: {delta: 7}, when: {exchange: IKE_AUTH}}"),
    fault(
        "wrong-length",
        "Adds to the length of the message in its header.",
        "Drops what is longer or shorter than its header says.",
        "RFC 7296 3.1",
        |args| Ok(add("header.length", args.int("delta")?)),
    )
    .args(&[arg("delta", "octets", "-4", "what to add; may be negative")]),
];
