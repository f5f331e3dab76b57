//! Proposal selection (RFC 7296 2.7, 3.3): the responder's choice and the initiator's check of it.

use super::failure::PeerMisbehaved;
use super::spec::ProposalSpec;
use crate::wire::registry::{KeMethod, ProtocolId, TransformType};
use crate::wire::{Proposal, SaPayload, Transform};

/// Chooses from `offered` by our preference. `prefer_ke` is the group of the KE payload that came along: where our
/// configuration allows it, a proposal is completed with that group, because any other costs a round trip.
///
/// The answer carries the offered proposal's number, and no SPI. `None` when nothing fits.
pub(super) fn select(
    offered: &[Proposal],
    ours: &[ProposalSpec],
    protocol: ProtocolId,
    prefer_ke: Option<KeMethod>,
    usable: impl Fn(&Proposal) -> bool,
) -> Option<Proposal> {
    let candidates = || ours.iter().flat_map(|our| offered.iter().map(move |offer| (our, offer)));
    let pick = |ke: Option<KeMethod>| {
        candidates()
            .filter(|(_, offer)| offer.protocol == protocol)
            .filter_map(|(our, offer)| merge(our, offer, ke))
            .find(|proposal| usable(proposal))
    };
    prefer_ke.and_then(|group| pick(Some(group))).or_else(|| pick(None))
}

/// One transform of each type, ours first; `None` if a type has no transform in common.
fn merge(our: &ProposalSpec, offer: &Proposal, ke: Option<KeMethod>) -> Option<Proposal> {
    let mut chosen = Vec::with_capacity(5);
    for kind in kinds(&offer.transforms) {
        let offered = || offer.transforms.iter().filter(move |t| t.kind == kind);
        let mut wanted = our.transforms.iter().filter(|t| t.kind == kind).peekable();
        if wanted.peek().is_none() {
            // We say nothing about this type. "None" (0) of integrity, key exchange or sequence numbers is as good.
            if kind == TransformType::ENCR || kind == TransformType::PRF {
                return None;
            }
            chosen.push(offered().find(|t| t.id == 0)?.clone());
            continue;
        }
        let found = match ke {
            Some(group) if kind == TransformType::KE => {
                wanted.find(|t| t.id == group.0).filter(|w| offered().any(|o| o == *w))?
            }
            _ => wanted.find(|w| offered().any(|o| o == *w))?,
        };
        chosen.push(found.clone());
    }
    for kind in kinds(&our.transforms) {
        // What we ask for and the peer leaves out: only "none" (0) may be left out (RFC 7296 3.3.3).
        let left_out = !offer.transforms.iter().any(|t| t.kind == kind);
        if left_out && !our.transforms.iter().any(|t| t.kind == kind && t.id == 0) {
            return None;
        }
    }
    Some(Proposal { number: offer.number, protocol: offer.protocol, spi: Vec::new(), transforms: chosen })
}

/// The transform types present, in order of first appearance.
fn kinds(transforms: &[Transform]) -> impl Iterator<Item = TransformType> + '_ {
    transforms
        .iter()
        .enumerate()
        .filter(|(at, t)| transforms[..*at].iter().all(|earlier| earlier.kind != t.kind))
        .map(|(_, t)| t.kind)
}

