//! What a connection to EC2 is made from.

use std::{fmt, time::Duration};

use secrecy::SecretString;
use url::Url;

use super::catalogue::Wanted;
use crate::provider::Owner;

/// Where the credentials come from.
#[derive(Clone)]
pub enum Credentials {
    /// A fixed access key, from a Secret.
    Static {
        /// The access key's id. Not secret, and yet not for logs: it names an account's user.
        access_key_id: String,
        /// The key itself.
        secret_access_key: SecretString,
        /// The session token of temporary credentials.
        session_token: Option<SecretString>,
    },
    /// The chain of AWS's own tools: environment, web identity (IRSA), container, instance profile.
    DefaultChain,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static { .. } => "Static(..)",
            Self::DefaultChain => "DefaultChain",
        })
    }
}

/// How often the pool is read in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// After a change of ours or a change seen.
    pub quick: Duration,
    /// While instances are between two states for longer.
    pub moving: Duration,
    /// At rest.
    pub slow: Duration,
    /// All volumes, at rest.
    pub volumes: Duration,
    /// How long after a change more of them are expected.
    pub lively: Duration,
}

/// What a connection to one region of EC2, or of a cloud that speaks its protocol, is made from.
#[derive(Clone, Debug)]
pub struct Ec2Config {
    /// The region, such as `eu-west-2`.
    pub region: String,
    /// Another endpoint than the region's own: a VPC endpoint or a compatible cloud.
    pub endpoint: Option<Url>,
    /// Where the credentials come from.
    pub credentials: Credentials,
    /// Whose guests these are.
    pub owner: Owner,
    /// Which of several operators calls, where that matters; stands in the user agent of each request, which AWS logs.
    pub caller: Option<String>,
    /// Ids of the security groups of every guest. Empty: the VPC's default group.
    pub security_groups: Vec<String>,
    /// The subnet of guests that ask for no network. `None`: the default subnet of the account's default VPC.
    pub default_subnet: Option<String>,
    /// The type of guests for which placement chose none.
    pub default_instance_type: Option<String>,
    /// An image of the pool, for asking whether it may be launched. `None`: that is not asked.
    pub usual_image: Option<String>,
    /// What is wanted of EC2's own list of types and prices. `None`: it is not read.
    pub catalogue: Option<Wanted>,
    /// Whether the disks are encrypted with the account's default key. Compatible clouds may not know how.
    pub encrypt_disks: bool,
    /// How long one operation of the API may take, waiting and repeated reads included.
    pub deadline: Duration,
    /// How long a launched instance may stay invisible to reads.
    pub settling: Duration,
    /// How often the pool is read in the background.
    pub refresh: Refresh,
    /// Instances and volumes asked for in one page, 5 to 1000.
    pub page_size: i32,
}

impl Ec2Config {
    /// A connection with the usual settings.
    #[must_use]
    pub fn new(region: impl Into<String>, credentials: Credentials, owner: Owner) -> Self {
        Self {
            region: region.into(),
            endpoint: None,
            credentials,
            owner,
            caller: None,
            security_groups: Vec::new(),
            default_subnet: None,
            default_instance_type: None,
            usual_image: None,
            catalogue: None,
            encrypt_disks: true,
            deadline: Duration::from_secs(30),
            // Reads follow writes within seconds nearly always; AWS names no bound, and its own tools wait minutes.
            settling: Duration::from_mins(1),
            refresh: Refresh {
                quick: Duration::from_secs(2),
                moving: Duration::from_secs(5),
                slow: Duration::from_secs(15),
                volumes: super::volumes::SELDOM,
                lively: Duration::from_secs(20),
            },
            page_size: 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_credentials() {
        let credentials = Credentials::Static {
            access_key_id: "AKIAVISIBLE".into(),
            secret_access_key: "hush".into(),
            session_token: Some("quiet".into()),
        };
        let text = format!("{:?}", Ec2Config::new("eu-west-2", credentials, Owner("o".into())));
        for secret in ["AKIAVISIBLE", "hush", "quiet"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
