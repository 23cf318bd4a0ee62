//! A table that is made once.

use std::collections::BTreeSet;
use std::sync::Arc;

use lb_common::row::MemberId;

use super::super::maglev::Table;
use super::super::rows::{Openers, rows};
use crate::model::Generation;

/// A table, and what it was made of.
#[derive(Debug, Default)]
pub(super) struct Made {
    generations: Vec<Arc<Generation>>,
    down: BTreeSet<MemberId>,
    table: Option<Arc<Table>>,
}

impl Made {
    /// The same table as long as nothing changes.
    pub(super) fn make(
        &mut self,
        generations: Vec<Arc<Generation>>,
        down: BTreeSet<MemberId>,
        openers: &mut Openers,
    ) -> Arc<Table> {
        if let Some(table) = self.table.as_ref().filter(|_| self.is_of(&generations, &down)) {
            return Arc::clone(table);
        }
        let table = Arc::new(rows(&generations, &down, openers));
        *self = Self { generations, down, table: Some(Arc::clone(&table)) };
        table
    }

    /// Whether it is made of these.
    pub(super) fn is_of(&self, generations: &[Arc<Generation>], down: &BTreeSet<MemberId>) -> bool {
        self.table.is_some() && self.generations == generations && self.down == *down
    }
}
