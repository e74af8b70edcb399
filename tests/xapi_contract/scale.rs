//! A large pool. Only with `INNKEEPER_SCALE=1`, as `make bench-xapi` sets it. The limits are held to a build with `--release`; any
//! other prints its figures.

use std::time::{Duration, Instant};

use futures::StreamExt;
use innkeeper::provider::{Change, Freshness, Power, Provider};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    pool::{self, create, start, until},
    rpc::Rpc,
};

/// Processor time, in seconds, that this thread (the test's whole runtime, driver included) has used.
fn thread_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10).as_secs_f64()
}

fn within(what: &str, figure: f64, limit: f64) {
    eprintln!("{what}: {figure:.2}, limit {limit:.2}");
    assert!(cfg!(debug_assertions) || figure < limit, "{what}: {figure} is not under {limit}");
}

/// Changes VMs as fast as 10,000 a minute, from a thread of its own.
fn load(pool: &pool::Pool, vms: Vec<String>) -> std::thread::JoinHandle<()> {
    let (url, user, password) = (pool.urls[0].clone(), pool.user.clone(), pool.password.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rpc = Rpc::log_in(&url, &user, &password).await;
            let mut tick = tokio::time::interval(Duration::from_millis(6));
            for n in 0..1700 {
                tick.tick().await;
                rpc.call("VM.set_name_description", json!([vms[n % vms.len()], format!("change {n}")])).await;
            }
        });
    })
}

/// 64 hosts and 2,000 VMs: how long the first reading takes, what following 10,000 changes a minute costs, and that a change of
/// the coordinator is got over with no guest touched. Pitfalls 1, 6, 20.
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
    let reading = begun.elapsed().as_secs_f64();
    eprintln!("of the first reading {:.2} s are ours", thread_time() - at_first);
    within("first reading, in seconds", reading, 2.0);
    assert_eq!(provider.inventory().await.unwrap().hosts.len(), 64);

    let load = load(&pool, pool.rpc.vms(|name| name.starts_with("vm-")).await);
    let (begun, at_first) = (Instant::now(), thread_time());
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (elapsed, busy) = (begun.elapsed().as_secs_f64(), thread_time() - at_first);
    load.join().unwrap();
    eprintln!("1,700 changes in {elapsed:.1} s: {:.0} a minute", 1700.0 * 60.0 / elapsed);
    within("following them, in percent of a core", 100.0 * busy / elapsed, 10.0);

    let wishes: Vec<_> = (0..5).map(|n| pool.wish(&format!("ours-{n}"))).collect();
    for wish in &wishes {
        create(&*provider, wish).await;
        start(&*provider, wish).await;
    }
    pool.admin(reqwest::Method::DELETE, "/history", json!({})).await;
    let mut changes = provider.changes();
    let begun = Instant::now();
    pool.admin(reqwest::Method::POST, "/coordinator", json!({ "host": "xcp-h2" })).await;
    let everything = async { while changes.next().await != Some(Change::Everything) {} };
    timeout(Duration::from_mins(1), everything).await.expect("the pool is followed at its new coordinator");
    eprintln!("a new coordinator is followed after {:.2} s", begun.elapsed().as_secs_f64());
    let guests = until("the pool answers", async || provider.list(Freshness::Live).await.ok()).await;
    assert!(guests.len() == wishes.len() && guests.iter().all(|guest| guest.power == Power::Running));
    let touched = pool.admin(reqwest::Method::GET, "/history", json!({})).await;
    let touched: Vec<&Value> = touched.as_array().unwrap().iter().filter(|entry| entry["class"] == "VM").collect();
    assert!(touched.is_empty(), "{touched:?}");
    provider.close().await;
}
