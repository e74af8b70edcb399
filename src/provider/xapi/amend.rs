//! Bringing a complete VM to a changed wish: at once what xapi and the guest's system allow, the rest when it is off.

use super::{
    alter::cannot_now,
    call_error::{CallError, During, GoneIsFine},
    client::args,
    create::BUSY_AGAIN,
    driver::XapiProvider,
    identity,
    power::not_busy,
    records::Vm,
    shape::{self, Change},
    value::Ref,
    view::View,
};
use crate::provider::{Amendment, ErrorKind, GuestWish, Key, Power, ProviderError, Result, Stage};

const AMEND: &str = "change the VM";

/// Why we blocked a VM's destruction. A block with another reason is somebody else's and stays.
fn protection(key: &Key) -> String {
    format!("protected by Innkeeper for Guest {key}")
}

impl XapiProvider {
    pub(super) async fn change(&self, wish: &GuestWish) -> Result<Amendment> {
        let key = &wish.key;
        let _turn = self.turns.take(&key.guest).await;
        if self.flights.may_land(&self.client, key).await.during("look for a disk under way")? {
            let message = "an earlier disk for this guest has not come to its end yet";
            return Err(ProviderError::new(ErrorKind::UnknownOutcome, AMEND, message).with_retry_after(BUSY_AGAIN));
        }
        let view = self.live().await.during(AMEND)?;
        let (vm, record, claim) = self.chosen(&view, key, AMEND)?;
        if claim.stage() == Stage::Incomplete {
            return Err(ProviderError::new(ErrorKind::Unavailable, AMEND, "its creation is not finished"));
        }
        let power = view.power(&record);
        match power {
            Power::Stopped | Power::Running | Power::Suspended | Power::Paused => not_busy(&record, AMEND)?,
            Power::Unknown => {
                return Err(ProviderError::new(ErrorKind::Unavailable, AMEND, "its host does not answer"));
            }
            other => return Err(cannot_now(AMEND, other)),
        }
        self.protect(&vm, &record, wish).await?;
        let rest = match power {
            Power::Stopped => {
                self.size(&vm, &record, wish).await.during("size the VM")?;
                self.bring_disks(&view, &vm, &record, wish, false).await?
            }
            Power::Running => {
                let mut rest = self.size_live(&view, &vm, &record, wish).await?;
                rest.extend(self.bring_disks(&view, &vm, &record, wish, true).await?);
                rest
            }
            other if differs(&view, &record, wish) => {
                vec![format!("it is {} and cannot be changed so", other.to_string().to_lowercase())]
            }
            _ => Vec::new(),
        };
        let guest = self.observe_anew(view, &vm, key, AMEND).await?;
        Ok(if rest.is_empty() { Amendment::Done(guest) } else { Amendment::WhenOff(guest, rest.join("; ")) })
    }

    /// Has xapi refuse the VM's destruction, or allow it again where it was we who had it refused.
    pub(super) async fn protect(&self, vm: &Ref<Vm>, record: &Vm, wish: &GuestWish) -> Result<()> {
        let (act, reason) = ("protect the VM", protection(&wish.key));
        match record.blocked_operations.get("destroy") {
            None if wish.protected => {
                let params = args![vm, "destroy", reason];
                match self.client.set("VM.add_to_blocked_operations", params).await {
                    Err(error) if error.is("MAP_DUPLICATE_KEY") => Ok(()),
                    other => other.during(act),
                }
            }
            Some(blocked) if !wish.protected && *blocked == reason => {
                self.client.set("VM.remove_from_blocked_operations", args![vm, "destroy"]).await.during(act)
            }
            _ => Ok(()),
        }
    }

    /// Lifts our own protection from a VM: its removal, or its release, is wished for.
    pub(super) async fn unprotect(&self, vm: &Ref<Vm>, record: &mut Vm) -> Result<()> {
        if let Some(key) = identity::claim(&self.owner, record).key()
            && record.blocked_operations.get("destroy").is_some_and(|reason| *reason == protection(key))
        {
            let params = args![vm, "destroy"];
            self.client
                .set("VM.remove_from_blocked_operations", params)
                .await
                .gone_is_fine()
                .during("unprotect the VM")?;
            record.blocked_operations.remove("destroy");
        }
        Ok(())
    }

    /// That disks are being made is noted on the VM first: should we be cut off and the guest be deleted, the deletion waits
    /// for a disk that is still on its way.
    async fn bring_disks(
        &self,
        view: &View,
        vm: &Ref<Vm>,
        record: &Vm,
        wish: &GuestWish,
        running: bool,
    ) -> Result<Vec<String>> {
        let drives = view.drives(record);
        let making = identity::making_key(&record.uuid);
        let missing = wish.disks.iter().any(|disk| drives.named(&disk.name).is_none());
        if missing {
            self.client.mark(vm, &making, "1").await.during(AMEND)?;
        }
        let rest = self.furnish(view, vm, wish, running.then_some(&record.resident_on)).await?;
        if missing || record.other_config.contains_key(&making) {
            self.sweep_disks(&wish.key).await.during("remove disks that are in no drive")?;
            self.client.set("VM.remove_from_other_config", args![vm, making]).await.during(AMEND)?;
        }
        Ok(rest)
    }

    /// Brings the size of a running VM as near to the wish as can be done without a restart.
    async fn size_live(&self, view: &View, vm: &Ref<Vm>, record: &Vm, wish: &GuestWish) -> Result<Vec<String>> {
        let mut rest = Vec::new();
        match shape::memory_live(wish.memory.0, record, view.has_feature(record, "feature-balloon")) {
            Change::None => {}
            Change::WhenOff(why) => rest.push(why),
            Change::Now => {
                let memory = wish.memory.0.to_string();
                let set = args![vm, memory, memory];
                let changed = self.client.run("VM.set_memory_dynamic_range", set, self.client.timing.call).await;
                rest.extend(later("memory", changed)?);
            }
        }
        match shape::vcpus_live(wish.vcpus, record, view.has_feature(record, "feature-vcpu-hotplug")) {
            Change::None => {}
            Change::WhenOff(why) => rest.push(why),
            Change::Now => {
                let set = args![vm, wish.vcpus.to_string()];
                let changed = self.client.run("VM.set_VCPUs_number_live", set, self.client.timing.call).await;
                rest.extend(later("number of processors", changed)?);
            }
        }
        Ok(rest)
    }
}

/// Whether anything of the wish would change the VM.
fn differs(view: &View, record: &Vm, wish: &GuestWish) -> bool {
    let drives = view.drives(record);
    let small = |name: &str, size: u64| drives.named(name).is_none_or(|drive| drive.disk.virtual_size < size);
    record.memory_dynamic_max != wish.memory.0
        || record.vcpus_at_startup != i64::from(wish.vcpus)
        || wish.disks.iter().any(|disk| small(&disk.name, disk.size.0))
        || wish.root_disk.is_some_and(|size| drives.root().is_some_and(|root| root.disk.virtual_size < size.0))
}

/// What xapi refuses to a running VM (no room on its host, a feature without licence, an old guest) waits for the restart.
fn later(what: &str, changed: Result<(), CallError>) -> Result<Option<String>> {
    match changed {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::Capacity | ErrorKind::Invalid) => {
            Ok(Some(format!("its {what} cannot be changed while it runs ({error})")))
        }
        Err(error) if error.is("VM_BAD_POWER_STATE") => Ok(Some(format!("its {what} is changed when it is off"))),
        Err(error) => Err(error.during("change the size of the running VM")),
    }
}
