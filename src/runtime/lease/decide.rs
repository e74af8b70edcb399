//! Who leads, judged from what the Lease says and from our own clock. Pure.
//!
//! Clocks of different machines are never compared. A candidate notes when it first saw the Lease in its present form, by
//! its own clock, and waits a whole term from there. The leader counts from before it sent its last renewal that was
//! confirmed, and only for a part of the term: it always stops first.

use std::time::Duration;

/// A moment by this machine's own clock: how long it has been up, sleep included. No one sets this clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// So long after the machine was started.
    #[must_use]
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Now.
    #[must_use]
    pub fn now() -> Self {
        // CLOCK_BOOTTIME, as std's Instant stands still while a machine sleeps: a leader would wake up as one.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Self(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default()))
    }

    /// How long the machine had been up.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long from `self` until `later`; nothing where that has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A Lease that was not renewed for so long may be taken over.
    pub term: Duration,
    /// A leader that could not renew for so long stops. Shorter than the term.
    pub renew_within: Duration,
    /// The pause between two renewals.
    pub renew_every: Duration,
    /// The pause after a failure, and between two looks of a candidate.
    pub retry: Duration,
}

impl Timing {
    /// The usual proportions for a term: two thirds to renew in, a third between renewals.
    #[must_use]
    pub fn of_term(term: Duration) -> Self {
        let retry = (term / 15).clamp(Duration::from_millis(200), Duration::from_secs(1));
        Self { term, renew_within: term * 2 / 3, renew_every: term / 3, retry }
    }

    /// How long one call about the Lease may take: several fit into the time to renew in.
    #[must_use]
    pub fn call(&self) -> Duration {
        self.renew_within / 4
    }
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it. `None`: it was given back.
    pub holder: Option<String>,
    /// The term that the holder promised to renew within.
    pub term: Duration,
    /// Changes with every write.
    pub version: String,
}

/// The Lease as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// What it says. `None`: there is none.
    pub record: Option<Record>,
    /// Since when it has been so, by our own clock.
    pub since: Moment,
}

impl Sight {
    /// What is known after a look at `now`: the time counts from the first look that found it so.
    #[must_use]
    pub fn after_look(before: Option<Self>, record: Option<Record>, now: Moment) -> Self {
        match before {
            Some(before) if before.record == record => before,
            _ => Self { record, since: now },
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Somebody else leads, at least until then.
    Follow {
        /// When its term ends unless it is renewed.
        until: Moment,
    },
    /// Nobody leads: try to.
    Acquire,
    /// We lead: renew.
    Renew,
    /// We led and do not any more.
    Lost,
}

/// Decides for `me`. `valid_until` is there for who leads: the end of what the last confirmed renewal gave.
#[must_use]
pub fn decide(me: &str, sight: &Sight, valid_until: Option<Moment>, now: Moment) -> Decision {
    let holder = sight.record.as_ref().and_then(|record| record.holder.as_deref()).filter(|holder| !holder.is_empty());
    match (valid_until, &sight.record, holder) {
        (Some(end), _, _) if now >= end => Decision::Lost,
        (Some(_), _, Some(holder)) if holder == me => Decision::Renew,
        (Some(_), _, _) => Decision::Lost,
        // Ours though we do not lead: a write that was taken for failed has landed.
        (None, _, Some(holder)) if holder == me => Decision::Acquire,
        (None, Some(record), Some(_)) => {
            let until = sight.since.after(record.term);
            if now >= until { Decision::Acquire } else { Decision::Follow { until } }
        }
        (None, _, _) => Decision::Acquire,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
