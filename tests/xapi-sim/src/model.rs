//! The facts of XAPI's data model: classes, their fields and messages, relations, roles.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use snafu::{OptionExt, ResultExt, Snafu};

use crate::types::Type;
use crate::value::Value;
use crate::wire::json;

const MODEL: &str = include_str!("../model/model.json");

/// Classes that newer and older databases have and the model does not describe: their tables are empty unless a
/// loaded database fills them, and clients that list every class still get an answer.
const UNDESCRIBED: &[&str] = &[
    "Caller",
    "DR_task",
    "Driver_variant",
    "Feature",
    "Host_driver",
    "LVHD",
    "Observer",
    "PUSB",
    "PVS_cache_storage",
    "PVS_proxy",
    "PVS_server",
    "PVS_site",
    "Rate_limit",
    "Repository",
    "USB_group",
    "VMPP",
    "VUSB",
    "host_crashdump",
    "host_patch",
    "network_sriov",
    "pool_patch",
    "sdn_controller",
];
/// Classes without a table: they only exist as values or messages.
const WITHOUT_TABLE: &[&str] = &["event", "data_source", "sr_stat", "probe_result", "vdi_nbd_server_info"];

/// Why the embedded data model could not be read.
#[derive(Debug, Snafu)]
pub enum ModelError {
    /// The embedded text is not JSON.
    #[snafu(display("the data model is not JSON"))]
    NotJson {
        /// What the parser says.
        source: serde_json::Error,
    },
    /// An entry has not the shape the reader expects.
    #[snafu(display("the data model's entry {entry} has an unknown shape"))]
    Shape {
        /// The path of the entry.
        entry: String,
    },
}

/// A field of a class.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) ty: Type,
    /// Clients may set it with `set_<field>`.
    pub(crate) writable: bool,
    /// A constructor takes it.
    pub(crate) in_constructor: bool,
    pub(crate) default: Option<Value>,
}

/// A parameter of a message; those with a default may be left out from the end.
#[derive(Debug, Clone)]
pub(crate) struct Param {
    pub(crate) name: Arc<str>,
    pub(crate) ty: Type,
    pub(crate) default: Option<Value>,
}

/// A message of a class: what others call a method.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) params: Vec<Param>,
    pub(crate) allows_async: bool,
    pub(crate) role: Option<Arc<str>>,
}

/// A class of the data model.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) name: Arc<str>,
    /// The name as events have it.
    pub(crate) lower_name: Arc<str>,
    pub(crate) fields: Vec<Field>,
    pub(crate) field_index: HashMap<Arc<str>, usize>,
    pub(crate) messages: BTreeMap<Arc<str>, Message>,
    pub(crate) events: bool,
    pub(crate) has_table: bool,
}

impl Class {
    fn empty(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            lower_name: Arc::from(name.to_lowercase()),
            fields: Vec::new(),
            field_index: HashMap::new(),
            messages: BTreeMap::new(),
            events: true,
            has_table: true,
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.field_index.get(name).map(|i| &self.fields[*i])
    }
}

/// One end of a relation that is kept on both sides.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// The class and the field at the other end.
    pub(crate) other_class: Arc<str>,
    pub(crate) other_field: Arc<str>,
}

/// Relations by the class, and then the field, at their near end.
type Relations = HashMap<Arc<str>, HashMap<Arc<str>, Relation>>;

/// The whole data model.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) classes: BTreeMap<Arc<str>, Arc<Class>>,
    /// By class and field: what must change at the other end when the field does.
    relations: Relations,
    pub(crate) slave_whitelist: Vec<String>,
    /// What a host without a coordinator still answers.
    pub(crate) emergency_calls: Vec<String>,
}

impl Model {
    /// Reads the embedded model.
    pub(crate) fn load() -> Result<Self, ModelError> {
        let document: Document = serde_json::from_str(MODEL).context(NotJsonSnafu)?;
        let mut classes = BTreeMap::new();
        for (name, spec) in &document.classes.0 {
            classes.insert(Arc::from(name.as_str()), Arc::new(class(name, spec)?));
        }
        for name in UNDESCRIBED {
            classes.entry(Arc::from(*name)).or_insert_with(|| Arc::new(Class::empty(name)));
        }
        let relations = relations(&document.relations, &classes)?;
        Ok(Self {
            classes,
            relations,
            slave_whitelist: document.slave_whitelist,
            emergency_calls: document.emergency_calls,
        })
    }

    pub(crate) fn class(&self, name: &str) -> Option<&Arc<Class>> {
        self.classes.get(name)
    }

    pub(crate) fn relation(&self, class: &str, field: &str) -> Option<&Relation> {
        self.relations.get(class)?.get(field)
    }

