//! What the operator may do with a guest's VM: policies, holds, adoption, what becomes of it at the end. Pure.

use std::time::Duration;

use crate::{
    api::{
        GuestSpec, GuestStatus,
        care::{DeletionPolicy, Hold, ManagementPolicy, Move},
        template::ShutdownMode,
    },
    provider::StopMode,
};

/// How long a guest's system may take to shut down where nothing is written.
const PATIENCE: Duration = Duration::from_mins(5);

/// What the operator may do with a guest's VM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own")]
pub struct Mandate {
    /// Make it where it is not there.
    pub create: bool,
    /// Start, stop, resize and move it.
    pub update: bool,
    /// Keep it when the guest is deleted.
    pub retain: bool,
    /// It was there before: it is never replaced.
    pub adopted: bool,
    /// Move it while it runs.
    pub live: bool,
    /// Remove it and make another one elsewhere.
    pub recreate: bool,
    /// Nothing says whether it should run: it stays as it is.
    pub power_as_it_is: bool,
    /// Reasons why it may not be removed.
    pub holds: Vec<Hold>,
}

impl Mandate {
    /// What a guest's spec and history allow.
    #[must_use]
    pub fn new(spec: &GuestSpec, status: &GuestStatus) -> Self {
        let policies = &spec.management_policies;
        let may =
            |policy| policies.is_empty() || policies.contains(&ManagementPolicy::All) || policies.contains(&policy);
        // The record counts too: an entry that is taken out of `adopt` must not cost the VM its protection.
        let adopted = spec.adopt.is_some() || status.creation.as_ref().is_some_and(|creation| creation.adopted);
        let delete = may(ManagementPolicy::Delete);
        let moves = |way| match &spec.mobility {
            None => way == Move::Live,
            Some(mobility) => mobility.allow.contains(&way),
        };
        let retain = match spec.deletion_policy {
            Some(DeletionPolicy::Retain) => true,
            Some(DeletionPolicy::Delete) => !delete,
            None => adopted || !delete,
        };
        Self {
            create: may(ManagementPolicy::Create),
            update: may(ManagementPolicy::Update),
            retain,
            adopted,
            live: moves(Move::Live),
            recreate: moves(Move::Recreate),
            power_as_it_is: adopted && spec.template.power_state.is_none(),
            holds: spec.holds.clone(),
        }
    }

    /// Whether something keeps the VM from being removed.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.holds.is_empty()
    }

    /// The holds in words.
    #[must_use]
    pub fn held_by(&self) -> String {
        let one = |hold: &Hold| match &hold.reason {
            Some(reason) => format!("{} ({reason})", hold.name),
            None => hold.name.clone(),
        };
        self.holds.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Why a VM that is gone may not be replaced by a new one.
    #[must_use]
    pub fn no_replacement(&self) -> Option<String> {
        if self.adopted {
            return Some("a VM that was adopted is not replaced".to_owned());
        }
        if self.is_held() {
            return Some(format!("it is held by {}", self.held_by()));
        }
        (!self.create).then(|| "managementPolicies lacks Create".to_owned())
    }

    /// Why a move is not carried out.
    #[must_use]
    pub fn no_move(&self, way: Move) -> Option<String> {
        if !self.update {
            return Some("managementPolicies lacks Update".to_owned());
        }
        match way {
            Move::Live => (!self.live).then(|| "mobility.allow lacks Live".to_owned()),
            Move::Recreate if !self.recreate => Some("mobility.allow lacks Recreate".to_owned()),
            Move::Recreate if self.retain => Some("its VM is to be kept, not removed".to_owned()),
            Move::Recreate => self.no_replacement(),
        }
    }
}

/// How a guest is switched off.
#[must_use]
pub fn stop_mode(spec: &GuestSpec) -> StopMode {
    let Some(shutdown) = spec.template.shutdown else { return StopMode::USUAL };
    let deadline = shutdown.deadline.map_or(PATIENCE, |span| span.0);
    match shutdown.mode {
        ShutdownMode::Soft => StopMode::Soft(deadline),
        ShutdownMode::TrySoft => StopMode::TrySoft(deadline),
        ShutdownMode::Hard => StopMode::Hard,
    }
}

