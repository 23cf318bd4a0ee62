//! What becomes of connections to endpoints, and of endpoints that fail.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gauge;
use super::sharded::{RESULTS, ShardedCounter, counter, counters};
use crate::l7::{Breach, EndpointTlsFailure, Offence, Shortage};

/// What is counted of endpoints. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    connects: [ShardedCounter; RESULTS.len()],
    shortages: [ShardedCounter; Shortage::ALL.len()],
    failed_handshakes: [ShardedCounter; EndpointTlsFailure::ALL.len()],
    retries: [ShardedCounter; 5],
    ejections: [ShardedCounter; Offence::ALL.len()],
    breaches: [ShardedCounter; Breach::ALL.len()],
    ejected: Gauge,
    pending: Gauge,
    spliced: ShardedCounter,
}

impl UpstreamMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Connections opened to endpoints, by result";
        let connects = counters(registry, "lb_l7_upstream_connects", help, "result", RESULTS);
        let help = "Connections to endpoints for which this system had nothing left, by what was short";
        let reasons = Shortage::ALL.map(Shortage::label);
        let shortages = counters(registry, "lb_l7_upstream_shortages", help, "reason", reasons);
        let help = "TLS handshakes with endpoints that failed, by reason";
        let reasons = EndpointTlsFailure::ALL.map(EndpointTlsFailure::label);
        let failed_handshakes = counters(registry, "lb_l7_upstream_tls_failures", help, "reason", reasons);
        let help = "Requests that could be sent again: because there was no connection to an endpoint, because none had looked at \
                    them, because a connection that was kept had been closed, or as the budget allowed or not";
        let outcomes = ["refused", "retried", "unseen", "unconnected", "stale"];
        let retries = counters(registry, "lb_l7_upstream_retries", help, "outcome", outcomes);
        let help = "Endpoints set aside for a while, by each worker, by how they failed last";
        let reasons = Offence::ALL.map(Offence::label);
        let ejections = counters(registry, "lb_l7_upstream_ejections", help, "reason", reasons);
        let help = "Times that endpoints broke the rules of HTTP, by how";
        let reasons = Breach::ALL.map(Breach::label);
        let breaches = counters(registry, "lb_l7_upstream_breaches", help, "reason", reasons);
        let help = "Endpoints that are set aside now, summed over the workers";
        let ejected = gauge(registry, "lb_l7_upstream_ejected", help);
        let help = "Requests that wait until an endpoint of their backend has less to do";
        let pending = gauge(registry, "lb_l7_upstream_pending", help);
        let help = "Bytes of bodies that went from socket to socket without a copy";
        let spliced = counter(registry, "lb_l7_upstream_spliced_bytes", help);
        Self {
            connects,
            shortages,
            failed_handshakes,
            retries,
            ejections,
            breaches,
            ejected,
            pending,
            spliced,
        }
    }

    /// The end of an attempt to connect to an endpoint.
    pub fn connect(&self, succeeded: bool) {
        self.connects[usize::from(succeeded)].inc();
    }

    /// There was nothing left for a connection to an endpoint.
    pub fn short(&self, shortage: Shortage) {
        self.shortages[shortage as usize].inc();
    }

    /// A TLS handshake with an endpoint that failed.
    pub fn handshake_failed(&self, why: EndpointTlsFailure) {
        self.failed_handshakes[why as usize].inc();
    }

    /// An endpoint breaks the rules of HTTP.
    pub fn breach(&self, breach: Breach) {
        self.breaches[breach as usize].inc();
    }

    /// An endpoint is set aside.
    pub fn ejected(&self, offence: Offence) {
        self.ejections[offence as usize].inc();
        self.ejected.inc();
    }

    /// It is so no more.
    pub fn back(&self) {
        self.ejected.dec();
    }

    /// Requests that wait for an endpoint.
    #[must_use]
    pub const fn pending(&self) -> &Gauge {
        &self.pending
    }

    /// Bytes of a response went from socket to socket.
    pub fn spliced(&self, bytes: u64) {
        self.spliced.inc_by(bytes);
    }

    /// A request that could be sent a second time, and whether it was.
    pub fn retry(&self, retried: bool) {
        self.retries[usize::from(retried)].inc();
    }

    /// A request is sent again that an endpoint has taken and not looked at.
    pub fn unseen(&self) {
        self.retries[2].inc();
    }

    /// A request goes to another endpoint because there was no connection to the one before.
    pub fn unconnected(&self) {
        self.retries[3].inc();
    }

    /// A request is sent to the same endpoint over a new connection, because that had closed the one that was kept.
    pub fn stale(&self) {
        self.retries[4].inc();
    }
}
