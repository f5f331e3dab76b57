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
        }
        *octets != before
    }
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
    fn shorter_and_longer() {
        assert_eq!(edited(OctetEdit::Shorten(3), vec![1; 5]), Some(vec![1; 2]));
        assert_eq!(edited(OctetEdit::Shorten(3), vec![1; 2]), Some(vec![]));
        assert_eq!(edited(OctetEdit::Append(vec![2]), vec![1]), Some(vec![1, 2]));
        assert_eq!(edited(OctetEdit::Shorten(0), vec![1]), None);
    }
}
