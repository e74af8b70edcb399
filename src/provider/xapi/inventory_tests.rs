use std::sync::Arc;

use super::super::{
    identity::tests::{begun, cloned, complete, key, owner},
    view::tests::view,
};
use super::*;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

#[test]
fn the_recorded_pool_is_counted() {
    let inventory = inventory(&view([]), &owner()).unwrap();
    assert_eq!(inventory.id, "2791c5e2-ebc3-f018-9a23-863fcd9cd9b6");
    assert_eq!(inventory.version, "XCP-ng 8.3.0");
    assert_eq!(inventory.hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["xcp-h1", "xcp-h2", "xcp-h3"]);
    for host in &inventory.hosts {
        assert!(host.schedulable && host.reason.is_none() && host.cpus == 16);
        assert_eq!(host.memory_total, Bytes::gib(64));
        // The control domain: 2 GiB and 20 MiB.
        assert_eq!(host.memory_overhead, Bytes(2_147_483_648 + 20_971_520));
        assert_eq!((host.memory_others, host.vcpus_others), (Bytes(0), 0));
    }
    assert_eq!(inventory.images.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["Other install media"]);
}

fn on_host(view: &View, vm: Vm, scheduled: bool) -> Vm {
    let host = view.hosts.iter().find(|(_, h)| h.name_label == "xcp-h1").map(|(r, _)| r.clone()).unwrap();
    let vm = Vm { memory_dynamic_min: GIB, memory_overhead: 21 * MIB, vcpus_at_startup: 2, ..vm };
    if scheduled {
        Vm { scheduled_to_be_resident_on: host, ..vm }
    } else {
        Vm { resident_on: host, power_state: "Running".into(), ..vm }
    }
}

#[test]
fn ours_and_others_are_counted_apart() {
    let empty = view([]);
    let foreign = Vm { is_a_template: false, ..cloned("f", "foreign") };
    let full = view([
        on_host(&empty, complete("a"), false),
        on_host(&empty, foreign.clone(), false),
        on_host(&empty, Vm { uuid: "g".into(), ..foreign }, true),
    ]);
    let inventory = inventory(&full, &owner()).unwrap();
    let host = &inventory.hosts[0];
    let each = Bytes(GIB + 21 * MIB);
    assert_eq!(host.guests, [GuestUse { guest: key().guest, memory: each, vcpus: 2 }]);
    assert_eq!((host.memory_others, host.vcpus_others), (Bytes(2 * each.0), 4));
    assert!(inventory.hosts[1].guests.is_empty());
}

#[test]
fn hosts_that_cannot_take_guests_say_why() {
    let mut pool = view([]);
    let metrics = pool.hosts.values().find(|h| h.name_label == "xcp-h1").unwrap().metrics.clone();
    Arc::make_mut(pool.host_metrics.get_mut(&metrics).unwrap()).live = false;
    let disabled = pool.hosts.iter().find(|(_, h)| h.name_label == "xcp-h2").unwrap().0.clone();
    Arc::make_mut(pool.hosts.get_mut(&disabled).unwrap()).enabled = false;
    pool.host_metrics.remove_mut(&pool.hosts.values().find(|h| h.name_label == "xcp-h3").unwrap().metrics.clone());
    let hosts = inventory(&pool, &owner()).unwrap().hosts;
    assert!(hosts.iter().all(|h| !h.schedulable));
    assert!(hosts[0].reason.as_deref().unwrap().contains("does not answer"));
    assert!(hosts[1].reason.as_deref().unwrap().contains("disabled"));
    assert!(hosts[2].reason.as_deref().unwrap().contains("does not answer"));
}

#[test]
fn templates_are_found_by_uuid_or_unique_name() {
    let twice = cloned("t2", "Other install media");
    let snapshot = Vm { is_a_snapshot: true, ..cloned("s1", "snap") };
    let pool = view([twice, snapshot, begun("b1"), cloned("t3", "debian-12")]);
    let found = |image: &str| template(&pool, &owner(), image).map(|(_, vm)| vm.uuid.clone()).map_err(|e| e.kind);
    assert_eq!(found("debian-12"), Ok("t3".into()));
    assert_eq!(found("t2"), Ok("t2".into()));
    assert_eq!(found("Other install media"), Err(ErrorKind::Invalid));
    for absent in ["snap", "s1", "b1", "copy1", "xcp-h1", "nothing"] {
        assert_eq!(found(absent), Err(ErrorKind::NotFound), "{absent}");
    }
    assert_eq!(inventory(&pool, &owner()).unwrap().images.len(), 3);
}

fn reckoned(memory: u64, vcpus: u64) -> u64 {
    OVERHEAD.fixed.0 + OVERHEAD.per_vcpu.0 * vcpus + memory / OVERHEAD.memory_divisor
}

#[test]
fn recorded_overheads_are_not_above_ours() {
    for vm in view([]).vms.values().filter(|vm| !vm.is_control_domain) {
        let vcpus = u64::try_from(vm.vcpus_max).unwrap();
        assert!(reckoned(vm.memory_static_max, vcpus) >= vm.memory_overhead, "{}", vm.name_label);
    }
    // A guest of 1 GiB and one processor was refused on a full host with a need of this many bytes.
    assert!(GIB + reckoned(GIB, 1) >= 1_095_761_920);
}

proptest! {
    #[test]
    fn ours_is_never_below_xapis_figure(memory in (16 * MIB)..(12_u64 << 40), vcpus in 1..128_u64) {
        let static_mib = memory.div_ceil(MIB);
        let pages = 256 * vcpus + 2 * static_mib;
        let xapi = (12 + pages.div_ceil(256)) * MIB;
        prop_assert!(reckoned(memory, vcpus) >= xapi);
    }
}
