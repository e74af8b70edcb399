//! What the providers themselves say.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{
    Client,
    config::{BehaviorVersion, Config, Credentials, Region},
    types::{Instance, InstanceStateName, Reservation},
};
use serde_json::Value;

use crate::stack::{ACCESS_KEY, REGION, SECRET_KEY, Stack};

/// Asks the providers directly.
pub struct Truth {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    admin: String,
    moto: String,
    pub ec2: Client,
    /// Disks that were there before any guest.
    disks: BTreeSet<String>,
}

impl Truth {
    pub fn of(stack: &Stack) -> Self {
        let moto = stack.ec2["url"].as_str().unwrap().to_owned();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
            .endpoint_url(&moto);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(30)).build().unwrap();
        let admin = stack.xapi["admin"].as_str().or(stack.xapi["admin_url"].as_str()).unwrap().to_owned();
        let mut truth =
            Self { runtime, http, admin, moto, ec2: Client::from_conf(config.build()), disks: BTreeSet::new() };
        truth.disks = truth.all_disks();
        truth
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn read(&self, url: String) -> Value {
        self.block_on(async {
            let reply = self.http.get(url).send().await.unwrap().error_for_status().unwrap();
            serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
        })
    }

    fn xen(&self, class: &str) -> BTreeMap<String, Value> {
        serde_json::from_value(self.read(format!("{}/state/{class}", self.admin))).unwrap()
    }

    fn all_disks(&self) -> BTreeSet<String> {
        self.xen("VDI").into_values().map(|disk| disk["uuid"].as_str().unwrap().to_owned()).collect()
    }

    /// VMs on the Xen pool that are no template, snapshot or control domain, by uuid.
    pub fn xen_vms(&self) -> BTreeMap<String, Value> {
        let not = |vm: &Value, field: &str| vm[field] == false;
        self.xen("VM")
            .into_values()
            .filter(|vm| not(vm, "is_control_domain") && not(vm, "is_a_snapshot"))
            // Templates that were there from the start are no VMs; an unfinished clone of ours is.
            .filter(|vm| not(vm, "is_a_template") || vm["name_label"].as_str().unwrap().starts_with("innkeeper"))
            .map(|vm| (vm["uuid"].as_str().unwrap().to_owned(), vm))
            .collect()
    }

    /// Instances that are not terminated.
    pub fn instances(&self) -> Vec<Instance> {
        self.block_on(async {
            let mut pages = self.ec2.describe_instances().into_paginator().items().send();
            let mut live = Vec::new();
            while let Some(reservation) = pages.next().await {
                live.extend(reservation.unwrap().instances.unwrap_or_default());
            }
            live.retain(|instance| state(instance) != Some(InstanceStateName::Terminated));
            live
        })
    }

    /// Sessions that operators have at the Xen pool, by reference.
    pub fn sessions(&self) -> BTreeSet<String> {
        let of_ours = |session: &Value| session["originator"] == "innkeeper";
        self.xen("session")
            .into_iter()
            .filter(|(_, session)| of_ours(session))
            .map(|(reference, _)| reference)
            .collect()
    }

    /// Tasks of the Xen pool, by reference.
    pub fn tasks(&self) -> BTreeMap<String, Value> {
        self.xen("task")
    }

    /// Everything that is left of guests: VMs, disks, instances, volumes.
    pub fn left(&self) -> Vec<String> {
        let disks = self.all_disks();
        let volumes = self.block_on(async {
            let answer = self.ec2.describe_volumes().send().await.unwrap();
            answer.volumes.unwrap_or_default().into_iter().filter_map(|volume| volume.volume_id)
        });
        let mut left: Vec<String> = self.xen_vms().into_keys().map(|uuid| format!("VM {uuid}")).collect();
        left.extend(disks.difference(&self.disks).map(|uuid| format!("VDI {uuid}")));
        left.extend(self.instances().iter().map(|instance| format!("instance {}", instance.instance_id().unwrap())));
        left.extend(volumes.map(|id| format!("volume {id}")));
        left
    }

