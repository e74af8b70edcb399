//! The facts that a real xapi 26.17 showed, one test each, in the order in which they were noted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::{Lab, fault};
use xapi_sim::{Config, Knobs, Preset};

const GIB: i64 = 1 << 30;

#[tokio::test]
async fn fact_01_json_rpc_2_errors_have_code_1_and_the_xapi_code_as_message() {
    let lab = Lab::start().await;
    let member = &lab.running.hosts[1].url;
    let answer = lab.raw(member, "VM.get_all", json!([lab.session])).await;
    assert_eq!(answer, Err(fault("HOST_IS_SLAVE", &["127.0.0.1"])));
    let one = json!({ "method": "VM.get_all", "params": ["nobody"], "id": "a" }).to_string();
    let answer = lab.post(&lab.running.url, "/jsonrpc", one.clone()).await.unwrap().text().await.unwrap();
    let answer: Json = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer, json!({ "result": null, "error": ["SESSION_INVALID", "nobody"], "id": "a" }));
    let elsewhere = lab.post(&lab.running.url, "/json", one).await.unwrap();
    assert_eq!(elsewhere.status(), 500);
    assert_eq!(elsewhere.headers()["content-type"], "text/html");
}

#[tokio::test]
async fn fact_02_async_results_are_xml_even_over_json_and_event_classes_lower_case() {
    let lab = Lab::start().await;
    let template = lab.by_name("VM", "debian-12").await;
    let task = lab.text("Async.VM.clone", json!([template, "x"])).await;
    let done = lab.task(&task).await;
    assert_eq!(done["status"], "success");
    let vm = lab.by_name("VM", "x").await;
    assert_eq!(done["result"], format!("<value>{vm}</value>"));
    let task = lab.text("Async.VM.provision", json!([vm])).await;
    assert_eq!(lab.task(&task).await["result"], "<value></value>");
    let (events, _) = lab.events(json!(["VM_guest_metrics", "VM", "task"]), "", 1.0).await;
    assert!(events.iter().all(|e| ["vm", "task", "vm_guest_metrics"].contains(&e["class"].as_str().unwrap())));
    assert!(events.iter().any(|e| e["class"] == "vm" && e["ref"] == json!(vm)));
}

#[tokio::test]
async fn fact_03_a_clone_of_a_template_is_a_template_until_it_is_provisioned() {
    let lab = Lab::start().await;
    let template = lab.by_name("VM", "Other install media").await;
    let vm = lab.text("VM.clone", json!([template, "x"])).await;
    assert_eq!(lab.err("VM.start", json!([vm, false, false])).await, fault("VM_IS_TEMPLATE", &[&vm, "start"]));
    lab.ok("VM.provision", json!([vm])).await;
    lab.ok("VM.start", json!([vm, false, false])).await;
    let disks = lab.record("VM", &vm).await["VBDs"].as_array().unwrap().len();
    assert_eq!(disks, 1);
}

#[tokio::test]
async fn fact_04_bad_power_state_lists_the_expected_states_in_lower_case() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let refused = lab.err("VM.hard_shutdown", json!([vm])).await;
    assert_eq!(refused, fault("VM_BAD_POWER_STATE", &[&vm, "paused, suspended, running", "halted"]));
    lab.ok("VM.start", json!([vm, false, false])).await;
    let refused = lab.err("VM.start", json!([vm, false, false])).await;
    assert_eq!(refused, fault("VM_BAD_POWER_STATE", &[&vm, "halted", "running"]));
}

#[tokio::test]
async fn fact_05_no_room_has_a_reason_only_for_a_named_host() {
    let lab = Lab::of(Preset { hosts: 1, host_memory: 3 * GIB, ..Preset::default() }).await;
    let vm = lab.vm("Other install media", "x").await;
    let host = lab.text("pool.get_master", json!([lab.ok("pool.get_all", json!([])).await[0]])).await;
    let free = lab.ok("host.compute_free_memory", json!([host])).await.as_i64().unwrap();
    assert_eq!(free, 3 * GIB - 2 * GIB - (20 << 20));
    assert_eq!(lab.err("VM.start", json!([vm, false, false])).await, fault("NO_HOSTS_AVAILABLE", &[]));
    let full = fault("HOST_NOT_ENOUGH_FREE_MEMORY", &["1095761920", &free.to_string()]);
    assert_eq!(lab.err("VM.start_on", json!([vm, host, false, false])).await, full);
    assert_eq!(lab.err("VM.assert_can_boot_here", json!([vm, host])).await, full);
    assert_eq!(lab.ok("VM.get_possible_hosts", json!([vm])).await, json!([]));
}

