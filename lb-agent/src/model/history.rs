//! The memberships of this node's rows: told by a history for all, or kept by the node itself.

use std::sync::Arc;

use super::generation::openers;
use super::{Generation, Member, Step};

/// What rows are made of, and what is to come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Those that all nodes agree on, the oldest first.
    pub agreed: Vec<Arc<Generation>>,
    /// What was in force while members were down that are back, the oldest first.
    pub absences: Vec<Arc<Generation>>,
    /// What the next change waits for, in words, if it has to wait.
    pub queued: Option<String>,
    /// This node, if it is to be a member by that.
    pub joins: Option<Member>,
}

impl History {
    /// All members of any of them, and this node if it joins; the newest word on each last.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        let known = self.absences.iter().chain(&self.agreed).flat_map(|generation| generation.present());
        self.joins.iter().chain(known)
    }

    /// The newest membership by which flows open.
    #[must_use]
    pub fn in_force(&self) -> Option<&Generation> {
        self.agreed.iter().rev().find(|generation| generation.step >= Step::Switch).map(Arc::as_ref)
    }

    /// Whether no member is to have new flows: then all go on.
    #[must_use]
    pub fn all_drain(&self) -> bool {
        self.in_force().is_some_and(Generation::all_drain)
    }

    /// Whether new flows open at this node. Without a history, nobody knows of a node that it drains, and nobody needs
    /// to be waited for.
    #[must_use]
    pub fn opens_at(&self, node: &str) -> bool {
        openers(&self.agreed).any(|member| member.name == node)
    }

    /// Whether new flows open at another node.
    #[must_use]
    pub fn opens_beside(&self, node: &str) -> bool {
        self.openers_beside(node).next().is_some()
    }

    /// The members other than this node at which new flows open.
    pub fn openers_beside(&self, node: &str) -> impl Iterator<Item = &Member> {
        openers(&self.agreed).filter(move |member| member.name != node)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn generation(number: u64, step: Step, members: &[(&str, u32)]) -> Arc<Generation> {
        let member = |(name, weight): &(&str, u32)| {
            let name = (*name).to_owned();
            let member =
                Member { name: name.clone(), id: 1, address: IpAddr::from([192, 0, 2, 1]), weight: *weight };
            (name, member)
        };
        Arc::new(Generation::new(number, step, members.iter().map(member).collect()))
    }

    #[test]
    fn flows_open_where_the_last_switched_generation_says() {
        let both = [("a", 100), ("b", 100)];
        let settled = generation(7, Step::Settled, &both);
        for (generations, opens) in [
            (vec![], false),
            (vec![generation(0, Step::Settled, &both)], false),
            (vec![settled.clone()], true),
            (vec![settled.clone(), generation(8, Step::Learn, &[("b", 100)])], true),
            (vec![settled.clone(), generation(8, Step::Switch, &[("b", 100)])], false),
            (vec![settled.clone(), generation(8, Step::Switch, &[("a", 0), ("b", 100)])], false),
            // All drain: all go on.
            (vec![settled, generation(8, Step::Switch, &[("a", 0), ("b", 0)])], true),
        ] {
            let history = History { agreed: generations.clone(), ..History::default() };
            assert_eq!(history.opens_at("a"), opens, "{generations:?}");
            let is_last = generations.last().is_some_and(|last| last.members.values().all(|m| m.weight == 0));
            assert_eq!(history.all_drain(), is_last, "{generations:?}");
            let number = generations.last().map_or(0, |generation| generation.number);
            assert_eq!(history.opens_beside("a"), number > 0, "{generations:?}");
        }
    }

    /// Each keeps its share of what opens.
    #[test]
    fn all_may_drain_and_have_their_weights() {
        let of = |goes_on, members| {
            let generation =
                Generation { goes_on, ..Generation::clone(&generation(7, Step::Settled, members)) };
            History { agreed: vec![Arc::new(generation)], ..History::default() }
        };
        assert!(of(true, &[("a", 50), ("b", 100)]).all_drain());
        assert!(!of(false, &[("a", 50), ("b", 100)]).all_drain());
        assert!(!of(true, &[]).all_drain(), "nobody");
    }
}
