//! Signatures for IKE_AUTH: RSA (PKCS #1 v1.5 and PSS), ECDSA on P-256, P-384 and P-521, Ed25519.
//!
//! Keys come as DER; a private key may be PKCS #8, PKCS #1 or SEC 1. ECDSA signatures exist in two forms: an ASN.1 sequence
//! (RFC 7427) and r and s one after the other (RFC 4754). The salt of PSS and the nonce of ECDSA are AWS-LC's own
//! randomness: with these two, the same seed does not give the same octets.

use std::fmt;

use super::lc::{SignatureDigest, SignatureKey, SignatureKeyKind, SignatureMode};

/// What a key is, for messages and for choosing a scheme.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits.
    Rsa(u32),
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// ECDSA on NIST P-521.
    P521,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyKind {
    /// Octets of r and of s; `None` for a key that is not on one of the NIST curves.
    fn scalar_len(self) -> Option<usize> {
        match self {
            KeyKind::P256 => Some(32),
            KeyKind::P384 => Some(48),
            KeyKind::P521 => Some(66),
            KeyKind::Rsa(_) | KeyKind::Ed25519 => None,
        }
    }

    /// The hash that goes with the curve in RFC 4754.
    pub fn curve_hash(self) -> Option<SignHash> {
        match self {
            KeyKind::P256 => Some(SignHash::Sha256),
            KeyKind::P384 => Some(SignHash::Sha384),
            KeyKind::P521 => Some(SignHash::Sha512),
            KeyKind::Rsa(_) | KeyKind::Ed25519 => None,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::Rsa(bits) => write!(f, "RSA {bits}"),
            KeyKind::P256 => f.write_str("ECDSA P-256"),
            KeyKind::P384 => f.write_str("ECDSA P-384"),
            KeyKind::P521 => f.write_str("ECDSA P-521"),
            KeyKind::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// The hash below a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignHash {
    /// SHA-1: only for the old method 1 and for certificates of old boxes.
    Sha1,
    /// SHA2-256.
    Sha256,
    /// SHA2-384.
    Sha384,
    /// SHA2-512.
    Sha512,
}

impl SignHash {
    /// Every one.
    pub const ALL: &'static [SignHash] = &[SignHash::Sha1, SignHash::Sha256, SignHash::Sha384, SignHash::Sha512];

    /// Octets of a digest.
    pub fn octets(self) -> u16 {
        match self {
            SignHash::Sha1 => 20,
            SignHash::Sha256 => 32,
            SignHash::Sha384 => 48,
            SignHash::Sha512 => 64,
        }
    }

    fn raw(self) -> SignatureDigest {
        match self {
            SignHash::Sha1 => SignatureDigest::Sha1,
            SignHash::Sha256 => SignatureDigest::Sha256,
            SignHash::Sha384 => SignatureDigest::Sha384,
            SignHash::Sha512 => SignatureDigest::Sha512,
        }
    }
}

impl fmt::Display for SignHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignHash::Sha1 => "SHA-1",
            SignHash::Sha256 => "SHA2-256",
            SignHash::Sha384 => "SHA2-384",
            SignHash::Sha512 => "SHA2-512",
        })
    }
}

/// How a message is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(SignHash),
    /// RSASSA-PSS with MGF1 over the same hash.
    RsaPss {
        /// The hash.
        hash: SignHash,
        /// Octets of salt.
        salt: u16,
    },
    /// ECDSA; the signature is an ASN.1 sequence of r and s.
    Ecdsa(SignHash),
    /// ECDSA with the curve's hash; the signature is r and s at full length (RFC 4754).
    EcdsaRaw,
    /// Ed25519, over the message itself.
    Ed25519,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scheme::RsaPkcs1(hash) => write!(f, "RSA PKCS #1 v1.5 with {hash}"),
            Scheme::RsaPss { hash, .. } => write!(f, "RSASSA-PSS with {hash}"),
            Scheme::Ecdsa(hash) => write!(f, "ECDSA with {hash}"),
            Scheme::EcdsaRaw => f.write_str("ECDSA with the curve's hash"),
            Scheme::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// Why a key was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Not DER of a form that is known.
    #[error("not a key in PKCS #8, PKCS #1 or SEC 1 form")]
    Malformed,
    /// A key of another kind, or on another curve.
    #[error("neither RSA, ECDSA on P-256, P-384 or P-521, nor Ed25519")]
    Unsupported,
}

