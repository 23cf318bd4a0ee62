//! Requests that wait because each endpoint of their backend has as many as it may have: so many, and for so long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use super::limits::{Limit, Limits};
use crate::model::RequestLimits;

/// A worker's share of the limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Requests under way at one endpoint.
    pub(super) at_endpoint: u32,
    /// Requests of one backend that wait.
    pub(super) waiting: usize,
    /// How long one waits.
    pub(super) time: Duration,
    workers: u64,
}

impl Bounds {
    /// Of one of so many workers; nobody waits longer than for a response.
    pub(super) fn new(limits: &Limits, workers: usize, response: Duration) -> Self {
        let workers = u64::try_from(workers.max(1)).unwrap_or(u64::MAX);
        let share = |limit| limits.of(limit).div_ceil(workers);
        Self {
            at_endpoint: u32::try_from(share(Limit::EndpointRequests)).unwrap_or(u32::MAX),
            waiting: usize::try_from(share(Limit::PendingRequests)).unwrap_or(usize::MAX),
            time: limits.time(Limit::PendingTime).min(response),
            workers,
        }
    }

    /// The same where a backend wants them otherwise.
    pub(super) fn with(self, own: &RequestLimits) -> Self {
        let share = |limit: u32| u64::from(limit).div_ceil(self.workers);
        let at_endpoint = own.endpoint_requests.and_then(|limit| u32::try_from(share(limit)).ok());
        let waiting = own.pending_requests.and_then(|limit| usize::try_from(share(limit)).ok());
        Self {
            at_endpoint: at_endpoint.unwrap_or(self.at_endpoint),
            waiting: waiting.unwrap_or(self.waiting),
            time: own.pending_time.unwrap_or(self.time),
            ..self
        }
    }
}

/// The requests of one backend that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Queue {
    count: Cell<usize>,
    freed: Notify,
}

impl Queue {
    /// All that wait look for an endpoint: these may not be the ones of now.
    pub(super) fn wake_all(&self) {
        self.freed.notify_waiters();
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    /// One more waits, until its place is dropped; the gauge has those of all queues.
    pub(super) fn enter(self: &Rc<Self>, all: &Gauge) -> Place {
        self.count.set(self.count.get() + 1);
        all.inc();
        Place { queue: self.clone(), all: all.clone() }
    }
}

/// A place in a queue.
pub(super) struct Place {
    queue: Rc<Queue>,
    all: Gauge,
}

impl Place {
    /// It is this one's turn to look for an endpoint. Who is gone by then leaves it to the next one.
    pub(super) async fn freed(&self) {
        self.queue.freed.notified().await;
    }

    /// It has no use for its turn.
    pub(super) fn pass_on(&self) {
        self.queue.freed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.count.set(self.queue.count.get() - 1);
        self.all.dec();
    }
}

/// The queues of the backends that wait for one endpoint.
#[derive(Default)]
pub(super) struct Queues(RefCell<Vec<Rc<Queue>>>);

impl Queues {
    /// Requests of this one wait for the endpoint.
    pub(super) fn add(&self, queue: &Rc<Queue>) {
        let mut all = self.0.borrow_mut();
        if !all.iter().any(|known| Rc::ptr_eq(known, queue)) {
            all.push(queue.clone());
        }
    }

    /// The endpoint has finished a request: the first of one backend may look, next time of another one.
    pub(super) fn next(&self) {
        let mut all = self.0.borrow_mut();
        if all.is_empty() {
            return;
        }
        all.retain(|queue| queue.count() > 0);
        if let Some(first) = all.first() {
            first.freed.notify_one();
            all.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_its_turn(freed: &mut std::pin::Pin<Box<impl Future<Output = ()>>>) -> bool {
        freed.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn each_worker_has_its_share() {
        let limits = ["endpoint-requests=9", "pending-requests=4", "pending-time=2000"];
        let limits: Limits = limits.iter().map(|text| text.parse().expect("a setting")).collect();
        let bounds = Bounds::new(&limits, 2, Duration::from_secs(1));
        assert_eq!((bounds.at_endpoint, bounds.waiting, bounds.time), (5, 2, Duration::from_secs(1)));
        let own = bounds.with(&RequestLimits { endpoint_requests: Some(3), ..RequestLimits::default() });
        assert_eq!((own.at_endpoint, own.waiting, own.time), (2, 2, Duration::from_secs(1)));
    }

    #[test]
    fn the_first_that_still_waits_is_told_and_backends_take_turns() {
        let (one, other) = (Rc::<Queue>::default(), Rc::<Queue>::default());
        let (queues, all) = (Queues::default(), Gauge::default());
        let places = [&one, &one, &other].map(|queue| queue.enter(&all));
        assert_eq!(all.get(), 3);
        [&one, &other, &one].into_iter().for_each(|queue| queues.add(queue));
        let [mut first, mut second, mut third] = places.each_ref().map(|place| Box::pin(place.freed()));
        assert!(!is_its_turn(&mut first) && !is_its_turn(&mut second) && !is_its_turn(&mut third));
        queues.next();
        drop(first);
        assert!(is_its_turn(&mut second), "the first one is gone");
        assert!(!is_its_turn(&mut third));
        queues.next();
        assert!(is_its_turn(&mut third));
        drop((second, third));
        drop(places);
        queues.next();
        assert!(queues.0.borrow().is_empty() && one.count() == 0 && all.get() == 0);
    }
}
