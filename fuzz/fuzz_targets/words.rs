#![no_main]

use innkeeper::api::{
    money::{Amount, Currency},
    quantity::Bytes,
    span::Span,
};

libfuzzer_sys::fuzz_target!(|text: &str| {
    innkeeper::provider::xapi::fuzzing::words(text);
    // What is read is written so that it is read as the same.
    if let Ok(bytes) = text.parse::<Bytes>() {
        assert_eq!(bytes.to_string().parse::<Bytes>().ok(), Some(bytes));
    }
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse::<Span>().ok(), Some(span));
    }
    let _ = (text.parse::<Amount>(), text.parse::<Currency>());
});
