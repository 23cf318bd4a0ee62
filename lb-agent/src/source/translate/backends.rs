//! Services and their EndpointSlices -> backends: one for each port that routes name, however many name it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::api::networking::v1::{IngressBackend, ServiceBackendPort};

use super::external::{self, External};
use super::ingress::Reading;
use super::register::{Found, Register};
use crate::model::{Backend, BackendId, BackendPort, Kind, ObjectRef, Problem, Severity, Unavailable};
use crate::source::{Index, names};

/// The backends that Ingresses of ours name, by Service and port.
#[derive(Debug, Default)]
pub(super) struct Backends {
    made: BTreeMap<ObjectRef, BTreeMap<BackendPort, Made>>,
    /// Those that were made since problems were registered.
    new: Vec<(ObjectRef, BackendPort, Vec<Problem>)>,
    /// Addresses that no external name may lead to.
    vips: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Made {
    backend: Arc<Backend>,
    /// The Ingresses and IngressParameters that name it.
    users: BTreeSet<Arc<ObjectRef>>,
    /// What is wrong with its EndpointSlices.
    found: Found,
    /// Of a Service of type ExternalName.
    external: Option<External>,
    /// Those of the users that may have such a one.
    allowed: BTreeSet<Arc<ObjectRef>>,
}

/// Who asks for a backend.
#[derive(Clone, Copy)]
pub(super) struct User<'a> {
    /// The Ingress, or the IngressParameters.
    pub(super) name: &'a Arc<ObjectRef>,
    /// Where it looks.
    pub(super) index: &'a Index,
    /// Whether it may lead to Services of type ExternalName.
    pub(super) allows_external_name: bool,
}

