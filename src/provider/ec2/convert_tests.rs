use aws_sdk_ec2::types::{CpuOptions, InstanceState, InstanceType};
use aws_smithy_types::DateTime;

use super::*;
use crate::provider::rented::snapshot::choose;

fn owner() -> Owner {
    Owner("cluster-1".into())
}

fn a_key() -> Key {
    Key { guest: "uid-1".into(), incarnation: 3, namespace: "shop".into(), name: "web-0".into() }
}

fn instance(token: &str, tags: Vec<Tag>) -> Instance {
    Instance::builder()
        .instance_id("i-1")
        .set_tags(Some(tags))
        .client_token(token)
        .instance_type(InstanceType::from("m7i.large"))
        .state(InstanceState::builder().name(InstanceStateName::Running).build())
        .cpu_options(CpuOptions::builder().core_count(1).threads_per_core(2).build())
        .launch_time(DateTime::from_secs(1_700_000_000))
        .private_ip_address("10.0.0.5")
        .public_ip_address("203.0.113.5")
        .build()
}

#[test]
fn reads_back_what_it_wrote() {
    let token = token::client_token(&a_key(), &["m7i.large"]);
    let seen = ours(&owner(), &instance(&token, tags(&owner(), &a_key()))).unwrap();
    assert_eq!(seen.guest.key, a_key());
    assert_eq!(seen.guest.power, Power::Running);
    assert_eq!(seen.guest.vcpus, Some(2));
    assert_eq!(seen.guest.instance_type.as_deref(), Some("m7i.large"));
    let addresses: Vec<String> = seen.guest.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.5", "203.0.113.5"]);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let token = token::client_token(&a_key(), &["m7i.large"]);
    let other = Owner("cluster-2".into());
    assert_eq!(ours(&other, &instance(&token, tags(&owner(), &a_key()))), None, "another cluster's");
    assert_eq!(ours(&owner(), &instance("console-copy", tags(&owner(), &a_key()))), None, "a copy with our tags");
    for missing in [OWNER, GUEST, INCARNATION, NAMESPACE, NAME] {
        let mut tags = tags(&owner(), &a_key());
        tags.retain(|tag| tag.key() != Some(missing));
        assert_eq!(ours(&owner(), &instance(&token, tags)), None, "without {missing}");
    }
}

#[test]
fn wildcards_in_a_filter_mean_themselves() {
    let filters = filter_owner(&Owner(r"a*b?c\d".into()));
    assert_eq!(filters[0].values(), [r"a\*b\?c\\d"]);
}

fn seen(id: &str, made: i64, power: Power) -> Seen {
    let token = token::client_token(&a_key(), &["m7i.large"]);
    let mut seen = ours(&owner(), &instance(&token, tags(&owner(), &a_key()))).unwrap().with_power(power);
    seen.guest.provider_id = id.into();
    seen.made = made;
    seen
}

#[test]
fn the_oldest_live_one_is_kept() {
    let all = [
        seen("i-gone", 1, Power::Terminated),
        seen("i-young", 30, Power::Running),
        seen("i-old", 20, Power::Stopped),
        seen("i-going", 10, Power::Terminating),
    ];
    let (kept, surplus) = choose(&all);
    assert_eq!(kept.unwrap().guest.provider_id, "i-old");
    assert_eq!(surplus.iter().map(|seen| seen.guest.provider_id.as_str()).collect::<Vec<_>>(), ["i-young"]);
}

#[test]
fn without_a_live_one_the_last_counts() {
    let all = [seen("i-1", 1, Power::Terminated), seen("i-2", 2, Power::Terminated)];
    assert_eq!(choose(&all).0.unwrap().guest.provider_id, "i-2");
    assert_eq!(choose::<Seen>(&[]), (None, Vec::new()));
}
