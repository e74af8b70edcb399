//! Which cluster, with the flags that kubectl's users know.

use std::path::PathBuf;

use clap::Args;
use kube::Client;

use crate::runtime::client::{self, ClientError};

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

/// Which namespaces of it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct NamespaceArgs {
    /// The namespace; left out: that of the context
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

impl ClusterArgs {
    /// A client for the cluster.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        client::connect_with(self.kubeconfig.clone(), self.context.clone()).await
    }
}

impl NamespaceArgs {
    /// The namespace that is meant.
    #[must_use]
    pub fn of(&self, client: &Client) -> String {
        self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())
    }
}