/// What its owner has to mend: below which field, how bad, and what.
type Complaint = (&'static str, Severity, String);

impl Backends {
    /// The backend that an Ingress names at `field`. There always is one: what is wrong is its answer.
    pub(super) fn resolve(
        &mut self,
        reading: &Reading<'_>,
        field: &str,
        wanted: &IngressBackend,
        problems: &mut Vec<Problem>,
    ) -> Arc<Backend> {
        let ingress = reading.name;
        let named = wanted.service.as_ref();
        let Some((service, port)) = named.and_then(|service| Some((service, port(service.port.as_ref())?)))
        else {
            let (backend, message) = unsupported(&ingress.namespace, wanted);
            problems.push(Problem::error(ingress, field, message));
            return Arc::new(backend);
        };
        let id = BackendId { namespace: ingress.namespace.clone(), service: service.name.clone(), port };
        let (backend, complaint) = self.of(reading.user(), id);
        let at = |part| format!("{field}.service{part}");
        problems.extend(complaint.map(|complaint| problem(ingress, complaint, at)));
        backend
    }

    /// The backend that IngressParameters name as the default one.
    pub(super) fn of_class(
        &mut self,
        user: User<'_>,
        id: BackendId,
        problems: &mut Vec<Problem>,
    ) -> Arc<Backend> {
        let (backend, complaint) = self.of(user, id);
        let at = |part| format!("spec.defaultBackend{part}");
        problems.extend(complaint.map(|complaint| problem(user.name, complaint, at)));
        backend
    }

    fn of(&mut self, user: User<'_>, id: BackendId) -> (Arc<Backend>, Option<Complaint>) {
        let User { name, index, allows_external_name } = user;
        let service = service_of(&id);
        let ports = self.made.entry(service.clone()).or_default();
        let made = ports.entry(id.port.clone()).or_insert_with(|| {
            let mut found = Vec::new();
            let (endpoints, external) = endpoints(&service, &id.port, index, &self.vips, &mut found);
            self.new.push((service, id.port.clone(), found));
            Made {
                backend: Arc::new(Backend { endpoints, id }),
                users: BTreeSet::new(),
                found: Found::default(),
                external,
                allowed: BTreeSet::new(),
            }
        });
        made.users.insert(Arc::clone(name));
        made.allowed.remove(name);
        if made.external.is_some() {
            if !allows_external_name {
                let endpoints = Err(Unavailable::ExternalName);
                let refused = Backend { id: made.backend.id.clone(), endpoints };
                let complaint = complaint(&refused, None);
                return (Arc::new(refused), complaint);
            }
            made.allowed.insert(Arc::clone(name));
        }
        (Arc::clone(&made.backend), complaint(&made.backend, made.external.as_ref()))
    }

    /// Registers what is wrong with those that were made.
    pub(super) fn register(&mut self, register: &mut Register, index: &Index) {
        for (service, port, found) in std::mem::take(&mut self.new) {
            if let Some(made) = self.made.get_mut(&service).and_then(|ports| ports.get_mut(&port)) {
                register.replace(&mut made.found, found, index);
            }
        }
    }

    /// The user does not name this backend any more. One that nobody names is forgotten.
    pub(super) fn release(&mut self, user: &ObjectRef, id: &BackendId, register: &mut Register) {
        let service = service_of(id);
        let Some(ports) = self.made.get_mut(&service) else { return };
        let Some(made) = ports.get_mut(&id.port) else { return };
        made.users.remove(user);
        made.allowed.remove(user);
        if made.users.is_empty() {
            let made = ports.remove(&id.port);
            made.into_iter().for_each(|made| register.retire(made.found));
        }
        if ports.is_empty() {
            self.made.remove(&service);
        }
    }

    /// Looks at a Service again; adds to `users` those that name a backend that is another one now.
    pub(super) fn refresh(
        &mut self,
        service: &ObjectRef,
        index: &Index,
        register: &mut Register,
        users: &mut BTreeSet<Arc<ObjectRef>>,
    ) {
        for (port, made) in self.made.get_mut(service).into_iter().flatten() {
            let mut found = Vec::new();
            let (endpoints, external) = endpoints(service, port, index, &self.vips, &mut found);
            register.replace(&mut made.found, found, index);
            if endpoints == made.backend.endpoints && external == made.external {
                continue;
            }
            if endpoints != made.backend.endpoints {
                made.backend = Arc::new(Backend { endpoints, id: made.backend.id.clone() });
            }
            made.external = external;
            users.extend(made.users.iter().cloned());
        }
    }

    /// Takes the VIPs as they are now; gives the Services that this may concern.
    pub(super) fn take_vips(&mut self, vips: &BTreeSet<IpAddr>) -> Vec<ObjectRef> {
        if self.vips == *vips {
            return Vec::new();
        }
        self.vips.clone_from(vips);
        self.external().map(|(service, _)| service.clone()).collect()
    }

    /// The Services that stand for one of these names.
    pub(super) fn named(&self, names: &BTreeSet<String>) -> Vec<ObjectRef> {
        if names.is_empty() {
            return Vec::new();
        }
        let is_named = |made: &Made| {
            made.external
                .iter()
                .filter_map(|external| external.name.as_ref())
                .any(|name| names.contains(name))
        };
        self.external().filter(|(_, made)| is_named(made)).map(|(service, _)| service.clone()).collect()
    }

    /// The names that are to be resolved: those of which somebody may have the addresses.
    pub(super) fn external_names(&self) -> BTreeSet<String> {
        let wanted = self.external().filter(|(_, made)| !made.allowed.is_empty());
        wanted.filter_map(|(_, made)| made.external.as_ref()?.name.clone()).collect()
    }

    fn external(&self) -> impl Iterator<Item = (&ObjectRef, &Made)> {
        let all =
            self.made.iter().flat_map(|(service, ports)| ports.values().map(move |made| (service, made)));
        all.filter(|(_, made)| made.external.is_some())
    }
}

fn service_of(id: &BackendId) -> ObjectRef {
    ObjectRef::new(Kind::Service, id.namespace.as_str(), id.service.as_str())
}

/// The endpoints of a Service's port.
fn endpoints(
    service: &ObjectRef,
    port: &BackendPort,
    index: &Index,
    vips: &BTreeSet<IpAddr>,
    problems: &mut Vec<Problem>,
) -> (Result<Vec<SocketAddr>, Unavailable>, Option<External>) {
    let spec = index.service(service).map(|object| object.spec.as_ref());
    match spec {
        None => (Err(Unavailable::NoService), None),
        Some(None) => (Err(Unavailable::NoPort), None),
        Some(Some(spec)) if external::is_external(spec) => {
            let (endpoints, external) = external::endpoints(spec, port, index, vips);
            (endpoints, Some(external))
        }
        Some(Some(spec)) => (of_slices(service, spec, port, index, problems), None),
    }
}

fn of_slices(
    service: &ObjectRef,
    spec: &ServiceSpec,
    port: &BackendPort,
    index: &Index,
    problems: &mut Vec<Problem>,
) -> Result<Vec<SocketAddr>, Unavailable> {
    let port = service_port(spec, port).ok_or(Unavailable::NoPort)?;
    let port_name = port.name.as_deref().unwrap_or_default();
    let mut endpoints: Vec<SocketAddr> = Vec::new();
    for (name, slice) in index.slices_of(service) {
        collect(name, slice, port_name, &mut endpoints, problems);
    }
    if endpoints.is_empty() {
        problems.extend(misnamed(index.slices_of(service), port_name));
    }
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints.shrink_to_fit();
    if endpoints.is_empty() { Err(Unavailable::NoEndpoint) } else { Ok(endpoints) }
}

/// What is wrong with a slice that belongs to no Service.
pub(super) fn lost(name: &ObjectRef, slice: &EndpointSlice) -> Option<Problem> {
    let labels = slice.metadata.labels.as_ref();
    let is_lost = labels.is_none_or(|labels| !labels.contains_key(names::SERVICE_NAME));
    let message = || format!("the label {} is missing: its endpoints get no requests", names::SERVICE_NAME);
    is_lost.then(|| Problem::warning(name, "metadata.labels", message()))
}

/// The port by number or by name; `None` if neither is given.
pub(super) fn port(port: Option<&ServiceBackendPort>) -> Option<BackendPort> {
    let port = port?;
    match (&port.name, port.number.map(u16::try_from)) {
        (Some(name), _) if !name.is_empty() => Some(BackendPort::Name(name.clone())),
        (_, Some(Ok(number))) if number != 0 => Some(BackendPort::Number(number)),
        _ => None,
    }
}

/// What answers for a backend that is no port of a Service. Its name cannot be that of a Service.
fn unsupported(namespace: &str, wanted: &IngressBackend) -> (Backend, String) {
    let (service, message) = match (&wanted.service, &wanted.resource) {
        (Some(service), _) => (
            format!("Service/{}", service.name),
            "the Service's port is missing: give its name or number".to_owned(),
        ),
        (None, Some(resource)) => {
            let what = format!("{}/{}", resource.kind, resource.name);
            let message = format!("resource backends are not supported ({what}): its requests get 500");
            (what, message)
        }
        (None, None) => {
            ("/".to_owned(), "neither service nor resource is given: its requests get 500".to_owned())
        }
    };
    let id = BackendId { namespace: namespace.to_owned(), service, port: BackendPort::Name(String::new()) };
    (Backend { id, endpoints: Err(Unavailable::Unsupported) }, message)
}

/// What the owner of the route has to mend, and below which field. No endpoint being ready is no mistake.
fn complaint(backend: &Backend, external: Option<&External>) -> Option<Complaint> {
    let BackendId { namespace, service, port } = &backend.id;
    if let Some((severity, trouble)) = external.and_then(|external| external.trouble.as_ref()) {
        return Some((".name", *severity, format!("Service {namespace}/{service} {trouble}")));
    }
    let (part, message) = match backend.endpoints.as_ref().err()? {
        Unavailable::NoService => {
            (".name", format!("Service {namespace}/{service} does not exist: requests get 503"))
        }
        Unavailable::NoPort => {
            (".port", format!("Service {namespace}/{service} has no TCP port {port}: requests get 503"))
        }
        Unavailable::ExternalName => {
            let message = format!(
                "Service {namespace}/{service} is of type ExternalName, which is not switched on: requests get 503"
            );
            (".name", message)
        }
        Unavailable::NoEndpoint | Unavailable::Unsupported => return None,
    };
    Some((part, Severity::Error, message))
}

fn problem(
    user: &ObjectRef,
    (part, severity, message): Complaint,
    at: impl FnOnce(&'static str) -> String,
) -> Problem {
    Problem { severity, ..Problem::error(user, at(part), message) }
}

pub(super) fn service_port<'a>(spec: &'a ServiceSpec, wanted: &BackendPort) -> Option<&'a ServicePort> {
    let is_wanted = |port: &&ServicePort| match wanted {
        BackendPort::Number(number) => port.port == i32::from(*number),
        BackendPort::Name(name) => port.name.as_ref() == Some(name),
    };
    let is_tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    spec.ports.iter().flatten().filter(is_tcp).find(is_wanted)
}

