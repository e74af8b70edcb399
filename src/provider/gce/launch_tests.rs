use std::sync::Arc;

use super::*;
use crate::provider::{Disk, FirstBoot, Key, Network, Owner, gce::Credentials};

const ZONE: &str = "europe-west1-b";

fn config() -> GceConfig {
    let credentials = Credentials::Metadata { host: "127.0.0.1".into() };
    let owner = Owner("5d0c6f2e-0000-4000-8000-000000000001".into());
    GceConfig::new("acme-prod", vec![ZONE.into(), "europe-west1-c".into()], credentials, owner)
}

fn wish() -> GuestWish {
    let key = Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
    GuestWish {
        instance_type: Some("e2-small".into()),
        ..GuestWish::new(key, "debian-cloud/debian-12", 2, Bytes::gib(2))
    }
}

fn body(wish: &GuestWish) -> Value {
    request(&config(), wish, ZONE, 10).unwrap()
}

#[test]
fn identity_and_safety_are_in_the_one_call() {
    let body = body(&wish());
    assert_eq!(body["name"], identity::instance_name(&config().owner, &wish().key));
    assert_eq!(body["labels"]["innkeeper-guest"], "uid");
    assert_eq!(body["machineType"], "zones/europe-west1-b/machineTypes/e2-small");
    assert_eq!((&body["deletionProtection"], &body["serviceAccounts"]), (&json!(false), &Value::Null));
    assert_eq!(body["shieldedInstanceConfig"]["enableVtpm"], true);
    assert_eq!(body["networkInterfaces"], json!([{ "network": "global/networks/default" }]), "no external address");
    let disk = &body["disks"][0];
    assert_eq!((&disk["autoDelete"], &disk["boot"]), (&json!(true), &json!(true)));
    assert_eq!(disk["initializeParams"]["sourceImage"], "projects/debian-cloud/global/images/family/debian-12");
    assert_eq!(disk["initializeParams"]["diskSizeGb"], "10", "as the image");
    assert_eq!(disk["initializeParams"]["labels"]["innkeeper-disk"], "root");
}

#[test]
fn images_are_named_in_three_ways() {
    for (image, path) in [
        ("golden-7", "projects/acme-prod/global/images/golden-7"),
        ("debian-cloud/debian-12", "projects/debian-cloud/global/images/family/debian-12"),
        ("projects/x/global/images/y", "projects/x/global/images/y"),
        ("https://www.googleapis.com/compute/v1/projects/x/global/images/y", "projects/x/global/images/y"),
    ] {
        assert_eq!(image_path(&config(), image), path);
    }
}

#[test]
fn disks_networks_spot_and_protection() {
    let disk = |name: &str, gib, storage: Option<&str>| Disk {
        name: name.into(),
        size: Bytes::gib(gib),
        storage: storage.map(str::to_owned),
    };
    let network = |id: &str| Network { name: "n".into(), provider_id: id.into() };
    let body = body(&GuestWish {
        root_disk: Some(Bytes::mib(20_000)),
        disks: vec![disk("data", 5, None), disk("logs", 500, Some("pd-standard"))],
        networks: vec![network("front"), network("projects/host/regions/europe-west1/subnetworks/back")],
        spot: true,
        protected: true,
        instance_type: Some("c4-standard-2".into()),
        ..wish()
    });
    let shown: Vec<_> = body["disks"].as_array().unwrap().iter().collect();
    let part = |n: usize, field: &str| shown[n]["initializeParams"][field].as_str().unwrap().to_owned();
    assert_eq!(
        (part(0, "diskSizeGb"), part(1, "diskSizeGb"), part(2, "diskSizeGb")),
        ("20".into(), "5".into(), "500".into())
    );
    assert!(part(1, "diskType").ends_with("/hyperdisk-balanced") && part(2, "diskType").ends_with("/pd-standard"));
    assert_eq!(shown[1]["deviceName"], "innkeeper-data");
    assert_eq!(body["networkInterfaces"][0]["subnetwork"], "regions/europe-west1/subnetworks/front");
    assert_eq!(body["networkInterfaces"][1]["subnetwork"], "projects/host/regions/europe-west1/subnetworks/back");
    assert_eq!((&body["scheduling"]["provisioningModel"], &body["deletionProtection"]), (&json!("SPOT"), &json!(true)));
    assert_eq!(body["labels"]["innkeeper-protected"], "yes");
}

#[test]
fn user_data_is_passed_on_and_bounded() {
    let with = |text: String| GuestWish {
        first_boot: FirstBoot { user_data: Some(Arc::new(text.into())), network_data: None },
        ..wish()
    };
    let told = body(&with("#cloud-config".into()));
    assert_eq!(told["metadata"]["items"][1], json!({ "key": "user-data", "value": "#cloud-config" }));
    let error = request(&config(), &with("x".repeat(MAX_USER_DATA + 1)), ZONE, 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
}

#[test]
fn another_request_has_another_content() {
    let content = |wish: &GuestWish, zone: &str| content(&request(&config(), wish, zone, 10).unwrap());
    let first = content(&wish(), ZONE);
    assert_eq!(first, content(&wish(), ZONE));
    assert_ne!(first, content(&wish(), "europe-west1-c"));
    assert_ne!(first, content(&GuestWish { spot: true, ..wish() }, ZONE));
    assert_ne!(first, content(&GuestWish { instance_type: Some("e2-medium".into()), ..wish() }, ZONE));
    assert_eq!(first, content(&GuestWish { vcpus: 7, ..wish() }, ZONE), "what Google is not asked for does not count");
}
