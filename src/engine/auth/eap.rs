//! EAP inside IKE_AUTH (RFC 7296 2.16, RFC 5998), both roles.
//!
//! ```text
//!  initiator                                             responder
//!  HDR, SK {IDi, [IDr,] [CP,] SAi2, TSi, TSr}     -->    no AUTH: "by EAP, please"
//!                                                 <--    HDR, SK {IDr, [CERT,] AUTH, EAP}
//!  HDR, SK {EAP}                                  -->
//!                                                 <--    HDR, SK {EAP}                   any number of times
//!                                                 <--    HDR, SK {EAP(Success)}
//!  HDR, SK {AUTH}                                 -->    with the method's key, or SK_pi without one
//!                                                 <--    HDR, SK {AUTH, [CP,] SAr2, TSi, TSr}
//! ```
//!
//! With N(EAP_ONLY_AUTHENTICATION) in the first request the responder may leave out its own AUTH (RFC 5998).

use std::sync::Arc;

use super::initiator;
use super::responder::{self, Refusal};
use super::sign::{Exchanged, Signed};
use super::{AwaitAuthRequest, Parts};
use crate::auth::eap::{Authenticator, Peer, Step as PeerStep, Verdict};
use crate::crypto::Secret;
use crate::engine::endpoint::Core;
use crate::engine::event::{EapDone, Event};
use crate::engine::failure::{AuthFault, Failure, PeerMisbehaved};
use crate::engine::sa::IkeSa;
use crate::engine::spec::AuthSpec;
use crate::engine::tamper::{Decision, SecretKind};
use crate::seed::Purpose;
use crate::time::Instant;
use crate::wire::registry::{AuthMethod, IdType, NotifyType, PayloadType};
use crate::wire::{AuthPayload, EapPayload, IdPayload, Payload};

/// The initiator's side of EAP.
pub(in crate::engine) struct Supplicant {
    peer: Peer,
    /// Whom the responder says it is.
    id_r: IdPayload,
    /// EAP succeeded; our AUTH is out, and the responder's with this key is awaited.
    awaits: Option<Secret>,
}

/// The responder's side of EAP.
pub(in crate::engine) struct Judge {
    server: Authenticator,
    id_i: IdPayload,
    /// Ours as it was sent and signed.
    id_r: IdPayload,
    /// The first request's payloads: the Child SA and the inner address are answered at the end.
    first: Vec<Payload>,
    /// EAP succeeded: AUTH is due.
    over: bool,
}

impl Judge {
    /// Why we refuse the peer, if it has been told already.
    pub(super) fn fault(&self) -> Option<AuthFault> {
        self.server.pending_fault().cloned().map(AuthFault::Eap)
    }

    pub(super) fn into_first(self) -> Vec<Payload> {
        self.first
    }
}

/// The key of one side's AUTH: the method's, or SK_pi and SK_pr if it made none (RFC 7296 2.16).
fn auth_key<'a>(msk: Option<&'a Secret>, signed: &Signed<'a>) -> &'a [u8] {
    msk.map_or(signed.sk_p, AsRef::as_ref)
}

// The initiator's side.

