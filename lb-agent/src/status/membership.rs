//! From the history, the agents that are heard and the edge nodes to the next history: pure.
//!
//! - Members are edge nodes whose agents are ready. Who is silent goes, but for when nobody is heard at all.
//! - Who goes by another flow key than the members does not become one: they would refuse each other's packets.
//! - Another flow key that all know comes as a generation of the same members. While there are two, other changes wait.
//! - A change goes in steps: Learn, Switch, Settled, and those before it are retired when nobody needs them. Each waits
//!   until all live agents have the one before in their kernels.
//! - At most two generations are unretired beside the one in force: further changes wait and merge. Deaths never wait.
//! - Nobody is ever left without members: when none is to be had, the last ones stay.

mod candidates;
mod flow_keys;
mod ids;
mod since;
pub(super) mod steps;
mod waiting;

#[cfg(test)]
pub(crate) mod property;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::candidates::{Candidates, Place};
pub(super) use self::flow_keys::given_keys;
use self::flow_keys::{Anew, Coming};
use self::ids::Ids;
pub(super) use self::since::Since;
use super::agents::Agents;
use crate::api::{
    EdgeMember, EdgeMembershipSpec, FlowKeyPrint, MOST_GENERATIONS, MOST_NUMBER, MembershipGeneration,
    MembershipStep,
};
use crate::model::{EdgeNode, Problem};

/// The one in force and two beside it: as many members as a row has places.
const MOST_AT_ONCE: usize = 3;

/// What the leader sees.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) agents: &'a Agents,
    pub(super) nodes: &'a [EdgeNode],
    pub(super) since: &'a Since,
    /// Flows hold up a change for as long.
    pub(super) deadline: Duration,
    /// Whether the API server keeps what generations say of their keys.
    pub(super) keeps_keys: bool,
    pub(super) now: Instant,
}

/// What to write, and what to say of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Next {
    /// The history as it should be; `None` if it is so. New generations say not since when.
    pub(super) history: Option<EdgeMembershipSpec>,
    /// The changes that wait, and for whom.
    pub(super) waiting: Vec<String>,
    /// What keeps edge nodes from being members, or from draining.
    pub(super) problems: Vec<Problem>,
}

/// The history that follows from `history`.
pub(super) fn next(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Next {
    let mut draft = Draft { next: sound(history), ids: Ids::new(history), sight };
    let mut problems = Vec::new();
    flow_keys::fill(&mut draft.next, sight);
    draft.begin_anew();
    draft.give_up_key();
    let candidates = Candidates::new(&draft.next, sight, &mut problems);
    // First: what the living have learned may have none of them in it.
    draft.bury(&candidates);
    steps::advance(&mut draft.next, sight);
    steps::retire(&mut draft.next, sight);
    let mut waiting: Vec<_> = draft.propose(candidates).into_iter().collect();
    waiting.extend(waiting::keys(&draft.next, sight));
    draft.next.last_id = draft.ids.last();
    let history = (draft.next != *history).then_some(draft.next);
    Next { history, waiting, problems }
}

/// The history; one that makes no sense is begun anew, with the ids that can be saved.
fn sound(history: &EdgeMembershipSpec) -> EdgeMembershipSpec {
    match history.check() {
        Ok(()) => history.clone(),
        Err(_) => EdgeMembershipSpec { last_id: history.last_id, ..EdgeMembershipSpec::default() },
    }
}

/// The newest generation at whose members flows open.
pub(super) fn in_force(history: &EdgeMembershipSpec) -> Option<&MembershipGeneration> {
    history.generations.iter().rev().find(|generation| generation.step > MembershipStep::Learn)
}

/// A history on its way.
struct Draft<'a> {
    next: EdgeMembershipSpec,
    ids: Ids,
    sight: &'a Sight<'a>,
}

