//! What a node sees of itself and others, and what follows from it for memberships.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::row::MemberId;

use crate::model::{Generation, Heard, Member, Roll};

/// What this node knows of itself and others at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    /// This node's name.
    pub(crate) node: &'a str,
    /// Whether this node drains.
    pub(crate) drains: bool,
    /// Whether it is cut off: others take it for down, and open its flows.
    pub(crate) alone: bool,
    /// Whether its packet path went without its agent: it opened this node's flows elsewhere itself.
    pub(crate) missed: bool,
    /// Members that do not answer.
    pub(crate) down: &'a BTreeSet<MemberId>,
    /// What members said last.
    pub(crate) heard: &'a BTreeMap<MemberId, Heard>,
    /// The former memberships that this node's own flows need, if that is known.
    pub(crate) needed: Option<&'a BTreeSet<u32>>,
    /// What another flow key is there for, where nobody writes a history.
    pub(crate) roll: Option<Roll>,
}

/// The members as they open flows now: one that drains has no weight. Who was not heard yet drains if it did before.
pub(super) fn weighed(
    members: &BTreeMap<String, Member>,
    newest: Option<&Generation>,
    sight: Sight<'_>,
) -> BTreeMap<String, Member> {
    let drained =
        |name: &str| newest.and_then(|newest| newest.members.get(name)).is_some_and(|m| m.weight == 0);
    let drains = |member: &Member| match sight.heard.get(&member.id) {
        _ if member.name == sight.node => sight.drains,
        Some(heard) => heard.is_draining,
        None => drained(&member.name),
    };
    let mut members = members.clone();
    members.values_mut().filter(|member| drains(member)).for_each(|member| member.weight = 0);
    members
}

/// The members of which flows have opened elsewhere without this node's doing: itself, if another one that answers takes
/// it for down, or none can say so, or its own packet path did; and those that say so of themselves.
///
/// With each, whether what came in here opened elsewhere, too.
pub(super) fn away(in_force: &Generation, sight: Sight<'_>) -> Vec<(MemberId, bool)> {
    let up = || sight.heard.iter().filter(|(id, _)| !sight.down.contains(id));
    let is_away = sight.alone || sight.missed || up().any(|(_, heard)| heard.takes_for_down);
    let this = in_force.members.get(sight.node).map(|member| member.id).filter(|_| is_away);
    let others = up().filter(|(_, heard)| heard.was_away).map(|(&id, _)| (id, false));
    others.chain(this.map(|id| (id, sight.missed))).collect()
}
