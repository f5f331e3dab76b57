//! Ciphers and integrity algorithms that stay keyed, for what protects many packets with one key (ESP).
//!
//! [`Encr`] and [`Integ`] key themselves for every message, which suits IKE: its messages are few and its SAs many. Here
//! the key schedule is made once. Nothing is allocated per packet.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, StreamCipher, consts};
use aes::{Aes128, Aes192, Aes256};
use ccm::Ccm;
use ccm::aead::AeadInOut;
use hmac::KeyInit;
use subtle::ConstantTimeEq;

use super::encr::{gcm, nonce};
use super::lc::{Aead, KeyedAead, KeyedTripleDes};
use super::mac::MacState;
use super::{CryptoError, Encr, IcvOutput, Integ};

/// A keyed cipher. Some 600 octets on the heap; one direction only.
pub struct KeyedEncr {
    encr: Encr,
    salt: [u8; 4],
    salt_len: usize,
    state: State,
}

enum State {
    Null,
    Cbc(Box<Aes>),
    Ctr(Box<Aes>),
    Ccm(Box<Aes>),
    Aead(KeyedAead),
    TripleDes(KeyedTripleDes),
}

/// A keyed AES of any key length.
enum Aes {
    A128(Aes128),
    A192(Aes192),
    A256(Aes256),
}

/// Calls a function that is generic over the cipher.
macro_rules! with_aes {
    ($aes:expr, $cipher:ident => $call:expr) => {
        match $aes {
            Aes::A128($cipher) => $call,
            Aes::A192($cipher) => $call,
            Aes::A256($cipher) => $call,
        }
    };
}

/// Why the cipher calls below cannot fail.
const CHECKED: &str = "check compared every length";

impl KeyedEncr {
    /// Keys the cipher. `key` is [`Encr::key_len`] octets of KEYMAT with the salt at the end.
    ///
    /// # Errors
    ///
    /// [`CryptoError::BadLength`] if it is not.
    pub fn new(encr: Encr, key: &[u8]) -> Result<Self, CryptoError> {
        if key.len() != encr.key_len() {
            let what = "the encryption key";
            return Err(CryptoError::BadLength { what, expected: encr.key_len(), got: key.len() });
        }
        let (key, rest) = key.split_at(key.len() - encr.salt_len());
        let mut salt = [0; 4];
        salt[..rest.len()].copy_from_slice(rest);
        let state = match encr {
            Encr::Null => State::Null,
            Encr::AesCbc(_) => State::Cbc(Box::new(Aes::new(key))),
            Encr::AesCtr(_) => State::Ctr(Box::new(Aes::new(key))),
            Encr::AesCcm { .. } => State::Ccm(Box::new(Aes::new(key))),
            Encr::AesGcm { bits, icv } => State::Aead(KeyedAead::new(gcm(bits), key, icv.into())),
            Encr::ChaCha20Poly1305 => State::Aead(KeyedAead::new(Aead::ChaCha20Poly1305, key, 16)),
            Encr::TripleDes => State::TripleDes(KeyedTripleDes::new(key.try_into().expect("24 octets by key_len"))),
        };
        Ok(KeyedEncr { encr, salt, salt_len: rest.len(), state })
    }

    /// Which cipher it is.
    pub fn encr(&self) -> Encr {
        self.encr
    }

    /// Encrypts `text` in place: as [`Encr::encrypt`].
    ///
    /// # Errors
    ///
    /// [`CryptoError::BadLength`] if the IV, the text or the tag have a length that the cipher cannot have.
    pub fn encrypt(&mut self, iv: &[u8], aad: &[u8], text: &mut [u8], tag: &mut [u8]) -> Result<(), CryptoError> {
        self.check(iv, text, tag)?;
        let nonce = || nonce(&self.salt[..self.salt_len], iv);
        match &mut self.state {
            State::Null => {}
            State::Cbc(aes) => with_aes!(&**aes, cipher => cbc_encrypt(cipher, iv, text)),
            State::Ctr(aes) => with_aes!(&**aes, cipher => ctr(cipher, &nonce(), text)),
            State::Ccm(aes) => with_aes!(&**aes, cipher => ccm_encrypt(cipher, &nonce(), aad, text, tag)),
            State::Aead(context) => context.seal(&nonce(), aad, text, tag),
            State::TripleDes(context) => context.run(iv.try_into().expect(CHECKED), true, text),
        }
        Ok(())
    }

