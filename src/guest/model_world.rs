//! A small model of an API server, a scheduler and two providers, with faults.

use std::hash::{Hash, Hasher};

use super::{
    model_faults::Faults,
    testing::{UID, at, guest, key, vm},
};
use crate::{
    api::{Guest, guest::Binding},
    pool::orphans,
    provider::{Deletion, ErrorKind, Key, ObservedGuest, Power, Stage},
};

pub const POOLS: [&str; 2] = ["xen", "rent"];

/// What a provider holds: a VM, or a request for one that it has not heard yet.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Made {
    /// The UID in its mark.
    pub guest: String,
    pub pool: usize,
    pub incarnation: u32,
    pub stage: Stage,
    pub power: Power,
    pub ran: bool,
    /// From when on it is there.
    pub lands: i64,
    /// From when on reads show it to operators that did not make it.
    pub shows: i64,
    /// The operator that asked for it still lives.
    pub own: bool,
    pub vcpus: u32,
    /// It was given up as it is.
    pub released: bool,
    /// Its driver noted on it that it was started.
    pub noted: bool,
}

impl Hash for Made {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{self:?}").hash(state);
    }
}

/// What a provider shows of it.
fn observed(made: &Made) -> ObservedGuest {
    let key = key(made.incarnation);
    ObservedGuest { key, stage: made.stage, vcpus: Some(made.vcpus), ..vm(made.power) }
}

/// The operator was killed, or has nothing more to do now.
pub struct Stop;

#[derive(Clone, Debug)]
pub struct World {
    pub now: i64,
    /// All that the API server ever held; the last is what it holds. `None`: the object is gone.
    pub objects: Vec<Option<Guest>>,
    pub made: Vec<Made>,
    pub faults: Faults,
    pub calm: bool,
    /// Which pool the scheduler likes better.
    pub liked: usize,
    /// How many processors the guest is to have.
    pub vcpus: u32,
    /// The pool that is off, and fenced.
    pub fenced: Option<usize>,
    /// How often a VM that ran was stopped, and how often a restart was wished.
    pub stops: usize,
    pub restarts: usize,
    /// The pool that does not answer.
    pub silent: Option<usize>,
    /// What happened that must never happen.
    pub violated: Option<String>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for object in self.objects.iter().rev().take(2) {
            serde_json::to_string(object).unwrap().hash(state);
        }
        (self.now, &self.made, self.calm, self.liked, self.vcpus, self.fenced, self.silent).hash(state);
        self.violated.is_some().hash(state);
    }
}

impl World {
    pub fn new(faults: Faults, liked: usize) -> Self {
        let mut first = guest();
        (first.spec.binding, first.status) = (None, None);
        let (made, calm, vcpus, fenced) = (Vec::new(), false, 2, None);
        let (stops, restarts) = (0, 0);
        let (silent, violated) = (None, None);
        let objects = vec![Some(first)];
        Self { now: 0, objects, made, faults, calm, liked, vcpus, fenced, stops, restarts, silent, violated }
    }

    /// The next fault, of so many; 0 for none.
    pub fn fault(&mut self, ways: u8, of: u8) -> u8 {
        if self.calm { 0 } else { self.faults.next(ways, of) }
    }

    /// It must never be so.
    fn never(&mut self, what: &str) {
        if self.violated.is_none() {
            self.violated = Some(format!("{what}: {self:#?}"));
        }
    }

    pub fn bound_pool(&self) -> Option<usize> {
        let binding = self.object()?.spec.binding.as_ref()?;
        POOLS.iter().position(|pool| *pool == binding.pool)
    }

    pub fn object(&self) -> Option<&Guest> {
        self.objects.last().unwrap().as_ref()
    }

    pub fn there(&self, pool: usize) -> impl Iterator<Item = &Made> {
        self.made.iter().filter(move |made| made.pool == pool && made.lands <= self.now)
    }

