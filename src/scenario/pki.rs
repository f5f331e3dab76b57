//! A certification authority for scenarios: good certificates for both ends, and ones that are wrong in exactly one thing.
//!
//! The embedded run makes an authority of its own, anew for each run. With a real peer it is the lab's, if the connection
//! file names its key.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams,
    SerialNumber,
};

use super::change::{ChangeError, Setup};
use super::stand_in::{alt_name, subject};
use crate::auth::{Certificate, Credential, Crl, Policy, Trust, private_key};
use crate::crypto::Secret;
use crate::engine::{AuthSpec, IdMatch};
use crate::fault::table::did_you_mean;
use crate::time::UnixTime;
use crate::wire::IdPayload;
use crate::wire::registry::IdType;

const DAY: Duration = Duration::from_secs(86_400);
/// The serial number on the revocation list.
const REVOKED: u64 = 0x0bad_0001;
/// A place for certificates where nobody serves any (RFC 2606).
const URL: &str = "http://certificates.invalid/ours.der";

/// What can be wrong with a certificate, or with how it is presented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Its validity is over.
    Expired,
    /// Its validity has not begun.
    NotYetValid,
    /// An authority issued it that the other end does not trust.
    UntrustedCa,
    /// The intermediate between it and the trusted authority is not sent along.
    NoIntermediate,
    /// It holds another identity than the one that is claimed.
    WrongName,
    /// Its extended key usage is for signing programs.
    WrongPurpose,
    /// It is on its authority's revocation list.
    Revoked,
    /// The signature is made with another key than the one in it.
    OtherKey,
    /// Not sent, but where it can be fetched.
    ByUrl,
}

impl Flaw {
    const ALL: [(&'static str, Flaw); 9] = [
        ("expired", Flaw::Expired),
        ("not-yet-valid", Flaw::NotYetValid),
        ("untrusted-ca", Flaw::UntrustedCa),
        ("no-intermediate", Flaw::NoIntermediate),
        ("wrong-name", Flaw::WrongName),
        ("wrong-purpose", Flaw::WrongPurpose),
        ("revoked", Flaw::Revoked),
        ("other-key", Flaw::OtherKey),
        ("by-url", Flaw::ByUrl),
    ];

    /// The flaw of that name.
    ///
    /// # Errors
    /// In words, with the nearest valid name.
    pub fn named(name: &str) -> Result<Flaw, String> {
        let found = Flaw::ALL.iter().find(|(own, _)| *own == name).map(|(_, flaw)| *flaw);
        found.ok_or_else(|| {
            let near = did_you_mean(name, Flaw::ALL.iter().map(|(own, _)| *own));
            let all: Vec<&str> = Flaw::ALL.iter().map(|(own, _)| *own).collect();
            let near = if near.is_empty() { format!("; there are {}", all.join(", ")) } else { near };
            format!("nothing can be {name:?} about a certificate{near}")
        })
    }
}

/// What a peer is to prove itself with.
#[derive(Debug)]
pub struct Presented {
    /// As an engine takes it.
    pub credential: Arc<Credential>,
    /// The same for a box: the certificate and its intermediates, PEM.
    pub chain: String,
    /// And the private key, PKCS #8 in PEM.
    pub key: Secret,
}

/// An authority and what stands above it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// What is sent with each leaf: the issuer itself, unless the other end trusts it directly.
    chain: Vec<Certificate>,
    trust: Trust,
    now: UnixTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({:?})", self.chain)
    }
}