#[tokio::test]
async fn fact_06_a_second_start_waits_for_the_first_and_a_start_cannot_be_cancelled() {
    let lab = Lab::with(Config { knobs: Knobs { start_ms: 400, ..support::quick() }, ..Config::default() }).await;
    let vm = lab.vm("debian-12", "x").await;
    let began = Instant::now();
    let task = lab.text("Async.VM.start", json!([vm, false, false])).await;
    lab.until("the start begins", async || {
        !lab.record("VM", &vm).await["current_operations"].as_object().unwrap().is_empty()
    })
    .await;
    lab.ok("task.cancel", json!([task])).await;
    let second = lab.err("VM.start", json!([vm, false, false])).await;
    assert!(began.elapsed() >= Duration::from_millis(400), "it did not wait");
    assert_eq!(second, fault("VM_BAD_POWER_STATE", &[&vm, "halted", "running"]));
    assert_eq!(lab.task(&task).await["status"], "success");
}

#[tokio::test]
async fn fact_07_the_tools_report_by_a_mod_event_and_a_clean_shutdown_needs_them() {
    let lab = Lab::with(Config { knobs: Knobs { tools_ms: 400, ..support::quick() }, ..Config::default() }).await;
    let vm = lab.vm("debian-12", "x").await;
    lab.ok("VM.start", json!([vm, false, false])).await;
    assert_eq!(lab.err("VM.clean_shutdown", json!([vm])).await, fault("VM_LACKS_FEATURE", &[&vm]));
    let metrics = lab.record("VM", &vm).await["guest_metrics"].as_str().unwrap().to_owned();
    let (events, token) = lab.events(json!(["VM_guest_metrics"]), "", 1.0).await;
    assert_eq!(events[0]["snapshot"]["networks"], json!({}));
    let (events, _) = lab.events(json!(["VM_guest_metrics"]), &token, 10.0).await;
    assert_eq!((&events[0]["operation"], &events[0]["ref"]), (&json!("mod"), &json!(metrics)));
    let networks = &events[0]["snapshot"]["networks"];
    assert_eq!(networks["0/ip"], networks["0/ipv4/0"]);
    assert!(networks["0/ip"].as_str().unwrap().starts_with("10."));
    lab.ok("VM.clean_shutdown", json!([vm])).await;
}

#[tokio::test]
async fn fact_08_event_from_is_idle_for_exactly_its_timeout_with_the_same_token() {
    let lab = Lab::start().await;
    let (_, token) = lab.events(json!(["*"]), "", 1.0).await;
    let began = Instant::now();
    let (events, next) = lab.events(json!(["*"]), &token, 0.3).await;
    assert!((Duration::from_millis(300)..Duration::from_secs(4)).contains(&began.elapsed()));
    assert_eq!((events.len(), &next), (0, &token));
    let bad = lab.err("event.from", json!([["*"], "yesterday", 0.1])).await;
    assert_eq!(bad.code, "EVENT_FROM_TOKEN_PARSE_FAILURE");
    assert!(lab.events(json!(["no_such_class"]), &token, 0.1).await.0.is_empty());
    let batch = lab.ok("event.from", json!([["vm"], "", 1.0])).await;
    assert_eq!(batch["valid_ref_counts"]["host"], 3);
    assert!(batch["valid_ref_counts"].as_object().unwrap().len() > 60);
}

