//! Changing the rules and reading the log over HTTP.
//!
//! | request | meaning |
//! |---|---|
//! | `GET /rules` | the rules in force |
//! | `POST /rules` | one more rule |
//! | `DELETE /rules?seed=N` | end all rules; the dice of those to come have this seed |
//! | `GET /fired` | how often each rule has fired |
//! | `GET /log?since=N` | what came through after entry N |

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{
    audit::Entry,
    proxy::Shared,
    rule::{Rule, Seed},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reset {
    seed: Seed,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Since {
    since: u64,
}

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let rules = get(list).post(add).delete(reset);
    let routes = Router::new().route("/rules", rules).route("/fired", get(fired)).route("/log", get(log));
    // It ends with its listener only.
    let _ = axum::serve(listener, routes.with_state(shared)).await;
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<Rule>> {
    Json(shared.rules().rules())
}

async fn add(State(shared): State<Arc<Shared>>, Json(rule): Json<Rule>) -> StatusCode {
    shared.rules().add(rule);
    StatusCode::CREATED
}

async fn reset(State(shared): State<Arc<Shared>>, Query(Reset { seed }): Query<Reset>) -> StatusCode {
    shared.rules().reset(seed);
    StatusCode::NO_CONTENT
}

async fn fired(State(shared): State<Arc<Shared>>) -> Json<BTreeMap<String, u64>> {
    Json(shared.rules().fired())
}

async fn log(State(shared): State<Arc<Shared>>, Query(Since { since }): Query<Since>) -> Json<Vec<Entry>> {
    Json(shared.audit.since(since))
}
