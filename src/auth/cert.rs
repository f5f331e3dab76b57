//! One certificate, taken apart once; everything in it that is judged is owned here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha1::{Digest, Sha1};
use sha2::Sha256;
use x509_parser::extensions::DistributionPointName;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::crypto::{KeyError, PublicKey};
use crate::wire::{dn_text, same_dn};

/// An X.509 certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
    spki: Vec<u8>,
    /// Seconds since 1970, inclusive.
    pub(super) not_before: i64,
    /// Seconds since 1970, inclusive.
    pub(super) not_after: i64,
    pub(super) alt_names: Vec<AltName>,
    /// The bits of the keyUsage extension, `digitalSignature` the lowest.
    pub(super) key_usage: Option<u16>,
    /// The OIDs of the extendedKeyUsage extension, in dots.
    pub(super) extended_usage: Option<Vec<String>>,
    pub(super) is_ca: bool,
    /// The signature algorithm's OID, in dots.
    pub(super) signature_oid: String,
    pub(super) subject_key_id: Option<Vec<u8>>,
    crl_urls: Vec<String>,
}

/// One subject alternative name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AltName {
    /// dNSName.
    Dns(String),
    /// rfc822Name.
    Email(String),
    /// iPAddress.
    Ip(IpAddr),
    /// directoryName, as DER.
    Directory(Vec<u8>),
    /// Another kind, in words.
    Other(String),
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AltName::Dns(name) => write!(f, "fqdn:{}", printable(name)),
            AltName::Email(name) => write!(f, "email:{}", printable(name)),
            AltName::Ip(IpAddr::V4(addr)) => write!(f, "ipv4:{addr}"),
            AltName::Ip(IpAddr::V6(addr)) => write!(f, "ipv6:{addr}"),
            AltName::Directory(der) => write!(f, "dn:{}", dn_text(der).unwrap_or_default()),
            AltName::Other(what) => f.write_str(&printable(what)),
        }
    }
}

