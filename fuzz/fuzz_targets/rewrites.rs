//! Stamping, splitting and rewriting keep what a body says.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twinline::checks::rewrites(input));
