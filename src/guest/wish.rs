//! What a guest's VM should be, with the pool's own ids for everything that is named. Pure.

use super::mandate::Mandate;
use crate::{
    api::{CloudPool, Guest, cloud_pool::NamedResource, guest::Binding, template},
    provider::{Disk, GuestWish, Key, Network},
};

/// Resolves a guest for the pool it is bound to, or says what is missing there. What cloud-init is told is not part of it:
/// that is read when the VM is made.
pub fn resolve(guest: &Guest, key: &Key, binding: &Binding, pool: &CloudPool) -> Result<GuestWish, String> {
    let template = &guest.spec.template;
    // What was there before was made from something else, and is attached where it is.
    if Mandate::new(&guest.spec, &guest.status.clone().unwrap_or_default()).adopted {
        let disks = disks(guest, binding, pool)?;
        let wish = GuestWish::new(key.clone(), String::new(), template.size.vcpus, template.size.memory);
        let root_disk = template.root_disk.map(|root| root.size);
        return Ok(GuestWish { disks, root_disk, protected: !guest.spec.holds.is_empty(), ..wish });
    }
    let networks = template.networks.iter().map(|network| {
        let provider_id = named(&pool.spec.networks, &network.name, "networks", &binding.pool)?;
        Ok(Network { name: network.name.clone(), provider_id })
    });
    let image = named(&pool.spec.images, &template.image.name, "images", &binding.pool)?;
    Ok(GuestWish {
        networks: networks.collect::<Result<_, String>>()?,
        disks: disks(guest, binding, pool)?,
        root_disk: template.root_disk.map(|root| root.size),
        protected: !guest.spec.holds.is_empty(),
        instance_type: binding.instance_type.clone(),
        zone: binding.zone.clone(),
        spot: binding.spot,
        host: binding.host.clone(),
        ..GuestWish::new(key.clone(), image, template.size.vcpus, template.size.memory)
    })
}

fn disks(guest: &Guest, binding: &Binding, pool: &CloudPool) -> Result<Vec<Disk>, String> {
    let disk = |disk: &template::Disk| {
        let find = |name: &String| named(&pool.spec.storage, name, "storage", &binding.pool);
        Ok(Disk { name: disk.name.clone(), size: disk.size, storage: disk.storage.as_ref().map(find).transpose()? })
    };
    guest.spec.template.disks.iter().map(disk).collect()
}

fn named(list: &[NamedResource], name: &str, field: &str, pool: &str) -> Result<String, String> {
    let found = list.iter().find(|entry| entry.name == name).map(|entry| entry.provider_id.clone());
    found.ok_or_else(|| format!("CloudPool {pool} has no entry \"{name}\" in spec.{field} any more: put it back"))
}

#[cfg(test)]
#[path = "wish_tests.rs"]
mod tests;
