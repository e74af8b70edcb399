//! What can be rented: types with their size, the zones that have them, and their prices. Read seldom, and only for pools
//! that ask for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::Duration,
};

use aws_sdk_ec2::types::{InstanceTypeInfo, SpotPrice, Subnet, UsageClassType};
use jiff::Timestamp;
use rust_decimal::Decimal;
use tokio::time::Instant;

use super::{Ec2Config, price_list::List, prices};
use crate::{
    api::{money::Money, quantity::Bytes},
    provider::{OfferingFact, PriceOrigin, PricesFact, ProviderError},
};

/// Time between two reads of the types: new ones come a few times a year.
pub(super) const TYPES: Duration = Duration::from_hours(12);
/// Time between two reads of the spot prices. They change a few times a day.
pub(super) const SPOT: Duration = Duration::from_hours(1);
/// Time between two reads of the price list. Amazon changes it seldom.
pub(super) const LIST: Duration = Duration::from_hours(12);
/// Time after a read of the price list that failed: nothing depends on it.
pub(super) const LIST_AGAIN: Duration = Duration::from_hours(1);
/// Time after a read that failed.
pub(super) const AGAIN: Duration = Duration::from_mins(5);

/// What a pool wants of the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Families such as `m7i`. Empty: the usual ones.
    pub families: Vec<String>,
    /// Subnets that guests can be in. Their zones are the only ones that count.
    pub subnets: Vec<String>,
    /// On-demand prices from Amazon's price list, where it answers.
    pub price_list: bool,
}

/// A type on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sold {
    instance_type: String,
    vcpus: u32,
    memory: Bytes,
    zones: BTreeSet<String>,
    spot: bool,
}

/// See the module. Pure: time is passed in.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    types: Vec<Sold>,
    spot: BTreeMap<String, BTreeMap<String, Decimal>>,
    types_due: Option<Instant>,
    spot_due: Option<Instant>,
    list: List,
    list_read: Option<Timestamp>,
    list_due: Option<Instant>,
    list_trouble: Option<String>,
}

impl Catalogue {
    /// Whether types have been read.
    pub(super) fn is_known(&self) -> bool {
        !self.types.is_empty()
    }

    pub(super) fn are_types_due(&self, now: Instant) -> bool {
        self.types_due.is_none_or(|due| due <= now)
    }

    pub(super) fn is_spot_due(&self, now: Instant) -> bool {
        self.spot_due.is_none_or(|due| due <= now)
    }

    /// A read failed: what was known stays, and it is read again after a while.
    pub(super) fn failed(&mut self, now: Instant) {
        let later = now + AGAIN;
        self.types_due = Some(self.types_due.map_or(later, |due| due.max(later)));
        self.spot_due = Some(self.spot_due.map_or(later, |due| due.max(later)));
    }

    /// Takes in what was read. `zones`: those that guests can be in; `None`: EC2 chooses.
    pub(super) fn learn_types(
        &mut self,
        types: &[InstanceTypeInfo],
        offered: &BTreeMap<String, BTreeSet<String>>,
        zones: Option<&BTreeSet<String>>,
        now: Instant,
    ) {
        let sold = |info: &InstanceTypeInfo| {
            let name = info.instance_type()?.as_str().to_owned();
            let everywhere = offered.get(&name).filter(|zones| !zones.is_empty() && info.bare_metal() != Some(true))?;
            let zones: BTreeSet<String> =
                zones.map_or_else(BTreeSet::new, |usable| everywhere.intersection(usable).cloned().collect());
            let mib = u64::try_from(info.memory_info()?.size_in_mib()?).ok()?;
            Some(Sold {
                vcpus: u32::try_from(info.v_cpu_info()?.default_v_cpus()?).ok()?,
                memory: Bytes::mib(mib),
                zones,
                spot: info.supported_usage_classes().contains(&UsageClassType::Spot),
                instance_type: name,
            })
        };
        // A type that no zone of ours has is not on sale here.
        let here = |sold: &Sold| zones.is_none() || !sold.zones.is_empty();
        self.types = types.iter().filter_map(sold).filter(here).collect();
        self.types_due = Some(now + TYPES);
    }

