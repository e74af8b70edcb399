//! Many guests made, resized, stopped, restarted and deleted through the operator while things go wrong: in the end the
//! pool holds exactly the VMs and disks that the API server says.
//!
//! `INNKEEPER_SOAK=seeds,guests` makes it longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{stack::Stack, truth::Truth};

/// Per stage; a busy machine and two hundred guests take their time.
const LONG: Duration = Duration::from_mins(15);

fn extent() -> (u64, usize) {
    let told = std::env::var("INNKEEPER_SOAK").ok();
    let told = told.as_deref().and_then(|told| told.split_once(','));
    told.map_or((2, 15), |(seeds, guests)| (seeds.parse().unwrap(), guests.parse().unwrap()))
}

fn trouble(truth: &Truth, seed: u64) {
    for (n, (method, kind, likely)) in [
        ("*", json!({ "kind": "reset_after" }), 0.01),
        ("*", json!({ "kind": "reset_before" }), 0.01),
        ("*", json!({ "kind": "session_invalid" }), 0.003),
        ("VM.*", json!({ "kind": "lose_task" }), 0.02),
        ("VM.clone", json!({ "kind": "reset_after" }), 0.1),
        ("VM.clone", json!({ "kind": "latency", "ms": 300 }), 0.1),
        ("VM.start*", json!({ "kind": "reset_after" }), 0.1),
        ("event.from", json!({ "kind": "drop_deletion" }), 0.05),
        ("VDI.destroy", json!({ "kind": "error", "code": "VDI_IN_USE", "params": [] }), 0.1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut fault = kind;
        fault["method"] = method.into();
        fault["probability"] = json!(likely);
        fault["seed"] = json!(seed * 100 + n as u64);
        truth.fault(&fault);
    }
}

/// Three workloads: one grows, one is stopped, one is restarted.
const KINDS: [&str; 3] = ["grow", "stop", "spin"];

fn workloads(stack: &Stack, guests: usize) {
    let all: Vec<String> = KINDS
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let replicas = guests / KINDS.len() + usize::from(n < guests % KINDS.len());
            let workload = json!({
                "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload",
                "metadata": { "name": name, "namespace": "default" },
                "spec": {
                    "replicas": replicas,
                    "template": {
                        "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "256Mi" },
                        "disks": [{ "name": "data", "size": "1Gi" }], "shutdown": { "mode": "Hard" },
                    },
                },
            });
            workload.to_string()
        })
        .collect();
    stack.apply(&all.join("\n---\n"));
}

fn patch(stack: &Stack, name: &str, template: &Value) {
    let patch = json!({ "spec": { "template": template } }).to_string();
    stack.kubectl(&["patch", "vw", name, "--type=merge", "-p", &patch]);
}

/// Every guest is as its spec wishes, and there are so many.
fn settled(stack: &Stack, number: usize) -> Option<Vec<Value>> {
    let all = stack.guests();
    let fine = |guest: &Value| {
        let conditions = guest["status"]["conditions"].as_array();
        let is = |kind: &str, status: &str| {
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == status))
        };
        guest["metadata"]["deletionTimestamp"].is_null()
            && guest["status"]["observedGeneration"] == guest["metadata"]["generation"]
            && is("Ready", "True")
            && !is("Resized", "False")
    };
    (all.len() == number && all.iter().all(fine)).then_some(all)
}