#[tokio::test]
async fn fact_09_a_crash_loses_the_newest_objects_and_a_graceful_restart_none() {
    let mut lab = Lab::start().await;
    let kept = lab.vm("debian-12", "kept").await;
    let (_, token) = lab.events(json!(["vm"]), "", 1.0).await;
    lab.admin_post("/restart", Json::Null).await;
    assert_eq!(lab.err("VM.get_all", json!([])).await, fault("SESSION_INVALID", &[&lab.session]));
    lab.session = lab.log_in().await;
    lab.vm("debian-12", "lost").await;
    let (events, _) = lab.events(json!(["vm"]), &token, 1.0).await;
    assert!(events.iter().any(|e| e["operation"] == "add"), "the old token still works");
    let host = lab.text("host.get_by_uuid", json!([lab.running.hosts[0].uuid])).await;
    let agent_start = lab.record("host", &host).await["other_config"]["agent_start_time"].as_str().unwrap().to_owned();
    lab.admin_post("/crash", json!({ "lose_seconds": 300.0 })).await;
    lab.session = lab.log_in().await;
    assert_eq!(lab.ok("VM.get_by_name_label", json!(["lost"])).await, json!([]));
    assert_eq!(lab.by_name("VM", "kept").await, kept);
    assert_eq!(lab.ok("task.get_all", json!([])).await, json!([]));
    let later = lab.record("host", &host).await["other_config"]["agent_start_time"].as_str().unwrap().to_owned();
    assert!(later > agent_start);
}

#[tokio::test]
async fn fact_10_the_vms_of_a_dead_host_stay_running_until_their_state_is_reset() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let (dead, alive) = (&lab.running.hosts[1], &lab.running.hosts[2]);
    let dead_ref = lab.text("host.get_by_uuid", json!([dead.uuid])).await;
    let alive_ref = lab.text("host.get_by_uuid", json!([alive.uuid])).await;
    lab.ok("VM.start_on", json!([vm, dead_ref, false, false])).await;
    lab.admin_post(&format!("/hosts/{}/kill", dead.uuid), json!({ "notice_ms": 0 })).await;
    let record = lab.record("VM", &vm).await;
    assert_eq!((&record["power_state"], &record["resident_on"]), (&json!("Running"), &json!(dead_ref)));
    let host = lab.record("host", &dead_ref).await;
    assert_eq!(host["enabled"], true);
    assert_eq!(lab.record("host_metrics", host["metrics"].as_str().unwrap()).await["live"], false);
    assert_eq!(lab.err("VM.hard_shutdown", json!([vm])).await, fault("HOST_OFFLINE", &[&dead_ref]));
    let other = lab.vm("debian-12", "y").await;
    let refused = lab.err("VM.start_on", json!([other, dead_ref, false, false])).await;
    assert_eq!(refused, fault("HOST_NOT_LIVE", &[]));
    lab.ok("VM.power_state_reset", json!([vm])).await;
    lab.ok("VM.start_on", json!([vm, alive_ref, false, false])).await;
    let history = lab.admin_get("/history").await;
    assert!(history.as_array().unwrap().iter().all(|e| e.get("running_twice").is_none()));
}

#[tokio::test]
async fn fact_11_an_import_is_answered_before_it_is_done_and_holds_its_disk() {
    let knobs = Knobs { import_bytes_per_second: 2_000_000, ..support::quick() };
    let lab = Lab::with(Config { knobs, ..Config::default() }).await;
    let sr = lab.by_name("SR", "Shared storage").await;
    let disk = json!({ "name_label": "d", "SR": sr, "virtual_size": 1 << 20, "type": "user", "sharable": false,
        "read_only": false, "other_config": {} });
    let vdi = lab.text("VDI.create", json!([disk])).await;
    let task = lab.text("task.create", json!(["import", ""])).await;
    let url = &lab.running.url;
    let url = format!("{url}/import_raw_vdi/?vdi={vdi}&format=raw&session_id={}&task_id={task}", lab.session);
    let put = lab.http.put(url).body(vec![7_u8; 1 << 20]).send().await.unwrap();
    assert_eq!(put.status(), 200);
    assert_eq!(lab.record("task", &task).await["status"], "pending");
    assert_eq!(lab.err("VDI.destroy", json!([vdi])).await.code, "VDI_IN_USE");
    assert_eq!(lab.task(&task).await["status"], "success");
    lab.ok("VDI.destroy", json!([vdi])).await;
}

