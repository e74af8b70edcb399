//! From EC2's instances to guests, and from keys to tags and filters. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use aws_sdk_ec2::types::{
    Filter, Instance, InstanceLifecycleType, InstanceNetworkInterface as Card, InstanceStateName, Tag,
};
use jiff::Timestamp;

use super::token;
use crate::provider::{Key, ObservedGuest, Owner, Power, Stage, rented::snapshot::Rented};

/// The tags that say whose an instance or volume is. EC2 sets them in the call that launches it.
pub(super) const OWNER: &str = "innkeeper.dev/owner";
/// The Guest's UID.
pub(super) const GUEST: &str = "innkeeper.dev/guest";
const INCARNATION: &str = "innkeeper.dev/incarnation";
const NAMESPACE: &str = "innkeeper.dev/namespace";
const NAME: &str = "innkeeper.dev/name";
/// On an instance that was not launched by us: its own id, so that a copy of it, tags and all, is not taken for it.
pub(super) const ADOPTED: &str = "innkeeper.dev/adopted";
/// On an instance whose termination protection we switched on. With [`SETTING`] we were about to.
pub(super) const PROTECTED: &str = "innkeeper.dev/protected";
pub(super) const SETTING: &str = "setting";
pub(super) const SET: &str = "yes";
/// On a volume: what the guest calls the disk. Volumes that are made with their instance cannot be told apart by tags, so
/// the instance carries one for each, with the device's name at its end.
pub(super) const DISK: &str = "innkeeper.dev/disk";

/// The tags that make an instance or a volume ours, for when it is given up.
pub(super) const MARKS: [&str; 8] = [OWNER, GUEST, INCARNATION, NAMESPACE, NAME, ADOPTED, PROTECTED, DISK];

/// The disk that a guest boots from, in the guest's words.
pub(super) const ROOT: &str = "root";

/// A volume as its instance shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub volume: String,
    pub device: String,
    /// It is deleted when the instance is terminated.
    pub goes_along: bool,
}

/// An instance of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it shows.
    pub guest: ObservedGuest,
    /// When it was made, in milliseconds since 1970.
    pub made: i64,
    /// Its volumes.
    pub volumes: Vec<Attached>,
    /// The device that it boots from.
    pub root_device: Option<String>,
    /// What the disks are called that were made with it, by device.
    pub disk_names: BTreeMap<String, String>,
    /// EC2 may take it back.
    pub spot: bool,
    /// How far we have come in switching its termination protection on.
    pub protection: Option<String>,
}

impl Seen {
    /// An instance of which nothing else is known.
    pub(super) const fn new(guest: ObservedGuest, made: i64) -> Self {
        Self {
            guest,
            made,
            volumes: Vec::new(),
            root_device: None,
            disk_names: BTreeMap::new(),
            spot: false,
            protection: None,
        }
    }

    /// What the disk at this device is called, as far as the instance tells.
    pub(super) fn disk_at(&self, device: &str) -> Option<&str> {
        if self.root_device.as_deref() == Some(device) {
            return Some(ROOT);
        }
        self.disk_names.get(device).map(String::as_str)
    }

    /// The same instance after a call answered its new state.
    pub(super) fn with_power(&self, power: Power) -> Self {
        let mut seen = self.clone();
        seen.guest.power = power;
        seen.guest.busy = is_moving(power);
        seen
    }
}

impl Rented for Seen {
    fn guest(&self) -> &ObservedGuest {
        &self.guest
    }

    fn made(&self) -> i64 {
        self.made
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

/// The tag that says what the disk at a device is called, on the instance that it is made with.
pub(super) fn disk_tag(device: &str, name: &str) -> Tag {
    Tag::builder().key(format!("{DISK}{device}")).value(name).build()
}

/// Everything of this owner.
pub(super) fn filter_owner(owner: &Owner) -> Vec<Filter> {
    vec![filter(OWNER, &owner.0)]
}

/// Everything of one guest.
pub(super) fn filter_guest(owner: &Owner, guest: &str) -> Vec<Filter> {
    vec![filter(OWNER, &owner.0), filter(GUEST, guest)]
}

/// One instance by its id.
pub(super) fn filter_instance(id: &str) -> Vec<Filter> {
    vec![Filter::builder().name("instance-id").values(id).build()]
}

fn filter(tag: &str, value: &str) -> Filter {
    // EC2 reads * and ? in a filter's value as wildcards unless they are escaped.
    let exact = value.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?");
    Filter::builder().name(format!("tag:{tag}")).values(exact).build()
}

/// A tag's value.
pub(super) fn tag<'t>(tags: &'t [Tag], name: &str) -> Option<&'t str> {
    tags.iter().find(|tag| tag.key() == Some(name)).and_then(Tag::value)
}

