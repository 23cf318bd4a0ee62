//! Since when a generation is superseded, a node drains and a flow key is known, by this process's own clock: times that another leader
//! wrote down are never compared with it. A new leader counts anew. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::api::{EdgeMembershipSpec, MemberState, MembershipStep};

/// What was first seen when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::status) struct Since {
    superseded: BTreeMap<u64, Instant>,
    draining: BTreeMap<String, Instant>,
    given: BTreeMap<u32, Instant>,
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

    /// Looks at the flow keys that agents were given and that are not in force.
    pub(in crate::status) fn observe_keys(&mut self, given: &BTreeSet<u32>, now: Instant) {
        self.given.retain(|key, _| given.contains(key));
        for &key in given {
            self.given.entry(key).or_insert(now);
        }
    }

    /// Whether some agent has known this key for so long.
    pub(super) fn is_given_for(&self, key: u32, time: Duration, now: Instant) -> bool {
        self.given.get(&key).is_some_and(|since| now.saturating_duration_since(*since) >= time)
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
