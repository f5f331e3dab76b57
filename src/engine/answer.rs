//! IKE_SA_INIT as the responder sees it (RFC 7296 1.2, 2.6, 2.7): screen, perhaps demand a cookie or another group, answer.
//!
//! Until the answer is made nothing is stored. What refuses a stranger is in [`super::stateless`].

use std::collections::HashSet;
use std::sync::Arc;

use super::auth::{AwaitAuthRequest, announcement, certificate_request};
use super::endpoint::Core;
use super::event::{Event, IgnoredWhy, MessageTrace};
use super::failure::{FailScope, Failed, Failure, LocalFault, PeerIncompatible, PeerMisbehaved};
use super::fragment::Split;
use super::init::{Parts, check_nonce, vendor_ids};
use super::natt;
use super::propose::select;
use super::sa::{Alarms, IkeSa, InitKey, Phase};
use super::spec::{Childless, ConnectionSpec, SaId, Side, TunnelId};
use super::tamper::{Decision, SaCx, SecretKind, Trigger};
use super::timer::Timer;
use crate::crypto::{IkeKeys, IkeSuite};
use crate::net::Path;
use crate::seed::{Scope, Seeds};
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, PayloadType, ProtocolId};
use crate::wire::{
    Header, IkeSpi, KePayload, Message, NoncePayload, NotifyPayload, Payload, Proposal, SaPayload, decode,
};

