//! The readers of all servers; that of InfluxDB 3 against the crate that the server is made of.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twinline::checks::dialects(input));
