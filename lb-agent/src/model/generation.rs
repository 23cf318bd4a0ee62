//! A generation of the membership: who owns flows, from one change to the next.

use std::collections::BTreeMap;

use super::Member;

/// One membership of the history. Rows are made of all of them that a snapshot holds, so that flows which opened
/// under an earlier one are found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generation {
    /// Its number: the later, the higher. 0 without a history.
    pub number: u64,
    /// How far it is.
    pub step: Step,
    /// Its members by name.
    pub members: BTreeMap<String, Member>,
}

/// The steps of a generation. It is retired by leaving the history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Its members are in rows, behind the openers of the generation before: no flow opens there yet.
    Learn,
    /// New flows open at its members; not all nodes have said yet that they know.
    Switch,
    /// New flows open at its members, and all live nodes have it in their kernels.
    Settled,
}
