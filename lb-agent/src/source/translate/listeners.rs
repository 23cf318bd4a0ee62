//! Ports with a proxy protocol -> listeners, each with the routes of the classes that answer there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::classes::Classes;
use super::services::Services;
use crate::model::{
    Kind, Listener, ListenerProtocol, ObjectRef, Problem, Protocol, RouteTable, ServiceAddress,
};
use crate::source::Settings;

/// The listeners of our Services, and those that the command line asks for. The latter stand in no object: they
/// go by the names of Services `standalone` and `host-ports` without a namespace. Their routes are still missing.
pub(super) fn translate(
    services: &Services,
    classes: &Classes,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> BTreeMap<SocketAddr, Listener> {
    let claimed = classes.claimed(services.services.iter().map(|(at, service)| (at.vip, &service.object)));
    let mut listeners = BTreeMap::new();
    let none = Arc::<RouteTable>::default();
    let mut add = |address, object: &ObjectRef, protocol: ListenerProtocol, classes: BTreeSet<String>| {
        let routes = Arc::clone(&none);
        listeners.insert(address, Listener { object: object.clone(), protocol, classes, routes });
    };
    for (&address, &protocol) in &services.listeners {
        let at = ServiceAddress { vip: address.ip(), port: address.port(), protocol: Protocol::Tcp };
        let Some(service) = services.services.get(&at) else { continue };
        let answering = classes.on(&service.object, claimed.contains(&at.vip));
        if answering.is_empty() {
            let message = format!("no IngressClass answers on {address}: every request gets 404");
            problems.push(Problem::warning(&service.object, "", message));
        }
        add(address, &service.object, protocol, answering);
    }
    let standalone = ObjectRef::new(Kind::Service, "", "standalone");
    for (&address, &protocol) in &settings.standalone {
        add(address, &standalone, protocol, classes.standalone());
    }
    let host_ports = ObjectRef::new(Kind::Service, "", "host-ports");
    for (&address, &protocol) in &settings.host_ports {
        if services.vips.contains(&address.ip()) {
            let message =
                "is a VIP: --http and --https take the node's own addresses, and the VIP stays as it is";
            problems.push(Problem::error(&host_ports, "", format!("{} {message}", address.ip())));
            continue;
        }
        add(address, &host_ports, protocol, classes.unclaimed());
    }
    listeners
}
