//! Where disks are kept: storage repositories, and which hosts see them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    call_error::During,
    driver::XapiProvider,
    records::{Host, Pbd, Sr, Vm},
    shape,
    value::Ref,
    view::View,
};
use crate::{
    api::quantity::Bytes,
    provider::{ErrorKind, GuestWish, ProviderError, Result},
};

const FIND: &str = "find storage for the disks";
/// Storage of these kinds sets a disk's whole size aside; all other kinds take what is written to it.
const SETS_ASIDE: [&str; 4] = ["lvm", "lvmofcoe", "lvmohba", "lvmoiscsi"];

impl Sr {
    /// How much it can still take. `None`: it does not say.
    fn free(&self) -> Option<u64> {
        (self.physical_size > 0).then(|| self.physical_size.saturating_sub(self.physical_utilisation))
    }
}

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

    /// An error where a repository certainly has no room for these further disks: not for all of them where it sets their
    /// sizes aside, none at all where it takes what is written. What does not say how full it is, is tried.
    pub(super) fn must_hold(&self, disks: &[(Ref<Sr>, u64)]) -> Result<()> {
        let mut wanted: BTreeMap<&Ref<Sr>, u64> = BTreeMap::new();
        for (sr, size) in disks {
            let sum = wanted.entry(sr).or_default();
            *sum = sum.saturating_add(*size);
        }
        for (sr, size) in wanted {
            let Some((record, free)) = self.repositories.get(sr).and_then(|record| Some((record, record.free()?)))
            else {
                continue;
            };
            let sets_aside = SETS_ASIDE.contains(&record.kind.as_str());
            if free == 0 || (sets_aside && free < size) {
                let message = format!(
                    "the storage {} has {} free, and the guest's disks need {}: free or add space there, or name other storage",
                    self.label(sr),
                    Bytes(free),
                    Bytes(size)
                );
                return Err(ProviderError::new(ErrorKind::Capacity, FIND, message).with_code("SR_FULL"));
            }
        }
        Ok(())
    }

    /// The repository that a template's description names.
    fn described(&self, view: &View, uuid: &str, host: Option<&Ref<Host>>) -> Result<Ref<Sr>> {
        let Some((sr, _)) = self.repositories.iter().find(|(_, record)| record.uuid == uuid) else {
            let message = format!(
                "the template has its disks made on the storage {uuid}, which is not in the pool: correct or empty \"sr\" in \
                 its other_config:disks"
            );
            return Err(ProviderError::new(ErrorKind::Invalid, FIND, message));
        };
        self.must_be_seen(view, sr, host)?;
        Ok(sr.clone())
    }

    pub(super) fn label(&self, sr: &Ref<Sr>) -> String {
        self.repositories.get(sr).map_or_else(|| sr.to_string(), |sr| format!("\"{}\" ({})", sr.name_label, sr.uuid))
    }
}

impl XapiProvider {
    /// As it was when this was asked, or later. Many guests that are made at a time share a reading: in a pool of many hosts
    /// it is long.
    pub(super) async fn read_storage(&self) -> Result<Arc<Storage>> {
        let read = async || {
            let (repositories, connections) =
                futures::future::try_join(self.client.all::<Sr>(), self.client.all::<Pbd>()).await?;
            Ok(Storage { repositories, connections: connections.into_values().collect() })
        };
        self.storage_reads.read(read).await.during(FIND)
    }

    /// Errors for storage that is not there, out of reach or full, before anything is made. Answers with the storage that the
    /// template's disks must be copied to, if the chosen host does not see where they are.
    pub(super) async fn check_storage(
        &self,
        view: &View,
        template: &Vm,
        wish: &GuestWish,
        host: Option<&Ref<Host>>,
    ) -> Result<Option<Ref<Sr>>> {
        let storage = self.read_storage().await?;
        for id in wish.disks.iter().filter_map(|disk| disk.storage.as_deref()) {
            storage.must_be_seen(view, &storage.named(id)?, host)?;
        }
        let copied = self.other_storage(view, &storage, template, host)?;
        storage.must_hold(&self.disks_to_be(view, &storage, template, copied.as_ref(), wish, host)?)?;
        Ok(copied)
    }

