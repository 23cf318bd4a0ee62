//! A cluster: router, client, control plane on the router, and nodes.

use std::env;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::ListParams;
use kube::{Api, Client};

use super::address::{self, MAX_NODES};
use super::control_plane::{ControlPlane, Options, config, wait_for};
use super::ground::Ground;
use super::node::{Node, Plan};
use super::place::Place;
use crate::lab::address::{Link, VIPS_V4, VIPS_V6};
use crate::lab::claim::{self, Claim};
use crate::lab::netlink::spread;
use crate::lab::{Namespace, Pod, target, topology};

/// The image that every node has: `tests/app`.
pub const APP_IMAGE: &str = "edgelb.test/app:1";

/// How long nodes may take until they are ready.
const READY: Duration = Duration::from_secs(120);

/// How often they are looked at.
const STEP: Duration = Duration::from_millis(100);

/// What a cluster has.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nodes at its start, `node-1` first; more can join.
    pub nodes: u8,
    /// Archives of images that every node has, besides `APP_IMAGE`.
    pub images: Vec<PathBuf>,
    /// Flags for the API server besides ours.
    pub api_server_flags: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { nodes: 3, images: Vec::new(), api_server_flags: Vec::new() }
    }
}

/// A cluster that runs. Dropped, it is gone.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, `node-1` first.
    pub nodes: Vec<Node>,
    /// The API server, and its controllers.
    pub control_plane: ControlPlane,
    /// Where clients are.
    pub client: Namespace,
    /// What connects all, and spreads VIPs.
    pub router: Namespace,
    images: Vec<PathBuf>,
    // The last field: processes end before what they stand on goes.
    claim: Claim,
}

impl Cluster {
    /// Raises a cluster and waits until all nodes are ready.
    ///
    /// # Errors
    /// Says which part could not be made; what was made until then is removed.
    pub fn start(settings: &Settings) -> Result<Self> {
        ensure!(settings.nodes <= MAX_NODES, "a cluster has at most {MAX_NODES} nodes");
        claim::remove_stale().context("removing labs whose owners are gone")?;
        let claim = Claim::new()?;
        let router = topology::raise_router(&claim)?;
        claim.add_node("router")?;
        let client = topology::raise_host(&claim, &router, "client", address::client())?;
        let place = Place::new()?;
        let images: Vec<PathBuf> = [app_image()?].into_iter().chain(settings.images.clone()).collect();
        // Nodes boot while the API server starts.
        let mut nodes = Vec::new();
        for number in 1..=settings.nodes {
            nodes.push(boot(&claim, &router, place.folder(), &images, number)?);
        }
        let ground = Ground::router(&router, place.number())?;
        let options = Options {
            api_server_flags: settings.api_server_flags.clone(),
            controllers: true,
            scheduler: true,
        };
        let control_plane = ControlPlane::start_on(place, ground, options)?;
        for number in 1..=MAX_NODES {
            let name = name(number);
            control_plane.write_inner_kubeconfig(&name, &format!("system:node:{name}"))?;
        }
        File::create(ready_file(control_plane.folder()))?;
        let mut cluster = Self { nodes, control_plane, client, router, images, claim };
        cluster.await_nodes()?;
        Ok(cluster)
    }

