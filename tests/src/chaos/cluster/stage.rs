//! A cluster of three edge nodes, and behind the VIPs the pods that the lab has.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use lb_common::hash::FlowKey;
use serde_json::Value;

use super::super::scene::{Record, Scene, Watched};
use crate::cluster::{Cluster, Settings};
use crate::lab::address::VIP;
use crate::lab::http::Connection;
use crate::lab::manifests::NAMESPACE;
use crate::lab::site::SHOP;
use crate::lab::wait::eventually;
use crate::lab::{Namespace, Pod, target};

/// The namespace of the agents.
pub(super) const SYSTEM: &str = "edgelb-system";

/// How long a step may take on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(90);

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cluster with edgelb on all nodes.
#[derive(Debug)]
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    record: Record,
    _pods: Vec<Pod>,
}

impl Stage {
    /// Raises it, with what users apply.
    pub(super) fn raise() -> Result<Self> {
        let settings = Settings { images: vec![file("edgelb.tar")?], ..Settings::default() };
        let cluster = Cluster::start(&settings)?;
        let pods = (1..=2).map(|number| cluster.raise_pod("shop", number)).collect::<Result<_>>()?;
        let stage = Self { cluster, record: Record::default(), _pods: pods };
        stage.install()?;
        stage.publish()?;
        Ok(stage)
    }

    fn install(&self) -> Result<()> {
        let install = file("install.yaml")?;
        self.kubectl(&["apply", "--server-side", "--filename", text(&install)?])?;
        self.kubectl(&["label", "node", "--all", "edgelb.dev/edge=true"])?;
        let vips = format!("edgelb.dev/vips={},{}", VIP.v4, VIP.v6);
        self.kubectl(&["annotate", "service", "edgelb", "--namespace", SYSTEM, &vips])?;
        self.cluster.spread_vips(&self.cluster.nodes.iter().collect::<Vec<_>>())?;
        eventually("pods are scheduled", SOON, || {
            let set = self.read(&["daemonset", "edgelb", "--namespace", SYSTEM])?;
            ensure!(set["status"]["desiredNumberScheduled"] == 3, "{}", set["status"]);
            Ok(())
        })?;
        self.rolled_out()
    }

    /// The examples, whose endpoints are the lab's pods.
    fn publish(&self) -> Result<()> {
        self.kubectl(&["create", "namespace", NAMESPACE])?;
        self.cluster.control_plane.create_tls_secret(NAMESPACE, "shop-tls", SHOP)?;
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
        for name in ["shop.yaml", "api.yaml", "ingress.yaml"] {
            self.kubectl(&["apply", "--server-side", "--filename", text(&examples.join(name))?])?;
        }
        for node in self.watched() {
            eventually("three members and a route", SOON, || {
                let dump: Value = serde_json::from_slice(&node.admin("/debug/snapshot")?.body)?;
                let agreed = &dump["memberships"]["agreed"];
                let settled = agreed.as_array().is_some_and(|all| {
                    matches!(&all[..], [one] if one["members"].as_object().is_some_and(|it| it.len() == 3))
                });
                ensure!(settled && node.admin("/readyz")?.status == 200, "{}: {agreed}", node.name);
                Ok(())
            })?;
        }
        for to in VIP.both().map(|vip| SocketAddr::new(vip, 80)) {
            eventually("an answer", SOON, || self.ask(to))?;
        }
        Ok(())
    }

    fn ask(&self, to: SocketAddr) -> Result<()> {
        let stream = self.cluster.client.connect(to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let status = Connection::new(stream).fetch(SHOP, "/")?.status;
        ensure!(status == 200, "status {status}");
        Ok(())
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.control_plane.kubectl(arguments)
    }

    pub(super) fn read(&self, arguments: &[&str]) -> Result<Value> {
        let all = [&["get", "--output", "json"], arguments].concat();
        Ok(serde_json::from_str(&self.kubectl(&all)?)?)
    }

    pub(super) fn rolled_out(&self) -> Result<()> {
        let what = ["rollout", "status", "daemonset/edgelb", "--namespace", SYSTEM, "--timeout=120s"];
        self.kubectl(&what).map(drop)
    }

    /// How many pods of the agent are ready with this image.
    pub(super) fn ready_with(&self, image: &str) -> Result<usize> {
        let selector = "app.kubernetes.io/name=edgelb";
        let pods = self.read(&["pods", "--namespace", SYSTEM, "--selector", selector])?;
        let is_ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let ready = |it: &Value| it["type"] == "Ready" && it["status"] == "True";
            pod["spec"]["containers"][0]["image"] == image
                && conditions.is_some_and(|all| all.iter().any(ready))
        };
        Ok(pods["items"].as_array().context("a list")?.iter().filter(is_ready).count())
    }

    /// Asks a node's agent on its own socket, which is in its pod.
    pub(super) fn agent(&self, node: usize, method: &str, path: &str) -> Result<Value> {
        let node = &self.cluster.nodes[node];
        let root = PathBuf::from(format!("/proc/{}/root", node.init_id()?));
        let mut refused = None;
        for pod in fs::read_dir(root.join("var/lib/kubelet/pods"))? {
            let folder = pod?.path().join("volumes/kubernetes.io~empty-dir/pod");
            match answer(&folder, method, path) {
                Ok(answer) => return Ok(answer),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.with_context(|| format!("{} has no pods", node.name))?)
    }

    /// As routing protocols would: without those that are gone.
    pub(super) fn route_to_the_living(&self) -> Result<()> {
        self.cluster.spread_vips(&self.cluster.nodes.iter().filter(|node| node.is_on()).collect::<Vec<_>>())
    }
}

/// The path is longer than a socket's may be.
fn answer(folder: &Path, method: &str, path: &str) -> Result<Value> {
    let folder = File::open(folder)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/admin.sock", folder.as_raw_fd()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let answer = Connection::new(stream).send(method, "localhost", path, &[])?;
    ensure!(answer.status == 200, "status {}", answer.status);
    Ok(serde_json::from_slice(&answer.body)?)
}

impl Scene for Stage {
    fn client(&self) -> &Namespace {
        &self.cluster.client
    }

    fn router(&self) -> &Namespace {
        &self.cluster.router
    }

    fn watched(&self) -> Vec<Watched> {
        self.cluster.nodes.iter().filter_map(|node| Watched::of_cluster(node).ok()).collect()
    }

    /// The key is the cluster's secret.
    fn key(&self) -> Option<FlowKey> {
        None
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// A file that xtask has made.
fn file(name: &str) -> Result<PathBuf> {
    let folder = env::var_os("LB_EDGELB")
        .map_or_else(|| Ok(target()?.join("cluster")), |it| Ok::<_, anyhow::Error>(it.into()))?;
    let file = folder.join(name);
    ensure!(file.is_file(), "no {}: `cargo xtask chaos` makes it, or set LB_EDGELB", file.display());
    Ok(file)
}
