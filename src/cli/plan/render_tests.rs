use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    cli::testing,
    plan::{self, Options},
    scheduler::gather,
};

/// What is planned for the guests of the small cluster that have no place, with room for so much in London.
fn planned() -> (Plan, usize) {
    let objects = testing::cluster();
    let pools: Vec<_> = objects.pools.into_iter().map(Arc::new).collect();
    let guests: Vec<_> = objects.guests.into_iter().map(Arc::new).collect();
    let picture =
        gather::picture(&guests, &pools, &BTreeMap::new(), &mut gather::Assumed::default(), testing::now()).unwrap();
    let names = HashMap::from([("u2".to_owned(), "shop/web-2".to_owned())]);
    (named(plan::decide(&picture.world, &Options::default()), &names), guests.len())
}

#[test]
fn a_plan_names_guests_and_says_what_they_cost() {
    let (plan, guests) = planned();
    insta::assert_snapshot!(render(&plan, guests));
}

#[test]
fn nothing_to_plan() {
    assert_eq!(render(&Plan::default(), 0), "There are no guests to place.\n");
    let quiet = render(&Plan::default(), 3);
    assert!(quiet.starts_with("Every guest has a place"), "{quiet}");
}
