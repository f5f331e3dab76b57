//! Key derivation against NIST's vectors, and what they do not reach: fixed-key PRFs, AUTH, the order of keys.

use super::hex;
use crate::crypto::keymat::{skeyseed, skeyseed_rekey};
use crate::crypto::{Encr, EspSuite, Group, IkeKeys, IkeSuite, Integ, Prf, child_keymat, psk_auth};
use crate::wire::IkeSpi;

const VECTORS: &str = include_str!("../../../tests/data/ikev2-kdf-nist-cavs.txt");

fn suite(prf: Prf) -> IkeSuite {
    // Large keys, so that as much of prf+ as possible is compared.
    IkeSuite { encr: Encr::AesGcm { bits: 256, icv: 16 }, prf, integ: None, ke: Group::Modp2048 }
}

fn spi(digits: &str) -> IkeSpi {
    IkeSpi(u64::from_str_radix(digits, 16).expect("16 digits"))
}

/// SK_d to SK_pr in order, as prf+ gave them.
fn all_keys(keys: &IkeKeys) -> Vec<u8> {
    [keys.d(), keys.ai(), keys.ar(), keys.ei(), keys.er(), keys.pi(), keys.pr()].concat()
}

/// Both begin alike, as far as the shorter goes.
fn assert_same_start(ours: &[u8], theirs: &[u8]) {
    let common = ours.len().min(theirs.len());
    assert!(common >= 100);
    assert_eq!(ours[..common], theirs[..common]);
}

#[test]
fn nist_vectors() {
    let mut cases = 0;
    for case in VECTORS.split("\n\n").skip(1) {
        let fields: Vec<&str> = case.lines().collect();
        let [name, ni, nr, g_ir, g_ir_new, spi_i, spi_r, seed, dkm, child, child_dh, seed_rekey] = fields[..] else {
            panic!("12 lines a case, not {}", fields.len());
        };
        let prf = match name {
            "SHA-1" => Prf::HmacSha1,
            "SHA-256" => Prf::HmacSha256,
            "SHA-384" => Prf::HmacSha384,
            "SHA-512" => Prf::HmacSha512,
            other => panic!("unexpected {other}"),
        };
        let (ni, nr, g_ir, g_ir_new, dkm) = (hex(ni), hex(nr), hex(g_ir), hex(g_ir_new), hex(dkm));
        let (spi_i, spi_r) = (spi(spi_i), spi(spi_r));
        let suite = suite(prf);

        assert_eq!(skeyseed(prf, &ni, &nr, &g_ir).as_ref(), hex(seed));
        let mut out = vec![0; dkm.len()];
        prf.prf_plus(&hex(seed), &[&ni, &nr, &spi_i.0.to_be_bytes(), &spi_r.0.to_be_bytes()], &mut out);
        assert_eq!(out, dkm);
        let keys = IkeKeys::derive(&suite, &ni, &nr, spi_i, spi_r, &g_ir);
        assert_same_start(&all_keys(&keys), &dkm);
        assert_eq!(keys.d(), &dkm[..prf.key_len()]);

        let esp = EspSuite { encr: Encr::AesCbc(256), integ: Some(Integ::HmacSha512_256), ke: None, esn: false };
        for (g_ir, expected) in [(None, child), (Some(&g_ir_new[..]), child_dh)] {
            let child = child_keymat(prf, keys.d(), g_ir, &ni, &nr, &esp);
            let ours = [child.i_encr, child.i_integ, child.r_encr, child.r_integ].map(|key| key.as_ref().to_vec());
            assert_eq!(ours.each_ref().map(Vec::len), [32, 64, 32, 64]);
            assert_same_start(&ours.concat(), &hex(expected));
        }

        let rekeyed = skeyseed_rekey(prf, keys.d(), &ni, &nr, &g_ir_new);
        assert_eq!(rekeyed.as_ref(), hex(seed_rekey));
        // The whole rekey derivation is prf+ on that, here checked with another new PRF.
        let new_suite = self::suite(Prf::HmacSha256);
        let rekeyed_keys = IkeKeys::derive_rekey(&new_suite, prf, keys.d(), &ni, &nr, spi_i, spi_r, &g_ir_new);
        let mut expected = vec![0; 3 * 32 + 2 * 36];
        let parts: [&[u8]; 4] = [&ni, &nr, &spi_i.0.to_be_bytes(), &spi_r.0.to_be_bytes()];
        Prf::HmacSha256.prf_plus(rekeyed.as_ref(), &parts, &mut expected);
        assert_eq!(all_keys(&rekeyed_keys), expected);
        cases += 1;
    }
    assert_eq!(cases, 18);
}

