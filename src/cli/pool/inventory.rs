//! What a region that rents out types has, through the driver's own interface.

use std::fmt::Write as _;

use reqwest::Url;
use serde::Serialize;

use crate::{
    cli::table,
    provider::{Freshness, Inventory, ObservedGuest, PriceOrigin, PricesFact, Provider, Result},
};

/// What a region has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Region {
    id: String,
    version: String,
    /// Types on offer; none where the driver reads no catalogue.
    types: Vec<Type>,
    /// Where their on-demand prices come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    prices: Option<String>,
    /// What the credentials lack.
    missing: Vec<Missing>,
    /// The cluster's own guests there.
    guests: Vec<Instance>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Type {
    name: String,
    vcpus: u32,
    memory_bytes: u64,
    zones: Vec<String>,
    hourly: Option<String>,
    spot_hourly: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Missing {
    what: String,
    why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    id: String,
    guest: String,
    power: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    addresses: Vec<String>,
}

/// Reads a region of EC2 with the credentials of the environment. No cluster is known, and so none of its guests.
#[cfg(feature = "ec2")]
pub(super) async fn of_region(region: &str, endpoint: Option<&Url>) -> std::result::Result<Region, String> {
    use crate::{
        provider::{
            Owner,
            ec2::{Credentials, Ec2Config, Ec2Provider},
        },
        runtime::chain,
    };
    let endpoint =
        endpoint.map(|url| url.as_str().parse()).transpose().map_err(|error| format!("--endpoint: {error}"))?;
    let config =
        Ec2Config { endpoint, ..Ec2Config::new(region, Credentials::DefaultChain, Owner("nobody".to_owned())) };
    let provider = Ec2Provider::connect(config).await.map_err(|error| chain(&error))?;
    let region = read(&*provider).await;
    provider.close().await;
    region.map_err(|error| chain(&error))
}

#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "it stands in for the one that connects")]
pub(super) async fn of_region(_: &str, _: Option<&Url>) -> std::result::Result<Region, String> {
    Err("this innkeeper was built without EC2 (cargo feature ec2); install one that has it".to_owned())
}

/// Reads a region of a Google project with the credentials of the environment, its types and prices too. No cluster is known, and
/// so none of its guests.
#[cfg(feature = "gce")]
pub(super) async fn of_project(project: &str, zones: &[String]) -> std::result::Result<Region, String> {
    use crate::{
        provider::{
            Owner,
            gce::{Credentials, GceConfig, GceProvider, ServiceAccountKey},
        },
        runtime::chain,
    };
    let credentials = match std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS") {
        None => Credentials::of_the_machine(),
        Some(path) => {
            let shown = path.to_string_lossy();
            let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {shown}: {error}"))?;
            let key = ServiceAccountKey::parse(&text.into()).map_err(|error| format!("{shown}: {error}"))?;
            Credentials::Key(Box::new(key))
        }
    };
    let config = GceConfig {
        families: Some(Vec::new()),
        ..GceConfig::new(project, zones.to_vec(), credentials, Owner("nobody".to_owned()))
    };
    let provider = GceProvider::connect(config).map_err(|error| chain(&error))?;
    let region = read(&*provider).await;
    provider.close().await;
    region.map_err(|error| chain(&error))
}

#[cfg(not(feature = "gce"))]
#[expect(clippy::unused_async, reason = "it stands in for the one that connects")]
pub(super) async fn of_project(_: &str, _: &[String]) -> std::result::Result<Region, String> {
    Err("this innkeeper was built without Google (cargo feature gce); install one that has it".to_owned())
}

/// Reads what is there.
pub(super) async fn read(provider: &dyn Provider) -> Result<Region> {
    let inventory = provider.inventory().await?;
    let guests = provider.list(Freshness::Live).await?;
    Ok(region(inventory, guests))
}

