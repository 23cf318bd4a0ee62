//! A backend as requests see it: its endpoints, and which of them is next.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::reply::Reply;
use crate::model::Backend;

/// A compiled backend.
#[derive(Debug)]
pub(super) struct Target {
    endpoints: Result<Box<[SocketAddr]>, Reply>,
}

impl Target {
    /// From the model.
    pub(super) fn compile(backend: &Backend) -> Self {
        let endpoints =
            backend.endpoints.as_ref().map(|all| all.as_slice().into()).map_err(|why| (*why).into());
        Self { endpoints }
    }

    /// Its endpoints, at least one.
    pub(super) fn endpoints(&self) -> Result<&[SocketAddr], Reply> {
        match &self.endpoints {
            Ok(endpoints) if endpoints.is_empty() => Err(Reply::Unavailable),
            Ok(endpoints) => Ok(endpoints),
            Err(reply) => Err(*reply),
        }
    }
}

/// A worker's place in each backend's round. Each starts somewhere at random, so that workers do not go in step.
#[derive(Default)]
pub(super) struct RoundRobin {
    next: RefCell<HashMap<usize, usize, RandomState>>,
    generation: Cell<u64>,
}

impl RoundRobin {
    /// Forgets the backends of other generations.
    pub(super) fn enter(&self, generation: u64) {
        if self.generation.replace(generation) != generation {
            self.next.borrow_mut().clear();
        }
    }

    /// Where to start among `count` endpoints of this target.
    pub(super) fn next(&self, target: &Arc<Target>, count: usize) -> usize {
        if count <= 1 {
            return 0;
        }
        let mut next = self.next.borrow_mut();
        // The target is held by the current generation: no other one has its address.
        let place = next.entry(Arc::as_ptr(target).addr()).or_insert_with(|| fastrand::usize(..count));
        let start = *place % count;
        *place = start + 1;
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(ports: std::ops::Range<u16>) -> Arc<Target> {
        let endpoints = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        Arc::new(Target { endpoints: Ok(endpoints) })
    }

    #[test]
    fn endpoints_take_turns_whatever_other_backends_do() {
        let (round, one, other) = (RoundRobin::default(), target(1..4), target(1..3));
        let mut counts = [0; 3];
        for _ in 0..9 {
            counts[round.next(&one, 3)] += 1;
            round.next(&other, 2);
        }
        assert_eq!(counts, [3, 3, 3]);
    }

    #[test]
    fn backends_without_endpoints_say_why() {
        assert_eq!(target(1..1).endpoints(), Err(Reply::Unavailable));
    }
}
