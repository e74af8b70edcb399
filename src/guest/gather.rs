//! Reads all that a decision about a guest needs.

use kube::runtime::reflector::ObjectRef;

use super::{
    Context,
    facts::{Facts, FirstBootSight, Place, Sight, Subject, Trace, Trouble},
    wish,
};
use crate::{
    api::{CloudPool, Guest, guest::Abandoned, template::Size},
    provider::{Entry, Freshness, Key, Provider},
};

/// Reads it. What cannot be read comes back as unknown, never as absent.
pub(super) async fn gather(context: &Context, guest: &Guest, freshness: Freshness) -> Facts {
    let subject = Subject::new(guest);
    let (place, provider) = place(context, guest, &subject);
    let vm = match &provider {
        None => Sight::NotAsked,
        Some(provider) => {
            Sight::of(provider.find(&subject.key, freshness).await.map_err(|error| Trouble::from(&error)))
        }
    };
    let pool = subject.pool().and_then(|pool| context.pools.get(&ObjectRef::<CloudPool>::new(pool)));
    Facts {
        abandoned: abandoned(context, &subject).await,
        type_size: pool.as_ref().and_then(|pool| type_size(&subject, pool)),
        fenced: pool.as_ref().is_some_and(|pool| pool.spec.fenced),
        target: pool.as_ref().and_then(|pool| target(&subject, pool)),
        subject,
        place,
        vm,
        first_boot: FirstBootSight::NotRead,
        erased: false,
        released: false,
        met: false,
        answered: false,
        asked_to_stop: false,
        now: (context.now)(),
    }
}

/// The name of the host that the guest is to move to, by which its provider shows where it is. `None` where two hosts
/// have it: then the name tells nothing.
fn target(subject: &Subject, pool: &CloudPool) -> Option<String> {
    let id = subject.relocation()?.host.as_ref()?;
    let hosts = &pool.status.as_ref()?.hosts;
    let name = &hosts.iter().find(|host| host.id == *id)?.name;
    (hosts.iter().filter(|host| host.name == *name).count() == 1).then(|| name.clone())
}

/// The size of the type that the guest is bound to.
fn type_size(subject: &Subject, pool: &CloudPool) -> Option<Size> {
    let name = subject.binding.as_ref()?.instance_type.as_ref()?;
    let paid = pool.spec.pricing.pay_per_use.as_ref()?;
    let written = paid.instance_types.iter().map(|one| (&one.name, one.vcpus, one.memory));
    let offered = pool.status.iter().flat_map(|status| &status.offerings);
    let mut all = written.chain(offered.map(|one| (&one.instance_type, one.vcpus, one.memory)));
    all.find(|(found, _, _)| *found == name).map(|(_, vcpus, memory)| Size { vcpus, memory })
}

/// What became of the VMs that were given up.
async fn abandoned(context: &Context, subject: &Subject) -> Vec<(Abandoned, Trace)> {
    let mut all = Vec::new();
    // Before the reads: what they show is no older.
    let now = (context.now)();
    for left in &subject.status.abandoned {
        let key = Key { incarnation: left.incarnation, ..subject.key.clone() };
        let trace = match context.registry.get(&left.pool) {
            Some(Entry::Open(provider)) => match provider.find(&key, Freshness::Live).await {
                Ok(found) => Trace::of(left, found.as_ref(), provider.settling_time(), now),
                Err(_) => Trace::Silent,
            },
            _ if context.pools.get(&ObjectRef::<CloudPool>::new(&left.pool)).is_none() => Trace::Gone,
            _ => Trace::Silent,
        };
        all.push((left.clone(), trace));
    }
    all
}

/// Whether the guest's pool is there and was not connected to yet, successfully or not.
pub(super) fn is_untried(context: &Context, guest: &Guest) -> bool {
    Subject::new(guest).pool().is_some_and(|pool| {
        context.registry.get(pool).is_none() && context.pools.get(&ObjectRef::<CloudPool>::new(pool)).is_some()
    })
}

/// The provider behind a guest's pool.
pub(super) fn provider(context: &Context, subject: &Subject) -> Option<std::sync::Arc<dyn Provider>> {
    provider_of(context, subject.pool()?)
}

/// The provider behind a pool.
pub(super) fn provider_of(context: &Context, pool: &str) -> Option<std::sync::Arc<dyn Provider>> {
    match context.registry.get(pool) {
        Some(Entry::Open(provider)) => Some(provider),
        Some(Entry::Closed(_)) | None => None,
    }
}

fn place(context: &Context, guest: &Guest, subject: &Subject) -> (Place, Option<std::sync::Arc<dyn Provider>>) {
    let Some(pool) = subject.pool().map(str::to_owned) else { return (Place::Unbound, None) };
    let Some(object) = context.pools.get(&ObjectRef::<CloudPool>::new(&pool)) else {
        return (Place::Missing { pool }, None);
    };
    let provider = match context.registry.get(&pool) {
        Some(Entry::Open(provider)) => provider,
        Some(Entry::Closed(why)) => return (Place::Unreachable { pool, why }, None),
        None => return (Place::Unreachable { pool, why: "the connection is not open yet".to_owned() }, None),
    };
    let wish = match &subject.binding {
        Some(binding) => wish::resolve(guest, &subject.key, binding, &object),
        None => Err("it is bound to no pool".to_owned()),
    };
    (Place::Open { pool, wish, settling: provider.settling_time() }, Some(provider))
}
