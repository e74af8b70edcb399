//! What is said about a guest: its phase and conditions. Pure, and the only place where their words stand.

use jiff::Timestamp;

use super::{
    decide::Step,
    facts::{Subject, Trouble},
};
use crate::{
    api::{
        condition::{Claim, Kind},
        guest::Phase,
        template::PowerState,
    },
    provider::ObservedGuest,
};

/// What to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// In a word.
    pub phase: Phase,
    /// In conditions.
    pub claims: Vec<Claim>,
}

/// All is well.
fn ready(phase: Phase, reason: &str, message: String) -> Say {
    Say { phase, claims: vec![Claim::yes(Kind::Ready, reason, message)] }
}

/// Not yet, and work is under way.
fn working(phase: Phase, reason: &str, message: &str) -> Say {
    let claims = vec![Claim::no(Kind::Ready, reason, message), Claim::yes(Kind::Reconciling, reason, message)];
    Say { phase, claims }
}

/// Not, and nothing changes until somebody acts.
fn stuck(phase: Phase, reason: &str, message: &str) -> Say {
    let claims = vec![Claim::no(Kind::Ready, reason, message), Claim::yes(Kind::Stalled, reason, message)];
    Say { phase, claims }
}

pub(super) fn pending() -> Say {
    working(Phase::Pending, "NotPlaced", "no pool was chosen yet; the condition Placed says why")
}

pub(super) fn creating(pool: &str, what: &str) -> Say {
    working(Phase::Creating, "Creating", &format!("{what} in {pool}"))
}

pub(super) fn under_way(wanted: PowerState, pool: &str, what: &str) -> Say {
    match wanted {
        PowerState::Running => working(Phase::Creating, "Starting", &format!("{what} ({pool})")),
        PowerState::Stopped | PowerState::Suspended => {
            working(Phase::Stopping, "Stopping", &format!("{what} ({pool})"))
        }
    }
}

pub(super) fn running(pool: &str, vm: &ObservedGuest) -> Say {
    let on = vm.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
    ready(Phase::Running, "Running", format!("its VM runs in {pool}{on}"))
}

pub(super) fn stopped(pool: &str) -> Say {
    ready(Phase::Stopped, "Stopped", format!("its VM is off in {pool}, as wished"))
}

pub(super) fn waiting(pool: &str, what: &str) -> Say {
    stuck(Phase::Waiting, "WaitingForSomebody", &format!("{what} ({pool})"))
}

pub(super) fn unreachable(subject: &Subject, pool: &str, why: &str) -> Say {
    let phase = if subject.creation.is_some() { Phase::Unknown } else { Phase::Creating };
    working(phase, "PoolDoesNotAnswer", &format!("{pool}: {why}"))
}

pub(super) fn vanished(pool: &str, until: Timestamp) -> Say {
    let message = format!(
        "its VM is not in {pool} any more; if it is not back by {} it is taken for lost and made anew, with new disks",
        until.strftime("%H:%M:%S UTC")
    );
    working(Phase::Unknown, "VmMissing", &message)
}

pub(super) fn lost(pool: &str) -> Say {
    working(
        Phase::Pending,
        "VmLost",
        &format!("its VM was removed from {pool} by somebody else; it is placed and made anew"),
    )
}

pub(super) fn refused(subject: &Subject) -> Say {
    let what = subject.creation.as_ref().and_then(|creation| creation.refused.as_deref()).unwrap_or("no room");
    working(Phase::Pending, "PoolRefused", &format!("another place is looked for: {what}"))
}

pub(super) fn no_room(subject: &Subject, pool: &str, trouble: &Trouble) -> Say {
    let phase = if subject.wanted == PowerState::Running { Phase::Stopped } else { Phase::Failed };
    let message = format!(
        "{pool} has no room to start it and its disks are there: free some room in {pool}; {}",
        trouble.message
    );
    working(phase, "Capacity", &message)
}

pub(super) fn retrying(subject: &Subject, pool: &str, step: &Step, trouble: &Trouble) -> Say {
    let phase = match step {
        Step::Erase(_) if subject.deleting => Phase::Deleting,
        Step::Stop(_) => Phase::Stopping,
        _ => Phase::Creating,
    };
    working(phase, trouble.kind.reason(), &format!("{pool}: {}; it is tried again", trouble.message))
}

pub(super) fn stalled(subject: &Subject, reason: &str, why: &str) -> Say {
    stuck(if subject.deleting { Phase::Deleting } else { Phase::Failed }, reason, why)
}

pub(super) fn leaving(what: &str) -> Say {
    working(Phase::Deleting, "Deleting", what)
}

pub(super) fn leaving_blocked(pool: &str, why: &str) -> Say {
    let message = format!("its VM may still be in {pool}, which cannot be asked: {why}");
    working(Phase::Deleting, "PoolDoesNotAnswer", &message)
}
