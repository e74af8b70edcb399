//! What a connection to Compute Engine is made from.

use std::{fmt, time::Duration};

use reqwest::Url;

use super::account::ServiceAccountKey;
use crate::provider::Owner;

/// Google's own endpoint.
pub(super) const ENDPOINT: &str = "https://compute.googleapis.com/";

/// Where access tokens come from.
#[derive(Clone)]
pub enum Credentials {
    /// The key of a service account, from a Secret.
    Key(Box<ServiceAccountKey>),
    /// What the machine is: the metadata server of Compute Engine, or of GKE for workload identity.
    Metadata {
        /// Its host, and the port where it is not 80.
        host: String,
    },
}

impl Credentials {
    /// What the machine is. The environment variable `GCE_METADATA_HOST` names another server, as with Google's own tools.
    #[must_use]
    pub fn of_the_machine() -> Self {
        let named = std::env::var("GCE_METADATA_HOST").ok().filter(|host| !host.is_empty());
        Self::Metadata { host: named.unwrap_or_else(|| "metadata.google.internal".to_owned()) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(..)",
            Self::Metadata { .. } => "Metadata",
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
    /// How long after a change more of them are expected.
    pub lively: Duration,
}

/// What a connection to one region of a project is made from.
#[derive(Clone, Debug)]
pub struct GceConfig {
    /// The project's id.
    pub project: String,
    /// The zones that guests may live in, all of one region.
    pub zones: Vec<String>,
    /// Another endpoint than Google's own.
    pub endpoint: Option<Url>,
    /// Where access tokens come from.
    pub credentials: Credentials,
    /// Whose guests these are.
    pub owner: Owner,
    /// Which of several operators calls; stands in the user agent of each request.
    pub caller: Option<String>,
    /// The subnetwork of guests that ask for no network. `None`: the project's network `default`.
    pub subnetwork: Option<String>,
    /// Network tags of every guest.
    pub network_tags: Vec<String>,
    /// The service account that guests run as.
    pub service_account: Option<String>,
    /// The families of machine types that may be rented; empty: the usual ones. `None`: the catalogue is not read.
    pub families: Option<Vec<String>>,
    /// How long one operation of the API may take, waiting and repeated reads included.
    pub deadline: Duration,
    /// How long a new instance may stay invisible to reads.
    pub settling: Duration,
    /// How often the pool is read in the background.
    pub refresh: Refresh,
    /// Things asked for in one page, 1 to 500.
    pub page_size: u32,
}

impl GceConfig {
    /// A connection with the usual settings.
    #[must_use]
    pub fn new(project: impl Into<String>, zones: Vec<String>, credentials: Credentials, owner: Owner) -> Self {
        Self {
            project: project.into(),
            zones,
            endpoint: None,
            credentials,
            owner,
            caller: None,
            subnetwork: None,
            network_tags: Vec::new(),
            service_account: None,
            families: None,
            deadline: Duration::from_secs(30),
            // Google names no bound. An operation whose answer was lost is over, or shows its instance, long before.
            settling: Duration::from_mins(1),
            refresh: Refresh {
                quick: Duration::from_secs(2),
                moving: Duration::from_secs(5),
                slow: Duration::from_secs(15),
                lively: Duration::from_secs(20),
            },
            page_size: 500,
        }
    }

    /// The region that the zones are of.
    #[must_use]
    pub fn region(&self) -> &str {
        let zone = self.zones.first().map_or("", String::as_str);
        zone.rsplit_once('-').map_or(zone, |(region, _)| region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_zones() {
        let credentials = Credentials::Metadata { host: "127.0.0.1".into() };
        let config = GceConfig::new("acme", vec!["europe-west1-b".into()], credentials, Owner("o".into()));
        assert_eq!(config.region(), "europe-west1");
        assert!(!format!("{config:?}").contains("127.0.0.1"));
    }
}
