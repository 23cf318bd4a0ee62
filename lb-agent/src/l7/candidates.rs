//! The endpoints of one target as a worker knows them, and which of them are asked for a request.

use std::cell::Cell;
use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Instant;
use std::vec;

use super::budget::Budget;
use super::checks::{Health, Watch};
use super::counted::Counted;
use super::pending::{Bounds, Queue};
use super::policy::{Hints, weight};
use super::sticky::{CookieKeys, Values};
use super::target::Target;
use super::upstream::Upstream;
use crate::model::{Ejection, Policy, Treatment};

/// At least one.
pub(super) struct Candidates {
    pub(super) upstreams: Box<[Rc<Upstream>]>,
    pub(super) budget: Budget,
    pub(super) bounds: Bounds,
    pub(super) queue: Rc<Queue>,
    pub(super) counted: Counted,
    pub(super) treatment: Treatment,
    /// What health checks say of them, in the same order.
    watch: Option<Watch>,
    /// What cookies say for them, where clients get some.
    pub(super) values: Option<Values>,
    /// Whose turn it is where they take turns.
    turn: Cell<usize>,
}

impl Candidates {
    /// Those of a target, in its order; each is told that it has a place here.
    pub(super) fn new(
        upstreams: Box<[Rc<Upstream>]>,
        target: &Target,
        bounds: Bounds,
        cookies: &CookieKeys,
    ) -> Self {
        let values = target.treatment.sticky.as_ref().map(|_| Values::new(cookies, &upstreams));
        upstreams.iter().for_each(|upstream| upstream.places.set(upstream.places.get() + 1));
        Self {
            upstreams,
            budget: Budget::default(),
            bounds: bounds.with(&target.treatment.limits),
            queue: Rc::default(),
            counted: target.counts.as_ref().into(),
            treatment: target.treatment.clone(),
            watch: target.group.clone().map(Watch::new),
            values,
            turn: Cell::new(fastrand::usize(..)),
        }
    }

    /// A second has passed.
    pub(super) fn pass(&self) {
        self.budget.pass();
        // A turn may have come to nothing, where an endpoint was out or had no room by another backend's word.
        if self.queue.count() > 0 {
            self.queue.wake_all();
        }
        // Who is back is seen in time, however rarely a request comes.
        (0..self.upstreams.len()).for_each(|place| _ = self.fails_checks(place));
    }

    /// No new request comes this way: each is told so, and who waits here.
    pub(super) fn leave(&self) {
        self.queue.wake_all();
        self.upstreams.iter().for_each(|upstream| upstream.places.set(upstream.places.get() - 1));
    }

    /// Whether one more may be set aside.
    pub(super) fn has_room(&self, rules: &Ejection) -> bool {
        let all = self.upstreams.len();
        rules.has_room((0..all).filter(|&place| self.is_out(place)).count(), all)
    }

    /// Whether the one at this place is to get no requests as long as there are others: set aside, or failing its
    /// health checks.
    fn is_out(&self, place: usize) -> bool {
        self.upstreams[place].conduct.is_out() || self.fails_checks(place)
    }

    fn fails_checks(&self, place: usize) -> bool {
        let health = self.watch.as_ref().map_or(Health::Well, |watch| watch.health(place));
        if health == Health::Back {
            self.upstreams[place].load.rejoin(Instant::now());
        }
        health == Health::Out
    }

    /// The one that is chosen, if it may have one more request; else one that may.
    pub(super) fn choose_free(&self, now: Option<Instant>, hints: &Hints) -> Option<usize> {
        if let Some(place) = self.place_of(hints)
            && !self.is_full(place)
            && (!self.is_out(place) || self.all_out())
        {
            return Some(place);
        }
        if let Some(key) = hints.key {
            // Where all are out, it is as if none were.
            let all_out = self.all_out();
            return self.heaviest(key, |place| !self.is_full(place) && (all_out || !self.is_out(place)));
        }
        let chosen = now.map_or(0, |now| self.choose(now));
        if !self.is_full(chosen) {
            return Some(chosen);
        }
        // One that is out is only chosen where all are.
        let all_out = self.is_out(chosen);
        let mut places = (chosen + 1..self.upstreams.len()).chain(0..chosen);
        places.find(|&place| !self.is_full(place) && (all_out || !self.is_out(place)))
    }

    /// The place of an endpoint, if it has one here.
    pub(super) fn place(&self, upstream: &Rc<Upstream>) -> Option<usize> {
        self.upstreams.iter().position(|known| Rc::ptr_eq(known, upstream))
    }

    /// The one to which the client is to come back.
    fn place_of(&self, hints: &Hints) -> Option<usize> {
        hints.session.as_ref()?.place(self.values.as_ref()?, &self.upstreams)
    }

    fn all_out(&self) -> bool {
        (0..self.upstreams.len()).all(|place| self.is_out(place))
    }

