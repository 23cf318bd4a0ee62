//! When processor time or memory runs short, new work is refused early (503 with Retry-After; new TLS connections are
//! closed): what is taken is then answered in time, instead of all of it too late.

mod memory;
mod shedding;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};

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
/// Pieces of new work that one look at the clock is for.
const ONE_LOOK: u64 = 16;
/// One of so many is let in however late it is: else nobody would be answered where the refusals alone are too much.
const LET_IN: u8 = 16;

/// What all workers share: the part of the memory that is in use, in percent.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryUse(Arc<AtomicU32>);

/// Whether a worker refuses new work.
pub(super) struct Overload {
    limits: Limits,
    shedding: Shedding,
    /// As of the last look at the clock.
    is_late: Cell<bool>,
    /// Of 65,536 requests, for want of memory.
    share: Cell<u16>,
    memory: MemoryUse,
    /// Requests and connections, all and those up to the last look.
    asked: Cell<u64>,
    seen: Cell<u64>,
}

impl Overload {
    pub(super) fn new(limits: &Limits, memory: MemoryUse) -> Self {
        Self {
            limits: *limits,
            shedding: Shedding::new(limits.time(Limit::WorkerDelay), Instant::now()),
            is_late: Cell::default(),
            share: Cell::default(),
            memory,
            asked: Cell::default(),
            seen: Cell::default(),
        }
    }

    /// Why this piece of new work is to be refused, if it is.
    pub(super) fn refuses(&self) -> Option<Limit> {
        let asked = self.asked.get();
        self.asked.set(asked + 1);
        if asked.is_multiple_of(ONE_LOOK) {
            self.is_late.set(self.shedding.refuses(Instant::now()));
        }
        if self.is_late.get() && fastrand::u8(..LET_IN) > 0 {
            return Some(Limit::WorkerDelay);
        }
        let share = self.share.get();
        (share > 0 && fastrand::u16(..) < share).then_some(Limit::Memory)
    }

    /// The probe has come to its turn; how long it is to wait for the next one.
    fn look(&self) -> Duration {
        // Else an idle worker would go by what was so when it was asked last.
        self.is_late.set(self.shedding.came(Instant::now()));
        let percent = u64::from(self.memory.0.load(Ordering::Relaxed));
        self.share.set(shedding::by_memory(percent, self.limits.of(Limit::Memory)));
        let was_idle = self.seen.replace(self.asked.get()) == self.asked.get();
        match (self.shedding.is_pressing(), was_idle) {
            (true, _) => Duration::ZERO,
            (false, false) => LOOK,
            (false, true) => LOOK_IDLE,
        }
    }
}

/// Looks how late this worker comes to what is ready: a timer stands in the same queue as requests do.
pub(super) async fn follow(worker: Rc<Worker>) {
    let overload = &worker.overload;
    loop {
        let pause = overload.look();
        let due = Instant::now() + pause;
        overload.shedding.joins(due);
        if pause.is_zero() {
            yield_now().await;
        } else {
            sleep_until(due.into()).await;
        }
    }
}

/// Looks at the memory, for all workers, in the kernel's files below this folder. Ends with them.
pub(super) async fn follow_memory(shared: MemoryUse, root: Arc<Path>) {
    let memory = Memory::find(&root);
    loop {
        // Files of the kernel's: no disk is waited for.
        shared.0.store(memory.percent(), Ordering::Relaxed);
        sleep(LOOK_AT_MEMORY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_refused_once_the_probe_has_come_in_time() {
        let overload = Overload::new(&Limits::default(), MemoryUse::default());
        overload.is_late.set(true);
        // Between two looks at the clock.
        overload.asked.set(1);
        assert_eq!(overload.look(), LOOK);
        assert!((2..ONE_LOOK).all(|_| overload.refuses().is_none()));
    }
}
