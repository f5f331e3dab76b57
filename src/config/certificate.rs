//! The section `certificate` of one end's authentication: files to our own credential, or to whom we trust.

use std::path::Path;

use super::build::one_of;
use super::error::Problem;
use super::file::{At, CertificateSection};
use super::secret::{Sources, readable_by_others};
use crate::auth::method::MethodFamily;
use crate::auth::{Certificate, Credential, FileFault, Policy, SendCert, SignaturePolicy, Trust};
use crate::crypto::{Secret, SignHash};
use crate::wire::registry::IdType;
use crate::wire::{IdPayload, same_dn};

/// Words of `signature`, and what they mean.
const SIGNATURES: &[(&str, SignaturePolicy)] = &[
    ("auto", policy(None, false, None)),
    ("old", policy(Some(MethodFamily::Old), false, None)),
    ("digital-signature", policy(Some(MethodFamily::DigitalSignature), false, None)),
    ("sha256", policy(Some(MethodFamily::DigitalSignature), false, Some(SignHash::Sha256))),
    ("sha384", policy(Some(MethodFamily::DigitalSignature), false, Some(SignHash::Sha384))),
    ("sha512", policy(Some(MethodFamily::DigitalSignature), false, Some(SignHash::Sha512))),
    ("pss", policy(Some(MethodFamily::DigitalSignature), true, None)),
    ("pss-sha256", policy(Some(MethodFamily::DigitalSignature), true, Some(SignHash::Sha256))),
    ("pss-sha384", policy(Some(MethodFamily::DigitalSignature), true, Some(SignHash::Sha384))),
    ("pss-sha512", policy(Some(MethodFamily::DigitalSignature), true, Some(SignHash::Sha512))),
];

const fn policy(method: Option<MethodFamily>, pss: bool, hash: Option<SignHash>) -> SignaturePolicy {
    SignaturePolicy { method, pss, hash }
}

/// Our own certificate.
pub(crate) fn credential(
    at: &At<CertificateSection>,
    sources: &Sources<'_>,
    warnings: &mut Vec<String>,
) -> Result<Credential, Problem> {
    let section = &at.value;
    let theirs = [
        ("crl", place(&section.crl)),
        ("crl_fetch", place(&section.crl_fetch)),
        ("policy", place(&section.policy)),
        ("pin", place(&section.pin)),
    ];
    let theirs = theirs.into_iter().chain([("ca", place(&section.ca))]);
    for (key, found) in theirs {
        if let Some(place) = found {
            let problem = Problem::new(format!("`{key}` says whom to trust, and stands in our own end"));
            return Err(problem.hint(format!("auth.remote.certificate.{key}")).at(place));
        }
    }
    let missing = |key: &str, hint: &str| Problem::new(format!("no `{key}`")).hint(hint).at(at.place);
    let chain_file = section.chain.as_ref().ok_or_else(|| missing("chain", "chain: ./cert.pem, our certificate"))?;
    let key_file = section.key.as_ref().ok_or_else(|| missing("key", "key: ./key.pem, its private key"))?;
    let chain = read(chain_file, sources, crate::auth::certificates)?;
    let key = read(key_file, sources, crate::auth::private_key)?;
    if let Some(mode) = readable_by_others(&sources.base.join(&key_file.value)) {
        warnings.push(format!("{} is readable by others (mode {mode:04o}); chmod 600 it", key_file.value));
    }
    let mut credential =
        Credential::new(chain, key).map_err(|fault| Problem::new(fault.to_string()).at(key_file.place))?;
    credential.send = match one_of(section.send.as_ref(), "send", &["always", "ifasked", "never"])? {
        Some("ifasked") => SendCert::IfAsked,
        Some("never") => SendCert::Never,
        _ => SendCert::Always,
    };
    let words: Vec<&str> = SIGNATURES.iter().map(|(word, _)| *word).collect();
    if let Some(word) = one_of(section.signature.as_ref(), "signature", &words)? {
        let known = SIGNATURES.iter().find(|(name, _)| *name == word);
        credential.signature = known.map(|(_, policy)| *policy).unwrap_or_default();
    }
    Ok(credential)
}

/// Who issued our certificate, with the key to issue more.
#[derive(Clone)]
pub struct Issuer {
    /// The CA's certificate.
    pub certificate: Certificate,
    /// Its private key in PEM, wiped when it is dropped.
    pub key: Secret,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({:?})", self.certificate)
    }
}

