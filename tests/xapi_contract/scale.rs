//! A large pool. Only with `INNKEEPER_SCALE=1`, best with `--release`: the figures are of interest, not the pass.

use std::time::{Duration, Instant};

use futures::StreamExt;
use innkeeper::provider::{Change, Provider};
use serde_json::json;

use crate::{pool, rpc::Rpc};

/// Processor time, in seconds, that this thread (the test's whole runtime, driver included) has used.
fn thread_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10).as_secs_f64()
}

/// 64 hosts and 2,000 VMs: how long the first reading takes, and what following 10,000 changes a minute costs. Pitfall 20.
#[tokio::test]
async fn a_large_pool_is_followed() {
    if std::env::var_os("INNKEEPER_SCALE").is_none() {
        eprintln!("skipped: set INNKEEPER_SCALE=1");
        return;
    }
    let sizes = ["--hosts", "64", "--vms", "2000", "--host-memory", "256GiB"];
    let Some(pool) = pool::sim(&sizes).await else { return };
    let (begun, at_first) = (Instant::now(), thread_time());
    let provider = pool.connect().await;
    let mut changes = provider.changes();
    while changes.next().await != Some(Change::Everything) {}
    eprintln!("first reading: {:?}, of it {:.2} s processor", begun.elapsed(), thread_time() - at_first);
    assert_eq!(provider.inventory().await.unwrap().hosts.len(), 64);

    let vms: Vec<String> = pool.rpc.vms(|name| name.starts_with("vm-")).await;
    let (url, user, password) = (pool.urls[0].clone(), pool.user.clone(), pool.password.clone());
    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rpc = Rpc::log_in(&url, &user, &password).await;
            let mut tick = tokio::time::interval(Duration::from_millis(6));
            for n in 0..1700 {
                tick.tick().await;
                rpc.call("VM.set_name_description", json!([vms[n % vms.len()], format!("change {n}")])).await;
            }
        });
    });
    let (begun, at_first) = (Instant::now(), thread_time());
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (elapsed, busy) = (begun.elapsed(), thread_time() - at_first);
    load.join().unwrap();
    eprintln!("1,700 changes in {elapsed:?}: {busy:.2} s processor, {:.1} %", 100.0 * busy / elapsed.as_secs_f64());
    provider.close().await;
}