#[tokio::test]
async fn fact_12_sloppy_input_gives_internal_errors() {
    let lab = Lab::start().await;
    let missing = lab.err("VM.create", json!([{ "name_label": "x" }])).await;
    assert_eq!(missing, fault("INTERNAL_ERROR", &["Server_helpers.Dispatcher_FieldNotFound(\"user_version\")"]));
    let vm = lab.vm("debian-12", "x").await;
    let bad = lab.err("VM.set_VCPUs_max", json!([vm, "two"])).await;
    assert_eq!(bad, fault("INTERNAL_ERROR", &["Failure(\"Int64.of_string\")"]));
    let few = lab.err("VM.start", json!([vm])).await;
    assert_eq!(few, fault("MESSAGE_PARAMETER_COUNT_MISMATCH", &["VM.start", "3", "1"]));
    lab.ok("VM_group.create", json!([{ "name_label": "g", "placement": "anti_affinity" }])).await;
}

#[tokio::test]
async fn fact_13_blocked_operations_are_refused_with_their_reason() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    lab.ok("VM.add_to_blocked_operations", json!([vm, "start", "LEGAL_HOLD"])).await;
    let refused = lab.err("VM.start", json!([vm, false, false])).await;
    assert_eq!(refused, fault("OPERATION_BLOCKED", &[&vm, "LEGAL_HOLD"]));
    lab.ok("VM.add_to_other_config", json!([vm, "k", "1"])).await;
    let twice = lab.err("VM.add_to_other_config", json!([vm, "k", "2"])).await;
    assert_eq!(twice, fault("MAP_DUPLICATE_KEY", &["VM", "other_config", &vm, "k"]));
    lab.ok("VM.remove_from_other_config", json!([vm, "absent"])).await;
}

#[tokio::test]
async fn fact_14_wrong_passwords_sessions_references_and_uuids() {
    let lab = Lab::start().await;
    let began = Instant::now();
    let refused = lab.raw(&lab.running.url, "session.login_with_password", json!(["root", "wrong"])).await;
    assert_eq!(refused, Err(fault("SESSION_AUTHENTICATION_FAILED", &["root", "Authentication failure"])));
    assert!(began.elapsed() >= Duration::from_millis(50));
    let stale = lab.raw(&lab.running.url, "VM.get_all", json!(["OpaqueRef:old"])).await;
    assert_eq!(stale, Err(fault("SESSION_INVALID", &["OpaqueRef:old"])));
    assert_eq!(lab.err("VM.get_record", json!(["no"])).await, fault("HANDLE_INVALID", &["VM", "no"]));
    assert_eq!(lab.err("VM.get_by_uuid", json!(["no"])).await, fault("UUID_INVALID", &["VM", "no"]));
}

#[tokio::test]
async fn fact_16_free_memory_is_not_in_the_metrics() {
    let lab = Lab::start().await;
    let metrics = lab.ok("host_metrics.get_all_records", json!([])).await;
    assert!(metrics.as_object().unwrap().values().all(|m| m["memory_free"] == 0));
    let hosts = lab.ok("host.get_all", json!([])).await;
    assert!(lab.ok("host.compute_free_memory", json!([hosts[0]])).await.as_i64().unwrap() > GIB);
}

#[tokio::test]
async fn fact_17_integers_are_numbers_and_digits_are_taken_too() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    lab.ok("VM.set_VCPUs_max", json!([vm, "4"])).await;
    lab.ok("VM.set_VCPUs_at_startup", json!([vm, 2])).await;
    let record = lab.record("VM", &vm).await;
    assert_eq!((&record["VCPUs_max"], &record["VCPUs_at_startup"]), (&json!(4), &json!(2)));
    let task = lab.text("Async.VM.provision", json!([lab.by_name("VM", "Other install media").await])).await;
    assert!(lab.task(&task).await["progress"].is_f64());
    for timeout in [json!(0), json!(0.1), json!(1)] {
        lab.ok("event.from", json!([["nothing"], "00000000000000000001,00000000000000000000", timeout])).await;
    }
}

#[tokio::test]
async fn fact_18_a_head_over_1024_bytes_is_refused() {
    let lab = Lab::start().await;
    let request = lab.http.post(format!("{}/jsonrpc", lab.running.url)).header("x-trace", "t".repeat(1000));
    let answer = request.body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 431);
    assert!(answer.text().await.unwrap().is_empty());
}

