//! Makes and deletes Guest objects, and writes the workload's status.

use futures::{FutureExt as _, StreamExt as _, stream};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use serde_json::{Value, json};

use super::{Context, decide};
use crate::{
    api::{
        Guest, GuestSpec, VirtualWorkload, VirtualWorkloadStatus,
        names::{GUEST_FINALIZER, WORKLOAD_LABEL, manager},
    },
    runtime::{ApiError, apply, call, events::News},
};

/// How many objects are written at once: more only makes the API server slower.
const AT_ONCE: usize = 8;
/// How many guests are made before it is looked whether so many are still wished. The first that the watch brings asks for the
/// rest.
const IN_ONE_GO: usize = 500;

/// Carries a plan out. Each part may be repeated, and is done although another is refused: a quota that refuses a guest must
/// keep neither a new hold from those that are there nor others from going. The first error is returned.
pub(super) async fn carry_out(
    context: &Context,
    workload: &VirtualWorkload,
    plan: &decide::Plan,
) -> Result<(), ApiError> {
    let api: Api<Guest> = Api::namespaced(context.client.clone(), &workload.namespace().unwrap_or_default());
    let changes: Vec<_> = plan.update.iter().map(|(guest, spec)| update(&api, workload, guest, spec).boxed()).collect();
    let updated: Vec<_> = stream::iter(changes).buffered(AT_ONCE).collect().await;
    let made = make_all(&api, workload, &plan.make).await;
    let deleted = delete_all(context, &api, workload, &plan.delete).await;
    updated.into_iter().chain([made, deleted]).collect()
}

/// One after the other, the lowest ordinal first: guests are decided on as they appear, and the first get the room at home.
async fn make_all(api: &Api<Guest>, workload: &VirtualWorkload, ordinals: &[u32]) -> Result<(), ApiError> {
    for ordinal in ordinals.iter().take(IN_ONE_GO) {
        make(api, workload, *ordinal).await?;
    }
    Ok(())
}

/// One after the other, the highest ordinal first: if we are cut off, what is left has no holes.
async fn delete_all(
    context: &Context,
    api: &Api<Guest>,
    workload: &VirtualWorkload,
    guests: &[(String, String)],
) -> Result<(), ApiError> {
    for (name, uid) in guests {
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
                    note: format!("{name} goes: spec.replicas is {}", workload.spec.replicas),
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

/// Makes a guest that is not in our store. One that is there all the same is somebody else's, or newer than our store,
/// and is left for the next run: an apply would put our owner reference onto it.
async fn make(api: &Api<Guest>, workload: &VirtualWorkload, ordinal: u32) -> Result<(), ApiError> {
    let name = format!("{}-{ordinal}", workload.name_any());
    let wished = manifest(workload, &name, &decide::wished(workload, ordinal), None);
    apply::absent(api, &name, manager::WORKLOAD, wished).await
}

/// Changes a guest, on the condition that it is still the one that was decided on: one that was let go by its workload
/// meanwhile must not be claimed again, it would be deleted with the workload.
async fn update(api: &Api<Guest>, workload: &VirtualWorkload, guest: &Guest, spec: &GuestSpec) -> Result<(), ApiError> {
    let name = guest.name_any();
    apply::object(api, &name, manager::WORKLOAD, &manifest(workload, &name, spec, Some(guest))).await.map(drop)
}

/// What we say about a guest, where it is there already only of that very one. What is the scheduler's and
/// what was restored is left out.
pub(crate) fn manifest(workload: &VirtualWorkload, name: &str, spec: &GuestSpec, there: Option<&Guest>) -> Value {
    let spec = GuestSpec { identity: None, relocation: None, binding: None, ..spec.clone() };
    let mut metadata = json!({
        "name": name,
        "labels": { WORKLOAD_LABEL: workload.name_any() },
        "ownerReferences": [workload.controller_owner_ref(&())],
        // From the first moment: no VM can be made before its guest is held.
        "finalizers": [GUEST_FINALIZER],
    });
    if let Some(guest) = there {
        metadata["uid"] = json!(guest.uid());
        metadata["resourceVersion"] = json!(guest.resource_version());
    }
    json!({
        "apiVersion": Guest::api_version(&()),
        "kind": Guest::kind(&()),
        "metadata": metadata,
        "spec": spec,
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
