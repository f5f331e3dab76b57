//! The AUTH payload: what it covers (RFC 7296 2.15), and the one place where it is computed and verified.
//!
//! What proves an identity is an authenticator: a pre-shared key, or any other shared key (RFC 7296 2.16 uses the one that
//! an EAP method made in the same way).

use subtle::ConstantTimeEq;

use crate::crypto::{IkeKeys, IkeSuite, psk_auth};
use crate::engine::failure::{AuthFault, LocalFault};
use crate::engine::spec::AuthSpec;
use crate::wire::registry::AuthMethod;
use crate::wire::{AuthPayload, IdPayload};

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
    /// Our proof, as `spec` wants it.
    ///
    /// # Errors
    /// EAP proves in rounds of its own, not here.
    pub(super) fn prove(&self, spec: &AuthSpec) -> Result<AuthPayload, LocalFault> {
        match spec {
            AuthSpec::Psk(psk) => Ok(self.with_shared_key(psk.as_ref().as_ref())),
            AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_) | AuthSpec::EapOnly => {
                Err(LocalFault::Other("EAP cannot prove who we are in this role".to_owned()))
            }
        }
    }

    /// Judges the peer's proof by what `spec` demands.
    pub(super) fn verify(&self, spec: &AuthSpec, auth: &AuthPayload) -> Result<(), AuthFault> {
        match spec {
            AuthSpec::Psk(psk) => self.verify_shared_key(psk.as_ref().as_ref(), auth),
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
}
