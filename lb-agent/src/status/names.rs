//! Names, labels and annotations of what this stage writes: nothing else in the cluster is ours.

use aws_lc_rs::digest;

/// The Lease whose holder is the leader.
pub(super) const LEADER: &str = "edgelb-leader";

/// What a node's Lease is called: this and the node's name.
const NODE_LEASE: &str = "edgelb-node-";

/// Label of node Leases, by which they are found: the node's name, shortened where a label's value must be.
pub(super) const NODE_LABEL: &str = "edgelb.dev/node";

/// Annotation of node Leases: the node's name in full.
pub(super) const NODE: &str = "edgelb.dev/node-name";

/// Annotation: the node's own addresses, separated by commas, for people.
pub(super) const ADDRESSES: &str = "edgelb.dev/addresses";

/// Annotation: what the agent is up to, a word of `AgentState`.
pub(super) const STATE: &str = "edgelb.dev/state";

/// Annotation: how far the history is that is in the node's kernel: generation, step, oldest generation.
pub(super) const ACKNOWLEDGED: &str = "edgelb.dev/acknowledged";

/// Annotation: the digest of its rows there, hexadecimal.
pub(super) const ROWS: &str = "edgelb.dev/rows";

/// Annotation: the oldest generation whose rows flows on the node still need; not there if the newest will do.
pub(super) const NEEDED: &str = "edgelb.dev/needed";

/// Annotation: how many members a row there may name because they opened flows in place of another one that was away.
pub(super) const STOOD_IN: &str = "edgelb.dev/stood-in";

/// Annotation: open connections to VIPs on the node.
pub(super) const HELD: &str = "edgelb.dev/held";

/// Annotation: the age of the oldest of them, in seconds.
pub(super) const OLDEST: &str = "edgelb.dev/oldest";

/// Annotation: the fingerprint of the flow key in force there, hexadecimal.
pub(super) const FLOW_KEY: &str = "edgelb.dev/flow-key";

/// Annotation: that of the one that the node was given last, which it knows in any case.
pub(super) const GIVEN_KEY: &str = "edgelb.dev/given-flow-key";

/// Annotation: that of one of the history's which the node does not know and does not believe in: it goes on by its own.
pub(super) const DOUBTED_KEY: &str = "edgelb.dev/doubted-flow-key";

/// The Secret of the flow hash.
pub(super) const KEYS: &str = "edgelb-keys";

/// Its key under `data`.
pub(super) const FLOW: &str = "flow";

/// A DNS subdomain, which names of objects are, has at most this many bytes.
const MAX_NAME: usize = 253;

/// A label's value has at most this many bytes.
const MAX_LABEL: usize = 63;

/// The name of a node's Lease.
pub(super) fn node_lease(node: &str) -> String {
    shortened(&format!("{NODE_LEASE}{node}"), node, MAX_NAME)
}

/// The value of a node's label.
pub(super) fn node_label(node: &str) -> String {
    shortened(node, node, MAX_LABEL)
}

/// `text` as it is, or its beginning with a hash of `whole` in place of what does not fit.
pub(super) fn shortened(text: &str, whole: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let hash = hash(&[whole]);
    let kept: String = text.chars().take(most - hash.len() - 1).collect();
    // A name's parts end in a letter or a digit.
    format!("{}-{hash}", kept.trim_end_matches(|last: char| !last.is_ascii_alphanumeric()))
}

/// 16 hexadecimal digits that are the same for the same parts, at all times and on all nodes.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_stay() {
        assert_eq!(node_lease("edge-1.example.org"), "edgelb-node-edge-1.example.org");
        assert_eq!(node_label("edge-1.example.org"), "edge-1.example.org");
    }

    #[test]
    fn long_names_fit_and_stay_apart() {
        // 62 letters, then a dot where the label would be cut.
        let long = |last: &str| format!("{}.{}.{last}", "a".repeat(45), "b".repeat(190));
        let (one, other) = (long("c"), long("d"));
        for (name, most) in [(node_lease(&one), MAX_NAME), (node_label(&one), MAX_LABEL)] {
            assert!(name.len() <= most, "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)), "{name}");
            assert!(!name.contains(".-"), "{name}");
        }
        assert_ne!(node_lease(&one), node_lease(&other));
        assert_ne!(node_label(&one), node_label(&other));
    }

    #[test]
    fn parts_of_a_hash_do_not_run_together() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        // Events of earlier versions are found by it.
        assert_eq!(hash(&["a", "b"]).len(), 16);
    }
}
