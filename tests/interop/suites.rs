//! One IKE and one ESP proposal per row, in strongSwan's spelling, such that every algorithm ikelab shares with Debian's
//! strongSwan appears. The tests in `sweep` show that strongSwan accepts all rows.
//!
//! What strongSwan 5.9.8 gets from which plugin: AES-CBC `aes`, AES-CTR `ctr`, AES-GCM `gcm`, AES-CCM `ccm`, ChaCha20-Poly1305
//! `chapoly`, 3DES `openssl`, HMACs `hmac` over `md5`, `sha1` and `sha2`, AES-XCBC `xcbc`, AES-CMAC `cmac`, MODP groups `gmp`, ECP
//! groups `openssl`, X25519 `curve25519`.

use std::collections::BTreeSet;

use crate::proposal::{Encr, Hash, Ke, Proposal};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub ike: &'static str,
    pub esp: &'static str,
}

const fn s(ike: &'static str, esp: &'static str) -> Suite {
    Suite { ike, esp }
}

/// Each is to be offered alone, by either end.
pub const SUITES: &[Suite] = &[
    // The cipher changes, then the rest.
    s("aes128-sha256-x25519", "aes128-sha256"),
    s("aes192-sha256-x25519", "aes192-sha256"),
    s("aes256-sha256-x25519", "aes256-sha256"),
    s("aes128ctr-sha256-x25519", "aes128ctr-sha256"),
    s("aes192ctr-sha256-x25519", "aes192ctr-sha256"),
    s("aes256ctr-sha256-x25519", "aes256ctr-sha256"),
    s("aes128gcm8-prfsha256-x25519", "aes128gcm8"),
    s("aes128gcm12-prfsha256-x25519", "aes128gcm12"),
    s("aes128gcm16-prfsha256-x25519", "aes128gcm16"),
    s("aes192gcm8-prfsha256-x25519", "aes192gcm8"),
    s("aes192gcm12-prfsha256-x25519", "aes192gcm12"),
    s("aes192gcm16-prfsha256-x25519", "aes192gcm16"),
    s("aes256gcm8-prfsha256-x25519", "aes256gcm8"),
    s("aes256gcm12-prfsha256-x25519", "aes256gcm12"),
    s("aes256gcm16-prfsha384-ecp384", "aes256gcm16"),
    s("aes128ccm8-prfsha256-x25519", "aes128ccm8"),
    s("aes128ccm12-prfsha256-x25519", "aes128ccm12"),
    s("aes128ccm16-prfsha256-x25519", "aes128ccm16"),
    s("aes192ccm8-prfsha256-x25519", "aes192ccm8"),
    s("aes192ccm12-prfsha256-x25519", "aes192ccm12"),
    s("aes192ccm16-prfsha256-x25519", "aes192ccm16"),
    s("aes256ccm8-prfsha256-x25519", "aes256ccm8"),
    s("aes256ccm12-prfsha256-x25519", "aes256ccm12"),
    s("aes256ccm16-prfsha256-x25519", "aes256ccm16"),
    s("chacha20poly1305-prfsha256-x25519", "chacha20poly1305"),
    s("3des-sha1-modp1024", "3des-sha1"),
    // Integrity algorithms and PRFs, together and apart.
    s("aes128-md5-modp1024", "aes128-md5"),
    s("aes128-sha1-modp1024", "aes128-sha1"),
    s("aes256-sha384-ecp384", "aes256-sha384"),
    s("aes256-sha512-ecp521", "aes256-sha512"),
    s("aes128-aesxcbc-x25519", "aes128-aesxcbc"),
    s("aes128-aescmac-x25519", "aes128-aescmac"),
    s("aes128-sha256-prfaesxcbc-x25519", "aes128gcm16"),
    s("aes128-sha256-prfaescmac-x25519", "aes128gcm16"),
    s("aes256-sha1-prfsha512-ecp256", "aes256-sha512"),
    s("aes128-aesxcbc-prfsha1-ecp256", "null-sha1"),
    s("aes256gcm16-prfaescmac-ecp521", "null-sha256"),
    s("aes256gcm16-prfmd5-modp2048", "aes256gcm16"),
    s("chacha20poly1305-prfsha512-ecp384", "chacha20poly1305"),
    s("aes256ctr-sha512-prfsha384-modp2048", "aes256ctr-sha512"),
    s("3des-md5-modp768", "3des-md5"),
    // Groups.
    s("aes128-sha256-modp768", "aes128-sha256"),
    s("aes128-sha1-modp1536", "aes128-sha1"),
    s("aes256-sha256-modp2048", "aes256-sha256"),
    s("aes256-sha256-modp3072", "aes256-sha256"),
    s("aes256-sha512-modp4096", "aes256-sha512"),
    s("aes256-sha256-modp6144", "aes256-sha256"),
    s("aes256-sha512-modp8192", "aes256gcm16"),
    s("aes128-sha256-ecp256", "aes128-sha256"),
    s("aes256-sha384-ecp521", "aes256gcm16"),
];

/// The rows together use every algorithm that ikelab has. strongSwan lacks none of them.
#[test]
fn every_algorithm_has_a_suite() {
    let ike: Vec<Proposal> = SUITES.iter().map(|s| Proposal::parse(s.ike)).collect();
    for (s, p) in SUITES.iter().zip(&ike) {
        assert_eq!(p.to_string(), s.ike);
        assert_eq!(Proposal::parse(s.esp).to_string(), s.esp);
        assert_eq!(p.integ.is_none(), p.encr.is_aead(), "{}", s.ike);
    }
    let distinct: BTreeSet<&str> = SUITES.iter().map(|s| s.ike).collect();
    assert!(distinct.len() == SUITES.len() && distinct.len() >= 40, "{} distinct suites", distinct.len());

    let mut encr = BTreeSet::from([Encr::ChaCha, Encr::TripleDes]);
    for bits in [128, 192, 256] {
        encr.extend([Encr::Cbc(bits), Encr::Ctr(bits)]);
        encr.extend([8, 12, 16].into_iter().flat_map(|icv| [Encr::Gcm(bits, icv), Encr::Ccm(bits, icv)]));
    }
    assert_eq!(ike.iter().map(|p| p.encr).collect::<BTreeSet<_>>(), encr);
    let hashes = [Hash::Md5, Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512, Hash::AesXcbc, Hash::AesCmac];
    let hashes = BTreeSet::from(hashes);
    assert_eq!(ike.iter().map(Proposal::effective_prf).collect::<BTreeSet<_>>(), hashes);
    assert_eq!(ike.iter().filter_map(|p| p.integ).collect::<BTreeSet<_>>(), hashes);
    let mut groups = BTreeSet::from([Ke::X25519, Ke::Ecp(256), Ke::Ecp(384), Ke::Ecp(521)]);
    groups.extend([768, 1024, 1536, 2048, 3072, 4096, 6144, 8192].map(Ke::Modp));
    assert_eq!(ike.iter().filter_map(|p| p.ke).collect::<BTreeSet<_>>(), groups);
}