    /// The one with the most weight for a key, of these.
    fn heaviest(&self, key: u64, is_eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let all = (0..self.upstreams.len()).filter(|&place| is_eligible(place));
        all.max_by_key(|&place| weight(key, self.upstreams[place].seed))
    }

    /// Whether it has as many requests as it may have.
    pub(super) fn is_full(&self, place: usize) -> bool {
        self.upstreams[place].load.under_way() >= self.bounds.at_endpoint
    }

    /// The better one of two at random (the power of two choices): no endpoint is the best of all for everybody at once,
    /// as the least loaded one of them all would be.
    fn choose(&self, now: Instant) -> usize {
        let count = self.upstreams.len();
        if count < 2 {
            return 0;
        }
        if self.treatment.policy == Policy::RoundRobin {
            let turn = self.turn.get() % count;
            let chosen = self.in_from(turn, None).map_or(turn, |one| self.or_next(one, now));
            self.turn.set(chosen + 1);
            return chosen;
        }
        // Where all are out, it is as if none were.
        let Some(one) = self.in_from(fastrand::usize(..count), None) else { return fastrand::usize(..count) };
        let other = (one + 1 + fastrand::usize(..count - 1)) % count;
        let Some(other) = self.in_from(other, Some(one)) else { return one };
        let [load, others] = [one, other].map(|place| &self.upstreams[place].load);
        let is_better = match self.treatment.policy {
            Policy::LeastRequest => load.is_less_busy_than(others, now),
            _ => load.is_better_than(others, now),
        };
        if is_better { one } else { other }
    }

    /// This one, or the next one, where it has just joined and leaves its turn to that.
    fn or_next(&self, one: usize, now: Instant) -> usize {
        let goes_before = |next: &usize| {
            let [next, one] = [*next, one].map(|place| &self.upstreams[place].load);
            next.precedes(one, now) == Some(true)
        };
        self.in_from((one + 1) % self.upstreams.len(), Some(one)).filter(goes_before).unwrap_or(one)
    }

    /// The first from this place on that is not out, but not that one.
    fn in_from(&self, start: usize, except: Option<usize>) -> Option<usize> {
        let mut places = (start..self.upstreams.len()).chain(0..start);
        places.find(|&place| Some(place) != except && !self.is_out(place))
    }

