use super::*;
use crate::{
    api::template::NetworkReference,
    guest::testing::{binding, guest, key},
};

fn pool() -> CloudPool {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool", "metadata": { "name": "xen" },
        "spec": {
            "provider": { "xapi": { "endpoints": [], "credentialsSecretRef": { "namespace": "a", "name": "b" } } },
            "location": { "jurisdiction": "GB" },
            "pricing": { "owned": { "currency": "EUR", "monthlyRunningCost": "0" } },
            "images": [{ "name": "debian-12", "providerId": "uuid-of-debian" }],
            "networks": [{ "name": "back", "providerId": "net-b" }, { "name": "front", "providerId": "net-f" }],
        }
    }))
    .unwrap()
}

#[test]
fn names_become_the_pools_own_ids_in_the_order_of_the_guest() {
    let mut guest = guest();
    guest.spec.template.networks = ["front", "back"].map(|name| NetworkReference { name: name.into() }).to_vec();
    let binding = Binding { instance_type: Some("t3.small".into()), ..binding() };
    let wish = resolve(&guest, &key(2), &binding, &pool()).unwrap();
    assert_eq!((wish.image.as_str(), wish.key.incarnation), ("uuid-of-debian", 2));
    let ids: Vec<_> = wish.networks.iter().map(|network| network.provider_id.as_str()).collect();
    assert_eq!(ids, ["net-f", "net-b"]);
    assert_eq!((wish.host.as_deref(), wish.instance_type.as_deref()), (Some("host-a"), Some("t3.small")));
    assert_eq!((wish.vcpus, wish.memory), (2, guest.spec.template.size.memory));
}

#[test]
fn a_name_that_the_pool_lost_is_said_with_its_field() {
    let mut pool = pool();
    pool.spec.images.clear();
    let why = resolve(&guest(), &key(2), &binding(), &pool).unwrap_err();
    assert!(why.contains("xen") && why.contains("debian-12") && why.contains("spec.images"), "{why}");
    let (mut guest, mut pool) = (guest(), super::tests::pool());
    pool.spec.networks.clear();
    guest.spec.template.networks = vec![NetworkReference { name: "front".into() }];
    let why = resolve(&guest, &key(2), &binding(), &pool).unwrap_err();
    assert!(why.contains("front") && why.contains("spec.networks"), "{why}");
}

#[test]
fn disks_go_to_the_storage_that_their_names_stand_for() {
    let (mut guest, mut pool) = (guest(), pool());
    let disk = |name: &str, storage: Option<&str>| template::Disk {
        name: name.into(),
        size: crate::api::quantity::Bytes(20 << 30),
        storage: storage.map(Into::into),
    };
    guest.spec.template.disks = vec![disk("data", Some("fast")), disk("logs", None)];
    let why = resolve(&guest, &key(2), &binding(), &pool).unwrap_err();
    assert!(why.contains("fast") && why.contains("spec.storage"), "{why}");
    pool.spec.storage = vec![NamedResource { name: "fast".into(), provider_id: "sr-1".into() }];
    let wish = resolve(&guest, &key(2), &binding(), &pool).unwrap();
    let got: Vec<_> = wish.disks.iter().map(|disk| (disk.name.as_str(), disk.storage.as_deref())).collect();
    assert_eq!(got, [("data", Some("sr-1")), ("logs", None)]);
    assert!(!wish.protected);
}

#[test]
fn what_is_adopted_needs_no_image_of_the_pool() {
    let (mut guest, mut pool) = (guest(), pool());
    pool.spec.images.clear();
    guest.spec.adopt = Some(crate::api::care::Adoption { ordinal: 0, pool: "xen".into(), provider_id: "vm-9".into() });
    assert_eq!(resolve(&guest, &key(2), &binding(), &pool).unwrap().vcpus, 2);
}
