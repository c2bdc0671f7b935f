//! Fuzzes `fuzz::pack_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::pack_header(bytes));
