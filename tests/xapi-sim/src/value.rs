//! The values XAPI carries: what a record's fields, a call's parameters and its result are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The reference to nothing.
pub(crate) const NULL_REF: &str = "OpaqueRef:NULL";
/// XAPI's "never".
pub(crate) const EPOCH: &str = "19700101T00:00:00Z";

/// A map with string keys: XAPI's maps keep integer and reference keys as strings on both wires.
pub(crate) type Map = BTreeMap<Arc<str>, Value>;

/// One XAPI value. `Void` is the result of calls without one, and an absent option.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Void,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    /// `20260821T02:00:23Z`: kept as text, whose order is the order in time.
    Time(Arc<str>),
    Set(Vec<Value>),
    Map(Map),
    /// An object's fields, shared with the database instead of copied. Only ever sent.
    Record(Arc<Map>),
}

impl Value {
    pub(crate) fn str(text: impl AsRef<str>) -> Self {
        Self::Str(Arc::from(text.as_ref()))
    }

    pub(crate) fn null_ref() -> Self {
        Self::str(NULL_REF)
    }

    pub(crate) fn never() -> Self {
        Self::Time(Arc::from(EPOCH))
    }

    pub(crate) fn strings<I, S>(items: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        Self::Set(items.into_iter().map(|s| Self::str(s.as_ref())).collect())
    }

    pub(crate) fn map<I, K>(entries: I) -> Self
    where
        I: IntoIterator<Item = (K, Self)>,
        K: AsRef<str>,
    {
        Self::Map(entries.into_iter().map(|(k, v)| (Arc::from(k.as_ref()), v)).collect())
    }

    /// A map of strings to strings, XAPI's commonest.
    pub(crate) fn dict<I, K, V>(entries: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        Self::map(entries.into_iter().map(|(k, v)| (k, Self::str(v.as_ref()))))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Str(s) | Self::Time(s) => s,
            _ => "",
        }
    }

    /// The text itself, not a copy of it.
    pub(crate) fn shared_text(&self) -> Option<Arc<str>> {
        match self {
            Self::Str(s) | Self::Time(s) => Some(s.clone()),
            _ => None,
        }
    }

    pub(crate) fn as_int(&self) -> i64 {
        match self {
            Self::Int(i) => *i,
            _ => 0,
        }
    }

    pub(crate) fn as_float(&self) -> f64 {
        match self {
            Self::Float(f) => *f,
            #[expect(clippy::cast_precision_loss, reason = "XAPI converts the same way")]
            Self::Int(i) => *i as f64,
            _ => 0.0,
        }
    }

    pub(crate) fn as_bool(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(crate) fn as_set(&self) -> &[Self] {
        match self {
            Self::Set(items) => items,
            _ => &[],
        }
    }

    /// The strings of a set of strings, enums or references.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.as_set().iter().map(Self::as_str)
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            Self::Record(map) => Some(map),
            _ => None,
        }
    }

    /// The entry of a map of strings, if this is a map that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&str> {
        self.as_map().and_then(|m| m.get(key)).map(Self::as_str)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::str(value)
    }
}

/// True for every spelling of the null reference that clients and old databases use.
pub(crate) fn is_null(reference: &str) -> bool {
    reference.is_empty() || reference == NULL_REF
}

/// A new reference.
pub(crate) fn new_ref() -> Arc<str> {
    Arc::from(format!("OpaqueRef:{}", uuid::Uuid::new_v4()))
}

/// A new uuid.
pub(crate) fn new_uuid() -> Arc<str> {
    Arc::from(uuid::Uuid::new_v4().to_string())
}
