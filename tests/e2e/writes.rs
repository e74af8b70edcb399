//! What the API server makes of our writes.

use innkeeper::{
    api::{Guest, names::manager},
    runtime::{apply, client},
};
use kube::Api;
use serde_json::{Value, json};

use crate::stack::Stack;

fn guest(name: &str, vcpus: u32, label: &str) -> Value {
    json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
        "metadata": { "name": name, "labels": { "whose": label } },
        "spec": {
            "workload": "web",
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": vcpus, "memory": "1Gi" } },
        },
    })
}

/// What is made is owned as by an apply, and what is there already is left alone, whoever made it.
#[test]
fn an_object_is_made_only_where_none_is() {
    let stack = Stack::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ours = |api: &Api<Guest>, name: &str, vcpus: u32| {
        runtime.block_on(apply::absent(api, name, manager::WORKLOAD, guest(name, vcpus, "ours"))).unwrap();
    };
    let api = runtime.block_on(async {
        let client = client::connect(Some(stack.folder.path().join("kubeconfig"))).await.unwrap();
        Api::<Guest>::namespaced(client, "default")
    });
    let seen = |name: &str| stack.get(&["guest", name, "--show-managed-fields"]);

    ours(&api, "web-0", 1);
    let made = seen("web-0");
    let owners: Vec<_> = made["metadata"]["managedFields"].as_array().unwrap().iter().collect();
    assert_eq!(
        (owners.len(), &owners[0]["operation"], &owners[0]["manager"]),
        (1, &json!("Apply"), &json!(manager::WORKLOAD))
    );

    // Not even by ourselves.
    ours(&api, "web-0", 2);
    assert_eq!(seen("web-0"), made);

    stack.apply(&guest("web-1", 1, "theirs").to_string());
    let theirs = seen("web-1");
    ours(&api, "web-1", 2);
    assert_eq!(seen("web-1"), theirs);

    // One that is gone is made anew.
    stack.kubectl(&["delete", "guest", "web-1"]);
    ours(&api, "web-1", 2);
    assert_eq!(seen("web-1")["metadata"]["labels"]["whose"], "ours");
}
