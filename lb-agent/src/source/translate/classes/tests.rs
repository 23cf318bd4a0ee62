//! Tables of which Ingress is ours, and where it answers.

use super::*;
use crate::model::ListenerProtocol;
use crate::source::translate::fixture::{assert_complaints, snapshot};

/// Two VIPs: `public` at .10, `private` at .20 (port 80) and, by another Service, .20 (port 443).
const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: public, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.10}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: private, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.20}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: private-tls, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.20}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 443}]}
";

const PARAMETERS: &str = "---
apiVersion: edgelb.dev/v1alpha1
kind: IngressParameters
metadata: {name: private}
spec: {services: [{namespace: edge, name: private}]}
";

fn class(name: &str, annotation: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\n\
         metadata: {{name: {name}, annotations: {{{annotation}}}}}\nspec: {{controller: edgelb.dev/ingress, {spec}}}\n"
    )
}

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class: 'true'";

fn with_parameters(group: &str, kind: &str, name: &str) -> String {
    format!("parameters: {{apiGroup: {group}, kind: {kind}, name: {name}}}")
}

/// The classes on each listener, in order of their addresses.
#[track_caller]
fn check_reach(yaml: &str, expected: [&[&str]; 3], problems: &[&str]) {
    let snapshot = snapshot(&format!("{SERVICES}{yaml}"), &Settings::default());
    let found: Vec<Vec<&str>> = snapshot
        .listeners
        .values()
        .map(|listener| listener.classes.iter().map(String::as_str).collect())
        .collect();
    assert_eq!(found, expected);
    assert_complaints(&snapshot, problems);
}

#[test]
fn classes_without_parameters_have_all_vips() {
    check_reach(&class("edgelb", "", ""), [&["edgelb"], &["edgelb"], &["edgelb"]], &[]);
    let both = class("edgelb", "", "") + &class("nginx", "", "");
    check_reach(&both, [&["edgelb", "nginx"], &["edgelb", "nginx"], &["edgelb", "nginx"]], &[]);
}

#[test]
fn named_services_answer_their_classes_only_and_their_vips_no_other() {
    let private = class("private", "", &with_parameters("edgelb.dev", "IngressParameters", "private"));
    check_reach(
        &(class("edgelb", "", "") + &private + PARAMETERS),
        [&["edgelb"], &["private"], &[]],
        &["Service edge/private-tls: no IngressClass answers on 203.0.113.20:443"],
    );
}

#[test]
fn parameters_that_cannot_be_read_answer_nowhere() {
    for (group, kind, name, problem) in [
        ("edgelb.dev", "IngressParameters", "missing", "there are no IngressParameters \"missing\""),
        ("other.dev", "IngressParameters", "private", "only IngressParameters of the group edgelb.dev"),
        ("edgelb.dev", "Other", "private", "only IngressParameters of the group edgelb.dev"),
    ] {
        let broken = class("broken", "", &with_parameters(group, kind, name));
        let problem = format!("IngressClass broken: spec.parameters: {problem}");
        check_reach(
            &(class("edgelb", "", "") + &broken + PARAMETERS),
            [&["edgelb"], &["edgelb"], &["edgelb"]],
            &[&problem],
        );
    }
    let missing = PARAMETERS.replace("name: private}]", "name: nobody}]");
    let private = class("private", "", &with_parameters("edgelb.dev", "IngressParameters", "private"));
    check_reach(
        &(class("edgelb", "", "") + &private + &missing),
        [&["edgelb"], &["edgelb"], &["edgelb"]],
        &["IngressParameters private: spec.services: Service edge/nobody does not exist"],
    );
}

#[test]
fn listeners_without_a_class_are_told_of() {
    let problem = "no IngressClass answers on";
    check_reach("", [&[], &[], &[]], &[problem, problem, problem]);
}

#[test]
fn standalone_listeners_answer_all_classes_of_ours() {
    let address: std::net::SocketAddr = "127.0.0.1:8080".parse().expect("an address");
    let settings =
        Settings { standalone: BTreeMap::from([(address, ListenerProtocol::Http)]), ..Settings::default() };
    let private = class("private", "", &with_parameters("edgelb.dev", "IngressParameters", "private"));
    let yaml = SERVICES.to_owned() + &class("edgelb", "", "") + &private + PARAMETERS;
    let snapshot = snapshot(&yaml, &settings);
    let listener = &snapshot.listeners[&address];
    assert_eq!(listener.classes, BTreeSet::from(["edgelb".to_owned(), "private".to_owned()]));
    assert!(!snapshot.services.keys().any(|service| service.port == 8080), "it is no VIP's port");
}

#[test]
fn host_ports_have_the_classes_that_name_no_services() {
    let private = class("private", "", &with_parameters("edgelb.dev", "IngressParameters", "private"));
    let yaml = SERVICES.to_owned() + &class("edgelb", "", "") + &private + PARAMETERS;
    let (port, vip) = ("0.0.0.0:80", "203.0.113.10:8080");
    let host_ports =
        [port, vip].map(|address| (address.parse().expect("an address"), ListenerProtocol::Http));
    let settings = Settings { host_ports: host_ports.into(), ..Settings::default() };
    let snapshot = snapshot(&yaml, &settings);
    let listener = &snapshot.listeners[&port.parse().expect("an address")];
    assert_eq!(listener.classes, BTreeSet::from(["edgelb".to_owned()]));
    assert!(!snapshot.vips.contains(&std::net::Ipv4Addr::UNSPECIFIED.into()), "it is no VIP");
    assert!(
        !snapshot.listeners.contains_key(&vip.parse().expect("an address")),
        "a VIP's ports are its Services'"
    );
    assert_complaints(&snapshot, &["203.0.113.10 is a VIP", "Service edge/private-tls: no IngressClass"]);
}

