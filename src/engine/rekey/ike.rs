//! CREATE_CHILD_SA that rekeys the IKE SA (RFC 7296 1.3.2, 2.18).

use std::sync::Arc;

use super::{Creating, Made, Parts, Refuse, Rival, Try, What};
use crate::crypto::{IkeKeys, IkeSuite};
use crate::engine::endpoint::Core;
use crate::engine::event::{Event, IkeRekeyed};
use crate::engine::failure::{Failure, PeerIncompatible, PeerMisbehaved};
use crate::engine::info::Request;
use crate::engine::init::check_nonce;
use crate::engine::propose::{select, verify_choice};
use crate::engine::sa::{Alarms, Established, IkeSa, Phase, Standing};
use crate::engine::spec::{CreateChildPolicy, Pfs, ProposalSpec, SaId, Side};
use crate::engine::tamper::SecretKind;
use crate::seed::{Scope, Seeds};
use crate::time::Instant;
use crate::wire::registry::{KeMethod, NotifyType, PayloadType, ProtocolId};
use crate::wire::{IkeSpi, KePayload, NoncePayload, NotifyPayload, Payload, Proposal, SaPayload};

/// A new IKE SA that an answer makes.
pub(super) struct MadeIke {
    sa: Box<IkeSa>,
    /// The lower of the exchange's two nonces.
    lowest: Vec<u8>,
}

// The requester.

impl Core {
    /// `SA, Ni, KEi`, with a new SPI of ours in the SA payload.
    pub(super) fn request_ike(&mut self, now: Instant, sa: &mut IkeSa, try_: Try) -> Option<Vec<Payload>> {
        let Phase::Established(up) = &sa.phase else { return None };
        let made_anew = up.rekey.as_ref().is_some_and(|r| r.reauth.is_some());
        if up.closing || up.standing != Standing::Current || made_anew {
            return None;
        }
        let groups = || sa.spec.ike_proposals.iter().flat_map(ProposalSpec::ke_methods);
        let last = Some(up.suite.ke.method()).filter(|last| groups().any(|group| group == *last));
        let group = try_.group.or(last).or_else(|| groups().next()).unwrap_or(KeMethod::NONE);
        let spi = self.new_spi(now, sa);
        let ni = self.fresh_nonce(now, sa);
        let keypair = self.fresh_keypair(sa, group);
        let octets = || spi.0.to_be_bytes().to_vec();
        let proposals = sa.spec.ike_proposals.iter().zip(1..);
        let proposals = proposals.map(|(p, number)| p.to_wire(number, ProtocolId::IKE, octets())).collect();
        let data = self.secret(now, sa, SecretKind::KeyExchange, keypair.public().to_vec());
        let inner = vec![
            Payload::Sa(SaPayload { proposals }),
            Payload::Nonce(NoncePayload { data: ni.clone() }),
            Payload::Ke(KePayload { group, data }),
        ];
        let (what, pfs) = (What::Ike(spi), Pfs::AsConfigured);
        let creating = Creating { what, ni, keypair: Some(keypair), pfs, rival: None, unseen: Vec::new() };
        sa.rekey_mut()?.creating = Some(Box::new(creating));
        Some(inner)
    }

    /// An answer with an SA payload.
    pub(super) fn ike_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        creating: Creating,
        spi: IkeSpi,
        parts: &Parts<'_>,
    ) {
        let (suite, keys, spis) = match judge_ike(sa, &creating, spi, parts) {
            Ok(judged) => judged,
            Err(why) => {
                if let Some(rival) = creating.rival {
                    return self.rival_stands(now, sa, creating.what, rival);
                }
                // The answerer believes in an IKE SA that we cannot have, and has moved the Child SAs there.
                sa.enqueue(Request::Delete);
                return self.create_failed(now, sa, creating.what, Side::Us, why);
            }
        };
        let new = self.successor(now, sa, true, spis, suite, keys);
        let nonce = parts.nonce.unwrap_or_default();
        self.decide_ike(now, sa, new, creating.ni.as_slice().min(nonce), creating.rival);
    }
}

