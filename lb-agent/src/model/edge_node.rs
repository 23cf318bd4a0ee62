//! An edge node: what it may become a member of the cluster by.

use std::fmt;
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
    /// Its share of new flows in relation to other nodes' weights.
    pub weight: u32,
    /// Why it is to get no new flows, if it is not.
    pub drain: Option<Drain>,
}

impl EdgeNode {
    /// The weight of a node whose owner says nothing of it.
    pub const WEIGHT: u32 = 100;
}

/// What of a Node says that it drains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Drain {
    /// `kubectl cordon`, or the first half of `kubectl drain`.
    Cordoned,
    /// The taint `edgelb.dev/drain`: for this tier alone.
    Tainted,
}

impl Drain {
    /// The field that says so.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Cordoned => "spec.unschedulable",
            Self::Tainted => "spec.taints",
        }
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cordoned => "cordoned",
            Self::Tainted => "tainted edgelb.dev/drain",
        })
    }
}
