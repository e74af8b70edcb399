//! Guests, VMs and facts for tests.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;

use super::facts::{Facts, FirstBootSight, Place, Sight, Subject, Trouble};
use crate::{
    api::{
        Guest, GuestSpec, GuestStatus,
        guest::{Binding, Creation},
        names::GUEST_FINALIZER,
        quantity::Bytes,
        template::{GuestTemplate, ImageReference, PowerState, Size},
    },
    provider::{ErrorKind, GuestWish, Key, ObservedGuest, Power, Stage},
};

pub const UID: &str = "7d0f3c1e-0000-4000-8000-000000000001";
pub const SETTLING: Duration = Duration::from_mins(1);

/// The time of every test, so many seconds later.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub fn key(incarnation: u32) -> Key {
    Key { guest: UID.into(), incarnation, namespace: "shop".into(), name: "web-0".into() }
}

pub fn wish(incarnation: u32) -> GuestWish {
    GuestWish { host: Some("host-a".into()), ..GuestWish::new(key(incarnation), "uuid-of-debian", 2, Bytes(1 << 32)) }
}

/// A complete VM of the second incarnation, which is the current one in these tests.
pub fn vm(power: Power) -> ObservedGuest {
    ObservedGuest {
        host: (power == Power::Running).then(|| "xen1".into()),
        vcpus: Some(2),
        ..ObservedGuest::new(key(2), "vm-2", Stage::Complete, power)
    }
}

pub fn incomplete() -> ObservedGuest {
    ObservedGuest { stage: Stage::Incomplete, ..vm(Power::Stopped) }
}

pub fn earlier(power: Power) -> ObservedGuest {
    ObservedGuest { key: key(1), provider_id: "vm-1".into(), ..vm(power) }
}

/// Asked for ten seconds before the tests' time.
pub fn creation() -> Creation {
    Creation {
        incarnation: 2,
        pool: "xen".into(),
        asked_at: Time(at(-10)),
        seen: false,
        started: false,
        adopted: false,
        started_at: None,
        refused: None,
        missing_since: None,
    }
}

pub fn seen() -> Creation {
    Creation { seen: true, ..creation() }
}

pub fn binding() -> Binding {
    Binding {
        pool: "xen".into(),
        incarnation: 2,
        host: Some("host-a".into()),
        instance_type: None,
        size: None,
        zone: None,
        spot: false,
    }
}

pub fn trouble(kind: ErrorKind) -> Trouble {
    Trouble { kind, message: "cannot find the VM: nobody answers".into(), retry_after: None }
}

pub fn guest() -> Guest {
    Guest {
        metadata: ObjectMeta {
            name: Some("web-0".into()),
            namespace: Some("shop".into()),
            uid: Some(UID.into()),
            generation: Some(3),
            finalizers: Some(vec![GUEST_FINALIZER.into()]),
            ..ObjectMeta::default()
        },
        spec: GuestSpec {
            workload: "web".into(),
            template: GuestTemplate {
                image: ImageReference { name: "debian-12".into() },
                size: Size { vcpus: 2, memory: Bytes(1 << 32) },
                root_disk: None,
                disks: Vec::new(),
                networks: Vec::new(),
                cloud_init: None,
                power_state: None,
                shutdown: None,
                restart_at: None,
            },
            placement: None,
            mobility: None,
            management_policies: Vec::new(),
            adopt: None,
            deletion_policy: None,
            holds: Vec::new(),
            identity: None,
            relocation: None,
            binding: Some(binding()),
        },
        status: Some(GuestStatus { incarnation: Some(2), ..GuestStatus::default() }),
    }
}

/// The same guest, deleted by somebody.
pub fn deleted(mut guest: Guest) -> Guest {
    guest.metadata.deletion_timestamp = Some(Time(at(-1)));
    guest
}

pub fn with(mut guest: Guest, creation: Option<Creation>) -> Guest {
    guest.status.get_or_insert_default().creation = creation;
    guest
}

pub fn wanting(mut guest: Guest, state: PowerState) -> Guest {
    guest.spec.template.power_state = Some(state);
    guest
}

pub fn open() -> Place {
    Place::Open { pool: "xen".into(), wish: Ok(wish(2)), settling: SETTLING }
}

pub fn facts(guest: &Guest, vm: Sight) -> Facts {
    Facts {
        subject: Subject::new(guest),
        place: open(),
        vm,
        first_boot: FirstBootSight::NotRead,
        type_size: None,
        fenced: false,
        target: None,
        abandoned: Vec::new(),
        erased: false,
        released: false,
        met: false,
        answered: false,
        asked_to_stop: false,
        now: at(0),
    }
}

/// The same facts, so many seconds later.
pub fn later(facts: Facts, seconds: i64) -> Facts {
    Facts { now: facts.now + SignedDuration::from_secs(seconds), ..facts }
}
