//! Key exchange: published vectors, big-number recomputation, and values that must be refused.

use num_bigint::BigUint;
use rand_chacha::rand_core::Rng;

use super::{hex, rng};
use crate::crypto::lc::Modp;
use crate::crypto::{CryptoError, Group, KeyPair, PeerValue};

fn modp_groups() -> impl Iterator<Item = (Group, BigUint)> {
    Group::ALL.iter().filter_map(|group| Some((*group, BigUint::from_bytes_be(group.prime()?))))
}

/// A residue at the length of its group.
fn encode(group: Group, value: &BigUint) -> Vec<u8> {
    let digits = value.to_bytes_be();
    let mut out = vec![0; group.public_len() - digits.len()];
    out.extend(digits);
    out
}

/// floor(2^bits * pi), by Machin's formula.
fn pi_times_two_to(bits: u32) -> BigUint {
    let guard = 64;
    let one = BigUint::from(1u8) << (bits + guard);
    let inverse_tangent = |x: u32| {
        let mut power = &one / x;
        let (mut positive, mut negative) = (power.clone(), BigUint::ZERO);
        let mut n = 1u32;
        while power != BigUint::ZERO {
            power /= x * x;
            n += 2;
            let sum = if n % 4 == 3 { &mut negative } else { &mut positive };
            *sum += &power / n;
        }
        positive - negative
    };
    ((inverse_tangent(5) * 4u8 - inverse_tangent(239)) * 4u8) >> guard
}

