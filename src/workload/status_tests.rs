use serde_json::json;

use super::*;
use crate::workload::{
    decide::decide,
    testing::{guest, workload},
};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A guest in a pool, with this status of its condition Ready.
fn placed(name: &str, pool: &str, cost: (&str, &str), ready: &str) -> Arc<Guest> {
    let mut guest = guest(name);
    guest.spec.binding = serde_json::from_value(json!({ "pool": pool, "incarnation": 1 })).unwrap();
    guest.status = serde_json::from_value(json!({
        "observedGeneration": 1, "incarnation": 1,
        "hourlyCost": { "amount": cost.0, "currency": cost.1 },
        "conditions": [
            { "type": "Ready", "status": ready, "reason": "X", "message": "its VM is being made",
              "lastTransitionTime": "2027-01-01T00:00:00Z" },
        ],
    }))
    .unwrap();
    Arc::new(guest)
}

fn of(replicas: u32, guests: &[Arc<Guest>]) -> VirtualWorkloadStatus {
    let workload = workload(replicas);
    status(&workload, guests, &decide(&workload, guests), None, now())
}

#[track_caller]
fn says(status: &VirtualWorkloadStatus, kind: Kind, is: &str, reason: &str) -> String {
    let found = condition::find(&status.conditions, kind).unwrap_or_else(|| panic!("no {kind}: {status:#?}"));
    assert_eq!((found.status.as_str(), found.reason.as_str()), (is, reason), "{kind}: {}", found.message);
    found.message.clone()
}

fn has(status: &VirtualWorkloadStatus, kind: Kind) -> bool {
    condition::find(&status.conditions, kind).is_some()
}

#[test]
fn what_the_guests_cost_is_held_against_the_budget() {
    let mut budgeted = workload(2);
    let budget = json!({ "monthlyBudget": { "amount": "80", "currency": "EUR" } });
    budgeted.spec.placement = serde_json::from_value(budget).unwrap();
    let with = |cost: (&str, &str)| {
        let guests = [placed("web-0", "xen", cost, "True"), placed("web-1", "xen", ("0.05", "EUR"), "True")];
        status(&budgeted, &guests, &decide(&budgeted, &guests), None, now())
    };
    let within = says(&with(("0.05", "EUR")), Kind::WithinBudget, "True", "WithinBudget");
    assert_eq!(within, "73.00 of 80 EUR a month");
    let over = says(&with(("0.06", "EUR")), Kind::WithinBudget, "False", "OverBudget");
    assert!(over.starts_with("80.30 of 80 EUR a month; prices have risen"), "{over}");
    says(&with(("0.05", "USD")), Kind::WithinBudget, "Unknown", "PriceUnknown");
    assert!(!has(&of(0, &[]), Kind::WithinBudget), "without a budget nothing is said");
}

#[test]
fn guests_that_live_where_they_may_not_are_summed_up() {
    let mut guests = vec![(*placed("web-0", "xen", ("1", "EUR"), "True")).clone(); 2];
    guests[1].metadata.name = Some("web-1".into());
    let claim = Claim::no(Kind::Compliant, "RuleBroken", "Jurisdiction: xen is not in FR; it stays");
    let conditions = &mut guests[1].status.as_mut().unwrap().conditions;
    conditions.extend(condition::merge(&[], &[claim], None, now()));
    let guests: Vec<_> = guests.into_iter().map(Arc::new).collect();
    let message = says(&of(2, &guests), Kind::Compliant, "False", "RuleBroken");
    assert_eq!(message, "1 of 2 guests live where they may not; web-1: Jurisdiction: xen is not in FR; it stays");
    assert!(!has(&of(2, &guests[..1]), Kind::Compliant));
}

#[test]
fn all_well() {
    let status =
        of(2, &[placed("web-0", "xen", ("0.05", "EUR"), "True"), placed("web-1", "xen", ("0.05", "EUR"), "True")]);
    assert_eq!((status.replicas, status.ready_replicas, status.observed_generation), (2, 2, Some(4)));
    assert_eq!((status.summary.as_deref(), status.monthly_cost.as_deref()), (Some("xen 2"), Some("73.00 EUR")));
    assert_eq!(status.selector.as_deref(), Some("innkeeper.dev/workload=web"));
    says(&status, Kind::Ready, "True", "AllReady");
    says(&status, Kind::Placed, "True", "Placed");
    assert!(!has(&status, Kind::Reconciling) && !has(&status, Kind::Stalled));
    let mut again = workload(2);
    again.status = Some(status.clone());
    let guests = [placed("web-0", "xen", ("0.05", "EUR"), "True"), placed("web-1", "xen", ("0.05", "EUR"), "True")];
    let later = now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(super::status(&again, &guests, &Plan::default(), None, later), status, "nothing new an hour later");
}

#[test]
fn no_guests_wished_is_ready() {
    let status = of(0, &[]);
    assert_eq!((status.replicas, status.summary.clone(), status.monthly_cost.clone()), (0, None, None));
    says(&status, Kind::Ready, "True", "AllReady");
}

#[test]
fn costs_are_summed_for_each_currency() {
    let guests = [
        placed("web-0", "xen", ("0.10", "EUR"), "True"),
        placed("web-1", "rent", ("0.20", "USD"), "True"),
        placed("web-2", "other", ("0.05", "EUR"), "True"),
    ];
    let status = of(3, &guests);
    assert_eq!(status.monthly_cost.as_deref(), Some("109.50 EUR + 146.00 USD"));
    assert_eq!(status.summary.as_deref(), Some("other 1, rent 1, xen 1"));
}