#[test]
fn fixed_key_prfs_take_64_bits_of_each_nonce() {
    let (ni, nr): (Vec<u8>, Vec<u8>) = ((0..32).collect(), (32..64).collect());
    for prf in [Prf::AesXcbc, Prf::AesCmac] {
        let key = [&ni[..8], &nr[..8]].concat();
        assert_eq!(skeyseed(prf, &ni, &nr, b"shared").as_ref(), prf.prf(&key, &[b"shared"]).as_ref());
        // But prf+ gets all of them.
        let keys = IkeKeys::derive(&suite(prf), &ni, &nr, IkeSpi(1), IkeSpi(2), b"shared");
        let mut expected = vec![0; 3 * 16 + 2 * 36];
        let seed = prf.prf(&key, &[b"shared"]);
        prf.prf_plus(seed.as_ref(), &[&ni, &nr, &1u64.to_be_bytes(), &2u64.to_be_bytes()], &mut expected);
        assert_eq!(all_keys(&keys), expected);
    }
    let long = [&ni[..], &nr[..]].concat();
    let hmac = skeyseed(Prf::HmacSha256, &ni, &nr, b"shared");
    assert_eq!(hmac.as_ref(), Prf::HmacSha256.prf(&long, &[b"shared"]).as_ref());
}

#[test]
fn keys_are_cut_in_the_order_of_the_rfc() {
    let suite = IkeSuite {
        encr: Encr::AesCbc(256),
        prf: Prf::HmacSha384,
        integ: Some(Integ::HmacSha256_128),
        ke: Group::Ecp256,
    };
    let keys = IkeKeys::derive(&suite, &[1; 16], &[2; 16], IkeSpi(3), IkeSpi(4), &[5; 32]);
    let seed = Prf::HmacSha384.prf(&[[1; 16], [2; 16]].concat(), &[&[5; 32]]);
    let mut stream = vec![0; 3 * 48 + 2 * 32 + 2 * 32];
    let parts: [&[u8]; 4] = [&[1; 16], &[2; 16], &3u64.to_be_bytes(), &4u64.to_be_bytes()];
    Prf::HmacSha384.prf_plus(seed.as_ref(), &parts, &mut stream);
    assert_eq!(keys.d(), &stream[..48]);
    assert_eq!(keys.seal_keys(true), (&stream[112..144], &stream[48..80]));
    assert_eq!(keys.seal_keys(false), (&stream[144..176], &stream[80..112]));
    assert_eq!(keys.pi(), &stream[176..224]);
    assert_eq!(keys.pr(), &stream[224..]);
    let shown = format!("{keys:?}");
    assert!(shown.contains("redacted") && !shown.contains(&keys.d()[0].to_string()), "{shown}");
}

#[test]
fn pre_shared_key_auth_is_its_formula() {
    for &prf in Prf::ALL {
        let inner = prf.prf(b"a shared secret", &[b"Key Pad for IKEv2"]);
        let id = prf.prf(b"SK_p", &[b"\x02\0\0\0peer.example"]);
        let expected = prf.prf(inner.as_ref(), &[&[b"message".as_slice(), b"nonce", id.as_ref()].concat()]);
        let auth = psk_auth(prf, b"a shared secret", b"message", b"nonce", b"SK_p", b"\x02\0\0\0peer.example");
        assert_eq!(auth, expected, "{prf}");
    }
}
