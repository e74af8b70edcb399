//! The request that launches a guest. Pure, but for the values of the SDK that it is made of.

use aws_sdk_ec2::{
    operation::run_instances::builders::RunInstancesInputBuilder,
    types::{
        BlockDeviceMapping, EbsBlockDevice, HttpTokensState, Image, InstanceMetadataEndpointState,
        InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType, Placement, ResourceType,
        ShutdownBehavior, TagSpecification,
    },
};

use super::{Ec2Config, convert, token};
use crate::provider::{ErrorKind, GuestWish, ProviderError, Result};

/// What the guest is launched with. Everything that may differ between two launches of the same incarnation is in the
/// client token; all else must be the same for the same wish, or EC2 takes a repeated launch for a mistake.
pub(super) fn request(config: &Ec2Config, wish: &GuestWish, image: &Image) -> Result<RunInstancesInputBuilder> {
    let kind = wish.instance_type.as_ref().or(config.default_instance_type.as_ref()).ok_or_else(|| {
        let message = "no instance type was chosen, and the pool has no default";
        ProviderError::new(ErrorKind::Invalid, "launch the instance", message)
    })?;
    let tags = convert::tags(&config.owner, &wish.key);
    let tagged = |what: ResourceType| TagSpecification::builder().resource_type(what).set_tags(Some(tags.clone()));
    let groups = (!config.security_groups.is_empty()).then(|| config.security_groups.clone());
    let encrypt = config.encrypt_disks.to_string();
    let mut asked =
        vec![config.owner.0.as_str(), kind, &wish.image, &encrypt, wish.zone.as_deref().unwrap_or_default()];
    asked.extend(config.default_subnet.as_deref().filter(|_| wish.networks.is_empty()));
    asked.extend(wish.networks.iter().map(|network| network.provider_id.as_str()));
    asked.push("groups");
    asked.extend(config.security_groups.iter().map(String::as_str));
    let metadata = InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required);
    let mut request = RunInstancesInputBuilder::default()
        .image_id(&wish.image)
        .instance_type(InstanceType::from(kind.as_str()))
        .min_count(1)
        .max_count(1)
        .client_token(token::client_token(&wish.key, &asked))
        .tag_specifications(tagged(ResourceType::Instance).build())
        .tag_specifications(tagged(ResourceType::Volume).build())
        .metadata_options(metadata.build())
        .set_block_device_mappings(disks(config, image))
        // A guest that switches itself off is stopped, not destroyed.
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Stop)
        .set_placement(wish.zone.as_ref().map(|zone| Placement::builder().availability_zone(zone).build()));
    match wish.networks.as_slice() {
        [] => request = request.set_subnet_id(config.default_subnet.clone()).set_security_group_ids(groups),
        [only] => request = request.subnet_id(&only.provider_id).set_security_group_ids(groups),
        several => {
            for (index, network) in (0..).zip(several) {
                let card = InstanceNetworkInterfaceSpecification::builder()
                    .device_index(index)
                    .subnet_id(&network.provider_id)
                    .set_groups(groups.clone())
                    .delete_on_termination(true);
                request = request.network_interfaces(card.build());
            }
        }
    }
    Ok(request)
}

