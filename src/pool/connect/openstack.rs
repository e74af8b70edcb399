//! A project in a region of an OpenStack cloud.

use std::time::Duration;

use super::{Connection, Trouble, failed, invalid};
use crate::{
    api::openstack::OpenstackSpec,
    provider::openstack::{OpenstackConfig, OpenstackProvider, cloud},
};

/// How long a creation that was not answered is waited for where nothing can stop it: far longer than any gateway holds a
/// request.
const UNFENCED: Duration = Duration::from_mins(10);

pub(super) fn connect(spec: &OpenstackSpec, made: &Connection<'_>) -> Result<super::Opened, Trouble> {
    let secret = &spec.clouds_yaml_secret_ref;
    let text = made.secrets.value(secret, "clouds.yaml")?;
    let described = cloud(&text, &spec.cloud, &spec.region, made.owner.clone())
        .map_err(|error| invalid(format!("Secret {}/{}: {error}", secret.namespace, secret.name)))?;
    let config = OpenstackConfig {
        // One that is not there is not needed.
        authorities: made.secrets.text(secret, "ca.crt").ok(),
        caller: Some(made.caller.to_owned()),
        expected: made.expected_id.map(str::to_owned),
        types: made.types.to_vec(),
        zone: spec.availability_zone.clone(),
        network: spec.network.clone(),
        security_groups: spec.security_groups.iter().map(|name| name.0.clone()).collect(),
        key_pair: spec.key_pair.clone(),
        server_group: spec.server_group.clone(),
        settling: if spec.server_group.is_some() { UNFENCED } else { described.settling },
        config_drive: spec.config_drive,
        ..described
    };
    let provider = OpenstackProvider::connect(config).map_err(|error| failed(&error))?;
    Ok(provider)
}