    pub fn find(&self, pool: usize, incarnation: u32) -> Option<ObservedGuest> {
        let shown = self.there(pool).filter(|made| (made.own || made.shows <= self.now) && !made.released);
        let of = shown.filter(|made| made.incarnation == incarnation && made.guest == UID);
        let one = of.min_by_key(|made| made.stage == Stage::Incomplete)?;
        let ever_started = (pool == 0).then_some(one.noted);
        Some(ObservedGuest { ever_started, ..observed(one) })
    }

    pub fn flying(&self, pool: usize) -> bool {
        self.made.iter().any(|made| made.pool == pool && made.own && made.lands > self.now)
    }

    pub fn create(&mut self, pool: usize, key: &Key) -> Result<Result<ObservedGuest, ErrorKind>, Stop> {
        let (rents, incarnation) = (pool == 1, key.incarnation);
        if self.silent == Some(pool) {
            return Ok(Err(ErrorKind::Unavailable));
        }
        let fault = self.fault(6, 8);
        if fault == 1 {
            return Err(Stop);
        }
        let same = |made: &&mut Made| made.pool == pool && made.incarnation == incarnation && made.guest == key.guest;
        let now = self.now;
        if rents && let Some(made) = self.made.iter_mut().find(same) {
            // The same token: the same instance, heard by now.
            (made.lands, made.own) = (made.lands.min(now), true);
        } else if !rents && self.flying(pool) {
            return Ok(Err(ErrorKind::UnknownOutcome));
        } else if let Some(made) = self.made.iter_mut().filter(|made| made.lands <= now).find(same) {
            made.stage = Stage::Complete;
        } else {
            match fault {
                2 => return Ok(Err(ErrorKind::Capacity)),
                3 => return Ok(Err(ErrorKind::Unavailable)),
                _ => {}
            }
            let late = if matches!(fault, 4 | 5) { self.faults.late() } else { 0 };
            let stage = if rents || late == 0 { Stage::Complete } else { Stage::Incomplete };
            let stage = if !rents && fault == 6 { Stage::Incomplete } else { stage };
            let power = if rents { Power::Running } else { Power::Stopped };
            let shows = if rents { now + 40.max(late) } else { now + late };
            let (lands, vcpus) = (now + late, self.vcpus);
            let (ran, own, released, noted) = (rents, true, false, false);
            let guest = key.guest.clone();
            self.made.push(Made {
                guest,
                pool,
                incarnation,
                stage,
                power,
                ran,
                lands,
                shows,
                own,
                vcpus,
                released,
                noted,
            });
        }
        self.check();
        match fault {
            4 | 6 => Err(Stop),
            5 => Ok(Err(ErrorKind::UnknownOutcome)),
            _ => Ok(self.find(pool, incarnation).ok_or(ErrorKind::UnknownOutcome)),
        }
    }

    pub fn start(&mut self, pool: usize, incarnation: u32) -> Result<Result<ObservedGuest, ErrorKind>, Stop> {
        if self.silent == Some(pool) {
            return Ok(Err(ErrorKind::Unavailable));
        }
        let fault = self.fault(5, 6);
        match fault {
            1 => return Err(Stop),
            2 => return Ok(Err(ErrorKind::Capacity)),
            3 => return Ok(Err(ErrorKind::Unavailable)),
            _ => {}
        }
        let now = self.now;
        let here = |made: &&mut Made| made.pool == pool && made.incarnation == incarnation && made.lands <= now;
        match self.made.iter_mut().filter(here).find(|made| made.stage == Stage::Complete) {
            Some(made) => (made.power, made.ran, made.noted) = (Power::Running, true, true),
            None => return Ok(Err(ErrorKind::NotFound)),
        }
        match fault {
            4 => Err(Stop),
            5 => Ok(Err(ErrorKind::UnknownOutcome)),
            _ => Ok(self.find(pool, incarnation).ok_or(ErrorKind::Unavailable)),
        }
    }

