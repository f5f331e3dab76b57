//! What IKE_AUTH and CREATE_CHILD_SA have in common for Child SAs (RFC 7296 1.2, 2.9, 2.17): offer, choice, acceptance.

use std::borrow::Cow;

use super::endpoint::Core;
use super::event::ChildSa;
use super::failure::{Failure, PeerIncompatible, PeerMisbehaved};
use super::propose::{select, verify_choice};
use super::sa::{Child, ChildState, IkeSa, Phase};
use super::selectors;
use super::spec::{ChildSpec, Mode, ProposalSpec, SaId};
use super::tamper::{Decision, SecretKind};
use crate::crypto::{EspSuite, child_keymat};
use crate::seed::Purpose;
use crate::time::Instant;
use crate::wire::registry::{KeMethod, NotifyType, PayloadType, ProtocolId, TransformType};
use crate::wire::{NotifyPayload, Payload, Proposal, SaPayload, TrafficSelector, Transform, TsPayload};

/// The payloads of a Child negotiation.
pub(super) struct Payloads<'a> {
    pub sa: Option<&'a SaPayload>,
    pub ts_i: Option<&'a TsPayload>,
    pub ts_r: Option<&'a TsPayload>,
    pub transport: bool,
}

/// What a Child negotiation needs of its exchange.
pub(super) struct ChildCx<'a> {
    pub ni: &'a [u8],
    pub nr: &'a [u8],
    /// The exchange's own shared secret, if a key exchange took place in it.
    pub g_ir: Option<&'a [u8]>,
    pub spi_in: u32,
    /// We initiated this exchange.
    pub initiator: bool,
}

/// How an offer's KE transforms are read.
#[derive(Clone, Copy)]
pub(super) enum Groups {
    /// In IKE_AUTH no key exchange can take place; an offer that names groups all the same is read without them.
    None,
    /// CREATE_CHILD_SA, with a KE payload of this group, if any.
    Offered(Option<KeMethod>),
}

/// What both ends want of a Child SA, before it has keys.
pub(super) struct Selected {
    /// Which of the connection's children.
    pub index: u16,
    /// The chosen proposal, with the peer's SPI.
    pub chosen: Proposal,
    pub suite: EspSuite,
    pub mode: Mode,
    pub spi_out: u32,
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
    pub narrowed: bool,
}

impl Selected {
    /// An answerer's payloads: `[N(USE_TRANSPORT_MODE),] SA, TSi, TSr`.
    pub(super) fn payloads(&self, spi_in: u32) -> Vec<Payload> {
        let mut payloads = Vec::with_capacity(6);
        if self.mode == Mode::Transport {
            payloads.push(Payload::Notify(NotifyPayload::new(NotifyType::USE_TRANSPORT_MODE)));
        }
        let chosen = Proposal { spi: spi_in.to_be_bytes().to_vec(), ..self.chosen.clone() };
        payloads.push(Payload::Sa(SaPayload { proposals: vec![chosen] }));
        payloads.push(Payload::TsI(TsPayload { selectors: self.remote_ts.clone() }));
        payloads.push(Payload::TsR(TsPayload { selectors: self.local_ts.clone() }));
        payloads
    }
}

/// A Child SA that both ends agree on: what is kept, and what is announced.
pub(super) struct AgreedChild {
    pub child: Child,
    pub announced: ChildSa,
}

/// Appends the initiator's offer. In IKE_AUTH it never carries a KE transform (RFC 7296 1.2).
pub(super) fn offer(child: &ChildSpec, ours: &[ProposalSpec], spi_in: u32, inner: &mut Vec<Payload>) {
    let spi = || spi_in.to_be_bytes().to_vec();
    let proposals = ours.iter().zip(1..);
    let proposals = proposals.map(|(p, number)| p.to_wire(number, ProtocolId::ESP, spi())).collect();
    if child.mode == Mode::Transport {
        inner.push(Payload::Notify(NotifyPayload::new(NotifyType::USE_TRANSPORT_MODE)));
    }
    inner.push(Payload::Sa(SaPayload { proposals }));
    inner.push(Payload::TsI(TsPayload { selectors: child.local_ts.clone() }));
    inner.push(Payload::TsR(TsPayload { selectors: child.remote_ts.clone() }));
}

impl ChildSpec {
    /// The proposals as CREATE_CHILD_SA carries them: with the groups for perfect forward secrecy.
    pub(super) fn proposals_with_groups(&self) -> Vec<ProposalSpec> {
        let mut proposals = self.proposals.clone();
        for proposal in &mut proposals {
            proposal.transforms.extend(self.pfs.iter().map(|group| Transform::ke(*group)));
        }
        proposals
    }
}

impl Core {
    /// Whether as many Child SAs stand as are allowed; the one whose SPI was reserved last may want a place itself.
    pub(super) fn child_limit_met(&self, for_the_last: bool) -> bool {
        self.cfg.limits.max_child_sas.is_some_and(|max| self.by_esp.is_full(max, for_the_last))
    }

