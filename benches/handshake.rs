//! What a handshake costs beside its cryptography: IKE_SA_INIT and IKE_AUTH with a pre-shared key, in memory.
//!
//! `bare` plays both sides' cryptography and nothing else, by the same library in the same process: key pair, agreement,
//! SK keys, both AUTH values, one message sealed and one opened per side, the Child's KEYMAT. Keys are fresh each time,
//! and each side checks the other's AUTH and tag. The two are alternated; figures are medians of CPU time.
//!
//! With `--only=NAME` (part of a suite's name) and `--engine` it runs one side alone, for a profiler.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use ikelab::crypto::{Encr, Group, IkeKeys, IkeSuite, Integ, KeyPair, Prf, child_keymat, psk_auth};
use ikelab::engine::ConnectionSpec;
use ikelab::wire::IkeSpi;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use support::{FAST, PSK, World, cpu, esp_suite, left_spec, median};

#[global_allocator]
static ALLOC: support::alloc::Counting = support::alloc::Counting;

const ROUNDS: usize = 31;

/// Suites, handshakes per round, and the aim: at most so many times the cryptography.
fn suites() -> [(IkeSuite, u64, f64); 4] {
    let cbc = IkeSuite {
        encr: Encr::AesCbc(128),
        prf: Prf::HmacSha256,
        integ: Some(Integ::HmacSha256_128),
        ke: Group::Modp2048,
    };
    let strong =
        IkeSuite { encr: Encr::AesGcm { bits: 256, icv: 16 }, prf: Prf::HmacSha384, integ: None, ke: Group::Ecp384 };
    // The aim for X25519 was given as 52 microseconds beside 37.
    let fast_aim = 52.0 / 37.0;
    [
        (FAST, 200, fast_aim),
        (IkeSuite { ke: Group::Ecp256, ..FAST }, 100, fast_aim),
        (cbc, 20, 1.15),
        (strong, 20, 1.15),
    ]
}

fn main() {
    if !support::wanted() {
        return;
    }
    let only = std::env::args().find_map(|arg| arg.strip_prefix("--only=").map(str::to_owned)).unwrap_or_default();
    let alone = std::env::args().any(|arg| arg == "--engine");
    println!("handshake in memory, CPU per side          engine      bare     ratio    aim   beyond  allocations");
    for (suite, count, aim) in suites() {
        let name = suite.to_string();
        if !name.contains(&only) {
            continue;
        }
        let specs: Vec<_> = (0..count).map(|tunnel| Arc::new(left_spec(&suite, tunnel))).collect();
        let mut world = World::new(&suite, "sizes");
        world.handshake(&specs[0], 0);
        let mut bare = Bare::new(suite, &world.sizes);
        bare.both_sides();
        let (mut engine_times, mut bare_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let allocations = allocations(&suite, &specs[0]);
        for round in 0..ROUNDS {
            let mut world = World::new(&suite, &round.to_string());
            let start = cpu();
            for (spec, tunnel) in specs.iter().zip(0..) {
                black_box(world.handshake(spec, tunnel));
            }
            let engine = (cpu() - start).as_secs_f64() * 1e6 / (2 * count) as f64;
            engine_times.push(engine);
            if alone {
                continue;
            }
            let start = cpu();
            (0..count).for_each(|_| bare.both_sides());
            let bare = (cpu() - start).as_secs_f64() * 1e6 / (2 * count) as f64;
            bare_times.push(bare);
            ratios.push(engine / bare);
        }
        if alone {
            println!("{name:<40} {:>6.1} us", median(engine_times));
            continue;
        }
        let (engine, bare, ratio) = (median(engine_times), median(bare_times), median(ratios));
        let beyond = engine - bare;
        println!(
            "{name:<40} {engine:>6.1} us {bare:>6.1} us    {ratio:>5.2}  {aim:>5.2}  {beyond:>4.1} us  {allocations:>11}"
        );
    }
}

/// Allocations of one handshake, per side.
fn allocations(suite: &IkeSuite, spec: &Arc<ConnectionSpec>) -> u64 {
    let mut world = World::new(suite, "count");
    support::alloc::count(true);
    let before = support::alloc::calls();
    world.handshake(spec, 0);
    let after = support::alloc::calls();
    support::alloc::count(false);
    (after - before) / 2
}

/// Both sides' cryptography of one handshake, with messages of the engine's sizes.
struct Bare {
    suite: IkeSuite,
    rng: ChaCha20Rng,
    init: [Vec<u8>; 2],
    auth: [Vec<u8>; 2],
    nonces: [[u8; 32]; 2],
    ids: [Vec<u8>; 2],
}

impl Bare {
    fn new(suite: IkeSuite, sizes: &[usize]) -> Self {
        let &[init_request, init_response, auth_request, auth_response] = sizes else {
            panic!("a handshake has four messages, not {}", sizes.len())
        };
        Bare {
            suite,
            rng: ChaCha20Rng::seed_from_u64(3),
            init: [vec![1; init_request], vec![2; init_response]],
            auth: [vec![0; auth_request], vec![0; auth_response]],
            nonces: [[3; 32], [4; 32]],
            ids: [b"\x02\0\0\0client-000000.bench.test".to_vec(), b"\x02\0\0\0headend.bench.test".to_vec()],
        }
    }

    fn both_sides(&mut self) {
        let Bare { suite, rng, nonces, .. } = self;
        nonces.iter_mut().for_each(|nonce| rng.fill_bytes(nonce));
        let spis = (IkeSpi(rng.next_u64()), IkeSpi(rng.next_u64()));
        let pairs = [KeyPair::generate(suite.ke, rng), KeyPair::generate(suite.ke, rng)];
        let keys = [0, 1].map(|side| {
            let shared = pairs[side].agree(pairs[1 - side].public()).expect("an honest public value");
            IkeKeys::derive(suite, &nonces[0], &nonces[1], spis.0, spis.1, shared.as_ref())
        });
        // What `keys` of either side make of `signer`'s AUTH.
        let auth = |keys: &IkeKeys, signer: usize| {
            let sk_p = if signer == 0 { keys.pi() } else { keys.pr() };
            psk_auth(suite.prf, PSK, &self.init[signer], &nonces[1 - signer], sk_p, &self.ids[signer])
        };
        let sk = suite.sk();
        for signer in [0, 1] {
            let own = auth(&keys[signer], signer);
            let mut message = self.auth[signer].clone();
            let (encr, integ) = keys[signer].seal_keys(signer == 0);
            sk.seal(encr, integ, &mut message, 32).expect("the engine's layout");
            let (encr, integ) = keys[1 - signer].seal_keys(signer == 0);
            sk.open(encr, integ, &mut message, 32).expect("the same keys");
            assert!(auth(&keys[1 - signer], signer) == own, "AUTH verifies");
        }
        let esp = esp_suite(suite);
        let [a, b] = keys.map(|keys| child_keymat(suite.prf, keys.d(), None, &nonces[0], &nonces[1], &esp));
        assert!(black_box(a) == black_box(b), "one KEYMAT");
    }
}
