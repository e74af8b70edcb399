//! Writing to the API server: server-side apply of the fields that a controller owns, and only when they differ.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{ApiError, call};

/// Applies `fields` to the status of `object` as `manager`, on the condition that the object is still the one that was
/// read: what was decided about an older one must not land.
pub async fn status<K>(api: &Api<K>, object: &K, manager: &str, fields: &impl Serialize) -> Result<K, ApiError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "resourceVersion": object.resource_version(), "uid": object.uid() },
        "status": fields,
    });
    let params = PatchParams::apply(manager).force();
    call(
        format!("write the status of {} {name}", K::kind(&())),
        api.patch_status(&name, &params, &Patch::Apply(&patch)),
    )
    .await
}

/// A version that no object has: etcd's first revision is used up before the API server keeps anything.
const NEVER: &str = "1";

/// Makes an object as `manager` where none of its name is there; one that is there is left as it is.
///
/// An apply with a version is refused where an object of another version is there, and makes the object where none is
/// (kubernetes/kubernetes issue 106745). So nobody can come between a look for it and its making, and its fields are owned as
/// later applies expect, which those of a POST are not.
pub async fn absent<K>(api: &Api<K>, name: &str, manager: &str, mut object: Value) -> Result<(), ApiError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    object["metadata"]["resourceVersion"] = json!(NEVER);
    match self::object::<K>(api, name, manager, &object).await {
        Err(error) if error.is_conflict() => {}
        other => return other.map(drop),
    }
    if call(format!("look for {} {name}", K::kind(&())), api.get_opt(name)).await?.is_some() {
        return Ok(());
    }
    // It was removed just now, or this API server takes no version for what is not there.
    object["metadata"]["resourceVersion"] = Value::Null;
    self::object::<K>(api, name, manager, &object).await.map(drop)
}

/// Applies an object as `manager`; makes it where it is not there.
pub async fn object<K>(api: &Api<K>, name: &str, manager: &str, object: &Value) -> Result<K, ApiError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(manager).force();
    call(format!("apply {} {name}", K::kind(&())), api.patch(name, &params, &Patch::Apply(object))).await
}

/// Removes a finalizer, on the condition that the object is still the one that was read.
pub async fn remove_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), ApiError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let rest: Vec<&String> = object.finalizers().iter().filter(|entry| *entry != finalizer).collect();
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": rest } });
    let act = format!("let go of {} {name}", K::kind(&()));
    match call(act, api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))).await {
        Ok(_) => Ok(()),
        // Gone already: that was the aim.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds a finalizer, on the condition that the object is still the one that was read.
pub async fn add_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<K, ApiError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let mut all = object.finalizers().to_vec();
    all.push(finalizer.to_owned());
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": all } });
    let act = format!("hold on to {} {name}", K::kind(&()));
    call(act, api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))).await
}
