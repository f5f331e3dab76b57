//! MOBIKE (RFC 4555): the addresses of an IKE SA and of its Child SAs change, and both stay.
//!
//! ```text
//!  initiator                                            responder
//!  HDR, SK {.., N(MOBIKE_SUPPORTED)}              -->                        IKE_AUTH (3.3)
//!                                                 <--   HDR, SK {.., N(MOBIKE_SUPPORTED)}
//!  (from another address:)
//!  HDR, SK {N(UPDATE_SA_ADDRESSES),
//!           N(NATD_S_IP), N(NATD_D_IP)}           -->                        INFORMATIONAL (3.5)
//!                                                 <--   HDR, SK {N(NATD_S_IP), N(NATD_D_IP)}
//!                                                 <--   HDR, SK {N(COOKIE2)}         is it there? (3.7)
//!  HDR, SK {N(COOKIE2)}                           -->
//! ```
//!
//! Who began the tunnel moves; the other end follows. That stays so when the other end rekeys the IKE SA (1.2).

use std::net::{IpAddr, SocketAddr};

use super::endpoint::Core;
use super::event::Event;
use super::failure::{FailScope, Failed, Failure, PeerMisbehaved};
use super::info::{Pending, Request};
use super::natt;
use super::sa::{IkeSa, Phase, Standing};
use super::spec::{ConnectionSpec, MobikeSpec, NatTraversal, Side};
use crate::net::{Path, SocketRole};
use crate::seed::Purpose;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType};
use crate::wire::{NotifyPayload, Payload};

/// Octets of our COOKIE2 (RFC 4555 4.2.5: 8 to 64).
const COOKIE2_LEN: usize = 16;

/// What an IKE SA keeps of MOBIKE where both ends have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Mobike {
    /// The peer's other addresses, as it said last (RFC 4555 3.4, 3.6).
    pub others: Vec<IpAddr>,
    /// The hash by which the peer last told how it sees us; another one means that a NAT has moved us (3.8).
    seen_as: Option<Vec<u8>>,
    /// Where we were before a move that is not answered yet.
    before: Option<Path>,
    /// What the peer is to send back from where it claims to be (3.7).
    check: Option<Vec<u8>>,
}

/// What we say in IKE_AUTH (RFC 4555 3.3, 3.4).
pub(super) fn announce(spec: Option<&MobikeSpec>, out: &mut Vec<Payload>) {
    let Some(spec) = spec else { return };
    out.push(Payload::Notify(NotifyPayload::new(NotifyType::MOBIKE_SUPPORTED)));
    for address in &spec.addresses {
        let (kind, octets) = match address {
            IpAddr::V4(ip) => (NotifyType::ADDITIONAL_IP4_ADDRESS, ip.octets().to_vec()),
            IpAddr::V6(ip) => (NotifyType::ADDITIONAL_IP6_ADDRESS, ip.octets().to_vec()),
        };
        out.push(Payload::Notify(NotifyPayload::with_data(kind, octets)));
    }
}

/// The other addresses that a message names; `None` if it says nothing of them.
fn others(payloads: &[Payload]) -> Option<Vec<IpAddr>> {
    let mut said = None;
    for notify in payloads.iter().filter_map(Payload::as_notify) {
        let address = match notify.kind {
            NotifyType::NO_ADDITIONAL_ADDRESSES => None,
            NotifyType::ADDITIONAL_IP4_ADDRESS => <[u8; 4]>::try_from(&notify.data[..]).ok().map(IpAddr::from),
            NotifyType::ADDITIONAL_IP6_ADDRESS => <[u8; 16]>::try_from(&notify.data[..]).ok().map(IpAddr::from),
            _ => continue,
        };
        said.get_or_insert_with(Vec::new).extend(address);
    }
    said
}

/// The message's notify of this kind.
fn find(payloads: &[Payload], kind: NotifyType) -> Option<&NotifyPayload> {
    payloads.iter().filter_map(Payload::as_notify).find(|notify| notify.kind == kind)
}

