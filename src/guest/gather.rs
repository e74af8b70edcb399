//! Reads all that a decision about a guest needs.

use kube::runtime::reflector::ObjectRef;

use super::{
    Context,
    facts::{Facts, Place, Sight, Subject},
    wish,
};
use crate::{
    api::{CloudPool, Guest},
    provider::{Entry, Freshness, Provider},
};

/// Reads it. What cannot be read comes back as unknown, never as absent.
pub(super) async fn gather(context: &Context, guest: &Guest, freshness: Freshness) -> Facts {
    let subject = Subject::new(guest);
    let (place, provider) = place(context, guest, &subject);
    let vm = match &provider {
        None => Sight::NotAsked,
        Some(provider) => match provider.find(&subject.key, freshness).await {
            Ok(Some(vm)) => Sight::Known(vm),
            Ok(None) => Sight::Absent,
            Err(error) => Sight::Unknown((&error).into()),
        },
    };
    Facts { subject, place, vm, erased: false, met: false, answered: false, now: (context.now)() }
}

/// The provider behind a guest's pool.
pub(super) fn provider(context: &Context, subject: &Subject) -> Option<std::sync::Arc<dyn Provider>> {
    match context.registry.get(subject.pool()?) {
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
