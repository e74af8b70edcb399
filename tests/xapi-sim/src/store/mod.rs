//! The pool's database: one table per class, a generation counter that orders every change, relations kept on both
//! sides, and the log of deletions that events are made from.

mod journal;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use self::journal::{Before, Journal};
use crate::error::{ApiError, ApiResult};
use crate::model::Model;
use crate::value::{Map, NULL_REF, Value, is_null, new_ref, new_uuid};

/// A class's deletions are cut back to the smaller number when they reach the larger (xapi `db_cache_types.ml`).
const DELETIONS_KEPT: usize = 256;
const DELETIONS_MAX: usize = 512;
/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) fields: Arc<Map>,
    pub(crate) created: u64,
    pub(crate) modified: u64,
}

impl Row {
    pub(crate) fn get(&self, field: &str) -> &Value {
        self.fields.get(field).unwrap_or(&Value::Void)
    }

    /// Gives a field a value. The field's name, and the value that it had.
    fn put(&mut self, field: &str, value: Value) -> (Arc<str>, Option<Value>) {
        let fields = Arc::make_mut(&mut self.fields);
        let name = fields.get_key_value(field).map_or_else(|| Arc::from(field), |(name, _)| name.clone());
        let was = fields.insert(name.clone(), value);
        (name, was)
    }
}

/// An object that is no more.
#[derive(Debug, Clone)]
pub(crate) struct Deletion {
    pub(crate) at: u64,
    pub(crate) created: u64,
    pub(crate) reference: Arc<str>,
}

/// All objects of one class.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<Arc<str>, Arc<Row>>,
    /// Every row by the generation of its newest change.
    pub(crate) by_modified: BTreeMap<u64, Arc<str>>,
    pub(crate) deletions: VecDeque<Deletion>,
    by_uuid: HashMap<Arc<str>, Arc<str>>,
}

/// The database.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) model: Model,
    pub(crate) tables: BTreeMap<Arc<str>, Table>,
    pub(crate) generation: u64,
    journal: Journal,
    /// VMs that may be on their way to a host; all that are, are among them.
    booked: BTreeSet<Arc<str>>,
}

/// The field that says where a VM is on its way to.
const BOOKED: &str = "scheduled_to_be_resident_on";

impl Store {
    pub(crate) fn new(model: Model) -> Self {
        let tables =
            model.classes.values().filter(|c| c.has_table).map(|c| (c.name.clone(), Table::default())).collect();
        Self { model, tables, generation: 1, journal: Journal::default(), booked: BTreeSet::new() }
    }

    pub(crate) fn table(&self, class: &str) -> Option<&Table> {
        self.tables.get(class)
    }

    pub(crate) fn row(&self, class: &str, reference: &str) -> ApiResult<&Arc<Row>> {
        self.tables
            .get(class)
            .and_then(|t| t.rows.get(reference))
            .ok_or_else(|| ApiError::handle_invalid(class, reference))
    }

    pub(crate) fn exists(&self, class: &str, reference: &str) -> bool {
        self.row(class, reference).is_ok()
    }

    /// A field's value; `Void` for an unknown field.
    pub(crate) fn get(&self, class: &str, reference: &str, field: &str) -> ApiResult<&Value> {
        Ok(self.row(class, reference)?.get(field))
    }

    /// A text field; empty when the object is not there.
    pub(crate) fn text(&self, class: &str, reference: &str, field: &str) -> &str {
        self.row(class, reference).map_or("", |r| r.get(field).as_str())
    }

    pub(crate) fn int(&self, class: &str, reference: &str, field: &str) -> i64 {
        self.row(class, reference).map_or(0, |r| r.get(field).as_int())
    }

    pub(crate) fn flag(&self, class: &str, reference: &str, field: &str) -> bool {
        self.row(class, reference).is_ok_and(|r| r.get(field).as_bool())
    }

    /// The texts in a set field.
    pub(crate) fn texts(&self, class: &str, reference: &str, field: &str) -> impl Iterator<Item = &str> {
        self.row(class, reference).ok().into_iter().flat_map(move |row| row.get(field).texts())
    }

    /// The references in a set field.
    pub(crate) fn refs_in(&self, class: &str, reference: &str, field: &str) -> Vec<Arc<str>> {
        self.row(class, reference).map(|r| references(r.get(field))).unwrap_or_default()
    }

