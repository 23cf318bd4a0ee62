//! Nodes -> members: who can own flows, under which id, at which address.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use siphasher::sip::SipHasher24;

use crate::model::{Cause, Drain, EdgeNode, Member, ObjectRef, Problem};
use crate::source::{Index, names};

/// Weights are in relation to each other: more would be no finer a share than a table's rows allow.
const MOST_WEIGHT: u32 = 1000;

/// The key of the hash that gives ids. It is no secret and never changes: ids travel between nodes.
const ID_KEY: (u64, u64) = (0x6564_6765_6c62_2e6d, 0x656d_6265_722e_6964);

/// The members, by name: Nodes with the edge label and an InternalIP of the cluster's family, which is that of
/// the first InternalIP of the first edge node, by name, that has one.
pub(super) fn translate(index: &Index, problems: &mut Vec<Problem>) -> BTreeMap<String, Member> {
    let edge: Vec<(&ObjectRef, &Node)> = index.nodes().filter(|(_, node)| is_edge(node)).collect();
    let weights = weights(&edge, problems);
    let family =
        edge.iter().find_map(|(_, node)| internal_addresses(node).next()).map(|first| first.is_ipv4());
    let mut addresses = BTreeMap::new();
    let mut placed = Vec::new();
    for (name, node) in edge {
        match internal_addresses(node).find(|address| Some(address.is_ipv4()) == family) {
            None => problems.push(no_address(name, family)),
            Some(address) => match addresses.insert(address, name) {
                None => placed.push((name, address)),
                Some(owner) => {
                    addresses.insert(address, owner);
                    let message =
                        format!("{address} is already the InternalIP of {owner}; this node is not a member");
                    problems.push(Problem::error(name, "status.addresses", message).because(Cause::Conflict));
                }
            },
        }
    }
    let ids = ids(placed.iter().map(|(node, _)| hashed_id(&node.name)));
    placed
        .into_iter()
        .zip(ids)
        .filter_map(|((node, address), id)| {
            let Some(id) = id else {
                problems.push(Problem::error(node, "", "there are more edge nodes than ids (65,535)"));
                return None;
            };
            let weight = weights[&node.name];
            Some((node.name.clone(), Member { name: node.name.clone(), id, address, weight }))
        })
        .collect()
}

/// The members' weights: one that drains has none. When none has any, all have to go on.
fn weights(edge: &[(&ObjectRef, &Node)], problems: &mut Vec<Problem>) -> BTreeMap<String, u32> {
    let (mut weights, mut open) = (BTreeMap::new(), BTreeMap::new());
    for (name, node) in edge {
        let (weight, problem) = weight(name, node);
        weights.insert(name.name.clone(), weight);
        open.insert(name.name.clone(), if drain(node).is_none() { weight } else { 0 });
        problems.extend(problem);
    }
    if open.values().any(|weight| *weight > 0) {
        return open;
    }
    if weights.values().all(|weight| *weight == 0) {
        weights.values_mut().for_each(|weight| *weight = 1);
    }
    weights
}

/// What is wrong with edge nodes that become members by a history, but for what its writer tells.
pub(super) fn check(index: &Index, problems: &mut Vec<Problem>) {
    let edge = index.nodes().filter(|(_, node)| is_edge(node));
    problems.extend(edge.filter_map(|(name, node)| weight(name, node).1));
}

/// The node's share of new flows; one that cannot be read is a problem, and as if it was not there.
fn weight(name: &ObjectRef, node: &Node) -> (u32, Option<Problem>) {
    let annotations = node.metadata.annotations.as_ref();
    let text = annotations.and_then(|annotations| annotations.get(names::WEIGHT));
    let Some(text) = text else { return (EdgeNode::WEIGHT, None) };
    match text.parse() {
        Ok(weight @ 0..=MOST_WEIGHT) => (weight, None),
        _ => {
            let default = EdgeNode::WEIGHT;
            let message = format!("{text:?} is no whole number from 0 to {MOST_WEIGHT}; it is {default} now");
            let field = format!("metadata.annotations[{}]", names::WEIGHT);
            (default, Some(Problem::error(name, field, message)))
        }
    }
}

fn drain(node: &Node) -> Option<Drain> {
    let spec = node.spec.as_ref()?;
    let is_tainted = || spec.taints.iter().flatten().any(|taint| taint.key == names::DRAIN);
    match spec.unschedulable {
        Some(true) => Some(Drain::Cordoned),
        _ => is_tainted().then_some(Drain::Tainted),
    }
}

/// The Nodes that are to get no new flows, with the edge label or without it: one that lost it may have flows still.
pub(super) fn drains(index: &Index) -> BTreeMap<String, Drain> {
    index.nodes().filter_map(|(name, node)| Some((name.name.clone(), drain(node)?))).collect()
}

