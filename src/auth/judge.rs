//! Judges what a peer sent to prove its identity: path, dates, usage, revocation, identity, signature.

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::cert::Certificate;
use super::fault::CertFault;
use super::{identity, method, path, usage};
use crate::crypto::{KeyKind, PublicKey, Scheme};
use crate::wire::registry::CertEncoding;
use crate::wire::{AuthPayload, CertPayload, IdPayload};

/// CERT payloads of one message that are looked at; more are ignored.
pub const MAX_CERTIFICATES: usize = 12;

/// What is done with certificates that real boxes accept and the RFCs do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Accept and say so.
    #[default]
    Lenient,
    /// Refuse.
    Strict,
}

impl Policy {
    /// The word in a connection file.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Lenient => "lenient",
            Policy::Strict => "strict",
        }
    }
}

/// Whom we believe.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Authorities, and peers' certificates that are trusted directly.
    pub anchors: Vec<Certificate>,
    /// Revocation lists; none means that revocation is not checked.
    pub crls: Vec<Crl>,
    /// Strictness.
    pub policy: Policy,
    /// The one certificate that is believed.
    pub pin: Option<Certificate>,
    /// Revocation lists are to be fetched before the start, by whoever has a network.
    pub fetch: bool,
    /// Where revocation lists are, beside what certificates say.
    pub crl_urls: Vec<String>,
}

/// A revocation list.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// Seconds since 1970; `None` when it does not say.
    pub(super) next_update: Option<i64>,
    revoked: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    serial: Vec<u8>,
    since: i64,
    reason: Option<String>,
}

impl std::fmt::Debug for Crl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crl({}, {} revoked)", crate::wire::dn_text(&self.issuer).unwrap_or_default(), self.revoked.len())
    }
}

impl Crl {
    /// Reads a DER revocation list; the error says what is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (rest, list) = CertificateRevocationList::from_der(der).map_err(|e| e.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} octets follow it", rest.len()));
        }
        path::check_crl(der)?;
        let revoked = list.iter_revoked_certificates().map(|entry| Entry {
            serial: entry.raw_serial().to_vec(),
            since: entry.revocation_date.timestamp(),
            reason: entry.reason_code().map(|(_, code)| reason_words(&code.to_string())),
        });
        Ok(Crl {
            der: der.to_vec(),
            issuer: list.issuer().as_raw().to_vec(),
            next_update: list.next_update().map(|time| time.timestamp()),
            revoked: revoked.collect(),
        })
    }

    /// Its octets.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Since when and why `serial` is revoked.
    pub(super) fn revoked(&self, serial: &[u8]) -> Option<(i64, Option<String>)> {
        self.revoked.iter().find(|entry| entry.serial == serial).map(|entry| (entry.since, entry.reason.clone()))
    }
}

/// As RFC 5280 5.3.1 spells it: `keyCompromise`.
fn reason_words(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// A peer that proved its identity with a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// The leaf's subject.
    pub subject: String,
    /// The subjects above it, up to the trusted one; empty when the leaf is trusted directly.
    pub issuers: Vec<String>,
    /// What kind of key it has.
    pub key: KeyKind,
    /// How it signed.
    pub scheme: Scheme,
    /// The leaf's last second, in seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of the leaf in hex.
    pub fingerprint: String,
    /// By which policy.
    pub policy: Policy,
    /// What was accepted although an RFC says otherwise, or could not be checked.
    pub notes: Vec<String>,
}

impl Trust {
    /// What our CERTREQ names (RFC 7296 3.7).
    pub fn authorities(&self) -> Vec<u8> {
        self.anchors.iter().flat_map(Certificate::spki_sha1).collect()
    }

