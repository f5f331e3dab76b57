//! Whether a certificate holds the identity that its owner claims (RFC 7296 3.5, RFC 4945 3.1).

use std::net::IpAddr;

use super::cert::{AltName, Certificate, printable};
use super::fault::CertFault;
use super::judge::Policy;
use crate::wire::registry::IdType;
use crate::wire::{IdPayload, dn_text, dn_values, same_dn};

/// Finds `id` in the certificate. `named` says that the configuration demands exactly this identity. What only a lenient
/// policy accepts is added to `notes`.
pub(super) fn check(
    cert: &Certificate,
    id: &IdPayload,
    named: bool,
    policy: Policy,
    notes: &mut Vec<String>,
) -> Result<(), CertFault> {
    if in_alternative_names(cert, id) {
        return Ok(());
    }
    let elsewhere = match policy {
        Policy::Strict => None,
        Policy::Lenient => in_subject(cert, id).or_else(|| {
            let opaque = id.kind == IdType::ID_KEY_ID && named;
            opaque.then(|| format!("{id} is what the configuration demands, and no certificate can hold a key id"))
        }),
    };
    match elsewhere {
        Some(note) => {
            notes.push(note);
            Ok(())
        }
        None => Err(CertFault::Identity { id: id.clone(), subject: cert.subject_text(), names: names(cert) }),
    }
}

/// Every identity in a certificate, as a configuration spells them.
pub(super) fn names(cert: &Certificate) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(dn) = dn_text(cert.subject()).filter(|dn| !dn.is_empty()) {
        names.push(format!("dn:{dn}"));
    }
    names.extend(cert.alt_names.iter().map(ToString::to_string));
    names
}

/// Where RFC 4945 3.1 wants it: the alternative name of the same kind, or the subject for a DN.
fn in_alternative_names(cert: &Certificate, id: &IdPayload) -> bool {
    let data = id.data.as_slice();
    let any = |test: &dyn Fn(&AltName) -> bool| cert.alt_names.iter().any(test);
    match id.kind {
        IdType::ID_DER_ASN1_DN => {
            same_dn(cert.subject(), data) || any(&|name| matches!(name, AltName::Directory(dn) if same_dn(dn, data)))
        }
        IdType::ID_FQDN => any(&|name| matches!(name, AltName::Dns(dns) if dns.as_bytes().eq_ignore_ascii_case(data))),
        IdType::ID_RFC822_ADDR => any(&|name| matches!(name, AltName::Email(mail) if same_mail(mail, data))),
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR => {
            address(data).is_some_and(|addr| any(&|name| *name == AltName::Ip(addr)))
        }
        IdType::ID_KEY_ID => cert.subject_key_id.as_deref() == Some(data),
        _ => false,
    }
}

/// Where boxes put it all the same; in words.
fn in_subject(cert: &Certificate, id: &IdPayload) -> Option<String> {
    let text = match id.kind {
        IdType::ID_FQDN | IdType::ID_RFC822_ADDR => String::from_utf8(id.data.clone()).ok()?,
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR => address(&id.data)?.to_string(),
        _ => return None,
    };
    // Where there is an alternative name of the same kind, it alone counts.
    let kind = |name: &AltName| match id.kind {
        IdType::ID_FQDN => matches!(name, AltName::Dns(_)),
        IdType::ID_RFC822_ADDR => matches!(name, AltName::Email(_)),
        _ => matches!(name, AltName::Ip(_)),
    };
    let named = cert.alt_names.iter().any(kind);
    let places: &[&str] = match id.kind {
        IdType::ID_FQDN => &["CN", "unstructuredName"],
        IdType::ID_RFC822_ADDR => &["emailAddress", "CN"],
        _ => &["CN", "unstructuredAddress"],
    };
    let found = |place: &&&str| dn_values(cert.subject(), place).iter().any(|v| v.eq_ignore_ascii_case(&text));
    if let Some(place) = places.iter().filter(|_| !named).find(found) {
        return Some(format!(
            "{} stands in the subject's {place} only, not among the alternative names",
            printable(&text)
        ));
    }
    // A domain name's alternative name may hold a wildcard, which RFC 4945 does not know.
    let wild = |name: &AltName| match name {
        AltName::Dns(dns) => dns.strip_prefix("*.").is_some_and(|rest| {
            text.split_once('.').is_some_and(|(first, tail)| !first.is_empty() && tail.eq_ignore_ascii_case(rest))
        }),
        _ => false,
    };
    let name = cert.alt_names.iter().find(|name| id.kind == IdType::ID_FQDN && wild(name))?;
    Some(format!("{} matches the wildcard {name}", printable(&text)))
}

/// Mail addresses: the host without regard to letter case.
fn same_mail(one: &str, two: &[u8]) -> bool {
    let Ok(two) = std::str::from_utf8(two) else { return false };
    match (one.rsplit_once('@'), two.rsplit_once('@')) {
        (Some((user, host)), Some((other_user, other_host))) => {
            user == other_user && host.eq_ignore_ascii_case(other_host)
        }
        _ => one == two,
    }
}

fn address(data: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(data).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(data).map(IpAddr::from)).ok()
}
