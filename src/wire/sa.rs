//! The Security Association payload (RFC 7296 3.3).

use std::fmt;

use super::error::{Fault, WireErrorKind};
use super::reader::Reader;
use super::registry::{
    EncrId, EsnId, GcAuthId, IntegId, KeMethod, KeyWrapId, PrfId, ProtocolId, TransformAttribute, TransformType,
};
use super::writer::Writer;

/// Octets of a proposal before its SPI.
const PROPOSAL_HEADER: usize = 8;
/// Octets of a transform before its attributes.
const TRANSFORM_HEADER: usize = 8;
/// The AF bit: the attribute's value stands in its length field.
const AF: u16 = 0x8000;

/// Proposals in order of preference. One without proposals is decoded; the caller judges it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SaPayload {
    /// The proposals.
    pub proposals: Vec<Proposal>,
}

/// One proposal: alternatives for each transform type, for one protocol. `Display` prints one line.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proposal {
    /// Proposal Num: 1 for the first, then ascending.
    pub number: u8,
    /// Protocol ID.
    pub protocol: ProtocolId,
    /// SPI: empty in IKE_SA_INIT, eight octets when rekeying an IKE SA, four for ESP and AH. At most 255 octets.
    pub spi: Vec<u8>,
    /// The transforms, at most 255.
    pub transforms: Vec<Transform>,
}

/// One algorithm. `Display` prints `AES_CBC_256`, `HMAC_SHA2_256_128`, `MODP_2048`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Transform {
    /// Transform Type.
    pub kind: TransformType,
    /// Transform ID, in the registry of `kind`.
    pub id: u16,
    /// Attributes: only Key Length in practice.
    pub attributes: Vec<Attribute>,
}

/// A transform attribute.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Attribute {
    /// Attribute Type, 15 bits, without the AF bit.
    pub kind: u16,
    /// Its value; the variant is the AF bit.
    pub value: AttributeValue,
}

/// The two formats of an attribute (RFC 7296 3.3.5).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AttributeValue {
    /// AF = 1: type and value, four octets together. Key Length must have this format.
    Short(u16),
    /// AF = 0: type, length, value.
    Long(Vec<u8>),
}

impl Transform {
    /// Without attributes.
    pub fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, attributes: Vec::new() }
    }

    /// With a Key Length attribute, in bits.
    pub fn with_key_bits(kind: TransformType, id: u16, bits: u16) -> Self {
        let key_length = Attribute { kind: TransformAttribute::KEY_LENGTH.0, value: AttributeValue::Short(bits) };
        Self { kind, id, attributes: vec![key_length] }
    }

    /// An encryption algorithm; with a Key Length attribute for those that need it.
    pub fn encr(id: EncrId, key_bits: Option<u16>) -> Self {
        match key_bits {
            Some(bits) => Self::with_key_bits(TransformType::ENCR, id.0, bits),
            None => Self::new(TransformType::ENCR, id.0),
        }
    }

    /// A pseudo-random function.
    pub fn prf(id: PrfId) -> Self {
        Self::new(TransformType::PRF, id.0)
    }

    /// An integrity algorithm.
    pub fn integ(id: IntegId) -> Self {
        Self::new(TransformType::INTEG, id.0)
    }

    /// A key exchange method.
    pub fn ke(id: KeMethod) -> Self {
        Self::new(TransformType::KE, id.0)
    }

    /// Sequence numbers of 32 bits, or 64 of which 32 are transmitted.
    pub fn esn(id: EsnId) -> Self {
        Self::new(TransformType::ESN, id.0)
    }

    /// The first Key Length attribute in the short format, in bits.
    pub fn key_bits(&self) -> Option<u16> {
        self.attributes.iter().find_map(|attribute| match attribute.value {
            AttributeValue::Short(bits) if attribute.kind == TransformAttribute::KEY_LENGTH.0 => Some(bits),
            _ => None,
        })
    }

    /// The algorithm's name without key length and without the prefix that its type makes superfluous; `None` when it is
    /// unassigned.
    pub fn name(&self) -> Option<&'static str> {
        let id = self.id;
        match self.kind {
            TransformType::ENCR => EncrId(id).name().map(|name| name.strip_prefix("ENCR_").unwrap_or(name)),
            TransformType::PRF => PrfId(id).name(),
            TransformType::INTEG => IntegId(id).name().map(|name| name.strip_prefix("AUTH_").unwrap_or(name)),
            TransformType::KE => KeMethod(id).name(),
            TransformType::ESN => EsnId(id).name(),
            TransformType::KWA => KeyWrapId(id).name(),
            TransformType::GCAUTH => GcAuthId(id).name(),
            kind if (TransformType::ADDKE1..=TransformType::ADDKE7).contains(&kind) => KeMethod(id).name(),
            _ => None,
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (TransformType::ADDKE1..=TransformType::ADDKE7).contains(&self.kind) {
            write!(f, "{}:", self.kind)?;
        }
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{} {}", self.kind, self.id)?,
        }
        for attribute in &self.attributes {
            match &attribute.value {
                AttributeValue::Short(bits) if attribute.kind == TransformAttribute::KEY_LENGTH.0 => {
                    write!(f, "_{bits}")?
                }
                AttributeValue::Short(value) => write!(f, "{{{}={value}}}", TransformAttribute(attribute.kind))?,
                AttributeValue::Long(value) => {
                    write!(f, "{{{}={}}}", TransformAttribute(attribute.kind), super::dump::Hex(value))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.number, self.protocol)?;
        if !self.spi.is_empty() {
            write!(f, " spi {}", super::dump::Hex(&self.spi))?;
        }
        f.write_str(":")?;
        for (index, transform) in self.transforms.iter().enumerate() {
            // Alternatives of one type stand together in every honest proposal: join them.
            let same = index > 0 && self.transforms[index - 1].kind == transform.kind;
            write!(f, "{}{transform}", if same { "/" } else { " " })?;
        }
        Ok(())
    }
}

