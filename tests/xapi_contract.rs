//! The contract of the XAPI driver, held against a pool over the real protocol.
//!
//! Without more, each case starts a simulator of its own (`cargo build -p xapi-sim`; another binary by
//! `INNKEEPER_XAPI_SIM`). With `INNKEEPER_XAPI_URL`, `INNKEEPER_XAPI_USER` and `INNKEEPER_XAPI_PASSWORD` the cases that need no
//! simulated trouble run against that pool instead: they bring their own template and remove what they made.
//!
//! Each case says in its comment which of the pitfalls in `docs/xapi-pitfalls.md` it covers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "xapi_contract/alteration.rs"]
mod alteration;
#[path = "xapi_contract/amendment.rs"]
mod amendment;
#[path = "xapi_contract/connection.rs"]
mod connection;
#[path = "xapi_contract/creation.rs"]
mod creation;
#[path = "xapi_contract/databases.rs"]
mod databases;
#[path = "xapi_contract/disks.rs"]
mod disks;
#[path = "xapi_contract/documents.rs"]
mod documents;
#[path = "xapi_contract/first_boot.rs"]
mod first_boot;
#[path = "xapi_contract/following.rs"]
mod following;
#[path = "xapi_contract/lifecycle.rs"]
mod lifecycle;
#[path = "xapi_contract/pool.rs"]
mod pool;
#[path = "xapi_contract/removal.rs"]
mod removal;
#[path = "xapi_contract/rpc.rs"]
mod rpc;
#[path = "xapi_contract/scale.rs"]
mod scale;
#[path = "xapi_contract/stopping.rs"]
mod stopping;
