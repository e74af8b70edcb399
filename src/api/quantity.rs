//! Sizes of memory and disks as Kubernetes quantities (`4Gi`, `512Mi`, `20G`).

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use snafu::{OptionExt, ResultExt, Snafu};

/// An amount of memory or disk in bytes. Written in manifests as a Kubernetes quantity in whole bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Why a text is not a size.
#[derive(Debug, Snafu)]
pub enum ParseBytesError {
    /// The text does not start with digits.
    #[snafu(display("\"{text}\" is not a size; write digits and a unit, for example 4Gi or 512Mi"))]
    NotANumber {
        /// The offending text.
        text: String,
        /// What the number parser said.
        source: std::num::ParseIntError,
    },
    /// The unit is none of the known ones.
    #[snafu(display("\"{text}\" has an unknown unit; use Ki, Mi, Gi, Ti, k, M, G, T or none for bytes"))]
    UnknownUnit {
        /// The offending text.
        text: String,
    },
    /// The number of bytes does not fit in 64 bits.
    #[snafu(display("\"{text}\" is more than 2^64 bytes"))]
    TooLarge {
        /// The offending text.
        text: String,
    },
}

/// Pattern of the sizes accepted in manifests. Fractions and milli-bytes are legal quantities that nobody means.
pub const PATTERN: &str = "^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?$";

const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

impl Bytes {
    /// This many binary gigabytes.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// This many binary megabytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, or the largest value there is.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// For people: the largest binary unit with at most one decimal, such as `6 GiB` or `1.5 GiB`.
    #[must_use]
    pub fn human(self) -> String {
        const NAMES: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1 << 10 {
            return format!("{} bytes", self.0);
        }
        let tenths = |unit: u32| (u128::from(self.0) * 10 + (1 << (unit * 10 - 1))) >> (unit * 10);
        // What rounds up to a whole one of the next unit is said in that.
        let unit = (1..4).find(|unit| tenths(*unit) < 10_240).unwrap_or(4);
        let (whole, name) = (tenths(unit) / 10, NAMES[unit as usize - 1]);
        match tenths(unit) % 10 {
            0 => format!("{whole} {name}"),
            rest => format!("{whole}.{rest} {name}"),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS[..4].iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match binary {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit).context(UnknownUnitSnafu { text })?.1,
        };
        let number: u64 = number.parse().context(NotANumberSnafu { text })?;
        number.checked_mul(factor).map(Self).context(TooLargeSnafu { text })
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 17,
            // A rule rather than a pattern: its message can say what to write.
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{PATTERN}')"),
                "message": "write a size as a whole number and a unit, for example 512Mi or 4Gi",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_units_of_kubernetes() {
        for (text, bytes) in [("4Gi", 4 << 30), ("512Mi", 512 << 20), ("20G", 20_000_000_000), ("7", 7), ("3k", 3_000)]
        {
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_nobody_means() {
        for text in ["", "Gi", "4GB", "1.5Gi", "-1Gi", "100m", "4 Gi", "99999999999999999999", "18446744073709551615Ti"]
        {
            assert!(text.parse::<Bytes>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn speaks_to_people() {
        assert_eq!(Bytes::gib(6).human(), "6 GiB");
        assert_eq!(Bytes::mib(1536).human(), "1.5 GiB");
        assert_eq!(Bytes(12).human(), "12 bytes");
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(n in 0u64..=u64::MAX) {
            prop_assert_eq!(Bytes(n).to_string().parse::<Bytes>().unwrap(), Bytes(n));
        }
    }
}
