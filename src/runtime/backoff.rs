//! Backoff for each object: doubling, with jitter, so that objects that failed together do not come back together.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// The delay after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest delay.
const LONGEST: Duration = Duration::from_mins(5);

/// The delay after so many failures in a row (one or more). `jitter` is between 0 and 1: the delay is between half and
/// all of the doubled one.
#[must_use]
pub fn delay(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(20))).min(LONGEST);
    doubled.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// Failures in a row of each object.
#[derive(Debug)]
pub struct Failures<K>(Mutex<HashMap<K, u32>>);

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Failures<K> {
    /// Notes a failure and returns how many there were in a row.
    pub fn failed(&self, key: K) -> u32 {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// Notes a success, or that the object is gone.
    pub fn succeeded(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Steps that failed and are not to be tried again before some time, whatever else calls for a look. Without this every
/// change that a failed attempt itself causes would be the next attempt's start.
#[derive(Debug)]
pub struct Patience<K>(Mutex<HashMap<K, Waiting>>);

#[derive(Debug)]
struct Waiting {
    /// What the step was decided on. A changed wish is not made to wait.
    wish: u64,
    failures: u32,
    until: Timestamp,
}

impl<K> Default for Patience<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Patience<K> {
    /// How long to wait before the next attempt at this wish. `None`: go on.
    #[must_use]
    pub fn remaining(&self, key: &K, wish: u64, now: Timestamp) -> Option<Duration> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = map.get(key).filter(|waiting| waiting.wish == wish && waiting.until > now)?;
        Duration::try_from(waiting.until.duration_since(now)).ok()
    }

    /// Notes a failed attempt, and returns how long to wait: at least `wished`, where the other side asked for that.
    pub fn failed(&self, key: K, wish: u64, wished: Option<Duration>, now: Timestamp, jitter: f64) -> Duration {
        self.wait(key, wish, now, |failures| delay(failures, jitter).max(wished.unwrap_or_default()))
    }

    /// The same for an attempt that costs so little that `longest` is the longest time to wait for the next.
    pub fn failed_cheaply(&self, key: K, wish: u64, longest: Duration, now: Timestamp, jitter: f64) -> Duration {
        self.wait(key, wish, now, |failures| delay(failures, jitter).min(longest))
    }

    fn wait(&self, key: K, wish: u64, now: Timestamp, wait: impl FnOnce(u32) -> Duration) -> Duration {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = map.get(&key).filter(|waiting| waiting.wish == wish).map_or(0, |waiting| waiting.failures);
        let failures = before.saturating_add(1);
        let wait = wait(failures);
        let until = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(now);
        map.insert(key, Waiting { wish, failures, until });
        wait
    }

    /// Forgets failures: an attempt succeeded, or the object is gone.
    pub fn succeeded(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_grow_and_end(failures in 1u32..1000, jitter in 0.0f64..=1.0) {
            let now = delay(failures, jitter);
            prop_assert!(now >= FIRST / 2 && now <= LONGEST);
            prop_assert!(delay(failures + 1, jitter) >= now);
        }
    }

    #[test]
    fn success_forgets_failures() {
        let failures = Failures::default();
        assert_eq!((failures.failed("a"), failures.failed("a"), failures.failed("b")), (1, 2, 1));
        failures.succeeded(&"a");
        assert_eq!(failures.failed("a"), 1);
    }

    #[test]
    fn a_failed_step_waits_and_a_changed_wish_does_not() {
        let (patience, now) = (Patience::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(patience.remaining(&"a", 1, now), None);
        let first = patience.failed("a", 1, None, now, 1.0);
        assert_eq!(patience.remaining(&"a", 1, now), Some(first));
        assert_eq!(patience.remaining(&"a", 1, now + first), None);
        assert_eq!(patience.remaining(&"a", 2, now), None);
        assert!(patience.failed("a", 1, None, now, 1.0) > first);
        let asked = Duration::from_mins(10);
        assert_eq!(patience.failed("a", 1, Some(asked), now, 1.0), asked);
        assert_eq!(patience.failed_cheaply("a", 1, first, now, 1.0), first);
        patience.succeeded(&"a");
        assert_eq!(patience.failed("a", 1, None, now, 1.0), first);
    }
}
