//! The path from a leaf to a trusted authority. rustls-webpki judges it; where it says no, the path is walked once more by
//! names to say which check failed, and where it says yes, what it leaves out is checked.

use std::time::Duration;

use ::webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};
use aws_lc_rs::signature as lc;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime, alg_id,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::cert::Certificate;
use super::fault::CertFault;
use super::judge::{Policy, Trust};
use super::usage;
use crate::crypto::{KeyKind, Scheme, SignHash};

/// Judges the path of `sent[0]`; returns the subjects above it.
pub(super) fn judge(
    trust: &Trust,
    sent: &[Certificate],
    now: i64,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, CertFault> {
    let path = build(trust, sent, now).map_err(|error| explain(&error, trust, sent, now))?;
    for (cert, at) in path.iter().zip(0..) {
        // The judge takes no interest in an authority's own dates once it is trusted; real boxes do.
        check_dates(cert, now)?;
        if at > 0 {
            usage::issuer(cert, notes).map_err(|(has, wants)| CertFault::Usage {
                subject: cert.subject_text(),
                has,
                wants: wants.to_owned(),
            })?;
        }
        // What signs the trusted certificate itself is nobody's business.
        if cert.signature_oid == SHA1_RSA && at + 1 < path.len() {
            notes.push(format!("the certificate of {} is signed with SHA-1", cert.subject_text()));
        }
    }
    if !trust.crls.is_empty() {
        note_crls(trust, &path, now, notes);
    }
    Ok(path[1..].iter().map(|cert| cert.subject_text()).collect())
}

/// Whether `now` lies within the certificate's validity.
pub(super) fn check_dates(cert: &Certificate, now: i64) -> Result<(), CertFault> {
    let subject = || cert.subject_text();
    if now < cert.not_before {
        return Err(CertFault::NotYetValid { subject: subject(), not_before: cert.not_before, now });
    }
    if now > cert.not_after {
        return Err(CertFault::Expired { subject: subject(), not_after: cert.not_after, now });
    }
    Ok(())
}

/// Whether the judge can use a revocation list.
pub(super) fn check_crl(der: &[u8]) -> Result<(), String> {
    OwnedCertRevocationList::from_der(der).map(|_| ()).map_err(|error| words(&error))
}

/// Asks the judge; returns the path, leaf first and authority last.
fn build(trust: &Trust, sent: &[Certificate], now: i64) -> Result<Vec<Certificate>, Error> {
    let leaf = CertificateDer::from(sent[0].der());
    let end_entity = EndEntityCert::try_from(&leaf)?;
    let between: Vec<CertificateDer<'_>> = sent[1..].iter().map(|c| CertificateDer::from(c.der())).collect();
    let trusted: Vec<CertificateDer<'_>> = trust.anchors.iter().map(|c| CertificateDer::from(c.der())).collect();
    let anchors: Vec<_> = trusted.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
    let mut algorithms: Vec<&dyn SignatureVerificationAlgorithm> = Vec::new();
    if trust.policy == Policy::Lenient {
        algorithms.extend(OLD.iter().map(|old| old as &dyn SignatureVerificationAlgorithm));
    }
    algorithms.extend(::webpki::ALL_VERIFICATION_ALGS);
    let lists: Vec<CertRevocationList<'_>> =
        trust.crls.iter().filter_map(|crl| OwnedCertRevocationList::from_der(crl.der()).ok()).map(Into::into).collect();
    let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        let strict = trust.policy == Policy::Strict;
        let (status, expiry) = if strict {
            (UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce)
        } else {
            (UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore)
        };
        let options = options.with_depth(RevocationCheckDepth::Chain);
        options.with_status_policy(status).with_expiration_policy(expiry).build()
    });
    let verified = end_entity.verify_for_usage(&algorithms, &anchors, &between, time, AnyUsage, revocation, None)?;
    let mut path = vec![sent[0].clone()];
    for used in verified.intermediate_certificates() {
        let der = used.der();
        path.extend(sent[1..].iter().find(|c| c.der() == &*der).cloned());
    }
    let anchor = verified.anchor();
    // Of several authorities with one name, the key tells which it was.
    let by_key = |cert: &&Certificate| {
        anchor_from_trusted_cert(&CertificateDer::from(cert.der()))
            .is_ok_and(|a| a.subject == anchor.subject && a.subject_public_key_info == anchor.subject_public_key_info)
    };
    path.extend(trust.anchors.iter().find(by_key).cloned());
    Ok(path)
}

