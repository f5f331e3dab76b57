//! Pseudorandom functions and prf+ (RFC 7296 section 2.13).

use std::fmt;
use subtle::ConstantTimeEq;

use super::mac::{MacKind, MacOutput, MacState};
use crate::wire::registry::PrfId;

/// A pseudorandom function of transform type 2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prf {
    /// HMAC-MD5 (RFC 2104).
    HmacMd5,
    /// HMAC-SHA-1 (RFC 2104).
    HmacSha1,
    /// AES-XCBC-PRF-128 (RFC 4434).
    AesXcbc,
    /// HMAC-SHA-256 (RFC 4868).
    HmacSha256,
    /// HMAC-SHA-384 (RFC 4868).
    HmacSha384,
    /// HMAC-SHA-512 (RFC 4868).
    HmacSha512,
    /// AES-CMAC-PRF-128 (RFC 4615).
    AesCmac,
}

/// The output of a PRF, at most 64 octets, on the stack. Zeroized on drop, compared in constant time, not printed.
#[derive(Clone)]
pub struct PrfOutput(MacOutput);

impl Prf {
    /// Every PRF there is.
    pub const ALL: &[Prf] =
        &[Prf::HmacMd5, Prf::HmacSha1, Prf::AesXcbc, Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512, Prf::AesCmac];

    /// The PRF of a registry number; `None` if it is not implemented.
    pub fn from_id(id: PrfId) -> Option<Self> {
        Self::ALL.iter().copied().find(|prf| prf.id() == id)
    }

    /// The registry number.
    pub fn id(self) -> PrfId {
        match self {
            Prf::HmacMd5 => PrfId::PRF_HMAC_MD5,
            Prf::HmacSha1 => PrfId::PRF_HMAC_SHA1,
            Prf::AesXcbc => PrfId::PRF_AES128_XCBC,
            Prf::HmacSha256 => PrfId::PRF_HMAC_SHA2_256,
            Prf::HmacSha384 => PrfId::PRF_HMAC_SHA2_384,
            Prf::HmacSha512 => PrfId::PRF_HMAC_SHA2_512,
            Prf::AesCmac => PrfId::PRF_AES128_CMAC,
        }
    }

    /// Octets of one output.
    pub fn output_len(self) -> usize {
        self.kind().output_len()
    }

    /// Octets of the preferred key, and so of SK_d, SK_pi and SK_pr: the output length, for all of these.
    pub fn key_len(self) -> usize {
        self.output_len()
    }

    /// Whether RFC 7296 section 2.14 cuts the nonces to 64 bits each when they key it.
    pub fn fixed_key(self) -> bool {
        matches!(self, Prf::AesXcbc | Prf::AesCmac)
    }

    /// Why not to use it; `None` if RFC 8247 section 2.2 has nothing against it.
    pub fn weak(self) -> Option<&'static str> {
        match self {
            Prf::HmacMd5 => Some("MD5 is broken and being removed (RFC 8247: PRF_HMAC_MD5 MUST NOT)"),
            Prf::HmacSha1 => Some("SHA-1 is being phased out (RFC 8247: PRF_HMAC_SHA1 MUST-)"),
            _ => None,
        }
    }

    /// `prf(key, part | part | ...)`.
    pub fn prf(self, key: &[u8], parts: &[&[u8]]) -> PrfOutput {
        let mut state = MacState::new(self.kind(), key);
        for part in parts {
            state.update(part);
        }
        PrfOutput(state.finish())
    }

    /// Fills `out` with `prf+(key, part | part | ...)`. The key is scheduled once.
    ///
    /// Panics if `out` is longer than 255 outputs, where prf+ ends; no suite needs a tenth of that.
    pub fn prf_plus(self, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
        let keyed = MacState::new(self.kind(), key);
        let mut previous: Option<MacOutput> = None;
        let mut counter: u8 = 0;
        for chunk in out.chunks_mut(self.output_len()) {
            counter = counter.checked_add(1).expect("prf+ is defined for 255 blocks");
            let mut state = keyed.clone();
            if let Some(previous) = &previous {
                state.update(previous.as_ref());
            }
            for part in parts {
                state.update(part);
            }
            state.update(&[counter]);
            let block = state.finish();
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
            previous = Some(block);
        }
    }

    /// The name strongSwan's proposals use, without the `prf` prefix: `sha256`, `aesxcbc`.
    pub(super) fn short(self) -> &'static str {
        match self {
            Prf::HmacMd5 => "md5",
            Prf::HmacSha1 => "sha1",
            Prf::AesXcbc => "aesxcbc",
            Prf::HmacSha256 => "sha256",
            Prf::HmacSha384 => "sha384",
            Prf::HmacSha512 => "sha512",
            Prf::AesCmac => "aescmac",
        }
    }

    fn kind(self) -> MacKind {
        match self {
            Prf::HmacMd5 => MacKind::Md5,
            Prf::HmacSha1 => MacKind::Sha1,
            Prf::AesXcbc => MacKind::Xcbc,
            Prf::HmacSha256 => MacKind::Sha256,
            Prf::HmacSha384 => MacKind::Sha384,
            Prf::HmacSha512 => MacKind::Sha512,
            Prf::AesCmac => MacKind::Cmac,
        }
    }
}

/// `prfsha256`, as in a strongSwan proposal.
impl fmt::Display for Prf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prf{}", self.short())
    }
}

impl AsRef<[u8]> for PrfOutput {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl PartialEq for PrfOutput {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.as_ref().ct_eq(other.as_ref()))
    }
}

impl Eq for PrfOutput {}

impl fmt::Debug for PrfOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}
