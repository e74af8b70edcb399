//! The pool controller: is the pool reachable, what does it hold, who lives there.

pub(crate) mod connect;
pub mod facts;
mod gather;
mod link;
pub mod orphans;
pub mod rotation;
pub mod status;
mod sweep;

pub use link::Links;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    runtime::{controller::Action, reflector::Store},
};
use tracing::info;

use crate::{
    api::{
        CloudPool, Guest,
        names::{POOL_FINALIZER, manager},
    },
    provider::Owner,
    runtime::{ApiError, OUTDATED, apply, call, events::Herald, pace::Pace},
};

/// What every run needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The guests as last seen.
    pub guests: Store<Guest>,
    /// The connections to the pools.
    pub links: Arc<Links>,
    /// Whose guests these are.
    pub owner: Owner,
    /// Who writes Events.
    pub herald: Herald,
    /// When each pool's status was last written, by name.
    pub pace: Pace<String>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// How often a pool is looked at though nothing told of a change.
const PATROL: Duration = Duration::from_secs(30);
/// How far apart two writes of a status are at least, where only the number of guests and what they take changed.
const SUMS: Duration = Duration::from_secs(3);

/// One run for one pool: connect, read the inventory, write the status.
pub async fn reconcile(pool: Arc<CloudPool>, context: Arc<Context>) -> Result<Action, ApiError> {
    match look_after(&pool, &context).await {
        Err(error) if error.is_conflict() => Ok(Action::requeue(OUTDATED)),
        Err(error) if error.is_not_found() => Ok(Action::await_change()),
        done => done,
    }
}

async fn look_after(pool: &CloudPool, context: &Context) -> Result<Action, ApiError> {
    let api: Api<CloudPool> = Api::all(context.client.clone());
    let held = pool.finalizers().iter().any(|entry| entry == POOL_FINALIZER);
    let deleting = pool.metadata.deletion_timestamp.is_some();
    if deleting && held && is_empty(pool, context).await? {
        context.links.cut(&pool.name_any()).await;
        apply::remove_finalizer(&api, pool, POOL_FINALIZER).await?;
        info!(pool = pool.name_any(), "let go");
        return Ok(Action::await_change());
    }
    if deleting && !held {
        context.links.cut(&pool.name_any()).await;
        return Ok(Action::await_change());
    }
    if !held {
        // Its own write brings the object back to the queue.
        apply::add_finalizer(&api, pool, POOL_FINALIZER).await?;
        return Ok(Action::await_change());
    }
    let (facts, provider) = gather::gather(pool, context).await;
    let mut again = facts.again().unwrap_or(PATROL);
    let own = status::status(pool, &facts);
    let (name, now) = (pool.name_any(), (context.now)());
    let waits =
        if status::is_turn(pool.status.as_ref(), &own) { None } else { context.pace.wait(name.clone(), SUMS, now) };
    if let Some(rest) = waits {
        // Only how many guests there are, and what they take: not with each that comes or goes.
        again = again.min(rest);
    } else if pool.status.as_ref() != Some(&own) {
        context.pace.wrote(name, now);
        apply::status(&api, pool, manager::POOL, &own).await?;
        for news in status::news(pool, &own) {
            context.herald.say(pool, news).await;
        }
    }
    if let (Some(provider), Some(orphans)) = (provider, &facts.orphans) {
        sweep::sweep(context, &*provider, orphans).await?;
    }
    Ok(Action::requeue(again))
}

/// Whether no guest is bound to the pool: asked of the API server itself, as a binding may be newer than our watch.
async fn is_empty(pool: &CloudPool, context: &Context) -> Result<bool, ApiError> {
    if facts::count_guests(&context.guests, &pool.name_any()) > 0 {
        return Ok(false);
    }
    let api: Api<Guest> = Api::all(context.client.clone());
    let bound = ListParams::default().fields(&format!("spec.binding.pool={}", pool.name_any()));
    let found = call("look for guests of the pool", api.list(&bound)).await?;
    Ok(!found.items.iter().any(|guest| facts::is_bound(guest, &pool.name_any())))
}
