//! `innkeeper plan`: what would be decided, without doing it.

mod render;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use snafu::{ResultExt, Snafu};

use super::{
    cluster::{self, ClusterArgs},
    output::{self, Output, OutputError},
};
use crate::{
    api::{CloudPool, Guest, GuestSpec, VirtualWorkload},
    plan::{self, Plan},
    runtime::{ApiError, client::ClientError},
    scheduler::{gather, pools::Namespaces},
    workload::decide,
};

/// Options of `innkeeper plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Manifests of `CloudPools` (with their status as inventory), `VirtualWorkloads`, `Guests` and `Namespaces`: a file, a
    /// folder, or - for the standard input; may be repeated. With --cluster they count as applied on top of what is there.
    /// Left out: the cluster as it is
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Start from what a live cluster holds
    #[arg(long)]
    cluster: bool,
    /// How the plan is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The namespace of manifests that name none; left out: default
    #[arg(short, long, value_name = "NAME", default_value = "default", help_heading = "Cluster")]
    namespace: String,
    #[command(flatten)]
    connection: ClusterArgs,
}

/// Why there is no plan.
#[derive(Debug, Snafu)]
pub enum PlanError {
    /// A file cannot be read.
    #[snafu(display("cannot read {}", path.display()))]
    ReadManifest {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no YAML.
    #[snafu(display("cannot understand {} as YAML", path.display()))]
    ParseManifest {
        /// Which.
        path: PathBuf,
        /// Why.
        #[snafu(source(from(serde_saphyr::Error, Box::new)))]
        source: Box<serde_saphyr::Error>,
    },
    /// An object is not what its kind says.
    #[snafu(display("cannot understand {kind} {name} in {}", path.display()))]
    ParseObject {
        /// In which file.
        path: PathBuf,
        /// Of which kind.
        kind: String,
        /// Of which name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The cluster cannot be reached.
    #[snafu(transparent)]
    Connect {
        /// Why.
        source: ClientError,
    },
    /// The cluster cannot be read.
    #[snafu(transparent)]
    ReadCluster {
        /// Why.
        source: ApiError,
    },
    /// The plan cannot be written.
    #[snafu(transparent)]
    Write {
        /// Why.
        source: OutputError,
    },
}

/// What a plan is made from, by namespace and name: what comes later replaces what came before.
#[derive(Default)]
struct Objects {
    pools: BTreeMap<String, CloudPool>,
    workloads: BTreeMap<(String, String), VirtualWorkload>,
    guests: BTreeMap<(String, String), Guest>,
    namespaces: Namespaces,
}

/// Plans, and answers 2 where a guest finds no place.
pub fn plan(args: &PlanArgs) -> Result<ExitCode, PlanError> {
    let mut objects = Objects::default();
    if args.cluster || args.files.is_empty() {
        super::block_on(objects.read_cluster(&args.connection))?;
    }
    for path in &args.files {
        for file in files(path)? {
            objects.read_file(&file, &args.namespace)?;
        }
    }
    let now = Timestamp::now();
    let guests = objects.wished_guests(now);
    let pools: Vec<Arc<CloudPool>> = objects.pools.into_values().map(Arc::new).collect();
    let picture = gather::picture(&guests, &pools, &objects.namespaces, &mut gather::Assumed::default(), now);
    let plan = picture.as_ref().map(|picture| plan::decide(&picture.world, &crate::scheduler::OPTIONS));
    let names: HashMap<String, String> = guests
        .iter()
        .map(|guest| {
            (guest.uid().unwrap_or_default(), format!("{}/{}", guest.namespace().unwrap_or_default(), guest.name_any()))
        })
        .collect();
    let plan = render::named(plan.unwrap_or_else(|| Plan { proven: true, ..Plan::default() }), &names);
    output::print(args.output, &plan, |plan| render::render(plan, guests.len()))?;
    Ok(if plan.unplaced.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// A file itself, or the manifests of a folder by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, PlanError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut files: Vec<PathBuf> = entries.context(ReadManifestSnafu { path })?.iter().map(fs::DirEntry::path).collect();
    files.retain(|file| file.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)));
    files.sort();
    Ok(files)
}

impl Objects {
    async fn read_cluster(&mut self, connection: &ClusterArgs) -> Result<(), PlanError> {
        let client = connection.connect().await?;
        let pools = cluster::list_all::<CloudPool>(&client, "CloudPools").await?;
        let workloads = cluster::list::<VirtualWorkload>(&client, "VirtualWorkloads", None).await?;
        let guests = cluster::list::<Guest>(&client, "Guests", None).await?;
        let namespaces = cluster::list_all::<Namespace>(&client, "Namespaces").await?;
        self.pools = pools.into_iter().map(|pool| (pool.name_any(), pool)).collect();
        self.workloads = workloads.into_iter().map(|workload| keyed(workload, "")).collect();
        self.guests = guests.into_iter().map(|guest| keyed(guest, "")).collect();
        self.namespaces = namespaces.iter().map(|one| (one.name_any(), one.labels().clone())).collect();
        Ok(())
    }

