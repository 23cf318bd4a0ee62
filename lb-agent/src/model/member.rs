//! A member: an edge node that can own flows.

use std::net::IpAddr;

/// An edge node as all nodes see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The Node's name.
    pub name: String,
    /// Its id on the wire and in rows, 1 or more; stable while other members come and go.
    pub id: u16,
    /// Where encapsulated packets for it are sent: its InternalIP of the cluster's first family.
    pub address: IpAddr,
    /// Its share of new flows in relation to other members' weights; 0 takes none.
    pub weight: u32,
}
