//! What guests cost in a pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    cloud_pool::Name,
    money::{Amount, Currency},
    quantity::Bytes,
};

/// What guests cost. One model, or a subscription with prices for what goes beyond it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.owned) != has(self.payPerUse)").message("write exactly one of owned and payPerUse"),
    validation = Rule::new("!has(self.subscription) || !has(self.owned)")
        .message("a subscription goes with payPerUse, not with owned hardware: write its fee as owned.monthlyRunningCost"),
    validation = Rule::new("!has(self.subscription) || !has(self.payPerUse) || self.subscription.currency == self.payPerUse.currency")
        .message("write subscription and payPerUse in one currency")
)]
pub struct Pricing {
    /// You own the hardware: what it cost is spent, what counts is running it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned: Option<OwnedPricing>,
    /// You pay a fee in advance: up to what it includes, another guest costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<SubscriptionPricing>,
    /// You pay for each hour that a guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pay_per_use: Option<PayPerUsePricing>,
}

/// What was paid for in advance.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionPricing {
    /// In which currency.
    pub currency: Currency,
    /// The fee of a month. It is paid whatever runs, so no decision depends on it.
    pub monthly_fee: Amount,
    /// Virtual processors that are included.
    #[schemars(schema_with = "super::schema::limit")]
    pub included_vcpus: u32,
    /// Memory that is included.
    pub included_memory: Bytes,
    /// When it ends; from then on nothing is included. Left out: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term_ends: Option<Time>,
}

/// The cost of hardware of your own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OwnedPricing {
    /// In which currency.
    pub currency: Currency,
    /// What the hardware cost. It is spent, so no decision depends on it; reports write it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capital_cost: Option<Amount>,
    /// Over how many months it is written off. Left out: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::months")]
    pub depreciation_months: Option<u32>,
    /// What running the whole pool costs in a month: power, space, support. A guest bears the share of the pool's
    /// memory that it takes.
    pub monthly_running_cost: Amount,
}

/// Prices of types that can be rented.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.source) && self.source == 'Catalogue') || (has(self.instanceTypes) && size(self.instanceTypes) > 0)")
        .message("list the types that may be rented in instanceTypes, with vcpus, memory and hourly price, or write source: Catalogue"),
    validation = Rule::new("!has(self.source) || self.source != 'Catalogue' || self.currency == 'USD'")
        .message("the catalogue's prices are in USD: write currency: USD"),
    validation = Rule::new("!has(self.onDemand) || (has(self.source) && self.source == 'Catalogue')")
        .message("onDemand says where the catalogue's prices come from: write source: Catalogue, or leave it out"),
    validation = Rule::new("!has(self.families) || (has(self.source) && self.source == 'Catalogue')")
        .message("families choose from the catalogue: write source: Catalogue, or leave them out")
)]
pub struct PayPerUsePricing {
    /// In which currency.
    pub currency: Currency,
    /// Where types and prices come from. Left out: `Table`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PriceSource>,
    /// Where the catalogue's on-demand prices come from. Left out: `Shipped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemandPrices>,
    /// The types that may be rented here; the cheapest that fits is taken. With `source: Catalogue` they are added to those of
    /// the catalogue, and replace those of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub instance_types: Vec<InstanceType>,
    /// Families of the catalogue that may be rented, such as `m7i`. Left out: the present ones for general use, for
    /// computing and for memory, and the burstable ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub families: Vec<Name>,
}

impl PayPerUsePricing {
    /// Whether types come from the provider's own catalogue too.
    #[must_use]
    pub fn from_catalogue(&self) -> bool {
        self.source == Some(PriceSource::Catalogue)
    }
}

/// Where types and their prices come from. Left out: `Table`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum PriceSource {
    /// From `instanceTypes` alone.
    Table,
    /// From the provider: which types there are, their size, the zones that have them and their spot prices are asked of
    /// it. On-demand prices: see `onDemand`.
    Catalogue,
}

/// Where the catalogue's on-demand prices come from. Left out: `Shipped`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum OnDemandPrices {
    /// From a table that came with the operator.
    Shipped,
    /// From the provider's price list, read twice a day; from the table where that does not answer or lacks a type.
    PriceList,
}

/// A type that can be rented.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InstanceType {
    /// The provider's name of it, such as `t3.medium`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Virtual processors.
    #[schemars(schema_with = "super::schema::vcpus")]
    pub vcpus: u32,
    /// Memory.
    pub memory: Bytes,
    /// Price of an hour.
    pub hourly: Amount,
    /// Price of an hour of capacity that the provider can take back. Left out: with `source: Catalogue` what the provider
    /// says, else it is not rented so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_hourly: Option<Amount>,
}
