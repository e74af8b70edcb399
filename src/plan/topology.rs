//! Counts of a workload's guests by place, from which spread and affinity are judged.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::model::{Domains, Model, NONE, TrackerDef, index};

/// Small whole numbers as keys: one multiplication spreads them well enough.
#[derive(Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// How many guests of a workload there are in each place of a topology.
pub(super) struct Tracker {
    counts: HashMap<u32, u32, BuildHasherDefault<NumberHasher>>,
    /// The places that a spread is measured over.
    eligible: Vec<bool>,
    /// How many of those hold 0, 1, 2, ... guests.
    histogram: Vec<u32>,
    total: u32,
}

impl Tracker {
    pub(super) fn new(model: &Model<'_>, def: TrackerDef) -> Self {
        let eligible = if def.statics == NONE {
            Vec::new()
        } else {
            eligible(model, def.statics, &model.domains[def.topology as usize])
        };
        let places = index(eligible.iter().filter(|e| **e).count());
        Self { counts: HashMap::default(), eligible, histogram: vec![places], total: 0 }
    }

    /// How many are in this place.
    pub(super) fn count(&self, domain: u32) -> u32 {
        self.counts.get(&domain).copied().unwrap_or(0)
    }

    /// How many are in this place, or may be: of a place that is not known, nobody can say that it is another one.
    pub(super) fn perhaps(&self, domain: u32) -> u32 {
        if domain == NONE { self.total } else { self.count(domain) + self.count(NONE) }
    }

    /// How many there are in all.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// How many are in the emptiest place that counts.
    pub(super) fn least(&self) -> u32 {
        index(self.histogram.iter().position(|n| *n > 0).unwrap_or(0))
    }

    pub(super) fn add(&mut self, domain: u32) {
        self.total += 1;
        let count = self.counts.entry(domain).or_insert(0);
        *count += 1;
        let now = *count as usize;
        if self.eligible.get(domain as usize).copied().unwrap_or(false) {
            if self.histogram.len() <= now {
                self.histogram.resize(now + 1, 0);
            }
            self.histogram[now - 1] -= 1;
            self.histogram[now] += 1;
        }
    }

    pub(super) fn remove(&mut self, domain: u32) {
        let Some(count) = self.counts.get_mut(&domain).filter(|n| **n > 0) else { return };
        self.total -= 1;
        let before = *count as usize;
        *count -= 1;
        if self.eligible.get(domain as usize).copied().unwrap_or(false) {
            self.histogram[before] -= 1;
            self.histogram[before - 1] += 1;
        }
    }
}

/// The places of a topology that guests of this class could go to were there room.
fn eligible(model: &Model<'_>, statics: u32, domains: &Domains) -> Vec<bool> {
    let mut eligible = Vec::new();
    let mut mark = |domain: u32| {
        if domain != NONE {
            if eligible.len() <= domain as usize {
                eligible.resize(domain as usize + 1, false);
            }
            eligible[domain as usize] = true;
        }
    };
    for &(pool, _) in &model.statics[statics as usize].allowed {
        let hosts = model.pools[pool as usize].hosts.clone();
        if hosts.is_empty() {
            mark(domains.of_pool[pool as usize]);
        }
        for host in hosts.filter(|h| model.hosts[*h as usize].enabled) {
            mark(domains.of_host[host as usize]);
        }
    }
    eligible
}
