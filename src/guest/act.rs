//! Carries out one step, and writes what has to be known before and after it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Api, ResourceExt as _,
    runtime::{controller::Action, reflector::ObjectRef},
};
use tracing::{info, warn};

use super::{
    Context,
    decide::{self, Step, Verdict},
    facts::{Facts, Sight, Subject, Trouble},
    gather,
    status::{self, OwnStatus},
    steps::first_message,
};
use crate::{
    api::{
        Guest,
        names::{GUEST_FINALIZER, manager},
    },
    provider::{ErrorKind, ObservedGuest, Provider, ProviderError},
    runtime::{ApiError, apply, call, chain, events::News},
};

/// One run.
pub(super) struct Run<'c> {
    pub context: &'c Context,
    pub guest: Arc<Guest>,
    pub facts: Facts,
    /// The facts were read from the provider in this run, not remembered.
    pub fresh: bool,
    /// When the guest was last written in this run, and so was what is held here.
    pub written: Option<Instant>,
}

/// How a run goes on.
pub(super) enum Progress {
    /// Decide again.
    GoOn,
    /// Enough for now.
    Rest(Action),
}

/// A guest that is as it should be is looked at this often all the same, should an event have been lost.
const PATROL: Duration = Duration::from_mins(10);
/// The longest wait between two looks for a Secret that is missing.
const SECRETS: Duration = Duration::from_secs(20);
/// How long what was written is taken for what is there, while the watch says so too.
const A_MOMENT: Duration = Duration::from_secs(2);
/// How soon to ask again whether a removal has ended.
pub(super) const REMOVAL: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Takes the step of a verdict.
    pub(super) async fn take(&mut self, verdict: Verdict) -> Result<Progress, ApiError> {
        match &verdict.step {
            Step::Rest => {
                let made_at = self.guest.creation_timestamp().map(|time| time.0);
                if let Some(rest) = status::is_early(&self.facts, made_at, self.context.handover.spoke()) {
                    return Ok(Progress::Rest(Action::requeue(rest)));
                }
                self.write(status::after(&self.facts, &verdict.say, self.generation())).await?;
                Ok(Progress::Rest(Action::requeue(verdict.again.unwrap_or(PATROL))))
            }
            Step::LetGo => {
                apply::remove_finalizer(&self.api(), &*self.guest, GUEST_FINALIZER).await?;
                self.context.patience.succeeded(&self.facts.subject.key.guest);
                info!(guest = %self.facts.subject.key, "let go");
                Ok(Progress::Rest(Action::await_change()))
            }
            Step::Renew => {
                self.write(status::renewed(&self.facts, &verdict.say, self.generation())).await?;
                self.tell(true, "PlacedAnew", "Renew", first_message(&verdict.say)).await;
                Ok(Progress::Rest(Action::await_change()))
            }
            Step::Abandon => self.abandon(&verdict).await,
            Step::ReadFirstBoot => self.read_first_boot(&verdict).await,
            Step::Create(wish) => self.create(&verdict, wish).await,
            Step::Adopt(key, id) => self.adopt(&verdict, key, id).await,
            Step::Start(wish) => self.start(&verdict, wish).await,
            Step::Stop(key, mode) => self.stop(&verdict, key, *mode).await,
            Step::Suspend(key) => {
                let answer = match self.provider() {
                    Ok(provider) => provider.suspend(key).await,
                    Err(closed) => Err(closed),
                };
                self.seen(&verdict.step, answer, "Suspended", "Suspend").await
            }
            Step::Amend(wish) => self.amend(&verdict, wish).await,
            Step::Migrate(key, host) => self.migrate(&verdict, key, host).await,
            Step::Erase(key) => self.erase(key, &verdict).await,
            Step::Release(key) => self.release(&verdict, key).await,
            Step::Clear(key, pool) => self.clear(&verdict, key, pool).await,
        }
    }

    pub(super) async fn seen(
        &mut self,
        step: &Step,
        answer: Result<ObservedGuest, ProviderError>,
        reason: &'static str,
        action: &'static str,
    ) -> Result<Progress, ApiError> {
        match answer {
            Ok(vm) => {
                self.context.patience.succeeded(&self.facts.subject.key.guest);
                self.facts.now = (self.context.now)();
                let pool = self.facts.subject.pool().unwrap_or_default();
                let on = vm.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
                let note = format!("VM {} in {pool}{on}", vm.provider_id);
                info!(guest = %self.facts.subject.key, vm = vm.provider_id, reason, "acted");
                (self.facts.vm, self.fresh) = (Sight::Known(vm), true);
                // That a new guest is made and started says its status.
                if self.has_run() || !matches!(step, Step::Create(_) | Step::Start(_)) {
                    self.tell(false, reason, action, note).await;
                }
                Ok(Progress::GoOn)
            }
            Err(error) => self.failed(step, &error).await,
        }
    }

    pub(super) fn has_run(&self) -> bool {
        self.facts.subject.creation.as_ref().is_some_and(|creation| creation.started)
    }

    /// Whether the guest is what this run wrote a moment ago, on the condition that nothing had changed, and the watch has
    /// brought that and nothing newer: no later than an answer of the API server might be, and without asking it.
    pub(super) fn is_as_written(&self) -> bool {
        let seen = self.context.guests.get(&ObjectRef::from_obj(&*self.guest));
        is_as_written(self.written.map(|at| at.elapsed()), &self.guest, seen.as_deref())
    }

    /// Whether the guest is still the one that was decided on.
    pub(super) async fn is_current(&self) -> Result<bool, ApiError> {
        let name = self.guest.name_any();
        let live = call(format!("read Guest {name}"), self.api().get(&name)).await?;
        // A deletion is never taken back; a hold on what was deleted may be new.
        let unchanged = if self.facts.subject.deleting {
            live.metadata.generation == self.guest.metadata.generation
        } else {
            live.resource_version() == self.guest.resource_version()
        };
        Ok(live.uid() == self.guest.uid() && unchanged)
    }

    /// A step failed: look for another place, or say so and try again after a while.
    pub(super) async fn failed(&mut self, step: &Step, error: &ProviderError) -> Result<Progress, ApiError> {
        let (trouble, generation) = (Trouble::from(error), self.generation());
        // The call may have taken minutes.
        self.facts.now = (self.context.now)();
        let say = decide::after_failure(&self.facts, step, &trouble);
        if decide::is_refusal(&self.facts, step, &trouble) {
            self.tell(true, "PoolRefused", "Create", trouble.message.clone()).await;
            self.write(status::refusing(&self.facts, &trouble.message, &say, generation)).await?;
            return Ok(Progress::GoOn);
        }
        let wait = self.wait(step, trouble.retry_after);
        warn!(guest = %self.facts.subject.key, error = chain(error), retry_ms = wait.as_millis(), "a step failed");
        let mut own = status::after(&self.facts, &say, generation);
        if trouble.kind == ErrorKind::UnknownOutcome && matches!(step, Step::Create(_)) {
            own = status::unanswered(own, self.facts.now);
        }
        self.write(own).await?;
        Ok(Progress::Rest(Action::requeue(wait)))
    }

    /// How long to wait after a step that failed.
    pub(super) fn wait(&self, step: &Step, wished: Option<Duration>) -> Duration {
        let (key, wish) = (self.facts.subject.key.guest.clone(), self.wish());
        match step {
            // Somebody makes the Secret and waits for the guest.
            Step::ReadFirstBoot => {
                self.context.patience.failed_cheaply(key, wish, SECRETS, self.facts.now, rand::random())
            }
            _ => self.context.patience.failed(key, wish, wished, self.facts.now, rand::random()),
        }
    }

    pub(super) fn generation(&self) -> Option<i64> {
        self.guest.metadata.generation
    }

    /// What the current attempts are about: a number that changes when somebody changes the wish.
    pub(super) fn wish(&self) -> u64 {
        let generation = self.guest.metadata.generation.unwrap_or_default().unsigned_abs();
        generation * 2 + u64::from(self.facts.subject.deleting)
    }

    /// The connection to ask. It may have been closed since the facts were gathered: that is a failed step like others.
    pub(super) fn provider(&self) -> Result<Arc<dyn Provider>, ProviderError> {
        gather::provider(self.context, &self.facts.subject).ok_or_else(|| {
            ProviderError::new(ErrorKind::Unavailable, "ask the pool", "its connection was closed meanwhile")
        })
    }

    /// Writes our part of the status where it differs, with the reasons for a new binding, and goes on with what the API
    /// server then holds.
    pub(super) async fn write(&mut self, own: OwnStatus) -> Result<(), ApiError> {
        let old = self.guest.status.clone().unwrap_or_default();
        let reasons = self.context.handover.of(&self.guest);
        if reasons.is_none() && own == OwnStatus::of(&old) {
            return Ok(());
        }
        let whole = own.onto(&old);
        let whole = reasons.clone().map_or(whole.clone(), |reasons| reasons.onto(&whole));
        let before = Instant::now();
        let written = apply::status(&self.api(), &*self.guest, manager::GUEST, &whole).await?;
        self.written = Some(before);
        if reasons.is_some() {
            self.context.handover.written(&self.guest);
        }
        self.facts.subject = Subject::new(&written);
        self.guest = Arc::new(written);
        Ok(())
    }

    pub(super) async fn tell(&self, warning: bool, reason: &'static str, action: &'static str, note: String) {
        self.context.herald.say(&*self.guest, News { warning, reason: reason.to_owned(), action, note }).await;
    }

    fn api(&self) -> Api<Guest> {
        Api::namespaced(self.context.client.clone(), &self.guest.namespace().unwrap_or_default())
    }
}