impl Authority {
    /// A root, an intermediate that issues, and their revocation lists, valid around `now`.
    ///
    /// # Errors
    /// In words, if the crypto library refuses.
    pub fn generate(name: &str, now: UnixTime) -> Result<Authority, String> {
        let ca = |which: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, name);
            params.distinguished_name.push(DnType::CommonName, which);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            (params.not_before, params.not_after) = (at(now, -30), at(now, 30));
            params
        };
        let (root_key, key) = (KeyPair::generate().map_err(words)?, KeyPair::generate().map_err(words)?);
        let root = ca("root").self_signed(&root_key).map_err(words)?;
        let above = Issuer::new(ca("root"), root_key);
        let mut between = ca("intermediate");
        between.use_authority_key_identifier_extension = true;
        let intermediate = between.clone().signed_by(&key, &above).map_err(words)?;
        let issuer = Issuer::new(between, key);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(REVOKED),
            revocation_time: at(now, -1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let crls = vec![list(&above, now, Vec::new())?, list(&issuer, now, vec![revoked])?];
        let anchors = vec![Certificate::from_der(root.der())?];
        let trust = Trust { anchors, crls, policy: Policy::Lenient, ..Trust::default() };
        Ok(Authority { issuer, chain: vec![Certificate::from_der(intermediate.der())?], trust, now })
    }

    /// The lab's own, of a connection file.
    ///
    /// # Errors
    /// In words, if its key or its name cannot be read.
    pub fn of(own: &crate::config::Issuer, now: UnixTime) -> Result<Authority, String> {
        let pem = std::str::from_utf8(own.key.as_ref()).map_err(|_| "the CA's key is not PEM".to_owned())?;
        let key = KeyPair::from_pem(pem).map_err(words)?;
        let mut params = CertificateParams::default();
        let name = IdPayload::new(IdType::ID_DER_ASN1_DN, own.certificate.subject().to_vec());
        params.distinguished_name = subject(&name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if let Some(id) = own.certificate.key_id() {
            params.key_identifier_method = KeyIdMethod::PreSpecified(id.to_vec());
        }
        let trust = Trust { anchors: vec![own.certificate.clone()], ..Trust::default() };
        Ok(Authority { issuer: Issuer::new(params, key), chain: vec![own.certificate.clone()], trust, now })
    }

    /// Who trusts this authority's root, and knows its revocation lists.
    pub fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// A fresh key and a good certificate for `id`.
    ///
    /// # Errors
    /// In words, if the identity cannot stand in a certificate.
    pub fn good(&self, id: &IdPayload) -> Result<Credential, String> {
        self.issue(id, None)
    }

    /// A certificate for `id` with this flaw of its contents, or a good one.
    fn issue(&self, id: &IdPayload, flaw: Option<Flaw>) -> Result<Credential, String> {
        self.issue_with_key(id, flaw).map(|(credential, _)| credential)
    }

    /// The same, and its private key, PKCS #8 in PEM.
    fn issue_with_key(&self, id: &IdPayload, flaw: Option<Flaw>) -> Result<(Credential, Secret), String> {
        let key = KeyPair::generate().map_err(words)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let nobody = IdPayload::new(IdType::ID_FQDN, b"nobody.invalid".to_vec());
        let held = if flaw == Some(Flaw::WrongName) { &nobody } else { id };
        match alt_name(held)? {
            Some(name) => {
                params.distinguished_name.push(DnType::OrganizationName, "ikelab");
                params.distinguished_name.push(DnType::CommonName, "gateway");
                params.subject_alt_names = vec![name];
            }
            None => params.distinguished_name = subject(held)?,
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = match flaw {
            Some(Flaw::Expired) => (at(self.now, -29), at(self.now, -1)),
            Some(Flaw::NotYetValid) => (at(self.now, 1), at(self.now, 29)),
            _ => (at(self.now, -1), at(self.now, 29)),
        };
        if flaw == Some(Flaw::WrongPurpose) {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        }
        if flaw == Some(Flaw::Revoked) {
            params.serial_number = Some(SerialNumber::from(REVOKED));
        }
        let leaf = params.signed_by(&key, &self.issuer).map_err(words)?;
        let chain = [vec![Certificate::from_der(leaf.der())?], self.chain.clone()].concat();
        let pem = Secret::new(key.serialize_pem().into_bytes());
        let key = private_key(key.serialized_der()).map_err(|fault| fault.to_string())?;
        Credential::new(chain, key).map_err(|fault| fault.to_string()).map(|credential| (credential, pem))
    }

    /// A revocation list with the one serial number on it that flawed certificates have.
    fn revocations(&self) -> Result<Crl, String> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(REVOKED),
            revocation_time: at(self.now, -1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        list(&self.issuer, self.now, vec![revoked])
    }

    fn revokes(&self) -> bool {
        !self.trust.crls.is_empty()
    }
}

/// `own`, a credential for `id`, with a flaw. Some need the authority that issued it.
///
/// # Errors
/// If there is no way to make it.
fn flawed(
    own: &Credential,
    id: &IdPayload,
    authority: Option<&Authority>,
    now: UnixTime,
    flaw: Flaw,
) -> Result<Credential, ChangeError> {
    let unsupported = |why: &str| ChangeError::Unsupported(why.to_owned());
    let issuer = || {
        authority.ok_or_else(|| {
            unsupported(
                "cannot be played: needs the key of the CA that issued our certificate (auth.local.certificate.issuer and \
                 issuer_key)",
            )
        })
    };
    let made = |made: Result<Credential, String>| made.map_err(ChangeError::Unsupported);
    match flaw {
        Flaw::NoIntermediate if own.to_send(&[]).count() < 2 => {
            Err(unsupported("cannot be played: needs a certificate with an intermediate CA above it"))
        }
        Flaw::NoIntermediate => Ok(own.leaf_only()),
        Flaw::ByUrl => {
            let mut own = own.clone();
            own.url = Some(URL.to_owned());
            Ok(own)
        }
        Flaw::UntrustedCa => made(Authority::generate("another authority", now).and_then(|other| other.good(id))),
        Flaw::OtherKey => Ok(own.under(&made(issuer()?.good(id))?)),
        Flaw::Revoked if !issuer()?.revokes() => {
            Err(unsupported("cannot be played: needs a revocation list at the peer that names a certificate of ours"))
        }
        _ => made(issuer()?.issue(id, Some(flaw))),
    }
}

/// We present a certificate with this flaw.
///
/// # Errors
/// If the baseline has no certificate of ours, or the flaw cannot be made.
pub(super) fn present(setup: &mut Setup, flaw: Flaw) -> Result<(), ChangeError> {
    let AuthSpec::Certificate(own) = &setup.spec.local_auth else {
        return Err(ChangeError::Unsupported("the baseline has no certificate of ours".to_owned()));
    };
    let flawed = flawed(own, &setup.spec.local_id, setup.authority.as_deref(), setup.now, flaw)?;
    setup.spec.local_auth = AuthSpec::Certificate(Arc::new(flawed));
    Ok(())
}

/// The peer is to present a certificate with this flaw.
///
/// # Errors
/// If the baseline has no certificate of the peer's that was made here.
pub(super) fn be_presented(setup: &mut Setup, flaw: Flaw) -> Result<(), ChangeError> {
    let unsupported = |why: &str| ChangeError::Unsupported(why.to_owned());
    let (Some(authority), AuthSpec::Trust(trust)) = (&setup.authority, &setup.spec.remote_auth) else {
        return Err(unsupported("cannot be played: needs a peer whose certificate can be exchanged for a bad one"));
    };
    let IdMatch::Exact(id) = &setup.spec.remote_id else {
        return Err(unsupported("cannot be played: needs an identity that the peer is to have"));
    };
    let made = |made: Result<_, String>| made.map_err(ChangeError::Unsupported);
    let (honest, own_key) = made(authority.issue_with_key(id, None))?;
    let (credential, key) = match flaw {
        Flaw::Revoked | Flaw::Expired | Flaw::NotYetValid | Flaw::WrongName | Flaw::WrongPurpose => {
            made(authority.issue_with_key(id, Some(flaw)))?
        }
        Flaw::UntrustedCa => {
            made(Authority::generate("another authority", setup.now).and_then(|other| other.issue_with_key(id, None)))?
        }
        Flaw::NoIntermediate | Flaw::OtherKey | Flaw::ByUrl => {
            (flawed(&honest, id, Some(authority), setup.now, flaw)?, own_key)
        }
    };
    if flaw == Flaw::Revoked && !authority.revokes() {
        // It is for us to know; the lab's authority has no list of its own.
        let mut trust = (**trust).clone();
        trust.crls.push(authority.revocations().map_err(ChangeError::Unsupported)?);
        setup.spec.remote_auth = AuthSpec::Trust(Arc::new(trust));
    }
    let chain = credential.to_send(&[]).map(|certificate| pem(certificate.der())).collect();
    setup.presented = Some(Arc::new(Presented { credential: Arc::new(credential), chain, key }));
    Ok(())
}

/// A certificate in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn list(
    issuer: &Issuer<'static, KeyPair>,
    now: UnixTime,
    revoked_certs: Vec<RevokedCertParams>,
) -> Result<Crl, String> {
    let params = CertificateRevocationListParams {
        this_update: at(now, -1),
        next_update: at(now, 29),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Crl::from_der(params.signed_by(issuer).map_err(words)?.der())
}

/// So many days after `now`, or before.
fn at<T: From<std::time::SystemTime>>(now: UnixTime, days: i32) -> T {
    let now = std::time::UNIX_EPOCH + Duration::from_nanos(now.0);
    let span = DAY * days.unsigned_abs();
    (if days < 0 { now - span } else { now + span }).into()
}

fn words(error: rcgen::Error) -> String {
    format!("no certificate can be made: {error}")
}
