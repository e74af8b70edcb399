//! What a connection to OpenStack is made from.

use std::{fmt, time::Duration};

use reqwest::Url;
use secrecy::SecretString;

use crate::provider::Owner;

/// Who we are.
#[derive(Clone)]
pub enum Credentials {
    /// An application credential: bound to a project, and to fewer roles than its user where that is wanted.
    Application {
        /// Its id.
        id: String,
        /// Its secret.
        secret: SecretString,
    },
    /// A user's password.
    Password {
        /// The user.
        user: Named,
        /// The password.
        password: SecretString,
        /// The project.
        project: Named,
    },
}

/// A user or a project: by its id, or by its name in a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its id.
    Id(String),
    /// By its name.
    Name {
        /// The name.
        name: String,
        /// The id of its domain.
        domain: Domain,
    },
}

/// A domain of Keystone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application { .. } => "Application(..)",
            Self::Password { .. } => "Password(..)",
        })
    }
}

/// How often the pool is read in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// After a change of ours or a change seen, and while servers are between two states.
    pub quick: Duration,
    /// At rest.
    pub slow: Duration,
    /// How long after a change more of them are expected.
    pub lively: Duration,
}

/// What a connection to one project in one region of OpenStack is made from.
#[derive(Clone, Debug)]
pub struct OpenstackConfig {
    /// Address of Keystone, with or without `/v3`.
    pub auth_url: Url,
    /// The region, as the catalogue calls it.
    pub region: String,
    /// Which of the catalogue's addresses are used: `public`, `internal` or `admin`.
    pub interface: String,
    /// Address of Nova in place of the catalogue's.
    pub compute: Option<Url>,
    /// Who we are.
    pub credentials: Credentials,
    /// Authorities that are trusted beside the system's, in PEM.
    pub authorities: Option<String>,
    /// Whose guests these are.
    pub owner: Owner,
    /// Which of several operators calls, where that matters; stands in the user agent.
    pub caller: Option<String>,
    /// The id of the pool as it was last seen. Another project behind the same credentials is not driven.
    pub expected: Option<String>,
    /// Types that the pool means to rent, to see whether the cloud has them.
    pub types: Vec<String>,
    /// The zone of guests for which placement chose none.
    pub zone: Option<String>,
    /// The network of guests that name none.
    pub network: Option<String>,
    /// Names or ids of the security groups of every guest.
    pub security_groups: Vec<String>,
    /// The key pair that guests are given.
    pub key_pair: Option<String>,
    /// The server group that guests are made in.
    pub server_group: Option<String>,
    /// User data come on a disk.
    pub config_drive: bool,
    /// How long one operation of the API may take, waiting and repeated reads included.
    pub deadline: Duration,
    /// How long a creation that was not answered may still turn up.
    pub settling: Duration,
    /// How often the pool is read in the background.
    pub refresh: Refresh,
    /// Servers asked for in one page, 1 to 1000.
    pub page_size: usize,
}

impl OpenstackConfig {
    /// A connection with the usual settings.
    #[must_use]
    pub fn new(auth_url: Url, region: impl Into<String>, credentials: Credentials, owner: Owner) -> Self {
        Self {
            auth_url,
            region: region.into(),
            interface: "public".into(),
            compute: None,
            credentials,
            authorities: None,
            owner,
            caller: None,
            expected: None,
            types: Vec::new(),
            zone: None,
            network: None,
            security_groups: Vec::new(),
            key_pair: None,
            server_group: None,
            config_drive: false,
            deadline: Duration::from_secs(30),
            // Nova's database has a server before the request is answered; what may still be on its way is the request
            // itself, as long as a load balancer holds it, and what Nova asks of other services before. Where the pool's
            // user wants a server group, nothing but this wait keeps it from coming true: see `fence`.
            settling: Duration::from_mins(2),
            refresh: Refresh {
                quick: Duration::from_secs(2),
                slow: Duration::from_secs(15),
                lively: Duration::from_secs(20),
            },
            page_size: 500,
        }
    }
}
