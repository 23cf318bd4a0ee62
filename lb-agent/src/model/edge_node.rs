//! An edge node: what it may become a member of the cluster by.

use std::net::IpAddr;

/// A Node with the edge label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EdgeNode {
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`; empty in a folder that gives none.
    pub uid: String,
    /// Its InternalIPs, in the order in which it lists them.
    pub addresses: Vec<IpAddr>,
}
