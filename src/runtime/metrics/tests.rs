use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::*;

/// Everything there is, with one pool that owns its hardware and one guest without a place.
fn text(metrics: &Metrics) -> String {
    let pricing = json!({ "owned": { "currency": "EUR", "monthlyRunningCost": "730" } });
    let template = json!({ "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } });
    let guest = json!({ "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest", "metadata": { "name": "a" },
        "spec": { "workload": "w", "template": template } });
    let (pools, guests) = ([tally::tests::pool("home", &pricing)], [Arc::new(serde_json::from_value(guest).unwrap())]);
    metrics.text(Some(&World { pools: &pools, guests: &guests }))
}

fn filled() -> Metrics {
    let (metrics, some) = (Metrics::default(), Duration::from_millis(3));
    metrics.ran("guest", "done", some);
    metrics.queue("guest", 1, 2);
    metrics.waited("guest", some);
    metrics.called("xen", "create", "ok", some);
    metrics.requested("patch", "guests/status".to_owned(), Some(200), some);
    metrics.heard_by_watch(some);
    metrics.heard_from("xen", some);
    metrics.placed(1, 2, true, some);
    metrics.bound_after(some);
    metrics.leads(true, 4);
    metrics
}

/// Families and their types, as a scraper reads them.
fn families(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn names_follow_the_rules() {
    let text = text(&filled());
    assert!(text.ends_with("# EOF\n"));
    for (name, kind) in families(&text) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help text");
        assert!(name.starts_with("innkeeper_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(!name.ends_with("_total"), "{name}: the encoder appends it");
        match kind {
            "histogram" => assert!(name.ends_with("_seconds"), "{name}: a histogram without its unit"),
            "counter" => assert!(text.contains(&format!("\n{name}_total")), "{name}"),
            "gauge" | "info" => {}
            other => panic!("{name} is a {other}"),
        }
    }
}

#[test]
fn the_documentation_names_every_family_and_no_other() {
    let page = include_str!("../../../docs/metrics.md");
    let documented: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)).collect();
    let text = text(&filled());
    let mut there: Vec<String> = families(&text)
        .into_iter()
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let mut documented: Vec<String> = documented.into_iter().map(str::to_owned).collect();
    there.sort();
    documented.sort();
    assert_eq!(there, documented);
}

#[test]
fn what_is_gone_is_not_told() {
    let metrics = filled();
    metrics.forget_pool("xen");
    assert!(!text(&metrics).contains("pool=\"xen\""));
    assert!(text(&metrics).contains("innkeeper_guests{pool=\"\",phase=\"Pending\"} 1\n"));
    assert!(!metrics.text(None).contains("innkeeper_guests"), "who does not lead tells nothing of the world");
}
