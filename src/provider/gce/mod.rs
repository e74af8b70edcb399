//! Google Compute Engine.
//!
//! - A guest is one instance. Its identity (name, labels, request id) is in the one call that makes it, and its name is made
//!   from the guest's identity: a zone refuses the name a second time for as long as the instance exists.
//! - Reads are complete or they fail. One read of everything serves all guests.
//! - Only what carries our owner's labels, and the name or the number that they speak of, is ours.
//! - A change is an operation that goes on after its call was answered, and may yet fail: each is followed to its end.

mod account;
mod action;
mod adopt;
mod alter;
mod amend;
mod catalogue;
mod client;
mod config;
mod convert;
mod core;
mod create;
mod driver;
mod fault;
mod identity;
mod launch;
mod operation;
mod permissions;
mod prices;
mod reads;
mod removal;
mod token;
mod wire;

pub use account::{KeyError, ServiceAccountKey};
pub use action::{Action, Calls};
pub use config::{Credentials, GceConfig, Refresh};
pub use driver::GceProvider;
