//! Protection of whole messages: round trips, tampering, padding, and the one published IKE message.

use super::hex;
use crate::crypto::{CryptoError, Encr, Integ, SkSuite};

/// Octets in front of the IV: an IKE header and a payload header.
const BODY: usize = 32;

pub(super) fn all_ciphers() -> impl Iterator<Item = Encr> {
    let per_key = |bits| {
        let icvs = [8, 12, 16].into_iter();
        let gcm = icvs.clone().map(move |icv| Encr::AesGcm { bits, icv });
        let ccm = icvs.map(move |icv| Encr::AesCcm { bits, icv });
        [Encr::AesCbc(bits), Encr::AesCtr(bits)].into_iter().chain(gcm).chain(ccm)
    };
    [128, 192, 256].into_iter().flat_map(per_key).chain([Encr::ChaCha20Poly1305, Encr::TripleDes])
}

fn all_suites() -> Vec<SkSuite> {
    let mut suites = Vec::new();
    for encr in all_ciphers() {
        if encr.is_aead() {
            suites.push(SkSuite { encr, integ: None });
        } else {
            suites.extend(Integ::ALL.iter().map(|integ| SkSuite { encr, integ: Some(*integ) }));
        }
    }
    suites
}

fn keys(suite: SkSuite) -> (Vec<u8>, Vec<u8>) {
    let integ_len = suite.integ.map_or(0, Integ::key_len);
    ((0..suite.encr.key_len() as u8).collect(), (100..100 + integ_len as u8).collect())
}

/// A message ready to be sealed, with the given padding and pad length octet.
fn unsealed(suite: SkSuite, plain: &[u8], padding: usize, pad_octet: u8) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..BODY as u8).collect();
    packet.resize(BODY + suite.iv_len(), 0x55);
    packet.extend_from_slice(plain);
    packet.resize(packet.len() + padding, 0xee);
    packet.push(pad_octet);
    packet.resize(packet.len() + suite.icv_len(), 0);
    packet
}

fn seal(suite: SkSuite, plain: &[u8]) -> Vec<u8> {
    let (encr_key, integ_key) = keys(suite);
    let pad = suite.pad_len(plain.len());
    let mut packet = unsealed(suite, plain, pad, pad as u8);
    assert_eq!(packet.len(), BODY + suite.sealed_len(plain.len()));
    suite.seal(&encr_key, &integ_key, &mut packet, BODY).expect("lengths fit");
    packet
}

#[test]
fn what_is_sealed_can_be_opened() {
    for suite in all_suites() {
        let (encr_key, integ_key) = keys(suite);
        for len in [0, 1, 7, 14, 15, 16, 17, 31, 32, 300] {
            let plain: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            let mut packet = seal(suite, &plain);
            let hidden = &packet[BODY + suite.iv_len()..packet.len() - suite.icv_len()];
            assert!(len < 7 || !hidden.starts_with(&plain), "{suite:?}: not encrypted");
            assert!(hidden.len().is_multiple_of(suite.encr.block_len()));
            let range = suite.open(&encr_key, &integ_key, &mut packet, BODY).expect("its own message");
            assert_eq!(packet[range], plain[..], "{suite:?}");
        }
    }
}

#[test]
fn any_changed_octet_is_a_bad_icv() {
    for suite in all_suites() {
        let (encr_key, integ_key) = keys(suite);
        let sealed = seal(suite, b"twenty-two octets here");
        for at in 0..sealed.len() {
            let mut packet = sealed.clone();
            packet[at] ^= 1 << (at % 8);
            let opened = suite.open(&encr_key, &integ_key, &mut packet, BODY);
            assert_eq!(opened, Err(CryptoError::BadIcv), "{suite:?}, octet {at}");
            assert!(!packet.windows(10).any(|window| window == b"twenty-two"), "{suite:?}: decrypted before verified");
        }
    }
}

#[test]
fn another_key_is_a_bad_icv() {
    for suite in all_suites() {
        let (mut encr_key, mut integ_key) = keys(suite);
        let key = if suite.integ.is_some() { &mut integ_key } else { &mut encr_key };
        key[0] ^= 1;
        let mut packet = seal(suite, b"abc");
        assert_eq!(suite.open(&encr_key, &integ_key, &mut packet, BODY), Err(CryptoError::BadIcv), "{suite:?}");
    }
}

