//! `innkeeper run`: the operator itself.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Args, ValueEnum};
use snafu::{ResultExt, Snafu};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    operator::{self, Election, OperatorError, Options},
    runtime::{
        client::{self, ClientError},
        lease::{LeaseName, decide::Timing},
        trace::{self, TraceError, Traces},
    },
};

/// Options of `innkeeper run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The cluster to work for; left out: KUBECONFIG, ~/.kube/config, or the cluster that it runs inside of
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", env = "INNKEEPER_LISTEN")]
    listen: SocketAddr,
    /// How many guests are worked on at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=256))]
    guests_at_once: u16,
    /// Act only while holding a Lease, so that of several operators one acts and the others stand by
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, env = "INNKEEPER_LEADER_ELECT")]
    leader_elect: bool,
    /// Namespace of the Lease; every operator of a cluster must use the same one
    #[arg(long, value_name = "NAME", default_value = "kube-system", env = "INNKEEPER_LEASE_NAMESPACE")]
    lease_namespace: String,
    /// Name of the Lease; every operator of a cluster must use the same one
    #[arg(long, value_name = "NAME", default_value = "innkeeper", env = "INNKEEPER_LEASE_NAME")]
    lease_name: String,
    /// After how many seconds without a renewal another operator takes over
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(2..=600))]
    lease_seconds: u16,
    /// What this cluster's VMs are marked with; left out: the UID of its namespace kube-system. Given after the loss of a
    /// cluster, to go on with its VMs: see `innkeeper restore`
    #[arg(long, value_name = "ID", value_parser = super::restore::cluster_id, env = "INNKEEPER_CLUSTER_ID")]
    cluster_id: Option<String>,
    /// What is logged, in the syntax of tracing, such as `debug` or `info,innkeeper::guest=debug`
    #[arg(long, value_name = "FILTER", default_value = "info,kube=warn,hyper=warn", env = "RUST_LOG", value_parser = filter)]
    log_filter: String,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "INNKEEPER_LOG_FORMAT")]
    log_format: LogFormat,
    /// A collector that takes traces by OTLP over HTTP, such as `http://collector:4318`; left out: none are made
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = collector)]
    otlp_endpoint: Option<String>,
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
    /// Traces cannot be sent.
    #[snafu(transparent)]
    Trace {
        /// Why.
        source: TraceError,
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context(StartRuntimeSnafu)?;
    let handle = runtime.handle();
    let traces = args.otlp_endpoint.as_deref().map(|to| Traces::to(to, handle.clone())).transpose()?;
    log(&args.log_filter, args.log_format, traces.as_ref());
    let ended = runtime.block_on(operate(args));
    if let Some(traces) = traces {
        traces.end();
    }
    ended
}

async fn operate(args: RunArgs) -> Result<(), RunError> {
    let RunArgs {
        kubeconfig,
        listen,
        guests_at_once,
        leader_elect,
        lease_namespace,
        lease_name,
        lease_seconds,
        cluster_id,
        log_filter: _,
        log_format: _,
        otlp_endpoint: _,
    } = args;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context(ListenForSignalsSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(ListenForSignalsSnafu)?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        token.cancel();
    });
    let client = client::connect(kubeconfig).await?;
    let lease = LeaseName { namespace: lease_namespace, name: lease_name };
    let timing = Timing::of_term(Duration::from_secs(lease_seconds.into()));
    let election = leader_elect.then_some(Election { lease, timing });
    operator::run(client, Options { listen, guests_at_once, election, cluster_id }, shutdown).await?;
    Ok(())
}

/// A filter that can be read.
fn filter(text: &str) -> Result<String, String> {
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// A collector's URL, without the path that OTLP has for traces.
fn collector(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(text.to_owned()),
        _ => Err("it begins with neither http:// nor https://".to_owned()),
    }
}

fn log(filter: &str, format: LogFormat, traces: Option<&Traces>) {
    let filter = EnvFilter::new(format!("{filter},{}=off", trace::CALLS));
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        // One object a line, with the fields of the run that it belongs to under "span".
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    // Not of HTTP itself: to send a trace would make another.
    let ours = Targets::new().with_target("innkeeper", Level::INFO);
    let spans = traces.map(|traces| traces.layer().with_filter(ours));
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
}
