#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| innkeeper::provider::xapi::fuzzing::answer(bytes));
