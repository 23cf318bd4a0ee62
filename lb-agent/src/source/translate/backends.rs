//! Services and their EndpointSlices -> backends: one for each port that routes name, however many name it.

mod endpoints;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::IngressBackend;

use self::endpoints::look;
pub(super) use self::endpoints::{lost, port, service_port};
use super::asked::Asked;
use super::external::External;
use super::ingress::Reading;
use super::register::{Found, Register};
use crate::model::{
    Backend, BackendId, BackendPort, BackendProtocol, Kind, ObjectRef, Problem, Severity, Treatment,
    Unavailable,
};
use crate::source::Index;

/// The backends that Ingresses of ours name, by Service and port.
#[derive(Debug, Default)]
pub(super) struct Backends {
    made: BTreeMap<ObjectRef, BTreeMap<BackendPort, Made>>,
    /// Those that were made since problems were registered.
    new: Vec<(ObjectRef, BackendPort, Vec<Problem>)>,
    /// What decides beside the Service and its EndpointSlices.
    site: Site,
}

/// Where backends are looked for.
#[derive(Debug, Default)]
struct Site {
    /// Addresses that no external name may lead to.
    vips: BTreeSet<IpAddr>,
    /// The node's zone.
    zone: Option<String>,
}

#[derive(Debug)]
struct Made {
    /// For each thing that is asked for; at least one.
    backends: Vec<(Arc<Asked>, Arc<Backend>)>,
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
    /// What it asks for.
    pub(super) asked: &'a Arc<Asked>,
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
        let User { name, index, asked, allows_external_name } = user;
        let service = service_of(&id);
        let ports = self.made.entry(service.clone()).or_default();
        let made = ports.entry(id.port.clone()).or_insert_with(|| {
            let mut found = Vec::new();
            let seen = look(&service, &id.port, index, &self.site, &mut found);
            self.new.push((service.clone(), id.port.clone(), found));
            Made {
                backends: vec![(Arc::clone(asked), Arc::new(seen.backend(&id, asked)))],
                users: BTreeSet::new(),
                found: Found::default(),
                external: seen.external,
                allowed: BTreeSet::new(),
            }
        });
        let known = made.backends.iter().find(|(known, _)| known == asked);
        let backend = known.map(|(_, backend)| Arc::clone(backend)).unwrap_or_else(|| {
            let seen = look(&service, &id.port, index, &self.site, &mut Vec::new());
            let backend = Arc::new(seen.backend(&id, asked));
            // What nobody asks for any more.
            made.backends.retain(|(_, known)| Arc::strong_count(known) > 1);
            made.backends.push((Arc::clone(asked), Arc::clone(&backend)));
            backend
        });
        made.users.insert(Arc::clone(name));
        made.allowed.remove(name);
        if made.external.is_some() {
            if !allows_external_name {
                let endpoints = Err(Unavailable::ExternalName);
                let refused = Backend { endpoints, ..Backend::clone(&backend) };
                let complaint = complaint(&refused, None);
                return (Arc::new(refused), complaint);
            }
            made.allowed.insert(Arc::clone(name));
        }
        let complaint = complaint(&backend, made.external.as_ref());
        (backend, complaint)
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
            let seen = look(service, port, index, &self.site, &mut found);
            register.replace(&mut made.found, found, index);
            let mut is_other = seen.external != made.external;
            for (asked, known) in &mut made.backends {
                let now = seen.backend(&known.id, asked);
                if now != **known {
                    *known = Arc::new(now);
                    is_other = true;
                }
            }
            made.external = seen.external;
            if is_other {
                users.extend(made.users.iter().cloned());
            }
        }
    }

    /// Takes the VIPs as they are now; gives the Services that this may concern.
    pub(super) fn take_vips(&mut self, vips: &BTreeSet<IpAddr>) -> Vec<ObjectRef> {
        if self.site.vips == *vips {
            return Vec::new();
        }
        self.site.vips.clone_from(vips);
        self.external().map(|(service, _)| service.clone()).collect()
    }

    /// Takes the node's zone as it is now; gives the Services that this may concern.
    pub(super) fn take_zone(&mut self, zone: Option<String>) -> Vec<ObjectRef> {
        if self.site.zone == zone {
            return Vec::new();
        }
        self.site.zone = zone;
        self.made.keys().cloned().collect()
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
    let (protocol, treatment) = (BackendProtocol::default(), Treatment::default());
    (Backend { id, protocol, treatment, endpoints: Err(Unavailable::Unsupported) }, message)
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
        // What is said of the Service, or of the annotation, says it.
        Unavailable::UnknownProtocol | Unavailable::NoTrust => return None,
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

#[cfg(test)]
mod tests;
