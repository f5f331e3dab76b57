//! IKE_AUTH as the responder sees it.

use std::sync::Arc;

use super::sign::{Exchanged, Proof};
use super::{AwaitAuthRequest, Parts, Takes};
use crate::auth::Judged;
use crate::auth::method::is_signature;
use crate::crypto::IkeSuite;
use crate::engine::child::{ChildCx, Groups};
use crate::engine::codec::unprotect;
use crate::engine::endpoint::Core;
use crate::engine::event::IgnoredWhy;
use crate::engine::failure::{AuthFault, Failure, LocalFault, PeerMisbehaved};
use crate::engine::info::{FATAL, Request};
use crate::engine::mobike;
use crate::engine::sa::{Established, IkeSa, Phase};
use crate::engine::spec::{AuthSpec, ChildFailure, Childless, ConnectionSpec, IdMatch, Side};
use crate::engine::tamper::{Decision, SecretKind, Trigger};
use crate::engine::timer::Timer;
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::{AuthMethod, ExchangeType, NotifyType, PayloadType};
use crate::wire::{Decoded, IdPayload, Message, NotifyPayload, Payload};

impl Core {
    /// A protected IKE_AUTH request, perhaps.
    pub(in crate::engine) fn auth_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        decoded: Decoded,
        bytes: &mut [u8],
    ) {
        let header = decoded.header;
        let Phase::InitAnswered(wait) = &sa.phase else { return };
        // Between two rounds of EAP the initiator may refuse us in an INFORMATIONAL (RFC 7296 2.21.2).
        let refusal = header.exchange == ExchangeType::INFORMATIONAL && wait.eap.is_some();
        if header.exchange != ExchangeType::IKE_AUTH && !refusal {
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::UnexpectedExchange, "");
        }
        let keys = (&wait.keys, wait.suite.sk());
        let budget = self.fragment_budget(false);
        let (inner, error) = match unprotect(keys, true, &decoded, bytes, &mut sa.reassembly, &budget) {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(why) => return self.ignore(Some(sa.who()), path, Some(header), why, ""),
        };
        let mut message = Message { header, outer: decoded.payloads, sk: Some(inner) };
        if !self.screen_parsed(now, sa, path, &mut message) {
            return;
        }
        let mut answer = true;
        self.decide(now, sa, Decision::Answer(header.exchange, &mut answer));
        if !answer {
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::Tampered, "not answered");
        }
        if refusal {
            return self.refused_between_rounds(now, sa, path, message, bytes.len());
        }
        self.leave_half_open(sa);
        let Phase::InitAnswered(mut wait) = std::mem::replace(&mut sa.phase, Phase::Moving) else { return };
        sa.alarms.half_open = Instant::MAX;
        sa.last_heard = now;
        // After IKE_SA_INIT everything goes where the peer now is (RFC 7296 2.23).
        sa.path = path;
        if self.cfg.trace {
            self.trace_received(sa, path, message.clone(), bytes.len());
        }
        let inner = message.sk.as_deref().unwrap_or_default();
        let parts = Parts::of(inner);
        let mut refuse = None;
        self.decide(now, sa, Decision::RefuseAuth(&mut refuse));
        let step = match (refuse, error) {
            (Some(kind), _) => Err(Refusal {
                answer: Payload::Notify(NotifyPayload::new(kind)),
                why: Failure::Local(LocalFault::Other(format!("refused with {kind} on purpose"))),
            }),
            (None, Some(error)) => Err(Refusal::syntax(Failure::Malformed(error))),
            (None, None) if sa.spec.mobike.is_some() && mobike::forbids_nat(inner, &path) => {
                let why = LocalFault::Other("the peer allows no NAT, and there is one (RFC 4555 3.9)".into());
                Err(Refusal::new(NotifyType::UNEXPECTED_NAT_DETECTED, Failure::Local(why)))
            }
            (None, None) if wait.eap.is_some() => self.judge_eap_request(now, sa, &parts, &mut wait),
            (None, None) => self.judge_auth_request(now, sa, &parts, inner, &mut wait),
        };
        if let Ok(Step::Again(answer)) = step {
            sa.phase = Phase::InitAnswered(wait);
            self.enter_half_open(sa);
            let patience = self.cfg.limits.half_open_timeout;
            sa.alarms.half_open = self.timer(now, sa, Timer::HalfOpen, patience).unwrap_or(Instant::MAX);
            self.respond(now, sa, path, &header, answer);
            let cx = sa.msg_cx(now, &header, 0);
            return self.inject(now, sa, &Trigger::Accepted(cx));
        }
        let AwaitAuthRequest { suite, keys, ni, nr, nat, eap, .. } = *wait;
        // After EAP, what the first request asked for is answered.
        let first = eap.map(|judge| judge.into_first());
        let parts = first.as_deref().map_or(parts, Parts::of);
        sa.phase = Phase::Established(Established::new(suite, keys, nat, false));
        match step {
            Ok(Step::Up(id, certificate, mut answer)) => {
                self.certified(sa, certificate);
                sa.agree_mobike(parts.mobike, first.as_deref().unwrap_or(inner));
                self.ike_up(now, sa, id, parts.initial_contact);
                answer.extend(self.announce_auth_lifetime(now, sa));
                self.answer_first_child(now, sa, &parts, (&ni, &nr), &mut answer);
                mobike::announce(sa.spec.mobike.as_ref().filter(|_| parts.mobike), &mut answer);
                self.respond(now, sa, path, &header, answer);
                let cx = sa.msg_cx(now, &header, 0);
                self.inject(now, sa, &Trigger::Accepted(cx));
                self.pump(now, sa);
            }
            Ok(Step::Again(_)) => unreachable!("answered above"),
            Err(refusal) => {
                self.respond(now, sa, path, &header, vec![refusal.answer]);
                self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Us, refusal.why, true);
            }
        }
    }

    /// Judges the initiator's identity and AUTH, and finds its connection.
    #[allow(clippy::result_large_err)] // once for each refused peer
    fn judge_auth_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        parts: &Parts<'_>,
        payloads: &[Payload],
        wait: &mut AwaitAuthRequest,
    ) -> Result<Step, Refusal> {
        if let Some(kind) = parts.critical {
            return Err(Refusal::critical(kind));
        }
        let id = parts.id_i.ok_or_else(|| Refusal::missing(PayloadType::IDI))?;
        let childless = sa.spec.behaviour.childless != Childless::Never
            && parts.sa.is_none()
            && parts.ts_i.is_none()
            && parts.ts_r.is_none();
        // A message without its Child is malformed as a whole, before anything in it is verified (RFC 7296 2.21.2).
        for (there, kind) in [
            (parts.sa.is_some(), PayloadType::SA),
            (parts.ts_i.is_some(), PayloadType::TSI),
            (parts.ts_r.is_some(), PayloadType::TSR),
        ] {
            if !there && !childless {
                return Err(Refusal::missing(kind));
            }
        }
        let exchanged = wait.exchanged();
        let spec = find_connection(&wait.specs, &wait.suite, id, parts)
            .ok_or_else(|| Refusal::auth(AuthFault::Identity { got: id.clone() }));
        let Some(auth) = parts.auth else {
            // The initiator asks for EAP (RFC 7296 2.16).
            sa.spec = Arc::clone(spec?);
            return self.offer_eap(now, sa, id, parts, payloads, wait);
        };
        let meant = spec.as_ref().ok().map(|spec| Arc::clone(spec));
        let verdict = spec.and_then(|spec| {
            let verified = exchanged.by_initiator(id).verify(spec, auth, &parts.certs, self.wall(now));
            verified.map_err(Refusal::auth).map(|certificate| (spec, certificate))
        });
        let mut accept = verdict.is_ok();
        self.decide(now, sa, Decision::AcceptAuth(&mut accept));
        let certificate = match (verdict, accept) {
            (Ok((spec, certificate)), true) => {
                sa.spec = Arc::clone(spec);
                certificate
            }
            (Ok(_), false) => return Err(Refusal::auth(AuthFault::Mismatch { id: id.clone() })),
            (Err(refusal), false) => {
                if let Failure::AuthFailed(fault) = &refusal.why {
                    let others = wait.specs.iter().filter(|s| meant.as_ref().is_none_or(|m| !Arc::ptr_eq(m, s)));
                    let specs: Vec<_> = meant.iter().chain(others).cloned().collect();
                    self.tell_refused(sa, fault, &exchanged.by_initiator(id), &specs, auth);
                }
                return Err(refusal);
            }
            (Err(_), true) => None,
        };
        let takes = wait.takes.with(&parts.takes);
        let ours = self.our_id(now, sa);
        Ok(Step::Up(id.clone(), certificate, self.our_proof(now, sa, &ours, &exchanged, &takes)?))
    }

    /// Our identity and its proof.
    #[allow(clippy::result_large_err)] // once for each refused peer
    pub(super) fn our_proof(
        &mut self,
        now: Instant,
        sa: &IkeSa,
        id: &IdPayload,
        exchanged: &Exchanged<'_>,
        takes: &Takes,
    ) -> Result<Vec<Payload>, Refusal> {
        let proof = exchanged.by_responder(id).prove(&sa.spec.local_auth, takes);
        let Proof { mut auth, certs } = proof.map_err(Refusal::local)?;
        auth.data = self.secret(now, sa, SecretKind::Auth, auth.data);
        let mut answer = Vec::with_capacity(6);
        answer.push(Payload::IdR(id.clone()));
        answer.extend(certs);
        answer.push(Payload::Auth(auth));
        Ok(answer)
    }

    /// The initiator did not like our proof, and says so before EAP is over.
    fn refused_between_rounds(&mut self, now: Instant, sa: &mut IkeSa, path: Path, message: Message, len: usize) {
        let header = message.header;
        let inner = message.sk.as_deref().unwrap_or_default();
        let fatal = inner.iter().filter_map(Payload::as_notify).find(|n| FATAL.contains(&n.kind)).cloned();
        let Some(notify) = fatal else {
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::UnexpectedExchange, "");
        };
        sa.last_heard = now;
        if self.cfg.trace {
            self.trace_received(sa, path, message, len);
        }
        self.respond(now, sa, path, &header, Vec::new());
        // strongSwan leaves so once our method has refused it: then that is the reason.
        let ours = match &sa.phase {
            Phase::InitAnswered(wait) => wait.eap.as_ref().and_then(|judge| judge.fault()),
            _ => None,
        };
        let (by, why) = match ours {
            Some(fault) => (Side::Us, Failure::AuthFailed(fault)),
            None => (Side::Peer, Failure::Rejected { notify: notify.kind, data: notify.data, protected: true }),
        };
        self.fail(now, sa, ExchangeType::IKE_AUTH, by, why, true);
    }

    /// Answers the Child SA that IKE_AUTH negotiates with the IKE SA.
    fn answer_first_child(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        parts: &Parts<'_>,
        (ni, nr): (&[u8], &[u8]),
        answer: &mut Vec<Payload>,
    ) {
        if parts.sa.is_none() {
            return; // RFC 6023: nothing but the IKE SA was asked for
        }
        let spi_in = self.fresh_esp_spi(now, sa);
        let cx = ChildCx { ni, nr, g_ir: None, spi_in, initiator: false };
        let mut refuse = None;
        self.decide(now, sa, Decision::RefuseChild(&mut refuse));
        let refuse_all = || {
            let why = "IKE_AUTH asks for a Child SA, and we accept IKE SAs without one only (RFC 6023)";
            Err((NotifyPayload::new(NotifyType::NO_ADDITIONAL_SAS), Failure::Local(LocalFault::Other(why.into()))))
        };
        let result = match refuse {
            None if sa.spec.behaviour.childless == Childless::Force => refuse_all(),
            Some(kind) => {
                let why = Failure::Local(LocalFault::Other(format!("refused with {kind} on purpose")));
                Err((NotifyPayload::new(kind), why))
            }
            None if self.child_limit_met(true) => {
                let why = Failure::Local(LocalFault::Other("no more Child SAs (limits.max_child_sas)".into()));
                Err((NotifyPayload::new(NotifyType::NO_ADDITIONAL_SAS), why))
            }
            None => self.grant(sa, parts.cp).and_then(|granted| {
                answer.extend(granted);
                self.select_child(sa, &parts.child(), None, Groups::None)
            }),
        };
        match result {
            Ok(selected) => {
                answer.extend(selected.payloads(spi_in));
                let agreed = self.agree(sa, selected, &cx);
                self.child_up(now, sa, agreed);
            }
            Err((notify, why)) => {
                // The IKE SA is made all the same (RFC 7296 1.2).
                self.release_esp_spi(sa);
                answer.push(Payload::Notify(notify));
                self.child_failed(sa, ExchangeType::IKE_AUTH, Side::Us, why);
                if sa.spec.behaviour.child_failure == ChildFailure::DeleteIkeSa {
                    sa.enqueue(Request::Delete);
                }
            }
        }
    }
}

