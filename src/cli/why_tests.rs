use super::*;
use crate::cli::testing;

#[test]
fn why_guests_are_where_they_are() {
    let guests = testing::cluster().guests;
    let all: Vec<String> = guests.iter().map(|guest| render(&reasons(guest))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_guest_that_nobody_looked_at() {
    let mut guest = testing::cluster().guests.remove(0);
    guest.status = None;
    assert_eq!(render(&reasons(&guest)), "shop/web-0: the operator has not looked at it yet: does it run?\n");
}

#[test]
fn a_workload_is_no_guest_and_leads_to_its_guests() {
    let mut workload = testing::cluster().workloads.remove(0);
    for (replicas, expected) in [(4, "are web-0 to web-3"), (1, "is web-0"), (0, "has no guests")] {
        workload.spec.replicas = replicas;
        let hint = hint("web", "shop", Some(&workload));
        assert!(hint.contains(expected), "{hint}");
    }
    assert!(hint("x", "shop", None).contains("kubectl get guests -n shop"));
}
