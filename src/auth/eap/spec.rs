//! What each end of EAP is told.

use std::sync::Arc;

use super::method::Method;
use crate::crypto::Secret;

/// What a peer is: its identity, and how it can prove it.
#[derive(Clone, Debug)]
pub struct PeerSpec {
    /// The answer to Request/Identity, and the user name of the methods.
    pub identity: String,
    /// What it has, in order of preference; a Nak names these methods.
    pub credentials: Vec<Credential>,
}

impl PeerSpec {
    /// The methods that it speaks.
    pub fn methods(&self) -> Vec<Method> {
        self.credentials.iter().map(Credential::method).collect()
    }
}

/// One way in which a peer proves who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// MD5-Challenge with this password.
    Md5(Arc<Secret>),
    /// MSCHAPv2 with this password, UTF-8.
    MsChapV2(Arc<Secret>),
    /// TLS with a certificate.
    Tls(Arc<TlsSpec>),
}

impl Credential {
    /// The method that it serves.
    pub fn method(&self) -> Method {
        match self {
            Credential::Md5(_) => Method::Md5,
            Credential::MsChapV2(_) => Method::MsChapV2,
            Credential::Tls(_) => Method::Tls,
        }
    }
}

/// What an authenticator accepts.
#[derive(Clone, Debug)]
pub struct AuthenticatorSpec {
    /// Begin with Request/Identity; without, the identity of the lower layer counts (RFC 7296 3.16).
    pub ask_identity: bool,
    /// Methods in order of preference: the first is asked for, a Nak may lead to another.
    pub methods: Vec<Method>,
    /// Who may come in. For TLS an empty list means everybody whose certificate is good; else one of its names must be here.
    pub users: Vec<User>,
    /// Its certificate, and whose certificates it accepts; needed by TLS.
    pub tls: Option<Arc<TlsSpec>>,
    /// Its name in challenges.
    pub name: String,
}

/// Somebody who may come in.
#[derive(Clone, Debug)]
pub struct User {
    /// EAP identity.
    pub name: String,
    /// Password, UTF-8. A user of TLS needs none.
    pub password: Option<Arc<Secret>>,
}

/// TLS of either end.
#[derive(Clone, Debug)]
pub struct TlsSpec {
    /// Our certificate and then its intermediates, DER.
    pub chain: Vec<Vec<u8>>,
    /// Its private key, DER: PKCS#8, PKCS#1 or SEC 1.
    pub key: Secret,
    /// Trust anchors for the other end's certificate, DER.
    pub roots: Vec<Vec<u8>>,
    /// The name that the server's certificate must have; `None`: any that leads to a trust anchor.
    pub server_name: Option<String>,
    /// Which versions to speak.
    pub versions: TlsVersions,
    /// Octets of TLS in one EAP packet; IKE fragments whatever is longer than a datagram on its own.
    pub fragment: usize,
}

impl TlsSpec {
    /// Octets of TLS in one EAP packet, unless told otherwise: leaves room for IKE below 1280 octets.
    pub const FRAGMENT: usize = 1024;
}

/// Versions of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsVersions {
    /// The best that both ends have.
    #[default]
    Any,
    /// TLS 1.2 only (RFC 5216).
    Only12,
    /// TLS 1.3 only (RFC 9190).
    Only13,
}