/// Both ends of `path` as NO_NATS_ALLOWED has them (RFC 4555 4.2.6), from its sender's side.
fn ends(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut out = [octets(local.ip()), octets(remote.ip())].concat();
    out.extend(local.port().to_be_bytes());
    out.extend(remote.port().to_be_bytes());
    out
}

/// NO_NATS_ALLOWED, which belongs to a request that may change addresses where NAT traversal is off (RFC 4555 3.9).
pub(super) fn no_nats(spec: &ConnectionSpec, path: &Path) -> Option<Payload> {
    let wanted = spec.mobike.is_some() && spec.nat.traversal == NatTraversal::Off;
    let notify = || NotifyPayload::with_data(NotifyType::NO_NATS_ALLOWED, ends(path.local, path.remote));
    wanted.then(|| Payload::Notify(notify()))
}

/// A request that came on `path` allows no NATs, and there is one (RFC 4555 3.9).
pub(super) fn forbids_nat(payloads: &[Payload], path: &Path) -> bool {
    find(payloads, NotifyType::NO_NATS_ALLOWED).is_some_and(|notify| notify.data != ends(path.remote, path.local))
}

impl IkeSa {
    /// The state of MOBIKE, if both ends have it.
    pub(super) fn mobike(&mut self) -> Option<&mut Mobike> {
        match &mut self.phase {
            Phase::Established(up) => up.mobike.as_deref_mut(),
            _ => None,
        }
    }

    /// IKE_AUTH is over: MOBIKE is in use if both ends have announced it.
    pub(super) fn agree_mobike(&mut self, announced: bool, payloads: &[Payload]) {
        if !announced || self.spec.mobike.is_none() {
            return;
        }
        if let Phase::Established(up) = &mut self.phase {
            let others = others(payloads).unwrap_or_default();
            up.mobike = Some(Box::new(Mobike { others, ..Mobike::default() }));
        }
    }

    /// What a liveness check carries besides: is the NAT's mapping still the same (RFC 4555 3.8)?
    pub(super) fn liveness_payloads(&self) -> Vec<Payload> {
        let mut out = Vec::new();
        if matches!(&self.phase, Phase::Established(up) if up.mobike.is_some() && up.ours && up.nat.peer_detects) {
            natt::notifies(self.spec.nat.traversal, self.spis, &self.path, &mut out);
        }
        out
    }

    /// The payloads of UPDATE_SA_ADDRESSES on the present path.
    pub(super) fn move_payloads(&self) -> Vec<Payload> {
        let mut out = vec![Payload::Notify(NotifyPayload::new(NotifyType::UPDATE_SA_ADDRESSES))];
        natt::notifies(self.spec.nat.traversal, self.spis, &self.path, &mut out);
        out.extend(no_nats(&self.spec, &self.path));
        out
    }
}

impl Core {
    /// We are at `local` from now on. What waits for its answer is sent again from there, and the peer is told (3.5).
    pub(super) fn begin_move(&mut self, now: Instant, sa: &mut IkeSa, local: SocketAddr) {
        let path = sa.path;
        let Some(mobike) = sa.mobike() else { return };
        mobike.before.get_or_insert(path);
        sa.path.local = local;
        let queue = sa.queue.get_or_insert_default();
        queue.retain(|request| !matches!(request, Request::Move));
        queue.push_front(Request::Move);
        if sa.window.idle() {
            self.pump(now, sa);
        } else if let Some(sent) = sa.window.outstanding().map(|o| o.sent) {
            // It counts as the transmission that it repeats: the schedule goes on.
            self.retransmit(now, sa, sent.saturating_sub(1));
        }
    }