    /// A fresh inbound ESP SPI: above the reserved 0 to 255, not in use, its first octet the shard's if there is one.
    pub(super) fn fresh_esp_spi(&mut self, now: Instant, sa: &mut IkeSa) -> u32 {
        loop {
            let mut octets = [0; 4];
            self.seeds.fill(sa.scope, Purpose::ChildSpi, sa.next_draw(), &mut octets);
            if let Some(shard) = self.cfg.shard {
                octets[0] = shard;
            }
            let adopted = self.secret(now, sa, SecretKind::ChildSpi, octets.to_vec());
            let pinned = adopted != octets && adopted.len() == 4;
            let spi = <[u8; 4]>::try_from(adopted).map_or(u32::from_be_bytes(octets), u32::from_be_bytes);
            if pinned || (spi > 255 && !self.by_esp.contains(spi)) {
                self.by_esp.insert(spi, sa.id);
                sa.reserved_spi = Some(spi);
                return spi;
            }
        }
    }

    /// The Child under negotiation came to nothing.
    pub(super) fn release_esp_spi(&mut self, sa: &mut IkeSa) {
        if let Some(spi) = sa.reserved_spi.take() {
            self.forget_esp(sa.id, spi);
        }
    }

    /// Removes an inbound ESP SPI from the index, if it is this IKE SA's.
    pub(super) fn forget_esp(&mut self, id: SaId, spi: u32) {
        if self.by_esp.get(&spi) == Some(&id) {
            self.by_esp.remove(spi);
        }
    }

