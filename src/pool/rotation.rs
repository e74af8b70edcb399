//! Notices that a Secret with a pool's credentials was changed, so that the pool is connected anew within seconds.
//!
//! Only the version of each Secret that a pool names is read, by name: no right to list or watch Secrets is needed, and
//! no value is held here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::connect;
use crate::{
    api::{CloudPool, cloud_pool::SecretReference},
    runtime::{call, chain, queue::Nudge},
};

/// How often versions are compared.
const EVERY: Duration = Duration::from_secs(10);

/// The versions of Secrets. `None`: there is no such Secret.
type Versions = BTreeMap<SecretReference, Option<String>>;

/// Compares until `shutdown`, and has the pools looked at whose Secrets changed.
pub async fn follow(client: Client, pools: Store<CloudPool>, nudge: Nudge<CloudPool>, shutdown: CancellationToken) {
    let mut known = Versions::new();
    loop {
        tokio::select! { () = sleep(EVERY) => {}, () = shutdown.cancelled() => return }
        let pools = pools.state();
        let now = tokio::select! { now = read(&client, &pools) => now, () = shutdown.cancelled() => return };
        let changed = changed(&known, &now);
        for pool in pools
            .iter()
            .filter(|pool| connect::references(&pool.spec.provider).iter().any(|one| changed.contains(*one)))
        {
            info!(pool = pool.name_any(), "a Secret with its credentials was changed");
            nudge.look_at(ObjectRef::from_obj(&**pool));
        }
        known = merged(known, now, &pools);
    }
}

async fn read(client: &Client, pools: &[Arc<CloudPool>]) -> Versions {
    let wanted: BTreeSet<&SecretReference> =
        pools.iter().flat_map(|pool| connect::references(&pool.spec.provider)).collect();
    let mut versions = Versions::new();
    for reference in wanted {
        let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), &reference.namespace);
        let act = format!("look at Secret {}/{}", reference.namespace, reference.name);
        match call(act, api.get_metadata_opt(&reference.name)).await {
            Ok(secret) => {
                let version = secret.and_then(|secret| secret.metadata.resource_version);
                versions.insert(reference.clone(), version);
            }
            // The pool's own run reads it too, and says what is wrong.
            Err(error) => debug!(error = chain(&error), "not compared"),
        }
    }
    versions
}

/// Those that are not what they were. What is seen for the first time has not changed.
fn changed(before: &Versions, now: &Versions) -> BTreeSet<SecretReference> {
    let differs = |(reference, version): &(&SecretReference, &Option<String>)| {
        before.get(*reference).is_some_and(|before| before != *version)
    };
    now.iter().filter(differs).map(|(reference, _)| reference.clone()).collect()
}

/// What is known after a look: what could not be read is as it was, what no pool names any more is forgotten.
fn merged(before: Versions, now: Versions, pools: &[Arc<CloudPool>]) -> Versions {
    let mut all = before;
    all.extend(now);
    all.retain(|reference, _| pools.iter().any(|pool| connect::references(&pool.spec.provider).contains(&reference)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(list: &[(&str, Option<&str>)]) -> Versions {
        let reference = |name: &str| SecretReference { namespace: "a".to_owned(), name: name.to_owned() };
        list.iter().map(|(name, version)| (reference(name), version.map(str::to_owned))).collect()
    }

    #[test]
    fn only_what_was_known_and_differs_has_changed() {
        let before = versions(&[
            ("same", Some("1")),
            ("new", Some("1")),
            ("gone", Some("1")),
            ("back", None),
            ("unread", Some("1")),
        ]);
        let now = versions(&[
            ("same", Some("1")),
            ("new", Some("2")),
            ("gone", None),
            ("back", Some("7")),
            ("first", Some("1")),
        ]);
        let changed: Vec<_> = changed(&before, &now).into_iter().map(|reference| reference.name).collect();
        assert_eq!(changed, ["back", "gone", "new"]);
    }
}
