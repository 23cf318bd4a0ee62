//! Nodes as first hops and owners. How members are put into rows is a stage's that this one does not know: here any function
//! of members will do, with as much room as it takes, and the app looks at rows as they are.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use crate::api::{EdgeMember, EdgeMembershipSpec, MembershipGeneration, MembershipStep};
use crate::model::{Generation, KeyPrints, Mark, Member, Step};

/// Buckets that are looked at.
pub(crate) const BUCKETS: usize = 24;
const CLIENTS: u8 = 24;

/// How generations become rows.
pub(crate) trait Tables {
    /// Whom each bucket's row names while some members are down, its opener first.
    fn rows(&mut self, generations: &[Arc<Generation>], down: &BTreeSet<u16>) -> Vec<Vec<u16>>;

    /// Who opens each bucket by one generation.
    fn openers(&mut self, generation: &Generation) -> Vec<u16>;
}

/// What is in a node's kernel.
#[derive(Clone, Debug, Default)]
struct View {
    history: EdgeMembershipSpec,
    keys: Option<KeyPrints>,
    /// Whether flows have a key that it does not know: it is no first hop then.
    lacks: bool,
    /// Who was seen to be down since then, by probes.
    down: BTreeSet<String>,
    rows: Vec<Vec<u16>>,
    /// Of the generations by which flows open, the newest first: number, key, and who opens each bucket.
    opened: Vec<(u64, Option<u32>, Vec<u16>)>,
}

/// The flows that are open, and what each node forwards by.
pub(super) struct Flows {
    tables: Rc<RefCell<dyn Tables>>,
    views: BTreeMap<String, View>,
    /// The keys that nodes keep, through their deaths.
    kept: BTreeMap<String, KeyPrints>,
    down: BTreeSet<String>,
    /// A flow by its client, and its owner.
    open: BTreeSet<(u8, String)>,
}

impl Flows {
    pub(super) fn new(tables: Rc<RefCell<dyn Tables>>) -> Self {
        let (views, kept) = (BTreeMap::new(), BTreeMap::new());
        Self { tables, views, kept, down: BTreeSet::new(), open: BTreeSet::new() }
    }

