//! Fuzzes `fuzz::time`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::time(bytes));
