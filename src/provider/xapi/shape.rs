//! What a clone is made into: memory, processors, network cards, disks. Pure.

use super::{
    records::{Map, Network, Vif, Vm},
    value::Ref,
};
use crate::api::quantity::Bytes;

/// The key of `other_config` where a template says which disks `VM.provision` makes.
pub(super) const DISKS: &str = "disks";

/// XAPI's four limits of a VM's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryLimits {
    pub(super) static_min: u64,
    pub(super) static_max: u64,
    pub(super) dynamic_min: u64,
    pub(super) dynamic_max: u64,
}

impl MemoryLimits {
    pub(super) fn of(vm: &Vm) -> Self {
        Self {
            static_min: vm.memory_static_min,
            static_max: vm.memory_static_max,
            dynamic_min: vm.memory_dynamic_min,
            dynamic_max: vm.memory_dynamic_max,
        }
    }
}

/// The limits for a guest of this much memory: no ballooning, so that what was promised is there and what is counted is
/// taken. xapi requires static minimum ≤ dynamic minimum ≤ dynamic maximum ≤ static maximum.
pub(super) fn memory_limits(memory: u64, vm: &Vm) -> MemoryLimits {
    MemoryLimits {
        static_min: vm.memory_static_min.min(memory),
        static_max: memory,
        dynamic_min: memory,
        dynamic_max: memory,
    }
}

/// What can be done about a running VM's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is as wished.
    None,
    /// It can be changed now.
    Now,
    /// It has to be off; why.
    WhenOff(String),
}

/// Whether a running VM can be given this much memory. It cannot have more than it was started with as its maximum, and
/// only a guest that balloons gives memory back or takes it: of any other, xapi would note what is not so.
pub(super) fn memory_live(memory: u64, vm: &Vm, balloons: bool) -> Change {
    let most = vm.memory_static_max;
    if vm.memory_dynamic_max == memory && vm.memory_dynamic_min == memory {
        Change::None
    } else if memory > most {
        Change::WhenOff(format!("it was started with at most {} of memory", Bytes(most)))
    } else if memory < vm.memory_static_min {
        Change::WhenOff(format!("it was started with at least {} of memory", Bytes(vm.memory_static_min)))
    } else if balloons {
        Change::Now
    } else {
        Change::WhenOff("its system cannot change its memory while it runs".into())
    }
}

/// Whether a running VM can be given this many processors.
pub(super) fn vcpus_live(vcpus: u32, vm: &Vm, plugs: bool) -> Change {
    if vm.vcpus_at_startup == i64::from(vcpus) {
        Change::None
    } else if i64::from(vcpus) > vm.vcpus_max {
        Change::WhenOff(format!("it was started with at most {} processors", vm.vcpus_max))
    } else if plugs {
        Change::Now
    } else {
        Change::WhenOff("its system cannot change its number of processors while it runs".into())
    }
}

/// The calls that bring the processors to `wanted`: at no time may there be more at startup than at most.
pub(super) fn vcpu_steps(max: i64, at_startup: i64, wanted: i64) -> Vec<(&'static str, i64)> {
    let mut steps = Vec::new();
    if at_startup != wanted {
        steps.push(("VM.set_VCPUs_at_startup", wanted));
    }
    if max != wanted {
        let place = if max < wanted { 0 } else { steps.len() };
        steps.insert(place, ("VM.set_VCPUs_max", wanted));
    }
    steps
}

/// The platform map to set, where the template's number of cores per socket does not divide the processors: such a VM does
/// not start. The map is set as a whole: xapi checks this key only then.
pub(super) fn platform(platform: &Map, vcpus: u32) -> Option<Map> {
    const CORES: &str = "cores-per-socket";
    let cores: u32 = platform.get(CORES)?.trim().parse().unwrap_or(0);
    if cores != 0 && vcpus.is_multiple_of(cores) {
        return None;
    }
    let mut without = platform.clone();
    without.remove(CORES);
    Some(without)
}

/// What to do to a VM's network cards.
#[derive(Debug, PartialEq)]
pub(super) struct VifPlan {
    pub(super) destroy: Vec<Ref<Vif>>,
    pub(super) create: Vec<(usize, Ref<Network>)>,
}

/// Brings the cards to exactly the wanted networks, in order: card number n on the n-th network.
pub(super) fn vifs(present: &[(Ref<Vif>, Vif)], wanted: &[Ref<Network>]) -> VifPlan {
    let fits = |device: usize, vif: &Vif| vif.device == device.to_string() && wanted.get(device) == Some(&vif.network);
    let has = |device: usize| present.iter().any(|(_, vif)| fits(device, vif));
    let stays = |vif: &Vif| (0..wanted.len()).any(|device| fits(device, vif));
    VifPlan {
        destroy: present.iter().filter(|(_, vif)| !stays(vif)).map(|(r, _)| r.clone()).collect(),
        create: wanted.iter().cloned().enumerate().filter(|(device, _)| !has(*device)).collect(),
    }
}

const EMPTY_SR: [&str; 2] = ["sr=\"\"", "sr=''"];

/// Whether a template's disk description leaves the SR open, as those that come with the pool do.
pub(super) fn names_no_storage(disks: &str) -> bool {
    EMPTY_SR.iter().any(|empty| disks.contains(empty))
}

/// The description with the SR's uuid where it is open.
pub(super) fn with_storage(disks: &str, sr: &str) -> String {
    EMPTY_SR.iter().fold(disks.to_owned(), |disks, empty| disks.replace(empty, &format!("sr=\"{sr}\"")))
}

