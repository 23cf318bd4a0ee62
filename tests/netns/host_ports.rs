//! `--http` and `--https` beside the packet path: the node answers on its own addresses, too, for what is not kept
//! to a VIP of its own.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Result, ensure};
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::{Lab, run};

use crate::{PATIENCE, connect, edges};

/// Both families, 80 as VIPs have it and 8080 that no VIP has.
const PORTS: &str = "0.0.0.0:80,[::]:80,0.0.0.0:8080,[::]:8080";

/// A class that keeps its routes to the VIP 203.0.113.20, with one route.
const INTERNAL: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: internal}
spec:
  controller: edgelb.dev/ingress
  parameters: {apiGroup: edgelb.dev, kind: IngressParameters, name: internal}
---
apiVersion: edgelb.dev/v1alpha1
kind: IngressParameters
metadata: {name: internal}
spec: {services: [{namespace: edgelb-system, name: internal}]}
---
apiVersion: v1
kind: Service
metadata: {name: internal, namespace: edgelb-system, annotations: {edgelb.dev/vips: 203.0.113.20}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{name: http, port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: internal, namespace: demo}
spec:
  ingressClassName: internal
  defaultBackend: {service: {name: shop, port: {number: 80}}}
";

const SECRET_HOST: &str = "internal.example.org";

#[test]
fn the_nodes_own_addresses_answer_and_vips_stay_theirs() -> Result<()> {
    run("the_nodes_own_addresses_answer_and_vips_stay_theirs", &edges(2), |lab| {
        Site::publish(lab)?;
        lab.manifests.write("internal.yaml", INTERNAL)?;
        lab.run_agents_with(&["--http", PORTS])?;
        let own: Vec<IpAddr> = lab.edges.iter().flat_map(|node| node.link.host.both()).collect();
        for &address in &own {
            for port in [80, 8080] {
                let at = SocketAddr::new(address, port);
                ensure!(status(lab, at, SHOP)? == 200, "{at}");
                ensure!(status(lab, at, SECRET_HOST)? == 404, "{at} shows what is internal");
            }
        }
        let internal: IpAddr = [203, 0, 113, 20].into();
        ensure!(status(lab, SocketAddr::new(internal, 80), SECRET_HOST)? == 200, "on its own VIP");
        for vip in lab.vip().both() {
            // Each node is the first hop of some, and the owner of some.
            for _ in 0..16 {
                ensure!(status(lab, SocketAddr::new(vip, 80), SHOP)? == 200, "{vip}");
                let refused = lab.client.connect(SocketAddr::new(vip, 8080), PATIENCE);
                let kind = refused.err().map(|error| error.kind());
                ensure!(kind == Some(ErrorKind::ConnectionRefused), "{vip}, port 8080: {kind:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_taken_port_of_the_node_is_named() -> Result<()> {
    run("a_taken_port_of_the_node_is_named", &edges(1), |lab| {
        Site::publish(lab)?;
        let node = &mut lab.edges[0];
        let _held = node.namespace.run(|| TcpListener::bind("0.0.0.0:80"))?;
        let error = node.run_agent(&["--http", PORTS]).expect_err("the port is taken");
        let words = "cannot listen on 0.0.0.0:80, where another program does";
        ensure!(format!("{error:#}").contains(words), "{error:#}");
        Ok(())
    })
}

fn status(lab: &Lab, to: SocketAddr, host: &str) -> Result<u16> {
    Ok(connect(lab, to)?.fetch(host, "/")?.status)
}