/// The image's own EBS disks again, each to go with the instance and encrypted. An image's own setting may say
/// otherwise and would leave disks behind.
fn disks(config: &Ec2Config, image: &Image) -> Option<Vec<BlockDeviceMapping>> {
    let disk = |mapping: &BlockDeviceMapping| {
        let (name, ebs) = (mapping.device_name()?, mapping.ebs()?);
        // An image with encrypted snapshots is encrypted anyhow, and EC2 refuses `false` for it.
        let encrypted = config.encrypt_disks.then_some(true).or_else(|| ebs.encrypted().filter(|set| *set));
        let ebs = EbsBlockDevice::builder()
            .delete_on_termination(true)
            .set_encrypted(encrypted)
            // EC2 would take it from the image by itself; compatible clouds want to be told.
            .set_volume_size(ebs.volume_size());
        Some(BlockDeviceMapping::builder().device_name(name).ebs(ebs.build()).build())
    };
    let disks: Vec<_> = image.block_device_mappings().iter().filter_map(disk).collect();
    (!disks.is_empty()).then_some(disks)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::run_instances::RunInstancesInput;

    use super::*;
    use crate::{
        api::quantity::Bytes,
        provider::{Key, Network, Owner, ec2::Credentials},
    };

    fn config() -> Ec2Config {
        let mut config = Ec2Config::new("eu-west-2", Credentials::DefaultChain, Owner("cluster-1".into()));
        config.security_groups = vec!["sg-1".into()];
        config.default_subnet = Some("subnet-default".into());
        config
    }

    fn wish(networks: &[&str]) -> GuestWish {
        let network = |id: &&str| Network { name: format!("net-{id}"), provider_id: (*id).into() };
        let key = Key { guest: "uid-1".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        GuestWish {
            networks: networks.iter().map(network).collect(),
            instance_type: Some("m7i.large".into()),
            zone: Some("eu-west-2a".into()),
            ..GuestWish::new(key, "ami-1", 2, Bytes::gib(8))
        }
    }

    fn launch(wish: &GuestWish) -> RunInstancesInput {
        request(&config(), wish, &image()).unwrap().build().unwrap()
    }

    fn image() -> Image {
        let ebs = EbsBlockDevice::builder().snapshot_id("snap-1").delete_on_termination(false).build();
        let root = BlockDeviceMapping::builder().device_name("/dev/xvda").ebs(ebs).build();
        let local = BlockDeviceMapping::builder().device_name("/dev/xvdb").virtual_name("ephemeral0").build();
        Image::builder().image_id("ami-1").block_device_mappings(root).block_device_mappings(local).build()
    }

    #[test]
    fn identity_and_safety_are_in_the_one_call() {
        let request = launch(&wish(&[]));
        assert_eq!((request.min_count(), request.max_count()), (Some(1), Some(1)));
        assert!(token::belongs(&wish(&[]).key, request.client_token()));
        let kinds: Vec<_> = request.tag_specifications().iter().filter_map(|spec| spec.resource_type()).collect();
        assert_eq!(kinds, [&ResourceType::Instance, &ResourceType::Volume]);
        assert!(request.tag_specifications().iter().all(|spec| spec.tags().len() == 6));
        assert_eq!(request.metadata_options().unwrap().http_tokens(), Some(&HttpTokensState::Required));
        let [disk] = request.block_device_mappings() else { panic!("{:?}", request.block_device_mappings()) };
        let ebs = disk.ebs().unwrap();
        assert_eq!((disk.device_name(), ebs.encrypted()), (Some("/dev/xvda"), Some(true)));
        assert_eq!(ebs.delete_on_termination(), Some(true), "whatever the image says");
    }

    #[test]
    fn another_request_has_another_token() {
        let token = |wish: &GuestWish| launch(wish).client_token().unwrap().to_owned();
        let first = wish(&["subnet-a"]);
        assert_eq!(token(&first), token(&first.clone()));
        let mut others = vec![wish(&["subnet-b"]), wish(&[]), wish(&["subnet-a", "subnet-b"])];
        others.push(GuestWish { image: "ami-2".into(), ..first.clone() });
        others.push(GuestWish { zone: None, ..first.clone() });
        others.push(GuestWish { instance_type: Some("m7i.xlarge".into()), ..first.clone() });
        for other in others {
            assert_ne!(token(&first), token(&other), "{other:?}");
        }
        // What EC2 is not asked for does not count.
        assert_eq!(token(&first), token(&GuestWish { vcpus: 4, ..first.clone() }));
    }

    #[test]
    fn networks_become_subnets() {
        let none = launch(&wish(&[]));
        assert_eq!((none.subnet_id(), none.security_group_ids()), (Some("subnet-default"), &["sg-1".to_owned()][..]));
        let one = launch(&wish(&["subnet-a"]));
        assert_eq!((one.subnet_id(), one.network_interfaces().len()), (Some("subnet-a"), 0));
        let two = launch(&wish(&["subnet-a", "subnet-b"]));
        assert_eq!((two.subnet_id(), two.security_group_ids().len()), (None, 0), "EC2 refuses both forms together");
        let cards: Vec<_> = two.network_interfaces().iter().map(|nic| (nic.device_index(), nic.subnet_id())).collect();
        assert_eq!(cards, [(Some(0), Some("subnet-a")), (Some(1), Some("subnet-b"))]);
        assert!(two.network_interfaces().iter().all(|nic| nic.groups() == ["sg-1"]));
    }

    #[test]
    fn a_type_is_needed() {
        let mut wish = wish(&[]);
        wish.instance_type = None;
        assert_eq!(request(&config(), &wish, &image()).unwrap_err().kind, ErrorKind::Invalid);
        let config = Ec2Config { default_instance_type: Some("t3.small".into()), ..config() };
        let request = request(&config, &wish, &image()).unwrap();
        assert_eq!(request.get_instance_type().as_ref().unwrap().as_str(), "t3.small");
    }
}