    /// An answerer's choice from an offer: among all of the connection's children, or of the one that is rekeyed.
    #[allow(clippy::result_large_err)] // once for each refused Child
    pub(super) fn select_child(
        &self,
        sa: &IkeSa,
        offer: &Payloads<'_>,
        only: Option<u16>,
        groups: Groups,
    ) -> Result<Selected, (NotifyPayload, Failure)> {
        let missing = |kind| {
            let why = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
            (NotifyPayload::new(NotifyType::INVALID_SYNTAX), why)
        };
        let offered_sa = offer.sa.ok_or_else(|| missing(PayloadType::SA))?;
        let ts_i = offer.ts_i.ok_or_else(|| missing(PayloadType::TSI))?;
        let ts_r = offer.ts_r.ok_or_else(|| missing(PayloadType::TSR))?;
        let mut offered = Cow::Borrowed(&offered_sa.proposals[..]);
        let ke = |t: &Transform| t.kind == TransformType::KE;
        let preferred = match groups {
            Groups::None => {
                if offered.iter().any(|p| p.transforms.iter().any(ke)) {
                    offered.to_mut().iter_mut().for_each(|p| p.transforms.retain(|t| !ke(t)));
                }
                None
            }
            Groups::Offered(group) => group,
        };
        let usable = |p: &Proposal| EspSuite::from_proposal(p).is_ok();
        let mut no_proposal = None;
        let mut no_selectors = None;
        let children = sa.spec.children.iter().zip(0u16..);
        for (child, index) in children.filter(|(_, index)| only.is_none_or(|only| only == *index)) {
            let ours = match groups {
                Groups::None => Cow::Borrowed(&child.proposals),
                Groups::Offered(_) => Cow::Owned(child.proposals_with_groups()),
            };
            let Some(mut chosen) = select(&offered, &ours, ProtocolId::ESP, preferred, usable) else {
                let wanted = ours.iter().zip(1..).map(|(p, n)| p.to_wire(n, ProtocolId::ESP, Vec::new())).collect();
                let offered = offered_sa.proposals.clone();
                let why = Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted });
                no_proposal.get_or_insert((NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN), why));
                continue;
            };
            let policy = sa.spec.behaviour.narrowing;
            let theirs = selectors::answer(&ts_i.selectors, &child.remote_ts, policy);
            let ours = selectors::answer(&ts_r.selectors, &child.local_ts, policy);
            let (Some(mut theirs), Some(mut ours)) = (theirs, ours) else {
                let why = Failure::Incompatible(PeerIncompatible::Selectors {
                    offered_i: ts_i.selectors.clone(),
                    offered_r: ts_r.selectors.clone(),
                    wanted_i: child.remote_ts.clone(),
                    wanted_r: child.local_ts.clone(),
                });
                no_selectors.get_or_insert((NotifyPayload::new(NotifyType::TS_UNACCEPTABLE), why));
                continue;
            };
            let suite = EspSuite::from_proposal(&chosen).map_err(|why| {
                let why = Failure::Misbehaved(PeerMisbehaved::MalformedChoice(why));
                (NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN), why)
            })?;
            let number = chosen.number;
            let spi = offered.iter().find(|p| p.number == number).map(|p| p.spi.as_slice()).unwrap_or_default();
            let spi_out = esp_spi(spi).ok_or_else(|| {
                let why = Failure::Misbehaved(PeerMisbehaved::MalformedChoice("an ESP SPI must have 4 octets".into()));
                (NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN), why)
            })?;
            chosen.spi = spi.to_vec();
            let mode = if offer.transport && child.mode == Mode::Transport { Mode::Transport } else { Mode::Tunnel };
            if sa.spec.behaviour.single_pair {
                theirs.truncate(1);
                ours.truncate(1);
            }
            let narrowed = theirs != ts_i.selectors || ours != ts_r.selectors;
            let (local_ts, remote_ts) = (ours, theirs);
            return Ok(Selected { index, chosen, suite, mode, spi_out, local_ts, remote_ts, narrowed });
        }
        // Selectors are looked at after proposals, so their refusal says more.
        let none = || {
            let why = Failure::Incompatible(PeerIncompatible::NoProposal {
                offered: offered_sa.proposals.clone(),
                wanted: Vec::new(),
            });
            (NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN), why)
        };
        Err(no_selectors.or(no_proposal).unwrap_or_else(none))
    }

    /// The requester's check of an answer to its offer of `ours`, for the connection's child number `index`.
    pub(super) fn accept_child(
        &self,
        sa: &IkeSa,
        index: u16,
        ours: &[ProposalSpec],
        answer: &Payloads<'_>,
    ) -> Result<Selected, Failure> {
        let missing = |kind| Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
        let child = sa.spec.children.get(usize::from(index)).ok_or_else(|| missing(PayloadType::SA))?;
        let answered = answer.sa.ok_or_else(|| missing(PayloadType::SA))?;
        let ts_i = answer.ts_i.ok_or_else(|| missing(PayloadType::TSI))?;
        let ts_r = answer.ts_r.ok_or_else(|| missing(PayloadType::TSR))?;
        let chosen = verify_choice(answered, ours, ProtocolId::ESP).map_err(Failure::Misbehaved)?;
        let malformed = |why| Failure::Misbehaved(PeerMisbehaved::MalformedChoice(why));
        let suite = EspSuite::from_proposal(chosen).map_err(malformed)?;
        let spi_out = esp_spi(&chosen.spi).ok_or_else(|| malformed("an ESP SPI must have 4 octets".into()))?;
        let stray = |ts: &TsPayload| Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(ts.selectors.clone()));
        for (ts, ours) in [(ts_i, &child.local_ts), (ts_r, &child.remote_ts)] {
            if ts.selectors.is_empty() || !selectors::within(&ts.selectors, ours) {
                return Err(stray(ts));
            }
        }
        let narrowed = ts_i.selectors != child.local_ts || ts_r.selectors != child.remote_ts;
        if narrowed && !sa.spec.behaviour.accept_narrowed {
            return Err(Failure::Incompatible(PeerIncompatible::Selectors {
                offered_i: ts_i.selectors.clone(),
                offered_r: ts_r.selectors.clone(),
                wanted_i: child.local_ts.clone(),
                wanted_r: child.remote_ts.clone(),
            }));
        }
        let mode = match (child.mode, answer.transport) {
            (Mode::Transport, true) => Mode::Transport,
            (Mode::Tunnel, true) => return Err(Failure::Incompatible(PeerIncompatible::Mode)),
            // The responder declined transport mode: tunnel mode it is (RFC 7296 1.3.1).
            (_, false) => Mode::Tunnel,
        };
        let (local_ts, remote_ts) = (ts_i.selectors.clone(), ts_r.selectors.clone());
        Ok(Selected { index, chosen: chosen.clone(), suite, mode, spi_out, local_ts, remote_ts, narrowed })
    }

    /// Keys what was selected (RFC 7296 2.17).
    pub(super) fn agree(&mut self, sa: &IkeSa, selected: Selected, cx: &ChildCx<'_>) -> Box<AgreedChild> {
        let Selected { index, mut suite, mode, spi_out, local_ts, remote_ts, narrowed, .. } = selected;
        // The message that agreed it has just been heard.
        self.decide(sa.last_heard, sa, Decision::ChildSuite(&mut suite));
        let Phase::Established(up) = &sa.phase else { unreachable!("a Child is agreed inside an IKE SA with keys") };
        let keys = child_keymat(up.suite.prf, up.keys.d(), cx.g_ir, cx.ni, cx.nr, &suite);
        let name = sa.spec.children.get(usize::from(index)).map(|c| c.name.clone()).unwrap_or_default();
        let never = Instant::MAX;
        Box::new(AgreedChild {
            child: Child {
                spi_in: cx.spi_in,
                spi_out,
                suite,
                spec: index,
                state: ChildState::Live,
                replaces: 0,
                soft: never,
                hard: never,
                usage: None,
            },
            announced: ChildSa {
                name,
                spi_in: cx.spi_in,
                spi_out,
                suite,
                mode,
                local_ts,
                remote_ts,
                initiator: cx.initiator,
                // A peer may be on port 4500 without any NAT, as MOBIKE begins there: that alone puts no ESP into UDP.
                encapsulated: up.nat.us || up.nat.peer,
                narrowed,
                keys,
            },
        })
    }
}

fn esp_spi(octets: &[u8]) -> Option<u32> {
    octets.try_into().map(u32::from_be_bytes).ok().filter(|spi| *spi != 0)
}