    /// Decrypts `text` in place; with an AEAD only if the tag matches: as [`Encr::decrypt`].
    ///
    /// # Errors
    ///
    /// [`CryptoError::BadIcv`], after which the content of `text` is unspecified, or [`CryptoError::BadLength`].
    pub fn decrypt(&mut self, iv: &[u8], aad: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        self.check(iv, text, tag)?;
        let nonce = || nonce(&self.salt[..self.salt_len], iv);
        let authentic = match &mut self.state {
            State::Null => true,
            State::Cbc(aes) => {
                with_aes!(&**aes, cipher => cbc_decrypt(cipher, iv, text));
                true
            }
            State::Ctr(aes) => {
                with_aes!(&**aes, cipher => ctr(cipher, &nonce(), text));
                true
            }
            State::Ccm(aes) => with_aes!(&**aes, cipher => ccm_decrypt(cipher, &nonce(), aad, text, tag)),
            State::Aead(context) => context.open(&nonce(), aad, text, tag),
            State::TripleDes(context) => {
                context.run(iv.try_into().expect(CHECKED), false, text);
                true
            }
        };
        if authentic { Ok(()) } else { Err(CryptoError::BadIcv) }
    }

    fn check(&self, iv: &[u8], text: &[u8], tag: &[u8]) -> Result<(), CryptoError> {
        let (iv_len, tag_len) = (self.encr.iv_len(), self.encr.icv_len());
        if iv.len() != iv_len {
            let what = "the initialisation vector";
            return Err(CryptoError::BadLength { what, expected: iv_len, got: iv.len() });
        }
        if tag.len() != tag_len {
            let what = "the integrity check value";
            return Err(CryptoError::BadLength { what, expected: tag_len, got: tag.len() });
        }
        let block = self.encr.block_len();
        if !text.len().is_multiple_of(block) {
            let expected = text.len().next_multiple_of(block);
            return Err(CryptoError::BadLength { what: "the encrypted text", expected, got: text.len() });
        }
        Ok(())
    }
}

impl std::fmt::Debug for KeyedEncr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyedEncr({}, redacted)", self.encr)
    }
}

/// A keyed integrity algorithm.
pub struct KeyedInteg {
    integ: Integ,
    state: MacState,
}

impl KeyedInteg {
    /// Keys it. `key` is [`Integ::key_len`] octets.
    ///
    /// # Errors
    ///
    /// [`CryptoError::BadLength`] if it is not.
    pub fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        if key.len() != integ.key_len() {
            let what = "the integrity key";
            return Err(CryptoError::BadLength { what, expected: integ.key_len(), got: key.len() });
        }
        Ok(KeyedInteg { integ, state: MacState::new(integ.kind(), key) })
    }

    /// Which algorithm it is.
    pub fn integ(&self) -> Integ {
        self.integ
    }

    /// The check value over `part | part | ...`.
    pub fn sign(&self, parts: &[&[u8]]) -> IcvOutput {
        let mut state = self.state.clone();
        for part in parts {
            state.update(part);
        }
        IcvOutput(state.finish().truncate(self.integ.icv_len()))
    }

    /// Whether `icv` is the check value over `part | part | ...`, in constant time.
    pub fn verify(&self, parts: &[&[u8]], icv: &[u8]) -> bool {
        bool::from(self.sign(parts).as_ref().ct_eq(icv))
    }
}

impl std::fmt::Debug for KeyedInteg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyedInteg({}, redacted)", self.integ)
    }
}

impl Aes {
    fn new(key: &[u8]) -> Self {
        const LENGTH: &str = "key_len is 16, 24 or 32";
        match key.len() {
            16 => Aes::A128(Aes128::new_from_slice(key).expect(LENGTH)),
            24 => Aes::A192(Aes192::new_from_slice(key).expect(LENGTH)),
            _ => Aes::A256(Aes256::new_from_slice(key).expect(LENGTH)),
        }
    }
}

/// What a keyed AES of any key length can do.
trait Block:
    aes::cipher::BlockCipherEncrypt + aes::cipher::BlockCipherDecrypt + aes::cipher::BlockSizeUser<BlockSize = consts::U16>
{
}
impl Block for Aes128 {}
impl Block for Aes192 {}
impl Block for Aes256 {}

fn cbc_encrypt<C: Block>(cipher: &C, iv: &[u8], text: &mut [u8]) {
    let len = text.len();
    let mode = cbc::Encryptor::<&C>::inner_iv_slice_init(cipher, iv).expect(CHECKED);
    mode.encrypt_padded::<NoPadding>(text, len).expect(CHECKED);
}

fn cbc_decrypt<C: Block>(cipher: &C, iv: &[u8], text: &mut [u8]) {
    let mode = cbc::Decryptor::<&C>::inner_iv_slice_init(cipher, iv).expect(CHECKED);
    mode.decrypt_padded::<NoPadding>(text).expect(CHECKED);
}

/// RFC 3686 section 4: nonce, IV, and a 32-bit counter that starts at 1.
fn ctr<C: Block>(cipher: &C, nonce: &[u8; 12], text: &mut [u8]) {
    let mut block = [0; 16];
    block[..12].copy_from_slice(nonce);
    block[15] = 1;
    let core = ctr::CtrCore::<&C, ctr::flavors::Ctr32BE>::inner_iv_slice_init(cipher, &block).expect(CHECKED);
    aes::cipher::StreamCipherCoreWrapper::from_core(core).apply_keystream(text);
}

