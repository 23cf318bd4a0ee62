//! Tables of what is spoken with a Service's endpoints, by its port and by the Ingress that names it.

use crate::model::BackendProtocol;
use crate::source::Settings;
use crate::source::translate::fixture::{EDGE, assert_complaints, index, snapshot};
use crate::source::{Translator, files::parse_text};

fn service(app_protocol: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: shop}}, spec: {{ports: [{{name: dns, port: 53, \
         protocol: UDP}}, {{name: web, port: 80{app_protocol}}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: shop, labels: {{kubernetes.io/service-name: shop}}}}
addressType: IPv4
ports: [{{name: web, port: 8080}}]
endpoints: [{{addresses: [192.0.2.11]}}]
---
"
    )
}

fn ingress(name: &str, annotations: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}, annotations: {{{annotations}}}}}, \
         spec: {{ingressClassName: edgelb, rules: [{{host: {name}.org, http: {{paths: [{{path: /, pathType: Prefix, \
         backend: {{service: {{name: shop, port: {{number: 80}}}}}}}}]}}}}]}}}}\n---\n"
    )
}

/// What is spoken for each host: the name of the protocol, with the name for TLS, or why nothing is.
fn spoken(snapshot: &crate::model::Snapshot) -> Vec<String> {
    let routes = &snapshot.listeners.values().next().expect("a listener").routes;
    let backends = routes.hosts.iter().map(|(_, routes)| &routes.rules[0].backend);
    let words = |protocol: &BackendProtocol| match &protocol.tls {
        Some(tls) => format!("{} {}", protocol.name(), tls.server_name),
        None => protocol.name().to_owned(),
    };
    backends
        .map(|backend| match &backend.endpoints {
            Ok(endpoints) => {
                assert_eq!(endpoints.len(), 1);
                words(&backend.protocol)
            }
            Err(reason) => format!("{reason:?}"),
        })
        .collect()
}

#[track_caller]
fn check(app_protocol: &str, annotations: &str, expected: &str, problems: &[&str]) {
    let objects = format!("{EDGE}{}{}", service(app_protocol), ingress("a", annotations));
    let found = snapshot(&objects, &Settings::default());
    assert_eq!(spoken(&found), [expected], "{app_protocol} {annotations}");
    assert_complaints(&found, problems);
}

#[test]
fn a_port_says_what_is_spoken_on_it() {
    for (value, expected) in [
        ("", "http"),
        (", appProtocol: http", "http"),
        (", appProtocol: kubernetes.io/ws", "http"),
        (", appProtocol: https", "https shop.default.svc"),
        (", appProtocol: kubernetes.io/wss", "https shop.default.svc"),
        (", appProtocol: kubernetes.io/h2c", "h2c"),
        (", appProtocol: h2c", "h2c"),
        (", appProtocol: grpc", "h2c"),
        (", appProtocol: h2", "h2 shop.default.svc"),
        (", appProtocol: grpcs", "h2 shop.default.svc"),
    ] {
        check(value, "", expected, &[]);
    }
}

#[test]
fn an_annotation_stands_above_it() {
    for (value, expected) in [
        ("nginx.ingress.kubernetes.io/backend-protocol: HTTP", "http"),
        ("nginx.ingress.kubernetes.io/backend-protocol: HTTPS", "https shop.default.svc"),
        ("nginx.ingress.kubernetes.io/backend-protocol: grpc", "h2c"),
        ("nginx.ingress.kubernetes.io/backend-protocol: GRPCS", "h2 shop.default.svc"),
        ("edgelb.dev/backend-protocol: h2c", "h2c"),
        ("edgelb.dev/backend-protocol: h2", "h2 shop.default.svc"),
        ("edgelb.dev/backend-protocol: h2c, nginx.ingress.kubernetes.io/backend-protocol: HTTPS", "h2c"),
    ] {
        check(", appProtocol: https", value, expected, &[]);
    }
}

#[test]
fn what_is_not_known_is_not_taken_for_http() {
    let of_service = "Service default/shop: spec.ports[1].appProtocol: \"mysql\" is none of";
    check(", appProtocol: mysql", "", "UnknownProtocol", &[of_service]);
    check(", appProtocol: HTTP", "", "UnknownProtocol", &["appProtocol: \"HTTP\" is none of"]);
    for value in ["FCGI", "AUTO_HTTP", "''"] {
        let annotation = format!("nginx.ingress.kubernetes.io/backend-protocol: {value}");
        let problem =
            "Ingress default/a: metadata.annotations[nginx.ingress.kubernetes.io/backend-protocol]: ";
        check("", &annotation, "UnknownProtocol", &[problem]);
    }
    check(", appProtocol: mysql", "edgelb.dev/backend-protocol: HTTP", "http", &[of_service]);
}

#[test]
fn ingresses_may_differ_about_one_service_and_follow_it() {
    let ingresses =
        [ingress("a", ""), ingress("b", "edgelb.dev/backend-protocol: GRPC"), ingress("c", "")].concat();
    let mut index = index(&format!("{EDGE}{}{ingresses}", service("")));
    let mut translator = Translator::new(Settings::default());
    let now = crate::source::translate::fixture::NOW;
    assert_eq!(spoken(&translator.translate(&mut index, now)), ["http", "h2c", "http"]);
    for (value, expected) in [
        (", appProtocol: https", ["https shop.default.svc", "h2c", "https shop.default.svc"]),
        (", appProtocol: mysql", ["UnknownProtocol", "h2c", "UnknownProtocol"]),
        ("", ["http", "h2c", "http"]),
    ] {
        let (objects, _) = parse_text(std::path::Path::new("test.yaml"), &service(value));
        for (object, line) in objects {
            let path = std::path::PathBuf::from("test.yaml");
            index.apply(object, crate::model::Origin::File { path, line });
        }
        assert_eq!(spoken(&translator.translate(&mut index, now)), expected, "{value}");
    }
}
