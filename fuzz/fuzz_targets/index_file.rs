//! Fuzzes `fuzz::index_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::index_file(bytes));
