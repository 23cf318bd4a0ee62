//! What a run looks at, whatever it is played in: the clients' host, the router, and nodes with their agents.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lb_common::hash::FlowKey;

use super::fate::Flow;
use super::picture::{Nodes, first_hops, openers};
use super::tally::{Tally, counters};
use crate::cluster::Node;
use crate::lab::http::{Answer, Connection};
use crate::lab::{Namespace, admin};

/// Where agents of a cluster answer over TCP (`--admin`).
const ADMIN: u16 = 6082;

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first seed that the router is given. (The kernel takes 0 for a random one.)
const SEED: usize = 4711;

/// A node as a run sees it.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name, which is also that of the router's interface to it.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Where its agent answers.
    pub agent: Agent,
}

/// Where an agent answers.
#[derive(Clone, Debug)]
pub enum Agent {
    /// On this socket, seen from here.
    Socket(PathBuf),
    /// On this port of the node's own loopback.
    Port(u16),
}

impl Watched {
    /// A node of a cluster.
    ///
    /// # Errors
    /// If it is switched off.
    pub fn of_cluster(node: &Node) -> Result<Self> {
        let (name, namespace) = (node.name.clone(), node.namespace()?.clone());
        Ok(Self { name, namespace, agent: Agent::Port(ADMIN) })
    }

    /// What the agent answers to `GET path`.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn admin(&self, path: &str) -> Result<Answer> {
        match &self.agent {
            Agent::Socket(socket) => admin::fetch(socket, path),
            Agent::Port(port) => {
                let to = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let stream = self.namespace.connect(to, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Connection::new(stream).fetch("localhost", path)
            }
        }
    }
}

/// What a run remembers of its scene.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The connections that are held.
    pub flows: Vec<Flow>,
    /// The router's next hops of the flows, before the event and after each change of what the router goes by.
    pub hops: Vec<Nodes>,
    /// Openers of the flows, before the event and after each change of members.
    pub openings: Vec<Nodes>,
    /// Packets by verdict, as far as they were counted.
    pub packets: Tally,
}

/// Where an event is played.
pub trait Scene {
    /// Where clients are.
    fn client(&self) -> &Namespace;

    /// What spreads the VIPs.
    fn router(&self) -> &Namespace;

    /// The nodes that are switched on.
    fn watched(&self) -> Vec<Watched>;

    /// The flow hash's key; none where no edgelb is.
    fn key(&self) -> Option<FlowKey>;

    /// What is remembered of it.
    fn record(&mut self) -> &mut Record;

    /// Remembers at which members the flows' buckets open now.
    ///
    /// # Errors
    /// If no agent answers.
    fn note_openers(&mut self) -> Result<()> {
        if let Some(key) = self.key() {
            let found = openers(&self.watched(), &key, &self.record().flows)?;
            self.record().openings.push(found);
        }
        Ok(())
    }

    /// Remembers to which first hops the router sends the flows now.
    ///
    /// # Errors
    /// Those of netlink.
    fn note_hops(&mut self) -> Result<()> {
        let flows = self.record().flows.clone();
        let found = first_hops(self.router(), &flows)?;
        self.record().hops.push(found);
        Ok(())
    }

    /// Another hash seed at the router: from now on, flows come in at other first hops.
    ///
    /// # Errors
    /// Those of the system.
    fn rehash(&mut self) -> Result<()> {
        let seed = SEED + self.record().hops.len();
        self.router().set_sysctl("ipv4/fib_multipath_hash_seed", &seed.to_string())?;
        self.note_hops()
    }

    /// Counts packets that came since the last time, at the nodes whose agents answer: also before counters go.
    fn count_packets(&mut self) {
        let now = self.watched().into_iter().filter_map(|node| {
            let text = String::from_utf8(node.admin("/metrics").ok()?.body).ok()?;
            Some((node.name, counters(&text)))
        });
        let now = now.collect();
        self.record().packets.count(now);
    }
}
