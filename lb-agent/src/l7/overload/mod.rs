//! When processor time or memory runs short, a growing share of new work is refused early (503 with Retry-After; new
//! TLS connections are closed): what is taken is then answered in time, instead of all of it too late.

mod memory;
mod shedding;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::limits::{Limit, Limits};
use super::worker::Worker;
use memory::Memory;
use shedding::Shedding;

/// Between two looks at a busy worker.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at an idle one, which is not to be woken for it.
const LOOK_IDLE: Duration = Duration::from_millis(500);
/// Between two looks at the memory.
const LOOK_AT_MEMORY: Duration = Duration::from_secs(1);

/// What all workers share: the part of the memory that is in use, in percent.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryUse(Arc<AtomicU32>);

/// How much of its new work a worker refuses.
pub(super) struct Overload {
    limits: Limits,
    /// Of 65,536 requests, for want of time and of memory.
    shares: [Cell<u16>; 2],
    memory: MemoryUse,
    /// Requests and connections since the last look.
    asked: Cell<u64>,
}

const REASONS: [Limit; 2] = [Limit::WorkerDelay, Limit::Memory];

impl Overload {
    pub(super) fn new(limits: &Limits, memory: MemoryUse) -> Self {
        Self { limits: *limits, shares: Default::default(), memory, asked: Cell::default() }
    }

    /// Why this piece of new work is to be refused, if it is.
    pub(super) fn refuses(&self) -> Option<Limit> {
        self.asked.set(self.asked.get() + 1);
        let chosen = self.shares.iter().zip(REASONS).find(|(share, _)| {
            let share = share.get();
            share > 0 && fastrand::u16(..) < share
        });
        chosen.map(|(_, limit)| limit)
    }

    fn look(&self, shedding: &mut Shedding, delay: Duration) {
        let limit = Duration::from_millis(self.limits.of(Limit::WorkerDelay));
        self.shares[0].set(shedding.after(delay, limit));
        let percent = u64::from(self.memory.0.load(Ordering::Relaxed));
        self.shares[1].set(shedding::by_memory(percent, self.limits.of(Limit::Memory)));
    }
}

/// Looks how late this worker comes to what is ready: a timer stands in the same queue as requests do.
pub(super) async fn follow(worker: Rc<Worker>) {
    let mut shedding = Shedding::default();
    loop {
        let was_idle = worker.overload.asked.replace(0) == 0;
        let pause = if was_idle && shedding.is_quiet() { LOOK_IDLE } else { LOOK };
        let began = Instant::now();
        sleep(pause).await;
        worker.overload.look(&mut shedding, began.elapsed().saturating_sub(pause));
    }
}

/// Looks at the memory, for all workers. Ends with them, or at once where there is no limit to it.
pub(super) async fn follow_memory(shared: MemoryUse) {
    let Some(memory) = Memory::find() else { return };
    loop {
        sleep(LOOK_AT_MEMORY).await;
        // A file of the kernel's: no disk is waited for.
        shared.0.store(memory.percent(), Ordering::Relaxed);
    }
}
