//! Encryption algorithms and their raw use: in place, with explicit key, IV and additional data.
//!
//! [`Encr::encrypt`] and [`Encr::decrypt`] know nothing of message layout; IKE messages ([`super::sk`]) and ESP
//! packets put different octets into the additional data.

use std::fmt;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher, consts};
use aes::{Aes128, Aes192, Aes256};
use ccm::aead::AeadInOut;
use ccm::{Ccm, KeyInit, TagSize};

use super::CryptoError;
use super::lc::{self, Aead};
use crate::wire::Transform;
use crate::wire::registry::{EncrId, TransformType};

/// An encryption algorithm of transform type 1, with its key length. Key bits are 128, 192 or 256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encr {
    /// AES-CBC (RFC 3602) with a key of so many bits.
    AesCbc(u16),
    /// AES-CTR (RFC 3686, RFC 5930) with a key of so many bits.
    AesCtr(u16),
    /// AES-GCM (RFC 4106, RFC 5282).
    AesGcm {
        /// Key bits.
        bits: u16,
        /// Octets of tag: 8, 12 or 16.
        icv: u8,
    },
    /// AES-CCM (RFC 4309, RFC 5282).
    AesCcm {
        /// Key bits.
        bits: u16,
        /// Octets of tag: 8, 12 or 16.
        icv: u8,
    },
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// Triple DES in CBC mode (RFC 2451).
    TripleDes,
    /// No encryption (RFC 2410). For ESP only.
    Null,
}

impl Encr {
    /// The algorithm of a transform; `None` if it is another type, not implemented, or has the wrong key length (one
    /// that is missing where AES needs it, or present where the key has a fixed length).
    pub fn from_transform(transform: &Transform) -> Option<Self> {
        if transform.kind != TransformType::ENCR {
            return None;
        }
        let id = EncrId(transform.id);
        let Some(bits) = transform.key_bits() else {
            return match id {
                EncrId::ENCR_3DES => Some(Encr::TripleDes),
                EncrId::ENCR_NULL => Some(Encr::Null),
                EncrId::ENCR_CHACHA20_POLY1305 => Some(Encr::ChaCha20Poly1305),
                _ => None,
            };
        };
        if !matches!(bits, 128 | 192 | 256) {
            return None;
        }
        Some(match id {
            EncrId::ENCR_AES_CBC => Encr::AesCbc(bits),
            EncrId::ENCR_AES_CTR => Encr::AesCtr(bits),
            EncrId::ENCR_AES_CCM_8 => Encr::AesCcm { bits, icv: 8 },
            EncrId::ENCR_AES_CCM_12 => Encr::AesCcm { bits, icv: 12 },
            EncrId::ENCR_AES_CCM_16 => Encr::AesCcm { bits, icv: 16 },
            EncrId::ENCR_AES_GCM_8 => Encr::AesGcm { bits, icv: 8 },
            EncrId::ENCR_AES_GCM_12 => Encr::AesGcm { bits, icv: 12 },
            EncrId::ENCR_AES_GCM_16 => Encr::AesGcm { bits, icv: 16 },
            _ => return None,
        })
    }

    /// The transform as proposed.
    pub fn to_transform(self) -> Transform {
        Transform::encr(self.id(), self.key_bits())
    }

    /// The registry number.
    pub fn id(self) -> EncrId {
        match self {
            Encr::AesCbc(_) => EncrId::ENCR_AES_CBC,
            Encr::AesCtr(_) => EncrId::ENCR_AES_CTR,
            Encr::AesCcm { icv: 8, .. } => EncrId::ENCR_AES_CCM_8,
            Encr::AesCcm { icv: 12, .. } => EncrId::ENCR_AES_CCM_12,
            Encr::AesCcm { .. } => EncrId::ENCR_AES_CCM_16,
            Encr::AesGcm { icv: 8, .. } => EncrId::ENCR_AES_GCM_8,
            Encr::AesGcm { icv: 12, .. } => EncrId::ENCR_AES_GCM_12,
            Encr::AesGcm { .. } => EncrId::ENCR_AES_GCM_16,
            Encr::ChaCha20Poly1305 => EncrId::ENCR_CHACHA20_POLY1305,
            Encr::TripleDes => EncrId::ENCR_3DES,
            Encr::Null => EncrId::ENCR_NULL,
        }
    }

