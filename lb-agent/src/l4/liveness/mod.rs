//! Which members are silent: each agent asks every other one ten times a second through the encapsulation's port, and
//! judges by the answers. No API server is needed for it, and no clock of another machine.
//!
//! An answer proves that the peer's link, its XDP program (which stamps the ask) and its agent work: an agent answers
//! only while its own stages run. To an agent that is gone, an ask is a datagram to a closed port: the kernel's "port
//! unreachable" goes to a socket that is not connected, and nobody hears it.

mod alone;
mod dead_gateways;
mod gateways;
mod inquiries;
mod look_up;
mod missed;
mod prober;
mod roster;
mod sight;
mod sign;
mod thread;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lb_common::probe::Said;
use lb_common::row::MemberId;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tracing::{info, warn};

pub use alone::watch_alone;
pub use inquiries::{PATIENCE, Question};
pub use missed::Missed;
pub use prober::Cluster;
pub use roster::{Roster, said};
pub use sign::fall_silent;
pub(in crate::l4) use sign::miss_alike;
pub use thread::{Probing, start};

use self::sight::Link;
use crate::beat::Beats;
use crate::l4::keys::Keys;
use crate::l4::pins::Pins;
use crate::model::{Heard, Peer, PeerState, Peers};

/// What the prober goes by.
#[derive(Debug)]
pub struct Inputs {
    /// The flow keys to go by.
    pub keys: watch::Receiver<Keys>,
    /// Whom to ask; `None` while there is nobody.
    pub roster: watch::Receiver<Option<Roster>>,
    /// What to say.
    pub said: watch::Receiver<Said>,
    /// Whether this agent has the node's packet path: only then it asks and answers.
    pub holds: watch::Receiver<bool>,
    /// Whether the node opens no flows, though the members have agreed that it does: then it is to count as down.
    pub yielded: watch::Receiver<bool>,
    /// What somebody here wants to know of the others.
    pub questions: UnboundedReceiver<Question>,
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
    gateways: watch::Sender<Option<String>>,
    link: watch::Sender<Link>,
    missed: Missed,
}

impl Outlook {
    /// Each peer's figures, several times a second.
    #[must_use]
    pub fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.subscribe()
    }

    /// The members that are down: told when they become others. None while this node is cut off: then it is not they
    /// who are silent.
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

    /// What is amiss with the gateways of a node that is not alone, in words.
    #[must_use]
    pub fn gateways(&self) -> watch::Receiver<Option<String>> {
        self.gateways.subscribe()
    }

    /// Whether this node's packet path went without its agent: until who makes the rows has said that it is over, it goes
    /// on so.
    #[must_use]
    pub fn missed(&self) -> Missed {
        self.missed.clone()
    }

    /// Whether nobody answers for this node's own fault. True if it is another answer than before.
    fn set_alone(&self, is_alone: bool) -> bool {
        let has_changed = self.alone.send_if_modified(|before| replace(before, is_alone));
        if has_changed {
            self.link.send_replace(if is_alone { Link::CutOff } else { Link::Back(Instant::now()) });
            self.judge();
        }
        has_changed
    }

    /// Says what is amiss with gateways, or that nothing is any more.
    fn set_gateways(&self, amiss: Option<String>) {
        if self.gateways.send_if_modified(|before| replace(before, amiss.clone())) {
            match amiss {
                Some(words) => warn!("{words}"),
                None => info!("this node's gateways answer"),
            }
        }
    }

    /// Says who is down. All that it goes by is read while nobody else can say it: the last one to say it knows all.
    fn judge(&self) {
        let down = |before: &mut _| {
            let link = *self.link.borrow();
            replace(before, sight::down(&self.peers.borrow(), link, Instant::now()))
        };
        self.down.send_if_modified(down);
    }

    fn publish(&self, peers: Peers, heard: BTreeMap<MemberId, Heard>, asks: bool) {
        let judged = asks && peers.all.iter().all(|peer| peer.state != PeerState::Unheard);
        let passes_over = *self.link.borrow() != Link::CutOff;
        let changes = changed(&self.peers.borrow(), &peers, passes_over);
        self.peers.send_if_modified(|before| replace(before, peers));
        self.heard.send_if_modified(|before| replace(before, heard));
        self.judge();
        // Last: what was judged is there then.
        self.judged.send_if_modified(|before| replace(before, judged));
        for (words, is_down) in changes {
            if is_down { warn!("{words}") } else { info!("{words}") }
        }
    }
}

/// True if it is another one than before.
fn replace<T: PartialEq>(before: &mut T, now: T) -> bool {
    let is_other = *before != now;
    if is_other {
        *before = now;
    }
    is_other
}

/// Who came up or went down, in words.
fn changed(before: &Peers, now: &Peers, passes_over: bool) -> Vec<(String, bool)> {
    let known = |id| before.all.iter().find(|peer| peer.id == id).map(|peer| peer.state);
    let others = now.all.iter().filter(|peer| known(peer.id).is_some_and(|state| state != peer.state));
    let is_down = |peer: &Peer| peer.state == PeerState::Down;
    others.map(|peer| (peer.words(passes_over && is_down(peer)), is_down(peer))).collect()
}
