//! Removing a guest's VM with everything that is its own.
//!
//! Disks go first and the VM last: its mark is what the next run finds them by, should this one be cut off in between.

use std::collections::HashSet;

use futures::future::try_join_all;

use super::{
    call_error::{CallError, During, GoneIsFine},
    client::args,
    create::BUSY_AGAIN,
    driver::XapiProvider,
    identity::{self, Claim, is_halted},
    records::{Map, Vbd, Vdi, Vm},
    value::Ref,
    view::View,
};
use crate::provider::{Deletion, ErrorKind, Key, Owner, ProviderError, Result, Stage};

const DELETE: &str = "delete the VM";

impl XapiProvider {
    pub(super) async fn remove(&self, key: &Key) -> Result<Deletion> {
        let _turn = self.turns.take(&key.guest).await;
        // Clones under way are looked for first: what lands before the view is read is in it.
        let may_land = self.flights.may_land(&self.client, key).await.during("look for a clone under way")?;
        let view = self.live().await.during(DELETE)?;
        let victims = victims(&view, &self.owner, key);
        for (vm, _) in &victims {
            if self.take_down(&view, vm).await? == Deletion::InProgress {
                return Ok(Deletion::InProgress);
            }
        }
        self.sweep_disks(key).await.during("remove disks that are in no drive")?;
        // What an earlier run of the operator may have asked for: a clone, or a disk of a VM that was not finished.
        let unfinished = victims.is_empty() || victims.iter().any(|(_, being_made)| *being_made);
        let in_progress = may_land || (unfinished && self.may_follow(key).await?);
        Ok(if in_progress { Deletion::InProgress } else { Deletion::Gone })
    }

    /// Whether anything for this guest is on its way still, or has landed since the pool was read: what is not on its way any
    /// more is there by then.
    async fn may_follow(&self, key: &Key) -> Result<bool> {
        let mark = identity::task_mark(&self.owner, key);
        if self.flights.inherited_may_land(&self.client, &mark).await.during("look for a clone under way")? {
            return Ok(true);
        }
        let view = self.live().await.during(DELETE)?;
        self.sweep_disks(key).await.during("remove disks that are in no drive")?;
        Ok(!victims(&view, &self.owner, key).is_empty())
    }

    /// Removes clones that repeated creations left, once the guest's VM is marked. What cannot be removed now is met again
    /// by the next operation on the guest.
    pub(super) async fn sweep(&self, view: &View, key: &Key) {
        let candidates = view.candidates(&self.owner, key);
        if !matches!(candidates.chosen, Some((_, _, Claim::Marked(..)))) {
            return;
        }
        for vm in candidates.surplus {
            if let Err(error) = self.remove_surplus(view, vm).await {
                tracing::warn!(guest = %key, %vm, %error, "a surplus clone is left for the next time");
            }
        }
    }

    async fn remove_surplus(&self, view: &View, vm: &Ref<Vm>) -> Result<()> {
        let Some(record) = self.client.get(vm).await.during(DELETE)? else { return Ok(()) };
        if matches!(identity::claim(&self.owner, &record), Claim::Begun(_)) {
            tracing::info!(vm = record.uuid, name = record.name_label, "removing a surplus clone");
            self.take_down(view, vm).await?;
        }
        Ok(())
    }

