//! Making a guest's instance: where, once, and what is to be believed of the answer.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    action::Action,
    client::Request,
    convert,
    core::Core,
    identity, launch,
    operation::Ended,
    wire::{Instance, Operation, last},
};
use crate::provider::{
    Change, ErrorKind, GuestWish, ObservedGuest, ProviderError, Result,
    rented::{aside::Offering, follow::Region as _, snapshot::Launch},
};

const ACT: &str = "make the instance";

/// When to look for an instance whose request was not answered, in parts of the settling time. Who calls has more patience.
const LOOKS: [f64; 3] = [0.0, 1.0 / 40.0, 1.0 / 20.0];

/// Failed requests of former lives of this process that are stepped over.
const ATTEMPTS: u32 = 64;

/// So lately an operation must have failed that its failure is still an answer.
const LATELY: Duration = Duration::from_mins(3);

/// Makes the guest's instance, or answers the one that is there.
pub(super) async fn create(core: &Core, wish: &GuestWish) -> Result<ObservedGuest> {
    core.look(ACT, &wish.key.guest).await?;
    if let Some(seen) = core.view.known(&wish.key) {
        core.retire_surplus().await;
        return Ok(seen.guest);
    }
    let image_size = core.image_size(ACT, &wish.image).await?;
    let zones = zones(core, wish);
    for (n, zone) in zones.iter().enumerate() {
        match insert(core, wish, zone, image_size).await {
            // No room is a certain answer, so the next zone may be asked.
            Err(error) if error.kind == ErrorKind::Capacity && n + 1 < zones.len() => {
                tracing::info!(guest = %wish.key, zone, "no room: the next zone is asked");
            }
            result => return result,
        }
    }
    Err(ProviderError::new(ErrorKind::Invalid, ACT, "the pool has no zones"))
}

/// The zones to ask, in order. Where none was chosen, each guest begins with another, and always with the same.
fn zones(core: &Core, wish: &GuestWish) -> Vec<String> {
    if let Some(zone) = &wish.zone {
        return vec![zone.clone()];
    }
    let mut zones = core.config.zones.clone();
    let first = wish.key.guest.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let len = zones.len().max(1);
    zones.rotate_left(first % len);
    zones
}

async fn insert(core: &Core, wish: &GuestWish, zone: &str, image_size: u64) -> Result<ObservedGuest> {
    let body = launch::request(&core.config, wish, zone, image_size)?;
    let (guest, content) = (&wish.key.guest, launch::content(&body));
    let launched = Launch { token: format!("{zone}/{content}"), sent: Instant::now() };
    if core.view.snapshot().is_launched_otherwise(guest, &launched.token, launched.sent) {
        let message = "another request for this guest was not answered and its instance may still turn up";
        return Err(ProviderError::new(ErrorKind::UnknownOutcome, ACT, message));
    }
    let before = core.view.snapshot().launching(guest, launched);
    let result = attempts(core, wish, zone, &content, &body).await;
    core.view.touch();
    match result {
        Ok(guest) => {
            if core.aside().launched(&offering(wish, zone)) {
                core.view.tell([Change::Pool]);
            }
            Ok(guest)
        }
        Err(error) if error.kind == ErrorKind::UnknownOutcome => after_silence(core, wish, error).await,
        Err(error) => {
            core.view.snapshot().refused(guest, before);
            put_aside(core, wish, zone, &error);
            Err(error)
        }
    }
}

/// Sends the request. Google answers a request id that it knows with the operation of the first request, also where that has
/// failed: what failed long ago is stepped over.
async fn attempts(core: &Core, wish: &GuestWish, zone: &str, content: &str, body: &Value) -> Result<ObservedGuest> {
    let (owner, key) = (&core.config.owner, &wish.key);
    let mut attempt = core.attempt(&key.guest, content);
    loop {
        let id = identity::request_id(owner, key, &["insert", zone, content], attempt);
        let request = Request::new(Method::POST, format!("zones/{zone}/instances")).body(body.clone());
        let sent = core.api.call(ACT, Action::InsertInstance, &request.with("requestId", id)).await;
        let operation: Operation = match sent {
            Ok(operation) => operation,
            Err(error) if error.code.as_deref() == Some("alreadyExists") => {
                return taken(core, wish, zone, error).await;
            }
            Err(error) => return Err(error),
        };
        // A new operation is not over when it is answered.
        let repeated = operation.is_done();
        match core.api.follow(ACT, zone, &operation).await {
            Ended::Well => return made(core, wish, zone, body, repeated.then_some(&operation)).await,
            Ended::Failed(error) => {
                core.failed_attempt(&key.guest, content, attempt);
                if !repeated || was_lately(&operation, LATELY) || attempt >= ATTEMPTS {
                    return Err(error);
                }
                attempt += 1;
            }
            Ended::NotYet => {
                let message = "the operation goes on";
                return Err(ProviderError::new(ErrorKind::UnknownOutcome, ACT, message));
            }
            Ended::Unknown(mut error) => {
                error.kind = ErrorKind::UnknownOutcome;
                return Err(error);
            }
        }
    }
}

