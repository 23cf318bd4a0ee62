//! The proxy. Its counters are resolved once and sharded by worker: a request costs an increment of its own line.

use http::StatusCode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::sharded::{ShardedCounter, counter, counters, family, resolve};
use super::{CheckMetrics, Labels, TrafficMetrics, UpstreamMetrics};
use crate::l7::{AcceptFailure, HandshakeFailure, Limit, Malformed, Reply};
use crate::model::{ConnectionKind, ListenerProtocol, TlsVersion};

const ENDS: [&str; 2] = ["in_order", "deadline"];

pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of a status' class.
pub(super) fn class_of(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1)
}

/// What the proxy counts. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: [[ShardedCounter; CLASSES.len()]; 2],
    replies: [ShardedCounter; Reply::ALL.len()],
    malformed: [ShardedCounter; Malformed::ALL.len()],
    limits: [ShardedCounter; Limit::ALL.len()],
    handshakes: [[ShardedCounter; 2]; TlsVersion::ALL.len()],
    failed_handshakes: [ShardedCounter; HandshakeFailure::ALL.len()],
    /// What is done with endpoints.
    pub upstream: UpstreamMetrics,
    connections: [Gauge; ConnectionKind::ALL.len()],
    drained: [[ShardedCounter; ENDS.len()]; ConnectionKind::ALL.len()],
    cut_responses: ShardedCounter,
    strays: ShardedCounter,
    failed_accepts: [ShardedCounter; AcceptFailure::ALL.len()],
    /// Health checks.
    pub checks: CheckMetrics,
    /// By route and Service.
    pub traffic: TrafficMetrics,
}

impl Metrics {
    /// Registers all of them.
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            requests: requests(registry),
            replies: counters(
                registry,
                "lb_l7_replies",
                "Requests that the proxy answered by itself, by reason",
                "reason",
                Reply::ALL.map(Reply::label),
            ),
            malformed: counters(
                registry,
                "lb_l7_malformed_requests",
                "Requests and connections that were refused because their bytes break the rules, or could be read differently, by reason",
                "reason",
                Malformed::ALL.map(Malformed::label),
            ),
            limits: counters(
                registry,
                "lb_l7_limits_reached",
                "Connections and requests that reached a limit, by the limit's name",
                "limit",
                Limit::ALL.map(Limit::name),
            ),
            handshakes: handshakes(registry),
            failed_handshakes: counters(
                registry,
                "lb_l7_tls_handshake_failures",
                "TLS handshakes with clients that failed, by reason",
                "reason",
                HandshakeFailure::ALL.map(HandshakeFailure::label),
            ),
            upstream: UpstreamMetrics::new(registry),
            connections: connections(registry),
            drained: drained(registry),
            cut_responses: counter(
                registry,
                "lb_l7_cut_responses",
                "Requests without a complete response at a drain's deadline",
            ),
            strays: counter(
                registry,
                "lb_l7_stray_connections",
                "Connections to addresses without a listener",
            ),
            failed_accepts: counters(
                registry,
                "lb_l7_accept_failures",
                "Failures to accept a connection that waits, which is tried again, by reason",
                "reason",
                AcceptFailure::ALL.map(AcceptFailure::label),
            ),
            checks: CheckMetrics::new(registry),
            traffic: TrafficMetrics::new(registry),
        }
    }

    /// A connection to an address that is no listener: closed.
    pub fn stray(&self) {
        self.strays.inc();
    }

    /// A connection that waits could not be accepted.
    pub fn accept_failed(&self, why: AcceptFailure) {
        self.failed_accepts[why as usize].inc();
    }

    /// A request that was answered.
    pub fn request(&self, protocol: ListenerProtocol, status: StatusCode) {
        self.requests[protocol as usize][class_of(status)].inc();
    }

    /// A request that the proxy answered by itself; it is counted as a request too.
    pub fn reply(&self, reply: Reply) {
        self.replies[reply as usize].inc();
    }

    /// A request that breaks the rules of HTTP/1; its reply is counted too.
    pub fn malformed(&self, malformed: Malformed) {
        self.malformed[malformed as usize].inc();
    }

    /// A limit that was reached.
    pub fn limit_reached(&self, limit: Limit) {
        self.limits[limit as usize].inc();
    }

    /// A TLS handshake that led to a connection.
    pub fn handshake(&self, version: TlsVersion, is_resumed: bool) {
        self.handshakes[version as usize][usize::from(is_resumed)].inc();
    }

    /// One that did not.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        self.failed_handshakes[why as usize].inc();
    }

    /// Open connections of a kind.
    #[must_use]
    pub fn connections(&self, kind: ConnectionKind) -> &Gauge {
        &self.connections[kind as usize]
    }

    /// Open connections, in the order of `ConnectionKind::ALL`.
    #[must_use]
    pub fn open_connections(&self) -> [u64; ConnectionKind::ALL.len()] {
        self.connections.each_ref().map(|open| u64::try_from(open.get()).unwrap_or_default())
    }

    /// A connection that ended in a drain: in order, or at its deadline, with so many requests under way.
    pub fn drained(&self, kind: ConnectionKind, cut: Option<u32>) {
        self.drained[kind as usize][usize::from(cut.is_some())].inc();
        self.cut_responses.inc_by(cut.unwrap_or_default().into());
    }
}