    /// The Key Length attribute in bits; `None` where the key has a fixed length and the attribute must be absent.
    pub fn key_bits(self) -> Option<u16> {
        match self {
            Encr::AesCbc(bits) | Encr::AesCtr(bits) | Encr::AesGcm { bits, .. } | Encr::AesCcm { bits, .. } => {
                Some(bits)
            }
            Encr::ChaCha20Poly1305 | Encr::TripleDes | Encr::Null => None,
        }
    }

    /// Octets of KEYMAT: the key, then the salt or nonce (GCM and ChaCha20 4, CCM 3, CTR 4).
    pub fn key_len(self) -> usize {
        let cipher = match self {
            Encr::ChaCha20Poly1305 => 32,
            Encr::TripleDes => 24,
            other => usize::from(other.key_bits().unwrap_or(0)) / 8,
        };
        cipher + self.salt_len()
    }

    /// Octets of explicit IV in a message.
    pub fn iv_len(self) -> usize {
        match self {
            Encr::AesCbc(_) => 16,
            Encr::Null => 0,
            _ => 8,
        }
    }

    /// Plaintext with padding and pad length is a multiple of this: the block for CBC, else 1.
    pub fn block_len(self) -> usize {
        match self {
            Encr::AesCbc(_) => 16,
            Encr::TripleDes => 8,
            _ => 1,
        }
    }

    /// Octets of an AEAD's tag; 0 for the others, whose check value comes from the integrity algorithm.
    pub fn icv_len(self) -> usize {
        match self {
            Encr::AesGcm { icv, .. } | Encr::AesCcm { icv, .. } => usize::from(icv),
            Encr::ChaCha20Poly1305 => 16,
            _ => 0,
        }
    }

    /// Whether it authenticates too, so that no integrity algorithm goes with it.
    pub fn is_aead(self) -> bool {
        self.icv_len() > 0
    }

