//! Making a guest's VM, exactly once, from a template.
//!
//! Clone under a name that says for whom; mark; provision; size; connect; name for people; mark as complete. Each step can
//! be repeated, and each run goes on where the last one stopped. A VM is started only when it is complete.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::{
    call_error::{CallError, During, GoneIsFine},
    client::{Nature, args},
    driver::XapiProvider,
    first_boot::is_told,
    identity::{self, Claim},
    inventory,
    power::host_by_uuid,
    records::{Map, Network, Sr, Vif, Vm},
    shape,
    task::{Progress, outcome},
    value::Ref,
    view::View,
};
use crate::provider::{ErrorKind, GuestWish, Key, ObservedGuest, ProviderError, Result, Stage};

/// How soon to look again at what another operation is busy with.
pub(super) const BUSY_AGAIN: Duration = Duration::from_secs(2);
const FINISH: &str = "finish the VM";

/// The one network with this uuid or name.
fn network(all: &HashMap<Ref<Network>, Network>, wished: &crate::provider::Network) -> Result<Ref<Network>> {
    let (act, id) = (format!("find the network {}", wished.name), &wished.provider_id);
    let mut found = all.iter().filter(|(_, network)| network.uuid == *id || network.name_label == *id);
    match (found.next(), found.next()) {
        (Some((network, _)), None) => Ok(network.clone()),
        (Some(_), Some(_)) => {
            let message = format!("several networks of the pool are named \"{id}\": write the uuid of one");
            Err(ProviderError::new(ErrorKind::Invalid, act, message))
        }
        (None, _) => {
            let message = format!("no network of the pool has the uuid or name \"{id}\": correct it in spec.networks");
            Err(ProviderError::new(ErrorKind::NotFound, act, message))
        }
    }
}

impl XapiProvider {
    pub(super) async fn make(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        let key = &wish.key;
        let _turn = self.turns.take(&key.guest).await;
        // Flights first: what has landed by then is in the view that is read afterwards.
        if self.flights.may_land(&self.client, key).await.during("look for a clone under way")? {
            let message = "an earlier clone for this guest has not come to its end yet";
            return Err(ProviderError::new(ErrorKind::UnknownOutcome, "clone the template", message)
                .with_retry_after(BUSY_AGAIN));
        }
        let view = self.live().await.during("look for the VM")?;
        if view.candidates(&self.owner, key).chosen.is_some() {
            return self.carry_on(view, wish).await;
        }
        let (template, record) = inventory::template(&view, &self.owner, &wish.image)?;
        // Before anything is made: a name that is wrong leaves nothing behind.
        self.networks(wish).await?;
        // A host that left the pool meanwhile is met again at the start.
        let host = wish.host.as_deref().and_then(|uuid| host_by_uuid(&view, uuid, "make the VM").ok());
        let clone = match self.check_storage(&view, record, wish, host.as_ref()).await? {
            None => self.clone_template(template, key).await?,
            Some(sr) => self.copy_template(template, &sr, key).await?,
        };
        let view = self.live().await.during("look for the new VM")?;
        if view.candidates(&self.owner, key).chosen.is_none() {
            let message = format!("the clone {clone} was made and is gone already");
            return Err(ProviderError::new(ErrorKind::Unavailable, "clone the template", message));
        }
        self.carry_on(view, wish).await
    }

    async fn clone_template(&self, template: &Ref<Vm>, key: &Key) -> Result<Ref<Vm>> {
        let name = identity::clone_name(&self.owner, key);
        self.flights.begin(key);
        let begun = |task: &_| self.flights.task(key, task);
        let limit = self.client.timing.task;
        let outcome = self.client.task("VM.clone", args![template, name], Nature::Once, limit, begun).await;
        if !matches!(outcome, Err(CallError::Unknown { .. } | CallError::Closed)) {
            self.flights.end(key);
        }
        outcome.map(Ref::new).during("clone the template")
    }

    /// Copies the template with its disks. That may take an hour: it is not waited for, and found again by the mark on its
    /// task, or by the copy itself, which has the clone's name.
    async fn copy_template(&self, template: &Ref<Vm>, sr: &Ref<Sr>, key: &Key) -> Result<Ref<Vm>> {
        let act = "copy the template";
        let under_way = || {
            let message = "the template is being copied to storage that the chosen host sees";
            ProviderError::new(ErrorKind::UnknownOutcome, act, message).with_retry_after(BUSY_AGAIN * 5)
        };
        let mark = identity::task_mark(&self.owner, key);
        // A copy that an earlier run began is still under way, or has landed since the pool was read.
        if self.flights.is_marked_pending(&self.client, &mark).await.during(act)?
            || self.live().await.during(act)?.candidates(&self.owner, key).chosen.is_some()
        {
            return Err(under_way());
        }
        self.flights.begin(key);
        let params = args![template, identity::clone_name(&self.owner, key), sr];
        let task = match self.client.begin("VM.copy", params, Nature::Once).await {
            Ok(task) => task,
            Err(error) => {
                if !matches!(error, CallError::Unknown { .. } | CallError::Closed) {
                    self.flights.end(key);
                }
                return Err(error.during(act));
            }
        };
        self.flights.task(key, &task);
        if let Err(error) = self.client.set("task.add_to_other_config", args![task, identity::TASK_KEY, mark]).await {
            tracing::debug!(guest = %key, %error, "the task of a copy is not marked");
        }
        match self.client.follow_begun(&task, Instant::now() + self.client.timing.patience).await.during(act)? {
            Progress::Pending => Err(under_way()),
            ended => {
                self.flights.end(key);
                self.client.forget_task(&task).await;
                outcome(ended).map(Ref::new).during(act)
            }
        }
    }

