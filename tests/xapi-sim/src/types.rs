//! XAPI's types as the data model writes them, and the conversion of what a client sent into them.

use std::sync::Arc;

use crate::clock;
use crate::error::{ApiError, ApiResult};
use crate::value::Value;

/// A type of the data model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Int,
    Float,
    Bool,
    Time,
    Enum(Arc<str>),
    Ref(Arc<str>),
    Set(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Option(Box<Type>),
    /// A record of a class, and the batch of `event.from`: never stored, only sent.
    Record(Arc<str>),
}

impl Type {
    /// Reads the data model's notation, e.g. `(string -> enum vm_operations) map`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(inner) = text.strip_suffix(" set") {
            return Some(Self::Set(Box::new(Self::parse(inner)?)));
        }
        if let Some(inner) = text.strip_suffix(" option") {
            return Some(Self::Option(Box::new(Self::parse(inner)?)));
        }
        if let Some(inner) = text.strip_suffix(") map").and_then(|t| t.strip_prefix('(')) {
            let (key, value) = inner.split_once(" -> ")?;
            return Some(Self::Map(Box::new(Self::parse(key)?), Box::new(Self::parse(value)?)));
        }
        if let Some(class) = text.strip_suffix(" ref") {
            return Some(Self::Ref(Arc::from(class)));
        }
        if let Some(class) = text.strip_suffix(" record").or_else(|| text.strip_suffix(" batch")) {
            return Some(Self::Record(Arc::from(class)));
        }
        if let Some(name) = text.strip_prefix("enum ") {
            return Some(Self::Enum(Arc::from(name)));
        }
        match text {
            "string" => Some(Self::String),
            "int" => Some(Self::Int),
            "float" => Some(Self::Float),
            "bool" => Some(Self::Bool),
            "datetime" => Some(Self::Time),
            _ => None,
        }
    }

    /// What a field of this type holds when nothing was ever written to it.
    pub(crate) fn zero(&self) -> Value {
        match self {
            Self::String | Self::Enum(_) => Value::str(""),
            Self::Int => Value::Int(0),
            Self::Float => Value::Float(0.0),
            Self::Bool => Value::Bool(false),
            Self::Time => Value::never(),
            Self::Ref(_) => Value::null_ref(),
            Self::Set(_) => Value::Set(Vec::new()),
            Self::Map(..) => Value::map(Vec::<(&str, Value)>::new()),
            Self::Option(_) | Self::Record(_) => Value::Void,
        }
    }

    /// Converts a value as it came over a wire. `name` is the parameter or field, for the error.
    pub(crate) fn coerce(&self, name: &str, value: Value) -> ApiResult<Value> {
        let wrong = || ApiError::new("FIELD_TYPE_ERROR", [name]);
        match (self, value) {
            (Self::Ref(_), Value::Str(s)) if s.is_empty() => Ok(Value::null_ref()),
            (Self::String | Self::Enum(_) | Self::Ref(_), Value::Str(s)) => Ok(Value::Str(s)),
            (Self::Int, Value::Int(i)) => Ok(Value::Int(i)),
            (Self::Int, Value::Str(s)) => {
                s.parse().map(Value::Int).map_err(|_| ApiError::internal("Failure(\"Int64.of_string\")"))
            }
            (Self::Int, _) => Err(ApiError::internal("Failure(\"Int64.of_string\")")),
            (Self::Float, Value::Float(f)) => Ok(Value::Float(f)),
            (Self::Float, v @ Value::Int(_)) => Ok(Value::Float(v.as_float())),
            (Self::Float, Value::Str(s)) => {
                s.parse().map(Value::Float).map_err(|_| ApiError::internal("Failure(\"float_of_string\")"))
            }
            (Self::Bool, Value::Bool(b)) => Ok(Value::Bool(b)),
            (Self::Time, Value::Str(s) | Value::Time(s)) => clock::parse(&s).map(Value::Time).ok_or_else(wrong),
            (Self::Set(inner), Value::Set(items)) => {
                items.into_iter().map(|v| inner.coerce(name, v)).collect::<ApiResult<_>>().map(Value::Set)
            }
            (Self::Map(_, inner), Value::Map(map)) => {
                map.into_iter().map(|(k, v)| Ok((k, inner.coerce(name, v)?))).collect::<ApiResult<_>>().map(Value::Map)
            }
            (Self::Option(_), Value::Void) => Ok(Value::Void),
            (Self::Option(inner), v) => inner.coerce(name, v),
            (Self::Record(_), v @ Value::Map(_)) => Ok(v),
            _ => Err(wrong()),
        }
    }
}
