//! A guest's own disks: made, put into drives, grown.
//!
//! A disk is known by its name and mark from the very call that makes it until it is in a drive; from then on by the mark on
//! the drive, which survives a move of the disk to other storage. Only then is it named for people. So a run that was cut
//! off anywhere is gone on with, and what is in no drive in the end is removed.

use serde_json::json;

use super::{
    call_error::{CallError, During, GoneIsFine},
    client::{Nature, args},
    create::BUSY_AGAIN,
    driver::XapiProvider,
    drives::{Drive, Drives, FIRST_BOOT, position},
    identity::{self, DiskMark},
    records::{Host, Sr, Vbd, Vdi, Vm},
    storage::Storage,
    value::Ref,
    view::View,
};
use crate::provider::{Disk, ErrorKind, GuestWish, Key, ProviderError, Result};

const MAKE: &str = "make a disk of the VM";
const ATTACH: &str = "attach a disk to the VM";
const GROW: &str = "grow a disk of the VM";

/// A disk that is to be there.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) size: u64,
    pub(super) sr: Ref<Sr>,
    pub(super) read_only: bool,
}

impl XapiProvider {
    /// The VM's drives with disks, as they are now.
    pub(super) async fn read_drives(&self, record: &Vm) -> Result<Vec<(Ref<Vbd>, Vbd, Vdi)>, CallError> {
        let read = record.vbds.iter().map(|reference| async move {
            let Some(vbd) = self.client.get::<Vbd>(reference).await? else { return Ok(None) };
            if vbd.vdi.is_null() {
                return Ok(None);
            }
            let disk = self.client.get(&vbd.vdi).await?;
            Ok::<_, CallError>(disk.map(|disk| (reference.clone(), vbd, disk)))
        });
        Ok(futures::future::try_join_all(read).await?.into_iter().flatten().collect())
    }

    pub(super) async fn drives(&self, vm: &Ref<Vm>) -> Result<Drives> {
        let act = "read the VM's disks";
        let Some(record) = self.client.get(vm).await.during(act)? else {
            return Err(ProviderError::new(ErrorKind::Unavailable, act, "it disappeared meanwhile"));
        };
        Ok(Drives::new(&record.uuid, self.read_drives(&record).await.during(act)?))
    }

    /// Brings the VM's disks to the wish: all that are missing, and none smaller than wished. Answers with what has to wait
    /// until the VM is off; that is nothing where it is.
    pub(super) async fn furnish(
        &self,
        view: &View,
        vm: &Ref<Vm>,
        wish: &GuestWish,
        running_on: Option<&Ref<Host>>,
    ) -> Result<Vec<String>> {
        let mut rest = Vec::new();
        if wish.root_disk.is_none() && wish.disks.is_empty() {
            return Ok(rest);
        }
        let drives = self.drives(vm).await?;
        let running = running_on.is_some();
        if let (Some(size), Some(root)) = (wish.root_disk, drives.root()) {
            rest.extend(self.grow(root, "root", size.0, running).await?);
        }
        if wish.disks.is_empty() {
            return Ok(rest);
        }
        let mut storage = None;
        for disk in &wish.disks {
            let drive = if let Some(drive) = drives.named(&disk.name) {
                drive.clone()
            } else {
                let known = match storage.take() {
                    Some(known) => known,
                    None => self.read_storage().await?,
                };
                let sr = self.place(view, &known, &drives, disk)?;
                known.must_be_seen(view, &sr, running_on)?;
                let wanted = Wanted { name: &disk.name, size: disk.size.0, sr, read_only: false };
                let drive = self.have(vm, &wish.key, &known, &wanted).await?;
                storage = Some(known);
                drive
            };
            if running {
                rest.extend(self.plug(&drive, &disk.name).await?);
            }
            rest.extend(self.grow(&drive, &disk.name, disk.size.0, running).await?);
        }
        if storage.is_some() {
            self.sweep_disks(&wish.key).await.during("remove disks that are in no drive")?;
        }
        Ok(rest)
    }

    /// Where a disk goes that is not there yet: on the storage it names, else on the configured default, else beside the disk
    /// that the VM boots from, else on the pool's default.
    fn place(&self, view: &View, storage: &Storage, drives: &Drives, disk: &Disk) -> Result<Ref<Sr>> {
        if let Some(id) = &disk.storage {
            return storage.named(id);
        }
        self.unnamed_place(view, storage, drives)
    }

