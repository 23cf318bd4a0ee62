//! What of a snapshot is in the kernel.

/// What the packet path has loaded last; all zero before the first snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// The snapshot's generation.
    pub generation: u64,
    /// The generation of the membership history that its members are of; 0 without a history.
    pub membership: u64,
    /// A hash of the members' table, equal on all nodes that agree; `None` before there is one.
    pub rows: Option<u64>,
}
