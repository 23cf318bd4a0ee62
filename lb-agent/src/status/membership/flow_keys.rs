//! Members find each other's flows by one flow key, and by a second one while the one takes the other's place. Whoever
//! goes by none of them is told, and a key comes only when all live agents know it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Sight, steps};
use crate::api::{EdgeMembershipSpec, FlowKeyPrint, MembershipGeneration, MembershipStep};
use crate::model::{Cause, Kind, ObjectRef, Problem};
use crate::status::AgentState;
use crate::status::agents::Agents;
use crate::status::lease::NodeLease;

/// Agents hear of another key one after the other: what they do not know by then is told.
const HEARD: Duration = Duration::from_secs(10);

/// The flow keys by which members go that live, by their fingerprints.
pub(super) struct MembersKeys {
    members: BTreeMap<u32, usize>,
    /// Those of the history: none in one of before there was anything to say.
    told: BTreeSet<u32>,
    /// The one by which the first members are to go.
    first: Option<u32>,
}

impl MembersKeys {
    pub(super) fn new<'a>(
        history: &EdgeMembershipSpec,
        members: impl Iterator<Item = &'a str>,
        sight: &Sight<'_>,
    ) -> Self {
        let members: Vec<_> = members.collect();
        let live = sight.agents.live(sight.now).filter(|lease| members.contains(&lease.node.as_str()));
        let keys = live.filter_map(|lease| lease.key);
        let first = in_force(history, sight).map(|FlowKeyPrint(key)| key);
        Self { members: counted(keys), told: told(history), first }
    }

    /// Whether a node may join by its key. One that says nothing of it has an agent of before there was anything to
    /// say.
    pub(super) fn admit(&self, sight: &Sight<'_>, name: &str) -> bool {
        let Some(key) = sight.agents.lease(name).and_then(|lease| lease.key) else { return true };
        match (self.told.is_empty(), self.members.is_empty()) {
            (false, _) => self.told.contains(&key),
            (true, false) => self.members.contains_key(&key),
            (true, true) => self.first == Some(key),
        }
    }

    /// What is to be said of the nodes whose agents are heard.
    pub(super) fn problems(&self, history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Vec<Problem> {
        let differ = sight.agents.leases(sight.now).filter_map(|lease| self.differs(lease));
        differ.chain(unknown(history, sight)).collect()
    }

    fn differs(&self, lease: &NodeLease) -> Option<Problem> {
        let own = lease.key.filter(|own| !self.told.contains(own))?;
        let theirs =
            self.told.last().copied().or_else(|| most(&self.members)).filter(|&theirs| theirs != own)?;
        let words = format!(
            "flow key {own:08x} of this node is not that of the members ({theirs:08x}): they refuse each other's packets. \
             Put theirs into the Secret or the file that the node reads"
        );
        Some(Problem::error(&node(&lease.node), "", words).because(Cause::FlowKey))
    }
}

/// What comes of a key that agents were given and that is not in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Coming {
    /// All know it: it can be learned.
    Begins(FlowKeyPrint),
    /// It waits, in words.
    Waits(String),
}

/// The key that agents were given, if it is not the newest one of the history.
pub(super) fn coming(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Option<Coming> {
    let newest = history.generations.last()?;
    let given = given(history, sight.agents, sight.now);
    let (&key, _) = given.first_key_value()?;
    let waits = |words: String| Some(Coming::Waits(format!("flow key {key:08x} waits: {words}")));
    if given.len() > 1 {
        let each = given.iter().map(|(key, nodes)| format!("{key:08x} to {}", nodes.join(", ")));
        return waits(format!("more than one was given ({})", each.collect::<Vec<_>>().join(" and ")));
    }
    if newest.flow_key.is_none() {
        return waits("the history keeps no flow keys (is its CRD that of this version?)".to_owned());
    }
    let lacking = lacking(key, sight);
    if !lacking.is_empty() {
        let was = if lacking.len() == 1 { "was" } else { "were" };
        return waits(format!("{} {was} not given it", lacking.join(", ")));
    }
    let is_alone = history.generations.len() == 1 && newest.step == MembershipStep::Settled;
    if !is_alone || steps::lacking(newest, sight).next().is_some() {
        return waits(format!("generation {} is not the only one yet", newest.number));
    }
    Some(Coming::Begins(FlowKeyPrint(key)))
}

/// The keys that live agents were given and that the newest generation does not have, and to whom.
fn given<'a>(history: &EdgeMembershipSpec, agents: &'a Agents, now: Instant) -> BTreeMap<u32, Vec<&'a str>> {
    let newest = history.generations.last().and_then(|newest| newest.flow_key);
    let mut given: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for lease in agents.live(now) {
        let is_in_force = |key: u32| newest.map_or(lease.key == Some(key), |newest| newest.0 == key);
        if let Some(key) = lease.given_key.filter(|&key| !is_in_force(key)) {
            given.entry(key).or_default().push(lease.node.as_str());
        }
    }
    given
}

/// Live agents that were not given this key. One that does not say what it was given has an agent of before keys could
/// change.
fn lacking<'a>(key: u32, sight: &Sight<'a>) -> Vec<&'a str> {
    let live = sight.agents.live(sight.now).filter(|lease| lease.given_key != Some(key));
    live.map(|lease| lease.node.as_str()).collect()
}

/// The keys that were given and are not in force, to see for how long.
pub(in crate::status) fn given_keys(
    history: &EdgeMembershipSpec,
    agents: &Agents,
    now: Instant,
) -> BTreeSet<u32> {
    given(history, agents, now).into_keys().collect()
}

