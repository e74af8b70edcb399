//! A pool made up: hosts, storage, a network, templates, and guests on demand, with records as a real pool has them.

use std::sync::Arc;

use crate::error::ApiResult;
use crate::generic;
use crate::rbac;
use crate::session;
use crate::sim::World;
use crate::storage;
use crate::value::{Map, Value, new_ref};
use crate::vm::{clone, create, domain, placement, provision};

const GIB: i64 = 1 << 30;
const MIB: i64 = 1 << 20;

/// What the pool is made of.
#[derive(Debug, Clone)]
pub struct Preset {
    /// Hosts, each with an address of its own: 127.0.0.1, 127.0.0.2, ...
    pub hosts: usize,
    /// Each host's memory in bytes.
    pub host_memory: i64,
    /// Each host's logical CPUs.
    pub host_cpus: i64,
    /// The shared repository's size in bytes.
    pub shared_sr_size: i64,
    /// The shared repository's type; `lvmoiscsi` is thick, `nfs` thin.
    pub shared_sr_type: String,
    /// The size in bytes of each host's own repository.
    pub local_sr_size: i64,
    /// VMs besides the templates; the odd ones run.
    pub vms: usize,
    /// The pool's name.
    pub name: String,
}

impl Default for Preset {
    fn default() -> Self {
        Self {
            hosts: 3,
            host_memory: 16 * GIB,
            host_cpus: 8,
            shared_sr_size: 1024 * GIB,
            shared_sr_type: "nfs".to_owned(),
            local_sr_size: 256 * GIB,
            vms: 0,
            name: String::new(),
        }
    }
}

fn fields<const N: usize>(entries: [(&str, Value); N]) -> Map {
    entries.into_iter().map(|(k, v)| (Arc::from(k), v)).collect()
}

/// Builds the pool into an empty database.
pub(crate) fn build(world: &mut World, preset: &Preset) -> ApiResult<()> {
    roles(world);
    let hosts: Vec<Arc<str>> = (1..=preset.hosts.max(1)).map(|n| host(world, preset, n)).collect();
    let coordinator = hosts[0].clone();
    let shared = repository(world, "Shared storage", &preset.shared_sr_type, preset.shared_sr_size, true, &hosts);
    let isos = repository(world, "ISO library", "iso", 64 * GIB, true, &hosts);
    world.store.set("SR", &isos, "content_type", "iso")?;
    for (n, host) in hosts.iter().enumerate() {
        let name = format!("Local storage {}", n + 1);
        repository(world, &name, "ext", preset.local_sr_size, false, std::slice::from_ref(host));
    }
    let pool = fields([
        ("name_label", Value::str(&preset.name)),
        ("master", Value::Str(coordinator)),
        ("default_SR", Value::Str(shared.clone())),
        ("suspend_image_SR", Value::Str(shared.clone())),
        ("other_config", Value::dict([("memory-ratio-hvm", "0.25"), ("memory-ratio-pv", "0.25")])),
        ("tls_verification_enabled", Value::Bool(true)),
        ("wlb_verify_cert", Value::Bool(true)),
        ("cpu_info", pool_cpus(preset)),
        ("ha_cluster_stack", Value::str("xhad")),
        ("allowed_operations", Value::strings(["ha_enable", "designate_new_master", "eject"])),
        ("restrictions", Value::dict(RESTRICTIONS.map(|r| (format!("restrict_{r}"), "false")))),
    ]);
    world.store.insert("pool", pool);
    let lan = networks(world, &hosts);
    for (name, size) in [("debian-12", 10 * GIB), ("ubuntu-24.04", 20 * GIB)] {
        template(world, name, size, &shared, &lan, true)?;
    }
    template(world, "Other install media", GIB, &shared, &lan, false)?;
    guests(world, preset, &hosts, &lan)
}

/// What the hosts' processors have in common.
fn pool_cpus(preset: &Preset) -> Value {
    let hosts = i64::try_from(preset.hosts.max(1)).unwrap_or(i64::MAX);
    let (cpus, sockets) = ((hosts * preset.host_cpus).to_string(), hosts.to_string());
    Value::dict([("cpu_count", cpus.as_str()), ("socket_count", &sockets), ("vendor", "GenuineIntel")])
}