/// How long a guest's system is asked to shut down before its VM is removed. `None`: it is not asked, as nothing about
/// shutting down is written. `Soft` too ends then: a system that does not comply must not keep a guest for ever.
#[must_use]
pub fn farewell(spec: &GuestSpec) -> Option<Duration> {
    spec.template.shutdown?;
    match stop_mode(spec) {
        StopMode::Soft(deadline) | StopMode::TrySoft(deadline) => Some(deadline),
        StopMode::Hard => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{
            care::{Adoption, Mobility},
            guest::Creation,
            span::Span,
            template::Shutdown,
        },
        guest::testing::{creation, guest},
    };

    fn of(change: impl FnOnce(&mut GuestSpec)) -> Mandate {
        let mut guest = guest();
        change(&mut guest.spec);
        Mandate::new(&guest.spec, &GuestStatus::default())
    }

    fn adoption() -> Adoption {
        Adoption { ordinal: 0, pool: "xen".into(), provider_id: "vm-9".into() }
    }

    #[test]
    fn without_policies_everything_is_allowed_and_with_some_only_these() {
        let rights = |mandate: &Mandate| (mandate.create, mandate.update, mandate.retain);
        assert_eq!(rights(&of(|_| ())), (true, true, false));
        assert_eq!(rights(&of(|spec| spec.management_policies = vec![ManagementPolicy::All])), (true, true, false));
        assert_eq!(
            rights(&of(|spec| spec.management_policies = vec![ManagementPolicy::Observe])),
            (false, false, true)
        );
        let two = vec![ManagementPolicy::Create, ManagementPolicy::Delete];
        assert_eq!(rights(&of(|spec| spec.management_policies = two)), (true, false, false));
    }

    #[test]
    fn an_adopted_vm_is_kept_also_when_its_entry_is_taken_out_unless_something_else_is_written() {
        assert!(of(|spec| spec.adopt = Some(adoption())).retain);
        let mut guest = guest();
        let creation = Some(Creation { adopted: true, ..creation() });
        let status = GuestStatus { creation, ..GuestStatus::default() };
        let mandate = Mandate::new(&guest.spec, &status);
        assert!(mandate.retain && mandate.adopted && mandate.no_replacement().is_some());
        guest.spec.deletion_policy = Some(DeletionPolicy::Delete);
        assert!(!Mandate::new(&guest.spec, &status).retain);
        guest.spec.management_policies = vec![ManagementPolicy::Update];
        assert!(Mandate::new(&guest.spec, &status).retain, "what may not be removed is kept");
    }

    #[test]
    fn what_may_be_moved_and_why_not() {
        let case = Hold { name: "case-42".into(), reason: Some("court".into()) };
        let all = || Some(Mobility { allow: vec![Move::Live, Move::Recreate] });
        assert!(of(|_| ()).no_move(Move::Live).is_none() && of(|_| ()).no_move(Move::Recreate).is_some());
        assert!(of(|spec| spec.mobility = Some(Mobility::default())).no_move(Move::Live).is_some());
        assert!(of(|spec| spec.mobility = all()).no_move(Move::Recreate).is_none());
        let held = of(|spec| (spec.mobility, spec.holds) = (all(), vec![case]));
        assert_eq!(held.no_move(Move::Recreate).as_deref(), Some("it is held by case-42 (court)"));
        assert!(held.no_move(Move::Live).is_none(), "a hold keeps the VM, not its host");
        assert!(of(|spec| (spec.mobility, spec.adopt) = (all(), Some(adoption()))).no_move(Move::Recreate).is_some());
    }

    #[test]
    fn how_a_guest_is_switched_off_and_asked_before_it_goes() {
        let mut spec = guest().spec;
        assert_eq!((stop_mode(&spec), farewell(&spec)), (StopMode::USUAL, None));
        let minute = Duration::from_mins(1);
        for (mode, deadline, stop, asked) in [
            (ShutdownMode::Soft, Some(Span(minute)), StopMode::Soft(minute), Some(minute)),
            (ShutdownMode::TrySoft, None, StopMode::TrySoft(PATIENCE), Some(PATIENCE)),
            (ShutdownMode::Hard, Some(Span(minute)), StopMode::Hard, None),
        ] {
            spec.template.shutdown = Some(Shutdown { mode, deadline });
            assert_eq!((stop_mode(&spec), farewell(&spec)), (stop, asked), "{mode:?}");
        }
    }
}
