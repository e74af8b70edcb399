//! The scheduler's part of a guest's status. Pure; written only when it differs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use crate::{
    api::{
        GuestStatus,
        condition::{self, Claim, Kind},
        guest::{PlacementStatus, Rejection},
        money::Money,
    },
    plan::{Explanation, Reason},
};

/// The fields that the scheduler owns.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    hourly_cost: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<PlacementStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
}

impl OwnStatus {
    /// Our part of a status as it stands.
    #[must_use]
    pub fn of(status: &GuestStatus) -> Self {
        Self {
            hourly_cost: status.hourly_cost,
            placement: status.placement.clone(),
            conditions: condition::find(&status.conditions, Kind::Placed).cloned().into_iter().collect(),
        }
    }
}

/// What to write after a decision about a guest.
#[must_use]
pub fn after(old: &GuestStatus, explanation: &Explanation, hourly: Option<Money>, now: Timestamp) -> OwnStatus {
    let reason = explanation.reason.to_string();
    let claim = match explanation.reason {
        Reason::Placed | Reason::ToBeMoved | Reason::CannotLeave => {
            Claim::yes(Kind::Placed, reason, explanation.message.clone())
        }
        Reason::NoPoolFits | Reason::WaitingForRoom => Claim::no(Kind::Placed, reason, explanation.message.clone()),
    };
    let rejected = explanation.rejected.iter().map(|rejected| {
        let why: Vec<String> = rejected.failures.iter().map(|failure| failure.short.clone()).collect();
        Rejection { pool: rejected.pool.clone(), why: condition::cut(why.join("; "), 512) }
    });
    OwnStatus {
        // A millionth is more than enough for people, and what a share of running cost comes to has no end.
        hourly_cost: hourly.map(|hourly| Money::new(hourly.amount.0.round_dp(6), hourly.currency)),
        placement: Some(PlacementStatus { message: explanation.message.clone(), rejected: rejected.collect() }),
        conditions: condition::merge(&old.conditions, &[claim], None, now),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
