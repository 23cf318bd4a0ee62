//! The memberships at each turn, and what is told of them.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use super::super::clock;
use super::super::keyring::prints;
use super::super::keys::fingerprint;
use super::super::liveness::Missed;
use super::super::memberships::Sight;
use super::super::wanted::INGRESS_TABLE;
use super::flows::Flows;
use super::waiting::End;
use super::{Datapath, Inputs};
use crate::model::{Generation, History, Holdings, KeyPrints, Loaded, Mark, Roll, Snapshot};

impl Datapath {
    /// Brings the memberships to this moment.
    pub(super) fn step(&mut self, snapshot: &Snapshot, inputs: &mut Inputs, held: Option<&Holdings>) {
        let now = clock::now();
        let is_judged = *inputs.judged.borrow_and_update();
        self.keeps_rows = self.keeps_rows.filter(|&until| !is_judged && now < until);
        let down = inputs.down.borrow_and_update().clone();
        let heard = inputs.heard.borrow_and_update().clone();
        let held = self.flows.counted(held);
        let sight = Sight {
            node: &self.local.node,
            drains: inputs.draining.borrow_and_update().is_some(),
            alone: *inputs.alone.borrow_and_update(),
            missed: self.waiting.is_on(),
            down: &down,
            heard: &heard,
            needed: held.map(|held| &held.former),
            roll: self.roll,
        };
        self.memberships.observe(&snapshot.generations, sight, now);
        let former = self.other_key(Roll::Goes);
        self.flows = Flows::of(&mut self.memberships, former);
        self.memberships.news().iter().for_each(|words| info!("{words}"));
    }

    pub(super) fn loaded(&mut self, snapshot: &Snapshot, held: Option<&Holdings>) -> Loaded {
        let is_there = self.installed.tables.contains_key(&INGRESS_TABLE);
        let rows = is_there.then(|| self.memberships.agreed_rows().digest);
        self.mark = acknowledged(&snapshot.generations, prints(&self.local.keys)).unwrap_or(self.mark);
        let learned = self.other_key(Roll::Comes).into_iter().chain(self.memberships.learned_print());
        let loaded = self.flows.loaded(snapshot.generation, self.mark, rows, held, learned);
        let (was_away, stood_in) = (self.memberships.was_away(&self.local.node), self.memberships.stood_in());
        let inner_mtu = self.ways.inner_mtu();
        Loaded { was_away, stood_in: stood_in as u64, inner_mtu, ..loaded }
    }

    /// The other key, if that is what it is there for.
    fn other_key(&self, roll: Roll) -> Option<u32> {
        self.local.keys.other.as_ref().filter(|_| self.roll == Some(roll)).map(fingerprint)
    }

    /// After a turn, the rows of which are in the kernel or are not: has this node open flows again.
    pub(super) fn open_again(&mut self, leads: bool, missed: &Missed) {
        match self.waiting.end(leads, missed, clock::now()) {
            None => {}
            Some((End::Led, waited)) => {
                info!(?waited, "this node opens flows again: its rows lead to what others opened meanwhile");
            }
            Some((End::Late, waited)) => warn!(
                ?waited,
                "this node opens flows again, though its rows do not lead to what others opened meanwhile"
            ),
        }
    }

    pub(super) fn tell(&self, history: &watch::Sender<History>) {
        let now = self.memberships.history();
        let before = history.send_replace(now.clone());
        if now.all_drain() && !before.all_drain() {
            warn!("all members drain: new flows go on opening at each of them, as there is no other");
        }
        match now.queued {
            Some(words) if before.queued.is_none() => info!("{words}"),
            _ => {}
        }
    }
}

/// What is acknowledged of a history: no key that this node does not go by yet, and nothing while flows open by another
/// one than in the newest generation.
fn acknowledged(generations: &[Arc<Generation>], keys: KeyPrints) -> Option<Mark> {
    let followed = keys.follow(generations, None);
    let is_followed = followed.keys.in_force == keys.in_force && followed.lacks.is_none();
    is_followed.then(|| Mark::of(&followed.known))
}
