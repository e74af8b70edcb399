//! Money: decimal amounts with a currency, never floats.

use std::{borrow::Cow, fmt, str::FromStr};

use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use snafu::{ResultExt, Snafu, ensure};

/// The hours that a monthly price is spread over: a twelfth of a year of 365 days, as the public providers bill.
pub const HOURS_PER_MONTH: Decimal = Decimal::from_parts(730, 0, 0, false, 0);

/// A three-letter currency code of ISO 4217, such as `EUR`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Why a text is not a currency or an amount.
#[derive(Debug, Snafu)]
pub enum ParseMoneyError {
    /// Not three capital letters.
    #[snafu(display("\"{text}\" is not a currency; write its three-letter code, for example EUR"))]
    NotACurrency {
        /// The offending text.
        text: String,
    },
    /// Not a decimal number.
    #[snafu(display("\"{text}\" is not an amount of money; write a decimal number, for example \"0.0456\""))]
    NotAnAmount {
        /// The offending text.
        text: String,
        /// What the number parser said.
        source: rust_decimal::Error,
    },
    /// Amounts of money in manifests are never below zero.
    #[snafu(display("\"{text}\" is below zero"))]
    Negative {
        /// The offending text.
        text: String,
    },
}

impl Currency {
    /// The code, for example `EUR`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII capitals get in, so this never takes the second way.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => NotACurrencySnafu { text }.fail(),
        }
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^[A-Z]{3}$')",
                "message": "write the currency's three-letter code in capitals, for example EUR",
            }],
        })
    }
}

/// A decimal amount that is zero or more, as it stands in manifests: a quoted decimal number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub Decimal);

impl FromStr for Amount {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let amount = Decimal::from_str_exact(text).context(NotAnAmountSnafu { text })?;
        ensure!(!amount.is_sign_negative() || amount.is_zero(), NegativeSnafu { text });
        Ok(Self(amount))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.normalize().fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 23,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^[0-9]{1,12}([.][0-9]{1,10})?$')",
                "message": "write the amount as a quoted decimal number, for example \"0.0456\"",
            }],
        })
    }
}

/// An amount in a currency. Two currencies never add up: who needs that needs a rate and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// An amount in a currency.
    #[must_use]
    pub const fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount: Amount(amount), currency }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit() {
        let amount: Amount = "0.1000000001".parse().unwrap();
        assert_eq!(amount.to_string(), "0.1000000001");
        assert_eq!(serde_json::to_string(&amount).unwrap(), "\"0.1000000001\"");
    }

    #[test]
    fn refuses_what_is_not_money() {
        for text in ["", "-1", "1e3", "a", "NaN", "1,5"] {
            assert!(text.parse::<Amount>().is_err(), "{text} was accepted");
        }
        for text in ["", "eur", "EURO", "€", "E1R"] {
            assert!(text.parse::<Currency>().is_err(), "{text} was accepted");
        }
    }
}
