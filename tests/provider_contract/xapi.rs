//! XAPI: the driver before the fault proxy, over HTTPS, before a simulated pool of one host.

#[path = "../xapi_contract/rpc.rs"]
#[expect(dead_code, reason = "the client of the XAPI driver's own tests, of which a part is needed here")]
mod rpc;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use fault_proxy::{Fault, Matching, Options, Proxy, Rule, Seed};
use innkeeper::{
    api::quantity::Bytes,
    provider::{
        GuestWish, Key, Owner, Provider, ProviderError,
        xapi::{Fingerprint, Timing, TlsTrust, XapiConfig, XapiProvider},
    },
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Connect, Driver, Made, Request, Trouble, World, lodge};

const PASSWORD: &str = "the-right-password-of-the-tests";
const WRONG_PASSWORD: &str = "a-wrong-password-of-the-tests";

pub struct XapiDriver;

#[async_trait]
impl Driver for XapiDriver {
    fn name(&self) -> &'static str {
        "xapi"
    }

    async fn world(&self) -> Arc<dyn World> {
        Arc::new(XapiWorld::new().await)
    }

    fn without(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("errors::throttling_is_borne", "xapi does not throttle"),
            ("life::delete_takes_disks_that_stayed", "a disk is known as a guest's by its VM alone"),
        ]
    }

    fn end(&self, _: bool) -> Result<String, String> {
        Ok(String::new())
    }
}

struct XapiWorld {
    sim: xapi_sim::Running,
    proxy: Proxy,
    /// Past the proxy.
    direct: rpc::Rpc,
    /// uuids of the disks that were there before.
    before: Vec<String>,
    template: String,
}

