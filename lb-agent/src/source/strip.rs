//! What of each kind is kept: only what translation reads. The rest costs memory on every edge node, and a
//! heartbeat in a Node's status would else look like a change.

use k8s_openapi::api::core::v1::{ConfigMap, Node, NodeStatus, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names;
use crate::api::{EdgeMembership, IngressParameters};

pub(super) fn node(node: Node) -> Node {
    let addresses = node.status.and_then(|status| status.addresses);
    Node {
        metadata: metadata(node.metadata),
        spec: None,
        status: Some(NodeStatus { addresses, ..NodeStatus::default() }),
    }
}

pub(super) fn service(service: Service) -> Service {
    Service { metadata: metadata(service.metadata), status: None, ..service }
}

pub(super) fn endpoint_slice(mut slice: EndpointSlice) -> EndpointSlice {
    slice.metadata = metadata(slice.metadata);
    for endpoint in slice.endpoints.iter_mut().flatten() {
        endpoint.deprecated_topology = None;
        endpoint.hints = None;
        endpoint.target_ref = None;
    }
    slice
}

pub(super) fn ingress_class(class: IngressClass) -> IngressClass {
    IngressClass { metadata: metadata(class.metadata), ..class }
}

pub(super) fn ingress(ingress: Ingress) -> Ingress {
    Ingress { metadata: metadata(ingress.metadata), status: None, ..ingress }
}

pub(super) fn secret(mut secret: Secret) -> Secret {
    secret.metadata = metadata(secret.metadata);
    secret.string_data = None;
    if secret.type_.as_deref() == Some(names::TLS_TYPE) {
        secret.data.iter_mut().for_each(|data| {
            data.retain(|key, _| [names::TLS_CERTIFICATE, names::TLS_KEY].contains(&key.as_str()))
        });
    } else {
        secret.data = None;
    }
    secret
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

/// Name, age, and the labels and annotations that mean something to us.
fn metadata(metadata: ObjectMeta) -> ObjectMeta {
    let ours = |map: Option<std::collections::BTreeMap<String, String>>| {
        map.map(|mut map| {
            map.retain(|key, _| names::METADATA.contains(&key.as_str()));
            map
        })
        .filter(|map| !map.is_empty())
    };
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        creation_timestamp: metadata.creation_timestamp,
        labels: ours(metadata.labels),
        annotations: ours(metadata.annotations),
        ..ObjectMeta::default()
    }
}