/// The same of a guest that is `held`, was written so long `ago` if at all, and is seen like that on the watch.
fn is_as_written(ago: Option<Duration>, held: &Guest, seen: Option<&Guest>) -> bool {
    ago.is_some_and(|ago| ago < A_MOMENT)
        && seen.is_some_and(|seen| (seen.uid(), seen.resource_version()) == (held.uid(), held.resource_version()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::testing;

    fn guest(uid: &str, version: &str) -> Guest {
        let mut guest = testing::guest();
        guest.metadata.uid = Some(uid.to_owned());
        guest.metadata.resource_version = Some(version.to_owned());
        guest
    }

    #[test]
    fn a_guest_is_as_written_for_a_moment_while_the_watch_shows_that_very_version() {
        let (held, now) = (guest("a", "7"), Some(Duration::ZERO));
        assert!(is_as_written(now, &held, Some(&held)));
        assert!(is_as_written(Some(A_MOMENT.saturating_sub(Duration::from_millis(1))), &held, Some(&held)));
        for (why, ago, seen) in [
            ("not written in this run", None, Some(held.clone())),
            ("the moment is over", Some(A_MOMENT), Some(held.clone())),
            ("not seen yet, or no more", now, None),
            ("the watch lags", now, Some(guest("a", "6"))),
            ("somebody wrote since", now, Some(guest("a", "8"))),
            ("another of that name", now, Some(guest("b", "7"))),
        ] {
            assert!(!is_as_written(ago, &held, seen.as_ref()), "{why}");
        }
    }
}
