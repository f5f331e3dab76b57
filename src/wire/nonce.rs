//! The Nonce payload (RFC 7296 3.9).

use super::error::Fault;
use super::reader::Reader;
use super::writer::Writer;

/// Ni or Nr. The RFC allows 16 to 256 octets; any size is decoded, the caller judges it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NoncePayload {
    /// Nonce Data.
    pub data: Vec<u8>,
}

impl NoncePayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self { data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.bytes("data", &self.data);
    }
}