/// `issuer` and `issuer_key` of our own end, if they are there.
pub(crate) fn issuer(section: &CertificateSection, sources: &Sources<'_>) -> Result<Option<Issuer>, Problem> {
    let (file, key) = match (&section.issuer, &section.issuer_key) {
        (Some(file), Some(key)) => (file, key),
        (None, None) => return Ok(None),
        (Some(one), None) => return Err(Problem::new("no `issuer_key`").hint("issuer_key: ./ca.key").at(one.place)),
        (None, Some(one)) => return Err(Problem::new("no `issuer`").hint("issuer: ./ca.pem").at(one.place)),
    };
    let certificate = read(file, sources, crate::auth::certificates)?.into_iter().next();
    let certificate = certificate.ok_or_else(|| Problem::new("no certificate in it").at(file.place))?;
    let private = read(key, sources, crate::auth::private_key)?;
    match certificate.public_key() {
        Ok(public) if private.belongs_to(&public) => {}
        _ => return Err(Problem::new("the key is not that of `issuer`").at(key.place)),
    }
    let octets = std::fs::read(sources.base.join(&key.value))
        .map_err(|e| Problem::new(format!("cannot read {}: {}", key.value, super::io_words(&e))).at(key.place))?;
    Ok(Some(Issuer { certificate, key: Secret::new(octets) }))
}

/// Whom we trust.
pub(crate) fn trust(at: &At<CertificateSection>, sources: &Sources<'_>) -> Result<Trust, Problem> {
    let section = &at.value;
    let ours = [
        ("chain", place(&section.chain)),
        ("key", place(&section.key)),
        ("issuer", place(&section.issuer)),
        ("issuer_key", place(&section.issuer_key)),
        ("send", place(&section.send)),
        ("signature", place(&section.signature)),
    ];
    for (key, found) in ours {
        if let Some(place) = found {
            let problem = Problem::new(format!("`{key}` is about our own certificate, and stands in the peer's end"));
            return Err(problem.hint(format!("auth.local.certificate.{key}")).at(place));
        }
    }
    let mut trust = Trust::default();
    for file in section.ca.iter().flat_map(|list| &list.value) {
        trust.anchors.extend(read(file, sources, crate::auth::certificates)?);
    }
    trust.fetch = section.crl_fetch.as_ref().is_some_and(|at| at.value);
    for file in section.crl.iter().flat_map(|list| &list.value) {
        if file.value.starts_with("http://") {
            if !trust.fetch {
                let problem = Problem::new("a revocation list by HTTP, and fetching is off").at(file.place);
                return Err(problem.hint("crl_fetch: true"));
            }
            trust.crl_urls.push(file.value.clone());
            continue;
        }
        trust.crls.extend(read(file, sources, crate::auth::crls)?);
    }
    if let Some(file) = &section.pin {
        trust.pin = read(file, sources, crate::auth::certificates)?.into_iter().next();
    }
    if trust.anchors.is_empty() && trust.pin.is_none() {
        let problem = Problem::new("nobody to trust");
        return Err(problem.hint("ca: [./ca.pem], or pin: ./peer.pem").at(at.place));
    }
    trust.policy = match one_of(section.policy.as_ref(), "policy", &["lenient", "strict"])? {
        Some("strict") => Policy::Strict,
        _ => Policy::Lenient,
    };
    Ok(trust)
}

/// The identity that follows from our certificate: its subject, or its first alternative name where that is empty.
pub(crate) fn default_id(credential: &Credential) -> Option<IdPayload> {
    let leaf = credential.leaf();
    // An empty sequence is two octets.
    if leaf.subject().len() > 2 {
        return Some(IdPayload::new(IdType::ID_DER_ASN1_DN, leaf.subject().to_vec()));
    }
    leaf.alt_names().first().and_then(|name| super::value::identity(&name.to_string()).ok())
}

/// Our identity as the certificate spells it: peers may compare names octet by octet. A warning, where the certificate does
/// not hold it.
pub(crate) fn settle_id(credential: &Credential, id: &mut IdPayload, warnings: &mut Vec<String>) {
    let leaf = credential.leaf();
    if id.kind == IdType::ID_DER_ASN1_DN && same_dn(&id.data, leaf.subject()) {
        id.data = leaf.subject().to_vec();
    } else if let Err(names) = holds(leaf, id) {
        warnings
            .push(format!("our certificate does not hold our identity {id} (names in it: {names}); peers refuse that"));
    }
}

fn holds(leaf: &Certificate, id: &IdPayload) -> Result<(), String> {
    leaf.holds(id).map_err(|names| names.join("; "))
}

/// Reads a file named in the configuration, relative to it.
fn read<T>(
    file: &At<String>,
    sources: &Sources<'_>,
    parse: impl FnOnce(&[u8]) -> Result<T, FileFault>,
) -> Result<T, Problem> {
    let path = sources.base.join(&file.value);
    read_at(&path, parse).map_err(|why| Problem::new(why).at(file.place))
}

fn read_at<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, FileFault>) -> Result<T, String> {
    let mut octets =
        std::fs::read(path).map_err(|e| format!("cannot read {}: {}", path.display(), super::io_words(&e)))?;
    let parsed = parse(&octets).map_err(|fault| format!("{}: {fault}", path.display()));
    // It may have been a key.
    zeroize::Zeroize::zeroize(&mut octets);
    parsed
}

fn place<T>(at: &Option<At<T>>) -> Option<Option<super::error::Place>> {
    at.as_ref().map(|at| at.place)
}
