//! ESP packets.

use super::row::{FaultRow, arg, fault};
use crate::fault::action::{Action, EspFault};

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "esp-wrong-encryption-key",
        "Encrypts with another key.",
        "Drops the packet: the ICV of an AEAD is wrong, and without one the contents make no sense.",
        "RFC 4303 3.4.4",
        |_| Ok(Action::Esp(EspFault::EncryptionKey)),
    ),
    fault(
        "esp-wrong-integrity-key",
        "Makes the ICV with another key.",
        "Drops the packet and counts it.",
        "RFC 4303 3.4.4.1",
        |_| Ok(Action::Esp(EspFault::IntegrityKey)),
    ),
    fault(
        "esp-wrong-spi",
        "Sends with an SPI that the peer does not have.",
        "Drops the packet; it may say INVALID_SPI.",
        "RFC 4303 3.4.2; RFC 7296 1.5",
        |args| Ok(Action::Esp(EspFault::Spi(args.int("mask")?))),
    )
    .args(&[arg("mask", "bits", "0xff000000", "bits to flip")]),
    fault("esp-icv-length", "Sends an ICV of another length.", "Drops the packet.", "RFC 4303 2.8, 3.4.4", |args| {
        Ok(Action::Esp(EspFault::IcvLength(args.int("octets")?)))
    })
    .args(&[arg("octets", "octets", "12", "its length")]),
    fault("esp-corrupt-icv", "Flips bits of the ICV.", "Drops the packet and counts it.", "RFC 4303 3.4.4", |args| {
        Ok(Action::Esp(EspFault::Icv(args.int("mask")?)))
    })
    .args(&[arg("mask", "bits", "0x01", "bits to flip in its first octet")]),
    fault(
        "esp-corrupt-body",
        "Flips bits behind the header, after the ICV was computed.",
        "Drops the packet and counts it.",
        "RFC 4303 3.4.4",
        |args| Ok(Action::Esp(EspFault::Body(args.int("mask")?))),
    )
    .args(&[arg("mask", "bits", "0x01", "bits to flip in the first octet")]),
    fault(
        "esp-sequence-jump",
        "Sends a sequence number far ahead.",
        "Takes it, moves its window, and drops what comes behind it.",
        "RFC 4303 3.4.3",
        |args| Ok(Action::Esp(EspFault::Ahead(args.int("by")?))),
    )
    .args(&[arg("by", "number", "5000", "how far")])
    .used("{use: esp-sequence-jump, with: {by: 5000}, times: 1}"),
    fault(
        "esp-fixed-sequence",
        "Sends every packet with the same sequence number.",
        "Takes the first and drops the others as replays; zero never.",
        "RFC 4303 2.2, 3.4.3",
        |args| Ok(Action::Esp(EspFault::Sequence(args.int("number")?))),
    )
    .args(&[arg("number", "number", "1", "the number")]),
    fault(
        "esp-sequence-reset",
        "Begins the sequence numbers anew after so many packets, under the same keys.",
        "Drops what comes then as replays, until the numbers are higher than those it has seen.",
        "RFC 4303 2.2, 3.3.3, 3.4.3",
        |args| Ok(Action::Esp(EspFault::Anew(args.int("after")?))),
    )
    .args(&[arg("after", "number", "1", "how many packets come first")])
    .used("{use: esp-sequence-reset, with: {after: 100}}"),
    fault(
        "esp-inner-source",
        "Sends an inner packet from an address outside the selectors.",
        "Drops it after decryption: the selectors must be checked.",
        "RFC 4301 5.2; RFC 4303 3.4",
        |args| Ok(Action::Esp(EspFault::Source(args.address("address")?))),
    )
    .args(&[arg("address", "IPv4 address", "203.0.113.66", "the address")]),
    fault(
        "esp-inner-destination",
        "Sends an inner packet to an address outside the selectors.",
        "Drops it after decryption: the selectors must be checked.",
        "RFC 4301 5.2; RFC 4303 3.4",
        |args| Ok(Action::Esp(EspFault::Destination(args.address("address")?))),
    )
    .args(&[arg("address", "IPv4 address", "203.0.113.67", "the address")]),
    fault(
        "esp-next-header",
        "Says another next header than the contents are of.",
        "Drops it after decryption; 59 is a dummy and dropped in silence.",
        "RFC 4303 2.6",
        |args| Ok(Action::Esp(EspFault::NextHeader(args.int("number")?))),
    )
    .args(&[arg("number", "number", "59", "IP protocol")]),
    fault(
        "esp-cut-inner",
        "Sends an inner packet that is cut short; the ICV is good.",
        "Drops it after decryption.",
        "RFC 4301 5.2; RFC 791 3.1",
        |args| Ok(Action::Esp(EspFault::Cut(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "10", "how many are left")]),
    fault(
        "esp-in-clear",
        "Sends the inner packet unprotected behind SPI and sequence number.",
        "Drops it: the ICV is wrong.",
        "RFC 4303 3.4.4",
        |_| Ok(Action::Esp(EspFault::Clear)),
    ),
    fault(
        "esp-drop",
        "Does not send the packet.",
        "Receives nothing, and may ask whether we live.",
        "RFC 4303 3.3; RFC 7296 2.4",
        |_| Ok(Action::Esp(EspFault::Drop)),
    )
    .used("{use: esp-drop, times: 3}"),
    fault(
        "esp-replay",
        "Sends the packet several times.",
        "Takes the first and drops the others as replays.",
        "RFC 4303 3.4.3",
        |args| Ok(Action::Esp(EspFault::Copies(args.int("copies")?))),
    )
    .args(&[arg("copies", "number", "1", "how many more")]),
    fault(
        "esp-reorder",
        "Sends the packet behind the next one.",
        "Takes both, inside its replay window.",
        "RFC 4303 3.4.3",
        |_| Ok(Action::Esp(EspFault::Overtaken)),
    )
    .used("{use: esp-reorder, times: 1}"),
];