    fn read_file(&mut self, path: &Path, namespace: &str) -> Result<(), PlanError> {
        let text = if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
        let text = text.context(ReadManifestSnafu { path })?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).context(ParseManifestSnafu { path })?;
        for document in documents {
            // Lists are what `kubectl get -o yaml` prints.
            match document.get("items").and_then(Value::as_array) {
                Some(items) => items.iter().try_for_each(|item| self.add(path, namespace, item.clone()))?,
                None => self.add(path, namespace, document)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, namespace: &str, document: Value) -> Result<(), PlanError> {
        match document["kind"].as_str() {
            Some("CloudPool") => {
                let pool: CloudPool = parse(path, document)?;
                self.pools.insert(pool.name_any(), pool);
            }
            Some("VirtualWorkload") => {
                self.workloads.extend([keyed::<VirtualWorkload>(parse(path, document)?, namespace)]);
            }
            Some("Guest") => self.guests.extend([keyed::<Guest>(parse(path, document)?, namespace)]),
            Some("Namespace") => {
                let namespace: Namespace = parse(path, document)?;
                self.namespaces.insert(namespace.name_any(), namespace.labels().clone());
            }
            // What else stands in the files (Secrets, say) is not ours to judge.
            _ => {}
        }
        Ok(())
    }

    /// The guests that there are and are to stay, and those that the workloads still lack, as they would be made.
    fn wished_guests(&mut self, now: Timestamp) -> Vec<Arc<Guest>> {
        let mut guests = std::mem::take(&mut self.guests);
        for ((namespace, name), workload) in &self.workloads {
            for ordinal in 0..workload.spec.replicas {
                let key = (namespace.clone(), format!("{name}-{ordinal}"));
                let guest = guests.entry(key.clone()).or_insert_with(|| new_guest(&key, workload, ordinal, now));
                let GuestSpec { identity, relocation, binding, .. } = guest.spec.clone();
                guest.spec = GuestSpec { identity, relocation, binding, ..decide::wished(workload, ordinal) };
            }
        }
        let stays = |(namespace, name): &(String, String), guest: &Guest| {
            let workload = self.workloads.get(&(namespace.clone(), guest.spec.workload.clone()));
            let ordinal = decide::ordinal(&guest.spec.workload, name);
            workload.is_none_or(|workload| ordinal.is_none_or(|ordinal| ordinal < workload.spec.replicas))
        };
        guests.retain(|key, guest| stays(key, guest));
        guests.into_values().map(Arc::new).collect()
    }
}

fn new_guest((namespace, name): &(String, String), workload: &VirtualWorkload, ordinal: u32, now: Timestamp) -> Guest {
    let mut guest = Guest::new(name, decide::wished(workload, ordinal));
    guest.metadata.namespace = Some(namespace.clone());
    guest.metadata.uid = Some(format!("{namespace}/{name}"));
    guest.metadata.creation_timestamp = Some(Time(now));
    guest
}

/// With a namespace and a UID in any case: manifests need have neither.
fn keyed<K: Resource>(mut object: K, namespace: &str) -> ((String, String), K) {
    let name = object.name_any();
    let meta = object.meta_mut();
    let namespace = meta.namespace.get_or_insert_with(|| namespace.to_owned()).clone();
    meta.uid.get_or_insert_with(|| format!("{namespace}/{name}"));
    ((namespace, name), object)
}

fn parse<K: DeserializeOwned>(path: &Path, document: Value) -> Result<K, PlanError> {
    let text = |value: &Value| value.as_str().unwrap_or("without a name").to_owned();
    let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
    serde_json::from_value(document).context(ParseObjectSnafu { path, kind, name })
}
