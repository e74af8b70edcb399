//! The handlers for disk data and statistics, and the refusals of the HTTP layer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value as Json, json};
use support::{Lab, fault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use xapi_sim::{Config, Knobs};

const MIB: usize = 1 << 20;

async fn disk(lab: &Lab, sr: &str) -> String {
    let sr = lab.by_name("SR", sr).await;
    let record = json!({ "SR": sr, "virtual_size": MIB, "type": "user", "sharable": false, "read_only": false,
        "other_config": {} });
    lab.text("VDI.create", json!([record])).await
}

fn address(base: &str, handler: &str, vdi: &str, lab: &Lab, task: &str) -> String {
    format!("{base}/{handler}?vdi={vdi}&format=raw&session_id={}&task_id={task}", lab.session)
}

#[tokio::test]
async fn a_disk_goes_in_and_comes_out() {
    let lab = Lab::start().await;
    let vdi = disk(&lab, "Shared storage").await;
    let mut data = vec![0_u8; MIB];
    data[100_000..100_010].copy_from_slice(b"innkeeper!");
    for (handler, is_import) in [("import_raw_vdi", true), ("export_raw_vdi", false)] {
        let task = lab.text("task.create", json!(["move", ""])).await;
        let url = address(&lab.running.url, handler, &vdi, &lab, &task);
        if is_import {
            lab.http.put(url).body(data.clone()).send().await.unwrap().bytes().await.unwrap();
        } else {
            assert_eq!(lab.http.get(url).send().await.unwrap().bytes().await.unwrap(), data);
        }
        assert_eq!(lab.task(&task).await["status"], "success");
    }
    let record = lab.record("VDI", &vdi).await;
    assert_eq!((&record["physical_utilisation"], &record["VBDs"]), (&json!(65_536), &json!([])));
    let clone = lab.text("VDI.clone", json!([vdi])).await;
    let url = address(&lab.running.url, "export_raw_vdi", &clone, &lab, "OpaqueRef:NULL");
    assert_eq!(lab.http.get(url).send().await.unwrap().bytes().await.unwrap(), data);
}

#[tokio::test]
async fn a_host_that_does_not_see_the_disk_sends_the_client_on() {
    let lab = Lab::start().await;
    let vdi = disk(&lab, "Local storage 2").await;
    let url = address(&lab.running.url, "import_raw_vdi", &vdi, &lab, "OpaqueRef:NULL");
    let answer = lab.http.put(url).body(Vec::new()).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&lab.running.hosts[1].url), "{location}");
    let task = lab.text("task.create", json!(["import", ""])).await;
    let url = location.replace("task_id=OpaqueRef:NULL", &format!("task_id={task}"));
    assert_eq!(lab.http.put(url).body(vec![1; MIB]).send().await.unwrap().status(), 200);
    assert_eq!(lab.task(&task).await["status"], "success");
}