const RESTRICTIONS: [&str; 6] = ["pooling", "storage_xen_motion", "xen_motion", "vm_groups", "rbac", "pool_size"];

/// The six roles and, as the real ones' parts, one role for every method: more than two thousand rows.
fn roles(world: &mut World) {
    let mut permissions = Vec::new();
    for method in generic::all_methods(&world.store.model) {
        let (class, message) = method.strip_prefix("Async.").unwrap_or(&method).split_once('.').unwrap_or_default();
        let listed = world.store.model.class(class).and_then(|c| c.messages.get(message)).and_then(|m| m.role.clone());
        let needed = rbac::required(class, message, listed.as_deref());
        let name = Value::str(method.to_lowercase());
        permissions.push((needed, world.store.insert("role", fields([("name_label", name)]))));
    }
    for (role, name) in rbac::ROLES {
        let parts = permissions.iter().filter(|(needed, _)| role >= *needed).map(|(_, part)| part);
        let record = fields([("name_label", Value::str(name)), ("subroles", Value::strings(parts))]);
        world.store.insert("role", record);
    }
}

fn host(world: &mut World, preset: &Preset, n: usize) -> Arc<str> {
    let name = format!("xcp-h{n}");
    let metrics = world.store.insert(
        "host_metrics",
        fields([
            ("memory_total", Value::Int(preset.host_memory)),
            ("live", Value::Bool(true)),
            ("last_updated", Value::Time(world.clock().text())),
        ]),
    );
    let now = world.clock().now();
    let cpus = preset.host_cpus.to_string();
    let reference = new_ref();
    let mut record = fields([
        ("name_label", Value::str(&name)),
        ("name_description", Value::str("Default install")),
        ("hostname", Value::str(&name)),
        ("address", Value::str(format!("127.0.0.{n}"))),
        ("enabled", Value::Bool(true)),
        ("metrics", Value::Str(metrics)),
        ("API_version_major", Value::Int(2)),
        ("API_version_minor", Value::Int(23)),
        ("API_version_vendor", Value::str("XenSource")),
        ("sched_policy", Value::str("credit")),
        ("edition", Value::str("xcp-ng")),
        ("tls_verification_enabled", Value::Bool(true)),
        ("ssl_legacy", Value::Bool(false)),
        ("software_version", software()),
        ("capabilities", Value::strings(["xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_32p", "hvm-3.0-x86_64"])),
        ("supported_bootloaders", Value::strings(["pygrub", "eliloader"])),
        (
            "other_config",
            Value::dict([("agent_start_time", format!("{now}.")), ("boot_time", format!("{}.", now - 60))]),
        ),
        ("license_params", Value::dict([("license_type", "xcp-ng"), ("expiry", "20991231T00:00:00Z")])),
    ]);
    let processor = [
        ("cpu_count", cpus.as_str()),
        ("socket_count", "1"),
        ("threads_per_core", "2"),
        ("nr_nodes", "1"),
        ("vendor", "GenuineIntel"),
        ("speed", "2400.000"),
        ("modelname", "Simulated CPU"),
        ("family", "6"),
        ("model", "85"),
        ("stepping", "4"),
    ];
    record.insert(Arc::from("cpu_info"), Value::dict(processor));
    record.insert(
        Arc::from("virtual_hardware_platform_versions"),
        Value::Set(vec![Value::Int(0), Value::Int(1), Value::Int(2)]),
    );
    world.store.insert_as("host", &reference, record);
    for number in 0..preset.host_cpus {
        cpu(world, &reference, number);
    }
    // The host was put in a line above.
    let _ = crate::host::refresh(world, &reference);
    control_domain(world, &reference, &name);
    reference
}

fn software() -> Value {
    Value::dict([
        ("product_version", "8.3.0"),
        ("product_brand", "XCP-ng"),
        ("platform_name", "XCP"),
        ("platform_version", "3.4.0"),
        ("xapi", "26.17"),
        ("xapi_build", "26.17.0"),
        ("xen", "4.17.5"),
        ("build_number", "sim"),
        ("network_backend", "openvswitch"),
        ("db_schema", "5.909"),
        ("date", "20261122T11:34:52Z"),
    ])
}

