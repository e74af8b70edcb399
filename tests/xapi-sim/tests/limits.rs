//! xapi's limits: waiting calls, storage migrations, sessions, tasks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value as Json, json};
use support::{Lab, fault, quick};
use xapi_sim::{Config, Knobs};

async fn lab(knobs: Knobs) -> Lab {
    Lab::with(Config { knobs, ..Config::default() }).await
}

async fn is_busy(lab: &Lab, vm: &str) -> bool {
    !lab.record("VM", vm).await["current_operations"].as_object().unwrap().is_empty()
}

#[tokio::test]
async fn only_so_many_calls_wait_for_others() {
    let lab = lab(Knobs { start_ms: 1_000, max_queued: 1, ..quick() }).await;
    let vm = lab.vm("debian-12", "x").await;
    let first = lab.text("Async.VM.start", json!([vm, false, false])).await;
    lab.until("the start begins", async || is_busy(&lab, &vm).await).await;
    let (a, b) = tokio::join!(lab.call("VM.destroy", json!([vm])), lab.call("VM.destroy", json!([vm])));
    let refused = fault("TOO_MANY_PENDING_TASKS", &[]);
    let waited = fault("VM_BAD_POWER_STATE", &[&vm, "halted, suspended", "running"]);
    let mut answers = [a.unwrap_err(), b.unwrap_err()];
    answers.sort_by_key(|f| f.code.clone());
    assert_eq!(answers, [refused, waited]);
    assert_eq!(lab.task(&first).await["status"], "success");
}

#[tokio::test]
async fn a_forced_stop_ends_what_was_going_on() {
    let lab = lab(Knobs { clean_shutdown_ms: 20_000, ..quick() }).await;
    let vm = lab.running_vm("x").await;
    let slow = lab.text("Async.VM.clean_shutdown", json!([vm])).await;
    lab.until("the guest goes down", async || is_busy(&lab, &vm).await).await;
    lab.ok("VM.hard_shutdown", json!([vm])).await;
    let record = lab.record("VM", &vm).await;
    assert_eq!((&record["power_state"], &record["current_operations"]), (&json!("Halted"), &json!({})));
    assert_eq!(lab.record("task", &slow).await["status"], "pending");
}

#[tokio::test]
async fn a_host_moves_the_storage_of_three_vms_at_a_time() {
    let lab = lab(Knobs { storage_migrate_ms_per_gib: 5_000, ..quick() }).await;
    let host = lab.text("host.get_by_uuid", json!([lab.running.hosts[0].uuid])).await;
    let sr = lab.by_name("SR", "Local storage 1").await;
    let network = lab.by_name("network", "Pool-wide network 0").await;
    let dest = lab.ok("host.migrate_receive", json!([host, network, {}])).await;
    let mut vms = Vec::new();
    for n in 0..4 {
        let vm = lab.vm("debian-12", &n.to_string()).await;
        lab.ok("VM.start_on", json!([vm, host, false, false])).await;
        vms.push(vm);
    }
    for (n, vm) in vms.iter().enumerate() {
        let vbd = lab.record("VM", vm).await["VBDs"][0].as_str().unwrap().to_owned();
        let vdi = lab.record("VBD", &vbd).await["VDI"].as_str().unwrap().to_owned();
        let move_it = json!([vm, dest, true, { &vdi: sr }, {}, {}]);
        if n < 3 {
            lab.ok("Async.VM.migrate_send", move_it).await;
            lab.until("it moves", async || is_busy(&lab, vm).await).await;
        } else {
            assert_eq!(lab.err("VM.migrate_send", move_it).await, fault("TOO_MANY_STORAGE_MIGRATES", &["3"]));
        }
    }
}

#[tokio::test]
async fn the_oldest_sessions_and_finished_tasks_go_first() {
    let lab = lab(Knobs { max_sessions_per_originator: 2, max_finished_tasks: 3, ..quick() }).await;
    let login = async |originator: &str| {
        let words = json!([lab.running.user, lab.running.password, "1.0", originator]);
        lab.raw(&lab.running.url, "session.login_with_password", words).await.unwrap().as_str().unwrap().to_owned()
    };
    let sessions = [login("many").await, login("many").await, login("many").await];
    let alive = async |session: &str| lab.raw(&lab.running.url, "pool.get_all", json!([session])).await.is_ok();
    assert!(!alive(&sessions[0]).await && alive(&sessions[1]).await && alive(&sessions[2]).await);
    assert!(alive(&lab.session).await, "another originator's session stays");
    let template = lab.by_name("VM", "debian-12").await;
    let mut tasks = Vec::new();
    for n in 0..5 {
        let task = lab.text("Async.VM.clone", json!([template, n.to_string()])).await;
        lab.until("it ends", async || {
            let record = lab.call("task.get_record", json!([task])).await;
            record.is_ok_and(|r| r["status"] != "pending")
        })
        .await;
        tasks.push(task);
    }
    let left = lab.ok("task.get_all", json!([])).await;
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|t| Json::as_str(t).unwrap()).collect();
    assert_eq!(left.len(), 3);
    assert!(tasks[2..].iter().all(|t| left.contains(&t.as_str())));
}

#[tokio::test]
async fn a_start_under_way_outlives_its_coordinator_and_never_runs_twice() {
    let mut lab = lab(Knobs { start_ms: 1_500, ..quick() }).await;
    let vm = lab.vm("debian-12", "x").await;
    lab.ok("Async.VM.start", json!([vm, false, false])).await;
    lab.until("the start begins", async || is_busy(&lab, &vm).await).await;
    lab.admin_post("/restart", Json::Null).await;
    lab.session = lab.log_in().await;
    assert_eq!(lab.record("VM", &vm).await["power_state"], "Halted");
    // A client that knows nothing of the first start asks again; one of the two wins.
    let again = lab.call("VM.start", json!([vm, false, false])).await;
    assert!(again.is_ok_and(|v| v == "") || lab.record("VM", &vm).await["power_state"] == "Running");
    lab.until("it runs", async || lab.record("VM", &vm).await["power_state"] == "Running").await;
    assert_eq!(lab.admin_get("/domains").await.as_array().unwrap().len(), 1);
    let history = lab.admin_get("/history").await;
    assert!(history.as_array().unwrap().iter().all(|e| e.get("running_twice").is_none()));
}
