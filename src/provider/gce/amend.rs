//! Bringing an instance to what is wished.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    action::Action,
    alter::{self, Step},
    client::Request,
    convert::Seen,
    core::Core,
    driver::{MOVING, settling},
    identity, launch,
    wire::Operation,
};
use crate::provider::{Amendment, ErrorKind, GuestWish, ProviderError, Result};

const ACT: &str = "change the instance";

/// Rounds of looking and doing: a disk is made, then attached, then seen.
const ROUNDS: u32 = 4;

/// Does what can be done now, and says what is left.
pub(super) async fn amend(core: &Core, wish: &GuestWish) -> Result<Amendment> {
    for _ in 0..ROUNDS {
        let seen = core.existing(ACT, &wish.key).await?;
        let disks = if wish.disks.is_empty() { Vec::new() } else { core.disks(ACT, &wish.key.guest).await? };
        let outlook = alter::outlook(&core.config.owner, wish, &seen, &disks);
        if outlook.now.is_empty() {
            return Ok(match outlook.later {
                None => Amendment::Done(seen.guest),
                Some(why) => Amendment::WhenOff(seen.guest, why),
            });
        }
        for step in &outlook.now {
            if let Step::Wait { disk, state } = step {
                let message = format!("disk {disk} is {state}");
                return Err(ProviderError::new(ErrorKind::Unavailable, ACT, message).with_retry_after(MOVING));
            }
            take(core, wish, &seen, step).await.map_err(|error| settling(core, &seen, error))?;
        }
        core.view.touch();
    }
    let message = "the changes are made and not all shown yet";
    Err(ProviderError::new(ErrorKind::Unavailable, ACT, message).with_retry_after(MOVING))
}

async fn take(core: &Core, wish: &GuestWish, seen: &Seen, step: &Step) -> Result<()> {
    let zone = seen.zone.as_str();
    let change = async |action, path: String, body: Value| core.api.changed(ACT, action, zone, &path, Some(body)).await;
    match step {
        Step::Grow { disk, gib } => {
            let body = json!({ "sizeGb": gib.to_string() });
            change(Action::ResizeDisk, format!("zones/{zone}/disks/{disk}/resize"), body).await
        }
        Step::Make { name, gib, kind } => make(core, wish, zone, name, *gib, kind).await,
        Step::Attach { disk, device } => {
            let source = format!("projects/{}/zones/{zone}/disks/{disk}", core.config.project);
            let body = json!({ "source": source, "deviceName": device, "autoDelete": true });
            change(Action::AttachDisk, format!("{}/attachDisk", seen.path()), body).await
        }
        Step::Wait { .. } => Ok(()),
        Step::Resize { to } => {
            let body = json!({ "machineType": format!("zones/{zone}/machineTypes/{to}") });
            change(Action::SetMachineType, format!("{}/setMachineType", seen.path()), body).await
        }
        Step::Protect => {
            // The label first: what Google is told to refuse can always be taken back.
            note_protection(core, seen, true).await?;
            set_protection(core, seen, true).await
        }
        Step::Unprotect => unprotect(core, seen).await,
    }
}

/// Makes a disk, its identity in its name and labels: a second one of that name is refused.
async fn make(core: &Core, wish: &GuestWish, zone: &str, name: &str, gib: u64, kind: &str) -> Result<()> {
    let (owner, key) = (&core.config.owner, &wish.key);
    let body = json!({
        "name": identity::disk_name(owner, key, name),
        "sizeGb": gib.to_string(),
        "type": format!("projects/{}/zones/{zone}/diskTypes/{kind}", core.config.project),
        "labels": launch::disk_labels(&core.config, wish, zone, name),
    });
    let content = launch::content(&body);
    let attempt = core.attempt(&key.guest, &content);
    let id = identity::request_id(owner, key, &["disk", zone, &content], attempt);
    let request = Request::new(Method::POST, format!("zones/{zone}/disks")).body(body).with("requestId", id);
    let operation: Operation = match core.api.call(ACT, Action::InsertDisk, &request).await {
        Ok(operation) => operation,
        // By a request whose answer was lost: the next look shows it.
        Err(error) if error.code.as_deref() == Some("alreadyExists") => return Ok(()),
        Err(error) => return Err(error),
    };
    // Over at once: it is an earlier request's. Should the disk not be there, the next request must be another.
    if operation.is_done() {
        core.failed_attempt(&key.guest, &content, attempt);
    }
    let ended = core.api.ended(ACT, zone, &operation).await;
    if ended.as_ref().is_err_and(|error| error.kind != ErrorKind::UnknownOutcome) {
        core.failed_attempt(&key.guest, &content, attempt);
    }
    ended
}

/// Lets Google delete the instance again, where it was us who forbade it.
pub(super) async fn unprotect(core: &Core, seen: &Seen) -> Result<()> {
    set_protection(core, seen, false).await?;
    note_protection(core, seen, false).await
}

async fn set_protection(core: &Core, seen: &Seen, on: bool) -> Result<()> {
    let path = format!("{}/setDeletionProtection", seen.path());
    let request = Request::new(Method::POST, path).with("deletionProtection", on.to_string());
    let operation = core.api.send_change(ACT, Action::ProtectInstance, request).await?;
    core.api.ended(ACT, &seen.zone, &operation).await
}

async fn note_protection(core: &Core, seen: &Seen, on: bool) -> Result<()> {
    let mut labels = seen.labels.clone();
    if on {
        labels.insert(identity::PROTECTED.to_owned(), "yes".to_owned());
    } else {
        labels.remove(identity::PROTECTED);
    }
    let body = json!({ "labelFingerprint": seen.label_fingerprint, "labels": labels });
    core.api.changed(ACT, Action::LabelInstance, &seen.zone, &format!("{}/setLabels", seen.path()), Some(body)).await
}
