//! `innkeeper why`: why a guest is where it is, or nowhere.

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;
use snafu::Snafu;

use super::{
    block_on,
    cluster::ClusterArgs,
    output::{self, Output, OutputError},
    table,
};
use crate::{
    api::{
        Guest, VirtualWorkload,
        guest::{Binding, PlacementStatus, Refusal},
    },
    runtime::{ApiError, call, client::ClientError},
};

/// Options of `innkeeper why`.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// The guest: its name, or NAMESPACE/NAME
    guest: String,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The namespace; left out: that of the context
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Why there is no answer.
#[derive(Debug, Snafu)]
pub enum WhyError {
    /// The cluster cannot be reached.
    #[snafu(transparent)]
    Connect {
        /// Why.
        source: ClientError,
    },
    /// The guest cannot be read.
    #[snafu(transparent)]
    ReadGuest {
        /// Why.
        source: ApiError,
    },
    /// There is no such guest.
    #[snafu(display("there is no Guest {namespace}/{name}{hint}"))]
    NoGuest {
        /// Where it was looked for.
        namespace: String,
        /// Which.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// The result cannot be written.
    #[snafu(transparent)]
    Write {
        /// Why.
        source: OutputError,
    },
}

/// What is said of a guest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reasons {
    namespace: String,
    name: String,
    /// Its life in one word; left out: nobody has looked at it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<Binding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<PlacementStatus>,
    refusals: Vec<Refusal>,
    conditions: Vec<Condition>,
}

/// Prints the reasons.
pub fn why(args: &WhyArgs) -> Result<(), WhyError> {
    let guest = block_on(async {
        let client = args.cluster.connect().await?;
        let (namespace, name) = match args.guest.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (args.namespace.clone(), args.guest.as_str()),
        };
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        read(&client, namespace, name).await
    })?;
    Ok(output::print(args.output, &reasons(&guest), render)?)
}

async fn read(client: &Client, namespace: String, name: &str) -> Result<Guest, WhyError> {
    let api: Api<Guest> = Api::namespaced(client.clone(), &namespace);
    let error = match call(format!("read Guest {namespace}/{name}"), api.get(name)).await {
        Err(error) if error.is_not_found() => error,
        other => return Ok(other?),
    };
    // The API server answers "not found" also where the kinds are not installed.
    let workloads: Api<VirtualWorkload> = Api::namespaced(client.clone(), &namespace);
    let named = match call(format!("read VirtualWorkload {namespace}/{name}"), workloads.get(name)).await {
        Ok(workload) => Some(workload),
        Err(other) if other.is_not_found() => None,
        Err(_) => return Err(error.into()),
    };
    let hint = hint(name, &namespace, named.as_ref());
    NoGuestSnafu { namespace, name, hint }.fail()
}

/// What may have been meant by a name that no guest has.
fn hint(name: &str, namespace: &str, workload: Option<&VirtualWorkload>) -> String {
    let Some(workload) = workload else {
        return format!(
            ": `kubectl get guests -n {namespace}` lists those that there are; -n NAME chooses another namespace"
        );
    };
    match workload.spec.replicas {
        0 => format!(": the VirtualWorkload {name} has no guests (replicas: 0)"),
        1 => format!(": the guest of the VirtualWorkload {name} is {name}-0"),
        n => format!(": the guests of the VirtualWorkload {name} are {name}-0 to {name}-{}", n - 1),
    }
}

fn reasons(guest: &Guest) -> Reasons {
    let status = guest.status.clone().unwrap_or_default();
    Reasons {
        namespace: guest.namespace().unwrap_or_default(),
        name: guest.name_any(),
        phase: status.phase.map(|phase| phase.to_string()),
        binding: guest.binding().cloned(),
        placement: status.placement,
        refusals: status.refusals,
        conditions: status.conditions,
    }
}

/// The reasons in lines.
fn render(reasons: &Reasons) -> String {
    let phase = reasons.phase.as_deref().unwrap_or("the operator has not looked at it yet: does it run?");
    let mut lines = vec![format!("{}/{}: {phase}", reasons.namespace, reasons.name)];
    if let Some(placement) = &reasons.placement {
        lines.push(format!("  {}", placement.message));
        lines.extend(placement.rejected.iter().map(|rejected| format!("  not {}: {}", rejected.pool, rejected.why)));
    }
    lines.extend(reasons.refusals.iter().map(|refusal| {
        let Refusal { pool, until, message, .. } = refusal;
        format!("  {pool} had no room, and is not asked again before {}: {message}", until.0)
    }));
    // What a condition says that the placement said already is not said again.
    let said = |condition: &&Condition| condition.type_ == "Placed" && reasons.placement.is_some();
    let conditions = reasons.conditions.iter().filter(|condition| !said(condition));
    lines.extend(conditions.map(|c| format!("  {} {} ({}): {}", c.type_, c.status, c.reason, c.message)));
    lines.iter().map(|line| table::plain(line) + "\n").collect()
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
