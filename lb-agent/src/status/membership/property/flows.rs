//! Nodes as first hops and owners, with a table function of their own: what holds for any function of the members and of
//! those that are down holds for Maglev.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::api::{EdgeMembershipSpec, MemberState, MembershipGeneration, MembershipStep};
use crate::model::{Generation, KeyPrints, Mark, Step};

const BUCKETS: u8 = 24;
const CLIENTS: u8 = 24;

/// What is in a node's kernel.
#[derive(Clone, Debug, Default)]
struct View {
    history: EdgeMembershipSpec,
    keys: Option<KeyPrints>,
    /// Whether flows have a key that it does not know: it is no first hop then.
    lacks: bool,
    /// Who was seen to be down since then, by probes.
    down: BTreeSet<String>,
}

/// The flows that are open, and what each node forwards by.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    views: BTreeMap<String, View>,
    /// The keys that nodes keep, through their deaths.
    kept: BTreeMap<String, KeyPrints>,
    down: BTreeSet<String>,
    /// A flow by its client, and its owner.
    open: BTreeSet<(u8, String)>,
}

impl Flows {
    /// The history goes into the kernel of a node that was given a key; what it acknowledges then, if anything.
    pub(super) fn load(&mut self, node: &str, history: &EdgeMembershipSpec, given: u32) -> Option<Mark> {
        self.down.remove(node);
        let first = KeyPrints { in_force: given, other: None };
        let keys = self.kept.get(node).copied().unwrap_or(first);
        let followed = keys.follow(&generations(history), Some(given));
        self.kept.insert(node.to_owned(), followed.keys);
        let lacks = followed.lacks.is_some();
        let down = self.down.clone();
        let view = View { history: history.clone(), keys: Some(followed.keys), lacks, down };
        self.views.insert(node.to_owned(), view);
        (!lacks).then(|| Mark::of(&followed.known))
    }

    /// The key by which flows open at the node.
    pub(super) fn key(&self, node: &str) -> Option<u32> {
        self.views.get(node)?.keys.map(|keys| keys.in_force)
    }

    /// Whether it does not know one of the others' keys.
    pub(super) fn lacks(&self, node: &str) -> bool {
        self.views.get(node).is_some_and(|view| view.lacks)
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

    /// Each node that lives gets a first packet of a new flow of each client.
    pub(super) fn open(&mut self, alive: &BTreeSet<String>) {
        for client in 0..CLIENTS {
            let owners = self.live(alive).filter_map(|(_, view)| view.opener(client)).collect::<Vec<_>>();
            self.open.extend(
                owners.into_iter().filter(|owner| alive.contains(owner)).map(|owner| (client, owner)),
            );
        }
    }

    /// Each node that lives gets a packet of each flow.
    pub(super) fn check(&self, alive: &BTreeSet<String>) {
        for (client, owner) in &self.open {
            for (node, view) in self.live(alive) {
                let row = view.row(*client);
                // All that it knows of are down: it serves nobody until it hears of others.
                if view.opener(*client).is_none() {
                    continue;
                }
                assert!(row.contains(owner), "{node} looks for a flow of {owner} at {row:?}: {view:#?}");
                let tag = view.keys.map(|keys| keys.in_force);
                let known = self.views.get(owner).and_then(|view| view.keys);
                let takes = known.is_some_and(|keys| [Some(keys.in_force), keys.other].contains(&tag));
                assert!(takes, "{owner} goes by {known:?} and refuses packets of {node}: {view:#?}");
            }
        }
    }

    fn live(&self, alive: &BTreeSet<String>) -> impl Iterator<Item = (&String, &View)> {
        let serves = |view: &View| !view.history.generations.is_empty() && !view.lacks;
        self.views.iter().filter(move |(node, view)| alive.contains(*node) && serves(view))
    }

    /// The oldest generation without which a flow of the node would not be found by others.
    pub(super) fn needed(&self, node: &str) -> Option<u64> {
        let view = self.views.get(node)?;
        let own = self.open.iter().filter(|(_, owner)| owner == node);
        own.filter_map(|(client, owner)| view.needed(*client, owner)).min()
    }
}

impl View {
    fn in_force(&self) -> impl Iterator<Item = &MembershipGeneration> {
        self.history.generations.iter().rev().filter(|generation| generation.step > MembershipStep::Learn)
    }

    fn opener(&self, client: u8) -> Option<String> {
        owner(self.in_force().next()?, bucket(client, self.keys?.in_force), &self.down)
    }

    /// By all generations, with those that are down and without, and by both keys.
    fn row(&self, client: u8) -> BTreeSet<String> {
        let nobody = BTreeSet::new();
        let keys = self.keys.into_iter().flat_map(|keys| [Some(keys.in_force), keys.other]).flatten();
        let buckets: Vec<_> = keys.map(|key| bucket(client, key)).collect();
        let of =
            |generation, bucket| [owner(generation, bucket, &nobody), owner(generation, bucket, &self.down)];
        let generations = self.history.generations.iter();
        let all =
            generations.flat_map(|generation| buckets.iter().flat_map(move |&bucket| of(generation, bucket)));
        all.flatten().collect()
    }

    /// `None` if the generation in force will do.
    fn needed(&self, client: u8, flow: &str) -> Option<u64> {
        let nobody = BTreeSet::new();
        let in_force = self.keys?.in_force;
        let bucket = |generation: &MembershipGeneration| {
            bucket(client, generation.flow_key.map_or(in_force, |key| key.0))
        };
        let finds = |generation: &&MembershipGeneration| {
            owner(generation, bucket(generation), &nobody).as_deref() == Some(flow)
        };
        let newest = self.in_force().next()?.number;
        let oldest = self.history.generations.first()?.number;
        Some(self.in_force().find(finds).map_or(oldest, |found| found.number))
            .filter(|number| *number < newest)
    }
}

fn bucket(client: u8, key: u32) -> u8 {
    let mut hasher = DefaultHasher::new();
    (client, key).hash(&mut hasher);
    (hasher.finish() % u64::from(BUCKETS)) as u8
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

/// As the nodes read them, without their members.
fn generations(history: &EdgeMembershipSpec) -> Vec<Arc<Generation>> {
    let generation = |generation: &MembershipGeneration| {
        let step = match generation.step {
            MembershipStep::Learn => Step::Learn,
            MembershipStep::Switch => Step::Switch,
            MembershipStep::Settled => Step::Settled,
        };
        let key = generation.flow_key.map(|key| key.0);
        Arc::new(Generation { number: generation.number, step, members: BTreeMap::new(), key })
    };
    history.generations.iter().map(generation).collect()
}
