//! What happens to a guest between its creation and its end: sleep, moves, changes of hands.

use tokio::time::Instant;

use super::{
    call_error::{During, GoneIsFine},
    client::{Nature, args},
    create::BUSY_AGAIN,
    driver::{MOVES_AT_ONCE, XapiProvider},
    identity::{self, Claim},
    power::{host_by_uuid, not_busy},
    records::{Task, Vm},
    task::{Progress, outcome, progress},
    value::Ref,
    view::View,
};
use crate::provider::{ErrorKind, Key, ObservedGuest, Power, ProviderError, Result, Stage};

const SUSPEND: &str = "suspend the VM";
const MIGRATE: &str = "migrate the VM";
const ADOPT: &str = "adopt the VM";
const RELEASE: &str = "release the VM";

impl XapiProvider {
    pub(super) async fn put_to_sleep(&self, key: &Key) -> Result<ObservedGuest> {
        let _turn = self.turns.take(&key.guest).await;
        let view = self.live().await.during(SUSPEND)?;
        let (vm, record, _) = self.chosen(&view, key, SUSPEND)?;
        match view.power(&record) {
            Power::Suspended => return Ok(view.observe(&record, key, Stage::Complete)),
            Power::Running => not_busy(&record, SUSPEND)?,
            other => return Err(cannot_now(SUSPEND, other)),
        }
        self.client.run("VM.suspend", args![vm], self.client.timing.task).await.during(SUSPEND)?;
        self.observe_anew(view, &vm, key, SUSPEND).await
    }

    pub(super) async fn move_to(&self, key: &Key, host: &str) -> Result<ObservedGuest> {
        let _turn = self.turns.take(&key.guest).await;
        let view = self.live().await.during(MIGRATE)?;
        let (vm, record, _) = self.chosen(&view, key, MIGRATE)?;
        let target = host_by_uuid(&view, host, MIGRATE)?;
        match view.power(&record) {
            Power::Running if record.resident_on == target => return Ok(view.observe(&record, key, Stage::Complete)),
            Power::Running => not_busy(&record, MIGRATE)?,
            other => return Err(cannot_now(MIGRATE, other)),
        }
        // Nobody waits in line here: whoever asks again later gets a place then.
        let crowded = || {
            let message = format!("{MOVES_AT_ONCE} moves are under way in the pool, as many as it takes at a time");
            ProviderError::new(ErrorKind::Throttled, MIGRATE, message).with_retry_after(BUSY_AGAIN * 5)
        };
        let _place = self.moves.try_acquire().map_err(|_| crowded())?;
        if self.is_crowded(&view).await? {
            return Err(crowded());
        }
        let options = serde_json::json!({ "live": "true" });
        let begun = self.client.begin("VM.pool_migrate", args![vm, target, options], Nature::Repeatable).await;
        let task = begun.during(MIGRATE)?;
        match self.client.follow_begun(&task, Instant::now() + self.client.timing.patience).await.during(MIGRATE)? {
            // A large memory takes its time. It is neither broken off nor waited for: from now on the pool itself shows
            // that it is under way, and where the VM is in the end.
            Progress::Pending => {
                let message = "the move is under way and takes long";
                let error = ProviderError::new(ErrorKind::UnknownOutcome, MIGRATE, message);
                return Err(error.with_retry_after(BUSY_AGAIN * 5));
            }
            ended => {
                self.client.forget_task(&task).await;
                if let Err(error) = outcome(ended) {
                    return Err(self.explain(&view, &vm, error, MIGRATE).await);
                }
            }
        }
        let record = self.client.get(&vm).await.during(MIGRATE)?;
        // Managers have been seen to report a move that never took place.
        if record.is_none_or(|record| record.resident_on != target) {
            let message = "xapi reports success, but the VM is not on that host";
            return Err(ProviderError::new(ErrorKind::Unavailable, MIGRATE, message).with_retry_after(BUSY_AGAIN));
        }
        self.observe_anew(view, &vm, key, MIGRATE).await
    }

    /// Whether as many VMs are on their way as the pool takes at a time. A move whose task is gone, as a restart of xapi leaves
    /// it behind in the VM's record, takes nobody's place.
    async fn is_crowded(&self, view: &View) -> Result<bool> {
        let moves = view.moves();
        if moves.len() < MOVES_AT_ONCE {
            return Ok(false);
        }
        let tasks = moves.iter().map(|task| self.client.get::<Task>(task));
        let tasks = futures::future::try_join_all(tasks).await.during(MIGRATE)?;
        let pending = |task: &Task| progress(task.clone()) == Progress::Pending;
        Ok(tasks.iter().flatten().filter(|task| pending(task)).count() >= MOVES_AT_ONCE)
    }

