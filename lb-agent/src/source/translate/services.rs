//! Services of our loadBalancerClass -> VIPs, the ports on them, and what the proxy speaks there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Service as ServiceObject, ServicePort, ServiceSpec};

use super::age::Age;
use super::members;
use crate::model::{ListenerProtocol, ObjectRef, Problem, Protocol, Service, ServiceAddress};
use crate::source::{Index, names};

/// What clients can connect to.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// All VIPs.
    pub(super) vips: BTreeSet<IpAddr>,
    /// Their ports.
    pub(super) services: BTreeMap<ServiceAddress, Service>,
    /// What the proxy speaks on those with a listener.
    pub(super) listeners: BTreeMap<SocketAddr, ListenerProtocol>,
}

/// The VIPs and ports of all Services of ours. A port of a VIP belongs to the oldest Service that names it.
pub(super) fn translate(index: &Index, problems: &mut Vec<Problem>) -> Services {
    let nodes: BTreeMap<IpAddr, &ObjectRef> = index
        .nodes()
        .flat_map(|(name, node)| members::addresses(node).map(move |address| (address, name)))
        .collect();
    let mut ours: Vec<_> = index.services().filter_map(ours).collect();
    ours.sort_by_cached_key(|(_, service, _)| Age::of(&service.metadata));

    let mut services = Services::default();
    for (name, service, spec) in ours {
        if !is_usable(name, spec, problems) {
            continue;
        }
        let vips = vips(name, service, spec, &nodes, problems);
        services.vips.extend(&vips);
        for (at, port) in spec.ports.iter().flatten().enumerate() {
            services.add(
                &Port { service: name, spec, port, field: format!("spec.ports[{at}]") },
                &vips,
                problems,
            );
        }
    }
    services
}

/// A Service, if it is of our class: others are left alone, without a word.
fn ours<'a>(
    (name, service): (&'a ObjectRef, &'a ServiceObject),
) -> Option<(&'a ObjectRef, &'a ServiceObject, &'a ServiceSpec)> {
    let spec = service.spec.as_ref()?;
    (spec.load_balancer_class.as_deref() == Some(names::CONTROLLER)).then_some((name, service, spec))
}

fn is_usable(name: &ObjectRef, spec: &ServiceSpec, problems: &mut Vec<Problem>) -> bool {
    if spec.external_ips.as_ref().is_some_and(|addresses| !addresses.is_empty()) {
        let message =
            "ignored: kube-proxy would take these addresses; name VIPs by the annotation edgelb.dev/vips";
        problems.push(Problem::warning(name, "spec.externalIPs", message));
    }
    let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    if !is_load_balancer {
        let message = "a Service with our loadBalancerClass has to be of type LoadBalancer; it is ignored";
        problems.push(Problem::error(name, "spec.type", message));
    }
    is_load_balancer
}

/// The VIPs that a Service may have of those that it asks for.
fn vips(
    name: &ObjectRef,
    service: &ServiceObject,
    spec: &ServiceSpec,
    nodes: &BTreeMap<IpAddr, &ObjectRef>,
    problems: &mut Vec<Problem>,
) -> BTreeSet<IpAddr> {
    let annotation = service.metadata.annotations.as_ref().and_then(|all| all.get(names::VIPS));
    let (field, asked) = match (annotation, &spec.load_balancer_ip) {
        (Some(list), _) => (format!("metadata.annotations.{}", names::VIPS), list.as_str()),
        (None, Some(vip)) => ("spec.loadBalancerIP".to_owned(), vip.as_str()),
        (None, None) => ("metadata.annotations".to_owned(), ""),
    };
    let asked: Vec<&str> = asked.split(',').map(str::trim).filter(|vip| !vip.is_empty()).collect();
    if asked.is_empty() {
        let message =
            format!("the Service has no VIP: name some, as in `{}: 203.0.113.10,2001:db8::10`", names::VIPS);
        problems.push(Problem::error(name, field, message));
        return BTreeSet::new();
    }
    let mut check = |vip: &str| match vip_of(vip, nodes) {
        Ok(vip) => Some(vip),
        Err(message) => {
            problems.push(Problem::error(name, field.as_str(), message));
            None
        }
    };
    asked.into_iter().filter_map(&mut check).collect()
}

