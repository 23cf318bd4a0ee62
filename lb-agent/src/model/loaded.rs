//! What of a snapshot is in the kernel.

use std::time::Duration;

use super::Mark;

/// What the packet path has loaded last; all zero before the first snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// The snapshot's generation.
    pub generation: u64,
    /// How far the history is that its rows are made of.
    pub membership: Mark,
    /// A hash of the members' table, equal on all nodes that agree; `None` before there is one.
    pub rows: Option<u64>,
    /// The number of the oldest generation without whose rows a flow that this node holds would not be found; `None`
    /// if the newest will do. Counted after `membership` came into force.
    pub needed: Option<u64>,
    /// Open connections to VIPs on this node.
    pub held: u64,
    /// The age of the oldest of them.
    pub oldest: Option<Duration>,
}