impl Core {
    /// Answers a new IKE_SA_INIT; makes an IKE SA if it is acceptable.
    pub(super) fn answer_init(
        &mut self,
        now: Instant,
        id: SaId,
        key: InitKey,
        path: Path,
        header: &Header,
        bytes: &[u8],
    ) -> Option<Box<IkeSa>> {
        if header.spi_i == IkeSpi::ZERO || header.spi_r != IkeSpi::ZERO || header.message_id != 0 {
            self.ignore(None, path, Some(*header), IgnoredWhy::WrongFlags, "not a first IKE_SA_INIT");
            return None;
        }
        if !header.flags.is_initiator() {
            self.ignore(None, path, Some(*header), IgnoredWhy::WrongFlags, "IKE_SA_INIT without the initiator flag");
            return None;
        }
        if let Some(limit) = self.over_limit(&path) {
            self.ignore(None, path, Some(*header), IgnoredWhy::Limit, limit);
            return None;
        }
        let decoded = match decode(bytes) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.ignore(None, path, Some(*header), IgnoredWhy::NotIke, &error.to_string());
                return None;
            }
        };
        let parts = Parts::of(&decoded.payloads);
        if let Some(nonce) = parts.nonce.filter(|_| self.wants_cookie(now, header, &path)) {
            let source = path.remote.ip();
            let proven =
                parts.cookie.is_some_and(|c| self.cookies.check(&self.seeds, now, header.spi_i, source, nonce, c));
            if !proven {
                self.trace_stranger(path, header, &decoded.payloads, bytes.len());
                self.demand_cookie(now, path, header, nonce, parts.cookie.is_some());
                return None;
            }
        }
        let refuse = |core: &mut Core, notify: NotifyPayload, why: Failure| {
            core.refuse_init(now, id, path, header, &decoded.payloads, bytes.len(), notify, why);
        };
        if let Some(error) = &decoded.error {
            refuse(self, NotifyPayload::new(NotifyType::INVALID_SYNTAX), Failure::Malformed(error.clone()));
            return None;
        }
        if let Some(kind) = parts.critical {
            let notify = NotifyPayload::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]);
            refuse(self, notify, Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind)));
            return None;
        }
        let (Some(offer), Some(ke), Some(ni)) = (parts.sa, parts.ke, parts.nonce) else {
            let kind = match (parts.sa, parts.ke) {
                (None, _) => PayloadType::SA,
                (_, None) => PayloadType::KE,
                _ => PayloadType::NONCE,
            };
            let why = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
            refuse(self, NotifyPayload::new(NotifyType::INVALID_SYNTAX), why);
            return None;
        };
        let specs = self.connections_for(&path);
        if specs.is_empty() {
            let detail = "no connection names these addresses";
            self.ignore(None, path, Some(*header), IgnoredWhy::NoConnection, detail);
            if self.stateless.take(now) {
                self.stateless_reply(now, path, header, NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN));
            }
            return None;
        }
        let Some((spec, mut chosen, suite)) = choose(&specs, &offer.proposals, ke.group) else {
            let wanted = specs.iter().flat_map(|s| &s.ike_proposals).zip(1..);
            let wanted = wanted.map(|(p, n)| p.to_wire(n, ProtocolId::IKE, Vec::new())).collect();
            let why = PeerIncompatible::NoProposal { offered: offer.proposals.clone(), wanted };
            if specs.iter().any(|s| s.behaviour.answer_no_proposal) {
                let notify = NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN);
                refuse(self, notify, Failure::Incompatible(why));
            } else {
                let failure = Failure::Incompatible(why);
                self.report_refusal(id, path, header, &decoded.payloads, bytes.len(), failure);
            }
            return None;
        };
        let cx = Self::no_sa(now, (header.spi_i, IkeSpi::ZERO));
        let mut refusal = None;
        self.decide_for(&cx, Decision::RefuseInit(&mut refusal));
        if let Some(kind) = refusal {
            let why = Failure::Local(LocalFault::Other(format!("refused with {kind} on purpose")));
            refuse(self, NotifyPayload::new(kind), why);
            return None;
        }
        let mut demanded = (ke.group != suite.ke.method()).then_some(suite.ke.method());
        self.decide_for(&cx, Decision::DemandGroup(&mut demanded));
        if let Some(group) = demanded {
            self.trace_stranger(path, header, &decoded.payloads, bytes.len());
            let data = group.0.to_be_bytes();
            let notify = NotifyPayload::with_data(NotifyType::INVALID_KE_PAYLOAD, data);
            self.stateless_reply(now, path, header, notify);
            return None;
        }
        if let Err(why) = check_nonce(ni, &suite) {
            refuse(self, NotifyPayload::new(NotifyType::INVALID_SYNTAX), Failure::Misbehaved(why));
            return None;
        }
        let scope = self.responder_scope(now, key);
        let mut draws = 0;
        let spi_r = self.fresh_spi(scope, &mut draws);
        let mut sa = Box::new(IkeSa {
            id,
            tunnel: TunnelId(self.next_tunnel),
            initiator: false,
            tampered: false,
            spis: (header.spi_i, spi_r),
            path,
            spec,
            scope,
            draws,
            sealed: 0,
            fragments: Split::Never,
            reassembly: None,
            window: Default::default(),
            queue: None,
            phase: Phase::Moving,
            alarms: Alarms::default(),
            last_heard: now,
            hinted: Instant::MAX,
            init_key: Some(key),
            peer_key: None,
            reserved_spi: None,
            replaces: SaId::NONE,
            scheduled: Instant::MAX,
        });
        let keypair = self.fresh_keypair(&mut sa, ke.group);
        let shared = match keypair.agree(&ke.data) {
            Ok(shared) => shared,
            Err(error) => {
                // RFC 6989 5: a public value that fails the checks is a syntax error.
                let why = Failure::Misbehaved(PeerMisbehaved::BadKeyExchange(error.to_string()));
                refuse(self, NotifyPayload::new(NotifyType::INVALID_SYNTAX), why);
                return None;
            }
        };
        self.next_tunnel += 1;
        sa.tampered = self.concerned(now, &sa);
        if sa.tampered {
            let adopted = self.secret(now, &sa, SecretKind::IkeSpi, spi_r.0.to_be_bytes().to_vec());
            if let Ok(octets) = <[u8; 8]>::try_from(adopted) {
                sa.spis.1 = IkeSpi(u64::from_be_bytes(octets));
            }
        }
        self.by_spi.insert(sa.spis.1, id);
        self.by_init.insert(key, id);
        let nr = self.fresh_nonce(now, &mut sa);
        let nat = natt::inspect(sa.spec.nat.traversal, (sa.spis.0, IkeSpi::ZERO), &path, &decoded.payloads);
        chosen.spi = Vec::new();
        let mut outer = Vec::with_capacity(8);
        outer.push(Payload::Sa(SaPayload { proposals: vec![chosen] }));
        let data = self.secret(now, &sa, SecretKind::KeyExchange, keypair.public().to_vec());
        outer.push(Payload::Ke(KePayload { group: ke.group, data }));
        outer.push(Payload::Nonce(NoncePayload { data: nr.clone() }));
        if nat.peer_detects {
            natt::notifies(sa.spec.nat.traversal, sa.spis, &path, &mut outer);
        }
        sa.fragments = Split::agreed(&sa.spec, parts.fragmentation);
        if sa.fragments != Split::Never {
            outer.push(Payload::Notify(NotifyPayload::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)));
        }
        // The identity will decide among the connections: what one of them may need is said for all.
        if let Some(signing) = specs.iter().find(|spec| spec.uses_certificates()) {
            outer.extend(announcement(signing));
        }
        outer.extend(certificate_request(&specs));
        if sa.spec.behaviour.childless != Childless::Never {
            outer.push(Payload::Notify(NotifyPayload::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED)));
        }
        outer.extend(vendor_ids(&sa.spec));
        let mut suite = suite;
        self.decide(now, &sa, Decision::Suite(&mut suite));
        let keys = IkeKeys::derive(&suite, ni, &nr, sa.spis.0, sa.spis.1, shared.as_ref());
        if self.cfg.trace {
            let received = Message { header: *header, outer: decoded.payloads.clone(), sk: None };
            self.trace_received(&sa, path, received, bytes.len());
        }
        let response_header = sa.response_header(header);
        let mut message = Message { header: response_header, outer, sk: None };
        sa.arrange(&mut message);
        let cx = sa.msg_cx(now, &response_header, 0);
        let datagrams = self.encode(&cx, sa.tampered, &mut message, None);
        let response = datagrams.first().cloned().unwrap_or_default();
        self.trace_sent(&sa, path, message, response.len());
        self.transmit(&cx, sa.tampered, path, datagrams.iter().map(Vec::as_slice));
        sa.window.respond(0, datagrams);
        self.init_done(&sa, suite, &keys, nat, parts.vendor_ids, parts.fragmentation);
        self.enter_half_open(&sa);
        let (ni, request, takes) = (ni.to_vec(), bytes.to_vec(), parts.takes);
        let wait = AwaitAuthRequest { specs, suite, keys, ni, nr, request, response, nat, takes, eap: None };
        sa.phase = Phase::InitAnswered(Box::new(wait));
        let patience = self.cfg.limits.half_open_timeout;
        sa.alarms.half_open = self.timer(now, &sa, Timer::HalfOpen, patience).unwrap_or(Instant::MAX);
        self.inject(now, &mut sa, &Trigger::Sent(cx));
        Some(sa)
    }

    /// A scope that no earlier IKE SA had, although the same packet may come again after its IKE SA is gone: with the same
    /// scope the same nonce, SPI and key pair would follow, and a recorded handshake could be played back whole.
    fn responder_scope(&mut self, now: Instant, key: InitKey) -> Scope {
        if self.scopes.0 != now {
            self.scopes = (now, HashSet::new());
        }
        let (at, salt) = (now.0.to_be_bytes(), self.cfg.salt.to_be_bytes());
        let mut scope = Seeds::responder_scope(&[&key, &salt, &at]);
        // Twice at the same instant: only if the first one is over already.
        while !self.scopes.1.insert(scope) {
            scope = Seeds::responder_scope(&[&scope.0, &at]);
        }
        scope
    }

    /// Which limit forbids another half-open IKE SA from here.
    fn over_limit(&self, path: &Path) -> Option<&'static str> {
        let limits = &self.cfg.limits;
        if self.counters.half_open >= limits.max_half_open {
            return Some("too many half-open IKE SAs");
        }
        let of_address = self.half_open_by_address.get(&path.remote.ip()).copied().unwrap_or(0);
        if limits.max_half_open_per_address.is_some_and(|max| of_address >= max) {
            return Some("too many half-open IKE SAs of this address");
        }
        if limits.max_ike_sas.is_some_and(|max| self.by_spi.len() >= max as usize) {
            return Some("too many IKE SAs");
        }
        None
    }

    fn wants_cookie(&mut self, now: Instant, header: &Header, path: &Path) -> bool {
        let limits = &self.cfg.limits;
        let of_address = || self.half_open_by_address.get(&path.remote.ip()).copied().unwrap_or(0);
        let mut wanted = limits.cookie_threshold.is_some_and(|t| self.counters.half_open >= t)
            || limits.cookie_threshold_per_address.is_some_and(|t| of_address() >= t);
        let cx = Self::no_sa(now, (header.spi_i, IkeSpi::ZERO));
        self.decide_for(&cx, Decision::DemandCookie(&mut wanted));
        wanted
    }

    fn demand_cookie(&mut self, now: Instant, path: Path, header: &Header, nonce: &[u8], wrong: bool) {
        if wrong {
            self.ignore(None, path, Some(*header), IgnoredWhy::BadCookie, "");
        }
        self.counters.cookies_sent += 1;
        let mut cookie = self.cookies.make(&self.seeds, now, header.spi_i, path.remote.ip(), nonce);
        let cx = Self::no_sa(now, (header.spi_i, IkeSpi::ZERO));
        if let Some(tamper) = &mut self.tamper
            && tamper.concerns(&cx)
        {
            tamper.secret(&cx, SecretKind::Cookie, &mut cookie);
        }
        self.stateless_reply(now, path, header, NotifyPayload::with_data(NotifyType::COOKIE, cookie));
    }

    /// The connections whose addresses fit, in order of configuration.
    fn connections_for(&self, path: &Path) -> Vec<Arc<ConnectionSpec>> {
        let (local, remote) = (path.local.ip().to_canonical(), path.remote.ip().to_canonical());
        let fits = |spec: &&Arc<ConnectionSpec>| {
            spec.local_addr.is_none_or(|a| a == local) && spec.remote_addr.is_none_or(|a| a == remote)
        };
        self.cfg.connections.iter().filter(fits).cloned().collect()
    }

    /// Refuses IKE_SA_INIT without keeping state, and says why.
    #[allow(clippy::too_many_arguments)] // all of it is the one message being refused
    fn refuse_init(
        &mut self,
        now: Instant,
        id: SaId,
        path: Path,
        header: &Header,
        payloads: &[Payload],
        len: usize,
        notify: NotifyPayload,
        why: Failure,
    ) {
        self.report_refusal(id, path, header, payloads, len, why);
        self.stateless_reply(now, path, header, notify);
    }

    /// The trace of a request that is answered without state, like its answer.
    fn trace_stranger(&mut self, path: Path, header: &Header, payloads: &[Payload], len: usize) {
        if self.cfg.trace {
            let message = Message { header: *header, outer: payloads.to_vec(), sk: None };
            let trace = MessageTrace { from: Side::Peer, path, message, len, attempt: 0 };
            self.events.push_back((TunnelId::NONE, SaId::NONE, Event::Message(Box::new(trace))));
        }
    }

    /// The events of an IKE_SA_INIT that never became an IKE SA. Its handle is stale at once.
    fn report_refusal(
        &mut self,
        id: SaId,
        path: Path,
        header: &Header,
        payloads: &[Payload],
        len: usize,
        why: Failure,
    ) {
        self.counters.failed += 1;
        if !self.cfg.trace {
            return;
        }
        let tunnel = TunnelId(self.next_tunnel);
        self.next_tunnel += 1;
        let message = Message { header: *header, outer: payloads.to_vec(), sk: None };
        let trace = MessageTrace { from: Side::Peer, path, message, len, attempt: 0 };
        self.events.push_back((tunnel, id, Event::Message(Box::new(trace))));
        let exchange = ExchangeType::IKE_SA_INIT;
        let failed = Failed { scope: FailScope::IkeSa, exchange, found_by: Side::Us, why };
        self.events.push_back((tunnel, id, Event::Failed(Box::new(failed))));
        self.events.push_back((tunnel, id, Event::Closed));
    }

    fn decide_for(&mut self, cx: &SaCx, decision: Decision<'_>) {
        if let Some(tamper) = &mut self.tamper
            && tamper.concerns(cx)
        {
            tamper.decide(cx, decision);
        }
    }
}

/// The best connection and proposal for what was offered.
fn choose(
    specs: &[Arc<ConnectionSpec>],
    offered: &[Proposal],
    group: KeMethod,
) -> Option<(Arc<ConnectionSpec>, Proposal, IkeSuite)> {
    let usable = |p: &Proposal| IkeSuite::from_proposal(p).is_ok();
    specs.iter().find_map(|spec| {
        let chosen = select(offered, &spec.ike_proposals, ProtocolId::IKE, Some(group), usable)?;
        let suite = IkeSuite::from_proposal(&chosen).ok()?;
        Some((Arc::clone(spec), chosen, suite))
    })
}