/// The Nodes with the edge label, by name: what a leader makes the history of.
pub(in crate::source) fn edge_nodes(index: &Index) -> Vec<EdgeNode> {
    let edge = index.nodes().filter(|(_, node)| is_edge(node));
    let mut found: Vec<_> = edge
        .map(|(name, node)| EdgeNode {
            name: name.name.clone(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            addresses: internal_addresses(node).collect(),
            weight: weight(name, node).0,
            drain: drain(node),
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn is_edge(node: &Node) -> bool {
    node.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(names::EDGE))
        .is_some_and(|value| value == "true")
}

/// Every IP address of the node, of whatever type.
pub(super) fn addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    typed_addresses(node).map(|(_, address)| address)
}

fn internal_addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    typed_addresses(node).filter(|(kind, _)| *kind == "InternalIP").map(|(_, address)| address)
}

fn typed_addresses(node: &Node) -> impl Iterator<Item = (&str, IpAddr)> {
    let listed = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    listed.filter_map(|entry| {
        Some((entry.type_.as_str(), entry.address.parse::<IpAddr>().ok()?.to_canonical()))
    })
}

fn no_address(node: &ObjectRef, family: Option<bool>) -> Problem {
    let message = match family {
        Some(true) => "the edge node has no IPv4 InternalIP, the cluster's first family; it is not a member",
        Some(false) => "the edge node has no IPv6 InternalIP, the cluster's first family; it is not a member",
        None => "the edge node has no InternalIP; it is not a member",
    };
    Problem::error(node, "status.addresses", message)
}

/// The ids, 1 or more, of names given in order. Without a history, a hash is what stays when other nodes come
/// and go: of two names with one hash, the later takes the next free id. `None` when all are taken.
fn ids(hashes: impl Iterator<Item = u16>) -> Vec<Option<u16>> {
    let mut taken = BTreeSet::new();
    hashes
        .map(|hash| {
            let id = (hash..=u16::MAX).chain(1..hash).find(|id| !taken.contains(id))?;
            taken.insert(id);
            Some(id)
        })
        .collect()
}

fn hashed_id(name: &str) -> u16 {
    let mut hasher = SipHasher24::new_with_keys(ID_KEY.0, ID_KEY.1);
    hasher.write(name.as_bytes());
    u16::try_from(hasher.finish() % u64::from(u16::MAX)).map_or(u16::MAX, |id| id + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::translate::fixture::{assert_complaints, snapshot};
    use crate::source::{Membership, Settings};

    fn node(name: &str, labels: &str, addresses: &[(&str, &str)]) -> String {
        let addresses: String = addresses
            .iter()
            .map(|(kind, address)| format!("{{type: {kind}, address: '{address}'}}, "))
            .collect();
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
             status: {{addresses: [{addresses}]}}\n"
        )
    }

    const EDGE: &str = "edgelb.dev/edge: 'true'";

    #[track_caller]
    fn check(yaml: &str, members: &[(&str, &str)], problems: &[&str]) {
        let snapshot = snapshot(yaml, &Settings::default());
        let found: Vec<_> = snapshot
            .members
            .values()
            .map(|member| (member.name.clone(), member.address.to_string()))
            .collect();
        let members: Vec<_> =
            members.iter().map(|(name, address)| ((*name).to_owned(), (*address).to_owned())).collect();
        assert_eq!(found, members);
        assert_complaints(&snapshot, problems);
    }

    #[test]
    fn members_are_the_nodes_with_the_label() {
        let yaml = node("a", EDGE, &[("InternalIP", "198.51.100.11")])
            + &node("b", "edgelb.dev/edge: 'false'", &[("InternalIP", "198.51.100.12")])
            + &node("c", "", &[("InternalIP", "198.51.100.13")])
            + &node("d", EDGE, &[("ExternalIP", "203.0.113.1"), ("InternalIP", "198.51.100.14")]);
        check(&yaml, &[("a", "198.51.100.11"), ("d", "198.51.100.14")], &[]);
    }

    #[test]
    fn addresses_are_of_the_first_edge_nodes_first_family() {
        let yaml = node("a", EDGE, &[("InternalIP", "2001:db8::11"), ("InternalIP", "198.51.100.11")])
            + &node("b", EDGE, &[("InternalIP", "198.51.100.12"), ("InternalIP", "2001:db8::12")])
            + &node("c", EDGE, &[("InternalIP", "198.51.100.13")]);
        let problem = "Node c: status.addresses: the edge node has no IPv6 InternalIP";
        check(&yaml, &[("a", "2001:db8::11"), ("b", "2001:db8::12")], &[problem]);
    }

    #[test]
    fn nodes_without_a_usable_address_are_no_members() {
        let yaml = node("a", EDGE, &[("Hostname", "a"), ("InternalIP", "nonsense")])
            + &node("b", EDGE, &[("InternalIP", "198.51.100.12")])
            + &node("c", EDGE, &[("InternalIP", "198.51.100.12")]);
        check(
            &yaml,
            &[("b", "198.51.100.12")],
            &[
                "Node a: status.addresses: the edge node has no IPv4",
                "198.51.100.12 is already the InternalIP of Node b",
            ],
        );
        check(&node("a", EDGE, &[]), &[], &["the edge node has no InternalIP"]);
    }

    #[test]
    fn cordoned_nodes_stay_members() {
        let yaml = node("a", EDGE, &[("InternalIP", "198.51.100.11")]) + "spec: {unschedulable: true}\n";
        check(&yaml, &[("a", "198.51.100.11")], &[]);
    }

    /// As an edge node with these annotations and this spec.
    fn annotated(name: &str, annotations: &str, spec: &str) -> String {
        let address = format!("198.51.100.{}", name.as_bytes()[0]);
        node(name, EDGE, &[("InternalIP", &address)])
            .replace("metadata: {", &format!("metadata: {{annotations: {{{annotations}}}, "))
            + &format!("spec: {{{spec}}}\n")
    }

    #[test]
    fn weights_are_annotations() {
        let weights = |yaml: &str| -> Vec<u32> {
            snapshot(yaml, &Settings::default()).members.values().map(|member| member.weight).collect()
        };
        let weight =
            |name: &str, weight: &str| annotated(name, &format!("edgelb.dev/weight: '{weight}'"), "");
        assert_eq!(
            weights(&(weight("a", "250") + &weight("b", "0") + &annotated("c", "", ""))),
            [250, 0, 100]
        );
        assert_eq!(weights(&(weight("a", "0") + &weight("b", "0"))), [1, 1], "somebody has to");
        for settings in [Membership::Nodes, Membership::History] {
            let settings = Settings { membership: settings, ..Settings::default() };
            let bad = ["-1", "1001", "much", ""].map(|text| {
                let found = snapshot(&weight("a", text), &settings);
                assert_complaints(&found, &["Node a: metadata.annotations[edgelb.dev/weight]: "]);
                found.members.values().map(|member| member.weight).collect::<Vec<_>>()
            });
            assert!(bad.iter().flatten().all(|weight| *weight == 100), "{bad:?}");
        }
    }

    #[test]
    fn who_is_cordoned_takes_no_new_flows_unless_all_are() {
        let nodes = |specs: [&str; 3]| {
            let node = |(name, spec)| annotated(name, "edgelb.dev/weight: '7'", spec);
            let yaml: String = ["a", "b", "c"].into_iter().zip(specs).map(node).collect();
            let found = snapshot(&yaml, &Settings::default());
            let weights: Vec<_> = found.members.values().map(|member| member.weight).collect();
            (weights, found.drains.into_iter().collect::<Vec<_>>())
        };
        let (cordon, taint) =
            ("unschedulable: true", "taints: [{key: edgelb.dev/drain, effect: NoSchedule}]");
        let [a, b, c] = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(nodes(["", "", ""]), (vec![7, 7, 7], vec![]));
        let expected = vec![(a.clone(), Drain::Cordoned), (c.clone(), Drain::Tainted)];
        assert_eq!(nodes([cordon, "", taint]), (vec![0, 7, 0], expected.clone()));
        let all = [expected, vec![(b, Drain::Cordoned)]].concat().into_iter().collect::<BTreeMap<_, _>>();
        assert_eq!(nodes([cordon, cordon, taint]), (vec![7, 7, 7], all.into_iter().collect()));
    }

    #[test]
    fn what_drains_a_node() {
        for (spec, expected) in [
            ("", None),
            ("unschedulable: false", None),
            ("unschedulable: true", Some(Drain::Cordoned)),
            ("taints: [{key: edgelb.dev/drain, effect: NoSchedule}]", Some(Drain::Tainted)),
            ("taints: [{key: other, effect: NoExecute}]", None),
        ] {
            let index =
                crate::source::translate::fixture::index(&annotated("a", "edgelb.dev/weight: '7'", spec));
            let found = edge_nodes(&index);
            assert_eq!((found[0].weight, found[0].drain), (7, expected), "{spec}");
        }
    }

    #[test]
    fn hashes_are_golden() {
        // Agents of different versions share flows: ids of the same names never change.
        assert_eq!(["edge-1", "edge-2", "edge-3"].map(hashed_id), [19_604, 45_496, 45_356]);
    }

    #[test]
    fn ids_are_unique_and_never_0() {
        fn check(hashes: &[u16], expected: &[u16]) {
            let expected: Vec<_> = expected.iter().copied().map(Some).collect();
            assert_eq!(ids(hashes.iter().copied()), expected, "{hashes:?}");
        }
        check(&[7, 3, 9], &[7, 3, 9]);
        check(&[7, 7, 8, 7], &[7, 8, 9, 10]);
        check(&[65_535, 65_535, 1], &[65_535, 1, 2]);
    }

    #[test]
    fn there_are_65535_ids() {
        let found = ids((1..=u16::MAX).chain([5]));
        assert_eq!(found.iter().filter(|id| id.is_none()).count(), 1);
        assert_eq!(found.last(), Some(&None));
    }
}
