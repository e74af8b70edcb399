//! The connection to the API server.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use snafu::{ResultExt, Snafu};

/// Why there is no connection.
#[derive(Debug, Snafu)]
pub enum ClientError {
    /// The kubeconfig cannot be read.
    #[snafu(display("cannot read the kubeconfig {}", path.display()))]
    ReadKubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// The kubeconfig cannot be used.
    #[snafu(display("cannot use the kubeconfig {}", path.display()))]
    UseKubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// A context cannot be used.
    #[snafu(display("cannot use the context {context} of the kubeconfig (KUBECONFIG or ~/.kube/config)"))]
    UseContext {
        /// Which.
        context: String,
        /// Why.
        source: KubeconfigError,
    },
    /// Neither KUBECONFIG nor a service account leads to a cluster.
    #[snafu(display("cannot find a cluster: pass --kubeconfig, set KUBECONFIG, or run inside of one"))]
    InferConfig {
        /// Why.
        source: kube::config::InferConfigError,
    },
    /// No thread can be had for the work.
    #[snafu(display("cannot start the runtime"))]
    StartRuntime {
        /// Why.
        source: std::io::Error,
    },
    /// The client cannot be made.
    #[snafu(display("cannot make a client for the cluster"))]
    BuildClient {
        /// Why.
        source: kube::Error,
    },
}

/// How long nothing may come on a connection that something is waited for on. The API server sends a bookmark each minute on
/// a watch that has nothing else to tell; one that is silent for longer is held by somebody in between, and what it misses
/// would be noticed only when the watch is due to be renewed, after five minutes.
const SILENCE: Duration = Duration::from_secs(90);

/// A client for the cluster of the given kubeconfig, or the one that the environment names.
pub async fn connect(kubeconfig: Option<PathBuf>) -> Result<Client, ClientError> {
    connect_with(kubeconfig, None).await
}

/// The same for a context of the kubeconfig, where one is named.
///
/// The client's own retries are off: they go on for minutes without a word, while our callers have deadlines, backoff for
/// each object and something to say in a condition.
pub async fn connect_with(kubeconfig: Option<PathBuf>, context: Option<String>) -> Result<Client, ClientError> {
    let mut config = match (kubeconfig, context) {
        (Some(path), context) => {
            let file = Kubeconfig::read_from(&path).context(ReadKubeconfigSnafu { path: &path })?;
            let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(file, &options).await.context(UseKubeconfigSnafu { path })?
        }
        (None, Some(context)) => {
            let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.context(UseContextSnafu { context })?
        }
        (None, None) => Config::infer().await.context(InferConfigSnafu)?,
    };
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    // From when something was asked, not from when the connection was last used.
    config.reset_reader_on_write = true;
    Client::try_from(config).context(BuildClientSnafu)
}
