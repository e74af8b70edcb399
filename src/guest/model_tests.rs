//! The whole life of a guest against a small model of two providers, with operators that are killed between any two
//! effects, answers that are lost, requests that are heard late, reads that lag, and pools that are full.
//!
//! What must hold whatever happens: never two finished VMs of one guest, no VM that has run removed but for a deletion.
//! What must hold when the faults end: the guest runs exactly once, or is gone without a trace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::{
    amend,
    decide::{self, Step, Verdict},
    facts::{Facts, Place, Sight, Subject, Trace, Trouble},
    model_faults::Faults,
    model_world::{POOLS, Stop, World},
    say::Note,
    status::{self, OwnStatus},
    testing::{SETTLING, at, facts, trouble, wish},
};
use crate::{
    api::{Guest, GuestStatus},
    provider::{Deletion, ErrorKind, GuestWish, Key, ObservedGuest, Power},
};

/// One run of the controller, as `act` carries it out.
pub struct Run<'w> {
    world: &'w mut World,
    /// Which version of the object it knows.
    version: usize,
    guest: Guest,
    facts: Facts,
    fresh: bool,
}

impl<'w> Run<'w> {
    pub fn new(world: &'w mut World) -> Option<Self> {
        let stale = usize::from(world.fault(1, 2)).min(world.objects.len() - 1);
        let version = world.objects.len() - 1 - stale;
        let guest = world.objects[version].clone()?;
        let facts = gather(world, &guest);
        Some(Self { world, version, guest, facts, fresh: false })
    }

    fn pool(&self) -> usize {
        POOLS.iter().position(|pool| Some(*pool) == self.facts.subject.pool()).unwrap()
    }

    /// A write on the condition that the object is still the one that was read.
    fn write(&mut self, own: &OwnStatus) -> Result<(), Stop> {
        let old = self.guest.status.clone().unwrap_or_default();
        if *own == OwnStatus::of(&old) {
            return Ok(());
        }
        let fault = self.world.fault(2, 3);
        if fault == 1 || self.version + 1 != self.world.objects.len() {
            return Err(Stop);
        }
        let whole = own.clone().onto(&old);
        let status: GuestStatus = serde_json::from_value(serde_json::to_value(whole).unwrap()).unwrap();
        self.guest.status = Some(status);
        self.world.objects.push(Some(self.guest.clone()));
        self.version += 1;
        self.facts.subject = Subject::new(&self.guest);
        if fault == 2 { Err(Stop) } else { Ok(()) }
    }

    fn go(&mut self) -> Result<(), Stop> {
        for _ in 0..8 {
            let mut verdict = decide::decide(&self.facts);
            if verdict.step.needs_fresh_sight() && !self.fresh {
                let seen = gather(self.world, &self.guest);
                self.facts = self.facts.seen_anew(seen);
                self.fresh = true;
                verdict = decide::decide(&self.facts);
            }
            self.take(&verdict)?;
        }
        Ok(())
    }

    fn take(&mut self, verdict: &Verdict) -> Result<(), Stop> {
        match &verdict.step {
            Step::Rest => {
                self.write(&status::after(&self.facts, &verdict.say, None))?;
                Err(Stop)
            }
            Step::Renew => {
                self.write(&status::renewed(&self.facts, &verdict.say, None))?;
                Err(Stop)
            }
            Step::LetGo => {
                if self.version + 1 == self.world.objects.len() {
                    self.world.objects.push(None);
                }
                Err(Stop)
            }
            Step::Create(wish) => {
                let first = self.facts.subject.creation.is_none();
                self.write(&status::before_creation(&self.facts, &verdict.say, None))?;
                let answer = self.world.create(self.pool(), &wish.key)?;
                self.facts.answered = first && answer == Err(ErrorKind::Capacity);
                self.answered(&verdict.step, answer)
            }
            Step::Start(wish) => {
                let untouched = self.facts.subject.creation.as_ref().is_none_or(|creation| !creation.started);
                if !status::start_is_noted_there(&self.facts) {
                    self.write(&status::before_start(&self.facts, &verdict.say, None))?;
                } else if self.is_old() {
                    return Err(Stop);
                }
                let answer = self.world.start(self.pool(), wish.key.incarnation)?;
                if untouched && answer.as_ref().is_err_and(|kind| decide::means_untouched(*kind)) {
                    self.facts.subject.creation.iter_mut().for_each(|creation| creation.started = false);
                }
                self.answered(&verdict.step, answer)
            }
            Step::Erase(key) => self.erase(key),
            Step::Stop(key, _) => {
                self.write(&status::after(&self.facts, &verdict.say, None))?;
                let answer = self.world.stop(self.pool(), key.incarnation)?;
                self.answered(&verdict.step, answer)
            }
            Step::Amend(wish) => self.amend(verdict, wish),
            Step::Release(key) => self.release(key),
            Step::Clear(key, pool) => self.clear(verdict, key, pool),
            Step::Abandon => {
                if self.world.fenced.is_some() {
                    self.write(&status::abandoned(&self.facts, &verdict.say, None))?;
                }
                Err(Stop)
            }
            Step::ReadFirstBoot | Step::Adopt(..) | Step::Suspend(_) | Step::Migrate(..) => {
                unreachable!("nobody wishes that here: {verdict:?}")
            }
        }
    }