    /// Its folder, in which its namespaces are held.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.claim.folder()
    }

    /// One more node, ready.
    ///
    /// # Errors
    /// If there are as many as there can be, or it does not get ready.
    pub fn add_node(&mut self) -> Result<()> {
        let number = u8::try_from(self.nodes.len() + 1).unwrap_or(u8::MAX);
        ensure!(number <= MAX_NODES, "a cluster has at most {MAX_NODES} nodes");
        let folder = self.control_plane.folder();
        let node = boot(&self.claim, &self.router, folder, &self.images, number)?;
        self.nodes.push(node);
        self.await_nodes()
    }

    /// A pod of the lab beside the nodes: what `deploy/examples` name as the endpoints of their first app.
    ///
    /// # Errors
    /// If there is such a one, or it does not start.
    pub fn raise_pod(&self, app: &str, number: u8) -> Result<Pod> {
        let (name, link) = (format!("{app}-{number}"), Link::pod(1, number));
        let pod = Pod::raise(&self.claim, &self.router, app.to_owned(), name, link)?;
        pod.await_start(&self.router)?;
        Ok(pod)
    }

    /// A power cut of `node-1` and so on: its link goes first, then everything on it.
    ///
    /// # Errors
    /// If there is no such node, or it is switched off.
    pub fn power_cut(&mut self, name: &str) -> Result<()> {
        let Self { nodes, claim, .. } = self;
        find(nodes, name)?.power_cut(claim)
    }

    /// Switches a node on again, a fresh machine under the old name, and waits until it is ready.
    ///
    /// # Errors
    /// If it runs, or does not get ready.
    pub fn switch_on(&mut self, name: &str) -> Result<()> {
        let Self { nodes, claim, .. } = self;
        find(nodes, name)?.switch_on(claim)?;
        self.await_nodes()
    }

    /// The node with this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| format!("there is no {name}"))
    }

    /// Makes the router spread the VIPs over these nodes from now on, IPv4 and IPv6 alike.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn spread_vips(&self, over: &[&Node]) -> Result<()> {
        let [v4, v6] = [0, 1]
            .map(|family| -> Vec<IpAddr> { over.iter().map(|node| node.addresses()[family]).collect() });
        spread(&self.router, (VIPS_V4.0.into(), VIPS_V4.1), &v4)?;
        spread(&self.router, (VIPS_V6.0.into(), VIPS_V6.1), &v6)
    }

    /// Waits until every node that is switched on is ready, by the API server's account.
    fn await_nodes(&mut self) -> Result<()> {
        let wanted: Vec<(String, i64)> =
            self.nodes.iter().filter_map(|node| Some((node.name.clone(), node.on_since()?))).collect();
        let kubeconfig = self.control_plane.kubeconfig();
        let nodes = &mut self.nodes;
        wait_for(async move {
            let objects: Api<NodeObject> = Api::all(Client::try_from(config(&kubeconfig).await?)?);
            let start = Instant::now();
            loop {
                nodes.iter_mut().try_for_each(Node::expect_alive)?;
                let found = objects.list(&ListParams::default()).await?;
                let is_there = |(name, since): &(String, i64)| {
                    let node = found.iter().find(|node| node.metadata.name.as_ref() == Some(name));
                    // What an earlier life of the node said counts no more.
                    node.is_some_and(|node| is_ready(node) && last_heard_of(node) >= Some(*since))
                };
                let missing: Vec<_> = wanted.iter().filter(|node| !is_there(node)).collect();
                if missing.is_empty() {
                    return Ok(());
                }
                ensure!(start.elapsed() < READY, "not ready within {READY:?}: {missing:?}");
                tokio::time::sleep(STEP).await;
            }
        })
    }
}

/// When the node last said how it is, in seconds of Unix time.
fn last_heard_of(node: &NodeObject) -> Option<i64> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter_map(|it| Some(it.last_heartbeat_time.as_ref()?.0.as_second())).max()
}

/// Whether a node says of itself that pods can run there.
#[must_use]
pub fn is_ready(node: &NodeObject) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

fn boot(claim: &Claim, router: &Namespace, folder: &Path, images: &[PathBuf], number: u8) -> Result<Node> {
    let name = name(number);
    let lab = claim.folder();
    let plan = Plan {
        number,
        lab: lab.to_owned(),
        cgroup: format!("edgelb-{}-{name}", lab.file_name().unwrap_or_default().display()),
        log: folder.join("log"),
        kubelet_config: folder.join(format!("{name}.kubeconfig")),
        proxy_config: folder.join("kube-proxy.kubeconfig"),
        ready: ready_file(folder),
        images: images.to_vec(),
        name,
    };
    let mut node = Node::new(plan, router);
    node.switch_on(claim)?;
    Ok(node)
}

fn name(number: u8) -> String {
    format!("node-{number}")
}

fn ready_file(folder: &Path) -> PathBuf {
    folder.join("ready")
}

fn find<'a>(nodes: &'a mut [Node], name: &str) -> Result<&'a mut Node> {
    nodes.iter_mut().find(|node| node.name == name).with_context(|| format!("there is no {name}"))
}

/// The archive that xtask names, or has made in the target folder.
fn app_image() -> Result<PathBuf> {
    let named = env::var_os("LB_APP_IMAGE").map(PathBuf::from);
    let archive = named.map_or_else(|| Ok::<_, anyhow::Error>(target()?.join("cluster/app.tar")), Ok)?;
    fs::metadata(&archive).with_context(|| {
        format!(
            "no image at {}: `cargo xtask cluster build` makes it, or set LB_APP_IMAGE",
            archive.display()
        )
    })?;
    Ok(archive)
}
