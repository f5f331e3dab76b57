//! IKE_AUTH (RFC 7296 1.2, 2.15, 2.16) with pre-shared keys, both roles, and its first Child SA.
//!
//! ```text
//!  initiator                                            responder
//!  HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr}    -->
//!                                                <--    HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
//!                                                <--    HDR, SK {IDr, AUTH, N(error)}   the IKE SA is up, the Child is not
//!                                                <--    HDR, SK {N(AUTHENTICATION_FAILED)}
//!  HDR, SK {N(AUTHENTICATION_FAILED)}            -->    the initiator's own refusal is an INFORMATIONAL (2.21.2)
//! ```

use std::num::NonZeroU64;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::child::{AgreedChild, ChildCx, Groups};
use super::codec::{Sealing, unprotect};
use super::endpoint::Core;
use super::event::{Event, IgnoredWhy, IkeUp, NatFinding};
use super::failure::{AuthFault, FailScope, Failed, Failure, LocalFault, PeerMisbehaved};
use super::fragment::Reassembly;
use super::info::Request;
use super::init::{AwaitInitResponse, floated};
use super::sa::{Established, IkeSa, Phase};
use super::spec::{AuthSpec, ChildFailure, ConnectionSpec, IdMatch, SaId, Side};
use super::tamper::{Decision, Deliver, RecvCx, SecretKind, Trigger};
use crate::crypto::{IkeKeys, IkeSuite, PrfOutput, psk_auth};
use crate::net::{Path, SocketRole};
use crate::time::Instant;
use crate::wire::registry::{AuthMethod, ExchangeType, NotifyType, PayloadType};
use crate::wire::{
    AuthPayload, Decoded, IdPayload, IkeSpi, Message, NotifyPayload, Payload, SaPayload, TsPayload, WireError,
};

/// Answers to one IKE_SA_INIT that are followed at once; more are not believed.
pub(super) const MAX_CANDIDATES: usize = 4;

/// Initiator: IKE_AUTH is out, once for each answer to IKE_SA_INIT that could be the genuine one. The first valid
/// protected response decides.
pub(super) struct AwaitAuthResponse {
    pub init: Box<AwaitInitResponse>,
    #[allow(clippy::vec_box)] // large, nearly always one, and handed on whole
    pub candidates: Vec<Box<Candidate>>,
    /// What to say instead of "no answer" when we give up: the last candidate that was not believed.
    pub complaint: Option<Failure>,
    spi_in: u32,
}

/// What one answer to IKE_SA_INIT led to.
pub(super) struct Candidate {
    pub spi_r: IkeSpi,
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    pub nr: Vec<u8>,
    /// The answer as received: the responder's AUTH covers it.
    pub response: Vec<u8>,
    pub nat: NatFinding,
    pub vendor_ids: Vec<Vec<u8>>,
    pub peer_fragments: bool,
    pub path: Path,
    /// Our IKE_AUTH for it.
    pub datagrams: Vec<Vec<u8>>,
    /// Fragments of its answer: never joined with those that another candidate's keys opened.
    pub reassembly: Option<Box<Reassembly>>,
    /// Both ends support RFC 7383.
    pub fragments: bool,
}

/// Responder: IKE_SA_INIT is answered.
pub(super) struct AwaitAuthRequest {
    /// Connections that fit the addresses; the identity decides.
    pub specs: Vec<Arc<ConnectionSpec>>,
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    pub ni: Vec<u8>,
    pub nr: Vec<u8>,
    /// The initiator's IKE_SA_INIT as received: its AUTH covers it.
    pub request: Vec<u8>,
    /// Ours as sent.
    pub response: Vec<u8>,
    pub nat: NatFinding,
}

/// The payloads of IKE_AUTH, wherever they stand.
#[derive(Default)]
struct Parts<'a> {
    id_i: Option<&'a IdPayload>,
    id_r: Option<&'a IdPayload>,
    auth: Option<&'a AuthPayload>,
    sa: Option<&'a SaPayload>,
    ts_i: Option<&'a TsPayload>,
    ts_r: Option<&'a TsPayload>,
    error: Option<&'a NotifyPayload>,
    initial_contact: bool,
    transport: bool,
    critical: Option<PayloadType>,
}

