//! Taking an instance over that is there already, and giving one up: nothing but labels.

use serde_json::json;

use super::{
    action::Action,
    convert::{self, Seen, provider_id},
    core::Core,
    identity,
    wire::{Instance, Labels, last},
};
use crate::provider::{
    ErrorKind, Key, ObservedGuest, ProviderError, Result,
    rented::{follow::Region as _, snapshot::Rented as _},
};

/// Puts the guest's labels on the instance, all in one call, and only if it still has those that were seen: of two that take it
/// over at once one is refused.
pub(super) async fn adopt(core: &Core, key: &Key, id: &str) -> Result<ObservedGuest> {
    const ACT: &str = "adopt the instance";
    core.look(ACT, &key.guest).await?;
    if let Some(seen) = core.view.known(key).filter(Seen::is_live) {
        if seen.guest.provider_id == id {
            return Ok(seen.guest);
        }
        return Err(refused(ACT, format!("the guest has instance {} already", seen.guest.provider_id)));
    }
    let instance = read(core, ACT, id).await?;
    let id = provider_id(last(&instance.zone), &instance.name);
    is_free(core, key, &instance).map_err(|why| refused(ACT, format!("instance {id} {why}")))?;
    let zone = last(&instance.zone);
    let mut labels = without_marks(&instance.labels);
    labels.extend(identity::labels(&core.config.owner, key, zone));
    labels.insert(identity::ADOPTED.to_owned(), instance.id.clone());
    let path = format!("zones/{zone}/instances/{}/setLabels", instance.name);
    let body = json!({ "labelFingerprint": instance.label_fingerprint, "labels": labels });
    core.api.changed(ACT, Action::LabelInstance, zone, &path, Some(body)).await?;
    let instance = read(core, ACT, &id).await.map_err(|mut error| {
        error.kind = ErrorKind::UnknownOutcome;
        error
    })?;
    match convert::ours(&core.config.owner, &instance) {
        Some(seen) if seen.guest.key.guest == key.guest => {
            core.view.wrote(seen.clone());
            Ok(seen.guest)
        }
        _ => Err(refused(ACT, format!("instance {id} was adopted by somebody else meanwhile"))),
    }
}

/// The instance that an id `ZONE/NAME` stands for; the number in place of the name does as well.
async fn read(core: &Core, act: &str, id: &str) -> Result<Instance> {
    let not_found =
        |why: &str| ProviderError::new(ErrorKind::NotFound, act, format!("there is no instance {id}: {why}"));
    let Some((zone, name)) = id.rsplit_once('/') else {
        return Err(not_found("write it as ZONE/NAME, such as europe-west1-b/web"));
    };
    let zone = last(zone);
    if !core.config.zones.iter().any(|known| known == zone) {
        return Err(not_found(&format!("the pool's zones are {}", core.config.zones.join(", "))));
    }
    core.api.instance(act, zone, name).await
}

/// Whether nobody has it, or this guest.
fn is_free(core: &Core, key: &Key, instance: &Instance) -> Result<(), String> {
    let owner = &core.config.owner;
    if instance.status == "STOPPING" || instance.status == "DEPROVISIONING" {
        return Err("is stopping or being deleted: try again when it is off".to_owned());
    }
    match (instance.labels.get(identity::OWNER), instance.labels.get(identity::GUEST)) {
        (None, _) => Ok(()),
        (Some(mark), _) if *mark != identity::label(&owner.0) => Err("belongs to another Innkeeper".to_owned()),
        // A copy of an instance of ours carries its labels. It is nobody's.
        _ if convert::ours(owner, instance).is_none() => Ok(()),
        (Some(_), Some(guest)) if *guest == identity::label(&key.guest) => Ok(()),
        _ => Err(match identity::key(owner, &instance.labels) {
            Some(other) => format!("belongs to guest {other}"),
            None => "belongs to another guest".to_owned(),
        }),
    }
}

fn refused(act: &str, message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Invalid, act, message)
}

/// Labels that are not ours.
fn without_marks(labels: &Labels) -> Labels {
    let foreign = labels.iter().filter(|(name, _)| !identity::MARKS.contains(&name.as_str()));
    foreign.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Takes our labels off: of the disks first, so that the instance is found again should this be cut off between.
pub(super) async fn release(core: &Core, key: &Key) -> Result<()> {
    const ACT: &str = "release the instance";
    core.look(ACT, &key.guest).await?;
    let Some(seen) = core.view.known(key).filter(Seen::is_live) else { return Ok(()) };
    let disks = core.disks(ACT, &key.guest).await?;
    for disk in disks.iter().filter(|disk| identity::incarnation(&disk.labels) == Some(key.incarnation)) {
        let zone = last(&disk.zone);
        let body = json!({ "labelFingerprint": disk.label_fingerprint, "labels": without_marks(&disk.labels) });
        let path = format!("zones/{zone}/disks/{}/setLabels", disk.name);
        core.api.changed(ACT, Action::LabelDisk, zone, &path, Some(body)).await?;
    }
    let body = json!({ "labelFingerprint": seen.label_fingerprint, "labels": without_marks(&seen.labels) });
    core.api.changed(ACT, Action::LabelInstance, &seen.zone, &format!("{}/setLabels", seen.path()), Some(body)).await?;
    core.view.snapshot().forget(&seen.guest.provider_id);
    core.view.touch();
    Ok(())
}
