//! Why EAP failed.

use std::fmt;

use super::method::{Method, MethodType};

/// Why one end gave up, or was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EapFault {
    /// A packet without what is named.
    Malformed(&'static str),
    /// A packet that does not belong there.
    Unexpected(&'static str),
    /// The two ends have no method in common.
    NoCommonMethod {
        /// What this end would use.
        ours: Vec<Method>,
        /// What the other end asked for, or named in its Nak.
        theirs: Vec<MethodType>,
    },
    /// Authenticator: no such user.
    UnknownUser {
        /// The identity that the peer gave.
        identity: String,
    },
    /// Authenticator: the peer does not know the user's password.
    WrongPassword {
        /// The identity that the peer gave.
        identity: String,
    },
    /// Peer: the authenticator did not prove that it knows the password.
    ServerUnproven,
    /// Peer: the authenticator said Failure.
    Refused {
        /// The method that was running.
        method: Option<Method>,
        /// MSCHAPv2's error code: 691 is a wrong user or password.
        code: Option<u32>,
        /// What it said, made printable.
        text: String,
    },
    /// TLS failed: in plain words, which check.
    Tls(String),
    /// Authenticator: the peer's certificate is good, and names nobody who may come in.
    CertificateNames(Vec<String>),
}

impl fmt::Display for EapFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EapFault::Malformed(what) => write!(f, "an EAP packet without {what}"),
            EapFault::Unexpected(what) => write!(f, "EAP: {what}"),
            EapFault::NoCommonMethod { ours, theirs } => {
                write!(f, "no EAP method in common: we have {}, the other end wants {}", join(ours), join(theirs))
            }
            EapFault::UnknownUser { identity } => write!(f, "there is no EAP user {identity:?}"),
            EapFault::WrongPassword { identity } => write!(f, "the EAP password of {identity:?} is wrong"),
            EapFault::ServerUnproven => {
                write!(
                    f,
                    "the EAP server did not prove that it knows the password (its authenticator response is wrong)"
                )
            }
            EapFault::Refused { method, code, text } => {
                write!(f, "the EAP server answered Failure")?;
                if let Some(method) = method {
                    write!(f, " to {method}")?;
                }
                match code {
                    Some(691) => write!(f, ": error 691, the user or the password is wrong")?,
                    Some(646) => write!(f, ": error 646, not at this hour")?,
                    Some(647) => write!(f, ": error 647, the account is disabled")?,
                    Some(648) => write!(f, ": error 648, the password has expired")?,
                    Some(649) => write!(f, ": error 649, no permission to dial in")?,
                    Some(code) => write!(f, ": error {code}")?,
                    None => {}
                }
                if text.is_empty() { Ok(()) } else { write!(f, " ({text})") }
            }
            EapFault::Tls(why) => write!(f, "EAP-TLS: {why}"),
            EapFault::CertificateNames(names) => {
                write!(f, "EAP-TLS: the peer's certificate names {}, none of them a user", join(names))
            }
        }
    }
}

impl std::error::Error for EapFault {}

fn join(items: &[impl fmt::Display]) -> String {
    match items {
        [] => "none".to_owned(),
        _ => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Octets of the other end as text to print: at most 120 characters, no control characters.
pub(super) fn printable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    text.chars().take(120).map(|c| if c.is_control() { '.' } else { c }).collect()
}
