//! Backoff for each object: doubling, with jitter, so that objects that failed together do not come back together.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

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
}
