//! What is wrong with a datagram, and where.

use std::fmt;

use super::registry::{PayloadType, TsType};

/// A fault found while decoding. `Display` gives one line for a person:
/// `SA payload, octet 32: proposal 1 says 40 octets, 36 remain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WireError {
    /// Where the faulty field stands: octets from the start of the buffer that was decoded. Never past its end.
    pub offset: usize,
    /// The payload it stands in; `None` for the IKE header and for the space between payloads.
    pub payload: Option<PayloadType>,
    /// What is wrong.
    pub kind: WireErrorKind,
}

/// The distinct faults, with the numbers involved. Lengths are octets; proposals, transforms, selectors and so on are
/// counted from 1 in order of appearance. An unknown payload with the critical bit set is not a fault here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the fields are the numbers in the message, named by it
pub enum WireErrorKind {
    /// The datagram is shorter than an IKE header (28 octets).
    ShortHeader { has: usize },
    /// The header's Length differs from what arrived.
    HeaderLength { says: u32, has: usize },
    /// Next Payload announces a payload, but no whole generic header (4 octets) is left.
    PayloadMissing { remain: usize },
    /// A Payload Length below 4, the size of its own header.
    PayloadTooShort { says: u16 },
    /// A Payload Length past the end of the buffer.
    PayloadLength { says: u16, remain: usize },
    /// More payloads than [`MAX_PAYLOADS`](super::MAX_PAYLOADS).
    TooManyPayloads { limit: usize },
    /// Octets after the last payload (Next Payload 0).
    TrailingOctets { count: usize },
    /// Octets after an SK or SKF payload, which must be the last one (RFC 7296 3.14).
    AfterEncrypted { count: usize },
    /// An SK or SKF payload inside an SK payload.
    NestedEncrypted,
    /// A body too short for its fixed fields.
    Truncated { part: &'static str, needs: usize, remain: usize },
    /// A proposal's length is past the end, or below its header and SPI.
    ProposalLength { proposal: usize, says: u16, remain: usize },
    /// A proposal's length is below the size of its own fixed part.
    ProposalTooShort { proposal: usize, says: u16, needs: usize },
    /// A proposal's Last Substruc contradicts what follows it: 0 for the last, 2 for the others.
    ProposalLast { proposal: usize, says: u8, remain: usize },
    /// A proposal's SPI Size is past the proposal's end.
    ProposalSpi { proposal: usize, says: u8, remain: usize },
    /// Num Transforms differs from the transforms present.
    TransformCount { proposal: usize, says: u8, found: usize },
    /// A transform's length is past the end of its proposal.
    TransformLength { proposal: usize, transform: usize, says: u16, remain: usize },
    /// A transform's length is below the size of its own fixed part.
    TransformTooShort { proposal: usize, transform: usize, says: u16 },
    /// A transform's Last Substruc contradicts what follows it: 0 for the last, 3 for the others.
    TransformLast { proposal: usize, transform: usize, says: u8, remain: usize },
    /// A transform attribute's value is past the end of its transform.
    AttributeLength { proposal: usize, transform: usize, says: u16, remain: usize },
    /// The notify's SPI Size is past the payload's end.
    NotifySpi { says: u8, remain: usize },
    /// The SPIs of a Delete payload do not fill it exactly.
    DeleteSpis { size: u8, count: u16, has: usize },
    /// A selector's length is past the payload's end.
    SelectorLength { selector: usize, says: u16, remain: usize },
    /// A selector's length is not that of its type.
    SelectorSize { selector: usize, kind: TsType, says: u16, needs: usize },
    /// Number of TSs differs from the selectors present.
    SelectorCount { says: u8, found: usize },
    /// A configuration attribute's value is past the payload's end.
    CfgAttributeLength { attribute: usize, says: u16, remain: usize },
}

/// A fault inside one payload's body; the payload's kind is added by the caller, who knows it.
pub(super) struct Fault {
    /// Absolute offset in the decoded buffer.
    pub offset: usize,
    pub kind: WireErrorKind,
}

impl Fault {
    pub(super) fn in_payload(self, kind: PayloadType) -> WireError {
        WireError { offset: self.offset, payload: Some(kind), kind: self.kind }
    }
}

impl std::error::Error for WireError {}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.payload, &self.kind) {
            (Some(kind), _) if kind.name().is_some() => write!(f, "{kind} payload, ")?,
            (Some(kind), _) => write!(f, "payload of type {}, ", kind.0)?,
            (None, WireErrorKind::ShortHeader { .. } | WireErrorKind::HeaderLength { .. }) => {
                f.write_str("IKE header, ")?
            }
            (None, _) => {}
        }
        write!(f, "octet {}: {}", self.offset, self.kind)
    }
}

