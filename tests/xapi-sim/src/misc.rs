//! The small classes: session, task, event, message, network, `VM_group`.

use std::sync::Arc;

use crate::dispatch::{self, Args};
use crate::error::{ApiError, ApiResult};
use crate::model::Class;
use crate::sim::{Call, World};
use crate::value::Value;
use crate::{events, session, tasks};

pub(crate) async fn call(call: &Call, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    match &*class.name {
        "session" => of_session(call, message, args).await,
        "event" => of_event(call, message, args).await,
        "task" => call.write(|w| of_task(w, message, args)),
        "message" => call.write(|w| of_message(w, message, args)),
        "network" => call.write(|w| of_network(w, message, args)),
        _ => Ok(None),
    }
}

async fn of_session(call: &Call, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    match message {
        "login_with_password" => session::login(&call.sim, args.text(0), args.text(1), args.text(3)).await.map(Some),
        "slave_local_login_with_password" => session::login(&call.sim, args.text(0), args.text(1), "").await.map(Some),
        "logout" | "local_logout" => {
            call.write(|w| {
                session::close(w, &call.session);
                Ok(())
            })?;
            call.sim.wake();
            Ok(Some(Value::Void))
        }
        "get_all_subject_identifiers" => Ok(Some(Value::Set(Vec::new()))),
        _ => Ok(None),
    }
}

async fn of_event(call: &Call, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    match message {
        "from" => dispatch::event_from(call, args).await.map(Some),
        "inject" => call.write(|w| events::inject(w, args.text(0), args.text(1))).map(Some),
        "get_current_id" => call.write(|w| Ok(Some(Value::Int(i64::try_from(w.store.generation).unwrap_or(i64::MAX))))),
        _ => Ok(None),
    }
}

fn of_task(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let done = match message {
        "create" => Some(Value::Str(tasks::create(world, args.text(0), args.text(1)))),
        "cancel" => Some(tasks::cancel(world, args.text(0))?),
        "set_status" => {
            world.store.set("task", args.text(0), "status", args.value(1))?;
            if !matches!(args.text(1), "pending" | "cancelling") {
                let now = Value::Time(world.clock().text());
                world.store.set("task", args.text(0), "finished", now)?;
            }
            Some(Value::Void)
        }
        _ => None,
    };
    Ok(done)
}

fn of_message(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let since = |world: &World, wanted: &dyn Fn(&crate::store::Row) -> bool| {
        let rows = world.store.rows("message").filter(|(_, row)| wanted(row));
        Value::Map(rows.map(|(r, row)| (r.clone(), Value::Record(row.fields.clone()))).collect())
    };
    let done = match message {
        "create" => {
            let reference = post(world, args.text(0), args.int(1), args.text(2), args.text(3), args.text(4));
            Value::Str(reference)
        }
        "get_since" => {
            let from = args.value(0);
            since(world, &|row| row.get("timestamp").as_str() >= from.as_str())
        }
        "get" => {
            let from = args.value(2);
            since(world, &|row| {
                row.get("cls").as_str() == args.text(0)
                    && row.get("obj_uuid").as_str() == args.text(1)
                    && row.get("timestamp").as_str() >= from.as_str()
            })
        }
        "destroy_many" => {
            for reference in args.value(0).texts() {
                world.store.remove("message", reference)?;
            }
            Value::Void
        }
        _ => return Ok(None),
    };
    Ok(Some(done))
}

/// Posts a message, XAPI's word for an alert.
pub(crate) fn post(world: &mut World, name: &str, priority: i64, class: &str, uuid: &str, body: &str) -> Arc<str> {
    let fields = [
        ("name", Value::str(name)),
        ("priority", Value::Int(priority)),
        ("cls", Value::str(class)),
        ("obj_uuid", Value::str(uuid)),
        ("timestamp", Value::Time(world.clock().text())),
        ("body", Value::str(body)),
    ];
    world.store.insert("message", fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect())
}

fn of_network(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let this = args.text(0);
    match message {
        "destroy" => {
            let vifs = world.store.refs_in("network", this, "VIFs");
            if !vifs.is_empty() {
                return Err(ApiError::new("NETWORK_CONTAINS_VIF", vifs.iter().map(|v| &**v)));
            }
            let pifs = world.store.refs_in("network", this, "PIFs");
            if !pifs.is_empty() {
                return Err(ApiError::new("NETWORK_CONTAINS_PIF", pifs.iter().map(|v| &**v)));
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}
