//! Lengths of time as they stand in manifests: `90s`, `2m`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use snafu::{OptionExt, Snafu};

/// A length of time in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// The text is not a length of time.
#[derive(Debug, Snafu)]
#[snafu(display("\"{text}\" is not a length of time; write hours, minutes and seconds, for example 90s, 2m or 1h30m"))]
pub struct ParseSpanError {
    text: String,
}

const UNITS: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (mut rest, mut seconds) = (text, 0u64);
            for (unit, factor) in UNITS {
                if let Some((number, tail)) = rest.split_once(unit) {
                    seconds = number.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(seconds)?;
                    rest = tail;
                }
            }
            (rest.is_empty() && !text.is_empty()).then_some(seconds)
        };
        parse().map(|seconds| Self(Duration::from_secs(seconds))).context(ParseSpanSnafu { text })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 24,
            "x-kubernetes-validations": [{
                "rule": "self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$')",
                "message": "write a length of time in hours, minutes and seconds, for example 90s, 2m or 1h30m",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_length_of_time() {
        for text in ["", "2", "m", "2d", "-1s", "1.5h", "1s1m", "2 m", "99999999999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text} was accepted");
        }
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(seconds in 0u64..10_000_000) {
            let span = Span(Duration::from_secs(seconds));
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }
}
