//! What a connection to a XAPI pool is made from.

use std::{net::IpAddr, time::Duration};

use reqwest::Url;
use secrecy::SecretString;
use snafu::{OptionExt, Snafu, ensure};

use super::tls::Fingerprint;
use crate::provider::Owner;

/// Why a configuration cannot be used.
#[derive(Debug, Snafu)]
pub enum ConfigError {
    /// There is no endpoint to talk to.
    #[snafu(display("name at least one endpoint, for example https://xen1.example.org"))]
    NoEndpoint,
    /// An endpoint would send the password in the clear.
    #[snafu(display("the endpoint {host} must be https (plain http is accepted for loopback addresses only)"))]
    InsecureEndpoint {
        /// The endpoint's host, without what may be secret in the address.
        host: String,
    },
    /// An endpoint holds a user or password.
    #[snafu(display("the endpoint {host} must not hold a user or password: give them in the credentials"))]
    CredentialsInEndpoint {
        /// The endpoint's host.
        host: String,
    },
    /// An endpoint names no host.
    #[snafu(display("an endpoint names no host"))]
    NoHost,
    /// TLS by pinned certificates was asked for and none was given.
    #[snafu(display("name at least one certificate fingerprint"))]
    NoFingerprint,
}

/// How the pool's hosts prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsTrust {
    /// Their certificates have one of these SHA-256 fingerprints. Hosts install self-signed certificates, one each: name
    /// those of all members that may become coordinator.
    Fingerprints(Vec<Fingerprint>),
    /// Their certificates are signed by one of these authorities.
    Authority {
        /// One or more certificates in PEM.
        pem: String,
        /// The name in the certificates, where it is not the one in the endpoint (members are known by address).
        server_name: Option<String>,
    },
    /// Their certificates are signed by an authority that this machine trusts.
    SystemRoots,
}

/// How long things may take. The defaults suit production; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Making a TCP and TLS connection.
    pub connect: Duration,
    /// One login attempt at one host. xapi itself delays the answer to a wrong password by 5 s.
    pub login: Duration,
    /// One ordinary call.
    pub call: Duration,
    /// Reading all records of a class.
    pub listing: Duration,
    /// Long work that xapi does in the background: clone, provision, start, destroy.
    pub task: Duration,
    /// How long one operation stays with work that goes on without it: a guest that is shutting down, a move, a copy.
    pub patience: Duration,
    /// How long after a clone's unknown outcome the clone may still turn up.
    pub settling: Duration,
    /// How long after it was sent a request may still be on its way to xapi, no task to be seen yet.
    pub grace: Duration,
    /// How long one wait for events lasts.
    pub event_wait: Duration,
    /// After how long the cache is read anew, whatever the events say.
    pub relist: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            login: Duration::from_secs(20),
            call: Duration::from_secs(30),
            listing: Duration::from_mins(1),
            task: Duration::from_mins(10),
            patience: Duration::from_secs(10),
            settling: Duration::from_mins(1),
            grace: Duration::from_secs(3),
            event_wait: Duration::from_secs(30),
            relist: Duration::from_mins(30),
        }
    }
}

/// Everything needed to drive one pool.
#[derive(Clone, Debug)]
pub struct XapiConfig {
    /// Addresses of the pool: one member is enough, more help when that one is down.
    pub endpoints: Vec<Url>,
    /// Whom to log in as. `vm-power-admin` suffices for everything done here.
    pub user: String,
    /// The password.
    pub password: SecretString,
    /// How the hosts prove who they are.
    pub tls: TlsTrust,
    /// Whose guests these are.
    pub owner: Owner,
    /// Which of several operators calls, where that matters; sent along with each request.
    pub caller: Option<String>,
    /// The pool's uuid where it is known. The connection is refused where another pool answers.
    pub expected_pool: Option<String>,
    /// uuid or unique name of the SR for disks of which nothing says where. None: the pool's default SR.
    pub default_storage: Option<String>,
    /// How long things may take.
    pub timing: Timing,
}

impl XapiConfig {
    /// Checks what can be checked without the network.
    ///
    /// # Errors
    /// [`ConfigError`] says what to write instead.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ensure!(!self.endpoints.is_empty(), NoEndpointSnafu);
        for endpoint in &self.endpoints {
            let host = endpoint.host_str().context(NoHostSnafu)?.to_owned();
            let secret = !endpoint.username().is_empty() || endpoint.password().is_some();
            ensure!(!secret, CredentialsInEndpointSnafu { host });
            let secure = match endpoint.scheme() {
                "https" => true,
                "http" => is_loopback(&host),
                _ => false,
            };
            ensure!(secure, InsecureEndpointSnafu { host });
        }
        if let TlsTrust::Fingerprints(list) = &self.tls {
            ensure!(!list.is_empty(), NoFingerprintSnafu);
        }
        Ok(())
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::provider::xapi) fn config(endpoint: &str) -> XapiConfig {
        XapiConfig {
            endpoints: vec![Url::parse(endpoint).unwrap()],
            user: "root".into(),
            password: "hunter2".into(),
            tls: TlsTrust::SystemRoots,
            owner: Owner("owner".into()),
            caller: None,
            expected_pool: None,
            default_storage: None,
            timing: Timing::default(),
        }
    }

    #[test]
    fn passwords_never_travel_in_the_clear() {
        for (endpoint, good) in [
            ("https://xen1.example.org", true),
            ("https://[2001:db8::1]:8443", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://xen1.example.org", false),
            ("http://10.0.0.1", false),
            ("https://root:pw@xen1.example.org", false),
            ("ftp://xen1.example.org", false),
        ] {
            assert_eq!(config(endpoint).validate().is_ok(), good, "{endpoint}");
        }
    }

    #[test]
    fn the_password_is_in_no_debug_print() {
        assert!(!format!("{:?}", config("https://xen1.example.org")).contains("hunter2"));
        let error = config("https://root:hunter2@xen1.example.org").validate().unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
