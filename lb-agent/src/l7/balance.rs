//! Which endpoint is the lighter one: by how soon it answered lately, and by the requests that it has to answer.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// An average without new answers falls to a third in this time, so that a slow endpoint is asked again.
const DECAY: Duration = Duration::from_secs(10);

/// A failure counts as an answer that took so long, for most fail sooner than any answer comes.
const FAILURE: Duration = Duration::from_secs(1);

/// Below this, differences are those of our own scheduling.
const GRAIN: f32 = 0.000_5;

/// How much heavier an endpoint has to be before it is not a coin that decides.
const MARGIN: f32 = 1.5;

/// The time in which an endpoint that is new, or back, comes to its full share.
const SLOW_START: Duration = Duration::from_secs(10);

/// Its share at first.
const FIRST_SHARE: f32 = 0.1;

/// What a worker knows of an endpoint's load.
pub(super) struct Load {
    /// Seconds to the head of a response: rises at once, falls with time. None until there was one.
    average: Cell<Option<f32>>,
    /// When the average was that.
    at: Cell<Instant>,
    under_way: Cell<u32>,
    /// Open there for as long as clients like.
    tunnels: Cell<u32>,
    /// When it joined others, or came back to them; none if there was nobody who could have done its work meanwhile.
    joined: Cell<Option<Instant>>,
}

impl Load {
    /// Of an endpoint that is new, alone or beside others that are known.
    pub(super) fn new(now: Instant, joins: bool) -> Self {
        let (average, under_way, joined) = (Cell::new(None), Cell::new(0), Cell::new(joins.then_some(now)));
        Self { average, at: Cell::new(now), under_way, tunnels: Cell::new(0), joined }
    }

    /// It was set aside and is back: others have done its work meanwhile, and it may have begun anew.
    pub(super) fn rejoin(&self, now: Instant) {
        self.joined.set(Some(now));
    }

    /// A request goes to it.
    pub(super) fn begin(&self) {
        self.under_way.set(self.under_way.get() + 1);
    }

    /// Requests that it has to answer, and tunnels that are open there.
    pub(super) fn under_way(&self) -> u32 {
        self.under_way.get().saturating_add(self.tunnels.get())
    }

    /// A request has become a tunnel, which says nothing of how soon the next one is answered.
    pub(super) fn begin_tunnel(&self) {
        self.end();
        self.tunnels.set(self.tunnels.get() + 1);
    }

    /// A tunnel is closed.
    pub(super) fn end_tunnel(&self) {
        self.tunnels.set(self.tunnels.get().saturating_sub(1));
    }

    /// It has nothing more to do with that request.
    pub(super) fn end(&self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }

    /// It began to answer after this time.
    pub(super) fn answered(&self, now: Instant, took: Duration) {
        let took = took.as_secs_f32();
        let average = match self.average.get() {
            Some(average) if average > took => {
                let kept = self.kept(now);
                average * kept + took * (1.0 - kept)
            }
            _ => took,
        };
        self.average.set(Some(average));
        self.at.set(now);
    }

    /// It did not answer, or not with a response.
    pub(super) fn failed(&self, now: Instant, took: Duration) {
        self.answered(now, took.max(FAILURE));
    }

    /// An answer was not waited for any longer: it would have taken more than this.
    pub(super) fn given_up(&self, now: Instant, took: Duration) {
        let is_longer = |average: f32| average * self.kept(now) < took.as_secs_f32();
        if self.average.get().is_none_or(is_longer) {
            self.answered(now, took);
        }
    }

    /// Whether it is the better one of two.
    pub(super) fn is_better_than(&self, other: &Self, now: Instant) -> bool {
        self.precedes(other, now).unwrap_or_else(|| {
            let (own, others) = (self.cost(now), other.cost(now));
            if own.max(others) <= own.min(others) * MARGIN { fastrand::bool() } else { own < others }
        })
    }

    /// The same by their requests under way and tunnels alone.
    pub(super) fn is_less_busy_than(&self, other: &Self, now: Instant) -> bool {
        self.precedes(other, now).unwrap_or_else(|| match (self.under_way(), other.under_way()) {
            (own, others) if own == others => fastrand::bool(),
            (own, others) => own < others,
        })
    }

    /// Whether one of two goes before the other one because that has just joined; none where both have, or none.
    pub(super) fn precedes(&self, other: &Self, now: Instant) -> Option<bool> {
        match (self.holds_back(now), other.holds_back(now)) {
            (false, true) => Some(true),
            (true, false) => Some(false),
            _ => None,
        }
    }

    /// What another request would wait for, in seconds. Who has not answered yet is asked once, and is the last choice
    /// until he has.
    fn cost(&self, now: Instant) -> f32 {
        let under_way = self.under_way.get() as f32;
        match self.average.get() {
            Some(average) => (average * self.kept(now) + GRAIN) * (under_way + 1.0),
            None => FAILURE.as_secs_f32() * under_way,
        }
    }

