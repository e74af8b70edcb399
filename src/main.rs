//! The `innkeeper` binary.

use std::process::ExitCode;

use innkeeper::cli::Cli;

/// Gives back what is free, which glibc's keeps where it lies between other things: a pool's thousands of records are read at once,
/// and then replaced one by one.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before anything else: with two TLS libraries compiled in, rustls would not choose one by itself.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("innkeeper: cannot set up TLS: a provider was installed before");
        return ExitCode::FAILURE;
    }
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Where even the complaint cannot be written there is nobody to read it.
            let _ = error.print();
            // 2 is for a plan that leaves guests without a place.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match cli.dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("innkeeper: {}", innkeeper::runtime::chain(&*error));
            ExitCode::FAILURE
        }
    }
}