    /// Judges a peer's certificates, identity and signature. The first CERT payload holds its own certificate
    /// (RFC 7296 3.6). `named` says that the configuration demands exactly `id`; `signed` is what AUTH covers; `now` is in
    /// seconds since 1970.
    pub fn judge(
        &self,
        sent: &[&CertPayload],
        id: &IdPayload,
        named: bool,
        auth: &AuthPayload,
        signed: &[u8],
        now: i64,
    ) -> Result<Judged, CertFault> {
        let mut notes = Vec::new();
        let sent = self.read(sent)?;
        let leaf = &sent[0];
        if let Some(pin) = self.pin.as_ref().filter(|pin| pin.der() != leaf.der()) {
            let (got, wanted) = (leaf.fingerprint(), pin.fingerprint());
            return Err(CertFault::NotPinned { subject: leaf.subject_text(), got, wanted });
        }
        let direct = self.anchors.iter().chain(&self.pin).any(|trusted| trusted.der() == leaf.der());
        let issuers = if direct {
            path::check_dates(leaf, now)?;
            Vec::new()
        } else {
            path::judge(self, &sent, now, &mut notes)?
        };
        let key = leaf.public_key().map_err(|_| CertFault::UnsupportedKey { subject: leaf.subject_text() })?;
        self.check_strength(leaf, key.kind(), &mut notes)?;
        usage::leaf(leaf, self.policy, &mut notes).map_err(|(has, wants)| CertFault::Usage {
            subject: leaf.subject_text(),
            has,
            wants: wants.to_owned(),
        })?;
        identity::check(leaf, id, named, self.policy, &mut notes)?;
        let scheme = verify(leaf, &key, auth, signed)?;
        Ok(Judged {
            subject: leaf.subject_text(),
            issuers,
            key: key.kind(),
            scheme,
            not_after: leaf.not_after,
            fingerprint: leaf.fingerprint(),
            policy: self.policy,
            notes,
        })
    }

    /// Takes the CERT payloads apart; what is not an X.509 certificate is left out unless it stands first. With a pin, a peer
    /// may send none.
    fn read(&self, sent: &[&CertPayload]) -> Result<Vec<Certificate>, CertFault> {
        let Some(first) = sent.first() else {
            return self.pin.clone().map(|pin| vec![pin]).ok_or(CertFault::Missing);
        };
        match first.encoding {
            CertEncoding::X509_SIGNATURE => {}
            CertEncoding::HASH_AND_URL | CertEncoding::HASH_AND_URL_BUNDLE => {
                // 20 octets of SHA-1, then the URL.
                let url = String::from_utf8_lossy(first.data.get(20..).unwrap_or_default());
                let url = super::cert::printable(&url).chars().take(500).collect();
                return Err(CertFault::HashAndUrl { encoding: first.encoding, url });
            }
            other => return Err(CertFault::Encoding(other)),
        }
        let mut certificates = Vec::with_capacity(sent.len());
        for (payload, which) in sent.iter().take(MAX_CERTIFICATES).zip(1..) {
            if payload.encoding == CertEncoding::X509_SIGNATURE {
                let read = Certificate::from_der(&payload.data);
                certificates.push(read.map_err(|why| CertFault::Malformed { which, why })?);
            }
        }
        Ok(certificates)
    }

    fn check_strength(&self, leaf: &Certificate, key: KeyKind, notes: &mut Vec<String>) -> Result<(), CertFault> {
        let KeyKind::Rsa(bits @ ..2048) = key else { return Ok(()) };
        let what = format!("its RSA key has {bits} bits, and fewer than 2048 are weak (RFC 8247 4)");
        if self.policy == Policy::Strict || bits < 1024 {
            return Err(CertFault::Weak { subject: leaf.subject_text(), what });
        }
        notes.push(what);
        Ok(())
    }
}

/// Verifies AUTH with the leaf's key; says how it was made.
fn verify(leaf: &Certificate, key: &PublicKey, auth: &AuthPayload, signed: &[u8]) -> Result<Scheme, CertFault> {
    let (schemes, signature) = method::read(auth.method, &auth.data, key.kind()).map_err(|why| CertFault::Scheme {
        subject: leaf.subject_text(),
        key: key.kind(),
        method: auth.method,
        why,
    })?;
    let found = schemes.iter().find(|scheme| key.verify(**scheme, signed, signature)).copied();
    found.ok_or_else(|| CertFault::Signature {
        subject: leaf.subject_text(),
        key: key.kind(),
        scheme: schemes.first().copied().unwrap_or(Scheme::EcdsaRaw),
    })
}