#[test]
fn truncated_messages_are_refused() {
    for suite in all_suites() {
        let (encr_key, integ_key) = keys(suite);
        let sealed = seal(suite, b"abc");
        let least = BODY + suite.iv_len() + suite.encr.block_len() + suite.icv_len();
        for len in 0..sealed.len() {
            let mut packet = sealed[..len].to_vec();
            let opened = suite.open(&encr_key, &integ_key, &mut packet, BODY);
            if len < least {
                assert!(matches!(opened, Err(CryptoError::BadLength { .. })), "{suite:?}, {len}: {opened:?}");
            } else {
                assert_eq!(opened, Err(CryptoError::BadIcv), "{suite:?}, {len}");
            }
        }
    }
}

#[test]
fn padding_is_removed_and_checked() {
    for suite in all_suites() {
        let (encr_key, integ_key) = keys(suite);
        // More padding than needed, of any value: RFC 7296 section 3.14 allows both.
        let pad = suite.pad_len(3) + 4 * 16;
        let mut packet = unsealed(suite, b"abc", pad, pad as u8);
        suite.seal(&encr_key, &integ_key, &mut packet, BODY).expect("lengths fit");
        let range = suite.open(&encr_key, &integ_key, &mut packet, BODY).expect("its own message");
        assert_eq!(&packet[range], b"abc", "{suite:?}");

        // The padding is everything there is: an empty message.
        let pad = suite.pad_len(0) + 16;
        let mut packet = unsealed(suite, b"", pad, pad as u8);
        suite.seal(&encr_key, &integ_key, &mut packet, BODY).expect("lengths fit");
        let range = suite.open(&encr_key, &integ_key, &mut packet, BODY).expect("its own message");
        assert!(range.is_empty(), "{suite:?}");

        // Authentic, but the pad length claims one octet too many.
        let mut packet = unsealed(suite, b"", pad, pad as u8 + 1);
        suite.seal(&encr_key, &integ_key, &mut packet, BODY).expect("lengths fit");
        let opened = suite.open(&encr_key, &integ_key, &mut packet, BODY);
        assert_eq!(opened, Err(CryptoError::BadPadding), "{suite:?}");
    }
}

#[test]
fn authentic_but_not_in_whole_blocks() {
    for suite in all_suites().into_iter().filter(|suite| suite.encr.block_len() > 1) {
        let (encr_key, integ_key) = keys(suite);
        let mut packet = unsealed(suite, &[7; 40], 0, 0);
        let covered = packet.len() - suite.icv_len();
        let integ = suite.integ.expect("block ciphers come with an integrity algorithm");
        let icv = integ.sign(&integ_key, &[&packet[..covered]]);
        packet[covered..].copy_from_slice(icv.as_ref());
        let opened = suite.open(&encr_key, &integ_key, &mut packet, BODY);
        assert_eq!(
            opened,
            Err(CryptoError::BadLength {
                what: "the encrypted text",
                expected: 41usize.next_multiple_of(suite.encr.block_len()),
                got: 41
            })
        );
    }
}

#[test]
fn null_encryption_is_refused() {
    let suite = SkSuite { encr: Encr::Null, integ: Some(Integ::HmacSha256_128) };
    let mut packet = unsealed(suite, b"abc", 0, 0);
    assert_eq!(suite.seal(&[], &[0; 32], &mut packet, BODY), Err(CryptoError::NullInIke));
    assert_eq!(suite.open(&[], &[0; 32], &mut packet, BODY), Err(CryptoError::NullInIke));
}

/// The whole IKE message of RFC 7634 appendix B.
#[test]
fn the_informational_request_of_rfc_7634() {
    let suite = SkSuite { encr: Encr::ChaCha20Poly1305, integ: None };
    let key: Vec<u8> = (0x80..=0xa3).collect();
    let sealed = hex("c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d7 2e202500000000090000004529000029
         1011121314151617610394701f8d017f 7c129248896b71bfe25236efd7cdc670
         66906315b2");
    let notify = hex("0000000c000040010000000a");
    let mut packet = sealed.clone();
    let range = suite.open(&key, &[], &mut packet, BODY).expect("the message of the RFC");
    assert_eq!(packet[range], notify[..]);

    let mut packet = sealed[..40].to_vec();
    packet.extend_from_slice(&notify);
    packet.resize(sealed.len(), 0);
    suite.seal(&key, &[], &mut packet, BODY).expect("lengths fit");
    assert_eq!(packet, sealed);
}
