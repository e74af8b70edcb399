//! Switching guests on.

use futures::future::join_all;

use super::{
    call_error::{CallError, During},
    client::args,
    create::BUSY_AGAIN,
    driver::XapiProvider,
    fault::Fault,
    identity::{self, Claim},
    records::{Host, Vm},
    value::Ref,
    view::View,
};
use crate::provider::{ErrorKind, GuestWish, Key, ObservedGuest, Power, ProviderError, Result, Stage};

const START: &str = "start the VM";

impl XapiProvider {
    pub(super) async fn power_on(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        let _turn = self.turns.take(&wish.key.guest).await;
        // Whoever wants it to run does not want it cut off.
        self.requests.forget(&wish.key);
        let view = self.live().await.during(START)?;
        self.sweep(&view, &wish.key).await;
        let (vm, record, claim) = self.chosen(&view, &wish.key, START)?;
        if claim.stage() == Stage::Incomplete {
            return Err(ProviderError::new(ErrorKind::Unavailable, START, "its creation is not finished"));
        }
        let power = view.power(&record);
        match power {
            Power::Running | Power::Starting => return Ok(view.observe(&record, &wish.key, Stage::Complete)),
            // It may be running on the host that does not answer. Never a second time.
            Power::Unknown => {
                return Err(ProviderError::new(ErrorKind::Unavailable, START, "its host does not answer"));
            }
            _ => not_busy(&record, START)?,
        }
        if power == Power::Stopped {
            // A change of size takes effect here: xapi allows it in a halted VM only.
            self.size(&vm, &record, wish).await.during("size the VM")?;
        }
        let host = wish.host.as_deref().map(|uuid| host_by_uuid(&view, uuid, START)).transpose()?;
        let started = identity::started_key(&record.uuid);
        let is_first = power == Power::Stopped && !record.other_config.contains_key(&started);
        if is_first {
            self.client.mark(&vm, &started, "1").await.during(START)?;
        }
        match self.switch_on(&vm, power, host.as_ref()).await {
            Ok(()) => {}
            // It was started meanwhile, by whomever: that is what was wished for. The fresh record tells.
            Err(error) if error.is("VM_BAD_POWER_STATE") => {}
            Err(error) => {
                let error = self.explain(&view, &vm, error, START).await;
                if is_first {
                    self.forget_start(&vm, &started, error.kind).await;
                }
                return Err(error);
            }
        }
        let guest = self.observe_anew(view, &vm, &wish.key, START).await?;
        match guest.power {
            Power::Stopped | Power::Suspended => {
                let message = "it stopped again at once, or another operation was quicker";
                Err(ProviderError::new(ErrorKind::Unavailable, START, message).with_retry_after(BUSY_AGAIN))
            }
            _ => Ok(guest),
        }
    }

    async fn switch_on(&self, vm: &Ref<Vm>, power: Power, host: Option<&Ref<Host>>) -> Result<(), CallError> {
        let limit = self.client.timing.task;
        let (method, params) = match (power, host) {
            (Power::Paused, _) => ("VM.unpause", args![vm]),
            (Power::Suspended, Some(host)) => ("VM.resume_on", args![vm, host, false, false]),
            (Power::Suspended, None) => ("VM.resume", args![vm, false, false]),
            (_, Some(host)) => ("VM.start_on", args![vm, host, false, false]),
            (_, None) => ("VM.start", args![vm, false, false]),
        };
        match self.client.run(method, params.clone(), limit).await {
            // The template's preferred host left the pool. The preference was never ours.
            Err(error) if is_stale_affinity(&error, host) => {
                self.client.set("VM.set_affinity", args![vm, Ref::<Host>::null()]).await?;
                self.client.run(method, params, limit).await
            }
            other => other,
        }
    }

