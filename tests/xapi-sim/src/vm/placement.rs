//! Where a VM can run, why not elsewhere, and which host xapi picks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::memory;
use crate::error::{ApiError, ApiResult};
use crate::sim::World;
use crate::value::is_null;

/// Whether to count memory when asking where a VM can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Memory,
    NotMemory,
}

type Hosts = BTreeSet<Arc<str>>;

/// What a VM needs to reach, each with the hosts that do: gathered once for all hosts.
struct Needs {
    storage: Vec<(Arc<str>, Hosts)>,
    /// A network without any physical interface is internal: it comes up wherever it is needed.
    networks: Vec<(Arc<str>, Option<Hosts>)>,
}

impl Needs {
    fn of(world: &World, vm: &str) -> Self {
        let hosts = |class: &str, links: Vec<Arc<str>>| -> Hosts {
            let plugged = links.iter().filter(|l| world.store.flag(class, l, "currently_attached"));
            plugged.map(|l| Arc::from(world.store.text(class, l, "host"))).collect()
        };
        let storage = storage(world, vm).into_iter().map(|sr| {
            let seen_by = hosts("PBD", world.store.refs_in("SR", &sr, "PBDs"));
            (sr, seen_by)
        });
        let vifs = world.store.refs_in("VM", vm, "VIFs").into_iter();
        let networks = vifs.map(|vif| Arc::<str>::from(world.store.text("VIF", &vif, "network"))).map(|network| {
            let pifs = world.store.refs_in("network", &network, "PIFs");
            let on = if pifs.is_empty() { None } else { Some(hosts("PIF", pifs)) };
            (network, on)
        });
        Self { storage: storage.collect(), networks: networks.collect() }
    }

    fn check(&self, vm: &str, host: &str) -> ApiResult<()> {
        let storage = self.storage.iter().map(|(sr, seen_by)| (&**sr, seen_by.contains(host)));
        let networks =
            self.networks.iter().map(|(network, on)| (&**network, on.as_ref().is_none_or(|on| on.contains(host))));
        reaches(vm, storage, networks)
    }
}

/// The error that keeps a VM from a host that does not reach all of these.
fn reaches<'a>(
    vm: &str,
    mut storage: impl Iterator<Item = (&'a str, bool)>,
    mut networks: impl Iterator<Item = (&'a str, bool)>,
) -> ApiResult<()> {
    if let Some((sr, _)) = storage.find(|(_, reached)| !reached) {
        return Err(ApiError::new("VM_REQUIRES_SR", [vm, sr]));
    }
    match networks.find(|(_, reached)| !reached) {
        Some((network, _)) => Err(ApiError::new("VM_REQUIRES_NETWORK", [vm, network])),
        None => Ok(()),
    }
}

/// The error that keeps a VM from a host.
pub(crate) fn check(world: &World, vm: &str, host: &str, count: Count) -> ApiResult<()> {
    world.store.row("VM", vm)?;
    check_usable(world, host)?;
    check_reach(world, vm, host)?;
    if count == Count::NotMemory || world.store.text("VM", vm, "resident_on") == host {
        return Ok(());
    }
    let need = memory::need(world, vm);
    let free = memory::free_on(world, host);
    if need > free {
        return Err(ApiError::new("HOST_NOT_ENOUGH_FREE_MEMORY", [need.to_string(), free.max(0).to_string()]));
    }
    Ok(())
}

fn check_usable(world: &World, host: &str) -> ApiResult<()> {
    let row = world.store.row("host", host)?;
    if !world.store.flag("host_metrics", row.get("metrics").as_str(), "live") {
        return Err(ApiError::bare("HOST_NOT_LIVE"));
    }
    if row.get("enabled").as_bool() { Ok(()) } else { Err(ApiError::new("HOST_DISABLED", [host])) }
}

/// Whether the host sees the VM's storage and networks.
pub(crate) fn check_reach(world: &World, vm: &str, host: &str) -> ApiResult<()> {
    let (storage, vifs) = (storage(world, vm), world.store.refs_in("VM", vm, "VIFs"));
    let on = |network: &str| {
        let mut pifs = world.store.texts("network", network, "PIFs").peekable();
        pifs.peek().is_none() || pifs.any(|pif| is_plugged(world, "PIF", pif, host))
    };
    let storage = storage.iter().map(|sr| (&**sr, sees(world, host, sr)));
    let networks = vifs.iter().map(|vif| world.store.text("VIF", vif, "network")).map(|network| (network, on(network)));
    reaches(vm, storage, networks)
}

fn is_plugged(world: &World, class: &str, link: &str, host: &str) -> bool {
    world.store.text(class, link, "host") == host && world.store.flag(class, link, "currently_attached")
}

/// The storage repositories that a VM's disks are on.
pub(crate) fn storage(world: &World, vm: &str) -> BTreeSet<Arc<str>> {
    let vdis = world.store.refs_in("VM", vm, "VBDs").into_iter().map(|v| world.store.text("VBD", &v, "VDI").to_owned());
    let suspend = world.store.text("VM", vm, "suspend_VDI").to_owned();
    vdis.chain([suspend])
        .map(|vdi| world.store.text("VDI", &vdi, "SR").to_owned())
        .filter(|sr| !is_null(sr))
        .map(Arc::from)
        .collect()
}

/// Whether a host has a storage repository plugged.
pub(crate) fn sees(world: &World, host: &str, sr: &str) -> bool {
    world.store.texts("SR", sr, "PBDs").any(|pbd| is_plugged(world, "PBD", pbd, host))
}

/// All hosts on which a VM could start now.
pub(crate) fn possible(world: &World, vm: &str) -> Vec<Arc<str>> {
    possible_with(world, vm, &memory::free_by_host(world))
}

fn possible_with(world: &World, vm: &str, free: &HashMap<Arc<str>, i64>) -> Vec<Arc<str>> {
    let need = memory::need(world, vm);
    let needs = Needs::of(world, vm);
    let fits = |host: &Arc<str>| free.get(host).is_some_and(|f| need <= *f);
    let hosts = world.store.refs("host").into_iter();
    hosts.filter(|h| fits(h) && check_usable(world, h).is_ok() && needs.check(vm, h).is_ok()).collect()
}

/// The host xapi picks: the home server when it can, else the one with the fewest VMs of the same anti-affinity group,
/// else the one with the most free memory.
pub(crate) fn choose(world: &World, vm: &str) -> ApiResult<Arc<str>> {
    let affinity = world.store.get("VM", vm, "affinity")?.as_str();
    if !is_null(affinity) {
        world.store.row("host", affinity)?;
    }
    let free = memory::free_by_host(world);
    let possible = possible_with(world, vm, &free);
    if let Some(home) = possible.iter().find(|h| ***h == *affinity) {
        return Ok(home.clone());
    }
    let companions = companions(world, vm);
    let rank = |host: &Arc<str>| {
        let near = companions.iter().filter(|c| world.store.text("VM", c, "resident_on") == &**host).count();
        (near, -free.get(host).copied().unwrap_or(0), host.clone())
    };
    possible.into_iter().min_by_key(rank).ok_or_else(|| ApiError::bare("NO_HOSTS_AVAILABLE"))
}

/// The other VMs of a VM's anti-affinity groups.
fn companions(world: &World, vm: &str) -> Vec<Arc<str>> {
    let groups = world.store.refs_in("VM", vm, "groups");
    let apart = groups.iter().filter(|g| world.store.text("VM_group", g, "placement") == "anti_affinity");
    apart.flat_map(|g| world.store.refs_in("VM_group", g, "VMs")).filter(|other| **other != *vm).collect()
}
