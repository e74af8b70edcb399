//! Which of the planned moves are begun now, and what is said of those that are not. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    flights::{self, Standing},
    gather::{Assumed, Picture, incarnation, valid_binding},
};
use crate::{
    api::{
        Guest,
        care::Move,
        condition::{self, Kind},
        guest::Relocation,
    },
    guest::mandate::Mandate,
    plan::{Cause, How, Plan, Reason},
};

/// How long a reason must have been there before a guest is moved for it: what is seen for a moment only, while other
/// things change, moves nobody.
const SETTLE: SignedDuration = SignedDuration::from_secs(5);
/// How long fewer hosts must have been enough before guests are gathered: while workloads are rolled out or scaled, they
/// often are for a moment.
const GATHER: SignedDuration = SignedDuration::from_mins(5);
/// How long a guest that was moved, or was to be, is left alone.
const COOL_DOWN: SignedDuration = SignedDuration::from_mins(5);

/// Since when each guest is to be moved, and for which reason.
pub type Reasons = HashMap<(String, Cause), Timestamp>;

/// What is to be done about moves.
#[derive(Debug, Default, PartialEq)]
pub struct Chosen {
    /// Moves to begin, by the guest's UID.
    pub begin: Vec<(String, Relocation)>,
    /// Decisions to take back: they came to nothing, and nothing asks for them any more.
    pub withdraw: Vec<String>,
    /// What to say of moves that need a person, by the guest's UID.
    pub proposals: HashMap<String, String>,
    /// When one that waits may go.
    pub wake_at: Option<Timestamp>,
}

/// What keeps a move from being begun.
enum Against {
    /// Time, or another move: nothing is said of it.
    Wait(Option<Timestamp>),
    /// Somebody has to decide.
    Person(String),
}

/// Chooses. `looked`: whether hosts to be emptied were looked for in this plan.
#[must_use]
pub fn choose(
    plan: &Plan,
    picture: &Picture<'_>,
    assumed: &Assumed,
    (reasons, looked): (&mut Reasons, bool),
) -> Chosen {
    let now = picture.world.now;
    note_reasons(plan, picture, reasons, looked);
    let mut chosen = Chosen::default();
    let gathers = plan.moves.iter().any(|step| step.cause == Cause::Density);
    let mut budget = Budget { gathers, ..Budget::new(picture, assumed) };
    let settle = if gathers { GATHER } else { SETTLE };
    let mut asked: HashSet<&str> = HashSet::new();
    for step in &plan.moves {
        // What comes in a later wave waits for the ones before, and is planned anew then.
        if !asked.insert(&step.guest) || step.wave > 0 {
            continue;
        }
        let Some(guest) = picture.guests.get(&step.guest) else { continue };
        let last = flights::last(guest, &assumed.relocations);
        match judge(step, guest, last, (reasons, settle), now).and_then(|kind| budget.take(step, guest, kind)) {
            Ok(kind) => chosen.begin.push((step.guest.clone(), relocation(step, guest, kind, last, picture))),
            Err(Against::Wait(at)) => chosen.wake_no_later_than(at),
            Err(Against::Person(why)) => drop(chosen.proposals.insert(step.guest.clone(), why)),
        }
    }
    propose(plan, picture, &mut chosen);
    chosen.withdraw = void(picture, assumed, &asked);
    chosen
}

impl Chosen {
    fn wake_no_later_than(&mut self, at: Option<Timestamp>) {
        self.wake_at = self.wake_at.into_iter().chain(at).min();
    }
}

fn note_reasons(plan: &Plan, picture: &Picture<'_>, reasons: &mut Reasons, looked: bool) {
    let current: HashSet<(&str, Cause)> = plan.moves.iter().map(|step| (step.guest.as_str(), step.cause)).collect();
    // Nobody is gathered beside who is on the move, and the others of its host are to follow it at once.
    let busy: HashSet<&str> = picture.flights.iter().map(|flight| flight.pool.as_str()).collect();
    let waits = |guest: &String| {
        let binding = picture.guests.get(guest).and_then(|guest| guest.spec.binding.as_ref());
        binding.is_some_and(|binding| busy.contains(binding.pool.as_str()))
    };
    reasons.retain(|(guest, cause), _| {
        current.contains(&(guest.as_str(), *cause)) || (*cause == Cause::Density && (!looked || waits(guest)))
    });
    for (guest, cause) in current {
        reasons.entry((guest.to_owned(), cause)).or_insert(picture.world.now);
    }
}

