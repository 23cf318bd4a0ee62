//! Every metric that the agent exports: names, help texts and labels stand in this folder and nowhere else, in a file for each
//! stage.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

mod access_log;
mod agent;
mod checks;
mod l4;
mod l7;
mod series;
mod sharded;
mod source;
mod status;
mod times;
mod trace;
mod traffic;
mod upstream;

pub use self::access_log::{AccessLogMetrics, LineEnd};
pub(crate) use self::agent::{AGENT, GENERATION, PROBLEMS};
pub use self::checks::CheckMetrics;
pub(crate) use self::l4::{
    ALONE, CHANGE_QUEUED, FLOW_KEY_COMES, FLOW_KEY_LACKS, FLOW_KEYS, HALF_OPEN, HELD, INTERFACE_MODE,
    MEMBERS, MEMBERSHIPS, PACKETS, PEER_FLAPS, PEER_LOST, PEER_PROBES, PEER_ROUND_TRIP, PEER_STATE,
    SERVICE_BYTES, SERVICE_PACKETS, STOOD_IN,
};
pub use self::l7::Metrics;
pub use self::series::Counts;
pub(crate) use self::source::{SOURCE_FAILURES, SOURCE_SINCE, SOURCE_STORED, SOURCE_WATCH};
pub use self::status::{StatusMetrics, WriteOutcome, Written};
pub use self::trace::{SpanEnd, TraceMetrics};
pub use self::traffic::{RouteCounts, RouteTally, ServiceCounts, ServiceTally, TrafficMetrics};
pub use self::upstream::UpstreamMetrics;

/// A metric's name and help text.
pub(crate) type Named = (&'static str, &'static str);

type Labels = Vec<(&'static str, &'static str)>;

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}
