//! What was decided, and why: values that go into status, conditions, events and the command line.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::Serialize;

use super::{request::Bound, rule::Failure};
use crate::api::money::Money;

/// A whole decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Guests that get a place, most important first. Each may be written as soon as it stands here.
    pub bindings: Vec<Binding>,
    /// Guests that get none, most important first.
    pub unplaced: Vec<Unplaced>,
    /// Guests that are to change places, in an order in which no host is ever overloaded (see [`Move::wave`]).
    pub moves: Vec<Move>,
    /// One for each guest that was decided on: bound, left without a place, or moved.
    pub explanations: Vec<Explanation>,
    /// Bound guests in paid capacity for which there is room at home now: what [`super::GuestState::home_room_since`]
    /// is to be kept from.
    pub home_room: Vec<String>,
    /// The earliest time at which the decision may change although nothing but the time does.
    pub wake_at: Option<Timestamp>,
    /// What all guests cost before, and after the bindings and moves.
    pub cost_before: Costs,
    /// What all guests cost after the bindings and moves.
    pub cost_after: Costs,
    /// Whether the search was finished: no other choice of places for the new guests places more or costs less.
    pub proven: bool,
    /// What the new guests cost in an hour above a bound that no choice of places can be below; zero when proven.
    pub gap: Option<Money>,
    /// What was found for guests that must not stay where they are, against the least that any plan needs.
    pub repair: Repair,
}

/// How the moves that had to be found compare with a bound. Moves to save money, to return home or to empty hosts are
/// not in it: nobody must make them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// Moves off overloaded hosts, off hosts and pools that are emptied, out of places that rules forbid, and to make
    /// room for those.
    pub moves: usize,
    /// Guests that ought to leave and have nowhere to go.
    pub stuck: usize,
    /// Guests that must change places in any plan that mends everything.
    pub at_least: usize,
    /// Whether everything was looked at: neither the steps ran out nor the number of moves.
    pub finished: bool,
}

impl Repair {
    /// Moves beyond the least; 0 is the best there can be.
    #[must_use]
    pub fn gap(&self) -> usize {
        (self.moves + self.stuck).saturating_sub(self.at_least)
    }
}

/// A place for a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// The guest's uid.
    pub guest: String,
    /// Where.
    pub place: Bound,
    /// Whose capacity it uses.
    pub lane: Lane,
    /// What one hour of it costs more than without it. `None` where no price is known.
    pub hourly: Option<Money>,
}

/// Whose capacity a guest uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Lane {
    /// Hosts of one's own.
    Owned,
    /// What a subscription includes.
    Included,
    /// Paid by the hour.
    Paid,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owned => "owned",
            Self::Included => "included in the subscription",
            Self::Paid => "paid by the hour",
        })
    }
}

/// A guest without a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    /// The guest's uid.
    pub guest: String,
    /// Why, in a word.
    pub reason: Reason,
}

/// The outcome for a guest in a word, as a condition's reason has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// It has a place.
    Placed,
    /// No pool fits.
    NoPoolFits,
    /// Paid capacity would fit; the delay before it is used has not passed.
    WaitingForRoom,
    /// It is to change places.
    ToBeMoved,
    /// It ought to change places, and no other fits.
    CannotLeave,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A change of place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// The guest's uid.
    pub guest: String,
    /// From where.
    pub from: Bound,
    /// To where.
    pub to: Bound,
    /// Why.
    pub cause: Cause,
    /// Moves of one wave may run at the same time; a wave starts when the one before has ended. Nothing is ever
    /// overloaded that was not before, with a moving guest counted at both ends.
    pub wave: u32,
    /// How it can be carried out.
    pub how: How,
}

/// Why a guest changes places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Cause {
    /// The host has promised more than it has.
    Overload,
    /// The host or pool is being emptied.
    Drain,
    /// Law, data class, tenancy or selector do not allow it where it is, or a taint does not.
    BrokenRule,
    /// It lives beside whom it must not: anti-affinity, spread, or a host of somebody's own.
    Neighbours,
    /// There is room at home again.
    ReturnHome,
    /// A better place costs so much less that it is worth the move.
    Saving,
    /// Its host can be emptied, or it makes room for guests of one that can, so that fewer are occupied.
    Density,
    /// To make room for another move; this guest may be moved a second time.
    MakeRoom,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overload => "its host has promised more than it has",
            Self::Drain => "its host or pool is being emptied",
            Self::BrokenRule => "a rule is broken where it is",
            Self::Neighbours => "it lives beside whom it must not",
            Self::ReturnHome => "there has been room at home for long enough",
            Self::Saving => "it costs much less there",
            Self::Density => "fewer hosts are then in use",
            Self::MakeRoom => "it makes room for another",
        })
    }
}

/// How a move is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum How {
    /// Live migration inside a pool.
    Live,
    /// The VM is removed, and another one is made there: the guest allows that.
    Recreate,
    /// The guest allows neither: a person has to decide.
    Proposed,
}

/// Why a guest is, or is not, where.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The guest's uid.
    pub guest: String,
    /// In a word.
    pub reason: Reason,
    /// In sentences, at most [`super::explain::MESSAGE_LIMIT`] bytes.
    pub message: String,
    /// What spoke for and against the place, term by term; lower is better.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub score: Vec<Term>,
    /// The next best place, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<RunnerUp>,
    /// Wishes that could not be fulfilled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken_wishes: Vec<String>,
    /// Pools that are out of the question, and why: at most [`super::explain::REJECTED_LIMIT`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// How many more pools are out of the question.
    #[serde(skip_serializing_if = "is_zero")]
    pub rejected_more: usize,
    /// The least that would have to change for the guest to fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smallest_change: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A term of a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// Its name.
    pub name: &'static str,
    /// Its value, with a unit.
    pub value: String,
}

/// The next best place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerUp {
    /// Where.
    pub place: Bound,
    /// The first term in which it is worse, and by how much.
    pub margin: Term,
}

/// A pool that is out of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// The pool.
    pub pool: String,
    /// Every rule that fails, with what was wanted, what there is, and what is short.
    pub failures: Vec<Failure>,
}

/// What guests cost in an hour, by view, kind and pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Costs {
    /// What would be saved were the guests not there. What decisions are made by.
    pub marginal: Option<Money>,
    /// Their share of what was paid once: depreciation.
    pub amortised_capital: Option<Money>,
    /// Their share of what is paid all along: running cost, fees, hours.
    pub amortised_operational: Option<Money>,
    /// Guests whose price is not known in the world's currency; not in the sums.
    #[serde(skip_serializing_if = "is_zero")]
    pub unpriced: usize,
    /// The marginal view by pool.
    pub by_pool: BTreeMap<String, Money>,
}