/// RFC 7296 appendix B and RFC 3526: 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) * pi) + k).
#[test]
fn primes_follow_their_formula() {
    let offsets = [149_686u32, 129_093, 741_804, 124_476, 1_690_314, 240_904, 929_484, 4_743_158];
    let mut checked = 0;
    for ((group, prime), offset) in modp_groups().zip(offsets) {
        let bits = group.public_len() as u32 * 8;
        let one = BigUint::from(1u8);
        let middle = (pi_times_two_to(bits - 130) + offset) << 64;
        assert_eq!(prime, (&one << bits) - (&one << (bits - 64)) - one + middle, "{group}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

/// Miller-Rabin on p and on (p-1)/2, to a few bases: enough against a slip in a digit.
#[test]
fn primes_are_safe_primes() {
    let probably_prime = |n: &BigUint| {
        let top = n - 1u8;
        let twos = top.trailing_zeros().expect("n is odd and above 1");
        let odd = &top >> twos;
        [2u8, 3, 5].iter().all(|base| {
            let mut x = BigUint::from(*base).modpow(&odd, n);
            x == BigUint::from(1u8)
                || (0..twos).any(|_| {
                    let found = x == top;
                    x = x.modpow(&BigUint::from(2u8), n);
                    found
                })
        })
    };
    assert!(!probably_prime(&BigUint::from(561u32)), "the test itself");
    // Above 3072 bits this takes minutes without optimisation; the formula covers those.
    for (group, prime) in modp_groups().filter(|(group, _)| group.public_len() <= 384) {
        assert!(probably_prime(&prime), "{group}: p");
        assert!(probably_prime(&((&prime - 1u8) >> 1)), "{group}: (p-1)/2");
    }
}

#[test]
fn modp_public_and_shared_values_are_what_big_numbers_say() {
    for (group, prime) in modp_groups() {
        let mut rng = rng(1);
        for _ in 0..3 {
            let (ours, theirs) = (KeyPair::generate(group, &mut rng), KeyPair::generate(group, &mut rng));
            let exponent = BigUint::from_bytes_be(ours.secret());
            assert_eq!(exponent.bits(), group.exponent_bits() as u64, "{group}: never a short exponent");
            assert_eq!(ours.public(), encode(group, &BigUint::from(2u8).modpow(&exponent, &prime)), "{group}");
            let peer = BigUint::from_bytes_be(theirs.public());
            let shared = ours.agree(theirs.public()).expect("an honest value");
            assert_eq!(shared.as_ref(), encode(group, &peer.modpow(&exponent, &prime)), "{group}");
            assert_eq!(shared, theirs.agree(ours.public()).expect("an honest value"), "{group}");
        }
    }
}

/// The comb against the plain exponentiation, at exponents a random test does not meet.
#[test]
fn the_fixed_base_comb_handles_every_bit() {
    for (group, prime) in modp_groups() {
        let modp = Modp::of(group).expect("a MODP group");
        let len = group.exponent_bits() / 8;
        let mut exponents = vec![vec![0xff; len], vec![0; len]];
        // One bit alone at every place, for the smallest group; a sample for the others.
        let step = if group == Group::Modp768 { 1 } else { 37 };
        for bit in (0..len * 8).step_by(step) {
            let mut exponent = vec![0; len];
            exponent[bit / 8] = 1 << (bit % 8);
            exponents.push(exponent);
        }
        for exponent in exponents {
            let mut out = vec![0; group.public_len()];
            modp.base_pow(&exponent, &mut out);
            let expected = BigUint::from(2u8).modpow(&BigUint::from_bytes_be(&exponent), &prime);
            assert_eq!(out, encode(group, &expected), "{group} {exponent:02x?}");
        }
    }
}

#[test]
fn a_shared_secret_with_leading_zeros_keeps_its_length() {
    let mut rng = rng(2);
    for (group, prime) in modp_groups().take(2) {
        let ours = KeyPair::generate(group, &mut rng);
        let exponent = BigUint::from_bytes_be(ours.secret());
        let shared = (0..10_000)
            .map(|_| {
                let theirs = KeyPair::generate(group, &mut rng);
                let expected = BigUint::from_bytes_be(theirs.public()).modpow(&exponent, &prime);
                (ours.agree(theirs.public()).expect("an honest value"), expected)
            })
            .find(|(shared, _)| shared.as_ref()[0] == 0);
        let (shared, expected) = shared.expect("one in 256 begins with a zero octet");
        assert!(expected.to_bytes_be().len() < group.public_len());
        assert_eq!(shared.as_ref(), encode(group, &expected), "{group}");
    }
}

#[test]
fn modp_values_out_of_range_are_refused() {
    for (group, prime) in modp_groups() {
        let pair = KeyPair::generate(group, &mut rng(3));
        let one = BigUint::from(1u8);
        let refused = Err(CryptoError::Peer(PeerValue::OutOfRange(group)));
        for value in [BigUint::ZERO, one.clone(), &prime - 1u8, prime.clone(), &prime + 1u8] {
            assert_eq!(pair.agree(&encode(group, &value)), refused, "{group} {value}");
        }
        assert_eq!(pair.agree(&vec![0xff; group.public_len()]), refused, "{group}");
        for value in [&one + 1u8, &prime - 2u8, one << 9] {
            assert!(pair.agree(&encode(group, &value)).is_ok(), "{group} {value}");
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    for &group in Group::ALL {
        let pair = KeyPair::generate(group, &mut rng(4));
        let expected = group.public_len();
        let mut longer = vec![0];
        longer.extend_from_slice(pair.public());
        for peer in [&[][..], &pair.public()[1..], &longer] {
            let refused = CryptoError::Peer(PeerValue::Length { group, expected, got: peer.len() });
            assert_eq!(pair.agree(peer), Err(refused), "{group}");
        }
    }
    let error = CryptoError::Peer(PeerValue::Length { group: Group::Ecp256, expected: 64, got: 65 });
    assert_eq!(error.to_string(), "the peer's key exchange value is 65 octets long; ecp256 values have 64");
}

#[test]
fn points_off_the_curve_are_refused() {
    for group in [Group::Ecp256, Group::Ecp384, Group::Ecp521] {
        let pair = KeyPair::generate(group, &mut rng(5));
        let refused = Err(CryptoError::Peer(PeerValue::NotOnCurve(group)));
        let mut off = pair.public().to_vec();
        *off.last_mut().expect("not empty") ^= 1;
        assert_eq!(pair.agree(&off), refused, "{group}: y changed");
        assert_eq!(pair.agree(&vec![0; group.public_len()]), refused, "{group}: zero");
        assert_eq!(pair.agree(&vec![0xff; group.public_len()]), refused, "{group}: coordinates above p");
    }
}

/// Points of order 1, 2, 4 and 8 on the curve and its twist (RFC 7748 section 6.1 asks for the zero check).
#[test]
fn x25519_values_of_small_order_are_refused() {
    let pair = KeyPair::generate(Group::X25519, &mut rng(6));
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in points {
        let refused = Err(CryptoError::Peer(PeerValue::SmallOrder(Group::X25519)));
        assert_eq!(pair.agree(&hex(point)), refused, "{point}");
    }
}

fn check_vector(group: Group, i: &str, g_i: &str, r: &str, g_r: &str, shared: &str) {
    let ours = KeyPair::from_secret(group, &hex(i));
    let theirs = KeyPair::from_secret(group, &hex(r));
    assert_eq!(ours.public(), hex(g_i), "{group}");
    assert_eq!(theirs.public(), hex(g_r), "{group}");
    assert_eq!(ours.agree(theirs.public()).expect("a point").as_ref(), hex(shared), "{group}");
    assert_eq!(theirs.agree(ours.public()).expect("a point").as_ref(), hex(shared), "{group}");
}

#[test]
fn ecp_of_rfc_5903() {
    check_vector(
        Group::Ecp256,
        "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
        "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180
         5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
        "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
        "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63
         56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
        "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
    );
    check_vector(
        Group::Ecp384,
        "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
        "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA
         9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
        "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
        "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571
         DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
        "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
    );
    check_vector(
        Group::Ecp521,
        "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A0
         95AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
        "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBE
         E1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E
         017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10A
         D8A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582",
        "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E
         9C677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
        "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A21
         9B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F
         015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87
         220B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A",
        "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04
         D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA",
    );
}

#[test]
fn x25519_of_rfc_8031() {
    check_vector(
        Group::X25519,
        "751fb430865 5b476b6789b7325f9ea8cddd16a58533ff6d9e60009464a5f9d94",
        "48d5ddd4061257ba166fa3f9bbdb74f1a4e81c089384fa77f790709f0dfbc766",
        "0a54645253290d60ddadd0e030bacd9e5501efdc220755a1e978f1b839a05688",
        "0be7c1f5aad87d7e4486626732 98a443478b859745179eaf564c79c0ef6eee25",
        "c74950607a12327f3204d94b6825bfb068b7f8319a9e3708ed3d43ce8130c950",
    );
}

#[test]
fn the_same_stream_gives_the_same_pair() {
    for &group in Group::ALL {
        let (one, two) = (KeyPair::generate(group, &mut rng(7)), KeyPair::generate(group, &mut rng(7)));
        assert_eq!(one.public(), two.public(), "{group}");
        let other = KeyPair::generate(group, &mut rng(8));
        assert_ne!(one.public(), other.public(), "{group}");
        assert_eq!(one.agree(other.public()), other.agree(two.public()), "{group}");
        assert_eq!(one.agree(other.public()), one.agree(other.public()), "{group}: a pair works twice");
        assert_eq!(one.agree(other.public()).expect("honest").as_ref().len(), group.secret_len());
        assert!(!format!("{one:?}{:?}", one.agree(other.public())).contains("secret"));
    }
}

/// Scalars of 0 and of n or more are drawn again rather than used.
#[test]
fn scalars_out_of_range_are_drawn_again() {
    struct Scripted(Vec<Vec<u8>>);
    impl rand_chacha::rand_core::TryRng for Scripted {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unreachable!("only octets are drawn")
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unreachable!("only octets are drawn")
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.copy_from_slice(&self.0.remove(0));
            Ok(())
        }
    }
    for (group, len) in [(Group::Ecp256, 32), (Group::Ecp384, 48), (Group::Ecp521, 66)] {
        let mut one = vec![0; len];
        one[len - 1] = 1;
        let mut script = Scripted(vec![vec![0; len], vec![0xff; len], one.clone(), vec![0x33; len]]);
        let pair = KeyPair::generate(group, &mut script);
        assert_eq!(pair.secret(), one, "{group}");
        assert_eq!(script.0.len(), 1, "{group}");
        let mut octets = [0; 1];
        script.0[0].truncate(1);
        script.fill_bytes(&mut octets);
        assert_eq!(octets, [0x33]);
    }
}
