//! The `innkeeper` binary.

use std::process::ExitCode;

use clap::Parser as _;
use innkeeper::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("innkeeper: {}", innkeeper::runtime::chain(&*error));
            ExitCode::FAILURE
        }
    }
}
