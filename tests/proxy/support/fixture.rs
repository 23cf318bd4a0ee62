//! A running proxy with two listeners, and what it counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lb_agent::l7::{Bind, Config, Limit, Limits, Proxy, Setting, Timeouts};
use lb_agent::metrics::Metrics;
use lb_agent::model::{Kind, Listener, ListenerProtocol, ObjectRef, RouteTable, Snapshot};
use prometheus_client::registry::Registry;

/// Nothing on loopback takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy with a clear listener of class `edgelb`, one with TLS, and a clear one of class `internal`.
pub(crate) struct Fixture {
    pub(crate) proxy: Proxy,
    registry: Registry,
    generation: AtomicU64,
}

const HTTP: SocketAddr = address(1);
const HTTPS: SocketAddr = address(2);
const INTERNAL: SocketAddr = address(3);

/// Distinct keys, all with a port of the kernel's choice.
const fn address(last: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, last)), 0)
}

/// Time-outs short enough to wait for.
pub(crate) fn quick() -> Timeouts {
    Timeouts {
        connect: Duration::from_millis(500),
        response: Duration::from_millis(300),
        idle: Duration::from_millis(500),
        upload: Duration::from_millis(300),
        download: Duration::from_millis(300),
        upstream_idle: Duration::from_millis(300),
    }
}

/// How long a head may take, in the place of what it may take usually.
pub(crate) fn with_head_time(limits: Limits, milliseconds: u64) -> Limits {
    limits.with(Setting { limit: Limit::HeadTime, value: milliseconds })
}

impl Fixture {
    /// With the usual time-outs and these routes.
    pub(crate) fn start(table: RouteTable) -> Self {
        Self::start_with(Timeouts::default(), table)
    }

    /// With other time-outs.
    pub(crate) fn start_with(timeouts: Timeouts, table: RouteTable) -> Self {
        Self::start_as(|config| config.timeouts = timeouts, table)
    }

    /// With `quick` time-outs, and a short time for heads.
    pub(crate) fn start_quick(table: RouteTable) -> Self {
        Self::start_as(Self::be_quick, table)
    }

    /// The settings of that.
    pub(crate) fn be_quick(config: &mut Config) {
        config.timeouts = quick();
        config.limits = with_head_time(config.limits, 300);
    }

    /// With other settings.
    pub(crate) fn start_as(set: impl FnOnce(&mut Config), table: RouteTable) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let mut config = Config::new(1, Bind::Addresses(vec![HTTP, HTTPS, INTERNAL]));
        // As slow as it is where tests run beside each other, nobody but tests of that is to be refused for it.
        config.limits = config.limits.with(Setting { limit: Limit::WorkerDelay, value: 60_000 });
        set(&mut config);
        let proxy = Proxy::start(config, metrics).expect("proxy starts on loopback");
        proxy.listen(&[]).expect("it listens");
        let fixture = Self { proxy, registry, generation: AtomicU64::new(0) };
        fixture.publish(table);
        fixture
    }

    /// New routes for class `edgelb`; `internal` has none.
    pub(crate) fn publish(&self, table: RouteTable) {
        self.publish_both(table, RouteTable::default());
    }

    /// New routes for both classes.
    pub(crate) fn publish_both(&self, table: RouteTable, internal: RouteTable) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        self.proxy.publish(&Snapshot { generation, ..Self::snapshot_of(table, internal) });
        assert_eq!(self.proxy.generation(), generation);
    }

    /// The state with these routes, as `publish` has the proxy serve it.
    pub(crate) fn snapshot(table: &RouteTable) -> Snapshot {
        Self::snapshot_of(table.clone(), RouteTable::default())
    }

    fn snapshot_of(table: RouteTable, internal: RouteTable) -> Snapshot {
        let (table, internal) = (Arc::new(table), Arc::new(internal));
        let listeners = BTreeMap::from([
            (HTTP, listener(ListenerProtocol::Http, "edgelb", &table)),
            (HTTPS, listener(ListenerProtocol::Https, "edgelb", &table)),
            (INTERNAL, listener(ListenerProtocol::Http, "internal", &internal)),
        ]);
        Snapshot { listeners, ..Snapshot::default() }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.bound(HTTP)
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.bound(HTTPS)
    }

    pub(crate) fn internal(&self) -> SocketAddr {
        self.bound(INTERNAL)
    }

    fn bound(&self, key: SocketAddr) -> SocketAddr {
        let found = self.proxy.bound_addresses().iter().find(|(configured, _)| *configured == key);
        found.expect("the listener is bound").1
    }

    /// All metrics.
    pub(crate) fn exported(&self) -> String {
        exported(&self.registry)
    }

    /// The value of a metric's line, named with its labels.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        metric(&self.registry, line)
    }
}

/// The value of a metric's line, named with its labels.
pub(crate) fn metric(registry: &Registry, line: &str) -> u64 {
    value_in(&exported(registry), line)
}

/// The same among all metrics as they are exported.
pub(super) fn value_in(text: &str, line: &str) -> u64 {
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{line} in\n{text}")).parse().expect("a number")
}

fn exported(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("text format");
    text
}

/// A listener of one class.
pub(crate) fn listener(protocol: ListenerProtocol, class: &str, routes: &Arc<RouteTable>) -> Listener {
    Listener {
        object: ObjectRef::new(Kind::Service, "edge", "vip"),
        protocol,
        classes: BTreeSet::from([class.to_owned()]),
        routes: routes.clone(),
    }
}

/// Waits until a condition holds; fails at the deadline.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
