//! The request that launches a guest. Pure, but for the values of the SDK that it is made of.

use aws_sdk_ec2::{
    operation::run_instances::builders::RunInstancesInputBuilder,
    types::{
        BlockDeviceMapping, EbsBlockDevice, HttpTokensState, Image, InstanceInterruptionBehavior,
        InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
        InstanceNetworkInterfaceSpecification, InstanceType, MarketType, Placement, ResourceType, ShutdownBehavior,
        SpotInstanceType, SpotMarketOptions, Tag, TagSpecification, VolumeType,
    },
};
use secrecy::ExposeSecret;

use super::{Ec2Config, alter, convert, token};
use crate::provider::{ErrorKind, GuestWish, ProviderError, Result};

/// The type of volumes of which nothing else is said.
pub(super) const VOLUME_TYPE: &str = "gp3";

/// The most user data that EC2 takes, in bytes before they are encoded.
const MAX_USER_DATA: usize = 16 * 1024;

/// What the guest is launched with. Everything that may differ between two launches of the same incarnation is in the
/// client token; all else must be the same for the same wish, or EC2 takes a repeated launch for a mistake.
pub(super) fn request(config: &Ec2Config, wish: &GuestWish, image: &Image) -> Result<RunInstancesInputBuilder> {
    let kind = wish.instance_type.as_ref().or(config.default_instance_type.as_ref()).ok_or_else(|| {
        let message = "no instance type was chosen, and the pool has no default";
        ProviderError::new(ErrorKind::Invalid, "launch the instance", message)
    })?;
    let mut tags = convert::tags(&config.owner, &wish.key);
    let disks = disks(config, wish, image);
    let user_data = user_data(wish)?;
    let tagged = |what: ResourceType, tags: Vec<Tag>| {
        TagSpecification::builder().resource_type(what).set_tags(Some(tags)).build()
    };
    let groups = (!config.security_groups.is_empty()).then(|| config.security_groups.clone());
    let encrypt = config.encrypt_disks.to_string();
    let mut asked =
        vec![config.owner.0.as_str(), kind, &wish.image, &encrypt, wish.zone.as_deref().unwrap_or_default()];
    asked.extend(config.default_subnet.as_deref().filter(|_| wish.networks.is_empty()));
    asked.extend(wish.networks.iter().map(|network| network.provider_id.as_str()));
    asked.push("groups");
    asked.extend(config.security_groups.iter().map(String::as_str));
    let spot = wish.spot.to_string();
    let protected = wish.protected.to_string();
    asked.extend(["more", &spot, &protected, &disks.said, user_data.as_deref().unwrap_or_default()]);
    let metadata = InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required);
    let mut request = RunInstancesInputBuilder::default()
        .image_id(&wish.image)
        .instance_type(InstanceType::from(kind.as_str()))
        .min_count(1)
        .max_count(1)
        .client_token(token::client_token(&wish.key, &asked))
        .tag_specifications(tagged(ResourceType::Volume, tags.clone()))
        .tag_specifications(tagged(ResourceType::Instance, {
            tags.extend(disks.tags);
            tags.extend(wish.protected.then(|| Tag::builder().key(convert::PROTECTED).value(convert::SET).build()));
            tags
        }))
        .metadata_options(metadata.build())
        .set_block_device_mappings(disks.mappings)
        .set_user_data(user_data)
        .set_disable_api_termination(wish.protected.then_some(true))
        .set_instance_market_options(wish.spot.then(spot_market))
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

/// Capacity that EC2 may take back, and then terminates the instance: the guest is made anew elsewhere.
fn spot_market() -> InstanceMarketOptionsRequest {
    let once = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
    InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(once.build()).build()
}

/// What cloud-init is told, as EC2 wants it.
fn user_data(wish: &GuestWish) -> Result<Option<String>> {
    let Some(data) = &wish.first_boot.user_data else { return Ok(None) };
    let text = data.expose_secret();
    if text.len() > MAX_USER_DATA {
        let message = format!(
            "the user data has {} bytes and EC2 takes {MAX_USER_DATA} at most: shorten it, or let it fetch the rest \
             (#include)",
            text.len()
        );
        return Err(ProviderError::new(ErrorKind::Invalid, "launch the instance", message));
    }
    Ok(Some(aws_smithy_types::base64::encode(text)))
}

