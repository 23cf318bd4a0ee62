//! What of each kind is kept: only what translation and reports read. The rest costs memory on every edge node, and
//! a heartbeat in a Node's status would else look like a change.

use k8s_openapi::api::core::v1::{
    ConfigMap, LoadBalancerIngress, LoadBalancerStatus, Node, NodeSpec, NodeStatus, Secret, Service,
    ServiceStatus,
};
use k8s_openapi::api::discovery::v1::{EndpointHints, EndpointSlice};
use k8s_openapi::api::networking::v1::{
    Ingress, IngressClass, IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names;
use super::secret::CertificateSecret;
use crate::api::{EdgeMembership, IngressParameters, owns_status};

pub(super) fn node(node: Node) -> Node {
    let addresses = node.status.and_then(|status| status.addresses);
    let spec = node.spec.unwrap_or_default();
    let mut taints = spec.taints.unwrap_or_default();
    taints.retain(|taint| taint.key == names::DRAIN);
    let kept = NodeSpec {
        unschedulable: spec.unschedulable.filter(|is_so| *is_so),
        taints: Some(taints).filter(|taints| !taints.is_empty()),
        ..NodeSpec::default()
    };
    Node {
        metadata: metadata(node.metadata),
        spec: Some(kept).filter(|kept| *kept != NodeSpec::default()),
        status: Some(NodeStatus { addresses, ..NodeStatus::default() }),
    }
}

pub(super) fn service(service: Service) -> Service {
    let listed = service.status.and_then(|status| status.load_balancer).and_then(|status| status.ingress);
    let address = |entry| LoadBalancerIngress { ports: None, ..entry };
    let status = kept(listed, address).map(|ingress| ServiceStatus {
        load_balancer: Some(LoadBalancerStatus { ingress: Some(ingress) }),
        conditions: None,
    });
    Service { metadata: with_owner(service.metadata), status, ..service }
}

/// The addresses that an object's status lists, without what else stands with them; `None` if it lists none.
fn kept<T>(listed: Option<Vec<T>>, address: impl Fn(T) -> T) -> Option<Vec<T>> {
    listed.filter(|listed| !listed.is_empty()).map(|listed| listed.into_iter().map(address).collect())
}

pub(super) fn endpoint_slice(mut slice: EndpointSlice) -> EndpointSlice {
    slice.metadata = metadata(slice.metadata);
    fit(&mut slice.endpoints);
    fit(&mut slice.ports);
    for endpoint in slice.endpoints.iter_mut().flatten() {
        // Only the first one means anything (EndpointSlice API text).
        endpoint.addresses.truncate(1);
        endpoint.addresses.shrink_to_fit();
        endpoint.deprecated_topology = None;
        endpoint.hints = endpoint.hints.take().and_then(zones);
        endpoint.hostname = None;
        endpoint.node_name = None;
        endpoint.target_ref = None;
        endpoint.zone = None;
    }
    slice
}

/// The zones that an endpoint is for, if it says so.
fn zones(hints: EndpointHints) -> Option<EndpointHints> {
    let for_zones = hints.for_zones.filter(|zones| !zones.is_empty())?;
    Some(EndpointHints { for_zones: Some(for_zones), ..EndpointHints::default() })
}

/// A list was read without a word of its length: the room that it grew into is as much as what is in it.
fn fit<T>(list: &mut Option<Vec<T>>) {
    list.iter_mut().for_each(Vec::shrink_to_fit);
}

pub(super) fn ingress_class(class: IngressClass) -> IngressClass {
    IngressClass { metadata: metadata(class.metadata), ..class }
}

pub(super) fn ingress(ingress: Ingress) -> Ingress {
    let listed = ingress.status.and_then(|status| status.load_balancer).and_then(|status| status.ingress);
    let address = |entry| IngressLoadBalancerIngress { ports: None, ..entry };
    let status = kept(listed, address).map(|ingress| IngressStatus {
        load_balancer: Some(IngressLoadBalancerStatus { ingress: Some(ingress) }),
    });
    let mut spec = ingress.spec;
    if let Some(spec) = &mut spec {
        fit(&mut spec.rules);
        let rules = spec.rules.iter_mut().flatten();
        rules.filter_map(|rule| rule.http.as_mut()).for_each(|http| http.paths.shrink_to_fit());
        fit(&mut spec.tls);
        spec.tls.iter_mut().flatten().for_each(|section| fit(&mut section.hosts));
    }
    Ingress { metadata: with_owner(ingress.metadata), spec, status }
}

pub(super) fn secret(mut secret: Secret) -> CertificateSecret {
    let metadata = metadata(std::mem::take(&mut secret.metadata));
    CertificateSecret::new(metadata, secret)
}

pub(super) fn config_map(map: ConfigMap) -> ConfigMap {
    ConfigMap { metadata: metadata(map.metadata), ..ConfigMap::default() }
}

pub(super) fn ingress_parameters(parameters: IngressParameters) -> IngressParameters {
    IngressParameters { metadata: metadata(parameters.metadata), spec: parameters.spec }
}

/// Without what is for people only, and changes while nothing happens to the tables.
pub(super) fn edge_membership(membership: EdgeMembership) -> EdgeMembership {
    EdgeMembership { metadata: metadata(membership.metadata), spec: membership.spec, status: None }
}

/// Of `managedFields` nothing is kept but whether there is something of ours in the status: an empty list says so.
fn with_owner(stated: ObjectMeta) -> ObjectMeta {
    let is_ours = owns_status(&stated) || is_status_ours(&stated);
    ObjectMeta { managed_fields: is_ours.then(Vec::new), ..metadata(stated) }
}

/// Whether we wrote the status of a Service or an Ingress, as far as the source has heard.
pub(super) fn is_status_ours(kept: &ObjectMeta) -> bool {
    kept.managed_fields.as_ref().is_some_and(Vec::is_empty)
}

/// Whether one says what the other does, but for whose the status is.
pub(super) fn says_the_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let said = |kept: &ObjectMeta| ObjectMeta { managed_fields: None, ..kept.clone() };
    one == other || said(one) == said(other)
}

/// Name, age, identity, and the labels and annotations that mean something to us.
fn metadata(metadata: ObjectMeta) -> ObjectMeta {
    let ours = |map: Option<std::collections::BTreeMap<String, String>>| {
        map.map(|mut map| {
            map.retain(|key, value| {
                let is_read = names::is_read(key);
                if !is_read {
                    // That it is there is said; what it says, nobody reads.
                    *value = String::new();
                }
                is_read || key.starts_with(names::NGINX) || key.starts_with(names::OURS)
            });
            map
        })
        .filter(|map| !map.is_empty())
    };
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        creation_timestamp: metadata.creation_timestamp,
        uid: metadata.uid,
        labels: ours(metadata.labels),
        annotations: ours(metadata.annotations),
        ..ObjectMeta::default()
    }
}