impl<'a> Parts<'a> {
    fn of(payloads: &'a [Payload]) -> Self {
        let mut parts = Parts::default();
        for payload in payloads {
            match payload {
                Payload::IdI(id) => parts.id_i = parts.id_i.or(Some(id)),
                Payload::IdR(id) => parts.id_r = parts.id_r.or(Some(id)),
                Payload::Auth(auth) => parts.auth = parts.auth.or(Some(auth)),
                Payload::Sa(sa) => parts.sa = parts.sa.or(Some(sa)),
                Payload::TsI(ts) => parts.ts_i = parts.ts_i.or(Some(ts)),
                Payload::TsR(ts) => parts.ts_r = parts.ts_r.or(Some(ts)),
                Payload::Notify(n) if n.kind == NotifyType::INITIAL_CONTACT => parts.initial_contact = true,
                Payload::Notify(n) if n.kind == NotifyType::USE_TRANSPORT_MODE => parts.transport = true,
                Payload::Notify(n) if n.kind.is_error() => parts.error = parts.error.or(Some(n)),
                Payload::Raw(raw) if raw.critical => parts.critical = parts.critical.or(Some(raw.kind)),
                _ => {}
            }
        }
        parts
    }

    fn child(&self) -> super::child::Payloads<'a> {
        super::child::Payloads { sa: self.sa, ts_i: self.ts_i, ts_r: self.ts_r, transport: self.transport }
    }
}

/// What an AUTH payload covers (RFC 7296 2.15).
struct Signed<'a> {
    /// The signer's IKE_SA_INIT message.
    message: &'a [u8],
    /// The other side's nonce.
    nonce: &'a [u8],
    /// SK_pi or SK_pr, the signer's.
    sk_p: &'a [u8],
    id: &'a IdPayload,
}

impl Signed<'_> {
    fn psk(&self, suite: &IkeSuite, spec: &AuthSpec) -> PrfOutput {
        let AuthSpec::Psk(psk) = spec;
        psk_auth(suite.prf, psk.as_ref().as_ref(), self.message, self.nonce, self.sk_p, &self.id.body())
    }

    fn verify(&self, suite: &IkeSuite, spec: &AuthSpec, auth: &AuthPayload) -> Result<(), AuthFault> {
        if auth.method != AuthMethod::SHARED_KEY_MIC {
            return Err(AuthFault::Method { got: auth.method });
        }
        let expected = self.psk(suite, spec);
        if expected.as_ref().ct_eq(&auth.data).into() {
            Ok(())
        } else {
            Err(AuthFault::Mismatch { id: self.id.clone() })
        }
    }
}

// The initiator's side.

impl Core {
    /// Sends IKE_AUTH for one answer to IKE_SA_INIT.
    pub(super) fn send_auth(&mut self, now: Instant, sa: &mut IkeSa, mut candidate: Box<Candidate>) {
        let mut wait = match std::mem::replace(&mut sa.phase, Phase::Moving) {
            Phase::InitSent(init) => {
                sa.window.answered();
                sa.alarms.half_open = Instant::MAX;
                let spi_in = self.fresh_esp_spi(now, sa);
                Box::new(AwaitAuthResponse { init, candidates: Vec::with_capacity(1), complaint: None, spi_in })
            }
            Phase::AuthSent(wait) => wait,
            other => {
                sa.phase = other;
                return;
            }
        };
        sa.spis.1 = candidate.spi_r;
        candidate.fragments = sa.spec.fragmentation && candidate.peer_fragments;
        sa.fragments = candidate.fragments;
        let mut float = candidate.nat.us || candidate.nat.peer;
        self.decide(now, sa, Decision::Float(&mut float));
        if float && sa.path.role == SocketRole::Ike {
            candidate.path = floated(&sa.spec, sa.path);
        }
        let vendor_ids = std::mem::take(&mut candidate.vendor_ids);
        self.init_done(sa, candidate.suite, &candidate.keys, candidate.nat, vendor_ids, candidate.peer_fragments);

        let mut header = sa.request_header(ExchangeType::IKE_AUTH);
        if let Some(outstanding) = sa.window.outstanding() {
            header.message_id = outstanding.id;
        }
        let signed = Signed {
            message: &wait.init.request,
            nonce: &candidate.nr,
            sk_p: candidate.keys.pi(),
            id: &sa.spec.local_id,
        };
        let octets = signed.psk(&candidate.suite, &sa.spec.local_auth);
        let data = self.secret(now, sa, SecretKind::Auth, octets.as_ref().to_vec());
        let mut inner = Vec::with_capacity(8);
        inner.push(Payload::IdI(sa.spec.local_id.clone()));
        if let (true, IdMatch::Exact(id)) = (sa.spec.send_idr, &sa.spec.remote_id) {
            inner.push(Payload::IdR(id.clone()));
        }
        inner.push(Payload::Auth(AuthPayload { method: AuthMethod::SHARED_KEY_MIC, data }));
        if sa.spec.behaviour.initial_contact {
            inner.push(Payload::Notify(NotifyPayload::new(NotifyType::INITIAL_CONTACT)));
        }
        if let Some(child) = sa.spec.children.first() {
            super::child::offer(child, &child.proposals, wait.spi_in, &mut inner);
        }
        let mut message = Message { header, outer: Vec::new(), sk: Some(inner) };
        let cx = sa.msg_cx(now, &header, 0);
        let iv = sa.next_iv();
        let sealing = Sealing {
            keys: &candidate.keys,
            suite: candidate.suite.sk(),
            initiator: true,
            scope: sa.scope,
            iv,
            fragments: candidate.fragments,
        };
        let datagrams = self.encode(&cx, sa.tampered, &mut message, Some(&sealing));
        self.trace_sent(sa, candidate.path, message, datagrams.iter().map(Vec::len).sum());
        self.transmit(&cx, sa.tampered, candidate.path, datagrams.iter().map(Vec::as_slice));
        candidate.datagrams = datagrams;
        if sa.window.idle() {
            sa.window.sent(header.message_id, header.exchange, Vec::new(), now);
            self.arm(now, sa, 0);
        }
        wait.candidates.push(candidate);
        sa.phase = Phase::AuthSent(wait);
        self.inject(now, sa, &Trigger::Sent(cx));
    }

