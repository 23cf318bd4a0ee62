//! Which endpoints a node's requests go to, by hints, the Service and the node.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::model::{Origin, Snapshot};
use crate::source::files::parse_text;
use crate::source::translate::fixture::{EDGE, NOW, index, snapshot};
use crate::source::{Settings, Translator};

/// A Service with endpoints, each with its zones; an Ingress; and the node.
fn objects(service: &str, endpoints: &[&str], zone: &str) -> String {
    let endpoint = |(at, zones): (usize, &&str)| {
        let zones: Vec<_> = zones.split_whitespace().map(|zone| format!("{{name: {zone}}}")).collect();
        let hints = match zones.is_empty() {
            true => String::new(),
            false => format!(", hints: {{forZones: [{}]}}", zones.join(", ")),
        };
        format!("{{addresses: [192.0.2.{at}]{hints}}}")
    };
    let endpoints: Vec<_> = endpoints.iter().enumerate().map(endpoint).collect();
    let label = match zone {
        "" => String::new(),
        zone => format!(", labels: {{topology.kubernetes.io/zone: {zone}}}"),
    };
    let annotation = ", annotations: {service.kubernetes.io/topology-mode: Auto}";
    format!(
        "{EDGE}{{apiVersion: v1, kind: Node, metadata: {{name: edge-1{label}}}}}\n---\n\
         {{apiVersion: v1, kind: Service, metadata: {{name: shop{}}}, spec: {{{}ports: [{{port: 80}}]}}}}\n---\n\
         {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{name: shop, labels: \
         {{kubernetes.io/service-name: shop}}}}, ports: [{{name: '', port: 8080}}], endpoints: [{}]}}\n---\n\
         {{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: shop}}, spec: {{ingressClassName: edgelb, \
         defaultBackend: {{service: {{name: shop, port: {{number: 80}}}}}}}}}}\n",
        if service == "annotated" { annotation } else { "" },
        if service == "spread" { "trafficDistribution: PreferClose, " } else { "" },
        endpoints.join(", "),
    )
}

/// The last number of each endpoint's address.
fn endpoints(snapshot: &Snapshot) -> Vec<u8> {
    let listener = snapshot.listeners.values().next().expect("a listener");
    let backend = &listener.routes.default_backend.as_ref().expect("a backend").backend;
    let last = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => unreachable!("they are IPv4"),
    };
    backend.endpoints.as_ref().expect("endpoints").iter().map(last).collect()
}

fn settings(zone: Option<&str>) -> Settings {
    Settings { node: Some("edge-1".to_owned()), zone: zone.map(str::to_owned), ..Settings::default() }
}

#[track_caller]
fn check(service: &str, hints: &[&str], label: &str, flag: Option<&str>, expected: &[u8]) {
    let snapshot = snapshot(&objects(service, hints, label), &settings(flag));
    assert_eq!(endpoints(&snapshot), expected, "{service} {hints:?} {label} {flag:?}");
}

#[test]
fn who_is_near_gets_requests_where_all_have_hints() {
    let hints = ["a", "b", "a b"];
    check("spread", &hints, "a", None, &[0, 2]);
    check("annotated", &hints, "b", None, &[1, 2]);
    check("spread", &hints, "", Some("b"), &[1, 2]);
    check("spread", &hints, "a", Some("b"), &[1, 2]);
    for (service, hints, label) in [
        ("plain", ["a", "b", "a b"], "a"),
        ("spread", ["a", "", "a b"], "a"),
        ("spread", ["a", "b", "a b"], "c"),
        ("spread", ["a", "b", "a b"], ""),
    ] {
        check(service, &hints, label, None, &[0, 1, 2]);
    }
}

#[test]
fn a_node_that_comes_to_another_zone_is_followed() {
    let yaml = |zone| objects("spread", &["a", "b"], zone);
    let mut followed = index(&yaml("a"));
    let mut translator = Translator::new(settings(None));
    assert_eq!(endpoints(&translator.translate(&mut followed, NOW)), [0]);
    let (objects, _) = parse_text(Path::new("a.yaml"), &yaml("b"));
    for (object, line) in objects {
        followed.apply(object, Origin::File { path: "a.yaml".into(), line });
    }
    assert_eq!(endpoints(&translator.translate(&mut followed, NOW)), [1]);
}
