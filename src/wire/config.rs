//! The Configuration payload (RFC 7296 3.15).

use super::error::{Fault, WireErrorKind};
use super::reader::Reader;
use super::registry::{CfgAttr, CfgType};
use super::writer::Writer;

/// A request for, or a grant of, an inner address and what belongs to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CpPayload {
    /// CFG Type.
    pub kind: CfgType,
    /// Configuration Attributes, in order.
    pub attributes: Vec<CfgAttribute>,
}

/// One configuration attribute; an empty value asks for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CfgAttribute {
    /// Attribute Type, 15 bits; the reserved bit above it is written as zero and ignored when read.
    pub kind: CfgAttr,
    /// Value.
    pub value: Vec<u8>,
}

impl CpPayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[kind, _, _, _] = r.fixed::<4>("the CFG type with its reserved field")?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            let &[k0, k1, l0, l1] = r.fixed::<4>("an attribute's type and length")?;
            let says = u16::from_be_bytes([l0, l1]);
            let length_at = r.offset() - 2;
            let Some(value) = r.take(says.into()) else {
                let attribute = attributes.len() + 1;
                let kind = WireErrorKind::CfgAttributeLength { attribute, says, remain: r.remain() };
                return Err(Fault { offset: length_at, kind });
            };
            attributes
                .push(CfgAttribute { kind: CfgAttr(u16::from_be_bytes([k0, k1]) & 0x7fff), value: value.to_vec() });
        }
        Ok(Self { kind: CfgType(kind), attributes })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("type", self.kind.0);
        w.bytes("reserved", &[0; 3]);
        for (index, attribute) in self.attributes.iter().enumerate() {
            let mark = w.enter("attribute", Some(index));
            w.u16("type", attribute.kind.0 & 0x7fff);
            w.u16("length", attribute.value.len() as u16);
            w.bytes("value", &attribute.value);
            w.leave(mark);
        }
    }
}
