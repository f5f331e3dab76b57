//! Two seeds and a keyed derivation, so that a run can be replayed and a report still be shared.
//!
//! The *plan seed* decides faults, jitter and arrivals; it is printed and stored. The *key seed* gives nonces,
//! SPIs and key-exchange secrets; on real sockets it is fresh operating-system randomness and is never printed.
//! Derivation is by (scope, purpose, n): tunnel 57,123 replays alone, and a retry never repeats a nonce.

use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The seed of everything that may be printed. Made from any text.
#[derive(Clone)]
pub struct PlanSeed {
    text: String,
    key: [u8; 32],
}

/// The seed of everything secret. Neither printed nor stored, except beside an explicit key export.
#[derive(Clone)]
pub struct KeySeed([u8; 32]);

/// What a derived value is for. Two purposes never share bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Purpose {
    /// An IKE SPI (8 octets).
    IkeSpi = 1,
    /// A nonce (32 octets).
    Nonce = 2,
    /// A key-exchange secret.
    KeyExchange = 3,
    /// An ESP SPI (4 octets).
    ChildSpi = 4,
    /// Initialisation vectors of one IKE SA.
    Iv = 5,
    /// The responder's cookie secret.
    CookieSecret = 6,
    /// Timer jitter.
    Jitter = 7,
    /// Whatever a fault needs.
    Fault = 8,
    /// Identifier octets of EAP and configuration payloads.
    Eap = 9,
    /// A probabilistic signature's or padding's randomness.
    Signature = 10,
    /// COOKIE2 of MOBIKE.
    Cookie2 = 11,
}

/// Whose value it is: the tunnel (and which of its attempts) on the initiator's side; on the responder's a hash of the whole
/// IKE_SA_INIT, its path and the instant it came, so that a packet played back gets other values than the first time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scope(pub [u8; 16]);

/// Both seeds of a run.
#[derive(Clone)]
pub struct Seeds {
    /// Decides what may be printed.
    pub plan: PlanSeed,
    /// Decides what must stay secret.
    pub key: KeySeed,
    prepared: Hmac<Sha256>,
}

impl PlanSeed {
    /// Derives the plan seed from any text, as given to `--seed`.
    pub fn from_text(text: &str) -> Self {
        let key = Sha256::new().chain_update(b"ikelab plan seed\0").chain_update(text).finalize().into();
        PlanSeed { text: text.to_owned(), key }
    }

    /// The text it was made from, to print and to store.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A reproducible stream for `label`.
    pub fn stream(&self, label: &str) -> ChaCha20Rng {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("HMAC takes any key length");
        mac.update(label.as_bytes());
        ChaCha20Rng::from_seed(mac.finalize_fixed().into())
    }

    /// The key seed of a simulated run. Never use it on a real socket: whoever reads the plan seed knows the keys.
    pub fn simulated_keys(&self) -> KeySeed {
        KeySeed(Sha256::new().chain_update(b"ikelab simulated keys\0").chain_update(self.key).finalize().into())
    }
}

impl KeySeed {
    /// Wraps 32 octets, which must come from the operating system's random source on real sockets.
    pub fn new(bytes: [u8; 32]) -> Self {
        KeySeed(bytes)
    }
}

impl Seeds {
    /// Joins the two seeds.
    pub fn new(plan: PlanSeed, key: KeySeed) -> Self {
        let prepared = <Hmac<Sha256> as KeyInit>::new_from_slice(&key.0).expect("HMAC takes any key length");
        Seeds { plan, key, prepared }
    }

    /// Seeds for a simulated run: the key seed derives from the plan seed.
    pub fn simulated(text: &str) -> Self {
        let plan = PlanSeed::from_text(text);
        let key = plan.simulated_keys();
        Seeds::new(plan, key)
    }

    /// A scope for the initiator's side of tunnel `tunnel` in endpoint `salt`.
    pub fn tunnel_scope(salt: u64, tunnel: u64) -> Scope {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&salt.to_be_bytes());
        out[8..].copy_from_slice(&tunnel.to_be_bytes());
        Scope(out)
    }

    /// A scope for a responder: a hash of what the initiator sent and from where.
    pub fn responder_scope(parts: &[&[u8]]) -> Scope {
        let mut hash = Sha256::new_with_prefix(b"responder");
        for part in parts {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut out = [0; 16];
        out.copy_from_slice(&digest[..16]);
        Scope(out)
    }

    /// Fills `out` with the `n`th value of `purpose` in `scope`.
    pub fn fill(&self, scope: Scope, purpose: Purpose, n: u64, out: &mut [u8]) {
        let mut block = [0; 32];
        self.block(scope, purpose, n, &mut block);
        if out.len() <= block.len() {
            out.copy_from_slice(&block[..out.len()]);
        } else {
            ChaCha20Rng::from_seed(block).fill_bytes(out);
        }
    }

    /// A stream for `purpose` in `scope`, for what needs an unknown number of octets (rejection sampling).
    pub fn stream(&self, scope: Scope, purpose: Purpose, n: u64) -> ChaCha20Rng {
        let mut block = [0; 32];
        self.block(scope, purpose, n, &mut block);
        ChaCha20Rng::from_seed(block)
    }

    fn block(&self, scope: Scope, purpose: Purpose, n: u64, out: &mut [u8; 32]) {
        let mut mac = self.prepared.clone();
        mac.update(&scope.0);
        mac.update(&[purpose as u8]);
        mac.update(&n.to_be_bytes());
        mac.finalize_into(out.into());
    }
}

impl std::fmt::Debug for KeySeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySeed(redacted)")
    }
}

impl std::fmt::Debug for PlanSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlanSeed({:?})", self.text)
    }
}

impl std::fmt::Debug for Seeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seeds({:?})", self.plan)
    }
}
