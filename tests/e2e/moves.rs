//! Guests move: live from a host that is drained, home from rented capacity, and not at all where something forbids it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{lodging::by_pool, stack::Stack, truth::Truth};

const SOON: Duration = Duration::from_secs(90);

fn workload(name: &str, replicas: u32, more: &Value) -> String {
    let mut spec = json!({
        "replicas": replicas,
        "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "2Gi" } },
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({ "name": name, "namespace": "default" });
    json!({ "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload", "metadata": metadata, "spec": spec })
        .to_string()
}

fn patch(stack: &Stack, object: &[&str], patch: &Value) {
    let patch = patch.to_string();
    stack.kubectl(&[&["patch", "--type=merge", "-p", &patch], object].concat());
}

fn text<'v>(guest: &'v Value, pointer: &str) -> &'v str {
    guest.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn a_drained_host_is_emptied_live_and_who_must_stay_says_why() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let (_operator, _) = stack.operator();
    stack.apply_pools();
    stack.apply(&workload("web", 2, &json!({})));
    let before = stack.wait_for_guests(2, SOON);
    let vms: BTreeSet<String> = truth.xen_vms().into_keys().collect();
    let host = text(&before[0], "/status/host").to_owned();
    patch(&stack, &["cloudpool", "xen-london"], &json!({ "spec": { "drainHosts": [host] } }));
    let after = stack.until("the host is empty", SOON, || {
        let guests = stack.guests();
        let moved = |guest: &Value| text(guest, "/status/host") != host && text(guest, "/status/phase") == "Running";
        guests.iter().all(moved).then_some(guests)
    });
    // The same VMs, never stopped, and the decision has an end.
    assert_eq!(truth.xen_vms().into_keys().collect::<BTreeSet<_>>(), vms);
    let (ran, twice) = truth.ever_ran();
    assert!(twice.is_empty() && ran.values().all(|vms| vms.len() == 1), "{ran:?} {twice:?}");
    for (guest, old) in after.iter().zip(&before) {
        assert_eq!(guest["status"]["incarnation"], 1);
        assert_eq!(guest["spec"]["binding"], old["spec"]["binding"], "a binding does not change");
        if text(old, "/status/host") == host {
            assert_eq!(text(guest, "/spec/relocation/kind"), "Live");
            assert_eq!(text(guest, "/spec/relocation/reason"), "its host or pool is being emptied");
        }
    }

    // The pool is to be emptied: by default a guest moves live only, which does not leave its pool. A person has to decide.
    patch(&stack, &["cloudpool", "xen-london"], &json!({ "spec": { "drain": true } }));
    stack.until("the guests say what keeps them", SOON, || {
        let said = |guest: &Value| text(guest, "/status/placement/proposal").contains("mobility.allow lacks Recreate");
        stack.guests().iter().all(said).then_some(())
    });
    // Allowed to be made anew, and held: they stay.
    let held = json!({ "spec": { "mobility": { "allow": ["Recreate"] }, "holds": [{ "name": "case-42" }] } });
    patch(&stack, &["vw", "web"], &held);
    stack.until("the guests name the hold", SOON, || {
        let said = |guest: &Value| text(guest, "/status/placement/proposal").contains("held by case-42");
        stack.guests().iter().all(said).then_some(())
    });
    assert_eq!(truth.xen_vms().into_keys().collect::<BTreeSet<_>>(), vms);
    // The hold is lifted: one after the other is made anew at EC2, without waiting for room at home.
    patch(&stack, &["vw", "web"], &json!({ "spec": { "holds": null } }));
    stack.until("the pool is empty", SOON, || truth.xen_vms().is_empty().then_some(()));
    stack.until("both run at EC2", SOON, || {
        let guests = stack.guests();
        let runs = |guest: &Value| text(guest, "/status/phase") == "Running";
        (guests.iter().all(runs) && by_pool(&guests) == BTreeMap::from([("ec2-ireland", 2)])).then_some(())
    });
    assert_eq!(truth.instances().len(), 2);
}

#[test]
fn guests_that_overflowed_come_home_one_after_the_other() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let (operator, _) = stack.operator();
    stack.apply_pools();
    stack.apply(&workload("batch", 2, &json!({ "placement": { "burst": { "policy": "Never" } } })));
    stack.wait_for_guests(2, SOON);
    let burst = json!({ "policy": "WhenFull", "after": "0s", "returnHome": { "after": "2s" } });
    let more = json!({ "placement": { "burst": burst }, "mobility": { "allow": ["Live", "Recreate"] } });
    stack.apply(&workload("web", 4, &more));
    let guests = stack.wait_for_guests(6, SOON);
    assert_eq!(by_pool(&guests), BTreeMap::from([("ec2-ireland", 2), ("xen-london", 4)]));

    stack.kubectl(&["delete", "vw", "batch", "--timeout=60s"]);
    // How long there has been room is kept in the guests: a restart of the operator forgets nothing.
    stack.until("room at home is noted", SOON, || {
        let noted = |guest: &Value| !text(guest, "/status/placement/homeRoomSince").is_empty();
        stack.guests().iter().any(|guest| noted(guest) || guest["status"]["incarnation"] == 2).then_some(())
    });
    drop(operator);
    let (_operator, _) = stack.operator();
    let mut most_away = 0;
    stack.until("all are at home", SOON, || {
        let guests = stack.guests();
        // After the restart the pools are not open yet, and nobody knows how the guests are.
        let away = |guest: &&Value| matches!(text(guest, "/status/phase"), "Pending" | "Creating" | "Deleting");
        most_away = most_away.max(guests.iter().filter(away).count());
        let home = guests.iter().filter(|guest| text(guest, "/spec/binding/pool") == "xen-london");
        let works = |guest: &&Value| text(guest, "/status/phase") == "Running";
        (home.filter(works).count() == 4).then_some(())
    });
    assert!(most_away <= 1, "{most_away} of four guests were away at once");
    assert_eq!((truth.xen_vms().len(), truth.instances().len()), (4, 0));
    let (ran, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new());
    let anew = ran.iter().filter(|(name, vms)| name.contains("web") && vms.len() == 2).count();
    assert!(anew == 2 && ran.values().all(|vms| vms.len() <= 2), "{ran:#?}");
}
