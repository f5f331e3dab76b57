//! The Notify payload (RFC 7296 3.10).

use super::error::{Fault, WireErrorKind};
use super::reader::Reader;
use super::registry::{NotifyType, ProtocolId};
use super::writer::Writer;

/// An error or a status.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NotifyPayload {
    /// Protocol ID of the SA that `spi` names; NONE without a SPI.
    pub protocol: ProtocolId,
    /// SPI, at most 255 octets; usually empty or four.
    pub spi: Vec<u8>,
    /// Notify Message Type.
    pub kind: NotifyType,
    /// Notification Data.
    pub data: Vec<u8>,
}

impl NotifyPayload {
    /// About the exchange as a whole: no protocol, no SPI, no data.
    pub fn new(kind: NotifyType) -> Self {
        Self::with_data(kind, Vec::new())
    }

    /// No protocol, no SPI.
    pub fn with_data(kind: NotifyType, data: impl Into<Vec<u8>>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Vec::new(), kind, data: data.into() }
    }

    /// About one Child SA, by the SPI its sender receives on (REKEY_SA, CHILD_SA_NOT_FOUND).
    pub fn for_child(kind: NotifyType, protocol: ProtocolId, spi: u32) -> Self {
        Self { protocol, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[protocol, spi_size, high, low] = r.fixed::<4>("the protocol, SPI size and notify type")?;
        let size_at = r.offset() - 3;
        let Some(spi) = r.take(spi_size.into()) else {
            let kind = WireErrorKind::NotifySpi { says: spi_size, remain: r.remain() };
            return Err(Fault { offset: size_at, kind });
        };
        Ok(Self {
            protocol: ProtocolId(protocol),
            spi: spi.to_vec(),
            kind: NotifyType(u16::from_be_bytes([high, low])),
            data: r.rest().to_vec(),
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("protocol", self.protocol.0);
        w.u8("spi_size", self.spi.len() as u8);
        w.u16("type", self.kind.0);
        w.bytes("spi", &self.spi);
        w.bytes("data", &self.data);
    }
}
