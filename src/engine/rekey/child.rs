//! CREATE_CHILD_SA for Child SAs: another one, or one in place of another (RFC 7296 1.3.1, 1.3.3, 2.8).

use super::{Creating, Later, Made, PATIENCE, Parts, Put, Refuse, Rival, Try, What};
use crate::crypto::SharedSecret;
use crate::engine::child::{AgreedChild, ChildCx, Groups, Selected, offer};
use crate::engine::endpoint::Core;
use crate::engine::event::Event;
use crate::engine::failure::{Failure, PeerMisbehaved};
use crate::engine::info::{Pending, Request};
use crate::engine::init::check_nonce;
use crate::engine::sa::{ChildState, IkeSa, Phase};
use crate::engine::spec::{CreateChildPolicy, Side};
use crate::engine::tamper::SecretKind;
use crate::time::Instant;
use crate::wire::registry::{KeMethod, NotifyType, PayloadType, ProtocolId};
use crate::wire::{KePayload, NoncePayload, NotifyPayload, Payload};

// The requester.

impl Core {
    /// `[N(REKEY_SA),] [N(USE_TRANSPORT_MODE),] SA, Ni, [KEi,] TSi, TSr`
    pub(super) fn request_child(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        spec: u16,
        old: Option<u32>,
        try_: Try,
    ) -> Option<Vec<Payload>> {
        let mut child = sa.spec.children.get(usize::from(spec))?.clone();
        child.pfs = try_.pfs.methods(&child.pfs);
        let spi_in = self.fresh_esp_spi(now, sa);
        let ni = self.fresh_nonce(now, sa);
        let group = try_.group.or_else(|| self.first_guess(sa, &child.pfs, old));
        let keypair = group.map(|group| self.fresh_keypair(sa, group));
        let mut inner = Vec::with_capacity(8);
        if let Some(old) = old {
            inner.push(Payload::Notify(NotifyPayload::for_child(NotifyType::REKEY_SA, ProtocolId::ESP, old)));
        }
        offer(&child, &child.proposals_with_groups(), spi_in, &mut inner);
        let data = match &keypair {
            Some(keypair) => self.secret(now, sa, SecretKind::KeyExchange, keypair.public().to_vec()),
            None => Vec::new(),
        };
        // Nonce and KE stand between SA and the selectors.
        let selectors = inner.split_off(inner.len() - 2);
        inner.push(Payload::Nonce(NoncePayload { data: ni.clone() }));
        inner.extend(group.map(|group| Payload::Ke(KePayload { group, data })));
        inner.extend(selectors);
        let what = What::Child { spec, spi_in, old };
        sa.rekey_mut()?.creating =
            Some(Box::new(Creating { what, ni, keypair, pfs: try_.pfs, rival: None, unseen: Vec::new() }));
        Some(inner)
    }

    /// The group agreed on last time, or our first choice.
    fn first_guess(&self, sa: &IkeSa, pfs: &[KeMethod], old: Option<u32>) -> Option<KeMethod> {
        let Phase::Established(up) = &sa.phase else { return None };
        let last = old.and_then(|old| up.child(old)).and_then(|c| c.suite.ke).map(|group| group.method());
        last.filter(|group| pfs.contains(group)).or_else(|| pfs.first().copied())
    }

    /// An answer with an SA payload.
    pub(super) fn child_response(&mut self, now: Instant, sa: &mut IkeSa, creating: Creating, parts: &Parts<'_>) {
        let What::Child { spi_in, old, .. } = creating.what else { return };
        let agreed = match self.judge_child(sa, &creating, parts) {
            Ok(agreed) => agreed,
            Err(why) => {
                self.release_esp_spi(sa);
                // The answerer believes in it: take it back.
                sa.enqueue(Request::TakeBack(spi_in));
                if let Some(rival) = creating.rival {
                    return self.rival_stands(now, sa, creating.what, rival);
                }
                return self.create_failed(now, sa, creating.what, Side::Us, why);
            }
        };
        if creating.unseen.contains(&agreed.child.spi_out) {
            // The answerer has deleted it before its answer came.
            self.release_esp_spi(sa);
            return if let Some(rival) = creating.rival {
                self.rival_stands(now, sa, creating.what, rival)
            };
        }
        sa.reserved_spi = None;
        self.add_child(now, sa, agreed);
        let Some(old) = old else {
            return self.send_on(sa, spi_in);
        };
        // Somebody wanted the old one deleted while it was being rekeyed: then neither shall live.
        let Phase::Established(up) = &sa.phase else { return };
        let unwanted = up.child(old).is_some_and(|c| c.state == ChildState::Deleting);
        let nonce = parts.nonce.unwrap_or_default();
        let winner = self.decide_child(now, sa, old, spi_in, creating.ni.as_slice().min(nonce), creating.rival);
        if unwanted {
            sa.delete_child(winner);
        }
    }

