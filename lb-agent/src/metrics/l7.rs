//! The proxy. Its counters are resolved once and sharded by worker: a request costs an increment of its own line.

use http::StatusCode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::sharded::{ShardedCounter, family, resolve, results};
use super::{CheckMetrics, Labels, TrafficMetrics};
use crate::l7::{Breach, EndpointTlsFailure, HandshakeFailure, Limit, Malformed, Offence, Reply};
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
    upstream_connects: [ShardedCounter; 2],
    upstream_handshakes: [ShardedCounter; EndpointTlsFailure::ALL.len()],
    upstream_retries: [ShardedCounter; 3],
    upstream_ejections: [ShardedCounter; Offence::ALL.len()],
    upstream_breaches: [ShardedCounter; Breach::ALL.len()],
    upstream_ejected: Gauge,
    upstream_pending: Gauge,
    connections: [Gauge; ConnectionKind::ALL.len()],
    drained: [[ShardedCounter; ENDS.len()]; ConnectionKind::ALL.len()],
    cut_responses: ShardedCounter,
    strays: ShardedCounter,
    /// Health checks.
    pub checks: CheckMetrics,
    /// By route and Service.
    pub traffic: TrafficMetrics,
}

impl Metrics {
    /// Registers all of them.
    pub fn new(registry: &mut Registry) -> Self {
        let requests =
            family(registry, "lb_l7_requests", "Requests answered, by listener protocol and status class");
        let replies =
            family(registry, "lb_l7_replies", "Requests that the proxy answered by itself, by reason");
        let malformed = family(
            registry,
            "lb_l7_malformed_requests",
            "HTTP/1 requests that were refused because two servers could read them differently, by reason",
        );
        let help = "Connections and requests that reached a limit, by the limit's name";
        let limits = family(registry, "lb_l7_limits_reached", help);
        let help = "TLS handshakes with clients, by version, and whether they resume an earlier session";
        let handshakes = family(registry, "lb_l7_tls_handshakes", help);
        let help = "TLS handshakes with clients that failed, by reason";
        let failed_handshakes = family(registry, "lb_l7_tls_handshake_failures", help);
        let connects =
            family(registry, "lb_l7_upstream_connects", "Connections opened to endpoints, by result");
        let help = "TLS handshakes with endpoints that failed, by reason";
        let upstream_handshakes = family(registry, "lb_l7_upstream_tls_failures", help);
        let help = "Requests that could be sent again: because no endpoint had looked at them, or as the budget allowed or not";
        let retries = family(registry, "lb_l7_upstream_retries", help);
        let help = "Endpoints set aside for a while, by each worker, by how they failed last";
        let ejections = family(registry, "lb_l7_upstream_ejections", help);
        let help = "Times that endpoints broke the rules of HTTP, by how";
        let breaches = family(registry, "lb_l7_upstream_breaches", help);
        let connections = Family::<Labels, Gauge>::default();
        let help = "Client connections that are open, tunnels included, by what they carry";
        registry.register("lb_l7_connections", help, connections.clone());
        let drained = family(
            registry,
            "lb_l7_drained_connections",
            "Connections that ended in a drain: in order, or closed at its deadline with something under way",
        );
        let metrics = Self {
            requests: ["http", "https"].map(|protocol| {
                CLASSES.map(|class| resolve(&requests, vec![("protocol", protocol), ("class", class)]))
            }),
            replies: Reply::ALL.map(|reply| resolve(&replies, vec![("reason", reply.label())])),
            malformed: Malformed::ALL.map(|kind| resolve(&malformed, vec![("reason", kind.label())])),
            limits: Limit::ALL.map(|limit| resolve(&limits, vec![("limit", limit.name())])),
            handshakes: TlsVersion::ALL.map(|version| {
                ["full", "resumed"]
                    .map(|kind| resolve(&handshakes, vec![("version", version.label()), ("kind", kind)]))
            }),
            failed_handshakes: HandshakeFailure::ALL
                .map(|failure| resolve(&failed_handshakes, vec![("reason", failure.label())])),
            upstream_connects: results(&connects),
            upstream_handshakes: EndpointTlsFailure::ALL
                .map(|failure| resolve(&upstream_handshakes, vec![("reason", failure.label())])),
            upstream_retries: ["refused", "retried", "unseen"]
                .map(|outcome| resolve(&retries, vec![("outcome", outcome)])),
            upstream_ejections: Offence::ALL
                .map(|offence| resolve(&ejections, vec![("reason", offence.label())])),
            upstream_breaches: Breach::ALL.map(|breach| resolve(&breaches, vec![("reason", breach.label())])),
            upstream_ejected: Gauge::default(),
            upstream_pending: Gauge::default(),
            connections: ConnectionKind::ALL
                .map(|kind| connections.get_or_create_owned(&vec![("kind", kind.label())])),
            drained: ConnectionKind::ALL
                .map(|kind| ENDS.map(|end| resolve(&drained, vec![("kind", kind.label()), ("end", end)]))),
            cut_responses: ShardedCounter::default(),
            strays: ShardedCounter::default(),
            checks: CheckMetrics::new(registry),
            traffic: TrafficMetrics::new(registry),
        };
        registry.register(
            "lb_l7_upstream_ejected",
            "Endpoints that are set aside now, summed over the workers",
            metrics.upstream_ejected.clone(),
        );
        registry.register(
            "lb_l7_upstream_pending",
            "Requests that wait until an endpoint of their backend has less to do",
            metrics.upstream_pending.clone(),
        );
        registry.register(
            "lb_l7_stray_connections",
            "Connections to addresses without a listener",
            metrics.strays.clone(),
        );
        registry.register(
            "lb_l7_cut_responses",
            "Requests without a complete response at a drain's deadline",
            metrics.cut_responses.clone(),
        );
        metrics
    }

    /// A connection to an address that is no listener: closed.
    pub fn stray(&self) {
        self.strays.inc();
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

    /// The end of an attempt to connect to an endpoint.
    pub fn upstream_connect(&self, succeeded: bool) {
        self.upstream_connects[usize::from(succeeded)].inc();
    }

    /// A TLS handshake with an endpoint that failed.
    pub fn upstream_handshake_failed(&self, why: EndpointTlsFailure) {
        self.upstream_handshakes[why as usize].inc();
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

    /// An endpoint breaks the rules of HTTP.
    pub fn upstream_breach(&self, breach: Breach) {
        self.upstream_breaches[breach as usize].inc();
    }

    /// An endpoint is set aside.
    pub fn upstream_ejected(&self, offence: Offence) {
        self.upstream_ejections[offence as usize].inc();
        self.upstream_ejected.inc();
    }

    /// It is so no more.
    pub fn upstream_back(&self) {
        self.upstream_ejected.dec();
    }

    /// Requests that wait for an endpoint.
    #[must_use]
    pub const fn upstream_pending(&self) -> &Gauge {
        &self.upstream_pending
    }

    /// A request that could be sent a second time, and whether it was.
    pub fn upstream_retry(&self, retried: bool) {
        self.upstream_retries[usize::from(retried)].inc();
    }

    /// A request is sent again that an endpoint has taken and not looked at.
    pub fn upstream_unseen(&self) {
        self.upstream_retries[2].inc();
    }
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
