//! How peers prove who they are: certificate paths and EAP methods, without I/O.
//!
//! A [`Credential`] is our own chain and key, a [`Trust`] says whom we believe, [`Trust::judge`] judges what a peer sent and
//! says in plain words which check failed. [`method`] picks and reads signature methods (RFC 7296 3.8, RFC 7427).

mod cert;
pub mod eap;
mod fault;
mod file;
mod identity;
mod judge;
pub mod method;
mod path;
pub mod psk;
#[cfg(test)]
mod tests;
mod usage;

pub use cert::{AltName, Certificate};
pub use fault::CertFault;
pub use file::{FileFault, certificates, crls, private_key};
pub use judge::{Crl, Judged, MAX_CERTIFICATES, Policy, Trust};
pub use method::{Chosen, SignaturePolicy};

use std::sync::Arc;

use crate::crypto::PrivateKey;

/// When our certificates are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SendCert {
    /// Whether asked for or not: libreswan, as initiator, does not ask and still wants it.
    #[default]
    Always,
    /// When the peer sent a certificate request, whatever authority it names (RFC 7296 3.7).
    IfAsked,
    /// Never: the peer has our certificate.
    Never,
}

/// Our own certificate, its issuers and its key.
#[derive(Clone, Debug)]
pub struct Credential {
    chain: Vec<Certificate>,
    key: Arc<PrivateKey>,
    /// When the chain is sent.
    pub send: SendCert,
    /// Which signature is made.
    pub signature: SignaturePolicy,
    /// Our certificate is not sent, but where it can be fetched (RFC 7296 3.6, hash and URL).
    pub url: Option<String>,
}

impl Credential {
    /// The leaf comes first in `chain`; the others may stand in any order. The key must be the leaf's.
    pub fn new(chain: Vec<Certificate>, key: PrivateKey) -> Result<Self, CertFault> {
        let Some(leaf) = chain.first() else { return Err(CertFault::Missing) };
        match leaf.public_key() {
            Ok(public) if key.belongs_to(&public) => {}
            Ok(public) => {
                return Err(CertFault::KeyMismatch {
                    subject: leaf.subject_text(),
                    certificate: public.kind(),
                    key: key.kind(),
                });
            }
            Err(_) => return Err(CertFault::UnsupportedKey { subject: leaf.subject_text() }),
        }
        Credential::mismatched(chain, key)
    }

    /// As [`Credential::new`], and nobody asks whose key it is: a peer that is as careless as some boxes after a renewal.
    pub fn mismatched(chain: Vec<Certificate>, key: PrivateKey) -> Result<Self, CertFault> {
        if chain.is_empty() {
            return Err(CertFault::Missing);
        }
        let mut sorted: Vec<Certificate> = Vec::with_capacity(chain.len());
        let mut rest = chain;
        sorted.push(rest.remove(0));
        // The leaf, its issuer, the issuer's issuer; what belongs to none of them stays behind them.
        while let Some(last) = sorted.last() {
            let issuer = rest.iter().position(|c| !last.is_self_issued() && last.names_as_issuer(c));
            match issuer {
                Some(at) => sorted.push(rest.remove(at)),
                None => break,
            }
        }
        sorted.extend(rest);
        Ok(Credential {
            chain: sorted,
            key: Arc::new(key),
            send: SendCert::default(),
            signature: SignaturePolicy::default(),
            url: None,
        })
    }

    /// The same without the certificates above ours.
    pub fn leaf_only(&self) -> Self {
        Credential { chain: vec![self.leaf().clone()], ..self.clone() }
    }

    /// Another certificate, signed for with the key of this one.
    pub fn under(&self, other: &Credential) -> Self {
        Credential { chain: other.chain.clone(), ..self.clone() }
    }

    /// Our certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }

    /// The leaf, then its issuers upwards as far as they are known.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The leaf's private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// What is sent to a peer that trusts `authorities` (SHA-1 of their SubjectPublicKeyInfo): the leaf and its issuers, up to
    /// and without the first one that the peer names; never a self-signed issuer, which proves nothing to anybody.
    pub fn to_send(&self, authorities: &[[u8; 20]]) -> impl Iterator<Item = &Certificate> {
        let stop = self.chain[1..].iter().position(|c| c.is_self_issued() || authorities.contains(&c.spki_sha1()));
        self.chain.iter().take(stop.map_or(self.chain.len(), |at| at + 1))
    }
}
