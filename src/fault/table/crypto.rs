//! Key exchange, nonces and SPIs: bad values, and values that are fixed for exact tests.

use super::row::{FaultRow, always, arg, fault};
use crate::engine::SecretKind;
use crate::fault::action::Action;
use crate::fault::octets::OctetEdit;
use crate::wire::FieldEdit;

fn key_exchange(edit: OctetEdit) -> Action {
    Action::Secret { kind: SecretKind::KeyExchange, edit }
}

fn nonce(edit: OctetEdit) -> Action {
    Action::Secret { kind: SecretKind::Nonce, edit }
}

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "zero-key-exchange",
        "Sends a public key-exchange value of zeros.",
        "Refuses it: such a value fixes the shared secret.",
        "RFC 6989 2.1; RFC 8031 3",
        |_| Ok(key_exchange(OctetEdit::Fill(0))),
    ),
    fault(
        "one-key-exchange",
        "Sends the public key-exchange value 1.",
        "Refuses it: such a value fixes the shared secret.",
        "RFC 6989 2.1; RFC 8031 3",
        |_| Ok(key_exchange(OctetEdit::One)),
    ),
    fault(
        "minus-one-key-exchange",
        "Sends the public key-exchange value p-1 (MODP groups and Curve25519).",
        "Refuses it: such a value leaves two shared secrets.",
        "RFC 6989 2.1; RFC 8031 3",
        |_| Ok(key_exchange(OctetEdit::MinusOne)),
    ),
    fault(
        "off-curve-key-exchange",
        "Sends a point that is not on the curve (ECP groups).",
        "Refuses it: the equation of the curve must be checked.",
        "RFC 6989 2.3; RFC 5903 9",
        |_| Ok(key_exchange(OctetEdit::OffCurve)),
    ),
    fault(
        "short-key-exchange",
        "Sends a public key-exchange value of the wrong length.",
        "Refuses it with INVALID_SYNTAX, or drops the message.",
        "RFC 7296 3.4",
        |args| Ok(key_exchange(OctetEdit::Resize(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "16", "length sent")]),
    fault(
        "long-key-exchange",
        "Sends zero octets behind a public key-exchange value.",
        "Refuses it with INVALID_SYNTAX, or drops the message.",
        "RFC 7296 3.4",
        |args| Ok(key_exchange(OctetEdit::Append(vec![0; args.int("octets")?]))),
    )
    .args(&[arg("octets", "octets", "1", "how many")]),
    fault(
        "wrong-key-exchange",
        "Flips a bit of our public key-exchange value: the two ends compute different keys.",
        "Finds that no integrity check of ours is good, and changes nothing.",
        "RFC 7296 2.14, 2.21.4",
        |args| Ok(key_exchange(OctetEdit::Xor(args.int("offset")?, 1))),
    )
    .args(&[arg("offset", "octets", "4", "which octet")]),
    fault(
        "repeated-key-exchange",
        "Sends the public key-exchange value of the first exchange again in later ones.",
        "Notices nothing until the keys do not fit.",
        "RFC 7296 2.12",
        |_| Ok(Action::SameSecret(SecretKind::KeyExchange)),
    ),
    fault(
        "wrong-ke-group",
        "Names another group in the KE payload than the value is of.",
        "Answers INVALID_KE_PAYLOAD, or refuses the value's length.",
        "RFC 7296 1.3, 3.4",
        |args| {
            let group = args.group("group")?.0.to_be_bytes().to_vec();
            Ok(Action::Field(FieldEdit::Set { path: "ke.group".to_owned(), value: group }))
        },
    )
    .args(&[arg("group", "group", "modp1536", "the group named")]),
    fault(
        "short-nonce",
        "Sends a nonce that is too short.",
        "Refuses it with INVALID_SYNTAX, or drops the message: 16 octets are the least.",
        "RFC 7296 2.10, 3.9",
        |args| Ok(nonce(OctetEdit::Resize(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "8", "length sent; 16 to 256 are allowed")]),
    fault(
        "long-nonce",
        "Sends a nonce that is too long.",
        "Refuses it with INVALID_SYNTAX, or drops the message: 256 octets are the most.",
        "RFC 7296 2.10, 3.9",
        |args| Ok(nonce(OctetEdit::Append(vec![0x5a; args.int("more")?]))),
    )
    .args(&[arg("more", "octets", "300", "octets more than there were")]),
    fault(
        "repeated-nonce",
        "Uses the first nonce again in every later exchange.",
        "Need not notice; the keys differ only by the peer's nonce.",
        "RFC 7296 2.10, 2.17",
        |_| Ok(Action::SameSecret(SecretKind::Nonce)),
    ),
    fault(
        "lowest-nonce",
        "Uses a nonce of zeros: it has the lowest nonce of a collision, and what we asked for is what is undone.",
        "Keeps the SA that it asked for itself, and closes none but ours.",
        "RFC 7296 2.8.1",
        |_| Ok(nonce(OctetEdit::Fill(0))),
    ),
    fault(
        "highest-nonce",
        "Uses a nonce of ones: in a collision the lowest nonce is the peer's.",
        "Closes the SA that it asked for itself, and keeps ours.",
        "RFC 7296 2.8.1",
        |_| Ok(nonce(OctetEdit::Fill(0xff))),
    ),
    fault(
        "fixed-ike-spi",
        "Uses this SPI for our end of every IKE SA.",
        "Takes any SPI other than zero.",
        "RFC 7296 2.6",
        |args| Ok(Action::Secret { kind: SecretKind::IkeSpi, edit: OctetEdit::Set(args.octets("spi", 8)?) }),
    )
    .args(&[arg("spi", "hex", "1badc0de1badc0de", "8 octets")]),
    fault(
        "repeated-ike-spi",
        "Uses the first SPI again for our end of every later IKE SA.",
        "Tells a new IKE_SA_INIT from an old one by the whole packet and its source.",
        "RFC 7296 2.1, 2.6",
        |_| Ok(Action::SameSecret(SecretKind::IkeSpi)),
    ),
    fault(
        "fixed-child-spi",
        "Uses this inbound SPI for every Child SA.",
        "Takes any SPI above 255.",
        "RFC 7296 2.9; RFC 4303 2.1",
        |args| Ok(Action::Secret { kind: SecretKind::ChildSpi, edit: OctetEdit::Set(args.octets("spi", 4)?) }),
    )
    .args(&[arg("spi", "hex", "c0ffee01", "4 octets")])
    .when(always),
    fault(
        "reserved-child-spi",
        "Uses an inbound SPI below 256, which are reserved.",
        "Refuses it or takes it; it must not mistake it for something local.",
        "RFC 4303 2.1",
        |args| {
            let spi = vec![0, 0, 0, args.int("spi")?];
            Ok(Action::Secret { kind: SecretKind::ChildSpi, edit: OctetEdit::Set(spi) })
        },
    )
    .args(&[arg("spi", "number", "255", "1 to 255")]),
];
