//! What is live on this node at the moment.

mod readiness;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

pub(super) use self::readiness::utc;
use crate::model::{
    Drain, DrainProgress, Draining, FlowKeys, Following, Heard, History, Holdings, Loaded, Peer, PeerState,
    Peers, Snapshot, Turn,
};

/// The node's moving parts, as their stages tell of them. A clone follows the same ones.
#[derive(Clone, Debug)]
pub struct Live {
    /// The name of this node's Node object.
    pub node: String,
    /// The agent's version.
    pub version: &'static str,
    /// When the agent started.
    pub started: SystemTime,
    /// The newest snapshot.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What the kernel's maps hold; `None` for a proxy without packet path.
    pub kernel: Option<watch::Receiver<Loaded>>,
    /// The generation that the proxy serves, 0 for none.
    pub proxy: watch::Receiver<u64>,
    /// Interfaces with the packet path on them, once it began; `None` for a proxy without packet path.
    pub attachments: Option<watch::Receiver<Vec<Attachment>>>,
    /// Those by which no packets come in any more, each with why; `None` as above.
    pub gone: Option<watch::Receiver<BTreeMap<String, String>>>,
    /// How well the source follows a cluster; `None` for a folder.
    pub following: Option<watch::Receiver<Following>>,
    /// Whether the packet path is this agent's, or that of one before it or after it.
    pub turn: watch::Receiver<Turn>,
    /// Whether it was told to drain.
    pub draining: watch::Receiver<Option<Draining>>,
    /// How that goes.
    pub drain: watch::Receiver<DrainProgress>,
    /// VIPs that it may attract.
    pub attracted: watch::Receiver<BTreeSet<IpAddr>>,
    /// What this node sees of the other members; `None` for a proxy without packet path.
    pub peers: Option<watch::Receiver<Peers>>,
    /// Those that no new flows go to from here, by their ids; `None` as above.
    pub down: Option<watch::Receiver<BTreeSet<u16>>>,
    /// Whether no member answers, for this node's own fault; `None` as above.
    pub alone: Option<watch::Receiver<bool>>,
    /// What is amiss with the gateways of a node that is not alone, in words; `None` as above.
    pub gateways: Option<watch::Receiver<Option<String>>>,
    /// When it was noticed that the kernel went without this agent, until rows lead to what others opened meanwhile;
    /// `None` as above.
    pub missed: Option<watch::Receiver<Option<Duration>>>,
    /// What members say of themselves, by their ids; `None` as above.
    pub heard: Option<watch::Receiver<BTreeMap<u16, Heard>>>,
    /// What the rows of this node are made of; `None` as above.
    pub history: Option<watch::Receiver<History>>,
    /// The connections on this node; `None` as above, or while they are not known.
    pub holdings: Option<watch::Receiver<Option<Holdings>>>,
    /// The flow keys of the node, and the one that it was given; `None` as above.
    pub keys: Option<watch::Receiver<FlowKeys>>,
}

/// Of a node that hears nobody for its own fault: nothing of what others do is known.
const ALONE: &str = "this node is alone: no member answers, and its own link, routes or gateway are to blame";

/// An interface with the packet path on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Why this one.
    pub why: String,
    /// How it runs the program: `native` or `generic`.
    pub mode: String,
    /// Why not in the driver.
    pub reason: Option<String>,
}

impl Live {
    /// The newest snapshot, if the objects have been read once.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    /// What of this node's object says that it is to get no new flows.
    #[must_use]
    pub fn node_drain(&self) -> Option<Drain> {
        self.snapshots.borrow().as_ref().and_then(|snapshot| snapshot.drains.get(&self.node).copied())
    }

    /// The generation in the kernel's maps; `None` without a packet path.
    #[must_use]
    pub fn kernel_generation(&self) -> Option<u64> {
        self.kernel.as_ref().map(|loaded| loaded.borrow().generation)
    }

    /// The generation that the proxy serves.
    #[must_use]
    pub fn proxy_generation(&self) -> u64 {
        *self.proxy.borrow()
    }

