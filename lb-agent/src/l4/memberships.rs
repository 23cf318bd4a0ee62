//! The memberships that may own flows, as this node knows them, and the rows that they give. Those of a history are
//! taken as they are told; without one, this node keeps its own. Pure, but for what it keeps.

mod absences;
mod former;
mod own_history;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;

use self::absences::Absences;
pub(crate) use self::former::Needs;
use self::own_history::OwnHistory;
use super::maglev::Table;
use super::rows::{Column, Openers, fingerprint, rows};
use crate::model::{Generation, Member, Step};

/// What is in force on this node. `now` is always of a clock that never goes back.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    /// As told by a history that all nodes share, or kept here.
    agreed: Vec<Arc<Generation>>,
    own: Option<OwnHistory>,
    file: Option<PathBuf>,
    absences: Absences,
    down: BTreeSet<MemberId>,
    openers: Openers,
    agreed_rows: Made,
    rows: Made,
}

/// A table, and what it was made of.
#[derive(Debug, Default)]
struct Made {
    generations: Vec<Arc<Generation>>,
    down: BTreeSet<MemberId>,
    table: Option<Arc<Table>>,
}

/// A membership as flows need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    /// Its number in the history.
    pub(crate) number: u64,
    /// The same on all nodes, whoever gave the number.
    pub(crate) fingerprint: u64,
    /// Who opens in it.
    pub(crate) openers: Column,
}

impl Memberships {
    /// What an agent of this node before kept in `file`, if it kept anything.
    pub(crate) fn restore(file: Option<PathBuf>, now: Duration) -> Self {
        let own = file.as_deref().and_then(|file| saved::read(file, now));
        Self { own, file, ..Self::default() }
    }

    /// Takes note of a snapshot's generations and of who is down.
    pub(crate) fn observe(&mut self, told: &[Arc<Generation>], down: &BTreeSet<MemberId>, now: Duration) {
        match told {
            [only] if only.number == 0 => {
                let own = self.own.get_or_insert_default();
                let before = own.generations();
                own.observe(&only.members, now);
                self.agreed = own.generations();
                if self.agreed != before {
                    self.save();
                }
            }
            _ => {
                self.own = None;
                self.agreed = told.to_vec();
            }
        }
        if let Some(in_force) = in_force(&self.agreed) {
            self.absences.observe(in_force, down, now);
        }
        self.down.clone_from(down);
    }

    /// What time, and what nodes say they need, change. Whether they did.
    pub(crate) fn advance(&mut self, needs: Needs<'_>, now: Duration) -> bool {
        let is_back = self.absences.advance(needs, now);
        let Some(own) = &mut self.own else { return is_back };
        let is_stepped = own.advance(needs, now);
        self.agreed = own.generations();
        if is_stepped {
            self.save();
        }
        is_stepped || is_back
    }

    /// When time alone changes something.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        let own = self.own.as_ref().and_then(|own| own.due(now));
        own.into_iter().chain(self.absences.due(now)).min()
    }

    /// All members of any of them; where they disagree, the newest is right.
    pub(crate) fn members(&self) -> BTreeMap<String, Member> {
        let (mut members, mut ids) = (BTreeMap::new(), BTreeSet::new());
        for member in self.agreed.iter().rev().flat_map(|generation| generation.members.values()) {
            if !members.contains_key(&member.name) && ids.insert(member.id) {
                members.insert(member.name.clone(), member.clone());
            }
        }
        members
    }

    /// How far those are that all nodes agree on, the oldest first.
    pub(crate) fn steps(&self) -> Vec<(u64, Step)> {
        self.agreed.iter().map(|generation| (generation.number, generation.step)).collect()
    }

    /// The newest membership, in force or not.
    pub(crate) fn newest(&self) -> Option<&Generation> {
        self.agreed.last().map(Arc::as_ref)
    }

    /// Who is down, as this node sees it.
    pub(crate) fn down(&self) -> &BTreeSet<MemberId> {
        &self.down
    }

    /// The rows that all nodes agree on, whoever is down.
    pub(crate) fn agreed_rows(&mut self) -> Arc<Table> {
        self.agreed_rows.make(self.agreed.clone(), BTreeSet::new(), &mut self.openers)
    }

    /// The rows in force here: those of members that are down go on elsewhere.
    pub(crate) fn rows(&mut self) -> Arc<Table> {
        let generations = self.generations();
        if self.down.is_empty() && generations == self.agreed {
            return self.agreed_rows();
        }
        self.rows.make(generations, self.down.clone(), &mut self.openers)
    }

    /// Those of which flows may be held, the newest first.
    pub(crate) fn opened(&mut self) -> Vec<Opened> {
        let generations = self.generations();
        let in_force = generations.iter().rev().filter(|generation| generation.step >= Step::Switch);
        let opened = in_force.map(|generation| Opened {
            number: generation.number,
            fingerprint: fingerprint(&generation.members),
            openers: self.openers.of(&generation.members),
        });
        opened.collect()
    }

    /// With what was in force while members were down, the oldest first.
    fn generations(&self) -> Vec<Arc<Generation>> {
        let newest = self.agreed.iter().rposition(|generation| generation.step >= Step::Switch);
        let mut generations = self.agreed.clone();
        let at = newest.unwrap_or(0);
        generations.splice(at..at, self.absences.generations());
        generations
    }

    fn save(&self) {
        if let (Some(own), Some(file)) = (&self.own, &self.file) {
            saved::write(file, own);
        }
    }
}

impl Made {
    fn make(
        &mut self,
        generations: Vec<Arc<Generation>>,
        down: BTreeSet<MemberId>,
        openers: &mut Openers,
    ) -> Arc<Table> {
        if let Some(table) =
            self.table.as_ref().filter(|_| self.generations == generations && self.down == down)
        {
            return Arc::clone(table);
        }
        let table = Arc::new(rows(&generations, &down, openers));
        *self = Self { generations, down, table: Some(Arc::clone(&table)) };
        table
    }
}

/// The newest that opens flows.
fn in_force(generations: &[Arc<Generation>]) -> Option<&Generation> {
    generations.iter().rev().find(|generation| generation.step >= Step::Switch).map(Arc::as_ref)
}

#[cfg(test)]
mod tests;
