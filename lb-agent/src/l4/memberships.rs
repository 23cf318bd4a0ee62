//! The memberships that may own flows, as this node knows them, and the rows that they give. Those of a history are
//! taken as they are told; without one, this node keeps its own. Pure, but for what it keeps.

mod absences;
mod former;
mod made;
mod news;
mod own_history;
mod saved;
mod sight;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;

use self::absences::Absences;
use self::former::Needs;
use self::made::Made;
use self::news::Known;
use self::own_history::{MOST_FORMER, OwnHistory};
use self::saved::Kept;
pub(crate) use self::sight::Sight;
use self::sight::{away, weighed};
use super::maglev::Table;
use super::rows::{Column, Openers, fingerprint};
use crate::model::{Generation, Heard, History, Member, Roll, Step};

/// Who is down for so long holds no flows any more: one that was only stalled may come back with all of them.
const GONE: Duration = Duration::from_secs(30);

/// What a change waits for when nobody's flows hold it up any more.
const ROOM_SOON: &str = "rows have room for it in some seconds";

/// What is in force on this node. `now` is always of a clock that never goes back.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    /// As told by a history that all nodes share, or kept here.
    agreed: Vec<Arc<Generation>>,
    own: Option<OwnHistory>,
    absences: Absences,
    /// Where this node keeps both, and as what.
    file: Option<PathBuf>,
    kept: Kept,
    /// When others, which are down, fell silent.
    silent: BTreeMap<MemberId, Duration>,
    down: BTreeSet<MemberId>,
    needs: BTreeMap<MemberId, BTreeSet<u32>>,
    /// Who has learned the change that comes next.
    knowing: Option<BTreeSet<MemberId>>,
    queued: Option<String>,
    /// This node, if it is to be a member by a change that has to wait here: others may have learned it, and ask it.
    joins: Option<Member>,
    /// What changed, in words, until somebody takes it.
    news: Vec<String>,
    /// Whether changes wait for flows.
    waits: bool,
    roll: Option<Roll>,
    /// So long flows may hold up a change.
    deadline: Duration,
    openers: Openers,
    agreed_rows: Made,
    rows: Made,
    stand_in: Made,
}

/// A membership as flows need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    /// Its number in the history.
    pub(crate) number: u64,
    /// The same on all nodes, whoever gave the number.
    pub(crate) fingerprint: u32,
    /// The fingerprint of its flow key; `None` for the one in force here.
    pub(crate) key: Option<u32>,
    /// Who opens in it.
    pub(crate) openers: Column,
}

impl Opened {
    /// What tells it apart, by its key, too.
    pub(crate) fn print(&self) -> u32 {
        self.fingerprint ^ self.key.unwrap_or(0)
    }
}

impl Memberships {
    /// What an agent of this node before kept in `file`, if it kept anything.
    pub(crate) fn restore(file: Option<PathBuf>, deadline: Duration, now: Duration) -> Self {
        let kept = file.as_deref().map(|file| saved::read(file, now)).unwrap_or_default();
        let Kept { own, absences } = kept.clone();
        Self { own, absences, kept, file, deadline, ..Self::default() }
    }

    /// Brings them to this moment: to a snapshot's generations, to what members say, and to the time. Whether another
    /// step was taken.
    pub(crate) fn observe(&mut self, told: &[Arc<Generation>], sight: Sight<'_>, now: Duration) -> bool {
        let (before, known) = (self.generations(), self.known());
        match told {
            [only] if only.number == 0 => self.observe_own(&only.members, sight, now),
            _ => {
                self.own = None;
                self.agreed = told.to_vec();
            }
        }
        self.down.clone_from(sight.down);
        self.silent.retain(|id, _| sight.down.contains(id));
        sight.down.iter().for_each(|&id| _ = self.silent.entry(id).or_insert(now));
        if let Some(in_force) = in_force(&self.agreed) {
            self.absences.observe(in_force, sight.down, now);
            for (member, here) in away(in_force, sight) {
                self.absences.was_away(in_force, member, now, here);
            }
        }
        self.hear(sight, now);
        self.advance(now);
        let waiting = self.own.as_ref().and_then(|own| own.waiting.as_ref());
        self.joins = waiting.and_then(|members| members.get(sight.node)).cloned();
        self.save();
        let is_stepped = !before.is_empty() && self.generations() != before;
        if is_stepped {
            self.news.extend(news::news(&known, &self.known()));
        }
        is_stepped
    }

    /// What changed since somebody asked last, in words.
    pub(crate) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    fn known(&self) -> Known {
        Known { agreed: self.agreed.clone(), absences: self.absences.generations().collect() }
    }

