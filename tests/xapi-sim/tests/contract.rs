//! What a driver relies on beyond the observed facts: life cycles, storage, roles, events, tasks, faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value as Json, json};
use support::{Lab, fault};
use xapi_sim::{Config, Knobs, Login, Preset};

const GIB: i64 = 1 << 30;

/// A new disk on a repository.
async fn disk(lab: &Lab, sr: &str, size: i64) -> String {
    let record = json!({ "name_label": "d", "SR": sr, "virtual_size": size, "type": "user", "sharable": false,
        "read_only": false, "other_config": {} });
    lab.text("VDI.create", json!([record])).await
}

async fn attach(lab: &Lab, vm: &str, vdi: &str, device: &str) -> String {
    let record = json!({ "VM": vm, "VDI": vdi, "userdevice": device, "bootable": false, "mode": "RW", "type": "Disk",
        "empty": false, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {} });
    lab.text("VBD.create", json!([record])).await
}

#[tokio::test]
async fn relations_are_kept_on_both_sides() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let sr = lab.by_name("SR", "Shared storage").await;
    let vdi = disk(&lab, &sr, GIB).await;
    let vbd = attach(&lab, &vm, &vdi, "1").await;
    assert!(lab.record("VM", &vm).await["VBDs"].as_array().unwrap().contains(&json!(vbd)));
    assert_eq!(lab.record("VDI", &vdi).await["VBDs"], json!([vbd]));
    assert!(lab.record("SR", &sr).await["VDIs"].as_array().unwrap().contains(&json!(vdi)));
    let again = lab.call("VBD.create", json!([lab.record("VBD", &vbd).await])).await;
    assert_eq!(again, Err(fault("DEVICE_ALREADY_EXISTS", &["1"])));
    lab.ok("VDI.destroy", json!([vdi])).await;
    assert_eq!(lab.err("VBD.get_record", json!([vbd])).await.code, "HANDLE_INVALID");
    assert!(!lab.record("VM", &vm).await["VBDs"].as_array().unwrap().contains(&json!(vbd)));
}

#[tokio::test]
async fn a_shared_disk_has_one_writer() {
    let lab = Lab::start().await;
    let sr = lab.by_name("SR", "Shared storage").await;
    let vdi = disk(&lab, &sr, GIB).await;
    let (first, second) = (lab.vm("debian-12", "a").await, lab.vm("debian-12", "b").await);
    attach(&lab, &first, &vdi, "1").await;
    attach(&lab, &second, &vdi, "1").await;
    lab.ok("VM.start", json!([first, false, false])).await;
    assert_eq!(lab.err("VM.start", json!([second, false, false])).await, fault("VDI_IN_USE", &[&vdi, "attach"]));
    assert_eq!(lab.err("VDI.destroy", json!([vdi])).await, fault("VDI_IN_USE", &[&vdi, "destroy"]));
    lab.ok("VM.hard_shutdown", json!([first])).await;
    lab.ok("VM.start", json!([second, false, false])).await;
}

#[tokio::test]
async fn suspend_resume_pause_reboot_and_migrate() {
    let lab = Lab::start().await;
    let vm = lab.running_vm("x").await;
    let state = async || lab.record("VM", &vm).await["power_state"].as_str().unwrap().to_owned();
    lab.ok("VM.pause", json!([vm])).await;
    assert_eq!(state().await, "Paused");
    lab.ok("VM.unpause", json!([vm])).await;
    lab.ok("VM.suspend", json!([vm])).await;
    let suspended = lab.record("VM", &vm).await;
    assert_eq!((&suspended["power_state"], &suspended["resident_on"]), (&json!("Suspended"), &json!("OpaqueRef:NULL")));
    assert_ne!(suspended["suspend_VDI"], "OpaqueRef:NULL");
    lab.ok("VM.resume", json!([vm, false, false])).await;
    let here = lab.record("VM", &vm).await["resident_on"].clone();
    let hosts = lab.ok("host.get_all", json!([])).await;
    let there = hosts.as_array().unwrap().iter().find(|h| **h != here).unwrap().clone();
    lab.ok("VM.pool_migrate", json!([vm, there, { "live": "true" }])).await;
    assert_eq!(lab.record("VM", &vm).await["resident_on"], there);
    lab.ok("VM.clean_reboot", json!([vm])).await;
    assert_eq!(state().await, "Running");
    lab.until("the tools report again", async || lab.call("VM.clean_shutdown", json!([vm])).await.is_ok()).await;
    let history = lab.admin_get("/history").await;
    let uuid = lab.record("VM", &vm).await["uuid"].clone();
    let events: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["uuid"] == uuid)
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    let expected = ["create", "start", "pause", "unpause", "suspend", "resume", "migrate", "reboot", "halt"];
    assert_eq!(events, expected);
    assert_eq!(lab.admin_get("/domains").await, json!([]));
}

