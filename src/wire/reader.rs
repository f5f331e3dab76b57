//! A cursor over a payload body that knows where in the datagram it stands.

use super::error::{Fault, WireErrorKind};

/// Reads big-endian fields. Nothing here panics or allocates.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Offset of `bytes[0]` in the decoded buffer.
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset }
    }

    /// Offset of the next octet in the decoded buffer.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn remain(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `len` octets, or `None` (and nothing consumed) when fewer remain.
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        self.offset += len;
        Some(taken)
    }

    /// A fixed part of a structure, as an array.
    pub(super) fn fixed<const N: usize>(&mut self, part: &'static str) -> Result<&'a [u8; N], Fault> {
        match self.bytes.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.bytes = rest;
                self.offset += N;
                Ok(taken)
            }
            None => Err(self.fault(WireErrorKind::Truncated { part, needs: N, remain: self.remain() })),
        }
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.offset += self.bytes.len();
        std::mem::take(&mut self.bytes)
    }

    /// A fault at the next octet.
    pub(super) fn fault(&self, kind: WireErrorKind) -> Fault {
        Fault { offset: self.offset, kind }
    }
}
