//! On-demand prices that ship with the operator, for pools that do not ask for Amazon's own list ([`super::price_list`]) or
//! cannot reach it. They are for choosing between places, and a price that is written on the pool goes before them.
//!
//! Within a family the price goes with the size, so one number for each family and region says all.

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::Timestamp;
use rust_decimal::Decimal;

const TABLE: &str = include_str!("prices.txt");

/// Families by name, with the price of their size `large` in each region.
struct Prices<'t> {
    regions: Vec<&'t str>,
    families: BTreeMap<&'t str, Vec<Option<Decimal>>>,
}

static PRICES: LazyLock<Prices<'static>> = LazyLock::new(|| Prices::parse(TABLE));

impl<'t> Prices<'t> {
    fn parse(table: &'t str) -> Self {
        let (mut regions, mut families) = (Vec::new(), BTreeMap::new());
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("region") => regions = words.collect(),
                Some(family) => drop(families.insert(family, words.map(|word| word.parse().ok()).collect())),
                None => {}
            }
        }
        Self { regions, families }
    }

    fn hourly(&self, region: &str, instance_type: &str) -> Option<Decimal> {
        let (family, size) = instance_type.split_once('.')?;
        let at = self.regions.iter().position(|known| *known == region)?;
        let large = (*self.families.get(family)?.get(at)?)?;
        Some((large * sixteenths(size)? / Decimal::from(16)).round_dp(6).normalize())
    }
}

/// A size as a multiple of a sixteenth of `large`.
fn sixteenths(size: &str) -> Option<Decimal> {
    let number: u32 = match size {
        "nano" => 1,
        "micro" => 2,
        "small" => 4,
        "medium" => 8,
        "large" => 16,
        "xlarge" => 32,
        size => size.strip_suffix("xlarge")?.parse::<u32>().ok()?.checked_mul(32)?,
    };
    Some(Decimal::from(number))
}

/// The price of an hour in USD. `None`: it is not in the table.
pub(super) fn hourly(region: &str, instance_type: &str) -> Option<Decimal> {
    PRICES.hourly(region, instance_type)
}

/// Of when the prices of a region are: the table says so at its beginning.
pub(super) fn as_of(region: &str) -> Timestamp {
    let recent = region == "us-east-1" || region.starts_with("us-gov-");
    // The first of July 2026, and of March 2025.
    Timestamp::from_second(if recent { 1_782_864_000 } else { 1_740_787_200 }).unwrap_or_default()
}

/// The families that are rented where the pool names none: the present ones of x86 for general use, for computing and for
/// memory, without those for special networks or disks, and the burstable ones.
pub(super) const USUAL: [&str; 28] = [
    "c5", "c5a", "c6a", "c6i", "c7a", "c7i", "c7i-flex", "c8a", "c8i", "m5", "m5a", "m6a", "m6i", "m7a", "m7i",
    "m7i-flex", "m8a", "m8i", "r5", "r5a", "r6a", "r6i", "r7a", "r7i", "r8a", "r8i", "t3", "t3a",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_family_share_its_price() {
        for (region, instance_type, expected) in [
            // As Amazon lists them.
            ("us-east-1", "t3.nano", "0.0052"),
            ("us-east-1", "t3.micro", "0.0104"),
            ("us-east-1", "m7i.large", "0.1008"),
            ("us-east-1", "m7i.48xlarge", "9.6768"),
            ("eu-west-1", "m5.large", "0.107"),
            ("eu-west-1", "t3.medium", "0.0456"),
            ("eu-west-2", "c5.xlarge", "0.202"),
        ] {
            let price = hourly(region, instance_type).map(|price| price.to_string());
            assert_eq!(price.as_deref(), Some(expected), "{region} {instance_type}");
        }
        for (region, instance_type) in [
            ("mars-1", "m7i.large"),
            ("us-east-1", "m7i.metal-24xl"),
            ("us-east-1", "z9.large"),
            ("ap-southeast-4", "c5a.large"),
            ("us-east-1", "m7i"),
        ] {
            assert_eq!(hourly(region, instance_type), None, "{region} {instance_type}");
        }
    }

    #[test]
    fn the_table_says_of_when_it_is() {
        assert_eq!(as_of("us-east-1").to_string(), "2026-07-01T00:00:00Z");
        assert_eq!(as_of("eu-west-1").to_string(), "2025-03-01T00:00:00Z");
    }

    #[test]
    fn the_table_is_whole() {
        assert!(PRICES.regions.len() > 30 && PRICES.families.len() > 40);
        for (family, prices) in &PRICES.families {
            assert_eq!(prices.len(), PRICES.regions.len(), "{family}");
            for price in prices.iter().flatten() {
                assert!(*price > Decimal::new(3, 2) && *price < Decimal::ONE, "{family} {price}");
            }
        }
        for family in USUAL {
            assert!(PRICES.families.contains_key(family), "{family}");
        }
    }
}
