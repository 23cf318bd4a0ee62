//! The VIPs of a Service, as its annotation or its field names them, and those that nobody may have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use crate::model::{Cause, ObjectRef, Problem};
use crate::source::names;

/// VIPs of one Service: each of its ports is served on all of them.
const MOST: usize = 64;

/// Addresses that mean something else to the nodes already.
pub(super) struct Taken<'a> {
    /// Those of Nodes.
    pub(super) nodes: BTreeMap<IpAddr, &'a ObjectRef>,
    /// ClusterIPs: with a route of its own for the cluster's DNS or its API server, an edge node would not reach it.
    pub(super) services: BTreeMap<IpAddr, &'a ObjectRef>,
}

/// The VIPs that a Service may have of those that it asks for.
pub(super) fn vips(
    name: &ObjectRef,
    service: &Service,
    spec: &ServiceSpec,
    taken: &Taken<'_>,
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
    if asked.len() > MOST {
        let message =
            format!("{} VIPs are named, and {MOST} are the most: those behind have no effect", asked.len());
        problems.push(Problem::error(name, field.as_str(), message));
    }
    let mut check = |vip: &str| match vip_of(vip, taken) {
        Ok(vip) => Some(vip),
        Err((cause, message)) => {
            problems.push(Problem::error(name, field.as_str(), message).because(cause));
            None
        }
    };
    asked.into_iter().take(MOST).filter_map(&mut check).collect()
}

/// The VIP, or why nobody can have it.
fn vip_of(text: &str, taken: &Taken<'_>) -> Result<IpAddr, (Cause, String)> {
    let nonsense = |_| (Cause::Field, format!("{text:?} is not an IP address"));
    let vip = text.parse::<IpAddr>().map_err(nonsense)?.to_canonical();
    if let Some(node) = taken.nodes.get(&vip) {
        let message = format!("{vip} is an address of {node}: as a VIP it would cut that node off");
        return Err((Cause::Conflict, message));
    }
    if let Some(service) = taken.services.get(&vip) {
        let message = format!(
            "{vip} is the ClusterIP of {service}: as a VIP it would hide that Service from edge nodes"
        );
        return Err((Cause::Conflict, message));
    }
    let is_link_local = match vip {
        IpAddr::V4(vip) => vip.is_link_local() || vip.is_broadcast(),
        IpAddr::V6(vip) => vip.is_unicast_link_local(),
    };
    if vip.is_unspecified() || vip.is_loopback() || vip.is_multicast() || is_link_local {
        let message = format!("{vip} cannot be a VIP: it is not a routable unicast address");
        return Err((Cause::Field, message));
    }
    Ok(vip)
}
