//! From records to facts. Pure.

use std::collections::HashMap;

use super::{
    DiskFact, GuestFact, GuestOf, HostFact, More, NetworkFact, PoolFact, StorageFact, Survey, TemplateFact,
    links::{Links, Source},
    records::{Repository, Wire},
};
use crate::provider::{
    ErrorKind, HostInventory, Owner, ProviderError, Result,
    xapi::{
        identity, inventory,
        records::Vm,
        view::{self, View},
    },
};

/// Reads the pool's records.
pub(super) fn survey(view: &View, more: &More) -> Result<Survey> {
    // To nobody's eyes every VM is somebody else's: so the hosts' memory comes out as XAPI itself counts it.
    let inventory = inventory::inventory(view, &Owner(String::new()))?;
    let (links, reader) = (Links::default(), Reader { view, more });
    let pool = reader.pool(&links, inventory.version)?;
    let hosts = inventory.hosts.iter().map(|host| reader.host(&links, host)).collect();
    let mut storage: Vec<_> = more.repositories.values().map(|sr| reader.storage(&links, sr, &pool)).collect();
    storage.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    let mut networks: Vec<_> = more.wires.values().map(|wire| reader.network(&links, wire)).collect();
    networks.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    let (mut templates, mut guests) = (Vec::new(), Vec::new());
    for vm in view.vms.values().filter(|vm| !vm.is_a_snapshot && !vm.is_control_domain) {
        match identity::of_anyone(vm) {
            // A clone on its way to become a guest is no template.
            None if vm.is_a_template => templates.push(reader.template(&links, vm)),
            owner => guests.push(reader.guest(&links, vm, owner)),
        }
    }
    count_names(&mut templates);
    templates.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    guests.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    Ok(Survey { pool, hosts, storage, networks, templates, guests, dangling: links.dangling() })
}

fn count_names(templates: &mut [TemplateFact]) {
    let mut names: HashMap<String, usize> = HashMap::new();
    for template in &*templates {
        *names.entry(template.name.clone()).or_default() += 1;
    }
    for template in templates {
        template.named_so = names.get(&template.name).copied().unwrap_or(1);
    }
}

struct Reader<'a> {
    view: &'a View,
    more: &'a More,
}