/// By listener protocol and status class.
fn requests(registry: &mut Registry) -> [[ShardedCounter; CLASSES.len()]; 2] {
    let help = "Requests answered, by listener protocol and status class";
    let requests = family(registry, "lb_l7_requests", help);
    ["http", "https"].map(|protocol| {
        CLASSES.map(|class| resolve(&requests, vec![("protocol", protocol), ("class", class)]))
    })
}

/// By version, and whether they resume.
fn handshakes(registry: &mut Registry) -> [[ShardedCounter; 2]; TlsVersion::ALL.len()] {
    let help = "TLS handshakes with clients, by version, and whether they resume an earlier session";
    let handshakes = family(registry, "lb_l7_tls_handshakes", help);
    TlsVersion::ALL.map(|version| {
        ["full", "resumed"]
            .map(|kind| resolve(&handshakes, vec![("version", version.label()), ("kind", kind)]))
    })
}

fn connections(registry: &mut Registry) -> [Gauge; ConnectionKind::ALL.len()] {
    let connections = Family::<Labels, Gauge>::default();
    let help = "Client connections that are open, tunnels included, by what they carry";
    registry.register("lb_l7_connections", help, connections.clone());
    ConnectionKind::ALL.map(|kind| connections.get_or_create_owned(&vec![("kind", kind.label())]))
}

fn drained(registry: &mut Registry) -> [[ShardedCounter; ENDS.len()]; ConnectionKind::ALL.len()] {
    let help =
        "Connections that ended in a drain: in order, or closed at its deadline with something under way";
    let drained = family(registry, "lb_l7_drained_connections", help);
    ConnectionKind::ALL
        .map(|kind| ENDS.map(|end| resolve(&drained, vec![("kind", kind.label()), ("end", end)])))
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn counts_of_all_threads_are_summed_under_their_labels() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| metrics.request(ListenerProtocol::Https, StatusCode::NOT_FOUND));
            }
        });
        metrics.reply(Reply::NoRoute);
        metrics.handshake(TlsVersion::V1_3, true);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text format");
        for line in [
            "lb_l7_requests_total{protocol=\"https\",class=\"4xx\"} 4",
            "lb_l7_requests_total{protocol=\"http\",class=\"2xx\"} 0",
            "lb_l7_replies_total{reason=\"no_route\"} 1",
            "lb_l7_tls_handshakes_total{version=\"1.3\",kind=\"resumed\"} 1",
            "lb_l7_tls_handshake_failures_total{reason=\"time_out\"} 0",
            "lb_l7_upstream_retries_total{outcome=\"refused\"} 0",
            "lb_l7_upstream_ejections_total{reason=\"time_out\"} 0",
            "lb_l7_upstream_breaches_total{reason=\"surplus\"} 0",
            "lb_l7_upstream_ejected 0",
            "lb_l7_connections{kind=\"http1\"} 0",
            "lb_l7_drained_connections_total{kind=\"websocket\",end=\"deadline\"} 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
