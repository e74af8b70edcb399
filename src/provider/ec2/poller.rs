//! Following the region in the background: one read of everything for all guests, quickly after changes and slowly at
//! rest.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{config::Refresh, core::Core};
use crate::provider::Change;

/// Time from the start of one read to the start of the next. `since_touch`: since our last write or the last change
/// seen. `moving`: an instance is on its way from one state to another.
#[must_use]
pub fn cadence(refresh: &Refresh, since_touch: Option<Duration>, moving: bool) -> Duration {
    match since_touch {
        Some(since) if since < refresh.lively => refresh.quick,
        _ if moving => refresh.moving,
        _ => refresh.slow,
    }
}

/// Reads until the connection is closed.
pub(super) async fn run(core: Arc<Core>) {
    const ACT: &str = "list the instances";
    let mut began = None;
    let mut reachable = true;
    loop {
        // The first read comes at once. Writes in quick succession bring a read forward and never push it back.
        let due = began.map_or_else(Instant::now, |began| next(&core, began));
        tokio::select! {
            () = core.api.closed.cancelled() => return,
            () = core.nudge.notified() => continue,
            () = sleep_until(due) => {}
        }
        began = Some(Instant::now());
        let result = tokio::select! {
            () = core.api.closed.cancelled() => return,
            result = core.refresh(ACT) => result,
        };
        match result {
            Ok(()) => {
                if !std::mem::replace(&mut reachable, true) {
                    let _ = core.changes.send(Change::Everything);
                }
                core.retire_surplus().await;
                if let Err(error) = core.refresh_marks("ask which spot instances are taken back").await {
                    tracing::debug!(kind = %error.kind, "interruptions cannot be followed: {error}");
                }
                // Sizes of disks are for people; guests live without.
                if let Err(error) = core.refresh_volumes("list the volumes").await {
                    tracing::debug!(kind = %error.kind, "the volumes cannot be followed: {error}");
                }
            }
            Err(error) => {
                if std::mem::replace(&mut reachable, false) {
                    tracing::warn!(kind = %error.kind, "EC2 cannot be followed: {error}");
                    let _ = core.changes.send(Change::Pool);
                }
            }
        }
    }
}

fn next(core: &Core, began: Instant) -> Instant {
    began + pace(core)
}

fn pace(core: &Core) -> Duration {
    let now = Instant::now();
    let since = core.touched().map(|touched| now.saturating_duration_since(touched));
    cadence(&core.config.refresh, since, core.snapshot().is_moving(now))
}

/// Whether reads come slowly now.
pub(super) fn is_at_rest(core: &Core) -> bool {
    core.snapshot().read_at().is_some() && pace(core) == core.config.refresh.slow
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn quick_after_changes_and_slow_at_rest() {
        let refresh = Refresh {
            quick: SECOND * 2,
            moving: SECOND * 5,
            slow: SECOND * 15,
            volumes: SECOND * 300,
            lively: SECOND * 20,
        };
        for (since, moving, expected) in [
            (None, false, 15),
            (None, true, 5),
            (Some(Duration::ZERO), false, 2),
            (Some(SECOND * 19), true, 2),
            (Some(SECOND * 20), true, 5),
            (Some(SECOND * 20), false, 15),
        ] {
            assert_eq!(cadence(&refresh, since, moving), SECOND * expected, "{since:?} {moving}");
        }
    }
}