/// The disks that a description has `VM.provision` make: the uuid of each one's SR, empty where it is left open, and its size.
pub(super) fn described(disks: &str) -> Vec<(&str, u64)> {
    fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
        let mut all = tag.split_whitespace().filter_map(|part| part.split_once('='));
        let (_, value) = all.find(|(key, _)| *key == name)?;
        Some(value.trim_matches(['"', '\'', '/']))
    }
    let tags = disks.split("<disk ").skip(1).filter_map(|rest| rest.split('>').next());
    tags.filter_map(|tag| Some((attribute(tag, "sr").unwrap_or_default(), attribute(tag, "size")?.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::xapi::identity::tests::begun;
    use proptest::prelude::*;

    fn network(name: &str) -> Ref<Network> {
        Ref::new(name)
    }

    fn vif(id: &str, device: &str, on: &str) -> (Ref<Vif>, Vif) {
        (Ref::new(id), Vif { device: device.into(), network: network(on) })
    }

    #[test]
    fn cards_that_fit_stay() {
        let present = [vif("v0", "0", "a"), vif("v1", "1", "x"), vif("v7", "7", "a")];
        let plan = vifs(&present, &[network("a"), network("b"), network("a")]);
        assert_eq!(plan.destroy, [Ref::new("v1"), Ref::new("v7")]);
        assert_eq!(plan.create, [(1, network("b")), (2, network("a"))]);
        assert_eq!(vifs(&present[..1], &[network("a")]), VifPlan { destroy: vec![], create: vec![] });
    }

    #[test]
    fn open_storage_is_filled_in_and_named_storage_is_not() {
        let open =
            r#"<provision><disk device="0" size="1" sr="" bootable="true"/><disk sr='' device="1"/></provision>"#;
        assert!(names_no_storage(open));
        let filled = with_storage(open, "u");
        assert!(!names_no_storage(&filled) && filled.matches(r#"sr="u""#).count() == 2);
        let named = r#"<disk sr="fd1d5bd0-d44f-edfd-f06a-2e866f385004"/>"#;
        assert!(!names_no_storage(named));
        assert_eq!(with_storage(named, "u"), named);
    }

    #[test]
    fn a_description_tells_where_disks_come_and_how_large() {
        let text = r#"<provision><disk device="0" size="8589934592" sr="" bootable="true" type="system"/>
            <disk bootable='false' sr='u-1'	size='7'/><disk size="many" sr="u-2"/></provision>"#;
        assert_eq!(described(text), [("", 8_589_934_592), ("u-1", 7)]);
        assert_eq!(described("<provision></provision>"), []);
    }

    #[test]
    fn cores_per_socket_must_divide() {
        let map =
            |cores: &str| Map::from_iter([("cores-per-socket".into(), cores.into()), ("acpi".into(), "1".into())]);
        assert_eq!(platform(&map("2"), 4), None);
        assert_eq!(platform(&Map::new(), 3), None);
        for odd in ["2", "0", "many"] {
            assert_eq!(platform(&map(odd), 3), Some(Map::from_iter([("acpi".into(), "1".into())])), "{odd}");
        }
    }

    #[test]
    fn a_running_vm_changes_within_what_it_was_started_with() {
        let vm = |least: u64, most: u64, has: u64| Vm {
            memory_static_min: least,
            memory_static_max: most,
            memory_dynamic_min: has,
            memory_dynamic_max: has,
            vcpus_max: 4,
            vcpus_at_startup: 2,
            ..begun("u")
        };
        let waits = |change: Change| matches!(change, Change::WhenOff(_));
        assert_eq!(memory_live(8, &vm(4, 16, 8), false), Change::None);
        assert_eq!(memory_live(16, &vm(4, 16, 8), true), Change::Now);
        assert!(waits(memory_live(16, &vm(4, 16, 8), false)));
        assert!(waits(memory_live(17, &vm(4, 16, 8), true)));
        assert!(waits(memory_live(3, &vm(4, 16, 8), true)));
        assert_eq!(memory_live(8, &Vm { memory_dynamic_min: 4, ..vm(4, 16, 8) }, true), Change::Now);
        assert_eq!(vcpus_live(2, &vm(4, 16, 8), false), Change::None);
        assert_eq!(vcpus_live(4, &vm(4, 16, 8), true), Change::Now);
        assert!(waits(vcpus_live(4, &vm(4, 16, 8), false)));
        assert!(waits(vcpus_live(5, &vm(4, 16, 8), true)));
    }

    proptest! {
        #[test]
        fn xapis_memory_rule_holds(memory in 1_u64..1 << 42, static_min in 0_u64..1 << 42) {
            let vm = Vm { memory_static_min: static_min, ..begun("u") };
            let l = memory_limits(memory, &vm);
            prop_assert!(l.static_min <= l.dynamic_min && l.dynamic_min <= l.dynamic_max && l.dynamic_max <= l.static_max);
            prop_assert!(l.static_max == memory && l.dynamic_min == memory);
            let sized = Vm {
                memory_static_min: l.static_min, memory_static_max: l.static_max,
                memory_dynamic_min: l.dynamic_min, memory_dynamic_max: l.dynamic_max, ..vm
            };
            prop_assert_eq!(memory_limits(memory, &sized), MemoryLimits::of(&sized));
        }

        #[test]
        fn there_are_never_more_processors_at_startup_than_at_most(start in 1_i64..64, more in 0_i64..64, wanted in 1_i64..128) {
            let (mut max, mut at_startup) = (start + more, start);
            for (setter, n) in vcpu_steps(max, at_startup, wanted) {
                match setter {
                    "VM.set_VCPUs_max" => max = n,
                    _ => at_startup = n,
                }
                prop_assert!(at_startup <= max);
            }
            prop_assert_eq!((max, at_startup), (wanted, wanted));
        }
    }
}