    /// A protected answer to IKE_AUTH, perhaps.
    pub(super) fn auth_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        decoded: Decoded,
        bytes: &mut [u8],
    ) {
        let Phase::AuthSent(wait) = &mut sa.phase else { return };
        // Screen: nothing is consumed until some candidate's keys open it.
        let mut opened = None;
        let mut why = IgnoredWhy::BadIcv;
        let matches = |c: &Candidate| c.spi_r == decoded.header.spi_r;
        // An attempt that fails spoils the octets: where several may succeed, each gets a copy.
        let several = wait.candidates.iter().filter(|c| matches(c)).count() > 1;
        let mut copy = if several { bytes.to_vec() } else { Vec::new() };
        for (at, candidate) in wait.candidates.iter_mut().enumerate().filter(|(_, c)| matches(c)) {
            let bytes = if copy.is_empty() {
                &mut *bytes
            } else {
                copy.copy_from_slice(bytes);
                &mut copy[..]
            };
            let keys = (&candidate.keys, candidate.suite.sk());
            match unprotect(keys, false, &decoded, bytes, &mut candidate.reassembly) {
                Ok(Some(inner)) => {
                    opened = Some((at, inner));
                    break;
                }
                Ok(None) => return,
                Err(reason) => why = reason,
            }
        }
        let Some((at, (inner, error))) = opened else {
            return self.ignore(Some(sa.who()), path, Some(decoded.header), why, "");
        };
        let mut message = Message { header: decoded.header, outer: decoded.payloads, sk: Some(inner) };
        if !self.screen_parsed(now, sa, path, &mut message) {
            return;
        }
        let Phase::AuthSent(mut wait) = std::mem::replace(&mut sa.phase, Phase::Moving) else { return };
        let inner = message.sk.as_deref().unwrap_or_default();
        let doubt = match wait.candidates.len() {
            1 => None,
            _ => unconvincing(&sa.spec, &wait.init.ni, &wait.candidates[at], inner),
        };
        if let Some(why) = doubt {
            // Whoever answered IKE_SA_INIT has these keys, and there are several answers: this one has not proved to be
            // the peer's, and the next one may.
            wait.candidates.swap_remove(at);
            wait.complaint = Some(why);
            sa.phase = Phase::AuthSent(wait);
            let detail = "one of several answers to IKE_SA_INIT, and not the peer's";
            return self.ignore(Some(sa.who()), path, Some(message.header), IgnoredWhy::Unacceptable, detail);
        }
        let several = wait.candidates.len() > 1;
        let candidate = wait.candidates.swap_remove(at);
        sa.window.answered();
        sa.fragments = candidate.fragments;
        sa.spis.1 = candidate.spi_r;
        sa.path = candidate.path;
        if several {
            self.export_keys(sa, candidate.suite, &candidate.keys);
        }
        sa.last_heard = now;
        let header = message.header;
        if self.cfg.trace {
            self.trace_received(sa, path, message.clone(), bytes.len());
        }
        sa.phase = Phase::Established(Established::new(candidate.suite, candidate.keys, candidate.nat));
        let inner = message.sk.as_deref().unwrap_or_default();
        let evidence = Evidence { wait: &wait, nr: &candidate.nr, response: &candidate.response };
        self.judge_auth_response(now, sa, inner, error, &evidence);
        let cx = sa.msg_cx(now, &header, 0);
        self.inject(now, sa, &Trigger::Accepted(cx));
        self.pump(now, sa);
    }

    fn judge_auth_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        inner: &[Payload],
        error: Option<WireError>,
        evidence: &Evidence<'_>,
    ) {
        let exchange = ExchangeType::IKE_AUTH;
        let parts = Parts::of(inner);
        if let Some(error) = error {
            return self.reject_peer(now, sa, Failure::Malformed(error), NotifyType::INVALID_SYNTAX);
        }
        if let Some(kind) = parts.critical {
            let why = Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind));
            return self.reject_peer(now, sa, why, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);
        }
        if let (Some(notify), None) = (parts.error, parts.auth) {
            let why = Failure::Rejected { notify: notify.kind, data: notify.data.clone(), protected: true };
            return self.fail(now, sa, exchange, Side::Peer, why, false);
        }
        let (Some(id), Some(auth)) = (parts.id_r, parts.auth) else {
            let kind = if parts.id_r.is_none() { PayloadType::IDR } else { PayloadType::AUTH };
            let why = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
            return self.reject_peer(now, sa, why, NotifyType::INVALID_SYNTAX);
        };
        let Phase::Established(up) = &sa.phase else { return };
        let signed = Signed { message: evidence.response, nonce: &evidence.wait.init.ni, sk_p: up.keys.pr(), id };
        let mut fault = if sa.spec.remote_id.accepts(id) {
            signed.verify(&up.suite, &sa.spec.remote_auth, auth).err()
        } else {
            Some(AuthFault::Identity { got: id.clone() })
        };
        let mut accept = fault.is_none();
        self.decide(now, sa, Decision::AcceptAuth(&mut accept));
        if accept {
            fault = None;
        } else if fault.is_none() {
            fault = Some(AuthFault::Mismatch { id: id.clone() });
        }
        if let Some(fault) = fault {
            return self.reject_peer(now, sa, Failure::AuthFailed(fault), NotifyType::AUTHENTICATION_FAILED);
        }
        self.ike_up(now, sa, id.clone(), false);
        let spec = Arc::clone(&sa.spec);
        let Some(child) = spec.children.first() else { return };
        let (ni, nr, spi_in) = (&evidence.wait.init.ni, evidence.nr, evidence.wait.spi_in);
        let cx = ChildCx { ni, nr, g_ir: None, spi_in, initiator: true };
        let (failed, ours_to_delete) = match (parts.error, parts.sa) {
            (Some(notify), _) => {
                let why = Failure::Rejected { notify: notify.kind, data: notify.data.clone(), protected: true };
                (Some((Side::Peer, why)), false)
            }
            _ => match self.accept_child(sa, 0, &child.proposals, &parts.child()) {
                Ok(selected) => {
                    let agreed = self.agree(sa, selected, &cx);
                    self.child_up(now, sa, agreed);
                    (None, false)
                }
                // The responder believes in it: take it back.
                Err(why) => (Some((Side::Us, why)), parts.sa.is_some()),
            },
        };
        if let Some((found_by, why)) = failed {
            self.release_esp_spi(sa);
            self.child_failed(sa, exchange, found_by, why);
            if ours_to_delete {
                sa.enqueue(Request::TakeBack(cx.spi_in));
            }
            if sa.spec.behaviour.child_failure == ChildFailure::DeleteIkeSa {
                sa.enqueue(Request::Delete);
            }
        }
    }

    /// We refuse the responder after its IKE_AUTH: it believes the IKE SA is up, so tell it in an INFORMATIONAL of our own
    /// (RFC 7296 2.21.2), then close.
    fn reject_peer(&mut self, now: Instant, sa: &mut IkeSa, why: Failure, notify: NotifyType) {
        self.counters.failed += 1;
        let exchange = ExchangeType::IKE_AUTH;
        let failed = Failed { scope: FailScope::IkeSa, exchange, found_by: Side::Us, why };
        self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
        if let Phase::Established(up) = &mut sa.phase {
            up.closing = true;
        }
        sa.enqueue(Request::Refuse(NotifyPayload::new(notify)));
        self.pump(now, sa);
    }
}

