//! Each level of the parser against the slow reader.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twinline::checks::levels(input));
