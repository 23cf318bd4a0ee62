//! See `lb_agent::l7::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_agent::l7::fuzzed::endpoint(bytes));