impl SaPayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut proposals = Vec::new();
        while !r.is_empty() {
            let proposal = Proposal::read(r, proposals.len() + 1)?;
            proposals.push(proposal);
        }
        Ok(Self { proposals })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        for (index, proposal) in self.proposals.iter().enumerate() {
            let mark = w.enter("proposal", Some(index));
            proposal.write(w, index + 1 == self.proposals.len());
            w.leave(mark);
        }
    }
}

impl Proposal {
    fn read(r: &mut Reader<'_>, nth: usize) -> Result<Self, Fault> {
        let start = r.offset();
        let whole = r.remain();
        let &[last, _, l0, l1, number, protocol, spi_size, count] =
            r.fixed::<PROPOSAL_HEADER>("a proposal's header")?;
        let says = u16::from_be_bytes([l0, l1]);
        let length_at = start + 2;
        let Some(body_len) = usize::from(says).checked_sub(PROPOSAL_HEADER) else {
            let kind = WireErrorKind::ProposalTooShort { proposal: nth, says, needs: PROPOSAL_HEADER };
            return Err(Fault { offset: length_at, kind });
        };
        let body_at = r.offset();
        let Some(body) = r.take(body_len) else {
            let kind = WireErrorKind::ProposalLength { proposal: nth, says, remain: whole };
            return Err(Fault { offset: length_at, kind });
        };
        if last != if r.is_empty() { 0 } else { 2 } {
            let kind = WireErrorKind::ProposalLast { proposal: nth, says: last, remain: r.remain() };
            return Err(Fault { offset: start, kind });
        }
        let mut r = Reader::new(body, body_at);
        let Some(spi) = r.take(spi_size.into()) else {
            let kind = WireErrorKind::ProposalSpi { proposal: nth, says: spi_size, remain: r.remain() };
            return Err(Fault { offset: start + 6, kind });
        };
        // What is reserved is bounded by the octets that are there, not by the count the peer claims.
        let mut transforms = Vec::with_capacity(usize::from(count).min(r.remain() / TRANSFORM_HEADER));
        while !r.is_empty() {
            let transform = Transform::read(&mut r, nth, transforms.len() + 1)?;
            transforms.push(transform);
        }
        if transforms.len() != usize::from(count) {
            let kind = WireErrorKind::TransformCount { proposal: nth, says: count, found: transforms.len() };
            return Err(Fault { offset: start + 7, kind });
        }
        Ok(Self { number, protocol: ProtocolId(protocol), spi: spi.to_vec(), transforms })
    }

