//! The SA payload: proposals and transforms, malformed or not offered.

use super::names::transform_type_by_name;
use super::row::{Args, FaultRow, arg, fault};
use crate::fault::action::{Action, ProposalEdit};
use crate::fault::octets::OctetEdit;
use crate::wire::registry::TransformType;
use crate::wire::{Attribute, AttributeValue, FieldEdit, Transform};

const FIRST_TRANSFORM: &str = "sa.proposal[0].transform[0]";

fn set(path: &str, value: Vec<u8>) -> Action {
    Action::Field(FieldEdit::Set { path: path.to_owned(), value })
}

fn add(path: &str, delta: i64) -> Action {
    Action::Field(FieldEdit::Add { path: path.to_owned(), delta })
}

fn kind(args: &Args<'_>) -> Result<TransformType, String> {
    transform_type_by_name(args.get("type")?)
}

/// The transform that the arguments type, id and bits name.
fn transform(args: &Args<'_>) -> Result<Transform, String> {
    let bits: u16 = args.int("bits")?;
    // Key Length is attribute 14.
    let key_length = Attribute { kind: 14, value: AttributeValue::Short(bits) };
    let attributes = if bits == 0 { Vec::new() } else { vec![key_length] };
    Ok(Transform { kind: kind(args)?, id: args.int("id")?, attributes })
}