    /// Goes on with the guest's VM from wherever it is.
    async fn carry_on(&self, mut view: View, wish: &GuestWish) -> Result<ObservedGuest> {
        let key = &wish.key;
        let Some((vm, claim)) = view.candidates(&self.owner, key).chosen.map(|(r, _, claim)| (r.clone(), claim)) else {
            return Err(ProviderError::new(ErrorKind::NotFound, "find the VM", "it is not there"));
        };
        let act = "read the VM";
        if claim.stage() == Stage::Incomplete {
            self.finish(&vm, &view, wish).await.map_err(|error| vanished(error, &vm))?;
        }
        self.refresh(&mut view, &vm).await.during(act)?;
        self.sweep(&view, key).await;
        self.shown(&view, key, act)
    }

    async fn finish(&self, vm: &Ref<Vm>, view: &View, wish: &GuestWish) -> Result<()> {
        // The view is as of now.
        let record = self.own_unfinished(view.vms.get(vm).map(|record| (**record).clone()), &wish.key)?;
        let uuid = record.uuid.clone();
        let mark = identity::mark(&self.owner, &wish.key);
        self.client.mark(vm, &identity::mark_key(&uuid), &mark).await.during("mark the VM")?;
        if !record.other_config.contains_key(&identity::provisioned_key(&uuid)) {
            self.provision(vm, view, &record, &wish.key).await?;
        }
        let record = self.unfinished(vm, &wish.key).await?;
        self.unblock(vm, &record, wish).await?;
        self.size(vm, &record, wish).await.during("size the VM")?;
        self.connect_networks(vm, &record, wish).await?;
        self.furnish(view, vm, wish, None).await?;
        self.tell(view, vm, wish).await?;
        if !wish.disks.is_empty() || is_told(&wish.first_boot) {
            self.sweep_disks(&wish.key).await.during("remove disks that are in no drive")?;
        }
        let description = format!("Guest {} of Innkeeper", wish.key);
        self.client.set("VM.set_name_description", args![vm, description]).await.during("describe the VM")?;
        self.client.set("VM.set_name_label", args![vm, wish.key.name]).await.during("name the VM")?;
        self.client.mark(vm, &identity::complete_key(&uuid), "1").await.during("mark the VM as complete")
    }

    /// The VM's record as of now, as long as nothing but we has done anything to it.
    async fn unfinished(&self, vm: &Ref<Vm>, key: &Key) -> Result<Vm> {
        self.own_unfinished(self.client.get(vm).await.during(FINISH)?, key)
    }

    fn own_unfinished(&self, record: Option<Vm>, key: &Key) -> Result<Vm> {
        let act = FINISH;
        let Some(record) = record else {
            return Err(ProviderError::new(ErrorKind::Unavailable, act, "it disappeared while it was being made"));
        };
        if !record.current_operations.is_empty() {
            let doing: Vec<&str> = record.current_operations.values().map(String::as_str).collect();
            let message = format!("an operation is under way on it: {}", doing.join(", "));
            return Err(ProviderError::new(ErrorKind::Unavailable, act, message).with_retry_after(BUSY_AGAIN));
        }
        if !identity::is_halted(&record) {
            let message = format!("it is {} although its creation is not finished", record.power_state.to_lowercase());
            return Err(ProviderError::new(ErrorKind::Invalid, act, message));
        }
        match identity::claim(&self.owner, &record) {
            Claim::Foreign => {
                let message = format!("the VM {} is no longer the one made for {key}", record.uuid);
                Err(ProviderError::new(ErrorKind::Unavailable, act, message))
            }
            Claim::Marked(..) | Claim::Begun(_) => Ok(record),
        }
    }