/// The extended key usage is judged by [`super::usage`], with the words and the policy that belong to IKE.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Which check failed: the judge's error, and the path as the names tell it.
fn explain(error: &Error, trust: &Trust, sent: &[Certificate], now: i64) -> CertFault {
    let leaf = &sent[0];
    let (path, reached) = walk(trust, sent);
    let subject = || leaf.subject_text();
    let dates = || path.iter().find_map(|cert| check_dates(cert, now).err());
    let end = path.last().copied().unwrap_or(leaf);
    let unknown = || CertFault::UnknownIssuer {
        subject: end.subject_text(),
        issuer: end.issuer_text(),
        whole: end.is_self_issued(),
        trusted: trust.anchors.iter().map(Certificate::subject_text).collect(),
        sent: sent.iter().map(Certificate::subject_text).collect(),
    };
    let other = || CertFault::Path { subject: subject(), why: words(error) };
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => dates().unwrap_or_else(other),
        Error::CertRevoked => revoked(trust, &path).unwrap_or_else(other),
        Error::UnknownRevocationStatus => {
            let without = path.iter().find(|cert| !trust.crls.iter().any(|crl| crl.issuer == cert.issuer()));
            let cert = without.copied().unwrap_or(leaf);
            let why = format!("there is no revocation list of {}, and the policy is strict", cert.issuer_text());
            CertFault::RevocationUnknown { subject: cert.subject_text(), why }
        }
        Error::CrlExpired { .. } => CertFault::RevocationUnknown {
            subject: subject(),
            why: "a revocation list of its path is past its next update, and the policy is strict".into(),
        },
        Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            CertFault::RevocationUnknown { subject: subject(), why: words(error) }
        }
        Error::CaUsedAsEndEntity => CertFault::Usage {
            subject: subject(),
            has: "basicConstraints CA:TRUE".into(),
            wants: "an end entity's certificate, or trust in this very one".into(),
        },
        Error::EndEntityUsedAsCa => {
            let culprit = path[1..].iter().find(|cert| !cert.is_ca()).copied().unwrap_or(end);
            CertFault::NotAuthority { subject: culprit.subject_text() }
        }
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            weak(trust, &path).unwrap_or_else(|| CertFault::Weak { subject: subject(), what: words(error) })
        }
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => {
            // Another fault of the path is more telling than where it ends.
            if let Some(fault) = weak(trust, &path) {
                return fault;
            }
            if let Some((cert, issuer)) = broken_link(&path) {
                return CertFault::WrongIssuerKey { subject: cert.subject_text(), issuer: issuer.subject_text() };
            }
            if reached { dates().unwrap_or_else(other) } else { unknown() }
        }
        _ => other(),
    }
}

/// The path as the names tell it, and whether it reaches a trusted authority.
fn walk<'a>(trust: &'a Trust, sent: &'a [Certificate]) -> (Vec<&'a Certificate>, bool) {
    let mut path = vec![&sent[0]];
    while let Some(last) = path.last().copied().filter(|_| path.len() <= sent.len() + 1) {
        let signed_by = |c: &&Certificate| last.names_as_issuer(c) && signature_fits(last, c) != Some(false);
        let trusted = || trust.anchors.iter().filter(|c| last.names_as_issuer(c));
        if let Some(anchor) = trusted().find(signed_by).or_else(|| trusted().next()) {
            path.push(anchor);
            return (path, true);
        }
        if last.is_self_issued() {
            break;
        }
        let between = || sent[1..].iter().filter(|c| last.names_as_issuer(c) && !path.contains(c));
        match between().find(signed_by).or_else(|| between().next()) {
            Some(next) => path.push(next),
            None => break,
        }
    }
    (path, false)
}

/// The first certificate of a path that the next one's key did not sign.
fn broken_link<'a>(path: &[&'a Certificate]) -> Option<(&'a Certificate, &'a Certificate)> {
    path.windows(2).map(|pair| (pair[0], pair[1])).find(|(cert, issuer)| signature_fits(cert, issuer) == Some(false))
}

/// Whether the issuer's key made the certificate's signature; `None` when the algorithm is not known here.
fn signature_fits(cert: &Certificate, issuer: &Certificate) -> Option<bool> {
    let (_, parsed) = X509Certificate::from_der(cert.der()).ok()?;
    let scheme = match cert.signature_oid.as_str() {
        SHA1_RSA => Scheme::RsaPkcs1(SignHash::Sha1),
        "1.2.840.113549.1.1.11" => Scheme::RsaPkcs1(SignHash::Sha256),
        "1.2.840.113549.1.1.12" => Scheme::RsaPkcs1(SignHash::Sha384),
        "1.2.840.113549.1.1.13" => Scheme::RsaPkcs1(SignHash::Sha512),
        "1.2.840.10045.4.3.2" => Scheme::Ecdsa(SignHash::Sha256),
        "1.2.840.10045.4.3.3" => Scheme::Ecdsa(SignHash::Sha384),
        "1.2.840.10045.4.3.4" => Scheme::Ecdsa(SignHash::Sha512),
        "1.3.101.112" => Scheme::Ed25519,
        _ => return None,
    };
    let key = issuer.public_key().ok()?;
    Some(key.verify(scheme, parsed.tbs_certificate.as_ref(), &parsed.signature_value.data))
}

