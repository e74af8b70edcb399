//! Numbers and names at the edges of what manifests may hold: the engine answers, whatever they are.
#![expect(clippy::expect_used, reason = "tests")]

use innkeeper::plan::{Options, World, check::check, decide};

fn decided(text: &str) -> innkeeper::plan::Plan {
    let world: World = serde_saphyr::from_str(text).expect("a world");
    let plan = decide(&world, &Options::default());
    assert_eq!(check(&world, &plan), []);
    plan
}

#[test]
fn sizes_and_prices_at_the_edge_do_not_overflow() {
    let guest = |n: usize, memory: &str, bound: &str| {
        format!(
            "  - {{ uid: g{n}, namespace: a, name: g{n}, workload: w, createdAt: 2026-11-23T08:00:00Z, \
             size: {{ vcpus: 4294967295, memory: {memory} }}, policy: {{ burst: {{ whenFull: {{}} }}, \
             budget: {{ amount: \"999999999999.99\", currency: EUR }} }}{bound} }}\n"
        )
    };
    let mut text = String::from(
        "now: 2026-11-23T09:00:00Z\ncurrency: EUR\nrates: { USD: \"79228162514264337593543950335\" }\npools:\n  \
         - { name: tiny, cpuOvercommit: \"79228162514264337593543950335\", capacity: { hosts: { \
         overhead: { fixed: 16Ti, perVcpu: 16Ti, oneIn: 1 }, \
         hosts: [{ name: h, memory: 1, vcpus: 1 }, { name: i, memory: 16000000Ti, vcpus: 4294967295 }] } } }\n  \
         - { name: dear, capacity: { offerings: [\
         { instanceType: a, vcpus: 4294967295, memory: 16000000Ti, hourly: { amount: \"999999999999.9999999999\", currency: EUR } }, \
         { instanceType: b, vcpus: 4294967295, memory: 16000000Ti, hourly: { amount: \"99\", currency: USD } }] } }\nguests:\n",
    );
    for n in 0..40 {
        let bound = if n % 2 == 0 { ", bound: { pool: tiny, host: h }" } else { "" };
        text.push_str(&guest(n, "16000000Ti", bound));
    }
    let plan = decided(&text);
    assert_eq!(plan.bindings.len() + plan.unplaced.len(), 20);
}

#[test]
fn there_may_be_nothing_at_all() {
    let plan = decided("{ now: 2026-11-23T09:00:00Z, currency: EUR, pools: [] }");
    assert!(plan.bindings.is_empty() && plan.proven);
    let plan = decided(
        "{ now: 2026-11-23T09:00:00Z, currency: EUR, pools: [{ name: empty, capacity: { hosts: { hosts: [] } } }], \
         guests: [{ uid: g, namespace: a, name: g, workload: w, createdAt: 2026-11-23T08:00:00Z, \
         size: { vcpus: 1, memory: 1Gi } }] }",
    );
    assert_eq!(plan.explanations[0].message, "1 pool: empty: no host is enabled");
}

#[test]
fn explanations_stay_small_however_many_pools_there_are() {
    let long = "n".repeat(250);
    let pools: Vec<String> = (0..200)
        .map(|n| format!("{{ name: p{n}-{long}, jurisdiction: X{n}, capacity: {{ hosts: {{ hosts: [] }} }} }}"))
        .collect();
    let plan = decided(&format!(
        "{{ now: 2026-11-23T09:00:00Z, currency: EUR, pools: [{}], guests: [{{ uid: g, namespace: a, name: g, \
         workload: w, createdAt: 2026-11-23T08:00:00Z, image: {long}, size: {{ vcpus: 1, memory: 1Gi }}, \
         policy: {{ jurisdictions: [GB], dataClass: {long} }} }}] }}",
        pools.join(", ")
    ));
    let text = serde_json::to_string(&plan.explanations[0]).expect("text");
    assert!(text.len() < 32 << 10, "{} bytes", text.len());
    assert_eq!(plan.explanations[0].rejected.len() + plan.explanations[0].rejected_more, 200);
}
