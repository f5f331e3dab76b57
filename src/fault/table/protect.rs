//! The encrypted payload, its integrity check, and RFC 7383 fragments.

use super::row::{FaultRow, arg, fault};
use crate::fault::action::{Action, FragmentEdit};
use crate::fault::octets::OctetEdit;
use crate::wire::FieldEdit;

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "send-in-clear",
        "Sends in clear what was to be protected.",
        "Drops the message, and changes nothing.",
        "RFC 7296 2.21.4, 3.14",
        |_| Ok(Action::Unprotect),
    )
    .used("{use: send-in-clear, when: {exchange: INFORMATIONAL}}"),
    fault(
        "short-icv",
        "Cuts the integrity check value, and says so in the lengths.",
        "Drops the message: a right beginning is not enough.",
        "RFC 7296 3.14; RFC 5282 4",
        |args| Ok(Action::ShortIcv(args.int("octets")?)),
    )
    .args(&[arg("octets", "octets", "4", "how many are missing")])
    .used("{use: short-icv, when: {exchange: IKE_AUTH}}"),
    fault(
        "corrupt-iv",
        "Flips bits of the initialisation vector after the integrity check was computed.",
        "Drops the message.",
        "RFC 7296 3.14; RFC 5282 3.1",
        |args| Ok(Action::CorruptIv(args.int("mask")?)),
    )
    .args(&[arg("mask", "bits", "0x80", "which bits of its first octet")])
    .used("{use: corrupt-iv, when: {exchange: IKE_AUTH}}"),
    fault(
        "zero-iv",
        "Uses an initialisation vector of zeros every time; the integrity check is good.",
        "Takes the message: a receiver does not judge the IV.",
        "RFC 7296 3.14; RFC 5282 3.1",
        |_| Ok(Action::Iv(OctetEdit::Fill(0))),
    ),
    fault(
        "odd-padding",
        "Sends a pad length that does not fit the message; the integrity check is good.",
        "Drops the message or answers INVALID_SYNTAX.",
        "RFC 7296 3.14",
        |args| {
            let pad_length = Some(args.int("says")?);
            Ok(Action::Padding { len: args.int("octets")?, value: args.int("value")?, pad_length })
        },
    )
    .args(&[
        arg("octets", "octets", "0", "padding octets"),
        arg("value", "octet", "0", "their value"),
        arg("says", "octet", "255", "the pad length octet"),
    ])
    .used("{use: odd-padding, with: {octets: 15, says: 200}}"),
    fault(
        "more-padding",
        "Sends more padding than is needed, of any value.",
        "Takes the message: padding may have any length up to 255 and any value.",
        "RFC 7296 3.14",
        |args| Ok(Action::MorePadding { octets: args.int("octets")?, value: args.int("value")? }),
    )
    .args(&[arg("octets", "octets", "64", "how many more"), arg("value", "octet", "0xa5", "their value")]),
    fault(
        "garbage-inside",
        "Encrypts one value instead of the payloads; the integrity check is good.",
        "Answers INVALID_SYNTAX, or drops the message.",
        "RFC 7296 2.21.2, 3.14",
        |args| Ok(Action::Inner(OctetEdit::Fill(args.int("value")?))),
    )
    .args(&[arg("value", "octet", "0xff", "the value")])
    .used("{use: garbage-inside, when: {exchange: IKE_AUTH}}"),
    fault(
        "nothing-inside",
        "Encrypts no payloads at all, whatever the first one was said to be; the integrity check is good.",
        "Answers INVALID_SYNTAX, or drops the message.",
        "RFC 7296 2.21.2, 3.14",
        |_| Ok(Action::Inner(OctetEdit::Set(Vec::new()))),
    )
    .used("{use: nothing-inside, when: {exchange: IKE_AUTH}}"),
    fault(
        "trailing-octets-inside",
        "Encrypts octets behind the last payload that belong to none; the integrity check is good.",
        "Answers INVALID_SYNTAX, or reads no further than the last payload.",
        "RFC 7296 2.21.2, 3.14",
        |args| Ok(Action::Inner(OctetEdit::Append(vec![0xa5; args.int("octets")?]))),
    )
    .args(&[arg("octets", "octets", "5", "how many")]),
    fault(
        "wrong-first-inner-payload",
        "Names another type of the first payload inside; the integrity check is good.",
        "Answers INVALID_SYNTAX, or drops the message.",
        "RFC 7296 2.21.2, 3.14",
        |args| Ok(Action::Field(FieldEdit::Set { path: "sk.next".to_owned(), value: vec![args.int("type")?] })),
    )
    .args(&[arg("type", "number", "34", "payload type")])
    .used("{use: wrong-first-inner-payload, when: {exchange: IKE_AUTH}}"),
    fault(
        "wrong-sk-length",
        "Adds to the length of the encrypted payload in its generic header.",
        "Drops the message.",
        "RFC 7296 2.21, 3.14",
        |args| {
            let delta = args.int("delta")?;
            Ok(Action::Field(FieldEdit::Add { path: "sk.length".to_owned(), delta }))
        },
    )
    .args(&[arg("delta", "octets", "-4", "what to add; may be negative")]),
    fault(
        "lose-fragment",
        "Never sends one fragment.",
        "Waits for it, and forgets the others in the end; takes the whole when the message is sent again.",
        "RFC 7383 2.6.1",
        |args| Ok(Action::OmitFragment(args.int("number")?)),
    )
    .args(&[arg("number", "number", "2", "fragment, from 1")]),
    fault("repeat-fragment", "Sends one fragment twice.", "Drops the second one.", "RFC 7383 2.6", |args| {
        Ok(Action::Fragments(FragmentEdit::Repeat(args.int("number")?)))
    })
    .args(&[arg("number", "number", "1", "fragment, from 1")]),
    fault(
        "overlap-fragment",
        "Sends a fragment twice, the second time with other contents and a good integrity check.",
        "Keeps the first and drops the second.",
        "RFC 7383 2.6",
        |args| Ok(Action::Fragments(FragmentEdit::Overlap(args.int("number")?))),
    )
    .args(&[arg("number", "number", "1", "fragment, from 1")]),
    fault(
        "reverse-fragments",
        "Sends the last fragment first.",
        "Puts them together in the order of their numbers.",
        "RFC 7383 2.6",
        |_| Ok(Action::Fragments(FragmentEdit::Reverse)),
    ),
    fault(
        "endless-fragments",
        "Says in every fragment that there are 65535.",
        "Keeps no more than it can afford, and forgets them in the end.",
        "RFC 7383 2.6, 5",
        |_| Ok(Action::Fragments(FragmentEdit::Endless)),
    ),
    fault(
        "renumber-fragment",
        "Gives a fragment another number; none is numbered 0 or beyond the total.",
        "Drops it.",
        "RFC 7383 2.5, 2.6",
        |args| Ok(Action::Fragments(FragmentEdit::Renumber(args.int("number")?, args.int("to")?))),
    )
    .args(&[arg("number", "number", "2", "fragment, from 1"), arg("to", "number", "0", "what it says")]),
    fault(
        "wrong-fragment-total",
        "Says another total in one fragment than in the others.",
        "Drops the fragment or begins anew: with a larger total all that came before.",
        "RFC 7383 2.6",
        |args| Ok(Action::Fragments(FragmentEdit::Total(args.int("number")?, args.int("total")?))),
    )
    .args(&[arg("number", "number", "2", "fragment, from 1"), arg("total", "number", "9", "what it says")]),
    fault(
        "tiny-fragments",
        "Splits every protected message into pieces of a few octets, agreed upon or not.",
        "Puts them together, or keeps to a smallest size that it accepts.",
        "RFC 7383 2.5, 5",
        |args| Ok(Action::Fragments(FragmentEdit::Tiny(args.int("octets")?))),
    )
    .args(&[arg("octets", "octets", "16", "payload octets in each")])
    .used("{use: tiny-fragments, with: {octets: 16}, when: {exchange: IKE_AUTH}}"),
    fault(
        "garble-fragment",
        "Fills one fragment with zeros; its integrity check is good.",
        "Answers INVALID_SYNTAX, or drops the message.",
        "RFC 7383 2.6; RFC 7296 2.21.2",
        |args| Ok(Action::Fragments(FragmentEdit::Garble(args.int("number")?))),
    )
    .args(&[arg("number", "number", "1", "fragment, from 1")]),
    fault(
        "empty-fragment",
        "Sends one fragment with nothing in it; its integrity check is good.",
        "Drops it, or finds the message broken.",
        "RFC 7383 2.5, 2.6",
        |args| Ok(Action::Fragments(FragmentEdit::Empty(args.int("number")?))),
    )
    .args(&[arg("number", "number", "1", "fragment, from 1")]),
    fault(
        "surplus-fragment",
        "Sends one fragment more than there are, with the number after the last.",
        "Drops it.",
        "RFC 7383 2.6",
        |_| Ok(Action::Fragments(FragmentEdit::Surplus)),
    ),
];
