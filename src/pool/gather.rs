//! Looks at a pool: opens the connection where there is none, and reads what it has.

use kube::ResourceExt as _;
use tokio::time::timeout;

use super::{
    Context, connect,
    facts::{Facts, Trouble, bound_guests},
};
use crate::{
    api::CloudPool,
    provider::{ErrorKind, Inventory},
    runtime::chain,
};

/// How long reading an inventory may take.
const INVENTORY: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) async fn gather(pool: &CloudPool, context: &Context) -> Facts {
    let inventory = inventory(pool, context).await;
    Facts { now: (context.now)(), bound: bound_guests(&context.guests, &pool.name_any()), inventory }
}

async fn inventory(pool: &CloudPool, context: &Context) -> Result<Inventory, Trouble> {
    let name = pool.name_any();
    let secrets = connect::secrets(&context.client, &pool.spec.provider).await;
    let known = pool.status.as_ref().and_then(|status| status.provider.as_ref()?.id.as_deref());
    let provider = context.links.open(&name, &pool.spec.provider, secrets, &context.owner, known).await?;
    match timeout(INVENTORY, provider.inventory()).await {
        Ok(Ok(inventory)) => Ok(inventory),
        Ok(Err(error)) => Err(Trouble { kind: error.kind, message: chain(&error) }),
        Err(_) => Err(Trouble {
            kind: ErrorKind::Unavailable,
            message: format!("the inventory was not read within {} s", INVENTORY.as_secs()),
        }),
    }
}
