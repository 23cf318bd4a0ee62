//! When to build: a moment after changes come to rest, and never much later than the first of them.

use std::time::Duration;

use tokio::time::Instant;

/// So long nothing else has to change.
const QUIET: Duration = Duration::from_millis(10);

/// A build is not later than this after the first change.
const MOST: Duration = Duration::from_millis(100);

/// Nor than this, if Secrets are being read that the change is about: a new host without its certificate would
/// answer its first clients with another one.
const MOST_UNSETTLED: Duration = Duration::from_millis(250);

/// Changes that no build has taken up.
#[derive(Debug, Default)]
pub(super) struct Settle {
    since: Option<(Instant, Instant)>,
}

impl Settle {
    /// Something changed.
    pub(super) fn touch(&mut self, now: Instant) {
        let first = self.since.map_or(now, |(first, _)| first);
        self.since = Some((first, now));
    }

    /// When to build, if anything changed. Unsettled: something more is about to come.
    pub(super) fn due(&self, is_settled: bool) -> Option<Instant> {
        let (first, last) = self.since?;
        Some(if is_settled { (last + QUIET).min(first + MOST) } else { first + MOST_UNSETTLED })
    }

    /// A build takes everything up.
    pub(super) fn clear(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_build_and_a_stream_is_not_held_up() {
        let mut settle = Settle::default();
        let start = Instant::now();
        assert_eq!(settle.due(true), None);
        settle.touch(start);
        assert_eq!(settle.due(true), Some(start + QUIET));
        let later = start + Duration::from_millis(8);
        settle.touch(later);
        assert_eq!(settle.due(true), Some(later + QUIET));
        let busy = start + Duration::from_millis(95);
        settle.touch(busy);
        assert_eq!(settle.due(true), Some(start + MOST));
        assert_eq!(settle.due(false), Some(start + MOST_UNSETTLED));
        settle.clear();
        assert_eq!(settle.due(true), None);
    }
}
