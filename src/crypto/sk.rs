//! Protection of IKE messages: the Encrypted payload (RFC 7296 section 3.14) and Encrypted Fragment (RFC 7383).

use std::ops::Range;

use super::{CryptoError, Encr, Integ};

/// How the messages of an IKE SA are protected: an AEAD, or encryption and integrity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SkSuite {
    /// Encryption.
    pub encr: Encr,
    /// Integrity; `None` with an AEAD.
    pub integ: Option<Integ>,
}

impl SkSuite {
    /// Octets of explicit IV.
    pub fn iv_len(self) -> usize {
        self.encr.iv_len()
    }

    /// Whether the IV may be a counter (RFC 5282 3.1, RFC 3686 3.1, RFC 7634 2) and need not be unpredictable as CBC's.
    pub fn counter_iv(self) -> bool {
        self.encr.block_len() == 1
    }

    /// Octets of check value at the end.
    pub fn icv_len(self) -> usize {
        self.integ.map_or(self.encr.icv_len(), Integ::icv_len)
    }

    /// Octets of padding, without the pad length octet, that make plaintext, padding and pad length whole blocks.
    pub fn pad_len(self, plain_len: usize) -> usize {
        (plain_len + 1).next_multiple_of(self.encr.block_len()) - plain_len - 1
    }

    /// Octets from IV to check value for so much plaintext.
    pub fn sealed_len(self, plain_len: usize) -> usize {
        self.iv_len() + plain_len + self.pad_len(plain_len) + 1 + self.icv_len()
    }

    /// Encrypts in place and writes the check value.
    ///
    /// `packet` is the whole message with its final lengths, `body` the offset of the IV. IV, plaintext, padding and
    /// pad length are in place, and the last [`SkSuite::icv_len`] octets are free. An AEAD authenticates
    /// `packet[..body]` (RFC 5282 section 5.1), an integrity algorithm everything before the check value.
    pub fn seal(self, encr_key: &[u8], integ_key: &[u8], packet: &mut [u8], body: usize) -> Result<(), CryptoError> {
        let at = self.layout(integ_key, packet.len(), body)?;
        let (before, icv) = packet.split_at_mut(at.icv);
        let (header, iv, text) = split(before, body, at.text);
        match self.integ {
            None => self.encr.encrypt(encr_key, iv, header, text, icv),
            Some(integ) => {
                self.encr.encrypt(encr_key, iv, &[], text, &mut [])?;
                icv.copy_from_slice(integ.sign(integ_key, &[before]).as_ref());
                Ok(())
            }
        }
    }

    /// Verifies, then decrypts in place. Returns where the plaintext is, without padding.
    ///
    /// After an error the octets from the IV on are unspecified; whoever wants to show them copies them first.
    /// [`CryptoError::BadLength`] comes before the check when the message cannot hold IV, pad length and check value,
    /// and after it when an authentic message is not in whole blocks.
    pub fn open(
        self,
        encr_key: &[u8],
        integ_key: &[u8],
        packet: &mut [u8],
        body: usize,
    ) -> Result<Range<usize>, CryptoError> {
        let at = self.layout(integ_key, packet.len(), body)?;
        let (before, icv) = packet.split_at_mut(at.icv);
        if let Some(integ) = self.integ
            && !integ.verify(integ_key, &[before], icv)
        {
            return Err(CryptoError::BadIcv);
        }
        let (header, iv, text) = split(before, body, at.text);
        let tag: &[u8] = if self.integ.is_some() { &[] } else { icv };
        self.encr.decrypt(encr_key, iv, header, text, tag)?;
        let Some((pad, rest)) = text.split_last() else {
            return Err(CryptoError::BadPadding);
        };
        match rest.len().checked_sub(usize::from(*pad)) {
            Some(plain) => Ok(at.text..at.text + plain),
            None => Err(CryptoError::BadPadding),
        }
    }

    /// Where text and check value begin, if everything fits.
    fn layout(self, integ_key: &[u8], len: usize, body: usize) -> Result<Layout, CryptoError> {
        if self.encr == Encr::Null {
            return Err(CryptoError::NullInIke);
        }
        let key_len = self.integ.map_or(0, Integ::key_len);
        if integ_key.len() != key_len {
            return Err(CryptoError::BadLength { what: "the integrity key", expected: key_len, got: integ_key.len() });
        }
        let room = len.saturating_sub(body);
        let least = self.iv_len() + self.encr.block_len() + self.icv_len();
        if body > len || room < least {
            return Err(CryptoError::BadLength { what: "the encrypted payload", expected: least, got: room });
        }
        Ok(Layout { text: body + self.iv_len(), icv: len - self.icv_len() })
    }
}

struct Layout {
    text: usize,
    icv: usize,
}

/// Header, IV and text of the octets before the check value.
fn split(before: &mut [u8], body: usize, text: usize) -> (&[u8], &[u8], &mut [u8]) {
    let (front, text) = before.split_at_mut(text);
    let (header, iv) = front.split_at(body);
    (header, iv, text)
}
