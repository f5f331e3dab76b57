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
    let error = (says != bytes.len()).then_some(WireError {
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

/// Appends a header and the payloads outside SK, whose last Next Payload is `last_next`; and, unless that is
/// [`PayloadType::NONE`], an SK or SKF generic header, all zero but for its place in `map`. Returns where that one
/// stands (the end of `out` if there is none). The caller fills in the length fields once it knows them.
pub fn encode_outer(
    out: &mut Vec<u8>,
    header: &Header,
    outer: &[Payload],
    last_next: PayloadType,
    map: Option<&mut FieldMap>,
) -> usize {
    let mut w = Writer::new(out, map, "");
    let start = w.position();
    header.write_fields(&mut w);
    let first = write_chain(&mut w, outer, last_next);
    w.patch(start + 16, &[first.0]);
    let sk = w.position();
    if last_next != PayloadType::NONE {
        let mark = w.enter("sk", None);
        w.u8("next", 0);
        w.u8("critical", 0);
        w.u16("length", 0);
        w.leave(mark);
    }
    sk
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::registry::*;
    use super::super::testing::{any_message, any_payloads, corpus, encoded, hex, ike_auth, informational, sa_init};
    use super::super::*;

    /// An IKE_SA_INIT request written by hand from RFC 7296 3.
    const INIT: &str = "
        0102030405060708 0000000000000000   ; SPIs
        21 20 22 08 00000000 00000080       ; SA, 2.0, IKE_SA_INIT, I, 0, 128 octets
        22 00 0030                          ; SA: next KE, 48 octets
          00 00 002c 01 01 00 04            ; proposal 1: last, 44 octets, IKE, no SPI, 4 transforms
            03 00 000c 01 00 000c 800e0100  ; ENCR_AES_CBC, Key Length 256
            03 00 0008 03 00 000c           ; AUTH_HMAC_SHA2_256_128
            03 00 0008 02 00 0005           ; PRF_HMAC_SHA2_256
            00 00 0008 04 00 000e           ; 2048-bit MODP
        28 00 000c 000e 0000 aabbccdd       ; KE: next Nonce
        29 00 0014 000102030405060708090a0b0c0d0e0f
        00 00 0014 00 00 4004 112233445566778899aabbcc ; Notify NAT_DETECTION_SOURCE_IP
    ";

    fn init_message() -> Message {
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::IKE,
            spi: vec![],
            transforms: vec![
                Transform::encr(EncrId::ENCR_AES_CBC, Some(256)),
                Transform::integ(IntegId::AUTH_HMAC_SHA2_256_128),
                Transform::prf(PrfId::PRF_HMAC_SHA2_256),
                Transform::ke(KeMethod::MODP_2048),
            ],
        };
        let header =
            Header::new(IkeSpi(0x0102030405060708), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        Message::clear(
            header,
            vec![
                SaPayload { proposals: vec![proposal] }.into(),
                KePayload { group: KeMethod::MODP_2048, data: hex("aabbccdd") }.into(),
                NoncePayload { data: hex("000102030405060708090a0b0c0d0e0f") }.into(),
                NotifyPayload::with_data(NotifyType::NAT_DETECTION_SOURCE_IP, hex("112233445566778899aabbcc")).into(),
            ],
        )
    }

    #[test]
    fn a_request_written_by_hand_decodes_and_encodes() {
        let bytes = hex(INIT);
        let decoded = decode(&bytes).expect("a whole header");
        assert_eq!(decoded.error, None);
        assert_eq!(decoded.sk, None);
        assert_eq!(decoded.payloads, init_message().outer);
        assert_eq!(decoded.header, Header { next: PayloadType::SA, length: 128, ..init_message().header });
        assert_eq!(encoded(&init_message()), bytes);
    }

    #[test]
    fn encrypted_payloads_are_located() {
        let head = "0102030405060708 1112131415161718";
        let sk = hex(&format!("{head} 2e202308 00000001 0000002a 2380000e 00112233445566778899"));
        let decoded = decode(&sk).expect("a whole header");
        assert_eq!(decoded.error, None);
        assert_eq!(
            decoded.sk,
            Some(SkRef { first_inner: PayloadType::IDI, critical: true, payload: 28, body: 32..42, fragment: None })
        );

        // A notify stands before the fragment.
        let skf = hex(&format!(
            "{head} 29202308 00000001 00000036 35000008 00004000 00000012 0002 0003 00112233445566778899"
        ));
        let decoded = decode(&skf).expect("a whole header");
        assert_eq!(decoded.error, None);
        assert_eq!(decoded.payloads, [NotifyPayload::new(NotifyType::INITIAL_CONTACT).into()]);
        let sk = decoded.sk.expect("an SKF payload");
        assert_eq!((sk.first_inner, sk.payload, sk.body), (PayloadType::NONE, 36, 44..54));
        assert_eq!(sk.fragment, Some(FragmentInfo { number: 2, total: 3 }));
        assert_eq!(sk.fragment.map(FragmentInfo::to_be_bytes), Some([0, 2, 0, 3]));
    }

    #[test]
    fn octets_after_an_encrypted_payload_are_a_fault_but_it_is_kept() {
        let bytes = hex("0102030405060708 1112131415161718 2e202308 00000001 00000024 00000006 aabb 0000");
        let decoded = decode(&bytes).expect("a whole header");
        assert_eq!(decoded.sk.map(|sk| sk.body), Some(32..34));
        assert_eq!(
            decoded.error.map(|error| (error.offset, error.kind)),
            Some((34, WireErrorKind::AfterEncrypted { count: 2 }))
        );
    }

    #[test]
    fn a_message_with_sk_encodes_its_inside_in_clear() {
        let mut message = init_message();
        message.outer.truncate(2);
        message.outer.remove(0);
        message.sk = Some(vec![Payload::IdI(IdPayload::new(IdType::ID_FQDN, b"a".to_vec()))]);
        let (mut out, mut map) = (vec![0xee; 3], FieldMap::new());
        encode_into(&mut out, &message, Some(&mut map));
        let decoded = decode(&out[3..]).expect("a whole header");
        assert_eq!(decoded.error, None);
        assert_eq!(decoded.payloads, message.outer);
        let sk = decoded.sk.expect("an SK payload");
        let (inner, error) = decode_chain(sk.first_inner, &out[3..][sk.body]);
        assert_eq!((Some(inner), error), (message.sk, None));
        let data = map.get("sk.idi.data").expect("a field of the inside");
        assert_eq!(&out[data.offset..data.offset + data.len], b"a", "offsets are indices into the buffer");
    }

    #[test]
    fn chains_end_as_told() {
        let mut out = Vec::new();
        assert_eq!(encode_chain(&mut out, &[], PayloadType::SK, None, ""), PayloadType::SK);
        assert!(out.is_empty());
        let payloads = [DeletePayload::ike().into(), NoncePayload { data: vec![1] }.into()];
        assert_eq!(encode_chain(&mut out, &payloads, PayloadType::SKF, None, ""), PayloadType::DELETE);
        assert_eq!(out, hex("28000008 01000000 35000005 01"));
    }

    #[test]
    fn a_malformed_payload_is_kept_raw_and_the_rest_is_decoded() {
        let mut bytes = hex(INIT);
        bytes[28 + 4 + 7] = 9; // Num Transforms
        let decoded = decode(&bytes).expect("a whole header");
        let mut expected = init_message().outer;
        expected[0] = RawPayload { kind: PayloadType::SA, critical: false, body: bytes[32..76].to_vec() }.into();
        assert_eq!(decoded.payloads, expected);
        let error = decoded.error.expect("a fault");
        assert_eq!((error.offset, error.payload), (39, Some(PayloadType::SA)));
        assert_eq!(encoded(&Message::clear(decoded.header, decoded.payloads)), bytes, "raw octets survive");
    }

    #[test]
    fn hostile_counts_reserve_no_memory() {
        // 255 transforms claimed, none there.
        let (_, error) = decode_chain(PayloadType::SA, &hex("0000000c 0000 0008 01 01 00 ff"));
        assert_eq!(
            error.map(|error| error.kind),
            Some(WireErrorKind::TransformCount { proposal: 1, says: 255, found: 0 })
        );
        // 65535 SPIs of no octets.
        let (payloads, error) = decode_chain(PayloadType::DELETE, &hex("00000008 0300ffff"));
        assert_eq!(error.map(|e| e.kind), Some(WireErrorKind::DeleteSpis { size: 0, count: 65535, has: 0 }));
        assert!(matches!(&payloads[..], [Payload::Raw(_)]));
        // Sixteen thousand empty payloads.
        let flood = hex("2b000004").repeat(16_000);
        let (payloads, error) = decode_chain(PayloadType::VENDOR, &flood);
        assert_eq!(payloads.len(), MAX_PAYLOADS);
        let error = error.expect("a fault");
        assert_eq!((error.offset, error.kind), (4096, WireErrorKind::TooManyPayloads { limit: MAX_PAYLOADS }));
    }

    #[test]
    fn the_size_of_the_header_is_the_only_hard_error() {
        for len in 0..Header::LEN {
            let error = decode(&vec![0; len]).expect_err("no whole header");
            assert_eq!((error.offset, error.kind), (0, WireErrorKind::ShortHeader { has: len }));
        }
        assert!(decode(&[0; Header::LEN]).is_ok());
    }

    #[test]
    fn every_truncation_is_a_fault_inside_the_buffer() {
        for message in [init_message(), sa_init()] {
            let whole = encoded(&message);
            for len in Header::LEN..whole.len() {
                let cut = decode(&whole[..len]).expect("a whole header");
                let error = cut.error.expect("a fault");
                assert_eq!(error.kind, WireErrorKind::HeaderLength { says: whole.len() as u32, has: len });
                // The same with a header that agrees: now the payloads show it.
                let mut bytes = whole[..len].to_vec();
                bytes[24..28].copy_from_slice(&(len as u32).to_be_bytes());
                let decoded = decode(&bytes).expect("a whole header");
                let error = decoded.error.expect("a fault");
                assert!(error.offset >= Header::LEN && error.offset <= len, "{error} of {len}");
                assert!(error.payload.is_some());
                assert_eq!(cut.payloads, decoded.payloads, "what is understood does not depend on the header's Length");
                assert!(decoded.payloads.iter().zip(&message.outer).all(|(one, two)| one == two));
            }
        }
        for chain in [ike_auth(), informational()] {
            let mut whole = Vec::new();
            let first = encode_chain(&mut whole, &chain, PayloadType::NONE, None, "");
            assert_eq!(decode_chain(first, &whole), (chain, None));
            for len in 0..whole.len() {
                let (_, error) = decode_chain(first, &whole[..len]);
                let error = error.expect("a fault");
                assert!(error.offset <= len, "{error} of {len}");
            }
        }
    }

    /// Every octet of the samples in turn becomes other values: a fault or another message, never a panic.
    #[test]
    fn every_changed_octet_keeps_the_promises() {
        for (_, bytes) in corpus() {
            for at in 0..bytes.len() {
                for value in [0, 1, 4, 0x7f, 0x80, 0xff, bytes[at].wrapping_add(1), bytes[at].wrapping_sub(1)] {
                    let mut changed = bytes.clone();
                    changed[at] = value;
                    selfcheck(&changed);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_message_survives(message in any_message()) {
            let bytes = encoded(&message);
            let decoded = decode(&bytes).expect("a whole header");
            prop_assert_eq!(decoded.error, None);
            prop_assert_eq!(decoded.header.length as usize, bytes.len());
            prop_assert_eq!(&decoded.payloads, &message.outer);
            let header = Header { next: decoded.header.next, length: decoded.header.length, ..message.header };
            prop_assert_eq!(decoded.header, header);
            selfcheck(&bytes);
        }

        #[test]
        fn any_chain_survives(payloads in any_payloads()) {
            let mut bytes = Vec::new();
            let first = encode_chain(&mut bytes, &payloads, PayloadType::NONE, None, "");
            prop_assert_eq!(decode_chain(first, &bytes), (payloads, None));
        }

        #[test]
        fn any_octets_keep_the_promises(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            selfcheck(&bytes);
        }

        /// Random octets behind a header with the right length get further than random octets alone.
        #[test]
        fn any_body_keeps_the_promises(kind in 33u8..=54, body in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut bytes = vec![0; Header::LEN];
            bytes[16] = kind;
            bytes.extend_from_slice(&[0, 0]);
            bytes.extend_from_slice(&((body.len() + 4) as u16).to_be_bytes());
            bytes.extend_from_slice(&body);
            let length = bytes.len() as u32;
            bytes[24..28].copy_from_slice(&length.to_be_bytes());
            selfcheck(&bytes);
        }
    }
}
