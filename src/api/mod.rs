//! The vocabulary: the kinds that users write, and the values they are made of. No I/O.

pub mod cloud_pool;
pub mod condition;
pub mod guest;
pub mod money;
pub mod names;
pub mod quantity;
mod schema;
pub mod span;
pub mod virtual_workload;

pub use cloud_pool::{CloudPool, CloudPoolSpec, CloudPoolStatus};
pub use guest::{Guest, GuestSpec, GuestStatus};
pub use virtual_workload::{VirtualWorkload, VirtualWorkloadSpec, VirtualWorkloadStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

/// The definitions of all kinds, in the order in which they are installed.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![CloudPool::crd(), VirtualWorkload::crd(), Guest::crd()];
    let schemas = crds
        .iter_mut()
        .flat_map(|crd| &mut crd.spec.versions)
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(strip_defaults);
    crds
}

/// Takes all defaults out of a schema: the API server would write them into users' objects, and every GitOps tool would
/// see a difference from what is in the repository.
fn strip_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    schema.properties.iter_mut().flat_map(|map| map.values_mut()).for_each(strip_defaults);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        strip_defaults(items);
    }
}
