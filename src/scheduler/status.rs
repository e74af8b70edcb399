//! The scheduler's part of a guest's status. Pure; written only when it differs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{
        GuestStatus,
        condition::{self, Claim, Kind},
        guest::{FailedRule, NextBest, PlacementStatus, Rejection, ScoreTerm},
        money::Money,
    },
    plan::{Explanation, Failure, Reason, Rejected, RunnerUp},
};

/// The fields that the scheduler owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnStatus {
    hourly_cost: Option<Money>,
    placement: Option<PlacementStatus>,
    conditions: Vec<Condition>,
}

/// The conditions that the scheduler owns.
const OWN: [Kind; 2] = [Kind::Placed, Kind::Compliant];
/// Most wishes, and most rules for each pool, that are listed.
const FEW: usize = 4;
/// Most bytes of a value.
const SHORT: usize = 128;

impl OwnStatus {
    /// Our part of a status as it stands.
    #[must_use]
    pub fn of(status: &GuestStatus) -> Self {
        Self {
            hourly_cost: status.hourly_cost,
            placement: status.placement.clone(),
            conditions: OWN.iter().filter_map(|kind| condition::find(&status.conditions, *kind).cloned()).collect(),
        }
    }

    /// The whole status that has this as our part, and all else as it stands.
    #[must_use]
    pub fn onto(self, status: &GuestStatus) -> GuestStatus {
        let own = |c: &&Condition| OWN.iter().any(|kind| kind.to_string() == c.type_);
        let others = status.conditions.iter().filter(|condition| !own(condition)).cloned();
        GuestStatus {
            conditions: condition::in_order(others.chain(self.conditions)),
            hourly_cost: self.hourly_cost,
            placement: self.placement,
            ..status.clone()
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
    OwnStatus {
        hourly_cost: hourly.map(shown),
        placement: Some(placement(explanation)),
        conditions: condition::merge(&old.conditions, &[claim], None, now),
    }
}

/// What to write of a guest for which another type was chosen.
#[must_use]
pub fn retyped(old: &GuestStatus, message: &str, now: Timestamp) -> OwnStatus {
    let mut own = OwnStatus::of(old);
    let said = own.placement.get_or_insert_default();
    (said.message, said.proposal) = (message.to_owned(), None);
    let claim = Claim::yes(Kind::Placed, Reason::Placed.to_string(), message);
    let placed = condition::merge(&old.conditions, &[claim], None, now);
    own.conditions.retain(|condition| condition.type_ != Kind::Placed.to_string());
    own.conditions.extend(placed);
    own
}

/// A millionth is more than enough for people, and what a share of running cost comes to has no end.
fn shown(hourly: Money) -> Money {
    Money::new(hourly.amount.0.round_dp(6), hourly.currency)
}

fn placement(explanation: &Explanation) -> PlacementStatus {
    let short = |text: &str| condition::cut(text.to_owned(), SHORT);
    let next = |next: &RunnerUp| NextBest {
        pool: next.place.pool.clone(),
        host: next.place.host.clone(),
        instance_type: next.place.instance_type.clone(),
        worse_in: next.margin.name.to_owned(),
        by: short(&next.margin.value),
    };
    PlacementStatus {
        message: explanation.message.clone(),
        score: (explanation.score.iter())
            .map(|term| ScoreTerm { name: term.name.to_owned(), value: short(&term.value) })
            .collect(),
        runner_up: explanation.runner_up.as_ref().map(next),
        broken_wishes: explanation.broken_wishes.iter().take(FEW).map(|wish| short(wish)).collect(),
        rejected: explanation.rejected.iter().map(rejection).collect(),
        rejected_more: u32::try_from(explanation.rejected_more).ok().filter(|more| *more > 0),
        smallest_change: explanation.smallest_change.as_ref().map(|change| condition::cut(change.clone(), 512)),
        proposal: None,
        home_room_since: None,
    }
}

fn rejection(rejected: &Rejected) -> Rejection {
    let why: Vec<String> = rejected.failures.iter().map(|failure| failure.short.clone()).collect();
    let rule = |failure: &Failure| FailedRule {
        rule: format!("{:?}", failure.rule),
        wanted: condition::cut(failure.wanted.clone(), SHORT),
        free: condition::cut(failure.free.clone(), SHORT),
    };
    Rejection {
        pool: rejected.pool.clone(),
        why: condition::cut(why.join("; "), 512),
        rules: rejected.failures.iter().take(FEW).map(rule).collect(),
    }
}

/// Whether the same was decided as before, and only the words and numbers of the reasons differ.
#[must_use]
pub fn same_outcome(old: &GuestStatus, new: &OwnStatus) -> bool {
    let of = |conditions: &[Condition]| {
        condition::find(conditions, Kind::Placed).map(|placed| (placed.status.clone(), placed.reason.clone()))
    };
    let before = of(&old.conditions);
    before.is_some() && before == of(&new.conditions)
}

/// What is found out about a guest that has a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// Where it would be better, or must go, and why it is not moved there by itself. `None`: it is not looked into now.
    pub proposal: Option<Option<String>>,
    /// Whether there is room at home for it. `None`: it is not looked into now.
    pub home_room: Option<bool>,
    /// What it costs in an hour. `None`: it is not looked into now.
    pub hourly: Option<Option<Money>>,
    /// Which rules it is there against, and what to do. `None`: it is not looked into now.
    pub broken: Option<Option<String>>,
    /// Where it is, for a guest whose reasons were lost with the operator that had them.
    pub place: Option<String>,
}

/// What to write about a guest that has a place. `None`: nothing is new.
#[must_use]
pub fn remarked(old: &GuestStatus, remarks: &Remarks, now: Timestamp) -> Option<OwnStatus> {
    let placement = old.placement.as_ref();
    let proposal = remarks.proposal.as_ref().filter(|new| placement.and_then(|p| p.proposal.as_ref()) != new.as_ref());
    let since = placement.and_then(|placement| placement.home_room_since.as_ref());
    let home_room = remarks.home_room.filter(|room| *room != since.is_some());
    let hourly = remarks.hourly.map(|hourly| hourly.map(shown)).filter(|hourly| *hourly != old.hourly_cost);
    let compliant = condition::find(&old.conditions, Kind::Compliant);
    let broken = remarks.broken.as_ref().filter(|broken| broken.as_ref() != compliant.map(|c| &c.message));
    // The guest controller has written, and without the reasons.
    let is_explained = condition::is_true(&old.conditions, Kind::Placed) || old.creation.is_none();
    let place = remarks.place.as_ref().filter(|_| !is_explained);
    if proposal.is_none() && home_room.is_none() && hourly.is_none() && broken.is_none() && place.is_none() {
        return None;
    }
    let mut own = OwnStatus::of(old);
    if let Some(hourly) = hourly {
        own.hourly_cost = hourly;
    }
    let said = own.placement.get_or_insert_default();
    if let Some(proposal) = proposal {
        said.proposal.clone_from(proposal);
    }
    if let Some(room) = home_room {
        // The API server keeps whole seconds.
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        said.home_room_since = room.then_some(Time(whole));
    }
    if let Some(place) = place {
        let message = format!("it is in {place}; why was not written down, as the operator was cut off");
        said.message.clone_from(&message);
        own.conditions.retain(|condition| condition.type_ != Kind::Placed.to_string());
        own.conditions.extend(condition::merge(
            &old.conditions,
            &[Claim::yes(Kind::Placed, "Placed", message)],
            None,
            now,
        ));
    }
    if let Some(broken) = broken {
        own.conditions.retain(|condition| condition.type_ == Kind::Placed.to_string());
        let claim = broken.as_ref().map(|message| Claim::no(Kind::Compliant, "RuleBroken", message.clone()));
        own.conditions.extend(condition::merge(&old.conditions, &claim.into_iter().collect::<Vec<_>>(), None, now));
    }
    Some(own)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
