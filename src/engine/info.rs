//! INFORMATIONAL (RFC 7296 1.4): delete, liveness, notify; and how an IKE SA ends.

use super::codec::{Sealing, unprotect};
use super::endpoint::Core;
use super::event::{Event, IgnoredWhy};
use super::failure::{FailScope, Failed, Failure, Heard, PeerMisbehaved};
use super::fragment::Reassembly;
use super::rekey::Try;
use super::sa::{IkeSa, Phase, Standing};
use super::spec::{SaId, Side};
use super::tamper::{Decision, Trigger};
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use crate::wire::{Decoded, DeletePayload, Header, Message, NotifyPayload, Payload};

/// Notifies that end an IKE SA without a DELETE when they come in a request after IKE_AUTH (RFC 7296 2.21.2).
pub(super) const FATAL: [NotifyType; 3] =
    [NotifyType::AUTHENTICATION_FAILED, NotifyType::INVALID_SYNTAX, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD];

/// A request of ours inside an established IKE SA.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// Delete the IKE SA.
    Delete,
    /// Ask whether the peer lives.
    Liveness,
    /// Tell the peer something.
    Notify(NotifyPayload),
    /// Tell the peer that we refuse it, then close (RFC 7296 2.21.2).
    Refuse(NotifyPayload),
    /// Delete the Child SA with this inbound SPI of ours.
    DeleteChild(u32),
    /// Delete a Child SA that the peer believes in and we never had.
    TakeBack(u32),
    /// Negotiate the connection's child with this number (RFC 7296 1.3.1).
    NewChild(u16, Try),
    /// Rekey the Child SA with this inbound SPI of ours (RFC 7296 1.3.3).
    RekeyChild(u32, Try),
    /// Rekey the IKE SA (RFC 7296 1.3.2).
    RekeyIke(Try),
    /// Tell the peer that we are somewhere else (RFC 4555 3.5).
    Move,
    /// Is the peer where it claims to be? It is to send this back (RFC 4555 3.7).
    CheckPath(Vec<u8>),
    /// Nothing is sent: this IKE SA's tunnel is complete, so that one, which it was to replace, can go.
    Retire(SaId),
}

impl Request {
    /// A CREATE_CHILD_SA.
    pub(super) fn creates(&self) -> bool {
        matches!(self, Request::NewChild(..) | Request::RekeyChild(..) | Request::RekeyIke(_))
    }
}

/// The request that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending(pub Request);

/// The peer is behind a NAT and we are not: we follow wherever its latest authentic message came from. Who is behind a NAT
/// itself does not (RFC 7296 2.23), and with MOBIKE nobody does: the peer says so when it has moved (RFC 4555 3.8).
fn follows_peer(sa: &IkeSa) -> bool {
    matches!(&sa.phase, Phase::Established(up) if up.nat.peer && !up.nat.us && up.mobike.is_none())
}

/// We have refused the peer and said so: whatever comes now, the IKE SA has failed already.
fn refusing(sa: &IkeSa) -> bool {
    let Phase::Established(up) = &sa.phase else { return false };
    matches!(up.pending.as_deref(), Some(Pending(Request::Refuse(_))))
}

/// Who has found a fault that was only remembered at first.
fn finder(why: &Failure) -> Side {
    if matches!(why, Failure::Rejected { .. }) { Side::Peer } else { Side::Us }
}

/// What came instead of the answer to our outstanding request.
fn heard_instead(sa: &IkeSa) -> Heard {
    let Some(request) = sa.window.outstanding() else { return Heard::Nothing };
    let part = |reassembly: &Option<Box<Reassembly>>| {
        reassembly.as_ref().is_some_and(|r| r.answers(request.id, request.exchange))
    };
    match &sa.phase {
        Phase::AuthSent(wait) if wait.candidates.iter().any(|c| part(&c.reassembly)) => Heard::Fragments,
        Phase::Established(_) if part(&sa.reassembly) => Heard::Fragments,
        Phase::Established(up) if up.rekey.as_ref().is_some_and(|rekey| rekey.collides()) => Heard::Rekey,
        _ => Heard::Nothing,
    }
}

