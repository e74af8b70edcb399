//! The command line: one file for each subcommand.

pub mod crds;
pub mod run;

use std::error::Error;

use clap::{Parser, Subcommand};

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
    /// Run the operator
    Run(run::RunArgs),
}

impl Cli {
    /// Runs the chosen subcommand.
    pub fn dispatch(self) -> Result<(), Box<dyn Error>> {
        match self.command {
            Command::Crds(args) => crds::crds(&args)?,
            Command::Run(args) => run::run(args)?,
        }
        Ok(())
    }
}