impl Core {
    /// Judges a response while EAP is what proves us.
    pub(super) fn judge_eap_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        parts: &Parts<'_>,
        exchanged: &Exchanged<'_>,
        ours: &IdPayload,
        state: &mut Option<Box<Supplicant>>,
    ) -> initiator::Step {
        if let Some(kind) = parts.critical {
            let why = Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind));
            return initiator::Step::Refuse(why, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);
        }
        // An EAP Failure beside the notify says more.
        if let (Some(notify), None, None) = (parts.error, parts.auth, parts.eap) {
            return initiator::Step::Refused(initiator::rejected(notify));
        }
        let refuse = |fault| initiator::Step::Refuse(Failure::AuthFailed(fault), NotifyType::AUTHENTICATION_FAILED);
        let supplicant = match state {
            Some(supplicant) => supplicant,
            None => match self.begin_eap(now, sa, parts, exchanged) {
                Ok(supplicant) => state.insert(supplicant),
                Err(step) => return step,
            },
        };
        if let Some(key) = supplicant.awaits.take() {
            let Some(auth) = parts.auth else { return missing(PayloadType::AUTH) };
            let id = supplicant.id_r.clone();
            let signed = exchanged.by_responder(&id);
            let msk = (!key.is_empty()).then_some(&key);
            let fault = signed.verify_shared_key(auth_key(msk, &signed), auth).err();
            let mut accept = fault.is_none();
            self.decide(now, sa, Decision::AcceptAuth(&mut accept));
            if !accept {
                return refuse(fault.unwrap_or_else(|| AuthFault::Mismatch { id: id.clone() }));
            }
            return initiator::Step::Up(id, None);
        }
        let Some(eap) = parts.eap else { return missing(PayloadType::EAP) };
        // An answer of our own, or the authenticator's verdict.
        let said_failure = eap.data.first() == Some(&4);
        match supplicant.peer.handle(&eap.data) {
            Ok(PeerStep::Respond(data)) => initiator::Step::Again(vec![Payload::Eap(EapPayload { data })]),
            Ok(PeerStep::Success) => {
                let Some(method) = supplicant.peer.method() else { return missing(PayloadType::EAP) };
                let alone = matches!(sa.spec.remote_auth, AuthSpec::EapOnly);
                if alone && !method.safe_alone() {
                    return refuse(AuthFault::EapUnsafeAlone(method));
                }
                let msk = supplicant.peer.msk();
                let done = EapDone {
                    method,
                    identity: supplicant.peer.identity().to_owned(),
                    keyed: msk.is_some(),
                    alone,
                    tls: supplicant.peer.tls_version(),
                    notices: supplicant.peer.notices().to_vec(),
                };
                self.events.push_back((sa.tunnel, sa.id, Event::Eap(Box::new(done))));
                let signed = exchanged.by_initiator(ours);
                let auth = signed.with_shared_key(auth_key(msk.as_ref(), &signed));
                supplicant.awaits = Some(msk.unwrap_or_default());
                initiator::Step::Again(vec![Payload::Auth(self.bent(now, sa, auth))])
            }
            Err(fault) if said_failure => initiator::Step::Refused(Failure::AuthFailed(AuthFault::Eap(fault))),
            Err(fault) => refuse(AuthFault::Eap(fault)),
        }
    }

    /// The first response: who the responder is, with its proof unless EAP alone is to do.
    fn begin_eap(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        parts: &Parts<'_>,
        exchanged: &Exchanged<'_>,
    ) -> Result<Box<Supplicant>, initiator::Step> {
        let refuse = |fault| initiator::Step::Refuse(Failure::AuthFailed(fault), NotifyType::AUTHENTICATION_FAILED);
        let AuthSpec::EapPeer(spec) = &sa.spec.local_auth else { return Err(missing(PayloadType::AUTH)) };
        let spec = Arc::clone(spec);
        let Some(id) = parts.id_r else { return Err(missing(PayloadType::IDR)) };
        let fault = match (&sa.spec.remote_auth, parts.auth) {
            _ if !sa.spec.remote_id.accepts(id) => Some(AuthFault::Identity { got: id.clone() }),
            // Whether or not the responder proves itself in another way as well: the last AUTH counts.
            (AuthSpec::EapOnly, _) => None,
            (_, None) if parts.eap.is_some() => Some(AuthFault::EapAloneUnwanted),
            (_, None) => return Err(missing(PayloadType::AUTH)),
            (_, Some(auth)) => {
                let proved = exchanged.by_responder(id).verify(&sa.spec, auth, &parts.certs, self.wall(now));
                match proved {
                    Ok(certificate) => {
                        self.certified(sa, certificate);
                        None
                    }
                    Err(fault) => Some(fault),
                }
            }
        };
        let mut accept = fault.is_none();
        self.decide(now, sa, Decision::AcceptAuth(&mut accept));
        if !accept {
            return Err(refuse(fault.unwrap_or_else(|| AuthFault::Mismatch { id: id.clone() })));
        }
        let rng = self.seeds.stream(sa.scope, Purpose::Eap, sa.next_draw());
        let peer = Peer::new(spec, rng, self.unix(now));
        Ok(Box::new(Supplicant { peer, id_r: id.clone(), awaits: None }))
    }

    /// Wall-clock seconds, by which certificates are judged.
    fn unix(&self, now: Instant) -> u64 {
        self.wall(now).unsigned_abs()
    }

    /// An AUTH of ours after its seam.
    fn bent(&mut self, now: Instant, sa: &IkeSa, auth: AuthPayload) -> AuthPayload {
        AuthPayload { data: self.secret(now, sa, SecretKind::Auth, auth.data), ..auth }
    }
}

fn missing(kind: PayloadType) -> initiator::Step {
    let why = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
    initiator::Step::Refuse(why, NotifyType::INVALID_SYNTAX)
}

// The responder's side.

