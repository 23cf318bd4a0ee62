//! A cluster with edgelb, as kubectl and clients see it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use lb_tests::cluster::Cluster;
use lb_tests::lab::address::VIP;
use lb_tests::lab::calls::{Calls, Target};
use lb_tests::lab::{Namespace, target, tls};
use rustls::ClientConfig;
use serde_json::Value;

use super::soon;

pub(super) const SYSTEM: &str = "edgelb-system";

/// The namespace of the app in `deploy/overlays/demo/app`, and the host of its Ingress.
pub(super) const DEMO: &str = "demo";
pub(super) const HOST: &str = "shop.example.org";

/// How long a call may take: longer than any pause that is allowed.
const CALL: Duration = Duration::from_secs(3);

pub(super) struct Site<'a> {
    pub(super) cluster: &'a mut Cluster,
    tls: Arc<ClientConfig>,
}

impl<'a> Site<'a> {
    pub(super) fn new(cluster: &'a mut Cluster) -> Result<Self> {
        let tls = tls::trust(cluster.control_plane.authority())?;
        Ok(Self { cluster, tls })
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.control_plane.kubectl(arguments)
    }

    /// An object, or a list, as JSON.
    pub(super) fn read(&self, arguments: &[&str]) -> Result<Value> {
        let all = [&["get", "--output", "json"], arguments].concat();
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    pub(super) fn rolled_out(&self, namespace: &str, what: &str) -> Result<()> {
        let arguments = ["rollout", "status", what, "--namespace", namespace, "--timeout=120s"];
        self.kubectl(&arguments).map(drop)
    }

    /// The members, by the settled generation that all of them have acknowledged.
    pub(super) fn members(&self) -> Result<Vec<String>> {
        let history = self.read(&["edgememberships", "edgelb"])?;
        let generations = history["spec"]["generations"].as_array().context("generations")?;
        let [generation] = &generations[..] else { anyhow::bail!("{generations:?}") };
        let members = generation["members"].as_array().context("members")?;
        let count = members.len();
        ensure!(generation["step"] == "Settled", "{generation}");
        ensure!(history["status"]["acknowledged"] == format!("{count} of {count}"), "{}", history["status"]);
        Ok(members.iter().filter_map(|member| member["name"].as_str()).map(str::to_owned).collect())
    }

    pub(super) fn await_members(&self, expected: &[&str]) -> Result<()> {
        soon(&format!("the members {expected:?}"), || {
            let members = self.members()?;
            ensure!(members == expected, "{members:?}");
            Ok(())
        })
    }

    /// The name of the node whose agent leads.
    pub(super) fn leader(&self) -> Result<String> {
        let lease = self.read(&["lease", "edgelb-leader", "--namespace", SYSTEM])?;
        let holder = lease["spec"]["holderIdentity"].as_str().context("a leader")?;
        Ok(holder.rsplit_once('_').map_or(holder, |(node, _)| node).to_owned())
    }

    /// The VIPs by IPv4 and IPv6, HTTP and TLS.
    pub(super) fn targets(&self) -> Vec<Target> {
        let ports = VIP.both().into_iter().flat_map(|vip| [80, 443].map(|port| SocketAddr::new(vip, port)));
        let target = |to| Target { to, host: HOST.to_owned(), patience: CALL, tls: Arc::clone(&self.tls) };
        ports.map(target).collect()
    }

    /// Clients that call all of them.
    pub(super) fn calls(&self) -> Calls {
        Calls::start(&self.cluster.client, &self.targets())
    }

    pub(super) fn client(&self) -> &Namespace {
        &self.cluster.client
    }

    /// Has the router spread VIPs over the nodes with these names.
    pub(super) fn route_to(&self, names: &[&str]) -> Result<()> {
        let nodes = names.iter().map(|name| self.cluster.node(name)).collect::<Result<Vec<_>>>()?;
        self.cluster.spread_vips(&nodes)
    }

    /// Pods of edgelb that run, by node.
    pub(super) fn agents(&self) -> Result<BTreeMap<String, String>> {
        let pods =
            self.read(&["pods", "--namespace", SYSTEM, "--selector", "app.kubernetes.io/name=edgelb"])?;
        let pods = pods["items"].as_array().context("a list")?.clone();
        let name = |pod: &Value| Some((text(&pod["spec"]["nodeName"])?, text(&pod["metadata"]["name"])?));
        Ok(pods.iter().filter_map(name).collect())
    }

    /// The node from which a pod was asked: by one of its own addresses, or by that of a bridge to its own pods.
    pub(super) fn node_of(&self, address: IpAddr) -> Result<String> {
        let found = self.cluster.nodes.iter().find(|node| node.has(address));
        Ok(found.with_context(|| format!("{address} is no node's"))?.name.clone())
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A file that xtask has made: `edgelb.tar`, `install.yaml`, `uninstall.yaml`.
pub(super) fn file(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os("LB_EDGELB") {
        Some(folder) => PathBuf::from(folder),
        None => target()?.join("cluster"),
    };
    let file = folder.join(name);
    fs::metadata(&file).with_context(|| {
        format!("no {}: `cargo xtask test e2e` makes it, or set LB_EDGELB", file.display())
    })?;
    Ok(file)
}
