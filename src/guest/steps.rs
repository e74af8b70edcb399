//! The steps that have a provider make, change or remove a VM: what is written before each, and what after.

use std::{sync::Arc, time::Duration};

use kube::{Api, ResourceExt as _, api::ListParams, runtime::controller::Action};
use tracing::info;

use super::{
    act::{Progress, REMOVAL, Run},
    amend,
    decide::{self, Verdict},
    facts::{FirstBootSight, Sight},
    first_boot, gather, relocate,
    say::{Note, Say},
    status,
};
use crate::{
    api::{CloudPool, template::CloudInit},
    provider::{
        Amendment, Deletion, ErrorKind, GuestWish, Key, ObservedGuest, Power, Provider, ProviderError, StopMode,
    },
    runtime::{ApiError, call},
};

/// How soon to decide anew when the guest was changed since it was decided on.
const CHANGED: Duration = Duration::from_millis(100);

/// The sentence that is said first.
pub(super) fn first_message(say: &Say) -> String {
    say.claims.first().map(|claim| claim.message.clone()).unwrap_or_default()
}

impl Run<'_> {
    pub(super) async fn read_first_boot(&mut self, verdict: &Verdict) -> Result<Progress, ApiError> {
        let (key, none) =
            (&self.facts.subject.key, CloudInit { user_data_secret_ref: None, network_data_secret_ref: None });
        let wish = self.guest.spec.template.cloud_init.clone().unwrap_or(none);
        match first_boot::read(&self.context.client, &key.namespace, &wish).await {
            Ok(known) => {
                self.facts.first_boot = FirstBootSight::Known(known);
                Ok(Progress::GoOn)
            }
            Err(error) => self.failed(&verdict.step, &error).await,
        }
    }

    pub(super) async fn create(&mut self, verdict: &Verdict, wish: &GuestWish) -> Result<Progress, ApiError> {
        // From here on a VM may exist: the record is written first, and on the condition that nothing changed, so that
        // nobody acts on a decision that is out of date.
        let first = self.facts.subject.creation.is_none();
        self.write(status::before_creation(&self.facts, &verdict.say, self.generation())).await?;
        let answer = match self.provider() {
            Ok(provider) => provider.create(wish).await,
            Err(closed) => Err(closed),
        };
        self.facts.answered = first && answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Capacity);
        self.seen(&verdict.step, answer, "Created", "Create").await
    }

    pub(super) async fn adopt(&mut self, verdict: &Verdict, key: &Key, id: &str) -> Result<Progress, ApiError> {
        self.write(status::before_creation(&self.facts, &verdict.say, self.generation())).await?;
        let answer = match self.provider() {
            Ok(provider) => provider.adopt(key, id).await,
            Err(closed) => Err(closed),
        };
        self.seen(&verdict.step, answer, "Adopted", "Adopt").await
    }

    pub(super) async fn start(&mut self, verdict: &Verdict, wish: &GuestWish) -> Result<Progress, ApiError> {
        let untouched = !self.has_run();
        if !status::start_is_noted_there(&self.facts) {
            self.write(status::before_start(&self.facts, &verdict.say, self.generation())).await?;
        } else if !self.is_as_written() && !self.is_current().await? {
            return Ok(Progress::Rest(Action::requeue(CHANGED)));
        }
        let answer = match self.provider() {
            Ok(provider) => provider.start(wish).await,
            Err(closed) => Err(closed),
        };
        if untouched && answer.as_ref().is_err_and(|error| decide::means_untouched(error.kind)) {
            self.facts.subject.creation.iter_mut().for_each(|creation| creation.started = false);
        }
        self.seen(&verdict.step, answer, "Started", "Start").await
    }

    /// Has it stop, or sees a stop to its end that is under way.
    pub(super) async fn stop(&mut self, verdict: &Verdict, key: &Key, mode: StopMode) -> Result<Progress, ApiError> {
        // What is written says that it is being stopped, and which restart that is for.
        self.write(status::after(&self.facts, &verdict.say, self.generation())).await?;
        let answer = match self.provider() {
            Ok(provider) => provider.stop(key, mode).await,
            Err(closed) => Err(closed),
        };
        self.facts.asked_to_stop = true;
        let stopping = |vm: &ObservedGuest| vm.power == Power::Stopping;
        if matches!(&self.facts.vm, Sight::Known(before) if stopping(before)) && answer.as_ref().is_ok_and(stopping) {
            // There is nothing new to tell of.
            self.context.patience.succeeded(&key.guest);
            return Ok(Progress::GoOn);
        }
        self.seen(&verdict.step, answer, "Stopped", "Stop").await
    }

    pub(super) async fn amend(&mut self, verdict: &Verdict, wish: &GuestWish) -> Result<Progress, ApiError> {
        // Whose protection it is must be known before it is there.
        self.write(status::before_amendment(&self.facts, &verdict.say, wish.protected, self.generation())).await?;
        let answer = match self.provider() {
            Ok(provider) => provider.amend(wish).await,
            Err(closed) => Err(closed),
        };
        self.facts.now = (self.context.now)();
        let (vm, note) = match answer {
            Ok(Amendment::Done(vm)) => (vm, Note::Clear),
            Ok(Amendment::WhenOff(vm, why)) => (vm, Note::Set(amend::when_off(&self.facts, wish, &why))),
            Err(error) => return self.failed(&verdict.step, &error).await,
        };
        info!(guest = %self.facts.subject.key, vm = vm.provider_id, waits = note != Note::Clear, "amended");
        let differs = note == Note::Clear && !amend::drift(wish, &vm).is_empty();
        (self.facts.vm, self.fresh) = (Sight::Known(vm), true);
        if note == Note::Clear {
            self.tell(false, "Resized", "Amend", amend::description(wish)).await;
        }
        let say = verdict.say.clone().noting(|notes| notes.resize = note);
        self.write(status::amended(&self.facts, &say, wish.protected, self.generation())).await?;
        if differs {
            // Done, says the provider, and still shows something else: that is not asked again and again.
            let error =
                ProviderError::new(ErrorKind::Unavailable, "resize the VM", "its provider still shows the old size");
            return self.failed(&verdict.step, &error).await;
        }
        self.context.patience.succeeded(&self.facts.subject.key.guest);
        Ok(Progress::GoOn)
    }

    pub(super) async fn migrate(&mut self, verdict: &Verdict, key: &Key, host: &str) -> Result<Progress, ApiError> {
        self.write(status::after(&self.facts, &verdict.say, self.generation())).await?;
        let answer = match self.provider() {
            Ok(provider) => provider.migrate(key, host).await,
            Err(closed) => Err(closed),
        };
        if let Ok(vm) = &answer {
            self.facts.vm = Sight::Known(vm.clone());
            let moved = relocate::moved(&self.facts);
            let say = verdict.say.clone().noting(|notes| notes.relocation = moved.map_or(Note::Keep, Note::Set));
            self.write(status::after(&self.facts, &say, self.generation())).await?;
        }
        self.seen(&verdict.step, answer, "Moved", "Migrate").await
    }

    pub(super) async fn erase(&mut self, key: &Key, verdict: &Verdict) -> Result<Progress, ApiError> {
        // What has a VM removed may be out of date: our own next VM would go, or one that is held by now.
        if !self.is_current().await? {
            return Ok(Progress::Rest(Action::requeue(REMOVAL)));
        }
        self.facts.met |= matches!(self.facts.vm, Sight::Known(_));
        let answer = match self.provider() {
            Ok(provider) => provider.delete(key).await,
            Err(closed) => Err(closed),
        };
        match answer {
            Ok(Deletion::Gone) => {
                self.context.patience.succeeded(&key.guest);
                self.facts.now = (self.context.now)();
                (self.facts.vm, self.facts.erased, self.fresh) = (Sight::Absent, true, true);
                Ok(Progress::GoOn)
            }
            Ok(Deletion::InProgress) => {
                self.write(status::after(&self.facts, &verdict.say, self.generation())).await?;
                Ok(Progress::Rest(Action::requeue(REMOVAL)))
            }
            Err(error) => self.failed(&verdict.step, &error).await,
        }
    }

    /// Gives the VM up as it is.
    pub(super) async fn release(&mut self, verdict: &Verdict, key: &Key) -> Result<Progress, ApiError> {
        if !self.is_current().await? {
            return Ok(Progress::Rest(Action::requeue(REMOVAL)));
        }
        let answer = match self.provider() {
            Ok(provider) => provider.release(key).await,
            Err(closed) => Err(closed),
        };
        if let Err(error) = answer {
            return self.failed(&verdict.step, &error).await;
        }
        self.facts.now = (self.context.now)();
        self.facts.met |= matches!(self.facts.vm, Sight::Known(_));
        (self.facts.vm, self.facts.released, self.fresh) = (Sight::Absent, true, true);
        let id = self.facts.subject.status.provider_id.clone().unwrap_or_else(|| "of an unknown id".to_owned());
        self.tell(false, "Released", "Release", format!("the VM {id} stays and is nobody's")).await;
        Ok(Progress::GoOn)
    }

    /// Removes a VM that was given up, where it is seen again.
    pub(super) async fn clear(&mut self, verdict: &Verdict, key: &Key, pool: &str) -> Result<Progress, ApiError> {
        if !self.is_current().await? {
            return Ok(Progress::Rest(Action::requeue(REMOVAL)));
        }
        let answer = match gather::provider_of(self.context, pool) {
            Some(provider) => Arc::<dyn Provider>::clone(&provider).delete(key).await,
            None => return Ok(Progress::Rest(Action::requeue(REMOVAL))),
        };
        match answer {
            Ok(Deletion::Gone) => {
                self.context.patience.succeeded(&key.guest);
                self.facts.abandoned.retain(|(left, _)| left.incarnation != key.incarnation);
                self.tell(true, "AbandonedVmRemoved", "Delete", format!("its earlier VM in {pool} was removed")).await;
                let own = status::cleared(&self.facts, &verdict.say, key.incarnation, self.generation());
                self.write(own).await?;
                Ok(Progress::GoOn)
            }
            Ok(Deletion::InProgress) => Ok(Progress::Rest(Action::requeue(REMOVAL))),
            Err(error) => self.failed(&verdict.step, &error).await,
        }
    }

    /// Gives a VM up whose pool does not answer. What an administrator vouches for is asked of the API server itself: the
    /// word may have been taken back a moment ago.
    pub(super) async fn abandon(&mut self, verdict: &Verdict) -> Result<Progress, ApiError> {
        let Some(pool) = self.facts.subject.pool().map(str::to_owned) else {
            return Ok(Progress::Rest(Action::requeue(REMOVAL)));
        };
        let pools: Api<CloudPool> = Api::all(self.context.client.clone());
        // The operator has the right to list them, not to get one.
        let only = ListParams::default().fields(&format!("metadata.name={pool}"));
        let live = call(format!("read CloudPool {pool}"), pools.list(&only)).await?;
        if !live.items.iter().any(|live| live.spec.fenced) {
            return Ok(Progress::Rest(Action::requeue(REMOVAL)));
        }
        self.write(status::abandoned(&self.facts, &verdict.say, self.generation())).await?;
        info!(guest = %self.guest.name_any(), pool, "given up, as its pool is fenced");
        self.tell(true, "PlacedAnew", "Renew", first_message(&verdict.say)).await;
        Ok(Progress::Rest(Action::await_change()))
    }
}