/// What an accepted request leads to.
pub(super) enum Step {
    /// The initiator has proved this identity, perhaps with a certificate; the answer begins with our own.
    Up(IdPayload, Option<Box<Judged>>, Vec<Payload>),
    /// Another round, answered with these payloads.
    Again(Vec<Payload>),
}

/// Why IKE_AUTH is refused, and with which payload: a notify, or an EAP Failure.
pub(super) struct Refusal {
    pub answer: Payload,
    pub why: Failure,
}

impl Refusal {
    fn new(kind: NotifyType, why: Failure) -> Self {
        Refusal { answer: Payload::Notify(NotifyPayload::new(kind)), why }
    }

    fn syntax(why: Failure) -> Self {
        Refusal::new(NotifyType::INVALID_SYNTAX, why)
    }

    pub(super) fn missing(kind: PayloadType) -> Self {
        Refusal::syntax(Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind)))
    }

    pub(super) fn critical(kind: PayloadType) -> Self {
        let notify = NotifyPayload::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]);
        let why = Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind));
        Refusal { answer: Payload::Notify(notify), why }
    }

    pub(super) fn auth(fault: AuthFault) -> Self {
        Refusal::new(NotifyType::AUTHENTICATION_FAILED, Failure::AuthFailed(fault))
    }

    /// We cannot prove who we are.
    fn local(fault: LocalFault) -> Self {
        Refusal::new(NotifyType::AUTHENTICATION_FAILED, Failure::Local(fault))
    }
}

