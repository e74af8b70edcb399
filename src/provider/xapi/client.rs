//! Calls to the pool: bounded in number and time, repeated where that is safe and only there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout_at},
};

use super::{
    call_error::CallError,
    config::{Timing, XapiConfig},
    events::Events,
    records::Record,
    session::{Link, Sessions},
    transport::{RequestError, Transport, TransportError},
    value::Ref,
    view::{View, table},
};

/// What happens when a call is made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Nothing: it only reads.
    Read,
    /// The same as when made once: a setter, a destruction, a start.
    Repeatable,
    /// It makes another thing: never sent twice, unless the first certainly was not carried out.
    Once,
}

/// The pool takes this many calls from us at a time; more only makes it slower and its answers less sure.
const CALLS_AT_ONCE: usize = 20;
/// How often a call is made at most.
const ATTEMPTS: u32 = 4;

/// Builds a call's parameters (the session is added by the client).
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$(serde_json::json!($value)),*] };
}
pub(super) use args;

/// The pool, as something that can be called.
pub(super) struct Client {
    pub(super) transport: Transport,
    pub(super) sessions: Arc<Sessions>,
    calls: Semaphore,
    pub(super) events: Arc<Events>,
    pub(super) timing: Timing,
}

impl Client {
    pub(super) fn new(config: &XapiConfig) -> Result<Self, TransportError> {
        let transport = Transport::new(config)?;
        let sessions = Sessions::new(config, transport.clone());
        Ok(Self {
            transport,
            sessions,
            calls: Semaphore::new(CALLS_AT_ONCE),
            events: Events::new(),
            timing: config.timing,
        })
    }

    /// A call that only reads.
    pub(super) async fn read<T: DeserializeOwned>(&self, method: &str, params: Vec<Value>) -> Result<T, CallError> {
        self.call(method, params, Nature::Read, self.timing.call).await
    }

    /// A call with effects that may be made twice. What it returns is ignored: void is written in several ways.
    pub(super) async fn set(&self, method: &str, params: Vec<Value>) -> Result<(), CallError> {
        self.call::<serde::de::IgnoredAny>(method, params, Nature::Repeatable, self.timing.call).await.map(|_| ())
    }

    /// All objects of a class.
    pub(super) async fn all<T: Record>(&self) -> Result<HashMap<Ref<T>, T>, CallError> {
        let method = format!("{}.get_all_records", T::CLASS);
        self.call(&method, Vec::new(), Nature::Read, self.timing.listing).await
    }

    /// One object; `None` where it certainly is not there.
    pub(super) async fn get<T: Record>(&self, object: &Ref<T>) -> Result<Option<T>, CallError> {
        match self.read(&format!("{}.get_record", T::CLASS), args![object]).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets a key of `other_config` that has one value for ever: it being there already is success.
    pub(super) async fn mark<T: Record>(&self, object: &Ref<T>, key: &str, value: &str) -> Result<(), CallError> {
        match self.set(&format!("{}.add_to_other_config", T::CLASS), args![object, key, value]).await {
            Err(error) if error.is("MAP_DUPLICATE_KEY") => Ok(()),
            other => other,
        }
    }

    /// Makes a call and sees it to an end within `limit`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        mut params: Vec<Value>,
        nature: Nature,
        limit: Duration,
    ) -> Result<T, CallError> {
        let until = Instant::now() + limit;
        let _permit = self.permit(until).await?;
        params.insert(0, Value::Null);
        let mut attempt = 1;
        loop {
            let link = self.sessions.link(until).await?;
            params[0] = link.session();
            let error = match self.transport.call(&link.endpoint, method, &params, until).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let step = next_step(&error, nature);
            if step.drop_link {
                self.sessions.drop_link(&link, has_ended(&error));
            }
            let wait = Duration::from_millis(50 << attempt);
            if !step.again || attempt == ATTEMPTS || Instant::now() + wait >= until {
                return Err(give_up(error, nature));
            }
            tracing::debug!(method, attempt, %error, "calling again");
            sleep(wait).await;
            attempt += 1;
        }
    }

    /// A read with this very session and no other, tried once.
    pub(super) async fn call_on<T: DeserializeOwned>(
        &self,
        link: &Arc<Link>,
        method: &str,
        params: Vec<Value>,
        limit: Duration,
    ) -> Result<T, CallError> {
        let _permit = self.permit(Instant::now() + limit).await?;
        self.wait_on(link, method, params, limit).await
    }

    /// The same without a place among the calls: for the one wait that lasts long and costs the pool nothing.
    pub(super) async fn wait_on<T: DeserializeOwned>(
        &self,
        link: &Arc<Link>,
        method: &str,
        mut params: Vec<Value>,
        limit: Duration,
    ) -> Result<T, CallError> {
        params.insert(0, link.session());
        self.transport.call(&link.endpoint, method, &params, Instant::now() + limit).await.map_err(|error| {
            if next_step(&error, Nature::Read).drop_link {
                self.sessions.drop_link(link, has_ended(&error));
            }
            give_up(error, Nature::Read)
        })
    }

