//! Generations of the membership -> the rows of a table: at which members a bucket's flows may be, and in which
//! order they are asked. Pure: nodes that see the same generations and the same members down have the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;

use lb_common::row::{BUCKETS, MemberId, NO_MEMBER, Row};
use siphasher::sip::SipHasher24;

use super::at_once;
use super::maglev::{self, Table};
use crate::model::{Generation, Member, Step};

/// Openers that are kept: of the generations that can be in a row, each with all members and without those that are down
/// (by itself each of them, too), before a change and after it.
const KEPT: usize = 32;

/// Of so many that are down, one is taken out after the other: each set of them is a table to fill. Of more, all at once.
const MOST_IN_TURN: usize = 3;

/// The opener of each bucket of a table.
pub type Column = Arc<[MemberId]>;

/// Who takes new flows, and with which weight. What names, ids and weights say: the same have the same openers.
type Takers<'a> = Vec<(&'a Member, u32)>;

/// The openers of memberships, kept: a step and a member that goes down or comes back fill nothing twice.
#[derive(Debug, Default)]
pub struct Openers {
    /// Those last used come last.
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// With the weights by which they take.
    takers: Vec<Member>,
    /// Who of them is down.
    down: BTreeSet<MemberId>,
    column: Column,
}

/// The rows of generations, the oldest first, while some members are down: whom each bucket's `Columns` name.
#[must_use]
pub fn rows(generations: &[Arc<Generation>], down: &BTreeSet<MemberId>, openers: &mut Openers) -> Table {
    let columns = Columns::new(generations, down, openers);
    Table::new((0..BUCKETS as usize).map(|bucket| columns.row(bucket).bits()).collect())
}

/// What rows are made of. In each stands
/// 1. the opener: that of the newest generation that is at least at `Switch`;
/// 2. the opener of a generation that is being learned, for another first hop may have switched already;
/// 3. the openers of earlier generations, newest to oldest, and who would open in place of one that is down;
/// 4. those that are down, for they may only be stalled, and have their flows still.
///
/// In each generation, who is down opens nothing as long as anyone is up. It is asked last, for a packet that goes to a dead
/// member comes to no other, and takes no place of one that is up: three generations at most have flows at a time
/// (changes wait for that, deaths do not), and each of them has one opener that is up.
pub struct Columns {
    asked: Vec<Column>,
    /// By id; empty while nobody is down.
    is_down: Vec<bool>,
}

impl Columns {
    /// Those of generations, the oldest first, while some members are down.
    #[must_use]
    pub fn new(generations: &[Arc<Generation>], down: &BTreeSet<MemberId>, openers: &mut Openers) -> Self {
        let newest = generations.iter().rposition(|generation| generation.step >= Step::Switch);
        let (in_force, learned) = generations.split_at(newest.map_or(0, |newest| newest + 1));
        let (before, newest) = in_force.split_at(newest.unwrap_or(0));
        let mut openings = |generations: &[Arc<Generation>]| -> Vec<_> {
            generations.iter().map(|generation| Opening::new(generation, down, openers)).collect()
        };
        let (before, opening) = (openings(before), openings(&[newest, learned].concat()));
        let up = |opening: &Opening| Arc::clone(&opening.up);
        let all = |opening: &Opening| opening.all.clone();
        let asked = opening.iter().map(up).chain(opening.iter().filter_map(all));
        // Nobody opens by these any more, but who has not switched: who had flows of them goes before who would have now.
        let asked =
            asked.chain(before.iter().rev().map(|opening| all(opening).unwrap_or_else(|| up(opening))));
        let asked =
            asked.chain(before.iter().rev().filter(|opening| all(opening).is_some()).map(up)).collect();
        let is_down = if down.is_empty() { Vec::new() } else { of_ids(down.iter().copied()) };
        Self { asked, is_down }
    }

    /// The row of a bucket: each member once, as many as it has room for.
    #[must_use]
    pub fn row(&self, bucket: usize) -> Row {
        let mut ids = self.asked.iter().map(|column| column[bucket]);
        let mut row = Row::of(ids.next().unwrap_or(NO_MEMBER));
        for id in ids.clone() {
            // What is so nearly always: the same opener as before.
            if id != row.opener() && !self.is_down(id) {
                row = with(row, id);
            }
        }
        if !self.is_down.is_empty() {
            row = ids.filter(|&id| self.is_down(id)).fold(row, with);
        }
        row
    }

    fn is_down(&self, id: MemberId) -> bool {
        self.is_down.get(usize::from(id)).is_some_and(|&is_down| is_down)
    }
}

/// Who opens in one generation.
struct Opening {
    /// Without members that are down.
    up: Column,
    /// With them, if there are any.
    all: Option<Column>,
}

