//! The AUTH payload: what it covers (RFC 7296 2.15), and the one place where it is computed and verified.
//!
//! What proves an identity is an authenticator: a pre-shared key, any other shared key (RFC 7296 2.16 uses the one that an EAP
//! method made in the same way), or the private key of a certificate.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::auth::method::{announcement as announced_hashes, choose, is_signature, read_announcement};
use crate::auth::psk::{KeyOwner, PskEvidence};
use sha1::{Digest, Sha1};

use crate::auth::{Credential, Judged, SendCert};
use crate::crypto::{IkeKeys, IkeSuite, Secret, psk_auth, signed_octets};
use crate::engine::failure::{AuthFault, LocalFault};
use crate::engine::spec::{AuthSpec, ConnectionSpec, IdMatch};
use crate::wire::registry::{AuthMethod, CertEncoding, HashAlgorithm, NotifyType};
use crate::wire::{AuthPayload, CertPayload, CertReqPayload, IdPayload, NotifyPayload, Payload};

/// What one side's AUTH payload covers (RFC 7296 2.15).
pub(super) struct Signed<'a> {
    pub suite: &'a IkeSuite,
    /// The signer's IKE_SA_INIT message.
    pub message: &'a [u8],
    /// The other side's nonce.
    pub nonce: &'a [u8],
    /// SK_pi or SK_pr, the signer's.
    pub sk_p: &'a [u8],
    pub id: &'a IdPayload,
}

/// What IKE_SA_INIT left behind for AUTH, and who signs which half of it.
#[derive(Clone, Copy)]
pub(super) struct Exchanged<'a> {
    pub suite: &'a IkeSuite,
    pub keys: &'a IkeKeys,
    /// The initiator's IKE_SA_INIT, the one finally answered.
    pub request: &'a [u8],
    /// The responder's.
    pub response: &'a [u8],
    pub ni: &'a [u8],
    pub nr: &'a [u8],
}

/// Our AUTH, and the certificates that go before it.
pub(super) struct Proof {
    pub auth: AuthPayload,
    pub certs: Vec<Payload>,
}

/// What a peer said of the signatures and certificates that it takes.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Takes {
    /// SIGNATURE_HASH_ALGORITHMS (RFC 7427 4).
    hashes: Option<Vec<HashAlgorithm>>,
    /// It sent a CERTREQ for X.509 certificates.
    asks: bool,
    /// SHA-1 of the SubjectPublicKeyInfo of each authority that it trusts.
    authorities: Vec<[u8; 20]>,
}

/// Authorities of a CERTREQ that are remembered.
const MAX_AUTHORITIES: usize = 64;

/// Connections whose keys are compared with that of a peer.
const MAX_COMPARED: usize = 16;

impl Takes {
    /// Remembers what a payload says about it.
    pub(in crate::engine) fn note(&mut self, payload: &Payload) {
        match payload {
            Payload::Notify(n) if n.kind == NotifyType::SIGNATURE_HASH_ALGORITHMS => {
                self.hashes = Some(read_announcement(&n.data));
            }
            Payload::CertReq(request) if request.encoding == CertEncoding::X509_SIGNATURE => {
                self.asks = true;
                let room = MAX_AUTHORITIES.saturating_sub(self.authorities.len());
                self.authorities.extend(request.authorities().take(room));
            }
            _ => {}
        }
    }

    /// This of IKE_SA_INIT and that of IKE_AUTH.
    pub(super) fn with(&self, later: &Takes) -> Takes {
        let mut both = self.clone();
        both.asks |= later.asks;
        both.authorities.extend(&later.authorities);
        both
    }
}

/// SIGNATURE_HASH_ALGORITHMS, for a connection that knows signatures (RFC 7427 4).
pub(in crate::engine) fn announcement(spec: &ConnectionSpec) -> Option<Payload> {
    let notify = || NotifyPayload::with_data(NotifyType::SIGNATURE_HASH_ALGORITHMS, announced_hashes());
    spec.uses_certificates().then(|| Payload::Notify(notify()))
}

/// A CERTREQ that names the authorities of all these connections (RFC 7296 3.7), if one of them wants a certificate.
pub(in crate::engine) fn certificate_request(specs: &[Arc<ConnectionSpec>]) -> Option<Payload> {
    let mut request = None;
    for spec in specs {
        if let AuthSpec::Trust(trust) = &spec.remote_auth {
            let data = &mut request.get_or_insert_with(Vec::new);
            data.extend(trust.authorities());
        }
    }
    let data = request?;
    Some(Payload::CertReq(CertReqPayload { encoding: CertEncoding::X509_SIGNATURE, data }))
}

impl<'a> Exchanged<'a> {
    /// What the initiator signs with the identity `id`.
    pub(super) fn by_initiator(&self, id: &'a IdPayload) -> Signed<'a> {
        Signed { suite: self.suite, message: self.request, nonce: self.nr, sk_p: self.keys.pi(), id }
    }

    /// What the responder signs with the identity `id`.
    pub(super) fn by_responder(&self, id: &'a IdPayload) -> Signed<'a> {
        Signed { suite: self.suite, message: self.response, nonce: self.ni, sk_p: self.keys.pr(), id }
    }
}

impl Signed<'_> {
    /// Our proof, as `spec` wants it and the peer takes it.
    pub(super) fn prove(&self, spec: &AuthSpec, takes: &Takes) -> Result<Proof, LocalFault> {
        match spec {
            AuthSpec::Psk(psk) => Ok(Proof { auth: self.with_shared_key(psk.as_ref().as_ref()), certs: Vec::new() }),
            AuthSpec::Certificate(credential) => self.with_certificate(credential, takes),
            AuthSpec::Trust(_) => Err(LocalFault::Other("our own end has neither a key nor a certificate".into())),
            AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_) | AuthSpec::EapOnly => {
                Err(LocalFault::Other("EAP cannot prove who we are in this role".into()))
            }
        }
    }

