//! A simulator of a XAPI pool: both wires, the data model's objects, events, tasks, the life of VMs, and trouble on
//! demand. A test tool; the README says what it does and what it does not.

mod admin;
mod allowed;
mod clock;
mod data;
mod devices;
mod disk;
mod dispatch;
mod error;
mod events;
mod faults;
mod generic;
mod history;
mod host;
mod http;
mod knobs;
mod load;
mod misc;
mod model;
mod pool;
mod preset;
mod query;
mod rbac;
mod restart;
mod running;
mod session;
mod sim;
mod storage;
mod store;
mod tasks;
mod tls;
mod types;
mod value;
mod vm;
mod wire;

pub use http::server::ListenError;
pub use knobs::Knobs;
pub use load::LoadError;
pub use model::ModelError;
pub use preset::Preset;
pub use running::{Config, HostEndpoint, Login, Running, StartError, start};
pub use tls::TlsError;
