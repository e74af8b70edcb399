//! `innkeeper pool`: pools as their providers show them.

mod inspect;
mod inventory;
mod survey;

use clap::{Args, Subcommand};

pub use inspect::InspectError;

/// Options of `innkeeper pool`.
#[derive(Args, Debug)]
pub struct PoolArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show what a pool has: hosts, memory, storage, networks, templates, VMs that could be adopted. Changes nothing
    Inspect(inspect::InspectArgs),
}

/// Runs the chosen subcommand.
pub fn pool(args: &PoolArgs) -> Result<(), InspectError> {
    match &args.command {
        Command::Inspect(args) => inspect::inspect(args),
    }
}
