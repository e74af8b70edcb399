//! From EC2's instances to guests, and from keys to tags and filters. Pure.

use std::net::IpAddr;

use aws_sdk_ec2::types::{Filter, Instance, InstanceNetworkInterface as Card, InstanceStateName, Tag};

use super::token;
use crate::provider::{Key, ObservedGuest, Owner, Power, Stage};

/// The tags that say whose an instance or volume is. EC2 sets them in the call that launches it.
pub(super) const OWNER: &str = "innkeeper.dev/owner";
/// The Guest's UID.
pub(super) const GUEST: &str = "innkeeper.dev/guest";
const INCARNATION: &str = "innkeeper.dev/incarnation";
const NAMESPACE: &str = "innkeeper.dev/namespace";
const NAME: &str = "innkeeper.dev/name";

/// An instance of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it shows.
    pub guest: ObservedGuest,
    /// When it was made, in milliseconds since 1970.
    pub made: i64,
}

impl Seen {
    /// Neither terminated nor on its way there.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.guest.power, Power::Terminating | Power::Terminated)
    }

    /// The same instance after a call answered its new state.
    pub(super) fn with_power(&self, power: Power) -> Self {
        let mut seen = self.clone();
        seen.guest.power = power;
        seen.guest.busy = is_moving(power);
        seen
    }
}

/// All tags of what is made for a guest.
pub(super) fn tags(owner: &Owner, key: &Key) -> Vec<Tag> {
    let tag = |name: &str, value: &str| Tag::builder().key(name).value(value).build();
    vec![
        tag("Name", &key.name),
        tag(OWNER, &owner.0),
        tag(GUEST, &key.guest),
        tag(INCARNATION, &key.incarnation.to_string()),
        tag(NAMESPACE, &key.namespace),
        tag(NAME, &key.name),
    ]
}

/// Everything of this owner.
pub(super) fn filter_owner(owner: &Owner) -> Vec<Filter> {
    vec![filter(OWNER, &owner.0)]
}

/// Everything of one guest.
pub(super) fn filter_guest(owner: &Owner, guest: &str) -> Vec<Filter> {
    vec![filter(OWNER, &owner.0), filter(GUEST, guest)]
}

fn filter(tag: &str, value: &str) -> Filter {
    // EC2 reads * and ? in a filter's value as wildcards unless they are escaped.
    let exact = value.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?");
    Filter::builder().name(format!("tag:{tag}")).values(exact).build()
}

/// Which incarnation of a guest the tags name.
pub(super) fn incarnation(tags: &[Tag]) -> Option<u32> {
    tags.iter().find(|tag| tag.key() == Some(INCARNATION))?.value()?.parse().ok()
}

/// The guest that the tags name. `None` where a tag is missing: then it is not ours.
fn key(owner: &Owner, tags: &[Tag]) -> Option<Key> {
    let value = |name: &str| tags.iter().find(|tag| tag.key() == Some(name)).and_then(Tag::value);
    (value(OWNER)? == owner.0).then_some(())?;
    Some(Key {
        guest: value(GUEST)?.to_owned(),
        incarnation: incarnation(tags)?,
        namespace: value(NAMESPACE)?.to_owned(),
        name: value(NAME)?.to_owned(),
    })
}

/// The instance as one of ours. `None` where it is foreign: marks missing, or copied along with somebody's "launch more
/// like this", which carries another client token.
pub(super) fn ours(owner: &Owner, instance: &Instance) -> Option<Seen> {
    let id = instance.instance_id()?;
    let key = key(owner, instance.tags())?;
    if !token::belongs(&key, instance.client_token()) {
        tracing::warn!(instance = id, guest = %key, "an instance carries our tags and was not launched by us: ignored");
        return None;
    }
    Some(seen(key, instance))
}

/// The instance as the VM of this guest.
pub(super) fn seen(key: Key, instance: &Instance) -> Seen {
    let power = power(instance.state().and_then(|state| state.name()));
    let vcpus = instance.cpu_options().and_then(|cpu| cpu.core_count()?.checked_mul(cpu.threads_per_core()?));
    let guest = ObservedGuest {
        instance_type: instance.instance_type().map(|kind| kind.as_str().to_owned()),
        vcpus: vcpus.and_then(|count| u32::try_from(count).ok()),
        addresses: addresses(instance),
        busy: is_moving(power),
        // RunInstances makes all of it or nothing.
        ..ObservedGuest::new(key, instance.instance_id().unwrap_or_default(), Stage::Complete, power)
    };
    Seen { guest, made: made(instance) }
}

/// A VM of which only the launch token's refusal tells: EC2 has terminated it and does not show it any more. Its id is
/// empty where EC2 does not name it.
pub(super) fn terminated(key: Key, words: &str) -> ObservedGuest {
    let is_id = |word: &&str| word.strip_prefix("i-").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit()));
    let id = words.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(is_id);
    ObservedGuest::new(key, id.unwrap_or_default(), Stage::Complete, Power::Terminated)
}

/// What a state of EC2 means.
pub(super) fn power(state: Option<&InstanceStateName>) -> Power {
    match state {
        Some(InstanceStateName::Pending) => Power::Starting,
        Some(InstanceStateName::Running) => Power::Running,
        Some(InstanceStateName::Stopping) => Power::Stopping,
        Some(InstanceStateName::Stopped) => Power::Stopped,
        Some(InstanceStateName::ShuttingDown) => Power::Terminating,
        Some(InstanceStateName::Terminated) => Power::Terminated,
        _ => Power::Unknown,
    }
}

pub(super) const fn is_moving(power: Power) -> bool {
    matches!(power, Power::Starting | Power::Stopping | Power::Terminating)
}

/// When the instance was made. Its launch time is that of the last start, so the attachments of its first network
/// interface and disk are asked too.
fn made(instance: &Instance) -> i64 {
    let interfaces = instance.network_interfaces().iter().filter_map(|nic| nic.attachment()?.attach_time());
    let disks = instance.block_device_mappings().iter().filter_map(|disk| disk.ebs()?.attach_time());
    let times = instance.launch_time().into_iter().chain(interfaces).chain(disks);
    times.filter_map(|time| time.to_millis().ok()).min().unwrap_or(i64::MAX)
}

/// Private addresses first, in the order of the cards, then public ones; each once.
fn addresses(instance: &Instance) -> Vec<IpAddr> {
    let cards = instance.network_interfaces();
    let card_v4 = cards.iter().flat_map(Card::private_ip_addresses).filter_map(|ip| ip.private_ip_address());
    let card_v6 = cards.iter().flat_map(Card::ipv6_addresses).filter_map(|ip| ip.ipv6_address());
    let private = instance.private_ip_address().into_iter().chain(card_v4).chain(card_v6);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in private.chain(instance.public_ip_address()).filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Which of one key's instances is the guest's VM, and which should not be there: of several live ones the oldest is
/// kept and the others are surplus, so that every reader chooses the same. Without a live one the last made counts.
pub(super) fn choose<'a>(all: impl IntoIterator<Item = &'a Seen>) -> (Option<&'a Seen>, Vec<&'a Seen>) {
    let age = |seen: &&Seen| (seen.made, seen.guest.provider_id.clone());
    let (mut live, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|seen| seen.is_live());
    live.sort_by_key(age);
    if live.is_empty() {
        return (gone.into_iter().max_by_key(age), Vec::new());
    }
    let kept = live.remove(0);
    (Some(kept), live)
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