fn wait(stack: &Stack, what: &str, number: usize) -> Vec<Value> {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(all) = settled(stack, number) {
            return all;
        }
        if Instant::now() >= deadline {
            let not: Vec<String> = stack
                .guests()
                .iter()
                .map(|guest| format!("{} {}", guest["metadata"]["name"], guest["status"]["conditions"]))
                .filter(|said| !said.contains("\"Running\"") && !said.contains("\"Stopped\""))
                .collect();
            panic!("{what}: {} of {number} guests; not as wished: {not:#?}", stack.guests().len());
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// What the API server says of each guest: VM, whether it runs, processors.
fn said(guests: &[Value]) -> BTreeMap<String, (&'static str, u64)> {
    let one = |guest: &Value| {
        let runs = guest["spec"]["template"]["powerState"] != "Stopped";
        let vcpus = guest["spec"]["template"]["size"]["vcpus"].as_u64().unwrap();
        (guest["status"]["providerId"].as_str().unwrap().to_owned(), (if runs { "Running" } else { "Halted" }, vcpus))
    };
    guests.iter().map(one).collect()
}

fn there(truth: &Truth) -> BTreeMap<String, (String, u64)> {
    let one = |(uuid, vm): (String, Value)| {
        let power = vm["power_state"].as_str().unwrap().to_owned();
        (uuid, (power, vm["VCPUs_at_startup"].as_u64().unwrap()))
    };
    truth.xen_vms().into_iter().map(one).collect()
}

fn once(stack: &Stack, truth: &Truth, seed: u64, guests: usize) {
    let began = Instant::now();
    trouble(truth, seed);
    workloads(stack, guests);
    wait(stack, "made", guests);
    let made = began.elapsed();
    patch(
        stack,
        "grow",
        &json!({ "size": { "vcpus": 2, "memory": "512Mi" }, "disks": [{ "name": "data", "size": "2Gi" }] }),
    );
    patch(stack, "stop", &json!({ "powerState": "Stopped" }));
    // Grown guests take their size when they are next off.
    patch(stack, "grow", &json!({ "powerState": "Stopped" }));
    wait(stack, "stopped", guests);
    patch(stack, "grow", &json!({ "powerState": "Running" }));
    // Some go, by hand and by number; those that were deleted by hand come back as new ones.
    let victims: Vec<String> = (0..guests / 10).map(|n| format!("spin-{n}")).collect();
    let arguments: Vec<&str> =
        ["delete", "guest", "--wait=false"].into_iter().chain(victims.iter().map(String::as_str)).collect();
    stack.kubectl(&arguments);
    let fewer = guests / KINDS.len() / 2;
    stack.kubectl(&["scale", "vw/stop", &format!("--replicas={fewer}")]);
    let left = guests - (guests / KINDS.len() + usize::from(1 < guests % KINDS.len())) + fewer;
    wait(stack, "changed in spite of all", left);
    let struck = truth.struck();
    truth.calm();
    let all = wait(stack, "calm again", left);
    let said = said(&all);
    stack.until("the pool holds exactly what the API server says", LONG, || {
        let there = there(truth);
        let same = there.len() == said.len()
            && said
                .iter()
                .all(|(uuid, (power, vcpus))| there.get(uuid).is_some_and(|vm| vm == &((*power).to_owned(), *vcpus)));
        (same && truth.disks() == 2 * left).then_some(())
    });
    stack.kubectl(&["delete", "vw", "--all"]);
    stack.until("the guests are gone", LONG, || stack.guests().is_empty().then_some(()));
    let rest: BTreeSet<String> = truth.left().into_iter().collect();
    assert_eq!(rest, BTreeSet::new(), "seed {seed}");
    let (_, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new(), "seed {seed}");
    println!(
        "seed {seed}: {guests} guests made in {} s, {left} kept, all gone after {} s; {} faults struck",
        made.as_secs(),
        began.elapsed().as_secs(),
        struck,
    );
}

#[test]
fn the_pool_holds_exactly_what_the_api_server_says() {
    let (seeds, guests) = extent();
    let stack = Stack::start_with(&["--hosts", "4", "--host-memory", "64GiB", "--knob", "clone_ms=20"]);
    let truth = Truth::of(&stack);
    stack.apply(&stack.example("01-xen-london"));
    let (_operator, _) = stack.operator();
    for seed in 1..=seeds {
        once(&stack, &truth, seed, guests);
    }
}