fn cpu(world: &mut World, host: &Arc<str>, number: i64) {
    world.store.insert(
        "host_cpu",
        fields([
            ("host", Value::Str(host.clone())),
            ("number", Value::Int(number)),
            ("vendor", Value::str("GenuineIntel")),
            ("speed", Value::Int(2400)),
            ("modelname", Value::str("Simulated CPU")),
            ("family", Value::Int(6)),
            ("model", Value::Int(85)),
            ("stepping", Value::str("4")),
        ]),
    );
}

fn control_domain(world: &mut World, host: &Arc<str>, name: &str) {
    let memory = Value::Int(2 * GIB);
    let record = fields([
        ("name_label", Value::str(format!("Control domain on host: {name}"))),
        ("name_description", Value::str("The domain which manages physical devices and manages other domains")),
        ("power_state", Value::str("Running")),
        ("is_control_domain", Value::Bool(true)),
        ("is_a_template", Value::Bool(false)),
        ("domain_type", Value::str("pv")),
        ("resident_on", Value::Str(host.clone())),
        ("affinity", Value::Str(host.clone())),
        ("memory_static_max", memory.clone()),
        ("memory_static_min", memory.clone()),
        ("memory_dynamic_max", memory.clone()),
        ("memory_dynamic_min", memory.clone()),
        ("memory_target", memory),
        ("VCPUs_max", Value::Int(2)),
        ("VCPUs_at_startup", Value::Int(2)),
        ("actions_after_shutdown", Value::str("destroy")),
        ("actions_after_reboot", Value::str("destroy")),
        ("actions_after_crash", Value::str("destroy")),
    ]);
    let vm = create::insert(world, record);
    if let Ok(vm) = vm {
        let _ = world.store.set("VM", &vm, "domid", 0);
        let _ = world.store.set("host", host, "control_domain", &*vm);
    }
}

fn repository(world: &mut World, name: &str, kind: &str, size: i64, shared: bool, hosts: &[Arc<str>]) -> Arc<str> {
    let sr = world.store.insert(
        "SR",
        fields([
            ("name_label", Value::str(name)),
            ("type", Value::str(kind)),
            ("content_type", Value::str("user")),
            ("shared", Value::Bool(shared)),
            ("physical_size", Value::Int(size)),
            ("allowed_operations", Value::strings(storage::SR_OPERATIONS)),
        ]),
    );
    if !world.store.rows("SM").any(|(_, row)| row.get("type").as_str() == kind) {
        let driver = fields([("name_label", Value::str(kind)), ("type", Value::str(kind))]);
        world.store.insert("SM", driver);
    }
    for host in hosts {
        let pbd = [
            ("host", Value::Str(host.clone())),
            ("SR", Value::Str(sr.clone())),
            ("device_config", Value::dict([("location", name)])),
            ("currently_attached", Value::Bool(true)),
        ];
        world.store.insert("PBD", fields(pbd));
    }
    sr
}

/// Two pool-wide networks and the hosts' internal one. Answers with the first.
fn networks(world: &mut World, hosts: &[Arc<str>]) -> Arc<str> {
    let mut first = None;
    for n in 0..2 {
        let network = world.store.insert(
            "network",
            fields([
                ("name_label", Value::str(format!("Pool-wide network {n}"))),
                ("bridge", Value::str(format!("xenbr{n}"))),
            ]),
        );
        for (h, host) in hosts.iter().enumerate() {
            pif(world, host, h + 1, n, &network);
        }
        first.get_or_insert(network);
    }
    world.store.insert(
        "network",
        fields([
            ("name_label", Value::str("Host internal management network")),
            ("bridge", Value::str("xenapi")),
            ("other_config", Value::dict([("is_host_internal_management_network", "true")])),
        ]),
    );
    first.unwrap_or_else(|| Arc::from(""))
}

fn pif(world: &mut World, host: &Arc<str>, host_number: usize, n: usize, network: &Arc<str>) {
    let metrics = world.store.insert("PIF_metrics", fields([("carrier", Value::Bool(true))]));
    let address = if n == 0 { format!("127.0.0.{host_number}") } else { String::new() };
    world.store.insert(
        "PIF",
        fields([
            ("device", Value::str(format!("eth{n}"))),
            ("network", Value::Str(network.clone())),
            ("host", Value::Str(host.clone())),
            ("MAC", Value::str(format!("52:54:00:00:{host_number:02x}:{:02x}", n + 1))),
            ("MTU", Value::Int(1500)),
            ("VLAN", Value::Int(-1)),
            ("metrics", Value::Str(metrics)),
            ("physical", Value::Bool(true)),
            ("currently_attached", Value::Bool(true)),
            ("ip_configuration_mode", Value::str(if n == 0 { "Static" } else { "None" })),
            ("IP", Value::str(address)),
            ("management", Value::Bool(n == 0)),
            ("managed", Value::Bool(true)),
        ]),
    );
}

