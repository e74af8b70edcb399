use aws_sdk_ec2::types::{InstanceType, MemoryInfo, VCpuInfo};
use aws_smithy_types::DateTime;

use super::*;
use crate::provider::{Owner, ec2::Credentials};

fn info(name: &str, vcpus: i32, gib: i64) -> InstanceTypeInfo {
    InstanceTypeInfo::builder()
        .instance_type(InstanceType::from(name))
        .v_cpu_info(VCpuInfo::builder().default_v_cpus(vcpus).build())
        .memory_info(MemoryInfo::builder().size_in_mib(gib << 10).build())
        .supported_usage_classes(UsageClassType::OnDemand)
        .supported_usage_classes(UsageClassType::Spot)
        .bare_metal(name.contains("metal"))
        .build()
}

fn spot(name: &str, zone: &str, price: &str, second: i64) -> SpotPrice {
    SpotPrice::builder()
        .instance_type(InstanceType::from(name))
        .availability_zone(zone)
        .spot_price(price)
        .timestamp(DateTime::from_secs(second))
        .build()
}

fn set(zones: &[&str]) -> BTreeSet<String> {
    zones.iter().map(|zone| (*zone).to_owned()).collect()
}

fn offered() -> BTreeMap<String, BTreeSet<String>> {
    [("m7i.large", set(&["a", "b", "c"])), ("c7i.large", set(&["c"])), ("m7i.metal-24xl", set(&["a"]))]
        .map(|(name, zones)| (name.to_owned(), zones))
        .into()
}

fn types() -> Vec<InstanceTypeInfo> {
    vec![info("m7i.large", 2, 8), info("c7i.large", 2, 4), info("m7i.metal-24xl", 96, 384), info("r7i.large", 2, 16)]
}

fn names(catalogue: &Catalogue) -> Vec<(String, Vec<String>)> {
    catalogue.offerings("eu-west-1").into_iter().map(|one| (one.instance_type, one.zones)).collect()
}

#[test]
fn what_a_zone_of_ours_has_is_on_offer() {
    let now = Instant::now();
    let mut catalogue = Catalogue::default();
    catalogue.learn_types(&types(), &offered(), Some(&set(&["a", "b"])), now);
    assert_eq!(names(&catalogue), [("m7i.large".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    catalogue.learn_types(&types(), &offered(), None, now);
    let free: Vec<_> = names(&catalogue).into_iter().map(|(name, zones)| (name, zones.len())).collect();
    assert_eq!(free, [("m7i.large".to_owned(), 0), ("c7i.large".to_owned(), 0)], "EC2 chooses the zone");
    let [m7i, _] = &catalogue.offerings("eu-west-1")[..] else { panic!() };
    assert_eq!((m7i.vcpus, m7i.memory, m7i.spot_hourly), (2, Bytes::gib(8), None));
    assert!(m7i.hourly.is_some());
    assert_eq!(catalogue.offerings("nowhere-1")[0].hourly, None, "no price is no price");
}

#[test]
fn the_newest_spot_price_in_the_dearest_zone_counts() {
    let now = Instant::now();
    let mut catalogue = Catalogue::default();
    catalogue.learn_types(&types(), &offered(), Some(&set(&["a", "b"])), now);
    let price =
        |catalogue: &Catalogue| catalogue.offerings("eu-west-1")[0].spot_hourly.map(|money| money.amount.to_string());
    let first = [spot("m7i.large", "a", "0.0312", 5), spot("m7i.large", "a", "0.9", 1), spot("m7i.large", "c", "2", 1)];
    catalogue.learn_spot(&first, now);
    assert_eq!(price(&catalogue), None, "zone b has none");
    let both = [&first[..], &[spot("m7i.large", "b", "0.0449", 5)]].concat();
    catalogue.learn_spot(&both, now);
    assert_eq!(price(&catalogue).as_deref(), Some("0.045"));
    let little = [&first[..], &[spot("m7i.large", "b", "0.0451", 6)]].concat();
    catalogue.learn_spot(&little, now);
    assert_eq!(price(&catalogue).as_deref(), Some("0.045"), "a little change is none");
}

#[test]
fn is_read_seldom() {
    let now = Instant::now();
    let mut catalogue = Catalogue::default();
    assert!(catalogue.are_types_due(now) && catalogue.is_spot_due(now));
    catalogue.failed(now);
    assert!(!catalogue.are_types_due(now + AGAIN / 2) && catalogue.are_types_due(now + AGAIN));
    catalogue.learn_types(&types(), &offered(), None, now);
    catalogue.learn_spot(&[], now);
    assert!(!catalogue.are_types_due(now + TYPES / 2) && !catalogue.is_spot_due(now + SPOT / 2));
    assert!(catalogue.are_types_due(now + TYPES) && catalogue.is_spot_due(now + SPOT));
}

#[test]
fn subnets_say_in_which_zones_guests_can_be() {
    let subnet = |zone: &str| Subnet::builder().availability_zone(zone).build();
    let config = Ec2Config::new("eu-west-1", Credentials::DefaultChain, Owner("o".into()));
    let own = Ec2Config { default_subnet: Some("subnet-1".into()), ..config.clone() };
    let wanted = Wanted::default();
    assert_eq!(zones(&config, &wanted, &[subnet("a"), subnet("b")]), Some(set(&["a", "b"])), "the account's own");
    assert_eq!(zones(&own, &wanted, &[subnet("a")]), Some(set(&["a"])));
    let two = Wanted { subnets: vec!["subnet-2".into()], ..Wanted::default() };
    assert_eq!(zones(&own, &two, &[subnet("a"), subnet("b")]), None, "it depends on the guest");
    assert_eq!(zones(&config, &wanted, &[]), None);
}

#[test]
fn families_are_whole_words() {
    assert_eq!(patterns(&Wanted { families: vec!["m7i".into()], ..Wanted::default() }), ["m7i.*"]);
    assert!(patterns(&Wanted::default()).contains(&"t3.*".to_owned()));
}