impl fmt::Display for WireErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ShortHeader { has } => write!(f, "an IKE header is 28 octets, the datagram has {has}"),
            Self::HeaderLength { says, has } => write!(f, "Length says {says} octets, the datagram has {has}"),
            Self::PayloadMissing { remain } => {
                write!(f, "a payload is announced here and needs 4 octets for its header, {remain} remain")
            }
            Self::PayloadTooShort { says } => {
                write!(f, "Payload Length says {says} octets, its own header is 4")
            }
            Self::PayloadLength { says, remain } => write!(f, "Payload Length says {says} octets, {remain} remain"),
            Self::TooManyPayloads { limit } => write!(f, "more than {limit} payloads"),
            Self::TrailingOctets { count } => write!(f, "{} after the last payload", octets(count)),
            Self::AfterEncrypted { count } => {
                write!(f, "{} after the encrypted payload, which must be the last", octets(count))
            }
            Self::NestedEncrypted => f.write_str("an encrypted payload inside an encrypted payload"),
            Self::Truncated { part, needs, remain } => write!(f, "{part} needs {}, {remain} remain", octets(needs)),
            Self::ProposalLength { proposal, says, remain } => {
                write!(f, "proposal {proposal} says {says} octets, {remain} remain")
            }
            Self::ProposalTooShort { proposal, says, needs } => {
                write!(f, "proposal {proposal} says {says} octets, its own header is {needs}")
            }
            Self::ProposalLast { proposal, says, remain } => {
                last(f, "proposal", 2, says, remain, format_args!("{proposal}"))
            }
            Self::ProposalSpi { proposal, says, remain } => {
                write!(f, "proposal {proposal} says its SPI has {}, {remain} remain", octets(says.into()))
            }
            Self::TransformCount { proposal, says, found } => {
                write!(f, "proposal {proposal} says {says} transforms, {found} found")
            }
            Self::TransformLength { proposal, transform, says, remain } => {
                write!(f, "transform {transform} of proposal {proposal} says {says} octets, {remain} remain")
            }
            Self::TransformTooShort { proposal, transform, says } => {
                write!(f, "transform {transform} of proposal {proposal} says {says} octets, its own header is 8")
            }
            Self::TransformLast { proposal, transform, says, remain } => {
                last(f, "transform", 3, says, remain, format_args!("{transform} of proposal {proposal}"))
            }
            Self::AttributeLength { proposal, transform, says, remain } => {
                write!(
                    f,
                    "an attribute of transform {transform} of proposal {proposal} says {says} octets, {remain} remain"
                )
            }
            Self::NotifySpi { says, remain } => write!(f, "SPI Size says {}, {remain} remain", octets(says.into())),
            Self::DeleteSpis { size, count, has } => {
                write!(f, "{count} SPIs of {} are announced, {has} octets remain", octets(size.into()))
            }
            Self::SelectorLength { selector, says, remain } => {
                write!(f, "selector {selector} says {says} octets, {remain} remain")
            }
            Self::SelectorSize { selector, kind, says, needs } => {
                write!(f, "selector {selector} ({kind}) says {says} octets, its type has {needs}")
            }
            Self::SelectorCount { says, found } => write!(f, "Number of TSs says {says}, {found} found"),
            Self::CfgAttributeLength { attribute, says, remain } => {
                write!(f, "attribute {attribute} says {says} octets, {remain} remain")
            }
        }
    }
}

/// The sentence for a wrong Last Substruc octet. `more` is the value that announces another element.
fn last(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    more: u8,
    says: u8,
    remain: usize,
    which: fmt::Arguments<'_>,
) -> fmt::Result {
    if says == 0 {
        write!(f, "{what} {which} is marked as the last (0), but {} follow", octets(remain))
    } else if says == more {
        write!(f, "{what} {which} announces another ({more}), but nothing follows")
    } else {
        write!(f, "{what} {which} has Last Substruc {says}, it must be 0 or {more}")
    }
}

struct Octets(usize);

