//! Whether a peer is up: by its answers alone, pure, on a clock that the caller brings.
//!
//! ```text
//!              answers               silent 300 ms
//!   unheard ------------> up --------------------------> down
//!      |                   ^                              ^ |
//!      |                   +-- answers all asks for 1 s --|-+
//!      +------- silent 2 s -------------------------------+
//! ```
//! One that was up when the agent before this one asked it has no 2 s, but 300 ms; one that was down then is down.
//! Who flaps has to answer longer each time: twice as long, up to 30 s; each quiet minute takes one flap back. Time
//! in which this node itself did not run is not the peer's silence.
//!
//! This verdict is an overlay over the rows that all nodes agree on, for the moment between a member's silence and the
//! history's word on it. Where a history is kept, its leader takes a member that stays silent out by a new
//! generation, and lets it in by another one: then rows still lead to where flows opened meanwhile. A peer that
//! comes back before the leader has noticed takes its buckets' new flows again as soon as it is up here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::PeerState;

/// A peer that was up is down after this long without an answer.
const SILENCE: Duration = Duration::from_millis(300);

/// One that was never heard: it may have just joined.
const PATIENCE: Duration = Duration::from_secs(2);

/// Silence is what comes after so many asks.
const ASKS: usize = 2;

/// An ask that is older than this is lost.
const LOST: Duration = Duration::from_secs(1);

/// Who was down is up after answering this long without loss, at first and at most.
const HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// One flap is forgotten after this long up.
const CALM: Duration = Duration::from_secs(60);

/// What is known of a peer by its answers.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    state: PeerState,
    since: Instant,
    /// What an unheard one has to answer.
    patience: Duration,
    /// When it answered last, or began to be asked; later by what was not its fault.
    quiet_since: Instant,
    answered: Option<Instant>,
    /// Asks without an answer, the oldest first.
    open: VecDeque<(u64, Instant)>,
    /// Since when it answers every ask.
    faultless_since: Option<Instant>,
    /// Flaps that count, and since when none came or was forgotten.
    recent: (u32, Instant),
    pub(super) round_trip: Option<Duration>,
    pub(super) asked: u64,
    pub(super) lost: u64,
    pub(super) flaps: u64,
}

impl Verdict {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: PeerState::Unheard,
            since: now,
            patience: PATIENCE,
            quiet_since: now,
            answered: None,
            open: VecDeque::new(),
            faultless_since: None,
            recent: (0, now),
            round_trip: None,
            asked: 0,
            lost: 0,
            flaps: 0,
        }
    }

    /// Of one that the agent before this one knew a moment ago. If it was up, its silence is not that of one that has just
    /// joined; if it was down, it is down until it answers.
    pub(super) fn after(before: Option<PeerState>, now: Instant) -> Self {
        let new = Self::new(now);
        match before {
            Some(PeerState::Up) => Self { patience: SILENCE, ..new },
            Some(PeerState::Down) => Self { state: PeerState::Down, ..new },
            Some(PeerState::Unheard) | None => new,
        }
    }

    /// The state, and since when.
    pub(super) fn state(&self) -> (PeerState, Instant) {
        (self.state, self.since)
    }

    /// When it answered last.
    pub(super) fn answered_at(&self) -> Option<Instant> {
        self.answered
    }

    /// It was asked. Sequences rise.
    pub(super) fn asked(&mut self, sequence: u64, now: Instant) {
        self.open.push_back((sequence, now));
        self.asked += 1;
    }

    /// It answered. False if it was not asked this, or has answered already.
    pub(super) fn answered(&mut self, sequence: u64, now: Instant) -> bool {
        let Some(place) = self.open.iter().position(|(open, _)| *open == sequence) else { return false };
        let sent = self.open[place].1;
        self.open.drain(..=place);
        self.lost += place as u64;
        if place > 0 || self.faultless_since.is_none() {
            self.faultless_since = Some(now);
        }
        self.round_trip = Some(now.saturating_duration_since(sent));
        self.answered = Some(now);
        self.quiet_since = now;
        if self.state == PeerState::Unheard {
            self.turn(PeerState::Up, now);
        }
        true
    }

    /// This node did not run for so long.
    pub(super) fn excuse(&mut self, absence: Duration) {
        self.quiet_since += absence;
    }

    /// Time has passed.
    pub(super) fn look(&mut self, now: Instant) {
        while self.open.front().is_some_and(|(_, sent)| now.saturating_duration_since(*sent) > LOST) {
            self.open.pop_front();
            self.lost += 1;
            self.faultless_since = None;
        }
        if self.is_silent(now) {
            self.faultless_since = None;
            if self.state == PeerState::Up {
                self.flaps += 1;
                self.recent = (self.recent.0 + 1, now);
            }
            self.turn(PeerState::Down, now);
        }
        // One ask may be on its way.
        let is_faultless = self.open.len() <= 1;
        let is_back =
            self.faultless_since.is_some_and(|since| now.saturating_duration_since(since) >= self.hold());
        if self.state == PeerState::Down && is_back && is_faultless {
            self.turn(PeerState::Up, now);
        }
        self.forget(now);
    }

    fn is_silent(&self, now: Instant) -> bool {
        let patience = if self.state == PeerState::Unheard { self.patience } else { SILENCE };
        now.saturating_duration_since(self.quiet_since) >= patience && self.open.len() >= ASKS
    }

    /// How long it has to answer before it is up again.
    fn hold(&self) -> Duration {
        let doublings = self.recent.0.saturating_sub(1).min(16);
        (HOLD.0 * 2_u32.pow(doublings)).min(HOLD.1)
    }

    fn forget(&mut self, now: Instant) {
        let (flaps, since) = self.recent;
        let quiet = now.saturating_duration_since(since.max(self.since));
        if self.state == PeerState::Up && flaps > 0 && quiet >= CALM {
            self.recent = (flaps - 1, now);
        }
    }

    fn turn(&mut self, state: PeerState, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests;
