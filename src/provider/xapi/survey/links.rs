//! Following references, and noting those that lead nowhere.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use super::Dangling;
use crate::provider::xapi::{value::Ref, view::Table};

/// The object that refers.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) class: &'static str,
    pub(super) uuid: &'a str,
    pub(super) name: &'a str,
}

/// What was found to lead nowhere.
#[derive(Default)]
pub(super) struct Links(RefCell<BTreeSet<Dangling>>);

impl Links {
    /// What a field refers to; `None` where that is nothing, or is not there. The driver and the survey read some classes
    /// into different records, so the class of the reference may differ from that of the table.
    pub(super) fn follow<'t, T, U>(
        &self,
        from: Source<'_>,
        field: &str,
        reference: &Ref<U>,
        table: &'t Table<T>,
    ) -> Option<&'t Arc<T>> {
        if reference.is_null() {
            return None;
        }
        let found = table.get(&reference.cast());
        if found.is_none() {
            self.0.borrow_mut().insert(Dangling {
                class: from.class.to_owned(),
                field: field.to_owned(),
                name: from.name.to_owned(),
                uuid: from.uuid.to_owned(),
                reference: reference.to_string(),
            });
        }
        found
    }

    /// All that lead nowhere, in order.
    pub(super) fn dangling(self) -> Vec<Dangling> {
        self.0.into_inner().into_iter().collect()
    }
}
