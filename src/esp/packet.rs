//! One ESP packet: sealing and opening (RFC 4303 section 2, RFC 3602, 3686, 4106, 4309, 7634, 2410).
//!
//! ```text
//!  SPI (4) | sequence number, low half (4) | IV | payload, padding, pad length (1), next header (1) | ICV
//! ```
//!
//! With extended sequence numbers the high half is not sent. An AEAD has it between SPI and low half in its additional
//! data (RFC 4106 section 5); a MAC covers it behind the packet (RFC 4303 2.2.1).

use std::ops::Range;

use crate::crypto::{CryptoError, EspSuite, KeyedEncr, KeyedInteg};

/// SPI and sequence number.
pub const HEADER_LEN: usize = 8;
/// The longest ICV, HMAC-SHA-512-256's.
const MAX_ICV: usize = 32;
/// Pad length and next header.
const TRAILER_LEN: usize = 2;
/// The padding, 1, 2, 3, ...: at most what its length octet can say (RFC 4303 2.4).
const PADDING: [u8; 255] = {
    let mut all = [0; 255];
    let mut n = 0;
    while n < all.len() {
        all[n] = n as u8 + 1;
        n += 1;
    }
    all
};

/// SPI and low half of the sequence number of a packet; `None` if it is too short to have them.
pub fn header(packet: &[u8]) -> Option<(u32, u32)> {
    let (spi, rest) = packet.split_first_chunk::<4>()?;
    let seq = rest.first_chunk::<4>()?;
    Some((u32::from_be_bytes(*spi), u32::from_be_bytes(*seq)))
}

/// The keyed algorithms of one direction.
#[derive(Debug)]
pub struct Context {
    encr: KeyedEncr,
    integ: Option<KeyedInteg>,
    esn: bool,
    iv_len: usize,
    icv_len: usize,
    /// Payload with padding and trailer is a multiple of this: the cipher's block, and at least 4 (RFC 4303 2.4).
    block: usize,
    /// The IV must be unpredictable (RFC 3602 section 3), not merely unique.
    cbc: bool,
}

/// What an opened packet holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Where in the packet the payload stands, without padding and trailer. It may end with TFC padding.
    pub payload: Range<usize>,
    /// The next header: 4 and 41 for a tunnelled packet, 59 for a dummy, anything else in transport mode.
    pub next_header: u8,
    /// The padding is 1, 2, 3, ... as RFC 4303 2.4 says.
    pub usual_padding: bool,
}

impl Context {
    /// Keys the algorithms of one direction.
    ///
    /// # Errors
    ///
    /// [`CryptoError::BadLength`] if a key has the wrong length, or there is no integrity algorithm and none is in the
    /// cipher.
    pub fn new(suite: &EspSuite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
        let encr = KeyedEncr::new(suite.encr, encr_key)?;
        let integ = suite.integ.map(|integ| KeyedInteg::new(integ, integ_key)).transpose()?;
        let icv_len = suite.integ.map_or(suite.encr.icv_len(), |integ| integ.icv_len());
        if icv_len == 0 {
            return Err(CryptoError::BadLength { what: "the integrity check value", expected: 8, got: 0 });
        }
        Ok(Context {
            encr,
            integ,
            esn: suite.esn,
            iv_len: suite.encr.iv_len(),
            icv_len,
            block: suite.encr.block_len().max(4),
            cbc: suite.encr.block_len() > 1,
        })
    }

    /// Octets of the ICV.
    pub fn icv_len(&self) -> usize {
        self.icv_len
    }

    /// Octets of the packet that carries so much payload.
    pub fn sealed_len(&self, payload: usize) -> usize {
        HEADER_LEN + self.iv_len + (payload + TRAILER_LEN).next_multiple_of(self.block) + self.icv_len
    }

