//! IKE_AUTH as the initiator sees it.

use std::sync::Arc;

use super::sign::{Exchanged, Proof};
use super::{AwaitAuthResponse, Candidate, Parts, certificate_request};
use crate::auth::Judged;
use crate::engine::child::ChildCx;
use crate::engine::codec::{Sealing, unprotect};
use crate::engine::config_payload;
use crate::engine::endpoint::Core;
use crate::engine::event::{Event, IgnoredWhy};
use crate::engine::failure::{AuthFault, FailScope, Failed, Failure, PeerMisbehaved};
use crate::engine::fragment::Split;
use crate::engine::info::Request;
use crate::engine::init::floated;
use crate::engine::mobike;
use crate::engine::sa::{Established, IkeSa, Phase};
use crate::engine::spec::{AuthSpec, ChildFailure, Childless, ConnectionSpec, IdMatch, SaId, Side, Unwelcome};
use crate::engine::tamper::{Decision, MsgCx, SecretKind, Trigger};
use crate::net::{Path, SocketRole};
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType};
use crate::wire::{Decoded, IdPayload, Message, NotifyPayload, Payload};

impl Core {
    /// Sends IKE_AUTH for one answer to IKE_SA_INIT.
    pub(in crate::engine) fn send_auth(&mut self, now: Instant, sa: &mut IkeSa, mut candidate: Box<Candidate>) {
        let mut wait = match std::mem::replace(&mut sa.phase, Phase::Moving) {
            Phase::InitSent(init) => {
                sa.window.answered();
                sa.alarms.half_open = Instant::MAX;
                let spi_in = self.fresh_esp_spi(now, sa);
                sa.spec = config_payload::unresolved(&sa.spec);
                let candidates = Vec::with_capacity(1);
                let id = self.our_id(now, sa);
                Box::new(AwaitAuthResponse { init, candidates, complaint: None, spi_in, id, eap: None })
            }
            Phase::AuthSent(wait) => wait,
            other => {
                sa.phase = other;
                return;
            }
        };
        sa.spis.1 = candidate.spi_r;
        candidate.fragments = Split::agreed(&sa.spec, candidate.peer_fragments);
        sa.fragments = candidate.fragments;
        // With MOBIKE a NAT may come later (RFC 4555 3.3).
        let may_come = sa.spec.mobike.is_some() && candidate.nat.peer_detects;
        let mut float = candidate.nat.us || candidate.nat.peer || may_come;
        self.decide(now, sa, Decision::Float(&mut float));
        if float && sa.path.role == SocketRole::Ike {
            candidate.path = floated(&sa.spec, sa.path);
        }
        let vendor_ids = std::mem::take(&mut candidate.vendor_ids);
        self.init_done(sa, candidate.suite, &candidate.keys, candidate.nat, vendor_ids, candidate.peer_fragments);

        let proof = match &sa.spec.local_auth {
            // Without AUTH: the responder is to begin EAP (RFC 7296 2.16).
            AuthSpec::EapPeer(_) => Ok(None),
            ours => {
                let exchanged = candidate.exchanged(&wait.init);
                exchanged.by_initiator(&wait.id).prove(ours, &candidate.takes).map(Some)
            }
        };
        let (auth, certs) = match proof {
            Ok(Some(Proof { auth, certs })) => (Some(auth), certs),
            Ok(None) => (None, Vec::new()),
            Err(why) => {
                sa.phase = Phase::AuthSent(wait);
                return self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Us, Failure::Local(why), false);
            }
        };
        let mut inner = Vec::with_capacity(8);
        inner.push(Payload::IdI(wait.id.clone()));
        inner.extend(certs);
        inner.extend(certificate_request(std::slice::from_ref(&sa.spec)));
        if let (true, IdMatch::Exact(id)) = (sa.spec.send_idr, &sa.spec.remote_id) {
            inner.push(Payload::IdR(id.clone()));
        }
        if let Some(mut auth) = auth {
            auth.data = self.secret(now, sa, SecretKind::Auth, auth.data);
            inner.push(Payload::Auth(auth));
        }
        if matches!(sa.spec.remote_auth, AuthSpec::EapOnly) {
            inner.push(Payload::Notify(NotifyPayload::new(NotifyType::EAP_ONLY_AUTHENTICATION)));
        }
        // The peer still has the one that this is to replace.
        if sa.spec.behaviour.initial_contact && sa.replaces == SaId::NONE {
            inner.push(Payload::Notify(NotifyPayload::new(NotifyType::INITIAL_CONTACT)));
        }
        inner.extend(config_payload::request(&sa.spec.cp));
        candidate.childless &= matches!(sa.spec.behaviour.childless, Childless::Prefer | Childless::Force);
        if let Some(child) = sa.spec.children.first().filter(|_| !candidate.childless) {
            crate::engine::child::offer(child, &child.proposals, wait.spi_in, &mut inner);
        }
        mobike::announce(sa.spec.mobike.as_ref(), &mut inner);
        inner.extend(mobike::no_nats(&sa.spec, &candidate.path));
        let sent = self.send_round(now, sa, &mut candidate, inner);
        wait.candidates.push(candidate);
        sa.phase = Phase::AuthSent(wait);
        self.inject(now, sa, &Trigger::Sent(sent));
    }

    /// Sends an IKE_AUTH request under a candidate's keys. While one to another candidate is outstanding, it has that one's
    /// message id: they are the same request to different peers.
    fn send_round(&mut self, now: Instant, sa: &mut IkeSa, candidate: &mut Candidate, inner: Vec<Payload>) -> MsgCx {
        let mut header = sa.request_header(ExchangeType::IKE_AUTH);
        if let Some(outstanding) = sa.window.outstanding() {
            header.message_id = outstanding.id;
        }
        let mut message = Message { header, outer: Vec::new(), sk: Some(inner) };
        sa.arrange(&mut message);
        let cx = sa.msg_cx(now, &header, 0);
        let iv = sa.next_iv();
        let sealing = Sealing {
            keys: &candidate.keys,
            suite: candidate.suite.sk(),
            initiator: true,
            scope: sa.scope,
            iv,
            fragments: candidate.fragments.size(&sa.spec),
        };
        let datagrams = self.encode(&cx, sa.tampered, &mut message, Some(&sealing));
        self.trace_sent(sa, candidate.path, message, datagrams.iter().map(Vec::len).sum());
        self.transmit(&cx, sa.tampered, candidate.path, datagrams.iter().map(Vec::as_slice));
        candidate.datagrams = datagrams;
        if sa.window.idle() {
            sa.window.sent(header.message_id, header.exchange, Vec::new(), now);
            self.arm(now, sa, 0);
        }
        cx
    }

    /// A protected answer to IKE_AUTH, perhaps.
    pub(in crate::engine) fn auth_response(
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
        let budget = self.fragment_budget(false);
        for (at, candidate) in wait.candidates.iter_mut().enumerate().filter(|(_, c)| matches(c)) {
            let bytes = if copy.is_empty() {
                &mut *bytes
            } else {
                copy.copy_from_slice(bytes);
                &mut copy[..]
            };
            let keys = (&candidate.keys, candidate.suite.sk());
            match unprotect(keys, false, &decoded, bytes, &mut candidate.reassembly, &budget) {
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
            _ => unconvincing(&sa.spec, &wait.candidates[at].exchanged(&wait.init), inner, self.wall(now)),
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
        let mut candidate = wait.candidates.swap_remove(at);
        wait.candidates.clear();
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
        let inner = message.sk.as_deref().unwrap_or_default();
        let parts = Parts::of(inner);
        let mut eap = wait.eap.take();
        let by_eap = matches!(sa.spec.local_auth, AuthSpec::EapPeer(_));
        let exchanged = candidate.exchanged(&wait.init);
        let step = match error {
            Some(error) => Step::Refuse(Failure::Malformed(error), NotifyType::INVALID_SYNTAX),
            None if by_eap => self.judge_eap_response(now, sa, &parts, &exchanged, &wait.id, &mut eap),
            None => self.judge_auth_response(now, sa, &parts, &exchanged),
        };
        if let Step::Again(inner) = step {
            let cx = sa.msg_cx(now, &header, 0);
            let sent = self.send_round(now, sa, &mut candidate, inner);
            wait.candidates.push(candidate);
            wait.eap = eap;
            sa.phase = Phase::AuthSent(wait);
            self.inject(now, sa, &Trigger::Accepted(cx));
            return self.inject(now, sa, &Trigger::Sent(sent));
        }
        sa.phase = Phase::Established(Established::new(candidate.suite, candidate.keys, candidate.nat, true));
        match step {
            Step::Up(id, certificate) => {
                sa.agree_mobike(parts.mobike, inner);
                self.certified(sa, certificate);
                self.ike_up(now, sa, id, false);
                let (ni, nr) = (&wait.init.ni[..], &candidate.nr[..]);
                let cx = ChildCx { ni, nr, g_ir: None, spi_in: wait.spi_in, initiator: true };
                if candidate.childless {
                    self.release_esp_spi(sa);
                } else {
                    self.first_child(now, sa, &parts, &cx);
                }
                self.begin_tunnel(now, sa, u16::from(!candidate.childless), inner);
            }
            Step::Refused(why) => self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Peer, why, false),
            Step::Refuse(why, notify) => self.reject_peer(now, sa, why, notify),
            Step::Again(_) => unreachable!("sent above"),
        }
        let cx = sa.msg_cx(now, &header, 0);
        self.inject(now, sa, &Trigger::Accepted(cx));
        self.pump(now, sa);
    }

    /// Judges the responder's identity and AUTH.
    fn judge_auth_response(&mut self, now: Instant, sa: &IkeSa, parts: &Parts<'_>, exchanged: &Exchanged<'_>) -> Step {
        if let Some(kind) = parts.critical {
            let why = Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind));
            return Step::Refuse(why, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);
        }
        if let (Some(notify), None) = (parts.error, parts.auth) {
            return Step::Refused(rejected(notify));
        }
        let (Some(id), Some(auth)) = (parts.id_r, parts.auth) else {
            let kind = if parts.id_r.is_none() { PayloadType::IDR } else { PayloadType::AUTH };
            let why = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
            return Step::Refuse(why, NotifyType::INVALID_SYNTAX);
        };
        let verdict = if sa.spec.remote_id.accepts(id) {
            exchanged.by_responder(id).verify(&sa.spec, auth, &parts.certs, self.wall(now))
        } else {
            Err(AuthFault::Identity { got: id.clone() })
        };
        let mut accept = verdict.is_ok();
        self.decide(now, sa, Decision::AcceptAuth(&mut accept));
        let fault = match verdict {
            Ok(certificate) if accept => return Step::Up(id.clone(), certificate),
            Err(_) if accept => return Step::Up(id.clone(), None),
            Ok(_) => AuthFault::Mismatch { id: id.clone() },
            Err(fault) => {
                self.tell_refused(sa, &fault, &exchanged.by_responder(id), std::slice::from_ref(&sa.spec), auth);
                fault
            }
        };
        Step::Refuse(Failure::AuthFailed(fault), NotifyType::AUTHENTICATION_FAILED)
    }

    /// What came of the Child SA that IKE_AUTH negotiates with the IKE SA.
    fn first_child(&mut self, now: Instant, sa: &mut IkeSa, parts: &Parts<'_>, cx: &ChildCx<'_>) {
        let spec = Arc::clone(&sa.spec);
        if spec.children.is_empty() {
            return;
        }
        let granted = match parts.error {
            Some(_) => Ok(()),
            None => self.take_config(sa, parts.cp, parts.ts_i.map(|ts| &ts.selectors[..])),
        };
        let spec = Arc::clone(&sa.spec);
        let Some(child) = spec.children.first() else { return };
        let (failed, ours_to_delete) = match (parts.error, granted) {
            (Some(notify), _) => (Some((Side::Peer, rejected(notify))), false),
            (None, Err(why)) => (Some((Side::Us, why)), parts.sa.is_some()),
            (None, Ok(())) => match self.accept_child(sa, 0, &child.proposals, &parts.child()) {
                Ok(selected) => {
                    let agreed = self.agree(sa, selected, cx);
                    self.child_up(now, sa, agreed);
                    (None, false)
                }
                // The responder believes in it: take it back.
                Err(why) => (Some((Side::Us, why)), parts.sa.is_some()),
            },
        };
        if let Some((found_by, why)) = failed {
            self.release_esp_spi(sa);
            self.child_failed(sa, ExchangeType::IKE_AUTH, found_by, why);
            // IOS-XE takes the Child SA back that the responder has refused, too, before it deletes the IKE SA.
            let delete_all = sa.spec.behaviour.child_failure == ChildFailure::DeleteIkeSa;
            if ours_to_delete || delete_all {
                sa.enqueue(Request::TakeBack(cx.spi_in));
            }
            if delete_all {
                sa.enqueue(Request::Delete);
            }
        }
    }

    /// We refuse the responder after its IKE_AUTH: it believes the IKE SA is up, so tell it in an INFORMATIONAL of our own
    /// (RFC 7296 2.21.2), then close.
    fn reject_peer(&mut self, now: Instant, sa: &mut IkeSa, why: Failure, notify: NotifyType) {
        self.counters.failed += 1;
        let unheard = sa.spec.behaviour.unwelcome == Unwelcome::Left
            && matches!(why, Failure::AuthFailed(AuthFault::Identity { .. }));
        let exchange = ExchangeType::IKE_AUTH;
        let failed = Failed { scope: FailScope::IkeSa, exchange, found_by: Side::Us, why };
        self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
        if let Phase::Established(up) = &mut sa.phase {
            up.closing = true;
        }
        if unheard {
            return self.close(now, sa, false);
        }
        sa.enqueue(Request::Refuse(NotifyPayload::new(notify)));
        self.pump(now, sa);
    }
}