    /// A VM that certainly did not start has not run. Where the note stays, it counts as one that has: its disks are kept.
    async fn forget_start(&self, vm: &Ref<Vm>, note: &str, kind: ErrorKind) {
        if matches!(kind, ErrorKind::Unavailable | ErrorKind::UnknownOutcome) {
            return;
        }
        if let Err(error) = self.client.set("VM.remove_from_other_config", args![vm, note]).await {
            tracing::debug!(%error, "a note of a start that failed stays on the VM");
        }
    }

    /// Why the VM could not run there, with each host's own reason where it is a matter of hosts.
    pub(super) async fn explain(&self, view: &View, vm: &Ref<Vm>, error: CallError, act: &str) -> ProviderError {
        let Some(fault) = error.fault().cloned().filter(is_about_hosts) else {
            return error.during(act);
        };
        let mut hosts: Vec<_> = view.hosts.iter().collect();
        hosts.sort_by(|a, b| a.1.name_label.cmp(&b.1.name_label));
        let reasons = join_all(hosts.iter().map(|(host, record)| async move {
            let answer = self.client.read::<serde_json::Value>("VM.assert_can_boot_here", args![vm, host]).await;
            (record.name_label.clone(), answer.err())
        }))
        .await;
        refusal(&fault, &reasons, act)
    }

    /// The guest's VM in this view.
    pub(super) fn chosen(&self, view: &View, key: &Key, act: &str) -> Result<(Ref<Vm>, Vm, Claim)> {
        match view.candidates(&self.owner, key).chosen {
            Some((vm, record, claim)) => Ok((vm.clone(), record.clone(), claim)),
            None => Err(ProviderError::new(ErrorKind::NotFound, act, "the pool has no VM for this guest")),
        }
    }
}

pub(super) fn not_busy(vm: &Vm, act: &str) -> Result<()> {
    if vm.current_operations.is_empty() {
        return Ok(());
    }
    let doing: Vec<&str> = vm.current_operations.values().map(String::as_str).collect();
    let message = format!("an operation is under way on it: {}", doing.join(", "));
    Err(ProviderError::new(ErrorKind::Unavailable, act, message).with_retry_after(BUSY_AGAIN))
}

pub(super) fn host_by_uuid(view: &View, uuid: &str, act: &str) -> Result<Ref<Host>> {
    let found = view.hosts.iter().find(|(_, host)| host.uuid == uuid).map(|(r, _)| r.clone());
    found.ok_or_else(|| ProviderError::new(ErrorKind::NotFound, act, format!("the pool has no host {uuid}")))
}

/// `HANDLE_INVALID` of a host other than the one we named.
fn is_stale_affinity(error: &CallError, asked: Option<&Ref<Host>>) -> bool {
    error.fault().is_some_and(|fault| {
        fault.is("HANDLE_INVALID")
            && fault.param(0).eq_ignore_ascii_case("host")
            && asked.is_none_or(|host| !host.is(fault.param(1)))
    })
}

/// Whether the fault is about where a VM may run, so that each host has something to say.
fn is_about_hosts(fault: &Fault) -> bool {
    const CODES: [&str; 12] = [
        "NO_HOSTS_AVAILABLE",
        "HOST_NOT_ENOUGH_FREE_MEMORY",
        "HOST_NOT_ENOUGH_PCPUS",
        "HOST_NOT_LIVE",
        "HOST_DISABLED",
        "HOST_CANNOT_ATTACH_NETWORK",
        "VM_REQUIRES_SR",
        "VM_REQUIRES_NETWORK",
        "VM_REQUIRES_VGPU",
        "VM_INCOMPATIBLE_WITH_THIS_HOST",
        "VM_HOST_INCOMPATIBLE_VERSION",
        "VM_HVM_REQUIRED",
    ];
    CODES.contains(&fault.code.as_str())
}

