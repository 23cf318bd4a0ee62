//! Idle connections to an endpoint: a stack, so that the warmest is used first and the rest can grow old.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::deadline::Deadlines;
use super::endpoint::EndpointConnection;
use crate::metrics::Metrics;

/// So much sooner than an endpoint closes a connection we do: a request on its way may not meet that.
const MARGIN: Duration = Duration::from_secs(1);

/// How connections are kept, and where what they do is counted: the same for all endpoints of a worker.
pub(super) struct Keeping {
    deadlines: Rc<Deadlines>,
    metrics: Metrics,
    /// Connections kept per endpoint.
    limit: usize,
    /// Age at which one is closed, in ticks.
    max_idle: u64,
}

impl Keeping {
    /// So many for each endpoint, so long.
    pub(super) fn new(
        deadlines: &Rc<Deadlines>,
        limit: usize,
        max_idle: Duration,
        metrics: &Metrics,
    ) -> Self {
        let (max_idle, metrics) = (deadlines.ticks(max_idle), metrics.clone());
        Self { deadlines: deadlines.clone(), metrics, limit, max_idle }
    }

    /// The worker's.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What time it is, and since when at least one has to have been used: in ticks.
    pub(super) fn times(&self) -> (u64, u64) {
        let now = self.deadlines.now();
        (now, now.saturating_sub(self.max_idle))
    }

    /// Until when a connection is kept that is idle from now on: as long as we want, and its endpoint does.
    fn until(&self, connection: &EndpointConnection) -> u64 {
        let own = connection.keeps_for.map(|time| self.deadlines.ticks(time.saturating_sub(MARGIN)));
        self.deadlines.now() + own.map_or(self.max_idle, |own| own.min(self.max_idle))
    }
}

/// Those of one endpoint.
pub(super) struct Pool {
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    idle: RefCell<Vec<Box<EndpointConnection>>>,
    is_closed: Cell<bool>,
    keeping: Rc<Keeping>,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(keeping: &Rc<Keeping>) -> Self {
        Self { idle: RefCell::default(), is_closed: Cell::new(false), keeping: keeping.clone() }
    }

    /// The connection that was used last. The endpoint may have closed it all the same: sending finds out.
    pub(super) fn take(&self) -> Option<Box<EndpointConnection>> {
        let (mut idle, now) = (self.idle.borrow_mut(), self.keeping.deadlines.now());
        loop {
            let connection = idle.pop()?;
            if now < connection.idle_until {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection over which another request could go.
    pub(super) fn put(&self, mut connection: Box<EndpointConnection>) {
        connection.deadline.clear();
        if self.is_closed.get() {
            return;
        }
        connection.idle_until = self.keeping.until(&connection);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.keeping.limit {
            idle.push(connection);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.idle.borrow().len()).unwrap_or(u32::MAX)
    }

    /// Closes what has been idle for too long, or was closed by the endpoint.
    pub(super) fn sweep(&self) {
        let (mut idle, now) = (self.idle.borrow_mut(), self.keeping.deadlines.now());
        idle.retain_mut(|connection| now < connection.idle_until && connection.is_quiet());
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes all of them, and keeps none any more.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.clear();
    }
}
