//! See `lb_tests::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_tests::fuzzed::packet(bytes));
