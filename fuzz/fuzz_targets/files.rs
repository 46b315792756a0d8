//! Files of history, and answers in their form.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| twinline::checks::files(input));