/// Who does not know a key that others have known for a while.
fn unknown(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Vec<Problem> {
    let Some(newest) = history.generations.last().and_then(|newest| newest.flow_key) else {
        return Vec::new();
    };
    let known = given(history, sight.agents, sight.now).into_keys();
    let mut known = known.filter(|&key| sight.since.is_given_for(key, HEARD, sight.now));
    let Some(key) = known.next() else { return Vec::new() };
    let problem = |name: &str| {
        let words = format!(
            "flow key {key:08x}, which other nodes were given, is not known to this node: {newest} stays in force until all \
             nodes have it in the Secret (edgelb-keys) or the file that they read"
        );
        Problem::warning(&node(name), "", words).because(Cause::FlowKey)
    };
    lacking(key, sight).into_iter().map(problem).collect()
}

/// The key that flows of the history have, for generations of which it does not say so: that of most live members, or
/// of most live agents where no member lives.
pub(super) fn in_force(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Option<FlowKeyPrint> {
    let names: BTreeSet<&str> =
        history.generations.last().into_iter().flat_map(|g| &g.members).map(|m| m.name.as_str()).collect();
    let keys = |is_one: &dyn Fn(&&NodeLease) -> bool| {
        counted(sight.agents.live(sight.now).filter(is_one).filter_map(|lease| lease.key))
    };
    let members = keys(&|lease| names.contains(lease.node.as_str()));
    let counted = if members.is_empty() { keys(&|_| true) } else { members };
    most(&counted).map(FlowKeyPrint)
}

/// Has each generation say its key, if that can be only one.
pub(super) fn fill(history: &mut EdgeMembershipSpec, sight: &Sight<'_>) {
    let is_told = history.generations.iter().all(|generation| generation.flow_key.is_some());
    if is_told || !sight.keeps_keys {
        return;
    }
    let told = told(history);
    let key = match told.len() {
        0 => in_force(history, sight),
        1 => told.first().copied().map(FlowKeyPrint),
        _ => None,
    };
    history.generations.iter_mut().for_each(|generation| generation.flow_key = generation.flow_key.or(key));
}

/// How all agents begin anew that are heard.
pub(super) struct Anew {
    /// By this key.
    pub(super) key: FlowKeyPrint,
    /// Those of the history that go.
    pub(super) unknown: BTreeSet<u32>,
}

/// Where each agent that is heard lacks a key by which flows of the history are found. Those that do not believe in it serve by
/// their own, as yet; of the others, nobody does, nor ever would.
pub(super) fn anew(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Option<Anew> {
    let told = told(history);
    if told.is_empty() || !sight.agents.is_in_contact(sight.now) {
        return None;
    }
    let knows =
        |lease: &NodeLease, key| lease.key.is_none() || [lease.key, lease.given_key].contains(&Some(key));
    let lacks = |lease: &&NodeLease| match lease.doubted_key {
        Some(doubted) => told.contains(&doubted),
        None => !lease.state.is_live() && told.iter().any(|&key| !knows(lease, key)),
    };
    let heard = sight.agents.leases(sight.now).filter(|lease| lease.state != AgentState::Stopped);
    let heard: Vec<_> = heard.collect();
    if !heard.iter().all(lacks) {
        return None;
    }
    let key = most(&counted(heard.iter().filter_map(|lease| lease.key)))?;
    let doubted: BTreeSet<_> = heard.iter().filter_map(|lease| lease.doubted_key).collect();
    // Who only lacks one does not say whether it has another beside its own, but nobody serves by that.
    let unknown =
        if doubted.is_empty() { told.into_iter().filter(|&told| told != key).collect() } else { doubted };
    Some(Anew { key: FlowKeyPrint(key), unknown })
}

/// Whether the key of a generation that is being learned is not to come: a live agent that does not have it was given
/// another one.
pub(super) fn is_given_up(
    before: &MembershipGeneration,
    newest: &MembershipGeneration,
    sight: &Sight<'_>,
) -> bool {
    let keys = before.flow_key.zip(newest.flow_key).filter(|(former, next)| former != next);
    let Some((_, next)) = keys.filter(|_| newest.step == MembershipStep::Learn) else { return false };
    steps::lacking(newest, sight).any(|lease| lease.given_key.is_some_and(|given| given != next.0))
}

/// The two keys of a history of which one takes the place of the other: the former one first.
pub(super) fn rolled(history: &EdgeMembershipSpec) -> Option<(FlowKeyPrint, FlowKeyPrint)> {
    let mut keys = history.generations.iter().rev().filter_map(|generation| generation.flow_key);
    let newest = keys.next()?;
    keys.find(|key| *key != newest).map(|former| (former, newest))
}

fn told(history: &EdgeMembershipSpec) -> BTreeSet<u32> {
    history
        .generations
        .iter()
        .filter_map(|generation| generation.flow_key)
        .map(|FlowKeyPrint(key)| key)
        .collect()
}

fn counted(keys: impl Iterator<Item = u32>) -> BTreeMap<u32, usize> {
    let mut counted = BTreeMap::new();
    keys.for_each(|key| *counted.entry(key).or_insert(0) += 1);
    counted
}

/// The key of most; of two that as many have, the lower one: anybody else would choose the same.
fn most(counted: &BTreeMap<u32, usize>) -> Option<u32> {
    let most = counted.values().max()?;
    counted.iter().find(|(_, count)| *count == most).map(|(&key, _)| key)
}

fn node(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Node, "", name)
}
