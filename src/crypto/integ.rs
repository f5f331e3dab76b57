//! Integrity algorithms: the keyed functions with the truncations of their documents.

use std::fmt;
use subtle::ConstantTimeEq;

use super::mac::{MacKind, MacOutput, MacState};
use crate::wire::registry::IntegId;

/// An integrity algorithm of transform type 3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Integ {
    /// HMAC-MD5-96 (RFC 2403).
    HmacMd5_96,
    /// HMAC-SHA-1-96 (RFC 2404).
    HmacSha1_96,
    /// AES-XCBC-MAC-96 (RFC 3566).
    AesXcbc96,
    /// AES-CMAC-96 (RFC 4494).
    AesCmac96,
    /// HMAC-SHA-256-128 (RFC 4868).
    HmacSha256_128,
    /// HMAC-SHA-384-192 (RFC 4868).
    HmacSha384_192,
    /// HMAC-SHA-512-256 (RFC 4868).
    HmacSha512_256,
}

/// An integrity check value, already truncated, on the stack. Compared in constant time.
#[derive(Clone)]
pub struct IcvOutput(pub(super) MacOutput);

impl Integ {
    /// Every integrity algorithm there is.
    pub const ALL: &[Integ] = &[
        Integ::HmacMd5_96,
        Integ::HmacSha1_96,
        Integ::AesXcbc96,
        Integ::AesCmac96,
        Integ::HmacSha256_128,
        Integ::HmacSha384_192,
        Integ::HmacSha512_256,
    ];

    /// The algorithm of a registry number; `None` if it is not implemented.
    pub fn from_id(id: IntegId) -> Option<Self> {
        Self::ALL.iter().copied().find(|integ| integ.id() == id)
    }

    /// The registry number.
    pub fn id(self) -> IntegId {
        match self {
            Integ::HmacMd5_96 => IntegId::AUTH_HMAC_MD5_96,
            Integ::HmacSha1_96 => IntegId::AUTH_HMAC_SHA1_96,
            Integ::AesXcbc96 => IntegId::AUTH_AES_XCBC_96,
            Integ::AesCmac96 => IntegId::AUTH_AES_CMAC_96,
            Integ::HmacSha256_128 => IntegId::AUTH_HMAC_SHA2_256_128,
            Integ::HmacSha384_192 => IntegId::AUTH_HMAC_SHA2_384_192,
            Integ::HmacSha512_256 => IntegId::AUTH_HMAC_SHA2_512_256,
        }
    }

    /// Octets of key, taken from KEYMAT: the untruncated output length, for all of these.
    pub fn key_len(self) -> usize {
        self.kind().output_len()
    }

    /// Octets of the check value.
    pub fn icv_len(self) -> usize {
        match self {
            Integ::HmacMd5_96 | Integ::HmacSha1_96 | Integ::AesXcbc96 | Integ::AesCmac96 => 12,
            Integ::HmacSha256_128 => 16,
            Integ::HmacSha384_192 => 24,
            Integ::HmacSha512_256 => 32,
        }
    }

    /// Why not to use it; `None` if RFC 8247 section 2.3 has nothing against it.
    pub fn weak(self) -> Option<&'static str> {
        match self {
            Integ::HmacMd5_96 => Some("MD5 is broken and being removed (RFC 8247: AUTH_HMAC_MD5_96 MUST NOT)"),
            Integ::HmacSha1_96 => Some("SHA-1 is being phased out (RFC 8247: AUTH_HMAC_SHA1_96 MUST-)"),
            _ => None,
        }
    }

    /// The check value over `part | part | ...`.
    pub fn sign(self, key: &[u8], parts: &[&[u8]]) -> IcvOutput {
        let mut state = MacState::new(self.kind(), key);
        for part in parts {
            state.update(part);
        }
        IcvOutput(state.finish().truncate(self.icv_len()))
    }

    /// Whether `icv` is the check value over `part | part | ...`, in constant time.
    pub fn verify(self, key: &[u8], parts: &[&[u8]], icv: &[u8]) -> bool {
        bool::from(self.sign(key, parts).as_ref().ct_eq(icv))
    }

    /// The PRF a proposal gets when it names only this algorithm.
    pub(super) fn implied_prf(self) -> super::Prf {
        use super::Prf;
        match self {
            Integ::HmacMd5_96 => Prf::HmacMd5,
            Integ::HmacSha1_96 => Prf::HmacSha1,
            Integ::AesXcbc96 => Prf::AesXcbc,
            Integ::AesCmac96 => Prf::AesCmac,
            Integ::HmacSha256_128 => Prf::HmacSha256,
            Integ::HmacSha384_192 => Prf::HmacSha384,
            Integ::HmacSha512_256 => Prf::HmacSha512,
        }
    }

    pub(super) fn kind(self) -> MacKind {
        match self {
            Integ::HmacMd5_96 => MacKind::Md5,
            Integ::HmacSha1_96 => MacKind::Sha1,
            Integ::AesXcbc96 => MacKind::Xcbc,
            Integ::AesCmac96 => MacKind::Cmac,
            Integ::HmacSha256_128 => MacKind::Sha256,
            Integ::HmacSha384_192 => MacKind::Sha384,
            Integ::HmacSha512_256 => MacKind::Sha512,
        }
    }
}

/// `sha256`, as in a strongSwan proposal.
impl fmt::Display for Integ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.implied_prf().short())
    }
}

impl AsRef<[u8]> for IcvOutput {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl PartialEq for IcvOutput {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.as_ref().ct_eq(other.as_ref()))
    }
}

impl Eq for IcvOutput {}

impl fmt::Debug for IcvOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
