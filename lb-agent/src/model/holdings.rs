//! What of clients' connections is on this node.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Step;

/// The node's own connections to VIPs: established, half closed, or half open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Holdings {
    /// The generations, the oldest first, with the steps at which they were in the kernel when the count began: of a later
    /// step it says nothing.
    pub steps: Vec<(u64, Step)>,
    /// The memberships in which flows may have opened then, by what tells them and their keys apart, the newest first.
    pub opened: Vec<u32>,
    /// How many there are, without those that are half open.
    pub held: usize,
    /// How many are half open: their clients have still to answer, if there are any.
    pub half_open: usize,
    /// How long the oldest one has been seen; not longer than this agent runs.
    pub oldest: Option<Duration>,
    /// The oldest generation that any of them needs, the newest included: rows of earlier ones may go. `None` if none is
    /// held.
    pub needed: Option<u64>,
    /// The former memberships that they need, and the former flow key, by their fingerprints: the same on all nodes, where
    /// numbers are not.
    pub former: BTreeSet<u32>,
}
