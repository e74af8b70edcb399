//! A region of Amazon EC2.

use super::{Connection, Trouble, invalid, refused};
use crate::{
    api::cloud_pool::Ec2Spec,
    provider::ec2::{Credentials, Ec2Config, Ec2Provider, Wanted},
};

pub(super) async fn connect(spec: &Ec2Spec, made: &Connection<'_>) -> Result<super::Opened, Trouble> {
    let credentials = match &spec.credentials_secret_ref {
        None => Credentials::DefaultChain,
        Some(secret) => Credentials::Static {
            access_key_id: made.secrets.text(secret, "accessKeyId")?,
            secret_access_key: made.secrets.value(secret, "secretAccessKey")?,
            session_token: None,
        },
    };
    let endpoint = spec
        .endpoint
        .as_deref()
        .map(|text| text.parse().map_err(|error| invalid(format!("endpoint \"{text}\" is not an address: {error}"))));
    let config = Ec2Config {
        endpoint: endpoint.transpose()?,
        caller: Some(made.caller.to_owned()),
        security_groups: spec.security_groups.clone(),
        default_subnet: spec.subnet.clone(),
        usual_image: made.image.map(str::to_owned),
        catalogue: made.catalogue.map(|wanted| Wanted {
            families: wanted.families.clone(),
            subnets: wanted.networks.clone(),
            price_list: wanted.price_list,
        }),
        ..Ec2Config::new(&spec.region, credentials, made.owner.clone())
    };
    let secret = spec.credentials_secret_ref.as_ref();
    let provider = Ec2Provider::connect(config).await.map_err(|error| refused(&error, secret))?;
    Ok(provider)
}
