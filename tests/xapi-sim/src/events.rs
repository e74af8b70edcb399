//! `event.from`: what has changed since a token. One event per object and call, deletions from a log of limited
//! length, and no word about what was born and died in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{ApiError, ApiResult};
use crate::knobs::ms;
use crate::session;
use crate::sim::{Call, World};
use crate::store::Table;
use crate::value::Value;

/// xapi's limit for a timeout that makes no sense.
const DAY: f64 = 86_400.0;

/// What a client wants to hear of.
#[derive(Debug, Clone, PartialEq)]
enum Subscription {
    All,
    Class(String),
    Object(String, String),
}

impl Subscription {
    fn parse(text: &str) -> ApiResult<Self> {
        if text == "*" {
            return Ok(Self::All);
        }
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [class] => Ok(Self::Class(class.to_lowercase())),
            [class, reference] => Ok(Self::Object(class.to_lowercase(), (*reference).to_owned())),
            _ => Err(ApiError::new("EVENT_SUBSCRIPTION_PARSE_FAILURE", [text])),
        }
    }

    fn wants(&self, class: &str, reference: &str) -> bool {
        match self {
            Self::All => true,
            Self::Class(c) => c == class,
            Self::Object(c, r) => c == class && r == reference,
        }
    }

    fn wants_class(&self, class: &str) -> bool {
        match self {
            Self::All => true,
            Self::Class(c) | Self::Object(c, _) => c == class,
        }
    }
}

fn parse_token(token: &str) -> ApiResult<u64> {
    if token.is_empty() {
        return Ok(0);
    }
    let parts = token.split_once(',').map(|(a, b)| (a.trim().parse::<u64>(), b.trim().parse::<u64>()));
    match parts {
        Some((Ok(since), Ok(_))) => Ok(since),
        _ => Err(ApiError::new("EVENT_FROM_TOKEN_PARSE_FAILURE", [token])),
    }
}

pub(crate) fn token(generation: u64) -> String {
    format!("{generation:020},{:020}", 0)
}

/// Waits for events; an empty batch when none came in time.
pub(crate) async fn from(call: &Call, classes: &Value, since: &str, seconds: f64) -> ApiResult<Value> {
    let wanted: Vec<Subscription> = classes.texts().map(Subscription::parse).collect::<ApiResult<_>>()?;
    let generation = parse_token(since)?;
    let seconds = if (0.0..=DAY).contains(&seconds) { seconds } else { DAY };
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let delay = ms(call.sim.read(|w| w.knobs.event_delay_ms));
    let mut changes = call.sim.changes();
    loop {
        changes.mark_unchanged();
        let found = call.sim.read(|w| alive(w, call).map(|()| since.is_empty() || any(w, &wanted, generation)))?;
        if found {
            if !since.is_empty() {
                sleep(delay).await;
            }
            return call.sim.write(|w| alive(w, call).map(|()| batch(w, &wanted, generation)));
        }
        let still_there = timeout_at(deadline, changes.changed()).await;
        if !matches!(still_there, Ok(Ok(()))) {
            return call.sim.write(|w| alive(w, call).map(|()| batch(w, &wanted, generation)));
        }
    }
}

fn alive(world: &World, call: &Call) -> ApiResult<()> {
    session::role(world, &call.session).map(|_| ())?;
    if world.epoch == call.epoch { Ok(()) } else { Err(Call::lost()) }
}

/// The tables that someone wants to hear of, with their class names in lower case.
fn tables<'a>(world: &'a World, wanted: &'a [Subscription]) -> impl Iterator<Item = (&'a Arc<str>, &'a Table)> {
    let classes = world.store.model.classes.values().filter(|class| class.events);
    let wanted = classes.filter(|class| wanted.iter().any(|s| s.wants_class(&class.lower_name)));
    wanted.filter_map(|class| Some((&class.lower_name, world.store.table(&class.name)?)))
}

fn any(world: &World, wanted: &[Subscription], since: u64) -> bool {
    let asked = |class: &str, reference: &str| wanted.iter().any(|s| s.wants(class, reference));
    tables(world, wanted).any(|(class, table)| {
        table.by_modified.range(since + 1..).any(|(_, r)| asked(class, r))
            || table
                .deletions
                .iter()
                .rev()
                .take_while(|d| d.at > since)
                .any(|d| d.created <= since && asked(class, &d.reference))
    })
}

fn batch(world: &mut World, wanted: &[Subscription], since: u64) -> Value {
    let generation = world.store.generation;
    let (mut adds, mut mods, mut dels) = (Vec::new(), Vec::new(), Vec::new());
    for (class, table) in tables(world, wanted) {
        for (_, reference) in table.by_modified.range(since + 1..) {
            let Some(row) = table.rows.get(reference).filter(|_| wanted.iter().any(|s| s.wants(class, reference)))
            else {
                continue;
            };
            let snapshot = Some(Value::Record(row.fields.clone()));
            if row.created > since {
                adds.push(event(generation, class, "add", reference, snapshot));
            } else {
                mods.push(event(generation, class, "mod", reference, snapshot));
            }
        }
        for gone in table.deletions.iter().filter(|d| d.at > since && d.created <= since) {
            if wanted.iter().any(|s| s.wants(class, &gone.reference)) {
                dels.push((class.clone(), gone.reference.clone()));
            }
        }
    }
    let dels: Vec<Value> = dels
        .into_iter()
        .filter(|(class, _)| !world.faults.drops_deletion(class))
        .map(|(class, reference)| event(generation, &class, "del", &reference, None))
        .collect();
    let (messages, adds): (Vec<_>, Vec<_>) =
        adds.into_iter().partition(|e: &Value| e.entry("class") == Some("message"));
    let events = messages.into_iter().chain(adds).chain(mods).chain(dels).collect();
    Value::map([
        ("events", Value::Set(events)),
        ("valid_ref_counts", ref_counts(world)),
        ("token", Value::str(token(generation))),
    ])
}

fn event(id: u64, class: &str, operation: &str, reference: &Arc<str>, snapshot: Option<Value>) -> Value {
    Value::map([
        ("id", Value::Int(i64::try_from(id).unwrap_or(i64::MAX))),
        ("timestamp", Value::str("0.0")),
        ("class", Value::str(class)),
        ("operation", Value::str(operation)),
        ("ref", Value::Str(reference.clone())),
        ("snapshot", snapshot.unwrap_or(Value::Void)),
    ])
}

/// How many objects each class has, by which a client can tell that it missed a deletion.
fn ref_counts(world: &World) -> Value {
    let classes = world.store.model.classes.values().filter(|c| c.has_table);
    let counted = classes.map(|c| {
        let count = world.store.table(&c.name).map_or(0, |t| t.rows.len());
        (c.lower_name.clone(), Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
    });
    Value::Map(counted.collect())
}

/// Touches an object, so that its event tells a client how far its cache has come.
pub(crate) fn inject(world: &mut World, class: &str, reference: &str) -> ApiResult<Value> {
    let name = world.store.model.classes.values().find(|c| c.name.eq_ignore_ascii_case(class)).map(|c| c.name.clone());
    let before = world.store.generation;
    let touched = name.is_some_and(|name| world.store.touch(&name, reference).is_ok());
    if touched {
        Ok(Value::str(token(before.saturating_sub(1))))
    } else {
        Err(ApiError::handle_invalid(class, reference))
    }
}
