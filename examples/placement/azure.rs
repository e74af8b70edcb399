//! Arrivals with lifetimes on hosts of 64 vCPU and 128 GB that are opened and closed as needed. The lifetime is the
//! middle of its bin + 300 s and is not known when a machine is placed; censored machines never leave. Time ends with
//! the last arrival. With `--moves R`, R live migrations may have been made for each placement so far.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration, time::Instant};

use innkeeper::{
    api::quantity::Bytes,
    plan::{
        Capacity, Objective, Overhead, Policy, Pricing,
        rehearsal::{Rehearsal, rehearse},
    },
};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    Failure,
    baseline::baselines,
    floor::floor,
    input::{Table, read},
    mixed::{guest, host, pool, world},
};

pub(crate) const HOST_VCPUS: f64 = 64.0;
pub(crate) const HOST_GB: f64 = 128.0;

/// A machine of the trace.
pub(crate) struct Machine {
    pub(crate) start: i64,
    /// Cut at the end of time.
    pub(crate) end: i64,
    pub(crate) vcpus: f64,
    pub(crate) gb: f64,
}

fn machines(text: &str) -> Result<Vec<Machine>, Failure> {
    let table = Table::new(text)?;
    let mut machines = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let start = seconds(table.number(row, "start_s")?);
        let middle = f64::midpoint(table.number(row, "life_lo_s")?, table.number(row, "life_hi_s")?);
        let censored = table.find(row, "censored").is_some_and(|cell| matches!(cell, "1" | "1.0" | "true" | "True"));
        let end = if censored { i64::MAX } else { start + seconds(middle) + 300 };
        let machine = Machine { start, end, vcpus: table.number(row, "vcpu")?, gb: table.number(row, "mem_gb")? };
        if !(0.0..=HOST_VCPUS).contains(&machine.vcpus) || !(0.0..=HOST_GB).contains(&machine.gb) || end < start {
            return Err(
                format!("no host of {HOST_VCPUS} vCPU and {HOST_GB} GB can lodge the row {}", row.join(",")).into()
            );
        }
        machines.push(machine);
    }
    machines.sort_by_key(|m| m.start);
    let last = machines.last().map_or(0, |m| m.start);
    for machine in &mut machines {
        machine.end = machine.end.min(last);
    }
    Ok(machines)
}

#[expect(clippy::cast_possible_truncation, reason = "seconds of a trace")]
fn seconds(n: f64) -> i64 {
    n.round() as i64
}

/// The integral over time of the hosts that are needed at least, in host-seconds, and the most needed at once.
#[expect(clippy::cast_precision_loss, reason = "seconds of a trace")]
fn bound(machines: &[Machine]) -> (f64, f64) {
    let mut events: Vec<(i64, f64, f64)> = Vec::with_capacity(machines.len() * 2);
    for m in machines {
        events.push((m.start, m.vcpus, m.gb));
        events.push((m.end, -m.vcpus, -m.gb));
    }
    events.sort_by_key(|e| e.0);
    let (mut vcpus, mut gb, mut sum, mut most) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (at, event) in events.iter().enumerate() {
        (vcpus, gb) = (vcpus + event.1, gb + event.2);
        let needed = (vcpus / HOST_VCPUS).max(gb / HOST_GB);
        most = most.max(needed);
        if let Some(next) = events.get(at + 1) {
            sum += needed * (next.0 - event.0) as f64;
        }
    }
    (sum, most)
}

/// The hosts that are open, by when they were opened, and the host-seconds of those that were closed.
struct Clock {
    opened: Vec<Option<i64>>,
    host_seconds: i64,
}

impl Clock {
    /// Opens and closes a host by whether it has guests.
    fn look(&mut self, host: usize, guests: usize, now: i64) {
        match (self.opened[host], guests) {
            (None, 1..) => self.opened[host] = Some(now),
            (Some(since), 0) => {
                self.host_seconds += now - since;
                self.opened[host] = None;
            }
            _ => {}
        }
    }
}

struct Outcome {
    host_seconds: i64,
    placements: usize,
    moves: usize,
    broken: usize,
    deciding: Duration,
}

