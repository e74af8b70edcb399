//! Our own share of EC2's request rates, so that a busy pool waits here and does not get the whole account throttled.
//!
//! EC2 fills a bucket of tokens per account, region and kind of call and answers `RequestLimitExceeded` when it is
//! empty. The same buckets are kept here. The arithmetic is pure: time is passed in.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

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

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second.
    pub per_second: f64,
    /// Calls that may be made at once after a rest.
    pub burst: f64,
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

/// One bucket. Holds fewer than zero tokens while calls wait in line for theirs.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate.per_second).min(self.rate.burst);
        self.at = self.at.max(now);
    }

    /// Takes one token and says how long to wait before using it. Takes nothing and answers `Err(wait)` where that
    /// would be longer than `patience`. Calls are served in the order in which they ask.
    pub fn take(&mut self, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        self.refill(now);
        let missing = (1.0 - self.tokens).max(0.0);
        let wait = Duration::from_secs_f64(missing / self.rate.per_second);
        if wait > patience {
            return Err(wait);
        }
        self.tokens -= 1.0;
        Ok(wait)
    }

    /// The provider said that its own bucket is empty, so ours is too.
    pub fn drain(&mut self, now: Instant) {
        self.refill(now);
        self.tokens = self.tokens.min(0.0);
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
    use proptest::prelude::*;

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
    fn who_cannot_wait_takes_no_token() {
        let now = Instant::now();
        let mut bucket = Bucket::full(Rate { per_second: 1.0, burst: 1.0 }, now);
        assert_eq!(bucket.take(now, PATIENT), Ok(Duration::ZERO));
        for _ in 0..3 {
            assert_eq!(bucket.take(now, Duration::from_millis(900)), Err(Duration::from_secs(1)));
        }
        assert_eq!(bucket.take(now + Duration::from_secs(1), PATIENT), Ok(Duration::ZERO));
    }

    #[test]
    fn a_throttled_bucket_starts_again_from_empty() {
        let now = Instant::now();
        let limiter = Limiter::new(now);
        limiter.drain(Class::Describe, now);
        assert_eq!(limiter.take(Class::Describe, now, PATIENT), Ok(Duration::from_millis(50)));
        assert_eq!(limiter.take(Class::Terminate, now, PATIENT), Ok(Duration::ZERO), "the others are not touched");
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let now = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::full(Rate { per_second: 1.0, burst: 1.0 }, now);
        assert_eq!(bucket.take(now, PATIENT), Ok(Duration::ZERO));
        assert!(bucket.take(now.checked_sub(Duration::from_secs(5)).unwrap(), Duration::ZERO).is_err());
        assert!(bucket.take(now, Duration::ZERO).is_err());
    }

    proptest! {
        /// In any span of time no more calls start than the burst and what flowed in since.
        #[test]
        fn never_more_than_the_bucket_gives(gaps in prop::collection::vec(0u64..400, 1..200)) {
            let start = Instant::now();
            let rate = Class::Mutate.rate();
            let mut bucket = Bucket::full(rate, start);
            let mut now = start;
            let mut starts = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if let Ok(wait) = bucket.take(now, PATIENT) {
                    starts.push((now + wait).duration_since(start).as_secs_f64());
                }
            }
            for (i, first) in starts.iter().enumerate() {
                for (j, last) in starts.iter().enumerate().skip(i) {
                    let calls = f64::from(u32::try_from(j - i + 1).unwrap());
                    prop_assert!(calls <= rate.burst + (last - first) * rate.per_second + 1e-6);
                }
            }
        }
    }
}