/// Adds the ready endpoints of a slice for the Service's port of this name.
fn collect(
    name: &ObjectRef,
    slice: &EndpointSlice,
    port_name: &str,
    endpoints: &mut Vec<SocketAddr>,
    problems: &mut Vec<Problem>,
) {
    let ports = slice.ports.iter().flatten();
    let named = ports.filter(|port| port.name.as_deref().unwrap_or_default() == port_name);
    let tcp = named.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let numbers: Vec<u16> =
        tcp.filter_map(|port| u16::try_from(port.port?).ok().filter(|&port| port != 0)).collect();
    for (at, endpoint) in
        slice.endpoints.iter().flatten().enumerate().filter(|(_, endpoint)| is_ready(endpoint))
    {
        // Only the first address of an endpoint means anything (EndpointSlice API text).
        let Some(text) = endpoint.addresses.first() else { continue };
        match text.parse::<IpAddr>() {
            Ok(address) => {
                endpoints.extend(numbers.iter().map(|&port| SocketAddr::new(address.to_canonical(), port)))
            }
            Err(_) => {
                let field = format!("endpoints[{at}].addresses[0]");
                problems.push(Problem::error(
                    name,
                    field,
                    format!("{text:?} is not an IP address: it gets no requests"),
                ));
            }
        }
    }
}

