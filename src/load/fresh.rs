//! Are Diffie-Hellman values, nonces and Child keys new in every handshake? A sample says.
//!
//! An end may use a Diffie-Hellman value more than once (RFC 7296 2.12), which saves it a good part of a handshake's work: a
//! rate means something only with it said. Nonces and the keys of Child SAs must never come twice.
//!
//! Of every 64 handshakes, two that were begun one after the other are looked at: cheap, and yet what is used for two or
//! three in a row stands out as what is used for all. Their values are kept as 64-bit hashes, in memory only.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::crypto::ChildKeys;
use crate::record::Direction;
use crate::wire::registry::ExchangeType;
use crate::wire::{Payload, decode};

/// Of so many handshakes...
const OF: u64 = 64;
/// ...so many are looked at, one begun after the other.
const TAKEN: u64 = 2;
/// Handshakes that a shard looks at before it has seen enough.
const MOST: u64 = 8192;

/// Name of the file in a run's directory.
pub const FILE: &str = "freshness.json";

/// What the sample of all shards says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Freshness {
    /// Handshakes looked at, all of which succeeded.
    pub handshakes: u64,
    /// Different Diffie-Hellman values of ours in them.
    pub key_exchange_ours: u64,
    /// And of the peer's.
    pub key_exchange_peer: u64,
    /// Different nonces of ours.
    pub nonces_ours: u64,
    /// And of the peer's.
    pub nonces_peer: u64,
    /// Child SAs looked at.
    pub child_sas: u64,
    /// Different keys in them: two for each, one for each direction.
    pub child_keys: u64,
}

impl Freshness {
    /// Nothing was used twice, by either end, and each handshake made the keys of a Child SA.
    pub fn is_fresh(&self) -> bool {
        let values = [self.key_exchange_ours, self.key_exchange_peer, self.nonces_ours, self.nonces_peer];
        self.handshakes > 0
            && self.child_sas == self.handshakes
            && self.child_keys == 2 * self.child_sas
            && values.iter().all(|different| *different == self.handshakes)
    }
}

/// One shard's sample.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    begun: u64,
    handshakes: u64,
    child_sas: u64,
    key_exchange: [Vec<u64>; 2],
    nonces: [Vec<u64>; 2],
    child_keys: Vec<u64>,
}

impl Sample {
    /// A handshake begins: is it to be looked at?
    pub fn takes(&mut self) -> bool {
        self.begun += 1;
        (self.begun - 1) % OF < TAKEN && self.handshakes < MOST
    }

    /// One that was to be looked at has succeeded; these are its datagrams, and its Child SA's keys by [`hash_keys`].
    pub fn add<'a>(&mut self, datagrams: impl Iterator<Item = (Direction, &'a [u8])>, child: Option<[u64; 2]>) {
        self.handshakes += 1;
        if let Some(keys) = child {
            self.child_sas += 1;
            self.child_keys.extend(keys);
        }
        // What was said last counts: a cookie or another group may have been asked for before.
        let mut last = [(None, None); 2];
        for (direction, bytes) in datagrams {
            let Ok(message) = decode(bytes) else { continue };
            if message.header.exchange != ExchangeType::IKE_SA_INIT {
                continue;
            }
            for payload in &message.payloads {
                let (key_exchange, nonce) = &mut last[usize::from(direction == Direction::In)];
                match payload {
                    Payload::Ke(ke) => *key_exchange = Some(hash(&ke.data)),
                    Payload::Nonce(said) => *nonce = Some(hash(&said.data)),
                    _ => {}
                }
            }
        }
        for (end, (key_exchange, nonce)) in last.into_iter().enumerate() {
            self.key_exchange[end].extend(key_exchange);
            self.nonces[end].extend(nonce);
        }
    }
}

/// Hashes of a Child SA's keys, one for each direction.
pub fn hash_keys(keys: &ChildKeys) -> [u64; 2] {
    [(&keys.i_encr, &keys.i_integ), (&keys.r_encr, &keys.r_integ)].map(|(encr, integ)| {
        let mut hasher = DefaultHasher::new();
        encr.as_ref().hash(&mut hasher);
        integ.as_ref().hash(&mut hasher);
        hasher.finish()
    })
}

