//! What is rented: another size is another type, for the VM that there is; spot capacity is taken back.

use aws_sdk_ec2::types::InstanceStateName;
use serde_json::{Value, json};

use crate::{
    lifecycle::{SOON, guest, now, patch, says, workload},
    stack::Stack,
    truth::{Truth, state},
};

/// A pool that may spend 70 EUR a month: one t3.large (61.61).
fn rented() -> (Stack, Truth) {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let pool = stack.example("02-ec2-ireland").replace("guests: 20", "guests: 20, monthlySpend: \"70\"");
    stack.apply(&pool);
    (stack, truth)
}

/// Type and state of the only instance.
fn instance(truth: &Truth) -> Option<(String, String, InstanceStateName)> {
    let all = truth.instances();
    let [one] = &all[..] else { return None };
    let (id, name) = (one.instance_id()?.to_owned(), one.instance_type()?.as_str().to_owned());
    Some((id, name, state(one)?))
}

fn binding(stack: &Stack) -> Value {
    guest(stack, "web-0").unwrap()["spec"]["binding"].clone()
}

#[test]
fn another_size_is_another_type_for_the_same_vm() {
    let (stack, truth) = rented();
    let (mut operator, _) = stack.operator();
    stack.apply(&workload("web", &json!({ "placement": { "burst": { "policy": "WhenFull", "after": "1s" } } })));
    says(&stack, "web-0", "Ready", "True", "Running");
    let first = binding(&stack);
    assert_eq!(first["instanceType"], "t3.small");
    assert_eq!(first["size"], json!({ "vcpus": 1, "memory": "1Gi" }));
    let (id, ..) = instance(&truth).unwrap();

    // Too large for what the pool may spend: it stays, and it is said why.
    let size = |vcpus: u32, memory: &str| json!({ "template": { "size": { "vcpus": vcpus, "memory": memory } } });
    patch(&stack, "web", &size(64, "512Gi"));
    says(&stack, "web-0", "Resized", "False", "TypeTooSmall");
    let proposal = || guest(&stack, "web-0")?["status"]["placement"]["proposal"].as_str().map(str::to_owned);
    let why = stack.until("it is said why", SOON, proposal);
    assert_eq!(why, "it keeps its type t3.small in ec2-ireland: no type that can be had there has 64 vCPU and 512 GiB");
    says(&stack, "web-0", "Ready", "True", "Running");

    // A larger one is chosen at once, and had when the guest is restarted.
    patch(&stack, "web", &size(2, "8Gi"));
    says(&stack, "web-0", "Resized", "False", "RestartNeeded");
    let bound = binding(&stack);
    assert_eq!((&bound["instanceType"], &bound["incarnation"]), (&json!("t3.large"), &first["incarnation"]));
    stack.until("its price is that of the new type", SOON, || {
        (guest(&stack, "web-0")?["status"]["hourlyCost"]["amount"] == "0.0844").then_some(())
    });
    assert_eq!(proposal(), None);
    let running = Some((id.clone(), "t3.small".to_owned(), InstanceStateName::Running));
    assert_eq!(instance(&truth), running, "it is not touched before");

    // Killed in the middle of it.
    let at = stack.until("a second passes", SOON, || {
        let started =
            guest(&stack, "web-0")?["status"]["creation"]["startedAt"].as_str().unwrap_or_default().to_owned();
        (now() > started).then(now)
    });
    patch(&stack, "web", &json!({ "template": { "restartAt": at } }));
    stack.until("it stops", SOON, || (instance(&truth)?.2 != InstanceStateName::Running).then_some(()));
    operator.kill();
    let (_operator, _) = stack.operator();
    let larger = Some((id.clone(), "t3.large".to_owned(), InstanceStateName::Running));
    stack.until("it runs in its new type", SOON, || (instance(&truth) == larger).then_some(()));
    says(&stack, "web-0", "Ready", "True", "Running");
    stack.until("it has the size", SOON, || {
        let all = guest(&stack, "web-0")?["status"]["conditions"].as_array()?.clone();
        all.iter().all(|condition| condition["type"] != "Resized").then_some(())
    });

    // Smaller again, at once as it is off; and no second VM was ever made.
    patch(&stack, "web", &json!({ "template": { "powerState": "Stopped" } }));
    says(&stack, "web-0", "Ready", "True", "Stopped");
    patch(&stack, "web", &size(1, "1Gi"));
    let smaller = Some((id, "t3.small".to_owned(), InstanceStateName::Stopped));
    stack.until("it is smaller", SOON, || (instance(&truth) == smaller).then_some(()));
    assert_eq!(truth.launches(), 1);
    // Nobody else may change where it lives.
    let foreign = json!({ "spec": { "binding": { "zone": "eu-west-1b" } } }).to_string();
    let refused = stack.try_kubectl(&["patch", "guest", "web-0", "--type=merge", "-p", &foreign]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("place changes only together with a new incarnation"));
    stack.kubectl(&["delete", "vw", "web"]);
    stack.until("the guest is gone", SOON, || guest(&stack, "web-0").is_none().then_some(()));
    assert_eq!(truth.left(), Vec::<String>::new());
}

/// What a condition of a guest says.
fn message(stack: &Stack, kind: &str) -> Option<String> {
    let all = guest(stack, "web-0")?["status"]["conditions"].as_array()?.clone();
    Some(all.iter().find(|condition| condition["type"] == kind)?["message"].as_str()?.to_owned())
}

#[test]
fn spot_capacity_that_is_taken_back_is_said_and_replaced() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let pool =
        stack.example("02-ec2-ireland").replace("hourly: \"0.0211\"", "hourly: \"0.0211\", spotHourly: \"0.0070\"");
    stack.apply(&pool);
    let (_operator, _) = stack.operator();
    stack.apply(&workload("web", &json!({ "placement": { "spot": "Allowed" } })));
    says(&stack, "web-0", "Ready", "True", "Running");
    let first = binding(&stack);
    assert_eq!((&first["instanceType"], &first["spot"]), (&json!("t3.small"), &json!(true)));
    let (id, ..) = instance(&truth).unwrap();

    // Announced two minutes before: it runs on, as nothing says that its VM may be removed.
    truth.tell_ec2("warn", &json!(id));
    says(&stack, "web-0", "Interrupted", "True", "CapacityTakenBack");
    says(&stack, "web-0", "Ready", "True", "Running");
    assert!(message(&stack, "Interrupted").unwrap().contains("not before: mobility.allow lacks Recreate"));
    assert_eq!(instance(&truth).unwrap().0, id);

    // Where it may be made anew, that begins at once, and elsewhere: on demand, as the stock is being emptied.
    patch(&stack, "web", &json!({ "mobility": { "allow": ["Recreate"] } }));
    let second = stack.until("another one runs", SOON, || {
        let (now, _, state) = instance(&truth)?;
        (now != id && state == InstanceStateName::Running).then_some(now)
    });
    says(&stack, "web-0", "Ready", "True", "Running");
    assert_eq!(guest(&stack, "web-0").unwrap()["status"]["providerId"], second.as_str());
    let bound = binding(&stack);
    assert_eq!((&bound["incarnation"], &bound["spot"]), (&json!(2), &Value::Null), "{bound}");
    assert_eq!(message(&stack, "Interrupted"), None);
    assert_eq!(truth.launches(), 2);
}