    pub(super) async fn take_over(&self, key: &Key, uuid: &str) -> Result<ObservedGuest> {
        let _turn = self.turns.take(&key.guest).await;
        // Nobody else takes it over or gives it up after it was looked at.
        let _its_turn = self.turns.take(uuid).await;
        let view = self.live().await.during(ADOPT)?;
        let refuse = |message: String| Err(ProviderError::new(ErrorKind::Invalid, ADOPT, message));
        let Some((vm, record)) = view.vms.iter().find(|(_, record)| record.uuid == uuid) else {
            return Err(ProviderError::new(ErrorKind::NotFound, ADOPT, format!("the pool has no VM {uuid}")));
        };
        if record.is_a_template || record.is_a_snapshot || record.is_control_domain {
            return refuse(format!("{uuid} is a template, a snapshot or a control domain"));
        }
        if let Some((_, other, _)) = view.candidates(&self.owner, key).chosen
            && other.uuid != uuid
        {
            return refuse(format!("the guest has the VM {} already", other.uuid));
        }
        match identity::claim(&self.owner, record) {
            Claim::Marked(of, _) if of.guest == key.guest && of.incarnation == key.incarnation => {}
            Claim::Foreign if !record.other_config.contains_key(&identity::mark_key(uuid)) => {}
            Claim::Marked(of, _) | Claim::Begun(of) => return refuse(format!("{uuid} is the VM of {of}")),
            Claim::Foreign => return refuse(format!("{uuid} belongs to another Innkeeper")),
        }
        let (changing, note) = (identity::changing_key(uuid), identity::task_mark(&self.owner, key));
        // Whoever else was cut off between has nothing more to do with it.
        if record.other_config.get(&changing).is_some_and(|of| *of != note) {
            self.client.set("VM.remove_from_other_config", args![vm, changing]).await.during(ADOPT)?;
        }
        // Should this be cut off before the mark is there, giving it up finds the rest.
        self.client.mark(vm, &changing, &note).await.during(ADOPT)?;
        // The guest's VM is complete from its first moment: nothing of it is for us to make.
        for flag in [identity::started_key(uuid), identity::provisioned_key(uuid), identity::complete_key(uuid)] {
            self.client.mark(vm, &flag, "1").await.during(ADOPT)?;
        }
        let mark = identity::mark(&self.owner, key);
        self.client.mark(vm, &identity::mark_key(uuid), &mark).await.during(ADOPT)?;
        self.client.set("VM.remove_from_other_config", args![vm, changing]).await.during(ADOPT)?;
        let vm = vm.clone();
        self.observe_anew(view, &vm, key, ADOPT).await
    }

    /// Takes our keys off the VM. The mark goes before the others: a VM that is ours and not complete is one that nobody has
    /// worked in, and may be removed. Before it goes, the VM says who gives it up, so that the next run finds the rest. So does
    /// it find what taking it over left.
    pub(super) async fn let_loose(&self, key: &Key) -> Result<()> {
        let _turn = self.turns.take(&key.guest).await;
        let view = self.live().await.during(RELEASE)?;
        let between = |record: &Vm| identity::is_between(&self.owner, key, record);
        let marked = marked(&view, self, key);
        let Some((vm, record)) =
            marked.or_else(|| view.vms.iter().map(|(vm, record)| (vm, &**record)).find(|(_, r)| between(r)))
        else {
            return Ok(());
        };
        let uuid = &record.uuid;
        // Without its mark the VM is anybody's: another guest must not take it over in between.
        let _its_turn = self.turns.take(uuid).await;
        let take_off = async |flag: String| {
            self.client.set("VM.remove_from_other_config", args![vm, flag]).await.gone_is_fine().during(RELEASE)
        };
        if marked.is_some() {
            self.unprotect(vm, &mut record.clone()).await?;
            let note = identity::task_mark(&self.owner, key);
            self.client.mark(vm, &identity::changing_key(uuid), &note).await.during(RELEASE)?;
            take_off(identity::mark_key(uuid)).await?;
        } else if !self.client.get(vm).await.during(RELEASE)?.as_ref().is_some_and(between) {
            // It is gone, or another guest has taken it over since.
            return Ok(());
        }
        for flag in [
            identity::complete_key(uuid),
            identity::provisioned_key(uuid),
            identity::started_key(uuid),
            identity::making_key(uuid),
            identity::changing_key(uuid),
        ] {
            take_off(flag).await?;
        }
        Ok(())
    }
}

fn marked<'a>(view: &'a View, provider: &'a XapiProvider, key: &Key) -> Option<(&'a Ref<Vm>, &'a Vm)> {
    let (vm, record, claim) = view.candidates(&provider.owner, key).chosen?;
    matches!(claim, Claim::Marked(..)).then_some((vm, record))
}

pub(super) fn cannot_now(act: &str, power: Power) -> ProviderError {
    ProviderError::new(ErrorKind::Unavailable, act, format!("it is {}", power.to_string().to_lowercase()))
}
