use proptest::prelude::*;

use super::{
    super::identity::{
        claim,
        tests::{begun, cloned, complete, marked, owner},
    },
    *,
};
use crate::provider::Key;

fn reference(number: usize) -> Ref<Vm> {
    Ref::new(format!("OpaqueRef:{number}"))
}

fn measured<T>(state: u8) -> Ref<T> {
    if state.is_multiple_of(2) { Ref::null() } else { Ref::new(format!("OpaqueRef:g{state}")) }
}

/// A VM in one of the states of its life, of one of two guests.
fn vm(state: u8, other: bool) -> Vm {
    let vm = match state {
        0 => cloned("u", "somebody's"),
        1 => begun("u"),
        2 => marked("u"),
        3 => complete("u"),
        // A clone that somebody took of a guest's VM.
        _ => Vm { uuid: "copy".into(), ..complete("u") },
    };
    let guest = |text: &str| text.replace("8c0e", if other { "0ther" } else { "8c0e" });
    let other_config = vm.other_config.iter().map(|(key, value)| (key.clone(), guest(value))).collect();
    // Those of an old pool's database may be anybody's, or nobody's.
    let (metrics, guest_metrics) = (Ref::new(format!("OpaqueRef:m{state}")), measured(state));
    Vm { name_label: guest(&vm.name_label), other_config, metrics, guest_metrics, ..vm }
}

proptest! {
    /// Whatever comes, goes and changes: each guest's VMs are found as by looking at all VMs.
    #[test]
    fn all_vms_of_a_guest_are_found(steps in proptest::collection::vec((0_usize..4, 0_u8..6, any::<bool>()), 0..30)) {
        let mut vms = Vms::default();
        for (number, state, other) in steps {
            if state == 5 {
                vms.remove(&reference(number));
            } else {
                vms.insert(reference(number), Arc::new(vm(state, other)));
            }
            for guest in ["8c0e", "0ther"] {
                let is_its = |vm: &Vm| claim(&owner(), vm).key().is_some_and(|key: &Key| key.guest == guest);
                let mut all: Vec<_> = vms.iter().filter(|(_, vm)| is_its(vm)).map(|(reference, _)| reference).collect();
                let mut found: Vec<_> = vms.perhaps_of(guest).filter(|(_, vm)| is_its(vm)).map(|(r, _)| r).collect();
                all.sort();
                found.sort();
                prop_assert_eq!(all, found);
            }
            for state in 0..5 {
                let (metrics, tools) = (Ref::new(format!("OpaqueRef:m{state}")), measured(state));
                let all = vms.values().filter(|vm| vm.metrics == metrics).count();
                prop_assert_eq!(vms.with_metrics(&metrics).count(), all);
                let all = vms.values().filter(|vm| vm.guest_metrics == tools && !tools.is_null()).count();
                prop_assert_eq!(vms.with_guest_metrics(&tools).count(), all);
            }
            let stale = vms.shelves.values().flat_map(|all| all.iter()).any(|r| !vms.contains_key(r));
            prop_assert!(!stale, "what is gone is kept on no shelf");
        }
    }
}
