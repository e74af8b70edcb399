use super::*;
use crate::cli::{testing, top::render::render};

#[test]
fn capacity_and_money_of_a_cluster() {
    let objects = testing::cluster();
    let report = report(&objects.pools, &objects.guests);
    insta::assert_snapshot!("table", render(&report));
    insta::assert_yaml_snapshot!("json", report);
}

#[test]
fn what_is_to_pay_is_the_sum_of_its_parts() {
    let objects = testing::cluster();
    let report = report(&objects.pools, &objects.guests);
    let total = report.total_hourly["EUR"];
    assert_eq!(total.amortised, total.capital + total.running + total.subscription + total.pay_per_use);
    // 43,800 over 60 months is 730 a month, 1 an hour; 146 a month is 0.2 an hour.
    assert_eq!((total.capital, total.running), (Decimal::ONE, "0.2".parse().unwrap()));
    assert_eq!(report.total_hourly["USD"].subscription, "0.5".parse().unwrap());
    // The guests bear no more of a pool than there is to pay.
    let borne: Decimal =
        report.workloads.iter().filter_map(|workload| workload.hourly.get("EUR")).map(|hourly| hourly.amortised).sum();
    assert!(borne <= total.amortised, "{borne}");
}

#[test]
fn a_price_in_another_currency_is_not_known() {
    let mut objects = testing::cluster();
    let status = objects.guests[0].status.as_mut().unwrap();
    status.hourly_cost = Some(crate::api::money::Money::new(Decimal::ONE, "USD".parse().unwrap()));
    let report = report(&objects.pools, &objects.guests);
    let london = report.pools.iter().find(|pool| pool.name == "xen-london").unwrap();
    assert_eq!((london.guests, london.unpriced), (3, 1));
}
