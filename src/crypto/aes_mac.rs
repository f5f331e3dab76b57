//! AES-XCBC-MAC (RFC 3566), which RustCrypto does not have.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

/// A running AES-XCBC-MAC over a 16-octet key.
#[derive(Clone)]
pub(super) struct Xcbc {
    cipher: Aes128,
    /// K2 for a whole last block, K3 for a padded one.
    last: [[u8; 16]; 2],
    chain: [u8; 16],
    /// The last block so far. It is held back until more comes, because the final one is treated differently.
    pending: [u8; 16],
    filled: usize,
}

impl Xcbc {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        let outer = Aes128::new(key.into());
        let derive = |fill: u8| {
            let mut block = [fill; 16];
            outer.encrypt_block((&mut block).into());
            block
        };
        Xcbc {
            cipher: Aes128::new((&derive(1)).into()),
            last: [derive(2), derive(3)],
            chain: [0; 16],
            pending: [0; 16],
            filled: 0,
        }
    }

    pub(super) fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.filled == 16 {
                self.absorb([0; 16]);
            }
            let take = data.len().min(16 - self.filled);
            self.pending[self.filled..self.filled + take].copy_from_slice(&data[..take]);
            self.filled += take;
            data = &data[take..];
        }
    }

    pub(super) fn finish(mut self) -> [u8; 16] {
        let whole = self.filled == 16;
        if !whole {
            self.pending[self.filled] = 0x80;
            self.pending[self.filled + 1..].fill(0);
        }
        self.absorb(self.last[usize::from(!whole)]);
        self.chain
    }

    fn absorb(&mut self, mask: [u8; 16]) {
        for ((chain, pending), mask) in self.chain.iter_mut().zip(self.pending).zip(mask) {
            *chain ^= pending ^ mask;
        }
        self.cipher.encrypt_block((&mut self.chain).into());
        self.filled = 0;
    }
}