impl Reader<'_> {
    fn pool(&self, links: &Links, version: String) -> Result<PoolFact> {
        let Some((reference, pool)) = self.view.pool() else {
            return Err(ProviderError::new(ErrorKind::Unavailable, "read the pool", "it has no pool record"));
        };
        let name = self.more.names.get(&reference.cast()).map(|pool| pool.name_label.clone());
        let name = name.unwrap_or_default();
        let from = Source { class: "pool", uuid: &pool.uuid, name: &name };
        let coordinator = links.follow(from, "master", &pool.master, &self.view.hosts);
        let default = links.follow(from, "default_SR", &pool.default_sr, &self.more.repositories);
        Ok(PoolFact {
            uuid: pool.uuid.clone(),
            version,
            coordinator: coordinator.map(|host| host.name_label.clone()),
            default_storage: default.map(|sr| sr.uuid.clone()),
            name,
        })
    }

    fn host(&self, links: &Links, host: &HostInventory) -> HostFact {
        let record = self.view.hosts.values().find(|record| record.uuid == host.id);
        if let Some(record) = record {
            let from = Source { class: "host", uuid: &record.uuid, name: &record.name_label };
            links.follow(from, "metrics", &record.metrics, &self.view.host_metrics);
        }
        let taken = host.memory_overhead.saturating_add(host.memory_others);
        HostFact {
            uuid: host.id.clone(),
            name: host.name.clone(),
            address: record.map(|record| record.address.clone()).unwrap_or_default(),
            schedulable: host.schedulable,
            reason: host.reason.clone(),
            cpus: host.cpus,
            vcpus_used: host.vcpus_others,
            memory_bytes: host.memory_total.0,
            memory_free_bytes: host.memory_total.saturating_sub(taken).0,
            guests: host.guests_others,
        }
    }

    fn storage(&self, links: &Links, sr: &Repository, pool: &PoolFact) -> StorageFact {
        let from = Source { class: "SR", uuid: &sr.uuid, name: &sr.name_label };
        let (mut hosts, mut detached_hosts) = (Vec::new(), Vec::new());
        for attachment in &sr.pbds {
            let Some(pbd) = links.follow(from, "PBDs", attachment, &self.more.attachments) else { continue };
            let from = Source { class: "PBD", uuid: &pbd.uuid, name: "" };
            let Some(host) = links.follow(from, "host", &pbd.host, &self.view.hosts) else { continue };
            let list = if pbd.currently_attached { &mut hosts } else { &mut detached_hosts };
            list.push(host.name_label.clone());
        }
        hosts.sort();
        detached_hosts.sort();
        StorageFact {
            uuid: sr.uuid.clone(),
            name: sr.name_label.clone(),
            kind: sr.kind.clone(),
            disks: !matches!(sr.kind.as_str(), "iso" | "udev") && sr.content_type != "iso",
            size_bytes: sr.physical_size,
            free_bytes: sr.physical_size.saturating_sub(sr.physical_utilisation),
            shared: sr.shared,
            default: pool.default_storage.as_ref() == Some(&sr.uuid),
            hosts,
            detached_hosts,
        }
    }

    fn network(&self, links: &Links, wire: &Wire) -> NetworkFact {
        let from = Source { class: "network", uuid: &wire.uuid, name: &wire.name_label };
        let ports = wire.pifs.iter().filter_map(|pif| links.follow(from, "PIFs", pif, &self.more.ports));
        let mut hosts: Vec<String> = ports
            .filter_map(|port| {
                let from = Source { class: "PIF", uuid: &port.uuid, name: "" };
                links.follow(from, "host", &port.host, &self.view.hosts)
            })
            .map(|host| host.name_label.clone())
            .collect();
        hosts.sort();
        hosts.dedup();
        let management = wire.other_config.get("is_host_internal_management_network").is_some_and(|v| v == "true");
        NetworkFact {
            uuid: wire.uuid.clone(),
            name: wire.name_label.clone(),
            bridge: wire.bridge.clone(),
            hosts,
            management,
        }
    }

    fn disks(&self, links: &Links, vm: &Vm) -> Vec<DiskFact> {
        let from = Source { class: "VM", uuid: &vm.uuid, name: &vm.name_label };
        let slots = vm.vbds.iter().filter_map(|vbd| links.follow(from, "VBDs", vbd, &self.more.slots));
        let mut disks: Vec<DiskFact> = slots
            .filter(|slot| !slot.kind.eq_ignore_ascii_case("CD"))
            .filter_map(|slot| {
                let of = Source { class: "VBD", uuid: &slot.uuid, name: &vm.name_label };
                let vdi = links.follow(of, "VDI", &slot.vdi, &self.more.images)?;
                let from = Source { class: "VDI", uuid: &vdi.uuid, name: &vdi.name_label };
                let storage = links.follow(from, "SR", &vdi.sr, &self.more.repositories);
                Some(DiskFact {
                    device: slot.userdevice.clone(),
                    uuid: vdi.uuid.clone(),
                    size_bytes: vdi.virtual_size,
                    storage: storage.map(|sr| sr.name_label.clone()),
                })
            })
            .collect();
        disks.sort_by_cached_key(|disk| (disk.device.parse::<u32>().unwrap_or(u32::MAX), disk.device.clone()));
        disks
    }

    fn networks(&self, links: &Links, vm: &Vm) -> Vec<String> {
        let from = Source { class: "VM", uuid: &vm.uuid, name: &vm.name_label };
        let mut cards: Vec<_> =
            vm.vifs.iter().filter_map(|vif| links.follow(from, "VIFs", vif, &self.more.cards)).collect();
        cards.sort_by_key(|card| card.device.parse::<u32>().unwrap_or(u32::MAX));
        let network = |card: &&std::sync::Arc<super::Card>| {
            let from = Source { class: "VIF", uuid: &card.uuid, name: &vm.name_label };
            links.follow(from, "network", &card.network, &self.more.wires).map(|wire| wire.name_label.clone())
        };
        cards.iter().filter_map(network).collect()
    }

    fn template(&self, links: &Links, vm: &Vm) -> TemplateFact {
        let disks = self.disks(links, vm);
        TemplateFact {
            uuid: vm.uuid.clone(),
            name: vm.name_label.clone(),
            named_so: 1,
            has_disk: !disks.is_empty(),
            vcpus: vcpus(vm),
            memory_bytes: vm.memory_static_max,
            disks,
        }
    }

    fn guest(&self, links: &Links, vm: &Vm, owner: Option<(Owner, crate::provider::Key)>) -> GuestFact {
        let from = Source { class: "VM", uuid: &vm.uuid, name: &vm.name_label };
        let host = links.follow(from, "resident_on", &vm.resident_on, &self.view.hosts);
        let metrics = links.follow(from, "guest_metrics", &vm.guest_metrics, &self.view.guest_metrics);
        let snapshots = vm.snapshots.iter().filter_map(|s| links.follow(from, "snapshots", s, &self.view.vms)).count();
        GuestFact {
            uuid: vm.uuid.clone(),
            name: vm.name_label.clone(),
            power: self.view.power(vm).to_string(),
            host: host.map(|host| host.name_label.clone()),
            vcpus: vcpus(vm),
            memory_bytes: vm.memory_static_max,
            disks: self.disks(links, vm),
            networks: self.networks(links, vm),
            addresses: metrics
                .map(|m| view::addresses(m))
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect(),
            snapshots,
            guest_of: owner.map(|(Owner(cluster), key)| GuestOf { cluster, namespace: key.namespace, name: key.name }),
        }
    }
}

fn vcpus(vm: &Vm) -> u32 {
    u32::try_from(vm.vcpus_at_startup).unwrap_or(0)
}
