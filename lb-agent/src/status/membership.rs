//! From the history, the agents that are heard and the edge nodes to the next history: pure.
//!
//! - Members are edge nodes whose agents are ready. Who is silent goes, but for when nobody is heard at all.
//! - A generation is settled when all its members that live have it in their kernels; those before it go.
//! - At most two generations are unsettled: further changes wait and merge. Deaths never wait.
//! - Nobody is ever left without members: when none is to be had, the last ones stay.

mod ids;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use self::ids::Ids;
use super::AgentState;
use super::agents::{Agents, Liveness};
use crate::api::{EdgeMember, EdgeMembershipSpec, MemberState, MembershipGeneration, MembershipStep};
use crate::model::{EdgeNode, Kind, ObjectRef, Problem};

/// Every member takes an equal share.
const WEIGHT: u32 = 100;

/// Generations that not all members have in their kernels yet.
const MOST_UNSETTLED: usize = 2;

/// More are not kept, however many died before anything settled (the CRD has the same bound).
const MOST_GENERATIONS: usize = 8;

/// What to write, and what to say of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Next {
    /// The history as it should be; `None` if it is so. New generations say not since when.
    pub(super) history: Option<EdgeMembershipSpec>,
    /// Nodes whose change waits for unsettled generations, by name.
    pub(super) waiting: Vec<String>,
    /// What keeps edge nodes from being members.
    pub(super) problems: Vec<Problem>,
}

/// The history that follows from `history`.
pub(super) fn next(history: &EdgeMembershipSpec, agents: &Agents, nodes: &[EdgeNode], now: Instant) -> Next {
    let mut next = history.clone();
    settle(&mut next, agents, now);

    let newest = next.generations.last().map(|newest| newest.members.clone()).unwrap_or_default();
    let mut problems = Vec::new();
    let candidates = Candidates::new(&newest, agents, nodes, now, &mut problems);
    let mut waiting = Vec::new();
    let unsettled = next.generations.iter().filter(|g| g.step == MembershipStep::Switch).count();
    let wanted = if unsettled < MOST_UNSETTLED {
        candidates.wanted
    } else {
        waiting = changes(&newest, &candidates.wanted, &candidates.gone);
        newest.iter().filter(|member| !candidates.gone.contains(&member.name)).map(Place::of).collect()
    };
    propose(&mut next, wanted, agents);
    let history = (next != *history).then_some(next);
    Next { history, waiting, problems }
}

/// Settles the generations that all their live members have, and drops those before the last settled one. One
/// whose members are all gone is nobody's any more.
fn settle(history: &mut EdgeMembershipSpec, agents: &Agents, now: Instant) {
    history.generations.sort_by_key(|generation| generation.number);
    for generation in &mut history.generations {
        let live: Vec<_> = generation
            .members
            .iter()
            .filter(|member| agents.liveness(&member.name, now) != Liveness::Silent)
            .filter_map(|member| agents.lease(&member.name))
            .filter(|lease| [AgentState::Ready, AgentState::Draining].contains(&lease.state))
            .collect();
        let is_known = !live.is_empty() || agents.is_in_contact(now);
        if is_known && live.iter().all(|lease| lease.acknowledged.number >= generation.number) {
            generation.step = MembershipStep::Settled;
        }
    }
    let settled = history.generations.iter().rposition(|g| g.step == MembershipStep::Settled);
    history.generations.drain(..settled.unwrap_or(0));
}

/// A member to be, without its id.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    name: String,
    address: IpAddr,
    weight: u32,
    state: MemberState,
}

impl Place {
    fn of(member: &EdgeMember) -> Self {
        let EdgeMember { name, address, weight, state, .. } = member.clone();
        Self { name, address, weight, state }
    }
}

/// Who should be a member now.
struct Candidates {
    /// By name.
    wanted: Vec<Place>,
    /// Members of before whose agents are no more.
    gone: BTreeSet<String>,
}

impl Candidates {
    fn new(
        newest: &[EdgeMember],
        agents: &Agents,
        nodes: &[EdgeNode],
        now: Instant,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let members: BTreeMap<&str, &EdgeMember> = newest.iter().map(|m| (m.name.as_str(), m)).collect();
        let is_in_contact = agents.is_in_contact(now);
        let standing = |name: &str| match members.contains_key(name) {
            true => stays(agents, name, is_in_contact, now),
            false => joins(agents, name, now),
        };
        let gone = members.keys().filter(|name| standing(name).is_none()).map(|&name| name.to_owned());
        let mut places: Vec<_> = addresses(newest, nodes, problems)
            .into_iter()
            .filter_map(|(node, address)| Some((node, address, standing(&node.name)?)))
            .map(|(node, address, state)| Place { name: node.name.clone(), address, weight: WEIGHT, state })
            .collect();
        places.sort_by(|one, other| one.name.cmp(&other.name));
        Self { wanted: places, gone: gone.collect() }
    }
}

