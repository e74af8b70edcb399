use super::super::{
    identity::tests::{begun, cloned, complete, key, marked, owner},
    records::{Map, tests::recorded},
};
use super::*;
use proptest::prelude::*;

/// The pool that the records were taken from, with these VMs more.
pub(in crate::provider::xapi) fn view(vms: impl IntoIterator<Item = Vm>) -> View {
    let mut view = View {
        pools: table(recorded()),
        hosts: table(recorded()),
        host_metrics: table(recorded()),
        vms: table(recorded()).into(),
        guest_metrics: table(recorded()),
        vm_metrics: table(recorded()),
        vbds: table(recorded()),
        vdis: table(recorded()),
    };
    view.vms.extend(vms.into_iter().map(|vm| (Ref::new(format!("OpaqueRef:{}", vm.uuid)), Arc::new(vm))));
    view
}

fn chosen(view: &View) -> Option<String> {
    view.candidates(&owner(), &key()).chosen.map(|(_, vm, _)| vm.uuid.clone())
}

fn surplus(view: &View) -> Vec<String> {
    view.candidates(&owner(), &key()).surplus.iter().map(|r| r.to_string().replace("OpaqueRef:", "")).collect()
}

#[test]
fn one_of_several_clones_is_the_guests() {
    for (vms, is, left) in [
        (vec![], None, vec![]),
        (vec![begun("b")], Some("b"), vec![]),
        (vec![begun("b"), begun("a")], Some("a"), vec!["b"]),
        (vec![begun("a"), marked("b")], Some("b"), vec!["a"]),
        (vec![begun("a"), complete("c"), marked("b")], Some("c"), vec!["a"]),
        (vec![complete("b"), complete("a")], Some("a"), vec![]),
    ] {
        let view = view(vms);
        assert_eq!(chosen(&view).as_deref(), is);
        assert_eq!(surplus(&view), left);
    }
}

#[test]
fn guests_with_clones_too_many_are_known() {
    assert!(view([complete("a")]).crowded(&owner()).is_empty());
    assert!(view([begun("a")]).crowded(&owner()).is_empty());
    assert_eq!(view([complete("a"), begun("b")]).crowded(&owner()), [key()]);
}

#[test]
fn of_two_complete_ones_the_running_one_is_the_guests() {
    let running = Vm { power_state: "Running".into(), ..complete("b") };
    assert_eq!(chosen(&view([complete("a"), running])).as_deref(), Some("b"));
}

#[test]
fn a_guest_is_found_by_its_incarnation() {
    let view = view([complete("a")]);
    let older = Key { incarnation: 1, ..key() };
    assert!(view.find(&owner(), &older).is_none());
    assert_eq!(view.find(&owner(), &key()).unwrap().provider_id, "a");
}

#[test]
fn every_guest_is_listed_once() {
    let other = Key { guest: "9d1f".into(), ..key() };
    let mut second = cloned("z", "anything");
    second.other_config.insert(identity::mark_key("z"), identity::mark(&owner(), &other));
    let view = view([begun("b"), begun("a"), second]);
    let listed: Vec<_> = view.list(&owner()).into_iter().map(|g| (g.provider_id, g.stage)).collect();
    assert_eq!(listed, [("a".into(), Stage::Incomplete), ("z".into(), Stage::Incomplete)]);
    assert!(view.list(&Owner("nobody".into())).is_empty());
}

fn with(state: &str, operation: &str) -> Vm {
    let mut vm = Vm { power_state: state.into(), ..complete("a") };
    if !operation.is_empty() {
        vm.current_operations.insert("OpaqueRef:task".into(), operation.into());
    }
    vm
}

#[test]
fn power_states_are_read_off_state_and_operations() {
    let view = view([]);
    for (state, operation, power) in [
        ("Halted", "", Power::Stopped),
        ("halted", "", Power::Stopped),
        ("Halted", "start_on", Power::Starting),
        ("Paused", "start", Power::Starting),
        ("Halted", "destroy", Power::Terminating),
        ("Running", "", Power::Running),
        ("Running", "snapshot", Power::Running),
        ("Running", "clean_shutdown", Power::Stopping),
        ("Suspended", "", Power::Suspended),
        ("Suspended", "resume_on", Power::Starting),
        ("Paused", "", Power::Paused),
        ("Dreaming", "", Power::Unknown),
    ] {
        assert_eq!(view.power(&with(state, operation)), power, "{state} {operation}");
    }
}

#[test]
fn a_vm_on_a_dead_host_is_neither_running_nor_stopped() {
    let mut view = view([]);
    let (host, metrics) = view.hosts.iter().map(|(r, host)| (r.clone(), host.metrics.clone())).next().unwrap();
    let vm = Vm { resident_on: host.clone(), ..with("Running", "") };
    assert_eq!(view.power(&vm), Power::Running);
    Arc::make_mut(view.host_metrics.get_mut(&metrics).unwrap()).live = false;
    assert_eq!(view.power(&vm), Power::Unknown);
    // An administrator reset its power state: now it is known to be off.
    let reset = Vm { resident_on: Ref::null(), ..with("Halted", "") };
    assert_eq!(view.power(&reset), Power::Stopped);
    // The host's record is gone altogether.
    view.hosts.remove_mut(&host);
    assert_eq!(view.power(&vm), Power::Unknown);
}

#[test]
fn addresses_come_in_a_stable_order() {
    let networks = [
        ("1/ip", "10.0.0.9"),
        ("0/ipv6/1", "2001:db8::2"),
        ("0/ipv6/0", "fe80::1"),
        ("0/ip", "10.77.0.4"),
        ("0/ipv4/0", "10.77.0.4"),
        ("0/ipv4/1", "10.77.0.5"),
        ("0/name", "eth0"),
        ("lo/ip", "127.0.0.1"),
        ("2/ip", ""),
    ];
    let metrics = GuestMetrics {
        other: Map::default(),
        networks: networks.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    };
    let texts: Vec<String> = addresses(&metrics).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["10.77.0.4", "10.77.0.5", "2001:db8::2", "10.0.0.9"]);
}

proptest! {
    /// Whatever stands in the pool: the choice does not depend on the order, only unmarked templates are surplus, and the
    /// chosen one never is.
    #[test]
    fn the_choice_is_the_same_for_everyone(kinds in proptest::collection::vec(0..4_u8, 0..6)) {
        let vms: Vec<Vm> = kinds.iter().enumerate().map(|(i, kind)| {
            let uuid = format!("u{i}");
            match kind {
                0 => begun(&uuid),
                1 => marked(&uuid),
                2 => complete(&uuid),
                _ => Vm { uuid: uuid.clone(), ..complete("elsewhere") },
            }
        }).collect();
        let (one, other) = (view(vms.clone()), view(vms.into_iter().rev()));
        prop_assert_eq!(chosen(&one), chosen(&other));
        for r in one.candidates(&owner(), &key()).surplus {
            let vm = &one.vms[r];
            prop_assert!(vm.is_a_template && is_halted(vm) && Some(&vm.uuid) != chosen(&one).as_ref());
            prop_assert_eq!(identity::claim(&owner(), vm), Claim::Begun(key()));
        }
    }
}