    /// Gives an undescribed class the fields that a loaded record of it has.
    pub(crate) fn learn(&mut self, class: &str, fields: &[(Arc<str>, Type)]) {
        let entry = self.classes.entry(Arc::from(class)).or_insert_with(|| Arc::new(Class::empty(class)));
        let entry = Arc::make_mut(entry);
        for (name, ty) in fields {
            if !entry.field_index.contains_key(name) {
                entry.field_index.insert(name.clone(), entry.fields.len());
                entry.fields.push(Field {
                    name: name.clone(),
                    ty: ty.clone(),
                    writable: false,
                    in_constructor: false,
                    default: Some(ty.zero()),
                });
            }
        }
    }
}

/// The embedded text as it is written.
#[derive(serde::Deserialize)]
struct Document {
    classes: InOrder<ClassSpec>,
    relations: Vec<BTreeMap<String, String>>,
    slave_whitelist: Vec<String>,
    emergency_calls: Vec<String>,
}

#[derive(serde::Deserialize)]
struct ClassSpec {
    events: bool,
    fields: InOrder<FieldSpec>,
    messages: BTreeMap<String, MessageSpec>,
}

#[derive(serde::Deserialize)]
struct FieldSpec {
    #[serde(rename = "type")]
    ty: String,
    access: String,
    default: Option<Json>,
}

#[derive(serde::Deserialize)]
struct MessageSpec {
    params: Vec<Json>,
    #[serde(default, rename = "async")]
    allows_async: bool,
    role: Option<String>,
}

/// A JSON object whose order means something: the first field that a constructor misses is the one it names.
struct InOrder<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

fn class(name: &str, spec: &ClassSpec) -> Result<Class, ModelError> {
    let mut class = Class::empty(name);
    class.events = spec.events;
    class.has_table = !WITHOUT_TABLE.contains(&name);
    for (field_name, field) in &spec.fields.0 {
        let entry = format!("{name}.{field_name}");
        let ty = Type::parse(&field.ty).with_context(|| ShapeSnafu { entry: &entry })?;
        let default = default_of(field.default.as_ref(), &ty, &entry)?;
        class.field_index.insert(Arc::from(field_name.as_str()), class.fields.len());
        class.fields.push(Field {
            name: Arc::from(field_name.as_str()),
            ty,
            writable: field.access == "RW",
            in_constructor: field.access != "RO/runtime",
            default,
        });
    }
    for (message_name, message) in &spec.messages {
        let entry = format!("{name}.{message_name}");
        class.messages.insert(
            Arc::from(message_name.as_str()),
            Message {
                params: message.params.iter().map(|p| param(p, &entry)).collect::<Result<_, _>>()?,
                allows_async: message.allows_async,
                role: message.role.as_deref().map(Arc::from),
            },
        );
    }
    Ok(class)
}

fn param(json: &Json, entry: &str) -> Result<Param, ModelError> {
    let shape = || ShapeSnafu { entry };
    let name = json.get(0).and_then(Json::as_str).with_context(shape)?;
    let ty = json.get(1).and_then(Json::as_str).and_then(Type::parse).with_context(shape)?;
    let default = default_of(json.get(2), &ty, entry)?;
    Ok(Param { name: Arc::from(name), ty, default })
}

fn default_of(json: Option<&Json>, ty: &Type, entry: &str) -> Result<Option<Value>, ModelError> {
    json.map(|j| ty.coerce(entry, json::to_value(j)).ok().context(ShapeSnafu { entry })).transpose()
}

fn relations(
    specs: &[BTreeMap<String, String>],
    classes: &BTreeMap<Arc<str>, Arc<Class>>,
) -> Result<Relations, ModelError> {
    let mut found = Relations::new();
    for relation in specs {
        let end = |key: &str| {
            let (class, field) = relation.get(key)?.split_once('.')?;
            Some((Arc::<str>::from(class), Arc::<str>::from(field)))
        };
        let ends = end("a").zip(end("b")).context(ShapeSnafu { entry: "relations" })?;
        let ((a_class, a_field), (b_class, b_field)) = ends;
        if (&a_class, &a_field) == (&b_class, &b_field) {
            continue;
        }
        let many_to_many =
            matches!(classes.get(&b_class).and_then(|c| c.field(&b_field)).map(|f| &f.ty), Some(Type::Set(_)))
                && matches!(classes.get(&a_class).and_then(|c| c.field(&a_field)).map(|f| &f.ty), Some(Type::Set(_)));
        if many_to_many {
            let back = Relation { other_class: a_class.clone(), other_field: a_field.clone() };
            found.entry(b_class.clone()).or_default().insert(b_field.clone(), back);
        }
        let there = Relation { other_class: b_class, other_field: b_field };
        found.entry(a_class).or_default().insert(a_field, there);
    }
    Ok(found)
}