fn was_lately(operation: &Operation, span: Duration) -> bool {
    let ended = operation.end_time.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    ended.is_none_or(|ended| Timestamp::now().duration_since(ended) < span)
}

/// The operation ended well: the instance is there, or was.
async fn made(
    core: &Core,
    wish: &GuestWish,
    zone: &str,
    body: &Value,
    repeated: Option<&Operation>,
) -> Result<ObservedGuest> {
    core.look(ACT, &wish.key.guest).await.map_err(|mut error| {
        error.kind = ErrorKind::UnknownOutcome;
        error
    })?;
    if let Some(seen) = core.view.known(&wish.key) {
        core.view.wrote(seen.clone());
        return Ok(seen.guest);
    }
    let name = identity::instance_name(&core.config.owner, &wish.key);
    match repeated {
        // It was made by an earlier request and is not shown: not yet, or not any more.
        Some(operation) if was_lately(operation, core.config.settling) => {
            let message = "the instance was made and is not shown yet";
            Err(ProviderError::new(ErrorKind::UnknownOutcome, ACT, message))
        }
        Some(_) => Ok(convert::terminated(wish.key.clone(), zone, &name)),
        None => {
            // As it was asked for. Reads show the rest in a moment.
            let mut instance: Instance = serde_json::from_value(body.clone()).unwrap_or_default();
            (instance.name, instance.zone, instance.status) = (name, zone.to_owned(), "RUNNING".to_owned());
            instance.creation_timestamp = Timestamp::now().to_string();
            let seen = convert::seen(wish.key.clone(), &instance);
            core.view.wrote(seen.clone());
            Ok(seen.guest)
        }
    }
}

/// The zone has an instance of that name. It is the guest's, or somebody else has taken the name.
async fn taken(core: &Core, wish: &GuestWish, zone: &str, error: ProviderError) -> Result<ObservedGuest> {
    let name = identity::instance_name(&core.config.owner, &wish.key);
    let instance = core.api.instance(ACT, zone, &name).await.map_err(|error| {
        let message = format!("the instance {name} exists and cannot be read: {}", error.message);
        ProviderError::new(ErrorKind::UnknownOutcome, ACT, message)
    })?;
    if let Some(seen) = convert::ours(&core.config.owner, &instance) {
        core.view.wrote(seen.clone());
        return Ok(seen.guest);
    }
    let message = format!(
        "zone {zone} has an instance {name} that does not carry the guest's labels: rename or remove it, or give it back its \
         labels"
    );
    Err(ProviderError::new(ErrorKind::Invalid, ACT, message).with_code(error.code.unwrap_or_default()))
}

/// The request was not answered: look before anything else.
async fn after_silence(core: &Core, wish: &GuestWish, error: ProviderError) -> Result<ObservedGuest> {
    for part in LOOKS {
        sleep(core.config.settling.mul_f64(part)).await;
        // A failed look tells nothing: the outcome stays unknown.
        if core.look(ACT, &wish.key.guest).await.is_ok()
            && let Some(seen) = core.view.known(&wish.key)
        {
            return Ok(seen.guest);
        }
    }
    Err(error)
}

fn offering(wish: &GuestWish, zone: &str) -> Offering {
    let instance_type = wish.instance_type.clone().unwrap_or_default();
    Offering { instance_type, zone: Some(last(zone).to_owned()), spot: wish.spot }
}

/// There was no room for this type in this zone: it is not asked for again for a while.
pub(super) fn put_aside(core: &Core, wish: &GuestWish, zone: &str, error: &ProviderError) {
    if error.kind == ErrorKind::Capacity {
        core.aside().refused(&offering(wish, zone), error.code.as_deref().unwrap_or_default(), Instant::now());
        // The pool's status must say so before the guest is placed anew.
        core.view.tell([Change::Pool]);
    }
}
