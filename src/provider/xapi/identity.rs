//! Which VMs are ours, and which guest each was made for.
//!
//! `VM.clone` copies `other_config` and takes one thing from us: the new name. So a guest's VM is known by its name from
//! the very call that makes it until it is marked, and by its mark from then on. The mark's key holds the VM's own uuid:
//! a clone or snapshot that somebody takes of our VM carries a copy of the mark under a uuid that is not its own, and so
//! is not ours.

use serde::{Deserialize, Serialize};

use super::records::Vm;
use crate::provider::{Key, Owner, Stage};

/// What a VM is to one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Marked as the VM of a guest of ours.
    Marked(Key, Stage),
    /// A clone of ours that is not marked yet: still a template, never started.
    Begun(Key),
    /// Somebody else's.
    Foreign,
}

impl Claim {
    pub(super) fn key(&self) -> Option<&Key> {
        match self {
            Self::Marked(key, _) | Self::Begun(key) => Some(key),
            Self::Foreign => None,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Marked(_, stage) => *stage,
            Self::Begun(_) | Self::Foreign => Stage::Incomplete,
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Mark {
    owner: String,
    guest: String,
    incarnation: u32,
    namespace: String,
    name: String,
}

const PREFIX: &str = "innkeeper";
/// How the keys of a VM's own end that say that all of it is made,
const COMPLETE: &str = ":complete";
/// that it was started,
const STARTED: &str = ":started";
/// and that it changes hands.
const CHANGING: &str = ":changing-hands";

/// The key of `other_config` under which a VM's own mark stands.
pub(super) fn mark_key(uuid: &str) -> String {
    format!("{PREFIX}:{uuid}")
}

/// The key that says that `VM.provision` has ended well.
pub(super) fn provisioned_key(uuid: &str) -> String {
    format!("{PREFIX}:{uuid}:provisioned")
}

/// The key that says that all of the VM is made.
pub(super) fn complete_key(uuid: &str) -> String {
    format!("{PREFIX}:{uuid}{COMPLETE}")
}

/// The key that says that we started the VM, or were about to.
pub(super) fn started_key(uuid: &str) -> String {
    format!("{PREFIX}:{uuid}{STARTED}")
}

/// The key that says which guest ([`task_mark`]) takes the VM over or gives it up: while it has no mark, the other keys are
/// found by it.
pub(super) fn changing_key(uuid: &str) -> String {
    format!("{PREFIX}:{uuid}{CHANGING}")
}

/// The mark of this guest's VM.
pub(super) fn mark(owner: &Owner, key: &Key) -> String {
    let Key { guest, incarnation, namespace, name } = key.clone();
    let mark = Mark { owner: owner.0.clone(), guest, incarnation, namespace, name };
    // A struct of strings and a number always has a JSON form.
    serde_json::to_string(&mark).unwrap_or_default()
}

/// The name of a clone that is not marked yet. It is also what people see of a creation that was cut off.
pub(super) fn clone_name(owner: &Owner, key: &Key) -> String {
    let Key { guest, incarnation, namespace, name } = key;
    format!("{PREFIX}/{}/{guest}/{incarnation} {namespace}/{name}", owner.0)
}

/// The key of a drive's `other_config` under which a disk of ours has its name, as long as the drive is this VM's. The
/// drive keeps it where the disk itself is moved to other storage and loses its own.
pub(super) fn drive_key(uuid: &str) -> String {
    format!("{PREFIX}:{uuid}:disk")
}

/// The key that says that disks for this VM are being made.
pub(super) fn making_key(uuid: &str) -> String {
    format!("{PREFIX}:{uuid}:making")
}

/// The key of a disk's `other_config` that says what it is for.
pub(super) const DISK_KEY: &str = "innkeeper:disk";

/// What a disk is for, from the very call that makes it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct DiskMark {
    pub(super) incarnation: u32,
    pub(super) name: String,
}

/// The name of a guest's disk that is in no drive yet: what it is found by.
pub(super) fn loose_name(owner: &Owner, key: &Key) -> String {
    format!("{PREFIX}/{}/{}", owner.0, key.guest)
}

/// The key of a task's `other_config` that says for whom it works.
pub(super) const TASK_KEY: &str = "innkeeper";

/// What marks a task as work for this guest, and a VM that comes to it or goes from it.
pub(super) fn task_mark(owner: &Owner, key: &Key) -> String {
    format!("{PREFIX}/{}/{}/{}", owner.0, key.guest, key.incarnation)
}

fn parse_clone_name(owner: &Owner, text: &str) -> Option<Key> {
    let rest = text.strip_prefix(PREFIX)?.strip_prefix('/')?.strip_prefix(owner.0.as_str())?.strip_prefix('/')?;
    let (identity, people) = rest.split_once(' ')?;
    let (guest, incarnation) = identity.rsplit_once('/')?;
    let (namespace, name) = people.split_once('/')?;
    // Other clients name a copy after its source, with a suffix that is no Kubernetes name (`_COPY`).
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    if !is_name(namespace) || !is_name(name) {
        return None;
    }
    let incarnation = incarnation.parse().ok()?;
    let key = Key { guest: guest.into(), incarnation, namespace: namespace.into(), name: name.into() };
    (clone_name(owner, &key) == text).then_some(key)
}

/// The guest in a name such as [`clone_name`] makes, whoever the owner may be. `None`: its form does not say which part is
/// the guest. Whoever is its owner reads the same guest out of it, or none.
pub(super) fn named_guest(name: &str) -> Option<&str> {
    let (identity, people) = name.split_once(' ')?;
    let mut parts = identity.split('/');
    let (_prefix, _owner, guest, _incarnation) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !people.contains(' ')).then_some(guest)
}

/// What stands in the VM's `other_config` under a key of its own: its uuid, and then this. It is asked of every VM of a pool
/// again and again, so the key is not put together.
fn own_entry<'a>(vm: &'a Vm, suffix: &str) -> Option<&'a str> {
    let is_it = |key: &str| {
        let rest = key.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(':'));
        rest.and_then(|rest| rest.strip_prefix(vm.uuid.as_str())) == Some(suffix)
    };
    vm.other_config.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value.as_str())
}