impl Draft<'_> {
    /// Takes those who are gone out of what is in force. Nobody has to learn that: without them, flows already open by
    /// the table that this makes. What was only being learned is given up: no flow has opened there.
    ///
    /// The same is done when agents had a later history than this one: somebody put an old one back.
    fn bury(&mut self, candidates: &Candidates) {
        let (Some(newest), Some(in_force)) = (self.next.generations.last(), in_force(&self.next)) else {
            return;
        };
        let is_gone = |member: &&EdgeMember| candidates.gone.contains(&member.name);
        let names_gone = |generation: &MembershipGeneration| generation.members.iter().any(|m| is_gone(&m));
        let is_behind = newest.number < self.acknowledged();
        if !is_behind && !names_gone(newest) && !names_gone(in_force) {
            return;
        }
        let survivors = |generation: &MembershipGeneration| {
            generation.members.iter().filter(|member| !is_gone(member)).map(Place::of).collect::<Vec<_>>()
        };
        let (number, is_learned) = (newest.number, newest.step == MembershipStep::Learn);
        // An old history has an old key.
        let key =
            Some(in_force).filter(|_| !is_behind).map_or_else(|| self.key(), |in_force| in_force.flow_key);
        let mut places = survivors(in_force);
        let mut step = MembershipStep::Switch;
        if places.is_empty() {
            let must_be_learned = steps::is_opened_before(in_force, self.sight);
            if must_be_learned && is_learned && !is_behind && !names_gone(newest) {
                return;
            }
            places = survivors(newest);
            if must_be_learned {
                step = MembershipStep::Learn;
            }
        }
        if places.is_empty() {
            return;
        }
        if is_learned {
            self.next.generations.pop();
        }
        self.add(number, step, places, key);
    }

    /// Where all lack keys of the history, generations of those come again with the key that most have: flows that are there
    /// opened by that. What was only learned is given up, as flows opened nowhere by it.
    fn begin_anew(&mut self) {
        let Some(Anew { key, unknown }) = flow_keys::anew(&self.next, self.sight) else { return };
        let mut known = std::mem::take(&mut self.next.generations);
        let Some(newest) = known.last().cloned() else { return };
        let is_known = |generation: &MembershipGeneration| {
            generation.flow_key.is_none_or(|FlowKeyPrint(key)| !unknown.contains(&key))
        };
        let is_opened = |generation: &MembershipGeneration| generation.step > MembershipStep::Learn;
        let last = known.iter().rposition(|generation| is_known(generation) && is_opened(generation));
        let mut again = known.split_off(last.map_or(0, |last| last + 1));
        known.retain(is_known);
        again.retain(is_opened);
        if known.is_empty() && again.is_empty() {
            again.push(newest.clone());
        }
        self.next.generations = known;
        let mut number = newest.number;
        for generation in again {
            let places = generation.members.iter().map(Place::of).collect();
            self.add(number, MembershipStep::Switch, places, Some(key));
            number = self.next.generations.last().map_or(number, |added| added.number);
        }
    }

    /// A key that was taken back before all had learned it, or that a newcomer does not know, is not waited for: no flow
    /// has opened by it.
    fn give_up_key(&mut self) {
        let [.., before, newest] = self.next.generations.as_slice() else { return };
        if !flow_keys::is_given_up(before, newest, self.sight) {
            return;
        }
        let (number, key) = (newest.number, before.flow_key);
        let places = before.members.iter().map(Place::of).collect();
        self.next.generations.pop();
        self.add(number, MembershipStep::Switch, places, key);
    }

    /// Adds a generation of these members, if they are not those of the newest one; or says why that has to wait.
    fn propose(&mut self, candidates: Candidates) -> Option<String> {
        let wanted = &candidates.wanted;
        let Some(newest) = self.next.generations.last() else {
            // Nobody has flows that could be looked for elsewhere.
            if !wanted.is_empty() {
                self.add(0, MembershipStep::Switch, candidates.wanted, self.key());
            }
            return None;
        };
        if wanted.is_empty() || newest.members.iter().map(Place::of).eq(wanted.iter().cloned()) {
            self.roll();
            return None;
        }
        if let Some(reason) = waiting::reason(&self.next, self.sight) {
            return Some(waiting::queued(newest, wanted, &reason));
        }
        // With nobody in force at any node, there is nothing to learn beside.
        let is_open = in_force(&self.next).is_some_and(|generation| {
            generation.members.iter().any(|member| !candidates.gone.contains(&member.name))
                || steps::is_opened_before(generation, self.sight)
        });
        let step = if is_open { MembershipStep::Learn } else { MembershipStep::Switch };
        self.add(newest.number, step, candidates.wanted, newest.flow_key);
        None
    }

    /// Has a key learned that all know, with the members as they are.
    fn roll(&mut self) {
        let Some(Coming::Begins(key)) = flow_keys::coming(&self.next, self.sight) else { return };
        let Some(newest) = self.next.generations.last() else { return };
        let places = newest.members.iter().map(Place::of).collect();
        self.add(newest.number, MembershipStep::Learn, places, Some(key));
    }

    /// The key by which most go.
    fn key(&self) -> Option<FlowKeyPrint> {
        flow_keys::in_force(&self.next, self.sight)
    }

    fn add(&mut self, newest: u64, step: MembershipStep, places: Vec<Place>, flow_key: Option<FlowKeyPrint>) {
        let number = newest.max(self.acknowledged()).saturating_add(1);
        if number > MOST_NUMBER {
            // A change a second for as long as there were people has not used them up; somebody wrote that.
            return;
        }
        let ids = &mut self.ids;
        let member = |place: Place| {
            let Place { name, address, weight, state } = place;
            let id = ids.give(&name)?;
            Some(EdgeMember { name, id, address, weight, state })
        };
        let members: Vec<_> = places.into_iter().filter_map(member).collect();
        let generations = &mut self.next.generations;
        // Of an old history that somebody put back: flows of its key are nowhere.
        let is_other = |last: &MembershipGeneration| {
            last.members != members && last.flow_key.zip(flow_key).is_some_and(|(last, next)| last != next)
        };
        if generations.last().is_some_and(is_other) {
            generations.clear();
        }
        generations.push(MembershipGeneration { number, step, members, flow_key, since: None });
        let surplus = generations.len().saturating_sub(MOST_GENERATIONS);
        generations.drain(..surplus);
    }

    /// The newest generation that agents had, if that can be: numbers rise behind it.
    fn acknowledged(&self) -> u64 {
        self.sight.agents.acknowledged(MOST_NUMBER / 2)
    }
}
