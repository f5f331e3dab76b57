//! Encryption algorithms against published vectors.

use super::hex;
use crate::crypto::{CryptoError, Encr};
use crate::wire::Transform;
use crate::wire::registry::EncrId;

/// Encrypts to `text | tag` and back.
fn check(encr: Encr, key: &[u8], iv: &[u8], aad: &[u8], plain: &[u8], expected: &str) {
    let expected = hex(expected);
    let (sealed_text, sealed_tag) = expected.split_at(plain.len());
    let mut text = plain.to_vec();
    let mut tag = vec![0; encr.icv_len()];
    encr.encrypt(key, iv, aad, &mut text, &mut tag).expect("lengths fit");
    assert_eq!(text, sealed_text, "{encr}");
    assert_eq!(tag, sealed_tag, "{encr}");
    encr.decrypt(key, iv, aad, &mut text, &tag).expect("its own output");
    assert_eq!(text, plain, "{encr}");
}

#[test]
fn aes_cbc_of_rfc_3602_and_sp_800_38a() {
    check(
        Encr::AesCbc(128),
        &hex("06a9214036b8a15b512e03d534120006"),
        &hex("3dafba429d9eb430b422da802c9fac41"),
        &[],
        b"Single block msg",
        "e353779c1079aeb82708942dbe77181a",
    );
    check(
        Encr::AesCbc(128),
        &hex("6c3ea0477630ce21a2ce334aa746c2cd"),
        &hex("c782dc4c098c66cbd9cd27d825682c81"),
        &[],
        b"This is a 48-byte message (exactly 3 AES blocks)",
        "d0a02b3836451753d493665d33f0e886 2dea54cdb293abc7506939276772f8d5 021c19216bad525c8579695d83ba2684",
    );
    let (iv, plain) = (hex("000102030405060708090a0b0c0d0e0f"), hex("6bc1bee22e409f96e93d7e117393172a"));
    let key = hex("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b");
    check(Encr::AesCbc(192), &key, &iv, &[], &plain, "4f021db243bc633d7178183a9fa071e8");
    let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    check(Encr::AesCbc(256), &key, &iv, &[], &plain, "f58c4c04d6e5f1ba779eabfb5f7bfbd6");
}

#[test]
fn aes_ctr_of_rfc_3686() {
    let counting: Vec<u8> = (0..36).collect();
    check(
        Encr::AesCtr(128),
        &hex("AE6852F8121067CC4BF7A5765577F39E 00000030"),
        &[0; 8],
        &[],
        b"Single block msg",
        "E4095D4FB7A7B3792D6175A3261311B8",
    );
    check(
        Encr::AesCtr(128),
        &hex("7691BE035E5020A8AC6E618529F9A0DC 00E0017B"),
        &hex("27777F3F4A1786F0"),
        &[],
        &counting,
        "C1CF48A89F2FFDD9CF4652E9EFDB72D7 4540A42BDE6D7836D59A5CEAAEF31053 25B2072F",
    );
    check(
        Encr::AesCtr(192),
        &hex("02BF391EE8ECB159B959617B0965279BF59B60A786D3E0FE 0007BDFD"),
        &hex("5CBD60278DCC0912"),
        &[],
        &counting,
        "96893FC55E5C722F540B7DD1DDF7E758 D288BC95C69165884536C811662F2188 ABEE0935",
    );
    check(
        Encr::AesCtr(256),
        &hex("FF7A617CE69148E4F1726E2F43581DE2AA62D9F805532EDFF1EED687FB54153D 001CC5B7"),
        &hex("51A51D70A1C11148"),
        &[],
        &counting,
        "EB6C52821D0BBBF7CE7594462ACA4FAA B407DF866569FD07F48CC0B583D6071F 1EC0E6B8",
    );
}