pub(super) static ROWS: &[FaultRow] = &[
    fault(
        "wrong-proposal-number",
        "Numbers the proposals from something other than 1, or an answer's proposal as none that was offered.",
        "Refuses the message, or takes the numbers as they are; an initiator finds an answer that it did not offer.",
        "RFC 7296 3.3, 3.3.1",
        |args| Ok(Action::Proposals(ProposalEdit::Number(args.int("first")?))),
    )
    .args(&[arg("first", "number", "7", "number of the first proposal")]),
    fault(
        "wrong-proposal-protocol",
        "Names another protocol in the proposals.",
        "Answers NO_PROPOSAL_CHOSEN.",
        "RFC 7296 3.3.1",
        |args| Ok(Action::Proposals(ProposalEdit::Protocol(args.int("protocol")?))),
    )
    .args(&[arg("protocol", "number", "2", "1 IKE, 2 AH, 3 ESP")]),
    fault(
        "wrong-proposal-spi",
        "Gives the proposals an SPI of another length, with a size that says so.",
        "Refuses the proposals: IKE has none or 8 octets, ESP 4.",
        "RFC 7296 3.3.1",
        |args| Ok(Action::Proposals(ProposalEdit::Spi(OctetEdit::Resize(args.int("octets")?)))),
    )
    .args(&[arg("octets", "octets", "6", "its length")]),
    fault(
        "zero-child-spi",
        "Offers or chooses the SPI zero for a Child SA.",
        "Refuses the proposal: zero is no SPI, and the first 255 are reserved.",
        "RFC 7296 3.3.1; RFC 4303 2.1",
        |_| Ok(Action::Proposals(ProposalEdit::Spi(OctetEdit::Fill(0)))),
    )
    .used("{use: zero-child-spi, when: {exchange: IKE_AUTH}}"),
    fault(
        "omit-transform",
        "Leaves all transforms of one type out of the proposals.",
        "Answers NO_PROPOSAL_CHOSEN, or refuses an answer that is not complete.",
        "RFC 7296 3.3.3, 3.3.6",
        |args| Ok(Action::Proposals(ProposalEdit::Without(kind(args)?))),
    )
    .args(&[arg("type", "transform type", "INTEG", "ENCR, PRF, INTEG, KE, ESN or a number")])
    .used("{use: omit-transform, with: {type: PRF}, when: {exchange: IKE_SA_INIT}}"),
    fault(
        "add-transform",
        "Adds a transform to the proposals; to an answer, a second one of its type.",
        "Does not choose what it does not know; refuses an answer with two of one type.",
        "RFC 7296 3.3.3, 3.3.6",
        |args| Ok(Action::Proposals(ProposalEdit::With(transform(args)?))),
    )
    .args(&[
        arg("type", "transform type", "ENCR", "ENCR, PRF, INTEG, KE, ESN or a number"),
        arg("id", "number", "1023", "Transform ID"),
        arg("bits", "bits", "0", "Key Length; 0 for none"),
    ]),
    fault(
        "swap-transform",
        "Writes another transform in the place of those of its type: an answer that was not offered.",
        "Refuses an answer that it did not offer; answers NO_PROPOSAL_CHOSEN to an offer of nothing known.",
        "RFC 7296 2.7, 3.3.6",
        |args| Ok(Action::Proposals(ProposalEdit::Instead(transform(args)?))),
    )
    .args(&[
        arg("type", "transform type", "ENCR", "ENCR, PRF, INTEG, KE, ESN or a number"),
        arg("id", "number", "3", "Transform ID"),
        arg("bits", "bits", "0", "Key Length; 0 for none"),
    ])
    .used("{use: swap-transform, with: {type: ENCR, id: 3}, when: {exchange: IKE_SA_INIT, response: true}}"),
    fault(
        "wrong-key-length",
        "Says another key length for the ciphers.",
        "Does not choose a length that the cipher does not have, and refuses one that it did not offer.",
        "RFC 7296 3.3.5, 3.3.6",
        |args| Ok(Action::Proposals(ProposalEdit::KeyBits(Some(args.int("bits")?)))),
    )
    .args(&[arg("bits", "bits", "96", "the length")]),
    fault(
        "no-key-length",
        "Leaves out the key length of ciphers that need one.",
        "Does not choose a cipher without its key length.",
        "RFC 7296 3.3.5, 3.3.6",
        |_| Ok(Action::Proposals(ProposalEdit::KeyBits(None))),
    ),
    fault(
        "long-key-length",
        "Sends key lengths in the format for values of any length.",
        "Refuses the attribute or the proposal.",
        "RFC 7296 3.3.5",
        |_| Ok(Action::Proposals(ProposalEdit::LongKeyLength)),
    ),
    fault(
        "empty-key-length",
        "Sends key lengths in the format for values of any length, with a value of no octets.",
        "Refuses the attribute or the proposal.",
        "RFC 7296 3.3.5",
        |_| Ok(Action::Proposals(ProposalEdit::EmptyKeyLength)),
    ),
    fault(
        "repeated-key-length",
        "Sends the key length of each cipher twice.",
        "Refuses the transform, or takes one of the two.",
        "RFC 7296 3.3.5, 3.3.6",
        |_| Ok(Action::Proposals(ProposalEdit::RepeatedKeyLength)),
    ),
    fault(
        "needless-key-length",
        "Sends a key length with a PRF, which has only one.",
        "Does not choose such a transform.",
        "RFC 7296 3.3.5, 3.3.6",
        |args| Ok(Action::Proposals(ProposalEdit::NeedlessKeyLength(args.int("bits")?))),
    )
    .args(&[arg("bits", "bits", "256", "the length")]),
    fault(
        "unknown-attribute",
        "Gives the first transform's first attribute a type that nobody knows.",
        "Does not choose a transform with an attribute that it does not know.",
        "RFC 7296 3.3.5, 3.3.6",
        |args| {
            let kind = 0x8000 | args.int::<u16>("type")?;
            Ok(set("sa.proposal[0].transform[0].attribute[0].type", kind.to_be_bytes().to_vec()))
        },
    )
    .args(&[arg("type", "number", "99", "attribute type")]),
    fault(
        "key-length-as-length",
        "Says that the first transform's key length is the length of a value, of which there are not that many octets.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.3.5",
        |_| {
            let path = format!("{FIRST_TRANSFORM}.attribute[0].type");
            Ok(Action::Field(FieldEdit::Xor { path, mask: vec![0x80, 0] }))
        },
    ),
    fault(
        "no-transforms",
        "Sends proposals without any transform.",
        "Answers NO_PROPOSAL_CHOSEN or INVALID_SYNTAX.",
        "RFC 7296 3.3.1, 3.3.6",
        |_| Ok(Action::Proposals(ProposalEdit::Bare)),
    ),
    fault(
        "many-proposals",
        "Repeats the first proposal with ascending numbers.",
        "Reads them all; an answer must hold only one.",
        "RFC 7296 3.3, 3.3.1",
        |args| Ok(Action::Proposals(ProposalEdit::Copies(args.int("copies")?))),
    )
    .args(&[arg("copies", "number", "40", "how many more")]),
    fault(
        "wrong-proposal-length",
        "Adds to the length of the first proposal.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.3.1",
        |args| Ok(add("sa.proposal[0].length", args.int("delta")?)),
    )
    .args(&[arg("delta", "octets", "4", "what to add; may be negative")]),
    fault(
        "wrong-spi-size",
        "Says another SPI size in the first proposal than its SPI has.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.3.1",
        |args| Ok(set("sa.proposal[0].spi_size", vec![args.int("octets")?])),
    )
    .args(&[arg("octets", "octets", "200", "the size said")]),
    fault(
        "wrong-transform-count",
        "Says another number of transforms in the first proposal.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.3.1",
        |args| Ok(add("sa.proposal[0].transforms", args.int("delta")?)),
    )
    .args(&[arg("delta", "number", "1", "what to add; may be negative")]),
    fault(
        "endless-proposals",
        "Says that another proposal follows the first one, or that none does.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.3.1",
        |_| Ok(Action::Field(FieldEdit::Xor { path: "sa.proposal[0].last".to_owned(), mask: vec![2] })),
    ),
    fault(
        "wrong-transform-length",
        "Adds to the length of the first transform.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.3.2",
        |args| Ok(add(&format!("{FIRST_TRANSFORM}.length"), args.int("delta")?)),
    )
    .args(&[arg("delta", "octets", "-4", "what to add; may be negative")]),
    fault(
        "wrong-last-transform",
        "Says that no transform follows the first one although one does, or the other way round.",
        "Refuses the message with INVALID_SYNTAX, or drops it.",
        "RFC 7296 2.21, 3.3.2",
        |_| Ok(Action::Field(FieldEdit::Xor { path: format!("{FIRST_TRANSFORM}.last"), mask: vec![3] })),
    ),
    fault(
        "unknown-transform-type",
        "Gives the first transform a type that nobody knows.",
        "Does not choose a proposal with a type that it does not know.",
        "RFC 7296 3.3.2, 3.3.6",
        |args| Ok(set(&format!("{FIRST_TRANSFORM}.type"), vec![args.int("type")?])),
    )
    .args(&[arg("type", "number", "200", "transform type")]),
];
