//! Changes of plain octets.

use crate::crypto::Group;
use crate::wire::registry::KeMethod;

/// A change of octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OctetEdit {
    /// Replace them.
    Set(Vec<u8>),
    /// Fill them with one value.
    Fill(u8),
    /// Flip bits of the octet at this offset; negative offsets count from the end.
    Xor(i32, u8),
    /// Write this octet at this offset; negative offsets count from the end.
    Put(i32, u8),
    /// Write these octets from this offset on, as far as there is room.
    Write(usize, Vec<u8>),
    /// Cut or extend with zeros to this length.
    Resize(usize),
    /// Cut so many octets at the end.
    Shorten(usize),
    /// Add octets at the end.
    Append(Vec<u8>),
    /// The public key-exchange value 1, of the same length.
    One,
    /// The public key-exchange value p-1, of the MODP group with this length or of X25519.
    MinusOne,
    /// A point that is not on the curve: a bit of an ECP group's y is flipped.
    OffCurve,
    /// The body of a CERT payload that holds an X.509 certificate becomes one that holds the same in a PKCS #7.
    Pkcs7,
}

impl OctetEdit {
    /// Applies it; true if anything changed.
    pub fn apply(&self, octets: &mut Vec<u8>) -> bool {
        let before = octets.clone();
        match self {
            OctetEdit::Set(new) => *octets = new.clone(),
            OctetEdit::Fill(value) => octets.fill(*value),
            OctetEdit::Xor(offset, mask) => {
                if let Some(at) = resolve(*offset, octets.len()) {
                    octets[at] ^= mask;
                }
            }
            OctetEdit::Put(offset, value) => {
                if let Some(at) = resolve(*offset, octets.len()) {
                    octets[at] = *value;
                }
            }
            OctetEdit::Write(offset, new) => {
                for (octet, new) in octets.iter_mut().skip(*offset).zip(new) {
                    *octet = *new;
                }
            }
            OctetEdit::Resize(len) => octets.resize(*len, 0),
            OctetEdit::Shorten(by) => octets.truncate(octets.len().saturating_sub(*by)),
            OctetEdit::Append(more) => octets.extend_from_slice(more),
            OctetEdit::One => {
                let (len, first) = (octets.len(), little_endian(octets.len()));
                octets.fill(0);
                if let Some(unit) = octets.get_mut(if first { 0 } else { len.saturating_sub(1) }) {
                    *unit = 1;
                }
            }
            OctetEdit::MinusOne => {
                if let Some(value) = minus_one(octets.len()) {
                    *octets = value;
                }
            }
            OctetEdit::OffCurve => {
                if [64, 96, 132].contains(&octets.len())
                    && let Some(last) = octets.last_mut()
                {
                    *last ^= 1;
                }
            }
            OctetEdit::Pkcs7 => {
                if let Some((&X509_SIGNATURE, certificate)) = octets.split_first() {
                    *octets = [&[PKCS7_WRAPPED][..], &pkcs7(certificate)].concat();
                }
            }
        }
        *octets != before
    }
}

/// Certificate encodings (RFC 7296 3.6).
const X509_SIGNATURE: u8 = 4;
const PKCS7_WRAPPED: u8 = 1;

/// A PKCS #7 SignedData with a certificate and without contents or signers (RFC 2315 9.1), in DER.
fn pkcs7(certificate: &[u8]) -> Vec<u8> {
    // 1.2.840.113549.1.7.1 and .2: data and signedData.
    let oid = |last: u8| tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, last]);
    let (version, nothing) = (tlv(0x02, &[1]), tlv(0x31, &[]));
    let contents = tlv(0x30, &oid(1));
    let signed = [version, nothing.clone(), contents, tlv(0xa0, certificate), nothing].concat();
    tlv(0x30, &[oid(2), tlv(0xa0, &tlv(0x30, &signed))].concat())
}

/// Tag, length and value in DER.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = value.len().to_be_bytes();
    let digits = &len[len.iter().take_while(|octet| **octet == 0).count()..];
    let mut out = vec![tag];
    match value.len() {
        short @ 0..=127 => out.push(short as u8),
        _ => {
            out.push(0x80 | digits.len() as u8);
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(value);
    out
}

/// X25519 and X448 have their least significant octet first (RFC 7748 5); no MODP group has their lengths.
fn little_endian(len: usize) -> bool {
    len == 32 || len == 56
}

fn minus_one(len: usize) -> Option<Vec<u8>> {
    if len == 32 {
        // 2^255 - 19 - 1
        let mut value = vec![0xff; 32];
        (value[0], value[31]) = (0xec, 0x7f);
        return Some(value);
    }
    let prime = KeMethod::all().filter_map(Group::from_method).filter_map(Group::prime).find(|p| p.len() == len)?;
    let mut value = prime.to_vec();
    // A prime is odd: nothing is carried.
    *value.last_mut()? -= 1;
    Some(value)
}

/// An offset that may count from the end, as an index into `len` octets.
pub(super) fn resolve(offset: i32, len: usize) -> Option<usize> {
    let at = if offset < 0 { i64::try_from(len).ok()? + i64::from(offset) } else { i64::from(offset) };
    usize::try_from(at).ok().filter(|at| *at < len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(edit: OctetEdit, mut octets: Vec<u8>) -> Option<Vec<u8>> {
        edit.apply(&mut octets).then_some(octets)
    }

    #[test]
    fn special_public_values() {
        assert_eq!(edited(OctetEdit::One, vec![7; 256]), Some([vec![0; 255], vec![1]].concat()));
        assert_eq!(edited(OctetEdit::One, vec![7; 32]), Some([vec![1], vec![0; 31]].concat()));
        let top = edited(OctetEdit::MinusOne, vec![7; 256]).expect("MODP 2048");
        assert!(top.starts_with(&[0xff; 8]) && top.ends_with(&[0xff, 0xfe]));
        let top = edited(OctetEdit::MinusOne, vec![7; 32]).expect("X25519");
        assert_eq!((top[0], top[1], top[31]), (0xec, 0xff, 0x7f));
        assert_eq!(edited(OctetEdit::MinusOne, vec![7; 64]), None, "a curve's point has no p-1");
        assert_eq!(edited(OctetEdit::OffCurve, vec![7; 64]), Some([vec![7; 63], vec![6]].concat()));
        assert_eq!(edited(OctetEdit::OffCurve, vec![7; 256]), None);
    }

    #[test]
    fn a_certificate_in_pkcs7() {
        let body = [vec![4], vec![0xa5; 200]].concat();
        let wrapped = edited(OctetEdit::Pkcs7, body).expect("an X.509 certificate");
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("hex")).collect()
        };
        let head = "01 3081f0 06092a864886f70d010702 a081e2 3081df 020101 3100 300b06092a864886f70d010701 a0 81c8";
        assert_eq!(wrapped, [hex(&head.replace(' ', "")), vec![0xa5; 200], vec![0x31, 0]].concat());
        assert_eq!(edited(OctetEdit::Pkcs7, vec![12, 1, 2]), None, "a URL is no certificate");
        assert_eq!(tlv(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn shorter_and_longer() {
        assert_eq!(edited(OctetEdit::Shorten(3), vec![1; 5]), Some(vec![1; 2]));
        assert_eq!(edited(OctetEdit::Shorten(3), vec![1; 2]), Some(vec![]));
        assert_eq!(edited(OctetEdit::Append(vec![2]), vec![1]), Some(vec![1, 2]));
        assert_eq!(edited(OctetEdit::Shorten(0), vec![1]), None);
    }
}
