//! The request that makes a guest's instance with its disks. Pure.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{
    GceConfig,
    identity::{self, ROOT},
    wire::Labels,
};
use crate::{
    api::quantity::Bytes,
    provider::{ErrorKind, GuestWish, ProviderError, Result},
};

const ACT: &str = "make the instance";

/// The most user data that Google takes in one value of an instance's metadata.
const MAX_USER_DATA: usize = 256 * 1024;

/// Sizes of disks are whole GB, of 2^30 bytes.
pub(super) fn gib(size: Bytes) -> u64 {
    size.0.div_ceil(1 << 30)
}

/// The path of an image below `compute/v1/`: `projects/P/global/images/NAME` as it is, a bare name in the pool's own project,
/// `PROJECT/FAMILY` the newest of a family.
pub(super) fn image_path(config: &GceConfig, image: &str) -> String {
    let path = image.split_once("/compute/v1/").map_or(image, |(_, path)| path);
    match path.split_once('/') {
        Some(("projects", _)) => path.to_owned(),
        Some((project, family)) => format!("projects/{project}/global/images/family/{family}"),
        None => format!("projects/{}/global/images/{path}", config.project),
    }
}

/// The type of disks of which nothing else is said. The newest series take no other than Hyperdisks.
pub(super) fn disk_type(machine_type: &str) -> &'static str {
    let family = machine_type.split('-').next().unwrap_or_default();
    let newest = ["c4", "n4", "m4", "x4", "h4", "a4"].iter().any(|series| family.starts_with(series));
    if newest { "hyperdisk-balanced" } else { "pd-balanced" }
}

/// The type that the guest is to have.
pub(super) fn machine_type(wish: &GuestWish) -> Result<&str> {
    let message = "no instance type was chosen: list types in pricing.payPerUse of the pool";
    wish.instance_type.as_deref().ok_or_else(|| ProviderError::new(ErrorKind::Invalid, ACT, message))
}

/// What the guest is made with in a zone. `image_size`: the least size of the disk that it boots from, in GB.
pub(super) fn request(config: &GceConfig, wish: &GuestWish, zone: &str, image_size: u64) -> Result<Value> {
    let (owner, key) = (&config.owner, &wish.key);
    if !identity::is_label(&key.guest) {
        let message = format!("the guest's identity \"{}\" cannot be a label at Google", key.guest);
        return Err(ProviderError::new(ErrorKind::Invalid, ACT, message));
    }
    let kind = machine_type(wish)?;
    let mut labels = identity::labels(owner, key, zone);
    if wish.protected {
        labels.insert(identity::PROTECTED.to_owned(), "yes".to_owned());
    }
    let mut body = json!({
        "name": identity::instance_name(owner, key),
        "description": format!("Guest {key} of Innkeeper"),
        "machineType": format!("zones/{zone}/machineTypes/{kind}"),
        "labels": labels,
        "disks": disks(config, wish, zone, kind, image_size),
        "networkInterfaces": cards(config, wish),
        "deletionProtection": wish.protected,
        "shieldedInstanceConfig": { "enableSecureBoot": false, "enableVtpm": true, "enableIntegrityMonitoring": true },
        "scheduling": scheduling(wish),
        "metadata": { "items": metadata(wish)? },
    });
    if !config.network_tags.is_empty() {
        body["tags"] = json!({ "items": config.network_tags });
    }
    if let Some(email) = &config.service_account {
        let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
        body["serviceAccounts"] = json!([{ "email": email, "scopes": scopes }]);
    }
    Ok(body)
}

fn disks(config: &GceConfig, wish: &GuestWish, zone: &str, kind: &str, image_size: u64) -> Vec<Value> {
    let (owner, key) = (&config.owner, &wish.key);
    let usual = disk_type(kind);
    let root_size = wish.root_disk.map_or(image_size, |size| gib(size).max(image_size));
    let root = json!({
        "boot": true,
        "autoDelete": true,
        "deviceName": identity::device_name(ROOT),
        "initializeParams": {
            "diskName": identity::disk_name(owner, key, ROOT),
            "sourceImage": image_path(config, &wish.image),
            "diskSizeGb": root_size.to_string(),
            "diskType": format!("zones/{zone}/diskTypes/{usual}"),
            "labels": disk_labels(config, wish, zone, ROOT),
        },
    });
    let further = wish.disks.iter().map(|disk| {
        let kind = disk.storage.as_deref().unwrap_or(usual);
        json!({
            "autoDelete": true,
            "deviceName": identity::device_name(&disk.name),
            "initializeParams": {
                "diskName": identity::disk_name(owner, key, &disk.name),
                "diskSizeGb": gib(disk.size).to_string(),
                "diskType": format!("zones/{zone}/diskTypes/{kind}"),
                "labels": disk_labels(config, wish, zone, &disk.name),
            },
        })
    });
    std::iter::once(root).chain(further).collect()
}

/// The labels of one of the guest's disks.
pub(super) fn disk_labels(config: &GceConfig, wish: &GuestWish, zone: &str, disk: &str) -> Labels {
    let mut labels = identity::labels(&config.owner, &wish.key, zone);
    labels.insert(identity::DISK.to_owned(), identity::label(disk));
    labels
}

/// Network cards without external addresses: what a guest may reach and who may reach it is the network's business.
fn cards(config: &GceConfig, wish: &GuestWish) -> Vec<Value> {
    let named: Vec<&str> = match wish.networks.as_slice() {
        [] => config.subnetwork.as_deref().into_iter().collect(),
        some => some.iter().map(|network| network.provider_id.as_str()).collect(),
    };
    let path = |name: &str| {
        if name.contains('/') { name.to_owned() } else { format!("regions/{}/subnetworks/{name}", config.region()) }
    };
    if named.is_empty() {
        return vec![json!({ "network": "global/networks/default" })];
    }
    named.into_iter().map(|name| json!({ "subnetwork": path(name) })).collect()
}

fn scheduling(wish: &GuestWish) -> Value {
    if !wish.spot {
        return json!({ "provisioningModel": "STANDARD", "automaticRestart": true, "onHostMaintenance": "MIGRATE" });
    }
    // Taken back, it is stopped with its disks kept: whether it is started again is decided here, not there.
    json!({
        "provisioningModel": "SPOT",
        "automaticRestart": false,
        "onHostMaintenance": "TERMINATE",
        "instanceTerminationAction": "STOP",
    })
}

fn metadata(wish: &GuestWish) -> Result<Vec<Value>> {
    // Keys of people that the project has are not for these guests: who gets in is said in their user data.
    let mut items = vec![json!({ "key": "block-project-ssh-keys", "value": "true" })];
    if let Some(data) = &wish.first_boot.user_data {
        let text = data.expose_secret();
        if text.len() > MAX_USER_DATA {
            let message = format!("the user data has {} bytes and Google takes {MAX_USER_DATA}", text.len());
            return Err(ProviderError::new(ErrorKind::Invalid, ACT, message));
        }
        items.push(json!({ "key": "user-data", "value": text }));
    }
    Ok(items)
}

/// What tells this request from another for the same guest. Nothing can be read back from it.
pub(super) fn content(body: &Value) -> String {
    identity::hex(body.to_string().as_bytes(), 32)
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