/// Why an answer to IKE_AUTH does not prove to come from the peer that we want; `None` if its identity and AUTH are good.
fn unconvincing(spec: &ConnectionSpec, ni: &[u8], candidate: &Candidate, inner: &[Payload]) -> Option<Failure> {
    let parts = Parts::of(inner);
    let (Some(id), Some(auth)) = (parts.id_r, parts.auth) else {
        return Some(match parts.error {
            Some(n) => Failure::Rejected { notify: n.kind, data: n.data.clone(), protected: true },
            None => Failure::Misbehaved(PeerMisbehaved::MissingPayload(PayloadType::AUTH)),
        });
    };
    if !spec.remote_id.accepts(id) {
        return Some(Failure::AuthFailed(AuthFault::Identity { got: id.clone() }));
    }
    let signed = Signed { message: &candidate.response, nonce: ni, sk_p: candidate.keys.pr(), id };
    signed.verify(&candidate.suite, &spec.remote_auth, auth).err().map(Failure::AuthFailed)
}

/// What the initiator needs to judge the responder's AUTH.
struct Evidence<'a> {
    wait: &'a AwaitAuthResponse,
    nr: &'a [u8],
    response: &'a [u8],
}

// The responder's side.

impl Core {
    /// A protected IKE_AUTH request, perhaps.
    pub(super) fn auth_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        decoded: Decoded,
        bytes: &mut [u8],
    ) {
        let header = decoded.header;
        if header.exchange != ExchangeType::IKE_AUTH {
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::UnexpectedExchange, "");
        }
        let Phase::InitAnswered(wait) = &sa.phase else { return };
        let keys = (&wait.keys, wait.suite.sk());
        let (inner, error) = match unprotect(keys, true, &decoded, bytes, &mut sa.reassembly) {
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
        self.leave_half_open(sa);
        let Phase::InitAnswered(wait) = std::mem::replace(&mut sa.phase, Phase::Moving) else { return };
        let AwaitAuthRequest { specs, suite, keys, ni, nr, request, response, nat } = *wait;
        sa.alarms.half_open = Instant::MAX;
        sa.last_heard = now;
        // After IKE_SA_INIT everything goes where the peer now is (RFC 7296 2.23).
        sa.path = path;
        if self.cfg.trace {
            self.trace_received(sa, path, message.clone(), bytes.len());
        }
        sa.phase = Phase::Established(Established::new(suite, keys, nat));
        let inner = message.sk.as_deref().unwrap_or_default();
        let exchanged = Exchanged { specs, ni, nr, request, response };
        let mut refuse = None;
        self.decide(now, sa, Decision::RefuseAuth(&mut refuse));
        let verdict = match (refuse, error) {
            (Some(kind), _) => Err(Refusal {
                notify: NotifyPayload::new(kind),
                why: Failure::Local(LocalFault::Other(format!("refused with {kind} on purpose"))),
            }),
            (None, Some(error)) => Err(Refusal::syntax(Failure::Malformed(error))),
            (None, None) => self.judge_auth_request(now, sa, inner, &exchanged),
        };
        match verdict {
            Ok(inner) => {
                self.respond(now, sa, path, &header, inner);
                let cx = sa.msg_cx(now, &header, 0);
                self.inject(now, sa, &Trigger::Accepted(cx));
                self.pump(now, sa);
            }
            Err(refusal) => {
                self.respond(now, sa, path, &header, vec![Payload::Notify(refusal.notify)]);
                self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Us, refusal.why, true);
            }
        }
    }

    /// Judges identity and AUTH, then the Child; returns the response's payloads.
    #[allow(clippy::result_large_err)] // once for each refused peer
    fn judge_auth_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        inner: &[Payload],
        exchanged: &Exchanged,
    ) -> Result<Vec<Payload>, Refusal> {
        let parts = Parts::of(inner);
        if let Some(kind) = parts.critical {
            let notify = NotifyPayload::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]);
            return Err(Refusal { notify, why: Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind)) });
        }
        let missing = |kind| Refusal::syntax(Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind)));
        let id = parts.id_i.ok_or_else(|| missing(PayloadType::IDI))?;
        let Some(auth) = parts.auth else {
            // The initiator asks for EAP (RFC 7296 2.16), which no connection here offers.
            return Err(Refusal::auth(AuthFault::Method { got: AuthMethod(0) }));
        };
        // A message without its Child is malformed as a whole, before anything in it is verified (RFC 7296 2.21.2).
        for (there, kind) in [
            (parts.sa.is_some(), PayloadType::SA),
            (parts.ts_i.is_some(), PayloadType::TSI),
            (parts.ts_r.is_some(), PayloadType::TSR),
        ] {
            if !there {
                return Err(missing(kind));
            }
        }
        let Phase::Established(up) = &sa.phase else { return Err(missing(PayloadType::AUTH)) };
        let suite = up.suite;
        let spec = find_connection(&exchanged.specs, &suite, id, parts.id_r)
            .ok_or_else(|| Refusal::auth(AuthFault::Identity { got: id.clone() }));
        let verdict = spec.and_then(|spec| {
            let signed = Signed { message: &exchanged.request, nonce: &exchanged.nr, sk_p: up.keys.pi(), id };
            signed.verify(&suite, &spec.remote_auth, auth).map_err(Refusal::auth).map(|()| spec)
        });
        let mut accept = verdict.is_ok();
        self.decide(now, sa, Decision::AcceptAuth(&mut accept));
        sa.spec = match (verdict, accept) {
            (Ok(spec), true) => Arc::clone(spec),
            (Ok(_), false) => return Err(Refusal::auth(AuthFault::Mismatch { id: id.clone() })),
            (Err(refusal), false) => return Err(refusal),
            (Err(_), true) => Arc::clone(&sa.spec),
        };
        let Phase::Established(up) = &sa.phase else { return Err(missing(PayloadType::AUTH)) };
        let our_id = &sa.spec.local_id;
        let signed = Signed { message: &exchanged.response, nonce: &exchanged.ni, sk_p: up.keys.pr(), id: our_id };
        let octets = signed.psk(&suite, &sa.spec.local_auth);
        let data = self.secret(now, sa, SecretKind::Auth, octets.as_ref().to_vec());
        let mut answer = Vec::with_capacity(6);
        answer.push(Payload::IdR(sa.spec.local_id.clone()));
        answer.push(Payload::Auth(AuthPayload { method: AuthMethod::SHARED_KEY_MIC, data }));
        self.ike_up(now, sa, id.clone(), parts.initial_contact);
        let spi_in = self.fresh_esp_spi(now, sa);
        let cx = ChildCx { ni: &exchanged.ni, nr: &exchanged.nr, g_ir: None, spi_in, initiator: false };
        let mut refuse = None;
        self.decide(now, sa, Decision::RefuseChild(&mut refuse));
        let result = match refuse {
            Some(kind) => {
                let why = Failure::Local(LocalFault::Other(format!("refused with {kind} on purpose")));
                Err((NotifyPayload::new(kind), why))
            }
            None => self.select_child(sa, &parts.child(), None, Groups::None),
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
        Ok(answer)
    }
}

