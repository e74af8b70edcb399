//! A Xen pool in tables.

use std::collections::BTreeMap;

use crate::{
    api::quantity::Bytes,
    cli::table,
    provider::xapi::survey::{Dangling, DiskFact, GuestFact, GuestOf, HostFact, StorageFact, Survey},
};

/// What a pool has, as somebody wants to see it.
pub(super) struct SurveyView<'a> {
    pub(super) survey: &'a Survey,
    /// The cluster whose guests are ours, where one is known.
    pub(super) cluster: Option<&'a str>,
    /// Also what is of no use to guests.
    pub(super) all: bool,
}

impl SurveyView<'_> {
    pub(super) fn render(&self) -> String {
        let parts = [
            self.head(),
            self.hosts(),
            self.storage(),
            self.networks(),
            self.templates(),
            self.guests(),
            self.dangling(),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn head(&self) -> String {
        let pool = &self.survey.pool;
        let name = if pool.name.is_empty() { "without a name" } else { &pool.name };
        let coordinator = pool.coordinator.as_deref().unwrap_or("unknown");
        let version = if pool.version.is_empty() { "version unknown" } else { &pool.version };
        table::plain(&format!("Pool {name} ({version}), uuid {}, coordinator {coordinator}", pool.uuid)) + "\n"
    }

    fn hosts(&self) -> String {
        let mut rows =
            vec![["HOST", "STATE", "CPUS", "VCPUS", "MEMORY", "FREE", "VMS", "ADDRESS", "UUID"].map(str::to_owned)];
        rows.extend(self.survey.hosts.iter().map(|host: &HostFact| {
            [
                host.name.clone(),
                host.reason.clone().unwrap_or_else(|| "enabled".to_owned()),
                host.cpus.to_string(),
                host.vcpus_used.to_string(),
                human(host.memory_bytes),
                human(host.memory_free_bytes),
                host.guests.to_string(),
                host.address.clone(),
                host.uuid.clone(),
            ]
        }));
        table::render(&rows)
    }

    fn storage(&self) -> String {
        let mut rows = vec![["STORAGE", "TYPE", "SIZE", "FREE", "SHARED", "HOSTS", "NOTE", "UUID"].map(str::to_owned)];
        rows.extend(self.survey.storage.iter().map(|sr| {
            let size = |bytes: u64| if sr.size_bytes == 0 { "-".to_owned() } else { human(bytes) };
            [
                sr.name.clone(),
                sr.kind.clone(),
                size(sr.size_bytes),
                size(sr.free_bytes),
                if sr.shared { "yes" } else { "no" }.to_owned(),
                self.on(&sr.hosts),
                note(sr),
                sr.uuid.clone(),
            ]
        }));
        table::render(&rows)
    }

    fn networks(&self) -> String {
        let mut rows = vec![["NETWORK", "BRIDGE", "HOSTS", "NOTE", "UUID"].map(str::to_owned)];
        rows.extend(self.survey.networks.iter().map(|network| {
            let note = match (network.management, network.hosts.is_empty()) {
                (true, _) => "of the hosts' management",
                (false, true) => "ends within each host",
                (false, false) => "",
            };
            let hosts = if network.hosts.is_empty() { "-".to_owned() } else { self.on(&network.hosts) };
            [network.name.clone(), network.bridge.clone(), hosts, note.to_owned(), network.uuid.clone()]
        }));
        table::render(&rows)
    }

    fn templates(&self) -> String {
        let shown = self.survey.templates.iter().filter(|template| self.all || template.has_disk);
        let mut rows = vec![["TEMPLATE", "VCPUS", "MEMORY", "DISKS", "NOTE", "UUID"].map(str::to_owned)];
        rows.extend(shown.map(|template| {
            let note = if template.named_so > 1 {
                format!("one of {} of this name: use the uuid", template.named_so)
            } else {
                String::new()
            };
            [
                template.name.clone(),
                template.vcpus.to_string(),
                human(template.memory_bytes),
                disks(&template.disks),
                note,
                template.uuid.clone(),
            ]
        }));
        let (left_out, found) = (self.survey.templates.len() + 1 - rows.len(), rows.len() > 1);
        let mut text = if found { table::render(&rows) } else { String::new() };
        if left_out > 0 {
            let (more, s, them) = (if found { "more " } else { "" }, plural(left_out), it_or_them(left_out));
            text += &format!(
                "{left_out} {more}template{s} without a disk: guests made from {them} have nothing to boot (--all lists {them})\n"
            );
        }
        text
    }

    fn guests(&self) -> String {
        let guests = &self.survey.guests;
        if guests.is_empty() {
            return "No VMs beside templates, snapshots and control domains\n".to_owned();
        }
        let mut rows = vec![["VM", "STATE", "HOST", "VCPUS", "MEMORY", "DISKS", "GUEST", "UUID"].map(str::to_owned)];
        rows.extend(guests.iter().map(|vm| {
            [
                vm.name.clone(),
                vm.power.clone(),
                vm.host.clone().unwrap_or_else(|| "-".to_owned()),
                vm.vcpus.to_string(),
                human(vm.memory_bytes),
                disks(&vm.disks),
                self.guest_of(vm),
                vm.uuid.clone(),
            ]
        }));
        let free = guests.iter().filter(|vm| vm.guest_of.is_none()).count();
        table::render(&rows) + &format!("{free} of {} could be adopted: those without a guest\n", guests.len())
    }

    fn guest_of(&self, vm: &GuestFact) -> String {
        match (&vm.guest_of, self.cluster) {
            (None, _) => "-".to_owned(),
            (Some(GuestOf { cluster, namespace, name }), Some(ours)) if cluster == ours => {
                format!("{namespace}/{name}")
            }
            (Some(GuestOf { cluster, namespace, name }), _) => format!("{namespace}/{name} of cluster {cluster}"),
        }
    }

    /// Objects of old and of changing pools refer to what is not there.
    fn dangling(&self) -> String {
        let mut kinds: BTreeMap<(&str, &str), Vec<&Dangling>> = BTreeMap::new();
        for dangling in &self.survey.dangling {
            kinds.entry((&dangling.class, &dangling.field)).or_default().push(dangling);
        }
        let line = |((class, field), list): (&(&str, &str), &Vec<&Dangling>)| {
            let first = list.first().map_or("", |d| if d.name.is_empty() { &d.uuid } else { &d.name });
            let more = if list.len() > 1 { format!(" and {} more", list.len() - 1) } else { String::new() };
            table::plain(&format!("note: {class}.{field} of {first}{more} refers to what is not there")) + "\n"
        };
        kinds.iter().map(line).collect()
    }

    fn on(&self, hosts: &[String]) -> String {
        match (hosts.len(), self.survey.hosts.len()) {
            (0, _) => "none".to_owned(),
            (n, all) if n == all && all > 1 => "all".to_owned(),
            (1, _) => hosts.concat(),
            (n, all) => format!("{n} of {all}"),
        }
    }
}

fn note(sr: &StorageFact) -> String {
    let mut notes = Vec::new();
    if sr.default {
        notes.push("default".to_owned());
    }
    if !sr.disks {
        notes.push("not for disks".to_owned());
    }
    if !sr.detached_hosts.is_empty() {
        notes.push(format!("not attached to {}", sr.detached_hosts.join(", ")));
    }
    notes.join("; ")
}

fn disks(disks: &[DiskFact]) -> String {
    if disks.is_empty() {
        return "-".to_owned();
    }
    disks.iter().map(|disk| human(disk.size_bytes)).collect::<Vec<_>>().join(" + ")
}

fn human(bytes: u64) -> String {
    Bytes(bytes).human()
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn it_or_them(n: usize) -> &'static str {
    if n == 1 { "it" } else { "them" }
}
