//! The command line: one file for each subcommand.

pub mod cluster;
pub mod crds;
pub mod output;
pub mod plan;
pub mod pool;
pub mod restore;
pub mod run;
mod table;
pub mod why;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::runtime::client::ClientError;

/// Lodges virtual machines on Xen pools and public clouds, as Kubernetes objects say.
#[derive(Parser, Debug)]
#[command(name = "innkeeper", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print the definitions of the kinds, for `kubectl apply -f -`
    Crds(crds::CrdsArgs),
    /// Show what would be decided, without doing it; exit code 2 where a guest finds no place
    Plan(plan::PlanArgs),
    /// Ask a pool itself
    Pool(Box<pool::PoolArgs>),
    /// Make Guests anew for VMs whose Guests were lost with their cluster, while no operator runs
    Restore(restore::RestoreArgs),
    /// Run the operator
    Run(run::RunArgs),
    /// Say why a guest is where it is, or nowhere
    Why(why::WhyArgs),
}

impl Cli {
    /// Runs the chosen subcommand.
    pub fn dispatch(self) -> Result<ExitCode, Box<dyn Error>> {
        match self.command {
            Command::Crds(args) => crds::crds(&args)?,
            Command::Plan(args) => return Ok(plan::plan(&args)?),
            Command::Pool(args) => pool::pool(&args)?,
            Command::Restore(args) => restore::restore(&args)?,
            Command::Run(args) => run::run(args)?,
            Command::Why(args) => why::why(args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs one short piece of asynchronous work: a thread is enough for it.
fn block_on<T, E: From<ClientError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| ClientError::StartRuntime { source })?.block_on(work)
}
