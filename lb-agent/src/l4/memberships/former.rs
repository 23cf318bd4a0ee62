//! A membership that was in force: how long rows still name its openers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;

use super::super::rows::fingerprint;
use crate::model::{Generation, Member};

/// So long it stays whatever nodes say: sockets are counted each second, what was counted is heard in the next 100 ms, and
/// a node that is no member says nothing at all, and has switched by then.
pub(super) const LEAST: Duration = Duration::from_secs(5);

/// So long it stays when nobody needs it any more: a node that is in no other membership goes on answering others, so
/// that they hear it.
const LINGER: Duration = Duration::from_secs(1);

/// A former membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Former {
    pub(super) generation: Arc<Generation>,
    /// When another took its place.
    pub(super) since: Duration,
    /// Since when nobody needs it.
    pub(super) free: Option<Duration>,
}

/// What is known of the flows that members hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'a> {
    /// The memberships that members say their flows need, by their fingerprints, and the one by which they open flows: this
    /// node's own among them. Of a member that is not in here, nothing is known.
    pub(crate) of: &'a BTreeMap<MemberId, BTreeSet<u32>>,
    /// Members that are down for so long that they hold nothing any more.
    pub(crate) gone: &'a BTreeSet<MemberId>,
    /// Members that have learned what comes next, this node among them; `None` if nothing does.
    pub(crate) knowing: Option<&'a BTreeSet<MemberId>>,
    /// So long a former membership stays although it is needed, or although a node does not say whether it is.
    pub(crate) deadline: Duration,
}

impl Former {
    pub(super) fn new(generation: Arc<Generation>, since: Duration) -> Self {
        Self { generation, since, free: None }
    }

    pub(super) fn is_over(&mut self, needs: Needs<'_>, now: Duration) -> bool {
        let is_needed = self.needed_by(needs).next().is_some();
        self.free = if is_needed { None } else { self.free.or(Some(now)) };
        let is_free = self.free.is_some_and(|free| now >= (self.since + LEAST).max(free + LINGER));
        is_free || now >= self.since + needs.deadline
    }

    /// The members of which it is not known that they need it no more.
    pub(super) fn needed_by<'a>(&'a self, needs: Needs<'a>) -> impl Iterator<Item = &'a Member> {
        let fingerprint = fingerprint(&self.generation);
        let may_need = move |member: &&Member| {
            let said = needs.of.get(&member.id);
            !needs.gone.contains(&member.id) && said.is_none_or(|needed| needed.contains(&fingerprint))
        };
        self.generation.present().filter(may_need)
    }

    /// When it may be over, if nobody says anything new until then.
    pub(super) fn due(&self, deadline: Duration, now: Duration) -> Option<Duration> {
        let free = self.free.map(|free| (self.since + LEAST).max(free + LINGER));
        let ages = [LEAST, deadline].map(|age| self.since + age);
        ages.into_iter().chain(free).filter(|&at| at > now).min()
    }

    /// Who holds it up, in words.
    pub(super) fn words(&self, needs: Needs<'_>) -> Option<String> {
        let (silent, holding): (Vec<_>, Vec<_>) =
            self.needed_by(needs).partition(|member| !needs.of.contains_key(&member.id));
        let names = |members: Vec<&Member>| {
            members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let number = self.generation.number;
        match (holding.is_empty(), silent.is_empty()) {
            (true, true) => None,
            (false, _) => Some(format!("{} holds flows of membership {number}", names(holding))),
            (true, false) => Some(format!("{} has not told this node which flows it holds", names(silent))),
        }
    }
}