    /// Why not to use it; `None` if RFC 8247 section 2.1 has nothing against it.
    pub fn weak(self) -> Option<&'static str> {
        match self {
            Encr::TripleDes => Some("3DES has 64-bit blocks and 112 bits of strength (RFC 8247: only MAY)"),
            Encr::Null => Some("ENCR_NULL encrypts nothing (RFC 8247: MUST NOT in IKE)"),
            _ => None,
        }
    }

    /// Encrypts `text` in place.
    ///
    /// `key` is [`Encr::key_len`] octets with the salt at the end, `iv` the explicit IV. With an AEAD, `aad` is
    /// authenticated and `tag` ([`Encr::icv_len`] octets) written; otherwise both play no part and `tag` must be empty.
    pub fn encrypt(
        self,
        key: &[u8],
        iv: &[u8],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.check_lengths(key, iv, text, tag)?;
        let (key, salt) = key.split_at(key.len() - self.salt_len());
        match self {
            Encr::AesCbc(128) => cbc_encrypt::<Aes128>(key, iv, text),
            Encr::AesCbc(192) => cbc_encrypt::<Aes192>(key, iv, text),
            Encr::AesCbc(_) => cbc_encrypt::<Aes256>(key, iv, text),
            Encr::TripleDes => triple_des(key, iv, true, text),
            Encr::AesCtr(bits) => ctr(bits, key, salt, iv, text),
            Encr::AesGcm { bits, .. } => lc::aead_seal(gcm(bits), key, &nonce(salt, iv), aad, text, tag),
            Encr::ChaCha20Poly1305 => {
                lc::aead_seal(Aead::ChaCha20Poly1305, key, &nonce(salt, iv), aad, text, tag);
            }
            Encr::AesCcm { bits, icv } => match bits {
                128 => ccm_encrypt::<Aes128>(icv, key, &nonce(salt, iv), aad, text, tag),
                192 => ccm_encrypt::<Aes192>(icv, key, &nonce(salt, iv), aad, text, tag),
                _ => ccm_encrypt::<Aes256>(icv, key, &nonce(salt, iv), aad, text, tag),
            },
            Encr::Null => {}
        }
        Ok(())
    }

    /// Decrypts `text` in place; with an AEAD only if the tag matches. After [`CryptoError::BadIcv`] the content of
    /// `text` is unspecified (and not the plaintext).
    pub fn decrypt(self, key: &[u8], iv: &[u8], aad: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        self.check_lengths(key, iv, text, tag)?;
        let (key, salt) = key.split_at(key.len() - self.salt_len());
        let authentic = match self {
            Encr::AesCbc(128) => cbc_decrypt::<Aes128>(key, iv, text),
            Encr::AesCbc(192) => cbc_decrypt::<Aes192>(key, iv, text),
            Encr::AesCbc(_) => cbc_decrypt::<Aes256>(key, iv, text),
            Encr::TripleDes => {
                triple_des(key, iv, false, text);
                true
            }
            Encr::AesCtr(bits) => {
                ctr(bits, key, salt, iv, text);
                true
            }
            Encr::AesGcm { bits, .. } => lc::aead_open(gcm(bits), key, &nonce(salt, iv), aad, text, tag),
            Encr::ChaCha20Poly1305 => lc::aead_open(Aead::ChaCha20Poly1305, key, &nonce(salt, iv), aad, text, tag),
            Encr::AesCcm { bits, icv } => match bits {
                128 => ccm_decrypt::<Aes128>(icv, key, &nonce(salt, iv), aad, text, tag),
                192 => ccm_decrypt::<Aes192>(icv, key, &nonce(salt, iv), aad, text, tag),
                _ => ccm_decrypt::<Aes256>(icv, key, &nonce(salt, iv), aad, text, tag),
            },
            Encr::Null => true,
        };
        if authentic { Ok(()) } else { Err(CryptoError::BadIcv) }
    }

    /// Octets at the end of the KEYMAT that are not key: RFC 4106, 4309, 7634, 5930.
    pub(super) fn salt_len(self) -> usize {
        match self {
            Encr::AesCtr(_) | Encr::AesGcm { .. } | Encr::ChaCha20Poly1305 => 4,
            Encr::AesCcm { .. } => 3,
            _ => 0,
        }
    }

    fn check_lengths(self, key: &[u8], iv: &[u8], text: &[u8], tag: &[u8]) -> Result<(), CryptoError> {
        let exact = [
            ("the encryption key", self.key_len(), key.len()),
            ("the initialisation vector", self.iv_len(), iv.len()),
            ("the integrity check value", self.icv_len(), tag.len()),
        ];
        for (what, expected, got) in exact {
            if expected != got {
                return Err(CryptoError::BadLength { what, expected, got });
            }
        }
        let block = self.block_len();
        if !text.len().is_multiple_of(block) {
            let expected = text.len().next_multiple_of(block);
            return Err(CryptoError::BadLength { what: "the encrypted text", expected, got: text.len() });
        }
        Ok(())
    }
}

/// `aes256`, `aes256gcm16`, `chacha20poly1305`: as in a strongSwan proposal.
impl fmt::Display for Encr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encr::AesCbc(bits) => write!(f, "aes{bits}"),
            Encr::AesCtr(bits) => write!(f, "aes{bits}ctr"),
            Encr::AesGcm { bits, icv } => write!(f, "aes{bits}gcm{icv}"),
            Encr::AesCcm { bits, icv } => write!(f, "aes{bits}ccm{icv}"),
            Encr::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Encr::TripleDes => f.write_str("3des"),
            Encr::Null => f.write_str("null"),
        }
    }
}

/// Why the cipher calls below cannot fail.
const CHECKED: &str = "check_lengths compared every length";

pub(super) fn gcm(bits: u16) -> Aead {
    match bits {
        128 => Aead::Aes128Gcm,
        192 => Aead::Aes192Gcm,
        _ => Aead::Aes256Gcm,
    }
}

