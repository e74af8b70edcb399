//! Conditions: what is so, why, and since when. `Ready`, `Reconciling` and `Stalled` follow kstatus, so that
//! `kubectl wait`, Flux and Argo CD understand every kind alike.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::{Display, IntoStaticStr};

/// The conditions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, IntoStaticStr)]
pub enum Kind {
    /// All is as the spec wishes.
    Ready,
    /// Work is under way. Present only while it is.
    Reconciling,
    /// Nothing will change until somebody acts. Present only while it is so.
    Stalled,
    /// A pool was chosen.
    Placed,
    /// The guest lives where it may: law, data class, tenancy, selector. Present only while it does not.
    Compliant,
    /// The guests cost no more than `placement.monthlyBudget`. Present only where there is one.
    WithinBudget,
    /// The pool answers.
    Reachable,
    /// The pool accepts the credentials.
    CredentialsValid,
    /// The VM has the size and the disks that are wished. Present only while it has not.
    Resized,
    /// The guest is where the scheduler decided to move it. Present only while it is not.
    Relocated,
    /// The provider is about to take the VM back. Present only while it is.
    Interrupted,
    /// The VM is as the spec says. Present only where `managementPolicies` keep the operator from making it so.
    InSync,
    /// The pool has VMs of ours that belong to no Guest. Present only while it has.
    OrphansFound,
    /// The credentials permit all that guests need. Present only while they do not.
    PermissionsComplete,
    /// The provider allows the account no more of something. Present only while it does not.
    QuotaExceeded,
}

/// Is it so?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, IntoStaticStr)]
pub enum Status {
    /// It is.
    True,
    /// It is not.
    False,
    /// It cannot be told.
    Unknown,
}

/// A condition as it is decided: without a time, which [`merge`] takes care of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which condition.
    pub kind: Kind,
    /// Whether it is so.
    pub status: Status,
    /// Why, as one `CamelCase` word for programs.
    pub reason: String,
    /// Why, as a sentence for people.
    pub message: String,
}

/// The longest message that is written; the API allows 32,768 bytes, people read one line.
const MAX_MESSAGE: usize = 1024;

impl Claim {
    /// A claim. Too long messages are cut.
    pub fn new(kind: Kind, status: Status, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.into(), message: cut(message.into(), MAX_MESSAGE) }
    }

    /// A claim that it is so.
    pub fn yes(kind: Kind, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(kind, Status::True, reason, message)
    }

    /// A claim that it is not so.
    pub fn no(kind: Kind, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(kind, Status::False, reason, message)
    }
}

/// `text` with at most `limit` bytes, cut where a character ends.
#[must_use]
pub fn cut(mut text: String, limit: usize) -> String {
    const ELLIPSIS: &str = "...";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - ELLIPSIS.len()));
        text.push_str(ELLIPSIS);
    }
    text
}

/// The claims as conditions. The time of the last transition is kept where the status did not change, so that writing
/// the same claims again changes nothing.
#[must_use]
pub fn merge(old: &[Condition], claims: &[Claim], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    claims
        .iter()
        .map(|claim| {
            let kind: &str = claim.kind.into();
            let status: &str = claim.status.into();
            let since =
                old.iter().find(|c| c.type_ == kind && c.status == status).map(|c| c.last_transition_time.clone());
            Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: claim.reason.clone(),
                message: claim.message.clone(),
                observed_generation: generation,
                // The API server keeps whole seconds; anything finer would differ from what is read back.
                last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
            }
        })
        .collect()
}

/// The conditions in the order in which they are written, so that the same ones always look the same.
#[must_use]
pub fn in_order(conditions: impl Iterator<Item = Condition>) -> Vec<Condition> {
    let mut all: Vec<Condition> = conditions.collect();
    all.sort_by(|a, b| a.type_.cmp(&b.type_));
    all
}

/// The condition of this kind.
#[must_use]
pub fn find(conditions: &[Condition], kind: Kind) -> Option<&Condition> {
    let kind: &str = kind.into();
    conditions.iter().find(|c| c.type_ == kind)
}

/// Whether the condition of this kind is there and `True`.
#[must_use]
pub fn is_true(conditions: &[Condition], kind: Kind) -> bool {
    find(conditions, kind).is_some_and(|c| c.status == "True")
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_transition_keeps_its_time_until_the_status_changes() {
        let first = merge(&[], &[Claim::no(Kind::Ready, "Creating", "a")], Some(1), at(10));
        let same = merge(&first, &[Claim::no(Kind::Ready, "Waiting", "b")], Some(2), at(20));
        assert_eq!((same[0].reason.as_str(), same[0].last_transition_time.0), ("Waiting", at(10)));
        let changed = merge(&same, &[Claim::yes(Kind::Ready, "Running", "c")], Some(2), at(30));
        assert_eq!(changed[0].last_transition_time.0, at(30));
    }

    #[test]
    fn what_is_no_longer_claimed_is_gone() {
        let old =
            merge(&[], &[Claim::yes(Kind::Stalled, "Wrong", "x"), Claim::no(Kind::Ready, "Wrong", "x")], None, at(1));
        let new = merge(&old, &[Claim::yes(Kind::Ready, "Fine", "y")], None, at(2));
        assert_eq!(new.len(), 1);
    }

    #[test]
    fn long_messages_end_at_a_character() {
        let text = cut("ä".repeat(1000), 100);
        assert!(text.len() <= 100 && text.ends_with("..."));
    }
}
