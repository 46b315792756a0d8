//! All scanners against each other, on each level.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twinline::checks::scanners(input));
