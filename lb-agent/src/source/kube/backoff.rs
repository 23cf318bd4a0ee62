//! How long to wait before the next attempt: twice as long each time, within bounds, and by chance, so that a
//! cluster's nodes do not come back to a server all at once.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(100);

/// Never more than this: it is also how soon a server that is back is noticed.
const MOST: Duration = Duration::from_secs(10);

/// The attempts in a row that failed.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After another failure: the pause before the next attempt, between half and all of what is due.
    pub(super) fn next(&mut self) -> Duration {
        let due = FIRST.saturating_mul(1 << self.failures.min(16)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        due.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST, "{pauses:?}");
        assert!(pauses[8..].iter().all(|pause| *pause >= MOST / 2 && *pause <= MOST), "{pauses:?}");
        assert!(pauses[8..].iter().any(|pause| *pause != pauses[8]), "{pauses:?}");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
