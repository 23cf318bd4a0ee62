//! Health checks of endpoints.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::sharded::{ShardedCounter, family, resolve};
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
        let results = family(registry, "lb_l7_health_checks", "Health checks of endpoints, by result");
        let results = CheckResult::LABELS.map(|result| resolve(&results, vec![("result", result)]));
        let (failing, panicking) = (Gauge::default(), Gauge::default());
        let help = "Endpoints that fail their health checks";
        registry.register("lb_l7_failing_endpoints", help, failing.clone());
        let help = "Backends of which most endpoints fail their health checks, so that all get requests";
        registry.register("lb_l7_panicking_backends", help, panicking.clone());
        Self { results, failing, panicking }
    }

    /// The end of a check.
    pub fn checked(&self, result: CheckResult) {
        if let Some(place) = result.place() {
            self.results[place].inc();
        }
    }
}
