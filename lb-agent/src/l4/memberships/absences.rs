//! Members that were down: the flows that opened at others meanwhile are looked for there still when they are back, and when
//! one of those others is down, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;

use super::super::rows::fingerprint;
use super::former::{Former, Needs};
use crate::model::{Generation, Step};

/// Absences of one member that are kept: the rows of its buckets have room for no more.
const MOST_OF_ONE: usize = 2;

/// Absences that are kept, whoever's.
const MOST: usize = 8;

/// Who was down for less has missed few flows.
const BRIEF: Duration = Duration::from_millis(100);

/// One that lasts is kept anew this often: each time it is written to the node's file.
const ANEW: Duration = Duration::from_secs(1);

/// A membership as it was in force without some members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Absence {
    pub(super) former: Former,
    /// Whether flows came in here meanwhile, for longer than a moment. Of the others, this node has only heard, or they stand
    /// between two: when several members come back one by one, each leaves such a one behind.
    pub(super) is_weighty: bool,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Absences {
    /// Who is down, or was when the agent before ended.
    pub(super) down: BTreeSet<MemberId>,
    /// Where rows have no room for all, the last ones are in them: the weighty ones, and of those, the newest.
    pub(super) over: Vec<Absence>,
    /// Since when those are down.
    pub(super) since: Duration,
}

impl Absences {
    /// Takes note of who is down now. `in_force` is what is in force when nobody is.
    pub(super) fn observe(&mut self, in_force: &Generation, down: &BTreeSet<MemberId>, now: Duration) {
        let before = std::mem::replace(&mut self.down, down.clone());
        let changes = |from: &BTreeSet<_>, to: &BTreeSet<_>| {
            in_force.present().any(|member| from.contains(&member.id) && !to.contains(&member.id))
        };
        // Who goes down now may have opened flows in place of one that went before, and come back with them.
        if changes(&before, down) || changes(down, &before) {
            let since = std::mem::replace(&mut self.since, now);
            self.keep(in_force, before, now, now >= since + BRIEF);
        }
    }

    /// A member was taken for down by others, or its own packet path went without it: what was its own to take meanwhile
    /// opened elsewhere; if what came in `here` did, too, that is weighty.
    pub(super) fn was_away(&mut self, in_force: &Generation, id: MemberId, now: Duration, here: bool) {
        let absent = self.down.iter().copied().chain([id]).collect();
        self.keep(in_force, absent, now, here);
    }

    /// Keeps what was in force without those that were `absent`.
    fn keep(
        &mut self,
        in_force: &Generation,
        mut absent: BTreeSet<MemberId>,
        now: Duration,
        is_weighty: bool,
    ) {
        absent.retain(|id| in_force.present().any(|member| member.id == *id));
        if absent.is_empty() {
            return;
        }
        let absent = &absent | &in_force.absent;
        // Whether all drained then is no part of it: as nothing else, it would not be known to the next agent.
        let absence = Generation { step: Step::Settled, absent, goes_on: false, ..in_force.clone() };
        // When all were down, it was as if none were.
        if absence.present().next().is_none() {
            return;
        }
        let known = fingerprint(&absence);
        let found = self.over.iter().position(|other| fingerprint(&other.former.generation) == known);
        match found.filter(|&at| self.over[at].is_weighty || !is_weighty) {
            // Where it stands already, it stays: another order would be other rows.
            Some(at) => renew(&mut self.over[at].former, absence, now),
            None => {
                found.map(|at| self.over.remove(at));
                self.make_room(in_force, &absence);
                let at = self.over.iter().position(|other| !is_weighty && other.is_weighty);
                let former = Former::new(Arc::new(absence), now);
                self.over.insert(at.unwrap_or(self.over.len()), Absence { former, is_weighty });
            }
        }
    }

    /// For a new one: of the others, rows have room for what weighs more or is newer.
    fn make_room(&mut self, in_force: &Generation, new: &Generation) {
        let too_many = (self.over.len() + 1).saturating_sub(MOST);
        self.over.drain(..too_many);
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        let mut has_room = |absence: &Generation| {
            let lacked = in_force.members.keys().filter(|name| absence.lacks(name));
            lacked.fold(false, |has_room, name| {
                let times = times.entry(name).or_default();
                *times += 1;
                has_room | (*times <= MOST_OF_ONE)
            })
        };
        has_room(new);
        let mut is_kept: Vec<bool> =
            self.over.iter().rev().map(|other| has_room(&other.former.generation)).collect();
        self.over.retain(|_| is_kept.pop().unwrap_or_default());
    }

    /// Whether one of them is this member's.
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.over.iter().any(|absence| absence.former.generation.lacks(name))
    }

    /// What time, and what nodes say they need, change. Whether they did.
    pub(super) fn advance(&mut self, needs: Needs<'_>, now: Duration) -> bool {
        let before = self.over.len();
        self.over.retain_mut(|absence| !absence.former.is_over(needs, now));
        self.over.len() != before
    }

    /// When time alone changes something.
    pub(super) fn due(&self, deadline: Duration, now: Duration) -> Option<Duration> {
        self.over.iter().filter_map(|absence| absence.former.due(deadline, now)).min()
    }

    /// How many a row may have to have room for beside `known` memberships: those of one member, for its buckets alone
    /// opened elsewhere. One that opens as a known one does takes none.
    pub(super) fn beside(&self, known: &[Arc<Generation>]) -> usize {
        let Some(newest) = known.last() else { return 0 };
        let known: BTreeSet<_> = known.iter().map(|generation| fingerprint(generation)).collect();
        let is_other = |former: &&Former| !known.contains(&fingerprint(&former.generation));
        let others: Vec<&Former> = self.over.iter().map(|absence| &absence.former).filter(is_other).collect();
        let times = |name: &String| others.iter().filter(|former| former.generation.lacks(name)).count();
        newest.members.keys().map(times).max().unwrap_or_default()
    }

    /// Who still holds flows of them, in words.
    pub(super) fn words(&self, needs: Needs<'_>) -> impl Iterator<Item = String> {
        self.over.iter().filter_map(move |absence| absence.former.words(needs))
    }

    /// What was in force meanwhile; what weighs most comes last.
    pub(super) fn generations(&self) -> impl Iterator<Item = Arc<Generation>> {
        self.over.iter().map(|absence| Arc::clone(&absence.former.generation))
    }
}

fn renew(former: &mut Former, absence: Generation, now: Duration) {
    if now < former.since + ANEW {
        return;
    }
    if *former.generation == absence {
        former.since = now;
    } else {
        *former = Former::new(Arc::new(absence), now);
    }
}
