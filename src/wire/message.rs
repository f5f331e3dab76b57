//! Whole messages: the chain of payloads behind the IKE header (RFC 7296 3.1, 3.2).

use std::ops::Range;

use super::error::{WireError, WireErrorKind};
use super::field::FieldMap;
use super::fragment::FragmentInfo;
use super::header::Header;
use super::payload::{CRITICAL, GENERIC_HEADER, Payload, RawPayload};
use super::reader::Reader;
use super::registry::PayloadType;
use super::writer::Writer;

/// More payloads than this in one chain are not decoded. An honest message has about twenty; a datagram has room for
/// sixteen thousand empty ones.
pub const MAX_PAYLOADS: usize = 1024;

/// A message to encode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The header; its `next` and `length` are set by the encoder.
    pub header: Header,
    /// Payloads in clear. They stand before the SK payload, if there is one.
    pub outer: Vec<Payload>,
    /// What the SK payload protects; `None` for a message without one.
    pub sk: Option<Vec<Payload>>,
}

/// A datagram after decoding, as far as it could be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The header as received.
    pub header: Header,
    /// The payloads in clear. One whose body is malformed is kept as [`Payload::Raw`], and those behind it are decoded.
    pub payloads: Vec<Payload>,
    /// The encrypted payload, if there is one: always the last.
    pub sk: Option<SkRef>,
    /// The first fault; `None` for a well-formed message.
    pub error: Option<WireError>,
}

/// Where the encrypted payload of a datagram is. The ranges are inside the datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SkRef {
    /// Its Next Payload field: type of the first payload inside.
    pub first_inner: PayloadType,
    /// Its critical bit.
    pub critical: bool,
    /// Offset of the generic header of the SK or SKF payload.
    pub payload: usize,
    /// From the IV to the end of the ICV.
    pub body: Range<usize>,
    /// Number and total for an SKF payload, `None` for SK.
    pub fragment: Option<FragmentInfo>,
}

impl Message {
    /// A message without an SK payload.
    pub fn clear(header: Header, outer: Vec<Payload>) -> Self {
        Self { header, outer, sk: None }
    }
}

/// Decodes a datagram (without a non-ESP marker). The version is not checked.
///
/// # Errors
/// Only when it is shorter than a header. Everything else that is wrong is in [`Decoded::error`]. When the header's
/// Length differs from the datagram's size, that is the error, and payloads are decoded up to the smaller of the two.
pub fn decode(bytes: &[u8]) -> Result<Decoded, WireError> {
    let Some(header) = Header::read(bytes) else {
        return Err(WireError { offset: 0, payload: None, kind: WireErrorKind::ShortHeader { has: bytes.len() } });
    };
    let says = usize::try_from(header.length).unwrap_or(usize::MAX);
    let error = (says != bytes.len()).then(|| WireError {
        offset: Header::LEN - 4,
        payload: None,
        kind: WireErrorKind::HeaderLength { says: header.length, has: bytes.len() },
    });
    let end = says.clamp(Header::LEN, bytes.len());
    let mut decoder = Decoder { payloads: Vec::new(), sk: None, error, outer: true };
    decoder.chain(header.next, Reader::new(&bytes[Header::LEN..end], Header::LEN));
    Ok(Decoded { header, payloads: decoder.payloads, sk: decoder.sk, error: decoder.error })
}

/// Decodes the inside of an SK payload: `bytes` without IV, padding and ICV, `first` from [`SkRef::first_inner`]. What
/// could be understood, and the first fault, whose offset counts from the start of `bytes`.
pub fn decode_chain(first: PayloadType, bytes: &[u8]) -> (Vec<Payload>, Option<WireError>) {
    let mut decoder = Decoder { payloads: Vec::new(), sk: None, error: None, outer: false };
    decoder.chain(first, Reader::new(bytes, 0));
    (decoder.payloads, decoder.error)
}

/// Appends a message, Next Payload fields and lengths filled in. The offsets noted in `map` are indices into `out`.
///
/// With [`Message::sk`] the inner payloads are written behind an SK generic header in clear, without IV, padding and
/// ICV: right for a dump or a field map, not for the wire. Their paths begin with `sk.`. Whatever is too large for its
/// length or count field wraps there.
pub fn encode_into(out: &mut Vec<u8>, msg: &Message, map: Option<&mut FieldMap>) {
    let mut w = Writer::new(out, map, "");
    let start = w.position();
    msg.header.write_fields(&mut w);
    let last_next = if msg.sk.is_some() { PayloadType::SK } else { PayloadType::NONE };
    let first = write_chain(&mut w, &msg.outer, last_next);
    if let Some(inner) = &msg.sk {
        let mark = w.enter("sk", None);
        let sk = w.position();
        w.u8("next", inner.first().map_or(PayloadType::NONE, Payload::kind).0);
        w.u8("critical", 0);
        w.u16("length", 0);
        write_chain(&mut w, inner, PayloadType::NONE);
        w.patch_len(sk + 2, sk);
        w.leave(mark);
    }
    let length = (w.position() - start) as u32;
    w.patch(start + 16, &[first.0]);
    w.patch(start + 24, &length.to_be_bytes());
}