    /// Replaces `out` by the sealed packet. `seq` is the whole sequence number, never used before with this key; `tfc`
    /// octets of traffic flow confidentiality padding follow the payload (RFC 4303 2.7). Allocates only if `out` has too
    /// little room.
    ///
    /// # Errors
    ///
    /// None but those of a wrong length, which cannot happen here.
    pub fn seal(
        &mut self,
        spi: u32,
        seq: u64,
        payload: &[u8],
        tfc: usize,
        next_header: u8,
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let plain = payload.len() + tfc;
        let padded = (plain + TRAILER_LEN).next_multiple_of(self.block);
        let body = HEADER_LEN + self.iv_len;
        out.clear();
        out.reserve(body + padded + self.icv_len);
        out.extend_from_slice(&spi.to_be_bytes());
        out.extend_from_slice(&(seq as u32).to_be_bytes());
        self.put_iv(seq, out)?;
        out.extend_from_slice(payload);
        if tfc > 0 {
            out.resize(out.len() + tfc, 0);
        }
        // Less than a block.
        let pad = padded - plain - TRAILER_LEN;
        out.extend_from_slice(&PADDING[..pad]);
        out.extend_from_slice(&[pad as u8, next_header]);
        out.extend_from_slice(&[0; MAX_ICV][..self.icv_len]);

        let high = (seq >> 32) as u32;
        let (front, icv) = out.split_at_mut(body + padded);
        let (head, text) = front.split_at_mut(body);
        let (header, iv) = head.split_at(HEADER_LEN);
        match &self.integ {
            None => {
                let mut aad = [0; HEADER_LEN + 4];
                let aad = additional(header, self.esn.then_some(high), &mut aad);
                self.encr.encrypt(iv, aad, text, icv)
            }
            Some(integ) => {
                self.encr.encrypt(iv, &[], text, &mut [])?;
                let high = high.to_be_bytes();
                let check = integ.sign(&[front, if self.esn { &high } else { &[] }]);
                icv.copy_from_slice(check.as_ref());
                Ok(())
            }
        }
    }

    /// Verifies, then decrypts in place. `seq` is the whole sequence number that the window made of the packet's.
    ///
    /// # Errors
    ///
    /// [`CryptoError::BadIcv`]; [`CryptoError::BadLength`] if it is too short or not a whole number of blocks;
    /// [`CryptoError::BadPadding`] if authentic padding is longer than the packet. The packet is unusable afterwards.
    pub fn open(&mut self, seq: u64, packet: &mut [u8]) -> Result<Opened, CryptoError> {
        let body = HEADER_LEN + self.iv_len;
        let least = body + TRAILER_LEN + self.icv_len;
        if packet.len() < least {
            return Err(CryptoError::BadLength { what: "the ESP packet", expected: least, got: packet.len() });
        }
        let end = packet.len() - self.icv_len;
        let (front, icv) = packet.split_at_mut(end);
        let high = (seq >> 32) as u32;
        if let Some(integ) = &self.integ {
            let high = high.to_be_bytes();
            if !integ.verify(&[front, if self.esn { &high } else { &[] }], icv) {
                return Err(CryptoError::BadIcv);
            }
        }
        let (head, text) = front.split_at_mut(body);
        let (header, iv) = head.split_at(HEADER_LEN);
        if self.integ.is_none() {
            let mut aad = [0; HEADER_LEN + 4];
            let aad = additional(header, self.esn.then_some(high), &mut aad);
            self.encr.decrypt(iv, aad, text, icv)?;
        } else {
            self.encr.decrypt(iv, &[], text, &[])?;
        }
        let &mut [.., pad, next_header] = text else { return Err(CryptoError::BadPadding) };
        let padding_end = text.len() - TRAILER_LEN;
        let payload_end = padding_end.checked_sub(pad.into()).ok_or(CryptoError::BadPadding)?;
        let usual_padding = text[payload_end..padding_end] == PADDING[..usize::from(pad)];
        Ok(Opened { payload: body..body + payload_end, next_header, usual_padding })
    }

    /// The explicit IV. Counter modes take the sequence number, which no key sees twice. CBC takes the number's image
    /// under the cipher and its own key (NIST SP 800-38A appendix C): unpredictable, and no randomness to be had from
    /// outside.
    fn put_iv(&mut self, seq: u64, out: &mut Vec<u8>) -> Result<(), CryptoError> {
        let mut iv = [0; 16];
        let iv = &mut iv[..self.iv_len];
        if let Some(from) = iv.len().checked_sub(8) {
            iv[from..].copy_from_slice(&seq.to_be_bytes());
        }
        if self.cbc {
            self.encr.encrypt(&[0; 16][..self.iv_len], &[], iv, &mut [])?;
        }
        out.extend_from_slice(iv);
        Ok(())
    }
}

/// The AEAD's additional data: the header, with the high half of an extended number between SPI and low half.
fn additional<'a>(header: &[u8], high: Option<u32>, room: &'a mut [u8; HEADER_LEN + 4]) -> &'a [u8] {
    let (spi, low) = header.split_at(4);
    room[..4].copy_from_slice(spi);
    match high {
        Some(high) => {
            room[4..8].copy_from_slice(&high.to_be_bytes());
            room[8..].copy_from_slice(low);
            room
        }
        None => {
            room[4..8].copy_from_slice(low);
            &room[..HEADER_LEN]
        }
    }
}
