//! `innkeeper plan`: what would be decided, without doing it.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use snafu::{ResultExt, Snafu};

use super::table;
use crate::{
    api::{CloudPool, Guest, GuestSpec, VirtualWorkload},
    plan::{self, Plan},
    runtime::{
        ApiError, call,
        client::{self, ClientError},
    },
    scheduler::{gather, pools::Namespaces},
    workload::decide,
};

/// Options of `innkeeper plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Manifests of `CloudPools` (with their status as inventory), `VirtualWorkloads`, `Guests` and `Namespaces`; - reads
    /// the standard input. With --cluster they count as applied on top of what is there
    #[arg(short, long = "filename", value_name = "FILE", required_unless_present = "cluster")]
    files: Vec<PathBuf>,
    /// Start from what a live cluster holds
    #[arg(long)]
    cluster: bool,
    /// The cluster; left out: KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// How the plan is written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
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
    /// The plan cannot be written as JSON.
    #[snafu(display("cannot write the plan as JSON"))]
    RenderJson {
        /// Why.
        source: serde_json::Error,
    },
    /// The plan cannot be written as YAML.
    #[snafu(display("cannot write the plan as YAML"))]
    RenderYaml {
        /// Why.
        source: serde_saphyr::ser::Error,
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
    if args.cluster {
        super::block_on(objects.read_cluster(args.kubeconfig.clone()))?;
    }
    for path in &args.files {
        objects.read_file(path)?;
    }
    let now = Timestamp::now();
    let guests = objects.wished_guests(now);
    let pools: Vec<Arc<CloudPool>> = objects.pools.into_values().map(Arc::new).collect();
    let picture = gather::picture(&guests, &pools, &objects.namespaces, &mut gather::Assumed::default(), now);
    let Some(picture) = picture else {
        println!("There are no guests to place.");
        return Ok(ExitCode::SUCCESS);
    };
    let plan = plan::decide(&picture.world, &plan::Options::default());
    match args.output {
        Output::Table => print!("{}", render(&plan, &picture.guests)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&plan).context(RenderJsonSnafu)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&plan).context(RenderYamlSnafu)?),
    }
    Ok(if plan.unplaced.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

impl Objects {
    async fn read_cluster(&mut self, kubeconfig: Option<PathBuf>) -> Result<(), PlanError> {
        let client = client::connect(kubeconfig).await?;
        self.pools = list::<CloudPool>(&client, "CloudPools").await?.into_iter().map(|p| (p.name_any(), p)).collect();
        self.workloads = list::<VirtualWorkload>(&client, "VirtualWorkloads").await?.into_iter().map(keyed).collect();
        self.guests = list::<Guest>(&client, "Guests").await?.into_iter().map(keyed).collect();
        for namespace in list::<Namespace>(&client, "Namespaces").await? {
            self.namespaces.insert(namespace.name_any(), namespace.labels().clone());
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path) -> Result<(), PlanError> {
        let text = if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            std::fs::read_to_string(path)
        };
        let text = text.context(ReadManifestSnafu { path })?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).context(ParseManifestSnafu { path })?;
        for document in documents {
            // Lists are what `kubectl get -o yaml` prints.
            match document.get("items").and_then(Value::as_array) {
                Some(items) => items.iter().try_for_each(|item| self.add(path, item.clone()))?,
                None => self.add(path, document)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, document: Value) -> Result<(), PlanError> {
        match document["kind"].as_str() {
            Some("CloudPool") => {
                let pool: CloudPool = parse(path, document)?;
                self.pools.insert(pool.name_any(), pool);
            }
            Some("VirtualWorkload") => self.workloads.extend([keyed::<VirtualWorkload>(parse(path, document)?)]),
            Some("Guest") => self.guests.extend([keyed::<Guest>(parse(path, document)?)]),
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

async fn list<K>(client: &Client, what: &str) -> Result<Vec<K>, ApiError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    Ok(call(format!("list {what}"), api.list(&ListParams::default())).await?.items)
}

fn keyed<K: Resource>(object: K) -> ((String, String), K) {
    ((object.namespace().unwrap_or_else(|| "default".to_owned()), object.name_any()), object)
}

fn parse<K: DeserializeOwned>(path: &Path, document: Value) -> Result<K, PlanError> {
    let text = |value: &Value| value.as_str().unwrap_or("without a name").to_owned();
    let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
    serde_json::from_value(document).context(ParseObjectSnafu { path, kind, name })
}

fn render(plan: &Plan, guests: &std::collections::HashMap<String, &Arc<Guest>>) -> String {
    let name = |uid: &str| {
        guests
            .get(uid)
            .map_or_else(|| uid.to_owned(), |g| format!("{}/{}", g.namespace().unwrap_or_default(), g.name_any()))
    };
    let mut rows = vec![["GUEST", "POOL", "HOST OR TYPE", "HOURLY", "WHY"].map(str::to_owned)];
    for explanation in &plan.explanations {
        let binding = plan.bindings.iter().find(|binding| binding.guest == explanation.guest);
        let place = binding.map(|binding| &binding.place);
        rows.push([
            name(&explanation.guest),
            place.map_or("-".to_owned(), |place| place.pool.clone()),
            place.and_then(|place| place.host.clone().or(place.instance_type.clone())).unwrap_or("-".to_owned()),
            binding.and_then(|binding| binding.hourly).map_or("-".to_owned(), |hourly| hourly.to_string()),
            explanation.message.clone(),
        ]);
    }
    let mut text = table::render(&rows);
    for step in &plan.moves {
        let place = |bound: &plan::Bound| {
            bound.host.as_ref().map_or(bound.pool.clone(), |host| format!("{}/{host}", bound.pool))
        };
        text += &format!(
            "move {} from {} to {} ({:?}, wave {})\n",
            name(&step.guest),
            place(&step.from),
            place(&step.to),
            step.cause,
            step.wave
        );
    }
    let money = |money: Option<crate::api::money::Money>| money.map_or("unknown".to_owned(), |money| money.to_string());
    text += &format!(
        "{} placed now, {} without a place; marginal cost of all guests in an hour: {} before, {} after\n",
        plan.bindings.len(),
        plan.unplaced.len(),
        money(plan.cost_before.marginal),
        money(plan.cost_after.marginal),
    );
    text
}
