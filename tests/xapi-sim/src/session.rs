//! Sessions: logging in and out, their limits, and who may do what.

use std::sync::Arc;

use crate::error::{ApiError, ApiResult};
use crate::knobs::ms;
use crate::rbac::Role;
use crate::sim::{Sim, World};
use crate::value::{Value, new_ref};

/// Makes a session, or refuses after the delay with which xapi slows guessers down.
pub(crate) async fn login(sim: &Arc<Sim>, user: &str, password: &str, originator: &str) -> ApiResult<Value> {
    let known = sim.read(|w| w.users.iter().find(|u| u.name == user && u.password == password).map(|u| u.role));
    let Some(role) = known else {
        let delay = sim.read(|w| w.knobs.login_failure_ms);
        tokio::time::sleep(ms(delay)).await;
        return Err(ApiError::new("SESSION_AUTHENTICATION_FAILED", [user, "Authentication failure"]));
    };
    Ok(Value::Str(sim.write(|w| open(w, user, role, originator))))
}

/// Makes a session without asking for a password.
pub(crate) fn open(world: &mut World, user: &str, role: Role, originator: &str) -> Arc<str> {
    let now = Value::Time(world.clock().text());
    let reference = new_ref();
    let fields = [
        ("this_host", Value::Str(world.coordinator())),
        ("last_active", now.clone()),
        ("validation_time", now),
        ("is_local_superuser", Value::Bool(user == "root")),
        ("auth_user_name", Value::str(user)),
        ("originator", Value::str(originator)),
    ];
    let fields = fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect();
    world.store.insert_as("session", &reference, fields);
    world.session_roles.insert(reference.clone(), role);
    limit(world, originator);
    reference
}

/// The oldest sessions of an originator go when it has too many.
fn limit(world: &mut World, originator: &str) {
    let mut own: Vec<(u64, Arc<str>)> = world
        .store
        .rows("session")
        .filter(|(_, row)| row.get("originator").as_str() == originator)
        .map(|(r, row)| (row.created, r.clone()))
        .collect();
    own.sort();
    let knobs = &world.knobs;
    let most = if originator.is_empty() { knobs.max_anonymous_sessions } else { knobs.max_sessions_per_originator };
    let excess = own.len().saturating_sub(most);
    for (_, reference) in own.into_iter().take(excess) {
        close(world, &reference);
    }
}

pub(crate) fn close(world: &mut World, session: &str) {
    world.session_roles.remove(session);
    // A second logout finds nothing, which is what it wants.
    let _ = world.store.remove("session", session);
}

/// The role of a live session.
pub(crate) fn role(world: &World, session: &str) -> ApiResult<Role> {
    world.session_roles.get(session).copied().ok_or_else(|| ApiError::new("SESSION_INVALID", [session]))
}
