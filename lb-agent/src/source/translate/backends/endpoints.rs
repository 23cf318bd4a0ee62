//! A Service's port and its EndpointSlices -> the addresses that requests go to, and what is spoken there.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::api::networking::v1::ServiceBackendPort;

use super::super::asked::Asked;
use super::super::external::{self, External};
use super::super::protocol::{self, Choice, Spoken};
use super::super::treatment::Wishes;
use super::super::zone;
use super::Site;
use crate::model::{Backend, BackendId, BackendPort, BackendProtocol, ObjectRef, Problem, Unavailable};
use crate::source::{Index, names};

/// What stands behind a Service's port.
pub(super) struct Seen {
    /// Where requests go.
    endpoints: Result<Vec<SocketAddr>, Unavailable>,
    /// What the Service says is spoken there; none if that is not known.
    spoken: Option<Spoken>,
    /// How they are to get requests.
    wishes: Wishes,
    /// If the Service is of type ExternalName.
    pub(super) external: Option<External>,
}

/// Looks at a Service's port.
pub(super) fn look(
    service: &ObjectRef,
    port: &BackendPort,
    index: &Index,
    site: &Site,
    problems: &mut Vec<Problem>,
) -> Seen {
    let spec = index.service(service).map(|object| object.spec.as_ref());
    let spoken = spec.flatten().map_or(Some(Spoken::Http), |spec| spoken(service, spec, port, problems));
    let (endpoints, external) = match spec {
        None => (Err(Unavailable::NoService), None),
        Some(None) => (Err(Unavailable::NoPort), None),
        Some(Some(spec)) if external::is_external(spec) => {
            let (endpoints, external) = external::endpoints(spec, port, index, &site.vips);
            (endpoints, Some(external))
        }
        Some(Some(spec)) => (of_slices(service, spec, port, site, index, problems), None),
    };
    Seen { endpoints, spoken, wishes: Wishes::of_service(service, index, problems), external }
}

impl Seen {
    /// The backend, spoken to as somebody asks.
    pub(super) fn backend(&self, id: &BackendId, asked: &Asked) -> Backend {
        let spoken = match asked.spoken {
            Choice::AsService => self.spoken,
            Choice::This(spoken) => Some(spoken),
            Choice::Unknown => None,
        };
        let protocol = spoken.map(|spoken| spoken.with(|| asked.tls.with(|| self.server_name(id))));
        let endpoints = match (&self.endpoints, &protocol) {
            (Ok(_) | Err(Unavailable::NoEndpoint), None) => Err(Unavailable::UnknownProtocol),
            (Ok(_) | Err(Unavailable::NoEndpoint), Some(None)) => Err(Unavailable::NoTrust),
            (endpoints, _) => endpoints.clone(),
        };
        let proxy_header = self.wishes.proxy_header();
        let protocol = BackendProtocol { proxy_header, ..protocol.flatten().unwrap_or_default() };
        Backend { id: id.clone(), protocol, treatment: self.wishes.over(&asked.wishes), endpoints }
    }

    /// The name by which a Service's own certificate, or that of the host outside, goes.
    fn server_name(&self, id: &BackendId) -> String {
        let outside = self.external.as_ref().and_then(|external| external.name.clone());
        outside.unwrap_or_else(|| format!("{}.{}.svc", id.service, id.namespace))
    }
}

fn spoken(
    service: &ObjectRef,
    spec: &ServiceSpec,
    port: &BackendPort,
    problems: &mut Vec<Problem>,
) -> Option<Spoken> {
    let Some(port) = service_port(spec, port) else { return Some(Spoken::Http) };
    match protocol::of_port(port) {
        Ok(spoken) => Some(spoken),
        Err(value) => {
            let at = spec.ports.iter().flatten().position(|other| std::ptr::eq(other, port));
            problems.push(protocol::unknown(service, at.unwrap_or_default(), value));
            None
        }
    }
}

