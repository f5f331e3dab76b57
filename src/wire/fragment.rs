//! The Encrypted and Authenticated Fragment payload, in clear (RFC 7383 2.5).

use super::error::Fault;
use super::reader::Reader;

/// Fragment Number and Total Fragments, the four octets between the generic header of an SKF payload and its IV.
/// Whether they make sense (1 <= number <= total) is for the reassembler to judge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FragmentInfo {
    /// Fragment Number, from 1.
    pub number: u16,
    /// Total Fragments.
    pub total: u16,
}

impl FragmentInfo {
    /// Octets on the wire.
    pub const LEN: usize = 4;

    /// As on the wire.
    pub fn to_be_bytes(self) -> [u8; 4] {
        let ([n0, n1], [t0, t1]) = (self.number.to_be_bytes(), self.total.to_be_bytes());
        [n0, n1, t0, t1]
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[n0, n1, t0, t1] = r.fixed::<4>("the fragment number and total")?;
        Ok(Self { number: u16::from_be_bytes([n0, n1]), total: u16::from_be_bytes([t0, t1]) })
    }
}
