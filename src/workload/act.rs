//! Makes and deletes Guest objects, and writes the workload's status.

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use serde_json::{Value, json};

use super::{Context, decide};
use crate::{
    api::{
        Guest, VirtualWorkload, VirtualWorkloadStatus,
        names::{GUEST_FINALIZER, WORKLOAD_LABEL, manager},
    },
    runtime::{ApiError, apply, call, events::News},
};

/// How many objects are written at once: more only makes the API server slower.
const AT_ONCE: usize = 8;

/// Carries a plan out. Each part may be repeated.
pub(super) async fn carry_out(
    context: &Context,
    workload: &VirtualWorkload,
    plan: &decide::Plan,
) -> Result<(), ApiError> {
    let api: Api<Guest> = Api::namespaced(context.client.clone(), &workload.namespace().unwrap_or_default());
    let apply = |ordinal: u32| {
        let (api, name) = (api.clone(), format!("{}-{ordinal}", workload.name_any()));
        let manifest = manifest(workload, &name);
        async move { apply::object(&api, &name, manager::WORKLOAD, &manifest).await.map(drop) }.boxed()
    };
    let writes: Vec<_> = plan.apply.iter().copied().map(apply).collect();
    stream::iter(writes).buffered(AT_ONCE).try_collect::<()>().await?;
    // One after the other, the highest ordinal first: if we are cut off, what is left has no holes.
    for (name, uid) in &plan.delete {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match call(format!("delete Guest {name}"), api.delete(name, &params)).await {
            Ok(_) => {
                let news = News {
                    warning: false,
                    reason: "ScaledIn".to_owned(),
                    action: "Delete",
                    note: format!("{name} goes: {} guests are wished", workload.spec.replicas),
                };
                context.herald.say(workload, news).await;
            }
            // Gone, or another guest has the name by now.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What we say about a guest. The binding is the scheduler's and is left out.
fn manifest(workload: &VirtualWorkload, name: &str) -> Value {
    json!({
        "apiVersion": Guest::api_version(&()),
        "kind": Guest::kind(&()),
        "metadata": {
            "name": name,
            "labels": { WORKLOAD_LABEL: workload.name_any() },
            "ownerReferences": [workload.controller_owner_ref(&())],
            // From the first moment: no VM can be made before its guest is held.
            "finalizers": [GUEST_FINALIZER],
        },
        "spec": decide::wished(workload),
    })
}

/// Writes the status where it differs.
pub(super) async fn write(
    context: &Context,
    workload: &VirtualWorkload,
    own: VirtualWorkloadStatus,
) -> Result<(), ApiError> {
    if workload.status.as_ref() == Some(&own) {
        return Ok(());
    }
    let api: Api<VirtualWorkload> = Api::namespaced(context.client.clone(), &workload.namespace().unwrap_or_default());
    apply::status(&api, workload, manager::WORKLOAD, &own).await.map(drop)
}
