//! Nodes -> members: who can own flows, under which id, at which address.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use siphasher::sip::SipHasher24;

use crate::model::{EdgeNode, Member, ObjectRef, Problem};
use crate::source::{Index, names};

/// Every member takes an equal share.
const WEIGHT: u32 = 100;

/// The key of the hash that gives ids. It is no secret and never changes: ids travel between nodes.
const ID_KEY: (u64, u64) = (0x6564_6765_6c62_2e6d, 0x656d_6265_722e_6964);

/// The members, by name: Nodes with the edge label and an InternalIP of the cluster's family, which is that of
/// the first InternalIP of the first edge node, by name, that has one.
pub(super) fn translate(index: &Index, problems: &mut Vec<Problem>) -> BTreeMap<String, Member> {
    let edge: Vec<(&ObjectRef, &Node)> = index.nodes().filter(|(_, node)| is_edge(node)).collect();
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
                    problems.push(Problem::error(name, "status.addresses", message));
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
            Some((node.name.clone(), Member { name: node.name.clone(), id, address, weight: WEIGHT }))
        })
        .collect()
}

/// The Nodes with the edge label, by name: what a leader makes the history of.
pub(in crate::source) fn edge_nodes(index: &Index) -> Vec<EdgeNode> {
    let edge = index.nodes().filter(|(_, node)| is_edge(node));
    let mut found: Vec<_> = edge
        .map(|(name, node)| EdgeNode {
            name: name.name.clone(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            addresses: internal_addresses(node).collect(),
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
    use crate::source::Settings;
    use crate::source::translate::fixture::{assert_complaints, snapshot};

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
