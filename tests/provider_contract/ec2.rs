//! EC2: the driver before the fault proxy before a mended moto.

mod market;
mod moto;
mod own;
mod policy;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::harness::{Connect, Driver, Made, Request, Trouble, World, eventually};
use async_trait::async_trait;
use aws_sdk_ec2::{
    Client,
    config::{BehaviorVersion, Config, Credentials as Keys, Region},
    types::{
        AttributeBooleanValue, EbsInstanceBlockDeviceSpecification, Filter, Instance, InstanceAttributeName,
        InstanceBlockDeviceMappingSpecification, InstanceStateName, ResourceType, Tag, TagSpecification, VolumeState,
    },
};
use fault_proxy::{Fault, Matching, Options, Proxy, Rule, Seed};
use innkeeper::{
    api::quantity::Bytes,
    provider::{
        GuestWish, Key, Provider, ProviderError,
        ec2::{Credentials, Ec2Config, Ec2Provider, Refresh},
    },
};

const PAGE: i32 = 5;

/// Actions of the API that were asked for.
type Used = Arc<Mutex<BTreeSet<String>>>;

#[derive(Default)]
pub struct Ec2Driver {
    moto: Mutex<Option<Arc<moto::Moto>>>,
    used: Used,
}

impl Ec2Driver {
    async fn empty(&self) -> Ec2World {
        let moto = Arc::clone(self.moto.lock().unwrap().get_or_insert_with(|| Arc::new(moto::Moto::start())));
        moto.reset().await;
        Ec2World::before(moto, Arc::clone(&self.used)).await
    }
}

#[async_trait]
impl Driver for Ec2Driver {
    fn name(&self) -> &'static str {
        "ec2"
    }

    async fn world(&self) -> Arc<dyn World> {
        Arc::new(self.empty().await)
    }

    fn own_cases(&self) -> &'static [&'static str] {
        own::NAMES
    }

    async fn run_own(&self, name: &str) {
        own::run(name, &self.empty().await).await;
    }

    fn end(&self, all: bool) -> Result<String, String> {
        self.moto.lock().unwrap().take();
        if !all {
            return Ok(String::new());
        }
        // Tags that come with RunInstances need this permission and are no call of their own.
        let implied = ["CreateTags".to_owned()];
        let used: BTreeSet<_> = self.used.lock().unwrap().iter().cloned().chain(implied).collect();
        let allowed = policy::actions();
        let words = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if used == allowed {
            return Ok(format!("ec2: the actions used are those of examples/ec2/policy.json: {}", words(&used)));
        }
        Err(format!("examples/ec2/policy.json allows {}; the cases used {}", words(&allowed), words(&used)))
    }
}

impl Drop for Ec2World {
    fn drop(&mut self) {
        let actions = self.proxy.log(0).into_iter().map(|entry| entry.action);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(actions);
    }
}

struct Ec2World {
    moto: Arc<moto::Moto>,
    proxy: Proxy,
    used: Used,
    /// Past the proxy.
    direct: Client,
}

fn client(url: &str) -> Client {
    let keys = Keys::new(moto::ACCESS_KEY, moto::SECRET_KEY, None, None, "test");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(moto::REGION))
        .credentials_provider(keys)
        .endpoint_url(url);
    Client::from_conf(config.build())
}

/// A reply in EC2's form.
fn refusal(status: u16, code: &str) -> Fault {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code>\
         <Message>refused by the test</Message></Error></Errors><RequestID>00000000</RequestID></Response>"
    );
    Fault::Answer { status, body, content_type: "text/xml".into() }
}

/// The actions that are requests of this kind.
const fn actions(request: Request) -> &'static [&'static str] {
    match request {
        Request::Create => &["RunInstances"],
        Request::Delete => &["TerminateInstances"],
        Request::Read => &["Describe*"],
        Request::Change => &["*Volume", "*Tags", "Modify*"],
        Request::Any => &["*"],
    }
}

fn rules(request: Request, trouble: Trouble) -> impl Iterator<Item = Rule> {
    actions(request).iter().map(move |action| rule(action, trouble))
}

fn rule(action: &str, trouble: Trouble) -> Rule {
    let fault = match trouble {
        Trouble::LostRequest => Fault::ResetBefore,
        Trouble::LostReply => Fault::DropAfter,
        Trouble::HalfReply => Fault::Truncate,
        Trouble::Silence => Fault::Hang,
        Trouble::NoRoom => refusal(500, "InsufficientInstanceCapacity"),
        Trouble::Throttled => refusal(503, "RequestLimitExceeded"),
        Trouble::Broken => refusal(500, "InternalError"),
    };
    let matching = Matching { action: Some(action.into()), ..Matching::default() };
    Rule { name: format!("{action} {trouble:?}"), matching, ..Rule::on(action, fault) }
}

impl Ec2World {
    async fn before(moto: Arc<moto::Moto>, used: Used) -> Self {
        let proxy = Proxy::start(Options::to(&moto.url)).await.unwrap();
        let direct = client(&moto.url);
        Self { moto, proxy, used, direct }
    }

