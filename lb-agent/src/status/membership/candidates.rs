//! Who should be a member now, and who is gone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::flow_keys::MembersKeys;
use super::{Sight, in_force};
use crate::api::{EdgeMember, EdgeMembershipSpec, MemberState};
use crate::model::{Cause, EdgeNode, Kind, ObjectRef, Problem};
use crate::status::AgentState;
use crate::status::agents::Liveness;

/// A member to be, without its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) weight: u32,
    pub(super) state: MemberState,
}

impl Place {
    pub(super) fn of(member: &EdgeMember) -> Self {
        let EdgeMember { name, address, weight, state, .. } = member.clone();
        Self { name, address, weight, state }
    }
}

/// Who should be a member now.
pub(super) struct Candidates {
    /// By name.
    pub(super) wanted: Vec<Place>,
    /// Members of before whose agents are no more.
    pub(super) gone: BTreeSet<String>,
}

impl Candidates {
    pub(super) fn new(history: &EdgeMembershipSpec, sight: &Sight<'_>, problems: &mut Vec<Problem>) -> Self {
        let newest = history.generations.last();
        let members = in_force(history).into_iter().chain(newest).flat_map(|generation| &generation.members);
        let members: BTreeMap<&str, &EdgeMember> =
            members.map(|member| (member.name.as_str(), member)).collect();
        let keys = MembersKeys::new(history, members.keys().copied(), sight);
        problems.extend(keys.problems(history, sight));
        let standing = |name: &str| match members.contains_key(name) {
            true => stays(sight, name),
            false => joins(sight, name).filter(|_| keys.admit(sight, name)),
        };
        let gone = members.keys().filter(|name| standing(name).is_none()).map(|&name| name.to_owned());
        let place = |(node, address): (&EdgeNode, IpAddr)| {
            let said = standing(&node.name)?;
            let state = if node.drain.is_some() { MemberState::Draining } else { said };
            Some(Place { name: node.name.clone(), address, weight: node.weight, state })
        };
        let mut wanted: Vec<_> =
            addresses(&members, sight.nodes, problems).into_iter().filter_map(place).collect();
        wanted.sort_by(|one, other| one.name.cmp(&other.name));
        if wanted.iter().all(|place| place.state == MemberState::Draining) {
            problems.extend(wanted.iter().map(|place| all_drain(&place.name, sight.nodes)));
        }
        Self { wanted, gone: gone.collect() }
    }
}

/// Nobody else could take the flows.
fn all_drain(name: &str, nodes: &[EdgeNode]) -> Problem {
    let drain = nodes.iter().find(|node| node.name == name).and_then(|node| node.drain);
    let field = drain.map_or("", |drain| drain.field());
    let message = "all edge nodes drain: this one goes on taking new flows until another one is active";
    Problem::warning(&ObjectRef::new(Kind::Node, "", name), field, message).because(Cause::AllDrain)
}

/// Whether a member stays, and as what by the word of its agent.
fn stays(sight: &Sight<'_>, name: &str) -> Option<MemberState> {
    let state = sight.agents.lease(name).map(|lease| lease.state);
    let is_silent = sight.agents.liveness(name, sight.now) == Liveness::Silent;
    match state {
        // What it said itself holds however long ago.
        Some(AgentState::Stopped) => None,
        Some(AgentState::Starting) if !is_silent => None,
        _ if is_silent && sight.agents.is_in_contact(sight.now) => None,
        Some(AgentState::Draining) => Some(MemberState::Draining),
        _ => Some(MemberState::Active),
    }
}

/// Whether a node becomes a member: only who is heard.
fn joins(sight: &Sight<'_>, name: &str) -> Option<MemberState> {
    let is_ready = sight.agents.lease(name).is_some_and(|lease| lease.state == AgentState::Ready);
    let is_alive = sight.agents.liveness(name, sight.now) == Liveness::Alive;
    (is_ready && is_alive).then_some(MemberState::Active)
}

/// Each edge node with its InternalIP of the cluster's family: that of the members there are, or of the first
/// InternalIP of the first edge node, by name, that has one. Of two nodes with one address a member keeps it.
fn addresses<'a>(
    members: &BTreeMap<&str, &EdgeMember>,
    nodes: &'a [EdgeNode],
    problems: &mut Vec<Problem>,
) -> Vec<(&'a EdgeNode, IpAddr)> {
    let is_member = |node: &EdgeNode| members.contains_key(node.name.as_str());
    let mut nodes: Vec<_> = nodes.iter().collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    let first = || nodes.iter().find_map(|node| node.addresses.first().copied());
    let family =
        members.values().next().map(|member| member.address).or_else(first).map(|address| address.is_ipv4());
    nodes.sort_by_key(|node| !is_member(node));

    let mut taken: BTreeMap<IpAddr, &EdgeNode> = BTreeMap::new();
    let mut found = Vec::new();
    for node in nodes {
        let (cause, message) = match node.addresses.iter().find(|address| Some(address.is_ipv4()) == family) {
            Some(&address) => match taken.insert(address, node) {
                None => {
                    found.push((node, address));
                    continue;
                }
                Some(owner) => {
                    taken.insert(address, owner);
                    let message = format!(
                        "{address} is the InternalIP of Node {} too; this node is not a member",
                        owner.name
                    );
                    (Cause::Conflict, message)
                }
            },
            None => (Cause::Field, no_address(family).to_owned()),
        };
        let node = ObjectRef::new(Kind::Node, "", &node.name);
        problems.push(Problem::error(&node, "status.addresses", message).because(cause));
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
