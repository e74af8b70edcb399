//! Creating a guest's server once, whatever gets lost and whoever else tries.

use serde_json::{Value, json};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep, timeout},
};

use super::{
    client::Request,
    convert::{self, Seen},
    core::Core,
    driver::{MOVING, still},
    fault::{NO_VALID_HOST, redact},
    fence, launch,
    lease::{Holder, Lease},
    removal,
    wire::CreatedReply,
};
use crate::provider::{
    Change, ErrorKind, GuestWish, ObservedGuest, ProviderError, Result,
    rented::{
        aside::Offering,
        follow::Region as _,
        snapshot::{Launch, Rented as _},
    },
};

const ACT: &str = "create the server";

/// When to look for a server whose creation was not answered, in parts of the settling time. Who calls has more patience.
const LOOKS: [f64; 3] = [0.0, 1.0 / 40.0, 1.0 / 20.0];

/// See [`crate::provider::Provider::create`].
pub(super) async fn create(core: &Core, wish: &GuestWish) -> Result<ObservedGuest> {
    let turn = core.turn(&wish.key.guest);
    let _turn = turn.lock().await;
    core.look(ACT, &wish.key.guest).await?;
    if let Some(seen) = core.view.known(&wish.key) {
        return there(core, wish, seen).await;
    }
    let name = wish.instance_type.as_deref().ok_or_else(|| {
        ProviderError::new(
            ErrorKind::Invalid,
            ACT,
            "no flavour was chosen: list some in pricing.payPerUse.instanceTypes",
        )
    })?;
    let flavor = core.flavor(ACT, name).await?;
    let request = launch::request(&core.config, wish, &flavor, ACT)?;
    let _slot = slot(core).await?;
    let name = convert::lease_name(&core.config.owner, &wish.key.guest);
    let lease = core.lease(ACT, &name);
    if !lease.take().await? {
        return Err(not_our_turn());
    }
    let result = if core.is_fenced() {
        fenced(core, wish, &lease, request).await
    } else {
        look_and_send(core, wish, request).await
    };
    // What cannot be given back now is taken over when it is old.
    if is_over(&result)
        && let Err(error) = lease.give_back().await
    {
        tracing::debug!(guest = %wish.key, "the lease is not given back: {error}");
    }
    result
}

async fn slot(core: &Core) -> Result<SemaphorePermit<'_>> {
    let waited = timeout(core.config.deadline, core.creations.acquire()).await;
    waited.ok().and_then(std::result::Result::ok).ok_or_else(|| {
        ProviderError::new(ErrorKind::Unavailable, ACT, "other creations take long, and this one waits for its turn")
    })
}

fn not_our_turn() -> ProviderError {
    let message = "another creation of this guest was not answered and may still be under way";
    ProviderError::new(ErrorKind::UnknownOutcome, ACT, message).with_retry_after(MOVING)
}

fn is_over(result: &Result<ObservedGuest>) -> bool {
    result.as_ref().err().is_none_or(|error| error.kind != ErrorKind::UnknownOutcome)
}

/// Creates it so that the creation can be stopped by whoever comes next. Each step is where it is for a reason: see
/// [`fence`].
async fn fenced(core: &Core, wish: &GuestWish, lease: &Lease<'_>, mut request: Value) -> Result<ObservedGuest> {
    let name = convert::fence_name(&core.config.owner, &wish.key.guest);
    fence::lower_all(&core.api, ACT, &name).await?;
    let group = fence::raise(&core.api, ACT, &name).await?;
    request["os:scheduler_hints"] = json!({ "group": group });
    let result = match lease.holder().await {
        Ok((Holder::Me, _)) => look_and_send(core, wish, request).await,
        Ok(_) => Err(not_our_turn()),
        // Nothing was sent.
        Err(error) => Err(ProviderError::new(ErrorKind::Unavailable, ACT, error.message)),
    };
    if is_over(&result)
        && let Err(error) = fence::lower(&core.api, ACT, &group).await
    {
        tracing::debug!(guest = %wish.key, group, "the server group of a creation is left for later: {error}");
    }
    result
}

async fn look_and_send(core: &Core, wish: &GuestWish, request: Value) -> Result<ObservedGuest> {
    // Whoever was here before may have created it between the first look and now.
    core.look(ACT, &wish.key.guest).await?;
    match core.view.known(&wish.key) {
        Some(seen) => there(core, wish, seen).await,
        None => send(core, wish, request).await,
    }
}

async fn send(core: &Core, wish: &GuestWish, request: Value) -> Result<ObservedGuest> {
    let guest = &wish.key.guest;
    let before = core.view.snapshot().launching(guest, Launch { token: String::new(), sent: Instant::now() });
    let reply: Result<CreatedReply> = core.api.ask(ACT, Request::post("/servers", request)).await;
    core.view.touch();
    match reply {
        Ok(created) => {
            let seen = Seen::asked_for(wish.key.clone(), &created.server.id);
            core.view.wrote(seen.clone());
            // From the first moment on.
            if wish.protected {
                hold_new(core, &seen).await?;
            }
            Ok(core.view.known(&wish.key).unwrap_or(seen).guest)
        }
        Err(error) if error.kind == ErrorKind::UnknownOutcome => after(core, wish, error).await,
        Err(mut error) => {
            core.view.snapshot().refused(guest, before);
            if error.kind == ErrorKind::Capacity {
                put_aside(core, wish, error.code.as_deref().unwrap_or_default());
            }
            if error.kind == ErrorKind::NotFound && error.message.contains(GROUP) {
                let message = "another operator took the creation over".to_owned();
                return Err(ProviderError::new(ErrorKind::Unavailable, ACT, message).with_retry_after(MOVING));
            }
            if error.kind == ErrorKind::NotFound {
                error.message = format!("{} (image {})", error.message, wish.image);
            }
            Err(error)
        }
    }
}

