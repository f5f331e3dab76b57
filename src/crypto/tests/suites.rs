//! Suites and the proposals they come from.

use crate::crypto::{Encr, EspSuite, Group, IkeSuite, Integ, Prf};
use crate::wire::registry::{EncrId, EsnId, IntegId, KeMethod, PrfId, ProtocolId, TransformType};
use crate::wire::{Proposal, Transform};

const CLASSIC: IkeSuite =
    IkeSuite { encr: Encr::AesCbc(256), prf: Prf::HmacSha256, integ: Some(Integ::HmacSha256_128), ke: Group::Modp2048 };

#[test]
fn names_are_spelled_as_strongswan_does() {
    assert_eq!(CLASSIC.to_string(), "aes256-sha256-modp2048");
    assert_eq!(IkeSuite { prf: Prf::HmacSha384, ..CLASSIC }.to_string(), "aes256-sha256-prfsha384-modp2048");
    let aead = Encr::AesGcm { bits: 256, icv: 16 };
    let suite = IkeSuite { encr: aead, integ: None, prf: Prf::HmacSha384, ke: Group::Ecp384 };
    assert_eq!(suite.to_string(), "aes256gcm16-prfsha384-ecp384");
    let esp = EspSuite { encr: aead, integ: None, ke: None, esn: true };
    assert_eq!(esp.to_string(), "aes256gcm16-esn");
    let esp =
        EspSuite { encr: Encr::TripleDes, integ: Some(Integ::HmacSha1_96), ke: Some(Group::Modp1024), esn: false };
    assert_eq!(esp.to_string(), "3des-sha1-modp1024");
    assert_eq!(esp.weak().len(), 3);
    assert!(CLASSIC.weak().is_empty());
}

#[test]
fn every_suite_survives_its_proposal() {
    for encr in super::sealing::all_ciphers() {
        let integs: Vec<Option<Integ>> =
            if encr.is_aead() { vec![None] } else { Integ::ALL.iter().copied().map(Some).collect() };
        for integ in integs {
            for (&prf, &ke) in Prf::ALL.iter().cycle().zip(Group::ALL) {
                let ike = IkeSuite { encr, prf, integ, ke };
                let proposal = ike.to_proposal(1, [7; 8]);
                assert_eq!(proposal.spi, [7; 8]);
                assert_eq!(IkeSuite::from_proposal(&proposal), Ok(ike));
                for (ke, esn) in [(None, false), (Some(ke), true)] {
                    let esp = EspSuite { encr, integ, ke, esn };
                    assert_eq!(EspSuite::from_proposal(&esp.to_proposal(2, [1, 2, 3, 4])), Ok(esp));
                }
            }
        }
    }
}

#[test]
fn what_is_not_one_suite_is_refused_in_words() {
    let refuse = |change: &dyn Fn(&mut Proposal)| {
        let mut proposal = CLASSIC.to_proposal(3, []);
        change(&mut proposal);
        IkeSuite::from_proposal(&proposal).expect_err("not a suite")
    };
    let two = refuse(&|p| p.transforms.push(Transform::ke(KeMethod(19))));
    assert!(two.starts_with("proposal 3 has more than one"), "{two}");
    let none = refuse(&|p| p.transforms.retain(|t| t.kind != TransformType::PRF));
    assert_eq!(none, "proposal 3 has no PRF transform");
    let none = refuse(&|p| p.transforms.retain(|t| t.kind != TransformType::INTEG));
    assert_eq!(none, "proposal 3 has no INTEG transform, which aes256 needs");
    let none = refuse(&|p| p.transforms.retain(|t| t.kind != TransformType::ENCR));
    assert_eq!(none, "proposal 3 has no ENCR transform");
    let null = refuse(&|p| p.transforms[0] = Transform::encr(EncrId(11), None));
    assert!(null.contains("ENCR_NULL"), "{null}");
    let keyless = refuse(&|p| p.transforms[0] = Transform::encr(EncrId(12), None));
    assert!(keyless.contains("not implemented"), "{keyless}");
    let unknown = refuse(&|p| p.transforms[3] = Transform::ke(KeMethod(24)));
    assert!(unknown.contains("not implemented"), "{unknown}");
    let esn = refuse(&|p| p.transforms.push(Transform::esn(EsnId(0))));
    assert_eq!(esn, "proposal 3 is for IKE but has an ESN transform");
    let protocol = refuse(&|p| p.protocol = ProtocolId::ESP);
    assert!(protocol.starts_with("proposal 3 is for "), "{protocol}");
    let additional = refuse(&|p| p.transforms.push(Transform::new(TransformType(6), 36)));
    assert!(additional.contains("not implemented"), "{additional}");
    let both = refuse(&|p| p.transforms[0] = Transform::encr(EncrId(20), Some(128)));
    assert!(both.contains("beside aes128gcm16"), "{both}");

    let esp = EspSuite { encr: Encr::ChaCha20Poly1305, integ: None, ke: None, esn: false };
    let mut proposal = esp.to_proposal(1, [0; 4]);
    proposal.transforms.push(Transform::prf(PrfId(5)));
    assert_eq!(EspSuite::from_proposal(&proposal), Err("proposal 1 is for ESP but has a PRF transform".to_owned()));
    let mut proposal = esp.to_proposal(1, [0; 4]);
    proposal.transforms.retain(|t| t.kind != TransformType::ESN);
    assert_eq!(EspSuite::from_proposal(&proposal), Err("proposal 1 has no ESN transform".to_owned()));
}

#[test]
fn none_is_as_good_as_absent() {
    let ike = IkeSuite { encr: Encr::AesGcm { bits: 128, icv: 16 }, integ: None, ..CLASSIC };
    let mut proposal = ike.to_proposal(1, []);
    proposal.transforms.push(Transform::integ(IntegId(0)));
    proposal.transforms.push(Transform::new(TransformType(6), 0));
    assert_eq!(IkeSuite::from_proposal(&proposal), Ok(ike));
    let esp = EspSuite { encr: Encr::Null, integ: Some(Integ::HmacSha1_96), ke: None, esn: false };
    let mut proposal = esp.to_proposal(1, [0; 4]);
    proposal.transforms.push(Transform::ke(KeMethod(0)));
    assert_eq!(EspSuite::from_proposal(&proposal), Ok(esp));
}