fn knobs() -> xapi_sim::Knobs {
    xapi_sim::Knobs {
        clone_ms: 30,
        provision_ms: 30,
        start_ms: 50,
        clean_shutdown_ms: 50,
        hard_shutdown_ms: 30,
        vdi_ms: 10,
        destroy_ms: 10,
        vdi_release_ms: 0,
        login_failure_ms: 100,
        event_delay_ms: 10,
        tools_ms: 1,
        online_resize: true,
        ..xapi_sim::Knobs::default()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl XapiWorld {
    async fn new() -> Self {
        let login = xapi_sim::Login { name: "root".into(), password: PASSWORD.into(), role: "pool-admin".into() };
        let preset = xapi_sim::Preset { hosts: 1, host_memory: 64 << 30, host_cpus: 32, ..xapi_sim::Preset::default() };
        let config = xapi_sim::Config { logins: vec![login], preset, knobs: knobs(), ..xapi_sim::Config::default() };
        let sim = xapi_sim::start(config).await.unwrap();
        let proxy = Proxy::start(Options { tls: true, ..Options::to(&sim.url) }).await.unwrap();
        let direct = rpc::Rpc::log_in(&sim.url.parse().unwrap(), "root", PASSWORD).await;
        let before = direct.all("VDI").await.values().map(|disk| text(&disk["uuid"]).to_owned()).collect();
        let vms = direct.all("VM").await;
        let has_disk = |vm: &&Value| vm["is_a_template"] == true && !vm["VBDs"].as_array().unwrap().is_empty();
        let template = text(&vms.values().find(has_disk).expect("a template with a disk")["uuid"]).to_owned();
        Self { sim, proxy, direct, before, template }
    }

    /// Sends a request to the simulator's admin endpoint.
    async fn admin(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let request = client.request(method, format!("{}{path}", self.sim.admin_url));
        let reply = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        serde_json::from_str(&reply.error_for_status().unwrap().text().await.unwrap()).unwrap()
    }

    /// A simulated pool's own fault: the host has no memory left when a VM is to be started.
    async fn no_room(&self, rest: Value) {
        let mut fault = json!({ "method": "VM.start*", "kind": "error", "code": "HOST_NOT_ENOUGH_FREE_MEMORY",
            "params": ["2147483648", "0"] });
        fault.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.admin(reqwest::Method::POST, "/faults", fault).await;
    }

    /// Makes a running VM past the driver.
    async fn make(&self, name: &str, other_config: &[(String, String)]) -> String {
        let template = self.direct.by_uuid("VM", &self.template).await;
        let vm = self.direct.call("VM.clone", json!([template, name])).await;
        for (key, value) in other_config {
            self.direct.call("VM.add_to_other_config", json!([vm, key, value])).await;
        }
        self.direct.call("VM.provision", json!([vm])).await;
        self.direct.call("VM.start", json!([vm, false, false])).await;
        text(&self.direct.call("VM.get_uuid", json!([vm])).await).to_owned()
    }
}

/// The actions that are requests of this kind.
fn actions(request: Request) -> &'static [&'static str] {
    match request {
        Request::Create => &["*VM.clone"],
        Request::Delete => &["*VM.destroy"],
        Request::Read => &["*.get_*", "event.*"],
        Request::Change => &["*VDI.create*", "*VBD.*create", "*VDI.resize*", "*other_config", "*VM.set_*"],
        Request::Any => &["*"],
    }
}

fn rules(request: Request, trouble: Trouble) -> impl Iterator<Item = Rule> {
    let fault = match trouble {
        Trouble::LostRequest => Fault::ResetBefore,
        Trouble::LostReply => Fault::DropAfter,
        Trouble::HalfReply => Fault::Truncate,
        Trouble::Silence => Fault::Hang,
        Trouble::Broken | Trouble::NoRoom | Trouble::Throttled => {
            Fault::Answer { status: 500, body: "broken".into(), content_type: "text/plain".into() }
        }
    };
    actions(request).iter().map(move |action| {
        let matching = Matching { action: Some((*action).into()), ..Matching::default() };
        Rule { name: format!("{action} {trouble:?}"), matching, ..Rule::on(action, fault.clone()) }
    })
}

#[async_trait]
impl World for XapiWorld {
    async fn connect(&self, connect: Connect) -> Result<Arc<dyn Provider>, ProviderError> {
        let certificate = Sha256::digest(&self.proxy.identity().unwrap().certificate_der);
        let print: Vec<String> = certificate.iter().map(|byte| format!("{byte:02X}")).collect();
        let print: Fingerprint = print.join(":").parse().unwrap();
        let password = if connect.wrong_credentials { WRONG_PASSWORD } else { PASSWORD };
        let timing = Timing {
            connect: connect.deadline,
            login: connect.deadline,
            call: connect.deadline,
            listing: connect.deadline,
            settling: Duration::from_secs(1),
            grace: Duration::from_millis(200),
            event_wait: Duration::from_secs(2),
            ..Timing::default()
        };
        let config = XapiConfig {
            endpoints: vec![self.proxy.url().parse().unwrap()],
            user: "root".into(),
            password: password.into(),
            tls: TlsTrust::Fingerprints(vec![print]),
            owner: connect.owner,
            caller: None,
            expected_pool: None,
            default_storage: None,
            timing,
        };
        Ok(XapiProvider::connect(config).await?)
    }

    async fn beside(&self) -> Arc<dyn World> {
        Arc::new(Self::new().await)
    }

    fn wish(&self, key: Key) -> GuestWish {
        GuestWish::new(key, &self.template, 1, Bytes::gib(1))
    }

    fn wish_without_image(&self, key: Key) -> GuestWish {
        GuestWish { image: "a-template-that-is-not-there".into(), ..self.wish(key) }
    }

    fn wish_invalid(&self, key: Key) -> GuestWish {
        GuestWish { vcpus: 0, ..self.wish(key) }
    }

    async fn trouble(&self, request: Request, trouble: Trouble, times: Option<u64>) {
        if trouble == Trouble::NoRoom {
            return self.no_room(times.map_or_else(|| json!({}), |count| json!({ "count": count }))).await;
        }
        for rule in rules(request, trouble) {
            self.proxy.add(Rule { times, ..rule });
        }
    }

    async fn storm(&self, seed: u64, troubles: &[(Request, Trouble, f64)]) {
        self.proxy.reset(Seed(seed));
        for (request, trouble, chance) in troubles {
            match trouble {
                Trouble::NoRoom => self.no_room(json!({ "probability": chance, "seed": seed })).await,
                Trouble::Throttled => {}
                trouble => {
                    // An operation is some twenty requests here and two or three elsewhere: the same storm for each.
                    let chance = if *request == Request::Any { chance / 10.0 } else { *chance };
                    rules(*request, *trouble).for_each(|rule| self.proxy.add(rule.chance(chance)));
                }
            }
        }
    }

    async fn heal(&self) -> u64 {
        let struck = self.proxy.fired().values().sum();
        self.proxy.reset(Seed(0));
        self.admin(reqwest::Method::DELETE, "/faults", json!({})).await;
        struck
    }

    /// xapi's reads show its writes.
    async fn hide_new(&self, _: Duration) {}

    async fn made_for(&self, guest: &str) -> Vec<Made> {
        let history = self.admin(reqwest::Method::GET, "/history", json!({})).await;
        let vms = self.direct.all("VM").await;
        let exists = |id: &str| vms.values().any(|vm| text(&vm["uuid"]) == id);
        // A clone is named for its guest from its first moment.
        let made = |entry: &&Value| {
            entry["class"] == "VM" && entry["event"] == "create" && text(&entry["name"]).contains(guest)
        };
        let entries = history.as_array().unwrap();
        let ids = entries.iter().filter(made).map(|entry| text(&entry["uuid"]).to_owned());
        let ran = |id: &str| entries.iter().any(|entry| entry["event"] == "start" && text(&entry["uuid"]) == id);
        ids.map(|id| Made { alive: exists(&id), ran: ran(&id), id }).collect()
    }

    async fn left(&self, owner: &str) -> Vec<String> {
        let vms = self.direct.all("VM").await;
        let marked =
            |vm: &Value| vm["other_config"].to_string().contains(owner) || text(&vm["name_label"]).contains(owner);
        let vms = vms.values().filter(|vm| marked(vm)).map(|vm| text(&vm["uuid"]).to_owned());
        let foreign = self.direct.all("VBD").await;
        let in_use = |disk: &Value| disk["VBDs"].as_array().unwrap().iter().any(|vbd| foreign.contains_key(text(vbd)));
        let disks = self.direct.all("VDI").await;
        // A disk of a VM stands for itself by its VM; one without a VM was forgotten.
        let lost =
            disks.values().filter(|disk| !self.before.iter().any(|id| *id == text(&disk["uuid"])) && !in_use(disk));
        vms.chain(lost.map(|disk| text(&disk["uuid"]).to_owned())).collect()
    }

    async fn plant_foreign(&self, wish: &GuestWish) -> Vec<String> {
        let Key { guest, incarnation, namespace, name } = &wish.key;
        let mark = json!({ "owner": crate::harness::OWNER, "guest": guest, "incarnation": incarnation,
            "namespace": namespace, "name": name });
        let copied = ("innkeeper:6a5f3a5e-0000-0000-0000-000000000000", mark.to_string());
        let copied = [(copied.0.to_owned(), copied.1), (format!("{}:complete", copied.0), "1".to_owned())];
        let other = Connect { owner: Owner("another-owner".into()), ..Connect::default() };
        let theirs = lodge(&*self.connect(other).await.unwrap(), wish).await.provider_id;
        vec![self.make(name, &[]).await, theirs, self.make(name, &copied).await]
    }

    async fn are_untouched(&self, ids: &[String]) -> bool {
        let vms = self.direct.all("VM").await;
        let runs = |id: &String| vms.values().any(|vm| text(&vm["uuid"]) == id && vm["power_state"] == "Running");
        ids.iter().all(runs)
    }

    async fn meddle(&self, id: &str, remove: bool) {
        let vm = self.direct.by_uuid("VM", id).await;
        self.direct.call("VM.hard_shutdown", json!([vm])).await;
        if !remove {
            return;
        }
        let vbds = self.direct.call("VM.get_VBDs", json!([vm])).await;
        for vbd in vbds.as_array().unwrap() {
            let disk = self.direct.call("VBD.get_VDI", json!([vbd])).await;
            if !text(&disk).contains("NULL") {
                self.direct.call("VDI.destroy", json!([disk])).await;
            }
        }
        self.direct.call("VM.destroy", json!([vm])).await;
    }

    async fn keep_disks(&self, _: &str) {
        panic!("see `without`");
    }

    async fn disks(&self, id: &str) -> Option<Vec<u64>> {
        let vm = self.direct.by_uuid("VM", id).await;
        let (vbds, vdis) = (self.direct.all("VBD").await, self.direct.all("VDI").await);
        let own = vbds.values().filter(|vbd| vbd["VM"].as_str() == Some(vm.as_str()) && vbd["type"] == "Disk");
        let size = |size: &Value| size.as_u64().or_else(|| size.as_str()?.parse().ok());
        let sizes = own.filter_map(|vbd| size(&vdis.get(text(&vbd["VDI"]))?["virtual_size"]));
        let mut sizes: Vec<_> = sizes.map(|bytes| bytes >> 30).collect();
        sizes.sort_unstable();
        Some(sizes)
    }

    fn larger(&self, wish: &GuestWish) -> Option<GuestWish> {
        Some(GuestWish { vcpus: wish.vcpus + 1, memory: wish.memory.saturating_add(Bytes::gib(1)), ..wish.clone() })
    }

    /// Reads the user data off the read-only disk with the FAT file system.
    async fn first_boot(&self, id: &str) -> Option<String> {
        let vm = self.direct.by_uuid("VM", id).await;
        let vbds = self.direct.all("VBD").await;
        let drive =
            vbds.values().find(|vbd| vbd["VM"] == vm.as_str() && vbd["type"] == "Disk" && vbd["mode"] == "RO")?;
        let disk = self.direct.call("VDI.get_uuid", json!([drive["VDI"]])).await;
        let image = self.direct.export(text(&disk)).await.unwrap();
        let volume = fatfs::FileSystem::new(std::io::Cursor::new(image), fatfs::FsOptions::new()).unwrap();
        let mut told = String::new();
        std::io::Read::read_to_string(&mut volume.root_dir().open_file("user-data").unwrap(), &mut told).unwrap();
        Some(told)
    }

    async fn deafen(&self, id: &str) -> bool {
        let vm = self.direct.by_uuid("VM", id).await;
        crate::harness::eventually("its tools are up", || async {
            let allowed = self.direct.call("VM.get_allowed_operations", json!([vm])).await;
            allowed.as_array()?.contains(&json!("clean_shutdown")).then_some(())
        })
        .await;
        self.admin(reqwest::Method::PATCH, "/knobs", json!({ "clean_shutdown_ms": 600_000 })).await;
        true
    }

    async fn refuses_removal(&self, id: &str) -> Option<bool> {
        let vm = self.direct.by_uuid("VM", id).await;
        let blocked = self.direct.call("VM.get_blocked_operations", json!([vm])).await;
        Some(blocked.as_object()?.contains_key("destroy"))
    }

    async fn plain(&self, _: &GuestWish) -> Option<String> {
        Some(self.make("by hand", &[]).await)
    }

    fn more_than_a_page(&self) -> usize {
        // xapi has no pages.
        12
    }

    fn secrets(&self) -> Vec<String> {
        vec![PASSWORD.into(), WRONG_PASSWORD.into()]
    }
}