    /// The peer has answered UPDATE_SA_ADDRESSES.
    pub(super) fn move_answered(&mut self, now: Instant, sa: &mut IkeSa, path: Path, inner: &[Payload]) {
        let refusal = [NotifyType::UNACCEPTABLE_ADDRESSES, NotifyType::UNEXPECTED_NAT_DETECTED]
            .into_iter()
            .find_map(|kind| find(inner, kind));
        let again = sa.queue.iter().flat_map(|q| q.iter()).any(|request| matches!(request, Request::Move));
        let seen_as = find(inner, NotifyType::NAT_DETECTION_DESTINATION_IP).map(|notify| notify.data.clone());
        let Some(mobike) = sa.mobike() else { return };
        let before = if again { mobike.before } else { mobike.before.take() };
        if let Some(notify) = refusal {
            let why = Failure::Rejected { notify: notify.kind, data: notify.data.clone(), protected: true };
            let exchange = ExchangeType::INFORMATIONAL;
            let failed = Failed { scope: FailScope::Exchange, exchange, found_by: Side::Peer, why };
            self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
            // The peer still sends to where we were.
            sa.path = before.filter(|_| !again).unwrap_or(sa.path);
            return;
        }
        mobike.seen_as = seen_as;
        if !again {
            self.settle_at(now, sa, path, inner, Side::Us);
        }
    }

    /// A liveness check was answered: has a NAT moved us meanwhile (3.8)?
    pub(super) fn check_mapping(&mut self, now: Instant, sa: &mut IkeSa, inner: &[Payload]) {
        let local = sa.path.local;
        let Some(seen) = find(inner, NotifyType::NAT_DETECTION_DESTINATION_IP) else { return };
        let Some(mobike) = sa.mobike() else { return };
        let moved = mobike.seen_as.as_ref().is_some_and(|before| *before != seen.data);
        mobike.seen_as = Some(seen.data.clone());
        if moved {
            self.begin_move(now, sa, local);
        }
    }

    /// What a request of the peer's says of addresses; adds to the answer. Returns what to do once that is sent.
    pub(super) fn address_request(
        &mut self,
        sa: &mut IkeSa,
        path: Path,
        inner: &[Payload],
        answer: &mut Vec<Payload>,
    ) -> bool {
        let (policy, spis) = (sa.spec.nat.traversal, sa.spis);
        let accepts = sa.spec.mobike.as_ref().is_some_and(|spec| spec.accept);
        let Phase::Established(up) = &mut sa.phase else { return false };
        let ours = up.ours;
        let Some(mobike) = up.mobike.as_deref_mut() else { return false };
        if let Some(others) = others(inner) {
            mobike.others = others;
        }
        if let Some(cookie) = find(inner, NotifyType::COOKIE2) {
            answer.push(Payload::Notify(cookie.clone()));
        }
        let update = find(inner, NotifyType::UPDATE_SA_ADDRESSES).is_some() && !ours;
        let refusal = if !update {
            None
        } else if forbids_nat(inner, &path) {
            Some(NotifyType::UNEXPECTED_NAT_DETECTED)
        } else {
            (!accepts).then_some(NotifyType::UNACCEPTABLE_ADDRESSES)
        };
        if let Some(kind) = refusal {
            answer.push(Payload::Notify(NotifyPayload::new(kind)));
            return false;
        }
        if find(inner, NotifyType::NAT_DETECTION_SOURCE_IP).is_some() {
            natt::notifies(policy, spis, &path, answer);
        }
        update
    }

    /// The peer has moved to where this request came from, and was answered. ESP follows now, or once the peer has proved
    /// that it is there.
    pub(super) fn follow_move(&mut self, now: Instant, sa: &mut IkeSa, path: Path, inner: &[Payload]) {
        sa.path = path;
        if !sa.spec.mobike.as_ref().is_some_and(|spec| spec.check) {
            return self.settle_at(now, sa, path, inner, Side::Peer);
        }
        let mut cookie = vec![0; COOKIE2_LEN];
        self.seeds.fill(sa.scope, Purpose::Cookie2, sa.next_draw(), &mut cookie);
        let finding = natt::inspect(sa.spec.nat.traversal, sa.spis, &path, inner);
        if let Phase::Established(up) = &mut sa.phase {
            up.nat = finding;
            if let Some(mobike) = up.mobike.as_deref_mut() {
                mobike.check = Some(cookie.clone());
            }
        }
        let queue = sa.queue.get_or_insert_default();
        queue.retain(|request| !matches!(request, Request::CheckPath(_)));
        queue.push_front(Request::CheckPath(cookie));
    }