    /// Takes in the present spot prices.
    pub(super) fn learn_spot(&mut self, history: &[SpotPrice], now: Instant) {
        let mut newest: BTreeMap<(&str, &str), &SpotPrice> = BTreeMap::new();
        for price in history {
            let (Some(kind), Some(zone)) = (price.instance_type(), price.availability_zone()) else { continue };
            let known = newest.entry((kind.as_str(), zone)).or_insert(price);
            if known.timestamp() < price.timestamp() {
                *known = price;
            }
        }
        self.spot.clear();
        for ((kind, zone), price) in newest {
            let amount = price.spot_price().and_then(|text| Decimal::from_str(text).ok());
            if let Some(amount) = amount.filter(|amount| *amount > Decimal::ZERO) {
                self.spot.entry(kind.to_owned()).or_default().insert(zone.to_owned(), amount);
            }
        }
        self.spot_due = Some(now + SPOT);
    }

    pub(super) fn is_list_due(&self, now: Instant) -> bool {
        self.list_due.is_none_or(|due| due <= now)
    }

    /// Takes in the price list.
    pub(super) fn learn_list(&mut self, list: List, at: Timestamp, now: Instant) {
        (self.list, self.list_read, self.list_trouble) = (list, Some(at), None);
        self.list_due = Some(now + LIST);
    }

    /// The price list could not be read. What it said before still counts.
    pub(super) fn no_list(&mut self, error: &ProviderError, now: Instant) {
        self.list_trouble = Some(error.to_string());
        self.list_due = Some(now + LIST_AGAIN);
    }

    /// Where the on-demand prices come from.
    pub(super) fn prices(&self, region: &str) -> PricesFact {
        let (source, as_of) = match self.list_read {
            Some(at) => (PriceOrigin::PriceList, at),
            None => (PriceOrigin::Shipped, prices::as_of(region)),
        };
        PricesFact { source, as_of, trouble: self.list_trouble.clone() }
    }

    fn hourly(&self, region: &str, name: &str) -> Option<Decimal> {
        self.list.get(name).copied().or_else(|| prices::hourly(region, name))
    }

    /// What is on offer in this region.
    pub(super) fn offerings(&self, region: &str) -> Vec<OfferingFact> {
        let fact = |sold: &Sold| OfferingFact {
            instance_type: sold.instance_type.clone(),
            vcpus: sold.vcpus,
            memory: sold.memory,
            zones: sold.zones.iter().cloned().collect(),
            hourly: self.hourly(region, &sold.instance_type).and_then(usd),
            spot_hourly: self.spot_price(sold).and_then(usd),
        };
        self.types.iter().map(fact).collect()
    }

    /// The price in the dearest of the zones that count; none where one of them has no price.
    fn spot_price(&self, sold: &Sold) -> Option<Decimal> {
        let prices = self.spot.get(&sold.instance_type).filter(|_| sold.spot)?;
        let dearest = if sold.zones.is_empty() {
            prices.values().max().copied()?
        } else {
            sold.zones.iter().map(|zone| prices.get(zone).copied()).collect::<Option<Vec<_>>>()?.into_iter().max()?
        };
        // Spot prices move by a little all the time, and each change would be written down.
        dearest.round_sf(2)
    }
}

fn usd(amount: Decimal) -> Option<Money> {
    Some(Money::new(amount.normalize(), "USD".parse().ok()?))
}

/// Families as EC2 filters by them.
pub(super) fn patterns(wanted: &Wanted) -> Vec<String> {
    let families: Vec<&str> = match wanted.families.as_slice() {
        [] => prices::USUAL.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    families.into_iter().map(|family| format!("{family}.*")).collect()
}

/// The zones that guests can be in. Subnets decide; several in different zones leave it to each guest's own.
pub(super) fn zones(config: &Ec2Config, wanted: &Wanted, subnets: &[Subnet]) -> Option<BTreeSet<String>> {
    let zones: BTreeSet<String> = subnets.iter().filter_map(Subnet::availability_zone).map(str::to_owned).collect();
    let chosen = config.default_subnet.is_some() || !wanted.subnets.is_empty();
    (!zones.is_empty() && (!chosen || zones.len() == 1)).then_some(zones)
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
