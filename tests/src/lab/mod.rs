//! The network lab: client, router with ECMP, edge nodes and pods in network namespaces of their own.
//! Everything is made over netlink and gone when the `Lab` is dropped, or at the next start if it could not be.

pub mod address;
pub(crate) mod admin;
mod announce;
pub mod calls;
pub mod capture;
pub mod certificates;
pub(crate) mod cgroup;
pub(crate) mod claim;
pub mod divert;
pub(crate) mod evidence;
pub mod first_hop;
pub mod http;
pub mod icmp;
pub mod manifests;
pub(crate) mod namespace;
pub mod netlink;
mod node;
mod offload;
pub(crate) mod pass;
pub mod pcapng;
mod pod;
mod process;
pub(crate) mod raw;
mod recorder;
pub mod server;
pub mod site;
pub mod spread;
pub mod streams;
pub mod tls;
pub mod topology;
mod view;
pub mod wait;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result};

use self::address::{Addresses, Link, VIP};
use self::certificates::Authority;
use self::claim::Claim;
use self::manifests::Manifests;
use self::netlink::End;
use self::process::output;
use self::view::{NodeView, View};

pub use self::announce::Announcer;
pub use self::claim::{LABS, kept, remove, remove_own};
pub use self::evidence::{run, target};
pub use self::namespace::Namespace;
pub use self::node::Node;
pub use self::pod::Pod;
pub use self::process::{Process, exec, exists, program};
pub use self::topology::{App, Topology, UPLINK};

/// A raised lab. Dropped, it is gone.
#[derive(Debug)]
pub struct Lab {
    /// Where clients are.
    pub client: Namespace,
    /// What spreads the VIPs.
    pub router: Namespace,
    /// The edge nodes, `edge-1` first.
    pub edges: Vec<Node>,
    /// The pods, app by app.
    pub pods: Vec<Pod>,
    /// What the agents read.
    pub manifests: Manifests,
    /// Who signs the lab's certificates.
    pub authority: Authority,
    // The last field: processes end before what they stand on goes.
    claim: Claim,
}

impl Lab {
    /// Raises a lab, with pods that answer; manifests come from `site`, agents are started by `Node`.
    ///
    /// # Errors
    /// Says which part could not be made; what was made until then is removed.
    pub fn start(topology: &Topology) -> Result<Self> {
        claim::remove_stale().context("removing labs whose owners are gone")?;
        let claim = Claim::new().context("the lab's folder")?;
        let router = topology::raise_router(&claim)?;
        let client = topology::raise_host(&claim, &router, "client", Link::client())?;
        let edges = topology
            .edge_links()
            .map(|(name, link)| Node::raise(&claim, &router, &name, link))
            .collect::<Result<Vec<_>>>()?;
        let pods = topology
            .pod_links()
            .map(|(app, name, link)| Pod::raise(&claim, &router, app, name, link))
            .collect::<Result<Vec<_>>>()?;
        let manifests = Manifests::new(claim.folder().join("manifests"));
        let authority = Authority::new(&claim.folder().join("tls/ca.pem"))?;
        let lab = Self { client, router, edges, pods, manifests, authority, claim };
        lab.spread_vips(&lab.edges.iter().collect::<Vec<_>>())?;
        lab.edges.iter().try_for_each(|node| node.give_key(HASH_KEY))?;
        lab.pods.iter().try_for_each(|pod| pod.await_start(&lab.router))?;
        Ok(lab)
    }

