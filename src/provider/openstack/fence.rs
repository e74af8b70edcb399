//! The permission for one creation of a guest's server, which can be taken back.
//!
//! A creation that was sent and not answered may still be on its way, for as long as a gateway or Nova itself holds it: no
//! wait is long enough to be sure. So each creation names a server group that was made for it alone. Nova notes the server first,
//! where lists show it from then on, and then adds it to the group; where the group is gone it takes the server back
//! (`compute/api.py`, `_provision_instances`, and a foreign key of its database). Thus after the groups of a guest were removed
//! its servers are those that a list shows: of all earlier creations none can make another.
//!
//! The order makes it so. Who creates takes the lease, removes the groups that are there, makes one, sees that the lease is still
//! its own, looks for the server, and sends. Who takes the lease away removes the groups after that: a group that was made too
//! late to be among them belongs to somebody who then finds the lease taken.
//!
//! A group of one server spreads nothing, and is removed as soon as the creation was answered. Nova since Zed (2022), and what
//! older releases were mended with, goes on with servers whose group is gone. A server has one group, so a pool with a group of
//! its user's has no fence; there the lease is waited for much longer.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    client::{Api, Request},
    wire::{Group, Groups, OneGroup},
};
use crate::provider::{ErrorKind, ProviderError, Result};

/// Any will do for a group of one.
const POLICY: &str = "soft-anti-affinity";

/// Groups asked for in one page, and how many of them are asked for again with the next: so many may go meanwhile.
const PAGE: usize = 500;
const AGAIN: usize = 100;

/// Makes the group for a creation. One that is made and whose name is lost on the way is removed with the next.
pub(super) async fn raise(api: &Api, act: &str, name: &str) -> Result<String> {
    let body = json!({ "server_group": { "name": name, "policy": POLICY } });
    let made: Result<OneGroup> = api.ask(act, Request::post("/os-server-groups", body)).await;
    made.map(|one| one.server_group.id).map_err(|error| match error.kind {
        ErrorKind::Capacity => ProviderError::new(
            ErrorKind::Unavailable,
            act,
            "the project has no server group to spare, and Innkeeper needs one for each creation under way: remove some, \
             or have the quota raised",
        ),
        ErrorKind::Auth => forbidden(act, &error),
        // Nothing was created yet.
        ErrorKind::UnknownOutcome => ProviderError::new(ErrorKind::Unavailable, act, error.message),
        _ => error,
    })
}

/// Old access rules of an application credential do not have these requests.
fn forbidden(act: &str, error: &ProviderError) -> ProviderError {
    let message = format!(
        "{}: where nothing else is refused, permit GET, POST and DELETE of /os-server-groups, as each creation has a server group \
         of its own (examples/openstack/access-rules.json)",
        error.message
    );
    ProviderError::new(ErrorKind::Auth, act, message)
}

/// Takes the permission back. Not there is success.
pub(super) async fn lower(api: &Api, act: &str, id: &str) -> Result<()> {
    match api.call(act, Request::delete(format!("/os-server-groups/{id}"))).await {
        Err(error) if error.kind == ErrorKind::UnknownOutcome => {
            Err(ProviderError::new(ErrorKind::Unavailable, act, error.message))
        }
        Err(error) if error.kind != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes back all permissions of this name.
pub(super) async fn lower_all(api: &Api, act: &str, name: &str) -> Result<()> {
    for group in groups(api, act).await?.into_iter().filter(|group| group.name == name) {
        lower(api, act, &group.id).await?;
    }
    Ok(())
}

/// Removes what creations left behind that were cut off, where no later one of the same guest did: groups with names that
/// begin so and that were there the last time too, so no creation goes on with them. Answers what is there now.
pub(super) async fn sweep(api: &Api, prefix: &str, last: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    const ACT: &str = "remove server groups that nobody needs";
    let there: Vec<Group> =
        groups(api, ACT).await?.into_iter().filter(|group| group.name.starts_with(prefix)).collect();
    for group in there.iter().filter(|group| last.contains(&group.id)) {
        lower(api, ACT, &group.id).await?;
    }
    Ok(there.into_iter().map(|group| group.id).collect())
}

async fn groups(api: &Api, act: &str) -> Result<Vec<Group>> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let path = format!("/os-server-groups?limit={PAGE}&offset={offset}");
        let asked: Result<Groups> = api.ask(act, Request::get(path)).await;
        let page = asked.map_err(|error| if error.kind == ErrorKind::Auth { forbidden(act, &error) } else { error })?;
        let full = page.server_groups.len() >= PAGE;
        all.extend(page.server_groups);
        if !full {
            return Ok(all);
        }
        offset += PAGE - AGAIN;
    }
}
