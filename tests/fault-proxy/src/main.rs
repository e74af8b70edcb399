//! The `fault-proxy` binary: a proxy for tests that are not written in Rust, and for trying things by hand.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use fault_proxy::{Options, Proxy};

/// A proxy that makes go wrong what goes wrong in networks.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server's URL without a path.
    #[arg(long)]
    upstream: String,
    /// Where clients connect to; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where rules are changed (GET, POST, DELETE /rules; GET /fired, /log).
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    /// Serve HTTPS, and write the certificate authority to this file.
    #[arg(long, value_name = "FILE")]
    tls_authority: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fault-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let proxy = Proxy::start(Options {
        listen: arguments.listen,
        admin: Some(arguments.admin),
        tls: arguments.tls_authority.is_some(),
        ..Options::to(&arguments.upstream)
    })
    .await?;
    if let (Some(path), Some(identity)) = (&arguments.tls_authority, proxy.identity()) {
        identity.write_authority(path)?;
    }
    println!("fault-proxy: {} admin {}", proxy.url(), proxy.admin_url().unwrap_or_default());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