    /// The history goes into the kernel of a node that was given a key; what it acknowledges then, if anything.
    pub(super) fn load(&mut self, node: &str, history: &EdgeMembershipSpec, given: u32) -> Option<Mark> {
        self.down.remove(node);
        let first = KeyPrints { in_force: given, other: None };
        let keys = self.kept.get(node).copied().unwrap_or(first);
        let followed = keys.follow(&generations(history), Some(given));
        self.kept.insert(node.to_owned(), followed.keys);
        let lacks = followed.lacks.is_some();
        let (history, keys, down) = (history.clone(), Some(followed.keys), self.down.clone());
        let mut view = View { history, keys, lacks, down, ..View::default() };
        view.fill(&mut *self.tables.borrow_mut());
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
            view.fill(&mut *self.tables.borrow_mut());
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
    fn fill(&mut self, tables: &mut dyn Tables) {
        let generations = generations(&self.history);
        let ids: BTreeSet<_> = self.members().filter(|m| self.down.contains(&m.name)).map(|m| m.id).collect();
        self.rows = tables.rows(&generations, &ids);
        let opened = generations.iter().rev().filter(|generation| generation.step > Step::Learn);
        self.opened = opened.map(|one| (one.number, one.key, tables.openers(one))).collect();
    }

    fn members(&self) -> impl Iterator<Item = &EdgeMember> {
        self.history.generations.iter().flat_map(|generation| &generation.members)
    }

    fn name(&self, id: u16) -> Option<String> {
        self.members().find(|member| member.id == id).map(|member| member.name.clone())
    }

    /// `None` if all are down.
    fn opener(&self, client: u8) -> Option<String> {
        let row = &self.rows[bucket(client, self.keys?.in_force)];
        self.name(*row.first()?).filter(|name| !self.down.contains(name))
    }

    /// By both keys, if there are two.
    fn row(&self, client: u8) -> BTreeSet<String> {
        let keys = self.keys.into_iter().flat_map(|keys| [Some(keys.in_force), keys.other]).flatten();
        let ids = keys.flat_map(|key| &self.rows[bucket(client, key)]);
        ids.filter_map(|&id| self.name(id)).collect()
    }

    /// `None` if the generation in force will do.
    fn needed(&self, client: u8, flow: &str) -> Option<u64> {
        let in_force = self.keys?.in_force;
        let finds = |(_, key, openers): &&(u64, Option<u32>, Vec<u16>)| {
            self.name(openers[bucket(client, key.unwrap_or(in_force))]).as_deref() == Some(flow)
        };
        let (newest, ..) = self.opened.first()?;
        let oldest = self.history.generations.first()?.number;
        Some(self.opened.iter().find(finds).map_or(oldest, |(number, ..)| *number))
            .filter(|number| number < newest)
    }
}

fn bucket(client: u8, key: u32) -> usize {
    let mut hasher = DefaultHasher::new();
    (client, key).hash(&mut hasher);
    (hasher.finish() % BUCKETS as u64) as usize
}

/// By the highest score, in rows that have room for all: what holds for it tells of steps and keys, not of places.
#[derive(Debug, Default)]
pub(super) struct AnyFunction;

impl Tables for AnyFunction {
    /// By all generations, with those that are down and without.
    fn rows(&mut self, generations: &[Arc<Generation>], down: &BTreeSet<u16>) -> Vec<Vec<u16>> {
        let in_force = generations.iter().rev().find(|generation| generation.step > Step::Learn);
        let order: Vec<_> = in_force.into_iter().chain(generations).collect();
        let nobody = BTreeSet::new();
        let row = |bucket| {
            let of = |generation: &&Arc<Generation>| {
                [owner(generation, bucket, down), owner(generation, bucket, &nobody)]
            };
            order.iter().flat_map(of).flatten().collect()
        };
        (0..BUCKETS).map(row).collect()
    }

    fn openers(&mut self, generation: &Generation) -> Vec<u16> {
        let nobody = BTreeSet::new();
        (0..BUCKETS).filter_map(|bucket| owner(generation, bucket, &nobody)).collect()
    }
}

/// The member with the highest score of those that take new flows and are not down.
fn owner(generation: &Generation, bucket: usize, down: &BTreeSet<u16>) -> Option<u16> {
    let up = || generation.members.values().filter(|member| !down.contains(&member.id));
    let score = |name: &str, weight: u32| {
        let mut hasher = DefaultHasher::new();
        (name, bucket).hash(&mut hasher);
        (hasher.finish() % 1000) * u64::from(weight.max(1))
    };
    let open = up().filter(|member| member.weight > 0);
    let best = open.max_by_key(|member| (score(&member.name, member.weight), &member.name));
    let any = || up().max_by_key(|member| (score(&member.name, 1), &member.name));
    best.or_else(any).map(|member| member.id)
}

/// As the nodes read them.
fn generations(history: &EdgeMembershipSpec) -> Vec<Arc<Generation>> {
    let generation = |generation: &MembershipGeneration| {
        let step = match generation.step {
            MembershipStep::Learn => Step::Learn,
            MembershipStep::Switch => Step::Switch,
            MembershipStep::Settled => Step::Settled,
        };
        let member = |member: &EdgeMember| {
            let &EdgeMember { ref name, id, address, .. } = member;
            (name.clone(), Member { name: name.clone(), id, address, weight: member.share() })
        };
        let members = generation.members.iter().map(member).collect();
        let key = generation.flow_key.map(|key| key.0);
        Arc::new(Generation { number: generation.number, step, members, key, ..Generation::default() })
    };
    history.generations.iter().map(generation).collect()
}
