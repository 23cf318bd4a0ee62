//! Ids of members: a name keeps its id while any generation names it, and ids are re-used late. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::EdgeMembershipSpec;

/// Gives ids to the members of a new generation.
pub(super) struct Ids {
    /// Those of names in the history.
    known: BTreeMap<String, u16>,
    /// Those that are somebody's.
    taken: BTreeSet<u16>,
    last: u16,
}

impl Ids {
    pub(super) fn new(history: &EdgeMembershipSpec) -> Self {
        let (mut known, mut taken) = (BTreeMap::new(), BTreeSet::new());
        // The newest word counts, should a history written by hand contradict itself.
        let members = history.generations.iter().rev().flat_map(|generation| &generation.members);
        for member in members.filter(|member| member.id != 0) {
            if !known.contains_key(&member.name) && taken.insert(member.id) {
                known.insert(member.name.clone(), member.id);
            }
        }
        Self { known, taken, last: history.last_id }
    }

    /// The name's id, or the next free one; `None` when all 65,535 are taken.
    pub(super) fn give(&mut self, name: &str) -> Option<u16> {
        if let Some(&id) = self.known.get(name) {
            return Some(id);
        }
        let behind = self.last.checked_add(1).into_iter().flat_map(|next| next..=u16::MAX);
        let id = behind.chain(1..=self.last).find(|id| !self.taken.contains(id))?;
        self.taken.insert(id);
        self.known.insert(name.to_owned(), id);
        self.last = id;
        Some(id)
    }

    /// The id that was given last.
    pub(super) fn last(&self) -> u16 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EdgeMember, MemberState, MembershipGeneration, MembershipStep};

    fn history(last_id: u16, generations: &[&[(&str, u16)]]) -> EdgeMembershipSpec {
        let member = |&(name, id): &(&str, u16)| EdgeMember {
            name: name.to_owned(),
            id,
            address: [198, 51, 100, 1].into(),
            weight: 100,
            state: MemberState::Active,
        };
        let generation = |(at, members): (usize, &&[(&str, u16)])| MembershipGeneration {
            number: at as u64 + 1,
            step: MembershipStep::Switch,
            members: members.iter().map(member).collect(),
            flow_key: None,
            since: None,
        };
        let generations = generations.iter().enumerate().map(generation).collect();
        EdgeMembershipSpec { generations, last_id, unreadable: None }
    }

    #[track_caller]
    fn check(history: &EdgeMembershipSpec, names: &[&str], expected: &[u16], last: u16) {
        let mut ids = Ids::new(history);
        let found: Vec<_> = names.iter().map(|name| ids.give(name).expect("there are enough")).collect();
        assert_eq!((found.as_slice(), ids.last()), (expected, last));
    }

    #[test]
    fn names_keep_their_ids_and_others_get_the_next_free_one() {
        check(&history(0, &[]), &["a", "b"], &[1, 2], 2);
        check(&history(3, &[&[("a", 1), ("b", 2)], &[("a", 1), ("c", 3)]]), &["a", "b", "d"], &[1, 2, 4], 4);
        check(&history(u16::MAX - 1, &[&[("a", 1)]]), &["x", "y"], &[u16::MAX, 2], 2);
        check(&history(u16::MAX, &[&[("a", 1)]]), &["x"], &[2], 2);
        check(&history(4, &[&[("a", 1), ("b", 1), ("c", 0)]]), &["a", "b", "c"], &[1, 5, 6], 6);
    }

    #[test]
    fn there_are_65535() {
        let mut ids = Ids::new(&history(0, &[]));
        for id in 1..=u16::MAX {
            assert_eq!(ids.give(&id.to_string()), Some(id));
        }
        assert_eq!(ids.give("one more"), None);
    }
}