    /// Calls so far that change something, at both providers together.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let xapi: BTreeMap<String, u64> = serde_json::from_value(self.read(format!("{}/calls", self.admin))).unwrap();
        let ec2: BTreeMap<String, u64> =
            serde_json::from_value(self.read(format!("{}/innkeeper/calls", self.moto))).unwrap();
        xapi.into_iter().chain(ec2).collect()
    }

    /// All calls to EC2 so far.
    pub fn ec2_calls(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.read(format!("{}/innkeeper/calls", self.moto))).unwrap()
    }

    /// Launches at EC2 so far. Requests that only ask whether they are permitted are none.
    pub fn launches(&self) -> usize {
        self.read(format!("{}/innkeeper/history?kind=RunInstances", self.moto)).as_array().unwrap().len()
    }

    /// Posts to an admin route of the EC2 endpoint.
    pub fn tell_ec2(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}/innkeeper/{path}", self.moto)).body(body.to_string());
        self.block_on(async {
            let reply = request.send().await.unwrap().error_for_status().unwrap();
            serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap()
        })
    }

    /// Who made the calls with effects at each provider, in order: epoch and name of the leader.
    pub fn callers(&self) -> [Vec<(u32, String)>; 2] {
        let parse = |call: &Value| {
            let caller = call["caller"].as_str().unwrap();
            let (epoch, name) = caller.strip_prefix("innkeeper.").unwrap().split_once('.').unwrap();
            (epoch.parse().unwrap(), name.to_owned())
        };
        [format!("{}/callers", self.admin), format!("{}/innkeeper/history?kind=request", self.moto)]
            .map(|url| self.read(url).as_array().unwrap().iter().map(parse).collect())
    }

    /// Disks on the Xen pool that were not there before any guest.
    pub fn disks(&self) -> usize {
        self.all_disks().difference(&self.disks).count()
    }

    /// What happened on the Xen pool.
    pub fn history(&self) -> Vec<Value> {
        self.read(format!("{}/history", self.admin)).as_array().unwrap().clone()
    }

    fn tell(&self, method: reqwest::Method, path: &str, body: &Value) {
        let request =
            self.http.request(method, format!("{}{path}", self.admin)).header("content-type", "application/json");
        self.block_on(async { request.body(body.to_string()).send().await.unwrap().error_for_status().unwrap() });
    }

    /// Makes the Xen pool fail.
    pub fn fault(&self, fault: &Value) {
        self.tell(reqwest::Method::POST, "/faults", fault);
    }

    /// How often it has failed since it was last calm.
    pub fn struck(&self) -> u64 {
        let faults = self.read(format!("{}/faults", self.admin));
        faults.as_array().unwrap().iter().filter_map(|fault| fault["struck"].as_u64()).sum()
    }

    /// It fails no more.
    pub fn calm(&self) {
        self.tell(reqwest::Method::DELETE, "/faults", &Value::Null);
    }

    /// Sets a knob of the Xen pool.
    pub fn knob(&self, name: &str, value: &Value) {
        self.tell(reqwest::Method::PATCH, "/knobs", &serde_json::json!({ name: value }));
    }

    /// For each guest's name, the VMs and instances that ever ran under it; and VMs that ever ran twice at a time.
    pub fn ever_ran(&self) -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
        let history = self.history();
        let mut ran: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut twice = Vec::new();
        for entry in &history {
            let text = |field: &str| entry[field].as_str().unwrap().to_owned();
            if entry["event"] == "start" && entry["class"] == "VM" {
                ran.entry(text("name")).or_default().insert(text("uuid"));
            }
            if entry["running_twice"] == true {
                twice.push(format!("{} {}", text("name"), text("uuid")));
            }
        }
        // EC2 remembers terminated instances for the length of a test.
        for (instance, name) in self.instance_names() {
            ran.entry(name).or_default().insert(instance);
        }
        (ran, twice)
    }

    /// Everything that happened in the Xen pool, as the simulator noted it.
    pub fn xen_history(&self) -> Vec<Value> {
        serde_json::from_value(self.read(format!("{}/history", self.admin))).unwrap()
    }

    /// Every state that an instance entered, as the EC2 endpoint noted it.
    pub fn ec2_states(&self) -> Vec<Value> {
        serde_json::from_value(self.read(format!("{}/innkeeper/history?kind=state", self.moto))).unwrap()
    }

    /// The names of all instances that EC2 still remembers, by id.
    pub fn instance_names(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        let all = self.block_on(async { self.ec2.describe_instances().send().await.unwrap() });
        for instance in all.reservations().iter().flat_map(Reservation::instances) {
            let name = instance.tags().iter().find(|tag| tag.key() == Some("Name")).and_then(|tag| tag.value());
            names.insert(instance.instance_id().unwrap().to_owned(), name.unwrap_or("no name").to_owned());
        }
        names
    }

    /// A call of XAPI, over the simulator's admin session.
    pub fn xapi(&self, stack: &Stack, method: &str, parameters: &[Value]) -> Value {
        let url = stack.xapi["http_url"].as_str().or(stack.xapi["url"].as_str()).unwrap();
        let http = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        let call = |method: String, parameters: Vec<Value>| {
            let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
            let request = http.post(format!("{url}/jsonrpc")).body(body.to_string());
            async move {
                let bytes = request.send().await.unwrap().bytes().await.unwrap();
                let answer: Value = serde_json::from_slice(&bytes).unwrap();
                assert!(answer["error"].is_null(), "{}", answer["error"]);
                answer["result"].clone()
            }
        };
        self.block_on(async {
            let login = vec!["root".into(), crate::stack::PASSWORD.into(), "1.0".into(), "e2e".into()];
            let session = call("session.login_with_password".into(), login).await;
            let parameters = std::iter::once(session).chain(parameters.iter().cloned()).collect();
            call(method.to_owned(), parameters).await
        })
    }
}

pub fn state(instance: &Instance) -> Option<InstanceStateName> {
    instance.state().and_then(|state| state.name()).cloned()
}