/// Appends generic headers and bodies. The Next Payload of the last one is `last_next`; returns the type of the first
/// one, `last_next` when there is none. In `map` every path begins with `prefix` and a dot, unless it is empty; the
/// offsets are indices into `out`.
pub fn encode_chain(
    out: &mut Vec<u8>,
    payloads: &[Payload],
    last_next: PayloadType,
    map: Option<&mut FieldMap>,
    prefix: &str,
) -> PayloadType {
    write_chain(&mut Writer::new(out, map, prefix), payloads, last_next)
}

fn write_chain(w: &mut Writer<'_>, payloads: &[Payload], last_next: PayloadType) -> PayloadType {
    for (at, payload) in payloads.iter().enumerate() {
        let next = payloads.get(at + 1).map_or(last_next, Payload::kind);
        let mark = if w.has_map() {
            let (name, numbered) = payload.path_name();
            let before = payloads[..at].iter().filter(|other| other.path_name().0 == name).count();
            w.enter(name, (numbered || before > 0).then_some(before))
        } else {
            w.enter("", None)
        };
        payload.write(w, next);
        w.leave(mark);
    }
    payloads.first().map_or(last_next, Payload::kind)
}

struct Decoder {
    payloads: Vec<Payload>,
    sk: Option<SkRef>,
    error: Option<WireError>,
    /// Whether this is the chain in the datagram, where an encrypted payload may stand.
    outer: bool,
}

impl Decoder {
    /// Walks the chain until it ends or cannot be followed any more.
    fn chain(&mut self, first: PayloadType, mut r: Reader<'_>) {
        let mut kind = first;
        while kind != PayloadType::NONE {
            if self.payloads.len() == MAX_PAYLOADS {
                return self.fail(r.offset(), None, WireErrorKind::TooManyPayloads { limit: MAX_PAYLOADS });
            }
            let start = r.offset();
            let whole = r.remain();
            let Ok(&[next, critical, l0, l1]) = r.fixed::<GENERIC_HEADER>("a generic header") else {
                return self.fail(start, Some(kind), WireErrorKind::PayloadMissing { remain: whole });
            };
            let next = PayloadType(next);
            let critical = critical & CRITICAL != 0;
            let says = u16::from_be_bytes([l0, l1]);
            let Some(body_len) = usize::from(says).checked_sub(GENERIC_HEADER) else {
                return self.fail(start + 2, Some(kind), WireErrorKind::PayloadTooShort { says });
            };
            let body_at = r.offset();
            let Some(body) = r.take(body_len) else {
                return self.fail(start + 2, Some(kind), WireErrorKind::PayloadLength { says, remain: whole });
            };
            if matches!(kind, PayloadType::SK | PayloadType::SKF) {
                return self.encrypted(kind, next, critical, start, Reader::new(body, body_at), r);
            }
            let payload = match Payload::read(kind, critical, &mut Reader::new(body, body_at)) {
                Ok(payload) => payload,
                Err(fault) => {
                    self.error.get_or_insert(fault.in_payload(kind));
                    Payload::Raw(RawPayload { kind, critical, body: body.to_vec() })
                }
            };
            if self.payloads.is_empty() {
                self.payloads.reserve(8);
            }
            self.payloads.push(payload);
            kind = next;
        }
        if !r.is_empty() {
            self.fail(r.offset(), None, WireErrorKind::TrailingOctets { count: r.remain() });
        }
    }

    /// The encrypted payload ends the chain: its Next Payload belongs to what is inside.
    fn encrypted(
        &mut self,
        kind: PayloadType,
        first_inner: PayloadType,
        critical: bool,
        payload: usize,
        mut body: Reader<'_>,
        after: Reader<'_>,
    ) {
        if !self.outer {
            return self.fail(payload, Some(kind), WireErrorKind::NestedEncrypted);
        }
        let fragment = if kind == PayloadType::SKF {
            match FragmentInfo::read(&mut body) {
                Ok(fragment) => Some(fragment),
                Err(fault) => {
                    self.error.get_or_insert(fault.in_payload(kind));
                    return;
                }
            }
        } else {
            None
        };
        let body = body.offset()..body.offset() + body.remain();
        self.sk = Some(SkRef { first_inner, critical, payload, body, fragment });
        if !after.is_empty() {
            self.fail(after.offset(), Some(kind), WireErrorKind::AfterEncrypted { count: after.remain() });
        }
    }

    /// Notes a fault unless one is noted already: the first is the cause of the others.
    fn fail(&mut self, offset: usize, payload: Option<PayloadType>, kind: WireErrorKind) {
        self.error.get_or_insert(WireError { offset, payload, kind });
    }
}
