//! Which flow keys a node goes by: those that its agent before went by, and what a history or the other members make of
//! them when another one is given. Nothing changes before all nodes know that one.

mod given;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use lb_common::row::MemberId;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

pub(super) use self::given::Given;
use super::Snapshots;
use crate::l4::keyring::Keyring;
use crate::l4::keys::Keys;
use crate::l4::roll_over::{RollOver, Sight, Stepped};
use crate::l4::{KeptKey, clock};
use crate::model::{
    DOUBTED, FlowKeys, Heard, History, KeyPrints, Loaded, Peer, PeerState, Peers, Roll, Turn,
};

/// Where people see for whom a key waits.
const SEE: &str =
    "until all nodes were given it (`kubectl get edgememberships -o wide` names those that were not)";

/// How often it looks at the others and at a file: whoever changes it sees soon what becomes of it.
const LOOK: Duration = Duration::from_millis(500);

/// Who has gone by a history for so long knows it from the API server.
const FOLLOWED: Duration = Duration::from_secs(10);

/// Who is down for so long holds no flows any more.
const GONE: Duration = Duration::from_secs(30);

/// A node's keys, on their way.
pub(super) struct Ring {
    pub(super) given: Given,
    pub(super) kept: KeptKey,
    pub(super) snapshots: Snapshots,
    /// Whether this agent has the packet path.
    pub(super) turn: watch::Receiver<Turn>,
    /// What is told of them.
    pub(super) told: watch::Sender<FlowKeys>,
    pub(super) others: Others,
    pub(super) rolls: RollOver,
}

/// What is known of the other members, and of this node's flows, where nobody writes a history for all.
pub(super) struct Others {
    pub(super) node: String,
    pub(super) history: watch::Receiver<History>,
    pub(super) heard: watch::Receiver<BTreeMap<MemberId, Heard>>,
    pub(super) peers: watch::Receiver<Peers>,
    pub(super) loaded: watch::Receiver<Loaded>,
    pub(super) deadline: Duration,
}

/// What is said of the keys.
#[derive(Default)]
struct Step {
    lacks: Option<u32>,
    /// Whether a history names all keys, and the node knows them.
    follows: bool,
    is_doubted: bool,
    roll: Option<Roll>,
    waits: Option<String>,
}

impl Ring {
    /// The keys to begin with: those of the agent before, if there was one, else the first that is given.
    pub(super) async fn first(&mut self) -> anyhow::Result<Keys> {
        match self.kept.find() {
            Some(kept) => {
                self.given.expect()?;
                Ok(kept)
            }
            None => self.given.first().await.map(Keys::only),
        }
    }

    /// Follows what is given and what becomes of it, for as long as it is polled.
    pub(super) async fn follow(
        mut self,
        keys: &watch::Sender<Keys>,
        roll: &watch::Sender<Option<Roll>>,
    ) -> Infallible {
        let mut ring = Keyring::new(*keys.borrow());
        let (mut is_new, mut doubt) = (true, Doubt::default());
        loop {
            if is_new {
                ring.give(self.given.now());
            }
            let step = self.step(&mut ring);
            let step = Step { is_doubted: doubt.about(&step, Instant::now()), ..step };
            let now = ring.keys();
            if *self.turn.borrow_and_update() == Turn::Holding {
                self.kept.keep(&now);
            }
            // What the other one is there for is said before it is there.
            roll.send_if_modified(|before| std::mem::replace(before, step.roll) != step.roll);
            keys.send_if_modified(|before| std::mem::replace(before, now) != now);
            self.tell(&ring, step);
            is_new = tokio::select! {
                () = self.given.changed() => true,
                Ok(()) = self.snapshots.changed() => false,
                Ok(()) = self.turn.changed() => false,
                () = sleep(LOOK) => self.given.is_looked_at(),
            };
        }
    }

    fn step(&mut self, ring: &mut Keyring) -> Step {
        let Some(snapshot) = self.snapshots.borrow_and_update().clone() else { return Step::default() };
        match snapshot.generations.as_slice() {
            [only] if only.number == 0 => self.step_with_others(ring),
            generations => {
                let lacks = ring.follow(generations);
                let coming = coming(ring);
                let waits = coming.filter(|_| coming != ring.prints().other && lacks.is_none());
                let names_all = generations.iter().all(|generation| generation.key.is_some());
                let follows = lacks.is_none() && names_all && !generations.is_empty();
                Step { lacks, follows, waits: waits.map(|_| SEE.to_owned()), ..Step::default() }
            }
        }
    }

