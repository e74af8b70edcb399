//! Reading the whole pool, for all who want it at one time. While the pool's events are not followed yet, or not any more,
//! each guest asks; in a pool of thousands of VMs one reading takes megabytes and seconds.

use std::sync::Arc;

use tokio::{sync::Mutex, time::Instant};

use super::call_error::CallError;

/// How the last reading went, for those who waited for it.
enum Last<V> {
    Done { began: Instant, view: Arc<V> },
    Failed { ended: Instant },
}

/// One reading at a time, as long as readings succeed.
pub(super) struct Reads<V> {
    last: Mutex<Option<Last<V>>>,
}

impl<V> Reads<V> {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(None) }
    }

    /// Everything that had happened when this was asked, read by whoever is first. Takes no longer than two readings.
    ///
    /// # Errors
    /// Why it could not be read.
    pub(super) async fn read(&self, read: impl AsyncFnOnce() -> Result<V, CallError>) -> Result<Arc<V>, CallError> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        match last.as_ref() {
            // What was read may be from any moment after the beginning.
            Some(Last::Done { began, view }) if *began >= asked => return Ok(Arc::clone(view)),
            // Whoever waited for one in vain does not stand in line for the next: of a silent pool each takes its time.
            Some(Last::Failed { ended }) if *ended >= asked => {
                drop(last);
                return read().await.map(Arc::new);
            }
            _ => *last = None,
        }
        let began = Instant::now();
        let result = read().await.map(Arc::new);
        *last = Some(match &result {
            Ok(view) => Last::Done { began, view: Arc::clone(view) },
            Err(_) => Last::Failed { ended: Instant::now() },
        });
        result
    }

    /// Nobody needs it any more: it is as large as the pool.
    pub(super) fn forget(&self) {
        if let Ok(mut last) = self.last.try_lock() {
            *last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use futures::poll;
    use tokio::sync::oneshot;

    use super::*;

    /// Until the clock shows another time: what is asked at the very moment when a reading begins may share it.
    fn a_moment_later() {
        let now = Instant::now();
        while Instant::now() == now {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    async fn who_asks_while_it_is_read_shares_the_next_reading() {
        let reads = Reads::new();
        let (end, ended) = oneshot::channel();
        let mut first = pin!(reads.read(async || Ok(ended.await.unwrap())));
        assert!(poll!(first.as_mut()).is_pending());
        a_moment_later();
        let mut second = pin!(reads.read(async || Ok(2)));
        let mut third = pin!(reads.read(async || panic!("the second's reading began after the third asked")));
        assert!(poll!(second.as_mut()).is_pending() && poll!(third.as_mut()).is_pending());
        end.send(1).unwrap();
        assert_eq!(*first.await.unwrap(), 1);
        assert_eq!((*second.await.unwrap(), *third.await.unwrap()), (2, 2));
    }

    #[tokio::test]
    async fn who_waited_in_vain_stands_in_line_no_more() {
        let reads = Reads::new();
        let (end, ended) = oneshot::channel::<CallError>();
        let mut first = pin!(reads.read(async || Err(ended.await.unwrap())));
        assert!(poll!(first.as_mut()).is_pending());
        let mut second = pin!(reads.read(async || std::future::pending().await));
        let mut third = pin!(reads.read(async || Ok(3)));
        assert!(poll!(second.as_mut()).is_pending() && poll!(third.as_mut()).is_pending());
        end.send(CallError::Unreachable { why: "silent".into() }).unwrap();
        assert!(first.await.is_err());
        // The second's reading does not end, and the third does not wait for it.
        assert!(poll!(second.as_mut()).is_pending());
        assert_eq!(*third.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn who_asks_later_reads_anew_and_so_does_who_waited_for_one_that_was_cut_off() {
        let reads = Reads::new();
        {
            let mut cut_off = pin!(reads.read(async || std::future::pending().await));
            assert!(matches!(poll!(cut_off.as_mut()), Poll::Pending));
        }
        assert_eq!(*reads.read(async || Ok(1)).await.unwrap(), 1);
        a_moment_later();
        assert_eq!(*reads.read(async || Ok(2)).await.unwrap(), 2);
        reads.forget();
        assert!(reads.last.lock().await.is_none());
    }
}
