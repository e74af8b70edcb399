//! Exactly once, whatever breaks: scenarios are played while the operator is killed at every step and the networks
//! around it fail; then the providers are asked what there is and what ever was.
//!
//! `make chaos` runs it; docs/RELIABILITY.md says how and what was seen. Variables:
//!
//! | variable | meaning |
//! |---|---|
//! | `CHAOS_STRIDE` | of the kill points of a scenario every so-many-th is played (1: all); not given: a few |
//! | `CHAOS_SEEDS` | so many storms for each scenario, or with `4-200` these storms and nothing else; not given: 1 |
//! | `CHAOS_REPLAY` | one run again, as a violation names it: `overflow/xen:3:after` or `overflow/seed:17` |
//! | `CHAOS_PROGRAM` | another operator than the one that was built |
//! | `CHAOS_SCENARIOS` | only these scenarios, with a comma between them |
//! | `CHAOS_SPEED` | in storms the operator's clock runs so many times as fast; not given: 1 |
//! | `CHAOS_REST` | so many seconds are waited for rest, in place of four minutes |
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "ec2")]
mod changes;
#[cfg(feature = "ec2")]
mod check;
#[cfg(feature = "ec2")]
mod clock;
#[cfg(feature = "ec2")]
mod definitions;
#[cfg(feature = "ec2")]
mod disasters;
#[cfg(feature = "ec2")]
mod kill;
#[cfg(feature = "ec2")]
mod leaks;
#[cfg(feature = "ec2")]
mod neighbours;
#[cfg(feature = "ec2")]
mod report;
#[cfg(feature = "ec2")]
mod scenario;
#[cfg(feature = "ec2")]
#[path = "../e2e/stack.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, of which a part is needed here")]
mod stack;
#[cfg(feature = "ec2")]
mod storm;
#[cfg(feature = "ec2")]
#[path = "../e2e/truth.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, of which a part is needed here")]
mod truth;
#[cfg(feature = "ec2")]
mod world;

#[cfg(not(feature = "ec2"))]
fn main() {
    println!("chaos: skipped, it needs the feature ec2");
}

#[cfg(feature = "ec2")]
fn main() -> std::process::ExitCode {
    report::run()
}