#[test]
fn a_guest_that_does_not_fit_says_why() {
    let mut waiting = guest("web-1");
    waiting.status = serde_json::from_value(json!({ "conditions": [
        { "type": "Placed", "status": "False", "reason": "NoPoolFits", "message": "xen: too little memory",
          "lastTransitionTime": "2027-01-01T00:00:00Z" },
    ]}))
    .unwrap();
    let status = of(2, &[placed("web-0", "xen", ("0", "EUR"), "True"), Arc::new(waiting)]);
    assert_eq!(status.summary.as_deref(), Some("xen 1, unplaced 1"));
    let message = says(&status, Kind::Placed, "False", "NoPoolFits");
    assert_eq!(message, "1 of 2 guests have a pool; web-1: xen: too little memory");
    says(&status, Kind::Ready, "False", "GuestsNotReady");
    says(&status, Kind::Reconciling, "True", "GuestsNotReady");
}

#[test]
fn a_stalled_guest_stalls_its_workload_and_a_busy_one_does_not() {
    let busy = of(1, &[placed("web-0", "xen", ("0", "EUR"), "False")]);
    assert!(says(&busy, Kind::Ready, "False", "GuestsNotReady").contains("web-0: its VM is being made"));
    assert!(has(&busy, Kind::Reconciling) && !has(&busy, Kind::Stalled));
    let mut stuck = (*placed("web-0", "xen", ("0", "EUR"), "False")).clone();
    let conditions = &mut stuck.status.as_mut().unwrap().conditions;
    conditions.push(Condition { type_: "Stalled".into(), status: "True".into(), ..conditions[0].clone() });
    let stalled = of(1, &[Arc::new(stuck)]);
    assert!(has(&stalled, Kind::Stalled) && !has(&stalled, Kind::Reconciling));
}

#[test]
fn leaving_guests_count_until_they_are_gone_and_are_not_ready() {
    let mut leaving = (*placed("web-1", "xen", ("0", "EUR"), "True")).clone();
    leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let status = of(1, &[placed("web-0", "xen", ("0", "EUR"), "True"), Arc::new(leaving)]);
    assert_eq!((status.replicas, status.ready_replicas), (2, 1));
    says(&status, Kind::Ready, "False", "ScalingIn");
}

#[test]
fn a_status_of_an_older_spec_is_not_ready() {
    let mut old = (*placed("web-0", "xen", ("0", "EUR"), "True")).clone();
    old.metadata.generation = Some(2);
    assert_eq!(of(1, &[Arc::new(old)]).ready_replicas, 0);
}

#[test]
fn a_void_binding_is_no_place() {
    let mut renewed = (*placed("web-0", "xen", ("0", "EUR"), "False")).clone();
    renewed.status.as_mut().unwrap().incarnation = Some(2);
    let status = of(1, &[Arc::new(renewed)]);
    assert_eq!((status.summary.as_deref(), status.placements.len()), (Some("unplaced 1"), 0));
}

#[test]
fn a_taken_name_and_a_refused_write_are_said_with_the_way_out() {
    let mut theirs = guest("web-0");
    theirs.metadata.owner_references = None;
    let taken = of(1, &[Arc::new(theirs)]);
    assert_eq!(taken.replicas, 0);
    assert!(says(&taken, Kind::Ready, "False", "NameTaken").contains("another name"));
    says(&taken, Kind::Stalled, "True", "NameTaken");
    assert!(has(&taken, Kind::Placed));
    let workload = workload(1);
    let plan = decide(&workload, &[]);
    let refused = status(&workload, &[], &plan, Some("cannot apply Guest web-0: exceeded quota"), now());
    assert!(says(&refused, Kind::Ready, "False", "GuestsNotWritten").contains("exceeded quota"));
    says(&refused, Kind::Reconciling, "True", "GuestsNotWritten");
}

#[test]
fn a_hold_that_keeps_guests_from_going_is_said() {
    let mut workload = workload(1);
    workload.spec.holds = vec![crate::api::care::Hold { name: "case-42".into(), reason: None }];
    let guests = [placed("web-0", "xen", ("0", "EUR"), "True"), placed("web-1", "xen", ("0", "EUR"), "True")];
    let status = status(&workload, &guests, &decide(&workload, &guests), None, now());
    assert!(says(&status, Kind::Ready, "False", "ScaleInHeld").contains("case-42"));
    says(&status, Kind::Stalled, "True", "ScaleInHeld");
}

#[test]
fn a_guest_that_was_just_told_something_new_is_not_ready_yet() {
    let mut changed = workload(1);
    changed.spec.template.power_state = Some(crate::api::template::PowerState::Stopped);
    let guests = [placed("web-0", "xen", ("0.05", "EUR"), "True")];
    let told = status(&changed, &guests, &decide(&changed, &guests), None, now());
    assert_eq!(told.ready_replicas, 0);
    says(&told, Kind::Ready, "False", "GuestsNotReady");
    assert!(has(&told, Kind::Reconciling), "{told:#?}");
}

#[test]
fn only_numbers_and_words_wait_for_their_turn() {
    let some = |ready: [&str; 2]| {
        of(2, &[placed("web-0", "a", ("1", "EUR"), ready[0]), placed("web-1", "a", ("1", "EUR"), ready[1])])
    };
    let (none, one, all) = (some(["False", "False"]), some(["True", "False"]), some(["True", "True"]));
    assert!(is_turn(None, &none) && is_turn(Some(&none), &none.clone()));
    assert!(none != one && !is_turn(Some(&none), &one), "another count");
    assert!(is_turn(Some(&one), &all), "all are ready now");
    assert!(is_turn(Some(&one), &VirtualWorkloadStatus { observed_generation: Some(9), ..one.clone() }));
}
