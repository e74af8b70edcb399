//! The `innkeeper` binary.

use std::process::ExitCode;

use clap::Parser as _;
use innkeeper::cli::Cli;

fn main() -> ExitCode {
    // Before anything else: with two TLS libraries compiled in, rustls would not choose one by itself.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("innkeeper: cannot set up TLS: a provider was installed before");
        return ExitCode::FAILURE;
    }
    match Cli::parse().dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("innkeeper: {}", innkeeper::runtime::chain(&*error));
            ExitCode::FAILURE
        }
    }
}