    fn observe_own(&mut self, members: &BTreeMap<String, Member>, sight: Sight<'_>, now: Duration) {
        let is_new = self.own.is_none();
        let own = self.own.get_or_insert_default();
        let before = own.generations();
        let members = weighed(members, before.last().map(Arc::as_ref), sight);
        // To wait where nobody says what flows need would be to fall behind: not all earlier agents tell one that is no member.
        let is_member = before.iter().any(|generation| generation.members.contains_key(sight.node));
        self.waits = is_member || !sight.heard.is_empty();
        self.roll = sight.roll;
        own.observe(&members, self.waits.then(|| beside(&self.absences, &before, self.roll)), now);
        self.agreed = own.generations();
        // Nothing is known of before: it may have just joined, or been away.
        if let (true, Some(newest)) = (is_new, self.agreed.last())
            && let Some(this) = newest.members.get(sight.node)
        {
            self.absences.was_away(newest, this.id, now, false);
        }
    }

    /// Takes note of what flows need. Who opens by another membership than this node says so: then that one is needed.
    fn hear(&mut self, sight: Sight<'_>, now: Duration) {
        let said = sight.heard.iter().filter_map(|(&id, heard)| {
            let needed = heard.needed?.into_iter().chain([heard.in_force]);
            Some((id, needed.filter(|&fingerprint| fingerprint != 0).collect()))
        });
        self.needs = said.collect();
        let this = self.members().get(sight.node).map(|member| member.id);
        self.needs.extend(this.zip(sight.needed.cloned()));
        let Some(own) = &mut self.own else { return };
        // Who heard of two changes at once never learns the first one alone: so nobody opens by that.
        let is_given_up = own.learned().zip(own.instead()).is_some_and(|(learned, instead)| {
            let is_other = |heard: &Heard| knows(heard, &instead) && !knows(heard, learned);
            sight.heard.iter().any(|(id, heard)| is_other(heard) && !sight.down.contains(id))
        });
        if is_given_up {
            own.learn_instead(now);
            self.agreed = own.generations();
        }
        self.knowing = own.learned().map(|learned| {
            let knowing = sight.heard.iter().filter(|(_, heard)| knows(heard, learned));
            knowing.map(|(&id, _)| id).chain(this).collect()
        });
    }

    /// How this node tells others that it has learned what comes next; with a history for all, the leader is told otherwise.
    pub(crate) fn learned_print(&self) -> Option<u32> {
        self.own.as_ref().and_then(OwnHistory::learned).map(learned_print)
    }

    /// What time, and what nodes say they need, change.
    fn advance(&mut self, now: Duration) {
        let is_gone = |(&id, &since): (&MemberId, &Duration)| (now >= since + GONE).then_some(id);
        let gone: BTreeSet<_> = self.silent.iter().filter_map(is_gone).collect();
        let knowing = self.knowing.as_ref();
        let needs = Needs { of: &self.needs, gone: &gone, knowing, deadline: self.deadline };
        self.absences.advance(needs, now);
        let Some(own) = &mut self.own else { return };
        let room = self.waits.then(|| beside(&self.absences, &own.generations(), self.roll));
        own.advance(needs, room, now);
        self.agreed = own.generations();
        self.queued = own.queued(needs).map(|(change, former)| {
            let key = self.roll.map(|_| "a flow key takes the place of another".to_owned());
            let all: Vec<_> = former.into_iter().chain(self.absences.words(needs)).chain(key).collect();
            let why = if all.is_empty() { ROOM_SOON.to_owned() } else { all.join(" and ") };
            format!("{change}: {why}")
        });
    }

