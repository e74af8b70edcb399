//! What cloud-init is told at a guest's first start: a small disk with a FAT file system, which its `NoCloud` data source finds
//! by the label `cidata`. It is written by us, filled before the VM is complete, so before it can start, and stays with the VM.

use std::io::{Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::{
    call_error::During, disks::Wanted, driver::XapiProvider, drives::FIRST_BOOT, records::Vm, value::Ref, view::View,
};
use crate::provider::{ErrorKind, FirstBoot, GuestWish, Key, ProviderError, Result};

const FILL: &str = "write the first boot disk";
/// Secrets and config maps, where the data come from, hold 1 MiB each.
const SIZE: usize = 4 << 20;
const LABEL: [u8; 11] = *b"cidata     ";

/// Whether there is anything to tell.
pub(super) fn is_told(first_boot: &FirstBoot) -> bool {
    first_boot.user_data.is_some() || first_boot.network_data.is_some()
}

/// The disk's content: the same bytes for the same guest and data.
pub(super) fn image(key: &Key, first_boot: &FirstBoot) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; SIZE];
    let digest = Sha256::digest(&key.guest);
    let id = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    format_volume(Cursor::new(&mut bytes[..]), FormatVolumeOptions::new().volume_label(LABEL).volume_id(id))?;
    let volume = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new())?;
    let write = |name: &str, content: &str| -> std::io::Result<()> {
        let mut file = volume.root_dir().create_file(name)?;
        file.write_all(content.as_bytes())?;
        file.flush()
    };
    write("meta-data", &meta_data(key))?;
    // The data source wants the file in any case.
    write("user-data", first_boot.user_data.as_ref().map_or("#cloud-config\n", |data| data.expose_secret()))?;
    if let Some(data) = &first_boot.network_data {
        write("network-config", data.expose_secret())?;
    }
    volume.unmount()?;
    Ok(bytes)
}

/// Each VM of a guest is an instance of its own: cloud-init begins anew in it.
fn meta_data(key: &Key) -> String {
    // A JSON string is a YAML string.
    let [id, name] = [format!("{}-{}", key.guest, key.incarnation), key.name.clone()]
        .map(|text| serde_json::Value::from(text).to_string());
    format!("instance-id: {id}\nlocal-hostname: {name}\n")
}

impl XapiProvider {
    /// Has the first boot disk in a drive of the halted VM, and filled. The VM is marked as complete only afterwards, so
    /// a disk that a crash left half written is written anew.
    pub(super) async fn tell(&self, view: &View, vm: &Ref<Vm>, wish: &GuestWish) -> Result<()> {
        if !is_told(&wish.first_boot) {
            return Ok(());
        }
        let image = image(&wish.key, &wish.first_boot).map_err(|error| {
            let message = format!("what cloud-init is to be told does not fit on it: {error}");
            ProviderError::new(ErrorKind::Invalid, FILL, message)
        })?;
        let storage = self.read_storage().await?;
        let drives = self.drives(vm).await?;
        let sr = self.unnamed_place(view, &storage, &drives)?;
        let wanted = Wanted { name: FIRST_BOOT, size: SIZE as u64, sr, read_only: true };
        let drive = self.have(vm, &wish.key, &storage, &wanted).await?;
        let seen_by: Vec<_> =
            view.hosts.iter().filter(|(host, _)| storage.is_seen(&drive.disk.sr, Some(host))).collect();
        let coordinator = view.pool().map(|(_, pool)| pool.master.clone()).unwrap_or_default();
        let through = match seen_by.iter().find(|(host, _)| **host == coordinator).or_else(|| seen_by.first()) {
            Some((host, _)) if **host == coordinator => None,
            Some((_, host)) => Some(host.address.clone()),
            None => {
                storage.must_be_seen(view, &drive.disk.sr, None)?;
                None
            }
        };
        let members: Vec<String> = view.hosts.values().map(|host| host.address.clone()).collect();
        self.client.fill(&drive.disk.uuid, image, through.as_deref(), &members).await.during(FILL)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, sync::Arc};

    use proptest::prelude::*;

    use super::*;
    use crate::provider::xapi::identity::tests::key;

    fn first_boot(user: Option<&str>, network: Option<&str>) -> FirstBoot {
        let secret = |text: &str| Arc::new(secrecy::SecretString::from(text.to_owned()));
        FirstBoot { user_data: user.map(secret), network_data: network.map(secret) }
    }

    fn read(image: Vec<u8>) -> Vec<(String, String)> {
        let volume = FileSystem::new(Cursor::new(image), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "cidata");
        assert_eq!(volume.read_volume_label_from_root_dir().unwrap().as_deref(), Some("cidata"));
        assert!(!volume.read_status_flags().unwrap().dirty());
        let mut files = Vec::new();
        for entry in volume.root_dir().iter().map(Result::unwrap) {
            let mut content = String::new();
            entry.to_file().read_to_string(&mut content).unwrap();
            files.push((entry.file_name(), content));
        }
        files.sort();
        files
    }

    #[test]
    fn cloud_init_finds_its_files() {
        let files = read(image(&key(), &first_boot(Some("#!/bin/sh\n"), Some("version: 2\n"))).unwrap());
        let expected = [
            ("meta-data", "instance-id: \"8c0e-2\"\nlocal-hostname: \"web-0\"\n"),
            ("network-config", "version: 2\n"),
            ("user-data", "#!/bin/sh\n"),
        ];
        assert_eq!(files, expected.map(|(name, content)| (name.to_owned(), content.to_owned())));
        let without = read(image(&key(), &first_boot(None, None)).unwrap());
        let names: Vec<_> = without.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["meta-data", "user-data"]);
    }

    #[test]
    fn a_small_disk_holds_all_that_a_cluster_can_store() {
        let large = "x".repeat(1 << 20);
        let told = read(image(&key(), &first_boot(Some(&large), Some(&large))).unwrap());
        assert!(told.iter().filter(|(_, content)| *content == large).count() == 2);
        let too_large = "x".repeat(SIZE);
        assert!(image(&key(), &first_boot(Some(&too_large), None)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Whatever is told comes back as it was, and the same again makes the same disk.
        #[test]
        fn what_is_written_is_read(user in proptest::option::of("\\PC{0,9000}"), network in proptest::option::of("\\PC{0,3000}")) {
            let told = first_boot(user.as_deref(), network.as_deref());
            let bytes = image(&key(), &told).unwrap();
            prop_assert_eq!(bytes.len(), SIZE);
            prop_assert!(bytes == image(&key(), &told).unwrap());
            let files = read(bytes);
            let content = |name: &str| files.iter().find(|(n, _)| n == name).map(|(_, content)| content.clone());
            prop_assert_eq!(content("user-data"), Some(user.unwrap_or_else(|| "#cloud-config\n".into())));
            prop_assert_eq!(content("network-config"), network);
        }
    }
}