    /// The disks that a new guest will have: where, and how large.
    fn disks_to_be(
        &self,
        view: &View,
        storage: &Storage,
        template: &Vm,
        copied: Option<&Ref<Sr>>,
        wish: &GuestWish,
        host: Option<&Ref<Host>>,
    ) -> Result<Vec<(Ref<Sr>, u64)>> {
        let drives = view.drives(template);
        let has = drives.iter().map(|drive| (copied.unwrap_or(&drive.disk.sr).clone(), drive.disk.virtual_size));
        let mut all: Vec<_> = has.collect();
        if let Some(disks) = template.other_config.get(shape::DISKS) {
            for (uuid, size) in shape::described(disks) {
                let sr = if uuid.is_empty() {
                    self.open_storage(view, storage)?
                } else {
                    storage.described(view, uuid, host)?
                };
                all.push((sr, size));
            }
        }
        let root = all.first().map(|(sr, _)| sr.clone());
        if let (Some((_, size)), Some(wished)) = (all.first_mut(), wish.root_disk) {
            *size = wished.0.max(*size);
        }
        for disk in &wish.disks {
            let sr = match (&disk.storage, &root, &self.default_storage) {
                (Some(id), ..) => storage.named(id)?,
                (None, Some(root), None) => root.clone(),
                (None, ..) => self.open_storage(view, storage)?,
            };
            all.push((sr, disk.size.0));
        }
        Ok(all)
    }

    /// The storage that a template's disks must be copied to, as the chosen host does not see where they are.
    fn other_storage(
        &self,
        view: &View,
        storage: &Storage,
        template: &Vm,
        host: Option<&Ref<Host>>,
    ) -> Result<Option<Ref<Sr>>> {
        let Some(host) = host else { return Ok(None) };
        let drives = view.drives(template);
        let Some(hidden) = drives.iter().map(|drive| &drive.disk.sr).find(|sr| !storage.is_seen(sr, Some(host))) else {
            return Ok(None);
        };
        let target = self.default_storage(view, storage)?.filter(|sr| storage.is_seen(sr, Some(host)));
        target.map(Some).ok_or_else(|| {
            let host = view.hosts.get(host).map_or("the chosen host", |host| host.name_label.as_str());
            let message = format!(
                "the template's disks are on storage {}, which {host} does not see, nor does it see the default storage to \
                 copy them to: set a defaultStorage that all hosts share, or keep the template on such storage",
                storage.label(hidden)
            );
            ProviderError::new(ErrorKind::Invalid, "copy the template", message).with_code("SR_NOT_ATTACHED")
        })
    }

    /// The storage for disks of which nothing says where.
    pub(super) fn open_storage(&self, view: &View, storage: &Storage) -> Result<Ref<Sr>> {
        let message = "neither guest nor template names storage and the pool has no default SR: set one";
        let default = self.default_storage(view, storage)?;
        default.ok_or_else(|| ProviderError::new(ErrorKind::Invalid, FIND, message))
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

    fn sr(kind: &str, physical_size: u64, physical_utilisation: u64) -> Sr {
        let (uuid, name_label, content_type) = (String::new(), String::new(), String::new());
        Sr { uuid, name_label, content_type, kind: kind.into(), physical_size, physical_utilisation }
    }

    fn storage() -> Storage {
        let named = |uuid: &str, name: &str, kind: &str| {
            let sr = Sr { uuid: uuid.into(), name_label: name.into(), content_type: kind.into(), ..sr("", 0, 0) };
            (Ref::new(format!("r-{uuid}")), sr)
        };
        let pbd = |sr: &str, host: &str, currently_attached| Pbd {
            host: Ref::new(host),
            sr: Ref::new(format!("r-{sr}")),
            currently_attached,
        };
        Storage {
            repositories: HashMap::from([
                named("u1", "fast", "user"),
                named("u2", "Local", ""),
                named("u3", "Local", ""),
                named("u4", "isos", "iso"),
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
    fn storage_that_is_full_is_refused_and_storage_that_does_not_say_is_tried() {
        for (kind, size, used, disks, fits) in [
            ("lvm", 100, 40, vec![60], true),
            ("lvm", 100, 40, vec![30, 31], false),
            ("lvmoiscsi", 100, 40, vec![61], false),
            ("lvm", 0, 0, vec![61], true),
            ("nfs", 100, 40, vec![600], true),
            ("nfs", 100, 100, vec![1], false),
            ("nfs", 100, 101, vec![1], false),
            ("nfs", 100, 100, vec![], true),
            ("of tomorrow", 100, 40, vec![600], true),
        ] {
            let storage =
                Storage { repositories: HashMap::from([(Ref::new("r"), sr(kind, size, used))]), connections: vec![] };
            let disks: Vec<_> = disks.into_iter().map(|size| (Ref::new("r"), size)).collect();
            let said = storage.must_hold(&disks).map_err(|error| error.kind);
            assert_eq!(said, if fits { Ok(()) } else { Err(ErrorKind::Capacity) }, "{kind} {used}/{size} {disks:?}");
        }
        let elsewhere = [(Ref::new("unheard of"), 1)];
        assert!(Storage::default().must_hold(&elsewhere).is_ok());
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