/// Whether a move may be begun, as far as the guest itself is concerned.
fn judge(
    step: &crate::plan::Move,
    guest: &Guest,
    last: Option<&Relocation>,
    (reasons, settle): (&Reasons, SignedDuration),
    now: Timestamp,
) -> Result<Move, Against> {
    let mandate = Mandate::new(&guest.spec, &guest.status.clone().unwrap_or_default());
    let kind = match step.how {
        How::Live => Move::Live,
        How::Recreate => Move::Recreate,
        How::Proposed => {
            let against = mandate.no_move(Move::Recreate).unwrap_or_else(|| "it does not run".to_owned());
            return Err(Against::Person(against));
        }
    };
    let worth_a_vm = matches!(step.cause, Cause::Drain | Cause::BrokenRule | Cause::Neighbours | Cause::ReturnHome);
    if kind == Move::Recreate && !worth_a_vm {
        return Err(Against::Person("no VM is removed for that alone".to_owned()));
    }
    // Whoever drains a host, or has a guest return, has said so; the rest must last.
    if !matches!(step.cause, Cause::Drain | Cause::ReturnHome) {
        let since = reasons.get(&(step.guest.clone(), step.cause)).copied().unwrap_or(now);
        not_before(since, settle, now)?;
    }
    match last.filter(|last| last.incarnation == incarnation(guest)) {
        // One that just went where it had to may have to leave there too; one that could not go must not try at once.
        Some(last) if step.cause == Cause::Drain => {
            let went = flights::standing(guest, Some(last), now) == Standing::Done;
            // Another way of going may be open where the last one was not.
            if !went && last.kind == kind {
                not_before(last.decided_at.0, COOL_DOWN, now)?;
            }
        }
        Some(last) => not_before(last.decided_at.0, COOL_DOWN, now)?,
        None => {}
    }
    Ok(kind)
}

fn not_before(since: Timestamp, wait: SignedDuration, now: Timestamp) -> Result<(), Against> {
    let at = since.checked_add(wait).unwrap_or(Timestamp::MAX);
    if at <= now { Ok(()) } else { Err(Against::Wait(Some(at))) }
}

/// How many moves may still be begun.
struct Budget<'p> {
    picture: &'p Picture<'p>,
    /// Whether guests are gathered on fewer hosts: one after the other, as no host may be filled that is emptied.
    gathers: bool,
    /// Moves out of each pool.
    leaving: HashMap<String, u32>,
    /// Hosts that somebody leaves already: whether more have to is seen when that one is gone.
    left: HashSet<(String, Option<String>)>,
    /// For each workload, its guests and those of them that are not at work.
    workloads: BTreeMap<(String, String), (usize, HashSet<String>)>,
}

impl<'p> Budget<'p> {
    fn new(picture: &'p Picture<'p>, assumed: &Assumed) -> Self {
        let (leaving, left, workloads) = (HashMap::new(), HashSet::new(), BTreeMap::new());
        let mut budget = Self { picture, gathers: false, leaving, left, workloads };
        let mut made_anew = HashSet::new();
        for flight in &picture.flights {
            *budget.leaving.entry(flight.pool.clone()).or_default() += 1;
            budget.left.insert((flight.pool.clone(), flight.host.clone()));
            made_anew.extend((flight.kind == Move::Recreate).then_some(flight.guest.as_str()));
        }
        for (uid, guest) in &picture.guests {
            let of = budget.workloads.entry(workload(guest)).or_default();
            of.0 += 1;
            let conditions = guest.status.as_ref().map_or(&[][..], |status| &status.conditions);
            let works = condition::is_true(conditions, Kind::Ready) && valid_binding(guest, assumed).is_some();
            if !works || made_anew.contains(uid.as_str()) {
                of.1.insert(uid.clone());
            }
        }
        budget
    }

