//! What the running operator serves: every family that is documented, with values that are right.

use std::{collections::BTreeSet, time::Duration};

use crate::stack::{Stack, fetch};

/// The value of a series, named as in the text.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn the_running_operator_tells_what_there_is() {
    let stack = Stack::start();
    let (_operator, address) = stack.replica(&[]);
    stack.until("it leads", Duration::from_mins(1), || {
        fetch(&address, "/readyz?verbose").filter(|(_, text)| text.contains(" leads, epoch 1"))
    });
    stack.apply_examples();
    stack.wait_for_guests(6, Duration::from_secs(90));
    let text = stack.until("all guests are counted", Duration::from_secs(30), || {
        let (_, text) = fetch(&address, "/metrics")?;
        (value(&text, "innkeeper_guests{pool=\"xen-london\",phase=\"Running\"}") == Some(4.0)).then_some(text)
    });
    assert_eq!(value(&text, "innkeeper_guests{pool=\"ec2-ireland\",phase=\"Running\"}"), Some(2.0));
    assert_eq!(value(&text, "innkeeper_leader"), Some(1.0));
    assert_eq!(value(&text, "innkeeper_pool_ready{pool=\"xen-london\"}"), Some(1.0));
    assert_eq!(value(&text, "innkeeper_refused_writes_total"), Some(0.0));
    let paid = "innkeeper_cost_per_hour{pool=\"ec2-ireland\",kind=\"pay_per_use\",currency=\"EUR\"}";
    assert!(value(&text, paid).is_some_and(|paid| paid > 0.0), "{text}");
    let starts =
        "innkeeper_provider_call_duration_seconds_count{pool=\"xen-london\",operation=\"start\",outcome=\"ok\"}";
    assert_eq!(value(&text, starts), Some(4.0));
    assert!(value(&text, "innkeeper_placements_total{result=\"bound\"}").is_some_and(|bound| bound >= 6.0));

    let page = include_str!("../../docs/metrics.md");
    let documented: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)).collect();
    let served: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(|name| name.strip_suffix("_bucket").or(name.strip_suffix("_sum")).unwrap_or(name))
        .map(|name| name.strip_suffix("_count").unwrap_or(name))
        .collect();
    assert_eq!(documented.difference(&served).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert_eq!(served.difference(&documented).collect::<Vec<_>>(), Vec::<&&str>::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let labels = line.split_once('{').map_or("", |(_, rest)| rest);
        assert!(!labels.contains("web-"), "a guest's name is a label: {line}");
    }
}
