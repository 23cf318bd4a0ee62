//! The history of memberships as this node sees it, where nobody writes one for all: a change is learned before it is
//! in force, for the nodes see it at different moments, and who was a member before stays in rows behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::former::{Former, Needs};
use crate::model::{Generation, Member, Step};

/// By then every node has seen the same change of its folder.
const LEARN: Duration = Duration::from_secs(2);

/// Former memberships that are kept: a row has room for no more.
const MOST_FORMER: usize = 2;

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
    /// What comes after that.
    pub(super) waiting: Option<Members>,
}

impl OwnHistory {
    /// Takes note of the members of now. The first ones are in force at once.
    pub(super) fn observe(&mut self, members: &Members, now: Duration) {
        let Some(in_force) = &self.in_force else {
            self.in_force = Some(generation(1, Step::Settled, members));
            return;
        };
        let newest = self.learned.as_ref().map_or(in_force, |(learned, _)| learned);
        if !open_alike(&newest.members, members) {
            match self.learned {
                Some(_) => self.waiting = Some(members.clone()),
                None => self.learn(members.clone(), now),
            }
            return;
        }
        self.waiting = None;
        if newest.members != *members {
            self.move_to(members);
        }
    }

    /// What time, and what nodes say they need, change. Whether they did.
    pub(super) fn advance(&mut self, needs: Needs<'_>, now: Duration) -> bool {
        let before = self.generations().len();
        let is_switched = self.switch(now);
        self.former.retain(|former| !former.is_over(needs, now));
        let is_changed = is_switched || self.generations().len() != before;
        if let Some(in_force) = self.in_force.as_mut().filter(|_| self.former.is_empty()) {
            Arc::make_mut(in_force).step = Step::Settled;
        }
        is_changed
    }

    /// When time alone changes something.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let learned = self.learned.iter().map(|(_, since)| *since + LEARN);
        self.former.iter().filter_map(|former| former.due(now)).chain(learned).min()
    }

    /// All that may own flows, the oldest first.
    pub(super) fn generations(&self) -> Vec<Arc<Generation>> {
        let former = self.former.iter().map(|former| &former.generation);
        let learned = self.learned.iter().map(|(generation, _)| generation);
        former.chain(&self.in_force).chain(learned).map(Arc::clone).collect()
    }

    fn learn(&mut self, members: Members, now: Duration) {
        let number = self.in_force.as_ref().map_or(1, |in_force| in_force.number + 1);
        self.learned = Some((generation(number, Step::Learn, &members), now));
    }

    fn switch(&mut self, now: Duration) -> bool {
        let Some((learned, _)) = self.learned.take_if(|(_, since)| now >= *since + LEARN) else {
            return false;
        };
        let switched = generation(learned.number, Step::Switch, &learned.members);
        if let Some(before) = self.in_force.replace(switched) {
            let before = generation(before.number, Step::Settled, &before.members);
            self.former.push(Former { generation: before, since: now });
        }
        let too_many = self.former.len().saturating_sub(MOST_FORMER);
        self.former.drain(..too_many);
        if let Some(waiting) = self.waiting.take() {
            self.learn(waiting, now);
        }
        true
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
    Arc::new(Generation { number, step, members: members.clone() })
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
