//! Which check of a certificate failed, with the evidence.

use std::fmt;

use crate::crypto::{KeyKind, Scheme};
use crate::time::utc_text;
use crate::wire::IdPayload;
use crate::wire::registry::{AuthMethod, CertEncoding};

/// A check that a certificate, or a signature with one, did not pass. `Display` is a sentence for people; texts of the
/// peer's in it hold no control characters. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertFault {
    /// There is no certificate to judge.
    Missing,
    /// The peer sent where its certificate is and not the certificate (RFC 7296 3.6).
    HashAndUrl {
        /// Encoding 12 or 13.
        encoding: CertEncoding,
        /// Where it would be fetched from.
        url: String,
    },
    /// A certificate in an encoding that is not read.
    Encoding(CertEncoding),
    /// A certificate that cannot be taken apart.
    Malformed {
        /// Which CERT payload: 1 is the first.
        which: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Validity is over.
    Expired {
        /// Whose.
        subject: String,
        /// Its last second.
        not_after: i64,
        /// When it was judged.
        now: i64,
    },
    /// Validity has not begun.
    NotYetValid {
        /// Whose.
        subject: String,
        /// Its first second.
        not_before: i64,
        /// When it was judged.
        now: i64,
    },
    /// No path to an authority that is trusted.
    UnknownIssuer {
        /// Where the path ends.
        subject: String,
        /// Who signed that certificate, by its own words.
        issuer: String,
        /// The path ends at a self-signed certificate: it is whole, and its authority is not ours.
        whole: bool,
        /// The authorities that are trusted.
        trusted: Vec<String>,
        /// The certificates that the peer sent.
        sent: Vec<String>,
    },
    /// A certificate of the issuer's name is there, and its key did not make the signature.
    WrongIssuerKey {
        /// Whose certificate.
        subject: String,
        /// The issuer.
        issuer: String,
    },
    /// A certificate signed another one without being an authority's.
    NotAuthority {
        /// Whose.
        subject: String,
    },
    /// Key usage or extended key usage forbid it.
    Usage {
        /// Whose.
        subject: String,
        /// What the extension says.
        has: String,
        /// What it should say.
        wants: String,
    },
    /// The identity that the peer claims is not in its certificate.
    Identity {
        /// What it claims.
        id: IdPayload,
        /// Whose certificate.
        subject: String,
        /// The identities that are in it.
        names: Vec<String>,
    },
    /// On a revocation list.
    Revoked {
        /// Whose.
        subject: String,
        /// Since when; `None` when the list does not say.
        since: Option<i64>,
        /// Why, in the list's words.
        reason: Option<String>,
    },
    /// Whether it is revoked cannot be told, and the policy is strict.
    RevocationUnknown {
        /// Whose; the path's leaf when the judge does not say.
        subject: String,
        /// What is missing.
        why: String,
    },
    /// A signature algorithm or key that is too weak or unknown.
    Weak {
        /// Whose.
        subject: String,
        /// What is weak or unknown.
        what: String,
    },
    /// A certificate other than the one that is pinned.
    NotPinned {
        /// Whose.
        subject: String,
        /// SHA-256 of what the peer sent.
        got: String,
        /// SHA-256 of what is pinned.
        wanted: String,
    },
    /// Another rule of RFC 5280: a name constraint, a path length, a critical extension.
    Path {
        /// The leaf.
        subject: String,
        /// The rule.
        why: String,
    },
    /// AUTH does not verify with the certificate's key.
    Signature {
        /// Whose key.
        subject: String,
        /// What kind of key it is.
        key: KeyKind,
        /// How AUTH claims to be made.
        scheme: Scheme,
    },
    /// AUTH is made in a way that this key, or what we announced, does not allow.
    Scheme {
        /// Whose key.
        subject: String,
        /// What kind of key it is.
        key: KeyKind,
        /// The method.
        method: AuthMethod,
        /// What is wrong with it.
        why: String,
    },
    /// Its public key is of a kind that is not read.
    UnsupportedKey {
        /// Whose.
        subject: String,
    },
    /// Our own key is not our certificate's.
    KeyMismatch {
        /// Our certificate.
        subject: String,
        /// What kind of key is in it.
        certificate: KeyKind,
        /// What kind of key was given.
        key: KeyKind,
    },
}