    pub fn delete(&mut self, pool: usize, key: &Key, deleted: bool) -> Result<Result<Deletion, ErrorKind>, Stop> {
        if self.silent == Some(pool) {
            return Ok(Err(ErrorKind::Unavailable));
        }
        let fault = self.fault(5, 6);
        match fault {
            1 => return Err(Stop),
            2 => return Ok(Err(ErrorKind::Unavailable)),
            3 => return Ok(Ok(Deletion::InProgress)),
            _ => {}
        }
        let (now, all) = (self.now, self.made.len());
        let goes = |made: &Made| {
            let shown = made.lands <= now && (made.own || made.shows <= now);
            made.pool == pool && made.incarnation <= key.incarnation && made.guest == UID && shown && !made.released
        };
        // One that was given up goes when its pool is back, by whichever step.
        if !deleted && self.made.iter().any(|made| goes(made) && made.ran && !self.was_given_up(made)) {
            self.never("a VM that ran was removed");
        }
        self.made.retain(|made| !goes(made));
        assert!(self.made.len() <= all);
        match fault {
            4 => Err(Stop),
            5 => Ok(Err(ErrorKind::UnknownOutcome)),
            _ if self.flying(pool) => Ok(Ok(Deletion::InProgress)),
            _ => Ok(Ok(Deletion::Gone)),
        }
    }

    /// What must hold at every moment.
    pub fn check(&mut self) {
        // What the guest names as given up; when it is gone and that was to be kept, whatever it ever gave up.
        let given_up = |made: &Made| match self.object() {
            Some(guest) => {
                let named = guest.status.as_ref().map_or(&[][..], |status| &status.abandoned);
                named.iter().any(|left| left.incarnation == made.incarnation)
            }
            None => self.was_given_up(made),
        };
        let finished =
            |made: &&Made| made.lands <= self.now && made.stage == Stage::Complete && !made.released && !given_up(made);
        let two = self.made.iter().filter(finished).count() > 1;
        let on = |made: &&Made| made.power == Power::Running && !made.released;
        let two_run = self.made.iter().filter(on).count() > 1;
        if two || two_run {
            self.never("two VMs of one guest");
        }
    }

    /// The VM that is there and complete.
    fn complete(&mut self, pool: usize, incarnation: u32) -> Option<&mut Made> {
        let now = self.now;
        let here = |made: &&mut Made| made.pool == pool && made.incarnation == incarnation && made.lands <= now;
        self.made.iter_mut().filter(here).find(|made| made.stage == Stage::Complete && !made.released)
    }

    pub fn stop(&mut self, pool: usize, incarnation: u32) -> Result<Result<ObservedGuest, ErrorKind>, Stop> {
        let fault = self.fault(5, 6);
        match fault {
            1 => return Err(Stop),
            2 | 3 => return Ok(Err(ErrorKind::Unavailable)),
            _ => {}
        }
        let Some(made) = self.complete(pool, incarnation) else { return Ok(Err(ErrorKind::NotFound)) };
        let ran = made.power == Power::Running;
        made.power = Power::Stopped;
        self.stops += usize::from(ran);
        match fault {
            4 => Err(Stop),
            5 => Ok(Err(ErrorKind::UnknownOutcome)),
            _ => Ok(self.find(pool, incarnation).ok_or(ErrorKind::Unavailable)),
        }
    }

    /// A running VM takes no other size.
    pub fn amend(&mut self, pool: usize, incarnation: u32, vcpus: u32) -> Result<Result<bool, ErrorKind>, Stop> {
        let fault = self.fault(4, 6);
        match fault {
            1 => return Err(Stop),
            2 => return Ok(Err(ErrorKind::Unavailable)),
            3 => return Ok(Err(ErrorKind::Capacity)),
            _ => {}
        }
        let Some(made) = self.complete(pool, incarnation) else { return Ok(Err(ErrorKind::NotFound)) };
        let off = made.power == Power::Stopped;
        if off {
            made.vcpus = vcpus;
        }
        if fault == 4 { Err(Stop) } else { Ok(Ok(off)) }
    }

