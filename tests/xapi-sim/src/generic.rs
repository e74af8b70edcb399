//! What every class can do by the data model alone: records, getters, setters, plain construction.

use std::sync::Arc;

use crate::error::{ApiError, ApiResult};
use crate::model::{Class, Model, Param};
use crate::query;
use crate::sim::World;
use crate::types::Type;
use crate::value::{Map, Value};

/// Methods that follow from a class's fields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Generic {
    GetAll,
    GetAllRecords,
    GetAllRecordsWhere,
    GetRecord,
    GetByUuid,
    GetByNameLabel,
    Get(Arc<str>),
    Set(Arc<str>),
    /// Map fields.
    AddTo(Arc<str>),
    RemoveFrom(Arc<str>),
    /// Set fields.
    Add(Arc<str>),
    Remove(Arc<str>),
    Create,
    Destroy,
}

/// Classes whose objects no client may list.
const HIDDEN: &[&str] = &["session"];

/// The generic meaning of a message, if it has one.
pub(crate) fn meaning(class: &Class, message: &str) -> Option<Generic> {
    let named = class.field("name_label").is_some();
    match message {
        "get_all" | "get_all_records" | "get_all_records_where" if HIDDEN.contains(&&*class.name) => None,
        "get_all" => Some(Generic::GetAll),
        "get_all_records" => Some(Generic::GetAllRecords),
        "get_all_records_where" => Some(Generic::GetAllRecordsWhere),
        "get_record" => Some(Generic::GetRecord),
        "get_by_uuid" => Some(Generic::GetByUuid),
        "get_by_name_label" if named => Some(Generic::GetByNameLabel),
        "create" if class.messages.contains_key("create") => Some(Generic::Create),
        "destroy" if class.messages.contains_key("destroy") => Some(Generic::Destroy),
        _ => accessor(class, message),
    }
}

fn accessor(class: &Class, message: &str) -> Option<Generic> {
    let listed = class.messages.contains_key(message);
    let field = |prefix: &str| message.strip_prefix(prefix).and_then(|name| class.field(name));
    if let Some(f) = field("get_") {
        return Some(Generic::Get(f.name.clone()));
    }
    if let Some(f) = field("set_").filter(|f| f.writable || listed) {
        return Some(Generic::Set(f.name.clone()));
    }
    let of_map = |prefix: &str| field(prefix).filter(|f| matches!(f.ty, Type::Map(..)) && (f.writable || listed));
    let of_set = |prefix: &str| field(prefix).filter(|f| matches!(f.ty, Type::Set(_)) && (f.writable || listed));
    of_map("add_to_")
        .map(|f| Generic::AddTo(f.name.clone()))
        .or_else(|| of_map("remove_from_").map(|f| Generic::RemoveFrom(f.name.clone())))
        .or_else(|| of_set("add_").map(|f| Generic::Add(f.name.clone())))
        .or_else(|| of_set("remove_").map(|f| Generic::Remove(f.name.clone())))
}

/// The parameters of a generic message that the model does not list.
pub(crate) fn params(class: &Class, meaning: &Generic) -> Vec<Param> {
    let param = |name: &str, ty: Type| Param { name: Arc::from(name), ty, default: None };
    let this = param("self", Type::Ref(class.name.clone()));
    let field_type = |name: &str| class.field(name).map_or(Type::String, |f| f.ty.clone());
    match meaning {
        Generic::GetAll | Generic::GetAllRecords => Vec::new(),
        Generic::GetAllRecordsWhere => vec![param("expr", Type::String)],
        Generic::GetByUuid => vec![param("uuid", Type::String)],
        Generic::GetByNameLabel => vec![param("label", Type::String)],
        Generic::GetRecord | Generic::Get(_) | Generic::Destroy => vec![this],
        Generic::Set(field) => vec![this, param("value", field_type(field))],
        Generic::AddTo(field) => {
            let value = match field_type(field) {
                Type::Map(_, value) => *value,
                other => other,
            };
            vec![this, param("key", Type::String), param("value", value)]
        }
        Generic::RemoveFrom(_) => vec![this, param("key", Type::String)],
        Generic::Add(field) | Generic::Remove(field) => {
            let value = match field_type(field) {
                Type::Set(value) => *value,
                other => other,
            };
            vec![this, param("value", value)]
        }
        Generic::Create => vec![param("args", Type::Record(class.name.clone()))],
    }
}

