//! Buckets of tokens, as providers keep them to limit how often they are called. Pure: time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second.
    pub per_second: f64,
    /// Calls that may be made at once after a rest.
    pub burst: f64,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENT: Duration = Duration::from_hours(1);

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
            let rate = Rate { per_second: 5.0, burst: 50.0 };
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
