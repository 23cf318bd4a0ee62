//! What requests are served from: a snapshot, compiled. One of them is current at any moment; a request that has
//! begun keeps what it needs of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls::ServerConfig;

use super::router::Router;
use super::target::Target;
use super::tls::Tls;
use crate::model::{Backend, ListenerProtocol, RouteTable, Snapshot};

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
    pub(super) router: Router<Arc<Target>>,
    /// For listeners that speak TLS.
    pub(super) tls: Arc<ServerConfig>,
}

/// Compiles snapshots; takes over from the last one what did not change.
pub(super) struct Compiler {
    tls: Tls,
    routes: Vec<Arc<LiveRoutes>>,
}

impl Compiler {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls, routes: Vec::new() }
    }

    /// The snapshot, ready to serve.
    pub(super) fn compile(&mut self, snapshot: &Snapshot) -> Live {
        let mut routes: Vec<Arc<LiveRoutes>> = Vec::new();
        let mut listeners = HashMap::default();
        for (address, listener) in &snapshot.listeners {
            let known = routes.iter().find(|known| Arc::ptr_eq(&known.source, &listener.routes)).cloned();
            let compiled = known.unwrap_or_else(|| {
                let compiled = self.routes_for(&listener.routes);
                routes.push(compiled.clone());
                compiled
            });
            listeners.insert(*address, LiveListener { protocol: listener.protocol, routes: compiled });
        }
        self.routes = routes;
        self.tls.forget_unused();
        Live { generation: snapshot.generation, listeners }
    }

    fn routes_for(&mut self, table: &Arc<RouteTable>) -> Arc<LiveRoutes> {
        // Arcs of the same data are equal without a look inside.
        if let Some(known) = self.routes.iter().find(|known| known.source == *table) {
            return known.clone();
        }
        let same_certificates =
            self.routes.iter().find(|known| known.source.certificates == table.certificates);
        let tls = match same_certificates {
            Some(known) => known.tls.clone(),
            None => self.tls.server_config(&table.certificates),
        };
        Arc::new(LiveRoutes { source: table.clone(), router: compile_router(table), tls })
    }
}

/// Routes to the same backend share one target.
fn compile_router(table: &RouteTable) -> Router<Arc<Target>> {
    let mut targets: HashMap<usize, Arc<Target>, RandomState> = HashMap::default();
    Router::compile(table, |backend: &Arc<Backend>| {
        let target = targets.entry(Arc::as_ptr(backend).addr());
        target.or_insert_with(|| Arc::new(Target::compile(backend))).clone()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{BackendId, BackendPort, Kind, Listener, ObjectRef, Unavailable};

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
        let mut compiler = Compiler::new(Tls::new().expect("TLS set-up"));
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
        let mut compiler = Compiler::new(Tls::new().expect("TLS set-up"));
        let first = compiler.compile(&snapshot(1, &[(443, &Arc::default())]));
        let changed = RouteTable { default_backend: Some(backend()), ..RouteTable::default() };
        let second = compiler.compile(&snapshot(2, &[(443, &Arc::new(changed))]));
        assert!(!Arc::ptr_eq(routes(&first, 443), routes(&second, 443)));
        assert!(Arc::ptr_eq(&routes(&first, 443).tls, &routes(&second, 443).tls));
    }

    fn backend() -> Arc<Backend> {
        let id = BackendId { namespace: "a".into(), service: "b".into(), port: BackendPort::Number(80) };
        Arc::new(Backend { id, endpoints: Err(Unavailable::NoEndpoint) })
    }
}
