//! What can be rented: machine types with their size, the zones that have them, and their prices. Read seldom, and only for
//! pools that ask for it. Pure: time is passed in.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rust_decimal::Decimal;
use tokio::time::Instant;

use super::{
    prices,
    wire::{MachineType, last},
};
use crate::{
    api::{money::Money, quantity::Bytes},
    provider::OfferingFact,
};

/// Time between two reads of the types: new ones come a few times a year.
const TYPES: Duration = Duration::from_hours(12);
/// Time after a read that failed.
const AGAIN: Duration = Duration::from_mins(5);

/// A type on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sold {
    vcpus: u32,
    memory: Bytes,
    zones: BTreeSet<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    types: BTreeMap<String, Sold>,
    due: Option<Instant>,
}

impl Catalogue {
    /// Whether types have been read.
    pub(super) fn is_known(&self) -> bool {
        !self.types.is_empty()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// A read failed: what was known stays, and it is read again after a while.
    pub(super) fn failed(&mut self, now: Instant) {
        self.due = Some(now + AGAIN);
    }

    /// Takes in what was read: types of these families in these zones that images for x86 run on. No family named: the usual.
    pub(super) fn learn(&mut self, types: &[MachineType], zones: &[String], families: &[String], now: Instant) {
        let wanted = |name: &str| {
            let family = name.split('-').next().unwrap_or_default();
            if families.is_empty() { prices::USUAL.contains(&family) } else { families.iter().any(|one| one == family) }
        };
        self.types.clear();
        for one in types.iter().filter(|one| wanted(&one.name) && one.deprecated.is_none()) {
            let zone = last(&one.zone);
            if one.architecture.as_deref() == Some("ARM64") || !zones.iter().any(|known| known == zone) {
                continue;
            }
            let sold = Sold { vcpus: one.guest_cpus, memory: Bytes::mib(one.memory_mb), zones: BTreeSet::new() };
            self.types.entry(one.name.clone()).or_insert(sold).zones.insert(zone.to_owned());
        }
        self.due = Some(now + TYPES);
    }

    /// What is on offer in this region.
    pub(super) fn offerings(&self, region: &str) -> Vec<OfferingFact> {
        let fact = |(name, sold): (&String, &Sold)| {
            let price = prices::of(region, name, sold.vcpus, sold.memory);
            OfferingFact {
                instance_type: name.clone(),
                vcpus: sold.vcpus,
                memory: sold.memory,
                zones: sold.zones.iter().cloned().collect(),
                hourly: price.and_then(|price| usd(price.hourly)),
                spot_hourly: price.and_then(|price| usd(price.spot?)),
            }
        };
        self.types.iter().map(fact).collect()
    }
}

fn usd(amount: Decimal) -> Option<Money> {
    Some(Money::new(amount.normalize(), "USD".parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, zone: &str, architecture: &str) -> MachineType {
        MachineType {
            name: name.into(),
            zone: format!("https://x/zones/{zone}"),
            guest_cpus: 2,
            memory_mb: 8192,
            architecture: Some(architecture.into()),
            deprecated: None,
        }
    }

    #[test]
    fn types_are_chosen_by_zone_family_and_processor() {
        let now = Instant::now();
        let zones = ["europe-west1-b".to_owned(), "europe-west1-c".to_owned()];
        let types = [
            kind("e2-standard-2", "europe-west1-b", "X86_64"),
            kind("e2-standard-2", "europe-west1-c", "X86_64"),
            kind("e2-standard-2", "europe-west1-d", "X86_64"),
            kind("n2-standard-2", "europe-west1-b", "X86_64"),
            kind("t2a-standard-2", "europe-west1-b", "ARM64"),
            kind("a2-highgpu-1g", "europe-west1-b", "X86_64"),
        ];
        let names = |families: &[&str]| {
            let mut catalogue = Catalogue::default();
            assert!(catalogue.is_due(now));
            let families: Vec<String> = families.iter().map(|one| (*one).to_owned()).collect();
            catalogue.learn(&types, &zones, &families, now);
            assert!(!catalogue.is_due(now + AGAIN) && catalogue.is_due(now + TYPES));
            catalogue.offerings("europe-west1")
        };
        let usual = names(&[]);
        let shown: Vec<_> = usual.iter().map(|one| (one.instance_type.as_str(), one.zones.len())).collect();
        assert_eq!(shown, [("e2-standard-2", 2), ("n2-standard-2", 1)]);
        assert!(usual[0].hourly.unwrap().amount.0 > usual[0].spot_hourly.unwrap().amount.0);
        let others: Vec<_> = names(&["a2", "t2a"]).into_iter().map(|one| one.instance_type).collect();
        assert_eq!(others, ["a2-highgpu-1g"]);
    }
}