    pub(super) fn unnamed_place(&self, view: &View, storage: &Storage, drives: &Drives) -> Result<Ref<Sr>> {
        let beside = drives.root().map(|root| root.disk.sr.clone());
        match (beside, &self.default_storage) {
            (Some(sr), None) => Ok(sr),
            _ => self.open_storage(view, storage),
        }
    }

    /// The VM's drive with this disk; makes what is missing of it.
    pub(super) async fn have(&self, vm: &Ref<Vm>, key: &Key, storage: &Storage, wanted: &Wanted<'_>) -> Result<Drive> {
        let gone = || ProviderError::new(ErrorKind::Unavailable, ATTACH, "it disappeared meanwhile");
        if self.drives(vm).await?.named(wanted.name).is_none() {
            let loose = self.loose(key).await.during(MAKE)?;
            let disk = if let Some((disk, _)) = loose.into_iter().find(|(_, mark)| is_it(mark.as_ref(), key, wanted)) {
                disk
            } else {
                storage.must_hold(&[(wanted.sr.clone(), wanted.size)])?;
                self.make_disk(vm, key, wanted).await?
            };
            self.attach(vm, &disk, wanted).await?;
        }
        let drives = self.drives(vm).await?;
        let drive = drives.named(wanted.name).ok_or_else(gone)?.clone();
        // Until now its name was what it was found by.
        if drive.disk.name_label == identity::loose_name(&self.owner, key) {
            let name = if wanted.name == FIRST_BOOT { "first boot" } else { wanted.name };
            let name = format!("{} {name}", key.name);
            self.client.set("VDI.set_name_label", args![drive.vdi(), name]).await.during(MAKE)?;
        }
        Ok(drive)
    }

    async fn make_disk(&self, vm: &Ref<Vm>, key: &Key, wanted: &Wanted<'_>) -> Result<Ref<Vdi>> {
        let mark = DiskMark { incarnation: key.incarnation, name: wanted.name.to_owned() };
        let uuid: String = self.client.read("VM.get_uuid", args![vm]).await.during(MAKE)?;
        let record = json!({
            "name_label": identity::loose_name(&self.owner, key),
            "name_description": format!("Disk of Guest {key} of Innkeeper"),
            "SR": wanted.sr,
            "virtual_size": wanted.size.to_string(),
            "type": "user",
            "sharable": false,
            "read_only": false,
            // A struct of a string and a number always has a JSON form.
            "other_config": { identity::DISK_KEY: serde_json::to_string(&mark).unwrap_or_default() },
            "xenstore_data": {},
            "sm_config": { "vmhint": uuid },
            "tags": [],
        });
        self.flights.begin(key);
        let begun = |task: &_| self.flights.task(key, task);
        let limit = self.client.timing.task;
        let made = self.client.task("VDI.create", args![record], Nature::Once, limit, begun).await;
        if !matches!(made, Err(CallError::Unknown { .. } | CallError::Closed)) {
            self.flights.end(key);
        }
        made.map(Ref::new).during(MAKE)
    }

    /// A drive is known by its position: where the first answer was lost, the second call says that it is there.
    async fn attach(&self, vm: &Ref<Vm>, disk: &Ref<Vdi>, wanted: &Wanted<'_>) -> Result<()> {
        let uuid: String = self.client.read("VM.get_uuid", args![vm]).await.during(ATTACH)?;
        let free: Vec<String> = self.client.read("VM.get_allowed_VBD_devices", args![vm]).await.during(ATTACH)?;
        let Some(position) = position(&free) else {
            let message = "the VM has no free position for a further disk";
            return Err(ProviderError::new(ErrorKind::Invalid, ATTACH, message));
        };
        let record = json!({
            "VM": vm,
            "VDI": disk,
            "userdevice": position,
            "bootable": false,
            "mode": if wanted.read_only { "RO" } else { "RW" },
            "type": "Disk",
            "unpluggable": true,
            "empty": false,
            "other_config": { identity::drive_key(&uuid): wanted.name, "owner": "" },
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        });
        match self.client.set("VBD.create", args![record]).await {
            // The first answer was lost, or somebody was quicker: the next look tells.
            Err(error) if error.is("DEVICE_ALREADY_EXISTS") => Ok(()),
            other => other.during(ATTACH),
        }
    }

