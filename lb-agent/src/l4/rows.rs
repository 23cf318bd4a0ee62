//! Generations of the membership -> the rows of a table: at which members a bucket's flows may be, and in which
//! order they are asked. Pure: nodes that see the same generations and the same members down have the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;

use lb_common::row::{BUCKETS, MemberId, NO_MEMBER, Row};
use siphasher::sip::SipHasher24;

use super::maglev::{self, Table};
use crate::model::{Generation, Member, Step};

/// Openers that are kept: of the generations that can be in a row, each with all members and without those that are down,
/// before a change and after it.
const KEPT: usize = 24;

/// The opener of each bucket of a table.
pub type Column = Arc<[MemberId]>;

/// What names, ids and weights say: the same members have the same openers.
type Takers = Vec<Member>;

/// The openers of memberships, kept: a step and a member that goes down or comes back fill nothing twice.
#[derive(Debug, Default)]
pub struct Openers {
    /// Those last used come last.
    kept: Vec<(Takers, Column)>,
}

/// The rows of generations, the oldest first, while some members are down. In each row stands
/// 1. the opener: that of the newest generation that is at least at `Switch`;
/// 2. the opener of a generation that is being learned, for another first hop may have switched already;
/// 3. the opener that is down, for it may only be stalled, and have its flows still;
/// 4. the openers of earlier generations, newest to oldest.
///
/// A generation that was in force while some members were down, and has the number of the whole one, counts only where it
/// had other openers than that.
///
/// In each generation, who is down opens nothing as long as anyone is up; and who is down is asked last, for a packet
/// that goes to a dead member comes to no other.
#[must_use]
pub fn rows(generations: &[Arc<Generation>], down: &BTreeSet<MemberId>, openers: &mut Openers) -> Table {
    let first_learned = generations.iter().rposition(|generation| generation.step >= Step::Switch);
    let (in_force, learned) = generations.split_at(first_learned.map_or(0, |newest| newest + 1));
    let mut of = |generation: &Arc<Generation>| {
        let opening = Opening::new(&generation.members, down, openers);
        match present(generations, generation) {
            Some(all) => opening.without(&openers.of(&all.members), &generation.members),
            None => opening,
        }
    };
    let learned: Vec<Opening> = learned.iter().map(&mut of).collect();
    let mut in_force = in_force.iter().rev().map(of);
    let newest = in_force.next();
    let mut columns = Vec::new();
    columns.extend(newest.as_ref().map(|newest| Arc::clone(&newest.up)));
    columns.extend(learned.into_iter().flat_map(Opening::columns));
    columns.extend(newest.and_then(|newest| newest.passed_over));
    columns.extend(in_force.flat_map(Opening::columns));
    let mut rows = join(&columns);
    if !down.is_empty() {
        rows.iter_mut().for_each(|row| *row = down_last(*row, down));
    }
    Table::new(rows)
}

/// The whole of a generation that was in force without some members, while those were down: it has the same number.
fn present<'a>(generations: &'a [Arc<Generation>], of: &Generation) -> Option<&'a Arc<Generation>> {
    let is_it = |all: &&Arc<Generation>| {
        all.number == of.number
            && all.members.len() > of.members.len()
            && of.members.keys().all(|name| all.members.contains_key(name))
    };
    generations.iter().filter(is_it).max_by_key(|all| all.members.len())
}

fn down_last(row: u64, down: &BTreeSet<MemberId>) -> u64 {
    let mut members = Row::from_bits(row).members();
    // Stable: all else stays in order. An opener that is down has nobody before it that is up.
    members[1..].sort_by_key(|id| *id == NO_MEMBER || down.contains(id));
    Row::new(members).bits()
}

/// Who opens in one generation.
struct Opening {
    /// Without members that are down.
    up: Column,
    /// With them, if there are any.
    passed_over: Option<Column>,
}