    /// Makes the template's disks. A VM whose provisioning was cut off is taken down and made anew: which of its disks
    /// are missing cannot be told, and it was never started.
    async fn provision(&self, vm: &Ref<Vm>, view: &View, record: &Vm, key: &Key) -> Result<()> {
        let act = "provision the VM";
        if !record.is_a_template {
            self.take_down(view, vm).await?;
            let message = "an earlier attempt was cut off; what it left was removed";
            return Err(ProviderError::new(ErrorKind::Unavailable, act, message).with_retry_after(BUSY_AGAIN));
        }
        if let Some(disks) = record.other_config.get(shape::DISKS)
            && shape::names_no_storage(disks)
        {
            let storage = self.read_storage().await?;
            let open = self.open_storage(view, &storage)?;
            let uuid = storage.repositories.get(&open).map(|sr| sr.uuid.clone()).unwrap_or_default();
            // Read anew: the mark is in there by now, and the map is replaced as a whole so that no crash can lose the
            // disks between a removal and an addition.
            let mut config = self.unfinished(vm, key).await?.other_config;
            config.insert(shape::DISKS.into(), shape::with_storage(disks, &uuid));
            self.client.set("VM.set_other_config", args![vm, config]).await.during(act)?;
        }
        self.client.run("VM.provision", args![vm], self.client.timing.task).await.during(act)?;
        self.client.mark(vm, &identity::provisioned_key(&record.uuid), "1").await.during(act)
    }

    /// A clone has the operations blocked that its template has: that was said of the template.
    async fn unblock(&self, vm: &Ref<Vm>, record: &Vm, wish: &GuestWish) -> Result<()> {
        if !record.blocked_operations.is_empty() {
            let none = Map::new();
            self.client.set("VM.set_blocked_operations", args![vm, none]).await.during("unblock the VM")?;
        }
        self.protect(vm, &Vm { blocked_operations: Map::new(), ..record.clone() }, wish).await
    }

    /// Brings a halted VM to the wished size; makes no call where it has it.
    pub(super) async fn size(&self, vm: &Ref<Vm>, record: &Vm, wish: &GuestWish) -> Result<(), CallError> {
        let limits = shape::memory_limits(wish.memory.0, record);
        if limits != shape::MemoryLimits::of(record) {
            let shape::MemoryLimits { static_min, static_max, dynamic_min, dynamic_max } = limits;
            let [a, b, c, d] = [static_min, static_max, dynamic_min, dynamic_max].map(|n| n.to_string());
            self.client.run("VM.set_memory_limits", args![vm, a, b, c, d], self.client.timing.call).await?;
        }
        for (setter, vcpus) in shape::vcpu_steps(record.vcpus_max, record.vcpus_at_startup, i64::from(wish.vcpus)) {
            self.client.set(setter, args![vm, vcpus.to_string()]).await?;
        }
        if let Some(platform) = shape::platform(&record.platform, wish.vcpus) {
            self.client.set("VM.set_platform", args![vm, platform]).await?;
        }
        Ok(())
    }

    /// The networks that the guest is wished on, by uuid or by a name that only one has.
    async fn networks(&self, wish: &GuestWish) -> Result<Vec<Ref<Network>>> {
        if wish.networks.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.client.all::<Network>().await.during("list the pool's networks")?;
        wish.networks.iter().map(|wished| network(&all, wished)).collect()
    }

    /// Puts the VM on the wished networks, in order; without a wish it keeps the template's.
    async fn connect_networks(&self, vm: &Ref<Vm>, record: &Vm, wish: &GuestWish) -> Result<()> {
        if wish.networks.is_empty() {
            return Ok(());
        }
        let act = "connect the VM to its networks";
        let wanted = self.networks(wish).await?;
        let mut present = Vec::new();
        for vif in &record.vifs {
            present.extend(self.client.get::<Vif>(vif).await.during(act)?.map(|record| (vif.clone(), record)));
        }
        let plan = shape::vifs(&present, &wanted);
        for vif in plan.destroy {
            self.client.set("VIF.destroy", args![vif]).await.gone_is_fine().during(act)?;
        }
        for (device, network) in plan.create {
            self.create_vif(vm, device, &network).await.during(act)?;
        }
        Ok(())
    }

    /// A VIF is known by its number: where the first answer was lost, the second call says that it is there.
    async fn create_vif(&self, vm: &Ref<Vm>, device: usize, network: &Ref<Network>) -> Result<(), CallError> {
        let record = json!({
            "device": device.to_string(),
            "network": network,
            "VM": vm,
            // Made by xapi from the VM's own seed, so never twice in the pool.
            "MAC": "",
            "MTU": "1500",
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        });
        match self.client.set("VIF.create", args![record]).await {
            Err(error) if error.is("DEVICE_ALREADY_EXISTS") => Ok(()),
            other => other,
        }
    }
}

/// The VM that is being made went meanwhile: another operator made one too, and took this for what is too much. That is no
/// answer to what the guest wishes for; the next look finds the other.
fn vanished(mut error: ProviderError, vm: &Ref<Vm>) -> ProviderError {
    if error.kind == ErrorKind::NotFound && error.message.contains(&vm.to_string()) {
        error.kind = ErrorKind::Unavailable;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_that_went_while_it_was_made_is_no_missing_image() {
        let vm = Ref::new("OpaqueRef:1");
        let told =
            |of: &str| ProviderError::new(ErrorKind::NotFound, "provision the VM", format!("HANDLE_INVALID: VM, {of}"));
        assert_eq!(vanished(told("OpaqueRef:1"), &vm).kind, ErrorKind::Unavailable);
        assert_eq!(vanished(told("OpaqueRef:2"), &vm).kind, ErrorKind::NotFound);
    }
}
