//! Many guests made, resized, stopped, restarted and deleted through the operator while things go wrong: in the end the
//! pool holds exactly the VMs and disks that the API server says.
//!
//! `INNKEEPER_SOAK=seeds,guests` makes it longer, `first-last,guests` runs some of the seeds; `make soak` runs twenty seeds of
//! two hundred guests. What was seen is written down in `docs/RELIABILITY.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{stack::Stack, truth::Truth};

/// Per stage; a busy machine and two hundred guests take their time.
const LONG: Duration = Duration::from_mins(15);

/// Which seeds, and how many guests with each.
fn extent() -> (RangeInclusive<u64>, usize) {
    let Ok(told) = std::env::var("INNKEEPER_SOAK") else { return (1..=2, 15) };
    let (seeds, guests) = told.split_once(',').expect("INNKEEPER_SOAK is seeds,guests");
    let (first, last) = seeds.split_once('-').unwrap_or(("1", seeds));
    (first.parse().unwrap()..=last.parse().unwrap(), guests.parse().unwrap())
}

fn trouble(truth: &Truth, seed: u64) {
    for (n, (method, kind, likely)) in [
        ("*", json!({ "kind": "reset_after" }), 0.01),
        ("*", json!({ "kind": "reset_before" }), 0.01),
        ("*", json!({ "kind": "session_invalid" }), 0.003),
        ("VM.*", json!({ "kind": "lose_task" }), 0.02),
        ("VM.clone", json!({ "kind": "reset_after" }), 0.1),
        ("VM.clone", json!({ "kind": "latency", "ms": 300 }), 0.1),
        ("VM.provision", json!({ "kind": "error_after", "code": "SR_FULL", "params": ["1", "0"] }), 0.02),
        ("VM.start*", json!({ "kind": "reset_after" }), 0.1),
        ("VDI.create", json!({ "kind": "reset_after" }), 0.1),
        ("VDI.create", json!({ "kind": "lose_task" }), 0.05),
        ("VBD.create", json!({ "kind": "reset_after" }), 0.1),
        ("/import_raw_vdi", json!({ "kind": "reset_before" }), 0.1),
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

/// Three workloads: one grows, one is stopped, one loses guests that come back as new ones and is told something at their
/// first start.
const KINDS: [&str; 3] = ["grow", "stop", "spin"];

fn of_kind(n: usize, guests: usize) -> usize {
    guests / KINDS.len() + usize::from(n < guests % KINDS.len())
}

fn workloads(stack: &Stack, guests: usize) {
    let all: Vec<String> = KINDS
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let mut workload = json!({
                "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload",
                "metadata": { "name": name, "namespace": "default" },
                "spec": {
                    "replicas": of_kind(n, guests),
                    "template": {
                        "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "256Mi" },
                        "disks": [{ "name": "data", "size": "1Gi" }], "shutdown": { "mode": "Hard" },
                    },
                },
            });
            if *name == "spin" {
                let reference = json!({ "name": "first-boot", "key": "user-data" });
                workload["spec"]["template"]["cloudInit"] = json!({ "userDataSecretRef": reference });
            }
            workload.to_string()
        })
        .collect();
    stack.apply(&all.join("\n---\n"));
}

fn patch(stack: &Stack, name: &str, template: &Value) {
    let patch = json!({ "spec": { "template": template } }).to_string();
    stack.kubectl(&["patch", "vw", name, "--type=merge", "-p", &patch]);
}

/// The guest is as its spec wishes.
fn is_fine(guest: &Value) -> bool {
    let conditions = guest["status"]["conditions"].as_array();
    let is = |kind: &str, status: &str| {
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == status))
    };
    guest["metadata"]["deletionTimestamp"].is_null()
        && guest["status"]["observedGeneration"] == guest["metadata"]["generation"]
        && is("Ready", "True")
        && !is("Resized", "False")
}

/// Waits until there are so many guests and every one is as its spec wishes.
fn wait(stack: &Stack, what: &str, number: usize) -> Vec<Value> {
    let deadline = Instant::now() + LONG;
    loop {
        let all = stack.guests();
        let not: Vec<&Value> = all.iter().filter(|guest| !is_fine(guest)).collect();
        if all.len() == number && not.is_empty() {
            return all;
        }
        if Instant::now() >= deadline {
            let not: Vec<String> =
                not.iter().map(|guest| format!("{} {}", guest["metadata"]["name"], guest["status"])).collect();
            panic!("{what}: {} of {number} guests; not as wished: {not:#?}", all.len());
        }
        // Each look costs the machine that is being waited for.
        std::thread::park_timeout(Duration::from_millis(200 + 20 * all.len() as u64));
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

/// How many disks the API server says there are: a root disk and a data disk each, and what some were told at first.
fn disks_said(guests: &[Value]) -> usize {
    let told = guests.iter().filter(|guest| guest["spec"]["template"]["cloudInit"].is_object());
    2 * guests.len() + told.count()
}

fn there(truth: &Truth) -> BTreeMap<String, (String, u64)> {
    let one = |(uuid, vm): (String, Value)| {
        let power = vm["power_state"].as_str().unwrap().to_owned();
        (uuid, (power, vm["VCPUs_at_startup"].as_u64().unwrap()))
    };
    truth.xen_vms().into_iter().map(one).collect()
}

/// Changes what was made: all in the midst of the trouble. Answers how many guests there are in the end.
fn change(stack: &Stack, guests: usize) -> usize {
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
    let left = guests - of_kind(1, guests) + fewer;
    wait(stack, "changed in spite of all", left);
    left
}

fn once(stack: &Stack, truth: &Truth, seed: u64, guests: usize) {
    let began = Instant::now();
    trouble(truth, seed);
    workloads(stack, guests);
    wait(stack, "made", guests);
    let made = began.elapsed();
    let left = change(stack, guests);
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
        (same && truth.disks() == disks_said(&all)).then_some(())
    });
    let held = began.elapsed();
    stack.kubectl(&["delete", "vw", "--all"]);
    wait(stack, "gone", 0);
    let rest: BTreeSet<String> = truth.left().into_iter().collect();
    assert_eq!(rest, BTreeSet::new(), "seed {seed}");
    let (_, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new(), "seed {seed}");
    println!(
        "seed {seed}: {guests} guests made in {} s, {left} kept and all as said after {} s, all gone after {} s; {struck} \
         faults struck",
        made.as_secs(),
        held.as_secs(),
        began.elapsed().as_secs(),
    );
}

#[test]
fn the_pool_holds_exactly_what_the_api_server_says() {
    let (seeds, guests) = extent();
    let hosts = ["--hosts", "4", "--host-memory", "64GiB", "--host-cpus", "32", "--shared-sr-size", "4TiB"];
    let stack = Stack::start_with(&[&hosts[..], &["--knob", "clone_ms=20"]].concat());
    let truth = Truth::of(&stack);
    stack.kubectl(&["create", "secret", "generic", "first-boot", "--from-literal=user-data=#cloud-config"]);
    stack.apply(&stack.example("01-xen-london"));
    let (_operator, _) = stack.operator();
    for seed in seeds {
        once(&stack, &truth, seed, guests);
    }
}
