//! The memberships of this node's rows: told by a history for all, or kept by the node itself.

use std::sync::Arc;

use super::generation::openers;
use super::{Generation, Member};

/// What rows are made of, and what is to come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Those that all nodes agree on, the oldest first.
    pub agreed: Vec<Arc<Generation>>,
    /// What was in force while members were down that are back, the oldest first.
    pub absences: Vec<Arc<Generation>>,
    /// What the next change waits for, in words, if it has to wait.
    pub queued: Option<String>,
}

impl History {
    /// All members of any of them, the newest word on each last.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.absences.iter().chain(&self.agreed).flat_map(|generation| generation.members.values())
    }

    /// Whether new flows open at this node.
    #[must_use]
    pub fn opens_at(&self, node: &str) -> bool {
        openers(&self.agreed).any(|member| member.name == node)
    }

    /// Whether new flows open at another node.
    #[must_use]
    pub fn opens_beside(&self, node: &str) -> bool {
        openers(&self.agreed).any(|member| member.name != node)
    }
}
