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
    /// The fingerprint of the membership by which flows open here; 0 for none.
    pub in_force: u32,
    /// The fingerprints of the former memberships that flows of this node need, with 0 where there are fewer; `None`
    /// while that is not known, or if there are more.
    pub former: Option<[u32; 3]>,
    /// Whether its rows say where flows opened while this node was away.
    pub was_away: bool,
    /// How many members a row may name because they opened flows in place of another one that was away.
    pub stood_in: u64,
    /// Bytes of a client's largest packet that each of this node's ways to other members takes; 0 while none is known.
    pub inner_mtu: u16,
    /// Open connections to VIPs on this node, without those that are half open.
    pub held: u64,
    /// The age of the oldest of them.
    pub oldest: Option<Duration>,
}