    /// Removes one VM of ours with its disks and snapshots.
    pub(super) async fn take_down(&self, view: &View, vm: &Ref<Vm>) -> Result<Deletion> {
        let Some(mut record) = self.client.get(vm).await.during(DELETE)? else { return Ok(Deletion::Gone) };
        if identity::claim(&self.owner, &record) == Claim::Foreign {
            let message = format!("the VM {} is no longer ours", record.uuid);
            return Err(ProviderError::new(ErrorKind::Invalid, DELETE, message));
        }
        let snapshots = self.snapshots(&record).await.during(DELETE)?;
        if matches!(identity::claim(&self.owner, &record), Claim::Begun(_)) && !record.blocked_operations.is_empty() {
            // Blocked as its template is, of which that was said; there is nothing of value in a clone that never ran.
            let none = Map::new();
            self.client.set("VM.set_blocked_operations", args![vm, none]).await.gone_is_fine().during(DELETE)?;
        }
        self.unprotect(vm, &mut record).await?;
        let whole = (!matches!(identity::claim(&self.owner, &record), Claim::Begun(_))).then_some((vm, &record));
        for (_, held) in whole.into_iter().chain(snapshots.iter().map(|(r, s)| (r, s))) {
            not_blocked(held)?;
        }
        if !is_halted(&record) {
            if view.is_lost(&record) {
                let message = "its host does not answer: the VM may be running there";
                return Err(ProviderError::new(ErrorKind::Unavailable, DELETE, message).with_code("HOST_OFFLINE"));
            }
            if !may_be_cut(&record) {
                return Ok(Deletion::InProgress);
            }
            self.cut_power(vm, &record).await.gone_is_fine().during("switch off the VM")?;
        } else if !record.current_operations.is_empty() {
            return Ok(Deletion::InProgress);
        }
        // Switching off can change what the VM has: the memory image of a suspended one goes with it.
        let Some(record) = self.client.get(vm).await.during(DELETE)? else { return Ok(Deletion::Gone) };
        self.destroy(view, vm, &record, snapshots).await
    }

    async fn destroy(&self, view: &View, vm: &Ref<Vm>, record: &Vm, snapshots: Vec<(Ref<Vm>, Vm)>) -> Result<Deletion> {
        let act = "find the VM's disks";
        let family: HashSet<&Ref<Vm>> = std::iter::once(vm).chain(snapshots.iter().map(|(r, _)| r)).collect();
        let mut disks = Vec::new();
        for member in std::iter::once(record).chain(snapshots.iter().map(|(_, s)| s)) {
            disks.extend(self.disks(member).await.during(act)?);
        }
        disks.extend(self.orphans(record).await.during(act)?);
        disks.sort();
        disks.dedup();
        for disk in &disks {
            if self.is_elsewhere(view, disk, &family).await.during(act)? {
                tracing::info!(vm = record.uuid, %disk, "a disk stays: another VM has it too");
                continue;
            }
            match self.client.run("VDI.destroy", args![disk], self.client.timing.task).await.gone_is_fine() {
                // For seconds after a VM stops or an export ends.
                Err(error) if error.is("VDI_IN_USE") => return Ok(Deletion::InProgress),
                other => other.during("destroy a disk of the VM")?,
            }
        }
        let limit = self.client.timing.task;
        for (snapshot, _) in &snapshots {
            self.client.run("VM.destroy", args![snapshot], limit).await.gone_is_fine().during("destroy a snapshot")?;
        }
        self.client.run("VM.destroy", args![vm], limit).await.gone_is_fine().during(DELETE)?;
        Ok(Deletion::Gone)
    }