impl Opening {
    fn new(members: &BTreeMap<String, Member>, down: &BTreeSet<MemberId>, openers: &mut Openers) -> Self {
        let all = openers.of(members);
        let up: Vec<&Member> = members.values().filter(|member| !down.contains(&member.id)).collect();
        if up.is_empty() || up.len() == members.len() {
            return Self { up: all, passed_over: None };
        }
        // Only the buckets of who is down move: Maglev alone would move some others, too.
        let others = openers.of_takers(takers(up));
        let is_down = of_ids(down.iter().copied());
        let opener = |(&opener, &other)| if is_down[usize::from(opener)] { other } else { opener };
        Self { up: all.iter().zip(others.iter()).map(opener).collect(), passed_over: Some(all) }
    }

    /// Only what members opened in place of others that were down: whom Maglev moves besides never opened there, and would
    /// take the place of somebody who did.
    fn without(self, all: &Column, members: &BTreeMap<String, Member>) -> Self {
        let was_up = of_ids(members.values().map(|member| member.id));
        let opener = |present: MemberId, absent: MemberId| match was_up[usize::from(present)] {
            true => present,
            false => absent,
        };
        let restrict = |column: Column| {
            all.iter().zip(column.iter()).map(|(&present, &absent)| opener(present, absent)).collect()
        };
        Self { up: restrict(self.up), passed_over: self.passed_over.map(restrict) }
    }

    fn columns(self) -> impl Iterator<Item = Column> {
        [Some(self.up), self.passed_over].into_iter().flatten()
    }
}

/// By id, whether it is one of these.
fn of_ids(ids: impl Iterator<Item = MemberId>) -> Vec<bool> {
    let mut is_one = vec![false; usize::from(MemberId::MAX) + 1];
    ids.for_each(|id| is_one[usize::from(id)] = true);
    is_one
}

/// What tells memberships apart by their openers alone, the same on all nodes, and never 0.
#[must_use]
pub fn fingerprint(members: &BTreeMap<String, Member>) -> u32 {
    let mut hasher = SipHasher24::new();
    for Member { name, id, weight, .. } in takers(members.values().collect()) {
        hasher.write(name.as_bytes());
        hasher.write(&[0]);
        hasher.write(&id.to_le_bytes());
        hasher.write(&weight.to_le_bytes());
    }
    (hasher.finish() as u32).max(1)
}

impl Openers {
    /// Who opens in a membership of which nobody is down.
    pub fn of(&mut self, members: &BTreeMap<String, Member>) -> Column {
        self.of_takers(takers(members.values().collect()))
    }

    fn of_takers(&mut self, takers: Takers) -> Column {
        let known = self.kept.iter().position(|(known, _)| alike(known, &takers));
        let entry = match known {
            Some(at) => self.kept.remove(at),
            None => {
                let column = maglev::openers(&takers).into();
                (takers, column)
            }
        };
        let column = Arc::clone(&entry.1);
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(entry);
        column
    }
}

/// Those that take new flows: members with weight, and when none has any, all of them, alike: somebody has to go on.
fn takers(members: Vec<&Member>) -> Takers {
    let has_weight = members.iter().any(|member| member.weight > 0);
    let weight = |member: &Member| if has_weight { member.weight } else { 1 };
    let taker = |member: &Member| Member { weight: weight(member), ..member.clone() };
    members.into_iter().map(taker).filter(|taker| taker.weight > 0).collect()
}

fn alike(some: &[Member], others: &[Member]) -> bool {
    let of = |member: &Member| (member.id, member.weight);
    some.len() == others.len()
        && some.iter().zip(others).all(|(one, other)| of(one) == of(other) && one.name == other.name)
}

/// Packs columns into rows: each member once, as many as a row has room for.
fn join(columns: &[Column]) -> Box<[u64]> {
    let mut rows = vec![Row::EMPTY; BUCKETS as usize];
    for column in columns {
        for (row, &member) in rows.iter_mut().zip(column.iter()) {
            // What is so nearly always: the same opener as before.
            if row.opener() != member {
                *row = with(*row, member);
            }
        }
    }
    rows.into_iter().map(Row::bits).collect()
}

fn with(row: Row, member: MemberId) -> Row {
    let mut members = row.members();
    if member != NO_MEMBER
        && !members.contains(&member)
        && let Some(free) = members.iter_mut().find(|place| **place == NO_MEMBER)
    {
        *free = member;
    }
    Row::new(members)
}

#[cfg(test)]
mod tests;
