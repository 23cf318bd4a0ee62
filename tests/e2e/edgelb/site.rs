//! A cluster with edgelb, as kubectl and clients see it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use lb_tests::chaos::scene::Watched;
use lb_tests::cluster::{Cluster, Node};
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

/// Connections that stay, to each port of each VIP.
const KEPT: usize = 8;

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

    /// The settled generation that all its members have acknowledged: its number, and their names.
    pub(super) fn members(&self) -> Result<(u64, Vec<String>)> {
        let history = self.read(&["edgememberships", "edgelb"])?;
        let generations = history["spec"]["generations"].as_array().context("generations")?;
        let [generation] = &generations[..] else { anyhow::bail!("{generations:?}") };
        let members = generation["members"].as_array().context("members")?;
        let count = members.len();
        ensure!(generation["step"] == "Settled", "{generation}");
        ensure!(history["status"]["acknowledged"] == format!("{count} of {count}"), "{}", history["status"]);
        let number = generation["number"].as_u64().context("a number")?;
        Ok((number, members.iter().filter_map(|member| text(&member["name"])).collect()))
    }

    pub(super) fn await_members(&self, expected: &[&str]) -> Result<()> {
        soon(&format!("the members {expected:?}"), || {
            let (_, members) = self.members()?;
            ensure!(members == expected, "{members:?}");
            Ok(())
        })
    }

    /// The Leases of agents and leader by name: when each was renewed last, and how long it lasts.
    pub(super) fn leases(&self) -> Result<BTreeMap<String, (Timestamp, Duration)>> {
        let leases = self.read(&["leases", "--namespace", SYSTEM])?;
        let leases = leases["items"].as_array().context("a list")?;
        let read = |lease: &Value| {
            let name = text(&lease["metadata"]["name"]).context("a name")?;
            let renewal = lease["spec"]["renewTime"].as_str().context("a renewal")?.parse()?;
            let lasts = lease["spec"]["leaseDurationSeconds"].as_u64().context("a duration")?;
            Ok((name, (renewal, Duration::from_secs(lasts))))
        };
        leases.iter().map(read).collect()
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
        let tls = || Arc::clone(&self.tls);
        let target = |to| Target { to, host: HOST.to_owned(), patience: CALL, tls: tls(), is_kept: false };
        ports.map(target).collect()
    }

    /// Clients that call all of them.
    pub(super) fn calls(&self) -> Calls {
        Calls::start(&self.cluster.client, &self.targets())
    }

    /// Clients that call all of them by connections which stay, several to each VIP: each node has some.
    pub(super) fn kept_calls(&self) -> Calls {
        let targets = (0..KEPT).flat_map(|_| self.targets()).map(Target::kept);
        Calls::start(&self.cluster.client, &targets.collect::<Vec<_>>())
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
        let pods = self.pods(SYSTEM, "app.kubernetes.io/name=edgelb")?;
        Ok(pods.into_iter().map(|(pod, node)| (node, pod)).collect())
    }

    /// What each agent shows of itself, in the order of the nodes.
    pub(super) fn dumps(&self) -> Result<Vec<Value>> {
        let dump = |node: &Node| {
            Ok(serde_json::from_slice(&Watched::of_cluster(node)?.admin("/debug/snapshot")?.body)?)
        };
        self.cluster.nodes.iter().map(dump).collect()
    }

    /// Events for this reason: about what, by kind and name, and what they say.
    pub(super) fn events(&self, reason: &str) -> Result<Vec<(String, String)>> {
        let of_reason = format!("reason={reason}");
        let events = self.read(&["events", "--namespace", "default", "--field-selector", &of_reason])?;
        let events = events["items"].as_array().context("a list")?;
        let read = |event: &Value| {
            let object = &event["involvedObject"];
            let name = format!("{} {}", object["kind"].as_str()?, object["name"].as_str()?);
            Some((name, text(&event["message"])?))
        };
        Ok(events.iter().filter_map(read).collect())
    }

    /// Pods of the app, each with its node.
    pub(super) fn app(&self) -> Result<BTreeMap<String, String>> {
        self.pods(DEMO, "app=shop")
    }

    fn pods(&self, namespace: &str, selector: &str) -> Result<BTreeMap<String, String>> {
        let pods = self.read(&["pods", "--namespace", namespace, "--selector", selector])?;
        let pods = pods["items"].as_array().context("a list")?;
        let placed = |pod: &Value| Some((text(&pod["metadata"]["name"])?, text(&pod["spec"]["nodeName"])?));
        Ok(pods.iter().filter_map(placed).collect())
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