/// The names of all methods, as `system.listMethods` gives them.
pub(crate) fn all_methods(model: &Model) -> Vec<String> {
    let mut names = Vec::new();
    for class in model.classes.values() {
        let implicit =
            ["get_all", "get_all_records", "get_all_records_where", "get_record", "get_by_uuid", "get_by_name_label"];
        let mut own: Vec<String> = if class.has_table {
            implicit.iter().filter(|m| meaning(class, m).is_some()).map(|m| format!("{}.{m}", class.name)).collect()
        } else {
            Vec::new()
        };
        for field in class.fields.iter().filter(|_| class.has_table) {
            own.push(format!("{}.get_{}", class.name, field.name));
            if field.writable {
                own.push(format!("{}.set_{}", class.name, field.name));
            }
        }
        for (message, spec) in &class.messages {
            own.push(format!("{}.{message}", class.name));
            if spec.allows_async {
                own.push(format!("Async.{}.{message}", class.name));
            }
        }
        own.sort();
        own.dedup();
        names.append(&mut own);
    }
    names
}

/// Carries out a generic message.
pub(crate) fn perform(world: &mut World, class: &Class, meaning: &Generic, args: &[Value]) -> ApiResult<Value> {
    let name: &str = &class.name;
    let first = args.first().map_or("", Value::as_str);
    match meaning {
        Generic::GetAll => Ok(Value::strings(world.store.refs(name))),
        Generic::GetAllRecords => Ok(records(world, name, |_| true)),
        Generic::GetAllRecordsWhere => {
            let query = query::parse(first)?;
            Ok(records(world, name, |fields| query.holds(fields)))
        }
        Generic::GetRecord => Ok(Value::Record(world.store.row(name, first)?.fields.clone())),
        Generic::GetByUuid => {
            world.store.by_uuid(name, first).map(Value::Str).ok_or_else(|| ApiError::new("UUID_INVALID", [name, first]))
        }
        Generic::GetByNameLabel => {
            let found = world.store.rows(name).filter(|(_, row)| row.get("name_label").as_str() == first);
            Ok(Value::strings(found.map(|(r, _)| r)))
        }
        Generic::Get(field) => world.store.get(name, first, field).cloned(),
        Generic::Create => create(world, class, args.first()),
        Generic::Destroy => world.store.remove(name, first).map(|()| Value::Void),
        change => alter(world, name, first, change, args).map(|()| Value::Void),
    }
}

fn alter(world: &mut World, class: &str, this: &str, change: &Generic, args: &[Value]) -> ApiResult<()> {
    let arg = |i: usize| args.get(i).cloned().unwrap_or(Value::Void);
    match change {
        Generic::Set(field) => world.store.set(class, this, field, arg(1)),
        Generic::AddTo(field) => {
            let key = arg(1);
            if world.store.get(class, this, field)?.entry(key.as_str()).is_some() {
                return Err(ApiError::new("MAP_DUPLICATE_KEY", [class, field, this, key.as_str()]));
            }
            world.store.set_entry(class, this, field, key.as_str(), arg(2))
        }
        Generic::RemoveFrom(field) => world.store.remove_entry(class, this, field, arg(1).as_str()),
        Generic::Add(field) | Generic::Remove(field) => {
            let value = arg(1);
            let mut items = world.store.get(class, this, field)?.as_set().to_vec();
            items.retain(|i| *i != value);
            if matches!(change, Generic::Add(_)) {
                items.push(value);
            }
            world.store.set(class, this, field, Value::Set(items))
        }
        _ => Ok(()),
    }
}

fn records(world: &World, class: &str, wanted: impl Fn(&Map) -> bool) -> Value {
    let rows = world.store.rows(class).filter(|(_, row)| wanted(&row.fields));
    Value::Map(rows.map(|(r, row)| (r.clone(), Value::Record(row.fields.clone()))).collect())
}

fn create(world: &mut World, class: &Class, given: Option<&Value>) -> ApiResult<Value> {
    let fields = constructor_fields(class, given)?;
    Ok(Value::Str(world.store.insert(&class.name, fields)))
}

/// The fields a constructor's record gives, converted; runtime fields are ignored, missing ones without a default
/// make the dispatcher stumble, as the real one does.
pub(crate) fn constructor_fields(class: &Class, given: Option<&Value>) -> ApiResult<Map> {
    let given = given.and_then(Value::as_map).cloned().unwrap_or_default();
    let mut fields = Map::new();
    for field in class.fields.iter().filter(|f| f.in_constructor) {
        match (given.get(&field.name), &field.default) {
            (Some(value), _) => {
                fields.insert(field.name.clone(), field.ty.coerce(&field.name, value.clone())?);
            }
            (None, Some(default)) => {
                fields.insert(field.name.clone(), default.clone());
            }
            (None, None) => {
                return Err(ApiError::internal(format!("Server_helpers.Dispatcher_FieldNotFound(\"{}\")", field.name)));
            }
        }
    }
    Ok(fields)
}
