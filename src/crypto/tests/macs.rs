//! PRFs and integrity algorithms against the vectors of their documents.

use super::hex;
use crate::crypto::{Integ, Prf};
use crate::wire::registry::{IntegId, PrfId};

const WHAT: &[u8] = b"what do ya want for nothing?";

fn check(prf: Prf, key: &[u8], data: &[u8], expected: &str) {
    let expected = hex(expected);
    assert_eq!(prf.prf(key, &[data]).as_ref(), expected, "{prf}");
    // However the data is cut into parts, also across block boundaries.
    for cut in 0..data.len().min(40) {
        let (head, tail) = data.split_at(cut);
        assert_eq!(prf.prf(key, &[head, &[], tail]).as_ref(), expected, "{prf} cut at {cut}");
    }
}

#[test]
fn hmac_md5_of_rfc_2104() {
    check(Prf::HmacMd5, &[0x0b; 16], b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d");
    check(Prf::HmacMd5, b"Jefe", WHAT, "750c783e6ab0b503eaa86e310a5db738");
    check(Prf::HmacMd5, &[0xaa; 16], &[0xdd; 50], "56be34521d144c88dbb8c733f0e8b3f6");
}

#[test]
fn hmac_sha1_of_rfc_2202() {
    check(Prf::HmacSha1, &[0x0b; 20], b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00");
    check(Prf::HmacSha1, b"Jefe", WHAT, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
}

#[test]
fn hmac_sha2_prfs_of_rfc_4868() {
    check(
        Prf::HmacSha256,
        &[0x0b; 20],
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    );
    check(
        Prf::HmacSha384,
        &[0x0b; 20],
        b"Hi There",
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    );
    check(
        Prf::HmacSha512,
        &[0x0b; 20],
        b"Hi There",
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde
         daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    );
    check(Prf::HmacSha256, b"Jefe", WHAT, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    // PRF-5: a key longer than the hash's block.
    let data = b"Test Using Larger Than Block-Size Key - Hash Key First";
    check(Prf::HmacSha256, &[0xaa; 131], data, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    check(
        Prf::HmacSha384,
        &[0xaa; 131],
        data,
        "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
    );
    check(
        Prf::HmacSha512,
        &[0xaa; 131],
        data,
        "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352
         6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
    );
}

#[test]
fn aes_xcbc_of_rfc_4434_and_rfc_3566() {
    let message = hex("000102030405060708090a0b0c0d0e0f10111213");
    let key = hex("000102030405060708090a0b0c0d0e0f");
    check(Prf::AesXcbc, &key, &message, "47f51b4564966215b8985c63055ed308");
    check(Prf::AesXcbc, &key[..10], &message, "0fa087af7d866e7653434e602fdde835");
    check(Prf::AesXcbc, &[&key[..], &[0xed, 0xcb]].concat(), &message, "8cd3c93ae598a9803006ffb67c40e9e4");
    check(Prf::AesXcbc, &key, &[], "75f0251d528ac01c4573dfd584d79f29");
    check(Prf::AesXcbc, &key, &message[..3], "5b376580ae2f19afe7219ceef172756f");
    check(Prf::AesXcbc, &key, &message[..16], "d2a246fa349b68a79998a4394ff7a263");
    check(Prf::AesXcbc, &key, &[0; 1000], "f0dafee895db30253761103b5d84528f");
}

#[test]
fn aes_cmac_of_rfc_4615() {
    let message = hex("000102030405060708090a0b0c0d0e0f10111213");
    let key = hex("000102030405060708090a0b0c0d0e0fedcb");
    check(Prf::AesCmac, &key, &message, "84a348a4a45d235babfffc0d2b4da09a");
    check(Prf::AesCmac, &key[..16], &message, "980ae87b5f4c9c5214f5b6a8455e4c2d");
    check(Prf::AesCmac, &key[..10], &message, "290d9e112edb09ee141fcf64c0b72f3d");
}

#[test]
fn integrity_values_of_rfc_4868() {
    let cases = [
        (Integ::HmacSha256_128, 32, "198a607eb44bfbc69903a0f1cf2bbdc5"),
        (Integ::HmacSha384_192, 48, "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973"),
        (Integ::HmacSha512_256, 64, "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8"),
    ];
    for (integ, key_len, expected) in cases {
        assert_eq!(integ.key_len(), key_len);
        let key = vec![0x0b; key_len];
        assert_eq!(integ.sign(&key, &[b"Hi", b" There"]).as_ref(), hex(expected), "{integ}");
    }
}

#[test]
fn integrity_values_are_the_beginning_of_the_full_output() {
    for &integ in Integ::ALL {
        let key: Vec<u8> = (0..integ.key_len() as u8).collect();
        let icv = integ.sign(&key, &[b"abc"]);
        let full = integ.implied_prf().prf(&key, &[b"abc"]);
        assert_eq!(icv.as_ref(), &full.as_ref()[..integ.icv_len()], "{integ}");
        assert!(integ.verify(&key, &[b"a", b"bc"], icv.as_ref()), "{integ}");
        assert!(!integ.verify(&key, &[b"abd"], icv.as_ref()), "{integ}");
        assert!(!integ.verify(&key, &[b"abc"], &icv.as_ref()[1..]), "{integ}: a shorter value");
    }
}

#[test]
fn prf_plus_is_its_definition() {
    for &prf in Prf::ALL {
        let key: Vec<u8> = (0..prf.key_len() as u8).collect();
        let mut out = vec![0; 3 * prf.output_len() + 5];
        prf.prf_plus(&key, &[b"se", b"ed"], &mut out);
        let mut expected = Vec::new();
        let mut last = Vec::new();
        for counter in 1..=4 {
            last = prf.prf(&key, &[&last, b"seed", &[counter]]).as_ref().to_vec();
            expected.extend_from_slice(&last);
        }
        assert_eq!(out, expected[..out.len()], "{prf}");
    }
}

#[test]
fn numbers_and_warnings() {
    for &prf in Prf::ALL {
        assert_eq!(Prf::from_id(prf.id()), Some(prf));
    }
    for &integ in Integ::ALL {
        assert_eq!(Integ::from_id(integ.id()), Some(integ));
    }
    assert_eq!(Prf::from_id(PrfId(3)), None);
    assert_eq!(Integ::from_id(IntegId(0)), None);
    assert_eq!(Prf::ALL.iter().filter(|prf| prf.fixed_key()).count(), 2);
    let weak: Vec<_> = Prf::ALL.iter().filter(|prf| prf.weak().is_some()).collect();
    assert_eq!(weak, [&Prf::HmacMd5, &Prf::HmacSha1]);
    let weak: Vec<_> = Integ::ALL.iter().filter(|integ| integ.weak().is_some()).collect();
    assert_eq!(weak, [&Integ::HmacMd5_96, &Integ::HmacSha1_96]);
}
