//! Any octets, as ESP packets and as the inside of authentic ones: `cargo +nightly fuzz run esp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ikelab::esp::selfcheck(data));
