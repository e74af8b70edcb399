//! Many clients at once do what they like; what must always hold, holds afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use support::{Lab, quick};
use xapi_sim::{Config, Knobs, Preset};

/// A small generator, so that a run can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<'a>(&mut self, list: &'a Json) -> &'a str {
        let list = list.as_array().unwrap();
        list[self.roll(list.len())].as_str().unwrap()
    }
}

/// One client: any failure is an answer, a broken connection is not.
async fn client(lab: &Lab, seed: u64, steps: usize) {
    let mut dice = Dice(seed);
    let hosts = lab.ok("host.get_all", json!([])).await;
    let srs = lab.ok("SR.get_all", json!([])).await;
    for step in 0..steps {
        let vms = lab.ok("VM.get_all", json!([])).await;
        let (vm, host) = (dice.pick(&vms), dice.pick(&hosts));
        let (method, params) = match dice.roll(16) {
            0 | 1 => ("VM.clone", json!([vm, format!("c{seed}-{step}")])),
            2 | 3 => ("VM.provision", json!([vm])),
            4 | 5 => ("VM.start", json!([vm, false, false])),
            6 => ("VM.start_on", json!([vm, host, false, false])),
            7 => ("VM.hard_shutdown", json!([vm])),
            8 => ("VM.hard_reboot", json!([vm])),
            9 => ("VM.suspend", json!([vm])),
            10 => ("VM.resume", json!([vm, false, false])),
            11 => ("VM.pool_migrate", json!([vm, host, {}])),
            12 => ("VM.snapshot", json!([vm, "s"])),
            13 => ("VM.destroy", json!([vm])),
            14 => ("VM.copy", json!([vm, "k", dice.pick(&srs)])),
            _ => {
                let vdis = lab.ok("VDI.get_all", json!([])).await;
                if vdis.as_array().unwrap().is_empty() {
                    continue;
                }
                ("VDI.destroy", json!([dice.pick(&vdis)]))
            }
        };
        let _ = lab.call(method, params).await;
    }
}

fn rows<'a>(state: &'a Json, class: &str) -> impl Iterator<Item = (&'a String, &'a Json)> {
    state[class].as_object().unwrap().iter()
}

fn set(value: &Json) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// Both ends of a relation say the same.
fn check_relation(state: &Json, (class, field): (&str, &str), (other, back): (&str, &str)) {
    for (reference, row) in rows(state, class) {
        let end = row[field].as_str().unwrap();
        if let Some(there) = state[other].get(end) {
            assert!(set(&there[back]).contains(&**reference), "{class}.{field} of {reference}");
        }
    }
    for (reference, row) in rows(state, other) {
        for member in set(&row[back]) {
            assert_eq!(state[class][member][field], json!(reference), "{other}.{back} of {reference}");
        }
    }
}

async fn check(lab: &Lab) {
    let state = lab.admin_get("/state").await;
    check_relation(&state, ("VBD", "VM"), ("VM", "VBDs"));
    check_relation(&state, ("VBD", "VDI"), ("VDI", "VBDs"));
    check_relation(&state, ("VDI", "SR"), ("SR", "VDIs"));
    check_relation(&state, ("VIF", "VM"), ("VM", "VIFs"));
    check_relation(&state, ("VM", "resident_on"), ("host", "resident_VMs"));
    check_relation(&state, ("console", "VM"), ("VM", "consoles"));
    let mut running = BTreeSet::new();
    for (reference, vm) in rows(&state, "VM") {
        assert_eq!(vm["current_operations"], json!({}), "{reference}");
        assert_eq!(vm["scheduled_to_be_resident_on"], "OpaqueRef:NULL");
        let runs = vm["power_state"] == "Running";
        assert_eq!(vm["resident_on"] != "OpaqueRef:NULL", runs, "{reference}");
        let (image, suspended) = (&vm["suspend_VDI"], vm["power_state"] == "Suspended");
        assert_eq!(image != "OpaqueRef:NULL", suspended, "{reference} is {}, image {image}", vm["power_state"]);
        if runs && vm["is_control_domain"] == false {
            running.insert(vm["uuid"].as_str().unwrap().to_owned());
        }
    }
    let domains = lab.admin_get("/domains").await;
    let really: Vec<String> =
        domains.as_array().unwrap().iter().map(|d| d["vm_uuid"].as_str().unwrap().into()).collect();
    assert_eq!(really.len(), running.len(), "a domain too many");
    assert_eq!(really.into_iter().collect::<BTreeSet<_>>(), running);
    for (reference, host) in rows(&state, "host") {
        let free = lab.ok("host.compute_free_memory", json!([reference])).await;
        assert!(free.as_i64().unwrap() >= 0, "{} is overcommitted: {free}", host["name_label"]);
    }
    for (reference, sr) in rows(&state, "SR") {
        let disks = rows(&state, "VDI").filter(|(_, vdi)| vdi["SR"] == json!(reference));
        let promised: i64 = disks.map(|(_, vdi)| vdi["virtual_size"].as_i64().unwrap()).sum();
        assert_eq!(sr["virtual_allocation"], promised, "{}", sr["name_label"]);
    }
    let history = lab.admin_get("/history").await;
    assert!(history.as_array().unwrap().iter().all(|e| e.get("running_twice").is_none()));
}

#[tokio::test]
async fn what_must_hold_holds_after_many_clients() {
    let knobs = Knobs { snapshot_ms: 2, suspend_ms: 5, resume_ms: 5, provision_ms: 2, copy_ms_per_gib: 0, ..quick() };
    let preset = Preset { host_memory: 6 << 30, ..Preset::default() };
    let lab = Lab::with(Config { knobs, preset, ..Config::default() }).await;
    for round in 0..3 {
        let one = |n: u64| client(&lab, round * 4 + n, 80);
        tokio::join!(one(1), one(2), one(3), one(4));
        check(&lab).await;
    }
    let calls = lab.admin_get("/calls").await;
    assert!(calls["VM.start"].as_u64().unwrap() > 10);
}
