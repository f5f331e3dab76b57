//! The cryptography of a handshake and nothing else: what there is to compare with.

use std::hint::black_box;

use ikelab::crypto::{IkeKeys, IkeSuite, KeyPair, child_keymat, psk_auth};
use ikelab::wire::IkeSpi;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{PSK, esp_suite};

/// Both sides' cryptography of one handshake, with messages of the engine's sizes.
pub struct Bare {
    suite: IkeSuite,
    rng: ChaCha20Rng,
    init: [Vec<u8>; 2],
    auth: [Vec<u8>; 2],
    nonces: [[u8; 32]; 2],
    ids: [Vec<u8>; 2],
}

impl Bare {
    /// With messages of these sizes.
    pub fn new(suite: IkeSuite, sizes: &[usize]) -> Self {
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

    /// One handshake; each side checks what the other has made.
    pub fn both_sides(&mut self) {
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
