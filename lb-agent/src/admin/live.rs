//! What is live on this node at the moment, and what is missing until it is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use x509_parser::time::ASN1Time;

use super::drain::DrainReport;
use crate::model::{
    Basis, Condition, DrainProgress, Draining, FlowKeys, Following, Heard, History, Holdings, Loaded,
    PeerState, Peers, Snapshot, Turn,
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
    /// Whether no member answers, for this node's own fault; `None` as above.
    pub alone: Option<watch::Receiver<bool>>,
    /// What members say of themselves, by their ids; `None` as above.
    pub heard: Option<watch::Receiver<BTreeMap<u16, Heard>>>,
    /// What the rows of this node are made of; `None` as above.
    pub history: Option<watch::Receiver<History>>,
    /// The connections on this node; `None` as above, or while they are not known.
    pub holdings: Option<watch::Receiver<Option<Holdings>>>,
    /// The flow key in force, and one that is refused; `None` as above.
    pub keys: Option<watch::Receiver<FlowKeys>>,
}

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

    /// The flow key in force, and one that is refused.
    #[must_use]
    pub fn keys(&self) -> FlowKeys {
        self.keys.as_ref().map(|keys| keys.borrow().clone()).unwrap_or_default()
    }

    /// What waits or is refused, and the members that do not answer, in words; and why others may take this node for
    /// dead.
    fn silent(&self) -> String {
        let Peers { all, stuck } = self.peers();
        let down = all.iter().filter(|peer| peer.state == PeerState::Down).map(ToString::to_string);
        let stuck = stuck.map(|stage| format!("{stage} is stuck: this node does not answer other members"));
        let alone = self.is_alone().then(|| "this node is alone: nor does its gateway answer".to_owned());
        down.chain(stuck)
            .chain(alone)
            .chain(self.history().queued)
            .chain(self.keys().refusal())
            .map(|words| format!("; {words}"))
            .collect()
    }

    /// What a node that is ready has, in words.
    #[must_use]
    pub fn ready(&self) -> String {
        let generation = self.kernel_generation().unwrap_or_else(|| self.proxy_generation());
        let attachments = self.attachments();
        let places = attachments.iter().map(|place| format!("{} ({})", place.interface, place.mode));
        let places = match self.kernel.is_some() {
            true => format!("packets on {}", places.collect::<Vec<_>>().join(", ")),
            false => "no packet path".to_owned(),
        };
        let membership =
            self.snapshot().map(|snapshot| snapshot.membership.number).filter(|&number| number > 0);
        let membership = membership.map(|number| format!(", membership {number}")).unwrap_or_default();
        let stored = self.following().and_then(|following| match following.basis {
            Basis::Stored(written) => Some(format!(", from the stored snapshot of {}", utc(written))),
            Basis::Nothing | Basis::Cluster => None,
        });
        format!(
            "ready: generation {generation}{membership}, {places}{}{}{}",
            stored.unwrap_or_default(),
            self.stale(),
            self.silent()
        )
    }

    /// What is not followed at the moment, and since when: the last state of it stays.
    fn stale(&self) -> String {
        let watches = self.following().map(|following| following.watches).unwrap_or_default();
        let mut failing: BTreeMap<Condition, (SystemTime, Vec<&str>)> = BTreeMap::new();
        for watch in watches.iter().filter(|watch| watch.condition.is_failure()) {
            let (since, names) = failing.entry(watch.condition).or_insert((watch.since, Vec::new()));
            *since = watch.since.min(*since);
            names.push(watch.name);
        }
        let each = failing.into_iter().map(|(condition, (since, names))| {
            format!("; not followed since {} ({condition}): {}", utc(since), names.join(", "))
        });
        each.collect()
    }

    /// What keeps this node from being ready, in words. Ready is a node on which a first complete snapshot
    /// is live in kernel and proxy, and that is not told to drain; later snapshots that fail leave it ready, with the
    /// last good state.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.snapshots.borrow().is_none() {
            missing.push(format!("the objects have not been read completely yet{}", self.unread()));
        }
        if self.kernel_generation() == Some(0) {
            let lacks_key = self.following().is_some_and(|following| !following.has_flow_key);
            let key = if lacks_key { " (nor has the cluster a flow key)" } else { "" };
            missing.push(match *self.turn.borrow() {
                Turn::Waiting => {
                    "the agent before this one has not handed over the packet path yet".to_owned()
                }
                _ => format!("the kernel's maps hold no snapshot yet{key}"),
            });
        }
        if self.proxy_generation() == 0 {
            missing.push("the proxy serves no snapshot yet".to_owned());
        }
        if self.draining.borrow().is_some() {
            missing.push(DrainReport::new(self).words);
        }
        missing
    }

    /// Kinds that have not been listed, and why.
    fn unread(&self) -> String {
        let watches = self.following().map(|following| following.watches).unwrap_or_default();
        let unread = watches.iter().filter(|watch| {
            !matches!(watch.condition, Condition::Current | Condition::Missing | Condition::Waiting)
        });
        let unread = unread.map(|watch| match watch.message.as_str() {
            "" => format!("{} {}", watch.name, watch.condition),
            message => format!("{} {} ({message})", watch.name, watch.condition),
        });
        let unread: Vec<_> = unread.collect();
        if unread.is_empty() { String::new() } else { format!(" ({})", unread.join(", ")) }
    }
}