impl Core {
    /// Sends the next waiting request if the window is open.
    pub(super) fn pump(&mut self, now: Instant, sa: &mut IkeSa) {
        if !sa.window.idle() || !matches!(sa.phase, Phase::Established(_)) {
            return;
        }
        let (request, inner) = loop {
            let Some(request) = sa.queue.as_mut().and_then(|q| q.pop_front()) else {
                sa.queue = None;
                return;
            };
            if matches!(request, Request::Delete) && self.predecessor_lingers(sa) {
                sa.queue.get_or_insert_default().push_front(request);
                return;
            }
            // What has lost its object meanwhile is skipped.
            if let Some(inner) = self.request_payloads(now, sa, &request) {
                break (request, inner);
            }
        };
        if sa.queue.as_ref().is_some_and(|q| q.is_empty()) {
            sa.queue = None;
        }
        let exchange = if request.creates() { ExchangeType::CREATE_CHILD_SA } else { ExchangeType::INFORMATIONAL };
        let Phase::Established(up) = &mut sa.phase else { return };
        if matches!(request, Request::Delete | Request::Refuse(_)) {
            up.closing = true;
        }
        up.pending = Some(Box::new(Pending(request)));
        let header = sa.request_header(exchange);
        let cx = sa.msg_cx(now, &header, 0);
        let datagrams = self.protect(now, sa, sa.path, header, inner);
        self.transmit(&cx, sa.tampered, sa.path, datagrams.iter().map(Vec::as_slice));
        sa.window.sent(header.message_id, header.exchange, datagrams, now);
        self.arm(now, sa, 0);
        self.inject(now, sa, &Trigger::Sent(cx));
    }

    /// The payloads of a request whose turn has come.
    fn request_payloads(&mut self, now: Instant, sa: &mut IkeSa, request: &Request) -> Option<Vec<Payload>> {
        let Phase::Established(up) = &sa.phase else { return None };
        match request {
            Request::Delete => {
                for child in &up.children {
                    let spi_in = child.spi_in;
                    self.events.push_back((sa.tunnel, sa.id, Event::ChildClosing { spi_in }));
                }
                Some(vec![Payload::Delete(DeletePayload::ike())])
            }
            Request::Liveness => Some(sa.liveness_payloads()),
            Request::Move => Some(sa.move_payloads()),
            Request::CheckPath(cookie) => {
                Some(vec![Payload::Notify(NotifyPayload::with_data(NotifyType::COOKIE2, cookie.clone()))])
            }
            Request::Notify(notify) | Request::Refuse(notify) => Some(vec![Payload::Notify(notify.clone())]),
            Request::DeleteChild(spi_in) => {
                let spi_in = up.child(*spi_in)?.spi_in;
                self.events.push_back((sa.tunnel, sa.id, Event::ChildClosing { spi_in }));
                Some(vec![Payload::Delete(DeletePayload::esp(&[spi_in]))])
            }
            Request::TakeBack(spi) => Some(vec![Payload::Delete(DeletePayload::esp(&[*spi]))]),
            Request::NewChild(..) | Request::RekeyChild(..) | Request::RekeyIke(_) => {
                self.create_request(now, sa, request)
            }
            Request::Retire(old) => {
                self.retire(now, *old, sa.id);
                None
            }
        }
    }

    /// Answers a request to where it came from, and keeps the answer for repeats.
    pub(super) fn respond(&mut self, now: Instant, sa: &mut IkeSa, path: Path, request: &Header, inner: Vec<Payload>) {
        let header = sa.response_header(request);
        let cx = sa.msg_cx(now, &header, 0);
        let datagrams = self.protect(now, sa, path, header, inner);
        self.transmit(&cx, sa.tampered, path, datagrams.iter().map(Vec::as_slice));
        sa.window.respond(request.message_id, datagrams);
        self.inject(now, sa, &Trigger::Sent(cx));
    }

