//! A VM's domain: what changes in the database, and in the world, when it comes and goes.

use std::sync::Arc;
use std::time::Instant;

use crate::allowed;
use crate::error::{ApiError, ApiResult};
use crate::history::Domain;
use crate::knobs::ms;
use crate::misc;
use crate::sim::{Call, World};
use crate::storage;
use crate::value::{Value, is_null};

/// The disks of a VM, with the devices that hold them.
pub(crate) fn disks(world: &World, vm: &str) -> Vec<(Arc<str>, Arc<str>)> {
    let vbds = world.store.refs_in("VM", vm, "VBDs").into_iter();
    vbds.map(|vbd| {
        let vdi = Arc::from(world.store.text("VBD", &vbd, "VDI"));
        (vbd, vdi)
    })
    .filter(|(_, vdi): &(_, Arc<str>)| !is_null(vdi))
    .collect()
}

/// A disk that another running VM writes to keeps this one from starting.
pub(crate) fn check_disks(world: &World, vm: &str) -> ApiResult<()> {
    for (vbd, vdi) in disks(world, vm) {
        world.store.row("VDI", &vdi)?;
        let read_only = world.store.text("VBD", &vbd, "mode") == "RO";
        if read_only || world.store.flag("VDI", &vdi, "sharable") {
            continue;
        }
        let busy = allowed::attached_vbd(world, &vdi).is_some_and(|other| other != vbd);
        if busy || world.is_busy(&vdi) {
            return Err(ApiError::new("VDI_IN_USE", [&*vdi, "attach"]));
        }
    }
    Ok(())
}

/// Makes a domain on a host: devices, consoles, metrics, the entry in the history. Answers with its number.
pub(crate) fn begin(world: &mut World, vm: &str, host: &str, event: &'static str) -> ApiResult<i64> {
    let domid = world.next_domid;
    world.next_domid += 1;
    let set = |world: &mut World, field: &str, value: Value| world.store.set("VM", vm, field, value);
    set(world, "scheduled_to_be_resident_on", Value::null_ref())?;
    set(world, "resident_on", Value::str(host))?;
    set(world, "domid", Value::Int(domid))?;
    set(world, "memory_target", Value::Int(world.store.int("VM", vm, "memory_dynamic_max")))?;
    set(world, "domarch", Value::str("x86_64"))?;
    set(world, "last_boot_CPU_flags", Value::dict([("vendor", "GenuineIntel"), ("features", "")]))?;
    set(world, "power_state", Value::str("Running"))?;
    attach(world, vm, true)?;
    consoles(world, vm, host)?;
    metrics(world, vm, true)?;
    if event != "resume" {
        forget_tools(world, vm)?;
        let empty = world.store.insert("VM_guest_metrics", crate::value::Map::new());
        set(world, "guest_metrics", Value::Str(empty))?;
    }
    world.log(event, "VM", vm, host);
    register(world, vm, host);
    Ok(domid)
}

/// Notes a domain that really runs, with the disks that it writes to.
pub(crate) fn register(world: &mut World, vm: &str, host: &str) {
    let written = disks(world, vm)
        .into_iter()
        .filter(|(vbd, vdi)| world.store.text("VBD", vbd, "mode") == "RW" && !world.store.flag("VDI", vdi, "sharable"));
    let disks = written.map(|(_, vdi)| world.uuid("VDI", &vdi)).collect();
    let domain = Domain { vm_uuid: world.uuid("VM", vm), vm: Arc::from(vm), disks, host: Arc::from(host) };
    world.history.domain_begins(domain);
}

fn attach(world: &mut World, vm: &str, attached: bool) -> ApiResult<()> {
    for vbd in world.store.refs_in("VM", vm, "VBDs") {
        if attached {
            let number = world.store.text("VBD", &vbd, "userdevice").parse().unwrap_or(0);
            world.store.set("VBD", &vbd, "device", device_name(number).as_str())?;
        }
        let empty = world.store.flag("VBD", &vbd, "empty");
        world.store.set("VBD", &vbd, "currently_attached", attached && !empty)?;
    }
    for vif in world.store.refs_in("VM", vm, "VIFs") {
        world.store.set("VIF", &vif, "currently_attached", attached)?;
    }
    Ok(())
}

/// `xvda` for position 0, `xvdb` for 1, ... `xvdaa` for 26.
pub(crate) fn device_name(position: u32) -> String {
    let letter = |n: u32| char::from(b'a' + u8::try_from(n % 26).unwrap_or(0));
    match position / 26 {
        0 => format!("xvd{}", letter(position)),
        more => format!("xvd{}{}", letter(more - 1), letter(position)),
    }
}

fn consoles(world: &mut World, vm: &str, host: &str) -> ApiResult<()> {
    close_consoles(world, vm)?;
    let address = world.store.text("host", host, "address").to_owned();
    for protocol in ["rfb", "vt100"] {
        let reference = crate::value::new_ref();
        let location = format!("https://{address}/console?ref={reference}");
        let fields = [("protocol", Value::str(protocol)), ("location", Value::str(location)), ("VM", Value::str(vm))];
        world.store.insert_as("console", &reference, fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect());
    }
    Ok(())
}

fn close_consoles(world: &mut World, vm: &str) -> ApiResult<()> {
    for console in world.store.refs_in("VM", vm, "consoles") {
        world.store.remove("console", &console)?;
    }
    Ok(())
}