/// Nova's word for what is missing where the permission was taken back.
const GROUP: &str = "Instance group";

/// A creation was not answered: look before anything else.
async fn after(core: &Core, wish: &GuestWish, error: ProviderError) -> Result<ObservedGuest> {
    for part in LOOKS {
        sleep(core.config.settling.mul_f64(part)).await;
        // A failed look tells nothing: the creation's own outcome stays unknown.
        if core.look(ACT, &wish.key.guest).await.is_ok()
            && let Some(seen) = core.view.known(&wish.key)
        {
            return Ok(seen.guest);
        }
    }
    Err(error)
}

/// The guest has a server already.
async fn there(core: &Core, wish: &GuestWish, seen: Seen) -> Result<ObservedGuest> {
    if !seen.is_live() {
        return Ok(seen.guest);
    }
    if seen.stillborn {
        return Err(buried(core, wish, &seen).await?);
    }
    if retire_surplus(core).await? {
        let message = "a second server of the guest is being removed";
        return Err(ProviderError::new(ErrorKind::Unavailable, ACT, message).with_retry_after(MOVING));
    }
    if !seen.guest.busy {
        let offering = offering(core, wish);
        if core.aside().launched(&offering) {
            core.view.tell([Change::Pool]);
        }
    }
    if wish.protected && !seen.held {
        hold_new(core, &seen).await?;
    }
    Ok(core.view.known(&wish.key).unwrap_or(seen).guest)
}

/// Removes a server that never ran, and says why it did not.
async fn buried(core: &Core, wish: &GuestWish, seen: &Seen) -> Result<ProviderError> {
    let fault = seen.fault.as_ref().map_or("Nova does not say why", |fault| fault.message.as_str());
    let words = redact(fault);
    tracing::warn!(guest = %wish.key, server = seen.guest.provider_id, "the server failed before it ran: {words}");
    removal::remove(core, seen, ACT).await?;
    let deadline = Instant::now() + core.config.deadline;
    loop {
        core.look(ACT, &wish.key.guest).await?;
        if core.view.known(&wish.key).is_none() {
            break;
        }
        if Instant::now() + core.config.refresh.quick > deadline {
            return Err(still(ACT, seen));
        }
        sleep(core.config.refresh.quick).await;
    }
    let lower = words.to_lowercase();
    let full = lower.contains("no valid host") || lower.contains("exceeded maximum number of retries");
    if full {
        put_aside(core, wish, NO_VALID_HOST);
        return Ok(ProviderError::new(ErrorKind::Capacity, ACT, words).with_code(NO_VALID_HOST));
    }
    let message = format!("the server {} failed before it ran and was removed: {words}", seen.guest.provider_id);
    Ok(ProviderError::new(ErrorKind::Unavailable, ACT, message))
}

fn offering(core: &Core, wish: &GuestWish) -> Offering {
    let instance_type = wish.instance_type.clone().unwrap_or_default();
    Offering { instance_type, zone: wish.zone.clone().or_else(|| core.config.zone.clone()), spot: false }
}

fn put_aside(core: &Core, wish: &GuestWish, said: &str) {
    core.aside().refused(&offering(core, wish), said, Instant::now());
    // The pool's status must say so before the guest is placed anew.
    core.view.tell([Change::Pool]);
}

/// Locks the server as soon as Nova can: not before its scheduler has found a host.
async fn hold_new(core: &Core, seen: &Seen) -> Result<()> {
    let deadline = Instant::now() + core.config.deadline;
    let mut now = seen.clone();
    while now.status == "BUILD" {
        if Instant::now() + core.config.refresh.quick > deadline {
            return Err(still(ACT, &now));
        }
        sleep(core.config.refresh.quick).await;
        now = core.again(ACT, &now).await?;
    }
    if now.stillborn || !now.is_live() {
        return Err(still(ACT, &now));
    }
    hold(core, &now, ACT).await
}

/// Locks the server: Nova refuses to remove it until it is unlocked.
pub(super) async fn hold(core: &Core, seen: &Seen, act: &str) -> Result<()> {
    core.act(act, seen, json!({ "lock": { "locked_reason": convert::HELD } })).await?;
    let mut now = core.view.known(&seen.guest.key).unwrap_or_else(|| seen.clone());
    (now.held, now.guest.protected) = (true, Some(true));
    core.view.wrote(now);
    Ok(())
}

/// Removes live servers beyond the one of each key. `true`: there were some. There is one only where an operator was cut off
/// for longer than a creation may take: it costs money and does the guest's work twice.
pub(super) async fn retire_surplus(core: &Core) -> Result<bool> {
    let surplus = core.view.snapshot().surplus();
    for seen in &surplus {
        let (guest, id) = (&seen.guest.key, &seen.guest.provider_id);
        tracing::warn!(%guest, server = %id, "a guest has a second server: the younger is removed");
        removal::remove(core, seen, "remove a guest's second server").await?;
    }
    Ok(!surplus.is_empty())
}
