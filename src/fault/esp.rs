//! Primitives that bend ESP packets.

use super::action::EspFault;
use crate::engine::EspEdit;

/// Applies one; true if the packet is no longer the one it was.
pub(super) fn edit(fault: EspFault, edit: &mut EspEdit) -> bool {
    let before = edit.clone();
    let flip = |key: &mut [u8]| {
        if let Some(first) = key.first_mut() {
            *first ^= 0x55;
        }
    };
    match fault {
        EspFault::EncryptionKey => flip(&mut edit.encr_key),
        EspFault::IntegrityKey if edit.integ_key.is_empty() => flip(&mut edit.encr_key),
        EspFault::IntegrityKey => flip(&mut edit.integ_key),
        EspFault::Spi(mask) => edit.spi ^= mask,
        EspFault::IcvLength(len) => edit.icv_len = Some(len),
        EspFault::Icv(mask) => edit.icv_mask ^= mask,
        EspFault::Body(mask) => edit.body_mask ^= mask,
        EspFault::Ahead(by) => edit.sequence = edit.sequence.wrapping_add(by),
        EspFault::Sequence(number) => edit.sequence = number,
        EspFault::Anew(after) if edit.sequence > after => edit.sequence -= after,
        EspFault::Anew(_) => {}
        EspFault::Source(address) => rewrite(&mut edit.payload, 12, address.octets()),
        EspFault::Destination(address) => rewrite(&mut edit.payload, 16, address.octets()),
        EspFault::NextHeader(next) => edit.next_header = next,
        EspFault::Cut(len) => edit.payload.truncate(len),
        EspFault::Clear => edit.clear = true,
        EspFault::Drop => edit.send = false,
        EspFault::Copies(count) => edit.copies = edit.copies.saturating_add(count),
        EspFault::Overtaken => edit.overtaken = true,
    }
    *edit != before
}

/// Writes an address into an IPv4 packet and mends the header's checksum. Anything else is left alone.
fn rewrite(packet: &mut [u8], at: usize, address: [u8; 4]) {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let Some(header) = packet.get_mut(..header).filter(|header| v4 && header.len() >= 20) else { return };
    header[at..at + 4].copy_from_slice(&address);
    header[10..12].fill(0);
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
