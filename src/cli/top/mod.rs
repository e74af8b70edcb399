//! `innkeeper top`: capacity and money, by pool and by workload.

mod money;
mod render;
mod sum;

use clap::Args;

use super::{
    block_on,
    cluster::{self, ClusterArgs, ShowError},
    output::{self, Output},
};
use crate::api::{CloudPool, Guest};

/// Options of `innkeeper top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// How it is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Only workloads of this namespace; pools are shown with the guests of all
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster")]
    namespace: Option<String>,
    /// Workloads of all namespaces, as without --namespace
    #[arg(short = 'A', long, conflicts_with = "namespace", help_heading = "Cluster")]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints what is used and what it costs.
pub fn top(args: &TopArgs) -> Result<(), ShowError> {
    let (pools, guests) = block_on(async {
        let client = args.cluster.connect().await?;
        let pools = cluster::list_all::<CloudPool>(&client, "CloudPools").await?;
        let guests = cluster::list::<Guest>(&client, "Guests", None).await?;
        Ok::<_, ShowError>((pools, guests))
    })?;
    let mut report = sum::report(&pools, &guests);
    if let Some(namespace) = &args.namespace {
        report.workloads.retain(|workload| workload.namespace == *namespace);
    }
    Ok(output::print(args.output, &report, render::render)?)
}
