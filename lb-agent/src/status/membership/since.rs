//! Since when a generation is superseded and a node drains, by this process's own clock: times that another leader
//! wrote down are never compared with it. A new leader counts anew. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::api::{EdgeMembershipSpec, MemberState, MembershipStep};

/// What was first seen when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::status) struct Since {
    superseded: BTreeMap<u64, Instant>,
    draining: BTreeMap<String, Instant>,
}

impl Since {
    /// Looks at the history as it is now.
    pub(in crate::status) fn observe(&mut self, history: &EdgeMembershipSpec, now: Instant) {
        let generations = &history.generations;
        let settled = generations.iter().rposition(|generation| generation.step == MembershipStep::Settled);
        let old: BTreeSet<_> = generations[..settled.unwrap_or(0)].iter().map(|old| old.number).collect();
        self.superseded.retain(|number, _| old.contains(number));
        for number in old {
            self.superseded.entry(number).or_insert(now);
        }
        let members = generations.last().into_iter().flat_map(|newest| &newest.members);
        let drain = members.filter(|member| member.state == MemberState::Draining);
        let names: BTreeSet<_> = drain.map(|member| member.name.clone()).collect();
        self.draining.retain(|name, _| names.contains(name));
        for name in names {
            self.draining.entry(name).or_insert(now);
        }
    }

    /// Whether a settled generation has been there for so long after this one.
    pub(super) fn is_superseded_for(&self, number: u64, time: Duration, now: Instant) -> bool {
        self.superseded.get(&number).is_some_and(|since| now.saturating_duration_since(*since) >= time)
    }

    /// Whether the node has been draining for so long.
    pub(in crate::status) fn drains_for(&self, node: &str, time: Duration, now: Instant) -> bool {
        self.draining.get(node).is_some_and(|since| now.saturating_duration_since(*since) >= time)
    }
}
