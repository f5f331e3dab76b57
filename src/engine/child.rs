//! Child SAs as negotiated in IKE_AUTH (RFC 7296 1.2, 2.9, 2.17): offer, answer, acceptance.

use super::endpoint::Core;
use super::event::ChildSa;
use super::failure::{Failure, PeerIncompatible, PeerMisbehaved};
use super::propose::{select, verify_choice};
use super::sa::{Child, IkeSa, Phase};
use super::selectors;
use super::spec::{ChildSpec, Mode};
use super::tamper::SecretKind;
use crate::crypto::{EspSuite, child_keymat};
use crate::net::SocketRole;
use crate::seed::Purpose;
use crate::time::Instant;
use crate::wire::registry::{NotifyType, PayloadType, ProtocolId, TransformType};
use crate::wire::{NotifyPayload, Payload, Proposal, SaPayload, TrafficSelector, TsPayload};

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
    pub spi_in: u32,
    /// We initiated this exchange.
    pub initiator: bool,
}

/// A Child SA that both ends agree on: what is kept, and what is announced.
pub(super) struct AgreedChild {
    pub child: Child,
    pub announced: ChildSa,
}

/// Appends the initiator's offer. In IKE_AUTH it never carries a KE transform (RFC 7296 1.2).
pub(super) fn offer(child: &ChildSpec, spi_in: u32, inner: &mut Vec<Payload>) {
    let spi = || spi_in.to_be_bytes().to_vec();
    let proposals = child.proposals.iter().zip(1..);
    let proposals = proposals.map(|(p, number)| p.to_wire(number, ProtocolId::ESP, spi())).collect();
    if child.mode == Mode::Transport {
        inner.push(Payload::Notify(NotifyPayload::new(NotifyType::USE_TRANSPORT_MODE)));
    }
    inner.push(Payload::Sa(SaPayload { proposals }));
    inner.push(Payload::TsI(TsPayload { selectors: child.local_ts.clone() }));
    inner.push(Payload::TsR(TsPayload { selectors: child.remote_ts.clone() }));
}

impl Core {
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
            if pinned || (spi > 255 && !self.by_esp.contains_key(&spi)) {
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

    /// The responder's answer to an offer, and its payloads.
    pub(super) fn answer_child(
        &mut self,
        sa: &IkeSa,
        offer: &Payloads<'_>,
        cx: &ChildCx<'_>,
    ) -> Result<(Box<AgreedChild>, Vec<Payload>), (NotifyPayload, Failure)> {
        let missing = |kind| {
            let why = Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
            (NotifyPayload::new(NotifyType::INVALID_SYNTAX), why)
        };
        let offered_sa = offer.sa.ok_or_else(|| missing(PayloadType::SA))?;
        let ts_i = offer.ts_i.ok_or_else(|| missing(PayloadType::TSI))?;
        let ts_r = offer.ts_r.ok_or_else(|| missing(PayloadType::TSR))?;
        // In IKE_AUTH no key exchange can take place; an offer that names groups all the same is read without them.
        let offered: Vec<Proposal> = offered_sa
            .proposals
            .iter()
            .cloned()
            .map(|mut proposal| {
                proposal.transforms.retain(|t| t.kind != TransformType::KE);
                proposal
            })
            .collect();
        let usable = |p: &Proposal| EspSuite::from_proposal(p).is_ok();
        let mut no_proposal = None;
        let mut no_selectors = None;
        for child in &sa.spec.children {
            let Some(mut chosen) = select(&offered, &child.proposals, ProtocolId::ESP, None, usable) else {
                let wanted = child.proposals.iter().zip(1..);
                let wanted = wanted.map(|(p, n)| p.to_wire(n, ProtocolId::ESP, Vec::new())).collect();
                let offered = offered_sa.proposals.clone();
                let why = Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted });
                no_proposal.get_or_insert((NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN), why));
                continue;
            };
            let policy = sa.spec.behaviour.narrowing;
            let theirs = selectors::answer(&ts_i.selectors, &child.remote_ts, policy);
            let ours = selectors::answer(&ts_r.selectors, &child.local_ts, policy);
            let (Some(theirs), Some(ours)) = (theirs, ours) else {
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
                (NotifyPayload::new(NotifyType::INVALID_SYNTAX), why)
            })?;
            let mode = if offer.transport && child.mode == Mode::Transport { Mode::Transport } else { Mode::Tunnel };
            chosen.spi = cx.spi_in.to_be_bytes().to_vec();
            let mut payloads = Vec::with_capacity(4);
            if mode == Mode::Transport {
                payloads.push(Payload::Notify(NotifyPayload::new(NotifyType::USE_TRANSPORT_MODE)));
            }
            payloads.push(Payload::Sa(SaPayload { proposals: vec![chosen] }));
            payloads.push(Payload::TsI(TsPayload { selectors: theirs.clone() }));
            payloads.push(Payload::TsR(TsPayload { selectors: ours.clone() }));
            let narrowed = theirs != ts_i.selectors || ours != ts_r.selectors;
            let agreed = self.agree(sa, child, cx, suite, mode, spi_out, ours, theirs, narrowed);
            return Ok((agreed, payloads));
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

    /// The initiator's check of an answer.
    pub(super) fn accept_child(
        &mut self,
        sa: &IkeSa,
        child: &ChildSpec,
        answer: &Payloads<'_>,
        cx: &ChildCx<'_>,
    ) -> Result<Box<AgreedChild>, Failure> {
        let missing = |kind| Failure::Misbehaved(PeerMisbehaved::MissingPayload(kind));
        let answered = answer.sa.ok_or_else(|| missing(PayloadType::SA))?;
        let ts_i = answer.ts_i.ok_or_else(|| missing(PayloadType::TSI))?;
        let ts_r = answer.ts_r.ok_or_else(|| missing(PayloadType::TSR))?;
        let chosen = verify_choice(answered, &child.proposals, ProtocolId::ESP).map_err(Failure::Misbehaved)?;
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
        let (ours, theirs) = (ts_i.selectors.clone(), ts_r.selectors.clone());
        Ok(self.agree(sa, child, cx, suite, mode, spi_out, ours, theirs, narrowed))
    }

    #[allow(clippy::too_many_arguments)] // each is a negotiated value
    fn agree(
        &self,
        sa: &IkeSa,
        spec: &ChildSpec,
        cx: &ChildCx<'_>,
        suite: EspSuite,
        mode: Mode,
        spi_out: u32,
        local_ts: Vec<TrafficSelector>,
        remote_ts: Vec<TrafficSelector>,
        narrowed: bool,
    ) -> Box<AgreedChild> {
        let Phase::Established(up) = &sa.phase else { unreachable!("a Child is agreed inside an IKE SA with keys") };
        let keys = child_keymat(up.suite.prf, up.keys.d(), None, cx.ni, cx.nr, &suite);
        Box::new(AgreedChild {
            child: Child { spi_in: cx.spi_in, spi_out, suite },
            announced: ChildSa {
                name: spec.name.clone(),
                spi_in: cx.spi_in,
                spi_out,
                suite,
                mode,
                local_ts,
                remote_ts,
                initiator: cx.initiator,
                encapsulated: sa.path.role == SocketRole::NatT,
                narrowed,
                keys,
            },
        })
    }
}

fn esp_spi(octets: &[u8]) -> Option<u32> {
    octets.try_into().map(u32::from_be_bytes).ok().filter(|spi| *spi != 0)
}