    /// The interfaces with the packet path on them.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.attachments.as_ref().map(|attachments| attachments.borrow().clone()).unwrap_or_default()
    }

    /// Interfaces by which no packets come in any more, in words.
    fn gone(&self) -> BTreeMap<String, String> {
        let gone = self.gone.as_ref().map(|gone| gone.borrow().clone()).unwrap_or_default();
        let words = |(name, why): (String, String)| {
            let words = format!("no packets come in by {name}: {why}");
            (name, words)
        };
        gone.into_iter().map(words).collect()
    }

    /// How well a cluster is followed.
    #[must_use]
    pub fn following(&self) -> Option<Following> {
        self.following.as_ref().map(|following| following.borrow().clone())
    }

    /// What this node sees of the other members.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.peers.as_ref().map(|peers| peers.borrow().clone()).unwrap_or_default()
    }

    /// Whether no new flows go to a member from here, for it does not answer. Who is cut off itself judges nobody.
    pub(in crate::admin) fn passes_over(&self, peer: &Peer) -> bool {
        let is_down = |down: &watch::Receiver<BTreeSet<u16>>| down.borrow().contains(&peer.id);
        peer.state == PeerState::Down && self.down.as_ref().is_some_and(is_down)
    }

    /// How a member answers, in words.
    pub(in crate::admin) fn words_of(&self, peer: &Peer) -> String {
        peer.words(self.passes_over(peer))
    }

    /// What the rows of this node are made of.
    #[must_use]
    pub fn history(&self) -> History {
        self.history.as_ref().map(|history| history.borrow().clone()).unwrap_or_default()
    }

    /// The connections on this node, while they are known.
    #[must_use]
    pub fn holdings(&self) -> Option<Holdings> {
        self.holdings.as_ref().and_then(|holdings| holdings.borrow().clone())
    }

    /// Whether no member answers, for this node's own fault.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone.as_ref().is_some_and(|alone| *alone.borrow())
    }

    /// Whether others open this node's flows, for its agent has only just begun or stood still.
    #[must_use]
    pub fn is_stood_in(&self) -> bool {
        self.missed.as_ref().is_some_and(|missed| missed.borrow().is_some())
    }

    /// The flow keys of the node, and the one that it was given.
    #[must_use]
    pub fn keys(&self) -> FlowKeys {
        self.keys.as_ref().map(|keys| keys.borrow().clone()).unwrap_or_default()
    }

    /// What waits, and the members that do not answer, in words; and why others may take this node for
    /// dead.
    fn silent(&self) -> String {
        let Peers { all, stuck } = self.peers();
        let is_alone = self.is_alone();
        let down = all.iter().filter(|peer| peer.state == PeerState::Down).filter(|_| !is_alone);
        let down = down.map(|peer| self.words_of(peer));
        let stuck = stuck.map(|stage| format!("{stage} is stuck: this node does not answer other members"));
        let alone = is_alone.then(|| ALONE.to_owned());
        let gateways = self.gateways.as_ref().and_then(|gateways| gateways.borrow().clone());
        let stood_in = self.is_stood_in().then(|| {
            "others open this node's flows until its rows lead to what opened while its agent was silent"
                .to_owned()
        });
        let followed = (*self.turn.borrow() == Turn::After).then(|| {
            "another agent has the packet path: this one serves the connections that it has".to_owned()
        });
        down.chain(stuck)
            .chain(followed)
            .chain(alone)
            .chain(gateways.filter(|_| !is_alone))
            .chain(stood_in)
            .chain(self.gone().into_values())
            .chain(self.history().queued)
            .chain(Some(self.keys()).filter(|keys| !keys.are_wanting()).and_then(|keys| keys.words()))
            .map(|words| format!("; {words}"))
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Instant, UNIX_EPOCH};

    use super::*;
    use crate::model::{Basis, Condition};

    /// A node whose stages are at these generations; a snapshot is there if any of them is.
    pub(in crate::admin) fn live(kernel: Option<u64>, proxy: u64, snapshot: Option<Snapshot>) -> Live {
        Live {
            node: "edge-1".to_owned(),
            version: "0.1.0",
            started: SystemTime::now(),
            snapshots: watch::Sender::new(snapshot.map(Arc::new)).subscribe(),
            kernel: kernel
                .map(|generation| watch::Sender::new(Loaded { generation, ..Loaded::default() }).subscribe()),
            proxy: watch::Sender::new(proxy).subscribe(),
            following: None,
            turn: watch::Sender::new(Turn::Holding).subscribe(),
            draining: watch::Sender::default().subscribe(),
            drain: watch::Sender::default().subscribe(),
            attracted: watch::Sender::default().subscribe(),
            peers: None,
            down: None,
            alone: None,
            gateways: None,
            missed: None,
            heard: None,
            history: None,
            holdings: None,
            keys: None,
            gone: None,
            attachments: Some(
                watch::Sender::new(vec![Attachment {
                    interface: "eth0".to_owned(),
                    why: "auto: has the default route of IPv4".to_owned(),
                    mode: "generic".to_owned(),
                    reason: Some("the driver refused".to_owned()),
                }])
                .subscribe(),
            ),
        }
    }

    /// As `live`, following a cluster.
    pub(in crate::admin) fn following(basis: Basis, condition: Condition) -> Live {
        let watch = crate::model::Watch {
            name: "Ingress",
            condition,
            since: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            message: "403 no such right".to_owned(),
            failures: 3,
        };
        let following = Following { basis, watches: vec![watch], has_flow_key: false };
        let snapshot = (basis != Basis::Nothing).then(|| Snapshot { generation: 1, ..Snapshot::default() });
        let generation = u64::from(snapshot.is_some());
        let following = Some(watch::Sender::new(following).subscribe());
        Live { following, ..live(Some(generation), generation, snapshot) }
    }

    /// A peer of edge-1.
    pub(in crate::admin) fn peer(state: PeerState) -> Peer {
        let now = Instant::now();
        Peer {
            name: "edge-2".to_owned(),
            id: 2,
            state,
            since: now,
            answered: None,
            round_trip: Some(Duration::from_micros(250)),
            asked: 40,
            lost: 4,
            flaps: 1,
        }
    }
}
