//! Who gets the room at home when guests come into being in another order than they are counted.

use std::time::Duration;

use innkeeper::{
    api::{Guest, names::manager},
    runtime::{apply, client},
};
use kube::Api;
use serde_json::{Value, json};

use crate::stack::Stack;

const SOON: Duration = Duration::from_secs(90);

fn guest(workload: &str, number: u32, placement: &Value) -> Value {
    json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
        "metadata": { "name": format!("{workload}-{number}") },
        "spec": {
            "workload": workload,
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "2Gi" } },
            "placement": placement,
        },
    })
}

/// There is room for four at home. The scheduler sees the last four of five, has time to decide, and only then the first.
#[test]
fn the_lowest_numbers_are_at_home_though_they_are_made_last() {
    let stack = Stack::start();
    let (_operator, _) = stack.operator();
    stack.apply_pools();
    stack.kubectl(&["wait", "--for=condition=Ready", "cloudpools", "--all", "--timeout=60s"]);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(async {
        let client = client::connect(Some(stack.folder.path().join("kubeconfig"))).await.unwrap();
        Api::<Guest>::namespaced(client, "default")
    });
    let make = |workload: &str, number: u32, placement: Value| {
        let guest = guest(workload, number, &placement);
        let name = guest["metadata"]["name"].as_str().unwrap();
        runtime.block_on(apply::absent(&api, name, manager::WORKLOAD, guest.clone())).unwrap();
    };
    let place = |name: &str| {
        let guest = runtime.block_on(api.get_opt(name)).unwrap()?;
        guest.spec.binding.map(|binding| binding.pool)
    };
    let web =
        || json!({ "jurisdictions": { "allow": ["GB", "IE"] }, "burst": { "policy": "WhenFull", "after": "1s" } });
    (1..5).for_each(|number| make("web", number, web()));
    // One that is made after them, and may not take their room: when it has its place, they have been looked at.
    make("irish", 0, json!({ "jurisdictions": { "allow": ["IE"] } }));
    stack.until("the last one is bound", SOON, || place("irish-0"));
    make("web", 0, web());

    let names: Vec<String> = (0..5).map(|number| format!("web-{number}")).collect();
    let pools: Vec<String> = names.iter().map(|name| stack.until("all are bound", SOON, || place(name))).collect();
    assert_eq!(pools, ["xen-london", "xen-london", "xen-london", "xen-london", "ec2-ireland"]);

    // Nobody makes those before it.
    make("alone", 3, json!({ "jurisdictions": { "allow": ["IE"] } }));
    stack.until("it goes without them", SOON, || place("alone-3"));
}
