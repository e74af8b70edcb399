//! A VM that its provider is about to take back: said while it runs, and replaced early where that is allowed. Pure.
//!
//! A guest never has two VMs, so the new one begins when the old one is gone. Where its VM may be removed to be made anew
//! (`mobility`), that is done at once instead of waiting for the provider: the guest is back sooner, by what is left of the notice.

use super::{decide::Verdict, facts::Facts, lodge::Lodging, lost, power, say};
use crate::{
    api::{
        care::Move,
        condition::{Claim, Kind},
        template::PowerState,
    },
    provider::{ObservedGuest, Power},
};

/// What to do with a VM that is there and complete.
pub(super) fn run(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest) -> Verdict {
    let lives = matches!(vm.power, Power::Starting | Power::Running);
    let Some(at) = vm.interrupted_at.filter(|_| lives) else { return power::run(facts, here, vm) };
    let subject = &facts.subject;
    let when = format!("{} takes its VM back at {}", here.pool, at.strftime("%H:%M:%S UTC"));
    let claim = |then: &str| Claim::yes(Kind::Interrupted, "CapacityTakenBack", format!("{when}; {then}"));
    match subject.mandate.no_move(Move::Recreate) {
        None if subject.wanted == PowerState::Running => {
            let say = say::taken_back(&when).with(claim("it is removed now, and another is made"));
            lost::give_up(facts, here.settling, say)
        }
        against => {
            let mut verdict = power::run(facts, here, vm);
            let then = match (against, subject.mandate.no_replacement()) {
                (_, Some(against)) => format!("no other is made: {against}"),
                (Some(against), None) => format!("another is made when it is gone, and not before: {against}"),
                (None, None) => "another is made when it is gone".to_owned(),
            };
            verdict.say.claims.push(claim(&then));
            verdict
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Guest, care::Mobility},
        guest::{
            decide::{Step, decide},
            facts::Sight,
            testing::{at, facts, guest, seen, vm, with},
        },
    };

    fn decided(guest: &Guest, power: Power, interrupted: bool) -> (Step, Option<String>) {
        let vm = ObservedGuest { interrupted_at: interrupted.then(|| at(90)), ..vm(power) };
        let verdict = decide(&facts(guest, Sight::Known(vm)));
        let claim = verdict.say.claims.into_iter().find(|claim| claim.kind == Kind::Interrupted);
        (verdict.step, claim.map(|claim| claim.message))
    }

    fn running(ways: &[Move]) -> Guest {
        let mut guest = with(guest(), Some(seen()));
        guest.spec.mobility = Some(Mobility { allow: ways.to_vec() });
        guest
    }

    #[test]
    fn where_it_may_be_made_anew_that_begins_at_once() {
        let free = running(&[Move::Recreate]);
        let (step, said) = decided(&free, Power::Running, true);
        assert!(matches!(step, Step::Erase(_)), "{step:?}");
        assert!(said.unwrap().ends_with("it is removed now, and another is made"));
        assert_eq!(decided(&free, Power::Running, false), (Step::Rest, None));
        // The provider, or we, have begun already.
        assert!(matches!(decided(&free, Power::Terminating, true), (Step::Rest, None)));
        assert!(matches!(decided(&free, Power::Terminated, true), (Step::Renew, None)));
    }

    #[test]
    fn elsewhere_it_runs_to_its_end_and_says_so() {
        let (step, said) = decided(&running(&[Move::Live]), Power::Running, true);
        assert_eq!(step, Step::Rest);
        assert!(
            said.unwrap().contains("another is made when it is gone, and not before: mobility.allow lacks Recreate")
        );
        let mut held = running(&[Move::Recreate]);
        held.spec.holds = vec![serde_json::from_value(serde_json::json!({ "name": "case-42" })).unwrap()];
        let (step, said) = decided(&held, Power::Running, true);
        assert!(step != Step::Renew && !matches!(step, Step::Erase(_)), "{step:?}");
        assert!(said.unwrap().contains("no other is made: it is held by case-42"));
    }
}
