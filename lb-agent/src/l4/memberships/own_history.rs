//! The history of memberships as this node sees it, where nobody writes one for all: a change is learned before it is
//! in force, until the others have learned it, too, for the nodes see it at different moments; and who was a member before
//! stays in rows behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;

use super::former::{Former, Needs};
use crate::model::{Generation, Member, Step, changes};

/// So long it is learned at least: nobody hears of a node that is no member when it does.
const LEARN: Duration = Duration::from_secs(2);

/// And no longer than this, whoever has not said that it has learned it.
const LONGEST: Duration = Duration::from_secs(10);

/// Memberships that a row has room for beside the one in force: those that flows need are not pushed out by a change.
pub(super) const MOST_FORMER: usize = 2;

type Members = BTreeMap<String, Member>;

/// The history. `now` is always of a clock that never goes back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct OwnHistory {
    /// The oldest first.
    pub(super) former: Vec<Former>,
    /// None before the first membership.
    pub(super) in_force: Option<Arc<Generation>>,
    /// What comes next, and since when it is learned.
    pub(super) learned: Option<(Arc<Generation>, Duration)>,
    /// What comes after that, or as soon as there is room for it: further changes merge into it.
    pub(super) waiting: Option<Members>,
}

impl OwnHistory {
    /// Takes note of the members of now. The first ones are in force at once. `absences` take room in rows,
    /// too; `None` where changes do not wait for room.
    pub(super) fn observe(&mut self, members: &Members, absences: Option<usize>, now: Duration) {
        let Some(in_force) = &self.in_force else {
            self.in_force = Some(generation(1, Step::Settled, members));
            return;
        };
        let newest = self.learned.as_ref().map_or(in_force, |(learned, _)| learned);
        if !open_alike(&newest.members, members) {
            self.waiting = Some(members.clone());
            self.learn(absences, now);
            return;
        }
        self.waiting = None;
        if newest.members != *members {
            self.move_to(members);
        }
    }

    /// What time, and what nodes say they need, change. Whether they did.
    pub(super) fn advance(&mut self, needs: Needs<'_>, absences: Option<usize>, now: Duration) -> bool {
        let before = self.generations();
        self.switch(needs.knowing.filter(|_| absences.is_some()), needs.gone, now);
        self.former.retain_mut(|former| !former.is_over(needs, now));
        self.learn(absences, now);
        if let Some(in_force) = self.in_force.as_mut().filter(|_| self.former.is_empty()) {
            Arc::make_mut(in_force).step = Step::Settled;
        }
        self.generations() != before
    }

    /// The next change, if it has to wait, and what it waits for; in words.
    pub(super) fn queued(&self, needs: Needs<'_>) -> Option<(String, Vec<String>)> {
        let members = self.waiting.as_ref().filter(|_| self.learned.is_none())?;
        let in_force = self.in_force.as_ref()?;
        let change =
            format!("change {} queued ({})", in_force.number + 1, changes(&in_force.members, members));
        Some((change, self.former.iter().filter_map(|former| former.words(needs)).collect()))
    }

    /// When time alone changes something.
    pub(super) fn due(&self, deadline: Duration, now: Duration) -> Option<Duration> {
        let learned = self.learned.iter().flat_map(|(_, since)| [*since + LEARN, *since + LONGEST]);
        let learned = learned.filter(|&at| at > now);
        self.former.iter().filter_map(|former| former.due(deadline, now)).chain(learned).min()
    }

    /// What comes next.
    pub(super) fn learned(&self) -> Option<&Generation> {
        self.learned.as_ref().map(|(generation, _)| &**generation)
    }

    /// What waits, as it would be learned in its place.
    pub(super) fn instead(&self) -> Option<Arc<Generation>> {
        let (learned, waiting) = self.learned().zip(self.waiting.as_ref())?;
        Some(generation(learned.number, Step::Learn, waiting))
    }

    /// Learns that, and gives up what was learned.
    pub(super) fn learn_instead(&mut self, now: Duration) {
        if let Some(instead) = self.instead() {
            self.learned = Some((instead, now));
            self.waiting = None;
        }
    }

    /// All that may own flows, the oldest first.
    pub(super) fn generations(&self) -> Vec<Arc<Generation>> {
        let former = self.former.iter().map(|former| &former.generation);
        let learned = self.learned.iter().map(|(generation, _)| generation);
        former.chain(&self.in_force).chain(learned).map(Arc::clone).collect()
    }

    /// Begins with what waits, if there is room for what it makes a former one.
    fn learn(&mut self, absences: Option<usize>, now: Duration) {
        let is_full = absences.is_some_and(|absences| self.former.len() + absences >= MOST_FORMER);
        if self.learned.is_some() || is_full {
            return;
        }
        let Some(members) = self.waiting.take() else { return };
        let number = self.in_force.as_ref().map_or(1, |in_force| in_force.number + 1);
        self.learned = Some((generation(number, Step::Learn, &members), now));
    }

    /// Has what is learned come into force: once all who may send or get its packets know it, as far as that can be known.
    fn switch(&mut self, knowing: Option<&BTreeSet<MemberId>>, gone: &BTreeSet<MemberId>, now: Duration) {
        let is_due = |since: Duration, known: bool| now >= since + if known { LEARN } else { LONGEST };
        let all = self.generations();
        let mut ids = all.iter().flat_map(|generation| generation.members.values()).map(|member| member.id);
        let is_known =
            knowing.is_none_or(|knowing| ids.all(|id| knowing.contains(&id) || gone.contains(&id)));
        let learned = self.learned.take_if(|(_, since)| is_due(*since, is_known));
        let Some((learned, _)) = learned else { return };
        let switched = generation(learned.number, Step::Switch, &learned.members);
        if let Some(before) = self.in_force.replace(switched) {
            let before = generation(before.number, Step::Settled, &before.members);
            self.former.push(Former::new(before, now));
        }
        // What is in force again is none before it.
        self.former.retain(|former| !open_alike(&former.generation.members, &learned.members));
        let too_many = self.former.len().saturating_sub(MOST_FORMER);
        self.former.drain(..too_many);
    }

    /// The same members at other addresses: no flow opens elsewhere.
    fn move_to(&mut self, members: &Members) {
        match &mut self.learned {
            Some((learned, _)) => Arc::make_mut(learned).members.clone_from(members),
            None => {
                let in_force = self.in_force.as_mut();
                in_force.into_iter().for_each(|newest| Arc::make_mut(newest).members.clone_from(members));
            }
        }
    }
}

fn generation(number: u64, step: Step, members: &Members) -> Arc<Generation> {
    Arc::new(Generation::new(number, step, members.clone()))
}

/// Whether the same members open the same buckets.
fn open_alike(some: &Members, others: &Members) -> bool {
    let of = |member: &Member| (member.id, member.weight);
    some.len() == others.len()
        && some
            .iter()
            .zip(others)
            .all(|((name, one), (other_name, other))| name == other_name && of(one) == of(other))
}

#[cfg(test)]
mod tests;