/// Which incarnation of a guest the tags name.
pub(super) fn incarnation(tags: &[Tag]) -> Option<u32> {
    tag(tags, INCARNATION)?.parse().ok()
}

/// The guest that the tags name. `None` where a tag is missing: then it is not ours.
pub(super) fn key(owner: &Owner, tags: &[Tag]) -> Option<Key> {
    let value = |name: &str| tag(tags, name);
    (value(OWNER)? == owner.0).then_some(())?;
    Some(Key {
        guest: value(GUEST)?.to_owned(),
        incarnation: incarnation(tags)?,
        namespace: value(NAMESPACE)?.to_owned(),
        name: value(NAME)?.to_owned(),
    })
}

/// The instance as one of ours. `None` where it is foreign: marks missing, or copied along with somebody's "launch more
/// like this", which carries another client token or the id of another adopted instance.
pub(super) fn ours(owner: &Owner, instance: &Instance) -> Option<Seen> {
    let id = instance.instance_id()?;
    let key = key(owner, instance.tags())?;
    let is_itself = match tag(instance.tags(), ADOPTED) {
        Some(adopted) => adopted == id,
        None => token::belongs(&key, instance.client_token()),
    };
    if !is_itself {
        tracing::warn!(instance = id, guest = %key, "an instance carries our tags and is a copy: ignored");
        return None;
    }
    Some(seen(key, instance))
}

/// The instance as the VM of this guest.
pub(super) fn seen(key: Key, instance: &Instance) -> Seen {
    let power = power(instance.state().and_then(|state| state.name()));
    let vcpus = instance.cpu_options().and_then(|cpu| cpu.core_count()?.checked_mul(cpu.threads_per_core()?));
    let guest = ObservedGuest {
        zone: instance.placement().and_then(|place| place.availability_zone()).map(str::to_owned),
        instance_type: instance.instance_type().map(|kind| kind.as_str().to_owned()),
        vcpus: vcpus.and_then(|count| u32::try_from(count).ok()),
        protected: Some(tag(instance.tags(), PROTECTED) == Some(SET)),
        started_at: instance.launch_time().and_then(|time| Timestamp::from_millisecond(time.to_millis().ok()?).ok()),
        interrupted_at: interrupted_at(instance),
        addresses: addresses(instance),
        busy: is_moving(power),
        // RunInstances makes all of it or nothing.
        ..ObservedGuest::new(key, instance.instance_id().unwrap_or_default(), Stage::Complete, power)
    };
    let attached = instance.block_device_mappings().iter().filter_map(|mapping| {
        let (device, ebs) = (mapping.device_name()?.to_owned(), mapping.ebs()?);
        let goes_along = ebs.delete_on_termination().unwrap_or(false);
        Some(Attached { volume: ebs.volume_id()?.to_owned(), device, goes_along })
    });
    let named = instance.tags().iter().filter_map(|tag| {
        let device = tag.key()?.strip_prefix(DISK)?;
        device.starts_with('/').then(|| Some((device.to_owned(), tag.value()?.to_owned())))?
    });
    Seen {
        volumes: attached.collect(),
        root_device: instance.root_device_name().map(str::to_owned),
        disk_names: named.collect(),
        spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        protection: tag(instance.tags(), PROTECTED).map(str::to_owned),
        ..Seen::new(guest, made(instance))
    }
}

/// When EC2 took the instance back. That it is about to is not among what a list of instances shows: see [`super::spot`].
fn interrupted_at(instance: &Instance) -> Option<Timestamp> {
    let code = instance.state_reason()?.code()?;
    if !matches!(code, "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown") {
        return None;
    }
    // Service initiated (2026-11-25 13:05:00 GMT)
    let said = instance.state_transition_reason().and_then(|words| {
        let time = words.split_once('(')?.1.split_once(" GMT)")?.0;
        format!("{}Z", time.replacen(' ', "T", 1)).parse().ok()
    });
    let started = || Timestamp::from_millisecond(instance.launch_time()?.to_millis().ok()?).ok();
    said.or_else(started)
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

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
