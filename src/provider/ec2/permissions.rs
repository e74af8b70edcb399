//! What the credentials permit, asked without doing anything: a request with `DryRun` is answered with what it would have
//! been answered, and has no effect.
//!
//! A policy that is bound to our tags permits nothing on an instance that has none, and says so in the same words as one that
//! permits nothing at all. What is done to instances and volumes is therefore asked of some of ours, as soon as there are.

use std::time::Duration;

use aws_sdk_ec2::{
    error::SdkError,
    types::{AttributeBooleanValue, InstanceType, ResourceType, Tag, TagSpecification},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use super::{
    action::Action,
    convert::{self, Seen},
    core::Core,
};
use crate::provider::{Key, Missing, rented::snapshot::Rented as _};

const ACT: &str = "ask what is permitted";

/// Time between two times of asking.
const HOURLY: Duration = Duration::from_hours(1);

/// What is known of the permissions.
#[derive(Clone, Debug, Default)]
pub(super) struct Permissions {
    asked: Option<Instant>,
    /// There was an instance of ours to ask about.
    in_full: bool,
    pub missing: Vec<Missing>,
}

impl Permissions {
    fn is_due(&self, has_instance: bool, now: Instant) -> bool {
        let fresh = self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < HOURLY);
        !fresh || (has_instance && !self.in_full)
    }
}

/// What guests cannot have without an action.
const fn without(action: Action) -> &'static str {
    match action {
        Action::RunInstances => "guests cannot be launched",
        Action::CreateVolume | Action::AttachVolume => "disks cannot be added to guests",
        Action::ModifyVolume => "disks of guests cannot grow",
        Action::DeleteVolume => "disks that outlive their guests cannot be removed",
        Action::StartInstances => "guests cannot be started again",
        Action::StopInstances => "guests cannot be stopped",
        Action::TerminateInstances => "guests cannot be removed",
        Action::ModifyInstanceAttribute => "guests cannot be resized or protected, and added disks would outlive them",
        Action::CreateTags => "instances cannot be adopted or marked as protected",
        Action::DeleteTags => "instances cannot be released",
        Action::DescribeSpotInstanceRequests => "it is not seen when EC2 is about to take spot capacity back",
        _ => "the pool cannot be read in full",
    }
}

fn missing(action: Action) -> Missing {
    let what = format!("ec2:{}", action.name());
    let why = format!("{}; add it to the policy, see examples/ec2", without(action));
    Missing { what, why }
}

/// What is missing, as it was found within the last hour.
pub(super) async fn missing_now(core: &Core) -> Vec<Missing> {
    let live = |seen: &&Seen| seen.is_live();
    let example = core.view.snapshot().all().filter(live).max_by_key(|seen| seen.volumes.len()).cloned();
    if !core.permissions().is_due(example.is_some(), Instant::now()) {
        return core.permissions().missing.clone();
    }
    let asked = Some(Instant::now());
    let in_full = example.is_some();
    let missing = if honours(core).await { ask(core, example.as_ref()).await } else { Vec::new() };
    *core.permissions() = Permissions { asked, in_full, missing: missing.clone() };
    missing
}

/// Whether the endpoint knows `DryRun`: one that does not would do what it is only asked about.
async fn honours(core: &Core) -> bool {
    let send = || core.api.ec2().describe_instances().dry_run(true).send();
    let answer = core.api.call(ACT, Action::DescribeInstances, send).await;
    answer.is_err_and(|error| error.code.as_deref() == Some("DryRunOperation"))
}

struct Asking<'c> {
    core: &'c Core,
    missing: Vec<Missing>,
}

impl Asking<'_> {
    /// Only the clear answer that it is not permitted counts: all others are about something else.
    async fn ask<T, E, F, Fut>(&mut self, action: Action, send: F)
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let answer = self.core.api.call(ACT, action, send).await;
        let code = answer.err().and_then(|error| error.code);
        if matches!(code.as_deref(), Some("UnauthorizedOperation" | "AccessDenied")) {
            self.missing.push(missing(action));
        }
    }
}

