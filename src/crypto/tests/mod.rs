//! Published vectors, independent recomputation and refusals for every algorithm.

mod ciphers;
mod groups;
mod kdf;
mod macs;
mod sealing;
mod suites;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Octets of hexadecimal digits; white space between them is skipped.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    assert!(digits.len().is_multiple_of(2), "half an octet");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A reproducible stream, different for every test that asks with another number.
fn rng(test: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(test)
}