    fn judge_child(&mut self, sa: &IkeSa, creating: &Creating, parts: &Parts<'_>) -> Result<Box<AgreedChild>, Failure> {
        let What::Child { spec, spi_in, .. } = creating.what else { unreachable!("the caller looked") };
        let misbehaved = Failure::Misbehaved;
        let missing = |kind| misbehaved(PeerMisbehaved::MissingPayload(kind));
        parts.whole()?;
        let Phase::Established(up) = &sa.phase else { return Err(missing(PayloadType::SA)) };
        let mut child = sa.spec.children.get(usize::from(spec)).cloned().ok_or_else(|| missing(PayloadType::SA))?;
        child.pfs = creating.pfs.methods(&child.pfs);
        let nr = parts.nonce.ok_or_else(|| missing(PayloadType::NONCE))?;
        check_nonce(nr, &up.suite).map_err(misbehaved)?;
        let selected = self.accept_child(sa, spec, &child.proposals_with_groups(), &parts.child())?;
        let shared = own_exchange(&selected, creating, parts)?;
        let g_ir = shared.as_ref().map(AsRef::as_ref);
        let cx = ChildCx { ni: &creating.ni, nr, g_ir, spi_in, initiator: true };
        Ok(self.agree(sa, selected, &cx))
    }
}

/// The exchange's own shared secret: there if and only if the chosen suite has a group, which must be the one we sent.
fn own_exchange(selected: &Selected, creating: &Creating, parts: &Parts<'_>) -> Result<Option<SharedSecret>, Failure> {
    let Some(group) = selected.suite.ke else { return Ok(None) };
    let missing = Failure::Misbehaved(PeerMisbehaved::MissingPayload(PayloadType::KE));
    let (Some(ke), Some(keypair)) = (parts.ke, &creating.keypair) else { return Err(missing) };
    let expected = keypair.group().method();
    if group.method() != expected || ke.group != expected {
        let got = if group.method() == expected { ke.group } else { group.method() };
        return Err(Failure::Misbehaved(PeerMisbehaved::WrongKeGroup { expected, got }));
    }
    let bad = |error: crate::crypto::CryptoError| PeerMisbehaved::BadKeyExchange(error.to_string());
    keypair.agree(&ke.data).map(Some).map_err(bad).map_err(Failure::Misbehaved)
}

// The answerer.

impl Core {
    /// Answers a request for a Child SA. RFC 7296 2.25 says when it has to wait.
    pub(super) fn answer_child(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        parts: &Parts<'_>,
    ) -> Result<Vec<Payload>, Refuse> {
        let temporary = || Refuse::plain(NotifyType::TEMPORARY_FAILURE);
        let Phase::Established(up) = &sa.phase else { return Err(temporary()) };
        if up.closing || matches!(sa.creating(), Some(What::Ike(_))) {
            return Err(temporary());
        }
        match sa.spec.behaviour.rekey.answer {
            CreateChildPolicy::All => {}
            CreateChildPolicy::RekeyOnly if parts.rekey.is_some() => {}
            _ => return Err(Refuse::plain(NotifyType::NO_ADDITIONAL_SAS)),
        }
        let old = match parts.rekey {
            None => None,
            Some(notify) => {
                // The SPI is the requester's inbound one: our outbound one.
                let named = notify.spi.as_slice().try_into().map(u32::from_be_bytes).ok();
                let named = named.filter(|_| notify.protocol == ProtocolId::ESP);
                let old = up.children.iter().find(|c| Some(c.spi_out) == named);
                let old = old.ok_or_else(|| Refuse {
                    notify: NotifyPayload { kind: NotifyType::CHILD_SA_NOT_FOUND, data: Vec::new(), ..notify.clone() },
                    why: None,
                })?;
                if old.state == ChildState::Deleting {
                    return Err(temporary());
                }
                Some((old.spi_in, old.spec))
            }
        };
        if old.is_none() && self.child_limit_met(false) {
            return Err(Refuse::plain(NotifyType::NO_ADDITIONAL_SAS));
        }
        let ni = parts.nonce.ok_or_else(|| Refuse::missing(PayloadType::NONCE))?;
        check_nonce(ni, &up.suite).map_err(Refuse::syntax)?;
        let groups = Groups::Offered(parts.ke.map(|ke| ke.group));
        let selected = self.select_child(sa, &parts.child(), old.map(|(_, spec)| spec), groups)?;
        let (ke, shared) = self.answer_exchange(now, sa, selected.suite.ke, parts.ke)?;
        let nr = self.fresh_nonce(now, sa);
        // A request of our own may hold a reservation.
        let reserved = sa.reserved_spi.take();
        let spi_in = self.fresh_esp_spi(now, sa);
        sa.reserved_spi = reserved;
        // In another thread somebody may have come first.
        if old.is_none() && self.child_limit_met(true) {
            self.forget_esp(sa.id, spi_in);
            return Err(Refuse::plain(NotifyType::NO_ADDITIONAL_SAS));
        }
        let mut payloads = selected.payloads(spi_in);
        let selectors = payloads.split_off(payloads.len() - 2);
        payloads.push(Payload::Nonce(NoncePayload { data: nr.clone() }));
        payloads.extend(ke.map(Payload::Ke));
        payloads.extend(selectors);
        let g_ir = shared.as_ref().map(AsRef::as_ref);
        let cx = ChildCx { ni, nr: &nr, g_ir, spi_in, initiator: false };
        let mut agreed = self.agree(sa, selected, &cx);
        agreed.child.state = ChildState::Waiting;
        agreed.child.replaces = old.map_or(0, |(old, _)| old);
        self.add_child(now, sa, agreed);
        match old {
            Some((old, _)) => self.child_answered(sa, old, spi_in, ni.min(nr.as_slice()).to_vec()),
            None => {
                if let Some(rekey) = sa.rekey_mut() {
                    rekey.later.push(Later { at: now + PATIENCE, what: Put::Send(spi_in) });
                }
            }
        }
        Ok(payloads)
    }