fn of_slices(
    service: &ObjectRef,
    spec: &ServiceSpec,
    port: &BackendPort,
    site: &Site,
    index: &Index,
    problems: &mut Vec<Problem>,
) -> Result<Vec<SocketAddr>, Unavailable> {
    let port = service_port(spec, port).ok_or(Unavailable::NoPort)?;
    let port_name = port.name.as_deref().unwrap_or_default();
    let prefers_near = index.service(service).is_some_and(zone::prefers_near);
    let zone = site.zone.as_deref().filter(|_| prefers_near);
    let mut found = Vec::new();
    // As kube-proxy has it: those that end, and still serve, only where no other is left.
    for is_wanted in [is_ready, is_last_resort] {
        for (name, slice) in index.slices_of(service) {
            collect((name, slice), port_name, (is_wanted, zone), &mut found, problems);
        }
        if !found.is_empty() {
            break;
        }
    }
    let mut endpoints = zone::near(found);
    if endpoints.is_empty() {
        problems.extend(misnamed(index.slices_of(service), port_name));
    }
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints.shrink_to_fit();
    if endpoints.is_empty() { Err(Unavailable::NoEndpoint) } else { Ok(endpoints) }
}

/// What is wrong with a slice that belongs to no Service.
pub(in crate::source::translate) fn lost(name: &ObjectRef, slice: &EndpointSlice) -> Option<Problem> {
    let labels = slice.metadata.labels.as_ref();
    let is_lost = labels.is_none_or(|labels| !labels.contains_key(names::SERVICE_NAME));
    let message = || format!("the label {} is missing: its endpoints get no requests", names::SERVICE_NAME);
    is_lost.then(|| Problem::warning(name, "metadata.labels", message()))
}

/// The port by number or by name; `None` if neither is given.
pub(in crate::source::translate) fn port(port: Option<&ServiceBackendPort>) -> Option<BackendPort> {
    let port = port?;
    match (&port.name, port.number.map(u16::try_from)) {
        (Some(name), _) if !name.is_empty() => Some(BackendPort::Name(name.clone())),
        (_, Some(Ok(number))) if number != 0 => Some(BackendPort::Number(number)),
        _ => None,
    }
}

pub(in crate::source::translate) fn service_port<'a>(
    spec: &'a ServiceSpec,
    wanted: &BackendPort,
) -> Option<&'a ServicePort> {
    let is_wanted = |port: &&ServicePort| match wanted {
        BackendPort::Number(number) => port.port == i32::from(*number),
        BackendPort::Name(name) => port.name.as_ref() == Some(name),
    };
    let is_tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    spec.ports.iter().flatten().filter(is_tcp).find(is_wanted)
}

/// Adds the endpoints of a slice in this condition, for the Service's port of this name, each with what it says of a
/// zone.
fn collect(
    (name, slice): (&ObjectRef, &EndpointSlice),
    port_name: &str,
    (is_wanted, zone): (fn(&Endpoint) -> bool, Option<&str>),
    endpoints: &mut Vec<(SocketAddr, Option<bool>)>,
    problems: &mut Vec<Problem>,
) {
    let ports = slice.ports.iter().flatten();
    let named = ports.filter(|port| port.name.as_deref().unwrap_or_default() == port_name);
    let tcp = named.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let numbers: Vec<u16> =
        tcp.filter_map(|port| u16::try_from(port.port?).ok().filter(|&port| port != 0)).collect();
    for (at, endpoint) in
        slice.endpoints.iter().flatten().enumerate().filter(|(_, endpoint)| is_wanted(endpoint))
    {
        // Only the first address of an endpoint means anything (EndpointSlice API text).
        let Some(text) = endpoint.addresses.first() else { continue };
        match text.parse::<IpAddr>() {
            Ok(address) => {
                let hint = zone.and_then(|zone| zone::is_near(endpoint, zone));
                let at = |&port: &u16| (SocketAddr::new(address.to_canonical(), port), hint);
                endpoints.extend(numbers.iter().map(at));
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

/// It ends, and takes requests up to then. "nil should be interpreted as true" of `serving`, and "false" of
/// `terminating` (EndpointSlice API text).
fn is_last_resort(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|conditions| {
        !is_ready(endpoint) && conditions.serving.unwrap_or(true) && conditions.terminating.unwrap_or(false)
    })
}
