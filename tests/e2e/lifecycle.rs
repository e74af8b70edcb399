//! What a guest's owner writes about its life is carried out: first boot, restarts, sleep, soft shutdowns, holds, other
//! sizes, VMs that were there before.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{stack::Stack, truth::Truth};

pub const SOON: Duration = Duration::from_secs(90);
const GIB: u64 = 1 << 30;

/// A stack with a Xen pool in which every namespace may adopt VMs.
fn house() -> (Stack, Truth) {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let pool = stack.example("01-xen-london").replace("spec:\n", "spec:\n  tenancy: { namespaceSelector: {} }\n");
    stack.apply(&pool);
    (stack, truth)
}

pub fn workload(name: &str, more: &Value) -> String {
    let mut all = json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "replicas": 1,
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
        },
    });
    merge(&mut all["spec"], more);
    all.to_string()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

pub fn patch(stack: &Stack, name: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    stack.kubectl(&["patch", "vw", name, "--type=merge", "-p", &patch]);
}

pub fn guest(stack: &Stack, name: &str) -> Option<Value> {
    stack.guests().into_iter().find(|guest| guest["metadata"]["name"] == name)
}

/// The condition of a guest, if it speaks of the present spec.
pub fn condition(guest: &Value, kind: &str) -> Option<(String, String)> {
    let current = guest["status"]["observedGeneration"] == guest["metadata"]["generation"];
    let all = guest["status"]["conditions"].as_array().filter(|_| current)?;
    let found = all.iter().find(|condition| condition["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["reason"].as_str()?.to_owned()))
}

pub fn says(stack: &Stack, name: &str, kind: &str, status: &str, reason: &str) {
    let said = (status.to_owned(), reason.to_owned());
    stack.until(&format!("{name} says {kind}={status} {reason}"), SOON, || {
        (condition(&guest(stack, name)?, kind)? == said).then_some(())
    });
}

fn vm_of(stack: &Stack, truth: &Truth, name: &str) -> Option<Value> {
    let uuid = guest(stack, name)?["status"]["providerId"].as_str()?.to_owned();
    truth.xen_vms().remove(&uuid)
}

fn is(stack: &Stack, truth: &Truth, name: &str, power: &str) {
    stack.until(&format!("the VM of {name} is {power}"), SOON, || {
        (vm_of(stack, truth, name)?["power_state"] == power).then_some(())
    });
}

pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How often the VM of a guest was switched on.
fn starts(truth: &Truth, name: &str) -> usize {
    let history = truth.history();
    history.iter().filter(|entry| entry["event"] == "start" && entry["class"] == "VM" && entry["name"] == name).count()
}

#[test]
fn a_guest_lives_as_it_is_written() {
    let (stack, truth) = house();
    let (mut operator, _) = stack.operator();

    // A Secret that comes late is waited for, and its contents are told to nobody.
    let reference = json!({ "name": "boot", "key": "user-data" });
    stack.apply(&workload("web", &json!({ "template": { "cloudInit": { "userDataSecretRef": reference } } })));
    says(&stack, "web-0", "Ready", "False", "SecretMissing");
    assert!(truth.xen_vms().is_empty(), "nothing is made before it can be made as wished");
    let told = "--from-literal=user-data=#cloud-config: the-words-of-the-secret";
    stack.kubectl(&["create", "secret", "generic", "boot", told]);
    says(&stack, "web-0", "Ready", "True", "Running");
    assert!(!stack.operator_log().contains("the-words-of-the-secret"));
    assert!(!guest(&stack, "web-0").unwrap().to_string().contains("the-words-of-the-secret"));

    // Restarted once, also when the operator is killed meanwhile and starts anew.
    assert_eq!(starts(&truth, "web-0"), 1);
    // `restartAt` has whole seconds: it must be after the start.
    let at = stack.until("a second passes", SOON, || {
        let started = guest(&stack, "web-0")?["status"]["creation"]["startedAt"].as_str()?.to_owned();
        (now() > started).then(now)
    });
    patch(&stack, "web", &json!({ "template": { "restartAt": at } }));
    stack.until("the restart is under way", SOON, || {
        (truth.calls().get("Async.VM.clean_shutdown").copied().unwrap_or_default() > 0).then_some(())
    });
    operator.kill();
    let (_operator, _) = stack.operator();
    stack.until("it was started again", SOON, || (starts(&truth, "web-0") == 2).then_some(()));
    says(&stack, "web-0", "Ready", "True", "Running");
    assert!(guest(&stack, "web-0").unwrap()["status"]["restart"].is_null());
    patch(&stack, "web", &json!({ "placement": { "priority": 1 } }));
    says(&stack, "web-0", "Ready", "True", "Running");
    assert_eq!(starts(&truth, "web-0"), 2, "once");

    // Asleep and awake.
    patch(&stack, "web", &json!({ "template": { "powerState": "Suspended" } }));
    is(&stack, &truth, "web-0", "Suspended");
    says(&stack, "web-0", "Ready", "True", "Suspended");
    patch(&stack, "web", &json!({ "template": { "powerState": "Running" } }));
    is(&stack, &truth, "web-0", "Running");

    held(&stack, &truth);
}

/// A hold keeps what is deleted, and lets it go when it is taken out.
fn held(stack: &Stack, truth: &Truth) {
    patch(stack, "web", &json!({ "holds": [{ "name": "case-42", "reason": "court" }] }));
    says(stack, "web-0", "Ready", "True", "Running");
    patch(stack, "web", &json!({ "replicas": 0 }));
    stack.until("the workload says that it is held", SOON, || {
        let workload = stack.get(&["vw", "web"]);
        let ready = workload["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == "Ready")?.clone();
        (ready["reason"] == "ScaleInHeld").then_some(())
    });
    assert!(guest(stack, "web-0").unwrap()["metadata"]["deletionTimestamp"].is_null());
    stack.kubectl(&["delete", "guest", "web-0", "--wait=false"]);
    says(stack, "web-0", "Ready", "False", "Held");
    assert_eq!(vm_of(stack, truth, "web-0").unwrap()["power_state"], "Running");
    patch(stack, "web", &json!({ "holds": null }));
    stack.until("the guest is gone", SOON, || guest(stack, "web-0").is_none().then_some(()));
    assert_eq!(truth.left(), Vec::<String>::new());
}

/// A VM that somebody made by hand.
fn made_by_hand(stack: &Stack, truth: &Truth) -> String {
    let templates = truth.xapi(stack, "VM.get_by_name_label", &["debian-12".into()]);
    let vm = truth.xapi(stack, "VM.clone", &[templates[0].clone(), "old-database".into()]);
    truth.xapi(stack, "VM.provision", std::slice::from_ref(&vm));
    truth.xapi(stack, "VM.start", &[vm.clone(), false.into(), false.into()]);
    truth.xapi(stack, "VM.get_uuid", &[vm]).as_str().unwrap().to_owned()
}

#[test]
fn a_vm_that_was_there_is_adopted_looked_at_and_given_back() {
    let (stack, truth) = house();
    let uuid = made_by_hand(&stack, &truth);
    let (_operator, _) = stack.operator();
    let adopt = json!([{ "ordinal": 0, "pool": "xen-london", "providerId": uuid }]);
    let missing = json!([{ "ordinal": 0, "pool": "xen-london", "providerId": "no-such-vm" }]);
    stack.apply(&workload("lost", &json!({ "adopt": missing })));
    // Only looked at: another size is reported, and so is that somebody switches it off.
    let look = json!({ "adopt": adopt, "managementPolicies": ["Observe"],
                       "template": { "size": { "vcpus": 3, "memory": "1Gi" } } });
    stack.apply(&workload("db", &look));
    says(&stack, "db-0", "InSync", "False", "Drifted");
    says(&stack, "db-0", "Ready", "True", "Running");
    assert_eq!(guest(&stack, "db-0").unwrap()["status"]["providerId"], uuid.as_str());
    patch(&stack, "db", &json!({ "template": { "powerState": "Running" } }));
    let vm = truth.xapi(&stack, "VM.get_by_uuid", &[uuid.clone().into()]);
    truth.xapi(&stack, "VM.hard_shutdown", &[vm]);
    says(&stack, "db-0", "Ready", "False", "Drifted");
    assert_eq!(truth.xen_vms()[&uuid]["power_state"], "Halted");
    // With more rights it is started.
    patch(&stack, "db", &json!({ "managementPolicies": ["Observe", "Update"] }));
    says(&stack, "db-0", "Ready", "True", "Running");
    assert_eq!(truth.xen_vms()[&uuid]["power_state"], "Running");
    // Given back: it runs on and bears no mark of ours.
    stack.kubectl(&["delete", "vw", "db"]);
    stack.until("the guest is gone", SOON, || guest(&stack, "db-0").is_none().then_some(()));
    let vm = truth.xen_vms().remove(&uuid).unwrap();
    assert_eq!(vm["power_state"], "Running");
    assert!(!vm["other_config"].to_string().contains("innkeeper"), "{}", vm["other_config"]);
    // What is not there is not made in its place.
    says(&stack, "lost-0", "Ready", "False", "VmNotFound");
    assert_eq!(truth.xen_vms().len(), 1);
    stack.kubectl(&["delete", "vw", "lost"]);
    stack.until("the guest is gone", SOON, || guest(&stack, "lost-0").is_none().then_some(()));
}

#[test]
fn another_size_reaches_guests_and_a_soft_shutdown_is_never_a_cut() {
    let (stack, truth) = house();
    let (_operator, _) = stack.operator();
    stack.apply(&workload("web", &json!({ "template": { "disks": [{ "name": "data", "size": "1Gi" }] } })));
    says(&stack, "web-0", "Ready", "True", "Running");
    assert_eq!(truth.disks(), 2, "root and data");

    // A disk grows and another comes; what a running VM cannot be given waits for a restart, and says so.
    let disks = json!([{ "name": "data", "size": "2Gi" }, { "name": "logs", "size": "1Gi" }]);
    patch(&stack, "web", &json!({ "template": { "disks": disks, "size": { "vcpus": 2, "memory": "2Gi" } } }));
    says(&stack, "web-0", "Resized", "False", "RestartNeeded");
    says(&stack, "web-0", "Ready", "True", "Running");
    let at = stack.until("a second passes", SOON, || {
        let started = guest(&stack, "web-0")?["status"]["creation"]["startedAt"].as_str()?.to_owned();
        (now() > started).then(now)
    });
    patch(&stack, "web", &json!({ "template": { "restartAt": at } }));
    stack.until("it has the new size", SOON, || {
        let vm = vm_of(&stack, &truth, "web-0")?;
        let size = (vm["VCPUs_max"].as_u64()?, vm["memory_static_max"].as_u64()?);
        (size == (2, 2 * GIB) && vm["power_state"] == "Running").then_some(())
    });
    stack.until("nothing is left to be changed", SOON, || {
        let guest = guest(&stack, "web-0")?;
        (condition(&guest, "Resized").is_none() && condition(&guest, "Ready")?.0 == "True").then_some(())
    });
    assert_eq!((truth.disks(), starts(&truth, "web-0")), (3, 2));

    // Without tools its system cannot be asked: with Soft it stays on.
    truth.knob("tools", &false.into());
    let vm = vm_of(&stack, &truth, "web-0").unwrap();
    let vm = truth.xapi(&stack, "VM.get_by_uuid", &[vm["uuid"].clone()]);
    truth.xapi(&stack, "VM.hard_reboot", &[vm]);
    let soft = json!({ "shutdown": { "mode": "Soft", "deadline": "2s" }, "powerState": "Stopped" });
    patch(&stack, "web", &json!({ "template": soft }));
    says(&stack, "web-0", "Ready", "False", "ShutdownRefused");
    assert_eq!(vm_of(&stack, &truth, "web-0").unwrap()["power_state"], "Running");
    patch(&stack, "web", &json!({ "template": { "shutdown": { "mode": "TrySoft" } } }));
    is(&stack, &truth, "web-0", "Halted");

    stack.kubectl(&["delete", "vw", "web"]);
    stack.until("the guest is gone", SOON, || guest(&stack, "web-0").is_none().then_some(()));
    assert_eq!(truth.left(), Vec::<String>::new());
}
