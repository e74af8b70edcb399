//! The main job: guests at home while there is room, the rest rented, and gone without a trace.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    stack::{PASSWORD, SECRET_KEY, Stack, until},
    truth::Truth,
};

const SOON: Duration = Duration::from_secs(90);

pub fn by_pool(guests: &[Value]) -> BTreeMap<&str, usize> {
    let mut pools = BTreeMap::new();
    for guest in guests {
        *pools.entry(guest["spec"]["binding"]["pool"].as_str().unwrap()).or_default() += 1;
    }
    pools
}

#[test]
fn guests_are_lodged_overflow_and_leave_without_a_trace() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let (mut operator, _) = stack.operator();
    stack.apply_examples();
    let guests = stack.wait_for_guests(6, SOON);
    assert_eq!(by_pool(&guests), BTreeMap::from([("ec2-ireland", 2), ("xen-london", 4)]));
    assert_eq!((truth.xen_vms().len(), truth.instances().len()), (4, 2));
    for guest in &guests {
        let status = &guest["status"];
        assert!(status["hourlyCost"]["amount"].is_string(), "{guest}");
        assert!(status["placement"]["message"].as_str().unwrap().starts_with("Placed on"), "{guest}");
    }
    // The ones with the lowest numbers are at home, and go last.
    let home: Vec<&str> = guests
        .iter()
        .filter(|guest| guest["spec"]["binding"]["pool"] == "xen-london")
        .map(|guest| guest["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(home, ["web-0", "web-1", "web-2", "web-3"]);

    stack.kubectl(&["wait", "--for=condition=Ready", "vw/web", "--timeout=30s"]);
    let workload = stack.get(&["vw", "web"]);
    assert_eq!(workload["status"]["readyReplicas"], 6);
    assert_eq!(workload["status"]["summary"], "ec2-ireland 2, xen-london 4");
    assert_eq!(workload["status"]["observedGeneration"], workload["metadata"]["generation"]);

    crate::plugin::answers(&stack);

    // The operator changes nothing of what the user wrote: a second apply has nothing to do.
    let before = stack.get(&["vw", "web"])["metadata"]["generation"].clone();
    stack.apply_examples();
    assert_eq!(stack.get(&["vw", "web"])["metadata"]["generation"], before);

    stack.kubectl(&["scale", "vw/web", "--replicas=8"]);
    stack.wait_for_guests(8, SOON);
    assert_eq!((truth.xen_vms().len(), truth.instances().len()), (4, 4));
    stack.kubectl(&["scale", "vw/web", "--replicas=2"]);
    let rest = stack.wait_for_guests(2, SOON);
    assert_eq!(by_pool(&rest), BTreeMap::from([("xen-london", 2)]));

    // A pool waits for its guests, and says so.
    stack.kubectl(&["delete", "cloudpool", "xen-london", "--wait=false"]);
    let ready = until("the pool says what it waits for", SOON, || {
        let pool = stack.get(&["cloudpool", "xen-london"]);
        let conditions = pool["status"]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == "Ready" && condition["reason"] == "GuestsRemain")
    });
    assert!(ready["message"].as_str().unwrap().contains("2 for now"), "{ready}");
    assert_eq!(truth.xen_vms().len(), 2);

    stack.kubectl(&["delete", "vw", "web", "--timeout=60s"]);
    until("the guests are gone", SOON, || stack.guests().is_empty().then_some(()));
    stack.kubectl(&["delete", "cloudpools", "--all", "--timeout=60s"]);
    assert_eq!(truth.left(), Vec::<String>::new());
    let (ran, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new());
    assert!(ran.len() == 8 && ran.values().all(|vms| vms.len() == 1), "{ran:#?}");

    // Asked to end, it ends, and its log holds no secret.
    assert!(operator.terminate(Duration::from_secs(10)).success());
    let log = stack.operator_log();
    assert!(log.contains("bound") && !log.contains(PASSWORD) && !log.contains(SECRET_KEY));
}
