//! Following the region in the background: one read of everything for all guests, quickly after changes and slowly at rest.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{config::Refresh, core::Core};
use crate::provider::Change;

/// Time from the start of one read to the start of the next. `since_touch`: since our last write or the last change seen.
/// `moving`: an instance is on its way from one state to another.
fn cadence(refresh: &Refresh, since_touch: Option<Duration>, moving: bool) -> Duration {
    match since_touch {
        Some(since) if since < refresh.lively => refresh.quick,
        _ if moving => refresh.moving,
        _ => refresh.slow,
    }
}

/// Reads until the connection is closed.
pub(super) async fn run(core: Arc<Core>) {
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
            result = core.refresh("list the instances") => result,
        };
        match result {
            Ok(()) => {
                if !std::mem::replace(&mut reachable, true) {
                    core.tell([Change::Everything]);
                }
                core.retire_surplus().await;
            }
            Err(error) => {
                if std::mem::replace(&mut reachable, false) {
                    tracing::warn!(kind = %error.kind, "Compute Engine cannot be followed: {error}");
                    core.tell([Change::Pool]);
                }
            }
        }
    }
}

fn next(core: &Core, began: Instant) -> Instant {
    let now = Instant::now();
    let since = core.touched().map(|touched| now.saturating_duration_since(touched));
    began + cadence(&core.config.refresh, since, core.snapshot().is_moving(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn quick_after_changes_and_slow_at_rest() {
        let refresh = Refresh { quick: SECOND * 2, moving: SECOND * 5, slow: SECOND * 15, lively: SECOND * 20 };
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