/// The disks that are made with an instance, and the tags on it that name them.
struct Disks {
    mappings: Option<Vec<BlockDeviceMapping>>,
    tags: Vec<Tag>,
    /// All of it in words, for the token.
    said: String,
}

/// The image's own EBS disks again, each to go with the instance and encrypted (an image's own setting may say otherwise
/// and would leave disks behind), the one that it boots from as large as wished; and the guest's further disks.
fn disks(config: &Ec2Config, wish: &GuestWish, image: &Image) -> Disks {
    let root = image.root_device_name();
    let encrypted = config.encrypt_disks.then_some(true);
    let own = |mapping: &BlockDeviceMapping| {
        let (name, ebs) = (mapping.device_name()?, mapping.ebs()?);
        let wished = wish.root_disk.filter(|_| Some(name) == root).map(alter::gib);
        let ebs = EbsBlockDevice::builder()
            .delete_on_termination(true)
            // An image with encrypted snapshots is encrypted anyhow, and EC2 refuses `false` for it.
            .set_encrypted(encrypted.or_else(|| ebs.encrypted().filter(|set| *set)))
            // EC2 would take it from the image by itself; compatible clouds want to be told.
            .set_volume_size(ebs.volume_size().max(wished));
        Some(BlockDeviceMapping::builder().device_name(name).ebs(ebs.build()).build())
    };
    let mut mappings: Vec<_> = image.block_device_mappings().iter().filter_map(own).collect();
    let taken: Vec<&str> = image.block_device_mappings().iter().filter_map(|one| one.device_name()).collect();
    if let (Some(size), Some(root)) = (wish.root_disk, root.filter(|root| !taken.contains(root))) {
        mappings.push(volume(root, alter::gib(size), None, encrypted));
    }
    let mut tags = Vec::new();
    let taken = [taken, root.into_iter().collect()].concat();
    for (disk, device) in wish.disks.iter().zip(alter::devices(&taken)) {
        let kind = disk.storage.as_deref().unwrap_or(VOLUME_TYPE);
        mappings.push(volume(&device, alter::gib(disk.size), Some(kind), encrypted));
        tags.push(convert::disk_tag(&device, &disk.name));
    }
    let said = mappings.iter().map(|mapping| {
        let ebs = mapping.ebs();
        let kind = ebs.and_then(|ebs| ebs.volume_type()).map_or("", |kind| kind.as_str());
        let size = ebs.and_then(EbsBlockDevice::volume_size).unwrap_or_default();
        format!("{}={size}{kind};", mapping.device_name().unwrap_or_default())
    });
    let names = wish.disks.iter().map(|disk| format!("{};", disk.name));
    let said = said.chain(names).collect();
    Disks { mappings: (!mappings.is_empty()).then_some(mappings), tags, said }
}