/// What the responder keeps of IKE_SA_INIT while it judges IKE_AUTH.
struct Exchanged {
    specs: Vec<Arc<ConnectionSpec>>,
    ni: Vec<u8>,
    nr: Vec<u8>,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// Why IKE_AUTH is refused, and with which notify.
struct Refusal {
    notify: NotifyPayload,
    why: Failure,
}

impl Refusal {
    fn syntax(why: Failure) -> Self {
        Refusal { notify: NotifyPayload::new(NotifyType::INVALID_SYNTAX), why }
    }

    fn auth(fault: AuthFault) -> Self {
        Refusal { notify: NotifyPayload::new(NotifyType::AUTHENTICATION_FAILED), why: Failure::AuthFailed(fault) }
    }
}

/// The connection for a peer: its identity must be acceptable and the agreed suite must be one of the connection's. An
/// IDr that names us is preferred; another one is answered with our own identity (RFC 7296 2.6: "might use some other").
fn find_connection<'a>(
    specs: &'a [Arc<ConnectionSpec>],
    suite: &IkeSuite,
    id: &IdPayload,
    asked_for: Option<&IdPayload>,
) -> Option<&'a Arc<ConnectionSpec>> {
    let chosen = suite.to_proposal(1, Vec::new());
    let fits = |spec: &&Arc<ConnectionSpec>| {
        let agreed = spec.ike_proposals.iter().any(|p| chosen.transforms.iter().all(|t| p.transforms.contains(t)));
        agreed && spec.remote_id.accepts(id)
    };
    let named = |spec: &&Arc<ConnectionSpec>| asked_for.is_some_and(|asked| *asked == spec.local_id);
    // An exact identity is a better match than "any".
    let exact = |spec: &&Arc<ConnectionSpec>| matches!(spec.remote_id, IdMatch::Exact(_));
    let candidates = || specs.iter().filter(fits);
    candidates()
        .find(|s| named(s) && exact(s))
        .or_else(|| candidates().find(exact))
        .or_else(|| candidates().find(named))
        .or_else(|| candidates().next())
}

