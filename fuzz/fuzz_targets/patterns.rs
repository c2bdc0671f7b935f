//! Fuzzes `fuzz::patterns`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::patterns(bytes));
