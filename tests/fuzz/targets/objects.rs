//! See `lb_agent::source::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_agent::source::fuzzed::objects(bytes));
