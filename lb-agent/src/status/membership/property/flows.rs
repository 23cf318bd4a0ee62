//! Nodes as first hops and owners, with a table function of their own: what holds for any function of the members and of
//! those that are down holds for Maglev.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use crate::api::{EdgeMembershipSpec, MemberState, MembershipGeneration, MembershipStep};
use crate::model::{Mark, Step};

const BUCKETS: u8 = 24;

/// What is in a node's kernel.
#[derive(Clone, Debug, Default)]
struct View {
    history: EdgeMembershipSpec,
    /// Who was seen to be down since then, by probes.
    down: BTreeSet<String>,
}

/// The flows that are open, and what each node forwards by.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    views: BTreeMap<String, View>,
    down: BTreeSet<String>,
    /// Bucket and owner.
    open: BTreeSet<(u8, String)>,
}

impl Flows {
    /// The history goes into the node's kernel.
    pub(super) fn load(&mut self, node: &str, history: &EdgeMembershipSpec) {
        self.down.remove(node);
        let view = View { history: history.clone(), down: self.down.clone() };
        self.views.insert(node.to_owned(), view);
    }

    /// The node is down, and its flows with it; all see that.
    pub(super) fn die(&mut self, node: &str) {
        self.close(node);
        self.views.remove(node);
        self.down.insert(node.to_owned());
        for view in self.views.values_mut() {
            view.down.insert(node.to_owned());
        }
    }

    pub(super) fn close(&mut self, node: &str) {
        self.open.retain(|(_, owner)| owner != node);
    }

    /// Each node that lives gets a first packet of a new flow of each bucket.
    pub(super) fn open(&mut self, alive: &BTreeSet<String>) {
        for bucket in 0..BUCKETS {
            let owners = self.live(alive).filter_map(|(_, view)| view.opener(bucket)).collect::<Vec<_>>();
            self.open.extend(
                owners.into_iter().filter(|owner| alive.contains(owner)).map(|owner| (bucket, owner)),
            );
        }
    }

    /// Each node that lives gets a packet of each flow.
    pub(super) fn check(&self, alive: &BTreeSet<String>) {
        for (bucket, owner) in &self.open {
            for (node, view) in self.live(alive) {
                let row = view.row(*bucket);
                // All that it knows of are down: it serves nobody until it hears of others.
                if view.opener(*bucket).is_none() {
                    continue;
                }
                assert!(row.contains(owner), "{node} looks for a flow of {owner} at {row:?}: {view:#?}");
            }
        }
    }

    fn live(&self, alive: &BTreeSet<String>) -> impl Iterator<Item = (&String, &View)> {
        self.views.iter().filter(|(node, view)| alive.contains(*node) && !view.history.generations.is_empty())
    }

    /// The oldest generation without which a flow of the node would not be found by others.
    pub(super) fn needed(&self, node: &str) -> Option<u64> {
        let view = self.views.get(node)?;
        let own = self.open.iter().filter(|(_, owner)| owner == node);
        own.filter_map(|(bucket, owner)| view.needed(*bucket, owner)).min()
    }
}

impl View {
    fn in_force(&self) -> impl Iterator<Item = &MembershipGeneration> {
        self.history.generations.iter().rev().filter(|generation| generation.step > MembershipStep::Learn)
    }

    fn opener(&self, bucket: u8) -> Option<String> {
        owner(self.in_force().next()?, bucket, &self.down)
    }

    /// By all generations, with those that are down and without.
    fn row(&self, bucket: u8) -> BTreeSet<String> {
        let nobody = BTreeSet::new();
        let owners = |generation| [owner(generation, bucket, &nobody), owner(generation, bucket, &self.down)];
        self.history.generations.iter().flat_map(owners).flatten().collect()
    }

    /// `None` if the generation in force will do.
    fn needed(&self, bucket: u8, flow: &str) -> Option<u64> {
        let nobody = BTreeSet::new();
        let finds =
            |generation: &&MembershipGeneration| owner(generation, bucket, &nobody).as_deref() == Some(flow);
        let newest = self.in_force().next()?.number;
        let oldest = self.history.generations.first()?.number;
        Some(self.in_force().find(finds).map_or(oldest, |found| found.number))
            .filter(|number| *number < newest)
    }
}

/// The member with the highest score of those that take new flows and are not down.
fn owner(generation: &MembershipGeneration, bucket: u8, down: &BTreeSet<String>) -> Option<String> {
    let is_open = |member: &&crate::api::EdgeMember| member.state == MemberState::Active && member.weight > 0;
    let up = || generation.members.iter().filter(|member| !down.contains(&member.name));
    let score = |name: &str, weight: u32| {
        let mut hasher = DefaultHasher::new();
        (name, bucket).hash(&mut hasher);
        (hasher.finish() % 1000) * u64::from(weight.max(1))
    };
    let best = up().filter(is_open).max_by_key(|member| (score(&member.name, member.weight), &member.name));
    let any = || up().max_by_key(|member| (score(&member.name, 1), &member.name));
    best.or_else(any).map(|member| member.name.clone())
}

/// What a node says that has this in its kernel.
pub(super) fn mark(history: &EdgeMembershipSpec) -> Mark {
    let [oldest, ..] = history.generations.as_slice() else { return Mark::default() };
    let newest = &history.generations[history.generations.len() - 1];
    let step = match newest.step {
        MembershipStep::Learn => Step::Learn,
        MembershipStep::Switch => Step::Switch,
        MembershipStep::Settled => Step::Settled,
    };
    Mark { number: newest.number, step, oldest: oldest.number }
}
