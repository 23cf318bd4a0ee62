//! The state of one moment: what packet path and proxy follow until the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Drain, Generation, Listener, Mark, Member, Problems, Service, ServiceAddress};

/// Everything that the objects ask for, translated. Snapshots of the same objects are equal on all nodes,
/// but for the generation, which counts the changes seen by this agent, and for backends whose requests are to stay in
/// the node's zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Rises by one with each change.
    pub generation: u64,
    /// How far the history of memberships is: what a node acknowledges that has this snapshot in its kernel.
    pub membership: Mark,
    /// Members of any generation by name, as the newest that names them has them: those that rows can name.
    pub members: BTreeMap<String, Member>,
    /// The memberships that may own flows, the oldest first. At most the last one is only learned.
    pub generations: Vec<Arc<Generation>>,
    /// Nodes whose objects say that they are to get no new flows, by name.
    pub drains: BTreeMap<String, Drain>,
    /// Addresses that clients use.
    pub vips: BTreeSet<IpAddr>,
    /// Ports of VIPs, for the packet path.
    pub services: BTreeMap<ServiceAddress, Service>,
    /// TCP ports of VIPs on which the proxy answers.
    pub listeners: BTreeMap<SocketAddr, Listener>,
    /// What is wrong with the objects.
    pub problems: Problems,
}
