//! What plain rules reach on the same machines, for comparison: each takes an open host, or opens one where none fits.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde_json::{Value, json};

use crate::azure::{HOST_GB, HOST_VCPUS, Machine};

/// A host: what is free of it, how many machines it has, and since when it is open.
struct Host {
    free: [f64; 2],
    guests: usize,
    since: i64,
}

impl Host {
    fn left(&self) -> f64 {
        self.free[0] / HOST_VCPUS + self.free[1] / HOST_GB
    }
}

/// Host-hours over the bound for best-fit, first-fit and worst-fit.
#[expect(clippy::cast_precision_loss, reason = "seconds of a trace")]
pub(crate) fn baselines(machines: &[Machine], bound: f64) -> Value {
    let ratio = |rule: fn(&Host) -> f64| host_seconds(machines, rule) as f64 / bound;
    json!({ "best_fit": ratio(Host::left), "first_fit": ratio(|_| 0.0), "worst_fit": ratio(|host| -host.left()) })
}

/// Gives each machine the open host that is least by the rule, the first among equals.
fn host_seconds(machines: &[Machine], rule: fn(&Host) -> f64) -> i64 {
    let mut hosts: Vec<Host> = Vec::new();
    let mut leaving: BinaryHeap<Reverse<(i64, usize, usize)>> = BinaryHeap::new();
    let (mut sum, mut end_of_time) = (0, 0);
    for (number, machine) in machines.iter().enumerate() {
        while let Some(&Reverse((end, gone, at))) = leaving.peek().filter(|Reverse((end, ..))| *end <= machine.start) {
            leaving.pop();
            sum += leave(&mut hosts[at], &machines[gone], end);
        }
        let fits = |host: &Host| host.free[0] + 1e-6 >= machine.vcpus && host.free[1] + 1e-6 >= machine.gb;
        let open = hosts.iter().enumerate().filter(|(_, host)| host.guests > 0 && fits(host));
        let best = open.min_by(|(_, a), (_, b)| rule(a).total_cmp(&rule(b))).map(|(at, _)| at);
        let at = best.or_else(|| hosts.iter().position(|host| host.guests == 0)).unwrap_or_else(|| {
            hosts.push(Host { free: [HOST_VCPUS, HOST_GB], guests: 0, since: 0 });
            hosts.len() - 1
        });
        let host = &mut hosts[at];
        if host.guests == 0 {
            host.since = machine.start;
        }
        host.guests += 1;
        host.free = [host.free[0] - machine.vcpus, host.free[1] - machine.gb];
        leaving.push(Reverse((machine.end, number, at)));
        end_of_time = machine.start;
    }
    for Reverse((end, gone, at)) in leaving.into_sorted_vec().into_iter().rev() {
        sum += leave(&mut hosts[at], &machines[gone], end.min(end_of_time));
    }
    sum
}

/// Takes a machine out; the seconds for which the host was open, if it was the last.
fn leave(host: &mut Host, machine: &Machine, at: i64) -> i64 {
    host.guests -= 1;
    host.free = [host.free[0] + machine.vcpus, host.free[1] + machine.gb];
    if host.guests == 0 { at - host.since } else { 0 }
}
