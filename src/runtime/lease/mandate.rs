//! The right to act: held by a leader for as long as its Lease is certainly its own, and checked before everything that has
//! an effect.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use snafu::Snafu;

use super::decide::Moment;

/// A call is not begun when less than this is left: it would be sent late.
const SENDING: Duration = Duration::from_millis(500);
/// Never ends: there is no election.
const WITHOUT_END: u64 = u64::MAX;

/// Nothing may be done: another operator leads, or may.
#[derive(Clone, Debug, PartialEq, Eq, Snafu)]
#[snafu(display("this operator ({holder}) does not lead: {}", if *begun { "the call was cut off" } else { "nothing was sent" }))]
pub struct NotLeading {
    holder: String,
    /// The call was under way: what was sent of it before may have had its effect.
    pub begun: bool,
}

/// The right to act. Clones are one and the same.
#[derive(Clone)]
pub struct Mandate(Arc<Inner>);

struct Inner {
    holder: String,
    /// Nanoseconds since the machine was started.
    valid_until: AtomicU64,
    epoch: AtomicU32,
}

impl fmt::Debug for Mandate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mandate {} of {}", self.epoch(), self.0.holder)
    }
}

impl Mandate {
    /// For `holder`, who does not lead yet.
    #[must_use]
    pub fn none(holder: impl Into<String>) -> Self {
        Self(Arc::new(Inner { holder: holder.into(), valid_until: AtomicU64::new(0), epoch: AtomicU32::new(0) }))
    }

    /// Without election: for ever.
    #[must_use]
    pub fn unlimited(holder: impl Into<String>) -> Self {
        let mandate = Self::none(holder);
        mandate.0.valid_until.store(WITHOUT_END, Ordering::SeqCst);
        mandate
    }

    /// It holds until then. `epoch` counts the changes of leadership.
    pub(super) fn extend(&self, until: Moment, epoch: u32) {
        let nanoseconds = u64::try_from(until.since_start().as_nanos()).unwrap_or(WITHOUT_END - 1);
        self.0.epoch.store(epoch, Ordering::SeqCst);
        self.0.valid_until.store(nanoseconds, Ordering::SeqCst);
    }

    /// It ends here.
    pub fn revoke(&self) {
        self.0.valid_until.store(0, Ordering::SeqCst);
    }

    /// Who holds it or wants to.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Counts the changes of leadership: a later leader has a higher one. Zero without election.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.0.epoch.load(Ordering::SeqCst)
    }

    /// Holder and epoch in a form that fits into a request: so it can be told afterwards which leader sent it.
    #[must_use]
    pub fn signature(&self) -> String {
        let random = self.holder().rsplit('_').next().unwrap_or_default();
        format!("innkeeper.{}.{random}", self.epoch())
    }

    /// Whether something may be begun now.
    pub fn check(&self) -> Result<(), NotLeading> {
        self.check_at(Moment::now())
    }

    fn check_at(&self, now: Moment) -> Result<(), NotLeading> {
        let end = self.0.valid_until.load(Ordering::SeqCst);
        let sent = u64::try_from(now.after(SENDING).since_start().as_nanos()).unwrap_or(WITHOUT_END);
        if end == WITHOUT_END || sent < end {
            Ok(())
        } else {
            NotLeadingSnafu { holder: self.holder(), begun: false }.fail()
        }
    }

    /// Carries out `call` as long as the right to act lasts: it is checked each time that the call goes on, so also before
    /// each further request that it is made of. What was cut off is in the same state as after a crash.
    pub async fn guard<T, E: From<NotLeading>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let (mut call, mut begun) = (pin!(call), false);
        poll_fn(|context| match self.check() {
            Ok(()) => {
                begun = true;
                call.as_mut().poll(context)
            }
            Err(not_leading) => Poll::Ready(Err(NotLeading { begun, ..not_leading }.into())),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    #[test]
    fn it_ends_before_the_lease_does() {
        let mandate = Mandate::none("a");
        assert!(mandate.check_at(s(5)).is_err());
        mandate.extend(s(10), 3);
        assert_eq!((mandate.check_at(s(9)), mandate.epoch()), (Ok(()), 3));
        assert!(mandate.check_at(Moment::at(Duration::from_millis(9_500))).is_err());
        mandate.revoke();
        assert!(mandate.check_at(s(5)).is_err());
        assert_eq!(Mandate::unlimited("a").check_at(s(1_000_000)), Ok(()));
    }

    #[tokio::test]
    async fn a_call_is_cut_off_between_two_requests() {
        let mandate = Mandate::unlimited("a");
        let (first, second) = (tokio::sync::Notify::new(), std::cell::Cell::new(false));
        let call = mandate.guard(async {
            first.notified().await;
            second.set(true);
            Ok::<_, NotLeading>(())
        });
        let mut call = pin!(call);
        assert!(futures::poll!(call.as_mut()).is_pending());
        mandate.revoke();
        first.notify_one();
        assert!(call.await.is_err_and(|not_leading| not_leading.begun));
        assert!(!second.get());
    }
}
