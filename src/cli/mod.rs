//! The command line: one file for each subcommand.

pub mod cluster;
pub mod completions;
pub mod crds;
pub mod output;
pub mod plan;
pub mod pool;
pub mod reference;
pub mod restore;
pub mod run;
pub mod status;
mod table;
#[cfg(test)]
mod testing;
pub mod top;
pub mod why;

use std::{error::Error, ffi::OsStr, path::Path, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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
    /// Print the script that completes command lines in a shell
    Completions(completions::CompletionsArgs),
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
    /// Show workloads with their guests and VMs, how far they are, and what is not ready
    Status(status::StatusArgs),
    /// Show what pools have, what of it is used, and what it costs
    Top(top::TopArgs),
    /// Say why a guest is where it is, or nowhere
    Why(why::WhyArgs),
}

/// The name under which kubectl finds the binary as its plugin.
const PLUGIN: &str = "kubectl-innkeeper";

impl Cli {
    /// Reads the command line. Called as kubectl's plugin, it calls itself what was typed.
    pub fn read(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let mut command = Self::command();
        if arguments.first().is_some_and(|program| is_plugin(program)) {
            command = command.bin_name("kubectl innkeeper");
        }
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    /// Runs the chosen subcommand.
    pub fn dispatch(self) -> Result<ExitCode, Box<dyn Error>> {
        match self.command {
            Command::Completions(args) => completions::completions(&args)?,
            Command::Crds(args) => crds::crds(&args)?,
            Command::Plan(args) => return Ok(plan::plan(&args)?),
            Command::Pool(args) => pool::pool(&args)?,
            Command::Restore(args) => restore::restore(&args)?,
            Command::Run(args) => run::run(args)?,
            Command::Status(args) => status::status(&args)?,
            Command::Top(args) => top::top(&args)?,
            Command::Why(args) => why::why(&args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn is_plugin(program: &OsStr) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == PLUGIN)
}

/// Runs one short piece of asynchronous work: a thread is enough for it.
fn block_on<T, E: From<ClientError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| ClientError::StartRuntime { source })?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn as_a_plugin_it_calls_itself_what_was_typed() {
        for (program, expected) in [
            ("/usr/local/bin/kubectl-innkeeper", "Usage: kubectl innkeeper why"),
            ("innkeeper", "Usage: innkeeper why"),
        ] {
            let help = Cli::read([program, "why", "--help"].map(Into::into)).unwrap_err().to_string();
            assert!(help.contains(expected), "{help}");
        }
    }
}
