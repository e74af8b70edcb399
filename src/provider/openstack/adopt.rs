//! Taking a server over that is there already, and giving one up: nothing but marks.
//!
//! The metadata say whose it is, and are written in one call; tags are what it is found by. So an adoption writes the
//! metadata first, and a release takes the tags off last: whoever dies between finds out the next time.

use serde_json::json;

use super::{
    client::Request,
    convert::{self, MARKS, SELF, Seen},
    core::Core,
    wire::Server,
};
use crate::provider::{
    ErrorKind, Key, ObservedGuest, ProviderError, Result,
    rented::{follow::Region as _, snapshot::Rented as _},
};

/// Marks the server as the guest's, and looks again: where two take it over at once, one finds the other's mark.
pub(super) async fn adopt(core: &Core, key: &Key, id: &str) -> Result<ObservedGuest> {
    const ACT: &str = "adopt the server";
    core.look(ACT, &key.guest).await?;
    if let Some(seen) = core.view.known(key).filter(Seen::is_live) {
        if seen.guest.provider_id == id {
            return Ok(seen.guest);
        }
        return Err(refused(ACT, format!("the guest has server {} already", seen.guest.provider_id)));
    }
    let server = core.api.server(ACT, id).await?;
    is_free(core, key, &server).map_err(|why| refused(ACT, format!("server {id} {why}")))?;
    let mut marks = convert::marks(&core.config.owner, key);
    marks.insert(SELF.to_owned(), id.to_owned());
    core.api.call(ACT, Request::post(format!("/servers/{id}/metadata"), json!({ "metadata": marks }))).await?;
    for tag in [convert::owner_tag(&core.config.owner), convert::guest_tag(&key.guest)] {
        core.api.call(ACT, Request::put(format!("/servers/{id}/tags/{tag}"), None)).await?;
    }
    core.view.touch();
    let server = core.api.server(ACT, id).await?;
    match convert::ours(&core.config.owner, &server) {
        Some(seen) if seen.guest.key.guest == key.guest => {
            core.view.wrote(seen.clone());
            Ok(seen.guest)
        }
        Some(seen) => Err(refused(ACT, format!("server {id} was adopted as {} meanwhile", seen.guest.key))),
        None => {
            let message = format!("server {id} does not show its new marks");
            Err(ProviderError::new(ErrorKind::UnknownOutcome, ACT, message))
        }
    }
}

/// Whether nobody has it, or this guest.
fn is_free(core: &Core, key: &Key, server: &Server) -> Result<(), String> {
    let power = convert::seen(key.clone(), server);
    if !power.is_live() || power.stillborn {
        return Err(format!("is {}", server.status.to_lowercase()));
    }
    let Some(metadata) = &server.metadata else {
        return Err("is in a part of the cloud that does not answer".to_owned());
    };
    match metadata.get(convert::OWNER) {
        None => Ok(()),
        Some(owner) if *owner != core.config.owner.0 => Err("belongs to another Innkeeper".to_owned()),
        // A copy of a server of ours carries its marks. It is nobody's.
        Some(_) => match convert::ours(&core.config.owner, server) {
            Some(seen) if seen.guest.key.guest != key.guest => Err(format!("belongs to guest {}", seen.guest.key)),
            _ => Ok(()),
        },
    }
}

fn refused(act: &str, message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Invalid, act, message)
}

/// Takes our marks off.
pub(super) async fn release(core: &Core, key: &Key) -> Result<()> {
    const ACT: &str = "release the server";
    let tags = [convert::owner_tag(&core.config.owner), convert::guest_tag(&key.guest)];
    let servers = core.api.servers(ACT, &tags, core.config.page_size).await?;
    for server in &servers {
        let metadata = server.metadata.clone().unwrap_or_default();
        let seen = convert::ours(&core.config.owner, server);
        match &seen {
            Some(seen) if seen.guest.key.incarnation == key.incarnation && seen.is_live() => {
                if seen.held {
                    core.act(ACT, seen, json!({ "unlock": null })).await?;
                }
                let theirs = metadata.iter().filter(|(name, _)| !MARKS.contains(&name.as_str()));
                let theirs: std::collections::BTreeMap<_, _> = theirs.collect();
                let path = format!("/servers/{}/metadata", server.id);
                core.api.call(ACT, Request::put(path, Some(json!({ "metadata": theirs })))).await?;
            }
            // An earlier release was cut off after the metadata.
            None if !metadata.contains_key(convert::OWNER) => {}
            _ => continue,
        }
        let theirs: Vec<&String> = server.tags.iter().filter(|tag| !tags.contains(tag)).collect();
        let path = format!("/servers/{}/tags", server.id);
        core.api.call(ACT, Request::put(path, Some(json!({ "tags": theirs })))).await?;
    }
    // What this process knows of it goes too, also where an earlier release was cut off at its very end.
    let known: Vec<String> = {
        let snapshot = core.view.snapshot();
        let same = snapshot.of_guest(&key.guest).filter(|seen| seen.guest.key.incarnation == key.incarnation);
        same.map(|seen| seen.guest.provider_id.clone()).collect()
    };
    for id in known {
        core.view.snapshot().forget(&id);
    }
    core.view.touch();
    Ok(())
}
