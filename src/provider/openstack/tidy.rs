//! What is done after each read in the background: second servers are removed, marks made that could not be made with a server,
//! and server groups removed that creations left behind.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tokio::time::Instant;

use super::{
    client::Request,
    convert::{self, SELF, Seen},
    core::Core,
    create, fence,
};
use crate::provider::{Power, rented::snapshot::Rented as _};

/// Server groups of ours as they were last looked through.
#[derive(Debug, Default)]
pub(super) struct Swept {
    at: Option<Instant>,
    there: BTreeSet<String>,
}

/// How seldom they are looked through, in reads at rest: ten minutes. No creation takes that long.
const SWEEP: u32 = 40;

/// See the module. What fails is tried again after a later read.
pub(super) async fn tidy(core: &Core) {
    sweep(core).await;
    if let Err(error) = create::retire_surplus(core).await {
        tracing::warn!(kind = %error.kind, "{error}");
    }
    let unmarked: Vec<Seen> = core.view.snapshot().all().filter(|seen| is_to_be_marked(seen)).cloned().collect();
    for seen in unmarked {
        let id = &seen.guest.provider_id;
        let mark = BTreeMap::from([(SELF, id)]);
        let request = Request::post(format!("/servers/{id}/metadata"), json!({ "metadata": mark }));
        match core.api.call("mark the server", request).await {
            Ok(_) => core.view.touch(),
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

async fn sweep(core: &Core) {
    let (every, now) = (core.config.refresh.slow * SWEEP, Instant::now());
    let last = {
        let mut swept = core.swept();
        if !core.is_fenced() || swept.at.is_some_and(|at| now.saturating_duration_since(at) < every) {
            return;
        }
        // Also where it fails: it is not urgent.
        swept.at = Some(now);
        swept.there.clone()
    };
    match fence::sweep(&core.api, &convert::fence_prefix(&core.config.owner), &last).await {
        Ok(there) => core.swept().there = there,
        Err(error) => tracing::debug!(kind = %error.kind, "{error}"),
    }
}
