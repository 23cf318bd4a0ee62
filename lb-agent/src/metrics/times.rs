//! How long things take: histograms with the same bounds everywhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sharded::PerThread;

/// In seconds.
const BOUNDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, f64::INFINITY];

/// In microseconds, of all but the last.
const MICROS: [u64; BOUNDS.len() - 1] =
    [1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// A histogram of one thread.
#[derive(Debug, Default)]
pub(super) struct Times {
    counts: [AtomicU64; BOUNDS.len()],
    micros: AtomicU64,
}

/// That of all.
#[derive(PartialEq, Debug)]
pub(super) struct Told {
    pub(super) seconds: f64,
    pub(super) count: u64,
    /// Each with its bound.
    pub(super) buckets: [(f64, u64); BOUNDS.len()],
}

impl Times {
    /// One more.
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[MICROS.partition_point(|bound| *bound < micros)].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The sum over all threads.
    pub(super) fn told<T>(all: &PerThread<T>, times: impl Fn(&T) -> &Self) -> Told {
        let mut place = 0;
        let buckets = BOUNDS.map(|bound| {
            let count = all.sum(|own| &times(own).counts[place]);
            place += 1;
            (bound, count)
        });
        let count = buckets.iter().map(|(_, count)| count).sum();
        let micros = all.sum(|own| &times(own).micros);
        Told { seconds: micros as f64 / 1e6, count, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_has_room_for_it() {
        let all = PerThread::<Times>::default();
        for millis in [0, 1, 5, 6, 20_000] {
            all.own().add(Duration::from_millis(millis));
        }
        let Told { seconds, count, buckets } = Times::told(&all, |times| times);
        assert_eq!((seconds, count), (20.012, 5));
        let full: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(full, [(0.001, 2), (0.005, 1), (0.01, 1), (f64::INFINITY, 1)]);
        assert!(MICROS.iter().zip(BOUNDS).all(|(micros, bound)| *micros as f64 == bound * 1e6));
    }
}
