//! A guest that should live: where its VM is, and whether it is to be made. Pure.

use std::time::Duration;

use super::{
    decide::{OUT_OF_OUR_HANDS, Step, UNDER_WAY, Verdict, patience},
    facts::{Facts, FirstBootSight, Place, Sight},
    interruption, lost, relocate, say,
};
use crate::{
    defect::Defect,
    provider::{GuestWish, Key, Stage},
};

/// What can be asked of an open pool.
pub(super) struct Lodging<'f> {
    pub pool: &'f str,
    pub wish: &'f Result<GuestWish, String>,
    pub settling: Duration,
}

pub(super) fn lodge(facts: &Facts) -> Verdict {
    let subject = &facts.subject;
    let here = match &facts.place {
        Place::Unbound => return Verdict::rest(say::pending()),
        Place::Missing { pool } => {
            return lost::silent(facts, pool, "there is no such CloudPool; apply it again", OUT_OF_OUR_HANDS);
        }
        Place::Unreachable { pool, why } => return lost::silent(facts, pool, why, OUT_OF_OUR_HANDS),
        Place::Open { pool, wish, settling } => Lodging { pool, wish, settling: *settling },
    };
    if lost::is_refused(facts) {
        return lost::give_up(facts, here.settling, say::refused(subject));
    }
    if let Some(verdict) = relocate::recreate(facts, &here) {
        return verdict;
    }
    match &facts.vm {
        Sight::NotAsked => lost::silent(facts, here.pool, "it was not asked", UNDER_WAY),
        Sight::Unknown(trouble) => lost::silent(facts, here.pool, &trouble.message, patience(trouble)),
        Sight::Known(vm) if vm.key.incarnation < subject.key.incarnation => {
            earlier(facts, here.pool, vm.key.incarnation)
        }
        Sight::Known(vm) if vm.stage == Stage::Incomplete => make(facts, &here),
        Sight::Known(vm) => interruption::run(facts, &here, vm),
        Sight::Absent if subject.mandate.adopted => make(facts, &here),
        Sight::Absent => lost::missing(facts, &here),
    }
}

/// A VM that the guest had before is still there.
fn earlier(facts: &Facts, pool: &str, incarnation: u32) -> Verdict {
    let mandate = &facts.subject.mandate;
    if mandate.is_held() || mandate.retain {
        return Verdict::rest_for(say::earlier_kept(&facts.subject, pool), OUT_OF_OUR_HANDS);
    }
    let old = Key { incarnation, ..facts.subject.key.clone() };
    Verdict::go(Step::Erase(old), say::creating(pool, "an earlier VM of this guest is being removed first"))
}

/// There is no VM, or not all of it: make it, or adopt the one that is to become the guest's.
pub(super) fn make(facts: &Facts, here: &Lodging<'_>) -> Verdict {
    let (subject, pool) = (&facts.subject, here.pool);
    let stalled = |reason: &str, why: &str| Verdict::rest(say::stalled(subject, reason, why));
    if subject.mandate.adopted {
        let Some(adoption) = &subject.spec.adopt else {
            let id = subject.status.provider_id.as_deref().unwrap_or("without a known id");
            let why = format!("the VM {id}, which was adopted, is not in {pool} any more, and is not replaced");
            return Verdict::rest_for(say::stalled(subject, "VmNotFound", &why), OUT_OF_OUR_HANDS);
        };
        if adoption.pool != pool {
            let why = format!("spec.adopt names the pool {}, and the guest is bound to {pool}", adoption.pool);
            return stalled("AdoptionNotPossible", &why);
        }
        let step = Step::Adopt(subject.key.clone(), adoption.provider_id.clone());
        return Verdict::go(step, say::adopting(pool, &adoption.provider_id));
    }
    if !subject.mandate.create {
        let why = format!("it has no VM in {pool}, and managementPolicies lacks Create: add it, or adopt a VM");
        return stalled("CreateNotAllowed", &why);
    }
    let mut wish = match here.wish {
        Ok(wish) => wish.clone(),
        Err(why) => return stalled("WishNotPossible", why),
    };
    if Defect::ForgottenKey.is_planted() && subject.creation.is_some() {
        wish.key.guest = format!("{}-again", wish.key.guest);
    }
    let say = say::creating(pool, "its VM is being made");
    match &facts.first_boot {
        FirstBootSight::NotRead if subject.spec.template.cloud_init.is_some() => Verdict::go(Step::ReadFirstBoot, say),
        FirstBootSight::NotRead => Verdict::go(Step::Create(Box::new(wish)), say),
        FirstBootSight::Known(first_boot) => {
            let wish = GuestWish { first_boot: first_boot.clone(), ..wish };
            Verdict::go(Step::Create(Box::new(wish)), say)
        }
    }
}
