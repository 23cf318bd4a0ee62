//! A connection's life as all kinds share it: opened, told of the end, and how long it waited.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use super::super::fate::{End, Failure, Flow};

/// How long a client waits for an answer or for the next bytes.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Between two requests of one connection.
pub(super) const EACH: Duration = Duration::from_secs(1);

/// What clients do at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// They open, and are quiet: what they will do would make opening the rest slow.
    Opening,
    /// They do what their kind does.
    Live,
    /// Each proves once more that it lives, and ends.
    Last,
}

/// What all clients tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    opened: Mutex<Vec<Flow>>,
}

impl Told {
    /// The connections that are open.
    pub(super) fn opened(&self) -> Vec<Flow> {
        self.lock().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Flow>> {
        // A panic of another thread does not spoil a list.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Life {
    /// Which of all connections it is: the seed of its patterns, and its turn within a second.
    pub(super) number: u64,
    pub(super) flow: Flow,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) told: Arc<Told>,
    /// Microseconds.
    pub(super) stall: AtomicU64,
    /// Its turn to be opened; none once it is.
    pub(super) turn: RefCell<Option<OwnedSemaphorePermit>>,
}

impl Life {
    /// The first exchange is done: it counts from now on.
    pub(super) fn opened(&self) {
        drop(self.turn.take());
        // Opening is not what is measured.
        self.stall.store(0, Ordering::Relaxed);
        self.told.lock().push(self.flow);
    }

    /// Waits for a step that takes `usual` where nothing is wrong.
    pub(super) async fn wait<T>(
        &self,
        usual: Duration,
        step: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let done = timeout(PATIENCE, step).await;
        let stall = start.elapsed().saturating_sub(usual).as_micros() as u64;
        self.stall.fetch_max(stall, Ordering::Relaxed);
        done.unwrap_or_else(|_| Err(Failure::new(End::TimedOut, format!("nothing for {PATIENCE:?}"))))
    }

    pub(super) fn is_open(&self) -> bool {
        self.turn.borrow().is_none()
    }

    pub(super) fn stall(&self) -> Duration {
        Duration::from_micros(self.stall.load(Ordering::Relaxed))
    }

    pub(super) fn is_last(&self) -> bool {
        *self.phase.borrow() == Phase::Last
    }

    /// Waits until all are open.
    pub(super) async fn live(&self) {
        // As in `last`.
        let _ = self.phase.clone().wait_for(|phase| *phase != Phase::Opening).await;
    }

    /// Waits until it is to end.
    pub(super) async fn last(&self) {
        // Without a sender there is nobody left to live for.
        let _ = self.phase.clone().wait_for(|phase| *phase == Phase::Last).await;
    }

    /// The turns of this connection: one each second, those of all connections spread over the second.
    pub(super) fn turns(&self) -> tokio::time::Interval {
        let offset = Duration::from_millis(self.number.wrapping_mul(397) % 1_000);
        let mut turns = tokio::time::interval_at(Instant::now() + offset + EACH / 10, EACH);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        turns
    }
}