    fn release(&mut self, key: &Key) -> Result<(), Stop> {
        if self.is_old() {
            return Err(Stop);
        }
        self.facts.met |= matches!(self.facts.vm, Sight::Known(_));
        if self.world.release(self.pool(), key.incarnation)?.is_err() {
            return Err(Stop);
        }
        (self.facts.vm, self.facts.released, self.fresh) = (Sight::Absent, true, true);
        Ok(())
    }

    fn clear(&mut self, verdict: &Verdict, key: &Key, pool: &str) -> Result<(), Stop> {
        if self.is_old() {
            return Err(Stop);
        }
        let pool = POOLS.iter().position(|name| *name == pool).unwrap();
        if self.world.delete(pool, key, true)? != Ok(Deletion::Gone) {
            return Err(Stop);
        }
        self.facts.abandoned.retain(|(left, _)| left.incarnation != key.incarnation);
        self.write(&status::cleared(&self.facts, &verdict.say, key.incarnation, None))
    }

    /// Whether the object was changed since it was read. Of a deleted one only the spec counts.
    fn is_old(&self) -> bool {
        let live = self.world.object();
        let same_spec = live.is_some_and(|live| live.spec == self.guest.spec);
        if self.facts.subject.deleting { !same_spec } else { self.version + 1 != self.world.objects.len() }
    }

    fn amend(&mut self, verdict: &Verdict, wish: &GuestWish) -> Result<(), Stop> {
        self.write(&status::before_amendment(&self.facts, &verdict.say, wish.protected, None))?;
        let answer = self.world.amend(self.pool(), wish.key.incarnation, wish.vcpus)?;
        let done = match answer {
            Ok(done) => done,
            Err(kind) => return self.answered(&verdict.step, Err(kind)),
        };
        let note = if done { Note::Clear } else { Note::Set(amend::when_off(&self.facts, wish, "it runs")) };
        let seen = self.world.find(self.pool(), wish.key.incarnation);
        (self.facts.vm, self.fresh) = (seen.map_or(Sight::Absent, Sight::Known), true);
        let say = verdict.say.clone().noting(|notes| notes.resize = note);
        self.write(&status::amended(&self.facts, &say, wish.protected, None))
    }

    fn erase(&mut self, key: &Key) -> Result<(), Stop> {
        // What was deleted, or is to be made anew elsewhere, may go though it has run.
        let deleting = self.facts.subject.deleting || self.facts.subject.relocation().is_some();
        if self.is_old() {
            return Err(Stop);
        }
        let held = self.world.object().is_some_and(|guest| !guest.spec.holds.is_empty());
        let ran = self.world.made.iter().any(|made| made.ran && made.pool == self.pool() && !made.released);
        if held && ran {
            self.world.violated = Some(format!("a VM that is held is being removed: {:#?}", self.world));
        }
        self.facts.met |= matches!(self.facts.vm, Sight::Known(_));
        match self.world.delete(self.pool(), key, deleting)? {
            Ok(Deletion::Gone) => {
                (self.facts.vm, self.facts.erased, self.fresh) = (Sight::Absent, true, true);
                Ok(())
            }
            Ok(Deletion::InProgress) | Err(_) => Err(Stop),
        }
    }

