//! The request that creates a guest's server. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{
    config::OpenstackConfig,
    convert::{guest_tag, marks, owner_tag},
    wire::Flavor,
};
use crate::provider::{ErrorKind, GuestWish, ProviderError, Result};

/// The most user data that Nova takes, encoded.
const MAX_USER_DATA: usize = 65_535;

/// What the guest's server is created with.
pub(super) fn request(config: &OpenstackConfig, wish: &GuestWish, flavor: &Flavor, act: &str) -> Result<Value> {
    let refuse = |message: String| Err(ProviderError::new(ErrorKind::Invalid, act, message));
    if let Some(disk) = wish.disks.first() {
        return refuse(format!(
            "the guest wants disk {}, and further disks cannot be made at OpenStack yet: leave disks out, or let it be \
             placed elsewhere",
            disk.name
        ));
    }
    if let Some(size) = wish.root_disk.filter(|size| size.0 > flavor.disk << 30) {
        return refuse(format!(
            "the guest wants to boot from {} GiB and flavour {} has {}: choose types with a larger disk",
            size.0.div_ceil(1 << 30),
            flavor.name,
            flavor.disk
        ));
    }
    if wish.spot {
        return refuse("OpenStack has no capacity that it takes back: leave spot prices out of the pool".to_owned());
    }
    let mut server = json!({
        "name": wish.key.name,
        // For people; it is the one text of ours that an administrator still finds on a removed server.
        "description": format!("Innkeeper guest {} ({})", wish.key, wish.key.guest),
        "flavorRef": flavor.id,
        "imageRef": wish.image,
        "metadata": marks(&config.owner, &wish.key),
        "tags": [owner_tag(&config.owner), guest_tag(&wish.key.guest)],
        "min_count": 1,
        "max_count": 1,
        "networks": networks(config, wish),
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            server[name] = value;
        }
    };
    set("availability_zone", wish.zone.as_ref().or(config.zone.as_ref()).map(|zone| json!(zone)));
    set("key_name", config.key_pair.as_ref().map(|name| json!(name)));
    set("config_drive", config.config_drive.then_some(json!(true)));
    let groups: Vec<Value> = config.security_groups.iter().map(|name| json!({ "name": name })).collect();
    set("security_groups", (!groups.is_empty()).then_some(json!(groups)));
    if let Some(data) = &wish.first_boot.user_data {
        let encoded = STANDARD.encode(data.expose_secret());
        if encoded.len() > MAX_USER_DATA {
            return refuse(format!(
                "the user data has {} bytes and Nova takes {} at most: shorten it, or let it fetch the rest (#include)",
                data.expose_secret().len(),
                MAX_USER_DATA / 4 * 3
            ));
        }
        set("user_data", Some(json!(encoded)));
    }
    let mut body = json!({ "server": server });
    if let Some(group) = &config.server_group {
        body["os:scheduler_hints"] = json!({ "group": group });
    }
    Ok(body)
}

fn networks(config: &OpenstackConfig, wish: &GuestWish) -> Value {
    match (wish.networks.as_slice(), &config.network) {
        ([], None) => json!("auto"),
        ([], Some(network)) => json!([{ "uuid": network }]),
        (some, _) => some.iter().map(|network| json!({ "uuid": network.provider_id })).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        api::quantity::Bytes,
        provider::{Disk, FirstBoot, Key, Network, Owner, openstack::Credentials},
    };

    fn config() -> OpenstackConfig {
        let credentials = Credentials::Application { id: "a".into(), secret: "hush".into() };
        let url = "https://k.example".parse().unwrap();
        OpenstackConfig::new(url, "North", credentials, Owner("cluster-1".into()))
    }

    fn wish() -> GuestWish {
        let key = Key { guest: "uid-1".into(), incarnation: 2, namespace: "shop".into(), name: "web-0".into() };
        GuestWish { instance_type: Some("m1.small".into()), ..GuestWish::new(key, "image-1", 1, Bytes::gib(2)) }
    }

    fn flavor() -> Flavor {
        Flavor { id: "f-1".into(), name: "m1.small".into(), disk: 20 }
    }

    fn server(config: &OpenstackConfig, wish: &GuestWish) -> Value {
        request(config, wish, &flavor(), "create").unwrap()["server"].clone()
    }

    #[test]
    fn identity_is_in_the_one_call() {
        let server = server(&config(), &wish());
        assert_eq!(server["tags"], json!(["innkeeper-cluster-1", "innkeeper-guest-uid-1"]));
        let expected = json!({
            "innkeeper.owner": "cluster-1", "innkeeper.guest": "uid-1", "innkeeper.incarnation": "2",
            "innkeeper.namespace": "shop", "innkeeper.name": "web-0",
        });
        assert_eq!(server["metadata"], expected);
        assert_eq!((&server["min_count"], &server["max_count"]), (&json!(1), &json!(1)));
        assert_eq!((&server["flavorRef"], &server["imageRef"]), (&json!("f-1"), &json!("image-1")));
        for left_out in ["availability_zone", "key_name", "config_drive", "security_groups", "user_data"] {
            assert!(server.get(left_out).is_none(), "{left_out}");
        }
    }

    #[test]
    fn the_pools_settings_and_the_guests_choices() {
        let config = OpenstackConfig {
            zone: Some("az-1".into()),
            network: Some("net-default".into()),
            security_groups: vec!["web".into()],
            key_pair: Some("ops".into()),
            server_group: Some("group-1".into()),
            config_drive: true,
            ..config()
        };
        let boot = FirstBoot { user_data: Some(Arc::new("#cloud-config".into())), network_data: None };
        let body = request(&config, &GuestWish { first_boot: boot, ..wish() }, &flavor(), "create").unwrap();
        let one = &body["server"];
        assert_eq!(body["os:scheduler_hints"], json!({ "group": "group-1" }));
        assert_eq!((&one["availability_zone"], &one["key_name"]), (&json!("az-1"), &json!("ops")));
        assert_eq!((&one["config_drive"], &one["user_data"]), (&json!(true), &json!("I2Nsb3VkLWNvbmZpZw==")));
        assert_eq!(one["security_groups"], json!([{ "name": "web" }]));
        assert_eq!(one["networks"], json!([{ "uuid": "net-default" }]));
        let network = Network { name: "frontend".into(), provider_id: "net-2".into() };
        let chosen = GuestWish { zone: Some("az-2".into()), networks: vec![network], ..wish() };
        let one = server(&config, &chosen);
        assert_eq!((&one["availability_zone"], &one["networks"]), (&json!("az-2"), &json!([{ "uuid": "net-2" }])));
        assert_eq!(server(&super::tests::config(), &wish())["networks"], json!("auto"));
    }

    #[test]
    fn what_cannot_be_had_is_refused_in_words() {
        let disk = Disk { name: "data".into(), size: Bytes::gib(1), storage: None };
        let boot = FirstBoot { user_data: Some(Arc::new("x".repeat(49_152).into())), network_data: None };
        for (wish, words) in [
            (GuestWish { disks: vec![disk], ..wish() }, "disk data"),
            (GuestWish { root_disk: Some(Bytes::gib(21)), ..wish() }, "21 GiB and flavour m1.small has 20"),
            (GuestWish { spot: true, ..wish() }, "takes back"),
            (GuestWish { first_boot: boot, ..wish() }, "49152 bytes and Nova takes 49149"),
        ] {
            let error = request(&config(), &wish, &flavor(), "create").unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains(words), "{error}");
        }
        let wish = GuestWish { root_disk: Some(Bytes::gib(20)), ..wish() };
        assert!(request(&config(), &wish, &flavor(), "create").is_ok());
    }
}
