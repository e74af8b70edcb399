//! Bad input: each field of a workload and of a pool is emptied, removed, made huge, negative, of another kind or unit. The
//! API server refuses it with a sentence, or the operator says what becomes of it; then the good manifest is applied again
//! and all is as wished. Nothing panics, and nothing is looked at again and again.
//!
//! `make mutations N=2000` runs it; not given, sixty are played. `MUTATIONS_SEED` chooses others.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

mod mutate;
#[path = "../e2e/stack.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, of which a part is needed here")]
mod stack;

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use mutate::{Dice, Mutation};
use serde_json::{Value, json};

use crate::stack::{Stack, fetch, free_address};

/// How many workloads are played with side by side.
const AT_ONCE: usize = 6;
const SOON: Duration = Duration::from_mins(1);
/// Runs of all controllers for each manifest that is applied, on average, at most: a wrong one and the right one after it
/// are two, and a VM made for one and removed again is some twenty.
const RUNS: f64 = 40.0;
/// Runs of all controllers in ten seconds of rest, at most: pools are looked at every half minute.
const RUNS_AT_REST: f64 = 10.0;

#[derive(Default)]
struct Tally {
    refused: usize,
    converged: usize,
    wrong: Vec<String>,
}

struct Field {
    workloads: Api<DynamicObject>,
    pools: Api<DynamicObject>,
    tally: Mutex<Tally>,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map_or(otherwise, |text| text.parse().unwrap())
}

fn workload(name: &str) -> Value {
    json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload", "metadata": { "name": name },
        "spec": {
            "replicas": 1,
            "template": {
                "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "256Mi" }, "powerState": "Running",
                "shutdown": { "mode": "TrySoft", "deadline": "30s" },
            },
            "placement": {
                "jurisdictions": { "allow": ["GB"] }, "priority": 1, "objective": "Cost", "spot": "Never",
                "poolSelector": { "matchLabels": { "size": "small" } },
                "burst": { "policy": "WhenFull", "after": "1m", "returnHome": { "after": "5m" } },
                "monthlyBudget": { "amount": "1000", "currency": "EUR" },
                "spread": [{ "topologyKey": "host", "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway" }],
                "tolerations": [{ "key": "some", "value": "taint", "effect": "NoSchedule" }],
            },
            "mobility": { "allow": ["Live"] }, "deletionPolicy": "Delete", "managementPolicies": ["*"],
        },
    })
}

fn pool(stack: &Stack) -> Value {
    json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool",
        "metadata": { "name": "small", "labels": { "size": "small" } },
        "spec": {
            "provider": { "xapi": {
                "endpoints": [stack.xapi["url"]],
                "credentialsSecretRef": { "namespace": "innkeeper-system", "name": "xen-london" },
                "tls": { "certificateFingerprints": [stack.xapi["fingerprint"]] },
            } },
            "location": { "jurisdiction": "GB" },
            "images": [{ "name": "debian-12", "providerId": "debian-12" }],
            "pricing": { "owned": { "currency": "EUR", "monthlyRunningCost": "60" } },
            "maxConcurrentMoves": 2, "cordoned": false,
        },
    })
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if !words.is_empty() && !words.iter().any(|word| "mutations".contains(word.as_str())) {
        return;
    }
    if std::env::args().any(|word| word == "--list") {
        println!("mutations: test");
        return;
    }
    let (wanted, seed) = (number("MUTATIONS", 60), number("MUTATIONS_SEED", 1));
    let stack = Stack::start_with(&["--hosts", "2", "--host-memory", "32GiB"]);
    let (mut operator, address) = {
        let address = free_address();
        let kubeconfig = stack.folder.path().join("kubeconfig").to_string_lossy().into_owned();
        let arguments = ["run", "--kubeconfig", &kubeconfig, "--listen", &address];
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_innkeeper"));
        (stack::launch(stack.folder.path(), program, &arguments, &["--leader-elect=false"]), address)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let began = Instant::now();
    let good_pool = pool(&stack);
    let tally = runtime.block_on(async {
        let file = Kubeconfig::read_from(stack.folder.path().join("kubeconfig")).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let kind = |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("innkeeper.dev", "v1alpha1", kind));
        let workloads = Api::namespaced_with(client.clone(), "default", &kind("VirtualWorkload"));
        let field = Field { workloads, pools: Api::all_with(client, &kind("CloudPool")), tally: Mutex::default() };
        field.recovers(&field.pools, &good_pool).await.unwrap();
        let wanted = usize::try_from(wanted).unwrap();
        let share = |worker: usize| wanted / AT_ONCE + usize::from(worker < wanted % AT_ONCE);
        stream::iter(0..AT_ONCE)
            .for_each_concurrent(AT_ONCE, |worker| {
                let (field, good_pool) = (&field, &good_pool);
                async move {
                    let good = workload(&format!("m{worker}"));
                    // Dice of its own: what it draws must not hang on who is quicker.
                    let mut dice = Dice(seed.wrapping_mul(AT_ONCE as u64).wrapping_add(worker as u64));
                    field.recovers(&field.workloads, &good).await.unwrap();
                    for turn in 0..share(worker) {
                        // One plays with the pool now and then, under all the others' feet.
                        let of_pool = worker == 0 && turn % 4 == 3;
                        let (api, good) = if of_pool { (&field.pools, good_pool) } else { (&field.workloads, &good) };
                        let mutation = mutate::mutation(good, &mut dice);
                        field.play(api, good, &mutation).await;
                    }
                }
            })
            .await;
        // With the pool as it should be, all workloads are too.
        for worker in 0..AT_ONCE {
            if let Err(why) = field.recovers(&field.workloads, &workload(&format!("m{worker}"))).await {
                field.tally.lock().unwrap().wrong.push(why);
            }
        }
        field.tally.into_inner().unwrap()
    });
    end(&stack, &mut operator, &address, tally, began, (wanted, seed));
}