// Both sides.

impl Core {
    /// Both ends are authenticated.
    fn ike_up(&mut self, now: Instant, sa: &mut IkeSa, peer_id: IdPayload, initial_contact: bool) {
        let Phase::Established(up) = &sa.phase else { return };
        let suite = up.suite;
        self.counters.ike_up += 1;
        if sa.spec.behaviour.initial_contact {
            let key = identity_key(&sa.spec, &peer_id);
            if initial_contact {
                let older = self.by_peer.range((key, SaId::MIN)..=(key, SaId::MAX)).map(|(_, id)| *id);
                self.replaced.extend(older.filter(|id| *id != sa.id));
            }
            self.by_peer.insert((key, sa.id));
            sa.peer_key = Some(key);
        }
        let connection = sa.spec.name.clone();
        let up = IkeUp { initiator: sa.initiator, connection, spis: sa.spis, suite, peer_id, path: sa.path };
        self.events.push_back((sa.tunnel, sa.id, Event::IkeUp(Box::new(up))));
        self.start_life(now, sa);
        let cx = sa.cx(now);
        self.inject(now, sa, &Trigger::Up(cx));
    }

    /// Registers and announces a Child SA.
    fn child_up(&mut self, now: Instant, sa: &mut IkeSa, agreed: Box<AgreedChild>) {
        let spi_in = agreed.child.spi_in;
        sa.reserved_spi = None;
        self.add_child(now, sa, agreed);
        self.events.push_back((sa.tunnel, sa.id, Event::ChildOutbound { spi_in }));
    }

