//! Any bytes as a page: `cargo +nightly fuzz run page`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flinkrelay::exposition::fuzz_page(data));
