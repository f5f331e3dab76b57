//! Which signature an AUTH payload holds: the old methods (RFC 7296 3.8, RFC 4754) and Digital Signature (RFC 7427, RFC 8420).

use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

use crate::crypto::{KeyKind, Scheme, SignHash};
use crate::wire::registry::{AuthMethod, HashAlgorithm};

/// What we announce in SIGNATURE_HASH_ALGORITHMS (RFC 7427 4): what we verify.
pub const ANNOUNCED: [HashAlgorithm; 4] =
    [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512, HashAlgorithm::IDENTITY];

/// The data of a SIGNATURE_HASH_ALGORITHMS notify.
pub fn announcement() -> Vec<u8> {
    ANNOUNCED.iter().flat_map(|hash| hash.0.to_be_bytes()).collect()
}

/// The peer's announcement, from the notify's data.
pub fn read_announcement(data: &[u8]) -> Vec<HashAlgorithm> {
    data.as_chunks::<2>().0.iter().map(|octets| HashAlgorithm(u16::from_be_bytes(*octets))).collect()
}

/// Which signature we make, as far as it is not left to what the peer announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SignaturePolicy {
    /// The old methods although the peer announced RFC 7427, or RFC 7427 although it did not.
    pub method: Option<MethodFamily>,
    /// For an RSA key: PSS; else PKCS #1 v1.5.
    pub pss: bool,
    /// This hash and no other.
    pub hash: Option<SignHash>,
}

/// The two families of signature methods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodFamily {
    /// Methods 1, 9, 10 and 11.
    Old,
    /// Method 14 (RFC 7427).
    DigitalSignature,
}

/// A way to sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// The Auth Method.
    pub method: AuthMethod,
    /// How the octets are made.
    pub scheme: Scheme,
}

impl Chosen {
    /// The Authentication Data for a signature (RFC 7427 3: with the algorithm in front).
    pub fn auth_data(self, signature: Vec<u8>) -> Vec<u8> {
        if self.method != AuthMethod::DIGITAL_SIGNATURE {
            return signature;
        }
        let algorithm = algorithm_identifier(self.scheme);
        let mut data = Vec::with_capacity(1 + algorithm.len() + signature.len());
        data.push(algorithm.len() as u8);
        data.extend(algorithm);
        data.extend(signature);
        data
    }
}

/// Picks the signature for a key. `announced` is what the peer said in SIGNATURE_HASH_ALGORITHMS, if it did. The error says
/// why there is none.
pub fn choose(key: KeyKind, announced: Option<&[HashAlgorithm]>, policy: &SignaturePolicy) -> Result<Chosen, String> {
    let family = policy.method.unwrap_or(match announced {
        Some(_) => MethodFamily::DigitalSignature,
        None => MethodFamily::Old,
    });
    if family == MethodFamily::Old {
        return old_method(key, policy);
    }
    let method = AuthMethod::DIGITAL_SIGNATURE;
    // Told to although the peer announced nothing: then nothing is out of bounds.
    let takes = |hash: HashAlgorithm| announced.is_none_or(|list| list.contains(&hash));
    if key == KeyKind::Ed25519 {
        return if takes(HashAlgorithm::IDENTITY) {
            Ok(Chosen { method, scheme: Scheme::Ed25519 })
        } else {
            Err("the peer does not announce the Identity hash, without which there is no Ed25519 (RFC 8420 2)".into())
        };
    }
    let first = key.curve_hash().unwrap_or(SignHash::Sha256);
    let preferred = match policy.hash {
        Some(hash) => vec![hash],
        None => vec![first, SignHash::Sha256, SignHash::Sha384, SignHash::Sha512],
    };
    // A hash that the configuration demands is used whatever the peer announces: that may be the test.
    let hash = preferred.into_iter().find(|hash| policy.hash.is_some() || takes(number(*hash)));
    let Some(hash) = hash else {
        return Err("the peer announces no hash of the SHA-2 family in SIGNATURE_HASH_ALGORITHMS".into());
    };
    let scheme = match key {
        KeyKind::Rsa(_) if policy.pss => Scheme::RsaPss { hash, salt: hash.octets() },
        KeyKind::Rsa(_) => Scheme::RsaPkcs1(hash),
        _ => Scheme::Ecdsa(hash),
    };
    Ok(Chosen { method, scheme })
}

