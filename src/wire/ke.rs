//! The Key Exchange payload (RFC 7296 3.4).

use super::error::Fault;
use super::reader::Reader;
use super::registry::KeMethod;
use super::writer::Writer;

/// KEi or KEr: a public value and the method it belongs to. The size is not checked against the method here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KePayload {
    /// Key Exchange Method (RFC 7296: Diffie-Hellman Group Num).
    pub group: KeMethod,
    /// Key Exchange Data.
    pub data: Vec<u8>,
}

impl KePayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[high, low, _, _] = r.fixed::<4>("the group number with its reserved field")?;
        Ok(Self { group: KeMethod(u16::from_be_bytes([high, low])), data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u16("group", self.group.0);
        w.u16("reserved", 0);
        w.bytes("data", &self.data);
    }
}
