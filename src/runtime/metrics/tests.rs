use std::collections::BTreeMap;

use super::*;

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
    let text = filled().text(None);
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
    let text = filled().text(None);
    let mut there: Vec<String> = families(&text)
        .into_iter()
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let mut documented: Vec<String> = documented.into_iter().map(str::to_owned).collect();
    (there.sort(), documented.sort()).0;
    assert_eq!(there, documented);
}

#[test]
fn what_is_gone_is_not_told() {
    let metrics = filled();
    metrics.forget_pool("xen");
    assert!(!metrics.text(None).contains("pool=\"xen\""));
}
