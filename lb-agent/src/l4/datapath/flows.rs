//! The memberships in which this node's flows may have opened, and what is said and asked of those flows. Pure.

use std::collections::BTreeSet;

use lb_common::probe::MOST_NEEDED;
use lb_common::row::NO_MEMBER;

use super::super::holdings::Question;
use super::super::memberships::{Memberships, Opened};
use super::super::wanted::Local;
use crate::model::{Holdings, Loaded, Mark, Snapshot, Step};

/// What flows may have opened in, as it is until the memberships take another step.
#[derive(Debug, Default)]
pub(super) struct Flows {
    steps: Vec<(u64, Step)>,
    /// The newest first.
    opened: Vec<Opened>,
}

impl Flows {
    /// By those of this moment, and by the former one of two keys, if nobody writes a history that would name it.
    pub(super) fn of(memberships: &mut Memberships, former: Option<u32>) -> Self {
        let mut opened = memberships.opened();
        if former.is_some() {
            let by_former: Vec<_> =
                opened.iter().map(|opened| Opened { key: former, ..opened.clone() }).collect();
            opened.extend(by_former);
        }
        Self { steps: memberships.steps(), opened }
    }

    /// What was counted before a step was in the kernel says nothing of flows that opened since.
    pub(super) fn counted<'a>(&self, held: Option<&'a Holdings>) -> Option<&'a Holdings> {
        let is_of_now = |held: &&Holdings| {
            held.steps == self.steps && held.opened.iter().copied().eq(self.opened.iter().map(Opened::print))
        };
        held.filter(is_of_now)
    }

    /// What is in the kernel, with `rows` for a digest of them, and what flows need of it; and what is learned, a key or a
    /// membership, which is said to others in the same way.
    pub(super) fn loaded(
        &self,
        generation: u64,
        membership: Mark,
        rows: Option<u64>,
        held: Option<&Holdings>,
        learned: impl IntoIterator<Item = u32>,
    ) -> Loaded {
        let newest = self.opened.first();
        let counted = self.counted(held);
        let needed = match counted {
            Some(held) => held.needed,
            None => self.opened.iter().map(|opened| opened.number).min(),
        };
        Loaded {
            generation,
            membership,
            rows,
            needed: needed.filter(|&needed| newest.is_some_and(|newest| needed < newest.number)),
            in_force: newest.map_or(0, |newest| newest.fingerprint),
            former: counted.and_then(|held| former(held.former.iter().copied().chain(learned).collect())),
            held: held.map_or(0, |held| held.held as u64),
            oldest: held.and_then(|held| held.oldest),
            ..Loaded::default()
        }
    }

    /// Has the connections counted that the rows of now may send here.
    pub(super) fn question(&self, snapshot: &Snapshot, memberships: &Memberships, local: &Local) -> Question {
        let this = memberships.members().get(&local.node).map_or(NO_MEMBER, |member| member.id);
        let newest = memberships.newest().and_then(|newest| newest.members.get(&local.node));
        let drains = newest.is_none_or(|member| member.weight == 0);
        Question {
            vips: snapshot.vips.clone(),
            keys: local.keys,
            this,
            steps: self.steps.clone(),
            is_pressing: self.opened.len() > 1 || drains,
            opened: self.opened.clone(),
        }
    }
}

/// Former memberships as others are told of them, if there is room for them.
fn former(needed: BTreeSet<u32>) -> Option<[u32; MOST_NEEDED]> {
    let mut all = [0; MOST_NEEDED];
    let is_enough = needed.len() <= all.len();
    all.iter_mut().zip(needed).for_each(|(place, fingerprint)| *place = fingerprint);
    is_enough.then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows() -> Flows {
        let opened = |number: u64| Opened {
            number,
            fingerprint: 100 + number as u32,
            key: None,
            openers: Vec::new().into(),
        };
        Flows { steps: vec![(1, Step::Settled), (2, Step::Switch)], opened: vec![opened(2), opened(1)] }
    }

    fn held(needed: u64, former: &[u32]) -> Holdings {
        Holdings {
            steps: flows().steps,
            opened: vec![102, 101],
            held: 3,
            needed: Some(needed),
            former: former.iter().copied().collect(),
            ..Holdings::default()
        }
    }

    #[test]
    fn a_count_of_before_counts_flows_but_tells_nothing_of_what_they_need() {
        let check = |held: Option<Holdings>, needed, former, count| {
            let loaded = flows().loaded(1, Mark::default(), Some(7), held.as_ref(), None);
            assert_eq!((loaded.needed, loaded.former, loaded.held), (needed, former, count), "{held:?}");
            assert_eq!((loaded.rows, loaded.in_force), (Some(7), 102));
        };
        check(None, Some(1), None, 0);
        check(Some(held(2, &[])), None, Some([0; 3]), 3);
        check(Some(held(1, &[101])), Some(1), Some([101, 0, 0]), 3);
        check(Some(held(1, &[101, 98, 99, 97])), Some(1), None, 3);
        check(Some(Holdings { opened: vec![101], ..held(2, &[]) }), Some(1), None, 3);
        check(Some(Holdings { steps: vec![(1, Step::Settled)], ..held(2, &[]) }), Some(1), None, 3);
    }
}