    /// Encodes and seals with the IKE SA's keys, and adds it to the trace.
    fn protect(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        header: Header,
        inner: Vec<Payload>,
    ) -> Vec<Vec<u8>> {
        let mut message = Message { header, outer: Vec::new(), sk: Some(inner) };
        sa.arrange(&mut message);
        let cx = sa.msg_cx(now, &header, 0);
        let iv = sa.next_iv();
        let (keys, suite) = match &sa.phase {
            Phase::Established(up) => (&up.keys, up.suite.sk()),
            // Between two rounds of EAP.
            Phase::InitAnswered(wait) => (&wait.keys, wait.suite.sk()),
            _ => return Vec::new(),
        };
        let (initiator, scope, fragments) = (sa.initiator, sa.scope, sa.fragments.size(&sa.spec));
        let sealing = Sealing { keys, suite, initiator, scope, iv, fragments };
        let datagrams = self.encode(&cx, sa.tampered, &mut message, Some(&sealing));
        self.trace_sent(sa, path, message, datagrams.iter().map(Vec::len).sum());
        datagrams
    }

    /// A protected answer to a request of ours, perhaps.
    pub(super) fn info_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        decoded: Decoded,
        bytes: &mut [u8],
    ) {
        let header = decoded.header;
        let Some((message, error)) = self.open_established(now, sa, path, decoded, bytes) else { return };
        if sa.window.invented_answered(header.message_id, header.exchange) {
            // Nobody here has asked: nothing follows from the answer but that the id is taken.
            self.report_notifies(sa, message.sk.as_deref().unwrap_or_default());
            let cx = sa.msg_cx(now, &header, 0);
            self.inject(now, sa, &Trigger::Accepted(cx));
            return self.pump(now, sa);
        }
        let sent = sa.window.answered();
        let Phase::Established(up) = &mut sa.phase else { return };
        let pending = up.pending.take();
        let inner = message.sk.as_deref().unwrap_or_default();
        let creates = pending.as_ref().is_some_and(|p| p.0.creates());
        if let Some(error) = error.as_ref().filter(|_| !creates) {
            let failed = Failed {
                scope: FailScope::Exchange,
                exchange: header.exchange,
                found_by: Side::Us,
                why: Failure::Malformed(error.clone()),
            };
            self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
        }
        let broken =
            inner.iter().filter_map(Payload::as_notify).find(|n| n.kind == NotifyType::INVALID_SYNTAX).cloned();
        match (pending.map(|p| p.0), broken) {
            (Some(Request::Delete), _) => return self.deleted(now, sa, Side::Us, false),
            (Some(Request::Refuse(_)), _) => return self.close(now, sa, false),
            (_, Some(notify)) => {
                // Fatal at both ends (RFC 7296 2.21.3).
                let why = Failure::Rejected { notify: notify.kind, data: notify.data, protected: true };
                return self.fail(now, sa, header.exchange, Side::Peer, why, false);
            }
            (Some(request), None) if creates => self.create_response(now, sa, inner, error, request),
            (Some(Request::Liveness), None) => {
                let rtt = sent.map(|s| now.since(s.first_sent)).unwrap_or_default();
                self.events.push_back((sa.tunnel, sa.id, Event::Alive { rtt }));
                self.check_mapping(now, sa, inner);
            }
            (Some(Request::Move), None) => self.move_answered(now, sa, path, inner),
            (Some(Request::CheckPath(cookie)), None) => self.path_checked(now, sa, inner, &cookie),
            (Some(Request::DeleteChild(spi)), None) => self.drop_child(now, sa, spi, Side::Us),
            _ => {}
        }
        if !creates {
            self.report_notifies(sa, inner);
        }
        let cx = sa.msg_cx(now, &header, 0);
        self.inject(now, sa, &Trigger::Accepted(cx));
        self.pump(now, sa);
    }

    /// Whether our request is due again. It may be one that waited for the answer to one which we did not decide to send.
    pub(super) fn request_is_due(&mut self, now: Instant, sa: &mut IkeSa) -> bool {
        if sa.window.invented_lapsed(now) {
            self.pump(now, sa);
        }
        sa.window.is_due(now)
    }

    /// A protected request inside an established IKE SA, perhaps.
    pub(super) fn established_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        decoded: Decoded,
        bytes: &mut [u8],
    ) {
        let header = decoded.header;
        let Some((message, error)) = self.open_established(now, sa, path, decoded, bytes) else { return };
        let mut answer = true;
        self.decide(now, sa, Decision::Answer(header.exchange, &mut answer));
        if !answer {
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::Tampered, "not answered");
        }
        let inner = message.sk.as_deref().unwrap_or_default();
        let critical = inner.iter().find_map(|p| match p {
            Payload::Raw(raw) if raw.critical => Some(raw.kind),
            _ => None,
        });
        if error.is_some() || critical.is_some() {
            return self.refuse_request(now, sa, path, &header, error.map(Failure::Malformed), critical);
        }
        self.peer_went_on(now, sa, inner);
        match header.exchange {
            ExchangeType::INFORMATIONAL => self.informational(now, sa, path, &header, inner),
            ExchangeType::CREATE_CHILD_SA => self.create_answer(now, sa, path, &header, inner),
            _ => {
                // Authenticated, in the window, and out of place: a syntax error (RFC 7296 2.21.3).
                let notify = NotifyPayload::new(NotifyType::INVALID_SYNTAX);
                self.respond(now, sa, path, &header, vec![Payload::Notify(notify)]);
                let detail = "an exchange that does not belong here";
                self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::UnexpectedExchange, detail);
            }
        }
        let cx = sa.msg_cx(now, &header, 0);
        self.inject(now, sa, &Trigger::Accepted(cx));
        self.pump(now, sa);
    }

    fn informational(&mut self, now: Instant, sa: &mut IkeSa, path: Path, header: &Header, inner: &[Payload]) {
        let mut answer = Vec::new();
        let mut ours_gone = Vec::new();
        let mut unknown = Vec::new();
        let mut delete_ike = false;
        let mut refused = None;
        let Phase::Established(up) = &sa.phase else { return };
        for payload in inner {
            match payload {
                Payload::Delete(delete) if delete.protocol == ProtocolId::IKE => delete_ike = true,
                Payload::Delete(delete) if delete.protocol == ProtocolId::ESP => {
                    // The peer names its inbound SPIs, which are our outbound ones.
                    let named: Vec<u32> = delete.esp_spis().collect();
                    for child in up.children.iter().filter(|c| named.contains(&c.spi_out)) {
                        if !ours_gone.contains(&child.spi_in) {
                            ours_gone.push(child.spi_in);
                        }
                    }
                    let known = |spi: &u32| up.children.iter().any(|c| c.spi_out == *spi);
                    unknown.extend(named.into_iter().filter(|spi| !known(spi)));
                }
                Payload::Notify(n) if FATAL.contains(&n.kind) => refused = Some(n.clone()),
                _ => {}
            }
        }
        // Where our own DELETE for the Child is under way, the answer does not repeat it (RFC 7296 1.4.1).
        let crossing = match up.pending.as_deref() {
            Some(Pending(Request::DeleteChild(spi))) => Some(*spi),
            _ => None,
        };
        let reported: Vec<u32> = ours_gone.iter().copied().filter(|spi| Some(*spi) != crossing).collect();
        if !reported.is_empty() && !delete_ike {
            answer.push(Payload::Delete(DeletePayload::esp(&reported)));
        }
        let moves = self.address_request(sa, path, inner, &mut answer);
        self.respond(now, sa, path, header, answer);
        if moves {
            self.follow_move(now, sa, path, inner);
        }
        sa.deleted_unseen(unknown);
        // Both ends close it: the outgoing SA goes now, the incoming one when our own DELETE is answered (1.4.1).
        for spi in ours_gone.into_iter().filter(|spi| Some(*spi) != crossing) {
            self.drop_child(now, sa, spi, Side::Peer);
        }
        if let Some(notify) = refused {
            // The initiator refuses our IKE_AUTH after the fact (RFC 7296 2.21.2).
            let why = Failure::Rejected { notify: notify.kind, data: notify.data, protected: true };
            return self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Peer, why, true);
        }
        self.report_notifies(sa, inner);
        inner.iter().filter_map(Payload::as_notify).for_each(|notify| self.auth_lifetime(now, sa, notify));
        if delete_ike {
            self.adopt_rival(now, sa);
            self.deleted(now, sa, Side::Peer, true);
        }
    }

    /// Opens a message with the established keys and notes that the peer lives.
    fn open_established(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        decoded: Decoded,
        bytes: &mut [u8],
    ) -> Option<(Message, Option<crate::wire::WireError>)> {
        let Phase::Established(up) = &sa.phase else { return None };
        let header = decoded.header;
        let keys = (&up.keys, up.suite.sk());
        let budget = self.fragment_budget(true);
        let (inner, error) = match unprotect(keys, !sa.initiator, &decoded, bytes, &mut sa.reassembly, &budget) {
            Ok(Some(opened)) => opened,
            Ok(None) => return None,
            Err(why) => {
                self.ignore(Some(sa.who()), path, Some(header), why, "");
                return None;
            }
        };
        let mut message = Message { header, outer: decoded.payloads, sk: Some(inner) };
        if !self.screen_parsed(now, sa, path, &mut message) {
            return None;
        }
        sa.last_heard = now;
        self.follow_peer(sa, path);
        if self.cfg.trace {
            self.trace_received(sa, path, message.clone(), bytes.len());
        }
        Some((message, error))
    }

    /// An authentic packet of the peer's, IKE or ESP, that is not a repeat came on this path.
    pub(super) fn follow_peer(&mut self, sa: &mut IkeSa, path: Path) {
        if follows_peer(sa) && sa.path != path {
            sa.path = path;
            if let Phase::Established(up) = &sa.phase {
                let nat = up.nat;
                self.events.push_back((sa.tunnel, sa.id, Event::Moved { by: Side::Peer, path, nat }));
            }
        }
    }

    fn refuse_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        header: &Header,
        malformed: Option<Failure>,
        critical: Option<PayloadType>,
    ) {
        if let Some(why) = malformed {
            // Fatal at both ends, without a DELETE (RFC 7296 2.21.3).
            self.respond(now, sa, path, header, vec![Payload::Notify(NotifyPayload::new(NotifyType::INVALID_SYNTAX))]);
            return self.fail(now, sa, header.exchange, Side::Us, why, true);
        }
        let kind = critical.unwrap_or(PayloadType::NONE);
        let notify = NotifyPayload::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]);
        let why = Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind));
        self.respond(now, sa, path, header, vec![Payload::Notify(notify)]);
        let failed = Failed { scope: FailScope::Exchange, exchange: header.exchange, found_by: Side::Us, why };
        self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
    }

    fn report_notifies(&mut self, sa: &IkeSa, inner: &[Payload]) {
        for payload in inner {
            if let Payload::Notify(notify) = payload {
                self.events.push_back((sa.tunnel, sa.id, Event::PeerNotify(notify.clone())));
            }
        }
    }

    pub(super) fn drop_child(&mut self, now: Instant, sa: &mut IkeSa, spi_in: u32, by: Side) {
        self.forget_esp(sa.id, spi_in);
        self.promote_successors(now, sa, spi_in, by);
        let Phase::Established(up) = &mut sa.phase else { return };
        let before = up.children.len();
        up.children.retain(|c| c.spi_in != spi_in);
        if up.children.len() < before {
            self.events.push_back((sa.tunnel, sa.id, Event::ChildDown { spi_in, by }));
        }
    }

    /// No answer to the outstanding request, however often it was sent.
    pub(super) fn give_up(&mut self, now: Instant, sa: &mut IkeSa, attempts: u8) {
        let exchange = sa.window.outstanding().map_or(ExchangeType::INFORMATIONAL, |o| o.exchange);
        let silence = Failure::NoAnswer { attempts, heard: heard_instead(sa) };
        self.adopt_rival(now, sa);
        if matches!(&sa.phase, Phase::Established(up) if up.standing != Standing::Current) {
            // The tunnel lives on in another IKE SA.
            return self.close(now, sa, false);
        }
        match &mut sa.phase {
            Phase::Established(up) => match up.pending.take().map(|p| p.0) {
                Some(Request::Delete) => {
                    let scope = FailScope::Exchange;
                    let failed = Failed { scope, exchange, found_by: Side::Us, why: silence };
                    self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
                    self.deleted(now, sa, Side::Us, false);
                }
                Some(Request::Refuse(_)) => self.close(now, sa, false),
                _ => {
                    self.peer_died(now, sa);
                    self.fail(now, sa, exchange, Side::Us, silence, false);
                }
            },
            _ => {
                let why = Self::init_complaint(sa).unwrap_or(silence);
                self.fail(now, sa, exchange, finder(&why), why, false);
            }
        }
    }

    /// Why what we have asked has not come to its end yet; `None` if nothing is under way.
    pub(super) fn complaint(sa: &IkeSa) -> Option<Failed> {
        let refused = match &sa.phase {
            Phase::Established(up) => up.rekey.as_ref().is_some_and(|rekey| rekey.refused_since.is_some()),
            _ => false,
        };
        if refused {
            let why = Failure::Rejected { notify: NotifyType::TEMPORARY_FAILURE, data: Vec::new(), protected: true };
            let (scope, exchange) = (FailScope::Exchange, ExchangeType::CREATE_CHILD_SA);
            return Some(Failed { scope, exchange, found_by: Side::Peer, why });
        }
        let request = sa.window.outstanding()?;
        let scope = match &sa.phase {
            Phase::Established(_) => FailScope::Exchange,
            _ => FailScope::IkeSa,
        };
        let silence = Failure::NoAnswer { attempts: request.sent, heard: heard_instead(sa) };
        let why = Self::init_complaint(sa).unwrap_or(silence);
        Some(Failed { scope, exchange: request.exchange, found_by: finder(&why), why })
    }

    /// The IKE SA failed.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        exchange: ExchangeType,
        found_by: Side,
        why: Failure,
        linger: bool,
    ) {
        if refusing(sa) {
            return self.close(now, sa, linger);
        }
        self.counters.failed += 1;
        let failed = Failed { scope: FailScope::IkeSa, exchange, found_by, why };
        self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
        self.close(now, sa, linger);
    }

    /// The IKE SA was deleted in good order.
    fn deleted(&mut self, now: Instant, sa: &mut IkeSa, by: Side, linger: bool) {
        let over = refusing(sa);
        let goes_on = self.goes_on(now, sa);
        let (mut current, mut children) = (true, Vec::new());
        if let Phase::Established(up) = &mut sa.phase {
            up.closing = true;
            current = up.standing == Standing::Current && !goes_on;
            children.extend(up.children.iter().map(|c| c.spi_in));
        }
        for spi in children {
            self.drop_child(now, sa, spi, by);
        }
        self.close(now, sa, linger);
        if current && !over {
            self.events.push_back((sa.tunnel, sa.id, Event::Deleted { by }));
        }
    }
}
