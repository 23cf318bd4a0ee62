//! Which endpoints are near a node: those that the hints of EndpointSlices give to its zone, by the rules of kube-proxy.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::Endpoint;

use crate::source::{Index, Settings, names};

/// The node's zone: as the operator says, or by its Node object.
pub(super) fn of_node(index: &Index, settings: &Settings) -> Option<String> {
    let by_label = || {
        let labels = index.node(settings.node.as_deref()?)?.metadata.labels.as_ref()?;
        labels.get(names::ZONE).filter(|zone| !zone.is_empty()).cloned()
    };
    settings.zone.clone().or_else(by_label)
}

/// Whether a Service wants its requests to stay near, where that is possible.
pub(super) fn prefers_near(service: &Service) -> bool {
    let is_spread = service.spec.as_ref().is_some_and(|spec| spec.traffic_distribution.is_some());
    let annotations = service.metadata.annotations.as_ref();
    let mode = annotations.and_then(|annotations| annotations.get(names::TOPOLOGY_MODE));
    is_spread || mode.is_some_and(|mode| mode.eq_ignore_ascii_case("auto"))
}

/// What an endpoint's hints say of a zone; `None` if it has none.
pub(super) fn is_near(endpoint: &Endpoint, zone: &str) -> Option<bool> {
    let zones = endpoint.hints.as_ref()?.for_zones.as_ref().filter(|zones| !zones.is_empty())?;
    Some(zones.iter().any(|hint| hint.name == zone))
}

/// Those that are near, if each has hints and some are; else all.
pub(super) fn near(all: Vec<(SocketAddr, Option<bool>)>) -> Vec<SocketAddr> {
    let counts =
        all.iter().all(|(_, hint)| hint.is_some()) && all.iter().any(|(_, hint)| *hint == Some(true));
    let kept = all.into_iter().filter(|(_, hint)| !counts || *hint == Some(true));
    kept.map(|(address, _)| address).collect()
}

#[cfg(test)]
mod tests;