fn old_method(key: KeyKind, policy: &SignaturePolicy) -> Result<Chosen, String> {
    let (method, scheme) = match key {
        // RFC 7296 3.8: SHA-1 should be the default.
        KeyKind::Rsa(_) => (AuthMethod::RSA_DIGITAL_SIGNATURE, Scheme::RsaPkcs1(policy.hash.unwrap_or(SignHash::Sha1))),
        KeyKind::P256 => (AuthMethod::ECDSA_SHA256_P256, Scheme::EcdsaRaw),
        KeyKind::P384 => (AuthMethod::ECDSA_SHA384_P384, Scheme::EcdsaRaw),
        KeyKind::P521 => (AuthMethod::ECDSA_SHA512_P521, Scheme::EcdsaRaw),
        KeyKind::Ed25519 => {
            return Err(
                "the peer does not announce SIGNATURE_HASH_ALGORITHMS, without which there is no Ed25519".into()
            );
        }
    };
    Ok(Chosen { method, scheme })
}

/// Reads a peer's Authentication Data: the ways in which it may have been made, and the signature. The error says what is
/// wrong with it for this key.
pub fn read(method: AuthMethod, data: &[u8], key: KeyKind) -> Result<(Vec<Scheme>, &[u8]), String> {
    let for_key = |wanted: KeyKind| if key == wanted { Ok(()) } else { Err(format!("it is for a {wanted} key")) };
    match method {
        AuthMethod::RSA_DIGITAL_SIGNATURE => {
            if !matches!(key, KeyKind::Rsa(_)) {
                return Err("it is for an RSA key".into());
            }
            // The hash stands in the signature; implementations may use another than SHA-1 (RFC 7296 3.8).
            let hashes = [SignHash::Sha1, SignHash::Sha256, SignHash::Sha384, SignHash::Sha512];
            Ok((hashes.map(Scheme::RsaPkcs1).to_vec(), data))
        }
        AuthMethod::ECDSA_SHA256_P256 => for_key(KeyKind::P256).map(|()| (vec![Scheme::EcdsaRaw], data)),
        AuthMethod::ECDSA_SHA384_P384 => for_key(KeyKind::P384).map(|()| (vec![Scheme::EcdsaRaw], data)),
        AuthMethod::ECDSA_SHA512_P521 => for_key(KeyKind::P521).map(|()| (vec![Scheme::EcdsaRaw], data)),
        AuthMethod::DIGITAL_SIGNATURE => {
            let cut = || "its algorithm identifier is cut off".to_owned();
            let (len, rest) = data.split_first().ok_or_else(cut)?;
            let (algorithm, signature) = rest.split_at_checked((*len).into()).ok_or_else(cut)?;
            let scheme = read_algorithm(algorithm)?;
            let fits = matches!(
                (key, scheme),
                (KeyKind::Rsa(_), Scheme::RsaPkcs1(_) | Scheme::RsaPss { .. })
                    | (KeyKind::P256 | KeyKind::P384 | KeyKind::P521, Scheme::Ecdsa(_))
                    | (KeyKind::Ed25519, Scheme::Ed25519)
            );
            if fits { Ok((vec![scheme], signature)) } else { Err(format!("it is {scheme}")) }
        }
        other => Err(format!("{other} is no signature that is known here")),
    }
}

/// True for a method that signs with a certificate's key.
pub fn is_signature(method: AuthMethod) -> bool {
    matches!(
        method,
        AuthMethod::RSA_DIGITAL_SIGNATURE
            | AuthMethod::DSS_DIGITAL_SIGNATURE
            | AuthMethod::ECDSA_SHA256_P256
            | AuthMethod::ECDSA_SHA384_P384
            | AuthMethod::ECDSA_SHA512_P521
            | AuthMethod::DIGITAL_SIGNATURE
    )
}

fn number(hash: SignHash) -> HashAlgorithm {
    match hash {
        SignHash::Sha1 => HashAlgorithm::SHA1,
        SignHash::Sha256 => HashAlgorithm::SHA2_256,
        SignHash::Sha384 => HashAlgorithm::SHA2_384,
        SignHash::Sha512 => HashAlgorithm::SHA2_512,
    }
}

/// The last arcs of SHA-256, SHA-384 and SHA-512 below 2.16.840.1.101.3.4.2, and of the RSA and ECDSA signatures with them.
fn arcs(hash: SignHash) -> (u8, u8, u8) {
    match hash {
        SignHash::Sha1 => (0, 0x05, 0x01),
        SignHash::Sha256 => (1, 0x0b, 0x02),
        SignHash::Sha384 => (2, 0x0c, 0x03),
        SignHash::Sha512 => (3, 0x0d, 0x04),
    }
}

