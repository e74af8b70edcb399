use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    pool::orphans::{Orphan, Why},
    provider::{GuestUse, Key, MemoryOverhead, ObservedGuest, Power, Stage},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn gib(n: u64) -> Bytes {
    Bytes(n << 30)
}

fn pool() -> CloudPool {
    serde_json::from_value(json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool", "metadata": { "name": "xen", "generation": 7 },
        "spec": {
            "provider": { "xapi": { "endpoints": [], "credentialsSecretRef": { "namespace": "a", "name": "b" } } },
            "location": { "jurisdiction": "GB" },
            "pricing": { "owned": { "currency": "EUR", "monthlyRunningCost": "100" } },
        },
    }))
    .unwrap()
}

fn host(name: &str, schedulable: bool, guests: &[(&str, u64)]) -> HostInventory {
    HostInventory {
        id: format!("id-of-{name}"),
        name: name.into(),
        schedulable,
        reason: (!schedulable).then(|| "it is disabled".into()),
        cpus: 8,
        memory_total: gib(34),
        memory_overhead: gib(2),
        memory_others: gib(4),
        vcpus_others: 3,
        guests_others: 2,
        guests: guests.iter().map(|(uid, n)| GuestUse { guest: (*uid).into(), memory: gib(*n), vcpus: 2 }).collect(),
    }
}

fn inventory() -> Inventory {
    Inventory {
        id: "pool-uuid".into(),
        version: "26.17".into(),
        hosts: vec![host("xen1", true, &[("ours", 8), ("nobodys", 6)]), host("xen2", false, &[])],
        overhead: MemoryOverhead { fixed: Bytes(1), per_vcpu: Bytes(2), memory_divisor: 128 },
        images: Vec::new(),
        offerings: Vec::new(),
        prices: None,
        missing: Vec::new(),
    }
}

fn facts(inventory: Result<Inventory, Trouble>) -> Facts {
    Facts { now: at(0), bound: ["ours".to_owned()].into(), inventory, orphans: Some(Vec::new()), set_aside: Vec::new() }
}

fn down(kind: ErrorKind) -> Facts {
    Facts { orphans: None, ..facts(Err(Trouble { kind, message: "cannot log in: no".into() })) }
}

