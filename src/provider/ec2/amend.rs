//! Bringing an instance to what is wished: [`super::alter`] says what, this does it.
//!
//! Each call may be the last before a crash. A volume carries the guest's tags and its disk's name from the call that
//! makes it, and its client token is that of this disk: the next run finds it, attached or not, and goes on.

use aws_sdk_ec2::types::{
    AttributeBooleanValue, AttributeValue, EbsInstanceBlockDeviceSpecification,
    InstanceBlockDeviceMappingSpecification, ResourceType, Tag, TagSpecification, Volume, VolumeType,
};
use tokio::time::{Instant, sleep};

use super::{
    action::Action,
    alter::{self, Step},
    convert::{self, Seen},
    core::Core,
    driver::MOVING,
    token,
};
use crate::provider::{Amendment, ErrorKind, GuestWish, ProviderError, Result};

const ACT: &str = "change the instance";

/// How long until a refusal for want of patience is tried again. EBS takes one change of a volume in six hours.
const COOLING: std::time::Duration = std::time::Duration::from_mins(30);

/// Does all that can be done now.
pub(super) async fn amend(core: &Core, wish: &GuestWish) -> Result<Amendment> {
    let deadline = Instant::now() + core.config.deadline;
    loop {
        let seen = core.existing(ACT, &wish.key).await?;
        let volumes = volumes(core, &seen).await?;
        let outlook = alter::outlook(wish, &seen, &volumes, &core.accepted());
        let waits = outlook.now.iter().find_map(waiting);
        let mut refused = None;
        let mut acted = false;
        for step in &outlook.now {
            match take(core, wish, &seen, step).await {
                Ok(()) => acted |= !matches!(step, Step::Wait { .. }),
                // One disk that cannot grow yet does not hold up the others.
                Err(error) if matches!(step, Step::Grow { .. }) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        if outlook.now.is_empty() {
            let guest = core.view.known(&wish.key).unwrap_or(seen).guest;
            return Ok(match outlook.later {
                Some(why) => Amendment::WhenOff(guest, why),
                None => Amendment::Done(guest),
            });
        }
        if Instant::now() + core.config.refresh.quick > deadline {
            let why = waits.unwrap_or_else(|| "its changes do not show yet".to_owned());
            return Err(ProviderError::new(ErrorKind::Unavailable, ACT, why).with_retry_after(MOVING));
        }
        if !acted {
            sleep(core.config.refresh.quick).await;
        }
    }
}

fn waiting(step: &Step) -> Option<String> {
    match step {
        Step::Wait { disk, state } => Some(format!("disk {disk} is {state}")),
        _ => None,
    }
}

/// The guest's volumes of this incarnation. An earlier one's hold another VM's data and go with it.
async fn volumes(core: &Core, seen: &Seen) -> Result<Vec<Volume>> {
    let key = &seen.guest.key;
    let mut volumes = core.api.volumes(ACT, convert::filter_guest(&core.config.owner, &key.guest)).await?;
    volumes.retain(|volume| convert::incarnation(volume.tags()) == Some(key.incarnation));
    core.learn(&volumes);
    Ok(volumes)
}

async fn take(core: &Core, wish: &GuestWish, seen: &Seen, step: &Step) -> Result<()> {
    match step {
        Step::Grow { volume, disk, gib } => grow(core, volume, disk, *gib).await,
        Step::Make { disk, gib, kind } => make(core, wish, seen, disk, *gib, kind.as_deref()).await,
        Step::Attach { volume, device, .. } => attach(core, seen, volume, device).await,
        Step::Bind { device } => bind(core, seen, device).await,
        Step::Wait { .. } => Ok(()),
        Step::Resize { to } => resize(core, seen, to).await,
        Step::Protect => protect(core, seen).await,
        Step::Unprotect => unprotect(core, seen).await,
    }
}

async fn grow(core: &Core, volume: &str, disk: &str, gib: i32) -> Result<()> {
    let send = || core.api.ec2().modify_volume().volume_id(volume).size(gib).send();
    match core.api.call(ACT, Action::ModifyVolume, send).await {
        Ok(_) => {
            core.grown(volume, gib);
            core.view.touch();
            Ok(())
        }
        Err(error) => Err(match error.code.as_deref() {
            Some("VolumeModificationRateExceeded" | "IncorrectModificationState") => {
                let message = format!(
                    "disk {disk} ({volume}) cannot grow to {gib} GiB yet: EBS changes a volume once in six hours, and \
                     not while an earlier change is under way. It is tried again"
                );
                let said = error.code.unwrap_or_default();
                ProviderError::new(ErrorKind::Unavailable, ACT, message).with_code(said).with_retry_after(COOLING)
            }
            _ => error,
        }),
    }
}

async fn make(core: &Core, wish: &GuestWish, seen: &Seen, disk: &str, gib: i32, kind: Option<&str>) -> Result<()> {
    let Some(zone) = seen.guest.zone.clone() else {
        let message = "EC2 does not say in which zone the instance is";
        return Err(ProviderError::new(ErrorKind::Unavailable, ACT, message).with_retry_after(MOVING));
    };
    let kind = kind.unwrap_or(super::launch::VOLUME_TYPE);
    let encrypted = core.config.encrypt_disks;
    let asked = ["disk", disk, &gib.to_string(), kind, &zone, &encrypted.to_string(), &core.config.owner.0];
    let mut tags = convert::tags(&core.config.owner, &wish.key);
    tags.push(Tag::builder().key(convert::DISK).value(disk).build());
    let tags = TagSpecification::builder().resource_type(ResourceType::Volume).set_tags(Some(tags)).build();
    let request = core
        .api
        .ec2()
        .create_volume()
        .availability_zone(&zone)
        .size(gib)
        .volume_type(VolumeType::from(kind))
        .set_encrypted(encrypted.then_some(true))
        .client_token(token::client_token(&wish.key, &asked))
        .tag_specifications(tags);
    core.api.call(ACT, Action::CreateVolume, || request.clone().send()).await?;
    Ok(())
}

async fn attach(core: &Core, seen: &Seen, volume: &str, device: &str) -> Result<()> {
    let id = &seen.guest.provider_id;
    let send = || core.api.ec2().attach_volume().volume_id(volume).instance_id(id).device(device).send();
    core.api.call(ACT, Action::AttachVolume, send).await?;
    core.view.touch();
    Ok(())
}

async fn bind(core: &Core, seen: &Seen, device: &str) -> Result<()> {
    let ebs = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(true).build();
    let mapping = InstanceBlockDeviceMappingSpecification::builder().device_name(device).ebs(ebs).build();
    let request = core.api.ec2().modify_instance_attribute().instance_id(&seen.guest.provider_id);
    let request = request.block_device_mappings(mapping);
    core.api.call(ACT, Action::ModifyInstanceAttribute, || request.clone().send()).await?;
    Ok(())
}

async fn resize(core: &Core, seen: &Seen, to: &str) -> Result<()> {
    let request = core.api.ec2().modify_instance_attribute().instance_id(&seen.guest.provider_id);
    let request = request.instance_type(AttributeValue::builder().value(to).build());
    core.api.call(ACT, Action::ModifyInstanceAttribute, || request.clone().send()).await?;
    let mut now = seen.clone();
    now.guest.instance_type = Some(to.to_owned());
    // What the old type had does not hold any more; the next read tells.
    (now.guest.vcpus, now.guest.memory) = (None, None);
    core.view.wrote(now);
    Ok(())
}

/// A tag says first that it is about to be done and then that it is: whichever call is the last, what EC2 is told to
/// refuse can be taken back, and nothing is said to be protected that is not.
async fn protect(core: &Core, seen: &Seen) -> Result<()> {
    note_protection(core, seen, Some(convert::SETTING)).await?;
    set_protection(core, seen, true).await?;
    note_protection(core, seen, Some(convert::SET)).await
}

/// Lets EC2 terminate the instance again, where it was us who forbade it.
pub(super) async fn unprotect(core: &Core, seen: &Seen) -> Result<()> {
    set_protection(core, seen, false).await?;
    note_protection(core, seen, None).await
}

async fn set_protection(core: &Core, seen: &Seen, on: bool) -> Result<()> {
    let request = core.api.ec2().modify_instance_attribute().instance_id(&seen.guest.provider_id);
    let request = request.disable_api_termination(AttributeBooleanValue::builder().value(on).build());
    core.api.call(ACT, Action::ModifyInstanceAttribute, || request.clone().send()).await?;
    Ok(())
}

async fn note_protection(core: &Core, seen: &Seen, value: Option<&str>) -> Result<()> {
    let id = &seen.guest.provider_id;
    let tag = Tag::builder().key(convert::PROTECTED).set_value(value.map(str::to_owned)).build();
    if value.is_some() {
        let send = || core.api.ec2().create_tags().resources(id).tags(tag.clone()).send();
        core.api.call(ACT, Action::CreateTags, send).await?;
    } else {
        let send = || core.api.ec2().delete_tags().resources(id).tags(tag.clone()).send();
        core.api.call(ACT, Action::DeleteTags, send).await?;
    }
    let mut now = core.view.known(&seen.guest.key).unwrap_or_else(|| seen.clone());
    now.protection = value.map(str::to_owned);
    now.guest.protected = Some(value == Some(convert::SET));
    core.view.wrote(now);
    Ok(())
}
