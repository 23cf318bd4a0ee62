//! edgelb on the nodes of a cluster that stands, with an app: `deploy/overlays/demo`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cluster::Cluster;
use crate::lab::address::VIP;
use crate::lab::http::Connection;
use crate::lab::tls;
use crate::lab::wait::eventually;

/// What the Ingress names.
const HOST: &str = "shop.example.org";

/// The namespace of the app, and the Secret that its Ingress names.
const NAMESPACE: &str = "demo";
const SECRET: &str = "shop-tls";

/// How long the VIPs may take to answer when everything is rolled out.
const PATIENCE: Duration = Duration::from_secs(30);

/// Labels the nodes, and has the router spread the VIPs over them.
pub(super) fn make_edge(cluster: &Cluster) -> Result<()> {
    cluster.control_plane.kubectl(&["label", "nodes", "--all", "--overwrite", "edgelb.dev/edge=true"])?;
    cluster.spread_vips(&cluster.nodes.iter().collect::<Vec<_>>())
}

/// Of the cluster's own authority.
pub(super) fn certificate(cluster: &Cluster) -> Result<()> {
    cluster.control_plane.create_tls_secret(NAMESPACE, SECRET, HOST)
}

pub(super) fn rolled_out(cluster: &Cluster) -> Result<()> {
    for (namespace, what) in [("edgelb-system", "daemonset/edgelb"), (NAMESPACE, "deployment/shop")] {
        let arguments = ["rollout", "status", what, "--namespace", namespace, "--timeout=60s"];
        cluster.control_plane.kubectl(&arguments)?;
    }
    Ok(())
}

/// By IPv4 and IPv6, HTTP and HTTPS.
pub(super) fn answers(cluster: &Cluster) -> Result<()> {
    for vip in VIP.both() {
        for port in [80, 443] {
            let to = SocketAddr::new(vip, port);
            eventually(&format!("an answer of {to}"), PATIENCE, || ask(cluster, to))?;
        }
    }
    Ok(())
}

fn ask(cluster: &Cluster, to: SocketAddr) -> Result<()> {
    let stream = cluster.client.connect(to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let status = if to.port() == 443 {
        let stream = tls::handshake(cluster.control_plane.authority(), HOST, stream)?;
        Connection::new(stream).fetch(HOST, "/")?.status
    } else {
        Connection::new(stream).fetch(HOST, "/")?.status
    };
    ensure!(status == 200, "status {status}");
    Ok(())
}

/// What a person can do with it.
pub(super) fn instructions(xtask: &str, authority: &std::path::Path) -> String {
    let mut text = String::from(
        "\n  edgelb is on all nodes, and an app behind its VIPs; ask it, from where clients are:\n\n",
    );
    for vip in VIP.both() {
        let vip = if vip.is_ipv6() { format!("[{vip}]") } else { vip.to_string() };
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {xtask} exec client curl -g -H 'Host: {HOST}' 'http://{vip}/'");
        let _ = writeln!(
            text,
            "  {xtask} exec client curl --cacert {} --resolve '{HOST}:443:{vip}' https://{HOST}/",
            authority.display()
        );
    }
    text.push_str("\n  what edgelb says of itself, and of the objects:\n\n");
    for what in [
        "get edgememberships",
        "get services,ingresses -A",
        "describe ingress shop -n demo",
        "logs -n edgelb-system daemonset/edgelb",
    ] {
        let _ = writeln!(text, "  {xtask} kubectl {what}");
    }
    text
}