/// A private signature key. Its `Debug` says only what kind it is.
pub struct PrivateKey {
    raw: SignatureKey,
    kind: KeyKind,
}

/// A public signature key.
pub struct PublicKey {
    raw: SignatureKey,
    kind: KeyKind,
}

impl PrivateKey {
    /// Reads a key that is not encrypted.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let raw = SignatureKey::private(der).ok_or(KeyError::Malformed)?;
        let kind = kind_of(&raw)?;
        Ok(PrivateKey { raw, kind })
    }

    /// What it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// True if `public` is its public half.
    pub fn belongs_to(&self, public: &PublicKey) -> bool {
        self.raw.same_public(&public.raw)
    }

    /// Signs `message`; `None` if the scheme is for another kind of key, or the modulus too short for it.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.raw.sign(mode(self.kind, scheme)?, message)?;
        match scheme {
            Scheme::EcdsaRaw => raw_from_der(&signature, self.kind.scalar_len()?),
            _ => Some(signature),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.kind)
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let raw = SignatureKey::public(spki).ok_or(KeyError::Malformed)?;
        let kind = kind_of(&raw)?;
        Ok(PublicKey { raw, kind })
    }

    /// What it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// True if `signature` over `message` was made by the private half; false for a scheme of another kind of key too.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        let Some(mode) = mode(self.kind, scheme) else { return false };
        match scheme {
            Scheme::EcdsaRaw => {
                let der = self.kind.scalar_len().and_then(|len| der_from_raw(signature, len));
                der.is_some_and(|der| self.raw.verify(mode, message, &der))
            }
            _ => self.raw.verify(mode, message, signature),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind)
    }
}

fn kind_of(raw: &SignatureKey) -> Result<KeyKind, KeyError> {
    Ok(match raw.kind().ok_or(KeyError::Unsupported)? {
        SignatureKeyKind::Rsa => KeyKind::Rsa(raw.bits()),
        SignatureKeyKind::P256 => KeyKind::P256,
        SignatureKeyKind::P384 => KeyKind::P384,
        SignatureKeyKind::P521 => KeyKind::P521,
        SignatureKeyKind::Ed25519 => KeyKind::Ed25519,
    })
}

/// `None` if the scheme is for another kind of key.
fn mode(kind: KeyKind, scheme: Scheme) -> Option<SignatureMode> {
    Some(match (kind, scheme) {
        (KeyKind::Rsa(_), Scheme::RsaPkcs1(hash)) => SignatureMode::Digest(hash.raw()),
        (KeyKind::Rsa(_), Scheme::RsaPss { hash, salt }) => SignatureMode::Pss(hash.raw(), salt),
        (KeyKind::P256 | KeyKind::P384 | KeyKind::P521, Scheme::Ecdsa(hash)) => SignatureMode::Digest(hash.raw()),
        (KeyKind::P256 | KeyKind::P384 | KeyKind::P521, Scheme::EcdsaRaw) => {
            SignatureMode::Digest(kind.curve_hash()?.raw())
        }
        (KeyKind::Ed25519, Scheme::Ed25519) => SignatureMode::Pure,
        _ => return None,
    })
}

/// `SEQUENCE { INTEGER r, INTEGER s }` to r and s of `len` octets each.
fn raw_from_der(der: &[u8], len: usize) -> Option<Vec<u8>> {
    let body = element(0x30, &mut &der[..])?;
    let mut rest = body;
    let mut out = Vec::with_capacity(2 * len);
    for _ in 0..2 {
        let number = element(0x02, &mut rest)?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        out.resize(out.len() + len.checked_sub(number.len())?, 0);
        out.extend_from_slice(number);
    }
    rest.is_empty().then_some(out)
}

