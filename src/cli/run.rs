//! `innkeeper run`: the operator itself.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use snafu::{ResultExt, Snafu};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    operator::{self, OperatorError, Options},
    runtime::client::{self, ClientError},
};

/// Options of `innkeeper run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The cluster to work for; left out: KUBECONFIG, ~/.kube/config, or the cluster that it runs inside of
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where /livez and /readyz are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", env = "INNKEEPER_LISTEN")]
    listen: SocketAddr,
    /// How many guests are worked on at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    guests_at_once: u16,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "INNKEEPER_LOG_FORMAT")]
    log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Why it does not run.
#[derive(Debug, Snafu)]
pub enum RunError {
    /// No threads can be had.
    #[snafu(display("cannot start the runtime"))]
    StartRuntime {
        /// Why.
        source: std::io::Error,
    },
    /// Signals cannot be heard.
    #[snafu(display("cannot listen for signals"))]
    ListenForSignals {
        /// Why.
        source: std::io::Error,
    },
    /// There is no connection to a cluster.
    #[snafu(transparent)]
    Connect {
        /// Why.
        source: ClientError,
    },
    /// The operator ended.
    #[snafu(transparent)]
    Operate {
        /// Why.
        source: OperatorError,
    },
}

/// Runs the operator until SIGTERM or SIGINT.
pub fn run(args: RunArgs) -> Result<(), RunError> {
    log(args.log_format);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context(StartRuntimeSnafu)?.block_on(operate(args))
}

async fn operate(args: RunArgs) -> Result<(), RunError> {
    let RunArgs { kubeconfig, listen, guests_at_once, log_format: _ } = args;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context(ListenForSignalsSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(ListenForSignalsSnafu)?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        token.cancel();
    });
    let client = client::connect(kubeconfig).await?;
    operator::run(client, Options { listen, guests_at_once }, shutdown).await?;
    Ok(())
}

/// `RUST_LOG` filters, as everywhere; without it, what matters to an operator.
fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn"));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