/// Whether all of the VM is made.
fn is_complete(vm: &Vm) -> bool {
    own_entry(vm, COMPLETE).is_some()
}

/// Whether we started the VM, or were about to.
pub(super) fn is_started(vm: &Vm) -> bool {
    own_entry(vm, STARTED).is_some()
}

/// Whether this guest was cut off while it took the VM over or gave it up: keys of ours may be on it, and nobody's mark is.
pub(super) fn is_between(owner: &Owner, key: &Key, vm: &Vm) -> bool {
    own_entry(vm, CHANGING) == Some(task_mark(owner, key).as_str()) && own_entry(vm, "").is_none()
}

fn own_mark(vm: &Vm) -> Option<Mark> {
    serde_json::from_str(own_entry(vm, "")?)
        .inspect_err(|error| tracing::warn!(vm = vm.uuid, %error, "the mark on this VM cannot be read"))
        .ok()
}

/// The guest that the VM's own mark names, whoever the owner is.
pub(super) fn marked_guest(vm: &Vm) -> Option<String> {
    own_mark(vm).map(|mark| mark.guest)
}

/// Whether the VM's name is one that only unmarked clones have: without such a name or a mark, a VM is nobody's guest.
pub(super) fn is_named_by_us(vm: &Vm) -> bool {
    vm.name_label.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the VM carries another VM's mark for this guest: then it was cloned from that guest's VM by somebody.
fn has_copied_mark(vm: &Vm, guest: &str) -> bool {
    let own = mark_key(&vm.uuid);
    vm.other_config.iter().any(|(key, value)| {
        key.starts_with("innkeeper:")
            && *key != own
            && serde_json::from_str::<Mark>(value).is_ok_and(|mark| mark.guest == guest)
    })
}

/// What this VM is to this owner.
pub(super) fn claim(owner: &Owner, vm: &Vm) -> Claim {
    if vm.is_a_snapshot || vm.is_control_domain {
        return Claim::Foreign;
    }
    if let Some(Mark { owner: of, guest, incarnation, namespace, name }) = own_mark(vm) {
        if of != owner.0 {
            return Claim::Foreign;
        }
        let stage = if is_complete(vm) { Stage::Complete } else { Stage::Incomplete };
        return Claim::Marked(Key { guest, incarnation, namespace, name }, stage);
    }
    // The mark is set before anything else is done to a clone, so an unmarked one is still as cloned: a halted template.
    match parse_clone_name(owner, &vm.name_label) {
        Some(key) if vm.is_a_template && is_halted(vm) && !has_copied_mark(vm, &key.guest) => Claim::Begun(key),
        _ => Claim::Foreign,
    }
}

/// Whose guest's VM this is, whoever the owner may be.
pub(super) fn of_anyone(vm: &Vm) -> Option<(Owner, Key)> {
    let marked = own_mark(vm).map(|mark| Owner(mark.owner));
    let named = || Some(Owner(vm.name_label.strip_prefix(PREFIX)?.strip_prefix('/')?.split_once('/')?.0.to_owned()));
    let owner = marked.or_else(named)?;
    let key = claim(&owner, vm).key()?.clone();
    Some((owner, key))
}

pub(super) fn is_halted(vm: &Vm) -> bool {
    vm.power_state.eq_ignore_ascii_case("halted")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::provider::xapi::records::tests::recorded;
    use proptest::prelude::*;

    pub(in crate::provider::xapi) fn owner() -> Owner {
        Owner("0b9d1c9e-8f43-4c52-9d36-7c5de6b3a111".into())
    }

    pub(in crate::provider::xapi) fn key() -> Key {
        Key { guest: "8c0e".into(), incarnation: 2, namespace: "shop".into(), name: "web-0".into() }
    }

    /// A clone as xapi makes it: everything of the template but the name and the uuid.
    pub(in crate::provider::xapi) fn cloned(uuid: &str, name: &str) -> Vm {
        let template = recorded::<Vm>().into_values().find(|vm| vm.is_a_template).unwrap();
        Vm { uuid: uuid.into(), name_label: name.into(), ..template }
    }

    pub(in crate::provider::xapi) fn begun(uuid: &str) -> Vm {
        cloned(uuid, &clone_name(&owner(), &key()))
    }

    pub(in crate::provider::xapi) fn marked(uuid: &str) -> Vm {
        let mut vm = begun(uuid);
        vm.other_config.insert(mark_key(uuid), mark(&owner(), &key()));
        vm
    }

    pub(in crate::provider::xapi) fn complete(uuid: &str) -> Vm {
        let mut vm = marked(uuid);
        vm.other_config.insert(complete_key(uuid), "1".into());
        vm.is_a_template = false;
        vm.name_label = "web-0".into();
        vm
    }

    #[test]
    fn a_guests_vm_is_known_from_its_first_moment() {
        assert_eq!(claim(&owner(), &begun("u1")), Claim::Begun(key()));
        assert_eq!(claim(&owner(), &marked("u1")), Claim::Marked(key(), Stage::Incomplete));
        assert_eq!(claim(&owner(), &complete("u1")), Claim::Marked(key(), Stage::Complete));
    }

    #[test]
    fn clones_and_snapshots_that_others_take_are_not_ours() {
        let theirs = |vm: Vm| assert_eq!(claim(&owner(), &vm), Claim::Foreign, "{vm:?}");
        theirs(Vm { uuid: "u2".into(), ..complete("u1") });
        theirs(Vm { uuid: "u2".into(), name_label: "copy".into(), ..marked("u1") });
        // A clone of an unfinished VM under its very name.
        theirs(Vm { uuid: "u2".into(), ..marked("u1") });
        theirs(Vm { uuid: "u2".into(), is_a_snapshot: true, is_a_template: true, ..complete("u1") });
        theirs(Vm { is_a_snapshot: true, ..complete("u1") });
    }

    #[test]
    fn a_guest_is_told_from_other_vms_without_knowing_its_owner() {
        for vm in [begun("u1"), marked("u1"), complete("u1")] {
            assert_eq!(of_anyone(&vm), Some((owner(), key())), "{}", vm.name_label);
        }
        let clone = Vm { uuid: "u2".into(), ..complete("u1") };
        assert_eq!(of_anyone(&clone), None);
        assert!(recorded::<Vm>().values().all(|vm| of_anyone(vm).is_none()));
    }

    #[test]
    fn others_are_not_ours() {
        let another = Owner("another".into());
        assert_eq!(claim(&another, &complete("u1")), Claim::Foreign);
        assert_eq!(claim(&another, &begun("u1")), Claim::Foreign);
        for vm in recorded::<Vm>().values() {
            assert_eq!(claim(&owner(), vm), Claim::Foreign);
        }
    }

    #[test]
    fn what_was_started_is_never_taken_for_a_fresh_clone() {
        for vm in [
            Vm { is_a_template: false, ..begun("u1") },
            Vm { power_state: "Running".into(), ..begun("u1") },
            Vm { name_label: format!("{}_COPY", begun("u1").name_label), ..begun("u1") },
        ] {
            assert_eq!(claim(&owner(), &vm), Claim::Foreign, "{}", vm.name_label);
        }
    }

    #[test]
    fn a_template_made_from_another_guest_of_ours_can_be_cloned() {
        let mut vm = begun("u2");
        let other = Key { guest: "other".into(), ..key() };
        vm.other_config.insert(mark_key("u1"), mark(&owner(), &other));
        vm.other_config.insert(complete_key("u1"), "1".into());
        assert_eq!(claim(&owner(), &vm), Claim::Begun(key()));
    }

    proptest! {
        #[test]
        fn names_and_marks_are_read_as_written(
            guest in "[a-f0-9-]{1,36}", incarnation: u32, namespace in "[a-z0-9-]{1,20}", name in "[a-z0-9.-]{1,20}",
        ) {
            let key = Key { guest, incarnation, namespace, name };
            prop_assert_eq!(parse_clone_name(&owner(), &clone_name(&owner(), &key)), Some(key.clone()));
            let mut vm = cloned("u1", "anything");
            vm.other_config.insert(mark_key("u1"), mark(&owner(), &key));
            prop_assert_eq!(claim(&owner(), &vm), Claim::Marked(key, Stage::Incomplete));
        }

        /// Clones are looked for by the guest in their name, without regard to whose they are.
        #[test]
        fn whoever_asks_reads_the_same_guest_out_of_a_name_or_none(rest in "(1|a|/| ){0,24}") {
            let name = format!("{PREFIX}/{rest}");
            for (end, _) in rest.match_indices('/') {
                let read = parse_clone_name(&Owner(rest[..end].to_owned()), &name);
                if let (Some(key), Some(guest)) = (read, named_guest(&name)) {
                    prop_assert_eq!(key.guest, guest);
                }
            }
        }

        #[test]
        fn no_name_makes_a_panic(name in ".{0,80}") {
            let _ = parse_clone_name(&owner(), &name);
        }
    }
}