/// Endpoints are ready, and yet none is to be had: a port is named otherwise than the Service's. In a cluster,
/// where Kubernetes writes the slices, this does not happen.
fn misnamed<'a>(
    mut slices: impl Iterator<Item = (&'a ObjectRef, &'a EndpointSlice)>,
    port_name: &str,
) -> Option<Problem> {
    let has_ready = |slice: &EndpointSlice| slice.endpoints.iter().flatten().any(is_ready);
    let (name, _) = slices.find(|(_, slice)| has_ready(slice))?;
    let wanted = match port_name {
        "" => "without a name".to_owned(),
        port_name => format!("named {port_name:?}"),
    };
    let message =
        format!("has no TCP port {wanted}, as that of the Service is: its endpoints get no requests");
    Some(Problem::warning(name, "ports", message))
}

/// "nil should be interpreted as true" (EndpointSlice API text).
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Settings;
    use crate::source::translate::fixture::{EDGE, assert_complaints, snapshot};

    const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: http, port: 80, targetPort: 8080}, {name: metrics, port: 9090}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-v4, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: metrics, port: 9090}, {name: dns, port: 53, protocol: UDP}]
endpoints:
  - {addresses: [192.0.2.12], conditions: {ready: true}}
  - {addresses: [192.0.2.11]}
  - {addresses: [192.0.2.13], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-v4-more, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8081}]
