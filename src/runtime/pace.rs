//! How often what is only for people is written: sums that change with every guest would be written with every guest.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

/// When something was last written, by object.
#[derive(Debug)]
pub struct Pace<K>(Mutex<HashMap<K, Timestamp>>);

impl<K> Default for Pace<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Pace<K> {
    /// For how much longer to wait with the next write, where they are to be `least` apart. `None`: write, which is noted.
    pub fn wait(&self, key: K, least: Duration, now: Timestamp) -> Option<Duration> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = map.get(&key).map(|last| Duration::try_from(now.duration_since(*last)).unwrap_or_default());
        let rest = passed.and_then(|passed| least.checked_sub(passed)).filter(|rest| !rest.is_zero());
        if rest.is_none() {
            map.insert(key, now);
        }
        rest
    }

    /// A write that is not held to the pace.
    pub fn wrote(&self, key: K, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, now);
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_one_object_keep_their_distance() {
        let (pace, least) = (Pace::default(), Duration::from_secs(3));
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(pace.wait("a", least, at(10)), None);
        assert_eq!(pace.wait("a", least, at(11)), Some(Duration::from_secs(2)));
        assert_eq!(pace.wait("b", least, at(11)), None);
        assert_eq!(pace.wait("a", least, at(13)), None);
        pace.wrote("a", at(15));
        assert_eq!(pace.wait("a", least, at(16)), Some(Duration::from_secs(2)));
        pace.forget(&"a");
        assert_eq!(pace.wait("a", least, at(16)), None);
    }
}
