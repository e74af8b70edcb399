//! What only OpenStack has: leases, tokens, servers that fail after they were asked for, and its own Python library.

use innkeeper::provider::{Change, ErrorKind, Freshness, GuestWish, Power, Provider, StopMode};
use reqwest::Method;
use serde_json::{Value, json};

use super::{OpenstackWorld, marks};
use crate::harness::{
    Connect, OWNER, Request, Trouble, World, amended, clear, eventually, failed, key, lodge, only_one, until_power,
};

pub const NAMES: &[&str] = &[
    "own::openstacksdk_sees_the_same",
    "own::no_valid_host_is_capacity",
    "own::no_lease_is_left",
    "own::a_creation_that_is_late_is_taken_back",
    "own::a_group_of_the_users_is_waited_for",
    "own::a_new_token_is_had_when_one_is_refused",
    "own::a_wrong_secret_is_shown_once",
    "own::a_second_server_is_removed",
    "own::a_move_to_another_host_is_seen",
    "own::sleep_and_wake",
    "own::missing_flavours_are_named",
];

pub async fn run(name: &str, world: &OpenstackWorld) {
    match name {
        "own::openstacksdk_sees_the_same" => openstacksdk_sees_the_same(world).await,
        "own::no_valid_host_is_capacity" => no_valid_host_is_capacity(world).await,
        "own::no_lease_is_left" => no_lease_is_left(world).await,
        "own::a_creation_that_is_late_is_taken_back" => a_creation_that_is_late_is_taken_back(world).await,
        "own::a_group_of_the_users_is_waited_for" => a_group_of_the_users_is_waited_for(world).await,
        "own::a_new_token_is_had_when_one_is_refused" => a_new_token_is_had_when_one_is_refused(world).await,
        "own::a_wrong_secret_is_shown_once" => a_wrong_secret_is_shown_once(world).await,
        "own::a_second_server_is_removed" => a_second_server_is_removed(world).await,
        "own::a_move_to_another_host_is_seen" => a_move_to_another_host_is_seen(world).await,
        "own::sleep_and_wake" => sleep_and_wake(world).await,
        "own::missing_flavours_are_named" => missing_flavours_are_named(world).await,
        _ => panic!("openstack has no case {name}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What the project looks like to OpenStack's own library for Python, compared with what the driver says.
async fn openstacksdk_sees_the_same(world: &OpenstackWorld) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let zones = world.plane.state.zones.clone();
    let kinds = ["m1.small", "m1.large", "m1.small"];
    for (n, (zone, kind)) in zones.iter().zip(kinds).enumerate() {
        let wish = GuestWish { zone: Some(zone.clone()), instance_type: Some(kind.into()), ..world.wish(key(n)) };
        lodge(&*provider, &wish).await;
    }
    provider.stop(&key(0), StopMode::Hard).await.unwrap();
    until_power(&*provider, &key(0), Power::Stopped).await;
    let held = GuestWish { protected: true, instance_type: Some(kinds[1].into()), ..world.wish(key(1)) };
    amended(&*provider, &held).await;
    let state = &world.plane.state;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openstack/list_guests.py");
    let own = &state.application_credential;
    let listed = tokio::process::Command::new(&world.plane.python)
        .args(["-B", script, &state.identity, &state.region, &own.id, &own.secret])
        .output()
        .await
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let guests = provider.list(Freshness::Live).await.unwrap();
    assert_eq!((listed.len(), guests.len()), (zones.len(), zones.len()));
    for guest in &guests {
        let theirs = listed.iter().find(|one| text(&one["id"]) == guest.provider_id).unwrap();
        let n: usize = guest.key.name.trim_start_matches("web-").parse().unwrap();
        assert_eq!((text(&theirs["name"]), text(&theirs["zone"])), (guest.key.name.as_str(), zones[n].as_str()));
        assert_eq!(guest.zone.as_ref(), Some(&zones[n]));
        assert_eq!(Some(text(&theirs["flavor"])), guest.instance_type.as_deref());
        assert_eq!(theirs["vcpus"], json!(guest.vcpus.unwrap()));
        assert_eq!(theirs["ram"], json!(guest.memory.unwrap().0 >> 20));
        let status = if guest.power == Power::Stopped { "SHUTOFF" } else { "ACTIVE" };
        assert_eq!((text(&theirs["status"]), n == 0), (status, guest.power == Power::Stopped));
        assert_eq!(
            theirs["tags"],
            json!([format!("innkeeper-{OWNER}"), format!("innkeeper-guest-{}", guest.key.guest)])
        );
        for (name, value) in marks(&guest.key, OWNER) {
            assert_eq!(text(&theirs["metadata"][name]), value, "{name}");
        }
        assert_eq!((&theirs["locked"], guest.protected), (&json!(n == 1), Some(n == 1)));
    }
    for n in 0..zones.len() {
        clear(&*provider, &key(n)).await;
    }
}

/// Takes hypervisors out of service, or puts them back.
async fn services(world: &OpenstackWorld, status: &str) {
    let services = world.plane.admin.get("/os-services?binary=nova-compute").await;
    for one in services["services"].as_array().unwrap() {
        let path = format!("/os-services/{}", text(&one["id"]));
        world.plane.admin.done(Method::PUT, &path, json!({ "status": status })).await;
    }
}

/// Nova takes the request and finds out later that no host has room.
async fn no_valid_host_is_capacity(world: &OpenstackWorld) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    services(world, "disabled").await;
    let error = eventually("the creation fails", || async {
        provider.create(&wish).await.err().filter(|error| error.kind != ErrorKind::Unavailable)
    })
    .await;
    services(world, "enabled").await;
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Capacity, Some("NoValidHost")), "{error}");
    let [aside] = &provider.set_aside()[..] else { panic!("{:?}", provider.set_aside()) };
    assert_eq!((aside.instance_type.as_str(), aside.code.as_str()), ("m1.small", "NoValidHost"));
    assert_eq!(world.left(OWNER).await, Vec::<String>::new(), "the server that failed is removed");
    // The same incarnation may be made now: nothing of it ever ran.
    lodge(&*provider, &wish).await;
    only_one(world, &wish.key).await;
    clear(&*provider, &wish.key).await;
}

