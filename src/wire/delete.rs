//! The Delete payload (RFC 7296 3.11).

use super::error::{Fault, WireErrorKind};
use super::reader::Reader;
use super::registry::ProtocolId;
use super::writer::Writer;

/// SAs that the sender no longer has.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DeletePayload {
    /// IKE, AH or ESP.
    pub protocol: ProtocolId,
    /// Octets of each SPI: 0 for IKE, 4 for AH and ESP.
    pub spi_size: u8,
    /// The SPIs the sender receives on; none for IKE.
    pub spis: Vec<Vec<u8>>,
}

impl DeletePayload {
    /// Deletes the IKE SA that carries it.
    pub fn ike() -> Self {
        Self { protocol: ProtocolId::IKE, spi_size: 0, spis: Vec::new() }
    }

    /// Deletes ESP SAs by their inbound SPIs.
    pub fn esp(spis: &[u32]) -> Self {
        Self {
            protocol: ProtocolId::ESP,
            spi_size: 4,
            spis: spis.iter().map(|spi| spi.to_be_bytes().to_vec()).collect(),
        }
    }

    /// The ESP SPIs; nothing for another protocol or SPI size.
    pub fn esp_spis(&self) -> impl Iterator<Item = u32> {
        let esp = self.protocol == ProtocolId::ESP;
        self.spis
            .iter()
            .filter(move |_| esp)
            .filter_map(|spi| <[u8; 4]>::try_from(spi.as_slice()).ok())
            .map(u32::from_be_bytes)
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[protocol, spi_size, high, low] = r.fixed::<4>("the protocol, SPI size and number of SPIs")?;
        let count = u16::from_be_bytes([high, low]);
        // SPIs without octets are refused, whatever their number: eight octets would make 65535 of them.
        if usize::from(spi_size) * usize::from(count) != r.remain() || (spi_size == 0 && count != 0) {
            let kind = WireErrorKind::DeleteSpis { size: spi_size, count, has: r.remain() };
            return Err(Fault { offset: r.offset() - 3, kind });
        }
        let spis = match spi_size {
            0 => Vec::new(),
            size => r.rest().chunks_exact(size.into()).map(<[u8]>::to_vec).collect(),
        };
        Ok(Self { protocol: ProtocolId(protocol), spi_size, spis })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("protocol", self.protocol.0);
        w.u8("spi_size", self.spi_size);
        w.u16("count", self.spis.len() as u16);
        for (index, spi) in self.spis.iter().enumerate() {
            let mark = w.enter("spi", Some(index));
            w.append(spi);
            w.leave(mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esp_spis_are_those_of_esp() {
        assert_eq!(DeletePayload::esp(&[1, 0xc0ff_ee01]).esp_spis().collect::<Vec<_>>(), [1, 0xc0ff_ee01]);
        assert_eq!(DeletePayload::ike().esp_spis().count(), 0);
        let ah = DeletePayload { protocol: ProtocolId::AH, ..DeletePayload::esp(&[1]) };
        assert_eq!(ah.esp_spis().count(), 0);
        let odd = DeletePayload { protocol: ProtocolId::ESP, spi_size: 2, spis: vec![vec![1, 2]] };
        assert_eq!(odd.esp_spis().count(), 0);
    }
}