/// The connection for a peer: its identity must be acceptable and the agreed suite must be one of the connection's. An
/// IDr that names us is preferred; another one is answered with our own identity (RFC 7296 2.6: "might use some other").
fn find_connection<'a>(
    specs: &'a [Arc<ConnectionSpec>],
    suite: &IkeSuite,
    id: &IdPayload,
    parts: &Parts<'_>,
) -> Option<&'a Arc<ConnectionSpec>> {
    let chosen = suite.to_proposal(1, Vec::new());
    let fits = |spec: &&Arc<ConnectionSpec>| {
        let agreed = spec.ike_proposals.iter().any(|p| chosen.transforms.iter().all(|t| p.transforms.contains(t)));
        agreed && spec.remote_id.accepts(id)
    };
    let asked_for = parts.id_r;
    let named = |spec: &&Arc<ConnectionSpec>| asked_for.is_some_and(|asked| *asked == spec.local_id);
    // An exact identity is a better match than "any".
    let exact = |spec: &&Arc<ConnectionSpec>| matches!(spec.remote_id, IdMatch::Exact(_));
    // Of two that differ in nothing else, the one for which the peer has the right kind of proof; EAP begins without AUTH.
    let method = parts.auth.map(|auth| auth.method);
    let provable = |spec: &&Arc<ConnectionSpec>| match spec.remote_auth {
        AuthSpec::Psk(_) => method == Some(AuthMethod::SHARED_KEY_MIC),
        AuthSpec::Trust(_) => method.is_some_and(is_signature),
        AuthSpec::EapAuthenticator(_) => method.is_none(),
        AuthSpec::Certificate(_) | AuthSpec::EapPeer(_) | AuthSpec::EapOnly => false,
    };
    let right_kind = specs.iter().any(|spec| fits(&spec) && provable(&spec));
    let candidates = || specs.iter().filter(fits).filter(|spec| !right_kind || provable(spec));
    candidates()
        .find(|s| named(s) && exact(s))
        .or_else(|| candidates().find(exact))
        .or_else(|| candidates().find(named))
        .or_else(|| candidates().next())
}