/// The way back. `None` unless there are exactly two numbers of `len` octets.
fn der_from_raw(raw: &[u8], len: usize) -> Option<Vec<u8>> {
    if raw.len() != 2 * len {
        return None;
    }
    let mut body = Vec::with_capacity(raw.len() + 8);
    for number in raw.chunks_exact(len) {
        let zeros = number.iter().take_while(|octet| **octet == 0).count().min(len - 1);
        let number = &number[zeros..];
        let sign = number.first().is_some_and(|octet| octet & 0x80 != 0);
        body.push(0x02);
        body.push((number.len() + usize::from(sign)) as u8);
        body.extend(sign.then_some(0));
        body.extend_from_slice(number);
    }
    let mut der = vec![0x30];
    // Two P-521 scalars need 138 octets, one more length octet than the short form has.
    der.extend((body.len() >= 0x80).then_some(0x81));
    der.push(body.len() as u8);
    der.append(&mut body);
    Some(der)
}

/// The content of the next DER element of type `tag` and at most 255 octets; `rest` moves behind it.
fn element<'a>(tag: u8, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, content) = match **rest {
        [t, 0x81, len, ref content @ ..] if t == tag => (len, content),
        [t, len @ 0..=0x7f, ref content @ ..] if t == tag => (len, content),
        _ => return None,
    };
    let (element, after) = content.split_at_checked(len.into())?;
    *rest = after;
    Some(element)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature as oracle;

    const MESSAGE: &[u8] = b"signed octets of RFC 7296 section 2.15";

    fn generated(alg: &'static rcgen::SignatureAlgorithm) -> (PrivateKey, PublicKey, rcgen::KeyPair) {
        let pair = rcgen::KeyPair::generate_for(alg).expect("a key pair");
        let private = PrivateKey::from_der(pair.serialized_der()).expect("PKCS #8");
        let public = PublicKey::from_spki(&rcgen::PublicKeyData::subject_public_key_info(&pair)).expect("SPKI");
        assert!(private.belongs_to(&public));
        (private, public, pair)
    }

    #[test]
    fn every_scheme_verifies_what_it_signed_and_nothing_else() {
        let all = [
            (
                &rcgen::PKCS_RSA_SHA256,
                vec![
                    Scheme::RsaPkcs1(SignHash::Sha1),
                    Scheme::RsaPkcs1(SignHash::Sha256),
                    Scheme::RsaPkcs1(SignHash::Sha384),
                    Scheme::RsaPkcs1(SignHash::Sha512),
                    Scheme::RsaPss { hash: SignHash::Sha256, salt: 32 },
                    Scheme::RsaPss { hash: SignHash::Sha384, salt: 48 },
                    Scheme::RsaPss { hash: SignHash::Sha512, salt: 64 },
                ],
            ),
            (&rcgen::PKCS_ECDSA_P256_SHA256, vec![Scheme::EcdsaRaw, Scheme::Ecdsa(SignHash::Sha512)]),
            (&rcgen::PKCS_ECDSA_P384_SHA384, vec![Scheme::EcdsaRaw, Scheme::Ecdsa(SignHash::Sha256)]),
            (&rcgen::PKCS_ECDSA_P521_SHA512, vec![Scheme::EcdsaRaw, Scheme::Ecdsa(SignHash::Sha384)]),
            (&rcgen::PKCS_ED25519, vec![Scheme::Ed25519]),
        ];
        for (alg, schemes) in all {
            let (private, public, _) = generated(alg);
            let (_, stranger, _) = generated(alg);
            for scheme in schemes {
                let mut signature = private.sign(scheme, MESSAGE).unwrap_or_else(|| panic!("{scheme}"));
                assert!(public.verify(scheme, MESSAGE, &signature), "{scheme}");
                assert!(!public.verify(scheme, &MESSAGE[1..], &signature), "{scheme}");
                assert!(!stranger.verify(scheme, MESSAGE, &signature), "{scheme}");
                let last = signature.len() - 1;
                signature[last] ^= 1;
                assert!(!public.verify(scheme, MESSAGE, &signature), "{scheme}");
                assert!(!public.verify(scheme, MESSAGE, &[]), "{scheme}");
            }
            let foreign = if *alg == rcgen::PKCS_ED25519 { Scheme::EcdsaRaw } else { Scheme::Ed25519 };
            assert_eq!(private.sign(foreign, MESSAGE), None);
        }
    }

    #[test]
    fn ring_agrees() {
        let (private, _, pair) = generated(&rcgen::PKCS_RSA_SHA256);
        let checks: [(Scheme, &dyn oracle::VerificationAlgorithm); 3] = [
            (Scheme::RsaPkcs1(SignHash::Sha256), &oracle::RSA_PKCS1_2048_8192_SHA256),
            (Scheme::RsaPkcs1(SignHash::Sha1), &oracle::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
            (Scheme::RsaPss { hash: SignHash::Sha384, salt: 48 }, &oracle::RSA_PSS_2048_8192_SHA384),
        ];
        for (scheme, theirs) in checks {
            let signature = private.sign(scheme, MESSAGE).expect("signed");
            let key = oracle::UnparsedPublicKey::new(theirs, pair.public_key_raw());
            key.verify(MESSAGE, &signature).unwrap_or_else(|_| panic!("ring refuses {scheme}"));
        }

        let (private, public, pair) = generated(&rcgen::PKCS_ECDSA_P256_SHA256);
        let signature = private.sign(Scheme::EcdsaRaw, MESSAGE).expect("signed");
        assert_eq!(signature.len(), 64);
        let key = oracle::UnparsedPublicKey::new(&oracle::ECDSA_P256_SHA256_FIXED, pair.public_key_raw());
        key.verify(MESSAGE, &signature).expect("ring takes our r and s");
        let random = SystemRandom::new();
        let alg = &oracle::ECDSA_P256_SHA256_FIXED_SIGNING;
        let theirs = oracle::EcdsaKeyPair::from_pkcs8(alg, pair.serialized_der(), &random).expect("ring reads it");
        for _ in 0..40 {
            let signature = theirs.sign(&random, MESSAGE).expect("signed");
            assert!(public.verify(Scheme::EcdsaRaw, MESSAGE, signature.as_ref()));
        }

        let (private, _, pair) = generated(&rcgen::PKCS_ED25519);
        let signature = private.sign(Scheme::Ed25519, MESSAGE).expect("signed");
        let key = oracle::UnparsedPublicKey::new(&oracle::ED25519, pair.public_key_raw());
        key.verify(MESSAGE, &signature).expect("ring takes our Ed25519");
    }

    #[test]
    fn r_and_s_keep_their_length() {
        let mut raw = vec![0; 132];
        (raw[65], raw[66]) = (7, 1);
        let der = der_from_raw(&raw, 66).expect("two scalars");
        assert_eq!(der[..5], [0x30, 71, 0x02, 1, 7]);
        assert_eq!(raw_from_der(&der, 66), Some(raw));
        let long = vec![0xff; 132];
        let der = der_from_raw(&long, 66).expect("two scalars");
        assert_eq!(der[..3], [0x30, 0x81, 138]);
        assert_eq!(raw_from_der(&der, 66), Some(long));
        assert_eq!(der_from_raw(&[0; 131], 66), None);
        for broken in [&[][..], &[0x30], &[0x30, 5, 2, 1, 1], &[0x30, 3, 2, 1, 1], &[0x30, 0x81, 0x90, 2]] {
            assert_eq!(raw_from_der(broken, 32), None);
        }
        assert_eq!(raw_from_der(&[0x30, 7, 2, 2, 9, 9, 2, 1, 1], 1), None, "a number too long");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(PrivateKey::from_der(b"nothing").err(), Some(KeyError::Malformed));
        assert_eq!(PublicKey::from_spki(&[]).err(), Some(KeyError::Malformed));
    }
}