/// Screens an answer and derives the new keys.
fn judge_ike(
    sa: &IkeSa,
    creating: &Creating,
    spi_i: IkeSpi,
    parts: &Parts<'_>,
) -> Result<(IkeSuite, IkeKeys, (IkeSpi, IkeSpi)), Failure> {
    let misbehaved = Failure::Misbehaved;
    let missing = |kind| misbehaved(PeerMisbehaved::MissingPayload(kind));
    parts.whole()?;
    let Phase::Established(up) = &sa.phase else { return Err(missing(PayloadType::SA)) };
    let answer = parts.sa.ok_or_else(|| missing(PayloadType::SA))?;
    let nr = parts.nonce.ok_or_else(|| missing(PayloadType::NONCE))?;
    let (Some(ke), Some(keypair)) = (parts.ke, &creating.keypair) else { return Err(missing(PayloadType::KE)) };
    let chosen = verify_choice(answer, &sa.spec.ike_proposals, ProtocolId::IKE).map_err(misbehaved)?;
    let malformed = |why| misbehaved(PeerMisbehaved::MalformedChoice(why));
    let suite = IkeSuite::from_proposal(chosen).map_err(malformed)?;
    let spi_r = ike_spi(&chosen.spi).ok_or_else(|| malformed("an IKE SPI must have 8 octets, not all zero".into()))?;
    let expected = keypair.group().method();
    if suite.ke.method() != expected || ke.group != expected {
        let got = if suite.ke.method() == expected { ke.group } else { suite.ke.method() };
        return Err(misbehaved(PeerMisbehaved::WrongKeGroup { expected, got }));
    }
    check_nonce(nr, &suite).map_err(misbehaved)?;
    let bad = |error: crate::crypto::CryptoError| misbehaved(PeerMisbehaved::BadKeyExchange(error.to_string()));
    let shared = keypair.agree(&ke.data).map_err(bad)?;
    let (prf, d) = (up.suite.prf, up.keys.d());
    let keys = IkeKeys::derive_rekey(&suite, prf, d, &creating.ni, nr, spi_i, spi_r, shared.as_ref());
    Ok((suite, keys, (spi_i, spi_r)))
}

// The answerer.