fn simulate(rehearsal: &mut Rehearsal<'_, '_>, machines: &[Machine], rate: f64) -> Result<Outcome, Failure> {
    let hosts = rehearsal.guests_on_hosts().count();
    let mut clock = Clock { opened: vec![None; hosts], host_seconds: 0 };
    let mut leaving: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
    let mut used = vec![[0.0f64; 2]; hosts];
    let mut outcome = Outcome { host_seconds: 0, placements: 0, moves: 0, broken: 0, deciding: Duration::ZERO };
    let mut at_host: Vec<usize> = vec![usize::MAX; machines.len()];
    let mut guests = vec![0usize; hosts];
    let shift = |used: &mut Vec<[f64; 2]>, guests: &mut Vec<usize>, host: usize, m: &Machine, sign: f64| {
        used[host] = [used[host][0] + sign * m.vcpus, used[host][1] + sign * m.gb];
        if sign > 0.0 {
            guests[host] += 1;
        } else {
            guests[host] -= 1;
        }
        usize::from(used[host][0] > HOST_VCPUS + 1e-6 || used[host][1] > HOST_GB + 1e-6)
    };
    for (number, machine) in machines.iter().enumerate() {
        let now = machine.start;
        // What is over is over before who comes now looks for a place.
        while let Some(&Reverse((end, gone))) = leaving.peek().filter(|Reverse((end, _))| *end <= now) {
            leaving.pop();
            rehearsal.release(gone);
            shift(&mut used, &mut guests, at_host[gone], &machines[gone], -1.0);
            clock.look(at_host[gone], guests[at_host[gone]], end);
        }
        let start = Instant::now();
        let placed = rehearsal.place(number).is_some();
        outcome.deciding += start.elapsed();
        let host = rehearsal.host_of(number).filter(|_| placed).ok_or("too few hosts for the trace")?;
        at_host[number] = host;
        outcome.broken += shift(&mut used, &mut guests, host, machine, 1.0);
        clock.look(host, guests[host], now);
        leaving.push(Reverse((machine.end, number)));
        outcome.placements += 1;
        // Once all who come at this time are in.
        let last_of_its_time = machines.get(number + 1).is_none_or(|next| next.start != now);
        let allowed = whole(rate * f64::from(u32::try_from(outcome.placements)?)).saturating_sub(outcome.moves);
        if last_of_its_time && allowed > 0 {
            let start = Instant::now();
            let moved = rehearsal.consolidate(Timestamp::from_second(now)?, allowed);
            outcome.deciding += start.elapsed();
            outcome.moves += moved.len();
            for guest in &moved {
                let to = rehearsal.host_of(*guest).ok_or("a moved machine is lost")?;
                let from = std::mem::replace(&mut at_host[*guest], to);
                shift(&mut used, &mut guests, from, &machines[*guest], -1.0);
                outcome.broken += shift(&mut used, &mut guests, to, &machines[*guest], 1.0);
                clock.look(to, guests[to], now);
                clock.look(from, guests[from], now);
            }
        }
    }
    let end = machines.last().map_or(0, |m| m.start);
    for host in 0..hosts {
        clock.look(host, 0, end);
    }
    outcome.host_seconds = clock.host_seconds;
    Ok(outcome)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of moves")]
fn whole(n: f64) -> usize {
    (n + 1e-9).floor().max(0.0) as usize
}

#[expect(clippy::cast_precision_loss, reason = "host-seconds of a trace")]
pub(crate) fn run(file: &str, rate: &str) -> Result<serde_json::Value, Failure> {
    let rate: f64 = rate.parse()?;
    let machines = machines(&read(file)?)?;
    let (bound, most) = bound(&machines);
    if bound <= 0.0 {
        return Err("the machines of this trace live for no time".into());
    }
    // Room to spare; never used hosts cost nothing. vCPUs are counted in hundredths, as some traces have parts of one.
    let hosts = whole(most * 1.5) + 50;
    let policy = Arc::new(Policy { objective: Objective::Density, ..Policy::default() });
    let guests = machines.iter().enumerate().map(|(number, machine)| {
        let memory = Bytes::mib(whole(machine.gb * 1024.0) as u64);
        let mut guest =
            guest(number, "trace".to_owned(), u32::try_from(whole(machine.vcpus * 100.0))?, memory, &policy);
        guest.created_at = Timestamp::from_second(machine.start)?;
        Ok(guest)
    });
    let hosts = (0..hosts).map(|h| host(format!("host-{h}"), Bytes::gib(128), 6400)).collect();
    let capacity = Capacity::Hosts { hosts, overhead: Overhead::default() };
    let mut world =
        world(vec![pool("hall".to_owned(), 0, Pricing::default(), capacity)], guests.collect::<Result<_, Failure>>()?)?;
    world.pools[0].cpu_overcommit = 1.into();
    let outcome = rehearse(&world, |rehearsal| simulate(rehearsal, &machines, rate))?;
    let least = floor(&machines);
    if (outcome.host_seconds as f64) < least * (1.0 - 1e-6) {
        return Err("fewer hosts than any packing needs: the floor or the count of hosts is wrong".into());
    }
    Ok(json!({
        "work": "azure",
        "seconds": outcome.deciding.as_secs_f64(),
        "placements": outcome.placements,
        "quality": outcome.host_seconds as f64 / bound,
        "quality_is": "host-hours over the fractional lower bound",
        "floor": least / bound,
        "floor_is": "what packing anew at every moment would need, with any number of moves and lifetimes known, at least",
        "host_hours": outcome.host_seconds as f64 / 3600.0,
        "broken_rules": outcome.broken,
        "moves": outcome.moves,
        "baselines": baselines(&machines, bound),
    }))
}