fn vip_of(text: &str, nodes: &BTreeMap<IpAddr, &ObjectRef>) -> Result<IpAddr, String> {
    let vip = text.parse::<IpAddr>().map_err(|_| format!("{text:?} is not an IP address"))?.to_canonical();
    if let Some(node) = nodes.get(&vip) {
        return Err(format!("{vip} is an address of {node}: as a VIP it would cut that node off"));
    }
    let is_link_local = match vip {
        IpAddr::V4(vip) => vip.is_link_local() || vip.is_broadcast(),
        IpAddr::V6(vip) => vip.is_unicast_link_local(),
    };
    if vip.is_unspecified() || vip.is_loopback() || vip.is_multicast() || is_link_local {
        return Err(format!("{vip} cannot be a VIP: it is not a routable unicast address"));
    }
    Ok(vip)
}

/// A port of a Service of ours.
struct Port<'a> {
    service: &'a ObjectRef,
    spec: &'a ServiceSpec,
    port: &'a ServicePort,
    field: String,
}

impl Port<'_> {
    fn error(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem::error(self.service, format!("{}{field}", self.field), message)
    }

    /// Number and transport protocol.
    fn transport(&self) -> Result<(u16, Protocol), Problem> {
        let number = u16::try_from(self.port.port).ok().filter(|&number| number != 0);
        let number =
            number.ok_or_else(|| self.error(".port", format!("{} is not a port", self.port.port)))?;
        match self.port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => Ok((number, Protocol::Tcp)),
            "UDP" => Ok((number, Protocol::Udp)),
            other => Err(self.error(".protocol", format!("{other} is not supported: the port is ignored"))),
        }
    }

    /// What the proxy speaks on it, or why it does not listen.
    fn listener(&self, number: u16, protocol: Protocol) -> Result<ListenerProtocol, Problem> {
        if self.spec.selector.as_ref().is_some_and(|selector| !selector.is_empty()) {
            let message = "a Service with a selector asks for its own pods behind the VIP, which is not built yet: \
                           nothing answers on its ports; without the selector, the proxy does";
            return Err(Problem::error(self.service, "spec.selector", message));
        }
        if protocol == Protocol::Udp {
            let problem =
                self.error("", "UDP is not served yet: packets to this port are counted and dropped");
            return Err(Problem { severity: crate::model::Severity::Warning, ..problem });
        }
        self.application(number)
    }

    /// By `appProtocol`, then by the port's name, then by its number.
    fn application(&self, number: u16) -> Result<ListenerProtocol, Problem> {
        use ListenerProtocol::{Http, Https};
        let name = self.port.name.as_deref().unwrap_or_default();
        match (self.port.app_protocol.as_deref(), number) {
            (Some("http" | "kubernetes.io/h2c" | "kubernetes.io/ws"), _) => Ok(Http),
            (Some("https" | "kubernetes.io/wss"), _) => Ok(Https),
            (Some(other), _) => {
                let message = format!("{other:?} is neither http nor https: nothing answers on this port");
                Err(self.error(".appProtocol", message))
            }
            (None, _) if name.starts_with("https") || name.starts_with("tls") => Ok(Https),
            (None, _) if name.starts_with("http") => Ok(Http),
            (None, 80) => Ok(Http),
            (None, 443) => Ok(Https),
            (None, _) => {
                let message = "neither appProtocol, nor name, nor number says whether this is http or https: \
                               nothing answers on this port; set `appProtocol`";
                Err(self.error("", message))
            }
        }
    }
}

impl Services {
    fn add(&mut self, port: &Port<'_>, vips: &BTreeSet<IpAddr>, problems: &mut Vec<Problem>) {
        let (number, protocol) = match port.transport() {
            Ok(transport) => transport,
            Err(problem) => return problems.push(problem),
        };
        let listener = port.listener(number, protocol).map_err(|problem| problems.push(problem)).ok();
        for &vip in vips {
            let address = ServiceAddress { vip, port: number, protocol };
            if let Some(owner) = self.services.get(&address) {
                problems.push(
                    port.error("", format!("{address} already belongs to {}, which is older", owner.object)),
                );
                continue;
            }
            let service = Service { object: port.service.clone(), has_listener: listener.is_some() };
            self.services.insert(address, service);
            if let Some(protocol) = listener {
                self.listeners.insert(SocketAddr::new(vip, number), protocol);
            }
        }
    }
}
