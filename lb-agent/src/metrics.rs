//! Every metric that the agent exports: names, help texts and labels stand here and nowhere else.
//! Counters of the proxy are resolved once and sharded by worker: a request costs an increment of its own line.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::StatusCode;
use prometheus_client::metrics::counter::{Atomic, Counter};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::l7::{EndpointTlsFailure, HandshakeFailure, Limit, Malformed, Offence, Reply};
use crate::model::{CheckResult, ConnectionKind, ListenerProtocol, TlsVersion};

/// A metric's name and help text.
pub(crate) type Named = (&'static str, &'static str);

pub(crate) const AGENT: Named = ("lb_agent", "The agent");
pub(crate) const GENERATION: Named =
    ("lb_agent_generation", "Generation of the state that is live, by stage.");
pub(crate) const PROBLEMS: Named = ("lb_agent_problems", "Problems of the objects, by severity.");
pub(crate) const SOURCE_STORED: Named =
    ("lb_source_stored", "1 while the state is the stored one: the API server has not told everything yet.");
pub(crate) const SOURCE_WATCH: Named =
    ("lb_source_watch", "How each watch goes: 1 for the condition that it is in.");
pub(crate) const SOURCE_SINCE: Named =
    ("lb_source_watch_since_seconds", "Since when it goes so: seconds since the Unix epoch.");
pub(crate) const SOURCE_FAILURES: Named =
    ("lb_source_watch_failures", "Failed attempts to watch or list, by kind.");
pub(crate) const MEMBERS: Named = ("lb_l4_members", "Edge nodes that can own flows.");
pub(crate) const PEER_STATE: Named =
    ("lb_l4_peer_state", "How each other member answers probes: 1 for the state that it is in.");
pub(crate) const PEER_ROUND_TRIP: Named =
    ("lb_l4_peer_round_trip_microseconds", "How long a member's last answer to a probe took.");
pub(crate) const PEER_PROBES: Named = ("lb_l4_peer_probes", "Probes sent, by member.");
pub(crate) const PEER_LOST: Named = ("lb_l4_peer_lost_probes", "Probes that were not answered, by member.");
pub(crate) const PEER_FLAPS: Named =
    ("lb_l4_peer_flaps", "How often a member went down after it had been up.");
pub(crate) const ALONE: Named =
    ("lb_l4_alone", "1 while no member answers and this node's own link, routes or gateway are to blame.");
pub(crate) const STOOD_IN: Named = (
    "lb_l4_stood_in",
    "1 while others open this node's flows: its agent was silent, and its rows do not lead to what opened meanwhile.",
);
pub(crate) const MEMBERSHIPS: Named = (
    "lb_l4_memberships",
    "Memberships that rows are made of: the one in force, former ones, one that is learned.",
);
pub(crate) const CHANGE_QUEUED: Named = (
    "lb_l4_change_queued",
    "1 while a change of the members waits, for flows need all former memberships that there is room for.",
);
pub(crate) const FLOW_KEY_COMES: Named =
    ("lb_l4_flow_key_comes", "1 while the Secret or the file has another flow key than the one in force.");
pub(crate) const FLOW_KEYS: Named =
    ("lb_l4_flow_keys", "Flow keys by which connections are found: two while one takes another's place.");
pub(crate) const FLOW_KEY_LACKS: Named = (
    "lb_l4_flow_key_lacks",
    "1 while other nodes find connections by a flow key that this one does not know: it may attract no VIPs.",
);
pub(crate) const HELD: Named = ("lb_l4_connections", "Open connections to VIPs on this node.");
pub(crate) const HALF_OPEN: Named = (
    "lb_l4_half_open_connections",
    "Connections to VIPs on this node whose clients have still to answer its SYN: many in a SYN flood.",
);
pub(crate) const INTERFACE_MODE: Named =
    ("lb_l4_interface_mode", "Interfaces with the packet path on them, by the mode in which they run it.");
pub(crate) const PACKETS: Named =
    ("lb_l4_packets", "Packets seen by the packet path, by what happened to them.");
pub(crate) const SERVICE_PACKETS: Named =
    ("lb_l4_service_packets", "Packets for which this node was the first hop, by service.");
pub(crate) const SERVICE_BYTES: Named =
    ("lb_l4_service_bytes", "Bytes of IP for which this node was the first hop, by service.");

/// What is written to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// The node's own Lease, and the leader's.
    Lease,
    /// The history of memberships.
    Membership,
    /// A Service's addresses.
    Service,
    /// An Ingress's addresses.
    Ingress,
    /// An Event.
    Event,
    /// The Secret of the flow hash.
    Secret,
}

impl Written {
    const LABELS: [&'static str; 6] = ["lease", "membership", "service", "ingress", "event", "secret"];
}

/// How the API server answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    /// It took it.
    Ok,
    /// Somebody else was faster.
    Conflict,
    /// It refused it: rights, a rule, an object that is gone.
    Refused,
    /// It did not answer, or not now.
    Failed,
}

