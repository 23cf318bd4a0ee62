//! Tables of what objects' status should list, and whether it does.

use k8s_openapi::api::networking::v1::{
    IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

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
            let words =
                |vips: &Arc<[IpAddr]>| vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let wanted = published.wanted.as_ref().map_or("given up".to_owned(), words);
            let mark = if published.is_current { "" } else { "!" };
            format!("{object}: {wanted}{mark}")
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

/// The server's account of who wrote the status.
fn written_by(manager: &str) -> String {
    format!("managedFields: [{{manager: kubectl}}, {{manager: {manager}, subresource: status}}]")
}

/// Whatever is listed, also our own VIPs: another controller may have them from us, or be there in our place.
#[test]
fn what_we_wrote_is_given_up_and_what_others_wrote_is_left_alone() {
    for status in ["", "{ip: 203.0.113.10}", "{ip: 203.0.113.10}, {ip: 192.0.2.1}", "{hostname: x.org}"] {
        for (class, objects) in [("other", OTHER), ("nobody", "")] {
            for (manager, expected) in [("edgelb", Some("Ingress default/web: given up!")), ("nginx", None)] {
                let expected: Vec<_> = [EDGE_SERVICE].into_iter().chain(expected).collect();
                let web = ingress(class, status).replace("uid: web-uid", &written_by(manager));
                check(&format!("{objects}{web}"), &expected);
            }
        }
    }
    let service = |manager: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: b, {}}}\nspec: {{ports: [{{port: 80}}]}}\n\
             status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.10, ipMode: Proxy}}]}}}}\n",
            written_by(manager)
        )
    };
    check(&service("edgelb"), &["Service default/b: given up!", EDGE_SERVICE]);
    check(&service("kube-vip"), &[EDGE_SERVICE]);
}

/// What else is ours of an object says nothing of its status.
#[test]
fn only_the_status_counts() {
    let web = ingress("other", "{ip: 203.0.113.10}");
    for fields in ["{manager: edgelb}", "{manager: edgelb, subresource: scale}"] {
        let web = web.replace("uid: web-uid", &format!("managedFields: [{fields}]"));
        check(&format!("{OTHER}{web}"), &[EDGE_SERVICE]);
    }
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
    assert_eq!(web.wanted.as_deref(), Some(&[IpAddr::from([203, 0, 113, 10])][..]));
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
    written.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        manager: Some("edgelb".to_owned()),
        subresource: Some("status".to_owned()),
        ..ManagedFieldsEntry::default()
    }]);
    let origin = origin.clone();
    assert!(!index.apply(written.into(), origin));
    assert!(index.take_changes().is_empty());
    assert!(translator.report(&index).addresses[&web].is_current);
    assert_eq!(translator.translate(&mut index, NOW), before);
}
