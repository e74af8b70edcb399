//! What guests cost in a pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
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
pub struct PayPerUsePricing {
    /// In which currency.
    pub currency: Currency,
    /// The types that may be rented here; the cheapest that fits is taken.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub instance_types: Vec<InstanceType>,
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
}
