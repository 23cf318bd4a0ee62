//! A membership that was in force: how long rows still name its openers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;

use super::super::rows::fingerprint;
use crate::model::Generation;

/// So long it stays whatever nodes say: what they say is seconds old.
pub(super) const LEAST: Duration = Duration::from_secs(60);

/// So long it stays although it is needed, or although a node does not say whether it is.
pub(super) const MOST: Duration = Duration::from_secs(3600);

/// A former membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Former {
    pub(super) generation: Arc<Generation>,
    /// When another took its place.
    pub(super) since: Duration,
}

/// What is known of the flows that members hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'a> {
    /// The former memberships that members say their flows need, by their fingerprints: this node's own among them.
    /// Of a member that is not in here, nothing is known.
    pub(crate) of: &'a BTreeMap<MemberId, BTreeSet<u64>>,
    /// Members that hold nothing any more, as far as one can know.
    pub(crate) down: &'a BTreeSet<MemberId>,
}

impl Former {
    pub(super) fn is_over(&self, needs: Needs<'_>, now: Duration) -> bool {
        let age = now.saturating_sub(self.since);
        age >= MOST || (age >= LEAST && !self.may_be_needed(needs))
    }

    fn may_be_needed(&self, Needs { of, down }: Needs<'_>) -> bool {
        let fingerprint = fingerprint(&self.generation.members);
        let ids = self.generation.members.values().map(|member| member.id);
        let may_need = |id| of.get(&id).is_none_or(|needed| needed.contains(&fingerprint));
        ids.filter(|id| !down.contains(id)).any(may_need)
    }

    /// When it may be over, if nobody says anything new until then.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        [LEAST, MOST].into_iter().map(|age| self.since + age).find(|&at| at > now)
    }
}
