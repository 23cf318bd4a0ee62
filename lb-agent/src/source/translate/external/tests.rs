//! Tables of what becomes of a Service of type ExternalName.

use std::collections::BTreeMap;

use super::*;
use crate::model::Snapshot;
use crate::source::translate::fixture::{EDGE, NOW, assert_complaints, index};
use crate::source::{Answer, Settings, Translator};

const SERVICE: &str = "
{apiVersion: v1, kind: Service, metadata: {name: outside}, spec: {type: ExternalName, externalName: X.example.com.}}
---
";

fn ingress(port: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: web}}, spec: {{ingressClassName: edgelb, \
         defaultBackend: {{service: {{name: outside, port: {{{port}}}}}}}}}}}\n---\n"
    )
}

fn answer(addresses: &[&str], failure: Option<&str>) -> Answer {
    Answer {
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        failure: failure.map(str::to_owned),
    }
}

fn answers(answer: Option<Answer>) -> BTreeMap<String, Answer> {
    answer.map(|answer| ("x.example.com".to_owned(), answer)).into_iter().collect()
}

fn allowed() -> Settings {
    Settings { allow_external_name: true, ..Settings::default() }
}

fn endpoints_of(snapshot: &Snapshot) -> Vec<String> {
    let routes = &snapshot.listeners.values().next().expect("a listener").routes;
    let backend = &routes.default_backend.as_ref().expect("a backend").backend;
    match &backend.endpoints {
        Ok(endpoints) => endpoints.iter().map(SocketAddr::to_string).collect(),
        Err(reason) => vec![format!("{reason:?}")],
    }
}

/// With the port `number: 443` and one answer.
#[track_caller]
fn check(found: Option<Answer>, expected: &[&str], problems: &[&str]) {
    check_service(SERVICE, "number: 443", found, expected, problems);
}

#[track_caller]
fn check_service(service: &str, port: &str, found: Option<Answer>, expected: &[&str], problems: &[&str]) {
    let mut index = index(&format!("{EDGE}{service}{}", ingress(port)));
    index.take_answers(&answers(found));
    let snapshot = Translator::new(allowed()).translate(&mut index, NOW);
    assert_eq!(endpoints_of(&snapshot), expected);
    assert_complaints(&snapshot, problems);
}

const AT: &str =
    "Ingress default/web: spec.defaultBackend.service.name: Service default/outside stands for x.example.com";

#[test]
fn endpoints_are_what_the_name_stands_for() {
    check(Some(answer(&["192.0.2.9", "2001:db8::9"], None)), &["192.0.2.9:443", "[2001:db8::9]:443"], &[]);
    check(None, &["NoEndpoint"], &[]);
    let failed = format!("error: {AT}, which cannot be resolved: no such host");
    check(Some(answer(&[], Some("no such host"))), &["NoEndpoint"], &[&failed]);
    let stale =
        format!("warning: {AT}, which cannot be resolved any more, so its last addresses stay: no server");
    check(Some(answer(&["192.0.2.9"], Some("no server"))), &["192.0.2.9:443"], &[&stale]);
}