/// What stands for creations under way.
async fn tokens(world: &OpenstackWorld) -> (usize, usize) {
    (world.plane.leases().await.len(), world.plane.groups().await.len())
}

async fn no_lease_is_left(world: &OpenstackWorld) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    lodge(&*provider, &wish).await;
    assert_eq!(tokens(world).await, (0, 0));
    clear(&*provider, &wish.key).await;
    // A creation that nothing is heard of keeps both until somebody else has dealt with it.
    let wish = world.wish(key(2));
    world.trouble(Request::Create, Trouble::LostRequest, Some(1)).await;
    failed(provider.create(&wish).await, &[ErrorKind::UnknownOutcome]);
    assert_eq!(tokens(world).await, (1, 1));
    let restarted = world.connect(Connect::default()).await.unwrap();
    failed(restarted.create(&wish).await, &[ErrorKind::UnknownOutcome]);
    // Who sent it waits less long for it.
    lodge(&*provider, &wish).await;
    assert_eq!(tokens(world).await, (0, 0));
    only_one(world, &wish.key).await;
    clear(&*restarted, &wish.key).await;
    assert!(world.made_for(&wish.key.guest).await.iter().all(|made| !made.alive));
}

/// The request of one creation stays on its way until after the next.
async fn a_creation_that_is_late_is_taken_back(world: &OpenstackWorld) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    for removed in [false, true] {
        world.trouble(Request::Create, Trouble::LostRequest, Some(1)).await;
        failed(provider.create(&wish).await, &[ErrorKind::UnknownOutcome]);
        let [group] = &world.plane.groups().await[..] else { panic!("a group for the creation") };
        let late = json!({ "server": world.body(&wish, &[], &[]).await, "os:scheduler_hints": { "group": group } });
        if removed {
            clear(&*provider, &wish.key).await;
        } else {
            lodge(&*provider, &wish).await;
        }
        let (status, answer) = world.plane.member.send(Method::POST, "/servers", Some(late)).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains("Instance group"), "{answer}");
        if !removed {
            only_one(world, &wish.key).await;
            clear(&*provider, &wish.key).await;
        }
    }
    assert!(world.made_for(&wish.key.guest).await.iter().filter(|made| made.ran).count() == 1);
    assert_eq!(tokens(world).await, (0, 0));
}

/// Where a server must be in a group of the user's, a creation that was not answered is waited for.
async fn a_group_of_the_users_is_waited_for(world: &OpenstackWorld) {
    let body = json!({ "server_group": { "name": "spread", "policy": "soft-anti-affinity" } });
    let group = world.plane.member.done(Method::POST, "/os-server-groups", body).await;
    let group = text(&group["server_group"]["id"]).to_owned();
    let config = innkeeper::provider::openstack::OpenstackConfig {
        server_group: Some(group.clone()),
        ..world.config(Connect::default())
    };
    let provider = innkeeper::provider::openstack::OpenstackProvider::connect(config).unwrap();
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::LostRequest, Some(1)).await;
    failed(provider.create(&wish).await, &[ErrorKind::UnknownOutcome]);
    failed(provider.create(&wish).await, &[ErrorKind::UnknownOutcome]);
    assert!(world.made_for(&wish.key.guest).await.is_empty());
    lodge(&*provider, &wish).await;
    only_one(world, &wish.key).await;
    let members = world.plane.member.get(&format!("/os-server-groups/{group}")).await;
    assert_eq!(members["server_group"]["members"].as_array().unwrap().len(), 1);
    clear(&*provider, &wish.key).await;
    assert_eq!(tokens(world).await, (0, 1), "the user's group stays");
}

