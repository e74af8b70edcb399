//! `/rrd_updates`: a host's and its guests' statistics, for the host that is asked only. Numbers that nobody measured
//! are NaN, which is not JSON but what the real thing sends.

use std::fmt::Write as _;
use std::sync::Arc;

use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::Transfer;
use crate::http::{Body, plain};
use crate::sim::World;

/// The most rows of an answer.
const MAX_ROWS: i64 = 120;

/// One column: its name and what it shows.
struct Column {
    legend: String,
    kind: Kind,
}

enum Kind {
    /// A share of 1 that varies.
    Load,
    Constant(f64),
    /// Nobody measures it.
    Unknown,
}

pub(super) fn updates(transfer: &Transfer) -> Response<Body> {
    let cf = Some(transfer.param("cf")).filter(|c| !c.is_empty()).unwrap_or("AVERAGE").to_owned();
    let step = transfer.param("interval").parse::<i64>().ok().filter(|s| *s >= 5).unwrap_or(5);
    let (now, columns) = transfer.endpoint.sim.read(|w| (w.clock().now(), columns(w, transfer, &cf)));
    let end = now - now % step;
    let start = transfer.param("start").parse::<i64>().unwrap_or(end).clamp(end - MAX_ROWS * step, end);
    let times: Vec<i64> = (0..=(end - start) / step).map(|n| end - n * step).collect();
    if transfer.param("json") == "true" {
        plain(StatusCode::OK, "application/json", as_json(&columns, &times, start, step, end))
    } else {
        plain(StatusCode::OK, "text/xml", as_xml(&columns, &times, start, step, end))
    }
}

fn columns(world: &World, transfer: &Transfer, cf: &str) -> Vec<Column> {
    let host = &transfer.endpoint.host;
    let mut columns = Vec::new();
    let mut add = |owner: &str, uuid: &str, name: &str, kind: Kind| {
        columns.push(Column { legend: format!("{cf}:{owner}:{uuid}:{name}"), kind });
    };
    if transfer.param("host") == "true" {
        let uuid = world.uuid("host", host);
        let metrics = world.store.text("host", host, "metrics");
        let total = world.store.int("host_metrics", metrics, "memory_total");
        let free = crate::vm::memory::free_on(world, host);
        add("host", &uuid, "cpu_avg", Kind::Load);
        add("host", &uuid, "loadavg", Kind::Load);
        add("host", &uuid, "memory_total_kib", Kind::Constant(kib(total)));
        add("host", &uuid, "memory_free_kib", Kind::Constant(kib(free)));
    }
    let only = transfer.param("vm_uuid");
    for vm in world.store.refs_in("host", host, "resident_VMs") {
        let uuid = world.uuid("VM", &vm);
        if !only.is_empty() && only != uuid {
            continue;
        }
        let memory = world.store.int("VM", &vm, "memory_dynamic_max");
        let metrics = world.store.text("VM", &vm, "guest_metrics");
        let tools = world.store.flag("VM_guest_metrics", metrics, "PV_drivers_detected");
        add("vm", &uuid, "cpu0", Kind::Load);
        add("vm", &uuid, "memory", Kind::Constant(kib(memory) * 1024.0));
        let free = if tools { Kind::Constant(kib(memory) / 2.0) } else { Kind::Unknown };
        add("vm", &uuid, "memory_internal_free", free);
    }
    columns
}

#[expect(clippy::cast_precision_loss, reason = "statistics")]
fn kib(bytes: i64) -> f64 {
    (bytes / 1024) as f64
}

/// The value of a column at a time: the same for everyone who asks.
fn sample(column: &Column, time: i64) -> f64 {
    match column.kind {
        Kind::Constant(value) => value,
        Kind::Unknown => f64::NAN,
        Kind::Load => {
            let digest = Sha256::digest(format!("{}@{time}", column.legend));
            f64::from(digest[0]) / 512.0
        }
    }
}

fn number(value: f64) -> Arc<str> {
    Arc::from(if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") })
}

fn as_json(columns: &[Column], times: &[i64], start: i64, step: i64, end: i64) -> String {
    let legend: Vec<String> = columns.iter().map(|c| format!("\"{}\"", c.legend)).collect();
    let rows: Vec<String> = times
        .iter()
        .map(|t| {
            let values: Vec<Arc<str>> = columns.iter().map(|c| number(sample(c, *t))).collect();
            format!("{{\"t\":{t},\"values\":[{}]}}", values.join(","))
        })
        .collect();
    format!(
        "{{\"meta\":{{\"start\":{start},\"step\":{step},\"end\":{end},\"rows\":{},\"columns\":{},\"legend\":[{}]}},\"data\":[{}]}}",
        times.len(),
        columns.len(),
        legend.join(","),
        rows.join(",")
    )
}

fn as_xml(columns: &[Column], times: &[i64], start: i64, step: i64, end: i64) -> String {
    let mut out = format!(
        "<xport><meta><start>{start}</start><step>{step}</step><end>{end}</end><rows>{}</rows><columns>{}</columns><legend>",
        times.len(),
        columns.len()
    );
    for column in columns {
        let _ = write!(out, "<entry>{}</entry>", column.legend);
    }
    out.push_str("</legend></meta><data>");
    for time in times {
        let _ = write!(out, "<row><t>{time}</t>");
        for column in columns {
            let _ = write!(out, "<v>{}</v>", number(sample(column, *time)));
        }
        out.push_str("</row>");
    }
    out.push_str("</data></xport>");
    out
}