/// All shards' samples together.
pub fn freshness<'a>(samples: impl Iterator<Item = &'a Sample>) -> Freshness {
    let mut all = Sample::default();
    for sample in samples {
        all.handshakes += sample.handshakes;
        all.child_sas += sample.child_sas;
        for end in 0..2 {
            all.key_exchange[end].extend(&sample.key_exchange[end]);
            all.nonces[end].extend(&sample.nonces[end]);
        }
        all.child_keys.extend(&sample.child_keys);
    }
    let [key_exchange_ours, key_exchange_peer] = all.key_exchange.map(different);
    let [nonces_ours, nonces_peer] = all.nonces.map(different);
    Freshness {
        handshakes: all.handshakes,
        key_exchange_ours,
        key_exchange_peer,
        nonces_ours,
        nonces_peer,
        child_sas: all.child_sas,
        child_keys: different(all.child_keys),
    }
}

fn different(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.dedup();
    values.len() as u64
}

fn hash(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use crate::wire::registry::KeMethod;
    use crate::wire::{Flags, Header, IkeSpi, KePayload, Message, NoncePayload, encode_into};

    fn init(key_exchange: u8, nonce: u8) -> Vec<u8> {
        let header = Header::new(IkeSpi(1), IkeSpi(2), ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        let payloads = vec![
            Payload::Ke(KePayload { group: KeMethod::CURVE25519, data: vec![key_exchange; 32] }),
            Payload::Nonce(NoncePayload { data: vec![nonce; 32] }),
        ];
        let mut out = Vec::new();
        encode_into(&mut out, &Message::clear(header, payloads), None);
        out
    }

    fn keys(n: u8) -> [u64; 2] {
        let secret = |n: u8| Secret::new(vec![n; 20]);
        let none = || Secret::new(Vec::new());
        hash_keys(&ChildKeys { i_encr: secret(n), i_integ: none(), r_encr: secret(n + 100), r_integ: none() })
    }

    fn sample(said: [[(u8, u8); 2]; 3], child: [u8; 3]) -> Freshness {
        let mut sample = Sample::default();
        for ([ours, peer], child) in said.into_iter().zip(child) {
            // The first try was refused with a cookie.
            let asked = [init(ours.0, ours.1), init(ours.0, ours.1), init(peer.0, peer.1)];
            let directions = [Direction::Out, Direction::Out, Direction::In];
            sample.add(directions.into_iter().zip(asked.iter().map(Vec::as_slice)), Some(keys(child)));
        }
        freshness([&sample].into_iter())
    }

    #[test]
    fn what_is_used_twice_is_found() {
        let fresh = [[(1, 1), (11, 11)], [(2, 2), (12, 12)], [(3, 3), (13, 13)]];
        let found = sample(fresh, [1, 2, 3]);
        assert!(found.is_fresh() && found.handshakes == 3 && found.child_keys == 6, "{found:?}");
        let cases = [
            ([[(1, 1), (11, 11)], [(1, 2), (12, 12)], [(3, 3), (13, 13)]], "our Diffie-Hellman value"),
            ([[(1, 1), (11, 11)], [(2, 2), (11, 12)], [(3, 3), (13, 13)]], "the peer's"),
            ([[(1, 1), (11, 11)], [(2, 2), (12, 12)], [(3, 1), (13, 13)]], "our nonce"),
            ([[(1, 1), (11, 13)], [(2, 2), (12, 12)], [(3, 3), (13, 13)]], "the peer's nonce"),
        ];
        for (said, what) in cases {
            assert!(!sample(said, [1, 2, 3]).is_fresh(), "{what}");
        }
        assert!(!sample(fresh, [1, 2, 1]).is_fresh(), "the keys of a Child SA");
        // One end's keys for both directions.
        assert!(!sample(fresh, [1, 101, 3]).is_fresh(), "the keys of a Child SA, the other way round");
        assert!(!Freshness::default().is_fresh(), "nothing was looked at");
    }

    #[test]
    fn neighbours_are_looked_at_and_not_for_ever() {
        let mut sample = Sample::default();
        let taken: Vec<u64> = (0..200).filter(|_| sample.takes()).collect();
        assert_eq!(taken, [0, 1, 64, 65, 128, 129, 192, 193]);
        sample.handshakes = MOST;
        assert!(!(0..200).any(|_| sample.takes()));
    }
}
