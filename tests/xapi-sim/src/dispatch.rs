//! From a method name to its effect, with xapi's order of checks: coordinator, method, arity, types, session, role.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::error::{ApiError, ApiResult};
use crate::faults::Kind;
use crate::generic::{self, Generic};
use crate::knobs::ms;
use crate::model::{Class, Param};
use crate::sim::{Call, Named, Sim};
use crate::value::{Value, new_ref};
use crate::{devices, events, host, misc, pool, rbac, session, storage, tasks, vm};

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer {
        result: ApiResult<Value>,
        bytes_per_second: Option<u64>,
    },
    /// The connection is reset instead of answered.
    Reset,
}

impl Outcome {
    fn of(result: ApiResult<Value>) -> Self {
        Self::Answer { result, bytes_per_second: None }
    }
}

/// A call's arguments, converted to the types of its parameters.
#[derive(Debug)]
pub(crate) struct Args(pub(crate) Vec<Value>);

impl Args {
    pub(crate) fn value(&self, i: usize) -> Value {
        self.0.get(i).cloned().unwrap_or(Value::Void)
    }

    pub(crate) fn text(&self, i: usize) -> &str {
        self.0.get(i).map_or("", Value::as_str)
    }

    pub(crate) fn int(&self, i: usize) -> i64 {
        self.0.get(i).map_or(0, Value::as_int)
    }

    pub(crate) fn flag(&self, i: usize) -> bool {
        self.0.get(i).is_some_and(Value::as_bool)
    }
}

/// A method that was found.
#[derive(Debug)]
struct Found {
    class: Arc<Class>,
    message: String,
    meaning: Option<Generic>,
    params: Vec<Param>,
    asynchronous: bool,
    /// Whether the first parameter is a session.
    with_session: bool,
}

/// Carries out a call that came in at a host's endpoint.
pub(crate) async fn dispatch(
    sim: &Arc<Sim>,
    endpoint: &Arc<str>,
    caller: Option<&str>,
    method: &str,
    params: Vec<Value>,
) -> Outcome {
    let (faults, epoch) = sim.write(|w| {
        *w.calls.entry(method.to_owned()).or_default() += 1;
        if let Some(caller) = caller.filter(|_| has_effects(method)) {
            w.callers.push(Named { method: method.to_owned(), caller: caller.to_owned() });
        }
        (w.faults.strike(method), w.epoch)
    });
    for fault in &faults {
        match fault {
            Kind::Latency { ms: extra } => tokio::time::sleep(ms(*extra)).await,
            Kind::ResetBefore => return Outcome::Reset,
            Kind::Error { code, params } => return Outcome::of(Err(ApiError::new(code, params))),
            Kind::SessionInvalid => {
                let session = params.first().map_or("", Value::as_str);
                return Outcome::of(Err(ApiError::new("SESSION_INVALID", [session])));
            }
            _ => {}
        }
    }
    let lose_task = faults.contains(&Kind::LoseTask);
    let work = tokio::spawn(answer(sim.clone(), endpoint.clone(), method.to_owned(), params, lose_task));
    // A call goes on when its client has hung up: it is a task of its own.
    let mut result = work.await.unwrap_or_else(|e| Err(ApiError::internal(e.to_string())));
    if sim.read(|w| w.epoch != epoch) || faults.contains(&Kind::ResetAfter) {
        return Outcome::Reset;
    }
    let mut bytes_per_second = None;
    for fault in faults {
        match fault {
            Kind::ErrorAfter { code, params } => result = Err(ApiError::new(&code, params)),
            Kind::SlowBytes { bytes_per_second: speed } => bytes_per_second = Some(speed),
            _ => {}
        }
    }
    Outcome::Answer { result, bytes_per_second }
}

/// Whether a call may change what is there, besides sessions and tasks.
fn has_effects(method: &str) -> bool {
    let name = method.strip_prefix("Async.").unwrap_or(method);
    let (class, message) = name.split_once('.').unwrap_or_default();
    !["session", "event", "task", "system"].contains(&class) && !message.starts_with("get_")
}

async fn answer(
    sim: Arc<Sim>,
    endpoint: Arc<str>,
    method: String,
    mut params: Vec<Value>,
    lose_task: bool,
) -> ApiResult<Value> {
    if let Some(refusal) = refusal(&sim, &endpoint, &method) {
        return refusal;
    }
    match method.as_str() {
        "system.listMethods" => return Ok(Value::strings(generic::all_methods(&sim.model))),
        m if m.starts_with("system.isAlive") => return Ok(params.into_iter().next().unwrap_or(Value::Void)),
        _ => {}
    }
    let found = find(&sim, &method)?;
    let received = params.len();
    let session: Arc<str> =
        if found.with_session && !params.is_empty() { Arc::from(params.remove(0).as_str()) } else { Arc::from("") };
    let args = arguments(&found, &method, params, received)?;
    if found.with_session {
        check_session(&sim, &session, &found)?;
    }
    let cancel = Arc::new(Notify::new());
    let epoch = sim.read(|w| w.epoch);
    let call = Call { sim: sim.clone(), session, task: new_ref(), epoch, cancel, endpoint };
    if found.asynchronous {
        Ok(in_background(call, found, args, &method, lose_task))
    } else {
        run(&call, &found, &args).await
    }
}