fn metrics(world: &mut World, vm: &str, running: bool) -> ApiResult<()> {
    let reference = world.store.text("VM", vm, "metrics").to_owned();
    if !world.store.exists("VM_metrics", &reference) {
        return Ok(());
    }
    let row = world.store.row("VM", vm)?.clone();
    let (memory, vcpus) =
        if running { (row.get("memory_dynamic_max").as_int(), row.get("VCPUs_at_startup").as_int()) } else { (0, 0) };
    let mut set = |field: &str, value: Value| world.store.set("VM_metrics", &reference, field, value);
    set("memory_actual", Value::Int(memory))?;
    set("VCPUs_number", Value::Int(vcpus))?;
    set("current_domain_type", Value::str(if running { row.get("domain_type").as_str() } else { "unspecified" }))?;
    if running {
        let now = Value::Time(world.clock().text());
        world.store.set("VM_metrics", &reference, "start_time", now)?;
    }
    Ok(())
}

/// Takes the domain away and leaves the VM in a state without one.
pub(crate) fn end(world: &mut World, vm: &str, state: &str) -> ApiResult<()> {
    let host = world.store.text("VM", vm, "resident_on").to_owned();
    hold_disks(world, vm);
    attach(world, vm, false)?;
    close_consoles(world, vm)?;
    metrics(world, vm, false)?;
    let null = Value::null_ref();
    for (field, value) in [
        ("resident_on", null.clone()),
        ("scheduled_to_be_resident_on", null.clone()),
        ("domid", Value::Int(-1)),
        ("memory_target", Value::Int(0)),
        ("power_state", Value::str(state)),
    ] {
        world.store.set("VM", vm, field, value)?;
    }
    if state == "Halted" {
        let image = world.store.text("VM", vm, "suspend_VDI").to_owned();
        world.store.set("VM", vm, "suspend_VDI", null)?;
        if world.store.exists("VDI", &image) {
            storage::remove(world, &image)?;
        }
    }
    world.history.domain_ends(vm, Some(&host));
    Ok(())
}

/// Some backends let go of a disk only after a while.
fn hold_disks(world: &mut World, vm: &str) {
    let release = ms(world.knobs.vdi_release_ms);
    if release.is_zero() {
        return;
    }
    let until = Instant::now() + release;
    for (_, vdi) in disks(world, vm) {
        world.busy_disks.insert(vdi, until);
    }
}

/// Removes what the guest's tools have reported.
pub(crate) fn forget_tools(world: &mut World, vm: &str) -> ApiResult<()> {
    let old = world.store.text("VM", vm, "guest_metrics").to_owned();
    if world.store.exists("VM_guest_metrics", &old) {
        world.store.remove("VM_guest_metrics", &old)?;
    }
    world.store.set("VM", vm, "guest_metrics", Value::null_ref())
}

/// What the guest's tools report once they run: addresses, drivers, features.
pub(crate) fn report_tools(world: &mut World, vm: &str, domid: i64) -> ApiResult<()> {
    if !world.knobs.tools || world.store.int("VM", vm, "domid") != domid {
        return Ok(());
    }
    let metrics = world.store.text("VM", vm, "guest_metrics").to_owned();
    let (high, low) = ((domid / 250) % 250, domid % 250 + 2);
    let mut networks = Vec::new();
    for vif in world.store.refs_in("VM", vm, "VIFs") {
        let device = world.store.text("VIF", &vif, "device");
        let address = format!("10.{}.{high}.{low}", 77 + device.parse::<u8>().unwrap_or(0));
        networks.push((format!("{device}/ip"), address.clone()));
        networks.push((format!("{device}/ipv4/0"), address));
    }
    let features = ["shutdown", "reboot", "suspend", "vcpu-hotplug", "balloon"];
    let system =
        [("name", "Debian GNU/Linux 12 (bookworm)"), ("uname", "6.1.0-sim"), ("distro", "debian"), ("major", "12")];
    let reported = [
        ("networks", Value::dict(networks)),
        ("other", Value::dict(features.map(|f| (format!("feature-{f}"), "1")))),
        ("os_version", Value::dict(system)),
        ("PV_drivers_version", Value::dict([("major", "9"), ("minor", "4"), ("micro", "0"), ("build", "1")])),
        ("PV_drivers_up_to_date", Value::Bool(true)),
        ("PV_drivers_detected", Value::Bool(true)),
        ("live", Value::Bool(true)),
        ("last_updated", Value::Time(world.clock().text())),
    ];
    for (field, value) in reported {
        world.store.set("VM_guest_metrics", &metrics, field, value)?;
    }
    // The operations that need the tools are allowed from now on.
    world.store.touch("VM", vm)
}

/// Lets the tools of a new domain report after their time.
pub(crate) fn await_tools(call: &Call, vm: &str, domid: i64) {
    let (call, vm) = (call.clone(), vm.to_owned());
    let wait = ms(call.sim.read(|w| w.knobs.tools_ms));
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        // The VM may be gone by now, or the coordinator: then there is nobody to report.
        let _ = call.write(|w| report_tools(w, &vm, domid));
    });
}

/// Posts what xapi posts about a VM's life.
pub(crate) fn post(world: &mut World, vm: &str, message: &str, text: &str) {
    let uuid = world.uuid("VM", vm);
    let name = world.store.text("VM", vm, "name_label").to_owned();
    misc::post(world, message, 5, "VM", &uuid, &format!("VM '{name}' (uuid: {uuid}) {text}"));
}

/// The host in a message's words.
pub(crate) fn host_words(world: &World, host: &str) -> String {
    format!("host: {} (uuid: {})", world.store.text("host", host, "name_label"), world.uuid("host", host))
}
