//! Services of our loadBalancerClass -> VIPs, the ports on them, and what the proxy speaks there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Service as ServiceObject, ServiceSpec};

use super::age::Age;
use super::members;
use super::ports::Port;
use super::vips::{Taken, vips};
use crate::model::{Cause, ListenerProtocol, MOST_SERVICES, ObjectRef, Problem, Service, ServiceAddress};
use crate::source::{Index, names};

/// What clients can connect to.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// All VIPs.
    pub(super) vips: BTreeSet<IpAddr>,
    /// Their ports.
    pub(super) services: BTreeMap<ServiceAddress, Service>,
    /// What the proxy speaks on those with a listener.
    pub(super) listeners: BTreeMap<SocketAddr, ListenerProtocol>,
    /// The Services of our class with their VIPs; `None` for one that is of the wrong type.
    pub(super) ours: BTreeMap<ObjectRef, Option<BTreeSet<IpAddr>>>,
}

/// The VIPs and ports of all Services of ours. A port of a VIP belongs to the oldest Service that names it.
pub(super) fn translate(index: &Index, problems: &mut Vec<Problem>) -> Services {
    let nodes = index.nodes();
    let nodes = nodes.flat_map(|(name, node)| members::addresses(node).map(move |address| (address, name)));
    let of_services = index.services();
    let of_services = of_services.flat_map(|(name, service)| cluster_ips(service).map(move |ip| (ip, name)));
    let taken = Taken { nodes: nodes.collect(), services: of_services.collect() };
    let mut ours: Vec<_> = index.services().filter_map(ours).collect();
    ours.sort_by_cached_key(|(_, service, _)| Age::of(&service.metadata));

    let mut services = Services::default();
    for (name, service, spec) in ours {
        if !is_usable(name, spec, problems) {
            services.ours.insert(name.clone(), None);
            continue;
        }
        let mut vips = vips(name, service, spec, &taken, problems);
        let asked = vips.len();
        vips.retain(|vip| services.take_vip(*vip));
        let mut left_out = asked - vips.len();
        for (at, port) in spec.ports.iter().flatten().enumerate() {
            left_out += services.add(
                &Port { service: name, spec, port, field: format!("spec.ports[{at}]") },
                &vips,
                problems,
            );
        }
        if left_out > 0 {
            let message = format!(
                "there is room for {MOST_SERVICES} VIPs and ports of VIPs in all, and older Services come first: \
                 {left_out} of this Service are left out"
            );
            problems.push(Problem::error(name, "spec.ports", message));
        }
        services.ours.insert(name.clone(), Some(vips));
    }
    services
}

/// Whether the Service is of our class.
pub(super) fn is_ours(service: &ServiceObject) -> bool {
    let class = service.spec.as_ref().and_then(|spec| spec.load_balancer_class.as_deref());
    class == Some(names::CONTROLLER)
}

/// None for a headless one.
fn cluster_ips(service: &ServiceObject) -> impl Iterator<Item = IpAddr> {
    let spec = service.spec.as_ref();
    let one = spec.and_then(|spec| spec.cluster_ip.as_deref());
    let all = spec.and_then(|spec| spec.cluster_ips.as_deref()).unwrap_or_default();
    let texts = all.iter().map(String::as_str).chain(one);
    texts.filter_map(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical())
}

/// A Service, if it is of our class: others are left alone, without a word.
fn ours<'a>(
    (name, service): (&'a ObjectRef, &'a ServiceObject),
) -> Option<(&'a ObjectRef, &'a ServiceObject, &'a ServiceSpec)> {
    is_ours(service).then_some((name, service, service.spec.as_ref()?))
}

fn is_usable(name: &ObjectRef, spec: &ServiceSpec, problems: &mut Vec<Problem>) -> bool {
    if spec.external_ips.as_ref().is_some_and(|addresses| !addresses.is_empty()) {
        let message =
            "ignored: kube-proxy would take these addresses; name VIPs by the annotation edgelb.dev/vips";
        problems.push(Problem::warning(name, "spec.externalIPs", message));
    }
    let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    if !is_load_balancer {
        let message = "a Service with our loadBalancerClass has to be of type LoadBalancer; it is ignored";
        problems.push(Problem::error(name, "spec.type", message));
    }
    is_load_balancer
}

