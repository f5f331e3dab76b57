//! Certificates, keys and revocation lists from the octets of a file, PEM or DER.

use rustls_pki_types::pem::{PemObject, SectionKind};

use super::cert::Certificate;
use super::judge::Crl;
use crate::crypto::PrivateKey;

/// What is wrong with a file's content; the caller knows the file's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct FileFault(pub String);

/// Every certificate of a PEM file, or the one of a DER file; at least one.
pub fn certificates(octets: &[u8]) -> Result<Vec<Certificate>, FileFault> {
    let read = |der: &[u8], which: usize| {
        Certificate::from_der(der).map_err(|why| match which {
            0 => FileFault(format!("no certificate in PEM or DER form: {why}")),
            n => FileFault(format!("certificate {n} in it is malformed: {why}")),
        })
    };
    if !is_pem(octets) {
        return Ok(vec![read(octets, 0)?]);
    }
    let found = sections(octets, &[SectionKind::Certificate])?;
    let all: Vec<_> = found.into_iter().zip(1..).map(|((_, der), n)| read(&der, n)).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(FileFault(format!("no certificate in it{}", instead(octets)))) } else { Ok(all) }
}

/// The private key of a PEM or DER file: PKCS #8, PKCS #1 or SEC 1, not encrypted.
pub fn private_key(octets: &[u8]) -> Result<PrivateKey, FileFault> {
    let read = |der: &[u8]| PrivateKey::from_der(der).map_err(|why| FileFault(format!("the private key is {why}")));
    if !is_pem(octets) {
        return read(octets);
    }
    let text = String::from_utf8_lossy(octets);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(FileFault(
            "the private key is encrypted; decrypt a copy of it with `openssl pkey -in KEY -out PLAIN` and keep that at \
             mode 0600"
                .into(),
        ));
    }
    let kinds = [SectionKind::PrivateKey, SectionKind::RsaPrivateKey, SectionKind::EcPrivateKey];
    let mut found = sections(octets, &kinds)?;
    match found.len() {
        1 => read(&found.remove(0).1),
        0 => Err(FileFault(format!("no private key in it{}", instead(octets)))),
        n => Err(FileFault(format!("{n} private keys in it, where one belongs"))),
    }
}

/// Every revocation list of a PEM file, or the one of a DER file; at least one.
pub fn crls(octets: &[u8]) -> Result<Vec<Crl>, FileFault> {
    let read = |der: &[u8]| Crl::from_der(der).map_err(|why| FileFault(format!("no revocation list: {why}")));
    if !is_pem(octets) {
        return Ok(vec![read(octets)?]);
    }
    let found = sections(octets, &[SectionKind::Crl])?;
    let all: Vec<_> = found.into_iter().map(|(_, der)| read(&der)).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(FileFault(format!("no revocation list in it{}", instead(octets)))) } else { Ok(all) }
}

fn is_pem(octets: &[u8]) -> bool {
    octets.windows(11).any(|window| window == b"-----BEGIN ")
}

/// The sections of some kinds, in order.
fn sections(octets: &[u8], kinds: &[SectionKind]) -> Result<Vec<(SectionKind, Vec<u8>)>, FileFault> {
    let all: Result<Vec<(SectionKind, Vec<u8>)>, _> = <(SectionKind, Vec<u8>)>::pem_slice_iter(octets).collect();
    let all = all.map_err(|error| FileFault(format!("its PEM is malformed: {}", pem_words(&error))))?;
    Ok(all.into_iter().filter(|(kind, _)| kinds.contains(kind)).collect())
}

fn pem_words(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { end_marker } => format!("{} is missing", String::from_utf8_lossy(end_marker)),
        Error::IllegalSectionStart { line } => format!("the line `{}`", String::from_utf8_lossy(line).trim()),
        Error::Base64Decode(_) => "it is not base64".into(),
        other => other.to_string(),
    }
}

/// What a PEM file holds where something else was wanted.
fn instead(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let mut labels: Vec<&str> =
        text.lines().filter_map(|l| l.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")).collect();
    labels.dedup();
    if labels.is_empty() { String::new() } else { format!(", but {}", labels.join(", ")) }
}
