//! The pool at one moment, and what can be read off it. Pure.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use rpds::HashTrieMapSync;

use super::{
    drives::Drives,
    identity::{self, Claim, is_halted},
    records::{GuestMetrics, Host, HostMetrics, Pool, Task, Vbd, Vdi, Vm, VmMetrics},
    value::{Ref, time},
    vms::Vms,
};
use crate::{
    api::quantity::Bytes,
    provider::{Key, ObservedGuest, Owner, Power, Stage},
};

/// Objects of one class by reference. What does not change is shared between a view and the one after it: both are held at
/// once with every change, in pools of thousands of VMs.
pub(super) type Table<T> = HashTrieMapSync<Ref<T>, Arc<T>>;

/// The records of a class as a table.
pub(super) fn table<T: Clone>(records: HashMap<Ref<T>, T>) -> Table<T> {
    records.into_iter().map(|(r, record)| (r, kept(&record))).collect()
}

/// A record as it is kept. A copy has no room to spare, which what was just decoded has in each list.
pub(super) fn kept<T: Clone>(record: &T) -> Arc<T> {
    Arc::new(record.clone())
}

/// What the driver reads of a pool, all of it read completely.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub(super) pools: Table<Pool>,
    pub(super) hosts: Table<Host>,
    pub(super) host_metrics: Table<HostMetrics>,
    pub(super) vms: Vms,
    pub(super) guest_metrics: Table<GuestMetrics>,
    pub(super) vm_metrics: Table<VmMetrics>,
    pub(super) vbds: Table<Vbd>,
    pub(super) vdis: Table<Vdi>,
}

/// The VMs that were made for one guest.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    /// The one that is the guest's VM.
    pub(super) chosen: Option<(&'a Ref<Vm>, &'a Vm, Claim)>,
    /// Clones that a repeated creation left: unmarked, never started, to be removed once the chosen one is marked.
    pub(super) surplus: Vec<&'a Ref<Vm>>,
}

impl View {
    pub(super) fn pool(&self) -> Option<(&Ref<Pool>, &Pool)> {
        self.pools.iter().next().map(|(r, pool)| (r, &**pool))
    }

    /// The VMs of this owner with what they are.
    pub(super) fn ours<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = (&'a Ref<Vm>, &'a Vm, Claim)> {
        self.vms.iter().map(|(r, vm)| (r, &**vm, identity::claim(owner, vm))).filter(|(_, _, c)| *c != Claim::Foreign)
    }

    /// The VMs of all incarnations of one guest, with what they are.
    pub(super) fn of_guest<'a, 'b>(
        &'a self,
        owner: &'b Owner,
        guest: &'b str,
    ) -> impl Iterator<Item = (&'a Ref<Vm>, &'a Vm, Claim)> {
        let all = self.vms.perhaps_of(guest).map(|(r, vm)| (r, vm, identity::claim(owner, vm)));
        all.filter(move |(_, _, claim)| claim.key().is_some_and(|key| key.guest == guest))
    }

    /// The VMs of one guest's incarnation, and which of them it is: a marked one (the furthest, where there should be two),
    /// else the unmarked one of the lowest uuid. Every run chooses the same.
    pub(super) fn candidates<'a>(&'a self, owner: &'a Owner, key: &Key) -> Candidates<'a> {
        let mut all: Vec<_> = self
            .of_guest(owner, &key.guest)
            .filter(|(_, _, claim)| match claim {
                Claim::Marked(of, _) => of.guest == key.guest && of.incarnation == key.incarnation,
                Claim::Begun(of) => of == key,
                Claim::Foreign => false,
            })
            .collect();
        all.sort_by_cached_key(|(_, vm, claim)| (rank(vm, claim), vm.uuid.clone()));
        let mut all = all.into_iter();
        let chosen = all.next();
        let surplus = all.filter(|(_, _, claim)| matches!(claim, Claim::Begun(_))).map(|(r, _, _)| r).collect();
        Candidates { chosen, surplus }
    }

    /// The guests that have more clones than they need.
    pub(super) fn crowded(&self, owner: &Owner) -> Vec<Key> {
        let begun = self.vms.perhaps_begun().filter_map(|vm| match identity::claim(owner, vm) {
            Claim::Begun(key) => Some(key),
            Claim::Marked(..) | Claim::Foreign => None,
        });
        begun.filter(|key| !self.candidates(owner, key).surplus.is_empty()).collect()
    }

    /// Whether the VM's host answers. A VM on a dead host is shown as running for ever.
    pub(super) fn is_lost(&self, vm: &Vm) -> bool {
        if vm.resident_on.is_null() {
            return false;
        }
        let metrics = self.hosts.get(&vm.resident_on).and_then(|host| self.host_metrics.get(&host.metrics));
        !metrics.is_some_and(|metrics| metrics.live)
    }

    /// What state the VM is in.
    pub(super) fn power(&self, vm: &Vm) -> Power {
        let doing = |operations: &[&str]| vm.current_operations.values().any(|op| operations.contains(&op.as_str()));
        let starting = doing(&["start", "start_on", "resume", "resume_on", "unpause"]);
        let stopping = doing(&["clean_shutdown", "hard_shutdown", "shutdown"]);
        // Records write the state capitalised, errors in lower case.
        match vm.power_state.to_ascii_lowercase().as_str() {
            _ if self.is_lost(vm) && !is_halted(vm) => Power::Unknown,
            "halted" if doing(&["destroy"]) => Power::Terminating,
            "halted" | "suspended" | "paused" if starting => Power::Starting,
            "halted" => Power::Stopped,
            "running" | "suspended" | "paused" if stopping => Power::Stopping,
            "running" => Power::Running,
            "suspended" => Power::Suspended,
            "paused" => Power::Paused,
            _ => Power::Unknown,
        }
    }