    /// The VM's own snapshots. Only `is_a_snapshot` tells: the other fields have been seen corrupted.
    async fn snapshots(&self, record: &Vm) -> Result<Vec<(Ref<Vm>, Vm)>, CallError> {
        let found = try_join_all(record.snapshots.iter().map(|r| async move {
            Ok::<_, CallError>(self.client.get::<Vm>(r).await?.filter(|s| s.is_a_snapshot).map(|s| (r.clone(), s)))
        }))
        .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Disks in the VM's drives, CDs left out, and its memory image.
    async fn disks(&self, record: &Vm) -> Result<Vec<Ref<Vdi>>, CallError> {
        let drives = try_join_all(record.vbds.iter().map(|vbd| self.client.get::<Vbd>(vbd))).await?;
        let mut disks: Vec<Ref<Vdi>> = drives
            .into_iter()
            .flatten()
            .filter(|vbd| vbd.kind.eq_ignore_ascii_case("disk"))
            .map(|vbd| vbd.vdi)
            .collect();
        disks.push(record.suspend_vdi.clone());
        disks.retain(|disk| !disk.is_null());
        Ok(disks)
    }

    /// Disks that were made for a VM and are in no drive: what a provisioning left that was cut off between the two. The
    /// storage manager is told the VM's uuid as a hint when a disk is made.
    async fn orphans(&self, record: &Vm) -> Result<Vec<Ref<Vdi>>, CallError> {
        if record.other_config.contains_key(&identity::complete_key(&record.uuid)) {
            return Ok(Vec::new());
        }
        let disks = self.client.all::<Vdi>().await?;
        let hinted = |disk: &Vdi| disk.vbds.is_empty() && disk.sm_config.get("vmhint") == Some(&record.uuid);
        Ok(disks.into_iter().filter(|(_, disk)| hinted(disk)).map(|(r, _)| r).collect())
    }

    /// Whether the disk is also in a drive of a VM that is not being removed. A leftover drive of a control domain is no
    /// such VM: it makes the disk busy, and xapi says so.
    async fn is_elsewhere(&self, view: &View, disk: &Ref<Vdi>, family: &HashSet<&Ref<Vm>>) -> Result<bool, CallError> {
        let Some(record) = self.client.get(disk).await? else { return Ok(false) };
        for vbd in &record.vbds {
            let Some(vbd) = self.client.get::<Vbd>(vbd).await? else { continue };
            if family.contains(&vbd.vm) || view.vms.get(&vbd.vm).is_some_and(|vm| vm.is_control_domain) {
                continue;
            }
            if self.client.get::<Vm>(&vbd.vm).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The VMs of this guest that are to be removed, and whether each is still being made.
fn victims(view: &View, owner: &Owner, key: &Key) -> Vec<(Ref<Vm>, bool)> {
    let ours = view.of_guest(owner, &key.guest).filter(|(_, _, claim)| claim.key().is_some_and(|of| is_of(of, key)));
    ours.map(|(vm, record, claim)| (vm.clone(), is_being_made(record, &claim))).collect()
}

/// Whether something of the VM may still have been on its way when we were last cut off.
fn is_being_made(record: &Vm, claim: &Claim) -> bool {
    claim.stage() == Stage::Incomplete || record.other_config.contains_key(&identity::making_key(&record.uuid))
}

/// All incarnations up to this one: an earlier one may have left something, a later one is not meant.
fn is_of(candidate: &Key, key: &Key) -> bool {
    candidate.guest == key.guest && candidate.incarnation <= key.incarnation
}

/// Whoever blocked the VM's destruction (a legal hold, a backup) means its disks too, which xapi does not know.
fn not_blocked(vm: &Vm) -> Result<()> {
    match vm.blocked_operations.get("destroy") {
        None => Ok(()),
        Some(reason) => {
            let message = format!("its destruction is blocked: {reason}");
            Err(ProviderError::new(ErrorKind::Invalid, DELETE, message)
                .with_code("OPERATION_BLOCKED")
                .with_retry_after(BUSY_AGAIN * 30))
        }
    }
}

/// xapi lets a hard shutdown overtake a soft one. Anything else is waited for.
fn may_be_cut(vm: &Vm) -> bool {
    vm.current_operations.values().all(|op| matches!(op.as_str(), "clean_shutdown" | "clean_reboot" | "shutdown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::xapi::identity::tests::{complete, key};

    #[test]
    fn earlier_incarnations_go_too_and_later_ones_stay() {
        for (incarnation, goes) in [(0, true), (2, true), (3, false)] {
            assert_eq!(is_of(&Key { incarnation, ..key() }, &key()), goes);
        }
        assert!(!is_of(&Key { guest: "another".into(), ..key() }, &key()));
    }

    #[test]
    fn a_hold_is_respected_with_its_reason() {
        let mut vm = complete("u");
        assert!(not_blocked(&vm).is_ok());
        vm.blocked_operations.insert("destroy".into(), "legal hold 42".into());
        let error = not_blocked(&vm).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains("legal hold 42"));
    }

    #[test]
    fn only_a_soft_shutdown_is_overtaken() {
        let mut vm = complete("u");
        assert!(may_be_cut(&vm));
        vm.current_operations.insert("t".into(), "clean_shutdown".into());
        assert!(may_be_cut(&vm));
        vm.current_operations.insert("t2".into(), "pool_migrate".into());
        assert!(!may_be_cut(&vm));
    }
}
