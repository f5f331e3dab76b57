//! The keyed functions under both the PRFs and the integrity algorithms, as one cloneable state.

use aes::Aes128;
use cmac::Cmac;
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroize;

use super::aes_mac::Xcbc;

/// Longest output: HMAC-SHA-512.
pub(super) const MAX_OUTPUT: usize = 64;

/// Which keyed function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MacKind {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Xcbc,
    Cmac,
}

/// A keyed state. Cloning one after keying costs a copy and no compression.
#[derive(Clone)]
pub(super) enum MacState {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
    Xcbc(Xcbc),
    Cmac(Cmac<Aes128>),
}

/// A full output on the stack, zeroized on drop.
#[derive(Clone)]
pub(super) struct MacOutput {
    pub(super) bytes: [u8; MAX_OUTPUT],
    pub(super) len: usize,
}

impl MacKind {
    /// Octets of the full output.
    pub(super) const fn output_len(self) -> usize {
        match self {
            MacKind::Md5 | MacKind::Xcbc | MacKind::Cmac => 16,
            MacKind::Sha1 => 20,
            MacKind::Sha256 => 32,
            MacKind::Sha384 => 48,
            MacKind::Sha512 => 64,
        }
    }
}

impl MacState {
    /// Keys the function. HMAC takes any length. The AES functions use 16 octets as they are and otherwise make
    /// 16 octets the way their PRF documents say: RFC 4434 section 2 (zero padding when shorter, XCBC under the zero
    /// key when longer) and RFC 4615 section 3 (CMAC under the zero key).
    pub(super) fn new(kind: MacKind, key: &[u8]) -> Self {
        const ANY: &str = "HMAC takes any key length";
        match kind {
            MacKind::Md5 => MacState::Md5(KeyInit::new_from_slice(key).expect(ANY)),
            MacKind::Sha1 => MacState::Sha1(KeyInit::new_from_slice(key).expect(ANY)),
            MacKind::Sha256 => MacState::Sha256(KeyInit::new_from_slice(key).expect(ANY)),
            MacKind::Sha384 => MacState::Sha384(KeyInit::new_from_slice(key).expect(ANY)),
            MacKind::Sha512 => MacState::Sha512(KeyInit::new_from_slice(key).expect(ANY)),
            MacKind::Xcbc => {
                let mut fitted = [0; 16];
                if key.len() > 16 {
                    let mut shorten = Xcbc::new(&[0; 16]);
                    shorten.update(key);
                    fitted = shorten.finish();
                } else {
                    fitted[..key.len()].copy_from_slice(key);
                }
                let state = MacState::Xcbc(Xcbc::new(&fitted));
                fitted.zeroize();
                state
            }
            MacKind::Cmac => {
                let fitted = <&[u8; 16]>::try_from(key).copied();
                let mut fitted = fitted.unwrap_or_else(|_| {
                    let mut shorten = Cmac::<Aes128>::new((&[0; 16]).into());
                    shorten.update(key);
                    shorten.finalize_fixed().into()
                });
                let state = MacState::Cmac(KeyInit::new((&fitted).into()));
                fitted.zeroize();
                state
            }
        }
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        match self {
            MacState::Md5(state) => state.update(data),
            MacState::Sha1(state) => state.update(data),
            MacState::Sha256(state) => state.update(data),
            MacState::Sha384(state) => state.update(data),
            MacState::Sha512(state) => state.update(data),
            MacState::Xcbc(state) => state.update(data),
            MacState::Cmac(state) => state.update(data),
        }
    }

    pub(super) fn finish(self) -> MacOutput {
        match self {
            MacState::Md5(state) => MacOutput::new(&state.finalize_fixed()),
            MacState::Sha1(state) => MacOutput::new(&state.finalize_fixed()),
            MacState::Sha256(state) => MacOutput::new(&state.finalize_fixed()),
            MacState::Sha384(state) => MacOutput::new(&state.finalize_fixed()),
            MacState::Sha512(state) => MacOutput::new(&state.finalize_fixed()),
            MacState::Xcbc(state) => MacOutput::new(&state.finish()),
            MacState::Cmac(state) => MacOutput::new(&state.finalize_fixed()),
        }
    }
}

impl MacOutput {
    fn new(output: &[u8]) -> Self {
        let mut bytes = [0; MAX_OUTPUT];
        bytes[..output.len()].copy_from_slice(output);
        MacOutput { bytes, len: output.len() }
    }

    /// Keeps the first `len` octets.
    pub(super) fn truncate(mut self, len: usize) -> Self {
        self.len = self.len.min(len);
        self
    }
}

impl AsRef<[u8]> for MacOutput {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for MacOutput {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}
