//! Health checks of endpoints.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gauge;
use super::sharded::{ShardedCounter, counters};
use crate::model::CheckResult;

/// What health checks count. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct CheckMetrics {
    results: [ShardedCounter; CheckResult::LABELS.len()],
    /// Endpoints that fail their checks.
    pub failing: Gauge,
    /// Backends of which most endpoints fail them, so that all get requests.
    pub panicking: Gauge,
}

impl CheckMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Health checks of endpoints, by result";
        let results = counters(registry, "lb_l7_health_checks", help, "result", CheckResult::LABELS);
        let help = "Endpoints that fail their health checks";
        let failing = gauge(registry, "lb_l7_failing_endpoints", help);
        let help = "Backends of which most endpoints fail their health checks, so that all get requests";
        let panicking = gauge(registry, "lb_l7_panicking_backends", help);
        Self { results, failing, panicking }
    }

    /// The end of a check.
    pub fn checked(&self, result: CheckResult) {
        if let Some(place) = result.place() {
            self.results[place].inc();
        }
    }
}
