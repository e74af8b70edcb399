//! Following the project in the background: one read of everything for all guests, quickly after changes and slowly at
//! rest. Marks that could not be made with a server are made here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    client::Request,
    config::Refresh,
    convert::{self, SELF, Seen},
    core::Core,
    create, fence,
};
use crate::provider::{Change, Power, rented::snapshot::Rented as _};

/// Time from the start of one read to the start of the next. `since_touch`: since our last write or the last change
/// seen. `moving`: a server is on its way from one state to another.
fn cadence(refresh: &Refresh, since_touch: Option<Duration>, moving: bool) -> Duration {
    let lively = since_touch.is_some_and(|since| since < refresh.lively);
    if lively || moving { refresh.quick } else { refresh.slow }
}

/// Reads until the connection is closed.
pub(super) async fn run(core: Arc<Core>) {
    const ACT: &str = "list the servers";
    let mut began = None;
    let mut reachable = true;
    let mut swept = Swept::default();
    loop {
        // The first read comes at once. Writes in quick succession bring a read forward and never push it back.
        let due = began.map_or_else(Instant::now, |began| began + pace(&core));
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
                tokio::select! {
                    () = core.api.closed.cancelled() => return,
                    () = tidy(&core, &mut swept) => {}
                }
            }
            Err(error) => {
                if std::mem::replace(&mut reachable, false) {
                    tracing::warn!(kind = %error.kind, "OpenStack cannot be followed: {error}");
                    let _ = core.changes.send(Change::Pool);
                }
            }
        }
    }
}

/// Server groups of ours as they were last looked through.
#[derive(Default)]
struct Swept {
    at: Option<Instant>,
    there: BTreeSet<String>,
}

/// How seldom they are looked through, in reads at rest: ten minutes. No creation takes that long.
const SWEEP: u32 = 40;

async fn sweep(core: &Core, swept: &mut Swept) {
    let every = core.config.refresh.slow * SWEEP;
    if !core.is_fenced() || swept.at.is_some_and(|at| at.elapsed() < every) {
        return;
    }
    match fence::sweep(&core.api, &convert::fence_prefix(&core.config.owner), &swept.there).await {
        Ok(there) => *swept = Swept { at: Some(Instant::now()), there },
        Err(error) => tracing::debug!(kind = %error.kind, "{error}"),
    }
}

async fn tidy(core: &Core, swept: &mut Swept) {
    sweep(core, swept).await;
    if let Err(error) = create::retire_surplus(core).await {
        tracing::warn!(kind = %error.kind, "{error}");
    }
    let unmarked: Vec<Seen> = core.snapshot().all().filter(|seen| is_to_be_marked(seen)).cloned().collect();
    for seen in unmarked {
        let id = &seen.guest.provider_id;
        let mark = BTreeMap::from([(SELF, id)]);
        let request = Request::post(format!("/servers/{id}/metadata"), json!({ "metadata": mark }));
        match core.api.call("mark the server", request).await {
            Ok(_) => core.touch(),
            Err(error) => tracing::debug!(server = %id, kind = %error.kind, "{error}"),
        }
    }
}

/// Nova takes no metadata for a server that is between two states or locked.
fn is_to_be_marked(seen: &Seen) -> bool {
    let settled = matches!(seen.guest.power, Power::Running | Power::Stopped | Power::Paused | Power::Suspended);
    settled
        && seen.is_live()
        && !seen.guest.busy
        && !seen.marked
        && !seen.held
        && !seen.stillborn
        && seen.status != "ERROR"
}

fn pace(core: &Core) -> Duration {
    let now = Instant::now();
    let since = core.touched().map(|touched| now.saturating_duration_since(touched));
    cadence(&core.config.refresh, since, core.snapshot().is_moving(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn quick_after_changes_and_slow_at_rest() {
        let refresh = Refresh { quick: SECOND * 2, slow: SECOND * 15, lively: SECOND * 20 };
        for (since, moving, expected) in [
            (None, false, 15),
            (None, true, 2),
            (Some(Duration::ZERO), false, 2),
            (Some(SECOND * 20), true, 2),
            (Some(SECOND * 20), false, 15),
        ] {
            assert_eq!(cadence(&refresh, since, moving), SECOND * expected, "{since:?} {moving}");
        }
    }
}