/// What an accepted answer leads to.
pub(super) enum Step {
    /// The responder has proved its identity, perhaps with a certificate.
    Up(IdPayload, Option<Box<Judged>>),
    /// Another round, with these payloads.
    Again(Vec<Payload>),
    /// It refused us.
    Refused(Failure),
    /// We refuse it, with this notify.
    Refuse(Failure, NotifyType),
}

/// Why an answer to IKE_AUTH does not prove to come from the peer that we want; `None` if its identity and AUTH are good.
fn unconvincing(spec: &ConnectionSpec, exchanged: &Exchanged<'_>, inner: &[Payload], wall: i64) -> Option<Failure> {
    let parts = Parts::of(inner);
    if let (AuthSpec::EapOnly, Some(id), Some(_)) = (&spec.remote_auth, parts.id_r, parts.eap) {
        // Nothing can tell them apart before EAP is over.
        return (!spec.remote_id.accepts(id)).then(|| Failure::AuthFailed(AuthFault::Identity { got: id.clone() }));
    }
    let (Some(id), Some(auth)) = (parts.id_r, parts.auth) else {
        return Some(match parts.error {
            Some(notify) => rejected(notify),
            None => Failure::Misbehaved(PeerMisbehaved::MissingPayload(PayloadType::AUTH)),
        });
    };
    if !spec.remote_id.accepts(id) {
        return Some(Failure::AuthFailed(AuthFault::Identity { got: id.clone() }));
    }
    exchanged.by_responder(id).verify(spec, auth, &parts.certs, wall).err().map(Failure::AuthFailed)
}

pub(super) fn rejected(notify: &NotifyPayload) -> Failure {
    Failure::Rejected { notify: notify.kind, data: notify.data.clone(), protected: true }
}
