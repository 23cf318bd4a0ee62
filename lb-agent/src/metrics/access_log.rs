//! Lines of the access log.

use prometheus_client::registry::Registry;

use super::sharded::{ShardedCounter, counters};

/// What became of a line of the access log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineEnd {
    /// It was written.
    Written,
    /// Too many waited already.
    Dropped,
    /// The file took no more.
    Failed,
}

impl LineEnd {
    const LABELS: [&'static str; 3] = ["written", "dropped", "failed"];
}

/// What the access log counts. A clone counts into the same metric.
#[derive(Clone, Debug)]
pub struct AccessLogMetrics([ShardedCounter; LineEnd::LABELS.len()]);

impl AccessLogMetrics {
    /// Registers it.
    pub fn new(registry: &mut Registry) -> Self {
        let help = "Lines of the access log, by what became of them";
        Self(counters(registry, "lb_l7_access_log_lines", help, "result", LineEnd::LABELS))
    }

    /// A line's end.
    pub fn line(&self, end: LineEnd) {
        self.lines(end, 1);
    }

    /// That of so many.
    pub fn lines(&self, end: LineEnd, count: u64) {
        self.0[end as usize].inc_by(count);
    }
}
