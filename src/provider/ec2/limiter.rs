//! Our own share of EC2's request rates, so that a busy pool waits here and does not get the whole account throttled.
//!
//! EC2 fills a bucket of tokens per account, region and kind of call and answers `RequestLimitExceeded` when it is
//! empty. The same buckets are kept here. The arithmetic is pure: time is passed in.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::provider::rented::bucket::{Bucket, Rate};

/// Which bucket a call draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads with a filter or pages.
    Describe,
    /// Changes that have no bucket of their own.
    Mutate,
    /// `RunInstances`.
    Run,
    /// `TerminateInstances`.
    Terminate,
    /// `CreateTags` and `DeleteTags`.
    Tags,
}

impl Class {
    const COUNT: usize = 5;

    /// EC2's documented default rates (API request rate quotas of the EC2 developer guide, as measured and used by
    /// Karpenter).
    #[must_use]
    pub const fn rate(self) -> Rate {
        let (per_second, burst) = match self {
            Self::Describe => (20.0, 100.0),
            Self::Mutate => (5.0, 50.0),
            Self::Run => (2.0, 5.0),
            Self::Terminate => (5.0, 100.0),
            Self::Tags => (10.0, 100.0),
        };
        Rate { per_second, burst }
    }
}

/// The buckets of one connection.
#[derive(Debug)]
pub struct Limiter {
    buckets: Mutex<[Bucket; Class::COUNT]>,
}

impl Limiter {
    /// All buckets full.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let full = |class: Class| Bucket::full(class.rate(), now);
        let all = [Class::Describe, Class::Mutate, Class::Run, Class::Terminate, Class::Tags];
        Self { buckets: Mutex::new(all.map(full)) }
    }

    /// See [`Bucket::take`].
    pub fn take(&self, class: Class, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        self.with(class, |bucket| bucket.take(now, patience))
    }

    /// See [`Bucket::drain`].
    pub fn drain(&self, class: Class, now: Instant) {
        self.with(class, |bucket| bucket.drain(now));
    }

    fn with<T>(&self, class: Class, act: impl FnOnce(&mut Bucket) -> T) -> T {
        // Nothing in here can stop half-way, so a poisoned lock still guards sound buckets.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut buckets[class as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Duration = Duration::from_hours(1);

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let now = Instant::now();
        let mut bucket = Bucket::full(Class::Run.rate(), now);
        let waits: Vec<_> = (0..8).map(|_| bucket.take(now, PATIENT).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 500, 1000, 1500]);
        // Two seconds later the line is served and one token has come back.
        assert_eq!(bucket.take(now + Duration::from_secs(2), PATIENT), Ok(Duration::ZERO));
    }

    #[test]
    fn a_throttled_bucket_starts_again_from_empty() {
        let now = Instant::now();
        let limiter = Limiter::new(now);
        limiter.drain(Class::Describe, now);
        assert_eq!(limiter.take(Class::Describe, now, PATIENT), Ok(Duration::from_millis(50)));
        assert_eq!(limiter.take(Class::Terminate, now, PATIENT), Ok(Duration::ZERO), "the others are not touched");
    }
}