    pub(super) fn child_failed(&mut self, sa: &IkeSa, exchange: ExchangeType, found_by: Side, why: Failure) {
        let failed = Failed { scope: FailScope::Child, exchange, found_by, why };
        self.events.push_back((sa.tunnel, sa.id, Event::ChildFailed(Box::new(failed))));
    }

    /// The seam for accepted messages; false if the message is withheld.
    pub(super) fn screen_parsed(&mut self, now: Instant, sa: &IkeSa, path: Path, message: &mut Message) -> bool {
        let Some(tamper) = self.tamper.as_mut().filter(|_| sa.tampered) else { return true };
        let cx = RecvCx { sa: Some(sa.cx(now)), header: Some(message.header), path, now };
        if tamper.parsed(&cx, message) == Deliver::Yes {
            return true;
        }
        self.ignore(Some(sa.who()), path, Some(message.header), IgnoredWhy::Tampered, "");
        false
    }

    /// An IKE SA that a newer one of the same peer replaced (RFC 7296 2.4).
    pub(super) fn next_replaced(&mut self) -> Option<SaId> {
        self.replaced.pop()
    }

    /// Closes it without a word: the peer has said that it knows of no other.
    pub(super) fn replaced(&mut self, now: Instant, sa: &mut IkeSa) {
        if matches!(sa.phase, Phase::Closed) {
            return;
        }
        let why = Failure::Local(LocalFault::ReplacedByInitialContact);
        self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Us, why, false);
    }
}

/// The identity index' key: connection and peer identity.
fn identity_key(spec: &ConnectionSpec, id: &IdPayload) -> NonZeroU64 {
    let mut hash = Sha256::new_with_prefix(spec.name.as_bytes());
    hash.update([0, id.kind.0]);
    hash.update(&id.data);
    let digest = hash.finalize();
    let key = u64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two octets"));
    NonZeroU64::new(key).unwrap_or(NonZeroU64::MIN)
}

impl SaId {
    const MIN: SaId = SaId { slot: 0, generation: 0 };
    const MAX: SaId = SaId { slot: u32::MAX, generation: u32::MAX };
}
