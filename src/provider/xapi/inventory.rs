//! What the pool has: hosts, memory and templates, with XAPI's own arithmetic. Pure.

use std::collections::HashMap;

use super::{
    identity::{self, Claim},
    records::{Host, Vm},
    value::Ref,
    view::View,
};
use crate::{
    api::quantity::Bytes,
    provider::{ErrorKind, GuestUse, HostInventory, ImageFact, Inventory, MemoryOverhead, Owner, ProviderError},
};

const MIB: u64 = 1 << 20;

/// What Xen needs for a guest on top of its own memory, never less than xapi reckons.
///
/// xapi keeps shadow memory for a guest of hardware virtualisation: one MiB for each virtual processor, and for each MiB
/// of the guest's memory two pages of 4 KiB (one to map it, one to shadow it), rounded up to a whole MiB; and some 12 MiB
/// whatever its size. A template with a shadow multiplier above 1 takes more.
pub(super) const OVERHEAD: MemoryOverhead =
    MemoryOverhead { fixed: Bytes::mib(13), per_vcpu: Bytes::mib(1), memory_divisor: MIB / (2 * 4096) };

/// The inventory of the pool as this owner sees it.
pub(super) fn inventory(view: &View, owner: &Owner) -> Result<Inventory, ProviderError> {
    let Some((_, pool)) = view.pool() else {
        return Err(ProviderError::new(ErrorKind::Unavailable, "read the pool", "it has no pool record"));
    };
    let mut on_hosts: HashMap<&Ref<Host>, Vec<&Vm>> = HashMap::new();
    for vm in view.vms.values() {
        for host in taken(vm) {
            on_hosts.entry(host).or_default().push(vm);
        }
    }
    let vms = |host| on_hosts.get(host).map_or(&[][..], Vec::as_slice);
    let mut hosts: Vec<HostInventory> =
        view.hosts.iter().map(|(r, host)| self::host(view, owner, host, vms(r))).collect();
    hosts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let version = view
        .hosts
        .get(&pool.master)
        .or_else(|| view.hosts.values().next())
        .map(|host| version(host))
        .unwrap_or_default();
    Ok(Inventory {
        id: pool.uuid.clone(),
        version,
        hosts,
        overhead: OVERHEAD,
        images: images(view, owner),
        ..Inventory::default()
    })
}

fn version(host: &Host) -> String {
    let part = |name: &str| host.software_version.get(name).map_or("", String::as_str);
    format!("{} {}", part("product_brand"), part("product_version")).trim().to_owned()
}

fn host(view: &View, owner: &Owner, host: &Host, vms: &[&Vm]) -> HostInventory {
    let metrics = view.host_metrics.get(&host.metrics);
    let live = metrics.is_some_and(|metrics| metrics.live);
    let doing = |operation: &str| host.current_operations.values().any(|doing| doing == operation);
    let reason = match (live, host.enabled) {
        (false, _) => Some("the host does not answer the pool's coordinator".to_owned()),
        (true, _) if doing("evacuate") => Some("the host is being evacuated".to_owned()),
        (true, _) if doing("shutdown") || doing("reboot") => Some("the host is going down".to_owned()),
        (true, false) => Some("the host is disabled".to_owned()),
        (true, true) => None,
    };
    let mut entry = HostInventory {
        id: host.uuid.clone(),
        name: host.name_label.clone(),
        schedulable: reason.is_none(),
        reason,
        cpus: cpus(host),
        memory_total: Bytes(metrics.map_or(0, |metrics| metrics.memory_total)),
        memory_overhead: Bytes(host.memory_overhead),
        memory_others: Bytes(0),
        vcpus_others: 0,
        guests_others: 0,
        guests: Vec::new(),
    };
    for vm in vms {
        count(&mut entry, owner, vm);
    }
    entry.guests.sort_by(|a, b| a.guest.cmp(&b.guest));
    entry
}

fn count(entry: &mut HostInventory, owner: &Owner, vm: &Vm) {
    let memory = memory_taken(vm);
    let vcpus = u32::try_from(vm.vcpus_at_startup).unwrap_or(0);
    match identity::claim(owner, vm) {
        Claim::Marked(key, _) | Claim::Begun(key) => entry.guests.push(GuestUse { guest: key.guest, memory, vcpus }),
        Claim::Foreign if vm.is_control_domain => entry.memory_overhead = entry.memory_overhead.saturating_add(memory),
        Claim::Foreign => {
            entry.guests_others += 1;
            entry.memory_others = entry.memory_others.saturating_add(memory);
            entry.vcpus_others = entry.vcpus_others.saturating_add(vcpus);
        }
    }
}

/// The hosts that a VM takes memory of: xapi counts those that are on a host and those on their way there (starting,
/// migrating).
fn taken(vm: &Vm) -> impl Iterator<Item = &Ref<Host>> {
    let coming = &vm.scheduled_to_be_resident_on;
    [Some(&vm.resident_on), (*coming != vm.resident_on).then_some(coming)].into_iter().flatten()
}

/// What xapi counts for a VM on a host: the least it can be ballooned to, and its overhead. A control domain is not
/// ballooned to make room: what it has been given counts.
fn memory_taken(vm: &Vm) -> Bytes {
    let own = if vm.is_control_domain { vm.memory_dynamic_min.max(vm.memory_target) } else { vm.memory_dynamic_min };
    Bytes(own.saturating_add(vm.memory_overhead))
}

fn cpus(host: &Host) -> u32 {
    let told = host.cpu_info.get("cpu_count").and_then(|count| count.parse().ok());
    told.unwrap_or_else(|| u32::try_from(host.cpus.len()).unwrap_or(u32::MAX))
}

/// The templates that guests can be made from: not snapshots (which are templates too), nor clones of ours on their way.
fn images(view: &View, owner: &Owner) -> Vec<ImageFact> {
    let mut images: Vec<ImageFact> = view
        .vms
        .values()
        .filter(|vm| is_image(owner, vm))
        .map(|vm| ImageFact { id: vm.uuid.clone(), name: vm.name_label.clone() })
        .collect();
    images.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    images
}

fn is_image(owner: &Owner, vm: &Vm) -> bool {
    vm.is_a_template && !vm.is_a_snapshot && !vm.is_control_domain && identity::claim(owner, vm) == Claim::Foreign
}

/// The template of this uuid or unique name.
pub(super) fn template<'a>(view: &'a View, owner: &Owner, image: &str) -> Result<(&'a Ref<Vm>, &'a Vm), ProviderError> {
    let act = "find the template";
    let mut named =
        view.vms.iter().filter(|(_, vm)| (vm.uuid == image || vm.name_label == image) && is_image(owner, vm));
    match (named.next(), named.next()) {
        (Some((template, record)), None) => Ok((template, record)),
        (Some(_), Some(_)) => {
            let message = format!("several templates are named \"{image}\": write the uuid of one");
            Err(ProviderError::new(ErrorKind::Invalid, act, message))
        }
        (None, _) => {
            let message = format!("no template of the pool has the uuid or name \"{image}\"");
            Err(ProviderError::new(ErrorKind::NotFound, act, message))
        }
    }
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
