//! The command line as somebody types it: the real binary, run against simulated pools.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod docs;
mod inspect;
mod plan;
mod sim;