/// A time as people read it.
pub(super) fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = i64::try_from(seconds).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::Peer;

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
            alone: None,
            heard: None,
            history: None,
            holdings: None,
            keys: None,
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

    #[test]
    fn a_node_that_drains_is_not_ready() {
        let told = watch::Sender::new(Some(Draining::within(Duration::from_secs(9)))).subscribe();
        let draining = Live { draining: told, ..live(Some(1), 1, Some(Snapshot::default())) };
        assert_eq!(draining.missing(), ["draining"]);
        let progress = DrainProgress { of: *draining.draining.borrow(), ..DrainProgress::default() };
        let draining = Live { drain: watch::Sender::new(progress).subscribe(), ..draining };
        assert_eq!(draining.missing(), ["draining: new flows still open here; no connection left"]);
    }

    #[test]
    fn the_next_agent_says_for_whom_it_waits() {
        let turn = watch::Sender::new(Turn::Waiting).subscribe();
        let next = Live { turn, ..live(Some(0), 1, Some(Snapshot::default())) };
        assert!(next.missing()[0].contains("the agent before"), "{:?}", next.missing());
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

    #[test]
    fn what_is_not_followed_is_told_and_leaves_the_node_ready() {
        let written = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (basis, condition, missing, words) in [
            (Basis::Nothing, Condition::Forbidden, 3, "(Ingress forbidden (403 no such right))"),
            (Basis::Nothing, Condition::Forbidden, 3, "nor has the cluster a flow key"),
            (
                Basis::Stored(written),
                Condition::Listing,
                0,
                "from the stored snapshot of Nov 14 22:13:20 2023",
            ),
            (Basis::Cluster, Condition::Current, 0, "packets on eth0 (generic)"),
            (
                Basis::Cluster,
                Condition::Forbidden,
                0,
                "not followed since Jan 15 08:00:00 2027 +00:00 (forbidden): Ingress",
            ),
        ] {
            let live = following(basis, condition);
            let found = live.missing();
            assert_eq!(found.len(), missing, "{found:?}");
            let found = if found.is_empty() { live.ready() } else { found.join("; ") };
            assert!(found.contains(words), "{found}");
        }
        assert!(!following(Basis::Cluster, Condition::Current).ready().contains("stored"));
        assert!(!following(Basis::Cluster, Condition::Current).ready().contains("Ingress"));
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

    #[test]
    fn who_is_silent_is_told_and_leaves_the_node_ready() {
        let with = |peers, alone| Live {
            peers: Some(watch::Sender::new(peers).subscribe()),
            alone: Some(watch::Sender::new(alone).subscribe()),
            ..live(Some(1), 1, Some(Snapshot::default()))
        };
        let words = with(Peers { all: vec![peer(PeerState::Up)], stuck: None }, false).ready();
        assert!(!words.contains("edge-2") && !words.contains("alone"), "{words}");
        let stuck = Some("proxy worker 1".to_owned());
        let down = with(Peers { all: vec![peer(PeerState::Down)], stuck }, true);
        assert!(down.missing().is_empty());
        for words in ["edge-2 has never answered", "proxy worker 1 is stuck", "this node is alone"] {
            assert!(down.ready().contains(words), "{words}: {}", down.ready());
        }
    }

    #[test]
    fn ready_is_what_is_live_everywhere() {
        let some = || Some(Snapshot { generation: 1, ..Snapshot::default() });
        for (kernel, proxy, snapshot, missing) in [
            (Some(0), 0, None, vec!["objects", "kernel", "proxy"]),
            (Some(0), 0, some(), vec!["kernel", "proxy"]),
            (Some(0), 1, some(), vec!["kernel"]),
            (Some(1), 0, some(), vec!["proxy"]),
            (Some(1), 1, some(), vec![]),
            (Some(3), 7, some(), vec![]),
            (None, 0, some(), vec!["proxy"]),
            (None, 1, some(), vec![]),
        ] {
            let found = live(kernel, proxy, snapshot).missing();
            assert_eq!(found.len(), missing.len(), "{kernel:?} {proxy}: {found:?}");
            for (found, word) in found.iter().zip(missing) {
                assert!(found.contains(word), "{found} {word}");
            }
        }
    }
}
