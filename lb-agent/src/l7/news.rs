//! What the log is told of at a limited rate, while a metric counts all of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Of what anybody on the Internet, or a lasting state, gives reason for, the log is told once in this time.
pub(super) const SELDOM: Duration = Duration::from_secs(10);

/// When the log was told last, and of how many it was not since.
pub(super) struct News {
    /// It is told once in this time.
    every: Duration,
    told: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl News {
    /// None yet.
    pub(super) const fn every(every: Duration) -> Self {
        Self { every, told: Cell::new(None), untold: Cell::new(0) }
    }

    /// Whether it is told of one more, and of how many before it was not.
    pub(super) fn at(&self, now: Instant) -> Option<u64> {
        if self.told.get().is_some_and(|told| now.saturating_duration_since(told) < self.every) {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.told.set(Some(now));
        Some(self.untold.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_of_one_in_a_time_and_how_many_it_missed() {
        let every = Duration::from_secs(10);
        let (news, now) = (News::every(every), Instant::now());
        assert_eq!(news.at(now), Some(0));
        assert_eq!(news.at(now), None);
        assert_eq!(news.at(now + every / 2), None);
        assert_eq!(news.at(now + every), Some(2));
        assert_eq!(news.at(now + every + every), Some(0));
    }
}
