//! Fuzzes `fuzz::chunker`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::chunker(bytes));
