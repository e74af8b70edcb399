//! The vocabulary: the kinds that users write, and the values they are made of. No I/O.

pub mod care;
pub mod cloud_pool;
pub mod condition;
pub mod gce;
pub mod guest;
pub mod guest_status;
pub mod money;
pub mod names;
pub mod openstack;
pub mod pool_status;
pub mod pricing;
pub mod quantity;
mod schema;
pub mod selector;
pub mod span;
pub mod template;
pub mod virtual_workload;

pub use cloud_pool::{CloudPool, CloudPoolSpec};
pub use guest::{Guest, GuestSpec, GuestStatus};
pub use pool_status::CloudPoolStatus;
pub use virtual_workload::{VirtualWorkload, VirtualWorkloadSpec, VirtualWorkloadStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::json;

/// The definitions of all kinds, in the order in which they are installed.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![CloudPool::crd(), VirtualWorkload::crd(), Guest::crd()];
    let schemas = crds
        .iter_mut()
        .flat_map(|crd| &mut crd.spec.versions)
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(|schema| {
        strip_defaults(schema);
        if let Some(status) = schema.properties.as_mut().and_then(|map| map.get_mut("status")) {
            strip_rules(status);
            // What nobody has looked at yet would count as done: kstatus takes an object without a status for current.
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
        }
    });
    crds
}

/// Takes all rules out of a schema: the status is ours alone, and each rule there would cost of the budget that an API
/// server has for a kind.
fn strip_rules(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_validations = None;
    children(schema).for_each(strip_rules);
}

/// Takes all defaults out of a schema: the API server would write them into users' objects, and every `GitOps` tool would
/// see a difference from what is in the repository.
fn strip_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    children(schema).for_each(strip_defaults);
}

fn children(schema: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let items = schema.items.as_mut().and_then(|items| match items {
        JSONSchemaPropsOrArray::Schema(schema) => Some(&mut **schema),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    });
    schema.properties.iter_mut().flat_map(|map| map.values_mut()).chain(items)
}
