//! A pool of many instances that nobody touches: what the operator asks of EC2 in a minute, and how soon a Guest's condition
//! tells of a change made behind its back. Counted by the endpoint and read from the API server.
//!
//! With a thousand instances and over two minutes: `make bench-ec2`.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use serde_json::json;

use crate::{
    lifecycle::{SOON, guest, workload},
    stack::{REGION, Stack, until},
    truth::Truth,
};

/// Guests that the operator makes itself.
const OWN: i32 = 3;
/// The most calls a minute at rest.
const MOST: f64 = 12.0;

fn setting(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Launches instances that carry the cluster's marks, each of a guest of its own.
fn crowd(stack: &Stack, truth: &Truth, number: i32) {
    let owner = stack.get(&["namespace", "kube-system"])["metadata"]["uid"].as_str().unwrap().to_owned();
    let tag = Tag::builder().key("innkeeper.dev/owner").value(owner).build();
    let tagged = |kind: ResourceType| TagSpecification::builder().resource_type(kind).tags(tag.clone()).build();
    truth.block_on(async {
        let launch = truth.ec2.run_instances().image_id("ami-0d1f2e3a4b5c60001").instance_type("t3.small".into());
        let launch = launch.min_count(number).max_count(number).client_token("crowd");
        let launch = launch.tag_specifications(tagged(ResourceType::Instance));
        launch.tag_specifications(tagged(ResourceType::Volume)).send().await.unwrap();
    });
    assert_eq!(truth.tell_ec2("apart", &json!("crowd")), json!(number));
}

/// Calls so far.
fn calls(truth: &Truth) -> u64 {
    truth.ec2_calls().values().sum()
}

#[test]
fn a_pool_at_rest_costs_few_calls_and_tells_of_changes() {
    let (number, seconds) = (setting("INNKEEPER_EC2_INSTANCES", 60), setting("INNKEEPER_EC2_REST_SECONDS", 30));
    let number = i32::try_from(number).unwrap().max(OWN + 1);
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    crowd(&stack, &truth, number - OWN);
    stack.apply(&stack.example("02-ec2-ireland"));
    let (_operator, _) = stack.operator();
    stack.apply(&workload("web", &json!({ "replicas": OWN })));
    // The endpoint takes seconds for each answer about a thousand instances while something changes.
    let patience = SOON + Duration::from_millis(200) * u32::try_from(number).unwrap();
    stack.wait_for_guests(usize::try_from(OWN).unwrap(), patience);
    assert_eq!(truth.instances().len(), usize::try_from(number).unwrap(), "nobody's are left alone");

    // At rest: the operator has made nothing, and seen nothing change, for longer than it stays lively.
    let mut last = (calls(&truth), Instant::now());
    until("it comes to rest", Duration::from_mins(4), || {
        let now = calls(&truth);
        // A burst of reads after a change has one every two seconds; at rest there are five in fifteen at most.
        if now > last.0 + 5 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > Duration::from_secs(15) {
            return Some(());
        }
        None
    });
    let (before, began) = (calls(&truth), Instant::now());
    let window = Duration::from_secs(seconds.into());
    until("the time is over", window * 2, || (began.elapsed() >= window).then_some(()));
    let (made, took) = (calls(&truth) - before, began.elapsed());
    let a_minute = f64::from(u32::try_from(made).unwrap()) * 60.0 / took.as_secs_f64();

    let id = guest(&stack, "web-1").unwrap()["status"]["providerId"].as_str().unwrap().to_owned();
    truth.block_on(async { truth.ec2.stop_instances().instance_ids(id).send().await.unwrap() });
    let stopped = Instant::now();
    stack.until("the condition tells", Duration::from_mins(2), || {
        let conditions = guest(&stack, "web-1")?["status"]["conditions"].as_array()?.clone();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "False").then_some(())
    });
    let told = stopped.elapsed();
    println!(
        "{number} instances in {REGION}: {made} calls in {:.0} s at rest, {a_minute:.1} a minute; a change behind our back is \
         the Guest's condition after {:.1} s",
        took.as_secs_f64(),
        told.as_secs_f64()
    );
    // The reads of three clocks may fall into the window's edges.
    let edges = 3.0 * 60.0 / took.as_secs_f64();
    let most = if took >= Duration::from_mins(1) { MOST } else { MOST + edges };
    assert!(a_minute <= most, "{:?}", truth.ec2_calls());
    assert!(told <= Duration::from_secs(30), "{told:?}");
}
