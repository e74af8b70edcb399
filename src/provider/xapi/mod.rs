//! Pools of Xen hosts, driven through XAPI.

mod alter;
mod cache;
mod call_error;
mod client;
mod config;
mod create;
mod delete;
mod driver;
mod endpoint;
mod events;
mod fault;
mod flights;
mod identity;
mod inventory;
mod power;
mod presented;
mod records;
mod refusal;
mod session;
mod shape;
pub mod survey;
mod task;
mod tls;
mod transport;
mod value;
mod view;
mod wire;

pub use config::{ConfigError, Timing, TlsTrust, XapiConfig};
pub use driver::XapiProvider;
pub use tls::{Fingerprint, TrustError};