/// Looks at what became of the operator, and tells all.
fn end(stack: &Stack, operator: &mut stack::Process, address: &str, tally: Tally, began: Instant, of: (u64, u64)) {
    let runs = || {
        let text = fetch(address, "/metrics").map(|(_, text)| text).unwrap_or_default();
        let count = |line: &str| {
            line.strip_prefix("innkeeper_reconcile_duration_seconds_count")?.rsplit(' ').next()?.parse::<f64>().ok()
        };
        text.lines().filter_map(count).sum::<f64>()
    };
    let Tally { refused, converged, mut wrong } = tally;
    #[allow(clippy::cast_precision_loss, reason = "a few thousand manifests")]
    let rate = runs() / (2 * of.0) as f64;
    let before = runs();
    std::thread::park_timeout(Duration::from_secs(10));
    let at_rest = runs() - before;
    if operator.has_ended() || stack.operator_log().contains("panicked") {
        wrong.push(format!("the operator panicked: {}", stack.operator_log()));
    }
    if rate > RUNS || at_rest > RUNS_AT_REST {
        wrong.push(format!("{rate:.0} runs for each manifest, {at_rest} in ten seconds of rest"));
    }
    for what in &wrong {
        println!("mutations: WRONG: {what}");
    }
    if !wrong.is_empty() {
        println!("again with: make mutations N={} MUTATIONS_SEED={}", of.0, of.1);
    }
    println!(
        "mutations: {}, seed {}: refused with a sentence {refused}, converged {converged}; {rate:.0} runs for each \
         manifest, {at_rest} in ten seconds of rest; {:.0} s",
        of.0,
        of.1,
        began.elapsed().as_secs_f64()
    );
    let word = if wrong.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        refused + converged,
        wrong.len()
    );
    println!("violations: {}", wrong.len());
    assert!(wrong.is_empty());
}

/// Whether a refusal tells what is wrong. Of an apply that does not fit the kind's fields the API server says so under code 500.
fn is_told(code: u16, message: &str) -> bool {
    message.len() >= 20 && (code < 500 || message.starts_with("failed to create typed patch object"))
}

impl Field {
    /// Applies what is wrong, and then what is right.
    async fn play(&self, api: &Api<DynamicObject>, good: &Value, mutation: &Mutation) {
        let outcome = match apply(api, &mutation.manifest).await {
            Err(kube::Error::Api(status)) if !is_told(status.code, &status.message) => {
                Err(format!("refused with {} {:?}", status.code, status.message))
            }
            Err(kube::Error::Api(_)) => Ok(false),
            Err(error) => Err(format!("not answered: {error}")),
            Ok(_) => self.says(api, &mutation.manifest).await.map(|()| true),
        };
        let outcome = match (outcome, self.recovers(api, good).await) {
            (Ok(accepted), Ok(())) => Ok(accepted),
            (Err(why), _) | (_, Err(why)) => Err(why),
        };
        let mut tally = self.tally.lock().unwrap();
        match outcome {
            Ok(true) => tally.converged += 1,
            Ok(false) => tally.refused += 1,
            Err(why) => tally.wrong.push(format!("{}: {why}", mutation.what)),
        }
    }

    /// The operator has looked at it, and either all is well or it says why not.
    async fn says(&self, api: &Api<DynamicObject>, manifest: &Value) -> Result<(), String> {
        let said = |object: &DynamicObject| {
            let ready = condition(object, "Ready")?;
            let why = ["Reconciling", "Stalled"].iter().find_map(|kind| condition(object, kind));
            (ready.0 == "True" || why.is_some_and(|(_, message)| message.len() > 10)).then_some(())
        };
        watch(api, manifest, "the operator says what becomes of it", said).await
    }

    async fn recovers(&self, api: &Api<DynamicObject>, good: &Value) -> Result<(), String> {
        if let Err(error) = apply(api, good).await {
            return Err(format!("the good manifest is refused after it: {error}"));
        }
        // What another does to the pool meanwhile may keep a workload waiting; in the end all are looked at again.
        let is_workload = good["kind"] == "VirtualWorkload";
        let ready = |object: &DynamicObject| {
            let ready = condition(object, "Ready")?;
            (ready.0 == "True" || (is_workload && ready.1.len() > 10)).then_some(())
        };
        watch(api, good, "it is as wished again", ready).await
    }
}

async fn apply(api: &Api<DynamicObject>, manifest: &Value) -> kube::Result<DynamicObject> {
    let params = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply("user").force()
    };
    api.patch(manifest["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(manifest)).await
}

/// Status and message of a condition, where the status speaks of the present spec.
fn condition(object: &DynamicObject, kind: &str) -> Option<(String, String)> {
    let status = object.data.get("status")?;
    if status["observedGeneration"].as_i64() != object.metadata.generation {
        return None;
    }
    let found = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["message"].as_str()?.to_owned()))
}

async fn watch(
    api: &Api<DynamicObject>,
    manifest: &Value,
    what: &str,
    holds: impl Fn(&DynamicObject) -> Option<()>,
) -> Result<(), String> {
    let (name, deadline) = (manifest["metadata"]["name"].as_str().unwrap(), Instant::now() + SOON);
    loop {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        if holds(&object).is_some() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {} s: {}", SOON.as_secs(), object.data["status"]));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
