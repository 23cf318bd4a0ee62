//! Members find each other's flows by one flow key. Whoever goes by another, or was given another, is told. Pure.

use std::collections::BTreeMap;

use super::Sight;
use crate::model::{Cause, Kind, ObjectRef, Problem};
use crate::status::lease::NodeLease;

/// The flow keys by which members go that live, by their fingerprints: one, unless something went wrong.
pub(super) struct MembersKeys(BTreeMap<u32, usize>);

impl MembersKeys {
    pub(super) fn new<'a>(members: impl Iterator<Item = &'a str>, sight: &Sight<'_>) -> Self {
        let members: Vec<_> = members.collect();
        let mut keys = BTreeMap::new();
        let live = sight.agents.live(sight.now).filter(|lease| members.contains(&lease.node.as_str()));
        for key in live.filter_map(|lease| lease.key) {
            *keys.entry(key).or_insert(0) += 1;
        }
        Self(keys)
    }

    /// Whether a node may join by its key. One that says nothing of it has an agent of before there was anything to
    /// say. Where no member lives, all begin anew.
    pub(super) fn admit(&self, sight: &Sight<'_>, name: &str) -> bool {
        let key = sight.agents.lease(name).and_then(|lease| lease.key);
        key.is_none_or(|key| self.0.is_empty() || self.0.contains_key(&key))
    }

    /// What is to be said of the nodes whose agents live.
    pub(super) fn problems(&self, sight: &Sight<'_>) -> Vec<Problem> {
        let most = self.most();
        sight
            .agents
            .live(sight.now)
            .filter_map(|lease| differs(lease, most).or_else(|| refuses(lease)))
            .collect()
    }

    /// The key of most members; none where two keys have as many.
    fn most(&self) -> Option<u32> {
        let most = self.0.values().max()?;
        let mut with = self.0.iter().filter(|(_, members)| *members == most);
        with.next().filter(|_| with.next().is_none()).map(|(&key, _)| key)
    }
}

fn differs(lease: &NodeLease, most: Option<u32>) -> Option<Problem> {
    let (own, most) = (lease.key?, most?);
    let words = format!(
        "flow key {own:08x} of this node is not that of the members ({most:08x}): they refuse each other's packets. \
         Put theirs into the Secret or the file that the node reads, run `lb-agent uninstall` on it, and start its agent \
         again"
    );
    (own != most).then(|| Problem::error(&node(lease), "", words).because(Cause::FlowKey))
}

fn refuses(lease: &NodeLease) -> Option<Problem> {
    let (own, refused) = (lease.key?, lease.refused_key?);
    let words = format!(
        "flow key {refused:08x}, which this node was given (Secret edgelb-keys, or its --hash-key-file), is refused: \
         {own:08x}, by which connections opened, stays in force. Put the former key back; if another one is to be, all \
         edge nodes have to begin anew together (README: Another flow key)"
    );
    Some(Problem::warning(&node(lease), "", words).because(Cause::FlowKey))
}

fn node(lease: &NodeLease) -> ObjectRef {
    ObjectRef::new(Kind::Node, "", &lease.node)
}
