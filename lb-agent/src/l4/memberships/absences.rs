//! Members that were down and are back: the flows that opened at others meanwhile are looked for there still.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;

use super::super::rows::fingerprint;
use super::former::{Former, Needs};
use crate::model::{Generation, Step};

/// Absences that are kept: a row has room for no more.
const MOST_KEPT: usize = 2;

/// One that lasts is kept anew this often: each time it is written to the node's file.
const ANEW: Duration = Duration::from_secs(1);

/// The memberships as they were in force without some members.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Absences {
    /// Who is down, or was when the agent before ended.
    pub(super) down: BTreeSet<MemberId>,
    /// The oldest first.
    pub(super) over: Vec<Former>,
}

impl Absences {
    /// Takes note of who is down now. `in_force` is what is in force when nobody is.
    pub(super) fn observe(&mut self, in_force: &Generation, down: &BTreeSet<MemberId>, now: Duration) {
        let before = std::mem::replace(&mut self.down, down.clone());
        let mut others = in_force.clone();
        others.members.retain(|_, member| !before.contains(&member.id));
        let is_back = in_force.members.values().any(|m| before.contains(&m.id) && !down.contains(&m.id));
        if is_back {
            self.keep(others, now);
        }
    }

    /// Others take this node for down, or may without its hearing it: what they opened meanwhile is elsewhere.
    pub(super) fn was_away(&mut self, in_force: &Generation, this: MemberId, now: Duration) {
        let mut others = in_force.clone();
        others.members.retain(|_, member| member.id != this && !self.down.contains(&member.id));
        if others.members.len() < in_force.members.len() {
            self.keep(others, now);
        }
    }

    fn keep(&mut self, mut others: Generation, now: Duration) {
        // When all were down, it was as if none were.
        if others.members.is_empty() {
            return;
        }
        others.step = Step::Settled;
        let known = fingerprint(&others.members);
        let is_new =
            |former: &Former| now < former.since + ANEW && fingerprint(&former.generation.members) == known;
        if self.over.last().is_some_and(is_new) {
            return;
        }
        self.over.retain(|former| fingerprint(&former.generation.members) != known);
        self.over.push(Former::new(Arc::new(others), now));
        let too_many = self.over.len().saturating_sub(MOST_KEPT);
        self.over.drain(..too_many);
    }

    /// What time, and what nodes say they need, change. Whether they did.
    pub(super) fn advance(&mut self, needs: Needs<'_>, now: Duration) -> bool {
        let before = self.over.len();
        self.over.retain_mut(|former| !former.is_over(needs, now));
        self.over.len() != before
    }

    /// When time alone changes something.
    pub(super) fn due(&self, deadline: Duration, now: Duration) -> Option<Duration> {
        self.over.iter().filter_map(|former| former.due(deadline, now)).min()
    }

    /// How many rows have to have room for beside `known` memberships: one that opens as one of those does takes none.
    pub(super) fn beside(&self, known: &[Arc<Generation>]) -> usize {
        let known: BTreeSet<_> = known.iter().map(|generation| fingerprint(&generation.members)).collect();
        let is_other = |former: &&Former| !known.contains(&fingerprint(&former.generation.members));
        self.over.iter().filter(is_other).count()
    }

    /// Who still holds flows of them, in words.
    pub(super) fn words(&self, needs: Needs<'_>) -> impl Iterator<Item = String> {
        self.over.iter().filter_map(move |former| former.words(needs))
    }

    /// What was in force meanwhile, the oldest first.
    pub(super) fn generations(&self) -> impl Iterator<Item = Arc<Generation>> {
        self.over.iter().map(|former| Arc::clone(&former.generation))
    }
}