    /// How much of the average is left by now.
    fn kept(&self, now: Instant) -> f32 {
        let age = now.saturating_duration_since(self.at.get());
        (-age.as_secs_f32() / DECAY.as_secs_f32()).exp()
    }

    /// Whether an endpoint that has just joined leaves this one to another: caches are cold, code is not compiled.
    fn holds_back(&self, now: Instant) -> bool {
        let Some(joined) = self.joined.get() else { return false };
        let age = now.saturating_duration_since(joined);
        age < SLOW_START && fastrand::f32() > (age.as_secs_f32() / SLOW_START.as_secs_f32()).max(FIRST_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that takes so many milliseconds.
    fn load(now: Instant, milliseconds: u64) -> Load {
        let load = Load::new(now, false);
        load.answered(now, Duration::from_millis(milliseconds));
        load
    }

    /// How many of 1,000 requests the first of two gets.
    fn share(one: &Load, other: &Load, now: Instant) -> usize {
        (0..1000).filter(|_| one.is_better_than(other, now)).count()
    }

    #[test]
    fn the_slower_and_the_busier_one_is_left_alone() {
        let now = Instant::now();
        assert_eq!(share(&load(now, 5), &load(now, 50), now), 1000);
        let (busy, idle) = (load(now, 5), load(now, 5));
        assert!((350..650).contains(&share(&busy, &idle, now)), "equals share");
        busy.begin();
        assert_eq!(share(&busy, &idle, now), 0);
        busy.end();
        busy.failed(now, Duration::ZERO);
        assert_eq!(share(&busy, &idle, now), 0, "a failure is no quick answer");
    }

    #[test]
    fn tunnels_are_work_under_way_and_no_reason_to_expect_a_later_answer() {
        let now = Instant::now();
        let (one, other) = (load(now, 5), load(now, 5));
        for _ in 0..10 {
            one.begin();
            one.begin_tunnel();
        }
        assert_eq!((one.under_way(), other.under_way()), (10, 0));
        assert!(!one.is_less_busy_than(&other, now) && other.is_less_busy_than(&one, now));
        assert!((350..650).contains(&share(&one, &other, now)), "as soon as the other");
        (0..10).for_each(|_| one.end_tunnel());
        assert_eq!(one.under_way(), 0);
    }

    #[test]
    fn who_was_given_up_was_no_quicker_than_that() {
        let now = Instant::now();
        let (one, other) = (load(now, 20), load(now, 10));
        one.given_up(now, Duration::from_millis(1));
        assert_eq!(share(&one, &other, now), 0, "it tells nothing new");
        other.given_up(now, Duration::from_millis(500));
        assert_eq!(share(&one, &other, now), 1000);
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_in_time() {
        let now = Instant::now();
        let (one, other) = (load(now, 5), load(now, 20));
        one.answered(now, Duration::from_secs(1));
        one.answered(now, Duration::from_millis(5));
        assert_eq!(share(&one, &other, now), 0);
        let later = now + Duration::from_secs(60);
        other.answered(later, Duration::from_millis(20));
        assert_eq!(share(&one, &other, later), 1000);
    }

    #[test]
    fn a_new_one_is_asked_once_and_then_ever_more() {
        let start = Instant::now();
        let (new, old) = (Load::new(start, true), load(start, 5));
        assert!((30..250).contains(&share(&new, &old, start)), "a tenth at first");
        let later = start + SLOW_START / 2;
        new.begin();
        old.answered(later, Duration::from_millis(5));
        assert_eq!(share(&new, &old, later), 0, "it has not answered yet");
        new.end();
        new.answered(later, Duration::from_millis(5));
        assert!((130..400).contains(&share(&new, &old, later)), "half of a half");
        let end = start + SLOW_START;
        assert!((350..650).contains(&share(&new, &old, end)), "an equal share");
    }

    #[test]
    fn a_new_one_without_requests_does_not_get_all() {
        let start = Instant::now();
        let (new, old) = (Load::new(start, true), load(start, 5));
        old.begin();
        let share = |now| (0..1000).filter(|_| new.is_less_busy_than(&old, now)).count();
        assert!((30..250).contains(&share(start)), "a tenth at first");
        assert!((350..650).contains(&share(start + SLOW_START / 2)), "a half");
        assert_eq!(share(start + SLOW_START), 1000, "it is the one with less to do");
    }

    #[test]
    fn one_that_is_back_begins_as_a_new_one() {
        let start = Instant::now();
        let (back, other) = (load(start, 5), load(start, 5));
        assert!((350..650).contains(&share(&back, &other, start)), "equals share");
        back.rejoin(start);
        assert!((10..150).contains(&share(&back, &other, start)), "half of a tenth at first");
        assert!((350..650).contains(&share(&back, &other, start + SLOW_START)), "an equal share");
    }
}
