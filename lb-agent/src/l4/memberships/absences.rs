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

/// The memberships as they were in force without some members.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Absences {
    /// Who is down, or was when the agent before ended.
    pub(super) down: BTreeSet<MemberId>,
    /// Where rows have no room for all, the last ones are in them: the weighty ones, and of those, the newest.
    pub(super) over: Vec<Former>,
    /// The fingerprints of those in which flows came in here for longer than a moment. Of the others, this node has only heard,
    /// or they stand between two: when several members come back one by one, each leaves such a one behind.
    pub(super) weighty: BTreeSet<u32>,
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
        let found = self.over.iter().position(|former| fingerprint(&former.generation) == known);
        let is_heavier = is_weighty && self.weighty.insert(known);
        match found.filter(|_| !is_heavier) {
            // Where it stands already, it stays: another order would be other rows.
            Some(at) => renew(&mut self.over[at], absence, now),
            None => {
                found.map(|at| self.over.remove(at));
                let at = self.over.iter().position(|former| !is_weighty && self.is_weighty(former));
                self.over.insert(at.unwrap_or(self.over.len()), Former::new(Arc::new(absence), now));
                self.make_room(in_force, known);
            }
        }
    }

    pub(super) fn is_weighty(&self, former: &Former) -> bool {
        self.weighty.contains(&fingerprint(&former.generation))
    }

    /// Keeps what rows have room for: the new one, and of the others, what weighs more or is newer.
    fn make_room(&mut self, in_force: &Generation, new: u32) {
        let is_new = |former: &Former| fingerprint(&former.generation) == new;
        let oldest = self.over.iter().position(|former| !is_new(former));
        if let Some(oldest) = oldest.filter(|_| self.over.len() > MOST) {
            self.over.remove(oldest);
        }
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        let mut has_room = |former: &Former| {
            let lacked = in_force.members.keys().filter(|name| former.generation.lacks(name));
            lacked.fold(false, |has_room, name| {
                let times = times.entry(name).or_default();
                *times += 1;
                has_room | (*times <= MOST_OF_ONE)
            })
        };
        // The new one first, whatever it weighs.
        self.over.iter().filter(|former| is_new(former)).for_each(|former| _ = has_room(former));
        let others = self.over.iter().rev().filter(|former| !is_new(former));
        let crowded: BTreeSet<_> =
            others.filter(|former| !has_room(former)).map(|former| fingerprint(&former.generation)).collect();
        self.over.retain(|former| !crowded.contains(&fingerprint(&former.generation)));
        self.forget_weights();
    }

    fn forget_weights(&mut self) {
        let known: BTreeSet<_> = self.over.iter().map(|former| fingerprint(&former.generation)).collect();
        self.weighty.retain(|print| known.contains(print));
    }

    /// Whether one of them is this member's.
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.over.iter().any(|former| former.generation.lacks(name))
    }

    /// What time, and what nodes say they need, change. Whether they did.
    pub(super) fn advance(&mut self, needs: Needs<'_>, now: Duration) -> bool {
        let before = self.over.len();
        self.over.retain_mut(|former| !former.is_over(needs, now));
        let is_changed = self.over.len() != before;
        if is_changed {
            self.forget_weights();
        }
        is_changed
    }

    /// When time alone changes something.
    pub(super) fn due(&self, deadline: Duration, now: Duration) -> Option<Duration> {
        self.over.iter().filter_map(|former| former.due(deadline, now)).min()
    }

    /// How many a row may have to have room for beside `known` memberships: those of one member, for its buckets alone
    /// opened elsewhere. One that opens as a known one does takes none.
    pub(super) fn beside(&self, known: &[Arc<Generation>]) -> usize {
        let Some(newest) = known.last() else { return 0 };
        let known: BTreeSet<_> = known.iter().map(|generation| fingerprint(generation)).collect();
        let is_other = |former: &&Former| !known.contains(&fingerprint(&former.generation));
        let others: Vec<&Former> = self.over.iter().filter(is_other).collect();
        let times = |name: &String| others.iter().filter(|former| former.generation.lacks(name)).count();
        newest.members.keys().map(times).max().unwrap_or_default()
    }

    /// Who still holds flows of them, in words.
    pub(super) fn words(&self, needs: Needs<'_>) -> impl Iterator<Item = String> {
        self.over.iter().filter_map(move |former| former.words(needs))
    }

    /// What was in force meanwhile; what weighs most comes last.
    pub(super) fn generations(&self) -> impl Iterator<Item = Arc<Generation>> {
        self.over.iter().map(|former| Arc::clone(&former.generation))
    }
}

fn renew(former: &mut Former, absence: Generation, now: Duration) {
    match now < former.since + ANEW {
        true => {}
        false if *former.generation == absence => former.since = now,
        false => *former = Former::new(Arc::new(absence), now),
    }
}