    fn write(&self, w: &mut Writer<'_>, last: bool) {
        let start = w.position();
        w.u8("last", if last { 0 } else { 2 });
        w.u8("reserved", 0);
        w.u16("length", 0);
        w.u8("number", self.number);
        w.u8("protocol", self.protocol.0);
        w.u8("spi_size", self.spi.len() as u8);
        w.u8("transforms", self.transforms.len() as u8);
        w.bytes("spi", &self.spi);
        for (index, transform) in self.transforms.iter().enumerate() {
            let mark = w.enter("transform", Some(index));
            transform.write(w, index + 1 == self.transforms.len());
            w.leave(mark);
        }
        w.patch_len(start + 2, start);
    }
}

impl Transform {
    fn read(r: &mut Reader<'_>, proposal: usize, nth: usize) -> Result<Self, Fault> {
        let start = r.offset();
        let whole = r.remain();
        let &[last, _, l0, l1, kind, _, i0, i1] = r.fixed::<TRANSFORM_HEADER>("a transform's header")?;
        let says = u16::from_be_bytes([l0, l1]);
        let Some(body_len) = usize::from(says).checked_sub(TRANSFORM_HEADER) else {
            let kind = WireErrorKind::TransformTooShort { proposal, transform: nth, says };
            return Err(Fault { offset: start + 2, kind });
        };
        let body_at = r.offset();
        let Some(body) = r.take(body_len) else {
            let kind = WireErrorKind::TransformLength { proposal, transform: nth, says, remain: whole };
            return Err(Fault { offset: start + 2, kind });
        };
        if last != if r.is_empty() { 0 } else { 3 } {
            let kind = WireErrorKind::TransformLast { proposal, transform: nth, says: last, remain: r.remain() };
            return Err(Fault { offset: start, kind });
        }
        let mut r = Reader::new(body, body_at);
        let mut attributes = Vec::with_capacity(r.remain().min(4) / 4);
        while !r.is_empty() {
            attributes.push(Attribute::read(&mut r, proposal, nth)?);
        }
        Ok(Self { kind: TransformType(kind), id: u16::from_be_bytes([i0, i1]), attributes })
    }

    fn write(&self, w: &mut Writer<'_>, last: bool) {
        let start = w.position();
        w.u8("last", if last { 0 } else { 3 });
        w.u8("reserved", 0);
        w.u16("length", 0);
        w.u8("type", self.kind.0);
        w.u8("reserved2", 0);
        w.u16("id", self.id);
        for (index, attribute) in self.attributes.iter().enumerate() {
            let mark = w.enter("attribute", Some(index));
            attribute.write(w);
            w.leave(mark);
        }
        w.patch_len(start + 2, start);
    }
}

impl Attribute {
    fn read(r: &mut Reader<'_>, proposal: usize, transform: usize) -> Result<Self, Fault> {
        let &[k0, k1, v0, v1] = r.fixed::<4>("a transform attribute")?;
        let kind = u16::from_be_bytes([k0, k1]);
        let word = u16::from_be_bytes([v0, v1]);
        if kind & AF != 0 {
            return Ok(Self { kind: kind & !AF, value: AttributeValue::Short(word) });
        }
        let length_at = r.offset() - 2;
        let Some(value) = r.take(word.into()) else {
            let kind = WireErrorKind::AttributeLength { proposal, transform, says: word, remain: r.remain() };
            return Err(Fault { offset: length_at, kind });
        };
        Ok(Self { kind, value: AttributeValue::Long(value.to_vec()) })
    }

