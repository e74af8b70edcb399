//! Amazon EC2 and clouds that speak its protocol.
//!
//! - A guest is one instance. Its identity (tags and client token) is in the one call that launches it.
//! - Reads are complete or they fail. One read of everything serves all guests.
//! - Only what carries our owner's tags and a client token of ours is ours.
//! - An instance of ours that EC2 has terminated is shown as such for about an hour, until EC2 forgets it.

mod action;
mod adopt;
mod alter;
mod amend;
mod catalogue;
mod client;
mod config;
mod convert;
mod core;
mod driver;
mod fault;
mod launch;
mod limiter;
mod permissions;
mod price_list;
mod prices;
mod reads;
mod removal;
mod spot;
mod token;
mod volumes;

pub use crate::provider::rented::bucket::{Bucket, Rate};
pub use action::{Action, Calls};
pub use catalogue::Wanted;
pub use config::{Credentials, Ec2Config, Refresh};
pub use driver::Ec2Provider;
pub use limiter::{Class, Limiter};