impl Core {
    /// A first request without AUTH: the initiator wants EAP. `spec` is the connection found for it.
    #[allow(clippy::result_large_err)] // once for each refused peer
    pub(super) fn offer_eap(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        id: &IdPayload,
        parts: &Parts<'_>,
        payloads: &[Payload],
        wait: &mut AwaitAuthRequest,
    ) -> Result<responder::Step, Refusal> {
        let AuthSpec::EapAuthenticator(spec) = &sa.spec.remote_auth else {
            return Err(Refusal::auth(AuthFault::EapUnwanted));
        };
        let spec = Arc::clone(spec);
        let alone = matches!(sa.spec.local_auth, AuthSpec::EapOnly);
        if alone && !parts.eap_only {
            return Err(Refusal::auth(AuthFault::EapAloneNotOffered));
        }
        if let Some(method) = spec.methods.iter().find(|m| alone && !m.safe_alone()) {
            return Err(Refusal::auth(AuthFault::EapUnsafeAlone(*method)));
        }
        let id_r = self.our_id(now, sa);
        let mut answer = if alone {
            vec![Payload::IdR(id_r.clone())]
        } else {
            let takes = wait.takes.with(&parts.takes);
            self.our_proof(now, sa, &id_r, &wait.exchanged(), &takes)?
        };
        let textual = [IdType::ID_FQDN, IdType::ID_RFC822_ADDR, IdType::ID_KEY_ID].contains(&id.kind);
        let lower = if textual { &id.data[..] } else { &[] };
        let rng = self.seeds.stream(sa.scope, Purpose::Eap, sa.next_draw());
        let mut server = Authenticator::new(spec, lower, rng, self.unix(now));
        let verdict = server.start();
        let judge = Judge { server, id_i: id.clone(), id_r, first: payloads.to_vec(), over: false };
        wait.eap = Some(Box::new(judge));
        match verdict {
            Verdict::Ask(data) => {
                answer.push(Payload::Eap(EapPayload { data }));
                Ok(responder::Step::Again(answer))
            }
            other => self.eap_verdict(other, wait),
        }
    }

    /// A further request: the peer's EAP, or its AUTH when EAP is over.
    #[allow(clippy::result_large_err)] // once for each refused peer
    pub(super) fn judge_eap_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        parts: &Parts<'_>,
        wait: &mut AwaitAuthRequest,
    ) -> Result<responder::Step, Refusal> {
        if let Some(kind) = parts.critical {
            return Err(Refusal::critical(kind));
        }
        let Some(judge) = &mut wait.eap else { return Err(Refusal::missing(PayloadType::EAP)) };
        if !judge.over {
            let eap = parts.eap.ok_or_else(|| Refusal::missing(PayloadType::EAP))?;
            let verdict = judge.server.handle(&eap.data);
            return self.eap_verdict(verdict, wait);
        }
        let auth = parts.auth.ok_or_else(|| Refusal::missing(PayloadType::AUTH))?;
        let (id, id_r, msk) = (judge.id_i.clone(), judge.id_r.clone(), judge.server.msk().cloned());
        let done = EapDone {
            method: judge.server.method(),
            identity: judge.server.identity(),
            keyed: msk.is_some(),
            alone: matches!(sa.spec.local_auth, AuthSpec::EapOnly),
            tls: judge.server.tls_version(),
            notices: Vec::new(),
        };
        let exchanged = wait.exchanged();
        let signed = exchanged.by_initiator(&id);
        let fault = match auth.method {
            AuthMethod::SHARED_KEY_MIC => signed.verify_shared_key(auth_key(msk.as_ref(), &signed), auth).err(),
            got => Some(AuthFault::EapWanted { got }),
        };
        let mut accept = fault.is_none();
        self.decide(now, sa, Decision::AcceptAuth(&mut accept));
        if !accept {
            return Err(Refusal::auth(fault.unwrap_or_else(|| AuthFault::Mismatch { id: id.clone() })));
        }
        self.events.push_back((sa.tunnel, sa.id, Event::Eap(Box::new(done))));
        let signed = exchanged.by_responder(&id_r);
        let ours = signed.with_shared_key(auth_key(msk.as_ref(), &signed));
        Ok(responder::Step::Up(id, None, vec![Payload::Auth(self.bent(now, sa, ours))]))
    }

    #[allow(clippy::result_large_err)] // once for each refused peer
    fn eap_verdict(&mut self, verdict: Verdict, wait: &mut AwaitAuthRequest) -> Result<responder::Step, Refusal> {
        match verdict {
            Verdict::Ask(data) => Ok(responder::Step::Again(vec![Payload::Eap(EapPayload { data })])),
            Verdict::Success(data) => {
                if let Some(judge) = &mut wait.eap {
                    judge.over = true;
                }
                Ok(responder::Step::Again(vec![Payload::Eap(EapPayload { data })]))
            }
            Verdict::Failure(data, fault) => Err(Refusal {
                answer: Payload::Eap(EapPayload { data }),
                why: Failure::AuthFailed(AuthFault::Eap(fault)),
            }),
        }
    }
}