    /// Lets a running VM have the disk now, where its system can; it has it at its next start anyhow.
    async fn plug(&self, drive: &Drive, name: &str) -> Result<Option<String>> {
        if drive.record.currently_attached {
            return Ok(None);
        }
        let later = |why: &str| Some(format!("its disk {name} is attached at the next start ({why})"));
        let allowed: Vec<String> =
            self.client.read("VBD.get_allowed_operations", args![drive.vbd]).await.during(ATTACH)?;
        if !allowed.iter().any(|operation| operation == "plug") {
            return Ok(later("disks cannot be plugged into it now"));
        }
        match self.client.run("VBD.plug", args![drive.vbd], self.client.timing.task).await {
            Ok(()) => Ok(None),
            Err(error) if error.is("DEVICE_ALREADY_ATTACHED") => Ok(None),
            Err(error) if is_not_while_running(&error) => Ok(later(&error.to_string())),
            Err(error) => Err(error.during(ATTACH)),
        }
    }

    /// Grows the disk to this size; disks never shrink. Answers why it has to wait until the VM is off.
    pub(super) async fn grow(&self, drive: &Drive, name: &str, size: u64, running: bool) -> Result<Option<String>> {
        if drive.disk.virtual_size >= size {
            return Ok(None);
        }
        let disk = drive.vdi();
        let allowed: Vec<String> = self.client.read("VDI.get_allowed_operations", args![disk]).await.during(GROW)?;
        let may = |operation: &str| allowed.iter().any(|allowed| allowed == operation);
        let method = match (running, may("resize"), may("resize_online")) {
            (false, ..) | (true, true, _) => "VDI.resize",
            (true, false, true) => "VDI.resize_online",
            (true, false, false) => {
                return Ok(Some(format!("its disk {name} cannot grow while it is in use on this storage")));
            }
        };
        match self.client.run(method, args![disk, size.to_string()], self.client.timing.task).await {
            Ok(()) => Ok(None),
            Err(error) if running && is_not_while_running(&error) => {
                Ok(Some(format!("its disk {name} cannot grow while it is in use ({error})")))
            }
            // For seconds after a VM has stopped.
            Err(error) if error.is("VDI_IN_USE") => Err(error.during(GROW).with_retry_after(BUSY_AGAIN)),
            Err(error) => Err(error.during(GROW)),
        }
    }

    /// Disks that were made for this guest and are in no drive, with their marks: `None` where xapi made the disk and was
    /// cut off before it wrote the mark down.
    async fn loose(&self, key: &Key) -> Result<Vec<(Ref<Vdi>, Option<DiskMark>)>, CallError> {
        let name = identity::loose_name(&self.owner, key);
        let named: Vec<Ref<Vdi>> = self.client.read("VDI.get_by_name_label", args![name]).await?;
        let mut loose = Vec::new();
        for disk in named {
            let Some(record) = self.client.get::<Vdi>(&disk).await? else { continue };
            if record.vbds.is_empty() {
                let mark = record.other_config.get(identity::DISK_KEY);
                loose.push((disk, mark.and_then(|mark| serde_json::from_str(mark).ok())));
            }
        }
        loose.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(loose)
    }

    /// Destroys the disks of this incarnation and earlier ones that are in no drive: what was made twice, or never used.
    pub(super) async fn sweep_disks(&self, key: &Key) -> Result<(), CallError> {
        for (disk, mark) in self.loose(key).await? {
            if mark.is_none_or(|mark| mark.incarnation <= key.incarnation) {
                tracing::info!(guest = %key, %disk, "removing a disk that is in no drive");
                self.client.run("VDI.destroy", args![disk], self.client.timing.task).await.gone_is_fine()?;
            }
        }
        Ok(())
    }
}

fn is_it(mark: Option<&DiskMark>, key: &Key, wanted: &Wanted<'_>) -> bool {
    mark.is_some_and(|mark| mark.incarnation == key.incarnation && mark.name == wanted.name)
}

/// Whether xapi says that this cannot be done to a VM that runs, or to a disk in use, so that it can be done later.
fn is_not_while_running(error: &CallError) -> bool {
    const CODES: [&str; 12] = [
        "DEVICE_ATTACH_TIMEOUT",
        "MESSAGE_METHOD_UNKNOWN",
        "MESSAGE_REMOVED",
        "NOT_IMPLEMENTED",
        "OPERATION_NOT_ALLOWED",
        "SR_OPERATION_NOT_SUPPORTED",
        "VBD_NOT_UNPLUGGABLE",
        "VDI_IN_USE",
        "VM_BAD_POWER_STATE",
        "VM_LACKS_FEATURE",
        "VM_MISSING_PV_DRIVERS",
        "VM_OLD_PV_DRIVERS",
    ];
    error.fault().is_some_and(|fault| CODES.contains(&fault.code.as_str()))
}