    /// When time alone changes something.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        let own = self.own.as_ref().and_then(|own| own.due(self.deadline, now));
        let gone = self.silent.values().map(|&since| since + GONE).filter(|&at| at > now);
        own.into_iter().chain(self.absences.due(self.deadline, now)).chain(gone).min()
    }

    /// As others of the agent see them.
    pub(crate) fn history(&self) -> History {
        History {
            agreed: self.agreed.clone(),
            absences: self.absences.generations().collect(),
            queued: self.queued.clone(),
            joins: self.joins.clone(),
        }
    }

    /// All members of any of them, and this node if it joins; where they disagree, the newest is right.
    pub(crate) fn members(&self) -> BTreeMap<String, Member> {
        let (mut members, mut ids) = (BTreeMap::new(), BTreeSet::new());
        let generations = self.generations();
        let present = generations.iter().rev().flat_map(|generation| generation.present());
        for member in present.chain(&self.joins) {
            if !members.contains_key(&member.name) && ids.insert(member.id) {
                members.insert(member.name.clone(), member.clone());
            }
        }
        members
    }

    /// How far those are that all nodes agree on, the oldest first.
    pub(crate) fn steps(&self) -> Vec<(u64, Step)> {
        self.agreed.iter().map(|generation| (generation.number, generation.step)).collect()
    }

    /// The newest membership, in force or not.
    pub(crate) fn newest(&self) -> Option<&Generation> {
        self.agreed.last().map(Arc::as_ref)
    }

    /// Who is down, as this node sees it.
    pub(crate) fn down(&self) -> &BTreeSet<MemberId> {
        &self.down
    }

    /// Whether flows of this `node` may live elsewhere still, because it was away.
    pub(crate) fn was_away(&self, node: &str) -> bool {
        let in_force = in_force(&self.agreed);
        in_force.is_some_and(|it| it.members.contains_key(node)) && self.absences.is_of(node)
    }

    /// How many members a row may have to name beside those of what is agreed on: they opened flows for one that was away.
    pub(crate) fn stood_in(&self) -> usize {
        self.absences.beside(&self.agreed)
    }

    /// The rows that all nodes agree on, whoever is down.
    pub(crate) fn agreed_rows(&mut self) -> Arc<Table> {
        self.agreed_rows.make(self.agreed.clone(), BTreeSet::new(), &mut self.openers)
    }

    /// The rows in force here, and those while `this` node has no agent.
    pub(crate) fn tables(&mut self, this: Option<MemberId>) -> [Arc<Table>; 2] {
        let generations = self.generations();
        let is_made = self.stand_in.is_of(&generations, &this.into_iter().collect());
        // Otherwise it depends on what those are whose agents are silent.
        if !is_made && self.down.is_empty() {
            self.openers.fill_ahead(&generations, this);
        }
        [self.rows(), self.stand_in(this)]
    }

    /// The rows in force here: those of members that are down go on elsewhere.
    pub(crate) fn rows(&mut self) -> Arc<Table> {
        let generations = self.generations();
        if self.down.is_empty() && generations == self.agreed {
            return self.agreed_rows();
        }
        self.rows.make(generations, self.down.clone(), &mut self.openers)
    }

    /// The same while `this` node has no agent: who is without one opens nothing, unless there is nobody else.
    pub(crate) fn stand_in(&mut self, this: Option<MemberId>) -> Arc<Table> {
        let down: BTreeSet<_> = self.down.iter().copied().chain(this).collect();
        let is_up = |member: &Member| !down.contains(&member.id);
        if !in_force(&self.agreed).is_some_and(|in_force| in_force.present().any(is_up)) {
            return self.rows();
        }
        let generations = self.generations();
        self.stand_in.make(generations, down, &mut self.openers)
    }

    /// Those of which flows may be held, the newest first.
    pub(crate) fn opened(&mut self) -> Vec<Opened> {
        let generations = self.generations();
        let in_force = generations.iter().rev().filter(|generation| generation.step >= Step::Switch);
        let opened = in_force.map(|generation| Opened {
            number: generation.number,
            fingerprint: fingerprint(generation),
            key: generation.key,
            openers: self.openers.of(generation),
        });
        opened.collect()
    }

    /// With what was in force while members were down, the oldest first. Those come before all that nodes agree on: where a row
    /// has no place for all, it is what opened in a short time that is not found.
    fn generations(&self) -> Vec<Arc<Generation>> {
        self.absences.generations().chain(self.agreed.iter().map(Arc::clone)).collect()
    }

    /// So that the next agent goes on with it.
    fn save(&mut self) {
        let Some(file) = &self.file else { return };
        let now = Kept { own: self.own.clone(), absences: self.absences.clone() };
        if !now.is_alike(&self.kept) {
            saved::write(file, &now);
        }
        self.kept = now;
    }
}

/// How much of a row is taken beside those memberships: by members that were away, and by another flow key. The opener by
/// one that comes is one member more; by one that goes, each membership may have opened other flows.
fn beside(absences: &Absences, known: &[Arc<Generation>], roll: Option<Roll>) -> usize {
    let key = match roll {
        None => 0,
        Some(Roll::Comes) => 1,
        Some(Roll::Goes) => MOST_FORMER,
    };
    absences.beside(known) + key
}

/// Whether a member has learned a membership that comes, or opens by it.
fn knows(heard: &Heard, learned: &Generation) -> bool {
    let is_learned = || heard.needed.is_some_and(|needed| needed.contains(&learned_print(learned)));
    heard.in_force == fingerprint(learned) || is_learned()
}

/// By which a membership that is learned is told, among those that flows need: as a former one it may be needed, too.
fn learned_print(generation: &Generation) -> u32 {
    (!fingerprint(generation)).max(1)
}

/// The newest that opens flows.
fn in_force(generations: &[Arc<Generation>]) -> Option<&Generation> {
    generations.iter().rev().find(|generation| generation.step >= Step::Switch).map(Arc::as_ref)
}

#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_keys;
#[cfg(test)]
mod weight;
