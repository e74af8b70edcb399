//! Where disks are kept: storage repositories, and which hosts see them.

use std::collections::HashMap;

use super::{
    call_error::During,
    driver::XapiProvider,
    records::{Host, Pbd, Sr},
    value::Ref,
    view::View,
};
use crate::provider::{ErrorKind, ProviderError, Result};

const FIND: &str = "find storage for the disks";

/// The pool's storage as it is now.
#[derive(Debug, Default)]
pub(super) struct Storage {
    pub(super) repositories: HashMap<Ref<Sr>, Sr>,
    pub(super) connections: Vec<Pbd>,
}

impl Storage {
    /// The one repository for disks with this uuid or name.
    pub(super) fn named(&self, id: &str) -> Result<Ref<Sr>> {
        let mut found = self.repositories.iter().filter(|(_, sr)| sr.uuid == id || sr.name_label == id);
        match (found.next(), found.next()) {
            (Some((_, sr)), None) if sr.content_type == "iso" => {
                let message = format!("the storage \"{id}\" is a library of images and takes no disks: name another");
                Err(ProviderError::new(ErrorKind::Invalid, FIND, message))
            }
            (Some((sr, _)), None) => Ok(sr.clone()),
            (Some(_), Some(_)) => {
                let message =
                    format!("several storage repositories of the pool are named \"{id}\": write the uuid of one");
                Err(ProviderError::new(ErrorKind::Invalid, FIND, message))
            }
            (None, _) => {
                let message = format!(
                    "no storage repository of the pool has the uuid or name \"{id}\": correct it in the pool's spec.storage"
                );
                Err(ProviderError::new(ErrorKind::NotFound, FIND, message))
            }
        }
    }

    /// Whether the host sees the repository; without a host, whether any does. That a repository is marked as shared says
    /// nothing: its connection has to be plugged.
    pub(super) fn is_seen(&self, sr: &Ref<Sr>, host: Option<&Ref<Host>>) -> bool {
        self.connections
            .iter()
            .any(|pbd| pbd.sr == *sr && pbd.currently_attached && host.is_none_or(|host| *host == pbd.host))
    }

    /// An error, with what to do, where the host does not see the repository.
    pub(super) fn must_be_seen(&self, view: &View, sr: &Ref<Sr>, host: Option<&Ref<Host>>) -> Result<()> {
        if self.is_seen(sr, host) {
            return Ok(());
        }
        let by = match host.and_then(|host| view.hosts.get(host)) {
            Some(host) => format!("host {}", host.name_label),
            None => "any host".to_owned(),
        };
        let message = format!(
            "the storage {} is not attached to {by}: plug its connection (PBD) there, or name storage that the hosts share",
            self.label(sr)
        );
        Err(ProviderError::new(ErrorKind::Invalid, FIND, message).with_code("SR_NOT_ATTACHED"))
    }

    pub(super) fn label(&self, sr: &Ref<Sr>) -> String {
        self.repositories.get(sr).map_or_else(|| sr.to_string(), |sr| format!("\"{}\" ({})", sr.name_label, sr.uuid))
    }
}

impl XapiProvider {
    pub(super) async fn read_storage(&self) -> Result<Storage> {
        let (repositories, connections) =
            futures::future::try_join(self.client.all::<Sr>(), self.client.all::<Pbd>()).await.during(FIND)?;
        Ok(Storage { repositories, connections: connections.into_values().collect() })
    }

    /// The storage for disks that name none and have no neighbour: the configured one, else the pool's own.
    pub(super) fn default_storage(&self, view: &View, storage: &Storage) -> Result<Option<Ref<Sr>>> {
        if let Some(id) = &self.default_storage {
            return storage.named(id).map(Some);
        }
        let default = view.pool().map(|(_, pool)| pool.default_sr.clone()).unwrap_or_default();
        Ok(storage.repositories.contains_key(&default).then_some(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::xapi::view::tests::view;

    fn storage() -> Storage {
        let sr = |uuid: &str, name: &str, kind: &str| {
            let sr = Sr { uuid: uuid.into(), name_label: name.into(), content_type: kind.into() };
            (Ref::new(format!("r-{uuid}")), sr)
        };
        let pbd = |sr: &str, host: &str, currently_attached| Pbd {
            host: Ref::new(host),
            sr: Ref::new(format!("r-{sr}")),
            currently_attached,
        };
        Storage {
            repositories: HashMap::from([
                sr("u1", "fast", "user"),
                sr("u2", "Local", ""),
                sr("u3", "Local", ""),
                sr("u4", "isos", "iso"),
            ]),
            connections: vec![pbd("u1", "h1", true), pbd("u1", "h2", false), pbd("u2", "h2", true)],
        }
    }

    #[test]
    fn storage_is_found_by_uuid_or_unique_name() {
        for (id, found) in [
            ("u1", Ok("r-u1")),
            ("fast", Ok("r-u1")),
            ("u3", Ok("r-u3")),
            ("Local", Err(ErrorKind::Invalid)),
            ("isos", Err(ErrorKind::Invalid)),
            ("nothing", Err(ErrorKind::NotFound)),
        ] {
            assert_eq!(storage().named(id).map_err(|error| error.kind), found.map(Ref::new), "{id}");
        }
    }

    #[test]
    fn only_a_plugged_connection_lets_a_host_see_storage() {
        let (storage, view) = (storage(), view([]));
        for (sr, host, seen) in [
            ("r-u1", Some("h1"), true),
            ("r-u1", Some("h2"), false),
            ("r-u1", None, true),
            ("r-u2", Some("h1"), false),
            ("r-u3", None, false),
        ] {
            let host = host.map(Ref::new);
            assert_eq!(storage.is_seen(&Ref::new(sr), host.as_ref()), seen, "{sr} {host:?}");
            assert_eq!(storage.must_be_seen(&view, &Ref::new(sr), host.as_ref()).is_ok(), seen);
        }
        let error = storage.must_be_seen(&view, &Ref::new("r-u3"), None).unwrap_err().to_string();
        assert!(error.contains("\"Local\" (u3)") && error.contains("plug"), "{error}");
    }
}