endpoints: [{addresses: [192.0.2.11]}, {addresses: [192.0.2.14, 192.0.2.99]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-v6, labels: {kubernetes.io/service-name: shop}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ['2001:db8::11']}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: copy, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.11]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: elsewhere, namespace: other, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.66]}]
---
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: headless, labels: {kubernetes.io/service-name: headless}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [192.0.2.21]}, {addresses: [localhost]}]
---
{apiVersion: v1, kind: Service, metadata: {name: outside}, spec: {type: ExternalName, externalName: x.org, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: idle}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: misnamed}, spec: {ports: [{name: web, port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: misnamed, labels: {kubernetes.io/service-name: misnamed}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.31]}]
";

    #[track_caller]
    fn check(backend: &str, expected: Result<&[&str], Unavailable>, problems: &[&str]) {
        let ingress = format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web}}\n\
             spec: {{ingressClassName: edgelb, defaultBackend: {{{backend}}}}}\n"
        );
        let snapshot = snapshot(&format!("{EDGE}{OBJECTS}{ingress}"), &Settings::default());
        let routes = &snapshot.listeners.values().next().expect("a listener").routes;
        let found = &routes.default_backend.as_ref().expect("a backend").endpoints;
        let found =
            found.as_ref().map(|endpoints| endpoints.iter().map(SocketAddr::to_string).collect::<Vec<_>>());
        let expected =
            expected.map(|endpoints| endpoints.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(found.map_err(|error| *error), expected, "{backend}");
        assert_complaints(&snapshot, problems);
    }

    fn service(name: &str, port: &str) -> String {
        format!("service: {{name: {name}, port: {{{port}}}}}")
    }

    #[test]
    fn endpoints_are_the_ready_ones_of_the_named_port() {
        let http = [
            "192.0.2.11:8080",
            "192.0.2.11:8081",
            "192.0.2.12:8080",
            "192.0.2.14:8081",
            "[2001:db8::11]:8080",
        ];
        check(&service("shop", "number: 80"), Ok(&http), &[]);
        check(&service("shop", "name: http"), Ok(&http), &[]);
        check(&service("shop", "name: metrics"), Ok(&["192.0.2.11:9090", "192.0.2.12:9090"]), &[]);
    }

    #[test]
    fn headless_services_are_services() {
        let problem =
            "EndpointSlice default/headless: endpoints[1].addresses[0]: \"localhost\" is not an IP address";
        check(&service("headless", "number: 80"), Ok(&["192.0.2.21:8080"]), &[problem]);
    }

    #[test]
    fn what_cannot_take_requests_says_why() {
        let at = "error: Ingress default/web: spec.defaultBackend";
        for (backend, expected, problem) in [
            (
                service("nobody", "number: 80"),
                Unavailable::NoService,
                "service.name: Service default/nobody does not exist",
            ),
            (
                service("shop", "number: 81"),
                Unavailable::NoPort,
                "service.port: Service default/shop has no TCP port 81",
            ),
            (
                service("shop", "number: 53"),
                Unavailable::NoPort,
                "service.port: Service default/shop has no TCP port 53",
            ),
            (
                service("shop", "name: web"),
                Unavailable::NoPort,
                "service.port: Service default/shop has no TCP port web",
            ),
            (
                service("outside", "number: 80"),
                Unavailable::ExternalName,
                "service.name: Service default/outside is of type ExternalName",
            ),
        ] {
            check(&backend, Err(expected), &[&format!("{at}.{problem}")]);
        }
        let resource = "resource: {apiGroup: x, kind: Bucket, name: pictures}";
        check(
            resource,
            Err(Unavailable::Unsupported),
            &[&format!("{at}: resource backends are not supported (Bucket/pictures)")],
        );
        check(
            "service: {name: shop}",
            Err(Unavailable::Unsupported),
            &[&format!("{at}: the Service's port is missing")],
        );
        check("", Err(Unavailable::Unsupported), &[&format!("{at}: neither service nor resource")]);
    }

    #[test]
    fn no_ready_endpoint_is_no_mistake() {
        check(&service("idle", "number: 80"), Err(Unavailable::NoEndpoint), &[]);
    }

    #[test]
    fn slices_that_no_request_reaches_say_why() {
        let problem = "warning: EndpointSlice default/misnamed: ports: has no TCP port named \"web\"";
        check(&service("misnamed", "number: 80"), Err(Unavailable::NoEndpoint), &[problem]);
        let lost = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: lost}}";
        let snapshot = snapshot(&format!("{EDGE}{lost}"), &Settings::default());
        assert_complaints(
            &snapshot,
            &[
                "warning: EndpointSlice default/lost: metadata.labels: the label kubernetes.io/service-name is missing",
            ],
        );
    }
}
