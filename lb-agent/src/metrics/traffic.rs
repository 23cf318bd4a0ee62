//! Requests, errors and durations of each route, and what each Service's endpoints do: counted in the route's own state, summed
//! when somebody asks.

mod told;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::registry::Registry;

use super::l7::{CLASSES, class_of};
use super::series::{Counts, Series};
use super::sharded::{PerThread, RESULTS};
use super::times::Times;
use crate::l7::{Blame, CallEnd};

/// What is counted by route and by Service. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct TrafficMetrics {
    routes: Arc<Mutex<Series<3, RouteTally>>>,
    services: Arc<Mutex<Series<2, ServiceTally>>>,
}

/// Where a route's requests are counted.
pub type RouteCounts = Counts<RouteTally>;

/// Where what a Service's endpoints do is counted.
pub type ServiceCounts = Counts<ServiceTally>;

impl TrafficMetrics {
    /// Registers all of them. Nothing is counted until there is a limit.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            routes: Arc::new(Mutex::new(Series::new("route"))),
            services: Arc::new(Mutex::new(Series::new("service"))),
        };
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// So many routes have series of their own, and so many Services; with 0 nothing is counted.
    pub fn limit(&self, limit: usize) {
        lock(&self.routes).limit(limit);
        lock(&self.services).limit(limit);
    }

    /// Where requests that take this Ingress's way to this Service are counted.
    #[must_use]
    pub fn route(&self, namespace: &str, ingress: &str, service: &str) -> Option<RouteCounts> {
        lock(&self.routes).of([namespace, ingress, service])
    }

    /// Where what this Service's endpoints do is counted.
    #[must_use]
    pub fn service(&self, namespace: &str, service: &str) -> Option<ServiceCounts> {
        lock(&self.services).of([namespace, service])
    }
}

fn lock<T>(series: &Mutex<T>) -> MutexGuard<'_, T> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The requests of a route.
#[derive(Debug, Default)]
pub struct RouteTally(PerThread<RouteShard>);

#[derive(Debug, Default)]
struct RouteShard {
    requests: [AtomicU64; CLASSES.len()],
    errors: [AtomicU64; Blame::ALL.len()],
    calls: [AtomicU64; CallEnd::ALL.len()],
    times: Times,
}

impl RouteTally {
    /// A request is over.
    pub fn request(&self, status: StatusCode, blame: Option<Blame>, call: Option<CallEnd>, took: Duration) {
        let own = self.0.own();
        inc(&own.requests[class_of(status)]);
        blame.into_iter().for_each(|blame| inc(&own.errors[blame as usize]));
        call.into_iter().for_each(|end| inc(&own.calls[end as usize]));
        own.times.add(took);
    }
}

/// What a Service's endpoints do.
#[derive(Debug, Default)]
pub struct ServiceTally(PerThread<ServiceShard>);

#[derive(Debug, Default)]
struct ServiceShard {
    connects: [AtomicU64; RESULTS.len()],
    connect_times: Times,
    response_times: Times,
    retries: AtomicU64,
    in_flight: AtomicU64,
    pending: AtomicU64,
}

impl ServiceTally {
    /// A connection was opened, or could not be.
    pub fn connected(&self, succeeded: bool, took: Duration) {
        let own = self.0.own();
        inc(&own.connects[usize::from(succeeded)]);
        own.connect_times.add(took);
    }

    /// A response begins.
    pub fn answered(&self, took: Duration) {
        self.0.own().response_times.add(took);
    }

    /// A request is sent once more.
    pub fn retried(&self) {
        inc(&self.0.own().retries);
    }

    /// A request is at an endpoint.
    pub fn begins(&self) {
        inc(&self.0.own().in_flight);
    }

    /// It is no more.
    pub fn ends(&self) {
        dec(&self.0.own().in_flight);
    }

    /// A request waits for an endpoint.
    pub fn waits(&self) {
        inc(&self.0.own().pending);
    }

    /// It does not any more.
    pub fn waited(&self) {
        dec(&self.0.own().pending);
    }
}

fn inc(number: &AtomicU64) {
    number.fetch_add(1, Ordering::Relaxed);
}

fn dec(number: &AtomicU64) {
    number.fetch_sub(1, Ordering::Relaxed);
}