impl Certificate {
    /// Takes a DER certificate apart; the error says what is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (rest, cert) = X509Certificate::from_der(der).map_err(|e| match e {
            x509_parser::nom::Err::Error(e) | x509_parser::nom::Err::Failure(e) => e.to_string(),
            x509_parser::nom::Err::Incomplete(_) => "it is cut off".to_owned(),
        })?;
        if !rest.is_empty() {
            return Err(format!("{} octets follow it", rest.len()));
        }
        let mut parsed = Certificate {
            der: der.to_vec(),
            subject: cert.subject().as_raw().to_vec(),
            issuer: cert.issuer().as_raw().to_vec(),
            serial: cert.raw_serial().to_vec(),
            spki: cert.public_key().raw.to_vec(),
            not_before: cert.validity().not_before.timestamp(),
            not_after: cert.validity().not_after.timestamp(),
            alt_names: Vec::new(),
            key_usage: None,
            extended_usage: None,
            is_ca: false,
            signature_oid: cert.signature_algorithm.algorithm.to_id_string(),
            subject_key_id: None,
            crl_urls: Vec::new(),
        };
        for extension in cert.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => {
                    parsed.alt_names = san.general_names.iter().map(alt_name).collect();
                }
                ParsedExtension::KeyUsage(usage) => parsed.key_usage = Some(usage.flags),
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    // The parser knows some purposes by name; each has a place among the dots all the same.
                    parsed.extended_usage = Some(super::usage::purposes(usage));
                }
                ParsedExtension::CRLDistributionPoints(points) => {
                    let names = points.iter().filter_map(|point| point.distribution_point.as_ref());
                    let names = names.flat_map(|name| match name {
                        DistributionPointName::FullName(names) => names.as_slice(),
                        DistributionPointName::NameRelativeToCRLIssuer(_) => &[],
                    });
                    parsed.crl_urls = names.filter_map(uri).collect();
                }
                ParsedExtension::BasicConstraints(constraints) => parsed.is_ca = constraints.ca,
                ParsedExtension::SubjectKeyIdentifier(id) => parsed.subject_key_id = Some(id.0.to_vec()),
                ParsedExtension::ParseError { error } => {
                    return Err(format!("its extension {} is malformed: {error}", extension.oid.to_id_string()));
                }
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// The certificate's octets.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject as DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The issuer as DER.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The serial number's octets, as in the certificate.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The subject for people; an alternative name where it is empty.
    pub fn subject_text(&self) -> String {
        match dn_text(&self.subject) {
            Some(text) if !text.is_empty() => text,
            _ => self.alt_names.first().map_or_else(|| "(no subject)".to_owned(), ToString::to_string),
        }
    }

    /// The issuer for people.
    pub fn issuer_text(&self) -> String {
        dn_text(&self.issuer).filter(|text| !text.is_empty()).unwrap_or_else(|| "(no issuer)".to_owned())
    }

    /// All subject alternative names.
    pub fn alt_names(&self) -> &[AltName] {
        &self.alt_names
    }

    /// SHA-1 of the SubjectPublicKeyInfo, as a CERTREQ payload names an authority (RFC 7296 3.7).
    pub fn spki_sha1(&self) -> [u8; 20] {
        Sha1::digest(&self.spki).into()
    }

    /// SHA-256 of the whole certificate in hex, as `openssl x509 -fingerprint -sha256` prints it but for the colons.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(&self.der).iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The public key.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki(&self.spki)
    }

    /// Issuer and subject are the same name.
    pub fn is_self_issued(&self) -> bool {
        same_dn(&self.subject, &self.issuer)
    }

    /// Our issuer's name is the other's subject.
    pub fn names_as_issuer(&self, other: &Certificate) -> bool {
        same_dn(&self.issuer, &other.subject)
    }

    /// Whether it holds an identity where RFC 4945 wants it, or where real boxes put it; else the names that are in it.
    pub fn holds(&self, id: &crate::wire::IdPayload) -> Result<(), Vec<String>> {
        let lenient = super::judge::Policy::Lenient;
        super::identity::check(self, id, false, lenient, &mut Vec::new()).map_err(|_| super::identity::names(self))
    }

    /// When it is valid, in seconds since 1970: from the first to the second, both included.
    pub fn validity(&self) -> (i64, i64) {
        (self.not_before, self.not_after)
    }

    /// Where its issuer's revocation lists are, as it says (RFC 5280 4.2.1.13).
    pub fn crl_urls(&self) -> &[String] {
        &self.crl_urls
    }

    /// In words, if it has less than `left` seconds to live at `now`, which is in seconds since 1970, or is not valid at all.
    pub fn expiry(&self, now: i64, left: i64) -> Option<String> {
        let (subject, until) = (self.subject_text(), super::fault::date(self.not_after));
        if now < self.not_before {
            let from = super::fault::date(self.not_before);
            return Some(format!("the certificate of {subject} is not valid before {from}; peers refuse it"));
        }
        match self.not_after.saturating_sub(now) {
            ..0 => Some(format!("the certificate of {subject} expired on {until}; peers refuse it")),
            rest if rest < left => {
                let days = rest / 86_400;
                let when = match days {
                    0 => "in less than a day".to_owned(),
                    1 => "in 1 day".to_owned(),
                    days => format!("in {days} days"),
                };
                Some(format!("the certificate of {subject} expires {when}, on {until}"))
            }
            _ => None,
        }
    }

    /// What of it can make a peer refuse it, in a line.
    pub fn in_words(&self) -> String {
        let date = |seconds| super::fault::date(seconds).replace(" UTC", "");
        let names: Vec<String> = self.alt_names.iter().map(ToString::to_string).collect();
        let serial: String = self.serial.iter().map(|octet| format!("{octet:02x}")).collect();
        let key: String = self.spki_sha1()[..4].iter().map(|octet| format!("{octet:02x}")).collect();
        let purposes = match &self.extended_usage {
            Some(purposes) => format!(", for {}", super::usage::purpose_words(purposes)),
            None => String::new(),
        };
        format!(
            "{} ({}) by {}, {} to {}{purposes}, serial {serial}, key {key}",
            self.subject_text(),
            names.join(" "),
            self.issuer_text(),
            date(self.not_before),
            date(self.not_after)
        )
    }

    /// Its subject key identifier, by which what it issues names it.
    pub fn key_id(&self) -> Option<&[u8]> {
        self.subject_key_id.as_deref()
    }

    /// Whether it may sign certificates, by basicConstraints.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject_text())
    }
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(uri) = name { Some(printable(uri)) } else { None }
}

fn alt_name(name: &GeneralName<'_>) -> AltName {
    match name {
        GeneralName::DNSName(name) => AltName::Dns((*name).to_owned()),
        GeneralName::RFC822Name(name) => AltName::Email((*name).to_owned()),
        GeneralName::IPAddress(octets) => match (<[u8; 4]>::try_from(*octets), <[u8; 16]>::try_from(*octets)) {
            (Ok(v4), _) => AltName::Ip(Ipv4Addr::from(v4).into()),
            (_, Ok(v6)) => AltName::Ip(Ipv6Addr::from(v6).into()),
            _ => AltName::Other("an IP address of another length".into()),
        },
        GeneralName::DirectoryName(name) => AltName::Directory(name.as_raw().to_vec()),
        GeneralName::URI(uri) => AltName::Other(format!("uri:{uri}")),
        other => AltName::Other(other.to_string()),
    }
}

/// Text of a peer's for a log.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