    fn config(&self, connect: Connect) -> Ec2Config {
        let secret = if connect.wrong_credentials { moto::WRONG_KEY } else { moto::SECRET_KEY };
        let credentials = Credentials::Static {
            access_key_id: moto::ACCESS_KEY.into(),
            secret_access_key: secret.into(),
            session_token: None,
        };
        Ec2Config {
            endpoint: Some(self.proxy.url().parse().unwrap()),
            deadline: connect.deadline,
            settling: Duration::from_secs(1),
            refresh: Refresh {
                quick: Duration::from_millis(200),
                moving: Duration::from_millis(200),
                slow: Duration::from_millis(500),
                volumes: Duration::from_secs(2),
                lively: Duration::from_secs(20),
            },
            page_size: PAGE,
            ..Ec2Config::new(moto::REGION, credentials, connect.owner)
        }
    }

    /// Instances that pass the filter, past the proxy.
    async fn instances(&self, filter: Filter) -> Vec<Instance> {
        let mut pages = self.direct.describe_instances().filters(filter).into_paginator().items().send();
        let mut instances = Vec::new();
        while let Some(reservation) = pages.next().await {
            instances.extend(reservation.unwrap().instances.unwrap_or_default());
        }
        instances
    }

    async fn by_ids(&self, ids: &[String]) -> Vec<Instance> {
        self.instances(Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build()).await
    }

    async fn launch(&self, wish: &GuestWish, token: &str, tags: &[(&str, &str)]) -> String {
        self.launch_some(wish, token, 1, tags, &[ResourceType::Instance]).await.swap_remove(0)
    }

    async fn launch_some(
        &self,
        wish: &GuestWish,
        token: &str,
        count: i32,
        tags: &[(&str, &str)],
        kinds: &[ResourceType],
    ) -> Vec<String> {
        let tags: Vec<_> = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
        let tagged = |kind: &ResourceType| {
            TagSpecification::builder().resource_type(kind.clone()).set_tags(Some(tags.clone())).build()
        };
        let launch = self.direct.run_instances().image_id(&wish.image).instance_type("t3.small".into());
        let launch = launch.min_count(count).max_count(count).client_token(token);
        let launch = launch.set_tag_specifications(Some(kinds.iter().map(tagged).collect()));
        let reply = launch.send().await.unwrap();
        reply.instances().iter().filter_map(|one| one.instance_id()).map(str::to_owned).collect()
    }
}

/// The marks of the first incarnation of a guest.
fn marks<'a>(key: &'a Key, owner: &'a str) -> [(&'a str, &'a str); 6] {
    assert_eq!(key.incarnation, 1);
    [
        ("Name", &key.name),
        ("innkeeper.dev/owner", owner),
        ("innkeeper.dev/guest", &key.guest),
        ("innkeeper.dev/incarnation", "1"),
        ("innkeeper.dev/namespace", &key.namespace),
        ("innkeeper.dev/name", &key.name),
    ]
}

fn state(instance: &Instance) -> Option<&InstanceStateName> {
    instance.state().and_then(|state| state.name())
}

