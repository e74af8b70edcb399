//! The hard rules, each by its name. A rule that fails says what was wanted, what there is and what is short.
//!
//! Rules about the pool alone are here; rules about what else lives there are asked of the [`super::ledger`].

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    inventory::{Capacity, Effect, Health, Pool, Tenancy},
    request::{Burst, GuestState, Isolation, Policy},
};

/// A hard rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Rule {
    /// The guest's selector names the pool.
    PoolSelector,
    /// The pool's country is one that the guest allows.
    Jurisdiction,
    /// The pool may keep the guest's class of data.
    DataClass,
    /// The pool holds the certificates.
    Certification,
    /// The guest's namespace may use the pool.
    Tenancy,
    /// The guest tolerates the pool's taints.
    Taint,
    /// The image is there.
    Image,
    /// The networks are there.
    Network,
    /// The storage is there.
    Storage,
    /// Paid capacity only as the guest's burst rule has it.
    Burst,
    /// The pool takes guests.
    Cordoned,
    /// The pool can be worked with.
    Health,
    /// The pool has not refused this guest just now.
    Refused,
    /// A guest stays in the pool that it is bound to.
    Bound,
    /// An instance type that is large enough, is sold and has not just been refused.
    Offering,
    /// Capacity that the provider can take back only for guests that allow it.
    Spot,
    /// Fewer guests than the pool's limit.
    GuestLimit,
    /// vCPUs, of a host or within the pool's limit.
    Vcpus,
    /// Memory, of a host or within the pool's limit.
    Memory,
    /// Another counted thing, such as virtual GPUs.
    Resource,
    /// Within what the pool may spend.
    MonthlySpend,
    /// Within what the workload may cost.
    Budget,
    /// Hosts shared only with the same tenant.
    DedicatedHost,
    /// Spread over places.
    Spread,
    /// Near to other guests.
    Near,
    /// Apart from other guests.
    Apart,
}

impl Rule {
    /// Whether a guest that is there already may not stay where the rule fails: it is about what may be, not about who
    /// may come.
    #[must_use]
    pub fn binds_residents(self) -> bool {
        matches!(self, Self::PoolSelector | Self::Jurisdiction | Self::DataClass | Self::Certification | Self::Tenancy)
    }

    /// Whether the rule may hold later although nothing is changed in manifests: it is about room, not permission.
    /// Only pools that fail none of the others are home to a guest.
    #[must_use]
    pub fn is_about_room(self) -> bool {
        !matches!(
            self,
            Self::PoolSelector
                | Self::Jurisdiction
                | Self::DataClass
                | Self::Certification
                | Self::Tenancy
                | Self::Taint
                | Self::Image
                | Self::Network
                | Self::Storage
                | Self::Burst
                | Self::Spot
        )
    }
}

/// A rule that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Which.
    pub rule: Rule,
    /// What was wanted.
    pub wanted: String,
    /// What there is.
    pub free: String,
    /// What is short, as a phrase that stands after the pool's name.
    pub short: String,
}

/// Most bytes of each text of a failure: names in manifests may be long.
const TEXT_LIMIT: usize = 256;

impl Failure {
    pub(super) fn new(rule: Rule, wanted: impl fmt::Display, free: impl fmt::Display, short: String) -> Self {
        let short_enough = |text: String| super::explain::cut(text, TEXT_LIMIT);
        let (wanted, free) = (short_enough(wanted.to_string()), short_enough(free.to_string()));
        Self { rule, wanted, free, short: short_enough(short) }
    }
}

/// Every rule about the pool alone that a guest fails there; neither burst nor what else lives there is looked at.
#[must_use]
pub fn static_failures(pool: &Pool, guest: &GuestState, now: Timestamp) -> Vec<Failure> {
    let mut failures = Vec::new();
    permission(pool, guest, &mut failures);
    offered(pool, guest, &mut failures);
    standing(pool, guest, now, &mut failures);
    failures
}

fn permission(pool: &Pool, guest: &GuestState, failures: &mut Vec<Failure>) {
    let policy = &guest.policy;
    if !policy.pool_selector.matches(&pool.labels) {
        failures.push(Failure::new(Rule::PoolSelector, "selected", "not", "not selected".into()));
    }
    if let Some(allowed) = &policy.jurisdictions {
        let country = pool.jurisdiction.as_deref();
        if !country.is_some_and(|country| allowed.contains(country)) {
            let wanted = any_of(allowed);
            let free = country.unwrap_or("unknown");
            failures.push(Failure::new(Rule::Jurisdiction, &wanted, free, format!("not in {wanted}")));
        }
    }
    if let Some(class) = policy.data_class.as_ref().filter(|class| !pool.data_classes.contains(*class)) {
        let short = format!("not permitted to keep {class} data");
        failures.push(Failure::new(Rule::DataClass, class, list(&pool.data_classes), short));
    }
    let lacking: BTreeSet<_> = policy.certifications.difference(&pool.certifications).cloned().collect();
    if !lacking.is_empty() {
        let short = format!("not certified for {}", list(&lacking));
        let wanted = list(&policy.certifications);
        failures.push(Failure::new(Rule::Certification, wanted, list(&pool.certifications), short));
    }
    if let Tenancy::Namespaces(tenants) = &pool.tenancy
        && !tenants.contains(&guest.namespace)
    {
        let short = format!("not open to namespace {}", guest.namespace);
        failures.push(Failure::new(Rule::Tenancy, &guest.namespace, list(tenants), short));
    }
    for taint in &pool.taints {
        if taint.effect != Effect::PreferNoSchedule && !policy.tolerations.iter().any(|t| t.matches(taint)) {
            let short = format!("taint {} not tolerated", taint.key);
            failures.push(Failure::new(Rule::Taint, "tolerated", &taint.key, short));
        }
    }
    if policy.isolation == Isolation::DedicatedHost
        && let Capacity::Offerings(offerings) = &pool.capacity
        && !offerings.iter().any(|o| o.dedicated)
    {
        let short = "offers no dedicated hosts".into();
        failures.push(Failure::new(Rule::DedicatedHost, "dedicated", "shared", short));
    }
    if !policy.spot
        && let Capacity::Offerings(offerings) = &pool.capacity
        && !offerings.is_empty()
        && offerings.iter().all(|o| o.spot)
    {
        let short = "offers only capacity that it can take back".into();
        failures.push(Failure::new(Rule::Spot, "on demand", "spot", short));
    }
}