fn orphan(id: &str) -> Orphan {
    let key = Key { guest: id.into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
    let vm = ObservedGuest::new(key, id, Stage::Complete, Power::Running);
    Orphan { vm, why: Why::NoGuest }
}

/// The pool with this status.
fn with(status: CloudPoolStatus) -> CloudPool {
    CloudPool { status: Some(status), ..pool() }
}

#[track_caller]
fn says(status: &CloudPoolStatus, kind: Kind) -> (String, String, String) {
    let found = condition::find(&status.conditions, kind).unwrap_or_else(|| panic!("no {kind}: {status:#?}"));
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

fn has(status: &CloudPoolStatus, kind: Kind) -> bool {
    condition::find(&status.conditions, kind).is_some()
}

#[test]
fn a_pool_that_answers() {
    let status = status(&pool(), &facts(Ok(inventory())));
    let provider = status.provider.clone().unwrap();
    assert_eq!((provider.kind.as_str(), provider.id.as_deref()), ("xapi", Some("pool-uuid")));
    assert_eq!((status.guests, status.observed_generation), (1, Some(7)));
    assert_eq!(status.guest_overhead.as_ref().unwrap().memory_divisor, 128);
    assert_eq!(says(&status, Kind::Ready).0, "True");
    assert_eq!(says(&status, Kind::CredentialsValid).0, "True");
    assert!(!has(&status, Kind::Reconciling) && !has(&status, Kind::Stalled) && !has(&status, Kind::OrphansFound));
    // 32 GiB without the hypervisor's, less 4 of others and 14 of guests; the disabled host has nothing to give.
    assert_eq!(status.summary.as_deref(), Some(format!("{} on 1 of 2 hosts", gib(14).human()).as_str()));
    let again = super::status(&with(status.clone()), &Facts { now: at(900), ..facts(Ok(inventory())) });
    assert_eq!(again, status, "nothing new a quarter of an hour later");
}

#[test]
fn vms_of_nobody_take_room_as_others_do() {
    let status = status(&pool(), &facts(Ok(inventory())));
    let host = &status.hosts[0];
    assert_eq!((host.memory, host.allocatable_memory), (gib(32), gib(32 - 4 - 6)));
    assert_eq!(host.vcpus_others, 3 + 2);
    assert_eq!((status.hosts[1].schedulable, status.hosts[1].reason.as_deref()), (false, Some("it is disabled")));
}

#[test]
fn a_pool_that_rents_has_no_hosts_and_no_overhead() {
    let mut pool = pool();
    pool.spec.provider.xapi = None;
    let rented = Inventory { id: "eu-west-1".into(), hosts: Vec::new(), ..inventory() };
    let status = status(&pool, &facts(Ok(rented)));
    assert_eq!((status.provider.unwrap().kind.as_str(), status.summary, status.guest_overhead), ("ec2", None, None));
}

#[test]
fn what_was_last_known_is_kept_while_a_pool_does_not_answer() {
    let known = status(&pool(), &Facts { orphans: Some(vec![orphan("vm-1")]), ..facts(Ok(inventory())) });
    let lost = status(&with(known.clone()), &down(ErrorKind::Unavailable));
    assert_eq!((&lost.hosts, &lost.provider, &lost.orphans), (&known.hosts, &known.provider, &known.orphans));
    assert_eq!(says(&lost, Kind::OrphansFound), says(&known, Kind::OrphansFound));
    assert_eq!(says(&lost, Kind::Reachable).0, "False");
}

#[test]
fn each_kind_of_failure_has_its_conditions() {
    for (kind, reachable, credentials, reason, whose) in [
        (ErrorKind::Auth, "True", "False", "CredentialsRefused", Kind::Stalled),
        (ErrorKind::NotFound, "False", "Unknown", "NotConnectable", Kind::Stalled),
        (ErrorKind::Invalid, "False", "Unknown", "NotConnectable", Kind::Stalled),
        (ErrorKind::Unavailable, "False", "Unknown", "Unavailable", Kind::Reconciling),
        (ErrorKind::Throttled, "True", "Unknown", "Throttled", Kind::Reconciling),
        (ErrorKind::UnknownOutcome, "False", "Unknown", "UnknownOutcome", Kind::Reconciling),
    ] {
        let status = status(&pool(), &down(kind));
        assert_eq!(says(&status, Kind::Reachable).0, reachable, "{kind}");
        assert_eq!(says(&status, Kind::CredentialsValid).0, credentials, "{kind}");
        assert_eq!(says(&status, Kind::Ready), ("False".into(), reason.into(), "cannot log in: no".into()), "{kind}");
        assert_eq!(says(&status, whose).0, "True", "{kind}");
        assert!(down(kind).again().is_some_and(|again| again >= std::time::Duration::from_secs(5)));
    }
    assert_eq!(facts(Ok(inventory())).again(), None);
}

#[test]
fn a_pool_that_is_deleted_waits_for_its_guests() {
    let mut pool = pool();
    pool.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    let status = status(&pool, &facts(Ok(inventory())));
    let (is, reason, message) = says(&status, Kind::Ready);
    assert_eq!((is.as_str(), reason.as_str()), ("False", "GuestsRemain"));
    assert!(message.contains("1 for now"), "{message}");
    assert_eq!(says(&status, Kind::Reconciling).1, "GuestsRemain");
}

#[test]
fn vms_of_nobody_are_listed_announced_once_and_forgotten_when_gone() {
    let found =
        |ids: &[&str]| Facts { orphans: Some(ids.iter().map(|id| orphan(id)).collect()), ..facts(Ok(inventory())) };
    let well = with(status(&pool(), &facts(Ok(inventory()))));
    let one = status(&well, &found(&["vm-1"]));
    assert_eq!((one.orphans[0].provider_id.as_str(), one.orphans[0].guest.as_str()), ("vm-1", "shop/web-0"));
    assert_eq!(says(&one, Kind::Ready).0, "True", "the pool itself is well");
    assert!(says(&one, Kind::OrphansFound).2.contains("vm-1 (shop/web-0)"));
    let announced: Vec<_> = news(&well, &one).into_iter().map(|news| (news.warning, news.reason)).collect();
    assert_eq!(announced, [(true, "OrphansFound".to_owned())]);
    let known = with(one.clone());
    assert_eq!(status(&known, &found(&["vm-1"])), one);
    assert!(news(&known, &one).is_empty());
    assert_eq!(news(&known, &status(&known, &found(&["vm-1", "vm-2"]))).len(), 1, "another one");
    let gone = status(&known, &found(&[]));
    assert!(gone.orphans.is_empty() && !has(&gone, Kind::OrphansFound) && news(&known, &gone).is_empty());
}

#[test]
fn a_pool_is_announced_when_it_becomes_ready_and_when_it_ceases_to_be() {
    let well = status(&pool(), &facts(Ok(inventory())));
    let first = news(&pool(), &well);
    assert_eq!((first.len(), first[0].warning, first[0].reason.as_str()), (1, false, "PoolReady"));
    assert!(news(&with(well.clone()), &well).is_empty());
    let lost = status(&with(well.clone()), &down(ErrorKind::Unavailable));
    let second = news(&with(well), &lost);
    assert_eq!((second[0].warning, second[0].reason.as_str()), (true, "PoolNotReady"));
}

#[test]
fn types_without_room_keep_their_time_while_it_is_about_the_same() {
    let aside = |seconds| OfferingAside {
        instance_type: "t3.small".into(),
        zone: None,
        spot: false,
        remaining: std::time::Duration::from_secs(seconds),
        code: "InsufficientInstanceCapacity".into(),
    };
    let mut pool = pool();
    let mut facts = facts(Ok(inventory()));
    facts.set_aside = vec![aside(180)];
    pool.status = Some(status(&pool, &facts));
    let first = pool.status.clone().unwrap().set_aside;
    assert_eq!((first[0].instance_type.as_str(), first[0].until.0), ("t3.small", at(180)));
    facts.set_aside = vec![aside(178)];
    assert_eq!(status(&pool, &facts).set_aside, first);
    facts.set_aside = vec![aside(360)];
    assert_eq!(status(&pool, &facts).set_aside[0].until.0, at(360));
    facts.set_aside.clear();
    assert!(status(&pool, &facts).set_aside.is_empty());
}

fn catalogue_pool() -> CloudPool {
    let mut pool = pool();
    pool.spec.pricing = serde_json::from_value(json!({ "payPerUse": {
        "currency": "USD",
        "source": "Catalogue",
        "instanceTypes": [
            { "name": "m7i.large", "vcpus": 2, "memory": "8Gi", "hourly": "0.05" },
            { "name": "own.large", "vcpus": 4, "memory": "8Gi", "hourly": "0.2", "spotHourly": "0.1" },
        ],
    }}))
    .unwrap();
    pool
}

fn offering(name: &str, price: Option<&str>, spot: Option<&str>) -> OfferingFact {
    let money = |text: &str| Money { amount: text.parse().unwrap(), currency: "USD".parse().unwrap() };
    OfferingFact {
        instance_type: name.into(),
        vcpus: 2,
        memory: gib(8),
        zones: vec!["a".into(), "b".into()],
        hourly: price.map(money),
        spot_hourly: spot.map(money),
    }
}

#[test]
fn offerings_are_the_catalogues_with_the_pools_own_prices() {
    let mut inventory = inventory();
    inventory.offerings = vec![
        offering("c7i.large", Some("0.09"), None),
        offering("m7i.large", Some("0.1"), Some("0.03")),
        offering("x9.large", None, Some("0.3")),
    ];
    let pool = catalogue_pool();
    let status = status(&pool, &facts(Ok(inventory.clone())));
    let rows: Vec<_> = status
        .offerings
        .iter()
        .map(|row| {
            let spot = row.spot_hourly.map(|amount| amount.to_string());
            (row.instance_type.as_str(), row.zones.len(), row.hourly.to_string(), spot)
        })
        .collect();
    let own = |text: &str| text.to_owned();
    assert_eq!(
        rows,
        [
            ("m7i.large", 2, own("0.05"), Some(own("0.03"))),
            ("c7i.large", 2, own("0.09"), None),
            ("own.large", 0, own("0.2"), Some(own("0.1"))),
        ]
    );
    let silent = down(ErrorKind::Unavailable);
    assert_eq!(super::status(&with_spec(&pool, status.clone()), &silent).offerings, status.offerings, "still the best");
    let written = super::status(&super::tests::pool(), &facts(Ok(inventory.clone())));
    assert_eq!(written.offerings, [], "a written table stands in the spec");
    inventory.offerings = (0..900).map(|n| offering(&format!("t{n:03}.large"), Some("0.3"), None)).collect();
    assert_eq!(super::status(&pool, &facts(Ok(inventory))).offerings.len(), 512);
}

fn with_spec(pool: &CloudPool, status: CloudPoolStatus) -> CloudPool {
    CloudPool { status: Some(status), ..pool.clone() }
}

#[test]
fn what_is_not_permitted_is_a_condition_while_it_is_not() {
    let mut inventory = inventory();
    inventory.missing = vec![Missing {
        what: "ec2:StopInstances".into(),
        why: "guests cannot be stopped; add it to the policy".into(),
    }];
    let told = status(&pool(), &facts(Ok(inventory)));
    let (status, reason, message) = says(&told, Kind::PermissionsComplete);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "PermissionsMissing"));
    assert_eq!(message, "ec2:StopInstances: guests cannot be stopped; add it to the policy");
    assert_eq!(says(&told, Kind::Ready).0, "True", "what it permits can be used");
    let silent = super::status(&with(told.clone()), &down(ErrorKind::Unavailable));
    assert!(has(&silent, Kind::PermissionsComplete), "nothing new is known");
    assert!(!has(&super::status(&with(told), &facts(Ok(super::tests::inventory()))), Kind::PermissionsComplete));
}