    /// The lab's folder (`claim` says what is in it).
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.claim.folder()
    }

    /// The VIP whose ports 80 and 443 are listeners.
    #[must_use]
    pub const fn vip(&self) -> Addresses {
        VIP
    }

    /// The PEM file of the lab's certificate authority.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.folder().join("tls/ca.pem")
    }

    /// Makes the router spread the VIPs over these nodes from now on, IPv4 and IPv6 alike.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn spread_vips(&self, over: &[&Node]) -> Result<()> {
        let links: Vec<Link> = over.iter().map(|node| node.link).collect();
        topology::spread_vips(&self.router, &links)
    }

    /// The same of one VIP, wherever the others go.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn spread_vip(&self, vip: Addresses, over: &[Node]) -> Result<()> {
        let links: Vec<Link> = over.iter().map(|node| node.link).collect();
        topology::spread_vip(&self.router, vip, &links)
    }

    /// A host beside the client, for a program that handles packets which the router leads there (`divert`).
    ///
    /// # Errors
    /// If there is one already.
    pub fn raise_relay(&self) -> Result<Namespace> {
        topology::raise_host(&self.claim, &self.router, "relay", Link::relay())
    }

    /// `nodes.yaml`: the lab's Node objects; those named in `out` are no edge nodes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_nodes(&self, out: &[&str]) -> Result<Instant> {
        self.manifests.write("nodes.yaml", &manifests::nodes(&self.all_nodes(), out))
    }

    /// Says in the folder that these nodes, and no others, are cordoned.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn cordon(&self, nodes: &[&str]) -> Result<Instant> {
        self.manifests.write("nodes.yaml", &manifests::cordoned(&self.all_nodes(), nodes))
    }

    /// Gives these nodes, and no others, another weight than the usual.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn weigh(&self, weights: &[(&str, u32)]) -> Result<Instant> {
        self.manifests.write("nodes.yaml", &manifests::weighted(&self.all_nodes(), weights))
    }

    fn all_nodes(&self) -> Vec<(&str, IpAddr)> {
        self.edges.iter().map(|node| (node.name.as_str(), node.link.host.v4.into())).collect()
    }

    /// Starts the agent on every node and waits until all are ready.
    ///
    /// # Errors
    /// Those of `Node::run_agent`.
    pub fn run_agents(&mut self) -> Result<()> {
        self.run_agents_with(&[])
    }

    /// As `run_agents`, with more arguments.
    ///
    /// # Errors
    /// Those of `Node::run_agent`.
    pub fn run_agents_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.accept_xdp_frames()?;
        for node in &mut self.edges {
            node.start_agent(arguments)?;
        }
        self.edges.iter_mut().try_for_each(Node::await_ready)
    }

    /// Puts a pass program on the router's ends of the nodes' links, without which nothing that XDP sends
    /// from a node would arrive (`pass`).
    ///
    /// # Errors
    /// If the program cannot be loaded or attached.
    fn accept_xdp_frames(&self) -> Result<()> {
        let interfaces: Vec<String> = self.edges.iter().map(|node| node.name.clone()).collect();
        let NodeView { bpffs, .. } = self.claim.add_node("router")?;
        pass::attach(&self.router, &interfaces, &bpffs)
    }

    /// Puts another machine in a node's place, under its name and addresses: a kernel that knows nothing of what was
    /// before. Its agent must have ended; what `lb-agent uninstall` removes is not looked at.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn replace_machine(&mut self, node: usize) -> Result<()> {
        let Self { edges, claim, router, .. } = self;
        let node = &mut edges[node];
        let NodeView { bpffs, .. } = NodeView::of(claim.folder(), "router");
        fs::remove_file(bpffs.join(&node.name)).context("the pass program's pin")?;
        netlink::delete(End { namespace: router, interface: &node.name })?;
        claim.release(node.namespace.clone())?;
        node.namespace = topology::raise_host(claim, router, &node.name, node.link)?;
        pass::attach(router, std::slice::from_ref(&node.name), &bpffs)
    }

    /// Runs a command where the client is, to its end: its status and what it said.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn client_output(&self, command: Command) -> Result<(ExitStatus, String)> {
        output(&self.client, &self.plain_view(), command)
    }

    /// Leaves the lab up when this process ends; `remove` takes it down. Returns its folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep(self) -> Result<PathBuf> {
        let folder = self.claim.keep()?;
        self.pods.into_iter().for_each(|pod| pod.forget());
        self.edges.into_iter().filter_map(|node| node.agent).for_each(Process::forget);
        Ok(folder)
    }

    fn plain_view(&self) -> View {
        View { folder: self.folder().to_owned(), node: None }
    }
}

/// Any 64 bytes: all nodes of a lab share them.
pub const HASH_KEY: &[u8; 64] = b"the lab's hash key is known to all who read this, as it may be..";
