//! The role that `examples/gce/` tells people to grant.

use std::collections::BTreeSet;

/// The permissions that it includes.
pub fn permissions() -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gce/role.json")).unwrap();
    let role: serde_json::Value = serde_json::from_str(&text).unwrap();
    role["includedPermissions"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// What Google asks for when this method is called in the way in which the driver calls it (the "required permissions" of the
/// API's reference).
pub fn needed(method: &str) -> Vec<String> {
    let named: &[&str] = match method {
        "disks.aggregatedList" => &["disks.list"],
        "disks.insert" => &["disks.create", "disks.setLabels"],
        "images.get" | "images.getFromFamily" => &["images.get", "images.getFromFamily"],
        "instances.aggregatedList" => &["instances.list"],
        "instances.attachDisk" => &["instances.attachDisk", "disks.use"],
        "instances.insert" => &[
            "instances.create",
            "instances.setLabels",
            "instances.setMetadata",
            "instances.setServiceAccount",
            "instances.setTags",
            "instances.setDeletionProtection",
            "disks.create",
            "disks.setLabels",
            "images.useReadOnly",
            "subnetworks.use",
        ],
        // Anybody may ask what he may do.
        "instances.testIamPermissions" => &[],
        "machineTypes.aggregatedList" => &["machineTypes.list"],
        "zoneOperations.get" => &["zoneOperations.get"],
        _ => return vec![format!("compute.{method}")],
    };
    named.iter().map(|name| format!("compute.{name}")).collect()
}
