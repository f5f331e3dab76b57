//! Our cryptography against ring, which shares no code with the libraries underneath ours.

use ikelab::crypto::{Encr, Group, Integ, KeyPair, Prf, SkSuite};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ring::rand::SystemRandom;
use ring::{aead, agreement, hmac};

fn bytes(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    rng.fill_bytes(&mut out);
    out
}

#[test]
fn key_agreement_both_ways() {
    let system = SystemRandom::new();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    // ECDH points carry a leading 0x04 everywhere but in IKE (RFC 5903 section 7).
    let groups: [(Group, &agreement::Algorithm, &[u8]); 3] = [
        (Group::X25519, &agreement::X25519, &[]),
        (Group::Ecp256, &agreement::ECDH_P256, &[4]),
        (Group::Ecp384, &agreement::ECDH_P384, &[4]),
    ];
    for (group, algorithm, prefix) in groups {
        for _ in 0..20 {
            let ours = KeyPair::generate(group, &mut rng);
            let theirs = agreement::EphemeralPrivateKey::generate(algorithm, &system).expect("system randomness");
            let their_public = theirs.compute_public_key().expect("a fresh key");
            let shared = ours.agree(&their_public.as_ref()[prefix.len()..]).expect("an honest value");
            let our_public = agreement::UnparsedPublicKey::new(algorithm, [prefix, ours.public()].concat());
            let agreed = agreement::agree_ephemeral(theirs, &our_public, |secret| secret.to_vec());
            assert_eq!(agreed.expect("ring accepts our value"), shared.as_ref(), "{group}");
        }
    }
}

#[test]
fn sealed_messages_both_ways() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let ciphers = [
        (Encr::AesGcm { bits: 128, icv: 16 }, &aead::AES_128_GCM),
        (Encr::AesGcm { bits: 256, icv: 16 }, &aead::AES_256_GCM),
        (Encr::ChaCha20Poly1305, &aead::CHACHA20_POLY1305),
    ];
    for (encr, algorithm) in ciphers {
        let suite = SkSuite { encr, integ: None };
        for len in [1, 16, 100, 1400] {
            let key = bytes(&mut rng, encr.key_len());
            let (cipher_key, salt) = key.split_at(key.len() - 4);
            let theirs = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, cipher_key).expect("key length"));
            let header = bytes(&mut rng, 32);
            let iv = bytes(&mut rng, 8);
            let mut text = bytes(&mut rng, len);
            text.push(0);
            let nonce = || aead::Nonce::assume_unique_for_key([salt, &iv].concat().try_into().expect("4 and 8 octets"));

            let mut packet = [&header[..], &iv, &text, &[0; 16]].concat();
            suite.seal(&key, &[], &mut packet, 32).expect("lengths fit");
            let mut opened = packet[40..].to_vec();
            let plain = theirs.open_in_place(nonce(), aead::Aad::from(&header), &mut opened);
            assert_eq!(plain.expect("ring opens ours"), text, "{encr}");

            let mut sealed = text.clone();
            theirs.seal_in_place_append_tag(nonce(), aead::Aad::from(&header), &mut sealed).expect("short");
            assert_eq!(packet[40..], sealed, "{encr}");
            let range = suite.open(&key, &[], &mut packet, 32).expect("its own message");
            assert_eq!(packet[range], text[..len], "{encr}");
        }
    }
}

#[test]
fn keyed_hashes() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let algorithms = [
        (Prf::HmacSha1, Integ::HmacSha1_96, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (Prf::HmacSha256, Integ::HmacSha256_128, hmac::HMAC_SHA256),
        (Prf::HmacSha384, Integ::HmacSha384_192, hmac::HMAC_SHA384),
        (Prf::HmacSha512, Integ::HmacSha512_256, hmac::HMAC_SHA512),
    ];
    for (prf, integ, algorithm) in algorithms {
        for (key_len, data_len) in [(0, 0), (1, 1), (20, 63), (64, 64), (65, 128), (128, 129), (129, 3000)] {
            let (key, data) = (bytes(&mut rng, key_len), bytes(&mut rng, data_len));
            let expected = hmac::sign(&hmac::Key::new(algorithm, &key), &data);
            assert_eq!(prf.prf(&key, &[&data]).as_ref(), expected.as_ref(), "{prf}");
            let key = bytes(&mut rng, integ.key_len());
            let expected = hmac::sign(&hmac::Key::new(algorithm, &key), &data);
            assert!(integ.verify(&key, &[&data], &expected.as_ref()[..integ.icv_len()]), "{integ}");
        }
    }
}