/// Test cases 4, 10 and 16 of the GCM submission to NIST, whose 96-bit nonce we read as salt and IV. Shorter tags are
/// the beginning of the longer ones.
#[test]
fn aes_gcm_of_the_gcm_specification() {
    let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    let plain = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let cases = [
        (
            128,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            192,
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c
             7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710",
            "2519498e80f1478f37ba55bd6d27618c",
        ),
        (
            256,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ];
    for (bits, text, tag) in cases {
        let keymat = hex(&format!("{}cafebabe", &key[..usize::from(bits) / 4]));
        for icv in [8, 12, 16] {
            let sealed = format!("{text}{}", &tag[..usize::from(icv) * 2]);
            check(Encr::AesGcm { bits, icv }, &keymat, &hex("facedbaddecaf888"), &aad, &plain, &sealed);
        }
    }
}

/// Computed with OpenSSL 3.0 (RFC 4309 and NIST publish none with an 11-octet nonce): key, salt, IV, additional data
/// and text are counting octets.
#[test]
fn aes_ccm_as_openssl_computes_it() {
    let cases = [
        (
            128,
            "ceab787ee4f90cb7fec6c234d6e0fa366d5d9f2d3d620574b440ceaa50f7896ee22040ff5876a496a619377c5f",
            ["c0e062f9ae350ce0", "7f35e2ad0b61b97bd09e5333", "901ae80e51308a34eeac4a9e14001978"],
        ),
        (
            192,
            "58e448cda8ffc60052c7225df788b6696baf864376ef3a4f41d8993c60d77ea6119ec00f9198b5af83c6857c5e",
            ["54556e041ff18d12", "2bd9db7c6909dad7785546f5", "5f80cedff0dd890e143bf6ce9535f306"],
        ),
        (
            256,
            "10fd9ab0cf271d71675dcdfe5de957c1644a8a5f20388051584fe3246745a4e6e1859289e57313b117fe0b03a4",
            ["ddba0faeb12dde25", "cf346db46a5bb6a91227cf6d", "4537c2e06c7052fba8f829e2963a8144"],
        ),
    ];
    for (bits, text, tags) in cases {
        let mut key: Vec<u8> = (0..(bits / 8) as u8).collect();
        key.extend(0xa0..0xa3);
        let (iv, aad, plain): (Vec<u8>, Vec<u8>, Vec<u8>) =
            ((0x10..0x18).collect(), (0x40..0x60).collect(), (0..45).collect());
        for (icv, tag) in [8, 12, 16].into_iter().zip(tags) {
            check(Encr::AesCcm { bits, icv }, &key, &iv, &aad, &plain, &format!("{text}{tag}"));
        }
    }
}

#[test]
fn chacha20_poly1305_of_rfc_7634() {
    let key: Vec<u8> = (0x80..=0xa3).collect();
    check(
        Encr::ChaCha20Poly1305,
        &key,
        &hex("1011121314151617"),
        &hex("0102030400000005"),
        &hex("45000054a6f200004001e778c6336405 c000020508005b7a3a080000553bec10
             0007362708090a0b0c0d0e0f10111213 1415161718191a1b1c1d1e1f20212223
             2425262728292a2b2c2d2e2f30313233 3435363701020204"),
        "24039428b97f417e3c13753a4f05087b 67c352e6a7fab1b982d466ef407ae5c6
         14ee8099d52844eb61aa95dfab4c02f7 2aa71e7c4c4f64c9befe2facc638e8f3
         cbec163fac469b502773f6fb94e664da 9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43",
    );
}

/// Computed with OpenSSL 3.0 (RFC 2451 has no vectors).
#[test]
fn triple_des_as_openssl_computes_it() {
    check(
        Encr::TripleDes,
        &hex("0123456789abcdef23456789abcdef01456789abcdef0123"),
        &hex("f69f2445df4f9b17"),
        &[],
        &hex("00112233445566778899aabbccddeeff0123456789abcdef"),
        "554f9ef01f9a847f1a570bddc788085fb504badf651260ca",
    );
}

#[test]
fn every_cipher_survives_its_transform() {
    for encr in super::sealing::all_ciphers().chain([Encr::Null]) {
        assert_eq!(Encr::from_transform(&encr.to_transform()), Some(encr), "{encr}");
    }
    // A key length that is missing, impossible, or there where none belongs.
    assert_eq!(Encr::from_transform(&Transform::encr(EncrId(12), None)), None);
    assert_eq!(Encr::from_transform(&Transform::encr(EncrId(20), Some(512))), None);
    assert_eq!(Encr::from_transform(&Transform::encr(EncrId(28), Some(256))), None);
    assert_eq!(Encr::from_transform(&Transform::encr(EncrId(2), None)), None, "single DES");
    assert_eq!(Encr::from_transform(&Transform::encr(EncrId(17), Some(128))), None, "unassigned");
}

#[test]
fn keymat_lengths_include_the_salt() {
    let lengths = |encr: Encr| (encr.key_len(), encr.iv_len(), encr.block_len(), encr.icv_len());
    assert_eq!(lengths(Encr::AesCbc(256)), (32, 16, 16, 0));
    assert_eq!(lengths(Encr::AesCtr(128)), (20, 8, 1, 0));
    assert_eq!(lengths(Encr::AesGcm { bits: 256, icv: 16 }), (36, 8, 1, 16));
    assert_eq!(lengths(Encr::AesCcm { bits: 192, icv: 12 }), (27, 8, 1, 12));
    assert_eq!(lengths(Encr::ChaCha20Poly1305), (36, 8, 1, 16));
    assert_eq!(lengths(Encr::TripleDes), (24, 8, 8, 0));
    assert_eq!(lengths(Encr::Null), (0, 0, 1, 0));
}

#[test]
fn wrong_lengths_are_refused_and_named() {
    for encr in super::sealing::all_ciphers() {
        let (key, iv) = (vec![1; encr.key_len()], vec![2; encr.iv_len()]);
        let mut text = vec![3; 4 * encr.block_len()];
        let mut tag = vec![0; encr.icv_len()];
        let short_key = encr.encrypt(&key[1..], &iv, &[], &mut text, &mut tag);
        assert!(matches!(short_key, Err(CryptoError::BadLength { what: "the encryption key", .. })), "{encr}");
        let short_iv = encr.decrypt(&key, &iv[1..], &[], &mut text, &tag);
        assert!(matches!(short_iv, Err(CryptoError::BadLength { what: "the initialisation vector", .. })), "{encr}");
        if encr.block_len() > 1 {
            let odd = encr.decrypt(&key, &iv, &[], &mut text[1..], &tag);
            assert!(matches!(odd, Err(CryptoError::BadLength { what: "the encrypted text", .. })), "{encr}");
        }
    }
}
