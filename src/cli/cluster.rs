//! Which cluster, with the flags that kubectl's users know.

use std::{fmt::Debug, path::PathBuf};

use clap::Args;
use kube::{Api, Client, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use snafu::Snafu;

use super::output::OutputError;
use crate::runtime::{
    ApiError, call,
    client::{self, ClientError},
};

/// Why what a cluster holds cannot be shown.
#[derive(Debug, Snafu)]
pub enum ShowError {
    /// The cluster cannot be reached.
    #[snafu(transparent)]
    Connect {
        /// Why.
        source: ClientError,
    },
    /// The cluster does not answer.
    #[snafu(transparent)]
    Read {
        /// Why.
        source: ApiError,
    },
    /// The result cannot be written.
    #[snafu(transparent)]
    Write {
        /// Why.
        source: OutputError,
    },
}

/// Which cluster is asked.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// The kubeconfig file; left out: KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; left out: its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

impl ClusterArgs {
    /// A client for the cluster.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        client::connect_with(self.kubeconfig.clone(), self.context.clone()).await
    }
}

/// All objects of a kind, in one namespace or in all.
pub async fn list<K>(client: &Client, kinds: &str, namespace: Option<&str>) -> Result<Vec<K>, ApiError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let (api, place): (Api<K>, _) = match namespace {
        Some(namespace) => (Api::namespaced(client.clone(), namespace), format!(" in namespace {namespace}")),
        None => (Api::all(client.clone()), String::new()),
    };
    Ok(call(format!("list {kinds}{place}"), api.list(&ListParams::default())).await?.items)
}

/// All objects of a kind that belongs to no namespace.
pub async fn list_all<K>(client: &Client, kinds: &str) -> Result<Vec<K>, ApiError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    Ok(call(format!("list {kinds}"), api.list(&ListParams::default())).await?.items)
}