/// Salt and explicit IV next to each other: 12 octets, or 11 of 12 for CCM.
pub(super) fn nonce(salt: &[u8], iv: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..salt.len()].copy_from_slice(salt);
    nonce[salt.len()..salt.len() + iv.len()].copy_from_slice(iv);
    nonce
}

fn cbc_encrypt<C>(key: &[u8], iv: &[u8], text: &mut [u8])
where
    C: aes::cipher::BlockCipherEncrypt + KeyInit,
    cbc::Encryptor<C>: KeyIvInit + BlockModeEncrypt,
{
    let len = text.len();
    let mode = cbc::Encryptor::<C>::new_from_slices(key, iv).expect(CHECKED);
    mode.encrypt_padded::<NoPadding>(text, len).expect(CHECKED);
}

fn cbc_decrypt<C>(key: &[u8], iv: &[u8], text: &mut [u8]) -> bool
where
    C: aes::cipher::BlockCipherDecrypt + KeyInit,
    cbc::Decryptor<C>: KeyIvInit + BlockModeDecrypt,
{
    let mode = cbc::Decryptor::<C>::new_from_slices(key, iv).expect(CHECKED);
    mode.decrypt_padded::<NoPadding>(text).expect(CHECKED);
    true
}

fn triple_des(key: &[u8], iv: &[u8], encrypt: bool, text: &mut [u8]) {
    lc::triple_des_cbc(key.try_into().expect(CHECKED), iv.try_into().expect(CHECKED), encrypt, text);
}

/// RFC 3686 section 4: the counter block is nonce, IV and a 32-bit counter that starts at 1.
fn ctr(bits: u16, key: &[u8], salt: &[u8], iv: &[u8], text: &mut [u8]) {
    let mut block = [0; 16];
    block[..12].copy_from_slice(&nonce(salt, iv));
    block[15] = 1;
    match bits {
        128 => ctr::Ctr32BE::<Aes128>::new_from_slices(key, &block).expect(CHECKED).apply_keystream(text),
        192 => ctr::Ctr32BE::<Aes192>::new_from_slices(key, &block).expect(CHECKED).apply_keystream(text),
        _ => ctr::Ctr32BE::<Aes256>::new_from_slices(key, &block).expect(CHECKED).apply_keystream(text),
    }
}

fn ccm_encrypt<C>(icv: u8, key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &mut [u8])
where
    C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = consts::U16> + KeyInit,
{
    fn run<C, M>(key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &mut [u8])
    where
        C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = consts::U16> + KeyInit,
        M: ccm::aead::array::ArraySize + TagSize,
    {
        let mode = Ccm::<C, M, consts::U11>::new_from_slice(key).expect(CHECKED);
        let nonce = nonce.first_chunk::<11>().expect("11 of 12");
        let made = mode.encrypt_inout_detached(nonce.into(), aad, text.into());
        tag.copy_from_slice(&made.expect("messages are far below CCM's length limit"));
    }
    match icv {
        8 => run::<C, consts::U8>(key, nonce, aad, text, tag),
        12 => run::<C, consts::U12>(key, nonce, aad, text, tag),
        _ => run::<C, consts::U16>(key, nonce, aad, text, tag),
    }
}

fn ccm_decrypt<C>(icv: u8, key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool
where
    C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = consts::U16> + KeyInit,
{
    fn run<C, M>(key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool
    where
        C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = consts::U16> + KeyInit,
        M: ccm::aead::array::ArraySize + TagSize,
    {
        let mode = Ccm::<C, M, consts::U11>::new_from_slice(key).expect(CHECKED);
        let nonce = nonce.first_chunk::<11>().expect("11 of 12");
        mode.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.try_into().expect(CHECKED)).is_ok()
    }
    match icv {
        8 => run::<C, consts::U8>(key, nonce, aad, text, tag),
        12 => run::<C, consts::U12>(key, nonce, aad, text, tag),
        _ => run::<C, consts::U16>(key, nonce, aad, text, tag),
    }
}
