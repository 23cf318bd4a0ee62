//! What requests are served from: a snapshot, compiled. One of them is current at any moment; a request that has
//! begun keeps what it needs of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::checks::Checks;
use super::in_use::{InUse, Place};
use super::route::{self, NamesInUse, Route};
use super::router::{Leads, Router};
use super::target::Target;
use super::tls::{CertificateIndex, Tls};
use crate::metrics::TrafficMetrics;
use crate::model::{Backend, ListenerProtocol, RouteTable, Snapshot};
use foldhash::fast::RandomState;

/// A compiled snapshot.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The snapshot's.
    pub(super) generation: u64,
    /// By the address that clients connect to.
    pub(super) listeners: HashMap<SocketAddr, LiveListener, RandomState>,
}

/// A listener with the routes of its classes, and of no others.
#[derive(Debug)]
pub(super) struct LiveListener {
    /// What it speaks.
    pub(super) protocol: ListenerProtocol,
    /// Its routes.
    pub(super) routes: Arc<LiveRoutes>,
}

/// A compiled `RouteTable`.
#[derive(Debug)]
pub(super) struct LiveRoutes {
    /// What it was compiled from, to see whether a new one differs.
    source: Arc<RouteTable>,
    /// Requests to backends.
    pub(super) router: Router<Arc<Route>>,
    /// For listeners that speak TLS.
    pub(super) certificates: Arc<CertificateIndex>,
}

/// Compiles snapshots; takes over from the last one what did not change, host by host.
pub(super) struct Compiler {
    tls: Tls,
    metrics: TrafficMetrics,
    checks: Checks,
    targets: InUse<Place<Backend>, Target>,
    names: NamesInUse,
    /// Those of the last snapshot.
    routes: HashMap<SocketAddr, Arc<LiveRoutes>, RandomState>,
}

impl Compiler {
    /// Nothing is compiled yet; what routes count goes into these metrics.
    pub(super) fn new(tls: Tls, metrics: TrafficMetrics, checks: Checks) -> Self {
        let (targets, names, routes) = (InUse::default(), InUse::default(), HashMap::default());
        Self { tls, metrics, checks, targets, names, routes }
    }

    /// The snapshot, ready to serve.
    pub(super) fn compile(&mut self, snapshot: &Snapshot) -> Live {
        let mut compiled: Vec<Arc<LiveRoutes>> = Vec::new();
        let mut listeners = HashMap::default();
        for (address, listener) in &snapshot.listeners {
            let known = compiled.iter().find(|known| Arc::ptr_eq(&known.source, &listener.routes)).cloned();
            let routes = known.unwrap_or_else(|| {
                let routes = self.routes_for(*address, &listener.routes);
                compiled.push(routes.clone());
                routes
            });
            listeners.insert(*address, LiveListener { protocol: listener.protocol, routes });
        }
        let routes = |(address, listener): (&SocketAddr, &LiveListener)| (*address, listener.routes.clone());
        self.routes = listeners.iter().map(routes).collect();
        self.targets.forget_unused();
        self.checks.forget_unused();
        self.names.forget_unused();
        self.tls.forget_unused();
        Live { generation: snapshot.generation, listeners }
    }

