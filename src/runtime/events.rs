//! Kubernetes Events: one for each change of mind, with the reason.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::debug;

use super::{call, chain};
use crate::api::condition::cut;

/// The longest note that the API takes.
const MAX_NOTE: usize = 1024;

/// What to say about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Is it something to worry about.
    pub warning: bool,
    /// Why, as one `CamelCase` word.
    pub reason: String,
    /// What was done, as one `CamelCase` word.
    pub action: &'static str,
    /// In a sentence.
    pub note: String,
}

/// Writes Events. A lost event is a pity, not a failure.
#[derive(Clone)]
pub struct Herald(Recorder);

impl Herald {
    /// A herald in the name of one controller.
    #[must_use]
    pub fn new(client: Client, controller: &str) -> Self {
        Self(Recorder::new(client, Reporter { controller: controller.to_owned(), instance: None }))
    }

    /// Says it.
    pub async fn say<K: Resource<DynamicType = ()>>(&self, object: &K, news: News) {
        let event = Event {
            type_: if news.warning { EventType::Warning } else { EventType::Normal },
            reason: news.reason,
            note: Some(cut(news.note, MAX_NOTE)),
            action: news.action.to_owned(),
            secondary: None,
        };
        let reference = object.object_ref(&());
        if let Err(error) = call("write an event", self.0.publish(&event, &reference)).await {
            debug!(error = chain(&error), "an event was lost");
        }
    }
}
