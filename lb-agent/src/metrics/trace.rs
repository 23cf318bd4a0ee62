//! Spans of traces.

use prometheus_client::registry::Registry;

use super::sharded::{ShardedCounter, counters};

/// What became of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanEnd {
    /// The collector has it.
    Sent,
    /// Too many waited already.
    Dropped,
    /// The collector did not take it.
    Failed,
}

impl SpanEnd {
    const LABELS: [&'static str; 3] = ["sent", "dropped", "failed"];
}

/// What tracing counts. A clone counts into the same metric.
#[derive(Clone, Debug)]
pub struct TraceMetrics([ShardedCounter; SpanEnd::LABELS.len()]);

impl TraceMetrics {
    /// Registers it.
    pub fn new(registry: &mut Registry) -> Self {
        let help = "Spans of sampled requests, by what became of them";
        Self(counters(registry, "lb_l7_spans", help, "result", SpanEnd::LABELS))
    }

    /// So many spans' end.
    pub fn spans(&self, end: SpanEnd, count: u64) {
        self.0[end as usize].inc_by(count);
    }
}