fn ccm_encrypt<C: Block>(cipher: &C, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &mut [u8]) {
    fn run<C: Block, M: ccm::aead::array::ArraySize + ccm::TagSize>(
        cipher: &C,
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) {
        let mode = Ccm::<&C, M, consts::U11>::from(cipher);
        let nonce = nonce.first_chunk::<11>().expect("11 of 12");
        let made = mode.encrypt_inout_detached(nonce.into(), aad, text.into());
        tag.copy_from_slice(&made.expect("packets are far below CCM's length limit"));
    }
    match tag.len() {
        8 => run::<C, consts::U8>(cipher, nonce, aad, text, tag),
        12 => run::<C, consts::U12>(cipher, nonce, aad, text, tag),
        _ => run::<C, consts::U16>(cipher, nonce, aad, text, tag),
    }
}

fn ccm_decrypt<C: Block>(cipher: &C, nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
    fn run<C: Block, M: ccm::aead::array::ArraySize + ccm::TagSize>(
        cipher: &C,
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8],
    ) -> bool {
        let mode = Ccm::<&C, M, consts::U11>::from(cipher);
        let nonce = nonce.first_chunk::<11>().expect("11 of 12");
        mode.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.try_into().expect(CHECKED)).is_ok()
    }
    match tag.len() {
        8 => run::<C, consts::U8>(cipher, nonce, aad, text, tag),
        12 => run::<C, consts::U12>(cipher, nonce, aad, text, tag),
        _ => run::<C, consts::U16>(cipher, nonce, aad, text, tag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIPHERS: &[Encr] = &[
        Encr::AesCbc(128),
        Encr::AesCbc(192),
        Encr::AesCbc(256),
        Encr::AesCtr(128),
        Encr::AesCtr(192),
        Encr::AesCtr(256),
        Encr::AesGcm { bits: 128, icv: 8 },
        Encr::AesGcm { bits: 192, icv: 12 },
        Encr::AesGcm { bits: 256, icv: 16 },
        Encr::AesCcm { bits: 128, icv: 8 },
        Encr::AesCcm { bits: 192, icv: 12 },
        Encr::AesCcm { bits: 256, icv: 16 },
        Encr::ChaCha20Poly1305,
        Encr::TripleDes,
        Encr::Null,
    ];

    fn octets(len: usize, salt: u8) -> Vec<u8> {
        (0..len).map(|n| (n as u8).wrapping_mul(37).wrapping_add(salt)).collect()
    }

    /// The same as the ciphers that key themselves for each message, which their own vectors and oracles judge.
    #[test]
    fn a_keyed_cipher_is_the_same_cipher_packet_after_packet() {
        for &encr in CIPHERS {
            let key = octets(encr.key_len(), 1);
            let (mut sealer, mut opener) = (KeyedEncr::new(encr, &key).unwrap(), KeyedEncr::new(encr, &key).unwrap());
            for (round, len) in [0, 48, 16, 1392].into_iter().enumerate() {
                let (iv, aad, plain) = (octets(encr.iv_len(), round as u8), octets(8, 9), octets(len, 3));
                let (mut text, mut tag) = (plain.clone(), vec![0; encr.icv_len()]);
                sealer.encrypt(&iv, &aad, &mut text, &mut tag).unwrap();
                let (mut other, mut other_tag) = (plain.clone(), vec![0; encr.icv_len()]);
                encr.encrypt(&key, &iv, &aad, &mut other, &mut other_tag).unwrap();
                assert_eq!((&text, &tag), (&other, &other_tag), "{encr}");
                opener.decrypt(&iv, &aad, &mut text, &tag).unwrap();
                assert_eq!(text, plain, "{encr}");
                if encr.is_aead() {
                    tag[0] ^= 1;
                    assert_eq!(opener.decrypt(&iv, &aad, &mut other, &tag), Err(CryptoError::BadIcv), "{encr}");
                }
            }
            assert!(KeyedEncr::new(encr, &octets(encr.key_len() + 1, 0)).is_err(), "{encr}");
            assert!(sealer.encrypt(&octets(encr.iv_len() + 1, 0), &[], &mut [], &mut []).is_err(), "{encr}");
            assert_eq!(format!("{sealer:?}"), format!("KeyedEncr({encr}, redacted)"));
        }
    }

    #[test]
    fn a_keyed_integrity_algorithm_is_the_same_algorithm() {
        for &integ in Integ::ALL {
            let key = octets(integ.key_len(), 5);
            let keyed = KeyedInteg::new(integ, &key).unwrap();
            for len in [0, 1, 64, 1400] {
                let data = octets(len, 7);
                let icv = keyed.sign(&[&data, &[1, 2]]);
                assert_eq!(icv, integ.sign(&key, &[&data, &[1, 2]]), "{integ}");
                assert!(keyed.verify(&[&data, &[1, 2]], icv.as_ref()), "{integ}");
                assert!(!keyed.verify(&[&data, &[1, 3]], icv.as_ref()), "{integ}");
            }
            assert!(KeyedInteg::new(integ, &key[1..]).is_err(), "{integ}");
        }
    }
}