#[tokio::test]
async fn memory_and_vcpus_follow_xapis_rules() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    lab.ok("VM.set_memory_limits", json!([vm, GIB, 2 * GIB, 2 * GIB, 2 * GIB])).await;
    assert_eq!(lab.record("VM", &vm).await["memory_overhead"], 20 << 20);
    let wrong = lab.err("VM.set_memory_limits", json!([vm, GIB, 2 * GIB, 3 * GIB, 2 * GIB])).await;
    assert_eq!(wrong.code, "MEMORY_CONSTRAINT_VIOLATION");
    assert_eq!(lab.err("VM.set_VCPUs_at_startup", json!([vm, 9])).await.code, "VALUE_NOT_SUPPORTED");
    lab.ok("VM.set_VCPUs_max", json!([vm, 9])).await;
    lab.ok("VM.set_VCPUs_at_startup", json!([vm, 9])).await;
    lab.ok("VM.start", json!([vm, false, false])).await;
    let running = lab.err("VM.set_memory_limits", json!([vm, GIB, GIB, GIB, GIB])).await;
    assert_eq!(running, fault("VM_BAD_POWER_STATE", &[&vm, "halted", "running"]));
    lab.ok("VM.set_memory_dynamic_range", json!([vm, GIB, GIB])).await;
}

#[tokio::test]
async fn a_local_disk_keeps_its_vm_on_its_host_until_it_is_moved() {
    let lab = Lab::start().await;
    let local = lab.by_name("SR", "Local storage 2").await;
    let shared = lab.by_name("SR", "Shared storage").await;
    let template = lab.by_name("VM", "debian-12").await;
    let vm = lab.text("VM.copy", json!([template, "x", local])).await;
    lab.ok("VM.provision", json!([vm])).await;
    let home = lab.text("host.get_by_uuid", json!([lab.running.hosts[1].uuid])).await;
    let away = lab.text("host.get_by_uuid", json!([lab.running.hosts[0].uuid])).await;
    assert_eq!(lab.ok("VM.get_possible_hosts", json!([vm])).await, json!([home]));
    let refused = lab.err("VM.assert_can_boot_here", json!([vm, away])).await;
    assert_eq!(refused, fault("VM_REQUIRES_SR", &[&vm, &local]));
    lab.ok("VM.start", json!([vm, false, false])).await;
    assert_eq!(lab.err("VM.pool_migrate", json!([vm, away, {}])).await.code, "VM_REQUIRES_SR");
    let vbd = lab.record("VM", &vm).await["VBDs"][0].as_str().unwrap().to_owned();
    let vdi = lab.record("VBD", &vbd).await["VDI"].as_str().unwrap().to_owned();
    lab.ok("VDI.add_tags", json!([vdi, "mine"])).await;
    let before = lab.record("VDI", &vdi).await["uuid"].clone();
    let network = lab.by_name("network", "Pool-wide network 0").await;
    let dest = lab.ok("host.migrate_receive", json!([away, network, {}])).await;
    lab.ok("VM.migrate_send", json!([vm, dest, true, { &vdi: shared }, {}, {}])).await;
    assert_eq!(lab.record("VM", &vm).await["resident_on"], json!(away));
    let moved = lab.record("VBD", &vbd).await["VDI"].as_str().unwrap().to_owned();
    let moved = lab.record("VDI", &moved).await;
    assert_ne!(moved["uuid"], before);
    assert_eq!((&moved["SR"], &moved["tags"]), (&json!(shared), &json!([])));
}

#[tokio::test]
async fn storage_runs_full() {
    let preset = Preset { shared_sr_type: "lvmoiscsi".to_owned(), shared_sr_size: 40 * GIB, ..Preset::default() };
    let lab = Lab::of(preset).await;
    let sr = lab.by_name("SR", "Shared storage").await;
    let full = lab
        .call(
            "VDI.create",
            json!([{ "SR": sr, "virtual_size": 11 * GIB, "type": "user", "sharable": false,
        "read_only": false, "other_config": {} }]),
        )
        .await
        .unwrap_err();
    assert_eq!(full, fault("SR_BACKEND_FAILURE_44", &["", "There is insufficient space", ""]));
    let used = lab.record("SR", &sr).await["physical_utilisation"].as_i64().unwrap();
    let vdi = disk(&lab, &sr, 5 * GIB).await;
    assert_eq!(lab.record("SR", &sr).await["physical_utilisation"], used + 5 * GIB);
    assert_eq!(lab.err("VDI.resize", json!([vdi, GIB])).await.code, "SR_BACKEND_FAILURE_79");
    lab.ok("VDI.resize", json!([vdi, 6 * GIB])).await;
    lab.ok("VDI.destroy", json!([vdi])).await;
    assert_eq!(lab.record("SR", &sr).await["physical_utilisation"], used);
}

