//! One watch for each kind, shared by all controllers: a store that they read, and a call to each listener when an object
//! was written or is gone. (kube's own shared streams say nothing of deletions.)

use std::{collections::HashMap, fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::SetOnce;
use tracing::{debug, warn};

use super::metrics::Metrics;

/// Set when a store is filled for the first time. (Of several tasks that wait for kube's own store, only one is woken.)
pub type Filled = Arc<SetOnce<()>>;

/// Waits until all of these stores are filled.
pub async fn all_filled(stores: &[Filled]) {
    for store in stores {
        store.wait().await;
    }
}

/// Told of each object that was written or is gone, after the store knows it.
pub type Listener<K> = Box<dyn Fn(&K) + Send + Sync>;

/// Follows a kind for ever: keeps the store, without what `trim` takes off each object, and tells the listener.
pub async fn follow<K>(
    api: Api<K>,
    writer: reflector::store::Writer<K>,
    filled: Filled,
    metrics: Arc<Metrics>,
    trim: fn(&mut K),
    tell: Listener<K>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let store = writer.as_reader();
    let mut before = HashMap::new();
    // Objects that vanish while the watch is broken are never announced as deleted: compare around each new list.
    let events = watcher::watcher(api, watcher::Config::default()).default_backoff().inspect_err(
        |error| warn!(kind = %K::kind(&()), error = super::chain(error), "the watch broke and is renewed"),
    );
    let events = events.inspect_ok(|event| {
        if let Event::Apply(object) = event
            && let Some(lag) = lag(object.meta(), Timestamp::now())
        {
            metrics.heard_by_watch(lag);
        }
    });
    // Who wrote which field is of no more use: it is as long as all the rest. A copy has no room to spare, which what was
    // just decoded has in each list.
    let events = events.modify(move |object| {
        object.meta_mut().managed_fields = None;
        trim(object);
        *object = object.clone();
    });
    let mut events = std::pin::pin!(reflector::reflector(writer, events));
    loop {
        let Some(event) = events.next().await else { return };
        match event {
            Ok(Event::Apply(object) | Event::Delete(object)) => tell(&object),
            Ok(Event::Init) => before = snapshot(&store),
            Ok(Event::InitApply(_)) | Err(_) => {}
            Ok(Event::InitDone) => {
                debug!(kind = %K::kind(&()), objects = store.len(), "listed");
                let after = snapshot(&store);
                before.retain(|key, _| !after.contains_key(key));
                after.values().chain(before.values()).for_each(|object| tell(object));
                before.clear();
                // Set before already, after a renewed watch: that is well.
                let _ = filled.set(());
            }
        }
    }
}

/// How old a change is: the API server notes the second of each manager's last write.
fn lag(meta: &ObjectMeta, now: Timestamp) -> Option<Duration> {
    let newest =
        meta.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max()?;
    // Less than a second cannot be told from none, nor a clock that is behind.
    let lag = Duration::try_from(now.duration_since(newest)).unwrap_or_default();
    Some(lag.saturating_sub(Duration::from_secs(1)))
}

fn snapshot<K>(store: &Store<K>) -> HashMap<ObjectRef<K>, Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
    ObjectRef<K>: Hash + Eq,
{
    store.state().into_iter().map(|object| (ObjectRef::from_obj(&*object), object)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_stores_are_waited_for() {
        let filled: [Filled; 2] = Default::default();
        let mut both = Box::pin(all_filled(&filled));
        assert!(futures::poll!(both.as_mut()).is_pending());
        filled[1].set(()).unwrap();
        assert!(futures::poll!(both.as_mut()).is_pending());
        filled[0].set(()).unwrap();
        both.await;
    }
}