#[tokio::test]
async fn bad_transfers_are_refused() {
    let lab = Lab::start().await;
    let vdi = disk(&lab, "Shared storage").await;
    let url = address(&lab.running.url, "import_raw_vdi", &vdi, &lab, "OpaqueRef:NULL");
    let stranger = url.replace(&lab.session, "OpaqueRef:nobody");
    assert_eq!(lab.http.put(stranger).body("x").send().await.unwrap().status(), 401);
    let chunked = lab.http.put(&url).header("transfer-encoding", "chunked").body("x").send().await.unwrap();
    assert_eq!(chunked.status(), 404);
    let task = lab.text("task.create", json!(["import", ""])).await;
    let url = address(&lab.running.url, "import_raw_vdi", &vdi, &lab, &task);
    lab.http.put(url).body(vec![1; MIB + 1]).send().await.unwrap();
    assert_eq!(lab.task(&task).await["error_info"][0], "VDI_IO_ERROR");
    let gone = address(&lab.running.url, "export_raw_vdi", "OpaqueRef:gone", &lab, "OpaqueRef:NULL");
    assert_eq!(lab.http.get(gone).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_a_failed_task_and_a_free_disk() {
    let lab = Lab::with(Config { http_port: Some(0), knobs: support::quick(), ..Config::default() }).await;
    let vdi = disk(&lab, "Shared storage").await;
    let task = lab.text("task.create", json!(["import", ""])).await;
    let target = address("", "import_raw_vdi", &vdi, &lab, &task);
    let server = lab.running.http_url.clone().unwrap();
    let mut stream = TcpStream::connect(server.trim_start_matches("http://")).await.unwrap();
    let head = format!("PUT {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 1_u64 << 50);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![5; MIB / 2]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(stream);
    assert_eq!(lab.task(&task).await["error_info"][0], "VDI_IO_ERROR");
    lab.ok("VDI.destroy", json!([vdi])).await;
}

#[tokio::test]
async fn changed_blocks_are_tracked() {
    let lab = Lab::start().await;
    let vdi = disk(&lab, "Shared storage").await;
    lab.ok("VDI.enable_cbt", json!([vdi])).await;
    let before = lab.text("VDI.snapshot", json!([vdi])).await;
    let task = lab.text("task.create", json!(["import", ""])).await;
    let url = address(&lab.running.url, "import_raw_vdi", &vdi, &lab, &task);
    let mut data = vec![0; MIB];
    data[65_536 * 9] = 1;
    lab.http.put(url).body(data).send().await.unwrap();
    lab.task(&task).await;
    let after = lab.text("VDI.snapshot", json!([vdi])).await;
    // Block 9 of 16: the second bit of the second byte.
    assert_eq!(lab.ok("VDI.list_changed_blocks", json!([before, after])).await, "AEA=");
    lab.ok("VDI.data_destroy", json!([before])).await;
    assert_eq!(lab.record("VDI", &before).await["type"], "cbt_metadata");
}

#[tokio::test]
async fn statistics_hold_nan_and_are_of_the_host_that_is_asked() {
    let lab = Lab::with(Config { knobs: Knobs { tools: false, ..support::quick() }, ..Config::default() }).await;
    let vm = lab.vm("debian-12", "x").await;
    let host = lab.text("host.get_by_uuid", json!([lab.running.hosts[1].uuid])).await;
    lab.ok("VM.start_on", json!([vm, host, false, false])).await;
    let uuid = lab.record("VM", &vm).await["uuid"].as_str().unwrap().to_owned();
    let ask = async |host: usize| {
        let url = &lab.running.hosts[host].url;
        let url = format!("{url}/rrd_updates?start=0&host=true&json=true&session_id={}", lab.session);
        lab.http.get(url).send().await.unwrap().text().await.unwrap()
    };
    let there = ask(1).await;
    assert!(there.contains(&format!("AVERAGE:vm:{uuid}:memory_internal_free")));
    assert!(there.contains("NaN"));
    assert!(!ask(0).await.contains(&uuid));
}

#[tokio::test]
async fn malformed_and_oversized_bodies_are_refused_without_json() {
    let lab = Lab::start().await;
    let url = &lab.running.url;
    let no_id = json!({ "jsonrpc": "2.0", "method": "VM.get_all", "params": [] }).to_string();
    let named = json!({ "jsonrpc": "2.0", "method": "VM.get_all", "params": {}, "id": 1 }).to_string();
    for body in ["not json", "[]", &no_id, &named] {
        let answer = lab.post(url, "/jsonrpc", body.to_owned()).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (500, &"text/html".parse().unwrap()));
    }
    for path in ["/", "/RPC2", "/xmlrpc"] {
        let body = "<methodCall><methodName>system.isAlive</methodName><params><param><value>hello</value></param></params></methodCall>";
        let answer = lab.post(url, path, body.to_owned()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/xml");
        assert!(answer.text().await.unwrap().contains("<name>Value</name><value>hello</value>"));
    }
    let large = "x".repeat(301 * 1024);
    assert_eq!(lab.post(url, "/jsonrpc", large).await.unwrap().status(), 413);
}

#[tokio::test]
async fn an_old_xapi_writes_integers_as_text() {
    let lab = Lab::with(Config { ints_as_strings: true, knobs: support::quick(), ..Config::default() }).await;
    let vm = lab.vm("debian-12", "x").await;
    assert_eq!(lab.record("VM", &vm).await["VCPUs_max"], "1");
}

#[tokio::test]
async fn a_disk_is_held_for_a_while_after_its_vm_has_stopped() {
    let lab = Lab::with(Config { knobs: Knobs { vdi_release_ms: 300, ..support::quick() }, ..Config::default() }).await;
    let vm = lab.running_vm("x").await;
    let vbd = lab.record("VM", &vm).await["VBDs"][0].as_str().unwrap().to_owned();
    let vdi = lab.record("VBD", &vbd).await["VDI"].as_str().unwrap().to_owned();
    lab.ok("VM.hard_shutdown", json!([vm])).await;
    assert_eq!(lab.err("VDI.destroy", json!([vdi])).await, fault("VDI_IN_USE", &[&vdi, "destroy"]));
    lab.until("it is free", async || lab.call("VDI.destroy", json!([vdi])).await.is_ok()).await;
}

#[tokio::test]
async fn a_host_in_emergency_mode_refuses_and_can_take_over() {
    let mut lab = Lab::start().await;
    let member = lab.running.hosts[1].clone();
    lab.admin_post(&format!("/hosts/{}/kill", lab.running.hosts[0].uuid), json!({})).await;
    lab.admin_post(&format!("/hosts/{}/emergency", member.uuid), Json::Null).await;
    let refused = lab.raw(&member.url, "session.login_with_password", json!(["root", "x"])).await;
    assert_eq!(refused, Err(fault("HOST_STILL_BOOTING", &[])));
    let login = json!([lab.running.user, lab.running.password]);
    let local = lab.raw(&member.url, "session.slave_local_login_with_password", login).await.unwrap();
    lab.raw(&member.url, "pool.emergency_transition_to_master", json!([local])).await.unwrap();
    lab.until("it is the coordinator", async || {
        lab.attempt(&member.url, "pool.is_slave", json!([])).await.is_ok_and(|a| a == Ok(json!(false)))
    })
    .await;
    lab.running.url.clone_from(&member.url);
    lab.session = lab.log_in().await;
    assert_eq!(lab.ok("VM.get_by_name_label", json!(["debian-12"])).await.as_array().unwrap().len(), 1);
}