#[tokio::test]
async fn snapshots_revert_and_their_chain_ends() {
    let lab = Lab::with(Config { knobs: Knobs { max_chain: 2, ..support::quick() }, ..Config::default() }).await;
    let vm = lab.vm("debian-12", "x").await;
    let snapshot = lab.text("VM.snapshot", json!([vm, "s"])).await;
    let record = lab.record("VM", &snapshot).await;
    assert_eq!((&record["is_a_snapshot"], &record["snapshot_of"]), (&json!(true), &json!(vm)));
    assert_eq!(lab.record("VM", &vm).await["snapshots"], json!([snapshot]));
    assert_eq!(lab.err("VM.start", json!([snapshot, false, false])).await.code, "VM_IS_SNAPSHOT");
    lab.ok("VM.snapshot", json!([vm, "t"])).await;
    assert_eq!(lab.err("VM.snapshot", json!([vm, "u"])).await.code, "SR_BACKEND_FAILURE_109");
    lab.ok("VM.revert", json!([snapshot])).await;
    assert_eq!(lab.record("VM", &vm).await["VBDs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn maintenance_empties_a_host_and_a_reboot_takes_it_away_for_a_while() {
    let knobs = Knobs { host_shutdown_delay_ms: 20, host_reboot_ms: 50, ..support::quick() };
    let lab = Lab::with(Config { knobs, ..Config::default() }).await;
    // Not the coordinator, which would take the calls of this test with it.
    let host = lab.text("host.get_by_uuid", json!([lab.running.hosts[1].uuid])).await;
    let vm = lab.vm("debian-12", "x").await;
    lab.ok("VM.start_on", json!([vm, host, false, false])).await;
    assert_eq!(lab.err("host.reboot", json!([host])).await, fault("HOST_NOT_DISABLED", &[]));
    lab.ok("host.disable", json!([host])).await;
    assert_eq!(lab.err("host.reboot", json!([host])).await, fault("HOST_HAS_RESIDENT_VMS", &[&host]));
    lab.ok("host.evacuate", json!([host])).await;
    assert_ne!(lab.record("VM", &vm).await["resident_on"], json!(host));
    let other = lab.vm("debian-12", "y").await;
    let refused = lab.err("VM.start_on", json!([other, host, false, false])).await;
    assert_eq!(refused, fault("HOST_DISABLED", &[&host]));
    let began = lab.record("host", &host).await["other_config"]["agent_start_time"].clone();
    lab.ok("host.reboot", json!([host])).await;
    lab.until("the host is back", async || {
        let record = lab.record("host", &host).await;
        record["enabled"] == true && record["other_config"]["agent_start_time"] != began
    })
    .await;
}

#[tokio::test]
async fn roles_bound_what_a_user_may_do() {
    let login = |name: &str, role: &str| Login { name: name.into(), password: "p".into(), role: role.into() };
    let logins = vec![login("root", "pool-admin"), login("op", "vm-operator"), login("ro", "read-only")];
    let mut lab = Lab::with(Config { logins, knobs: support::quick(), ..Config::default() }).await;
    let vm = lab.vm("debian-12", "x").await;
    let as_user = async |lab: &Lab, name: &str| {
        let login = json!([name, "p", "1.0", "t"]);
        lab.raw(&lab.running.url, "session.login_with_password", login).await.unwrap().as_str().unwrap().to_owned()
    };
    lab.session = as_user(&lab, "ro").await;
    assert_eq!(lab.record("VM", &vm).await["name_label"], "x");
    assert_eq!(lab.err("VM.start", json!([vm, false, false])).await.code, "RBAC_PERMISSION_DENIED");
    lab.session = as_user(&lab, "op").await;
    lab.ok("VM.start", json!([vm, false, false])).await;
    let refused = lab.err("VM.destroy", json!([vm])).await;
    assert_eq!((refused.code.as_str(), refused.params[0].as_str()), ("RBAC_PERMISSION_DENIED", "VM.destroy"));
}

#[tokio::test]
async fn a_logout_wakes_those_who_wait_for_events() {
    let lab = Lab::start().await;
    let other = lab.log_in().await;
    let (_, token) = lab.events(json!(["vm"]), "", 1.0).await;
    let wait = lab.raw(&lab.running.url, "event.from", json!([other, ["vm"], token, 30.0]));
    let leave = async {
        tokio::task::yield_now().await;
        lab.raw(&lab.running.url, "session.logout", json!([other])).await.unwrap();
    };
    let began = Instant::now();
    let (woken, ()) = tokio::join!(wait, leave);
    assert_eq!(woken, Err(fault("SESSION_INVALID", &[&other])));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn changes_are_folded_and_births_with_deaths_unseen() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let (_, token) = lab.events(json!(["vm", "vm_group"]), "", 1.0).await;
    for n in 0..5 {
        lab.ok("VM.set_name_description", json!([vm, n.to_string()])).await;
    }
    let group = lab.text("VM_group.create", json!([{ "name_label": "g" }])).await;
    lab.ok("VM_group.destroy", json!([group])).await;
    let (events, token) = lab.events(json!(["vm", "vm_group"]), &token, 1.0).await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["operation"], &events[0]["snapshot"]["name_description"]), (&json!("mod"), &json!("4")));
    let injected = lab.text("event.inject", json!(["VM", vm])).await;
    let (events, next) = lab.events(json!([format!("vm/{vm}")]), &token, 1.0).await;
    assert_eq!(events[0]["ref"], json!(vm));
    assert!(next > injected);
    lab.ok("VM.destroy", json!([vm])).await;
    let (events, _) = lab.events(json!(["vm"]), &next, 1.0).await;
    assert_eq!(events[0]["operation"], "del");
    assert!(events[0].get("snapshot").is_none());
}