impl WriteOutcome {
    const LABELS: [&'static str; 4] = ["ok", "conflict", "refused", "failed"];
}

/// What writing to the cluster counts. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct StatusMetrics {
    writes: [[Counter; WriteOutcome::LABELS.len()]; Written::LABELS.len()],
    /// 1 while this agent leads.
    pub leader: Gauge,
    /// The newest generation of the history, as the leader knows it.
    pub generation: Gauge,
    /// Members whose rows are not those of most others, as the leader knows it.
    pub diverging: Gauge,
    /// Objects whose addresses are yet to be written.
    pub pending: Gauge,
}

impl StatusMetrics {
    /// Registers all of them.
    pub fn new(registry: &mut Registry) -> Self {
        let writes = Family::<Labels, Counter>::default();
        let help = "Requests that change the cluster, by what they write and how they ended";
        registry.register("lb_status_writes", help, writes.clone());
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            writes: Written::LABELS.map(|kind| {
                let resolve =
                    |outcome| writes.get_or_create_owned(&vec![("kind", kind), ("outcome", outcome)]);
                WriteOutcome::LABELS.map(resolve)
            }),
            leader: gauge(registry, "lb_status_leader", "1 on the agent that leads, else 0"),
            generation: gauge(
                registry,
                "lb_status_membership_generation",
                "The newest generation of memberships; 0 where the agent does not lead",
            ),
            diverging: gauge(
                registry,
                "lb_status_diverging_members",
                "Members whose rows differ from those of most others; 0 where the agent does not lead",
            ),
            pending: gauge(
                registry,
                "lb_status_pending_objects",
                "Objects whose addresses are yet to be written",
            ),
        }
    }

    /// A request that changes the cluster, and its end.
    pub fn write(&self, what: Written, outcome: WriteOutcome) {
        self.writes[what as usize][outcome as usize].inc();
    }
}

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
        let lines = family(registry, "lb_l7_access_log_lines", help);
        Self(LineEnd::LABELS.map(|result| resolve(&lines, vec![("result", result)])))
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
    fn new(registry: &mut Registry) -> Self {
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

type Labels = Vec<(&'static str, &'static str)>;
type ShardedCounter = Counter<u64, Sharded>;

const ENDS: [&str; 2] = ["in_order", "deadline"];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

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
    upstream_ejected: Gauge,
    upstream_pending: Gauge,
    connections: [Gauge; ConnectionKind::ALL.len()],
    drained: [[ShardedCounter; ENDS.len()]; ConnectionKind::ALL.len()],
    cut_responses: ShardedCounter,
    /// Connections to addresses that are no listener: closed.
    pub strays: ShardedCounter,
    /// Health checks.
    pub checks: CheckMetrics,
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
            upstream_ejected: Gauge::default(),
            upstream_pending: Gauge::default(),
            connections: ConnectionKind::ALL
                .map(|kind| connections.get_or_create_owned(&vec![("kind", kind.label())])),
            drained: ConnectionKind::ALL
                .map(|kind| ENDS.map(|end| resolve(&drained, vec![("kind", kind.label()), ("end", end)]))),
            cut_responses: ShardedCounter::default(),
            strays: ShardedCounter::default(),
            checks: CheckMetrics::new(registry),
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

    /// A request that was answered.
    pub fn request(&self, protocol: ListenerProtocol, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        self.requests[protocol as usize][class].inc();
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

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, ShardedCounter, NewCounter> {
    let family = Family::new_with_constructor(NewCounter);
    registry.register(name, help, family.clone());
    family
}

fn results(family: &Family<Labels, ShardedCounter, NewCounter>) -> [ShardedCounter; 2] {
    ["failed", "ok"].map(|result| resolve(family, vec![("result", result)]))
}

fn resolve(family: &Family<Labels, ShardedCounter, NewCounter>, labels: Labels) -> ShardedCounter {
    family.get_or_create_owned(&labels)
}

#[derive(Clone, Debug)]
struct NewCounter;

impl MetricConstructor<ShardedCounter> for NewCounter {
    fn new_metric(&self) -> ShardedCounter {
        ShardedCounter::default()
    }
}

/// A number that threads count into without touching each other's cache lines.
#[derive(Debug, Default)]
pub struct Sharded([Shard; SHARDS]);

const SHARDS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

impl Sharded {
    fn own(&self) -> &AtomicU64 {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        &self.0[SHARD.get()].0
    }
}

impl Atomic<u64> for Sharded {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, by: u64) -> u64 {
        self.own().fetch_add(by, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
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
            "lb_l7_upstream_ejected 0",
            "lb_l7_connections{kind=\"http1\"} 0",
            "lb_l7_drained_connections_total{kind=\"websocket\",end=\"deadline\"} 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