    fn write(&self, w: &mut Writer<'_>) {
        match &self.value {
            AttributeValue::Short(value) => {
                w.u16("type", self.kind | AF);
                w.u16("value", *value);
            }
            AttributeValue::Long(value) => {
                w.u16("type", self.kind & !AF);
                w.u16("length", value.len() as u16);
                w.bytes("value", value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::PayloadType;
    use super::super::testing::hex;
    use super::super::{Payload, decode_chain, encode_chain};
    use super::*;

    #[test]
    fn transforms_have_the_usual_names() {
        let cases = [
            (Transform::encr(EncrId::ENCR_AES_CBC, Some(256)), "AES_CBC_256"),
            (Transform::encr(EncrId::ENCR_AES_GCM_16, Some(128)), "AES_GCM_16_128"),
            (Transform::encr(EncrId::ENCR_3DES, None), "3DES"),
            (Transform::integ(IntegId::AUTH_HMAC_SHA2_256_128), "HMAC_SHA2_256_128"),
            (Transform::prf(PrfId::PRF_HMAC_SHA2_384), "PRF_HMAC_SHA2_384"),
            (Transform::ke(KeMethod::MODP_2048), "MODP_2048"),
            (Transform::esn(EsnId::NO_ESN), "NO_ESN"),
            (Transform::new(TransformType::ADDKE1, KeMethod::ML_KEM_768.0), "ADDKE1:ML_KEM_768"),
            (Transform::new(TransformType::ENCR, 1234), "ENCR 1234"),
            (Transform::new(TransformType(99), 7), "transform 99 7"),
        ];
        for (transform, expected) in cases {
            assert_eq!(transform.to_string(), expected);
        }
        let odd = Transform {
            attributes: vec![
                Attribute { kind: 18, value: AttributeValue::Long(vec![0xab]) },
                Attribute { kind: 99, value: AttributeValue::Short(5) },
            ],
            ..Transform::ke(KeMethod::ECP_256)
        };
        assert_eq!(odd.to_string(), "ECP_256{Signature Algorithm Identifier=ab}{attribute 99=5}");
    }

    #[test]
    fn a_proposal_is_one_line() {
        let proposal = Proposal {
            number: 2,
            protocol: ProtocolId::ESP,
            spi: vec![0xc0, 0xff, 0xee, 1],
            transforms: vec![
                Transform::encr(EncrId::ENCR_AES_CBC, Some(128)),
                Transform::encr(EncrId::ENCR_AES_CBC, Some(256)),
                Transform::integ(IntegId::AUTH_HMAC_SHA1_96),
                Transform::esn(EsnId::ESN),
            ],
        };
        assert_eq!(proposal.to_string(), "#2 ESP spi c0ffee01: AES_CBC_128/AES_CBC_256 HMAC_SHA1_96 ESN");
    }

    #[test]
    fn key_length_counts_in_its_own_format_only() {
        let mut transform = Transform::encr(EncrId::ENCR_AES_CBC, Some(192));
        assert_eq!(transform.key_bits(), Some(192));
        transform.attributes[0].value = AttributeValue::Long(vec![0, 192]);
        assert_eq!(transform.key_bits(), None);
        assert_eq!(Transform::encr(EncrId::ENCR_AES_CBC, None).key_bits(), None);
    }

    #[test]
    fn both_attribute_formats_stand_on_the_wire() {
        let transform = Transform {
            attributes: vec![
                Attribute { kind: 14, value: AttributeValue::Short(256) },
                Attribute { kind: 15, value: AttributeValue::Long(vec![1, 2, 3]) },
            ],
            ..Transform::encr(EncrId::ENCR_AES_CBC, None)
        };
        let proposal =
            Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![9, 8, 7, 6], transforms: vec![transform] };
        let payloads: [Payload; 1] = [SaPayload { proposals: vec![proposal] }.into()];
        let mut out = Vec::new();
        encode_chain(&mut out, &payloads, PayloadType::NONE, None, "");
        let expected = hex("00000023 0000001f 01 03 04 01 09080706 00000013 01 00 000c 800e0100 000f0003 010203");
        assert_eq!(out, expected);
        assert_eq!(decode_chain(PayloadType::SA, &out), (payloads.to_vec(), None));
    }

    #[test]
    fn reserved_octets_are_ignored() {
        let bytes = hex("00ff0014 00ff0010 01 01 00 01 00ff0008 04ff0013");
        let (payloads, error) = decode_chain(PayloadType::SA, &bytes);
        assert_eq!(error, None);
        let transforms = vec![Transform::ke(KeMethod::ECP_256)];
        let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi: vec![], transforms };
        assert_eq!(payloads, [SaPayload { proposals: vec![proposal] }.into()]);
    }
}