#[tokio::test]
async fn fact_19_a_clone_keeps_other_config_and_names_are_not_unique() {
    let lab = Lab::start().await;
    let template = lab.by_name("VM", "debian-12").await;
    lab.ok("VM.add_to_other_config", json!([template, "mark", "mine"])).await;
    let first = lab.text("VM.clone", json!([template, "twin"])).await;
    lab.ok("VM.clone", json!([template, "twin"])).await;
    let (source, copy) = (lab.record("VM", &template).await, lab.record("VM", &first).await);
    let config = &copy["other_config"];
    assert_eq!((&config["mark"], &config["base_template_name"]), (&json!("mine"), &json!("debian-12")));
    assert_ne!(config["mac_seed"], source["other_config"]["mac_seed"]);
    assert_eq!(copy["is_a_template"], true);
    assert_eq!(lab.ok("VM.get_by_name_label", json!(["twin"])).await.as_array().unwrap().len(), 2);
    let mut record = source;
    record["other_config"] = json!({ "mark": "atomic" });
    let made = lab.text("VM.create", json!([record])).await;
    assert_eq!(lab.record("VM", &made).await["other_config"]["mark"], "atomic");
}

#[tokio::test]
async fn fact_20_destroying_a_running_vm_and_destroying_twice() {
    let lab = Lab::start().await;
    let vm = lab.running_vm("x").await;
    let refused = lab.err("VM.destroy", json!([vm])).await;
    assert_eq!(refused, fault("VM_BAD_POWER_STATE", &[&vm, "halted, suspended", "running"]));
    let disks = lab.ok("VDI.get_all", json!([])).await.as_array().unwrap().len();
    lab.ok("VM.hard_shutdown", json!([vm])).await;
    lab.ok("VM.destroy", json!([vm])).await;
    assert_eq!(lab.err("VM.destroy", json!([vm])).await, fault("HANDLE_INVALID", &["VM", &vm]));
    assert_eq!(lab.ok("VDI.get_all", json!([])).await.as_array().unwrap().len(), disks, "the disks stay");
}

#[tokio::test]
async fn fact_21_a_blocked_destroy_leaves_allowed_operations() {
    let lab = Lab::start().await;
    let vm = lab.vm("debian-12", "x").await;
    let allows = async || {
        let record = lab.record("VM", &vm).await;
        record["allowed_operations"].as_array().unwrap().contains(&json!("destroy"))
    };
    assert!(allows().await);
    lab.ok("VM.set_blocked_operations", json!([vm, { "destroy": "legal hold 7" }])).await;
    assert!(!allows().await);
    assert_eq!(lab.err("VM.destroy", json!([vm])).await, fault("OPERATION_BLOCKED", &[&vm, "legal hold 7"]));
}

#[tokio::test]
async fn fact_22_a_member_answers_every_call_with_the_coordinators_address() {
    let lab = Lab::start().await;
    let slave = Err(fault("HOST_IS_SLAVE", &["127.0.0.1"]));
    for host in &lab.running.hosts[1..] {
        let wrong = json!(["root", "wrong"]);
        assert_eq!(lab.raw(&host.url, "session.login_with_password", wrong).await, slave);
        assert_eq!(lab.raw(&host.url, "no.such_method", json!([])).await, slave);
        assert_eq!(lab.raw(&host.url, "pool.is_slave", json!([])).await, Ok(json!(true)));
    }
}

#[tokio::test]
async fn fact_23_events_come_within_a_fraction_of_a_second() {
    let lab = Lab::start().await;
    let (_, token) = lab.events(json!(["vm"]), "", 1.0).await;
    let template = lab.by_name("VM", "debian-12").await;
    let began = Instant::now();
    let (waited, cloned) =
        tokio::join!(lab.events(json!(["vm"]), &token, 30.0), lab.ok("VM.clone", json!([template, "x"])));
    assert!(waited.0.iter().any(|e| e["ref"] == cloned));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn fact_24_there_are_thousands_of_roles() {
    let lab = Lab::start().await;
    assert!(lab.ok("role.get_all", json!([])).await.as_array().unwrap().len() > 2_000);
}