    fn answered(&mut self, step: &Step, answer: Result<ObservedGuest, ErrorKind>) -> Result<(), Stop> {
        let kind = match answer {
            Ok(vm) => {
                (self.facts.vm, self.fresh) = (Sight::Known(vm), true);
                return Ok(());
            }
            Err(kind) => kind,
        };
        let trouble = trouble(kind);
        let say = decide::after_failure(&self.facts, step, &trouble);
        if decide::is_refusal(&self.facts, step, &trouble) {
            return self.write(&status::refusing(&self.facts, &trouble.message, &say, None));
        }
        let mut own = status::after(&self.facts, &say, None);
        if kind == ErrorKind::UnknownOutcome && matches!(step, Step::Create(_)) {
            own = status::unanswered(own, self.facts.now);
        }
        self.write(&own)?;
        Err(Stop)
    }
}

fn gather(world: &mut World, guest: &Guest) -> Facts {
    let subject = Subject::new(guest);
    let pool = subject.pool().and_then(|name| POOLS.iter().position(|pool| *pool == name));
    let incarnation = subject.key.incarnation;
    let (place, sight) = match pool {
        None => (Place::Unbound, Sight::NotAsked),
        Some(pool) => {
            let wish = GuestWish { vcpus: world.vcpus, ..wish(incarnation) };
            let place = Place::Open { pool: POOLS[pool].into(), wish: Ok(wish), settling: SETTLING };
            let silent = world.fault(1, 5) == 1 || [world.fenced, world.silent].contains(&Some(pool));
            let down = Trouble { retry_after: None, ..trouble(ErrorKind::Unavailable) };
            (place, Sight::of(if silent { Err(down) } else { Ok(world.find(pool, incarnation)) }))
        }
    };
    let abandoned = subject.status.abandoned.iter().map(|left| {
        let there = POOLS.iter().position(|name| *name == left.pool).unwrap();
        let found = world.find(there, left.incarnation);
        let is_silent = world.fenced == Some(there);
        let read = Trace::of(left, found.as_ref(), SETTLING, at(world.now));
        let trace = if is_silent { Trace::Silent } else { read };
        (left.clone(), trace)
    });
    let (abandoned, fenced) = (abandoned.collect(), pool.is_some() && world.fenced == pool);
    Facts { subject, place, abandoned, fenced, now: at(world.now), ..facts(guest, sight) }
}

pub fn one_round(world: &mut World) {
    world.place();
    let killed = Run::new(world).is_some_and(|mut run| run.go().is_err());
    if killed && world.fault(1, 3) == 1 {
        // Another operator goes on, that knows nothing of requests under way.
        world.made.iter_mut().for_each(|made| made.own = false);
    }
    world.check();
}

pub fn delete_object(world: &mut World) {
    let Some(mut guest) = world.object().cloned() else { return };
    guest.metadata.deletion_timestamp = Some(Time(at(world.now)));
    world.objects.push(Some(guest));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_guest_runs_once_and_leaves_without_a_trace(
        faults in prop::collection::vec(any::<u8>(), 0..250),
        liked in 0usize..2,
        pauses in prop::collection::vec(0i64..25, 20),
        deleted_at in prop::option::of(prop_oneof![0usize..5, 0usize..20]),
        vanishes_at in prop::option::weighted(0.2, 0usize..20),
    ) {
        let mut world = World::new(Faults::Bytes(faults), liked);
        for (round, pause) in pauses.into_iter().enumerate() {
            if deleted_at == Some(round) {
                delete_object(&mut world);
            }
            if vanishes_at == Some(round) {
                // Somebody removes what is there, by hand.
                let now = world.now;
                world.made.retain(|made| made.lands > now);
            }
            one_round(&mut world);
            world.pass(pause);
        }
        prop_assert!(world.violated.is_none(), "{}", world.violated.unwrap());
        world.calm = true;
        for _ in 0..120 {
            one_round(&mut world);
            world.pass(10);
        }
        if deleted_at.is_some() {
            prop_assert!(world.object().is_none() && world.made.is_empty(), "something is left: {:#?}", world);
        } else {
            let running = world.made.iter().filter(|made| made.power == Power::Running).count();
            prop_assert!(running == 1, "it does not run: {:#?}", world);
            let status = world.object().unwrap().status.clone().unwrap();
            prop_assert_eq!(status.phase.unwrap().to_string(), "Running");
            delete_object(&mut world);
            for _ in 0..60 {
                one_round(&mut world);
                world.pass(10);
            }
            prop_assert!(world.object().is_none() && world.made.is_empty(), "something is left: {:#?}", world);
        }
    }
}
