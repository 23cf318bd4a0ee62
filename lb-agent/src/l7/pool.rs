//! Idle connections to endpoints, per worker: a stack for each, so that the warmest is used first and the rest
//! can grow old.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::deadline::Deadlines;
use super::endpoint::EndpointConnection;

type Stack = Vec<Box<EndpointConnection>>;

pub(super) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Stack, RandomState>>,
    deadlines: Rc<Deadlines>,
    /// Connections kept per endpoint.
    limit: usize,
    /// Age at which one is closed, in ticks.
    max_idle: u64,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(deadlines: &Rc<Deadlines>, limit: usize, max_idle: std::time::Duration) -> Self {
        let max_idle = deadlines.ticks(max_idle);
        Self { idle: RefCell::default(), deadlines: deadlines.clone(), limit, max_idle }
    }

    /// The connection that was used last. The endpoint may have closed it: sending finds out.
    pub(super) fn take(&self, endpoint: SocketAddr) -> Option<Box<EndpointConnection>> {
        self.idle.borrow_mut().get_mut(&endpoint)?.pop()
    }

    /// Keeps a connection, if another request could go over it.
    pub(super) fn put(&self, mut connection: Box<EndpointConnection>) {
        connection.deadline.clear();
        if !connection.is_reusable() {
            connection.refresh();
            if !connection.is_reusable() {
                return;
            }
        }
        connection.used_at = self.deadlines.now();
        let mut idle = self.idle.borrow_mut();
        let stack = idle.entry(connection.address).or_default();
        if stack.len() < self.limit {
            stack.push(connection);
        }
    }

    /// Closes what has been idle for too long, or was closed by its endpoint.
    pub(super) fn sweep(&self) {
        let oldest = self.deadlines.now().saturating_sub(self.max_idle);
        self.idle.borrow_mut().retain(|_, stack| {
            stack.iter_mut().for_each(|connection| connection.refresh());
            stack.retain(|connection| connection.used_at >= oldest && connection.is_reusable());
            !stack.is_empty()
        });
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