impl Opening {
    fn new(generation: &Generation, down: &BTreeSet<MemberId>, openers: &mut Openers) -> Self {
        let all = openers.of(generation);
        let is_passed_over = generation.present().any(|member| down.contains(&member.id));
        let up = match is_passed_over {
            true => openers.without(&generation.members, &(&generation.absent | down)),
            false => Arc::clone(&all),
        };
        Self { up, all: is_passed_over.then_some(all) }
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
pub fn fingerprint(generation: &Generation) -> u32 {
    let mut hasher = SipHasher24::new();
    for (Member { name, id, .. }, weight) in takers(generation.members.values()) {
        hasher.write(name.as_bytes());
        hasher.write(&[0]);
        hasher.write(&id.to_le_bytes());
        hasher.write(&weight.to_le_bytes());
    }
    generation.absent.iter().for_each(|id| hasher.write(&id.to_le_bytes()));
    (hasher.finish() as u32).max(1)
}

impl Openers {
    /// Who opens in a membership, with nobody else down.
    pub fn of(&mut self, generation: &Generation) -> Column {
        self.without(&generation.members, &generation.absent)
    }

    /// Fills what is not kept yet of these memberships, each with all members and without `one`, at once: where there is more
    /// than one to fill, that takes less time than when they are asked for.
    pub fn fill_ahead(&mut self, generations: &[Arc<Generation>], one: Option<MemberId>) {
        let mut missing: Vec<Takers<'_>> = Vec::new();
        for members in generations.iter().map(|generation| generation.members.values()) {
            let others = members.clone().filter(|member| Some(member.id) != one);
            for takers in [takers(members), takers(others)] {
                let is_kept = self.kept.iter().any(|kept| kept.is_of(&takers, &BTreeSet::new()));
                if !is_kept && !missing.contains(&takers) {
                    missing.push(takers);
                }
            }
        }
        if missing.len() < 2 {
            return;
        }
        let filled = at_once::map(missing, |takers| {
            let takers = owned(&takers);
            Kept { column: maglev::openers(&takers).into(), takers, down: BTreeSet::new() }
        });
        filled.into_iter().for_each(|kept| self.keep(kept));
    }

    /// Who opens while some are down: only their buckets move. Such a bucket opens where it would without its opener; if that
    /// one is down, too, where it would without both, and so on. So each of them moves nothing of the others', whatever the
    /// order in which they went down, and gets back what was its own alone.
    fn without(&mut self, members: &BTreeMap<String, Member>, down: &BTreeSet<MemberId>) -> Column {
        let ids = members.values().map(|member| member.id);
        let down: BTreeSet<_> = ids.filter(|id| down.contains(id)).collect();
        let beside =
            |out: &BTreeSet<MemberId>| takers(members.values().filter(|member| !out.contains(&member.id)));
        let all = beside(&BTreeSet::new());
        if down.is_empty() || down.len() == members.len() {
            return self.of_takers(&all);
        }
        self.kept(&all, &down, |openers| {
            let mut column = openers.of_takers(&all).to_vec();
            let is_down = of_ids(down.iter().copied());
            // The buckets that still open at one that is down, by those that are out of it.
            let mut closed: BTreeMap<BTreeSet<MemberId>, Vec<usize>> = BTreeMap::new();
            let buckets = column.iter().enumerate().filter(|(_, id)| is_down[usize::from(**id)]);
            buckets.for_each(|(bucket, &id)| closed.entry([id].into()).or_default().push(bucket));
            while let Some((out, buckets)) = closed.pop_first() {
                let out = if down.len() > MOST_IN_TURN { down.clone() } else { out };
                let others = openers.of_takers(&beside(&out));
                for bucket in buckets {
                    let id = others[bucket];
                    column[bucket] = id;
                    if is_down[usize::from(id)] {
                        closed.entry(&out | &[id].into()).or_default().push(bucket);
                    }
                }
            }
            column.into()
        })
    }

    fn of_takers(&mut self, takers: &Takers<'_>) -> Column {
        self.kept(takers, &BTreeSet::new(), |_| maglev::openers(&owned(takers)).into())
    }

    /// What was made of these before, or is now.
    fn kept(
        &mut self,
        takers: &Takers<'_>,
        down: &BTreeSet<MemberId>,
        make: impl FnOnce(&mut Self) -> Column,
    ) -> Column {
        let entry = match self.kept.iter().rposition(|kept| kept.is_of(takers, down)) {
            Some(at) => self.kept.remove(at),
            None => {
                let column = make(self);
                Kept { takers: owned(takers), down: down.clone(), column }
            }
        };
        let column = Arc::clone(&entry.column);
        self.keep(entry);
        column
    }

    fn keep(&mut self, entry: Kept) {
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push(entry);
    }
}

impl Kept {
    fn is_of(&self, takers: &Takers<'_>, down: &BTreeSet<MemberId>) -> bool {
        let is_it = |(kept, (taker, weight)): (&Member, &(&Member, u32))| {
            kept.id == taker.id && kept.weight == *weight && kept.name == taker.name
        };
        self.down == *down && self.takers.len() == takers.len() && self.takers.iter().zip(takers).all(is_it)
    }
}

/// Those that take new flows: members with weight, and when none has any, all of them, alike: somebody has to go on.
fn takers<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> Takers<'a> {
    match members.clone().any(|member| member.weight > 0) {
        true => members.filter(|member| member.weight > 0).map(|member| (member, member.weight)).collect(),
        false => members.map(|member| (member, 1)).collect(),
    }
}

fn owned(takers: &Takers<'_>) -> Vec<Member> {
    takers.iter().map(|&(taker, weight)| Member { weight, ..taker.clone() }).collect()
}

/// The same with one member more, if it is new and there is a place.
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
pub(super) mod tests;