    /// Judges the peer's proof by what the connection demands. `now` is in seconds since 1970.
    pub(super) fn verify(
        &self,
        spec: &ConnectionSpec,
        auth: &AuthPayload,
        certs: &[&CertPayload],
        now: i64,
    ) -> Result<Option<Box<Judged>>, AuthFault> {
        match &spec.remote_auth {
            AuthSpec::Psk(psk) => self.verify_shared_key(psk.as_ref().as_ref(), auth).map(|()| None),
            AuthSpec::Trust(trust) => {
                if !is_signature(auth.method) {
                    return Err(AuthFault::Method { got: auth.method });
                }
                let named = matches!(spec.remote_id, IdMatch::Exact(_));
                match trust.judge(certs, self.id, named, auth, &self.octets(), now) {
                    Ok(judged) => Ok(Some(Box::new(judged))),
                    Err(fault) => Err(AuthFault::Certificate(Box::new(fault))),
                }
            }
            AuthSpec::Certificate(_) => Err(AuthFault::Method { got: auth.method }),
            AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_) | AuthSpec::EapOnly => {
                Err(AuthFault::EapWanted { got: auth.method })
            }
        }
    }

    /// A proof by a key that both ends have.
    pub(super) fn with_shared_key(&self, key: &[u8]) -> AuthPayload {
        let octets = psk_auth(self.suite.prf, key, self.message, self.nonce, self.sk_p, &self.id.body());
        AuthPayload { method: AuthMethod::SHARED_KEY_MIC, data: octets.as_ref().to_vec() }
    }

    /// Judges a proof by a key that both ends have.
    pub(super) fn verify_shared_key(&self, key: &[u8], auth: &AuthPayload) -> Result<(), AuthFault> {
        if auth.method != AuthMethod::SHARED_KEY_MIC {
            return Err(AuthFault::Method { got: auth.method });
        }
        if self.with_shared_key(key).data.ct_eq(&auth.data).into() {
            Ok(())
        } else {
            Err(AuthFault::Mismatch { id: self.id.clone() })
        }
    }

    /// What there is to find out the peer's key by, if it proves itself with one. `specs` are the connections that may be
    /// meant, the likeliest first; their keys are compared.
    pub(super) fn evidence(&self, specs: &[Arc<ConnectionSpec>], auth: &AuthPayload) -> Option<PskEvidence> {
        let mut keys: Vec<(KeyOwner, Arc<Secret>)> = Vec::new();
        let mut add = |owner: KeyOwner, auth: &AuthSpec| {
            if let AuthSpec::Psk(key) = auth
                && !keys.iter().any(|(_, known)| known == key)
            {
                keys.push((owner, Arc::clone(key)));
            }
        };
        for (n, spec) in specs.iter().take(MAX_COMPARED).enumerate() {
            match n {
                0 => {
                    add(KeyOwner::Peer, &spec.remote_auth);
                    add(KeyOwner::Us, &spec.local_auth);
                }
                _ => add(KeyOwner::Connection(spec.name.clone()), &spec.remote_auth),
            }
        }
        (auth.method == AuthMethod::SHARED_KEY_MIC && !keys.is_empty())
            .then(|| PskEvidence::new(self.suite.prf, self.octets(), auth.data.clone(), keys))
    }

    fn with_certificate(&self, credential: &Credential, takes: &Takes) -> Result<Proof, LocalFault> {
        let key = credential.key();
        let chosen = choose(key.kind(), takes.hashes.as_deref(), &credential.signature)
            .map_err(|why| LocalFault::Other(format!("our {} key cannot sign: {why}", key.kind())))?;
        let signature = key.sign(chosen.scheme, &self.octets()).ok_or_else(|| {
            LocalFault::Other(format!("our {} key cannot sign: not by {}", key.kind(), chosen.scheme))
        })?;
        let send = match credential.send {
            SendCert::Always => true,
            SendCert::IfAsked => takes.asks,
            SendCert::Never => false,
        };
        let payload = |cert: &crate::auth::Certificate| {
            Payload::Cert(CertPayload { encoding: CertEncoding::X509_SIGNATURE, data: cert.der().to_vec() })
        };
        let certs = match &credential.url {
            Some(url) if send => vec![by_url(credential.leaf(), url)],
            _ if send => credential.to_send(&takes.authorities).map(payload).collect(),
            _ => Vec::new(),
        };
        Ok(Proof { auth: AuthPayload { method: chosen.method, data: chosen.auth_data(signature) }, certs })
    }

    fn octets(&self) -> Vec<u8> {
        signed_octets(self.suite.prf, self.message, self.nonce, self.sk_p, &self.id.body())
    }
}
/// Where a certificate can be fetched, and its SHA-1 (RFC 7296 3.6).
fn by_url(cert: &crate::auth::Certificate, url: &str) -> Payload {
    let data = [&Sha1::digest(cert.der())[..], url.as_bytes()].concat();
    Payload::Cert(CertPayload { encoding: CertEncoding::HASH_AND_URL, data })
}
