//! Writes Guests as the operator's own controllers would have: each field belongs to the controller that goes on with it.

use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::decide::Claim;
use crate::{
    api::{Guest, VirtualWorkload, names::manager},
    runtime::{ApiError, apply},
    workload::{act, decide},
};

/// Writes all of them. Each step may be repeated, and what was written by then is completed by the next run.
pub(super) async fn carry_out(
    client: &Client,
    claims: &[Claim],
    workloads: &[VirtualWorkload],
) -> Result<(), ApiError> {
    for claim in claims {
        let mut owners = workloads.iter().filter(|workload| {
            workload.namespace().as_deref() == Some(&*claim.namespace) && workload.name_any() == claim.workload
        });
        if let Some(workload) = owners.next() {
            write(client, claim, workload).await?;
        }
    }
    Ok(())
}

/// The binding is there from the first moment: a Guest of this identity without one would be placed and made a second time.
/// So the scheduler's name stands for all of it at first; then the workload's controller and we take over what is theirs,
/// and the scheduler is left with the binding.
async fn write(client: &Client, claim: &Claim, workload: &VirtualWorkload) -> Result<(), ApiError> {
    let api: Api<Guest> = Api::namespaced(client.clone(), &claim.namespace);
    let name = &claim.name;
    let of_workload = act::manifest(workload, name, &decide::wished(workload, claim.ordinal), None);
    let mut all = of_workload.clone();
    all["spec"]["binding"] = json!(claim.binding);
    all["spec"]["identity"] = json!(claim.identity);
    let mut guest: Guest = apply::object(&api, name, manager::SCHEDULER, &all).await?;
    for (manager, mut manifest) in [
        (manager::WORKLOAD, of_workload),
        (manager::RESTORE, only(name, &json!({ "identity": claim.identity }))),
        (manager::SCHEDULER, only(name, &json!({ "binding": claim.binding }))),
    ] {
        // On the condition that nobody else was at it: an operator that runs meanwhile may have placed it anew.
        manifest["metadata"]["resourceVersion"] = json!(guest.resource_version());
        guest = apply::object(&api, name, manager, &manifest).await?;
    }
    Ok(())
}

fn only(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": Guest::api_version(&()),
        "kind": Guest::kind(&()),
        "metadata": { "name": name },
        "spec": spec,
    })
}
