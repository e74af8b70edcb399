//! One session with the pool's coordinator, wherever that is.
//!
//! Logging in is done by one caller at a time; all others wait for its result. Where the coordinator is lost, the current
//! members are asked in parallel. The list of members is replaced at each login, never added to: an ejected host lives on
//! as a pool of its own under the same password.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    call_error::CallError,
    config::XapiConfig,
    endpoint::{self, Candidates},
    fault::Fault,
    records::{Host, Pool},
    refusal,
    transport::{RequestError, Transport},
    value::Ref,
};
use crate::provider::ErrorKind;

/// Sessions with an originator are counted by it, apart from those of other clients.
const ORIGINATOR: &str = "innkeeper";
/// The API version asked for; xapi records it and nothing depends on it.
const API_VERSION: &str = "2.0";

/// Pauses before each attempt to end a session that was given up. xapi itself ends what is idle for a day.
const LOG_OUT_PAUSES: [Duration; 5] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(10), Duration::from_mins(1), Duration::from_mins(5)];

/// A live session with the coordinator.
pub(super) struct Link {
    /// The coordinator.
    pub(super) endpoint: Url,
    /// The session: as good as the password until it ends.
    pub(super) session: SecretString,
    /// Counts logins, so that one failure drops one session only once.
    pub(super) epoch: u64,
    /// Its uuid.
    pub(super) pool_uuid: String,
}

impl Link {
    /// The session as the first parameter of a call.
    pub(super) fn session(&self) -> Value {
        Value::from(self.session.expose_secret())
    }
}

/// A session that was just opened, and the pool it is with.
type LoggedIn = (SecretString, (Ref<Pool>, Pool));
/// The same and where it is.
type Found = (Url, SecretString, (Ref<Pool>, Pool));

struct Known {
    candidates: Candidates,
    pool_uuid: Option<String>,
    epoch: u64,
    /// The last failure and when it came: those who waited for that attempt share it.
    failed: Option<(Instant, CallError)>,
}

/// Holds the session and makes a new one where it is lost.
pub(super) struct Sessions {
    transport: Transport,
    user: String,
    password: SecretString,
    login_limit: Duration,
    credentials: refusal::Id,
    current: RwLock<Current>,
    /// Held by whoever logs in.
    known: tokio::sync::Mutex<Known>,
    /// Sessions that were given up and may still be valid: logged out once the pool is reached again.
    left: Mutex<Vec<Arc<Link>>>,
}

#[derive(Clone)]
enum Current {
    None,
    Link(Arc<Link>),
    Closed,
}