    /// The guest in the words of the provider interface.
    pub(super) fn observe(&self, vm: &Vm, key: &Key, stage: Stage) -> ObservedGuest {
        let power = self.power(vm);
        let addresses = match self.guest_metrics.get(&vm.guest_metrics) {
            Some(metrics) if power == Power::Running => addresses(metrics),
            _ => Vec::new(),
        };
        ObservedGuest {
            host: self.hosts.get(&vm.resident_on).map(|host| host.name_label.clone()),
            vcpus: u32::try_from(vm.vcpus_at_startup).ok(),
            // What the guest is given now; above it is only how far that could be raised while it runs.
            memory: Some(Bytes(vm.memory_dynamic_max)),
            disks: self.drives(vm).observed(),
            protected: Some(vm.blocked_operations.contains_key("destroy")),
            started_at: if is_halted(vm) { None } else { self.started_at(vm) },
            ever_started: Some(identity::is_started(vm)),
            addresses,
            busy: !vm.current_operations.is_empty(),
            ..ObservedGuest::new(key.clone(), &vm.uuid, stage, power)
        }
    }

    /// The tasks that take VMs to another host now, whoever moves them; one for each VM.
    pub(super) fn moves(&self) -> Vec<Ref<Task>> {
        let moves = |vm: &Arc<Vm>| {
            let mut all = vm.current_operations.iter();
            let (task, _) = all.find(|(_, op)| matches!(op.as_str(), "pool_migrate" | "migrate_send"))?;
            Some(Ref::new(task.as_str()))
        };
        self.vms.values().filter_map(moves).collect()
    }

    fn started_at(&self, vm: &Vm) -> Option<Timestamp> {
        self.vm_metrics.get(&vm.metrics).and_then(|metrics| time(&metrics.start_time))
    }

    /// What the guest's tools can do.
    pub(super) fn has_feature(&self, vm: &Vm, feature: &str) -> bool {
        let told = self.guest_metrics.get(&vm.guest_metrics).and_then(|metrics| metrics.other.get(feature));
        told.is_some_and(|value| value == "1")
    }

    /// The VM's drives with disks in them.
    pub(super) fn drives(&self, vm: &Vm) -> Drives {
        let drives = vm.vbds.iter().filter_map(|reference| {
            let vbd = self.vbds.get(reference)?;
            Some((reference.clone(), Vbd::clone(vbd), Vdi::clone(self.vdis.get(&vbd.vdi)?)))
        });
        Drives::new(&vm.uuid, drives)
    }

    /// The VM of one guest.
    pub(super) fn find(&self, owner: &Owner, key: &Key) -> Option<ObservedGuest> {
        let (_, vm, claim) = self.candidates(owner, key).chosen?;
        Some(self.observe(vm, claim.key()?, claim.stage()))
    }

    /// The VM of every guest of this owner, in a stable order.
    pub(super) fn list(&self, owner: &Owner) -> Vec<ObservedGuest> {
        let mut ours: Vec<(&Vm, Claim)> = self.ours(owner).map(|(_, vm, claim)| (vm, claim)).collect();
        ours.sort_by(|(_, a), (_, b)| whose(a).cmp(&whose(b)));
        let same = |(_, a): &(&Vm, Claim), (_, b): &(&Vm, Claim)| whose(a) == whose(b);
        let observed = ours.chunk_by(same).filter_map(|vms| match vms {
            [(vm, claim)] => Some(self.observe(vm, claim.key()?, claim.stage())),
            // Which of several it is must be chosen.
            [(_, claim), ..] => self.find(owner, claim.key()?),
            [] => None,
        });
        observed.collect()
    }
}

/// The guest, and its incarnation, that the VM was made for.
fn whose(claim: &Claim) -> Option<(&str, u32)> {
    claim.key().map(|key| (key.guest.as_str(), key.incarnation))
}

fn rank(vm: &Vm, claim: &Claim) -> u8 {
    match claim {
        Claim::Marked(_, Stage::Complete) if !is_halted(vm) => 0,
        Claim::Marked(_, Stage::Complete) => 1,
        Claim::Marked(_, Stage::Incomplete) => 2,
        Claim::Begun(_) | Claim::Foreign => 3,
    }
}

/// The guest's addresses by network card, IPv4 before IPv6. Those that mean nothing elsewhere are left out.
pub(super) fn addresses(metrics: &GuestMetrics) -> Vec<IpAddr> {
    let mut found: Vec<(u32, u8, u32, IpAddr)> = Vec::new();
    for (name, text) in &metrics.networks {
        let mut parts = name.split('/');
        let (Some(device), Some(family)) = (parts.next().and_then(|d| d.parse().ok()), parts.next()) else { continue };
        let number = parts.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let family = match family {
            "ip" | "ipv4" => 0,
            "ipv6" => 1,
            _ => continue,
        };
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {}
            Ok(ip) if ip.is_loopback() || ip.is_unspecified() => {}
            Ok(ip) => found.push((device, family, number, ip)),
            Err(_) => {}
        }
    }
    found.sort_unstable();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (.., ip) in found {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub(super) mod tests;