/// Whether a member stays, and as what.
fn stays(agents: &Agents, name: &str, is_in_contact: bool, now: Instant) -> Option<MemberState> {
    let state = agents.lease(name).map(|lease| lease.state);
    let is_silent = agents.liveness(name, now) == Liveness::Silent;
    match state {
        // What it said itself holds however long ago.
        Some(AgentState::Stopped) => None,
        Some(AgentState::Starting) if !is_silent => None,
        _ if is_silent && is_in_contact => None,
        Some(AgentState::Draining) => Some(MemberState::Draining),
        _ => Some(MemberState::Active),
    }
}

/// Whether a node becomes a member: only who is heard.
fn joins(agents: &Agents, name: &str, now: Instant) -> Option<MemberState> {
    let is_ready = agents.lease(name).is_some_and(|lease| lease.state == AgentState::Ready);
    (is_ready && agents.liveness(name, now) == Liveness::Alive).then_some(MemberState::Active)
}

/// Each edge node with its InternalIP of the cluster's family: that of the members there are, or of the first
/// InternalIP of the first edge node, by name, that has one. Of two nodes with one address a member keeps it.
fn addresses<'a>(
    newest: &[EdgeMember],
    nodes: &'a [EdgeNode],
    problems: &mut Vec<Problem>,
) -> Vec<(&'a EdgeNode, IpAddr)> {
    let is_member = |node: &EdgeNode| newest.iter().any(|member| member.name == node.name);
    let mut nodes: Vec<_> = nodes.iter().collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    let first = || nodes.iter().find_map(|node| node.addresses.first().copied());
    let family = newest.first().map(|member| member.address).or_else(first).map(|address| address.is_ipv4());
    nodes.sort_by_key(|node| !is_member(node));

    let mut taken: BTreeMap<IpAddr, &EdgeNode> = BTreeMap::new();
    let mut found = Vec::new();
    for node in nodes {
        let problem = match node.addresses.iter().find(|address| Some(address.is_ipv4()) == family) {
            Some(&address) => match taken.insert(address, node) {
                None => {
                    found.push((node, address));
                    continue;
                }
                Some(owner) => {
                    taken.insert(address, owner);
                    format!(
                        "{address} is the InternalIP of Node {} too; this node is not a member",
                        owner.name
                    )
                }
            },
            None => no_address(family).to_owned(),
        };
        problems.push(Problem::error(
            &ObjectRef::new(Kind::Node, "", &node.name),
            "status.addresses",
            problem,
        ));
    }
    found
}

fn no_address(family: Option<bool>) -> &'static str {
    match family {
        Some(true) => "the edge node has no IPv4 InternalIP, the family of the members; it is not a member",
        Some(false) => "the edge node has no IPv6 InternalIP, the family of the members; it is not a member",
        None => "the edge node has no InternalIP; it is not a member",
    }
}

/// Names of nodes that are other than they should be, but for those that are gone.
fn changes(newest: &[EdgeMember], wanted: &[Place], gone: &BTreeSet<String>) -> Vec<String> {
    let is: BTreeMap<_, _> = newest.iter().map(|member| (member.name.as_str(), Place::of(member))).collect();
    let should: BTreeMap<_, _> = wanted.iter().map(|place| (place.name.as_str(), place)).collect();
    let names: BTreeSet<&str> = is.keys().chain(should.keys()).copied().collect();
    let differs = |name: &&str| is.get(name) != should.get(name).copied() && !gone.contains(*name);
    names.into_iter().filter(differs).map(str::to_owned).collect()
}

/// Adds a generation of these members, if they are not those of the newest one.
fn propose(history: &mut EdgeMembershipSpec, wanted: Vec<Place>, agents: &Agents) {
    let newest = history.generations.last();
    let is_so = newest.is_some_and(|newest| newest.members.iter().map(Place::of).eq(wanted.iter().cloned()));
    if wanted.is_empty() || (is_so && newest.is_some_and(|newest| ids::are_sound(&newest.members))) {
        return;
    }
    let number = match newest {
        Some(newest) => newest.number + 1,
        // Somebody deleted the history: numbers rise all the same.
        None => agents.acknowledged().map_or(1, |acknowledged| acknowledged + 1),
    };
    let mut ids = Ids::new(history);
    let members = wanted.into_iter().filter_map(|place| {
        let Place { name, address, weight, state } = place;
        let id = ids.give(&name)?;
        Some(EdgeMember { name, id, address, weight, state })
    });
    let members = members.collect();
    history.last_id = ids.last();
    history.generations.push(MembershipGeneration {
        number,
        step: MembershipStep::Switch,
        members,
        since: None,
    });
    let surplus = history.generations.len().saturating_sub(MOST_GENERATIONS);
    history.generations.drain(..surplus);
}
