//! Pools of Xen hosts, driven through XAPI.

mod alter;
mod amend;
mod cache;
mod call_error;
mod client;
mod config;
mod create;
mod delete;
mod disks;
mod driver;
mod drives;
mod endpoint;
mod events;
mod fault;
mod first_boot;
mod flights;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identity;
mod inventory;
mod power;
mod presented;
mod reads;
mod records;
mod refusal;
mod session;
mod shape;
mod stop;
mod storage;
pub mod survey;
mod task;
mod tls;
mod transfer;
mod transport;
mod value;
mod view;
mod vms;
mod wire;

pub use config::{ConfigError, Timing, TlsTrust, XapiConfig};
pub use driver::XapiProvider;
#[cfg(feature = "gce")]
pub(in crate::provider) use tls::client_config;
pub use tls::{Fingerprint, TrustError};