impl Services {
    fn is_full(&self) -> bool {
        self.vips.len() + self.services.len() >= MOST_SERVICES
    }

    /// Whether it is there already, or there is room for it.
    fn take_vip(&mut self, vip: IpAddr) -> bool {
        self.vips.contains(&vip) || (!self.is_full() && self.vips.insert(vip))
    }

    /// Adds a port of these VIPs; says at how many of them there was no room for it.
    fn add(&mut self, port: &Port<'_>, vips: &BTreeSet<IpAddr>, problems: &mut Vec<Problem>) -> usize {
        let (number, protocol) = match port.transport() {
            Ok(transport) => transport,
            Err(problem) => {
                problems.push(*problem);
                return 0;
            }
        };
        let mut left_out = 0;
        let listener = port.listener(number, protocol).map_err(|problem| problems.push(*problem)).ok();
        for &vip in vips {
            let address = ServiceAddress { vip, port: number, protocol };
            if let Some(owner) = self.services.get(&address) {
                let message =
                    format!("{address} already belongs to {}, which is older or first by name", owner.object);
                problems.push(port.error("", message).because(Cause::Conflict));
                continue;
            }
            if self.is_full() {
                left_out += 1;
                continue;
            }
            let service = Service { object: port.service.clone(), has_listener: listener.is_some() };
            self.services.insert(address, service);
            if let Some(protocol) = listener {
                self.listeners.insert(SocketAddr::new(vip, number), protocol);
            }
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Settings;
    use crate::source::translate::fixture::{assert_complaints, conflicts, snapshot};

    const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: edgelb}
spec: {controller: edgelb.dev/ingress}
---
apiVersion: v1
kind: Node
metadata: {name: worker}
status: {addresses: [{type: ExternalIP, address: 198.51.100.99}]}
";

    fn service(name: &str, metadata: &str, spec: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: edge, {metadata}}}\n\
             spec: {{type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, {spec}}}\n"
        )
    }

    fn vips(list: &str) -> String {
        format!("annotations: {{edgelb.dev/vips: '{list}'}}")
    }

    /// Services as `address object listener`.
    #[track_caller]
    fn check(yaml: &str, expected: &[&str], problems: &[&str]) {
        let snapshot = snapshot(&format!("{CLASS}{yaml}"), &Settings::default());
        let found: Vec<String> = snapshot
            .services
            .iter()
            .map(|(address, service)| {
                let listener = snapshot.listeners.get(&SocketAddr::new(address.vip, address.port));
                let listener = listener.filter(|_| service.has_listener).map(|listener| listener.protocol);
                format!("{address} {} {listener:?}", service.object.name)
            })
            .collect();
        assert_eq!(found, expected);
        assert_complaints(&snapshot, problems);
    }

    #[test]
    fn vips_come_from_the_annotation_or_else_from_the_field() {
        let port = "ports: [{port: 80}]";
        check(
            &service("a", &vips("203.0.113.10, 2001:db8:53::10"), port),
            &["203.0.113.10:80/tcp a Some(Http)", "[2001:db8:53::10]:80/tcp a Some(Http)"],
            &[],
        );
        check(
            &service("a", "", &format!("loadBalancerIP: 203.0.113.11, {port}")),
            &["203.0.113.11:80/tcp a Some(Http)"],
            &[],
        );
        check(
            &service("a", &vips("203.0.113.10"), &format!("loadBalancerIP: 203.0.113.11, {port}")),
            &["203.0.113.10:80/tcp a Some(Http)"],
            &[],
        );
        check(
            &service("a", "", port),
            &[],
            &["Service edge/a: metadata.annotations: the Service has no VIP"],
        );
        check(
            &service("a", &vips(" ,"), port),
            &[],
            &["metadata.annotations.edgelb.dev/vips: the Service has no VIP"],
        );
    }

    #[test]
    fn bad_vips_are_refused_and_good_ones_stay() {
        check(
            &service(
                "a",
                &vips("203.0.113.10,203.0.113,198.51.100.99,127.0.0.1,fe80::1,0.0.0.0,ff02::1"),
                "ports: [{port: 80}]",
            ),
            &["203.0.113.10:80/tcp a Some(Http)"],
            &[
                "\"203.0.113\" is not an IP address",
                "0.0.0.0 cannot be a VIP",
                "127.0.0.1 cannot be a VIP",
                "198.51.100.99 is an address of Node worker",
                "fe80::1 cannot be a VIP",
                "ff02::1 cannot be a VIP",
            ],
        );
    }

    #[test]
    fn a_cluster_ip_is_no_vip() {
        let dns = "---\napiVersion: v1\nkind: Service\nmetadata: {name: dns, namespace: kube-system}\n\
                   spec: {clusterIP: 192.0.2.10, clusterIPs: [192.0.2.10, '2001:db8:a::10'], ports: [{port: 53}]}\n";
        let service = service("a", &vips("192.0.2.10,2001:db8:a::10,192.0.2.11"), "ports: [{port: 80}]");
        check(
            &format!("{dns}{service}"),
            &["192.0.2.11:80/tcp a Some(Http)"],
            &[
                "192.0.2.10 is the ClusterIP of Service kube-system/dns",
                "2001:db8:a::10 is the ClusterIP of Service kube-system/dns",
            ],
        );
    }

    #[test]
    fn listeners_speak_what_app_protocol_name_or_number_say() {
        for (port, expected) in [
            ("port: 80", Some("Http")),
            ("port: 443", Some("Https")),
            ("port: 8443, name: https-alt", Some("Https")),
            ("port: 8443, name: tls", Some("Https")),
            ("port: 8080, name: http-alt", Some("Http")),
            ("port: 443, name: http", Some("Http")),
            ("port: 9000, appProtocol: https, name: http", Some("Https")),
            ("port: 9000, appProtocol: http", Some("Http")),
            ("port: 9000, appProtocol: kubernetes.io/h2c", Some("Http")),
            ("port: 9000, appProtocol: kubernetes.io/wss", Some("Https")),
            ("port: 80, appProtocol: mysql", None),
            ("port: 9000", None),
            ("port: 9000, name: grpc", None),
        ] {
            let snapshot = snapshot(
                &format!("{CLASS}{}", service("a", &vips("203.0.113.10"), &format!("ports: [{{{port}}}]"))),
                &Settings::default(),
            );
            let found = snapshot.listeners.values().next().map(|listener| format!("{:?}", listener.protocol));
            assert_eq!(found.as_deref(), expected, "{port}");
            assert_eq!(snapshot.problems.is_empty(), expected.is_some(), "{port}");
            assert_eq!(snapshot.services.len(), 1, "{port}: a packet for it is known to be for a VIP");
        }
    }

    #[test]
    fn what_the_proxy_does_not_serve_is_a_service_without_a_listener() {
        check(
            &service(
                "a",
                &vips("203.0.113.10"),
                "ports: [{port: 53, protocol: UDP}, {port: 9, protocol: SCTP}, {port: 99999}]",
            ),
            &["203.0.113.10:53/udp a None"],
            &[
                "error: Service edge/a: spec.ports[1].protocol: SCTP is not supported",
                "error: Service edge/a: spec.ports[2].port: 99999 is not a port",
                "warning: Service edge/a: spec.ports[0]: UDP is not served yet",
            ],
        );
        check(
            &service("a", &vips("203.0.113.10"), "selector: {app: a}, ports: [{port: 80}]"),
            &["203.0.113.10:80/tcp a None"],
            &["error: Service edge/a: spec.selector: a Service with a selector"],
        );
    }

    #[test]
    fn the_older_service_keeps_a_port() {
        let ports = "ports: [{port: 80}]";
        check(
            &(service("b", &vips("203.0.113.10"), ports) + &service("a", &vips("203.0.113.10"), ports)),
            &["203.0.113.10:80/tcp a Some(Http)"],
            &["Service edge/b: spec.ports[0]: 203.0.113.10:80/tcp already belongs to Service edge/a"],
        );
        let old = format!("{}, creationTimestamp: '2024-01-01T00:00:00Z'", vips("203.0.113.10"));
        check(
            &(service("b", &old, ports)
                + &service("a", &vips("203.0.113.10"), "ports: [{port: 80}, {port: 443}]")),
            &["203.0.113.10:80/tcp b Some(Http)", "203.0.113.10:443/tcp a Some(Https)"],
            &["Service edge/a: spec.ports[0]: 203.0.113.10:80/tcp already belongs to Service edge/b"],
        );
    }

    #[test]
    fn what_somebody_has_already_is_a_conflict() {
        let ports = "ports: [{port: 80}, {port: 99999}]";
        let yaml = service("a", &vips("203.0.113.10"), "ports: [{port: 80}]")
            + &service("b", &vips("203.0.113.10,198.51.100.99,nonsense"), ports);
        let snapshot = snapshot(&format!("{CLASS}{yaml}"), &Settings::default());
        let expected =
            ["Service edge/b: metadata.annotations.edgelb.dev/vips", "Service edge/b: spec.ports[0]"];
        assert_eq!(conflicts(&snapshot), expected, "{:?}", snapshot.problems);
        assert_eq!(snapshot.problems.len(), 4);
    }

    #[test]
    fn one_service_too_large_leaves_room_to_older_ones_and_the_packet_path_goes_on() {
        let list: Vec<_> = (0..70).map(|last| format!("203.0.113.{last}")).collect();
        let ports: Vec<_> = (1..=200).map(|port| format!("{{port: {port}, appProtocol: http}}")).collect();
        let big = format!("ports: [{}]", ports.join(", "));
        let yaml = service("a", &vips("192.0.2.1"), "ports: [{port: 80}]")
            + &service("big", &vips(&list.join(",")), &big)
            + &service("late", &vips("192.0.2.2"), "ports: [{port: 80}]");
        let snapshot = snapshot(&format!("{CLASS}{yaml}"), &Settings::default());
        assert_eq!(snapshot.vips.len() + snapshot.services.len(), MOST_SERVICES);
        assert!(snapshot.services.values().any(|service| service.object.name == "a"));
        assert_complaints(
            &snapshot,
            &[
                "Service edge/big: metadata.annotations.edgelb.dev/vips: 70 VIPs are named, and 64",
                "Service edge/big: spec.ports: there is room for 8192 VIPs and ports of VIPs in all, and older \
                 Services come first: 4674 of this Service are left out",
                "Service edge/late: spec.ports: there is room for 8192",
            ],
        );
    }

    #[test]
    fn other_services_are_left_alone() {
        let other = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {edgelb.dev/vips: 203.0.113.10}}\n";
        check(
            &format!("{other}spec: {{type: LoadBalancer, loadBalancerClass: other, ports: [{{port: 80}}]}}"),
            &[],
            &[],
        );
        check(
            &format!("{other}spec: {{type: LoadBalancer, externalIPs: [192.0.2.1], ports: [{{port: 80}}]}}"),
            &[],
            &[],
        );
        let wrong = format!(
            "{other}spec: {{type: ClusterIP, loadBalancerClass: edgelb.dev/ingress, ports: [{{port: 80}}]}}"
        );
        check(&wrong, &[], &["Service default/a: spec.type: a Service with our loadBalancerClass"]);
    }

    #[test]
    fn external_ips_are_ignored() {
        check(
            &service("a", &vips("203.0.113.10"), "externalIPs: [203.0.113.77], ports: [{port: 80}]"),
            &["203.0.113.10:80/tcp a Some(Http)"],
            &["warning: Service edge/a: spec.externalIPs: ignored"],
        );
    }
}
