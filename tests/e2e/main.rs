//! The whole product as a user meets it: the real API server, the operator's own binary, a simulated Xen pool and EC2's
//! protocol, all on loopback. What is claimed at the end is asked of the providers, not of the operator.
#![cfg(feature = "ec2")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drift;
mod examples;
mod idle;
mod killed;
mod leaders;
mod lifecycle;
mod lodging;
mod metrics;
mod moves;
mod moves_many;
mod plugin;
mod refused;
mod rented;
mod rest;
mod rotation;
mod soak;
#[allow(dead_code, reason = "shared with the chaos tests, which need more of it")]
mod stack;
mod traces;
#[allow(dead_code, reason = "shared with the chaos tests, which need more of it")]
mod truth;
mod turns;
mod writes;