impl Core {
    /// Answers a rekey of the IKE SA. RFC 7296 2.25 says when it has to wait.
    pub(super) fn answer_ike(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        parts: &Parts<'_>,
    ) -> Result<(Vec<Payload>, MadeIke), Refuse> {
        let temporary = || Refuse::plain(NotifyType::TEMPORARY_FAILURE);
        let Phase::Established(up) = &sa.phase else { return Err(temporary()) };
        if up.closing || up.standing != Standing::Current || self.busy_with_child(sa) {
            return Err(temporary());
        }
        if sa.spec.behaviour.rekey.answer == CreateChildPolicy::Nothing {
            return Err(Refuse::plain(NotifyType::NO_ADDITIONAL_SAS));
        }
        let offer = parts.sa.ok_or_else(|| Refuse::missing(PayloadType::SA))?;
        let ni = parts.nonce.ok_or_else(|| Refuse::missing(PayloadType::NONCE))?;
        let ke = parts.ke.ok_or_else(|| Refuse::missing(PayloadType::KE))?;
        let usable = |p: &Proposal| IkeSuite::from_proposal(p).is_ok();
        let ours = &sa.spec.ike_proposals;
        let chosen = select(&offer.proposals, ours, ProtocolId::IKE, Some(ke.group), usable);
        let chosen = chosen.and_then(|chosen| Some((IkeSuite::from_proposal(&chosen).ok()?, chosen)));
        let (suite, mut chosen) = chosen.ok_or_else(|| {
            let wanted = ours.iter().zip(1..).map(|(p, n)| p.to_wire(n, ProtocolId::IKE, Vec::new())).collect();
            let offered = offer.proposals.clone();
            let why = Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted });
            Refuse { notify: NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN), why: Some(why) }
        })?;
        let theirs = offer.proposals.iter().find(|p| p.number == chosen.number);
        let spi_i = theirs.and_then(|p| ike_spi(&p.spi)).ok_or_else(|| {
            let why = "an IKE SPI must have 8 octets, not all zero";
            Refuse::syntax(PeerMisbehaved::MalformedChoice(why.into()))
        })?;
        check_nonce(ni, &suite).map_err(Refuse::syntax)?;
        let (kr, shared) = self.answer_exchange(now, sa, Some(suite.ke), Some(ke))?;
        let shared = shared.ok_or_else(|| Refuse::missing(PayloadType::KE))?;
        let nr = self.fresh_nonce(now, sa);
        let spi_r = self.new_spi(now, sa);
        let Phase::Established(up) = &sa.phase else { return Err(temporary()) };
        let (prf, d) = (up.suite.prf, up.keys.d());
        let keys = IkeKeys::derive_rekey(&suite, prf, d, ni, &nr, spi_i, spi_r, shared.as_ref());
        let new = self.successor(now, sa, false, (spi_i, spi_r), suite, keys);
        chosen.spi = spi_r.0.to_be_bytes().to_vec();
        let lowest = ni.min(nr.as_slice()).to_vec();
        let mut payloads =
            vec![Payload::Sa(SaPayload { proposals: vec![chosen] }), Payload::Nonce(NoncePayload { data: nr })];
        payloads.extend(kr.map(Payload::Ke));
        Ok((payloads, MadeIke { sa: new, lowest }))
    }

    /// The answer is out: the new IKE SA takes over, unless a rekey of our own is under way.
    pub(super) fn ike_made(&mut self, now: Instant, sa: &mut IkeSa, made: MadeIke) {
        let MadeIke { sa: mut new, lowest } = made;
        let Phase::Established(up) = &mut sa.phase else { return };
        let ours = up.rekey.as_mut().and_then(|r| r.creating.as_mut());
        if let Some(creating) = ours.filter(|c| matches!(c.what, What::Ike(_))) {
            // Both rekey it: answered as usual, and settled when our own answer is there (RFC 7296 2.8.2).
            creating.rival = Some(Rival { lowest, made: Made::Ike(new.id) });
            if let Phase::Established(up) = &mut new.phase {
                up.standing = Standing::Undecided(sa.id);
            }
        } else {
            self.adopt(now, sa, &mut new);
        }
        self.put_back(new.id, new);
    }
}

// Both.

impl Core {
    /// A fresh SPI of ours for the successor of `sa`.
    fn new_spi(&mut self, now: Instant, sa: &mut IkeSa) -> IkeSpi {
        let mut draws = sa.draws;
        let spi = self.fresh_spi(sa.scope, &mut draws);
        sa.draws = draws;
        let adopted = self.secret(now, sa, SecretKind::IkeSpi, spi.0.to_be_bytes().to_vec());
        <[u8; 8]>::try_from(adopted).map_or(spi, |octets| IkeSpi(u64::from_be_bytes(octets)))
    }

    /// A new IKE SA of the same tunnel: message ids from 0, everything else that is not keys from `old`.
    fn successor(
        &mut self,
        now: Instant,
        old: &IkeSa,
        initiator: bool,
        spis: (IkeSpi, IkeSpi),
        suite: IkeSuite,
        keys: IkeKeys,
    ) -> Box<IkeSa> {
        let id = self.table.allocate();
        let nat = match &old.phase {
            Phase::Established(up) => up.nat,
            _ => Default::default(),
        };
        let mut new = Box::new(IkeSa {
            id,
            tunnel: old.tunnel,
            initiator,
            tampered: false,
            spis,
            path: old.path,
            spec: Arc::clone(&old.spec),
            scope: old.scope,
            draws: 0,
            sealed: 0,
            fragments: old.fragments,
            reassembly: None,
            window: Default::default(),
            queue: None,
            phase: Phase::Moving,
            alarms: Alarms::default(),
            last_heard: now,
            hinted: Instant::MAX,
            init_key: None,
            peer_key: None,
            reserved_spi: None,
            replaces: SaId::NONE,
            scheduled: Instant::MAX,
        });
        new.scope = successor_scope(old.scope, new.our_spi());
        new.tampered = self.concerned(now, &new);
        self.by_spi.insert(new.our_spi(), id);
        self.export_keys(&new, suite, &keys);
        new.phase = Phase::Established(Established::new(suite, keys, nat, false));
        new
    }