    pub fn release(&mut self, pool: usize, incarnation: u32) -> Result<Result<(), ErrorKind>, Stop> {
        let fault = self.fault(4, 6);
        match fault {
            1 => return Err(Stop),
            2 => return Ok(Err(ErrorKind::Unavailable)),
            _ => {}
        }
        if let Some(made) = self.complete(pool, incarnation) {
            made.released = true;
        }
        if fault == 4 { Err(Stop) } else { Ok(Ok(())) }
    }

    /// A pool's hosts are switched off: what was asked for and not heard yet never will be.
    pub fn fence(&mut self, pool: usize) {
        if self.fenced.is_none() {
            self.fenced = Some(pool);
            let now = self.now;
            self.made.retain(|made| made.pool != pool || made.lands <= now);
            self.made.iter_mut().filter(|made| made.pool == pool && made.power == Power::Running).for_each(|made| {
                made.power = Power::Stopped;
            });
        }
    }

    /// They are on again.
    pub fn unfence(&mut self) {
        self.fenced = None;
    }

    pub fn was_given_up(&self, one: &Made) -> bool {
        let given_up = |guest: &Guest| {
            let status = guest.status.as_ref();
            status.is_some_and(|status| status.abandoned.iter().any(|left| left.incarnation == one.incarnation))
        };
        self.objects.iter().flatten().any(given_up)
    }

    pub fn is_there(&self, one: &Made) -> bool {
        self.made.iter().any(|made| (made.pool, made.incarnation) == (one.pool, one.incarnation))
    }

    /// How often a VM may have been stopped at most: for each wish, again for an operator that had an old one before it,
    /// and for each VM that its provider switched on by making it.
    pub fn may_stop(&self) -> usize {
        let asked = self.objects.windows(2).filter(|two| match (&two[0], &two[1]) {
            (Some(old), Some(new)) => old.spec.template.power_state != new.spec.template.power_state,
            _ => false,
        });
        let vms = self.objects.iter().flatten().map(Guest::incarnation).max().unwrap_or_default();
        2 * (self.restarts + asked.count()) + vms as usize
    }

    /// Time goes on; what was heard late lands, drivers tidy up.
    pub fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            self.check();
        }
        let finished: Vec<_> = self.there(0).filter(|m| m.stage == Stage::Complete).map(|m| m.incarnation).collect();
        let vms: Vec<ObservedGuest> =
            self.there(0).filter(|made| !made.released && made.guest == UID).map(observed).collect();
        let alive = self.object().map(|guest| (UID.to_owned(), guest.incarnation()));
        let unwanted = orphans::removable(&vms, &alive.into_iter().collect());
        let now = self.now;
        // A clone beside a finished VM goes, and one that no Guest wants: neither has ever run.
        self.made.retain(|made| {
            let unwanted = unwanted.iter().any(|key| key.incarnation == made.incarnation);
            let surplus = made.pool == 0 && (unwanted || finished.contains(&made.incarnation));
            !(surplus && made.stage == Stage::Incomplete && made.lands <= now)
        });
    }

    /// The scheduler: the first pool that has not refused, and where nothing is bound for this incarnation.
    pub fn place(&mut self) {
        let Some(mut guest) = self.object().cloned() else { return };
        let status = guest.status.clone().unwrap_or_default();
        let incarnation = status.incarnation.unwrap_or(1);
        let bound = guest.spec.binding.as_ref().is_some_and(|binding| binding.incarnation >= incarnation);
        if bound || guest.metadata.deletion_timestamp.is_some() {
            return;
        }
        let refused = |pool: &&str| status.refusals.iter().any(|r| r.pool == **pool && r.until.0 > at(self.now));
        let Some(pool) = POOLS.iter().cycle().skip(self.liked).take(2).find(|pool| !refused(pool)) else { return };
        let rented = (*pool == "rent").then(|| "t3.small".to_owned());
        guest.spec.binding = Some(Binding {
            pool: (*pool).to_owned(),
            incarnation,
            host: None,
            instance_type: rented,
            size: None,
            zone: None,
            spot: false,
        });
        self.objects.push(Some(guest));
    }
}
