//! `innkeeper pool inspect`: asks a pool, by its address or by the name of its `CloudPool`.

use std::{io, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use reqwest::Url;
use secrecy::SecretString;
use snafu::{OptionExt, ResultExt, Snafu};

use super::{inventory, survey::SurveyView};
use crate::{
    api::CloudPool,
    cli::{
        block_on,
        cluster::ClusterArgs,
        output::{self, Output, OutputError},
    },
    pool::connect::{self, Catalogue, Connection},
    provider::{
        ErrorKind, Owner, ProviderError,
        xapi::{Fingerprint, Timing, TlsTrust, TrustError, XapiConfig, survey},
    },
    runtime::{ApiError, call, client::ClientError},
};

/// Where the password is, if not in a file.
const PASSWORD: &str = "INNKEEPER_XAPI_PASSWORD";
/// How long a host may take to show its certificate.
const SHOWING: Duration = Duration::from_secs(10);

/// Options of `innkeeper pool inspect`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true).args(["name", "xapi", "ec2", "gce"]))]
pub struct InspectArgs {
    /// A `CloudPool` of the cluster; it is asked with the credentials of its Secret, which you must be allowed to read
    name: Option<String>,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Also list the product's own templates, which have no disk
    #[arg(long)]
    all: bool,
    /// A Xen pool by the address of any of its hosts, such as `https://192.0.2.10`; may be repeated
    #[arg(long, value_name = "URL", help_heading = "Xen pool")]
    xapi: Vec<Url>,
    /// Whom to log in as
    #[arg(long, default_value = "root", env = "INNKEEPER_XAPI_USER", help_heading = "Xen pool")]
    user: String,
    /// File that holds the password, - for the standard input; left out: the environment variable
    /// `INNKEEPER_XAPI_PASSWORD`
    #[arg(long, value_name = "FILE", help_heading = "Xen pool")]
    password_file: Option<PathBuf>,
    /// SHA-256 fingerprint of the host's certificate; may be repeated for other hosts. Left out: the certificate must be
    /// signed by an authority that this machine trusts, and else its fingerprint is printed
    #[arg(long, value_name = "SHA256", help_heading = "Xen pool")]
    fingerprint: Vec<String>,
    /// File with the authority (PEM) that signed the hosts' certificates
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint", help_heading = "Xen pool")]
    ca: Option<PathBuf>,
    /// A region of Amazon EC2, with the credentials of your environment
    #[arg(long, value_name = "REGION", help_heading = "EC2")]
    ec2: Option<String>,
    /// Address of a cloud that speaks EC2's protocol
    #[arg(long, value_name = "URL", requires = "ec2", help_heading = "EC2")]
    endpoint: Option<Url>,
    /// A project of Google Compute Engine, with the service account's key that `GOOGLE_APPLICATION_CREDENTIALS` names, or that
    /// of this machine
    #[arg(long, value_name = "PROJECT", requires = "zone", help_heading = "Google Compute Engine")]
    gce: Option<String>,
    /// A zone of the project; may be repeated for others of the same region
    #[arg(long, value_name = "ZONE", requires = "gce", help_heading = "Google Compute Engine")]
    zone: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Why nothing can be shown.
#[derive(Debug, Snafu)]
pub enum InspectError {
    /// A file cannot be read.
    #[snafu(display("cannot read {}", path.display()))]
    ReadFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no password.
    #[snafu(display(
        "there is no password: put it into the environment variable {PASSWORD} or into a file and pass --password-file FILE \
         (- reads the standard input)"
    ))]
    NoPassword,
    /// What was given as fingerprint is none.
    #[snafu(display("--fingerprint"))]
    ReadFingerprint {
        /// Why.
        source: TrustError,
    },
    /// The host is not known to be whom it says.
    #[snafu(display(
        "{error}\n\n{host} shows a certificate with this SHA-256 fingerprint:\n  {seen}\nCompare it with what the host itself says, \
         for example at its console:\n  openssl x509 -noout -fingerprint -sha256 -in /etc/xensource/xapi-ssl.pem\nIf it is the \
         same, pass --fingerprint {seen}"
    ))]
    NotTrusted {
        /// What went wrong.
        error: Box<ProviderError>,
        /// Which host.
        host: String,
        /// What it shows.
        seen: Fingerprint,
    },
    /// The provider gives no answer.
    #[snafu(transparent)]
    Ask {
        /// Why.
        source: ProviderError,
    },
    /// The pool's Secrets or spec lead to no connection.
    #[snafu(display("{message}"))]
    ConnectPool {
        /// Why, and what to do.
        message: String,
    },
    /// The cluster cannot be reached.
    #[snafu(transparent)]
    Connect {
        /// Why.
        source: ClientError,
    },
    /// The cluster does not answer.
    #[snafu(transparent)]
    ReadCluster {
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

/// Asks the pool and prints what it has.
pub(super) fn inspect(args: &InspectArgs) -> Result<(), InspectError> {
    block_on(async {
        let failed = |message| InspectError::ConnectPool { message };
        match (&args.name, &args.ec2, &args.gce) {
            (Some(name), ..) => of_cluster(args, name).await,
            (None, Some(region), _) => {
                let pool = inventory::of_region(region, args.endpoint.as_ref()).await;
                show_inventory(args, &pool.map_err(failed)?)
            }
            (None, None, Some(project)) => {
                show_inventory(args, &inventory::of_project(project, &args.zone).await.map_err(failed)?)
            }
            (None, None, None) => show_survey(args, &xapi_config(args)?, None).await,
        }
    })
}

async fn show_survey(args: &InspectArgs, config: &XapiConfig, cluster: Option<&Owner>) -> Result<(), InspectError> {
    let survey = match survey::survey(config).await {
        Ok(survey) => survey,
        // No code: it was not the pool that refused.
        Err(error) if error.kind == ErrorKind::Auth && error.code.is_none() => return Err(explain(config, error).await),
        Err(error) => return Err(error.into()),
    };
    let view = SurveyView { survey: &survey, cluster: cluster.map(|Owner(uid)| uid.as_str()), all: args.all };
    Ok(output::print(args.output, &survey, |_| view.render())?)
}

/// What the host shows, for whoever wants to pin it.
async fn explain(config: &XapiConfig, error: ProviderError) -> InspectError {
    let Some(endpoint) = config.endpoints.first() else { return error.into() };
    match survey::presented_fingerprint(endpoint, SHOWING).await {
        // A pinned host that shows what was pinned is not the one that is distrusted.
        Some(seen) if !is_pinned(&config.tls, &seen) => {
            let host = endpoint.host_str().unwrap_or_default().to_owned();
            InspectError::NotTrusted { error: Box::new(error), host, seen }
        }
        _ => error.into(),
    }
}

fn is_pinned(trust: &TlsTrust, seen: &Fingerprint) -> bool {
    matches!(trust, TlsTrust::Fingerprints(pinned) if pinned.contains(seen))
}

fn show_inventory(args: &InspectArgs, pool: &inventory::Region) -> Result<(), InspectError> {
    Ok(output::print(args.output, pool, inventory::render)?)
}

fn xapi_config(args: &InspectArgs) -> Result<XapiConfig, InspectError> {
    Ok(XapiConfig {
        endpoints: args.xapi.clone(),
        user: args.user.clone(),
        password: password(args.password_file.as_ref())?,
        tls: trust(args)?,
        owner: Owner(String::new()),
        caller: None,
        expected_pool: None,
        default_storage: None,
        timing: Timing::default(),
    })
}

fn trust(args: &InspectArgs) -> Result<TlsTrust, InspectError> {
    if let Some(path) = &args.ca {
        let pem = std::fs::read_to_string(path).context(ReadFileSnafu { path })?;
        return Ok(TlsTrust::Authority { pem, server_name: None });
    }
    if args.fingerprint.is_empty() {
        return Ok(TlsTrust::SystemRoots);
    }
    let prints = args.fingerprint.iter().map(|text| text.parse().context(ReadFingerprintSnafu));
    Ok(TlsTrust::Fingerprints(prints.collect::<Result<_, _>>()?))
}

/// Never from the command line, where every user of the machine and the shell's history would see it.
fn password(file: Option<&PathBuf>) -> Result<SecretString, InspectError> {
    let text = match file {
        Some(path) if path.as_os_str() == "-" => io::read_to_string(io::stdin()).context(ReadFileSnafu { path })?,
        Some(path) => std::fs::read_to_string(path).context(ReadFileSnafu { path })?,
        None => std::env::var(PASSWORD).ok().context(NoPasswordSnafu)?,
    };
    // Editors and `echo` end a file in a line feed that nobody means.
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

async fn of_cluster(args: &InspectArgs, name: &str) -> Result<(), InspectError> {
    let client = args.cluster.connect().await?;
    let pools: Api<CloudPool> = Api::all(client.clone());
    let pool = call(format!("read CloudPool {name}"), pools.get(name)).await?;
    let spec = &pool.spec.provider;
    let trouble = |trouble: crate::pool::facts::Trouble| InspectError::ConnectPool { message: trouble.message };
    let secrets = connect::secrets(&client, spec).await.map_err(trouble)?;
    let cluster = cluster_uid(&client).await;
    let owner = cluster.clone().unwrap_or(Owner(String::new()));
    let catalogue = Catalogue::of(&pool.spec);
    let connection = Connection {
        secrets: &secrets,
        owner: &owner,
        caller: "innkeeper-cli",
        expected_id: None,
        catalogue: catalogue.as_ref(),
        image: None,
        types: &connect::types(&pool.spec),
    };
    if let Some(xapi) = &spec.xapi {
        let config = connect::xapi_config(xapi, &connection).map_err(trouble)?;
        return show_survey(args, &config, cluster.as_ref()).await;
    }
    let provider = connect::connect(spec, &connection).await.map_err(trouble)?;
    let region = inventory::read(&*provider).await;
    provider.close().await;
    show_inventory(args, &region?)
}

/// By what the cluster's guests are marked. `None` for whoever may not read that: then they are shown as any cluster's.
async fn cluster_uid(client: &Client) -> Option<Owner> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = call("read namespace kube-system", namespaces.get("kube-system")).await.ok()?;
    system.uid().map(Owner)
}