    /// `new` takes over the tunnel: Child SAs with their SPIs and keys, and what waits to be asked (RFC 7296 2.8). The old
    /// IKE SA answers repeats and DELETE until it is closed.
    pub(super) fn adopt(&mut self, now: Instant, old: &mut IkeSa, new: &mut IkeSa) {
        let patience = patience(old);
        let (Phase::Established(from), Phase::Established(to)) = (&mut old.phase, &mut new.phase) else { return };
        if from.standing != Standing::Current {
            return;
        }
        from.standing = Standing::Superseded(new.id);
        to.standing = Standing::Current;
        from.closing = true;
        to.children = std::mem::take(&mut from.children);
        // Who authenticated when is not changed by a rekey (RFC 7296 2.8.3).
        (to.ours, to.reauth) = (from.ours, from.reauth);
        from.reauth = Instant::MAX;
        for child in &to.children {
            self.by_esp.insert(child.spi_in, new.id);
        }
        if let Some(rekey) = from.rekey.as_mut().filter(|r| !r.later.is_empty()) {
            to.rekey.get_or_insert_default().later = std::mem::take(&mut rekey.later);
        }
        if let Some(reauth) = from.rekey.as_mut().and_then(|r| r.reauth.take()) {
            to.rekey.get_or_insert_default().reauth = Some(reauth);
            self.replaces_instead(reauth, old.id, new.id);
        }
        let suite = to.suite;
        // Who rekeyed deletes the old one. If that never comes, we do.
        (from.soft, from.hard) = (Instant::MAX, now + patience);
        (old.alarms.liveness, old.alarms.keepalive) = (Instant::MAX, Instant::MAX);
        if let Some(mut queue) = old.queue.take() {
            queue.retain(|request| !matches!(request, Request::RekeyIke(_)));
            new.queue = Some(queue).filter(|q| !q.is_empty());
        }
        if let Some(key) = old.peer_key.take() {
            self.by_peer.remove(&(key, old.id));
            self.by_peer.insert((key, new.id));
            new.peer_key = Some(key);
        }
        self.leases.inherit(old.id, new.id);
        self.inherit_mobike(old, new);
        new.last_heard = now;
        self.start_life(now, new);
        self.counters.ike_rekeyed += 1;
        let rekeyed = IkeRekeyed { old: old.id, new: new.id, initiator: new.initiator, spis: new.spis, suite };
        self.events.push_back((new.tunnel, new.id, Event::IkeRekeyed(Box::new(rekeyed))));
        self.pump(now, new);
    }
}

/// How long to wait until the other end has deleted what it should: longer than it repeats itself.
pub(super) fn patience(sa: &IkeSa) -> std::time::Duration {
    sa.spec.retransmit.total() + sa.spec.retransmit.max_wait
}

fn ike_spi(octets: &[u8]) -> Option<IkeSpi> {
    octets.try_into().map(u64::from_be_bytes).ok().filter(|spi| *spi != 0).map(IkeSpi)
}

/// Several successors of one IKE SA may draw at once, so each has a scope of its own.
fn successor_scope(old: Scope, spi: IkeSpi) -> Scope {
    Seeds::responder_scope(&[b"successor", &old.0, &spi.0.to_be_bytes()])
}
