use super::*;
use crate::plan::{Failure, Rejected, Rule};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn explanation(reason: Reason, message: &str) -> Explanation {
    Explanation {
        guest: "uid".into(),
        reason,
        message: message.into(),
        score: Vec::new(),
        runner_up: None,
        broken_wishes: Vec::new(),
        rejected: Vec::new(),
        rejected_more: 0,
        smallest_change: None,
    }
}

fn stored(own: &OwnStatus) -> GuestStatus {
    serde_json::from_value(serde_json::to_value(own.clone().onto(&GuestStatus::default())).unwrap()).unwrap()
}

#[test]
fn a_place_is_said_with_its_price_and_an_outcome_without_a_place_is_not_placed() {
    let price = Some(Money::new("0.05".parse().unwrap(), "EUR".parse().unwrap()));
    let placed = after(&GuestStatus::default(), &explanation(Reason::Placed, "cheapest"), price, at(0));
    assert_eq!(placed.hourly_cost, price);
    assert_eq!((placed.conditions[0].type_.as_str(), placed.conditions[0].status.as_str()), ("Placed", "True"));
    for reason in [Reason::NoPoolFits, Reason::WaitingForRoom] {
        let own = after(&GuestStatus::default(), &explanation(reason, "full"), None, at(0));
        assert_eq!(own.conditions[0].status, "False");
        assert_eq!(own.conditions[0].reason, reason.to_string());
        assert_eq!(own.placement.unwrap().message, "full");
    }
}

#[test]
fn the_same_outcome_again_is_nothing_new_and_keeps_the_time_of_the_first() {
    let first = after(&GuestStatus::default(), &explanation(Reason::NoPoolFits, "full"), None, at(0));
    let status = stored(&first);
    let again = after(&status, &explanation(Reason::NoPoolFits, "full"), None, at(60));
    assert_eq!(again, OwnStatus::of(&status));
    // The delay before paid capacity is used counts from the first time, whatever the reason becomes.
    let other = after(&status, &explanation(Reason::WaitingForRoom, "soon"), None, at(60));
    assert_eq!(other.conditions[0].last_transition_time.0, at(0));
    let placed = after(&status, &explanation(Reason::Placed, "there"), None, at(60));
    assert_eq!(placed.conditions[0].last_transition_time.0, at(60));
}

#[test]
fn rejected_pools_are_listed_with_all_that_speaks_against_them() {
    let mut none = explanation(Reason::NoPoolFits, "no pool");
    let failure = |short: &str| Failure {
        rule: Rule::PoolSelector,
        wanted: String::new(),
        free: String::new(),
        short: short.into(),
    };
    none.rejected =
        vec![Rejected { pool: "xen".into(), failures: vec![failure("cordoned"), failure(&"x".repeat(900))] }];
    let own = after(&GuestStatus::default(), &none, None, at(0));
    let rejected = &own.placement.unwrap().rejected[0];
    assert!(rejected.why.starts_with("cordoned; xxx") && rejected.why.len() <= 512);
}

#[test]
fn what_other_controllers_say_is_not_ours() {
    let conditions = condition::merge(&[], &[Claim::yes(Kind::Ready, "Running", "well")], None, at(0));
    let status = GuestStatus { conditions, host: Some("xen1".into()), ..GuestStatus::default() };
    assert_eq!(OwnStatus::of(&status), OwnStatus::default());
}