impl Sessions {
    pub(super) fn new(config: &XapiConfig, transport: Transport) -> Arc<Self> {
        Arc::new(Self {
            transport,
            user: config.user.clone(),
            password: config.password.clone(),
            login_limit: config.timing.login,
            credentials: refusal::Id::of(&config.endpoints, &config.user, &config.password),
            current: RwLock::new(Current::None),
            known: tokio::sync::Mutex::new(Known {
                candidates: Candidates::new(config.endpoints.clone()),
                pool_uuid: config.expected_pool.clone(),
                epoch: 0,
                failed: None,
            }),
            left: Mutex::default(),
        })
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the session unless the connection was closed; answers whether it did.
    fn replace(&self, next: Current) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*current, Current::Closed) {
            return false;
        }
        *current = next;
        true
    }

    /// The session; logs in where there is none. A caller that runs out of time leaves the login to those after it.
    pub(super) async fn link(self: &Arc<Self>, until: Instant) -> Result<Arc<Link>, CallError> {
        match self.current() {
            Current::Link(link) => return Ok(link),
            Current::Closed => return Err(CallError::Closed),
            Current::None => {}
        }
        let me = Arc::clone(self);
        let asked = Instant::now();
        match timeout_at(until, tokio::spawn(async move { me.log_in(asked).await })).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Unreachable { why: "the login was broken off".into() }),
            Err(_) => Err(CallError::Unreachable { why: "time ran out while logging in".into() }),
        }
    }

    /// An error once the connection was closed: what was remembered until then is not kept up to date any more.
    pub(super) fn not_closed(&self) -> Result<(), CallError> {
        if matches!(self.current(), Current::Closed) { Err(CallError::Closed) } else { Ok(()) }
    }

    /// Whether this is the session in use.
    pub(super) fn is_current(&self, link: &Link) -> bool {
        matches!(self.current(), Current::Link(current) if current.epoch == link.epoch)
    }

    /// Drops this session, if it is still the one in use. `ended`: xapi itself said so.
    pub(super) fn drop_link(&self, link: &Arc<Link>, ended: bool) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*current, Current::Link(current) if current.epoch == link.epoch) {
            *current = Current::None;
            if !ended {
                self.left().push(Arc::clone(link));
            }
        }
    }

    fn left(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs out of sessions that were given up. A host that does not answer now is asked again for some minutes.
    fn log_out_left(&self) {
        for link in self.left().drain(..) {
            let (transport, limit) = (self.transport.clone(), self.login_limit);
            tokio::spawn(async move {
                for pause in LOG_OUT_PAUSES {
                    sleep(pause).await;
                    if log_out(&transport, &link.endpoint, &link.session, limit).await {
                        return;
                    }
                }
            });
        }
    }

    /// Logs out and refuses further use.
    pub(super) async fn close(&self) {
        let last = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Current::Closed)
        };
        if let Current::Link(link) = last {
            self.log_out(&link.endpoint, &link.session).await;
        }
        self.log_out_left();
    }

    async fn log_in(&self, asked: Instant) -> Result<Arc<Link>, CallError> {
        let mut known = self.known.lock().await;
        match self.current() {
            Current::Link(link) => return Ok(link),
            Current::Closed => return Err(CallError::Closed),
            Current::None => {}
        }
        if let Some((at, error)) = &known.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        if let Some((said, wait)) = refusal::standing(&self.credentials) {
            return Err(CallError::StillRefused { said, wait });
        }
        let result = self.open(&mut known).await;
        known.failed = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
        result
    }

    async fn open(&self, known: &mut Known) -> Result<Arc<Link>, CallError> {
        let (endpoint, session, pool) = self.find_coordinator(known).await?;
        let until = Instant::now() + self.login_limit;
        let token = [Value::from(session.expose_secret())];
        let hosts: Result<HashMap<Ref<Host>, Host>, _> =
            self.transport.call(&endpoint, "host.get_all_records", &token, until).await;
        let hosts = match hosts {
            Ok(hosts) => hosts,
            Err(error) => {
                self.log_out(&endpoint, &session).await;
                return Err(CallError::Unreachable { why: error.to_string() });
            }
        };
        known.epoch += 1;
        known.pool_uuid = Some(pool.1.uuid.clone());
        known.candidates.replace(&endpoint, hosts.values().map(|host| host.address.as_str()));
        let link = Arc::new(Link { endpoint, session, epoch: known.epoch, pool_uuid: pool.1.uuid });
        if !self.replace(Current::Link(Arc::clone(&link))) {
            self.log_out(&link.endpoint, &link.session).await;
            return Err(CallError::Closed);
        }
        self.log_out_left();
        tracing::debug!(coordinator = link.endpoint.host_str(), pool = link.pool_uuid, epoch = link.epoch, "logged in");
        Ok(link)
    }

    /// First where it was last, then every candidate at once.
    async fn find_coordinator(&self, known: &Known) -> Result<Found, CallError> {
        let mut tried = Vec::new();
        let mut why = None;
        for round in known.candidates.rounds() {
            match self.try_all(round, known, &mut tried).await {
                Ok(found) => return Ok(found),
                Err(error @ (CallError::Refused { .. } | CallError::StillRefused { .. })) => return Err(error),
                // A host that is not whom we trust is told of rather than one that merely does not answer.
                Err(error) => match why {
                    Some(CallError::Distrusted { .. }) => {}
                    _ => why = Some(error),
                },
            }
        }
        Err(why.unwrap_or_else(|| CallError::Unreachable { why: "no endpoint is left to try".into() }))
    }

    /// Logs in at all of these at once, following members to their coordinator; the first of the right pool wins.
    async fn try_all(&self, endpoints: Vec<Url>, known: &Known, tried: &mut Vec<Url>) -> Result<Found, CallError> {
        let mut probes = FuturesUnordered::new();
        for endpoint in endpoints {
            if !tried.contains(&endpoint) {
                tried.push(endpoint.clone());
                probes.push(Self::probe(self.transport.clone(), self.credentials(), endpoint, self.login_limit));
            }
        }
        let mut why = CallError::Unreachable { why: "no endpoint is left to try".into() };
        while let Some((endpoint, answer)) = probes.next().await {
            match answer {
                Ok((session, pool)) => match &known.pool_uuid {
                    Some(expected) if *expected != pool.1.uuid => {
                        self.log_out(&endpoint, &session).await;
                        let host = endpoint.host_str().unwrap_or_default();
                        let found = &pool.1.uuid;
                        why = CallError::Distrusted { why: format!("{host} is of pool {found}, not of {expected}") };
                    }
                    _ => {
                        self.log_out_others(probes);
                        refusal::lift(&self.credentials);
                        return Ok((endpoint, session, pool));
                    }
                },
                Err(RequestError::Refused { fault }) if fault.is("HOST_IS_SLAVE") => {
                    if matches!(why, CallError::Unreachable { .. }) {
                        let host = endpoint.host_str().unwrap_or_default();
                        let named = fault.param(0);
                        why = CallError::Unreachable {
                            why: format!("{host} names {named} as coordinator, which does not answer"),
                        };
                    }
                    if let Some(next) = endpoint::of_member(&endpoint, fault.param(0)).filter(|e| !tried.contains(e)) {
                        tried.push(next.clone());
                        probes.push(Self::probe(self.transport.clone(), self.credentials(), next, self.login_limit));
                    }
                }
                Err(RequestError::Refused { fault }) if fault.kind() == ErrorKind::Auth => {
                    refusal::remember(&self.credentials, &fault.code);
                    self.log_out_others(probes);
                    return Err(CallError::Refused { fault: without_user(fault) });
                }
                Err(error) => why = worse(why, error),
            }
        }
        Err(why)
    }

    fn credentials(&self) -> (String, SecretString) {
        (self.user.clone(), self.password.clone())
    }

    async fn probe(
        transport: Transport,
        (user, password): (String, SecretString),
        endpoint: Url,
        limit: Duration,
    ) -> (Url, Result<LoggedIn, RequestError>) {
        let until = Instant::now() + limit;
        let mut params = vec![json!(user), json!(password.expose_secret()), json!(API_VERSION), json!(ORIGINATOR)];
        let log_in = "session.login_with_password";
        let mut session = transport.call::<String>(&endpoint, log_in, &params, until).await;
        // Old pools do not know originators.
        if matches!(&session, Err(RequestError::Refused { fault }) if fault.is("MESSAGE_PARAMETER_COUNT_MISMATCH")) {
            params.truncate(2);
            session = transport.call::<String>(&endpoint, log_in, &params, until).await;
        }
        let session = match session {
            Ok(session) => SecretString::from(session),
            Err(error) => return (endpoint, Err(error)),
        };
        let token = [Value::from(session.expose_secret())];
        let pools: Result<HashMap<Ref<Pool>, Pool>, _> =
            transport.call(&endpoint, "pool.get_all_records", &token, until).await;
        let answer = match pools.map(|pools| pools.into_iter().next()) {
            Ok(Some(pool)) => Ok((session.clone(), pool)),
            Ok(None) => {
                let host = endpoint.host_str().unwrap_or_default().to_owned();
                Err(RequestError::NoAnswer { host, why: "it has no pool".into() })
            }
            Err(error) => Err(error),
        };
        if answer.is_err() {
            log_out(&transport, &endpoint, &session, limit).await;
        }
        (endpoint, answer)
    }

    /// Probes that are still under way may yet log in: they are followed to their end and logged out.
    fn log_out_others<F>(&self, mut probes: FuturesUnordered<F>)
    where
        F: Future<Output = (Url, Result<LoggedIn, RequestError>)> + Send + 'static,
    {
        if probes.is_empty() {
            return;
        }
        let transport = self.transport.clone();
        let limit = self.login_limit;
        tokio::spawn(async move {
            while let Some((endpoint, answer)) = probes.next().await {
                if let Ok((session, _)) = answer {
                    log_out(&transport, &endpoint, &session, limit).await;
                }
            }
        });
    }

    async fn log_out(&self, endpoint: &Url, session: &SecretString) {
        log_out(&self.transport, endpoint, session, self.login_limit).await;
    }
}

/// Ends a session; whether it certainly is no more.
async fn log_out(transport: &Transport, endpoint: &Url, session: &SecretString, limit: Duration) -> bool {
    let token = [Value::from(session.expose_secret())];
    let until = Instant::now() + limit.min(Duration::from_secs(5));
    match transport.call::<Value>(endpoint, "session.logout", &token, until).await {
        Ok(_) => true,
        Err(RequestError::Refused { fault }) if fault.is("SESSION_INVALID") => true,
        Err(error) => {
            tracing::debug!(%error, "the session was not logged out; xapi drops it when it is idle");
            false
        }
    }
}

/// The user's name is in the fault's parameters; the code says it all.
fn without_user(fault: Fault) -> Fault {
    Fault::new(fault.code, Vec::new())
}

fn worse(so_far: CallError, error: RequestError) -> CallError {
    match (so_far, error) {
        (so_far @ CallError::Distrusted { .. }, _) => so_far,
        (_, RequestError::Unreachable { why, distrust: true, .. }) => CallError::Distrusted { why },
        (_, error) => CallError::Unreachable { why: error.to_string() },
    }
}
