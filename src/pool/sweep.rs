//! Removes what may be removed without asking: creations that were never finished, of guests that are gone or that have
//! another VM by now.

use std::{collections::BTreeMap, time::Duration};

use kube::{Api, api::ListParams};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Context, orphans};
use crate::{
    api::Guest,
    provider::{Deletion, Freshness, Key, Provider, Stage},
    runtime::{ApiError, call, chain},
};

/// How long one removal may take; what is not done by then is met again.
const REMOVAL: Duration = Duration::from_mins(1);

/// Removes them. What was last seen only says that a look is worth its while: it is decided on what the API server and the
/// provider themselves hold now, in this order, so that no guest can be made in between.
pub(super) async fn sweep(
    context: &Context,
    provider: &dyn Provider,
    found: &[orphans::Orphan],
) -> Result<(), ApiError> {
    if !found.iter().any(|orphan| orphan.vm.stage == Stage::Incomplete) {
        return Ok(());
    }
    let guests: Api<Guest> = Api::all(context.client.clone());
    let vms = match timeout(REMOVAL, provider.list(Freshness::Live)).await {
        Ok(Ok(vms)) => vms,
        Ok(Err(error)) => {
            warn!(error = chain(&error), "unfinished VMs that nobody wants are left for the next time");
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    let alive = call("list the Guests", guests.list(&ListParams::default())).await?;
    let current = |guest: &Guest| Some((guest.identity()?.to_owned(), guest.incarnation()));
    let alive: BTreeMap<String, u32> = alive.items.iter().filter_map(current).collect();
    for key in orphans::removable(&vms, &alive) {
        remove(provider, &key).await;
    }
    Ok(())
}

async fn remove(provider: &dyn Provider, key: &Key) {
    match timeout(REMOVAL, provider.delete(key)).await {
        Ok(Ok(Deletion::Gone)) => {
            info!(guest = %key, uid = key.guest, "removed a VM that was never finished and that no Guest wants");
        }
        Ok(Ok(Deletion::InProgress)) => {}
        Ok(Err(error)) => warn!(guest = %key, error = chain(&error), "an unfinished VM is left for the next time"),
        Err(_) => warn!(guest = %key, "an unfinished VM was not removed in time and is left for the next time"),
    }
}
