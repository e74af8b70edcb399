//! `innkeeper why`: why a guest is where it is, or nowhere.

use std::path::PathBuf;

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use snafu::Snafu;

use crate::{
    api::{Guest, GuestStatus},
    runtime::{
        ApiError, call,
        client::{self, ClientError},
    },
};

/// Options of `innkeeper why`.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// The guest, as NAMESPACE/NAME, or as NAME in the namespace default
    guest: String,
    /// The cluster; left out: KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
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
}

/// Prints the reasons.
pub fn why(args: WhyArgs) -> Result<(), WhyError> {
    let (namespace, name) = args.guest.split_once('/').unwrap_or(("default", &args.guest));
    let guest = super::block_on(async {
        let client = client::connect(args.kubeconfig).await?;
        let api: Api<Guest> = Api::namespaced(client, namespace);
        Ok::<_, WhyError>(call(format!("read Guest {namespace}/{name}"), api.get(name)).await?)
    })?;
    print!("{}", render(namespace, name, &guest.status.unwrap_or_default()));
    Ok(())
}

/// The reasons in lines.
fn render(namespace: &str, name: &str, status: &GuestStatus) -> String {
    let phase = status.phase.map_or_else(|| "not looked at yet".to_owned(), |phase| phase.to_string());
    let mut text = format!("{namespace}/{name}: {phase}\n");
    if let Some(placement) = &status.placement {
        text += &format!("  {}\n", placement.message);
        for rejected in &placement.rejected {
            text += &format!("  not {}: {}\n", rejected.pool, rejected.why);
        }
    }
    for refusal in &status.refusals {
        text += &format!(
            "  {} had no room, and is not asked again before {}: {}\n",
            refusal.pool, refusal.until.0, refusal.message
        );
    }
    let say = |condition: &Condition| format!("  {} {}: {}\n", condition.type_, condition.status, condition.message);
    text += &status.conditions.iter().filter(|c| c.type_ != "Placed").map(say).collect::<String>();
    text
}
