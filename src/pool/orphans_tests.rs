use super::*;
use crate::api::quantity::Bytes;

fn vm(uid: &str, incarnation: u32, stage: Stage) -> ObservedGuest {
    let key = Key { guest: uid.into(), incarnation, namespace: "shop".into(), name: "web-0".into() };
    ObservedGuest {
        memory: Some(Bytes(1)),
        ..ObservedGuest::new(key, format!("vm-{uid}-{incarnation}"), stage, Power::Stopped)
    }
}

fn guest(uid: &str, incarnation: u32, pool: &str) -> Arc<Guest> {
    let object = serde_json::json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
        "metadata": { "name": "web-0", "namespace": "shop", "uid": uid },
        "spec": {
            "workload": "web",
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
            "binding": { "pool": pool, "incarnation": incarnation },
        },
        "status": { "incarnation": incarnation },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

#[test]
fn a_vm_is_an_orphan_where_no_guest_wants_it() {
    use Stage::{Complete, Incomplete};
    let guests = [guest("a", 2, "xen")];
    let why = |vm: ObservedGuest| find("xen", &[vm], &guests).first().map(|orphan| orphan.why);
    assert_eq!(why(vm("a", 2, Complete)), None);
    assert_eq!(why(vm("a", 3, Incomplete)), None, "newer than what we know");
    assert_eq!(why(vm("a", 1, Complete)), Some(Why::Replaced));
    assert_eq!(why(vm("b", 1, Complete)), Some(Why::NoGuest));
    assert_eq!(why(vm("b", 1, Incomplete)), Some(Why::NoGuest));
    let elsewhere = find("rent", &[vm("a", 2, Complete)], &guests);
    assert_eq!(elsewhere[0].why, Why::Replaced);
    for power in [Power::Terminating, Power::Terminated] {
        assert_eq!(why(ObservedGuest { power, ..vm("b", 1, Complete) }), None, "it is on its way out: {power}");
    }
}

#[test]
fn a_binding_for_an_earlier_vm_does_not_make_the_next_one_an_orphan() {
    let mut unplaced = (*guest("a", 1, "xen")).clone();
    unplaced.status.as_mut().unwrap().incarnation = Some(2);
    assert_eq!(find("xen", &[vm("a", 2, Stage::Complete)], &[Arc::new(unplaced.clone())]), []);
    assert_eq!(find("xen", &[vm("a", 1, Stage::Complete)], &[Arc::new(unplaced)])[0].why, Why::Replaced);
}

#[test]
fn only_what_never_ran_and_no_guest_wants_is_removed_without_asking() {
    use Stage::{Complete, Incomplete};
    let alive = BTreeMap::from([("a".to_owned(), 3)]);
    let names = |vms: &[ObservedGuest]| -> Vec<String> {
        removable(vms, &alive).into_iter().map(|key| format!("{}{}", key.guest, key.incarnation)).collect()
    };
    assert_eq!(names(&[vm("b", 1, Incomplete)]), ["b1"]);
    assert!(names(&[vm("a", 3, Incomplete), vm("a", 4, Incomplete), vm("b", 1, Complete)]).is_empty());
    // Its guest has a later VM, here or elsewhere. An earlier one that may have run would go along.
    assert_eq!(names(&[vm("a", 2, Incomplete), vm("a", 3, Complete)]), ["a2"]);
    assert!(names(&[vm("a", 1, Complete), vm("a", 2, Incomplete)]).is_empty());
    // Removing takes all of a guest's VMs along.
    assert!(names(&[vm("b", 1, Complete), vm("b", 2, Incomplete)]).is_empty());
    for power in [Power::Running, Power::Starting, Power::Unknown, Power::Paused, Power::Suspended] {
        assert!(names(&[ObservedGuest { power, ..vm("b", 1, Incomplete) }]).is_empty(), "{power}");
    }
}

#[test]
fn a_status_lists_some_and_counts_all() {
    let vms: Vec<_> = (0..30).map(|n| vm(&format!("{n:02}"), 1, Stage::Complete)).collect();
    let orphans = find("xen", &vms, &[]);
    assert_eq!((orphans.len(), listed(&orphans).len()), (30, LISTED));
    assert_eq!(listed(&orphans)[0].provider_id, "vm-00-1");
    let text = summary(&orphans);
    assert!(text.starts_with("30 VMs here") && text.contains("and 27 more"), "{text}");
    let text = summary(&orphans[..1]);
    assert!(text.starts_with("1 VM here") && !text.contains("more"), "{text}");
}