    /// All that were not tried, from this place on; those that are out come last.
    pub(super) fn others(
        &self,
        start: usize,
        key: Option<u64>,
        is_tried: impl Fn(usize) -> bool,
    ) -> vec::IntoIter<usize> {
        let others = (start..self.upstreams.len()).chain(0..start).filter(|&place| !is_tried(place));
        let (mut others, out): (Vec<_>, Vec<_>) = others.partition(|&place| !self.is_out(place));
        others.extend(out);
        if let Some(key) = key {
            let heavy = |place: usize| Reverse(weight(key, self.upstreams[place].seed));
            others.sort_by_cached_key(|&place| (self.is_out(place), heavy(place)));
        }
        others.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::l7::deadline::Deadlines;
    use crate::l7::limits::Limits;
    use crate::l7::pool::Keeping;
    use crate::l7::tries::Tries;
    use crate::metrics::Metrics;
    use crate::model::{Backend, BackendId, BackendPort, BackendProtocol};

    fn candidates(ports: std::ops::Range<u16>) -> Rc<Candidates> {
        with(ports, &Limits::default(), Policy::default())
    }

    fn with(ports: std::ops::Range<u16>, limits: &Limits, policy: Policy) -> Rc<Candidates> {
        let deadlines = Deadlines::new(Duration::from_millis(10));
        let keeping = Rc::new(Keeping::new(
            &deadlines,
            1,
            Duration::from_secs(1),
            &Metrics::new(&mut Registry::default()),
        ));
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let bounds = Bounds::new(limits, 1, Duration::from_secs(1));
        let upstream = |port| Upstream::new((address(port), Default::default()), false, &keeping);
        let upstreams = ports.clone().map(upstream).collect();
        let id = BackendId { namespace: "a".into(), service: "b".into(), port: BackendPort::Number(80) };
        let treatment = Treatment { policy, ..Treatment::default() };
        let (protocol, endpoints) = (BackendProtocol::default(), Ok(ports.map(address).collect()));
        let target = Target::compile(&Backend { id, protocol, treatment, endpoints }, None, None);
        Rc::new(Candidates::new(upstreams, &target, bounds, &CookieKeys::random().expect("random numbers")))
    }

    fn tried(candidates: &Rc<Candidates>) -> Vec<u16> {
        tried_by(candidates, None)
    }

    fn tried_by(candidates: &Rc<Candidates>, key: Option<u64>) -> Vec<u16> {
        let mut tries = Tries::new(candidates.clone(), Hints { key, session: None });
        std::iter::from_fn(|| tries.next().map(|turn| turn.upstream().address.port())).collect()
    }

    #[test]
    fn each_endpoint_is_tried_once_whichever_is_first() {
        for count in 1..6 {
            let candidates = candidates(0..count);
            for _ in 0..20 {
                let mut ports = tried(&candidates);
                ports.sort_unstable();
                assert_eq!(ports, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn who_is_set_aside_is_the_last_choice() {
        let candidates = candidates(0..4);
        let (now, rules) = (Instant::now(), Ejection::default());
        candidates.upstreams[1].conduct.eject(now, &rules);
        assert!(candidates.has_room(&rules));
        candidates.upstreams[3].conduct.eject(now, &rules);
        assert!(!candidates.has_room(&rules), "half of them are out");
        for _ in 0..50 {
            let ports = tried(&candidates);
            assert!(ports[..2].iter().all(|port| port % 2 == 0) && ports.len() == 4, "{ports:?}");
        }
        candidates.upstreams.iter().for_each(|upstream| upstream.conduct.eject(now, &rules));
        assert_eq!(tried(&candidates).len(), 4);
    }

    #[test]
    fn who_has_enough_to_do_is_left_out() {
        let limits = Limits::default().with("endpoint-requests=2".parse().expect("a setting"));
        let candidates = with(0..3, &limits, Policy::default());
        candidates.upstreams[1].conduct.eject(Instant::now(), &Ejection::default());
        let next = || Tries::new(candidates.clone(), Hints::default()).next();
        let turns: Vec<_> = (0..4).filter_map(|_| next()).collect();
        assert!(turns.len() == 4 && turns.iter().all(|turn| turn.upstream().address.port() != 1));
        assert!(next().is_none(), "what is set aside is no way out");
        let mut retry = Tries::new(candidates.clone(), Hints::default());
        retry.first = Some(0);
        assert_eq!(retry.next().map(|turn| turn.upstream().address.port()), Some(1), "but for a second try");
        drop(turns);
        assert!(next().is_some());
    }

    #[test]
    fn who_waits_looks_again_each_second() {
        let candidates = candidates(0..2);
        let place = candidates.queue.enter(&prometheus_client::metrics::gauge::Gauge::default());
        let mut freed = std::pin::pin!(place.freed());
        let mut unwoken = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(freed.as_mut().poll(&mut unwoken).is_pending());
        candidates.pass();
        assert!(freed.as_mut().poll(&mut unwoken).is_ready());
    }

    #[test]
    fn all_have_their_turn_but_who_is_set_aside() {
        let candidates = with(0..4, &Limits::default(), Policy::RoundRobin);
        let first = |_| tried(&candidates)[0];
        let start = first(0);
        let turns: Vec<_> = (0..8).map(first).collect();
        assert_eq!(turns, (1..9).map(|step| (start + step) % 4).collect::<Vec<_>>());
        candidates.upstreams[2].conduct.eject(Instant::now(), &Ejection::default());
        assert!((0..8).map(first).all(|port| port != 2));
    }

    #[test]
    fn the_less_busy_one_of_two_gets_a_request_however_slow_it_is() {
        let candidates = with(0..2, &Limits::default(), Policy::LeastRequest);
        let (slow, now) = (&candidates.upstreams[0].load, Instant::now());
        slow.answered(now, Duration::from_secs(1));
        candidates.upstreams[1].load.answered(now, Duration::from_millis(1));
        candidates.upstreams[1].load.begin();
        assert!((0..20).all(|_| tried(&candidates)[0] == 0));
    }

    #[test]
    fn who_has_just_joined_leaves_its_turns_to_others() {
        let candidates = with(0..3, &Limits::default(), Policy::RoundRobin);
        candidates.upstreams[1].load.rejoin(Instant::now());
        let mut asked = [0_u32; 3];
        (0..300).for_each(|_| asked[usize::from(tried(&candidates)[0])] += 1);
        assert!((2..50).contains(&asked[1]), "{asked:?}: a tenth of its share");
        assert!(asked[0].abs_diff(asked[2]) < 50, "{asked:?}: the others share that");
    }

    #[test]
    fn a_key_leads_to_one_endpoint_and_from_there_to_the_next() {
        let candidates = candidates(0..5);
        for key in 0..50 {
            let order = tried_by(&candidates, Some(key));
            assert_eq!(tried_by(&candidates, Some(key)), order);
            let first = &candidates.upstreams[usize::from(order[0])].conduct;
            first.eject(Instant::now(), &Ejection::default());
            let rotated: Vec<_> = order[1..].iter().chain(&order[..1]).copied().collect();
            assert_eq!(tried_by(&candidates, Some(key)), rotated, "nobody else's place changed");
            first.take_back(Instant::now() + Duration::from_secs(3600));
        }
    }

    #[test]
    fn requests_under_way_are_shared_out() {
        let candidates = candidates(0..4);
        let turns: Vec<_> =
            (0..400).filter_map(|_| Tries::new(candidates.clone(), Hints::default()).next()).collect();
        for port in 0..4 {
            let count = turns.iter().filter(|turn| turn.upstream().address.port() == port).count();
            assert!((50..150).contains(&count), "{count} of 400 at one of four");
        }
        drop(turns);
        assert_eq!(tried(&candidates).len(), 4);
    }
}
