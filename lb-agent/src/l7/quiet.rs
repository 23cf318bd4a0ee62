//! An endpoint that says nothing in the middle of a response.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::deadline::{Deadline, Deadlines};

/// How long it may, and since when it does. The time in which nobody asks for more does not count: that is the
/// client's.
pub(super) struct Quiet {
    deadline: Deadline,
    gap: Duration,
    is_awaited: bool,
}

impl Quiet {
    /// At most so long between two parts.
    pub(super) fn new(deadlines: &Rc<Deadlines>, gap: Duration) -> Self {
        Self { deadline: Deadline::new(deadlines), gap, is_awaited: false }
    }

    /// A part is there, or the end.
    pub(super) fn came(&mut self) {
        self.is_awaited = false;
        self.deadline.clear();
    }

    /// Nothing is there. Ready when that has been so for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.is_awaited, true) {
            self.deadline.set(self.gap);
        }
        self.deadline.poll(cx)
    }
}
