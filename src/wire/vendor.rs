//! The Vendor ID payload (RFC 7296 3.12).

use super::error::Fault;
use super::reader::Reader;
use super::writer::Writer;

/// An announcement of an implementation or extension: usually a hash or a readable string, of any size.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VendorIdPayload {
    /// Vendor ID (VID).
    pub data: Vec<u8>,
}

impl VendorIdPayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self { data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.bytes("data", &self.data);
    }
}