/// The error of a start that failed for reasons of hosts. `NO_HOSTS_AVAILABLE` says nothing itself: it is a matter of
/// capacity where any host lacks room, of time where a host would have it now, and else of what the VM asks for.
fn refusal(fault: &Fault, reasons: &[(String, Option<CallError>)], act: &str) -> ProviderError {
    let told: Vec<String> = reasons
        .iter()
        .map(|(host, reason)| match reason {
            None => format!("{host}: could take it now"),
            Some(reason) => format!("{host}: {reason}"),
        })
        .collect();
    let kinds = || reasons.iter().filter_map(|(_, reason)| reason.as_ref().map(CallError::kind));
    let kind = match fault.code.as_str() {
        "NO_HOSTS_AVAILABLE" if reasons.iter().any(|(_, reason)| reason.is_none()) => ErrorKind::Unavailable,
        "NO_HOSTS_AVAILABLE" if reasons.is_empty() || kinds().any(|kind| kind == ErrorKind::Capacity) => {
            ErrorKind::Capacity
        }
        "NO_HOSTS_AVAILABLE" if kinds().all(|kind| kind == ErrorKind::Invalid) => ErrorKind::Invalid,
        "NO_HOSTS_AVAILABLE" => ErrorKind::Unavailable,
        _ => fault.kind(),
    };
    let message = if told.is_empty() { fault.to_string() } else { format!("{fault} ({})", told.join("; ")) };
    ProviderError::new(kind, act, message).with_code(fault.code.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, params: &[&str]) -> CallError {
        CallError::Refused { fault: Fault::new(code, params.iter().map(|p| (*p).to_owned()).collect()) }
    }

    #[test]
    fn no_hosts_available_is_sorted_by_what_the_hosts_say() {
        let full = || Some(refused("HOST_NOT_ENOUGH_FREE_MEMORY", &["2", "1"]));
        let blind = || Some(refused("VM_REQUIRES_SR", &["vm", "sr"]));
        let dead = || Some(refused("HOST_NOT_LIVE", &["h"]));
        let none = Fault::new("NO_HOSTS_AVAILABLE", vec![]);
        for (reasons, kind) in [
            (vec![full(), full()], ErrorKind::Capacity),
            (vec![full(), blind()], ErrorKind::Capacity),
            (vec![blind(), blind()], ErrorKind::Invalid),
            (vec![dead(), blind()], ErrorKind::Unavailable),
            (vec![full(), None], ErrorKind::Unavailable),
            (vec![], ErrorKind::Capacity),
        ] {
            let reasons: Vec<_> = reasons.into_iter().enumerate().map(|(i, r)| (format!("h{i}"), r)).collect();
            assert_eq!(refusal(&none, &reasons, START).kind, kind, "{reasons:?}");
        }
        let message = refusal(&none, &[("h1".into(), full())], START).message;
        assert_eq!(message, "NO_HOSTS_AVAILABLE (h1: HOST_NOT_ENOUGH_FREE_MEMORY: 2 bytes needed, 1 bytes free)");
    }

    #[test]
    fn a_full_host_is_a_matter_of_capacity_whatever_others_say() {
        let full = Fault::new("HOST_NOT_ENOUGH_FREE_MEMORY", vec!["2".into(), "1".into()]);
        assert_eq!(refusal(&full, &[("h1".into(), None)], START).kind, ErrorKind::Capacity);
    }

    #[test]
    fn a_preferred_host_that_left_is_told_from_the_one_asked_for() {
        let asked = Ref::<Host>::new("OpaqueRef:h1");
        let gone = |class: &str, of: &str| refused("HANDLE_INVALID", &[class, of]);
        assert!(is_stale_affinity(&gone("host", "OpaqueRef:h9"), Some(&asked)));
        assert!(is_stale_affinity(&gone("host", "OpaqueRef:h9"), None));
        assert!(!is_stale_affinity(&gone("host", "OpaqueRef:h1"), Some(&asked)));
        assert!(!is_stale_affinity(&gone("VM", "OpaqueRef:h9"), None));
    }
}
