//! What the embedded peer proves itself with where a box has a certificate. Its private key is the box's own secret, so the
//! stand-in makes a key and a self-signed certificate for the identity that we expect, and we trust that one instead.

use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
};
use x509_parser::prelude::{FromDer, X509Name};

use super::peer::mirror;
use super::pki::Authority;
use crate::auth::{Certificate, Credential, Policy, Trust, private_key};
use crate::engine::{AuthSpec, ConnectionSpec, IdMatch};
use crate::time::UnixTime;
use crate::wire::IdPayload;
use crate::wire::registry::IdType;

/// The other end of `spec`, which is changed only where the two would not know each other: the certificate that we trust is
/// the stand-in's.
///
/// # Errors
/// In words, if the peer's identity cannot stand in a certificate.
pub fn counterpart(spec: &mut ConnectionSpec) -> Result<ConnectionSpec, String> {
    let mut other = mirror(spec);
    if let AuthSpec::Trust(trust) = &spec.remote_auth {
        let credential = credential(&other.local_id)?;
        let anchors = vec![credential.leaf().clone()];
        spec.remote_auth = AuthSpec::Trust(Arc::new(Trust { anchors, policy: trust.policy, ..Trust::default() }));
        other.local_auth = AuthSpec::Certificate(Arc::new(credential));
    }
    if let AuthSpec::Certificate(ours) = &spec.local_auth {
        let anchors = vec![ours.leaf().clone()];
        other.remote_auth = AuthSpec::Trust(Arc::new(Trust { anchors, policy: Policy::Lenient, ..Trust::default() }));
    }
    Ok(other)
}

/// `spec` and its other end with certificates of an authority of their own, at `now`; all else is as it was. An identity that
/// cannot stand in a certificate becomes another one.
///
/// # Errors
/// In words, if no certificates can be made.
pub fn certified(spec: &mut ConnectionSpec, now: UnixTime) -> Result<(ConnectionSpec, Arc<Authority>), String> {
    let authority = Authority::generate("ikelab", now)?;
    let fit = |id: &IdPayload, name: &str| match alt_name(id) {
        Ok(_) => id.clone(),
        Err(_) => IdPayload::new(IdType::ID_FQDN, name.as_bytes().to_vec()),
    };
    spec.local_id = fit(&spec.local_id, "us.embedded.test");
    let theirs = match &spec.remote_id {
        IdMatch::Exact(id) => fit(id, "peer.embedded.test"),
        _ => IdPayload::new(IdType::ID_FQDN, b"peer.embedded.test".to_vec()),
    };
    spec.remote_id = IdMatch::Exact(theirs.clone());
    let trust = AuthSpec::Trust(Arc::new(authority.trust()));
    spec.local_auth = AuthSpec::Certificate(Arc::new(authority.good(&spec.local_id)?));
    spec.remote_auth = trust.clone();
    let mut other = mirror(spec);
    other.local_auth = AuthSpec::Certificate(Arc::new(authority.good(&theirs)?));
    other.remote_auth = trust;
    Ok((other, Arc::new(authority)))
}

/// A fresh key, and a self-signed certificate that holds `id`.
fn credential(id: &IdPayload) -> Result<Credential, String> {
    let words = |error: rcgen::Error| format!("no certificate for the embedded peer: {error}");
    let key = KeyPair::generate().map_err(words)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    match alt_name(id)? {
        Some(name) => {
            params.distinguished_name.push(DnType::CommonName, "ikelab embedded peer");
            params.subject_alt_names = vec![name];
        }
        None => params.distinguished_name = subject(id)?,
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let leaf = params.self_signed(&key).map_err(words)?;
    let leaf = Certificate::from_der(leaf.der())?;
    leaf.holds(id).map_err(|_| format!("no certificate for the embedded peer can hold {id}"))?;
    let key = private_key(key.serialized_der()).map_err(|fault| fault.to_string())?;
    Credential::new(vec![leaf], key).map_err(|fault| fault.to_string())
}

/// The alternative name for an identity; `None` for one that is a subject.
pub(super) fn alt_name(id: &IdPayload) -> Result<Option<SanType>, String> {
    let wrong = || format!("the identity {id} has no place in a certificate: use fqdn, email, dn or an address");
    let text = || {
        let text = String::from_utf8(id.data.clone()).map_err(|_| wrong())?;
        Ia5String::try_from(text).map_err(|_| wrong())
    };
    Ok(Some(match id.kind {
        IdType::ID_FQDN => SanType::DnsName(text()?),
        IdType::ID_RFC822_ADDR => SanType::Rfc822Name(text()?),
        IdType::ID_IPV4_ADDR => {
            SanType::IpAddress(<[u8; 4]>::try_from(id.data.as_slice()).map_err(|_| wrong())?.into())
        }
        IdType::ID_IPV6_ADDR => {
            SanType::IpAddress(<[u8; 16]>::try_from(id.data.as_slice()).map_err(|_| wrong())?.into())
        }
        IdType::ID_DER_ASN1_DN => return Ok(None),
        _ => return Err(wrong()),
    }))
}

/// The same distinguished name, as the certificate's maker wants it.
pub(super) fn subject(id: &IdPayload) -> Result<DistinguishedName, String> {
    let wrong = || format!("the distinguished name {id} cannot be read");
    let (_, name) = X509Name::from_der(&id.data).map_err(|_| wrong())?;
    let mut made = DistinguishedName::new();
    for part in name.iter_attributes() {
        let oid: Vec<u64> = part.attr_type().iter().map(Iterator::collect).ok_or_else(wrong)?;
        let value = part.as_str().map_err(|_| wrong())?.to_owned();
        let printable = part.attr_value().tag() == x509_parser::der_parser::asn1_rs::Tag::PrintableString;
        let value = match rcgen::string::PrintableString::try_from(value.as_str()) {
            Ok(text) if printable => DnValue::PrintableString(text),
            _ => DnValue::Utf8String(value),
        };
        made.push(DnType::from_oid(&oid), value);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_that_a_certificate_can_hold_gets_one() {
        for text in ["fw.example", "admin@fw.example", "192.0.2.1", "2001:db8::1", "dn:C=CH, O=Lab, CN=fw"] {
            let id = crate::config::identity(text).expect("an identity");
            let credential = credential(&id).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(credential.leaf().holds(&id), Ok(()), "{text}");
        }
        let id = IdPayload::new(IdType::ID_KEY_ID, b"x".to_vec());
        assert!(credential(&id).expect_err("no such name").contains("no place in a certificate"));
    }
}
