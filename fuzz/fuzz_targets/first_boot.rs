#![no_main]

libfuzzer_sys::fuzz_target!(|told: (&str, &str)| innkeeper::provider::xapi::fuzzing::first_boot(told.0, told.1));
