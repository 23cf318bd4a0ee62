//! Services of type ExternalName -> endpoints: the addresses that their names stand for, but for those that would
//! turn the proxy against its own node. Which answers there are is an input, like the objects.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::backends::service_port;
use crate::model::{BackendPort, HostPattern, Severity, Unavailable};
use crate::source::Index;

/// What is known of such a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct External {
    /// The name to look up; `None` if it is none.
    pub(super) name: Option<String>,
    /// What is wrong with it.
    pub(super) trouble: Option<(Severity, String)>,
}

type Endpoints = Result<Vec<SocketAddr>, Unavailable>;

/// Whether it is one.
pub(super) fn is_external(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("ExternalName")
}

/// The endpoints of a port.
pub(super) fn endpoints(
    spec: &ServiceSpec,
    port: &BackendPort,
    index: &Index,
    vips: &BTreeSet<IpAddr>,
) -> (Endpoints, External) {
    let text = spec.external_name.as_deref().unwrap_or_default();
    let Ok(HostPattern::Precise(name)) = HostPattern::parse(text.strip_suffix('.').unwrap_or(text)) else {
        let trouble = Some((Severity::Error, format!("stands for {text:?}, which is not a DNS name")));
        return (Err(Unavailable::NoEndpoint), External { name: None, trouble });
    };
    let Some(port) = number(spec, port) else {
        return (Err(Unavailable::NoPort), External { name: Some(name), trouble: None });
    };
    let Some(answer) = index.answer(&name) else {
        // Its first look-up is under way.
        return (Err(Unavailable::NoEndpoint), External { name: Some(name), trouble: None });
    };
    let refused: Vec<String> = answer
        .addresses
        .iter()
        .filter_map(|address| Some(format!("{address} ({})", refusal(*address, vips)?)))
        .collect();
    let taken = answer.addresses.iter().filter(|address| refusal(**address, vips).is_none());
    let taken: Vec<_> = taken.map(|&address| SocketAddr::new(address, port)).collect();
    let trouble = match (&answer.failure, taken.is_empty()) {
        _ if !refused.is_empty() => {
            let severity = if taken.is_empty() { Severity::Error } else { Severity::Warning };
            let message = format!("stands for {name}, which must not lead to {}", refused.join(", "));
            Some((severity, message))
        }
        (Some(failure), true) => {
            Some((Severity::Error, format!("stands for {name}, which cannot be resolved: {failure}")))
        }
        (Some(failure), false) => Some((
            Severity::Warning,
            format!(
                "stands for {name}, which cannot be resolved any more, so its last addresses stay: {failure}"
            ),
        )),
        (None, _) => None,
    };
    let endpoints = if taken.is_empty() { Err(Unavailable::NoEndpoint) } else { Ok(taken) };
    (endpoints, External { name: Some(name), trouble })
}

/// Such a Service may list its ports or not; if it does not, the Ingress says which.
fn number(spec: &ServiceSpec, wanted: &BackendPort) -> Option<u16> {
    if spec.ports.as_ref().is_none_or(Vec::is_empty) {
        return match wanted {
            BackendPort::Number(number) => Some(*number),
            BackendPort::Name(_) => None,
        };
    }
    let port = service_port(spec, wanted)?;
    let number = match &port.target_port {
        Some(IntOrString::Int(target)) if *target != 0 => *target,
        _ => port.port,
    };
    u16::try_from(number).ok()
}

/// Clouds tell their machines' credentials there; `169.254.169.254` is link-local anyway.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Why nothing may be sent there: the proxy stands on the node's own network, where these mean the node itself.
fn refusal(address: IpAddr, vips: &BTreeSet<IpAddr>) -> Option<&'static str> {
    let address = without_translation(address.to_canonical());
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match address {
        _ if METADATA.contains(&address) => Some("cloud metadata"),
        _ if address.is_loopback() => Some("loopback"),
        _ if is_link_local => Some("link-local"),
        _ if address.is_multicast() => Some("multicast"),
        _ if address.is_unspecified() => Some("unspecified"),
        IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0 => Some("no host's"),
        _ if vips.contains(&address) => Some("a VIP of our own"),
        _ => None,
    }
}

/// The IPv4 address that a NAT64's well-known prefix (RFC 6052) stands for.
fn without_translation(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests;
