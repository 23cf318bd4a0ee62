//! Counters that are resolved once and sharded by thread: who counts touches a line of its own.

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

pub(super) fn results(family: &Family<Labels, ShardedCounter, NewCounter>) -> [ShardedCounter; 2] {
    ["failed", "ok"].map(|result| resolve(family, vec![("result", result)]))
}

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

/// A number that threads count into without touching each other's cache lines.
#[derive(Debug, Default)]
pub(super) struct Sharded([Shard; SHARDS]);

const SHARDS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

impl Sharded {
    fn own(&self) -> &AtomicU64 {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        &self.0[SHARD.get()].0
    }
}

impl Atomic<u64> for Sharded {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, by: u64) -> u64 {
        self.own().fetch_add(by, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}
