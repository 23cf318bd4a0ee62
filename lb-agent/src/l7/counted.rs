//! What a worker counts of a Service's endpoints; nothing, and no clock is read for it, where the Service has no metrics.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::{ServiceCounts, ServiceTally};

/// A clone counts into the same metrics.
#[derive(Clone, Default)]
pub(super) struct Counted(Option<Rc<Service>>);

/// Each request has it: workers would fight for the count of owners of the tally itself.
struct Service(Arc<ServiceTally>);

impl From<Option<&ServiceCounts>> for Counted {
    /// What begins is counted where it ends: it stays with what the Service has now.
    fn from(counts: Option<&ServiceCounts>) -> Self {
        Self(counts.map(|counts| Rc::new(Service(counts.now().clone()))))
    }
}

impl Counted {
    /// Whether anything is.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Opens a connection.
    pub(super) async fn connecting<T, E>(&self, opening: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let Some(counts) = &self.0 else { return opening.await };
        let began = Instant::now();
        let opened = opening.await;
        counts.0.connected(opened.is_ok(), began.elapsed());
        opened
    }

    /// A response begins.
    pub(super) fn answered(&self, took: Duration) {
        if let Some(counts) = &self.0 {
            counts.0.answered(took);
        }
    }

    /// A request is sent once more.
    pub(super) fn retried(&self) {
        if let Some(counts) = &self.0 {
            counts.0.retried();
        }
    }

    /// A request is at an endpoint.
    pub(super) fn begins(&self) {
        if let Some(counts) = &self.0 {
            counts.0.begins();
        }
    }

    /// It is no more.
    pub(super) fn ends(&self) {
        if let Some(counts) = &self.0 {
            counts.0.ends();
        }
    }

    /// A request waits for an endpoint, until this is dropped.
    pub(super) fn waits(&self) -> Option<Waits> {
        self.0.as_ref().map(|counts| {
            counts.0.waits();
            Waits(counts.clone())
        })
    }
}

/// A request that waits.
pub(super) struct Waits(Rc<Service>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.0.waited();
    }
}