    fn routes_for(&mut self, address: SocketAddr, table: &Arc<RouteTable>) -> Arc<LiveRoutes> {
        // Arcs of the same data are equal without a look inside.
        if let Some(known) = self.routes.values().find(|known| known.source == *table) {
            return known.clone();
        }
        // Any of them would do; the listener's own differs least.
        let before = self.routes.get(&address).or_else(|| self.routes.values().next()).cloned();
        let (targets, names) = (&mut self.targets, &mut self.names);
        let (metrics, checks) = (&self.metrics, &mut self.checks);
        let mut route = |leads: Leads<'_>| {
            let compile = |Place(backend): &Place<Backend>| {
                let counts = metrics.service(&backend.id.namespace, &backend.id.service);
                Target::compile(backend, counts, checks.group(backend))
            };
            let target = targets.of(Place(leads.backend.clone()), compile);
            let is_sticky = target.treatment.sticky.is_some();
            let cookie_path = route::cookie_path(leads.path.filter(|_| is_sticky)).map(Into::into);
            Arc::new(Route { target, names: route::names(names, leads, metrics), cookie_path })
        };
        let (router, certificates) = match before {
            None => (Router::compile(table, &mut route), self.tls.index(table)),
            Some(before) => (
                before.router.follow(&before.source, table, &mut route),
                self.certificates_after(&before, table),
            ),
        };
        Arc::new(LiveRoutes { source: table.clone(), router, certificates })
    }

    fn certificates_after(&mut self, before: &LiveRoutes, table: &RouteTable) -> Arc<CertificateIndex> {
        if before.source.certificates == table.certificates && before.source.tls == table.tls {
            return before.certificates.clone();
        }
        self.tls.follow(&before.certificates, &before.source, table)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::l7::secured::Secured;
    use crate::l7::tls::Tickets;
    use crate::metrics::Metrics;
    use crate::model::{
        BackendId, BackendPort, BackendProtocol, Certificate, DefaultBackend, HostPattern, HostRoutes,
        KeyKind, Kind, Listener, ObjectRef, PathKind, PathRule, Rule, SecretBytes, TlsPolicy, Treatment,
        Unavailable,
    };

    fn compiler() -> Compiler {
        let tls = Tls::new(Tickets::random().expect("random numbers")).expect("TLS set-up");
        let metrics = Metrics::new(&mut Registry::default());
        let checks = Checks::new(Secured::new().expect("TLS set-up"), metrics.checks);
        Compiler::new(tls, metrics.traffic, checks)
    }

    fn snapshot(generation: u64, tables: &[(u16, &Arc<RouteTable>)]) -> Snapshot {
        let listeners = tables.iter().map(|(port, table)| {
            let listener = Listener {
                object: ObjectRef::new(Kind::Service, "edge", "vip"),
                protocol: ListenerProtocol::Http,
                classes: BTreeSet::new(),
                routes: (*table).clone(),
            };
            (SocketAddr::from(([192, 0, 2, 1], *port)), listener)
        });
        Snapshot { generation, listeners: listeners.collect(), ..Snapshot::default() }
    }

    fn routes(live: &Live, port: u16) -> &Arc<LiveRoutes> {
        &live.listeners[&SocketAddr::from(([192, 0, 2, 1], port))].routes
    }

    #[test]
    fn what_did_not_change_is_taken_over() {
        let mut compiler = compiler();
        let table = Arc::new(RouteTable::default());
        let first = compiler.compile(&snapshot(1, &[(80, &table), (81, &table)]));
        assert!(Arc::ptr_eq(routes(&first, 80), routes(&first, 81)), "one table is compiled once");
        let equal = Arc::new(RouteTable::default());
        let second = compiler.compile(&snapshot(2, &[(80, &equal)]));
        assert!(Arc::ptr_eq(routes(&first, 80), routes(&second, 80)), "an equal table is not compiled again");
        assert_eq!(second.generation, 2);
    }

    #[test]
    fn a_change_of_routes_keeps_certificates() {
        let mut compiler = compiler();
        let first = compiler.compile(&snapshot(1, &[(443, &Arc::default())]));
        let changed = RouteTable { default_backend: Some(default_backend()), ..RouteTable::default() };
        let second = compiler.compile(&snapshot(2, &[(443, &Arc::new(changed))]));
        assert!(!Arc::ptr_eq(routes(&first, 443), routes(&second, 443)));
        assert!(Arc::ptr_eq(&routes(&first, 443).certificates, &routes(&second, 443).certificates));
    }

    /// A table with a route to `/` of each host, each with a certificate.
    fn table(hosts: &[(&str, &Arc<Backend>, &Arc<Certificate>)]) -> Arc<RouteTable> {
        let host = |name: &str| HostPattern::parse(name).expect("a host");
        let routes = |backend: &Arc<Backend>| {
            let path = PathRule::new(PathKind::Prefix, "/").expect("a path");
            let ingress = Arc::new(ObjectRef::new(Kind::Ingress, "a", "b"));
            let rules = vec![Rule { path, backend: backend.clone(), ingress }];
            Arc::new(HostRoutes { rules, default_backend: None })
        };
        Arc::new(RouteTable {
            tls: TlsPolicy::default(),
            hosts: hosts.iter().map(|(name, backend, _)| (host(name), routes(backend))).collect(),
            default_backend: None,
            certificates: hosts
                .iter()
                .map(|(name, _, certificate)| (host(name), Arc::from([(*certificate).clone()])))
                .collect(),
        })
    }

    fn certificate() -> Arc<Certificate> {
        Arc::new(Certificate {
            secret: ObjectRef::new(Kind::Secret, "a", "b"),
            chain: Arc::default(),
            key: SecretBytes::from(Vec::new()),
            key_kind: KeyKind::Ecdsa,
            staple: None,
            dns_names: Vec::new(),
            not_before: 0,
            not_after: 0,
        })
    }

    fn target(live: &Live, host: &str) -> Arc<Target> {
        routes(live, 443).router.find(host, "/").expect("a route").1.target.clone()
    }

    #[test]
    fn targets_stay_as_long_as_their_backends() {
        let mut compiler = compiler();
        let (one, key) = (backend(), certificate());
        let other = Arc::new(Backend { endpoints: Err(Unavailable::NoService), ..Backend::clone(&one) });
        let first = compiler.compile(&snapshot(1, &[(443, &table(&[("x.org", &one, &key)]))]));
        let second = table(&[("x.org", &one, &key), ("y.org", &one, &key), ("z.org", &other, &key)]);
        let second = compiler.compile(&snapshot(2, &[(443, &second)]));
        assert!(Arc::ptr_eq(&target(&first, "x.org"), &target(&second, "x.org")));
        assert!(Arc::ptr_eq(&target(&first, "x.org"), &target(&second, "y.org")), "a new host of it");
        assert!(!Arc::ptr_eq(&target(&first, "x.org"), &target(&second, "z.org")));
        let third = compiler.compile(&snapshot(3, &[(443, &table(&[("x.org", &other, &key)]))]));
        assert!(Arc::ptr_eq(&target(&second, "z.org"), &target(&third, "x.org")));
        assert!(routes(&third, 443).router.find("y.org", "/").is_none(), "it is gone");
    }

    fn default_backend() -> DefaultBackend {
        DefaultBackend { backend: backend(), object: Arc::new(ObjectRef::new(Kind::Ingress, "a", "b")) }
    }

    fn backend() -> Arc<Backend> {
        let id = BackendId { namespace: "a".into(), service: "b".into(), port: BackendPort::Number(80) };
        Arc::new(Backend {
            id,
            protocol: BackendProtocol::default(),
            treatment: Treatment::default(),
            endpoints: Err(Unavailable::NoEndpoint),
        })
    }
}