    /// The peer's rekey of `old` has made `new`.
    fn child_answered(&mut self, sa: &mut IkeSa, old: u32, new: u32, lowest: Vec<u8>) {
        let Phase::Established(up) = &mut sa.phase else { return };
        let ours = up.rekey.as_mut().and_then(|r| r.creating.as_mut());
        let ours = ours.filter(|c| matches!(c.what, What::Child { old: Some(same), .. } if same == old));
        if let Some(creating) = ours {
            // Both rekey it: answered as usual, and settled when our own answer is there (RFC 7296 2.8.1).
            creating.rival = Some(Rival { lowest, made: Made::Child(new) });
            return;
        }
        if let Some(child) = up.child_mut(old) {
            child.state = ChildState::Replaced;
            child.soft = Instant::MAX;
        }
        self.child_rekeyed(sa, old, new);
    }
}

// Both.

impl Core {
    /// Registers a Child SA, gives it its lifetimes and announces its inbound half.
    pub(in crate::engine) fn add_child(&mut self, now: Instant, sa: &mut IkeSa, agreed: Box<AgreedChild>) {
        let AgreedChild { mut child, announced } = *agreed;
        self.counters.child_up += 1;
        self.by_esp.insert(child.spi_in, sa.id);
        self.child_lifetime(now, sa, &mut child);
        if let Phase::Established(up) = &mut sa.phase {
            up.children.push(child);
            up.children.shrink_to_fit();
        }
        self.events.push_back((sa.tunnel, sa.id, Event::ChildInbound(Box::new(announced))));
    }

    /// The peer has this Child SA too: send on it from now on.
    pub(super) fn send_on(&mut self, sa: &mut IkeSa, spi_in: u32) {
        let Phase::Established(up) = &mut sa.phase else { return };
        let Some(child) = up.child_mut(spi_in) else { return };
        child.replaces = 0;
        if matches!(child.state, ChildState::Waiting | ChildState::Live) {
            child.state = ChildState::Live;
            if up.closing {
                return; // we have asked to delete the IKE SA: nothing goes out any more
            }
            self.events.push_back((sa.tunnel, sa.id, Event::ChildOutbound { spi_in }));
        }
    }

    /// `old` is about to go. If the peer has asked for that, it has our answer to its rekey, and what that made is used
    /// now (RFC 7296 2.8). If we have, the peer may not know its new Child SA yet: it is used as any other new one.
    pub(in crate::engine) fn promote_successors(&mut self, now: Instant, sa: &mut IkeSa, old: u32, by: Side) {
        let Phase::Established(up) = &mut sa.phase else { return };
        let waiting = |c: &&crate::engine::sa::Child| c.state == ChildState::Waiting && c.replaces == old;
        let successors: Vec<u32> = up.children.iter().filter(waiting).map(|c| c.spi_in).collect();
        for spi_in in successors {
            if by == Side::Peer {
                self.send_on(sa, spi_in);
                continue;
            }
            let Phase::Established(up) = &mut sa.phase else { return };
            if let Some(child) = up.child_mut(spi_in) {
                child.replaces = 0;
            }
            let later = Later { at: now + PATIENCE, what: Put::Send(spi_in) };
            up.rekey.get_or_insert_default().later.push(later);
        }
    }

    pub(super) fn child_rekeyed(&mut self, sa: &IkeSa, old: u32, new: u32) {
        self.counters.child_rekeyed += 1;
        self.events.push_back((sa.tunnel, sa.id, Event::ChildRekeyed { old, new }));
    }

    /// A Child SA is being created, rekeyed or deleted by us right now.
    pub(super) fn busy_with_child(&self, sa: &IkeSa) -> bool {
        let Phase::Established(up) = &sa.phase else { return false };
        let deleting = match up.pending.as_deref() {
            Some(Pending(request)) => matches!(request, Request::DeleteChild(_) | Request::TakeBack(_)),
            None => false,
        };
        deleting || matches!(sa.creating(), Some(What::Child { .. }))
    }
}