    pub(super) async fn permit(&self, until: Instant) -> Result<SemaphorePermit<'_>, CallError> {
        match timeout_at(until, self.calls.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => Err(CallError::Unreachable { why: "too many calls are under way".into() }),
        }
    }

    /// Everything that a view holds, read now.
    pub(super) async fn read_all(&self) -> Result<View, CallError> {
        let (pools, hosts, host_metrics, vms, guest_metrics, vm_metrics, vbds, vdis) = tokio::try_join!(
            self.all(),
            self.all(),
            self.all(),
            self.all(),
            self.all(),
            self.all(),
            self.all(),
            self.all()
        )?;
        Ok(View {
            pools: table(pools),
            hosts: table(hosts),
            host_metrics: table(host_metrics),
            vms: table(vms).into(),
            guest_metrics: table(guest_metrics),
            vm_metrics: table(vm_metrics),
            vbds: table(vbds),
            vdis: table(vdis),
        })
    }

    /// The session in use; logs in where there is none.
    pub(super) async fn link(&self) -> Result<Arc<Link>, CallError> {
        self.sessions.link(Instant::now() + self.timing.login * 3).await
    }
}

/// Whether the session is no more.
fn has_ended(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused { fault } if fault.is("SESSION_INVALID"))
}

/// What to do about a failed request.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    again: bool,
    drop_link: bool,
}

fn next_step(error: &RequestError, nature: Nature) -> Step {
    match error {
        // Never sent. The coordinator may be another one by now.
        RequestError::Unreachable { distrust, .. } => Step { again: !distrust, drop_link: true },
        RequestError::Lost { .. } => Step { again: nature == Nature::Read, drop_link: false },
        RequestError::NoAnswer { .. } => Step { again: false, drop_link: false },
        RequestError::Refused { fault } => match fault.code.as_str() {
            // The call may have been under way when the session ended.
            "SESSION_INVALID" => Step { again: nature != Nature::Once, drop_link: true },
            // A member refuses before it does anything.
            "HOST_IS_SLAVE" => Step { again: true, drop_link: true },
            "HOST_STILL_BOOTING" | "HOST_IN_EMERGENCY_MODE" => Step { again: nature == Nature::Read, drop_link: true },
            _ => Step { again: false, drop_link: false },
        },
    }
}

fn give_up(error: RequestError, nature: Nature) -> CallError {
    match error {
        RequestError::Unreachable { why, distrust: true, .. } => CallError::Distrusted { why },
        RequestError::Refused { fault } if fault.is("SESSION_INVALID") && nature != Nature::Read => {
            CallError::Unknown { why: "the session ended during the call".into() }
        }
        RequestError::Refused { fault } => CallError::Refused { fault },
        error @ (RequestError::Lost { .. } | RequestError::NoAnswer { .. }) if nature != Nature::Read => {
            CallError::Unknown { why: error.to_string() }
        }
        error @ (RequestError::Lost { .. } | RequestError::Unreachable { .. }) => {
            CallError::Unreachable { why: error.to_string() }
        }
        error @ RequestError::NoAnswer { .. } => CallError::Nonsense { why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{ErrorKind, xapi::fault::Fault};

    fn refused(code: &str) -> RequestError {
        RequestError::Refused { fault: Fault::new(code, vec![]) }
    }

    fn unreachable() -> RequestError {
        RequestError::Unreachable { host: "h".into(), why: "w".into(), distrust: false }
    }

    fn lost() -> RequestError {
        RequestError::Lost { host: "h".into(), why: "w".into() }
    }

    #[test]
    fn what_makes_things_is_sent_twice_only_where_the_first_had_no_effect() {
        use Nature::{Once, Read, Repeatable};
        for (error, nature, again, drop_link) in [
            (unreachable(), Once, true, true),
            (unreachable(), Read, true, true),
            (lost(), Once, false, false),
            (lost(), Repeatable, false, false),
            (lost(), Read, true, false),
            (refused("SESSION_INVALID"), Once, false, true),
            (refused("SESSION_INVALID"), Repeatable, true, true),
            (refused("SESSION_INVALID"), Read, true, true),
            (refused("HOST_IS_SLAVE"), Once, true, true),
            (refused("SR_FULL"), Read, false, false),
        ] {
            assert_eq!(next_step(&error, nature), Step { again, drop_link }, "{error} {nature:?}");
        }
    }

    #[test]
    fn a_call_with_effects_and_no_answer_has_an_unknown_outcome() {
        for (error, nature, kind) in [
            (lost(), Nature::Once, ErrorKind::UnknownOutcome),
            (lost(), Nature::Repeatable, ErrorKind::UnknownOutcome),
            (lost(), Nature::Read, ErrorKind::Unavailable),
            (refused("SESSION_INVALID"), Nature::Once, ErrorKind::UnknownOutcome),
            (refused("SESSION_INVALID"), Nature::Read, ErrorKind::Unavailable),
            (unreachable(), Nature::Once, ErrorKind::Unavailable),
            (refused("SR_FULL"), Nature::Once, ErrorKind::Capacity),
        ] {
            let text = error.to_string();
            assert_eq!(give_up(error, nature).kind(), kind, "{text} {nature:?}");
        }
    }
}
