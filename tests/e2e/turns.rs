//! In which order guests come into being: the scheduler decides on them as they appear, so the first get the room at home.

use std::time::Duration;

use futures::TryStreamExt as _;
use innkeeper::{api::Guest, runtime::client};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde_json::json;

use crate::stack::Stack;

/// More than are made in one go.
const GUESTS: usize = 520;
const SOON: Duration = Duration::from_mins(2);

#[test]
fn guests_appear_in_the_order_of_their_numbers() {
    let stack = Stack::start();
    let (_operator, _) = stack.operator();
    let workload = json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": GUESTS,
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "2Gi" } },
        },
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(client::connect(Some(stack.folder.path().join("kubeconfig")))).unwrap();
    let api = Api::<Guest>::namespaced(client, "default");
    let since = runtime.block_on(api.list(&ListParams::default())).unwrap().metadata.resource_version.unwrap();
    stack.apply(&workload.to_string());

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
