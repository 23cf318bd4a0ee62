//! When new work is refused: by how late a worker comes to what is ready. A probe goes round in the queue in which requests
//! stand, and who comes to his turn is refused while it takes longer than its limit: so what is admitted waited no longer
//! than that. Like CoDel (RFC 8289) it acts where the queue ends, so that nothing is decided on what was true before it,
//! and only on a delay that stands: a burst, or a moment without the processor, is worked off.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// So long a delay must stand before it counts.
const STANDING: Duration = Duration::from_millis(500);

/// So long it must stay away before the next one is another one.
const CALM: Duration = Duration::from_secs(2);

/// A share of it is never more: else nobody would see that it is over.
const MAX_SHARE: f64 = 0.95;

/// The probe's rounds, as the worker's queue lets it go.
#[derive(Debug)]
pub(super) struct Shedding {
    limit: Duration,
    /// Since when the probe is in the queue, or when it will be.
    queued: Cell<Instant>,
    /// What its last round took.
    last: Cell<Duration>,
    /// When the delay came to be over its limit, and when it last was.
    over: Cell<Option<(Instant, Instant)>>,
}

impl Shedding {
    /// Nobody waits yet.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, queued: Cell::new(now), last: Cell::default(), over: Cell::default() }
    }

    /// The probe joins the queue then.
    pub(super) fn joins(&self, then: Instant) {
        self.queued.set(then);
    }

    /// It has come to its turn; whether what does so, too, is refused.
    pub(super) fn came(&self, now: Instant) -> bool {
        self.last.set(now.saturating_duration_since(self.queued.get()));
        // From here on the next round counts.
        self.queued.set(now);
        self.refuses(now)
    }

    /// Whether what comes to its turn now is refused.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        // The probe may be in the queue for longer than it was the last time.
        let delay = now.saturating_duration_since(self.queued.get()).max(self.last.get());
        if delay <= self.limit {
            return false;
        }
        let is_same = |&(_, last): &(_, Instant)| now.saturating_duration_since(last) < CALM;
        let since = self.over.get().filter(is_same).map_or(now, |(since, _)| since);
        self.over.set(Some((since, now)));
        now.saturating_duration_since(since) >= STANDING
    }

    /// Whether the next round is to begin at once: what is refused is to end as soon as it may.
    pub(super) fn is_pressing(&self) -> bool {
        self.last.get() > self.limit / 2
    }
}

/// The share to refuse with so many percent of the memory in use: none up to the limit, nearly everything half-way from
/// there to where the kernel ends us. Of 65,536.
pub(super) fn by_memory(percent: u64, limit: u64) -> u16 {
    let room = 100_u64.saturating_sub(limit).max(2) as f64 / 2.0;
    of_all((percent.saturating_sub(limit) as f64 / room).min(MAX_SHARE))
}