/// A template: with a disk of its own, as an image's, or only with the description of one.
fn template(world: &mut World, name: &str, disk: i64, sr: &Arc<str>, lan: &Arc<str>, with_disk: bool) -> ApiResult<()> {
    let sr_uuid = world.uuid("SR", sr);
    let wanted = format!(
        "<provision><disk device=\"0\" size=\"{disk}\" sr=\"{sr_uuid}\" bootable=\"true\" type=\"system\"/></provision>"
    );
    // As the real "Other install media": its clone, started as it is, needs 21 MiB on top of its 1 GiB.
    let static_max = if with_disk { GIB } else { 2 * GIB };
    let mut record = fields([
        ("name_label", Value::str(name)),
        ("user_version", Value::Int(1)),
        ("is_a_template", Value::Bool(true)),
        ("memory_static_max", Value::Int(static_max)),
        ("memory_dynamic_max", Value::Int(GIB)),
        ("memory_dynamic_min", Value::Int(GIB)),
        ("memory_static_min", Value::Int(512 * MIB)),
        ("VCPUs_max", Value::Int(if with_disk { 1 } else { 2 })),
        ("VCPUs_at_startup", Value::Int(if with_disk { 1 } else { 2 })),
        ("actions_after_shutdown", Value::str("destroy")),
        ("actions_after_reboot", Value::str("restart")),
        ("actions_after_crash", Value::str("restart")),
        ("HVM_boot_policy", Value::str("BIOS order")),
        ("HVM_boot_params", Value::dict([("order", "cdn")])),
        ("domain_type", Value::str("hvm")),
        ("hardware_platform_version", Value::Int(2)),
        (
            "platform",
            Value::dict([("acpi", "1"), ("apic", "true"), ("pae", "true"), ("viridian", "false"), ("stdvga", "0")]),
        ),
    ]);
    if !with_disk {
        let config = [("disks", wanted.as_str()), ("install-methods", "cdrom")];
        record.insert(Arc::from("other_config"), Value::dict(config));
    }
    let vm = create::insert(world, record)?;
    if with_disk {
        world.store.set_entry("VM", &vm, "other_config", "disks", Value::str(wanted))?;
        provision::provision(world, &vm)?;
        world.store.set("VM", &vm, "is_a_template", true)?;
        let vif = fields([
            ("VM", Value::Str(vm.clone())),
            ("network", Value::Str(lan.clone())),
            ("device", Value::str("0")),
            ("MAC", Value::str(crate::devices::mac_from_seed(world, &vm, "0"))),
            ("MAC_autogenerated", Value::Bool(true)),
            ("MTU", Value::Int(1500)),
        ]);
        world.store.insert("VIF", vif);
    }
    Ok(())
}

/// Guests cloned from the first template, every second one running with its tools' reports.
fn guests(world: &mut World, preset: &Preset, hosts: &[Arc<str>], _lan: &Arc<str>) -> ApiResult<()> {
    let source =
        world.store.rows("VM").find(|(_, row)| row.get("name_label").as_str() == "debian-12").map(|(r, _)| r.clone());
    let Some(source) = source else { return Ok(()) };
    for n in 0..preset.vms {
        let vm = clone::duplicate(world, &source, &format!("vm-{n:05}"), &clone::Kind::Clone)?;
        world.store.set("VM", &vm, "is_a_template", false)?;
        let host = &hosts[(n / 2) % hosts.len()];
        if n % 2 == 1 && placement::check(world, &vm, host, placement::Count::NotMemory).is_ok() {
            let domid = domain::begin(world, &vm, host, "start")?;
            domain::report_tools(world, &vm, domid)?;
        }
    }
    Ok(())
}

/// Lets a test skip the login.
pub(crate) fn session(world: &mut World) -> Arc<str> {
    session::open(world, "root", rbac::Role::PoolAdmin, "admin endpoint")
}
