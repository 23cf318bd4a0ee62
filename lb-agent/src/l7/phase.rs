//! How far the end of the proxy is: one state for a drain, which may be called off, and for the end.

use std::time::Instant;

/// What all workers follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Phase {
    /// Connections come and stay.
    #[default]
    Serving,
    /// Connections are still accepted, for first hops may not have switched yet; all end in order, and those that
    /// have not at the deadline are closed.
    Draining {
        /// For connections that were open by then.
        deadline: Instant,
    },
    /// The same, but none is accepted any more, and the workers end with their last connection.
    Stopping {
        /// For all of them.
        deadline: Instant,
    },
}

impl Phase {
    /// When connections that have not ended are closed.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Draining { deadline } | Self::Stopping { deadline } => Some(deadline),
        }
    }

    /// Whether it is the end.
    pub(super) fn is_stopping(self) -> bool {
        matches!(self, Self::Stopping { .. })
    }
}