    /// Without a history: by what the others say. Who has not got the packet path goes by the keys of who has.
    fn step_with_others(&mut self, ring: &mut Keyring) -> Step {
        if *self.turn.borrow() != Turn::Holding {
            if let Some(kept) = self.kept.find() {
                ring.go_by(kept);
            }
            return Step::default();
        }
        let stepped = self.others.step(&mut self.rolls, ring.prints(), ring.given());
        ring.take(stepped.keys);
        Step { roll: stepped.roll, waits: stepped.waits, ..Step::default() }
    }

    fn tell(&self, ring: &Keyring, step: Step) {
        let Step { lacks, is_doubted, waits, .. } = step;
        let (keys, source) = (Some(ring.prints()), self.given.source());
        let now = FlowKeys { keys, given: ring.given(), source, lacks, is_doubted, waits };
        let before = self.told.borrow().clone();
        if before == now {
            return;
        }
        let was = before.words();
        match now.words() {
            Some(words) if lacks.is_some() => warn!("{words}"),
            Some(words) => info!("{words}"),
            None if was.is_some() => info!(source = now.source, "its flow key is in force, alone"),
            None => {}
        }
        self.told.send_replace(now);
    }
}

/// Whether a key that the node lacks is to be believed in. Where it has gone by a history's keys for a while, the leader waits
/// for it before another one is in force. One that has just begun may go by what was stored before.
#[derive(Default)]
struct Doubt {
    followed_since: Option<Instant>,
    since: Option<Instant>,
}

impl Doubt {
    fn about(&mut self, step: &Step, now: Instant) -> bool {
        if step.lacks.is_none() {
            self.since = None;
            self.followed_since = step.follows.then(|| self.followed_since.unwrap_or(now));
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let has_followed = self.followed_since.is_some_and(|followed| since >= followed + FOLLOWED);
        has_followed && now.duration_since(since) < DOUBTED
    }
}

impl Others {
    fn step(&self, rolls: &mut RollOver, keys: KeyPrints, given: Option<u32>) -> Stepped {
        let history = self.history.borrow().clone();
        let peers = self.peers.borrow().clone();
        let others = history.members().filter(|member| member.name != self.node);
        let others = others.map(|member| (member.id, member.name.clone())).collect();
        let is_gone = |peer: &&Peer| peer.state == PeerState::Down && peer.since.elapsed() >= GONE;
        let gone = peers.all.iter().filter(is_gone).map(|peer| peer.id).collect();
        let needed = self.loaded.borrow().former;
        let sight = Sight {
            others: &others,
            heard: &self.heard.borrow(),
            gone: &gone,
            is_quiet: history.agreed.len() == 1 && history.absences.is_empty(),
            needs_other: keys.other.and_then(|other| Some(needed?.contains(&other))),
            deadline: self.deadline,
        };
        rolls.step(keys, given, sight, clock::now())
    }
}

/// The key that was given, if it is not in force.
fn coming(ring: &Keyring) -> Option<u32> {
    ring.given().filter(|&given| given != ring.prints().in_force)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nobody_was_told_of_is_believed_in_after_a_while() {
        let begin = Instant::now();
        let (lacks, follows) =
            (Step { lacks: Some(7), ..Step::default() }, Step { follows: true, ..Step::default() });
        for before in [&[Step::default()][..], &[Step { follows: true, ..Step::default() }]] {
            let mut doubt = Doubt::default();
            before.iter().for_each(|step| _ = doubt.about(step, begin));
            assert!(!doubt.about(&lacks, begin + FOLLOWED / 2), "it has just begun: the others are right");
        }
        let mut doubt = Doubt::default();
        assert!(!doubt.about(&follows, begin));
        let at = begin + FOLLOWED;
        assert!(!doubt.about(&follows, at));
        assert!(doubt.about(&lacks, at));
        assert!(doubt.about(&lacks, at + DOUBTED / 2));
        assert!(!doubt.about(&lacks, at + DOUBTED), "they go by it");
        assert!(!doubt.about(&follows, at + DOUBTED));
        assert!(doubt.about(&lacks, at + 2 * DOUBTED), "anew");
    }
}
