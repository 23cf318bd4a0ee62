//! Numbers that threads count into without touching each other's cache lines. Counters are resolved once: who counts looks for
//! nothing.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::metrics::counter::{Atomic, Counter};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::Registry;

use super::Labels;

pub(super) type ShardedCounter = Counter<u64, Sharded>;

pub(super) fn family(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Family<Labels, ShardedCounter, NewCounter> {
    let family = Family::new_with_constructor(NewCounter);
    registry.register(name, help, family.clone());
    family
}

/// A counter without labels.
pub(super) fn counter(registry: &mut Registry, name: &str, help: &str) -> ShardedCounter {
    let counter = ShardedCounter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// A counter for each of a label's values.
pub(super) fn counters<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: [&'static str; N],
) -> [ShardedCounter; N] {
    let family = family(registry, name, help);
    values.map(|value| resolve(&family, vec![(label, value)]))
}

/// Of an attempt that fails or succeeds, by whether it succeeded.
pub(super) const RESULTS: [&str; 2] = ["failed", "ok"];

pub(super) fn resolve(family: &Family<Labels, ShardedCounter, NewCounter>, labels: Labels) -> ShardedCounter {
    family.get_or_create_owned(&labels)
}

#[derive(Clone, Debug)]
pub(super) struct NewCounter;

impl MetricConstructor<ShardedCounter> for NewCounter {
    fn new_metric(&self) -> ShardedCounter {
        ShardedCounter::default()
    }
}

/// The same for each thread, on cache lines of its own. Beyond so many, threads share.
#[derive(Debug, Default)]
pub(super) struct PerThread<T>([Line<T>; SHARDS]);

const SHARDS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

impl<T> PerThread<T> {
    /// The calling thread's.
    pub(super) fn own(&self) -> &T {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        &self.0[SHARD.get()].0
    }

    /// What all threads have counted. A number that is counted up by one thread and down by another comes out right.
    pub(super) fn sum(&self, number: impl Fn(&T) -> &AtomicU64) -> u64 {
        let all = self.0.iter().map(|line| number(&line.0).load(Ordering::Relaxed));
        all.fold(0, u64::wrapping_add)
    }
}

/// A number.
#[derive(Debug, Default)]
pub(super) struct Sharded(PerThread<AtomicU64>);

impl Atomic<u64> for Sharded {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, by: u64) -> u64 {
        self.0.own().fetch_add(by, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.sum(|number| number)
    }
}
