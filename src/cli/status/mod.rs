//! `innkeeper status`: workloads, their guests and their VMs as a tree, and what is not ready.

mod render;
mod tree;

use std::io::{self, IsTerminal as _};

use clap::Args;
use jiff::Timestamp;
use snafu::Snafu;

use super::{
    block_on,
    cluster::{self, ClusterArgs, ShowError},
    output::{self, Output},
};
use crate::api::{Guest, VirtualWorkload};

/// Options of `innkeeper status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Only these workloads
    workloads: Vec<String>,
    /// Leave out guests that are as they should be
    #[arg(long)]
    not_ready: bool,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The namespace; left out: that of the context
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster")]
    namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace", help_heading = "Cluster")]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Why there is no status.
#[derive(Debug, Snafu)]
pub enum StatusError {
    /// The cluster cannot be shown.
    #[snafu(transparent)]
    Show {
        /// Why.
        source: ShowError,
    },
    /// There is no such workload.
    #[snafu(display(
        "there is no VirtualWorkload {name} in {place}: `kubectl get vw -A` lists all; -n NAME chooses another namespace"
    ))]
    NoWorkload {
        /// Which.
        name: String,
        /// Where it was looked for.
        place: String,
    },
}

/// Prints the tree.
pub fn status(args: &StatusArgs) -> Result<(), StatusError> {
    let (namespace, workloads, guests) = block_on(async {
        let client = args.cluster.connect().await?;
        let namespace = match (args.all_namespaces, &args.namespace) {
            (true, _) => None,
            (false, Some(name)) => Some(name.clone()),
            (false, None) => Some(client.default_namespace().to_owned()),
        };
        let workloads = cluster::list::<VirtualWorkload>(&client, "VirtualWorkloads", namespace.as_deref()).await?;
        let guests = cluster::list::<Guest>(&client, "Guests", namespace.as_deref()).await?;
        Ok::<_, ShowError>((namespace, workloads, guests))
    })?;
    let mut tree = tree::tree(&workloads, &guests, Timestamp::now());
    if !args.workloads.is_empty() {
        if let Some(name) = args.workloads.iter().find(|name| tree.iter().all(|node| node.name != **name)) {
            let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
            return NoWorkloadSnafu { name, place }.fail();
        }
        tree.retain(|node| args.workloads.contains(&node.name));
    }
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let view = render::View { colours, not_ready: args.not_ready };
    if tree.is_empty() && args.output == Output::Table {
        let place = namespace.map_or_else(|| "the cluster".to_owned(), |name| format!("namespace {name}"));
        eprintln!("No workloads in {place}.");
        return Ok(());
    }
    Ok(output::print(args.output, &tree, |tree| render::render(tree, &view)).map_err(ShowError::from)?)
}
