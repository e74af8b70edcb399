//! `innkeeper completions`: a shell's script that completes command lines.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output::{self, OutputError};

/// Options of `innkeeper completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell that runs the script
    shell: Shell,
}

/// Prints the script.
pub fn completions(args: &CompletionsArgs) -> Result<(), OutputError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "innkeeper", &mut script);
    output::put(&String::from_utf8_lossy(&script))
}