#[tokio::test]
async fn old_deletions_are_forgotten_and_only_the_counts_tell() {
    let lab = Lab::start().await;
    let (_, token) = lab.events(json!(["vm_group"]), "", 1.0).await;
    let mut groups = Vec::new();
    for n in 0..600 {
        groups.push(lab.text("VM_group.create", json!([{ "name_label": n.to_string() }])).await);
    }
    let (added, token) = lab.events(json!(["vm_group"]), &token, 1.0).await;
    assert_eq!(added.len(), 600);
    for group in &groups {
        lab.ok("VM_group.destroy", json!([group])).await;
    }
    let batch = lab.ok("event.from", json!([["vm_group"], token, 1.0])).await;
    let deleted = batch["events"].as_array().unwrap().len();
    assert!((256..512).contains(&deleted), "{deleted}");
    assert_eq!(batch["valid_ref_counts"]["vm_group"], 0);
}

#[tokio::test]
async fn a_clone_can_be_cancelled() {
    let lab = Lab::with(Config { knobs: Knobs { clone_ms: 20_000, ..support::quick() }, ..Config::default() }).await;
    let template = lab.by_name("VM", "debian-12").await;
    let task = lab.text("Async.VM.clone", json!([template, "never"])).await;
    lab.until("it can be cancelled", async || {
        lab.record("task", &task).await["allowed_operations"] == json!(["cancel"])
    })
    .await;
    lab.ok("task.cancel", json!([task])).await;
    let done = lab.task(&task).await;
    assert_eq!((&done["status"], &done["error_info"]), (&json!("cancelled"), &json!(["TASK_CANCELLED", task])));
    assert_eq!(lab.ok("VM.get_by_name_label", json!(["never"])).await, json!([]));
    assert_eq!(lab.record("VM", &template).await["current_operations"], json!({}));
    lab.ok("task.destroy", json!([task])).await;
    assert_eq!(lab.err("task.get_record", json!([task])).await.code, "HANDLE_INVALID");
}

#[tokio::test]
async fn failures_of_tasks_are_in_their_error_info() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let task = lab.text("Async.VM.hard_shutdown", json!([vm])).await;
    let done = lab.task(&task).await;
    assert_eq!(done["status"], "failure");
    assert_eq!(done["error_info"][0], "VM_BAD_POWER_STATE");
    assert_eq!(done["result"], "");
    assert!(lab.err("Async.VM.get_all", json!([])).await.params[0].starts_with("No async mode"));
}