/// Requests that came to Keystone.
fn logins(world: &OpenstackWorld) -> usize {
    world.identity.log(0).len()
}

async fn a_new_token_is_had_when_one_is_refused(world: &OpenstackWorld) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let all = futures::future::join_all((0..8).map(|_| provider.list(Freshness::Live))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(logins(world), 1, "one login for all");
    let fault = super::refusal(401, "error", "The request you have made requires authentication.");
    world.compute.add(fault_proxy::Rule::on("*", fault).times(1));
    provider.list(Freshness::Live).await.unwrap();
    assert_eq!(logins(world), 2);
}

async fn a_wrong_secret_is_shown_once(world: &OpenstackWorld) {
    let provider = world.connect(Connect { wrong_credentials: true, ..Connect::default() }).await.unwrap();
    for _ in 0..5 {
        let error = failed(provider.list(Freshness::Live).await, &[ErrorKind::Auth]);
        assert!(!error.to_string().contains(super::WRONG));
    }
    assert_eq!(logins(world), 1, "clouds lock users out that try again and again");
}

async fn a_second_server_is_removed(world: &OpenstackWorld) {
    let wish = world.wish(key(1));
    let tags = [format!("innkeeper-{OWNER}"), format!("innkeeper-guest-{}", wish.key.guest)];
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(world.launch(&wish, &marks(&wish.key, OWNER), &tags).await);
    }
    let provider = world.connect(Connect::default()).await.unwrap();
    let kept = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap().provider_id;
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 1, "one VM for one guest");
    // Following the pool is enough, nobody has to ask for it.
    let _changes = provider.changes();
    eventually("the second one is removed", || async { (world.left(OWNER).await == [kept.clone()]).then_some(()) })
        .await;
    // And the first is marked as itself, so that a copy of it is told apart.
    eventually("it carries its own id", || async {
        let server = world.server(&kept).await?;
        (text(&server["metadata"]["innkeeper.server"]) == kept).then_some(())
    })
    .await;
    clear(&*provider, &wish.key).await;
}

async fn a_move_to_another_host_is_seen(world: &OpenstackWorld) {
    use futures::StreamExt as _;
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let before = lodge(&*provider, &wish).await;
    let mut changes = provider.changes();
    let path = format!("/servers/{}/action", before.provider_id);
    world.plane.admin.done(Method::POST, &path, json!({ "migrate": null })).await;
    let moved = eventually("it is moved", || async {
        let status = world.status(&before.provider_id).await;
        (status == "VERIFY_RESIZE").then_some(())
    });
    moved.await;
    // Its flavour is the wished one, so the move is confirmed.
    amended(&*provider, &wish).await;
    let after = until_power(&*provider, &wish.key, Power::Running).await;
    assert_eq!(after.provider_id, before.provider_id);
    assert_ne!(after.host, before.host);
    let told = tokio::time::timeout(crate::harness::soon(), async {
        while let Some(change) = changes.next().await {
            if matches!(&change, Change::Guest { name, .. } if *name == wish.key.name) {
                return true;
            }
        }
        false
    });
    assert!(told.await.unwrap());
    clear(&*provider, &wish.key).await;
}

async fn sleep_and_wake(world: &OpenstackWorld) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let id = lodge(&*provider, &wish).await.provider_id;
    provider.suspend(&wish.key).await.unwrap();
    until_power(&*provider, &wish.key, Power::Suspended).await;
    assert_eq!(provider.suspend(&wish.key).await.unwrap().power, Power::Suspended);
    provider.start(&wish).await.unwrap();
    assert_eq!(until_power(&*provider, &wish.key, Power::Running).await.provider_id, id);
    clear(&*provider, &wish.key).await;
}

async fn missing_flavours_are_named(world: &OpenstackWorld) {
    let types = vec!["m1.small".to_owned(), "m1.nonsense".to_owned()];
    let config = innkeeper::provider::openstack::OpenstackConfig { types, ..world.config(Connect::default()) };
    let provider = innkeeper::provider::openstack::OpenstackProvider::connect(config).unwrap();
    let inventory = provider.inventory().await.unwrap();
    assert_eq!(inventory.id, format!("{}@{}", world.plane.state.project, world.plane.state.region));
    let missing: Vec<_> = inventory.missing.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(missing, ["flavour m1.nonsense"]);
    // Another project behind the same credentials is not this pool.
    let expected = Some("another@RegionOne".to_owned());
    let config = innkeeper::provider::openstack::OpenstackConfig { expected, ..world.config(Connect::default()) };
    let provider = innkeeper::provider::openstack::OpenstackProvider::connect(config).unwrap();
    failed(provider.inventory().await, &[ErrorKind::Invalid]);
}
