//! Octets that must not be seen: keys and shared secrets.

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Secret octets. Zeroized on drop, compared in constant time, and never printed.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes ownership of secret octets.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Secret(bytes.into())
    }

    /// Secret octets, all zero, to be filled in.
    pub(crate) fn zeroed(len: usize) -> Self {
        Secret(vec![0; len])
    }

    /// Appends octets. What a reallocation leaves behind is zeroized.
    pub(crate) fn extend(&mut self, more: &[u8]) {
        if self.0.capacity() < self.0.len() + more.len() {
            let mut grown = Vec::with_capacity(self.0.len() + more.len());
            grown.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = grown;
        }
        self.0.extend_from_slice(more);
    }

    /// How many octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none (for instance the integrity key of an AEAD suite).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Secret {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Secret(bytes)
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Secret(bytes.to_vec())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_printed_and_compares_by_value() {
        let secret = Secret::new(vec![0x41, 0x42]);
        assert_eq!(format!("{secret:?}"), "redacted");
        assert_eq!(secret, Secret::from(&b"AB"[..]));
        assert_ne!(secret, Secret::from(&b"AC"[..]));
        assert_ne!(secret, Secret::from(&b"ABA"[..]));
    }
}
