//! `innkeeper restore`: makes Guests anew for VMs whose Guests were lost with their cluster. Nothing is changed at a
//! provider: the VMs keep their marks, and each Guest is given the identity that its VM is marked with.

mod act;
mod decide;

use clap::Args;
use kube::{Client, ResourceExt as _};
use snafu::Snafu;

use self::decide::{Found, Plan};
use super::{
    block_on,
    cluster::{ClusterArgs, list_all},
    output::{self, Output, OutputError},
    table,
};
use crate::{
    api::{CloudPool, Guest, VirtualWorkload},
    operator::{self, OperatorError},
    pool::connect::{self, Connection},
    provider::{Freshness, Owner, ProviderError},
    runtime::{ApiError, client::ClientError},
};

/// Options of `innkeeper restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// What the VMs are marked with: the UID of the lost cluster's namespace kube-system, or what its operator was given as
    /// --cluster-id. Left out: this cluster's own
    #[arg(long, value_name = "ID", value_parser = cluster_id, env = "INNKEEPER_CLUSTER_ID")]
    cluster_id: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The cluster to write to.
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Why nothing, or not all, was restored.
#[derive(Debug, Snafu)]
pub enum RestoreError {
    /// The cluster cannot be reached.
    #[snafu(transparent)]
    Connect {
        /// Why.
        source: ClientError,
    },
    /// The cluster did not do what it was asked.
    #[snafu(transparent)]
    Api {
        /// Why.
        source: ApiError,
    },
    /// It is not known whose VMs are meant.
    #[snafu(transparent)]
    Identify {
        /// Why.
        source: OperatorError,
    },
    /// There is nothing to look through.
    #[snafu(display(
        "there is no CloudPool: apply the pools and the workloads first, with the operator at 0 replicas"
    ))]
    NoPools,
    /// A pool cannot be read. What it holds would be made a second time.
    #[snafu(display(
        "cannot read the pool {pool}, so nothing was done: its VMs would be made a second time; {message}"
    ))]
    ReadPool {
        /// Which.
        pool: String,
        /// Why.
        message: String,
    },
    /// The result cannot be written.
    #[snafu(transparent)]
    Write {
        /// Why.
        source: OutputError,
    },
}

/// What VMs can be marked with: at Xen it is a part of a name, between slashes.
pub(super) fn cluster_id(text: &str) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then(|| text.to_owned()).ok_or("write 1 to 64 letters, digits and dashes")
}

/// Restores, and prints what was done.
pub fn restore(args: &RestoreArgs) -> Result<(), RestoreError> {
    block_on(async {
        let client = args.cluster.connect().await?;
        let owner = operator::owner(&client, args.cluster_id.clone()).await?;
        let pools = list_all::<CloudPool>(&client, "CloudPools").await?;
        if pools.is_empty() {
            return NoPoolsSnafu.fail();
        }
        let mut found = Vec::new();
        for pool in &pools {
            found.extend(look(&client, pool, &owner).await?);
        }
        let workloads = list_all::<VirtualWorkload>(&client, "VirtualWorkloads").await?;
        let plan = decide::decide(found, &workloads, &list_all::<Guest>(&client, "Guests").await?);
        if !args.dry_run {
            act::carry_out(&client, &plan.claims, &workloads).await?;
        }
        Ok(output::print(args.output, &plan, |plan| render(plan, args.dry_run))?)
    })
}

/// Every VM of this owner in a pool, from a complete read.
async fn look(client: &Client, pool: &CloudPool, owner: &Owner) -> Result<Vec<Found>, RestoreError> {
    let name = pool.name_any();
    let refuse = |message: String| RestoreError::ReadPool { pool: name.clone(), message };
    let spec = &pool.spec.provider;
    let secrets = connect::secrets(client, spec).await.map_err(|trouble| refuse(trouble.message))?;
    let connection = Connection {
        secrets: &secrets,
        owner,
        caller: "innkeeper-cli",
        expected_id: None,
        catalogue: None,
        image: None,
        types: &[],
    };
    let provider = connect::connect(spec, &connection).await.map_err(|trouble| refuse(trouble.message))?;
    let read = async {
        let hosts = provider.inventory().await?.hosts;
        Ok::<_, ProviderError>((hosts, provider.list(Freshness::Live).await?))
    };
    let read = read.await;
    provider.close().await;
    let (hosts, vms) = read.map_err(|error| refuse(error.to_string()))?;
    let id = |name: &str| {
        let mut named = hosts.iter().filter(|host| host.name == name);
        // A name that two hosts have says nothing.
        named.next().filter(|_| named.next().is_none()).map(|host| host.id.clone())
    };
    let found =
        |vm: crate::provider::ObservedGuest| Found { pool: name.clone(), host: vm.host.as_deref().and_then(id), vm };
    Ok(vms.into_iter().map(found).collect())
}

fn render(plan: &Plan, dry_run: bool) -> String {
    let mut rows = vec![["GUEST", "POOL", "VM", "WHAT"].map(str::to_owned)];
    let (made, there) = if dry_run { ("would be made anew", "is there") } else { ("made anew", "was there") };
    rows.extend(plan.claims.iter().map(|claim| {
        let what = if claim.is_new { made } else { there };
        let guest = format!("{}/{}", claim.namespace, claim.name);
        [guest, claim.binding.pool.clone(), claim.provider_id.clone(), what.to_owned()]
    }));
    rows.extend(plan.left.iter().map(|left| {
        [left.guest.clone(), left.pool.clone(), left.provider_id.clone(), format!("left as it is: {}", left.why)]
    }));
    let counts = format!("{} VMs have their Guests, {} are left\n", plan.claims.len(), plan.left.len());
    if rows.len() == 1 { counts } else { table::render(&rows) + &counts }
}
