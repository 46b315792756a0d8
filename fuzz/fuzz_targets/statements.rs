//! Statements that change something, and answers to them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twinline::checks::statements(input));