fn octets(count: usize) -> Octets {
    Octets(count)
}

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octet{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::hex;
    use super::super::{decode, decode_chain};
    use super::*;

    /// The text of the fault in a chain.
    fn text(first: PayloadType, chain: &str) -> String {
        decode_chain(first, &hex(chain)).1.expect("a fault").to_string()
    }

    #[test]
    fn faults_of_the_header_say_what_and_where() {
        let header = "0102030405060708 0000000000000000 00202208 00000000";
        let of = |bytes: Vec<u8>| match decode(&bytes) {
            Ok(decoded) => decoded.error.expect("a fault").to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(of(vec![0; 7]), "IKE header, octet 0: an IKE header is 28 octets, the datagram has 7");
        assert_eq!(
            of(hex(&format!("{header} 00000064"))),
            "IKE header, octet 24: Length says 100 octets, the datagram has 28"
        );
        assert_eq!(of(hex(&format!("{header} 0000001d aa"))), "octet 28: 1 octet after the last payload");
    }

    #[test]
    fn faults_of_the_chain_say_what_and_where() {
        let cases = [
            (
                PayloadType::NOTIFY,
                "0000",
                "Notify payload, octet 0: a payload is announced here and needs 4 octets for its header, 2 remain",
            ),
            (PayloadType::KE, "00000003", "KE payload, octet 2: Payload Length says 3 octets, its own header is 4"),
            (
                PayloadType(201),
                "00000010 aabb",
                "payload of type 201, octet 2: Payload Length says 16 octets, 6 remain",
            ),
            (PayloadType::NONCE, "00000006 aabb cc", "octet 6: 1 octet after the last payload"),
            (PayloadType::SK, "00000006 aabb", "SK payload, octet 0: an encrypted payload inside an encrypted payload"),
        ];
        for (first, chain, expected) in cases {
            assert_eq!(text(first, chain), expected);
        }
        let flood = "2b000004".repeat(1025);
        assert_eq!(text(PayloadType::VENDOR, &flood), "octet 4096: more than 1024 payloads");
    }

    #[test]
    fn faults_of_an_sa_say_what_and_where() {
        // Octet 4 begins the first proposal, 12 its first transform.
        let cases = [
            ("0000000a 000000100101", "octet 4: a proposal's header needs 8 octets, 6 remain"),
            ("0000000c 0000000701010000", "octet 6: proposal 1 says 7 octets, its own header is 8"),
            ("00000010 0000002801010000 00000000", "octet 6: proposal 1 says 40 octets, 12 remain"),
            (
                "00000014 0000000801010000 0000000802010000",
                "octet 4: proposal 1 is marked as the last (0), but 8 octets follow",
            ),
            ("0000000c 0200000801010000", "octet 4: proposal 1 announces another (2), but nothing follows"),
            ("0000000c 0700000801010000", "octet 4: proposal 1 has Last Substruc 7, it must be 0 or 2"),
            ("0000000c 0000000801010800", "octet 10: proposal 1 says its SPI has 8 octets, 0 remain"),
            ("0000000c 0000000801010003", "octet 11: proposal 1 says 3 transforms, 0 found"),
            ("00000010 0000000c01010001 00000008", "octet 12: a transform's header needs 8 octets, 4 remain"),
            (
                "00000014 0000001001010001 0000000701000003",
                "octet 14: transform 1 of proposal 1 says 7 octets, its own header is 8",
            ),
            (
                "00000014 0000001001010001 0000000c01000003",
                "octet 14: transform 1 of proposal 1 says 12 octets, 8 remain",
            ),
            (
                "00000014 0000001001010001 0300000801000003",
                "octet 12: transform 1 of proposal 1 announces another (3), but nothing follows",
            ),
            (
                "00000016 0000001201010001 0000000a01000003 800e",
                "octet 20: a transform attribute needs 4 octets, 2 remain",
            ),
            (
                "00000018 0000001401010001 0000000c01000003 000e0009",
                "octet 22: an attribute of transform 1 of proposal 1 says 9 octets, 0 remain",
            ),
        ];
        for (chain, expected) in cases {
            assert_eq!(text(PayloadType::SA, chain), format!("SA payload, {expected}"));
        }
        // A second proposal and a second transform are counted as such.
        assert_eq!(
            text(PayloadType::SA, "00000024 0200000801010000 0000001802010002 0300000801000003 0000000902000003"),
            "SA payload, octet 30: transform 2 of proposal 2 says 9 octets, 8 remain"
        );
    }

    #[test]
    fn faults_of_other_payloads_say_what_and_where() {
        let cases = [
            (
                PayloadType::KE,
                "00000006 0013",
                "KE payload, octet 4: the group number with its reserved field needs 4 octets, 2 remain",
            ),
            (
                PayloadType::AUTH,
                "00000004",
                "AUTH payload, octet 4: the auth method with its reserved field needs 4 octets, 0 remain",
            ),
            (
                PayloadType::IDR,
                "00000005 01",
                "IDr payload, octet 4: the ID type with its reserved field needs 4 octets, 1 remain",
            ),
            (PayloadType::CERT, "00000004", "CERT payload, octet 4: the certificate encoding needs 1 octet, 0 remain"),
            (PayloadType::NOTIFY, "00000008 03044009", "Notify payload, octet 5: SPI Size says 4 octets, 0 remain"),
            (
                PayloadType::DELETE,
                "0000000a 03040001 aabb",
                "Delete payload, octet 5: 1 SPIs of 4 octets are announced, 2 octets remain",
            ),
            (
                PayloadType::TSI,
                "0000000c 01000000 07000010",
                "TSi payload, octet 10: selector 1 says 16 octets, 4 remain",
            ),
            (
                PayloadType::TSI,
                "0000000c 01000000 07000004",
                "TSi payload, octet 10: selector 1 (TS_IPV4_ADDR_RANGE) says 4 octets, its type has 16",
            ),
            (
                PayloadType::TSR,
                "0000000c 01000000 08000004",
                "TSr payload, octet 10: selector 1 (TS_IPV6_ADDR_RANGE) says 4 octets, its type has 40",
            ),
            (
                PayloadType::TSR,
                "0000000c 01000000 63000003",
                "TSr payload, octet 10: selector 1 (TS type 99) says 3 octets, its type has 4",
            ),
            (PayloadType::TSR, "0000000c 02000000 63000004", "TSr payload, octet 4: Number of TSs says 2, 1 found"),
            (
                PayloadType::CP,
                "0000000c 01000000 00010004",
                "CP payload, octet 10: attribute 1 says 4 octets, 0 remain",
            ),
        ];
        for (first, chain, expected) in cases {
            assert_eq!(text(first, chain), expected);
        }
    }
}
