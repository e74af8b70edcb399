//! Many guests on a real API server: what decisions follow, how soon, and how little is written when little changes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::stack::Stack;

/// How many guests unless `INNKEEPER_E2E_GUESTS` says: what two busy cores and an unoptimised operator make in a minute.
const USUAL: usize = 60;
/// What the usual number may take.
const BOUND: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(30);

fn number() -> usize {
    std::env::var("INNKEEPER_E2E_GUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL)
}

/// A deadline for so many guests.
fn scaled(usual: Duration, guests: usize) -> Duration {
    usual * u32::try_from(guests.div_ceil(USUAL)).unwrap_or(u32::MAX).max(1)
}

/// Looks at all guests until what is wanted is so. A look takes the processors from those who are looked at, the more
/// the more guests there are: so there is a pause after each.
fn until(stack: &Stack, what: &str, within: Duration, mut wanted: impl FnMut(&Overview) -> bool) {
    stack.until(what, scaled(within, number()), || {
        let all = overview(stack);
        let so = wanted(&all);
        std::thread::park_timeout(Duration::from_millis(all.len().try_into().unwrap_or(1000)));
        so.then_some(())
    });
}

/// What matters of a guest.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    version: String,
    place: String,
    relocation: String,
    cost: String,
    phase: String,
}

type Overview = BTreeMap<String, Row>;

fn overview(stack: &Stack) -> Overview {
    let path = concat!(
        "jsonpath={range .items[*]}{.metadata.name}|{.metadata.resourceVersion}|{.spec.binding.pool}/{.spec.binding.host}",
        "|{.spec.relocation.kind}|{.status.hourlyCost.amount}|{.status.phase}{\"\\n\"}{end}"
    );
    let text = stack.kubectl(&["get", "guests", "-A", "-o", path]);
    let row = |line: &str| {
        let mut fields = line.split('|').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        let name = next();
        (name, Row { version: next(), place: next(), relocation: next(), cost: next(), phase: next() })
    };
    text.lines().map(row).collect()
}

/// How many guests of before were written since, and how many were moved or are to be.
fn since(before: &Overview, now: &Overview) -> (usize, usize) {
    let pairs = || now.iter().filter(|(name, _)| !name.starts_with("late")).map(|(name, row)| (&before[name], row));
    let written = pairs().filter(|(old, row)| old.version != row.version).count();
    let moved = pairs().filter(|(old, row)| old.place != row.place || !row.relocation.is_empty()).count();
    (written, moved)
}

/// The simulated Xen pool.
fn pool(stack: &Stack) {
    stack.apply(
        &json!({
            "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool", "metadata": { "name": "xen-london" },
            "spec": {
                "provider": { "xapi": {
                    "endpoints": [stack.xapi["url"]],
                    "credentialsSecretRef": { "namespace": "innkeeper-system", "name": "xen-london" },
                    "tls": { "certificateFingerprints": [stack.xapi["fingerprint"]] },
                }},
                "location": { "jurisdiction": "GB" },
                "images": [{ "name": "debian-12", "providerId": "debian-12" }],
                "pricing": { "owned": { "currency": "EUR", "monthlyRunningCost": "1000" } },
            },
        })
        .to_string(),
    );
    stack.kubectl(&["wait", "cloudpool", "xen-london", "--for=condition=Ready", "--timeout=60s"]);
}

fn workload(stack: &Stack, name: &str, replicas: usize, burst: &Value) {
    let spec = json!({
        "replicas": replicas,
        "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
        "placement": { "burst": burst },
    });
    let metadata = json!({ "name": name, "namespace": "default" });
    let object = json!({ "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload", "metadata": metadata, "spec": spec });
    stack.apply(&object.to_string());
}

fn patch(stack: &Stack, patch: &Value) {
    stack.kubectl(&["patch", "--type=merge", "-p", &patch.to_string(), "cloudpool", "xen-london"]);
}

/// Waits until nobody writes guests any more: two looks two seconds apart see the same.
fn settled(stack: &Stack) -> Overview {
    let mut last = overview(stack);
    stack.until("nothing is written any more", scaled(SOON, number()), || {
        std::thread::park_timeout(Duration::from_secs(2));
        let now = overview(stack);
        let same = now == last;
        last = now;
        same.then(|| last.clone())
    })
}

#[test]
fn many_guests_are_bound_and_decisions_follow_without_churn() {
    let guests = number();
    // Twenty hosts, each with room for more than fifty guests.
    let stack = Stack::start_with(&["--hosts", "20", "--host-memory", "64GiB", "--host-cpus", "64"]);
    let (_operator, _) = stack.operator();
    pool(&stack);
    let began = Instant::now();
    for part in 0..10 {
        workload(&stack, &format!("w{part}"), guests / 10, &json!({ "policy": "Never" }));
    }
    let at_home = |row: &Row| row.place.starts_with("xen-london/");
    until(&stack, "all are bound", BOUND, |all| all.values().filter(|row| at_home(row)).count() == guests);
    let bound = began.elapsed().as_secs_f64();
    until(&stack, "all run", BOUND, |all| all.values().filter(|row| row.phase == "Running").count() == guests);
    println!("{guests} guests: bound in {bound:.1} s, running after {:.1} s", began.elapsed().as_secs_f64());
    let before = settled(&stack);

    // A price is followed: each guest is written once.
    let began = Instant::now();
    patch(&stack, &json!({ "spec": { "pricing": { "owned": { "monthlyRunningCost": "2000" } } } }));
    until(&stack, "the price is followed", SOON, |all| all.iter().all(|(name, row)| before[name].cost != row.cost));
    let followed = began.elapsed().as_secs_f64();
    let after = settled(&stack);
    let (written, moved) = since(&before, &after);
    println!("another price: followed in {followed:.1} s, {written} guests written, {moved} moved");
    assert!(written <= guests && moved == 0);

    // A cordon moves nobody; who comes now waits, and goes to the pool that comes next.
    patch(&stack, &json!({ "spec": { "cordoned": true } }));
    workload(&stack, "late", 5, &json!({ "policy": "WhenFull", "after": "0s" }));
    let late = |overview: &Overview| {
        let of = overview.iter().filter(|(name, _)| name.starts_with("late-"));
        of.map(|(_, row)| row.place.clone()).collect::<Vec<_>>()
    };
    until(&stack, "the late ones wait", SOON, |all| late(all) == vec!["/"; 5]);
    let cordoned = settled(&stack);
    let began = Instant::now();
    stack.apply(&stack.example("02-ec2-ireland"));
    until(&stack, "the late ones are placed", SOON, |all| late(all).iter().all(|place| place == "ec2-ireland/"));
    let placed = began.elapsed().as_secs_f64();
    let (by_cordon, by_pool) = (since(&after, &cordoned), since(&cordoned, &settled(&stack)));
    println!("a cordon: {} of {guests} guests written, {} moved", by_cordon.0, by_cordon.1);
    println!("a new pool: five placed in {placed:.1} s, {} of {guests} others written, {} moved", by_pool.0, by_pool.1);
    assert!(by_cordon.1 == 0 && by_pool.1 == 0, "somebody moved");
    assert!(by_cordon.0 + by_pool.0 <= 20, "guests were written although nothing of theirs changed");
}