fn region(inventory: Inventory, guests: Vec<ObservedGuest>) -> Region {
    let mut types: Vec<Type> = inventory
        .offerings
        .into_iter()
        .map(|offering| Type {
            name: offering.instance_type,
            vcpus: offering.vcpus,
            memory_bytes: offering.memory.0,
            zones: offering.zones,
            hourly: offering.hourly.map(|money| money.to_string()),
            spot_hourly: offering.spot_hourly.map(|money| money.to_string()),
        })
        .collect();
    types.sort_by(|a, b| (a.vcpus, a.memory_bytes, &a.name).cmp(&(b.vcpus, b.memory_bytes, &b.name)));
    let guests = guests.into_iter().map(|guest| Instance {
        id: guest.provider_id,
        guest: guest.key.to_string(),
        power: guest.power.to_string(),
        kind: guest.instance_type,
        addresses: guest.addresses.iter().map(ToString::to_string).collect(),
    });
    let mut guests: Vec<Instance> = guests.collect();
    guests.sort_by(|a, b| (&a.guest, &a.id).cmp(&(&b.guest, &b.id)));
    let missing = inventory.missing.into_iter().map(|missing| Missing { what: missing.what, why: missing.why });
    let prices = inventory.prices.map(|fact| words(&fact));
    Region { id: inventory.id, version: inventory.version, types, prices, missing: missing.collect(), guests }
}

/// Where prices come from, in a sentence.
fn words(fact: &PricesFact) -> String {
    let source = match fact.source {
        PriceOrigin::PriceList => "the provider's price list",
        PriceOrigin::Shipped => "a table that came with innkeeper",
    };
    let trouble = fact.trouble.iter().map(|words| format!("; {words}"));
    let text = format!("on-demand prices are those of {source}, of {}", fact.as_of.strftime("%Y-%m-%d"));
    std::iter::once(text).chain(trouble).collect()
}

/// For people.
pub(super) fn render(region: &Region) -> String {
    let Region { id, version, types, prices, missing, guests } = region;
    let mut text = format!("Region {} ({}) answers\n", table::plain(id), table::plain(version));
    let or_dash = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
    if !types.is_empty() {
        let mut rows = vec![["TYPE", "VCPUS", "MEMORY", "HOURLY", "SPOT", "ZONES"].map(str::to_owned)];
        rows.extend(types.iter().map(|offer| {
            let memory = crate::api::quantity::Bytes(offer.memory_bytes).human();
            let prices = [or_dash(offer.hourly.as_ref()), or_dash(offer.spot_hourly.as_ref())];
            let [hourly, spot] = prices;
            [offer.name.clone(), offer.vcpus.to_string(), memory, hourly, spot, offer.zones.join(" ")]
        }));
        text += &format!("\n{}", table::render(&rows));
        text.extend(prices.iter().map(|words| format!("{}\n", table::plain(words))));
    }
    if !guests.is_empty() {
        let mut rows = vec![["INSTANCE", "GUEST", "STATE", "TYPE", "ADDRESS"].map(str::to_owned)];
        rows.extend(guests.iter().map(|guest| {
            let address = or_dash(guest.addresses.first());
            [guest.id.clone(), guest.guest.clone(), guest.power.clone(), or_dash(guest.kind.as_ref()), address]
        }));
        text += &format!("\n{}", table::render(&rows));
    }
    for lack in missing {
        // Writing to a String cannot fail.
        let _ = write!(text, "\nmissing {}: {}", table::plain(&lack.what), table::plain(&lack.why));
    }
    if missing.is_empty() { text } else { text + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::quantity::Bytes,
        provider::{self, Key, OfferingFact, Power, Stage},
    };

    #[test]
    fn a_region_in_words() {
        let offering = |name: &str, vcpus, price: Option<&str>| OfferingFact {
            instance_type: name.into(),
            vcpus,
            memory: Bytes::gib(4),
            zones: vec!["a".into(), "b".into()],
            hourly: price.map(|price| crate::api::money::Money::new(price.parse().unwrap(), "EUR".parse().unwrap())),
            spot_hourly: None,
        };
        let missing = provider::Missing {
            what: "ec2:RunInstances".into(),
            why: "no guest can be made; add it to the policy".into(),
        };
        let inventory = Inventory {
            id: "eu-west-1".into(),
            version: "2016-11-15".into(),
            offerings: vec![offering("m5.large", 4, Some("0.1")), offering("t3.medium", 2, None)],
            missing: vec![missing],
            prices: Some(PricesFact {
                source: PriceOrigin::Shipped,
                as_of: "2025-03-01T00:00:00Z".parse().unwrap(),
                trouble: Some("cannot read the price list: it does not answer".into()),
            }),
            ..Inventory::default()
        };
        let key = Key { guest: "u".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        let guest = ObservedGuest::new(key, "i-1", Stage::Complete, Power::Running);
        insta::assert_snapshot!(render(&region(inventory, vec![guest])));
    }
}