/// Whether an Ingress with this metadata and spec is served, by its default backend's presence.
#[track_caller]
fn check_class(
    classes: &str,
    metadata: &str,
    spec: &str,
    settings: &Settings,
    expected: bool,
    problems: &[&str],
) {
    let ingress = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, {metadata}}}\n\
         spec: {{{spec} defaultBackend: {{service: {{name: a, port: {{number: 80}}}}}}}}\n"
    );
    let backend = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let snapshot = snapshot(&format!("{SERVICES}{classes}{ingress}{backend}"), settings);
    let is_served = snapshot.listeners.values().any(|listener| listener.routes.default_backend.is_some());
    assert_eq!(is_served, expected, "{metadata} {spec}");
    assert_complaints(&snapshot, problems);
}

#[test]
fn ingresses_belong_to_the_class_they_name() {
    let settings = Settings::default();
    let classes = class("edgelb", "", "")
        + "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\nspec: {controller: x}\n";
    let check = |metadata, spec, expected, problems: &[&str]| {
        check_class(&classes, metadata, spec, &settings, expected, problems);
    };
    check("", "ingressClassName: edgelb,", true, &[]);
    check("", "ingressClassName: other,", false, &[]);
    check("annotations: {kubernetes.io/ingress.class: edgelb}", "", true, &[]);
    check("annotations: {kubernetes.io/ingress.class: other}", "", false, &[]);
    check("annotations: {kubernetes.io/ingress.class: gce}", "", false, &[]);
    check("annotations: {kubernetes.io/ingress.class: other}", "ingressClassName: edgelb,", true, &[]);
    check("", "", false, &[]);
    let missing = "warning: Ingress default/web: spec.ingressClassName: there is no IngressClass \"edgelib\"";
    check("", "ingressClassName: edgelib,", false, &[missing]);
}

#[test]
fn an_ingress_that_would_mean_something_else_here_is_left_out() {
    let settings = Settings::default();
    let classes = class("edgelb", "", "")
        + "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\nspec: {controller: x}\n";
    let check = |annotation: &str, class: &str, expected, problems: &[&str]| {
        let metadata = format!("annotations: {{nginx.ingress.kubernetes.io/{annotation}}}");
        check_class(
            &classes,
            &metadata,
            &format!("ingressClassName: {class},"),
            &settings,
            expected,
            problems,
        );
    };
    let error = |rest: &str| {
        format!("error: Ingress default/web: metadata.annotations.nginx.ingress.kubernetes.io/{rest}")
    };
    check("canary: 'true'", "edgelb", false, &[&error("canary: canaries of")]);
    check("canary: 'false'", "edgelb", true, &[]);
    check("canary: 'true'", "other", false, &[]);
    check(
        "auth-url: http://auth/",
        "edgelb",
        false,
        &[&error("auth-url: not supported yet: this Ingress is left out")],
    );
    check("whitelist-source-range: 10.0.0.0/8", "edgelb", false, &[&error("whitelist-source-range: ")]);
    check("auth-type: ''", "edgelb", true, &[]);
    check("auth-type: basic", "other", false, &[]);
}

#[test]
fn ingresses_without_a_class_get_the_default_one_or_none() {
    let (plain, watching) =
        (Settings::default(), Settings { watch_without_class: true, ..Settings::default() });
    let other_default = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: aaa\n  \
         annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}\nspec: {controller: x}\n";
    let (ours, default) = (class("edgelb", "", ""), class("edgelb", DEFAULT, ""));
    let nobody = "spec.ingressClassName: no class is named, and none is the default one";
    check_class(&ours, "", "", &plain, false, &[nobody]);
    check_class(&ours, "", "", &watching, true, &[]);
    check_class(&default, "", "", &plain, true, &[]);
    check_class(&class("nginx", "", ""), "", "", &watching, true, &[]);
    // Admission takes the youngest default class, or else the first by name.
    check_class(&format!("{default}{other_default}"), "", "", &plain, false, &[]);
    let young = default.replace("name: edgelb", "name: edgelb, creationTimestamp: '2024-01-01T00:00:00Z'");
    check_class(&format!("{young}{other_default}"), "", "", &plain, true, &[]);
}

#[test]
fn standalone_listeners_have_no_class_whose_parameters_cannot_be_read() {
    let address: std::net::SocketAddr = "127.0.0.1:8080".parse().expect("an address");
    let settings =
        Settings { standalone: BTreeMap::from([(address, ListenerProtocol::Http)]), ..Settings::default() };
    let broken = class("broken", "", &with_parameters("edgelb.dev", "IngressParameters", "missing"));
    let snapshot = snapshot(&(class("edgelb", "", "") + &broken), &settings);
    let classes: Vec<_> = snapshot.listeners[&address].classes.iter().collect();
    assert_eq!(classes, ["edgelb"]);
}