fn volume(device: &str, gib: i32, kind: Option<&str>, encrypted: Option<bool>) -> BlockDeviceMapping {
    let ebs = EbsBlockDevice::builder()
        .delete_on_termination(true)
        .set_encrypted(encrypted)
        .set_volume_type(kind.map(VolumeType::from))
        .volume_size(gib);
    BlockDeviceMapping::builder().device_name(device).ebs(ebs.build()).build()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::run_instances::RunInstancesInput;

    use super::*;
    use crate::{
        api::quantity::Bytes,
        provider::{Disk, FirstBoot, Key, Network, Owner, ec2::Credentials},
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

    fn disk(name: &str, size: u64, storage: Option<&str>) -> Disk {
        Disk { name: name.into(), size: Bytes::gib(size), storage: storage.map(str::to_owned) }
    }

    fn boot(text: &str) -> FirstBoot {
        FirstBoot { user_data: Some(std::sync::Arc::new(text.into())), network_data: None }
    }

    fn launch(wish: &GuestWish) -> RunInstancesInput {
        request(&config(), wish, &image()).unwrap().build().unwrap()
    }

    fn image() -> Image {
        let ebs = EbsBlockDevice::builder().snapshot_id("snap-1").delete_on_termination(false).build();
        let root = BlockDeviceMapping::builder().device_name("/dev/xvda").ebs(ebs).build();
        let local = BlockDeviceMapping::builder().device_name("/dev/xvdb").virtual_name("ephemeral0").build();
        Image::builder()
            .image_id("ami-1")
            .root_device_name("/dev/xvda")
            .block_device_mappings(root)
            .block_device_mappings(local)
            .build()
    }

    #[test]
    fn identity_and_safety_are_in_the_one_call() {
        let request = launch(&wish(&[]));
        assert_eq!((request.min_count(), request.max_count()), (Some(1), Some(1)));
        assert!(token::belongs(&wish(&[]).key, request.client_token()));
        let kinds: Vec<_> = request.tag_specifications().iter().filter_map(|spec| spec.resource_type()).collect();
        assert_eq!(kinds, [&ResourceType::Volume, &ResourceType::Instance]);
        assert!(request.tag_specifications().iter().all(|spec| spec.tags().len() == 6));
        assert_eq!((request.user_data(), request.disable_api_termination()), (None, None));
        assert!(request.instance_market_options().is_none());
        assert_eq!(request.metadata_options().unwrap().http_tokens(), Some(&HttpTokensState::Required));
        let [disk] = request.block_device_mappings() else { panic!("{:?}", request.block_device_mappings()) };
        let ebs = disk.ebs().unwrap();
        assert_eq!((disk.device_name(), ebs.encrypted()), (Some("/dev/xvda"), Some(true)));
        assert_eq!(ebs.delete_on_termination(), Some(true), "whatever the image says");
    }

    #[test]
    fn disks_have_sizes_types_and_names() {
        let disks = vec![disk("data", 10, None), disk("logs", 500, Some("st1"))];
        let request = launch(&GuestWish { root_disk: Some(Bytes::mib(20_000)), disks, ..wish(&[]) });
        let shown = request.block_device_mappings().iter().map(|mapping| {
            let ebs = mapping.ebs().unwrap();
            assert_eq!((ebs.encrypted(), ebs.delete_on_termination()), (Some(true), Some(true)));
            (mapping.device_name().unwrap(), ebs.volume_size().unwrap(), ebs.volume_type().map(VolumeType::as_str))
        });
        let expected = [("/dev/xvda", 20, None), ("/dev/sdf", 10, Some("gp3")), ("/dev/sdg", 500, Some("st1"))];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        let tags = request.tag_specifications()[1].tags();
        assert_eq!(convert::tag(tags, "innkeeper.dev/disk/dev/sdf"), Some("data"));
        assert_eq!(convert::tag(tags, "innkeeper.dev/disk/dev/sdg"), Some("logs"));
    }

    #[test]
    fn user_data_is_encoded_and_bounded() {
        let with = |text: &str| GuestWish { first_boot: boot(text), ..wish(&[]) };
        assert_eq!(launch(&with("#cloud-config")).user_data(), Some("I2Nsb3VkLWNvbmZpZw=="));
        assert!(request(&config(), &with(&"x".repeat(16_384)), &image()).is_ok());
        let error = request(&config(), &with(&"x".repeat(16_385)), &image()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains("16385 bytes and EC2 takes 16384"), "{error}");
    }

    #[test]
    fn spot_and_protection_are_asked_for() {
        let request = launch(&GuestWish { spot: true, protected: true, ..wish(&[]) });
        let market = request.instance_market_options().unwrap();
        assert_eq!(market.market_type(), Some(&MarketType::Spot));
        let once = market.spot_options().unwrap();
        assert_eq!(once.spot_instance_type(), Some(&SpotInstanceType::OneTime));
        assert_eq!(request.disable_api_termination(), Some(true));
        assert_eq!(convert::tag(request.tag_specifications()[1].tags(), convert::PROTECTED), Some(convert::SET));
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
        others.push(GuestWish { spot: true, ..first.clone() });
        others.push(GuestWish { protected: true, ..first.clone() });
        others.push(GuestWish { root_disk: Some(Bytes::gib(9)), ..first.clone() });
        others.push(GuestWish { disks: vec![disk("data", 10, None)], ..first.clone() });
        others.push(GuestWish { disks: vec![disk("data", 10, Some("st1"))], ..first.clone() });
        others.push(GuestWish { first_boot: boot("#cloud-config"), ..first.clone() });
        for other in &others {
            assert_ne!(token(&first), token(other), "{other:?}");
        }
        let all: std::collections::BTreeSet<_> = others.iter().map(token).collect();
        assert_eq!(all.len(), others.len(), "each is another launch");
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