fn of_all(share: f64) -> u16 {
    (share * f64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);
    /// What a request takes, and what it takes to refuse one.
    const WORK: Duration = Duration::from_micros(100);
    const REFUSAL: Duration = Duration::from_micros(15);
    const PAUSE: Duration = Duration::from_millis(50);

    #[test]
    fn a_delay_counts_once_it_stands_and_no_longer_than_it_does() {
        let start = Instant::now();
        let shedding = Shedding::new(LIMIT, start);
        let at = |millis| start + Duration::from_millis(millis);
        shedding.joins(at(50));
        assert!(!shedding.refuses(at(50)) && !shedding.refuses(at(150)), "within the limit");
        assert!(!shedding.refuses(at(160)) && !shedding.refuses(at(650)), "it may go away yet");
        assert!(shedding.refuses(at(660)), "the probe is still under way");
        shedding.came(at(670));
        assert_eq!(shedding.last.get(), Duration::from_millis(620));
        assert!(shedding.refuses(at(671)) && shedding.is_pressing(), "that it came makes no queue shorter");
        shedding.came(at(700));
        assert!(!shedding.refuses(at(700)) && !shedding.is_pressing());
        assert!(shedding.refuses(at(801)), "it is back");
        shedding.came(at(802));
        shedding.came(at(803));
        shedding.joins(at(2_802));
        assert!(!shedding.refuses(at(2_903)), "it is another one");
    }

    /// What became of a worker's requests.
    #[derive(Default)]
    struct Outcome {
        admitted: usize,
        refused: usize,
        /// Of the admitted ones, in their order.
        waited: Vec<Duration>,
    }

    impl Outcome {
        fn p99(&self) -> Duration {
            let mut waited = self.waited.clone();
            waited.sort_unstable();
            waited[waited.len() * 99 / 100]
        }
    }

    /// A worker that is asked by `load` of what it can do, from the first second on, in the last of ten; it stands still for
    /// this time after five.
    fn worker(load: f64, still: Duration) -> (Outcome, Outcome) {
        let start = Instant::now();
        let (shedding, mut random) = (Shedding::new(LIMIT, start), fastrand::Rng::with_seed(7));
        let (mut now, mut next, mut probe) = (start, start, Some(start + PAUSE));
        let (mut queue, mut outcomes) = (VecDeque::new(), [Outcome::default(), Outcome::default()]);
        shedding.joins(start + PAUSE);
        let (end, mut stops) = (start + Duration::from_secs(10), Some(start + Duration::from_secs(5)));
        while now < end {
            if let Some(at) = stops.filter(|&at| at <= now) {
                now = at + still;
                stops = None;
            }
            // As the kernel has them; a probe has no arrival of its own.
            while next <= now {
                queue.push_back(Some(next));
                next += WORK.div_f64(load).mul_f64(-random.f64().max(1e-9).ln());
            }
            if probe.is_some_and(|due| due <= now) {
                probe = None;
                queue.push_back(None);
            }
            match queue.pop_front() {
                Some(Some(came)) => {
                    let outcome = &mut outcomes[usize::from(now - start > Duration::from_secs(2))];
                    if shedding.refuses(now) {
                        outcome.refused += 1;
                        now += REFUSAL;
                    } else {
                        outcome.admitted += 1;
                        outcome.waited.push(now - came);
                        now += WORK;
                    }
                }
                Some(None) => {
                    shedding.came(now);
                    let joins = if shedding.is_pressing() { now } else { now + PAUSE };
                    shedding.joins(joins);
                    probe = Some(joins);
                }
                None => now = probe.map_or(next, |due| due.min(next)),
            }
        }
        outcomes.into()
    }

    #[test]
    fn with_twice_too_much_to_do_what_is_admitted_is_answered_in_time() {
        for load in [1.2, 2.0, 4.0] {
            let (first, then) = worker(load, Duration::ZERO);
            // What is left of a second's work when all others were refused.
            let possible = {
                let cost = REFUSAL.div_duration_f64(WORK);
                8.0 / WORK.as_secs_f64() * (1.0 - load * cost) / (1.0 - cost)
            };
            assert!(then.admitted as f64 > 0.95 * possible, "{load}: {} of {possible}", then.admitted);
            assert!(then.p99() < 2 * LIMIT, "{load}: {:?}", then.p99());
            assert!(first.p99() < 4 * LIMIT * (load.ceil() as u32), "{load}, at first: {:?}", first.p99());
        }
    }

    #[test]
    fn who_can_do_all_refuses_nobody() {
        for load in [0.5, 0.9, 0.97] {
            let (first, then) = worker(load, Duration::ZERO);
            assert_eq!((first.refused, then.refused), (0, 0), "{load}");
        }
    }

    #[test]
    fn a_moment_without_the_processor_is_worked_off() {
        for (load, still) in [(0.5, 400), (0.7, 250), (0.9, 120)] {
            let (_, then) = worker(load, Duration::from_millis(still));
            assert_eq!(then.refused, 0, "{load} {still} ms");
        }
        let (_, then) = worker(0.9, Duration::from_secs(1));
        let meanwhile = 9_000;
        assert!((1..meanwhile * 11 / 10).contains(&then.refused), "{} of {meanwhile}", then.refused);
    }

    #[test]
    fn memory_refuses_nothing_below_its_limit_and_nearly_all_before_the_end() {
        assert_eq!(by_memory(90, 90), 0);
        assert!(by_memory(92, 90) > 0);
        assert_eq!(by_memory(95, 90), of_all(MAX_SHARE));
        assert_eq!(by_memory(100, 100), 0, "switched off");
    }
}
