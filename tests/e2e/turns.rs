//! In which order a workload's guests are written: those that are there first, then new ones by their numbers. The scheduler
//! decides on them as they appear, so the first get the room at home.

use std::time::Duration;

use futures::TryStreamExt as _;
use innkeeper::{api::Guest, runtime::client};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};

use crate::stack::Stack;

/// More than are made in one go.
const GUESTS: usize = 520;
const SOON: Duration = Duration::from_mins(2);

fn workload(replicas: usize, holds: &[&str]) -> Value {
    json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "2Gi" } },
            "holds": holds.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        },
    })
}

#[test]
fn guests_appear_in_the_order_of_their_numbers() {
    let stack = Stack::start();
    let (_operator, _) = stack.operator();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(client::connect(Some(stack.folder.path().join("kubeconfig")))).unwrap();
    let api = Api::<Guest>::namespaced(client, "default");
    let since = runtime.block_on(api.list(&ListParams::default())).unwrap().metadata.resource_version.unwrap();
    stack.apply(&workload(GUESTS, &[]).to_string());

    let appear = async {
        let mut events = std::pin::pin!(api.watch(&WatchParams::default(), &since).await.unwrap());
        let mut names = Vec::new();
        while names.len() < GUESTS {
            match events.try_next().await.unwrap() {
                Some(WatchEvent::Added(guest)) => names.push(guest.name_any()),
                Some(_) => {}
                None => panic!("the watch ended after {names:?}"),
            }
        }
        names
    };
    let names = runtime.block_on(async { tokio::time::timeout(SOON, appear).await }).unwrap();
    assert_eq!(names, (0..GUESTS).map(|number| format!("web-{number}")).collect::<Vec<_>>());
}

#[test]
fn what_a_quota_refuses_keeps_nothing_else_from_being_done() {
    let stack = Stack::start();
    let (_operator, _) = stack.operator();
    stack.apply(&workload(2, &[]).to_string());
    stack.until("two guests", SOON, || (stack.guests().len() == 2).then_some(()));
    allow_two(&stack);

    // New guests are refused: a hold reaches those that are there.
    stack.apply(&workload(4, &["case-42"]).to_string());
    stack.until("the workload says what is refused", SOON, || {
        let said = stack.get(&["vw", "web"])["status"]["conditions"].to_string();
        said.contains("exceeded quota: few").then_some(())
    });
    let holds = |guests: &[Value]| -> Vec<Value> {
        guests.iter().map(|guest| guest["spec"]["holds"][0]["name"].clone()).collect()
    };
    assert_eq!(holds(&stack.guests()), ["case-42", "case-42"]);

    // One that was deleted is refused when it is to be made again: those that are too many go.
    stack.apply(&workload(2, &[]).to_string());
    stack.until("the hold is gone", SOON, || (holds(&stack.guests()) == [Value::Null, Value::Null]).then_some(()));
    stack.kubectl(&["delete", "guest", "web-0", "--timeout=60s"]);
    stack.apply(&workload(1, &[]).to_string());
    stack.until("web-1 goes", SOON, || stack.guests().is_empty().then_some(()));

    stack.kubectl(&["delete", "quota", "few"]);
    stack.until("web-0 is made", SOON, || (stack.guests().len() == 1).then_some(()));
    assert_eq!(stack.guests()[0]["metadata"]["name"], "web-0");
}

/// Makes the API server refuse a third guest in the namespace.
fn allow_two(stack: &Stack) {
    stack.kubectl(&["create", "quota", "few", "--hard=count/guests.innkeeper.dev=2"]);
    // Nobody here counts what is there: the API server only adds to it.
    let counted = json!({ "status": {
        "hard": { "count/guests.innkeeper.dev": "2" }, "used": { "count/guests.innkeeper.dev": "2" },
    } });
    stack.kubectl(&["patch", "quota", "few", "--subresource=status", "--type=merge", "-p", &counted.to_string()]);
    let third = stack.folder.path().join("third.yaml");
    let mut guest = stack.guests().swap_remove(0);
    guest["metadata"] = json!({ "name": "third", "namespace": "default" });
    std::fs::write(&third, guest.to_string()).unwrap();
    stack.until("the quota is in force", SOON, || {
        let answer = stack.try_kubectl(&["create", "--dry-run=server", "-f", &third.to_string_lossy()]);
        String::from_utf8_lossy(&answer.stderr).contains("exceeded quota: few").then_some(())
    });
}
