//! What is said about a guest: its phase and conditions. Pure, and the only place where their words stand.

use jiff::Timestamp;

use super::{
    decide::Step,
    facts::{Subject, Trouble},
};
use crate::{
    api::{
        condition::{Claim, Kind, Status},
        guest::{Phase, RelocationStatus, ResizeStatus, RestartStatus},
        template::PowerState,
    },
    provider::{ObservedGuest, Power},
};

/// What to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Say {
    /// In a word.
    pub phase: Phase,
    /// In conditions.
    pub claims: Vec<Claim>,
    /// What else is to be remembered.
    pub notes: Notes,
}

/// A field of the status that a decision may change.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Note<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It becomes this.
    Set(T),
    /// It goes.
    Clear,
}

impl<T: Clone> Note<T> {
    /// Carries it out.
    pub fn apply(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => *field = Some(value.clone()),
            Self::Clear => *field = None,
        }
    }
}

/// What is to be remembered, in the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// The restart that is being carried out. It goes by itself when it is done.
    pub restart: Note<RestartStatus>,
    /// A change of size that has to wait.
    pub resize: Note<ResizeStatus>,
    /// What became of a decision to move it.
    pub relocation: Note<RelocationStatus>,
    /// Somebody started the VM.
    pub started: bool,
}

impl Say {
    fn new(phase: Phase, claims: Vec<Claim>) -> Self {
        Self { phase, claims, notes: Notes::default() }
    }

    /// With one more condition.
    #[must_use]
    pub fn with(mut self, claim: Claim) -> Self {
        self.claims.push(claim);
        self
    }

    /// With something to remember.
    #[must_use]
    pub fn noting(mut self, note: impl FnOnce(&mut Notes)) -> Self {
        note(&mut self.notes);
        self
    }

    /// Whether all is as wished.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.claims.iter().any(|claim| claim.kind == Kind::Ready && claim.status == Status::True)
    }
}

/// All is well.
fn ready(phase: Phase, reason: &str, message: String) -> Say {
    Say::new(phase, vec![Claim::yes(Kind::Ready, reason, message)])
}

/// Not yet, and work is under way.
fn working(phase: Phase, reason: &str, message: &str) -> Say {
    let claims = vec![Claim::no(Kind::Ready, reason, message), Claim::yes(Kind::Reconciling, reason, message)];
    Say::new(phase, claims)
}

/// Not, and nothing changes until somebody acts.
fn stuck(phase: Phase, reason: &str, message: &str) -> Say {
    let claims = vec![Claim::no(Kind::Ready, reason, message), Claim::yes(Kind::Stalled, reason, message)];
    Say::new(phase, claims)
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

pub(super) fn asleep(pool: &str) -> Say {
    ready(Phase::Stopped, "Suspended", format!("its VM sleeps in {pool}, as wished"))
}

pub(super) fn left_off(pool: &str) -> Say {
    let message = format!("its VM was adopted and is off in {pool}; write powerState: Running to have it started");
    ready(Phase::Stopped, "LeftAsItIs", message)
}

/// It is on, and should not be.
pub(super) fn awake(pool: &str, reason: &str, why: &str) -> Say {
    stuck(Phase::Running, reason, &format!("{pool}: {why}"))
}

pub(super) fn refusing_to_stop(pool: &str, why: &str) -> Say {
    working(Phase::Running, "ShutdownRefused", &format!("{pool}: {why}"))
}

/// It is not as wished, and the operator may only look.
pub(super) fn drifted(vm: &ObservedGuest, why: &str) -> Say {
    let phase = match vm.power {
        Power::Running | Power::Starting => Phase::Running,
        Power::Paused => Phase::Waiting,
        Power::Stopping | Power::Stopped | Power::Suspended => Phase::Stopped,
        Power::Terminating | Power::Terminated | Power::Unknown => Phase::Unknown,
    };
    stuck(phase, "Drifted", why)
}

pub(super) fn adopting(pool: &str, id: &str) -> Say {
    working(Phase::Creating, "Adopting", &format!("the VM {id} of {pool} becomes its VM, as it is"))
}

pub(super) fn moving(pool: &str, vm: &ObservedGuest, target: &str, why: &str) -> Say {
    let on = vm.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
    let message = format!("its VM runs in {pool}{on} and is being moved to {target}: {why}");
    ready(Phase::Running, "Moving", message)
}

/// It runs, but not where it was decided to be.
pub(super) fn moving_failed(pool: &str, why: &str) -> Say {
    let message = format!("its move failed and is tried again while it is wished: {why}");
    let running = ready(Phase::Running, "Running", format!("its VM runs in {pool}"));
    running.with(Claim::no(Kind::Relocated, "MigrationFailed", message))
}

pub(super) fn relocating(pool: &str, why: &str) -> Say {
    working(Phase::Pending, "Relocating", &format!("its VM in {pool} is removed and another is made elsewhere: {why}"))
}

/// Its provider takes the VM back, and it is replaced at once.
pub(super) fn taken_back(when: &str) -> Say {
    working(Phase::Pending, "CapacityTakenBack", &format!("{when}; it is removed now, and another is made"))
}

pub(super) fn abandoned(pool: &str) -> Say {
    let message = format!(
        "its VM in {pool} is given up, as the pool does not answer and its administrator vouches that nothing runs \
         there; it is placed and made anew, with new disks"
    );
    working(Phase::Pending, "PoolFenced", &message)
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
        Step::Stop(..) => Phase::Stopping,
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

/// Somebody deleted it, and a hold keeps it.
pub(super) fn held(subject: &Subject) -> Say {
    let message = format!(
        "it was deleted and is held by {}: its VM stays as it is; take the hold out of spec.holds of the \
         VirtualWorkload {}, or of this Guest where that is gone, to let it go",
        subject.mandate.held_by(),
        subject.spec.workload
    );
    stuck(Phase::Deleting, "Held", &message)
}

/// An earlier VM of the guest is in the way, and is to be kept.
pub(super) fn earlier_kept(subject: &Subject, pool: &str) -> Say {
    let why = format!(
        "an earlier VM of this guest is in {pool} and is to be kept: save what is needed, remove it there, and this guest \
         goes on"
    );
    stalled(subject, "EarlierVmKept", &why)
}
