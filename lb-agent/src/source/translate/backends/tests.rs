//! Backends of Services and their slices, and what is complained of.

use std::net::SocketAddr;

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
---
{apiVersion: v1, kind: Service, metadata: {name: rolling}, spec: {ports: [{port: 80}, {name: old, port: 81}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: rolling-a, labels: {kubernetes.io/service-name: rolling}}
addressType: IPv4
ports: [{port: 8080}, {name: old, port: 8081}]
endpoints: [{addresses: [192.0.2.41], conditions: {ready: false, serving: true, terminating: true}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: rolling-b, labels: {kubernetes.io/service-name: rolling}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [192.0.2.42]}]
---
{apiVersion: v1, kind: Service, metadata: {name: leaving}, spec: {ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: leaving, labels: {kubernetes.io/service-name: leaving}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
  - {addresses: [192.0.2.51], conditions: {ready: false, serving: true, terminating: true}}
  - {addresses: [192.0.2.52], conditions: {ready: false, terminating: true}}
  - {addresses: [192.0.2.53], conditions: {ready: false, serving: false, terminating: true}}
  - {addresses: [192.0.2.54], conditions: {ready: false, serving: true}}
";

#[track_caller]
fn check(backend: &str, expected: Result<&[&str], Unavailable>, problems: &[&str]) {
    let ingress = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web}}\n\
         spec: {{ingressClassName: edgelb, defaultBackend: {{{backend}}}}}\n"
    );
    let snapshot = snapshot(&format!("{EDGE}{OBJECTS}{ingress}"), &Settings::default());
    let routes = &snapshot.listeners.values().next().expect("a listener").routes;
    let found = &routes.default_backend.as_ref().expect("a backend").backend.endpoints;
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
    let http =
        ["192.0.2.11:8080", "192.0.2.11:8081", "192.0.2.12:8080", "192.0.2.14:8081", "[2001:db8::11]:8080"];
    check(&service("shop", "number: 80"), Ok(&http), &[]);
    check(&service("shop", "name: http"), Ok(&http), &[]);
    check(&service("shop", "name: metrics"), Ok(&["192.0.2.11:9090", "192.0.2.12:9090"]), &[]);
}

#[test]
fn endpoints_that_end_serve_only_where_no_other_does() {
    check(&service("rolling", "number: 80"), Ok(&["192.0.2.42:8080"]), &[]);
    check(&service("rolling", "name: old"), Ok(&["192.0.2.41:8081"]), &[]);
    check(&service("leaving", "number: 80"), Ok(&["192.0.2.51:8080", "192.0.2.52:8080"]), &[]);
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
    let lost =
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: lost}}";
    let snapshot = snapshot(&format!("{EDGE}{lost}"), &Settings::default());
    assert_complaints(
        &snapshot,
        &[
            "warning: EndpointSlice default/lost: metadata.labels: the label kubernetes.io/service-name is missing",
        ],
    );
}