async fn ask(core: &Core, example: Option<&Seen>) -> Vec<Missing> {
    let mut asking = Asking { core, missing: Vec::new() };
    create(core, &mut asking).await;
    if core.view.snapshot().all().any(|seen| seen.spot && seen.is_live()) {
        let requests = || core.api.ec2().describe_spot_instance_requests().dry_run(true).send();
        asking.ask(Action::DescribeSpotInstanceRequests, requests).await;
    }
    if let Some(seen) = example {
        change(core, &mut asking, &seen.guest.provider_id).await;
        if let Some(volume) = seen.volumes.iter().find(|one| core.volumes().is_ours(&one.volume)) {
            disks(core, &mut asking, seen, &volume.volume).await;
        }
    }
    asking.missing.sort_by(|one, other| one.what.cmp(&other.what));
    asking.missing
}

fn tagged(core: &Core, what: ResourceType) -> TagSpecification {
    let key = Key { guest: "none".into(), incarnation: 0, namespace: "none".into(), name: "none".into() };
    let tags = convert::tags(&core.config.owner, &key);
    TagSpecification::builder().resource_type(what).set_tags(Some(tags)).build()
}

async fn create(core: &Core, asking: &mut Asking<'_>) {
    let ec2 = core.api.ec2();
    if let Some(image) = &core.config.usual_image {
        let kind = core.config.default_instance_type.clone().unwrap_or_else(|| "t3.micro".to_owned());
        let launch = ec2.run_instances().image_id(image).instance_type(InstanceType::from(kind.as_str()));
        let launch = launch.min_count(1).max_count(1).set_subnet_id(core.config.default_subnet.clone());
        let launch = launch.tag_specifications(tagged(core, ResourceType::Instance));
        let launch = launch.tag_specifications(tagged(core, ResourceType::Volume)).dry_run(true);
        asking.ask(Action::RunInstances, || launch.clone().send()).await;
    }
    let zone = format!("{}a", core.config.region);
    let volume = ec2.create_volume().availability_zone(zone).size(1).dry_run(true);
    let volume = volume.tag_specifications(tagged(core, ResourceType::Volume));
    asking.ask(Action::CreateVolume, || volume.clone().send()).await;
}

async fn change(core: &Core, asking: &mut Asking<'_>, id: &str) {
    let ec2 = core.api.ec2();
    asking.ask(Action::StartInstances, || ec2.start_instances().instance_ids(id).dry_run(true).send()).await;
    asking.ask(Action::StopInstances, || ec2.stop_instances().instance_ids(id).dry_run(true).send()).await;
    asking.ask(Action::TerminateInstances, || ec2.terminate_instances().instance_ids(id).dry_run(true).send()).await;
    let off = || AttributeBooleanValue::builder().value(false).build();
    let modify = || ec2.modify_instance_attribute().instance_id(id).disable_api_termination(off()).dry_run(true).send();
    asking.ask(Action::ModifyInstanceAttribute, modify).await;
    let tag = || Tag::builder().key(convert::PROTECTED).value(convert::SETTING).build();
    asking.ask(Action::CreateTags, || ec2.create_tags().resources(id).tags(tag()).dry_run(true).send()).await;
    asking.ask(Action::DeleteTags, || ec2.delete_tags().resources(id).tags(tag()).dry_run(true).send()).await;
}

async fn disks(core: &Core, asking: &mut Asking<'_>, seen: &Seen, volume: &str) {
    let ec2 = core.api.ec2();
    let id = &seen.guest.provider_id;
    let attach = || ec2.attach_volume().volume_id(volume).instance_id(id).device("/dev/sdz").dry_run(true).send();
    asking.ask(Action::AttachVolume, attach).await;
    asking.ask(Action::ModifyVolume, || ec2.modify_volume().volume_id(volume).size(1).dry_run(true).send()).await;
    asking.ask(Action::DeleteVolume, || ec2.delete_volume().volume_id(volume).dry_run(true).send()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_asked_hourly_and_when_there_is_an_instance_to_ask_about() {
        let now = Instant::now();
        assert!(Permissions::default().is_due(false, now));
        let asked = Permissions { asked: Some(now), in_full: false, missing: Vec::new() };
        assert!(!asked.is_due(false, now + HOURLY / 2));
        assert!(asked.is_due(true, now + Duration::from_secs(1)));
        let full = Permissions { in_full: true, ..asked };
        assert!(!full.is_due(true, now + HOURLY / 2));
        assert!(full.is_due(true, now + HOURLY));
    }

    #[test]
    fn says_what_cannot_be_done_and_what_to_do() {
        let told = missing(Action::StopInstances);
        assert_eq!(told.what, "ec2:StopInstances");
        assert_eq!(told.why, "guests cannot be stopped; add it to the policy, see examples/ec2");
    }
}
