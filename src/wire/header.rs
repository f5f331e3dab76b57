//! The IKE header (RFC 7296 3.1).

use std::fmt;

use super::registry::{ExchangeType, PayloadType};
use super::writer::Writer;

/// An IKE SPI, eight octets; `Display` prints 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IkeSpi(pub u64);

impl IkeSpi {
    /// The responder's SPI in the first request.
    pub const ZERO: IkeSpi = IkeSpi(0);

    /// As on the wire.
    pub const fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// From the wire.
    pub const fn from_be_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// Zero means "not chosen yet".
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header's Flags octet; undefined bits are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// Set in every message of the IKE SA's original initiator.
    pub const INITIATOR: Flags = Flags(0x08);
    /// The sender could speak a higher major version.
    pub const VERSION: Flags = Flags(0x10);
    /// This message answers a request with the same Message ID.
    pub const RESPONSE: Flags = Flags(0x20);

    /// No flag.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether the sender is the original initiator.
    pub const fn is_initiator(self) -> bool {
        self.0 & Self::INITIATOR.0 != 0
    }

    /// Whether the sender could speak a higher major version.
    pub const fn is_version(self) -> bool {
        self.0 & Self::VERSION.0 != 0
    }

    /// Whether this is a response.
    pub const fn is_response(self) -> bool {
        self.0 & Self::RESPONSE.0 != 0
    }

    /// The flags of an honest message: of the original initiator or not, response or request.
    pub const fn of(initiator: bool, response: bool) -> Self {
        Self(if initiator { Self::INITIATOR.0 } else { 0 } | if response { Self::RESPONSE.0 } else { 0 })
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (bit, name) in [(Self::INITIATOR, "I"), (Self::VERSION, "V"), (Self::RESPONSE, "R")] {
            if self.0 & bit.0 != 0 {
                text.push_str(name);
            }
        }
        let other = self.0 & !0x38;
        if other != 0 {
            text.push_str(&format!("+{other:02x}"));
        }
        f.pad(if text.is_empty() { "-" } else { &text })
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fixed 28 octets at the start of every IKE message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// The original initiator's SPI.
    pub spi_i: IkeSpi,
    /// The original responder's SPI; zero in the first request.
    pub spi_r: IkeSpi,
    /// Type of the first payload. Encoding a message sets it.
    pub next: PayloadType,
    /// Major version in the high four bits, minor in the low four: 0x20.
    pub version: u8,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// Flags.
    pub flags: Flags,
    /// Message ID.
    pub message_id: u32,
    /// Octets of the whole message, header included. Encoding a message sets it.
    pub length: u32,
}

impl Header {
    /// Octets on the wire.
    pub const LEN: usize = 28;

    /// IKE 2.0, no payload yet.
    pub fn new(spi_i: IkeSpi, spi_r: IkeSpi, exchange: ExchangeType, flags: Flags, message_id: u32) -> Self {
        Self {
            spi_i,
            spi_r,
            next: PayloadType::NONE,
            version: 0x20,
            exchange,
            flags,
            message_id,
            length: Self::LEN as u32,
        }
    }

    /// Appends the 28 octets as they are, `next` and `length` included.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_fields(&mut Writer::new(out, None, ""));
    }

    /// Reads the first 28 octets; `None` when there are fewer. No field is checked.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let b = bytes.first_chunk::<{ Self::LEN }>()?;
        let eight = |at: usize| {
            u64::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5], b[at + 6], b[at + 7]])
        };
        let four = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        Some(Self {
            spi_i: IkeSpi(eight(0)),
            spi_r: IkeSpi(eight(8)),
            next: PayloadType(b[16]),
            version: b[17],
            exchange: ExchangeType(b[18]),
            flags: Flags(b[19]),
            message_id: four(20),
            length: four(24),
        })
    }

    /// Major version: 2.
    pub fn major(&self) -> u8 {
        self.version >> 4
    }

    /// Minor version: 0.
    pub fn minor(&self) -> u8 {
        self.version & 0x0f
    }

    pub(super) fn write_fields(&self, w: &mut Writer<'_>) {
        let mark = w.enter("header", None);
        w.bytes("spi_i", &self.spi_i.to_be_bytes());
        w.bytes("spi_r", &self.spi_r.to_be_bytes());
        w.u8("next", self.next.0);
        w.u8("version", self.version);
        w.u8("exchange", self.exchange.0);
        w.u8("flags", self.flags.0);
        w.u32("message_id", self.message_id);
        w.u32("length", self.length);
        w.leave(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::hex;
    use super::*;

    #[test]
    fn a_header_is_28_octets() {
        let bytes = hex("0102030405060708 1112131415161718 2e 31 25 e8 00000102 0000ffff");
        let header = Header::read(&bytes).expect("28 octets");
        assert_eq!(header.spi_i, IkeSpi(0x0102030405060708));
        assert_eq!(header.spi_r.to_string(), "1112131415161718");
        assert_eq!((header.next, header.exchange), (PayloadType::SK, ExchangeType::INFORMATIONAL));
        assert_eq!((header.major(), header.minor()), (3, 1));
        assert!(header.flags.is_initiator() && header.flags.is_response() && !header.flags.is_version());
        assert_eq!((header.message_id, header.length), (0x102, 0xffff));
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!(out, bytes, "undefined flags and the length as they are");
        assert_eq!(Header::read(&bytes[..27]), None);
    }

    #[test]
    fn flags_follow_the_roles() {
        assert_eq!(Flags::of(true, false), Flags(0x08));
        assert_eq!(Flags::of(false, true), Flags(0x20));
        assert_eq!(Flags::of(true, true), Flags::INITIATOR | Flags::RESPONSE);
        assert_eq!(Flags::of(false, false).to_string(), "-");
        assert_eq!(Flags(0x3c).to_string(), "IVR+04");
    }
}
