//! What a tunnel costs: key exchange per group, message protection, key derivation.
//!
//! Two ratios are printed first: MODP-2048 key generation against the plain modular exponentiation, and P-256 key
//! generation against importing the scalar through the safe API.

#![allow(clippy::disallowed_methods)] // a bench reads the clock

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes_gcm::aead::{AeadInOut, KeyInit};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ikelab::crypto::{Encr, Group, IkeKeys, IkeSuite, Integ, KeyPair, Prf, SkSuite};
use ikelab::wire::IkeSpi;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// An IKE header and a payload header.
const BODY: usize = 32;
/// Octets of plaintext in a typical IKE_AUTH with a pre-shared key.
const PLAIN: usize = 300;

fn key_exchange(c: &mut Criterion) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut keygen = c.benchmark_group("keygen");
    for &group in Group::ALL {
        keygen.bench_function(group.name(), |b| b.iter(|| KeyPair::generate(group, &mut rng)));
    }
    keygen.finish();
    let mut agree = c.benchmark_group("agree");
    for &group in Group::ALL {
        let (ours, theirs) = (KeyPair::generate(group, &mut rng), KeyPair::generate(group, &mut rng));
        agree.bench_function(group.name(), |b| b.iter(|| ours.agree(black_box(theirs.public()))));
    }
    agree.finish();
}

fn protection(c: &mut Criterion) {
    let gcm = Encr::AesGcm { bits: 256, icv: 16 };
    let suites = [
        SkSuite { encr: Encr::AesCbc(256), integ: Some(Integ::HmacSha256_128) },
        SkSuite { encr: Encr::AesCbc(128), integ: Some(Integ::HmacSha1_96) },
        SkSuite { encr: gcm, integ: None },
        SkSuite { encr: Encr::AesCcm { bits: 256, icv: 16 }, integ: None },
        SkSuite { encr: Encr::ChaCha20Poly1305, integ: None },
        SkSuite { encr: Encr::TripleDes, integ: Some(Integ::HmacSha1_96) },
    ];
    for (name, open) in [("seal", false), ("open", true)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(PLAIN as u64));
        for suite in suites {
            let encr_key = vec![7; suite.encr.key_len()];
            let integ_key = vec![8; suite.integ.map_or(0, Integ::key_len)];
            let mut packet = vec![9; BODY + suite.sealed_len(PLAIN)];
            let pad_at = packet.len() - suite.icv_len() - 1;
            packet[pad_at] = suite.pad_len(PLAIN) as u8;
            if open {
                suite.seal(&encr_key, &integ_key, &mut packet, BODY).expect("lengths fit");
            }
            let label = suite.integ.map_or(suite.encr.to_string(), |integ| format!("{}-{integ}", suite.encr));
            group.bench_function(label, |b| {
                b.iter_batched_ref(
                    || packet.clone(),
                    |packet| {
                        if open {
                            suite.open(&encr_key, &integ_key, packet, BODY).map(drop)
                        } else {
                            suite.seal(&encr_key, &integ_key, packet, BODY)
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
        if !open {
            // The other AES-GCM at hand, with key set-up as ours: the reason for the choice.
            group.bench_function("aes256gcm16 by RustCrypto", |b| {
                b.iter_batched_ref(
                    || vec![9; BODY + 8 + PLAIN + 1],
                    |packet| {
                        let cipher = aes_gcm::Aes256Gcm::new(&[7; 32].into());
                        let (header, text) = packet.split_at_mut(BODY + 8);
                        cipher.encrypt_inout_detached(&[7; 12].into(), &header[..BODY], text.into())
                    },
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

fn derivation(c: &mut Criterion) {
    let mut group = c.benchmark_group("ike keys");
    for prf in [Prf::HmacSha1, Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512, Prf::AesXcbc] {
        let suite = IkeSuite { encr: Encr::AesCbc(256), prf, integ: Some(Integ::HmacSha256_128), ke: Group::Modp2048 };
        group.bench_function(prf.to_string(), |b| {
            b.iter(|| IkeKeys::derive(&suite, &[1; 32], &[2; 32], IkeSpi(3), IkeSpi(4), black_box(&[5; 256])));
        });
    }
    group.finish();
    c.bench_function("prf_plus sha256, 256 octets", |b| {
        let mut out = [0; 256];
        b.iter(|| Prf::HmacSha256.prf_plus(black_box(&[1; 32]), &[&[2; 80]], &mut out));
    });
}

/// Prints the two ratios that key generation is built for.
fn ratios(_: &mut Criterion) {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let pair = KeyPair::generate(Group::Modp2048, &mut rng);
    let mut two = vec![0; Group::Modp2048.public_len()];
    two[255] = 2;
    // Agreeing with the value 2 is 2^x by the general exponentiation, with an exponent of the same length.
    assert_eq!(pair.agree(&two).expect("2 is in range").as_ref(), pair.public());
    let plain = fastest(|| drop(black_box(pair.agree(&two))));
    let comb = fastest(|| drop(black_box(KeyPair::generate(Group::Modp2048, &mut rng))));
    report("modp2048 keygen", comb, "general exponentiation", plain);

    let ours = fastest(|| drop(black_box(KeyPair::generate(Group::Ecp256, &mut rng))));
    let import = fastest(|| {
        use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
        let mut scalar = [0; 32];
        rng.fill_bytes(&mut scalar);
        let key = PrivateKey::from_private_key(&ECDH_P256, &scalar).expect("in range but for one in 2^32");
        black_box(key.compute_public_key().expect("a valid key"));
    });
    report("ecp256 keygen", ours, "safe API import", import);
}

fn report(what: &str, ours: Duration, other: &str, theirs: Duration) {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("{what}: {ours:?}; {other}: {theirs:?}; ratio {ratio:.2}");
}

/// Mean time of a call in the fastest of several batches.
#[allow(clippy::disallowed_methods)] // a benchmark reads the clock
fn fastest(mut call: impl FnMut()) -> Duration {
    const CALLS: u32 = 200;
    let batches = (0..20).map(|_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed() / CALLS
    });
    batches.min().expect("twenty batches")
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = ratios, key_exchange, protection, derivation
}
criterion_main!(benches);
