//! VIP -> network: which VIPs this node may attract, and who makes the network send them here. Knows `model`, and no
//! protocol yet: what announces a VIP by ARP, NDP or BGP implements `Announcer`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;

use tokio::sync::watch;
use tracing::info;

use crate::model::{Snapshot, Turn};

/// The VIPs that the network may send to this node.
pub type Attracted = BTreeSet<IpAddr>;

/// Makes the network send VIPs to this node, and others not.
pub trait Announcer {
    /// Follows what this node may attract, for as long as it is polled. When it is dropped, so is what it announced.
    fn run(self, attracted: watch::Receiver<Attracted>) -> impl Future<Output = Infallible> + Send;
}

/// What decides about it.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Whose packet path it is.
    pub turn: Turn,
    /// Whether a state is live in kernel and proxy.
    pub is_loaded: bool,
    /// Whether this node's own link, routes or gateway are to blame that no member answers: what the network sends is
    /// lost, and other nodes serve.
    pub is_alone: bool,
    /// Whether other nodes find flows by a key that this one does not know: it would find none.
    pub lacks_key: bool,
    /// What is live.
    pub snapshot: &'a Snapshot,
    /// Whether it drains, and new flows open at other nodes. While they open here, the network had better send them
    /// here: a drain of all nodes turns no client away.
    pub has_yielded: bool,
}

impl Standing<'_> {
    /// What this node may attract. An agent that has handed over goes on saying so: the node still serves, and the
    /// agent after it says the same.
    #[must_use]
    pub fn attracted(&self) -> Attracted {
        let serves = matches!(self.turn, Turn::Holding | Turn::After) && self.is_loaded;
        if serves && !self.is_alone && !self.lacks_key && !self.has_yielded {
            self.snapshot.vips.clone()
        } else {
            Attracted::new()
        }
    }
}

/// Announces nothing: something outside, such as static routes, brings the packets. It says what it would.
#[derive(Debug)]
pub struct Silent;

impl Announcer for Silent {
    async fn run(self, mut attracted: watch::Receiver<Attracted>) -> Infallible {
        let mut before = Attracted::new();
        loop {
            let now = attracted.borrow_and_update().clone();
            if now != before {
                info!(vips = ?now, "may be attracted");
                before = now;
            }
            if attracted.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_attracts_what_it_serves_until_it_has_yielded() {
        let vips = BTreeSet::from([IpAddr::from([198, 51, 100, 1])]);
        let snapshot = Snapshot { vips: vips.clone(), ..Snapshot::default() };
        for (turn, is_loaded, is_alone, has_yielded, attracts) in [
            (Turn::Before, true, false, false, false),
            (Turn::Waiting, true, false, false, false),
            (Turn::Holding, false, false, false, false),
            (Turn::Holding, true, false, false, true),
            (Turn::Holding, true, false, true, false),
            (Turn::Holding, true, true, false, false),
            (Turn::After, true, false, false, true),
            (Turn::After, true, false, true, false),
        ] {
            let standing =
                Standing { turn, is_loaded, is_alone, lacks_key: false, snapshot: &snapshot, has_yielded };
            let expected = if attracts { vips.clone() } else { BTreeSet::new() };
            assert_eq!(standing.attracted(), expected, "{turn:?} {is_loaded} {is_alone} {has_yielded}");
            assert!(Standing { lacks_key: true, ..standing }.attracted().is_empty());
        }
    }
}