    /// The peer has answered from where it claims to be: with our COOKIE2, or it is closed (3.7).
    pub(super) fn path_checked(&mut self, now: Instant, sa: &mut IkeSa, inner: &[Payload], cookie: &[u8]) {
        if find(inner, NotifyType::COOKIE2).is_none_or(|notify| notify.data != cookie) {
            let why = Failure::Misbehaved(PeerMisbehaved::WrongCookie2);
            return self.fail(now, sa, ExchangeType::INFORMATIONAL, Side::Us, why, false);
        }
        let Some(mobike) = sa.mobike() else { return };
        // The peer may have moved on while this was under way; then another check waits.
        if mobike.check.as_deref() == Some(cookie) {
            mobike.check = None;
            self.moved(now, sa, Side::Peer);
        }
    }

    /// The NAT detection of a move is in, at either end.
    fn settle_at(&mut self, now: Instant, sa: &mut IkeSa, path: Path, inner: &[Payload], by: Side) {
        let finding = natt::inspect(sa.spec.nat.traversal, sa.spis, &path, inner);
        if let Phase::Established(up) = &mut sa.phase {
            up.nat = finding;
        }
        self.moved(now, sa, by);
    }

    /// Everything of this IKE SA goes along the new path from now on.
    fn moved(&mut self, now: Instant, sa: &mut IkeSa, by: Side) {
        let Phase::Established(up) = &sa.phase else { return };
        let (nat, current) = (up.nat, up.standing == Standing::Current);
        if current {
            sa.alarms.keepalive = Instant::MAX;
            self.keep_mapping(now, sa);
        }
        // ESP goes where the IKE SA believes the peer to be that has the Child SAs.
        if current {
            self.events.push_back((sa.tunnel, sa.id, Event::Moved { by, path: sa.path, nat }));
        }
    }

    /// Keeps the NAT's mapping, if we are behind one (RFC 3948 4).
    pub(super) fn keep_mapping(&mut self, now: Instant, sa: &mut IkeSa) {
        let keepalive = sa.spec.nat.keepalive;
        let Phase::Established(up) = &sa.phase else { return };
        if up.nat.us && sa.path.role == SocketRole::NatT && !keepalive.is_zero() {
            sa.alarms.keepalive =
                self.timer(now, sa, super::timer::Timer::Keepalive, keepalive).unwrap_or(Instant::MAX);
        }
    }

    /// A rekeyed IKE SA goes on where the old one was, and tells of a move that the old one could not (RFC 4555 1.2).
    pub(super) fn inherit_mobike(&mut self, old: &mut IkeSa, new: &mut IkeSa) {
        let path = old.path;
        let Phase::Established(from) = &mut old.phase else { return };
        // The old one keeps its own: until the peer knows the new one, it is what tells of a move.
        let Some(mobike) = from.mobike.clone() else { return };
        let untold = matches!(from.pending.as_deref(), Some(Pending(Request::Move)));
        let check = mobike.check.clone();
        if let Phase::Established(to) = &mut new.phase {
            new.path = path;
            to.mobike = Some(mobike);
        }
        let waits = |new: &IkeSa, wanted: fn(&Request) -> bool| new.queue.iter().flat_map(|q| q.iter()).any(wanted);
        if untold && !waits(new, |request| matches!(request, Request::Move)) {
            new.enqueue(Request::Move);
        }
        if let Some(cookie) = check.filter(|_| !waits(new, |request| matches!(request, Request::CheckPath(_)))) {
            new.enqueue(Request::CheckPath(cookie));
        }
    }
}
