//! The checker's own reading of the rules about a pool alone.

use jiff::Timestamp;

use super::{
    inventory::{Capacity, Effect, Health, Pool, Tenancy, World},
    request::{Burst, GuestState, Isolation},
};

/// What keeps out new guests only.
pub(super) const CLOSED: [&str; 2] = ["the pool takes no guests", "the pool has refused it"];

/// What a guest breaks by living in a pool, whatever else lives there.
pub(super) fn pool_allows(pool: &Pool, guest: &GuestState, now: Timestamp) -> Vec<&'static str> {
    let mut broken = never_allowed(pool, guest);
    if pool.cordoned || pool.drain || !matches!(pool.health, Health::Ready) {
        broken.push(CLOSED[0]);
    }
    if guest.excluded.iter().any(|e| e.pool == pool.name && e.until > now) {
        broken.push(CLOSED[1]);
    }
    broken
}

/// What a guest breaks by living in a pool, and would break however much room there were.
fn never_allowed(pool: &Pool, guest: &GuestState) -> Vec<&'static str> {
    let policy = &guest.policy;
    let shared_only = match &pool.capacity {
        Capacity::Hosts { .. } => false,
        Capacity::Offerings(list) => list.iter().all(|o| !o.dedicated),
    };
    let spot_only = match &pool.capacity {
        Capacity::Hosts { .. } => false,
        Capacity::Offerings(list) => !list.is_empty() && list.iter().all(|o| o.spot),
    };
    let rules = [
        (policy.pool_selector.matches(&pool.labels), "not selected"),
        (
            policy.jurisdictions.as_ref().is_none_or(|all| pool.jurisdiction.as_ref().is_some_and(|j| all.contains(j))),
            "under a law that is not allowed",
        ),
        (policy.data_class.as_ref().is_none_or(|class| pool.data_classes.contains(class)), "data class not permitted"),
        (policy.certifications.is_subset(&pool.certifications), "not certified"),
        (
            match &pool.tenancy {
                Tenancy::Anyone => true,
                Tenancy::Namespaces(open) => open.contains(&guest.namespace),
            },
            "closed to the namespace",
        ),
        (
            pool.taints
                .iter()
                .filter(|taint| taint.effect != Effect::PreferNoSchedule)
                .all(|taint| policy.tolerations.iter().any(|t| t.matches(taint))),
            "tainted",
        ),
        (guest.image.as_ref().is_none_or(|image| pool.images.contains(image)), "image missing"),
        (guest.networks.is_subset(&pool.networks), "network missing"),
        (guest.storages.is_subset(&pool.storages), "storage missing"),
        (policy.isolation == Isolation::Shared || !shared_only, "no dedicated hosts"),
        (policy.spot || !spot_only, "only capacity that can be taken back"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
}

fn is_home(world: &World, pool: &Pool) -> bool {
    let included = pool.pricing.subscription.as_ref().is_some_and(|s| s.term_ends.is_none_or(|end| end > world.now));
    matches!(&pool.capacity, Capacity::Hosts { hosts, .. } if !hosts.is_empty()) || included
}

/// Whether a guest may use paid capacity now.
pub(super) fn burst_allows(world: &World, guest: &GuestState) -> bool {
    if guest.reserved.as_ref().is_some_and(|place| place.instance_type.is_some()) {
        return true;
    }
    let mut homes = world.pools.iter().filter(|pool| is_home(world, pool));
    match &guest.policy.burst {
        Burst::Never => !homes.any(|pool| guest.policy.pool_selector.matches(&pool.labels)),
        Burst::WhenFull { after, .. } => {
            let since = guest.waiting_since.unwrap_or(world.now);
            let waited = world.now.duration_since(since) >= *after;
            let shared = |broken: &[&str]| broken.iter().all(|what| *what == "no dedicated hosts");
            waited || !homes.any(|pool| shared(&never_allowed(pool, guest)))
        }
    }
}
