//! OpenStack: Nova's servers in one project of one region.
//!
//! - A guest is one server. Its identity (tags and metadata) is in the one call that creates it.
//! - Nova makes a second server for the same request without asking. Who is about to create holds the guest's lease, a key
//!   pair that nobody else can make meanwhile, takes back what earlier creations need, a server group for each, and looks once
//!   more before it does: see [`fence`].
//! - Reads are complete or they fail. One read of everything serves all guests.
//! - Marks are copied along with a server's metadata: one of them is the server's own id.
//! - That there is no room is told after the request was taken: such a server never ran, and is removed.

mod adopt;
mod amend;
mod client;
mod clouds;
mod config;
mod convert;
mod core;
mod create;
mod driver;
mod fault;
mod fence;
mod flavors;
mod launch;
mod lease;
mod login;
mod reads;
mod removal;
mod tidy;
mod wire;

pub use clouds::{CloudsError, cloud};
pub use config::{Credentials, OpenstackConfig, Refresh};
pub use driver::OpenstackProvider;
