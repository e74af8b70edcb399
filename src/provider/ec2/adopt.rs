//! Taking an instance over that is there already, and giving one up: nothing but tags.

use aws_sdk_ec2::types::{Instance, Tag};

use super::{
    action::Action,
    convert::{self, Seen},
    core::Core,
};
use crate::provider::{
    ErrorKind, Key, ObservedGuest, ProviderError, Result,
    rented::{follow::Region as _, snapshot::Rented as _},
};

/// Marks the instance as the guest's, all marks in one call, and looks again: where two take it over at once, one finds the
/// other's mark.
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
    is_free(core, key, &instance).map_err(|why| refused(ACT, format!("instance {id} {why}")))?;
    let marks = || {
        let ours = convert::tags(&core.config.owner, key);
        // Its name stays as it is.
        let marks = ours.into_iter().filter(|tag| tag.key() != Some("Name"));
        marks.chain([Tag::builder().key(convert::ADOPTED).value(id).build()]).collect::<Vec<_>>()
    };
    let root = instance.block_device_mappings().iter().find(|one| one.device_name() == instance.root_device_name());
    let root = root.and_then(|one| one.ebs()?.volume_id()).map(str::to_owned);
    let resources: Vec<String> = [Some(id.to_owned()), root].into_iter().flatten().collect();
    let send = || core.api.ec2().create_tags().set_resources(Some(resources.clone())).set_tags(Some(marks())).send();
    core.api.call(ACT, Action::CreateTags, send).await?;
    core.view.touch();
    let instance = read(core, ACT, id).await?;
    match convert::ours(&core.config.owner, &instance) {
        Some(seen) if seen.guest.key.guest == key.guest => {
            core.view.wrote(seen.clone());
            Ok(seen.guest)
        }
        Some(seen) => Err(refused(ACT, format!("instance {id} was adopted as {} meanwhile", seen.guest.key))),
        None => {
            let message = format!("instance {id} does not show its new tags yet");
            Err(ProviderError::new(ErrorKind::UnknownOutcome, ACT, message))
        }
    }
}

async fn read(core: &Core, act: &str, id: &str) -> Result<Instance> {
    let found = core.api.instances(act, convert::filter_instance(id)).await?;
    found.into_iter().find(|one| one.instance_id() == Some(id)).ok_or_else(|| {
        let message = format!("there is no instance {id} in {}", core.config.region);
        ProviderError::new(ErrorKind::NotFound, act, message)
    })
}

/// Whether nobody has it, or this guest.
fn is_free(core: &Core, key: &Key, instance: &Instance) -> Result<(), String> {
    let power = convert::power(instance.state().and_then(|state| state.name()));
    if !Seen::new(ObservedGuest::new(key.clone(), "", crate::provider::Stage::Complete, power), 0).is_live() {
        return Err(format!("is {}", power.to_string().to_lowercase()));
    }
    let value = |name: &str| convert::tag(instance.tags(), name);
    match (value(convert::OWNER), value(convert::GUEST)) {
        (None, _) => Ok(()),
        (Some(owner), _) if owner != core.config.owner.0 => Err("belongs to another Innkeeper".to_owned()),
        // A copy of an instance of ours carries its tags. It is nobody's.
        _ if convert::ours(&core.config.owner, instance).is_none() => Ok(()),
        (Some(_), Some(guest)) if guest == key.guest => Ok(()),
        _ => Err(match convert::key(&core.config.owner, instance.tags()) {
            Some(other) => format!("belongs to guest {other}"),
            None => "belongs to another guest".to_owned(),
        }),
    }
}

fn refused(act: &str, message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Invalid, act, message)
}

/// Takes our marks off: of the volumes first, so that the instance is found again should this be cut off between.
pub(super) async fn release(core: &Core, key: &Key) -> Result<()> {
    const ACT: &str = "release the instance";
    core.look(ACT, &key.guest).await?;
    let Some(seen) = core.view.known(key).filter(Seen::is_live) else { return Ok(()) };
    let mut volumes = core.api.volumes(ACT, convert::filter_guest(&core.config.owner, &key.guest)).await?;
    volumes.retain(|volume| convert::incarnation(volume.tags()) == Some(key.incarnation));
    let volumes: Vec<String> = volumes.iter().filter_map(|volume| volume.volume_id()).map(str::to_owned).collect();
    let id = seen.guest.provider_id.clone();
    let named = seen.disk_names.keys().map(|device| format!("{}{device}", convert::DISK));
    let marks: Vec<Tag> = convert::MARKS.iter().map(|mark| (*mark).to_owned()).chain(named).map(bare).collect();
    for resources in [volumes, vec![id.clone()]].into_iter().filter(|resources| !resources.is_empty()) {
        let send =
            || core.api.ec2().delete_tags().set_resources(Some(resources.clone())).set_tags(Some(marks.clone())).send();
        core.api.call(ACT, Action::DeleteTags, send).await?;
    }
    core.view.snapshot().forget(&id);
    core.view.touch();
    Ok(())
}

/// A tag to be taken off whatever its value.
fn bare(key: String) -> Tag {
    Tag::builder().key(key).build()
}