    pub(crate) fn refs(&self, class: &str) -> Vec<Arc<str>> {
        self.tables.get(class).map(|t| t.rows.keys().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn rows(&self, class: &str) -> impl Iterator<Item = (&Arc<str>, &Arc<Row>)> {
        self.tables.get(class).into_iter().flat_map(|t| t.rows.iter())
    }

    pub(crate) fn by_uuid(&self, class: &str, uuid: &str) -> Option<Arc<str>> {
        self.tables.get(class)?.by_uuid.get(uuid).cloned()
    }

    /// Makes an object. Fields that are not given take the model's defaults; a uuid is made up when none is given.
    pub(crate) fn insert(&mut self, class: &str, fields: Map) -> Arc<str> {
        let reference = new_ref();
        self.insert_as(class, &reference, fields);
        reference
    }

    pub(crate) fn insert_as(&mut self, class: &str, reference: &Arc<str>, given: Map) {
        let mut fields = self.defaults(class);
        let mut ends = Vec::new();
        for (name, value) in given {
            if self.relation_of(class, &name).is_some() {
                ends.push((name, value));
            } else {
                fields.insert(name, value);
            }
        }
        if fields.get("uuid").is_none_or(|u| u.as_str().is_empty()) {
            fields.insert(Arc::from("uuid"), Value::Str(new_uuid()));
        }
        self.insert_raw(class, reference, fields);
        for (name, value) in ends {
            // The row was made a line above and the field is one of the class.
            let _ = self.set(class, reference, &name, value);
        }
    }

    /// Puts a row in as it is, without touching the other ends of its relations (a loaded database has both).
    pub(crate) fn insert_raw(&mut self, class: &str, reference: &Arc<str>, fields: Map) {
        let class = Arc::<str>::from(class);
        self.remember(&class, reference, Before::Nothing);
        self.generation += 1;
        let generation = self.generation;
        let table = self.tables.entry(class.clone()).or_default();
        if let Some(uuid) = fields.get("uuid") {
            table.by_uuid.insert(Arc::from(uuid.as_str()), reference.clone());
        }
        table.by_modified.insert(generation, reference.clone());
        let row = Arc::new(Row { fields: Arc::new(fields), created: generation, modified: generation });
        table.rows.insert(reference.clone(), row.clone());
        self.note_booking(&class, reference, &row);
    }

    fn defaults(&self, class: &str) -> Map {
        let Some(class) = self.model.class(class) else { return Map::new() };
        class.fields.iter().map(|f| (f.name.clone(), f.default.clone().unwrap_or_else(|| f.ty.zero()))).collect()
    }

    fn relation_of(&self, class: &str, field: &str) -> Option<(Arc<str>, Arc<str>)> {
        let relation = self.model.relation(class, field)?;
        Some((relation.other_class.clone(), relation.other_field.clone()))
    }

    /// Writes a field and the other end of its relation. Nothing happens, and no event, when it has that value.
    pub(crate) fn set(&mut self, class: &str, reference: &str, field: &str, value: impl Into<Value>) -> ApiResult<()> {
        let value = value.into();
        let before = self.row(class, reference)?.get(field).clone();
        if before == value {
            return Ok(());
        }
        self.write(class, reference, field, value.clone());
        if let Some((other_class, other_field)) = self.relation_of(class, field) {
            for gone in references(&before) {
                self.unlink(&other_class, &gone, &other_field, reference);
            }
            for new in references(&value) {
                self.link(&other_class, &new, &other_field, reference);
            }
        }
        Ok(())
    }

    /// Writes without following relations. The row is changed where it is, unless somebody still reads it.
    fn write(&mut self, class: &str, reference: &str, field: &str, value: Value) {
        let Some(class) = self.tables.get_key_value(class).map(|(class, _)| class.clone()) else { return };
        let Some(table) = self.tables.get_mut(&class) else { return };
        let Some(key) = table.rows.get_key_value(reference).map(|(key, _)| key.clone()) else { return };
        let Some(row) = table.rows.get_mut(reference).map(Arc::make_mut) else { return };
        let generation = self.generation + 1;
        let modified = std::mem::replace(&mut row.modified, generation);
        let (name, was) = row.put(field, value);
        table.by_modified.remove(&modified);
        table.by_modified.insert(generation, key.clone());
        let booked = (field == BOOKED).then(|| row.clone());
        self.remember(&class, &key, Before::Field { name, was, modified });
        self.generation = generation;
        if let Some(row) = booked {
            self.note_booking(&class, &key, &row);
        }
    }

    fn note_booking(&mut self, class: &str, reference: &Arc<str>, row: &Row) {
        if class != "VM" || is_null(row.get(BOOKED).as_str()) {
            self.booked.remove(reference);
        } else {
            self.booked.insert(reference.clone());
        }
    }

    /// The VMs that are on their way to a host.
    pub(crate) fn booked(&self, host: &str) -> impl Iterator<Item = &Arc<Row>> {
        let rows = self.booked.iter().filter_map(|vm| self.row("VM", vm).ok());
        rows.filter(move |row| row.get(BOOKED).as_str() == host)
    }

    /// Gives an object a new generation without changing it.
    pub(crate) fn touch(&mut self, class: &str, reference: &str) -> ApiResult<()> {
        let uuid = self.get(class, reference, "uuid")?.clone();
        self.write(class, reference, "uuid", uuid);
        Ok(())
    }

    fn link(&mut self, class: &str, reference: &str, field: &str, member: &str) {
        let Ok(row) = self.row(class, reference) else { return };
        match row.get(field) {
            Value::Set(items) if !items.iter().any(|i| i.as_str() == member) => {
                let mut items = items.clone();
                items.push(Value::str(member));
                self.write(class, reference, field, Value::Set(items));
            }
            _ => {}
        }
    }

    fn unlink(&mut self, class: &str, reference: &str, field: &str, member: &str) {
        let Ok(row) = self.row(class, reference) else { return };
        if let Value::Set(items) = row.get(field) {
            let kept: Vec<Value> = items.iter().filter(|i| i.as_str() != member).cloned().collect();
            if kept.len() != items.len() {
                self.write(class, reference, field, Value::Set(kept));
            }
        }
    }

    /// Changes one entry of a map field.
    pub(crate) fn set_entry(
        &mut self,
        class: &str,
        reference: &str,
        field: &str,
        key: &str,
        value: Value,
    ) -> ApiResult<()> {
        let mut map = self.get(class, reference, field)?.as_map().cloned().unwrap_or_default();
        map.insert(Arc::from(key), value);
        self.set(class, reference, field, Value::Map(map))
    }

    pub(crate) fn remove_entry(&mut self, class: &str, reference: &str, field: &str, key: &str) -> ApiResult<()> {
        let mut map = self.get(class, reference, field)?.as_map().cloned().unwrap_or_default();
        map.remove(key);
        self.set(class, reference, field, Value::Map(map))
    }

    /// Takes an object out, and out of the other ends of its relations.
    pub(crate) fn remove(&mut self, class: &str, reference: &str) -> ApiResult<()> {
        let row = self.row(class, reference)?.clone();
        for (field, value) in row.fields.iter() {
            if let Some((other_class, other_field)) = self.relation_of(class, field) {
                for other in references(value) {
                    self.unlink(&other_class, &other, &other_field, reference);
                }
            }
        }
        let row = self.row(class, reference)?.clone();
        let (class, reference) = (Arc::<str>::from(class), Arc::<str>::from(reference));
        self.remember(&class, &reference, Before::Row(row.clone()));
        self.generation += 1;
        let at = self.generation;
        if let Some(table) = self.tables.get_mut(&class) {
            table.rows.remove(&reference);
            table.by_modified.remove(&row.modified);
            table.by_uuid.remove(row.get("uuid").as_str());
            table.deletions.push_back(Deletion { at, created: row.created, reference });
            if table.deletions.len() >= DELETIONS_MAX {
                table.deletions.drain(..DELETIONS_MAX - DELETIONS_KEPT);
            }
        }
        Ok(())
    }
}

fn references(value: &Value) -> Vec<Arc<str>> {
    match value {
        Value::Str(s) if !is_null(s) && &**s != NULL_REF => vec![s.clone()],
        Value::Set(items) => items.iter().filter_map(Value::shared_text).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::new(Model::load().unwrap())
    }

    fn one(field: &str, value: Value) -> Map {
        std::iter::once((Arc::from(field), value)).collect()
    }

    #[test]
    fn the_other_end_of_a_relation_follows() {
        let mut store = store();
        let (a, b) = (store.insert("VM", Map::new()), store.insert("VM", Map::new()));
        let vbd = store.insert("VBD", one("VM", Value::Str(a.clone())));
        assert_eq!(store.refs_in("VM", &a, "VBDs"), std::slice::from_ref(&vbd));
        store.set("VBD", &vbd, "VM", &*b).unwrap();
        assert!(store.refs_in("VM", &a, "VBDs").is_empty());
        assert_eq!(store.refs_in("VM", &b, "VBDs"), std::slice::from_ref(&vbd));
        store.remove("VBD", &vbd).unwrap();
        assert!(store.refs_in("VM", &b, "VBDs").is_empty());
    }

    #[test]
    fn relations_of_many_to_many_follow_from_either_side() {
        let mut store = store();
        let vm = store.insert("VM", Map::new());
        let group = store.insert("VM_group", Map::new());
        store.set("VM", &vm, "groups", Value::strings([&group])).unwrap();
        assert_eq!(store.refs_in("VM_group", &group, "VMs"), std::slice::from_ref(&vm));
        store.remove("VM_group", &group).unwrap();
        assert!(store.refs_in("VM", &vm, "groups").is_empty());
    }

    #[test]
    fn writing_the_same_value_is_no_change() {
        let mut store = store();
        let vm = store.insert("VM", one("name_label", Value::str("x")));
        let before = store.generation;
        store.set("VM", &vm, "name_label", "x").unwrap();
        assert_eq!(store.generation, before);
    }
}