#[test]
fn a_quota_is_a_condition_until_something_is_launched() {
    let aside = |name: &str, code: &str| OfferingAside {
        instance_type: name.into(),
        zone: None,
        spot: false,
        remaining: std::time::Duration::from_mins(3),
        code: code.into(),
    };
    let mut facts = facts(Ok(inventory()));
    facts.set_aside = vec![aside("t3.small", "InsufficientInstanceCapacity")];
    assert!(!has(&status(&pool(), &facts), Kind::QuotaExceeded), "that is no quota");
    facts.set_aside.extend([aside("t3.large", "VcpuLimitExceeded"), aside("m7i.large", "VcpuLimitExceeded")]);
    let (is, reason, message) = says(&status(&pool(), &facts), Kind::QuotaExceeded);
    assert_eq!((is.as_str(), reason.as_str()), ("True", "VcpuLimitExceeded"));
    assert!(message.contains("no more vCPUs") && message.contains("m7i.large, t3.large"), "{message}");
}

#[test]
fn how_many_guests_there_are_waits_for_its_turn() {
    let old = status(&pool(), &facts(Ok(inventory())));
    let more = CloudPoolStatus { guests: old.guests + 1, summary: Some("less is free".into()), ..old.clone() };
    assert!(!is_turn(Some(&old), &more) && is_turn(Some(&old), &old.clone()) && is_turn(None, &old));
    let mut hosts = more;
    hosts.hosts[0].schedulable = !hosts.hosts[0].schedulable;
    assert!(is_turn(Some(&old), &hosts), "who decides on places needs to know that");
}