#[async_trait]
impl World for Ec2World {
    async fn connect(&self, connect: Connect) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Ec2Provider::connect(self.config(connect)).await?)
    }

    async fn beside(&self) -> Arc<dyn World> {
        Arc::new(Self::before(Arc::clone(&self.moto), Arc::clone(&self.used)).await)
    }

    fn wish(&self, key: Key) -> GuestWish {
        GuestWish { instance_type: Some("t3.small".into()), ..GuestWish::new(key, moto::IMAGE, 2, Bytes::gib(2)) }
    }

    fn wish_without_image(&self, key: Key) -> GuestWish {
        GuestWish { image: "ami-0fedcba9876543210".into(), ..self.wish(key) }
    }

    fn wish_invalid(&self, key: Key) -> GuestWish {
        GuestWish { instance_type: Some("t3.nonsense".into()), ..self.wish(key) }
    }

    async fn trouble(&self, request: Request, trouble: Trouble, times: Option<u64>) {
        for rule in rules(request, trouble) {
            self.proxy.add(Rule { times, ..rule });
        }
    }

    async fn storm(&self, seed: u64, troubles: &[(Request, Trouble, f64)]) {
        self.proxy.reset(Seed(seed));
        for (request, trouble, chance) in troubles {
            rules(*request, *trouble).for_each(|rule| self.proxy.add(rule.chance(*chance)));
        }
    }

    async fn heal(&self) -> u64 {
        let struck = self.proxy.fired().values().sum();
        self.proxy.reset(Seed(0));
        struck
    }

    async fn hide_new(&self, time: Duration) {
        self.moto.set("hide", time).await;
    }

    async fn made_for(&self, guest: &str) -> Vec<Made> {
        // By the tokens of the launches that moto remembers: true even of instances that carry no tags.
        let launches = self.moto.launches().await;
        let ours = launches.into_iter().filter(|launch| launch.token.starts_with(guest));
        let ids: BTreeSet<String> = ours.flat_map(|launch| launch.instances).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let alive = |instance: &Instance| state(instance) != Some(&InstanceStateName::Terminated);
        let known = self.by_ids(&ids.iter().cloned().collect::<Vec<_>>()).await;
        let is_alive = |id: &String| known.iter().any(|one| one.instance_id() == Some(id) && alive(one));
        ids.into_iter().map(|id| Made { alive: is_alive(&id), ran: true, id }).collect()
    }

    async fn left(&self, owner: &str) -> Vec<String> {
        let ours = Filter::builder().name("tag:innkeeper.dev/owner").values(owner).build();
        let instances = self.instances(ours.clone()).await;
        let exists = |instance: &&Instance| state(instance) != Some(&InstanceStateName::Terminated);
        let volumes = self.direct.describe_volumes().filters(ours).send().await.unwrap();
        let volumes = volumes.volumes().iter().filter(|volume| volume.state() != Some(&VolumeState::Deleted));
        let volumes = volumes.filter_map(|volume| volume.volume_id());
        instances.iter().filter(exists).filter_map(|one| one.instance_id()).chain(volumes).map(str::to_owned).collect()
    }

    async fn plant_foreign(&self, wish: &GuestWish) -> Vec<String> {
        vec![
            self.launch(wish, "by-hand", &[("Name", &wish.key.name)]).await,
            self.launch(wish, "of-another-owner", &marks(&wish.key, "another-owner")).await,
            self.launch(wish, "more-like-this", &marks(&wish.key, crate::harness::OWNER)).await,
        ]
    }

    async fn are_untouched(&self, ids: &[String]) -> bool {
        let instances = self.by_ids(ids).await;
        let lives =
            |one: &Instance| matches!(state(one), Some(InstanceStateName::Pending | InstanceStateName::Running));
        instances.len() == ids.len() && instances.iter().all(lives)
    }

    async fn meddle(&self, id: &str, remove: bool) {
        if remove {
            self.direct.terminate_instances().instance_ids(id).send().await.unwrap();
        } else {
            self.direct.stop_instances().instance_ids(id).send().await.unwrap();
        }
    }

    async fn keep_disks(&self, id: &str) {
        let ebs = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(false).build();
        let disk = InstanceBlockDeviceMappingSpecification::builder().device_name("/dev/xvda").ebs(ebs).build();
        self.direct.modify_instance_attribute().instance_id(id).block_device_mappings(disk).send().await.unwrap();
    }

    async fn disks(&self, id: &str) -> Option<Vec<u64>> {
        let attached = Filter::builder().name("attachment.instance-id").values(id).build();
        let volumes = self.direct.describe_volumes().filters(attached).send().await.unwrap();
        let mut sizes: Vec<_> =
            volumes.volumes().iter().map(|one| u64::try_from(one.size().unwrap()).unwrap()).collect();
        sizes.sort_unstable();
        Some(sizes)
    }

    async fn first_boot(&self, id: &str) -> Option<String> {
        let ask = self.direct.describe_instance_attribute().instance_id(id);
        let told = ask.attribute(InstanceAttributeName::UserData).send().await.unwrap();
        let told = aws_smithy_types::base64::decode(told.user_data().unwrap().value().unwrap()).unwrap();
        Some(String::from_utf8(told).unwrap())
    }

    fn larger(&self, wish: &GuestWish) -> Option<GuestWish> {
        let size = (Some("t3.large".to_owned()), Bytes::gib(8));
        Some(GuestWish { instance_type: size.0, memory: size.1, ..wish.clone() })
    }

    async fn plain(&self, wish: &GuestWish) -> Option<String> {
        let token = format!("by-hand-{:x}", rand::random::<u64>());
        let id = self.launch(wish, &token, &[("Name", "by hand")]).await;
        eventually("it runs", || async {
            let found = self.by_ids(std::slice::from_ref(&id)).await;
            found.iter().any(|one| state(one) == Some(&InstanceStateName::Running)).then_some(())
        })
        .await;
        Some(id)
    }

    async fn deafen(&self, id: &str) -> bool {
        self.moto.post("deaf", serde_json::json!(id)).await;
        true
    }

    async fn refuses_removal(&self, id: &str) -> Option<bool> {
        let ask = self.direct.describe_instance_attribute().instance_id(id);
        let told = ask.attribute(InstanceAttributeName::DisableApiTermination).send().await.unwrap();
        told.disable_api_termination().and_then(AttributeBooleanValue::value)
    }

    fn more_than_a_page(&self) -> usize {
        usize::try_from(PAGE).unwrap() * 2 + 1
    }

    fn secrets(&self) -> Vec<String> {
        [moto::ACCESS_KEY, moto::SECRET_KEY, moto::WRONG_KEY].map(str::to_owned).to_vec()
    }
}
