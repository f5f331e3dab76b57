//! Any octets, as a datagram and as the inside of an SK payload: `cargo +nightly fuzz run decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ikelab::wire::selfcheck(data));
