//! Which members are silent: each agent asks every other one ten times a second through the encapsulation's port, and
//! judges by the answers. No API server is needed for it, and no clock of another machine.
//!
//! An answer proves that the peer's link, its XDP program (which stamps the ask) and its agent work: an agent answers
//! only while its own stages run. To an agent that is gone, an ask is a datagram to a closed port: the kernel's "port
//! unreachable" goes to a socket that is not connected, and nobody hears it.

mod alone;
mod prober;
mod roster;
mod sign;
mod thread;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use lb_common::probe::Said;
use lb_common::row::MemberId;
use tokio::sync::watch;
use tracing::{info, warn};

pub use alone::watch_alone;
pub use prober::Cluster;
pub use roster::{Roster, said};
pub use thread::{Probing, start};

use crate::beat::Beats;
use crate::l4::pins::Pins;
use crate::model::{Heard, PeerState, Peers};

/// What the prober goes by.
#[derive(Debug)]
pub struct Inputs {
    /// Whom to ask; `None` while this node is no member.
    pub roster: watch::Receiver<Option<Roster>>,
    /// What to say.
    pub said: watch::Receiver<Said>,
    /// Whether this agent has the node's packet path: only then it asks and answers.
    pub holds: watch::Receiver<bool>,
    /// It answers only while all of these run.
    pub beats: Beats,
    /// Where maps are pinned in which it gives a sign of life to the packet path.
    pub pins: Pins,
}

/// What the prober finds.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    peers: watch::Sender<Peers>,
    down: watch::Sender<BTreeSet<MemberId>>,
    heard: watch::Sender<BTreeMap<MemberId, Heard>>,
    judged: watch::Sender<bool>,
    alone: watch::Sender<bool>,
}

impl Outlook {
    /// Each peer's figures, several times a second.
    #[must_use]
    pub fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.subscribe()
    }

    /// The members that are down: told when they become others.
    #[must_use]
    pub fn down(&self) -> watch::Receiver<BTreeSet<MemberId>> {
        self.down.subscribe()
    }

    /// What members said last, of those that answered since they are known: told when it becomes another.
    #[must_use]
    pub fn heard(&self) -> watch::Receiver<BTreeMap<MemberId, Heard>> {
        self.heard.subscribe()
    }

    /// Whether each peer has answered, or had the time to.
    #[must_use]
    pub fn judged(&self) -> watch::Receiver<bool> {
        self.judged.subscribe()
    }

    /// Whether nobody answers, and it is this node's own link that is to blame.
    #[must_use]
    pub fn alone(&self) -> watch::Receiver<bool> {
        self.alone.subscribe()
    }

    fn publish(&self, peers: Peers, heard: BTreeMap<MemberId, Heard>, asks: bool) {
        let judged = asks && peers.all.iter().all(|peer| peer.state != PeerState::Unheard);
        let down = peers.down();
        let changes = changed(&self.peers.borrow(), &peers);
        self.peers.send_if_modified(|before| replace(before, peers));
        self.heard.send_if_modified(|before| replace(before, heard));
        self.down.send_if_modified(|before| replace(before, down));
        // Last: what was judged is there then.
        self.judged.send_if_modified(|before| replace(before, judged));
        for (words, is_down) in changes {
            if is_down { warn!("{words}") } else { info!("{words}") }
        }
    }
}

fn replace<T: PartialEq>(before: &mut T, now: T) -> bool {
    let is_other = *before != now;
    if is_other {
        *before = now;
    }
    is_other
}

/// Who came up or went down, in words.
fn changed(before: &Peers, now: &Peers) -> Vec<(String, bool)> {
    let known = |id| before.all.iter().find(|peer| peer.id == id).map(|peer| peer.state);
    let others = now.all.iter().filter(|peer| known(peer.id).is_some_and(|state| state != peer.state));
    others.map(|peer| (peer.to_string(), peer.state == PeerState::Down)).collect()
}