#[test]
fn addresses_of_the_node_and_of_clouds_are_refused() {
    for (address, why) in [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::254", "cloud metadata"),
        ("fd20:ce::254", "cloud metadata"),
        ("100.100.100.200", "cloud metadata"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("0.1.2.3", "no host's"),
        ("255.255.255.255", "no host's"),
        ("203.0.113.10", "a VIP of our own"),
    ] {
        let refused = format!("error: {AT}, which must not lead to");
        check(Some(answer(&[address], None)), &["NoEndpoint"], &[&refused]);
        let some = format!("warning: {AT}, which must not lead to");
        check(Some(answer(&[address, "198.51.100.9"], None)), &["198.51.100.9:443"], &[&some]);
        let vips = BTreeSet::from(["203.0.113.10".parse().expect("an address")]);
        assert_eq!(refusal(address.parse().expect("an address"), &vips), Some(why), "{address}");
    }
}

#[test]
fn ports_are_the_services_or_the_ingresss() {
    let found = || Some(answer(&["192.0.2.9"], None));
    let with = |ports: &str| SERVICE.replace("X.example.com.", &format!("X.example.com., ports: [{ports}]"));
    let ports = with("{name: https, port: 443, targetPort: 8443}, {name: http, port: 80}");
    check_service(&ports, "name: https", found(), &["192.0.2.9:8443"], &[]);
    check_service(&ports, "number: 443", found(), &["192.0.2.9:8443"], &[]);
    check_service(&ports, "number: 80", found(), &["192.0.2.9:80"], &[]);
    let no_port =
        "spec.defaultBackend.service.port: Service default/outside has no TCP port 81: requests get 503";
    check_service(&ports, "number: 81", found(), &["NoPort"], &[no_port]);
    check_service(SERVICE, "number: 81", found(), &["192.0.2.9:81"], &[]);
    check_service(SERVICE, "name: http", found(), &["NoPort"], &["has no TCP port http: requests get 503"]);
}

#[test]
fn what_is_no_name_is_told() {
    for name in ["''", "192.0.2.1", "a b", "'*.example.com'"] {
        let service = SERVICE.replace("X.example.com.", name);
        let problem = "error: Ingress default/web: spec.defaultBackend.service.name: Service default/outside stands for";
        check_service(&service, "number: 80", None, &["NoEndpoint"], &[problem]);
    }
}

#[test]
fn each_class_may_allow_it_or_not() {
    let parameters = |allow: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: edgelb}}, spec: {{controller: edgelb.dev/ingress, \
             parameters: {{apiGroup: edgelb.dev, kind: IngressParameters, name: all}}}}}}\n---\n\
             {{apiVersion: edgelb.dev/v1alpha1, kind: IngressParameters, metadata: {{name: all}}, spec: {{{allow}}}}}\n---\n"
        )
    };
    let service = EDGE.split_once("---").expect("the class comes first").1;
    for (flag, spec, is_allowed) in [
        (false, "", false),
        (true, "", true),
        (false, "allowExternalName: true", true),
        (true, "allowExternalName: false", false),
    ] {
        let yaml = parameters(spec) + service + SERVICE + &ingress("number: 443");
        let mut index = index(&yaml);
        index.take_answers(&answers(Some(answer(&["192.0.2.9"], None))));
        let mut translator = Translator::new(Settings { allow_external_name: flag, ..Settings::default() });
        let snapshot = translator.translate(&mut index, NOW);
        let names: Vec<String> = translator.external_names().into_iter().collect();
        if is_allowed {
            assert_eq!(endpoints_of(&snapshot), ["192.0.2.9:443"], "{flag} {spec}");
            assert_complaints(&snapshot, &[]);
            assert_eq!(names, ["x.example.com"]);
        } else {
            assert_eq!(endpoints_of(&snapshot), ["ExternalName"], "{flag} {spec}");
            assert_complaints(&snapshot, &["is of type ExternalName, which is not switched on"]);
            assert!(names.is_empty(), "{names:?}");
        }
    }
}

#[test]
fn answers_change_what_stands_on_them() {
    let mut index = index(&format!("{EDGE}{SERVICE}{}", ingress("number: 443")));
    let mut translator = Translator::new(allowed());
    let mut step = |found: Option<Answer>, expected: &str, problems: &[&str]| {
        index.take_answers(&answers(found));
        let snapshot = translator.translate(&mut index, NOW);
        assert_eq!(endpoints_of(&snapshot), [expected]);
        assert_complaints(&snapshot, problems);
        let rebuilt = Translator::new(allowed()).follow(&index, &index.everything(), NOW);
        assert_eq!(rebuilt, snapshot, "as if made from nothing");
    };
    step(None, "NoEndpoint", &[]);
    step(Some(answer(&["192.0.2.9"], None)), "192.0.2.9:443", &[]);
    step(Some(answer(&["192.0.2.8"], None)), "192.0.2.8:443", &[]);
    step(Some(answer(&["192.0.2.8"], Some("gone"))), "192.0.2.8:443", &["cannot be resolved any more"]);
    step(Some(answer(&["127.0.0.1"], None)), "NoEndpoint", &["must not lead to 127.0.0.1 (loopback)"]);
    step(None, "NoEndpoint", &[]);
}
