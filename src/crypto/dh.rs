//! Key exchange: key pairs, agreement, and the checks on what the peer sent.

use rand_chacha::rand_core::Rng;
use zeroize::Zeroize;

use super::lc::{self, Curve, Modp};
use super::{CryptoError, Group, PeerValue, Secret};

/// Longest secret: a P-521 scalar.
const MAX_SECRET: usize = 66;

/// The order of P-256's base point (SEC 2), big-endian.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// The order of P-384's base point.
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0,
    0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
/// The order of P-521's base point.
const P521_ORDER: [u8; 66] = [
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa, 0x51, 0x86, 0x87, 0x83,
    0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47,
    0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
];

/// A secret and its public value. The secret is zeroized on drop and never printed.
pub struct KeyPair {
    group: Group,
    secret: [u8; MAX_SECRET],
    public: Vec<u8>,
}

/// What two key pairs agree on: `g^ir` of RFC 7296. As long as the modulus for MODP (left-padded, section 2.14), the
/// x coordinate for ECP (RFC 5903 section 9). Zeroized on drop and never printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedSecret(Secret);

impl KeyPair {
    /// Makes a key pair from `rng`; the same stream gives the same pair.
    pub fn generate(group: Group, rng: &mut impl Rng) -> KeyPair {
        let mut pair = KeyPair { group, secret: [0; MAX_SECRET], public: vec![0; group.public_len()] };
        let secret = &mut pair.secret[..secret_len(group)];
        loop {
            rng.fill_bytes(secret);
            let usable = match group {
                Group::Ecp256 => in_scalar_range(secret, &P256_ORDER),
                Group::Ecp384 => in_scalar_range(secret, &P384_ORDER),
                Group::Ecp521 => {
                    secret[0] &= 1;
                    in_scalar_range(secret, &P521_ORDER)
                }
                Group::X25519 => true,
                _ => {
                    // Never a short exponent, so never 0 or 1.
                    secret[0] |= 0x80;
                    true
                }
            };
            if usable {
                break;
            }
        }
        pair.compute_public();
        pair
    }

    /// A key pair with a given secret, for published test vectors. The secret must be in the group's range.
    #[cfg(test)]
    pub(super) fn from_secret(group: Group, secret: &[u8]) -> KeyPair {
        let mut pair = KeyPair { group, secret: [0; MAX_SECRET], public: vec![0; group.public_len()] };
        pair.secret[..secret_len(group)].copy_from_slice(secret);
        pair.compute_public();
        pair
    }

    /// The secret exponent or scalar, for comparison with an independent implementation.
    #[cfg(test)]
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret[..secret_len(self.group)]
    }

    /// The group it belongs to.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The public value as the KE payload carries it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Agrees with the peer's public value, after checking its length and then its value (RFC 6989 section 2.1 for
    /// MODP, 2.3 for ECP; RFC 8031 for X25519). Can be called any number of times.
    pub fn agree(&self, peer: &[u8]) -> Result<SharedSecret, CryptoError> {
        let group = self.group;
        let expected = group.public_len();
        if peer.len() != expected {
            return Err(CryptoError::Peer(PeerValue::Length { group, expected, got: peer.len() }));
        }
        let secret = &self.secret[..secret_len(group)];
        let mut shared = Secret::zeroed(group.secret_len());
        let out = shared.as_mut();
        if let Some(curve) = curve(group) {
            if !curve.agree(secret, peer, out) {
                return Err(CryptoError::Peer(PeerValue::NotOnCurve(group)));
            }
        } else if let Some(modp) = Modp::of(group) {
            let prime = group.prime().expect("a prepared MODP group has a prime");
            if !in_modp_range(peer, prime) {
                return Err(CryptoError::Peer(PeerValue::OutOfRange(group)));
            }
            modp.pow(peer, secret, out);
        } else {
            let good = lc::x25519_agree(
                secret.try_into().expect("an X25519 secret has 32 octets"),
                peer.try_into().expect("the length was checked above"),
                out.try_into().expect("an X25519 shared secret has 32 octets"),
            );
            if !good {
                return Err(CryptoError::Peer(PeerValue::SmallOrder(group)));
            }
        }
        Ok(SharedSecret(shared))
    }

    fn compute_public(&mut self) {
        let secret = &self.secret[..secret_len(self.group)];
        let public = &mut self.public[..];
        if let Some(curve) = curve(self.group) {
            curve.public(secret, public);
        } else if let Some(modp) = Modp::of(self.group) {
            modp.base_pow(secret, public);
        } else {
            lc::x25519_public(
                secret.try_into().expect("an X25519 secret has 32 octets"),
                public.try_into().expect("an X25519 public value has 32 octets"),
            );
        }
    }
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({})", self.group)
    }
}

impl AsRef<[u8]> for SharedSecret {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

fn curve(group: Group) -> Option<Curve> {
    match group {
        Group::Ecp256 => Some(Curve::P256),
        Group::Ecp384 => Some(Curve::P384),
        Group::Ecp521 => Some(Curve::P521),
        _ => None,
    }
}

/// Octets of a secret exponent or scalar.
fn secret_len(group: Group) -> usize {
    match group {
        Group::Ecp256 | Group::X25519 => 32,
        Group::Ecp384 => 48,
        Group::Ecp521 => 66,
        modp => modp.exponent_bits() / 8,
    }
}

/// 1 <= scalar < order. Variable time, but what it can leak is that a draw was thrown away.
fn in_scalar_range(scalar: &[u8], order: &[u8]) -> bool {
    scalar < order && scalar.iter().any(|octet| *octet != 0)
}

/// 1 < value < p-1 (RFC 6989 section 2.1), both of the same length; `prime` is odd.
fn in_modp_range(value: &[u8], prime: &[u8]) -> bool {
    let Some(((low, high), (prime_low, prime_high))) = value.split_last().zip(prime.split_last()) else {
        return false;
    };
    let above_one = *low > 1 || high.iter().any(|octet| *octet != 0);
    let below_top = (high, *low) < (prime_high, *prime_low - 1);
    above_one && below_top
}
