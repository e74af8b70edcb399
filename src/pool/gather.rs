//! Looks at a pool: opens the connection where there is none, and reads what it has.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::time::timeout;

use super::{
    Context, connect,
    facts::{Facts, Trouble, bound_guests},
    orphans::{self, Orphan},
};
use crate::{
    api::CloudPool,
    provider::{ErrorKind, Freshness, Inventory, Provider},
    runtime::chain,
};

/// How long reading an inventory may take.
const INVENTORY: std::time::Duration = std::time::Duration::from_mins(1);

/// What is known of the pool, and the connection to it.
pub(super) async fn gather(pool: &CloudPool, context: &Context) -> (Facts, Option<Arc<dyn Provider>>) {
    let name = pool.name_any();
    let (inventory, provider) = match open(pool, context).await {
        Ok(provider) => (inventory(&*provider).await, Some(provider)),
        Err(trouble) => (Err(trouble), None),
    };
    let orphans = match provider.as_ref().filter(|_| inventory.is_ok()) {
        Some(provider) => orphans(&name, &**provider, context).await,
        None => None,
    };
    let bound = bound_guests(&context.guests, &name);
    let set_aside = provider.as_ref().map(|provider| provider.set_aside()).unwrap_or_default();
    (Facts { now: (context.now)(), bound, inventory, orphans, set_aside }, provider)
}

async fn open(pool: &CloudPool, context: &Context) -> Result<Arc<dyn Provider>, Trouble> {
    let secrets = connect::secrets(&context.client, &pool.spec.provider).await;
    context.links.open(pool, secrets, &context.owner).await
}

/// The VMs first and the Guests after: a Guest is in our store before its VM is made.
async fn orphans(pool: &str, provider: &dyn Provider, context: &Context) -> Option<Vec<Orphan>> {
    let vms = timeout(INVENTORY, provider.list(Freshness::Cached)).await.ok()?.ok()?;
    Some(orphans::find(pool, &vms, &context.guests.state()))
}

async fn inventory(provider: &dyn Provider) -> Result<Inventory, Trouble> {
    match timeout(INVENTORY, provider.inventory()).await {
        Ok(Ok(inventory)) => Ok(inventory),
        Ok(Err(error)) => Err(Trouble { kind: error.kind, message: chain(&error) }),
        Err(_) => Err(Trouble {
            kind: ErrorKind::Unavailable,
            message: format!("the inventory was not read within {} s", INVENTORY.as_secs()),
        }),
    }
}
