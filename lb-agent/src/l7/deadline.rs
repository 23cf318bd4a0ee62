//! Coarse deadlines: setting one is a store, not an operation on a timer wheel. A worker's tick compares all of
//! them a few times within the shortest time-out, so that one passes at most a tick or two late.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

const NEVER: u64 = u64::MAX;

/// All deadlines of one worker.
pub(super) struct Deadlines {
    entries: RefCell<Slab<Entry>>,
    started: Instant,
    tick: Duration,
    /// Ticks since the start, as of the last `advance`.
    now: Cell<u64>,
}

struct Entry {
    at: u64,
    waker: Option<Waker>,
}

impl Deadlines {
    /// Deadlines that are compared every `tick`.
    pub(super) fn new(tick: Duration) -> Rc<Self> {
        let tick = tick.max(Duration::from_millis(1));
        Rc::new(Self { entries: RefCell::default(), started: Instant::now(), tick, now: Cell::new(0) })
    }

    /// How often `advance` is to be called.
    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    /// Ticks since the start.
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// A time in whole ticks, rounded up.
    pub(super) fn ticks(&self, after: Duration) -> u64 {
        // Numbers of 128 bits are slow to divide, and this is asked several times for each request.
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        nanos(after).div_ceil(nanos(self.tick)).min(NEVER / 2)
    }

    /// Moves the clock and wakes whatever has passed.
    pub(super) fn advance(&self) {
        let now =
            u64::try_from(self.started.elapsed().as_nanos() / self.tick.as_nanos()).unwrap_or(NEVER - 1);
        self.now.set(now);
        self.wake(|entry| entry.at <= now);
    }

    /// Wakes everything that waits, passed or not: for a change that all have to see.
    pub(super) fn wake_all(&self) {
        self.wake(|_| true);
    }

    fn wake(&self, due: impl Fn(&Entry) -> bool) {
        let mut entries = self.entries.borrow_mut();
        let due = entries.iter_mut().filter(|(_, entry)| due(entry));
        // Collected first: a waker may run code that takes out a deadline.
        let wakers: Vec<_> = due.filter_map(|(_, entry)| entry.waker.take()).collect();
        drop(entries);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One of them; not set at first.
pub(super) struct Deadline {
    all: Rc<Deadlines>,
    key: usize,
}

impl Deadline {
    /// A new one among the worker's.
    pub(super) fn new(all: &Rc<Deadlines>) -> Self {
        let key = all.entries.borrow_mut().insert(Entry { at: NEVER, waker: None });
        Self { all: all.clone(), key }
    }

    /// Passes after this time, and not before.
    pub(super) fn set(&self, after: Duration) {
        // The current tick has partly gone already.
        self.store(self.all.now() + self.all.ticks(after) + 1);
    }

    /// Passes after this time, if it would not before.
    pub(super) fn bring_forward(&self, after: Duration) {
        let at = self.all.now() + self.all.ticks(after) + 1;
        if let Some(entry) = self.all.entries.borrow_mut().get_mut(self.key) {
            entry.at = entry.at.min(at);
        }
    }

    /// Never passes.
    pub(super) fn clear(&self) {
        self.store(NEVER);
    }

    /// Ready once it has passed. Wakes the last task that asked.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut entries = self.all.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key) else { return Poll::Pending };
        if entry.at <= self.all.now() {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for work, but not longer.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }

    fn store(&self, at: u64) {
        if let Some(entry) = self.all.entries.borrow_mut().get_mut(self.key) {
            entry.at = at;
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // Named, so that its waker is dropped after the borrow has ended.
        let _entry = self.all.entries.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(deadline: &Deadline) -> bool {
        deadline.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn it_passes_after_its_time_and_never_when_cleared() {
        let all = Deadlines::new(Duration::from_millis(1));
        let (short, cleared) = (Deadline::new(&all), Deadline::new(&all));
        assert!(!is_over(&short), "not set yet");
        let set_at = Instant::now();
        short.set(Duration::from_millis(5));
        cleared.set(Duration::from_millis(1));
        cleared.clear();
        while !is_over(&short) {
            assert!(set_at.elapsed() < Duration::from_secs(10), "never passed");
            all.advance();
        }
        assert!(set_at.elapsed() >= Duration::from_millis(5), "too early");
        assert!(!is_over(&cleared));
    }

    #[test]
    fn it_can_be_brought_forward_and_not_back() {
        let all = Deadlines::new(Duration::from_millis(1));
        let deadline = Deadline::new(&all);
        deadline.set(Duration::from_secs(60));
        deadline.bring_forward(Duration::ZERO);
        deadline.bring_forward(Duration::from_secs(60));
        let set_at = Instant::now();
        while !is_over(&deadline) {
            assert!(set_at.elapsed() < Duration::from_secs(10), "never passed");
            all.advance();
        }
    }

    #[test]
    fn dropped_ones_leave_nothing() {
        let all = Deadlines::new(Duration::from_millis(1));
        drop([Deadline::new(&all), Deadline::new(&all)]);
        assert!(all.entries.borrow().is_empty());
    }
}