/// What a host that is not the coordinator answers.
fn refusal(sim: &Sim, endpoint: &Arc<str>, method: &str) -> Option<ApiResult<Value>> {
    sim.read(|w| {
        let coordinator = w.coordinator();
        let emergency = w.emergency.contains(endpoint);
        let local = sim.model.slave_whitelist.iter().any(|m| m == method);
        match method {
            "pool.is_slave" => return Some(Ok(Value::Bool(*endpoint != coordinator))),
            "host.is_in_emergency_mode" => return Some(Ok(Value::Bool(emergency))),
            m if emergency && sim.model.emergency_calls.iter().any(|e| e == m) => return None,
            _ => {}
        }
        if emergency {
            return Some(Err(ApiError::bare("HOST_STILL_BOOTING")));
        }
        if *endpoint == coordinator || (local && method != "session.login_with_password") {
            return None;
        }
        let address = w.store.text("host", &coordinator, "address");
        Some(Err(ApiError::new("HOST_IS_SLAVE", [address])))
    })
}

fn find(sim: &Sim, method: &str) -> ApiResult<Found> {
    let unknown = || ApiError::new("MESSAGE_METHOD_UNKNOWN", [method]);
    let (plain, asynchronous) = match method.strip_prefix("Async.").or_else(|| method.strip_prefix("InternalAsync.")) {
        Some(plain) => (plain, true),
        None => (method, false),
    };
    let (class, message) = plain.split_once('.').ok_or_else(unknown)?;
    let class = sim.model.class(class).ok_or_else(unknown)?;
    let listed = class.messages.get(message);
    let meaning = if class.has_table { generic::meaning(class, message) } else { None };
    if listed.is_none() && meaning.is_none() {
        return Err(unknown());
    }
    if asynchronous && !listed.is_some_and(|m| m.allows_async) {
        return Err(ApiError::internal(format!("No async mode for this operation {method}")));
    }
    let params = match (listed, &meaning) {
        (Some(listed), _) => listed.params.clone(),
        (None, Some(meaning)) => generic::params(class, meaning),
        (None, None) => Vec::new(),
    };
    let with_session = !matches!(plain, "session.login_with_password" | "session.slave_local_login_with_password");
    Ok(Found { class: class.clone(), message: message.to_owned(), meaning, params, asynchronous, with_session })
}

fn arguments(found: &Found, method: &str, given: Vec<Value>, received: usize) -> ApiResult<Args> {
    let without_default = found.params.iter().take_while(|p| p.default.is_none()).count();
    let session_missing = found.with_session && received == 0;
    if given.len() > found.params.len() || given.len() < without_default || session_missing {
        let counts = [found.params.len().to_string(), given.len().to_string()];
        let [expected, got] = counts;
        return Err(ApiError::new("MESSAGE_PARAMETER_COUNT_MISMATCH", [method.to_owned(), expected, got]));
    }
    let mut given = given.into_iter();
    let values = found.params.iter().map(|param| match (given.next(), &param.default) {
        (Some(value), _) => param.ty.coerce(&param.name, value),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => Ok(param.ty.zero()),
    });
    Ok(Args(values.collect::<ApiResult<_>>()?))
}

fn check_session(sim: &Sim, session: &str, found: &Found) -> ApiResult<()> {
    let role = sim.read(|w| session::role(w, session))?;
    let listed = found.class.messages.get(found.message.as_str()).and_then(|m| m.role.as_deref());
    let needed = rbac::required(&found.class.name, &found.message, listed);
    rbac::check(role, needed, &format!("{}.{}", found.class.name, found.message))
}

/// Starts a call under a task and answers with the task.
fn in_background(mut call: Call, found: Found, args: Args, method: &str, lose_task: bool) -> Value {
    call.task = call.sim.write(|w| tasks::create(w, method, ""));
    let task = call.task.clone();
    if lose_task {
        // The answer still names it. Nothing else refers to the task yet, so taking it out cannot fail.
        let _ = call.sim.write(|w| w.store.remove("task", &task));
    }
    tokio::spawn(async move {
        let result = run(&call, &found, &args).await;
        call.sim.write(|w| {
            if w.epoch == call.epoch {
                tasks::finish(w, &call.task, &result);
            }
        });
    });
    Value::Str(task)
}

async fn run(call: &Call, found: &Found, args: &Args) -> ApiResult<Value> {
    let message = found.message.as_str();
    let special = match &*found.class.name {
        "session" | "task" | "event" | "message" | "network" | "VM_group" => {
            misc::call(call, &found.class, message, args).await?
        }
        "VM" => vm::call(call, &found.class, message, args).await?,
        "VBD" | "VIF" => devices::call(call, &found.class, message, args)?,
        "VDI" | "SR" | "PBD" => storage::call(call, &found.class, message, args).await?,
        "host" => host::call(call, message, args).await?,
        "pool" => pool::call(call, message, args)?,
        _ => None,
    };
    match (special, &found.meaning) {
        (Some(value), _) => Ok(value),
        (None, Some(meaning)) => call.write(|w| generic::perform(w, &found.class, meaning, &args.0)),
        (None, None) => Err(ApiError::new(
            "NOT_IMPLEMENTED",
            [format!("{}.{message}: the simulator has not got it", found.class.name)],
        )),
    }
}

/// `event.from` by the names of its parts, for the module that owns the message.
pub(crate) async fn event_from(call: &Call, args: &Args) -> ApiResult<Value> {
    events::from(call, &args.value(0), args.text(1), args.value(2).as_float()).await
}
