//! The time in which the packet path went without this agent, and opened this node's flows elsewhere. Who gives the
//! sign of life notices it, and gives the next one when who makes the rows says that it is over.

use std::time::Duration;

use tokio::sync::watch;

/// When it was noticed, on the clock that never goes back; none once it is over.
#[derive(Clone, Debug, Default)]
pub struct Missed(watch::Sender<Option<Duration>>);

impl Missed {
    /// Told when it is noticed, each time, and when it is over.
    #[must_use]
    pub fn noticed(&self) -> watch::Receiver<Option<Duration>> {
        self.0.subscribe()
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// `now` tells it apart from one that was noticed before.
    pub(in crate::l4) fn notice(&self, now: Duration) {
        self.0.send_replace(Some(now));
    }

    /// What was noticed at that moment is over. If it was noticed again since, it is not: rows that were made before lead to
    /// nothing that opened between. Whether it is.
    #[must_use]
    pub fn end(&self, noticed: Duration) -> bool {
        self.0.send_if_modified(|now| *now == Some(noticed) && now.take().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noticed_while_rows_are_made_is_for_those_after() {
        let [first, second] = [5, 9].map(Duration::from_secs);
        let missed = Missed::default();
        let mut told = missed.noticed();
        assert!(missed.is_over() && !missed.end(first));
        missed.notice(first);
        // Rows are made, and the agent stands still once more.
        let seen = told.borrow_and_update().expect("it was noticed");
        missed.notice(second);
        assert!(!missed.end(seen) && !missed.is_over());
        assert!(told.has_changed().expect("its sender is there"), "there is another turn");
        assert!(missed.end(second) && missed.is_over());
        assert!(!missed.end(second), "once only");
    }
}