/// Checks that the responder chose exactly one of our proposals and one transform of each of its types.
pub(super) fn verify_choice<'a>(
    answer: &'a SaPayload,
    ours: &[ProposalSpec],
    protocol: ProtocolId,
) -> Result<&'a Proposal, PeerMisbehaved> {
    let [chosen] = answer.proposals.as_slice() else {
        return Err(PeerMisbehaved::MalformedChoice(format!("{} proposals in the answer", answer.proposals.len())));
    };
    let unoffered = || PeerMisbehaved::UnofferedProposal(chosen.clone());
    if chosen.protocol != protocol {
        return Err(unoffered());
    }
    let ours = usize::from(chosen.number).checked_sub(1).and_then(|at| ours.get(at)).ok_or_else(unoffered)?;
    for (at, transform) in chosen.transforms.iter().enumerate() {
        if chosen.transforms[..at].iter().any(|earlier| earlier.kind == transform.kind) {
            return Err(PeerMisbehaved::MalformedChoice(format!("two transforms of type {}", transform.kind)));
        }
        let offered = ours.transforms.contains(transform);
        // Naming "none" for a type that we did not mention changes nothing.
        let none = transform.id == 0 && !ours.transforms.iter().any(|t| t.kind == transform.kind);
        if !offered && !none {
            return Err(unoffered());
        }
    }
    for kind in kinds(&ours.transforms) {
        let answered = chosen.transforms.iter().any(|t| t.kind == kind);
        if !answered && !ours.transforms.iter().any(|t| t.kind == kind && t.id == 0) {
            return Err(PeerMisbehaved::MalformedChoice(format!("no transform of type {kind}")));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::registry::{EncrId, EsnId, IntegId, PrfId};

    fn ike(encr_bits: u16, prf: PrfId, integ: IntegId, groups: &[KeMethod]) -> ProposalSpec {
        let mut transforms =
            vec![Transform::encr(EncrId::ENCR_AES_CBC, Some(encr_bits)), Transform::prf(prf), Transform::integ(integ)];
        transforms.extend(groups.iter().map(|g| Transform::ke(*g)));
        ProposalSpec { transforms }
    }

    fn offer(specs: &[ProposalSpec], protocol: ProtocolId) -> Vec<Proposal> {
        specs.iter().zip(1..).map(|(spec, n)| spec.to_wire(n, protocol, Vec::new())).collect()
    }

    const SHA256: (PrfId, IntegId) = (PrfId::PRF_HMAC_SHA2_256, IntegId::AUTH_HMAC_SHA2_256_128);

    #[test]
    fn key_length_is_part_of_the_transform() {
        let offered = offer(&[ike(128, SHA256.0, SHA256.1, &[KeMethod::MODP_2048])], ProtocolId::IKE);
        let ours = [ike(256, SHA256.0, SHA256.1, &[KeMethod::MODP_2048])];
        assert_eq!(select(&offered, &ours, ProtocolId::IKE, None, |_| true), None);
    }

    #[test]
    fn a_prf_alone_is_enough_to_differ() {
        let offered = offer(
            &[ike(256, PrfId::PRF_HMAC_SHA1, IntegId::AUTH_HMAC_SHA2_256_128, &[KeMethod::MODP_2048])],
            ProtocolId::IKE,
        );
        let ours = [ike(256, SHA256.0, SHA256.1, &[KeMethod::MODP_2048])];
        assert_eq!(select(&offered, &ours, ProtocolId::IKE, None, |_| true), None);
    }

    #[test]
    fn the_group_of_the_ke_payload_is_taken_when_allowed() {
        let groups = [KeMethod::ECP_256, KeMethod::MODP_2048];
        let offered = offer(&[ike(256, SHA256.0, SHA256.1, &groups)], ProtocolId::IKE);
        let ours = [ike(256, SHA256.0, SHA256.1, &groups)];
        for guess in groups {
            let chosen = select(&offered, &ours, ProtocolId::IKE, Some(guess), |_| true).expect("in common");
            assert!(chosen.transforms.contains(&Transform::ke(guess)));
        }
        let chosen = select(&offered, &ours, ProtocolId::IKE, Some(KeMethod::ECP_521), |_| true).expect("in common");
        assert!(chosen.transforms.contains(&Transform::ke(KeMethod::ECP_256)), "our first choice otherwise");
    }

    #[test]
    fn our_order_decides_between_proposals() {
        let weak = ike(128, SHA256.0, SHA256.1, &[KeMethod::MODP_2048]);
        let strong = ike(256, SHA256.0, SHA256.1, &[KeMethod::MODP_2048]);
        let offered = offer(&[weak.clone(), strong.clone()], ProtocolId::IKE);
        let chosen = select(&offered, &[strong, weak], ProtocolId::IKE, None, |_| true).expect("in common");
        assert_eq!(chosen.number, 2);
    }

    #[test]
    fn integrity_none_beside_an_aead_is_accepted() {
        let gcm = Transform::encr(EncrId::ENCR_AES_GCM_16, Some(256));
        let offered = [Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: vec![1, 2, 3, 4],
            transforms: vec![gcm.clone(), Transform::integ(IntegId::NONE), Transform::esn(EsnId(0))],
        }];
        let ours = [ProposalSpec { transforms: vec![gcm, Transform::esn(EsnId(0))] }];
        let chosen = select(&offered, &ours, ProtocolId::ESP, None, |_| true).expect("equivalent");
        assert_eq!(chosen.transforms.len(), 3);
        let answer = SaPayload { proposals: vec![chosen] };
        assert!(verify_choice(&answer, &ours, ProtocolId::ESP).is_ok());
    }

    #[test]
    fn an_unknown_mandatory_transform_type_refuses_the_proposal() {
        let mut offered = offer(&[ike(256, SHA256.0, SHA256.1, &[KeMethod::MODP_2048])], ProtocolId::IKE);
        offered[0].transforms.push(Transform::new(TransformType(6), 36));
        let ours = [ike(256, SHA256.0, SHA256.1, &[KeMethod::MODP_2048])];
        assert_eq!(select(&offered, &ours, ProtocolId::IKE, None, |_| true), None);
        offered[0].transforms.push(Transform::new(TransformType(6), 0));
        let chosen = select(&offered, &ours, ProtocolId::IKE, None, |_| true).expect("NONE is acceptable (RFC 9370)");
        assert!(chosen.transforms.contains(&Transform::new(TransformType(6), 0)));
    }

    #[test]
    fn the_choice_must_be_one_transform_of_each_offered_type() {
        let ours = [ike(256, SHA256.0, SHA256.1, &[KeMethod::MODP_2048, KeMethod::ECP_256])];
        let good = select(&offer(&ours, ProtocolId::IKE), &ours, ProtocolId::IKE, None, |_| true).expect("same");
        let check = |proposals: Vec<Proposal>| verify_choice(&SaPayload { proposals }, &ours, ProtocolId::IKE).err();
        assert_eq!(check(vec![good.clone()]), None);
        assert!(matches!(check(vec![]), Some(PeerMisbehaved::MalformedChoice(_))));
        assert!(matches!(check(vec![good.clone(), good.clone()]), Some(PeerMisbehaved::MalformedChoice(_))));
        let mut two = good.clone();
        two.transforms.push(Transform::ke(KeMethod::ECP_256));
        assert!(matches!(check(vec![two]), Some(PeerMisbehaved::MalformedChoice(_))));
        let mut missing = good.clone();
        missing.transforms.retain(|t| t.kind != TransformType::PRF);
        assert!(matches!(check(vec![missing]), Some(PeerMisbehaved::MalformedChoice(_))));
        let mut other = good.clone();
        other.transforms[0] = Transform::encr(EncrId::ENCR_AES_CBC, Some(128));
        assert!(matches!(check(vec![other]), Some(PeerMisbehaved::UnofferedProposal(_))));
        let number = Proposal { number: 2, ..good };
        assert!(matches!(check(vec![number]), Some(PeerMisbehaved::UnofferedProposal(_))));
    }
}