#[tokio::test]
async fn faults_strike_as_ordered() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let fail = json!({ "method": "VM.start", "kind": "error", "code": "HOST_BROKEN", "params": ["h"], "count": 1 });
    lab.admin_post("/faults", fail).await;
    assert_eq!(lab.err("VM.start", json!([vm, false, false])).await, fault("HOST_BROKEN", &["h"]));
    let reset = |kind: &str| json!({ "method": "VM.*", "kind": kind, "count": 1 });
    lab.admin_post("/faults", reset("reset_before")).await;
    assert!(lab.attempt_call("VM.start", json!([vm, false, false])).await.is_err());
    assert_eq!(lab.record("VM", &vm).await["power_state"], "Halted");
    lab.admin_post("/faults", reset("reset_after")).await;
    assert!(lab.attempt_call("VM.start", json!([vm, false, false])).await.is_err());
    assert_eq!(lab.record("VM", &vm).await["power_state"], "Running");
    lab.admin_post("/faults", json!({ "method": "VM.get_record", "kind": "session_invalid", "count": 1 })).await;
    assert_eq!(lab.err("VM.get_record", json!([vm])).await.code, "SESSION_INVALID");
    lab.admin_post("/faults", json!({ "method": "VM.hard_shutdown", "kind": "lose_task", "count": 1 })).await;
    let lost = lab.text("Async.VM.hard_shutdown", json!([vm])).await;
    assert_eq!(lab.err("task.get_record", json!([lost])).await.code, "HANDLE_INVALID");
    lab.until("it took effect", async || lab.record("VM", &vm).await["power_state"] == "Halted").await;
    lab.admin_post("/faults", json!({ "method": "*", "kind": "latency", "ms": 300, "count": 1 })).await;
    let began = Instant::now();
    lab.ok("VM.get_all", json!([])).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    let (_, token) = lab.events(json!(["vm"]), "", 1.0).await;
    lab.admin_post("/faults", json!({ "method": "event.from", "kind": "drop_deletion", "class": "VM", "count": 1 }))
        .await;
    lab.ok("VM.destroy", json!([vm])).await;
    assert!(lab.events(json!(["vm"]), &token, 0.2).await.0.is_empty());
    lab.admin_post("/faults", json!({ "method": "role.get_all", "kind": "slow_bytes", "bytes_per_second": 400_000 }))
        .await;
    assert!(lab.ok("role.get_all", json!([])).await.as_array().unwrap().len() > 2000);
    let listed = lab.admin_get("/faults").await;
    assert!(listed.as_array().unwrap().iter().all(|f| f["struck"] == 1), "{listed}");
    lab.admin(Method::DELETE, "/faults", Json::Null).await;
    assert_eq!(lab.admin_get("/faults").await, json!([]));
}

#[tokio::test]
async fn another_host_becomes_coordinator() {
    let mut lab = Lab::start().await;
    let second = lab.running.hosts[1].clone();
    let host = lab.text("host.get_by_uuid", json!([second.uuid])).await;
    lab.ok("pool.designate_new_master", json!([host])).await;
    lab.until("the old one is a member", async || {
        let answer = lab.attempt(&lab.running.hosts[0].url, "VM.get_all", json!(["x"])).await;
        matches!(answer, Ok(Err(f)) if f == fault("HOST_IS_SLAVE", &[&second.address]))
    })
    .await;
    lab.running.url.clone_from(&second.url);
    lab.session = lab.log_in().await;
    lab.vm("debian-12", "x").await;
    lab.admin_post(&format!("/hosts/{}/kill", second.uuid), json!({})).await;
    assert!(lab.attempt_call("VM.get_all", json!([])).await.is_err());
    let third = lab.running.hosts[2].clone();
    lab.admin_post("/coordinator", json!({ "host": third.uuid, "lose_seconds": 300.0 })).await;
    lab.running.url.clone_from(&third.url);
    lab.session = lab.log_in().await;
    assert_eq!(lab.ok("VM.get_by_name_label", json!(["x"])).await, json!([]), "the copy was old");
}

#[tokio::test]
async fn a_domain_that_runs_on_behind_a_cut_network_is_noticed() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let cut = lab.text("host.get_by_uuid", json!([lab.running.hosts[2].uuid])).await;
    lab.ok("VM.start_on", json!([vm, cut, false, false])).await;
    lab.admin_post(&format!("/hosts/{}/isolate", lab.running.hosts[2].name), json!({ "notice_ms": 0 })).await;
    lab.ok("VM.power_state_reset", json!([vm])).await;
    lab.ok("VM.start", json!([vm, false, false])).await;
    let history = lab.admin_get("/history").await;
    let twice: Vec<&Json> = history.as_array().unwrap().iter().filter(|e| e["running_twice"] == true).collect();
    assert_eq!(twice.len(), 1);
    assert_eq!(lab.admin_get("/domains").await.as_array().unwrap().len(), 2);
}