fn offered(pool: &Pool, guest: &GuestState, failures: &mut Vec<Failure>) {
    if let Some(image) = guest.image.as_ref().filter(|image| !pool.images.contains(*image)) {
        let short = format!("lacks image {image}");
        failures.push(Failure::new(Rule::Image, image, list(&pool.images), short));
    }
    for (rule, what, wanted, there) in [
        (Rule::Network, "network", &guest.networks, &pool.networks),
        (Rule::Storage, "storage", &guest.storages, &pool.storages),
    ] {
        let lacking: BTreeSet<_> = wanted.difference(there).cloned().collect();
        if !lacking.is_empty() {
            let short = format!("lacks {what} {}", list(&lacking));
            failures.push(Failure::new(rule, list(wanted), list(there), short));
        }
    }
}

fn standing(pool: &Pool, guest: &GuestState, now: Timestamp, failures: &mut Vec<Failure>) {
    if pool.cordoned || pool.drain {
        let short = if pool.drain { "being drained" } else { "cordoned" };
        failures.push(Failure::new(Rule::Cordoned, "open", short, short.into()));
    }
    match &pool.health {
        Health::Ready => {}
        Health::NotReady(why) => {
            failures.push(Failure::new(Rule::Health, "ready", "not ready", format!("not ready ({why})")));
        }
        Health::Unreachable(why) => {
            failures.push(Failure::new(Rule::Health, "ready", "unreachable", format!("unreachable ({why})")));
        }
    }
    if let Some(refused) =
        guest.excluded.iter().filter(|e| e.pool == pool.name && e.until > now).max_by_key(|e| e.until)
    {
        let short = format!("refused it for want of capacity, not tried again before {}", refused.until);
        failures.push(Failure::new(Rule::Refused, "not refused", refused.until, short));
    }
}

/// When a guest may use paid capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PaidFrom {
    /// At once: nothing that is owned or paid for already may lodge it, whatever its room.
    Now,
    /// From this time on.
    At(Timestamp),
    /// Not at all.
    Never,
}

/// When a guest may use paid capacity, given whether its selector names a pool that is owned or paid for already, and
/// whether one of those fails no rule but about room.
pub(super) fn paid_from(
    policy: &Policy,
    selected_home: bool,
    allowed_home: bool,
    since: Timestamp,
    now: Timestamp,
) -> PaidFrom {
    match &policy.burst {
        Burst::Never if selected_home => PaidFrom::Never,
        Burst::WhenFull { after, .. } if allowed_home => match since.checked_add(*after) {
            Ok(at) if at <= now => PaidFrom::Now,
            Ok(at) => PaidFrom::At(at),
            // Beyond the end of time.
            Err(_) => PaidFrom::Never,
        },
        Burst::Never | Burst::WhenFull { .. } => PaidFrom::Now,
    }
}

fn list(names: &BTreeSet<String>) -> String {
    joined(names, ", ")
}

/// `GB or IE`.
fn any_of(names: &BTreeSet<String>) -> String {
    joined(names, " or ")
}

/// At most six names, so that a message stays short whatever a manifest holds.
fn joined(names: &BTreeSet<String>, by: &str) -> String {
    const SHOWN: usize = 6;
    if names.is_empty() {
        return "none".into();
    }
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(by);
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn paid_capacity_waits_for_home_only_where_there_is_one() {
        let now = Timestamp::UNIX_EPOCH;
        let after = SignedDuration::from_mins(2);
        let waits = Policy { burst: Burst::WhenFull { after, return_home: None }, ..Policy::default() };
        let never = Policy::default();
        for (policy, selected, allowed, since, expected) in [
            (&waits, true, true, now, PaidFrom::At(now + after)),
            (&waits, true, true, now - after, PaidFrom::Now),
            // No law or label lets it live at home: there is nothing to wait for.
            (&waits, true, false, now, PaidFrom::Now),
            (&never, true, true, now - after, PaidFrom::Never),
            (&never, true, false, now, PaidFrom::Never),
            // Its selector names paid pools alone.
            (&never, false, false, now, PaidFrom::Now),
        ] {
            assert_eq!(paid_from(policy, selected, allowed, since, now), expected);
        }
    }
}