/// A signature algorithm or an issuer's key on the path that is too weak for the policy, or unknown.
fn weak(trust: &Trust, path: &[&Certificate]) -> Option<CertFault> {
    let fault = |cert: &Certificate, what: String| Some(CertFault::Weak { subject: cert.subject_text(), what });
    let strict = trust.policy == Policy::Strict;
    for pair in path.windows(2) {
        let (cert, issuer) = (pair[0], pair[1]);
        match cert.signature_oid.as_str() {
            SHA1_RSA if strict => return fault(cert, "it is signed with SHA-1, and the policy is strict".into()),
            "1.2.840.113549.1.1.4" => return fault(cert, "it is signed with MD5".into()),
            "1.2.840.10045.4.1" => return fault(cert, "it is signed by ECDSA with SHA-1".into()),
            _ => {}
        }
        if let Ok(key) = issuer.public_key()
            && let KeyKind::Rsa(bits) = key.kind()
            && (bits < 1024 || (strict && bits < 2048))
        {
            return fault(cert, format!("its issuer's RSA key has only {bits} bits"));
        }
    }
    None
}

/// The first revoked certificate of a path.
fn revoked(trust: &Trust, path: &[&Certificate]) -> Option<CertFault> {
    path.iter().find_map(|cert| {
        let lists = trust.crls.iter().filter(|crl| crl.issuer == cert.issuer());
        let (since, reason) = lists.filter_map(|crl| crl.revoked(cert.serial())).next()?;
        Some(CertFault::Revoked { subject: cert.subject_text(), since: Some(since), reason })
    })
}

/// What a lenient policy lets pass about revocation.
fn note_crls(trust: &Trust, path: &[Certificate], now: i64, notes: &mut Vec<String>) {
    for cert in path.iter().take(path.len() - 1) {
        let mut lists = trust.crls.iter().filter(|crl| crl.issuer == cert.issuer()).peekable();
        if lists.peek().is_none() {
            notes.push(format!(
                "whether {} is revoked was not checked: there is no revocation list of {}",
                cert.subject_text(),
                cert.issuer_text()
            ));
        } else if lists.all(|crl| crl.next_update.is_some_and(|next| next < now)) {
            notes.push(format!("the revocation list of {} is past its next update", cert.issuer_text()));
        }
    }
}

/// The judge's words for what has no words of ours.
fn words(error: &Error) -> String {
    match error {
        Error::NameConstraintViolation => "a name in it lies outside the name constraints of its issuer".into(),
        Error::PathLenConstraintViolated => "more CAs stand below one than its path length allows".into(),
        Error::UnsupportedCriticalExtension => "it has a critical extension that is not known".into(),
        Error::UnsupportedCertVersion => "it is not of X.509 version 3".into(),
        Error::InvalidCertValidity => "its validity ends before it begins".into(),
        Error::MaximumPathDepthExceeded => "the path is too long".into(),
        Error::InvalidCrlSignatureForPublicKey => "the signature of a revocation list does not verify".into(),
        Error::IssuerNotCrlSigner => "its issuer's key usage does not allow it to sign revocation lists".into(),
        other => {
            // A variant's name, as words.
            let name = format!("{other:?}");
            let name = name.split([' ', '(', '{']).next().unwrap_or_default().trim_end_matches("Context");
            let mut text = String::new();
            for c in name.chars() {
                if c.is_uppercase() && !text.is_empty() {
                    text.push(' ');
                }
                text.extend(c.to_lowercase());
            }
            text
        }
    }
}

const SHA1_RSA: &str = "1.2.840.113549.1.1.5";

/// RSA signatures of old boxes, which the judge does not know: with SHA-1, and with keys of 1024 bits. They stand before the
/// judge's own, since the first algorithm with the right name decides.
struct Old {
    signature: AlgorithmIdentifier,
    verifies: &'static lc::RsaParameters,
}

/// sha1WithRSAEncryption with its NULL parameters.
const SHA1_RSA_ID: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00]);

static OLD: [Old; 3] = [
    Old { signature: SHA1_RSA_ID, verifies: &lc::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY },
    Old { signature: alg_id::RSA_PKCS1_SHA256, verifies: &lc::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY },
    Old { signature: alg_id::RSA_PKCS1_SHA512, verifies: &lc::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY },
];

impl std::fmt::Debug for Old {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Old({:?})", self.signature)
    }
}

impl SignatureVerificationAlgorithm for Old {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = lc::UnparsedPublicKey::new(self.verifies, public_key);
        key.verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}
