//! A generation of the membership: who owns flows, from one change to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::Member;

/// One membership of the history. Rows are made of all of them that a snapshot holds, so that flows which opened
/// under an earlier one are found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Generation {
    /// Its number: the later, the higher. 0 without a history.
    pub number: u64,
    /// How far it is.
    pub step: Step,
    /// Its members by name.
    pub members: BTreeMap<String, Member>,
    /// The ids of those of them that were down while it was in force: others opened flows in their place.
    pub absent: BTreeSet<u16>,
    /// The fingerprint of the flow key by which its flows are found; `None` where nobody says it for all nodes.
    pub key: Option<u32>,
    /// Whether its members have their weights though each of them drains: there is nobody else.
    pub goes_on: bool,
}

impl Generation {
    /// Of these members, all of them there, and without a word of a key.
    #[must_use]
    pub fn new(number: u64, step: Step, members: BTreeMap<String, Member>) -> Self {
        Self { number, step, members, ..Self::default() }
    }

    /// Its members but those that are absent: all at which flows opened by it.
    pub fn present(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members.values().filter(|member| !self.absent.contains(&member.id))
    }

    /// Whether no member is to have new flows: then all go on.
    #[must_use]
    pub fn all_drain(&self) -> bool {
        let mut members = self.present().peekable();
        members.peek().is_some() && (self.goes_on || members.all(|member| member.weight == 0))
    }

    /// Whether nothing opened at this node by it.
    #[must_use]
    pub fn lacks(&self, node: &str) -> bool {
        self.members.get(node).is_none_or(|member| self.absent.contains(&member.id))
    }
}

/// The steps of a generation. It is retired by leaving the history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Step {
    /// Its members are in rows, behind the openers of the generation before: no flow opens there yet.
    #[default]
    Learn,
    /// New flows open at its members; not all nodes have said yet that they know.
    Switch,
    /// New flows open at its members, and all live nodes have it in their kernels.
    Settled,
}

/// The members at which new flows open by a history, the oldest generation first; none without a history. Where nobody
/// has weight, all go on.
pub(super) fn openers(generations: &[Arc<Generation>]) -> impl Iterator<Item = &Member> {
    let in_force = generations.iter().rev().find(|generation| generation.step >= Step::Switch);
    let in_force = in_force.filter(|generation| generation.number > 0);
    let members = in_force.into_iter().flat_map(|generation| generation.present());
    let has_weight = members.clone().any(|member| member.weight > 0);
    members.filter(move |member| member.weight > 0 || !has_weight)
}

/// How far a history is, and what a node acknowledges when it has it in its kernel. It rises with each change of the
/// history, so that who has acknowledged more has also had what came before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mark {
    /// The newest generation's number; 0 without a history.
    pub number: u64,
    /// Its step.
    pub step: Step,
    /// The number of the oldest generation that is not retired: rows of one mark are equal on all nodes.
    pub oldest: u64,
}

impl Mark {
    /// That of generations, the oldest first.
    #[must_use]
    pub fn of(generations: &[Arc<Generation>]) -> Self {
        match generations {
            [] => Self::default(),
            [oldest, ..] => {
                let newest = &generations[generations.len() - 1];
                Self { number: newest.number, step: newest.step, oldest: oldest.number }
            }
        }
    }

    /// Whether a generation is at least at this step for whoever acknowledges this.
    #[must_use]
    pub fn has(self, number: u64, step: Step) -> bool {
        (self.number, self.step) >= (number, step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Learn => "Learn",
            Self::Switch => "Switch",
            Self::Settled => "Settled",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_rise_with_each_step_of_a_history() {
        let generation = |(number, step)| Arc::new(Generation { number, step, ..Generation::default() });
        let mark =
            |history: &[(u64, Step)]| Mark::of(&history.iter().copied().map(generation).collect::<Vec<_>>());
        let marks = [
            mark(&[]),
            mark(&[(7, Step::Switch)]),
            mark(&[(7, Step::Settled)]),
            mark(&[(7, Step::Settled), (8, Step::Learn)]),
            mark(&[(7, Step::Settled), (8, Step::Switch)]),
            mark(&[(7, Step::Settled), (8, Step::Settled)]),
            mark(&[(8, Step::Settled)]),
            mark(&[(8, Step::Settled), (9, Step::Switch)]),
        ];
        assert!(marks.is_sorted_by(|one, next| one < next), "{marks:?}");
        assert!(marks[4].has(8, Step::Switch) && marks[4].has(7, Step::Settled));
        assert!(!marks[4].has(8, Step::Settled));
    }
}
