//! Prices that ship with the operator. Google's own price list is another service with another protocol and a key; these are for
//! choosing between places, and a price that is written on the pool goes before them.
//!
//! Within a family the price goes with virtual CPUs and memory, so two numbers for each family and region say all.

use std::{collections::HashMap, sync::LazyLock};

use rust_decimal::Decimal;

use crate::api::quantity::Bytes;

const TABLE: &str = include_str!("prices.txt");

/// What an hour of a machine type costs in USD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Price {
    pub hourly: Decimal,
    /// As capacity that Google can take back, where it is sold so. Google changes it at most once a month.
    pub spot: Option<Decimal>,
}

/// An hour of a virtual CPU, and of a GiB of memory.
#[derive(Clone, Copy, Debug)]
struct Parts(Decimal, Decimal);

type Table = HashMap<(&'static str, &'static str), (Parts, Option<Parts>)>;

static PRICES: LazyLock<Table> = LazyLock::new(|| parse(TABLE));

/// Lines `region NAME` begin a region; each other line is a family and its numbers.
fn parse(table: &'static str) -> Table {
    let (mut prices, mut region) = (HashMap::new(), "");
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
        match words.first() {
            Some(&"region") => region = words.get(1).copied().unwrap_or_default(),
            Some(family) => {
                if let (Some(cpu), Some(memory)) = (number(1), number(2)) {
                    let spot = number(3).zip(number(4)).map(|(cpu, memory)| Parts(cpu, memory));
                    prices.insert((region, *family), (Parts(cpu, memory), spot));
                }
            }
            None => {}
        }
    }
    prices
}

/// The virtual CPUs that are paid for. The smallest types share one and show two.
fn paid_cpus(machine_type: &str, vcpus: u32) -> Decimal {
    match machine_type {
        "e2-micro" => Decimal::new(25, 2),
        "e2-small" => Decimal::new(5, 1),
        "e2-medium" => Decimal::ONE,
        _ => vcpus.into(),
    }
}

/// The price of a type in a region. `None`: it is not in the table, or has more than CPUs and memory.
pub(super) fn of(region: &str, machine_type: &str, vcpus: u32, memory: Bytes) -> Option<Price> {
    let mut words = machine_type.split('-');
    let family = words.next()?;
    // Local disks, GPUs and bare metal cost extra.
    let plain = matches!(words.next()?, "standard" | "highmem" | "highcpu" | "micro" | "small" | "medium");
    (plain && words.all(|word| word.chars().all(|c| c.is_ascii_digit()))).then_some(())?;
    let (parts, spot) = PRICES.get(&(region, family))?;
    let gib = Decimal::from(memory.0 >> 20) / Decimal::from(1024);
    let cpus = paid_cpus(machine_type, vcpus);
    let sum = |Parts(cpu, memory): &Parts| (cpu * cpus + memory * gib).round_dp(5).normalize();
    Some(Price { hourly: sum(parts), spot: spot.as_ref().map(sum) })
}

/// The families that are rented where the pool names none: those of x86 for general use and for computing.
pub(super) const USUAL: [&str; 11] = ["c2", "c2d", "c3", "c3d", "c4", "e2", "n1", "n2", "n2d", "n4", "t2d"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_cpus_and_memory() {
        for (region, name, vcpus, gib, expected) in [
            // As Google lists them, to a tenth of a cent.
            ("us-central1", "e2-standard-2", 2, 8, "0.067"),
            ("us-central1", "e2-standard-32", 32, 128, "1.072"),
            ("us-central1", "e2-small", 2, 2, "0.017"),
            ("us-central1", "e2-medium", 2, 4, "0.034"),
            ("us-central1", "n2-standard-4", 4, 16, "0.194"),
            ("europe-west1", "e2-standard-2", 2, 8, "0.074"),
        ] {
            let price = of(region, name, vcpus, Bytes::gib(gib)).unwrap();
            assert_eq!(price.hourly.round_dp(3).to_string(), expected, "{region} {name}");
            assert!(price.spot.unwrap() < price.hourly);
        }
        for (region, name) in [
            ("mars-east1", "e2-standard-2"),
            ("us-central1", "z9-standard-2"),
            ("us-central1", "c3-standard-4-lssd"),
            ("us-central1", "c3-standard-192-metal"),
            ("us-central1", "e2"),
        ] {
            assert_eq!(of(region, name, 2, Bytes::gib(8)), None, "{region} {name}");
        }
    }

    #[test]
    fn the_table_is_whole() {
        for ((region, family), (Parts(cpu, memory), spot)) in &*PRICES {
            let sane = *cpu > Decimal::new(1, 2) && *cpu < Decimal::ONE && *memory < Decimal::new(5, 2);
            assert!(sane && *memory >= Decimal::ZERO, "{region} {family}");
            assert!(spot.is_none_or(|Parts(spot, _)| spot > Decimal::ZERO && spot < *cpu), "{region} {family}");
        }
        for family in USUAL {
            assert!(PRICES.contains_key(&("us-central1", family)), "{family}");
        }
    }
}