    /// Takes a move out of the budget, or says what keeps it back. What was begun ends with a change, which wakes us.
    fn take(&mut self, step: &crate::plan::Move, guest: &Guest, kind: Move) -> Result<Move, Against> {
        let from = &step.from;
        let most = self.picture.most_moves.get(&from.pool).copied().unwrap_or(0);
        let most = if self.gathers { most.min(1) } else { most };
        let leaving = self.leaving.entry(from.pool.clone()).or_default();
        let place = (from.pool.clone(), from.host.clone());
        let one_by_one = matches!(step.cause, Cause::Overload | Cause::Neighbours | Cause::MakeRoom | Cause::Density);
        if *leaving >= most || (one_by_one && self.left.contains(&place)) {
            return Err(Against::Wait(None));
        }
        if kind == Move::Recreate {
            let (all, missing) = self.workloads.entry(workload(guest)).or_default();
            // A quarter of them, or one. Whoever does not work already counts, except the guest itself.
            let others = missing.iter().filter(|uid| **uid != step.guest).count();
            if others >= (*all / 4).max(1) {
                return Err(Against::Wait(None));
            }
            missing.insert(step.guest.clone());
        }
        *leaving += 1;
        self.left.insert(place);
        Ok(kind)
    }
}

fn workload(guest: &Guest) -> (String, String) {
    (guest.metadata.namespace.clone().unwrap_or_default(), guest.spec.workload.clone())
}

fn relocation(
    step: &crate::plan::Move,
    guest: &Guest,
    kind: Move,
    last: Option<&Relocation>,
    picture: &Picture<'_>,
) -> Relocation {
    let to = &step.to;
    let id = |name: &String| picture.host_ids.get(&(to.pool.clone(), name.clone())).cloned();
    // The API server keeps whole seconds, and no two decisions may have the same time.
    let whole = picture.world.now.as_second();
    let second = last.map_or(whole, |last| whole.max(last.decided_at.0.as_second() + 1));
    Relocation {
        incarnation: incarnation(guest),
        kind,
        pool: Some(to.pool.clone()),
        host: to.host.as_ref().and_then(id),
        instance_type: to.instance_type.clone(),
        reason: step.cause.to_string(),
        decided_at: Time(Timestamp::from_second(second).unwrap_or(picture.world.now)),
    }
}

/// Puts what needs a person into words: where to, and what keeps the guest from being moved.
fn propose(plan: &Plan, picture: &Picture<'_>, chosen: &mut Chosen) {
    for explanation in &plan.explanations {
        match explanation.reason {
            Reason::ToBeMoved => {
                // Of several steps of one guest, the first is told.
                if let Some(why) = chosen.proposals.get_mut(&explanation.guest).filter(|why| !why.contains(ENDING)) {
                    *why = format!("{}; {ENDING}{why}", explanation.message);
                }
            }
            Reason::CannotLeave => {
                let known = picture.guests.contains_key(&explanation.guest);
                if known && chosen.begin.iter().all(|(guest, _)| *guest != explanation.guest) {
                    chosen.proposals.insert(explanation.guest.clone(), explanation.message.clone());
                }
            }
            Reason::Placed | Reason::NoPoolFits | Reason::WaitingForRoom => {}
        }
    }
}

/// How the words of a proposal end.
const ENDING: &str = "it is not moved by itself: ";

/// Decisions that came to nothing, of guests that nothing asks to move any more.
fn void(picture: &Picture<'_>, assumed: &Assumed, asked: &HashSet<&str>) -> Vec<String> {
    let now = picture.world.now;
    let is_void = |(uid, guest): &(&String, &&std::sync::Arc<Guest>)| {
        let last = guest.spec.relocation.as_ref();
        // It tells when that was: who could not be gathered is not tried again and again.
        let gathered = |last: &Relocation| last.reason == Cause::Density.to_string();
        let rests = |last: &Relocation| now.duration_since(last.decided_at.0) < super::OPTIONS.moves.cool_down;
        !asked.contains(uid.as_str())
            && last.is_none_or(|last| !gathered(last) || !rests(last))
            && !assumed.relocations.contains_key(*uid)
            && guest.metadata.deletion_timestamp.is_none()
            && flights::standing(guest, last, now) == Standing::Over
    };
    let mut all: Vec<String> = picture.guests.iter().filter(is_void).map(|(uid, _)| uid.clone()).collect();
    all.sort();
    all
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
