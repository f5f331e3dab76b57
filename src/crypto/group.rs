//! Key exchange groups by their IANA numbers.

use std::fmt;

use super::primes;
use crate::wire::registry::KeMethod;

/// A key exchange group of transform type 4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum Group {
    /// 768-bit MODP (RFC 7296 appendix B.1).
    Modp768 = 1,
    /// 1024-bit MODP (RFC 7296 appendix B.2).
    Modp1024 = 2,
    /// 1536-bit MODP (RFC 3526).
    Modp1536 = 5,
    /// 2048-bit MODP (RFC 3526).
    Modp2048 = 14,
    /// 3072-bit MODP (RFC 3526).
    Modp3072 = 15,
    /// 4096-bit MODP (RFC 3526).
    Modp4096 = 16,
    /// 6144-bit MODP (RFC 3526).
    Modp6144 = 17,
    /// 8192-bit MODP (RFC 3526).
    Modp8192 = 18,
    /// NIST P-256 (RFC 5903).
    Ecp256 = 19,
    /// NIST P-384 (RFC 5903).
    Ecp384 = 20,
    /// NIST P-521 (RFC 5903).
    Ecp521 = 21,
    /// Curve25519 (RFC 8031).
    X25519 = 31,
}

impl Group {
    /// Every group there is, by number.
    pub const ALL: &[Group] = &[
        Group::Modp768,
        Group::Modp1024,
        Group::Modp1536,
        Group::Modp2048,
        Group::Modp3072,
        Group::Modp4096,
        Group::Modp6144,
        Group::Modp8192,
        Group::Ecp256,
        Group::Ecp384,
        Group::Ecp521,
        Group::X25519,
    ];

    /// The group of a registry number; `None` if it is not implemented.
    pub fn from_method(method: KeMethod) -> Option<Self> {
        Self::ALL.iter().copied().find(|group| *group as u16 == method.0)
    }

    /// The registry number.
    pub fn method(self) -> KeMethod {
        KeMethod(self as u16)
    }

    /// Octets of a public value in the KE payload: the modulus length, both coordinates, or 32.
    pub fn public_len(self) -> usize {
        match self {
            Group::Ecp256 => 64,
            Group::Ecp384 => 96,
            Group::Ecp521 => 132,
            Group::X25519 => 32,
            modp => modp.prime().map_or(0, <[u8]>::len),
        }
    }

    /// Octets of a shared secret: the modulus length, one coordinate (RFC 5903 section 9), or 32.
    pub fn secret_len(self) -> usize {
        match self {
            Group::Ecp256 | Group::Ecp384 | Group::Ecp521 => self.public_len() / 2,
            other => other.public_len(),
        }
    }

    /// Why not to use it; `None` if RFC 8247 section 2.4 has nothing against it.
    pub fn weak(self) -> Option<&'static str> {
        match self {
            Group::Modp768 => Some("768-bit MODP is broken within hours on cheap hardware (RFC 8247: MUST NOT)"),
            Group::Modp1024 => Some("1024-bit MODP is within reach of well-funded attackers (RFC 8247: SHOULD NOT)"),
            Group::Modp1536 => Some("1536-bit MODP has too narrow a security margin (RFC 8247: SHOULD NOT)"),
            _ => None,
        }
    }

    /// The short name used in proposals: `modp2048`, `ecp384`, `x25519`.
    pub fn name(self) -> &'static str {
        match self {
            Group::Modp768 => "modp768",
            Group::Modp1024 => "modp1024",
            Group::Modp1536 => "modp1536",
            Group::Modp2048 => "modp2048",
            Group::Modp3072 => "modp3072",
            Group::Modp4096 => "modp4096",
            Group::Modp6144 => "modp6144",
            Group::Modp8192 => "modp8192",
            Group::Ecp256 => "ecp256",
            Group::Ecp384 => "ecp384",
            Group::Ecp521 => "ecp521",
            Group::X25519 => "x25519",
        }
    }

    /// The MODP prime, big-endian; `None` for curves.
    pub fn prime(self) -> Option<&'static [u8]> {
        Some(match self {
            Group::Modp768 => &primes::MODP_768,
            Group::Modp1024 => &primes::MODP_1024,
            Group::Modp1536 => &primes::MODP_1536,
            Group::Modp2048 => &primes::MODP_2048,
            Group::Modp3072 => &primes::MODP_3072,
            Group::Modp4096 => &primes::MODP_4096,
            Group::Modp6144 => &primes::MODP_6144,
            Group::Modp8192 => &primes::MODP_8192,
            _ => return None,
        })
    }

    /// Bits of a MODP exponent.
    ///
    /// A safe prime allows exponents of twice the group's strength. These are at least the minimum of RFC 7919
    /// section 5.2 (225, 275, 325, 375, 400 bits from 2048 on) and of RFC 3526 section 8 by its lower estimate, and
    /// multiples of 32, as the fixed-base comb likes them.
    pub(super) fn exponent_bits(self) -> usize {
        match self {
            Group::Modp3072 => 288,
            Group::Modp4096 => 352,
            Group::Modp6144 => 384,
            Group::Modp8192 => 416,
            _ => 256,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths() {
        for &group in Group::ALL {
            assert_eq!(Group::from_method(group.method()), Some(group));
            assert_eq!(group.method().short(), group.name());
        }
        assert_eq!(Group::from_method(KeMethod(22)), None);
        assert_eq!(Group::Modp2048.method().0, 14);
        assert_eq!(Group::Modp768.public_len(), 96);
        assert_eq!(Group::Modp8192.public_len(), 1024);
        assert_eq!((Group::Ecp521.public_len(), Group::Ecp521.secret_len()), (132, 66));
        assert_eq!((Group::X25519.public_len(), Group::X25519.secret_len()), (32, 32));
    }

    #[test]
    fn weak_groups_are_those_of_rfc_8247() {
        let weak: Vec<_> = Group::ALL.iter().filter(|group| group.weak().is_some()).map(|group| group.name()).collect();
        assert_eq!(weak, ["modp768", "modp1024", "modp1536"]);
    }
}