impl CertFault {
    /// The check in one word, for tables and counters.
    pub fn check(&self) -> &'static str {
        match self {
            CertFault::Missing | CertFault::HashAndUrl { .. } | CertFault::Encoding(_) => "certificate",
            CertFault::Malformed { .. } => "encoding",
            CertFault::Expired { .. } | CertFault::NotYetValid { .. } => "validity",
            CertFault::UnknownIssuer { .. } | CertFault::WrongIssuerKey { .. } => "issuer",
            CertFault::NotAuthority { .. } | CertFault::Usage { .. } => "usage",
            CertFault::Identity { .. } => "identity",
            CertFault::Revoked { .. } | CertFault::RevocationUnknown { .. } => "revocation",
            CertFault::Weak { .. } | CertFault::UnsupportedKey { .. } => "strength",
            CertFault::NotPinned { .. } => "pin",
            CertFault::Path { .. } => "path",
            CertFault::Signature { .. } | CertFault::Scheme { .. } => "signature",
            CertFault::KeyMismatch { .. } => "key",
        }
    }
}

impl fmt::Display for CertFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertFault::Missing => f.write_str("the peer sent no certificate, and none is pinned"),
            CertFault::HashAndUrl { encoding, url } => write!(
                f,
                "the peer sent {encoding} and not its certificate, although HTTP_CERT_LOOKUP_SUPPORTED was not announced; \
                 nothing is fetched: {url}"
            ),
            CertFault::Encoding(encoding) => write!(f, "the peer's certificate comes as {encoding}, which is not read"),
            CertFault::Malformed { which, why } => write!(f, "CERT payload {which} is no X.509 certificate: {why}"),
            CertFault::Expired { subject, not_after, now } => {
                write!(f, "the certificate of {subject} expired on {} (it is {})", date(*not_after), date(*now))
            }
            CertFault::NotYetValid { subject, not_before, now } => write!(
                f,
                "the certificate of {subject} is not valid before {} (it is {})",
                date(*not_before),
                date(*now)
            ),
            CertFault::UnknownIssuer { subject, issuer, whole, trusted, sent } => {
                if *whole {
                    write!(f, "{subject} is self-signed and not among the trusted CAs")?;
                } else {
                    write!(
                        f,
                        "the issuer of {subject} is {issuer}, which is neither a trusted CA nor a certificate that the peer \
                         sent: either the intermediate is missing or the CA is another one"
                    )?;
                }
                write!(f, " (trusted: {}; sent: {})", list(trusted), list(sent))
            }
            CertFault::WrongIssuerKey { subject, issuer } => write!(
                f,
                "the certificate of {subject} names {issuer} as its issuer, and the certificate of that name here has another \
                 key: its signature does not verify"
            ),
            CertFault::NotAuthority { subject } => {
                write!(f, "{subject} signed a certificate, and its own does not make it a CA (basicConstraints)")
            }
            CertFault::Usage { subject, has, wants } => {
                write!(f, "the certificate of {subject} has {has}; wanted: {wants}")
            }
            CertFault::Identity { id, subject, names } => {
                write!(
                    f,
                    "the peer says it is {id}, which its certificate does not ({subject}; names in it: {})",
                    list(names)
                )
            }
            CertFault::Revoked { subject, since, reason } => {
                write!(f, "the certificate of {subject} was revoked")?;
                if let Some(since) = since {
                    write!(f, " on {}", date(*since))?;
                }
                if let Some(reason) = reason {
                    write!(f, " ({reason})")?;
                }
                Ok(())
            }
            CertFault::RevocationUnknown { subject, why } => {
                write!(f, "whether the certificate of {subject} is revoked cannot be told: {why}")
            }
            CertFault::Weak { subject, what } => write!(f, "the certificate of {subject} is not accepted: {what}"),
            CertFault::NotPinned { subject, got, wanted } => {
                write!(f, "the certificate of {subject} (SHA-256 {got}) is not the pinned one (SHA-256 {wanted})")
            }
            CertFault::Path { subject, why } => write!(f, "the certificate path of {subject} breaks RFC 5280: {why}"),
            CertFault::Signature { subject, key, scheme } => {
                write!(f, "AUTH does not verify with the {key} key of {subject} as {scheme}")
            }
            CertFault::Scheme { subject, key, method, why } => {
                write!(f, "AUTH by {method} does not go with the {key} key of {subject}: {why}")
            }
            CertFault::UnsupportedKey { subject } => {
                write!(f, "the key of {subject} is neither RSA, ECDSA on P-256, P-384 or P-521, nor Ed25519")
            }
            CertFault::KeyMismatch { subject, certificate, key } if certificate == key => {
                write!(f, "the private key is not that of the certificate of {subject} (both are {key})")
            }
            CertFault::KeyMismatch { subject, certificate, key } => {
                write!(f, "the private key is {key}, and the certificate of {subject} has {certificate}")
            }
        }
    }
}

/// A date in UTC, without a fraction of a second.
pub(super) fn date(seconds: i64) -> String {
    let text = utc_text(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000));
    text.split('.').next().unwrap_or(&text).replace('T', " ").trim_end_matches('Z').to_owned() + " UTC"
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join("; ") }
}
