//! Tables of what objects' status should list, and whether it does.

use k8s_openapi::api::networking::v1::{
    IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};

use super::*;
use crate::model::Kind;
use crate::source::translate::fixture::{EDGE, NOW, index};
use crate::source::{Object, Settings};

/// The report on some YAML beside `EDGE`.
fn report(yaml: &str) -> Report {
    let mut index = index(&format!("{EDGE}{yaml}"));
    let mut translator = Translator::new(Settings::default());
    translator.translate(&mut index, NOW);
    translator.report(&index)
}

/// Addresses as `Kind namespace/name: addresses`, with `!` where the status says something else.
#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    let found: Vec<String> = report(yaml)
        .addresses
        .iter()
        .map(|(object, published)| {
            let wanted: Vec<_> = published.wanted.iter().map(ToString::to_string).collect();
            let mark = if published.is_current { "" } else { "!" };
            format!("{object}: {}{mark}", wanted.join(","))
        })
        .collect();
    assert_eq!(found, expected, "{yaml}");
}

fn service(name: &str, vips: &str, status: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: {name}, namespace: edge, annotations: {{edgelb.dev/vips: '{vips}'}}}}\n\
         spec: {{type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{{port: 80}}]}}\n\
         status: {{loadBalancer: {{ingress: [{status}]}}}}\n"
    )
}

fn ingress(class: &str, status: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, uid: web-uid}}\n\
         spec: {{ingressClassName: {class}, rules: [{{host: x.org}}]}}\n\
         status: {{loadBalancer: {{ingress: [{status}]}}}}\n"
    )
}

const OTHER: &str = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\n\
                     spec: {controller: example.org/other}\n";

const EDGE_SERVICE: &str = "Service edge/ingress: 203.0.113.10!";

#[test]
fn services_list_their_vips_as_proxies() {
    let vips = "2001:db8::10, 203.0.113.11";
    for (status, mark) in [
        ("", "!"),
        ("{ip: 203.0.113.11, ipMode: Proxy}, {ip: '2001:db8::10', ipMode: Proxy}", ""),
        ("{ip: 203.0.113.11, ipMode: Proxy, ports: []}, {ip: '2001:DB8:0::10', ipMode: Proxy}", ""),
        ("{ip: '2001:db8::10', ipMode: Proxy}, {ip: 203.0.113.11, ipMode: Proxy}", "!"),
        ("{ip: 203.0.113.11, ipMode: Proxy}, {ip: '2001:db8::10'}", "!"),
        ("{ip: 203.0.113.11, ipMode: VIP}, {ip: '2001:db8::10', ipMode: Proxy}", "!"),
        ("{ip: 203.0.113.11, ipMode: Proxy}", "!"),
        ("{ip: 203.0.113.11, ipMode: Proxy, hostname: x.org}, {ip: '2001:db8::10', ipMode: Proxy}", "!"),
    ] {
        let wanted = format!("Service edge/b: 203.0.113.11,2001:db8::10{mark}");
        check(&service("b", vips, status), &[&wanted, EDGE_SERVICE]);
    }
}

#[test]
fn a_service_without_a_vip_lists_none() {
    check(&service("b", "", ""), &["Service edge/b: ", EDGE_SERVICE]);
    check(&service("b", "", "{ip: 192.0.2.1}"), &["Service edge/b: !", EDGE_SERVICE]);
}

#[test]
fn ingresses_list_the_vips_that_answer_them() {
    for (status, mark) in [
        ("", "!"),
        ("{ip: 203.0.113.10}", ""),
        ("{ip: 203.0.113.10, ports: [{port: 80, protocol: TCP}]}", ""),
        ("{ip: 203.0.113.10}, {ip: 203.0.113.11}", "!"),
        ("{hostname: x.org}", "!"),
    ] {
        check(
            &ingress("edgelb", status),
            &[EDGE_SERVICE, &format!("Ingress default/web: 203.0.113.10{mark}")],
        );
    }
}