/// The DER of RFC 7427 Appendix A.
fn algorithm_identifier(scheme: Scheme) -> Vec<u8> {
    const PKCS1: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    match scheme {
        Scheme::RsaPkcs1(hash) => {
            let mut der = vec![0x30, 0x0d, 0x06, 0x09];
            der.extend(PKCS1);
            der.extend([arcs(hash).1, 0x05, 0x00]);
            der
        }
        Scheme::RsaPss { hash, salt } => {
            // With SHA-1 and 20 octets all parameters are defaults and stand not there.
            if hash == SignHash::Sha1 {
                let mut der = vec![0x30, 0x0d, 0x06, 0x09];
                der.extend(PKCS1);
                der.extend([0x0a, 0x30, 0x00]);
                return der;
            }
            let sha2 =
                [0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, arcs(hash).0, 0x05, 0x00];
            let mut der = vec![0x30, 0x41, 0x06, 0x09];
            der.extend(PKCS1);
            der.extend([0x0a, 0x30, 0x34, 0xa0, 0x0f]);
            der.extend(sha2);
            der.extend([0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09]);
            der.extend(PKCS1);
            der.push(0x08);
            der.extend(sha2);
            der.extend([0xa2, 0x03, 0x02, 0x01, salt as u8]);
            der
        }
        Scheme::Ecdsa(SignHash::Sha1) => vec![0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
        Scheme::Ecdsa(hash) => {
            vec![0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, arcs(hash).2]
        }
        Scheme::Ed25519 => vec![0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70],
        // Has no identifier: it is what the old methods use.
        Scheme::EcdsaRaw => Vec::new(),
    }
}

fn read_algorithm(der: &[u8]) -> Result<Scheme, String> {
    let (rest, algorithm) =
        AlgorithmIdentifier::from_der(der).map_err(|_| "its algorithm identifier is malformed".to_owned())?;
    if !rest.is_empty() {
        return Err("something follows its algorithm identifier".into());
    }
    let sha1 = || Err("it is made with SHA-1, which was not announced".to_owned());
    match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.11" => Ok(Scheme::RsaPkcs1(SignHash::Sha256)),
        "1.2.840.113549.1.1.12" => Ok(Scheme::RsaPkcs1(SignHash::Sha384)),
        "1.2.840.113549.1.1.13" => Ok(Scheme::RsaPkcs1(SignHash::Sha512)),
        "1.2.840.10045.4.3.2" => Ok(Scheme::Ecdsa(SignHash::Sha256)),
        "1.2.840.10045.4.3.3" => Ok(Scheme::Ecdsa(SignHash::Sha384)),
        "1.2.840.10045.4.3.4" => Ok(Scheme::Ecdsa(SignHash::Sha512)),
        "1.3.101.112" => Ok(Scheme::Ed25519),
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => sha1(),
        "1.2.840.113549.1.1.10" => {
            let Ok(SignatureAlgorithm::RSASSA_PSS(params)) = SignatureAlgorithm::try_from(&algorithm) else {
                return Err("its RSASSA-PSS parameters are malformed".into());
            };
            let hash = match params.hash_algorithm_oid().to_id_string().as_str() {
                "2.16.840.1.101.3.4.2.1" => SignHash::Sha256,
                "2.16.840.1.101.3.4.2.2" => SignHash::Sha384,
                "2.16.840.1.101.3.4.2.3" => SignHash::Sha512,
                "1.3.14.3.2.26" => return sha1(),
                other => return Err(format!("its RSASSA-PSS hash {other} is unknown")),
            };
            let mask = params.mask_gen_algorithm().map_err(|_| "its mask generation is malformed".to_owned())?;
            if mask.hash.to_id_string() != params.hash_algorithm_oid().to_id_string() {
                return Err("its RSASSA-PSS mask is made with another hash".into());
            }
            let salt = u16::try_from(params.salt_length()).map_err(|_| "its RSASSA-PSS salt is too long".to_owned())?;
            Ok(Scheme::RsaPss { hash, salt })
        }
        other => Err(format!("its algorithm {other} is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_those_of_rfc_7427() {
        // Appendix A.1.2, A.3.2, A.4.3; RFC 8420 appendix A.
        let hex = |der: Vec<u8>| der.iter().map(|o| format!("{o:02x}")).collect::<String>();
        assert_eq!(hex(algorithm_identifier(Scheme::RsaPkcs1(SignHash::Sha256))), "300d06092a864886f70d01010b0500");
        assert_eq!(hex(algorithm_identifier(Scheme::Ecdsa(SignHash::Sha256))), "300a06082a8648ce3d040302");
        assert_eq!(
            hex(algorithm_identifier(Scheme::RsaPss { hash: SignHash::Sha256, salt: 32 })),
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d0609608648016503\
             0402010500a203020120"
        );
        assert_eq!(hex(algorithm_identifier(Scheme::Ed25519)), "300506032b6570");
    }

    #[test]
    fn what_is_written_is_read() {
        let rsa = KeyKind::Rsa(2048);
        for (key, scheme) in [
            (rsa, Scheme::RsaPkcs1(SignHash::Sha512)),
            (rsa, Scheme::RsaPss { hash: SignHash::Sha384, salt: 48 }),
            (KeyKind::P256, Scheme::Ecdsa(SignHash::Sha512)),
            (KeyKind::Ed25519, Scheme::Ed25519),
        ] {
            let data = Chosen { method: AuthMethod::DIGITAL_SIGNATURE, scheme }.auth_data(vec![1, 2, 3]);
            let (schemes, signature) = read(AuthMethod::DIGITAL_SIGNATURE, &data, key).expect("ours");
            assert_eq!((schemes, signature), (vec![scheme], &[1, 2, 3][..]));
            let other = if key == KeyKind::P384 { rsa } else { KeyKind::P384 };
            let wrong = read(AuthMethod::DIGITAL_SIGNATURE, &data, other);
            assert_eq!(wrong.is_err(), !matches!(scheme, Scheme::Ecdsa(_)), "{wrong:?}");
        }
        for broken in [&[][..], &[5, 1], &[2, 0x30, 0x20], &[3, 0x30, 1, 0]] {
            assert!(read(AuthMethod::DIGITAL_SIGNATURE, broken, rsa).is_err());
        }
        let sha1 = Chosen { method: AuthMethod::DIGITAL_SIGNATURE, scheme: Scheme::RsaPkcs1(SignHash::Sha1) };
        let why = read(AuthMethod::DIGITAL_SIGNATURE, &sha1.auth_data(vec![9]), rsa).unwrap_err();
        assert!(why.contains("SHA-1"), "{why}");
        assert!(read(AuthMethod::ECDSA_SHA256_P256, &[0; 64], KeyKind::P384).is_err());
        assert!(read(AuthMethod::NULL, &[], rsa).is_err());
    }

    #[test]
    fn the_choice_follows_what_the_peer_announced() {
        let auto = SignaturePolicy::default();
        let sha2 = [HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512];
        let pick = |key, announced: Option<&[HashAlgorithm]>, policy: &SignaturePolicy| {
            choose(key, announced, policy).map(|c| (c.method.0, c.scheme))
        };
        let rsa = KeyKind::Rsa(2048);
        assert_eq!(pick(rsa, None, &auto), Ok((1, Scheme::RsaPkcs1(SignHash::Sha1))));
        assert_eq!(pick(rsa, Some(&sha2), &auto), Ok((14, Scheme::RsaPkcs1(SignHash::Sha384))));
        assert_eq!(pick(KeyKind::P256, None, &auto), Ok((9, Scheme::EcdsaRaw)));
        assert_eq!(pick(KeyKind::P384, None, &auto), Ok((10, Scheme::EcdsaRaw)));
        assert_eq!(pick(KeyKind::P521, None, &auto), Ok((11, Scheme::EcdsaRaw)));
        assert_eq!(pick(KeyKind::P521, Some(&sha2), &auto), Ok((14, Scheme::Ecdsa(SignHash::Sha512))));
        assert_eq!(pick(KeyKind::P256, Some(&sha2), &auto), Ok((14, Scheme::Ecdsa(SignHash::Sha384))));
        assert_eq!(pick(KeyKind::Ed25519, Some(&ANNOUNCED), &auto), Ok((14, Scheme::Ed25519)));
        assert!(pick(KeyKind::Ed25519, Some(&sha2), &auto).unwrap_err().contains("Identity"));
        assert!(pick(KeyKind::Ed25519, None, &auto).is_err());
        let pss = SignaturePolicy { pss: true, ..auto };
        assert_eq!(pick(rsa, Some(&sha2), &pss), Ok((14, Scheme::RsaPss { hash: SignHash::Sha384, salt: 48 })));
        let old = SignaturePolicy { method: Some(MethodFamily::Old), ..auto };
        assert_eq!(pick(rsa, Some(&sha2), &old), Ok((1, Scheme::RsaPkcs1(SignHash::Sha1))));
        assert!(pick(rsa, Some(&[HashAlgorithm::SHA1]), &auto).is_err());
        assert_eq!(read_announcement(&announcement()), ANNOUNCED);
    }
}
