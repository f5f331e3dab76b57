//! IKEv2 cryptography: algorithms by registry id, key exchange, key derivation, message protection.
//!
//! Everything here is a pure function of its arguments. [`suite`] says what was negotiated, [`keymat`] derives the
//! keys (RFC 7296 section 2.13 to 2.18), [`sk`] protects messages (RFC 7296 section 3.14, RFC 5282), [`dh`] runs a
//! key exchange and checks what the peer sent (RFC 6989). Old algorithms are present because the devices under test
//! still use them; their `weak()` says what RFC 8247 thinks of them.

mod aes_mac;
pub mod dh;
pub mod encr;
pub mod group;
pub mod integ;
pub mod keyed;
pub mod keymat;
mod lc;
mod mac;
pub mod prf;
mod primes;
pub mod secret;
pub mod sign;
pub mod sk;
pub mod suite;
#[cfg(test)]
mod tests;

pub use dh::{KeyPair, SharedSecret};
pub use encr::Encr;
pub use group::Group;
pub use integ::{IcvOutput, Integ};
pub use keyed::{KeyedEncr, KeyedInteg};
pub use keymat::{ChildKeys, IkeKeys, child_keymat, psk_auth, signed_octets};
pub use prf::{Prf, PrfOutput};
pub use secret::Secret;
pub use sign::{KeyError, KeyKind, PrivateKey, PublicKey, Scheme, SignHash};
pub use sk::SkSuite;
pub use suite::{EspSuite, IkeSuite};

/// What can go wrong with bytes that came from a peer, or with a length a caller got wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CryptoError {
    /// The integrity check failed: another key, or a changed message.
    #[error("the integrity check value does not match")]
    BadIcv,
    /// Too short, or not a whole number of cipher blocks.
    #[error("{what} is {got} octets long, which does not fit: {expected} needed")]
    BadLength {
        /// What has the wrong length.
        what: &'static str,
        /// How many octets it should have: exactly, at least, or as a multiple, depending on `what`.
        expected: usize,
        /// How many octets it has.
        got: usize,
    },
    /// The pad length octet, authentic, claims more padding than there is text.
    #[error("the pad length is larger than the decrypted text")]
    BadPadding,
    /// ENCR_NULL in IKE, which RFC 7296 section 5 forbids.
    #[error("ENCR_NULL must not protect IKE messages (RFC 7296 section 5)")]
    NullInIke,
    /// The peer's key exchange value is unusable.
    #[error("the peer's key exchange value {0}")]
    Peer(PeerValue),
}

/// Why a peer's key exchange value was refused (RFC 6989, RFC 8031).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerValue {
    /// Not as long as the group's public values are.
    #[error("is {got} octets long; {group} values have {expected}")]
    Length {
        /// The negotiated group.
        group: Group,
        /// Octets of a public value of this group.
        expected: usize,
        /// Octets received.
        got: usize,
    },
    /// MODP: not in 1 < r < p-1 (RFC 6989 section 2.1).
    #[error("is not between 1 and p-1 of {0} (RFC 6989 section 2.1)")]
    OutOfRange(Group),
    /// ECP: a coordinate is not below p, or the point is not on the curve (RFC 6989 section 2.3).
    #[error("is not a point on the curve of {0} (RFC 6989 section 2.3)")]
    NotOnCurve(Group),
    /// X25519: a point of small order, the shared secret would be all zero (RFC 8031 section 3.2).
    #[error("has small order in {0}: the shared secret would be zero (RFC 8031)")]
    SmallOrder(Group),
}
