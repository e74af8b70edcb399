//! Whether the API server's definitions of our kinds know every field that the operator knows. Older ones drop the others, from
//! what is written and from what is read: a guest without its holds is not the guest that somebody protected.
//!
//! They may be replaced at any time (`helm rollback`, a second chart). The API server ends the watches of a kind whose definition
//! changes, and so each list and each watch is compared after it was opened and before anything of it is read. While
//! one of them lacks a field, nothing is read anew and nothing written, as if there was no API server: what needs no
//! write before it goes on, by what was last read whole.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{Api, Client, ResourceExt as _};
use snafu::Snafu;
use tracing::{error, info};

use super::{ApiError, call, chain};

/// Why a kind cannot be worked with.
#[derive(Debug, Snafu)]
pub enum KindsError {
    /// The API server would drop fields.
    #[snafu(transparent)]
    Outdated {
        /// Which and how.
        source: Outdated,
    },
    /// Nobody knows.
    #[snafu(display("cannot tell whether the API server knows all fields of the kind"))]
    Unread {
        /// Why the definition was not read.
        source: ApiError,
    },
}

/// A definition that is older than the operator.
#[derive(Clone, Debug, PartialEq, Eq, Snafu)]
#[snafu(display(
    "the definition {name} is older than this operator and does not know {}: apply those of this release with `helm upgrade` \
     or `innkeeper crds | kubectl apply --server-side -f -`",
    some(missing)
))]
pub struct Outdated {
    name: String,
    /// Paths of fields, never none.
    missing: Vec<String>,
}

/// How many fields are named.
const NAMED: usize = 3;

fn some(fields: &[String]) -> String {
    let named = fields.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match fields.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The kinds that the operator knows, and what was last seen of their definitions.
#[derive(Debug, Default)]
pub struct Kinds(Vec<Kind>);

#[derive(Debug)]
pub(super) struct Kind {
    name: String,
    /// Of its objects: what their paths begin with, and the resource.
    base: String,
    plural: String,
    version: String,
    schema: JSONSchemaProps,
    /// Held while the definition is read, so that what was read last is what is known.
    reading: tokio::sync::Mutex<()>,
    outdated: Mutex<Option<Outdated>>,
}

impl Kinds {
    /// Those of these definitions, of each its first version.
    #[must_use]
    pub fn new(definitions: Vec<CustomResourceDefinition>) -> Self {
        let kind = |definition: CustomResourceDefinition| {
            let (name, spec) = (definition.name_any(), definition.spec);
            let version = spec.versions.into_iter().next()?;
            Some(Kind {
                name,
                base: format!("/apis/{}/{}/", spec.group, version.name),
                plural: spec.names.plural,
                version: version.name,
                schema: version.schema?.open_api_v3_schema?,
                reading: tokio::sync::Mutex::default(),
                outdated: Mutex::default(),
            })
        };
        Self(definitions.into_iter().filter_map(kind).collect())
    }

    /// A definition that lacked fields when it was last read.
    #[must_use]
    pub fn outdated(&self) -> Option<Outdated> {
        self.0.iter().find_map(|kind| kind.known().clone())
    }

    /// Whether objects of these kinds are at this path.
    pub(super) fn are_at(&self, path: &str) -> bool {
        self.0.iter().any(|kind| path.starts_with(&kind.base))
    }

    /// The kind whose objects are all at this path, or all of a namespace. Its number, for [`Self::check`].
    pub(super) fn listed_at(&self, path: &str) -> Option<usize> {
        self.0.iter().position(|kind| {
            let rest = path.strip_prefix(&kind.base).map(|rest| rest.split('/').collect::<Vec<_>>());
            matches!(rest.as_deref(), Some([plural] | ["namespaces", _, plural]) if *plural == kind.plural)
        })
    }

    /// Reads a kind's definition and compares.
    ///
    /// # Errors
    ///
    /// It lacks fields, or was not read: then what is known of it stays.
    pub(super) async fn check(&self, client: Client, number: usize) -> Result<(), KindsError> {
        let Some(kind) = self.0.get(number) else { return Ok(()) };
        let api: Api<CustomResourceDefinition> = Api::all(client);
        let _one_by_one = kind.reading.lock().await;
        let theirs = call(format!("read CustomResourceDefinition {}", kind.name), api.get(&kind.name))
            .await
            .map_err(|source| KindsError::Unread { source })?;
        let now = kind.compared(&theirs);
        let before = std::mem::replace(&mut *kind.known(), now.clone());
        match (&before, now) {
            (_, Some(outdated)) => {
                if before.as_ref() != Some(&outdated) {
                    error!(
                        error = chain(&outdated),
                        "nothing is read anew or written until the definitions are as new as the operator"
                    );
                }
                Err(outdated.into())
            }
            (Some(_), None) => {
                info!(definition = kind.name, "the definition is as new as the operator again");
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }
}

impl Kind {
    fn known(&self) -> MutexGuard<'_, Option<Outdated>> {
        self.outdated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compared(&self, theirs: &CustomResourceDefinition) -> Option<Outdated> {
        let version = theirs.spec.versions.iter().find(|version| version.name == self.version && version.served);
        let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
        let missing = match schema {
            Some(theirs) => missing(&self.schema, theirs),
            None => vec![format!("the version {}", self.version)],
        };
        (!missing.is_empty()).then(|| Outdated { name: self.name.clone(), missing })
    }
}

/// The paths of the fields that one schema has and another drops. A field that is dropped with all below it is named once.
fn missing(ours: &JSONSchemaProps, theirs: &JSONSchemaProps) -> Vec<String> {
    let mut found = Vec::new();
    look(ours, theirs, "", &mut found);
    found
}

fn look(ours: &JSONSchemaProps, theirs: &JSONSchemaProps, at: &str, found: &mut Vec<String>) {
    if theirs.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    if ours.x_kubernetes_preserve_unknown_fields == Some(true) {
        found.push(format!("all of {at}"));
        return;
    }
    let known = theirs.properties.as_ref();
    for (name, ours) in ours.properties.iter().flat_map(BTreeMap::iter) {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        below(Some(ours), known.and_then(|known| known.get(name)), &path, found);
    }
    below(items(ours), items(theirs), &format!("{at}[]"), found);
    below(values(ours), values(theirs), &format!("{at}.*"), found);
}

fn below(ours: Option<&JSONSchemaProps>, theirs: Option<&JSONSchemaProps>, at: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => look(ours, theirs, at, found),
        (Some(_), None) => found.push(at.to_owned()),
        (None, _) => {}
    }
}

/// Of a list.
fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(schema) => Some(schema),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// Of a map.
fn values(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.additional_properties.as_ref()? {
        JSONSchemaPropsOrBool::Schema(schema) => Some(schema),
        JSONSchemaPropsOrBool::Bool(_) => None,
    }
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