#[test]
fn classes_list_their_own_vips_only() {
    let classes = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: internal}\n\
                   spec: {controller: edgelb.dev/ingress, parameters: {apiGroup: edgelb.dev, kind: IngressParameters, name: internal}}\n\
                   ---\napiVersion: edgelb.dev/v1alpha1\nkind: IngressParameters\nmetadata: {name: internal}\n\
                   spec: {services: [{namespace: edge, name: internal}]}\n";
    let objects = format!("{classes}{}", service("internal", "2001:db8::99, 192.0.2.99", ""));
    let internal = "Service edge/internal: 192.0.2.99,2001:db8::99!";
    let public = format!("{objects}{}", ingress("edgelb", "{ip: 203.0.113.10}"));
    check(&public, &[EDGE_SERVICE, internal, "Ingress default/web: 203.0.113.10"]);
    let moved = format!("{objects}{}", ingress("internal", "{ip: 203.0.113.10}"));
    check(&moved, &[EDGE_SERVICE, internal, "Ingress default/web: 192.0.2.99,2001:db8::99!"]);
}

#[test]
fn an_ingress_that_no_vip_answers_lists_none() {
    let class = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: nowhere}\n\
                 spec: {controller: edgelb.dev/ingress, parameters: {apiGroup: edgelb.dev, kind: IngressParameters, name: missing}}\n";
    check(&format!("{class}{}", ingress("nowhere", "")), &[EDGE_SERVICE, "Ingress default/web: "]);
    let status = ingress("nowhere", "{ip: 203.0.113.10}");
    check(&format!("{class}{status}"), &[EDGE_SERVICE, "Ingress default/web: !"]);
}

#[test]
fn what_was_ours_is_cleared_and_what_was_not_is_left_alone() {
    for (status, expected) in [
        ("", None),
        ("{ip: 203.0.113.10}", Some("Ingress default/web: !")),
        ("{ip: 203.0.113.10}, {ip: 192.0.2.1}", None),
        ("{ip: 192.0.2.1}", None),
        ("{hostname: x.org}", None),
    ] {
        let expected: Vec<_> = [EDGE_SERVICE].into_iter().chain(expected).collect();
        check(&format!("{OTHER}{}", ingress("other", status)), &expected);
        check(&ingress("nobody", status), &expected);
    }
    let service = |status: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: b}}\nspec: {{ports: [{{port: 80}}]}}\n\
             status: {{loadBalancer: {{ingress: [{status}]}}}}\n"
        )
    };
    check(&service("{ip: 203.0.113.10, ipMode: Proxy}"), &["Service default/b: !", EDGE_SERVICE]);
    check(&service("{ip: 203.0.113.10, ipMode: VIP}"), &[EDGE_SERVICE]);
    check(&service("{ip: 192.0.2.1, ipMode: Proxy}"), &[EDGE_SERVICE]);
    check(&service(""), &[EDGE_SERVICE]);
}

#[test]
fn sockets_of_the_command_line_are_no_vips() {
    let address = "192.0.2.7:80".parse().expect("an address");
    let settings = Settings {
        standalone: BTreeMap::from([(address, crate::model::ListenerProtocol::Http)]),
        ..Settings::default()
    };
    let mut index = index(&format!("{EDGE}{}", ingress("edgelb", "")));
    let mut translator = Translator::new(settings);
    let snapshot = translator.translate(&mut index, NOW);
    assert!(snapshot.listeners.contains_key(&address));
    let report = translator.report(&index);
    let web = &report.addresses[&ObjectRef::new(Kind::Ingress, "default", "web")];
    assert_eq!(*web.wanted, [IpAddr::from([203, 0, 113, 10])]);
}

#[test]
fn objects_with_problems_have_their_uid() {
    let report = report(&ingress("nobody", ""));
    let web = ObjectRef::new(Kind::Ingress, "default", "web");
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.uids, BTreeMap::from([(web, "web-uid".to_owned())]));
}

#[test]
fn a_status_is_reported_but_changes_no_state() {
    let mut index = index(&format!("{EDGE}{}", ingress("edgelb", "")));
    let mut translator = Translator::new(Settings::default());
    let before = translator.translate(&mut index, NOW);
    let web = ObjectRef::new(Kind::Ingress, "default", "web");
    let Some((Object::Ingress(object), origin)) = index.entry(&web) else { panic!("no Ingress") };
    let mut written = Ingress::clone(object);
    let address = IngressLoadBalancerIngress { ip: Some("203.0.113.10".to_owned()), ..Default::default() };
    let load_balancer = IngressLoadBalancerStatus { ingress: Some(vec![address]) };
    written.status = Some(IngressStatus { load_balancer: Some(load_balancer) });
    let origin = origin.clone();
    assert!(!index.apply(written.into(), origin));
    assert!(index.take_changes().is_empty());
    assert!(translator.report(&index).addresses[&web].is_current);
    assert_eq!(translator.translate(&mut index, NOW), before);
}
