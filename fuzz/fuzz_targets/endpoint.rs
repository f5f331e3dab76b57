//! Any octets, as operations on two endpoints and the network between them: `cargo +nightly fuzz run endpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ikelab::engine::selfcheck(data));
