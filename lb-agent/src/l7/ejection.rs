//! Endpoints that fail several times in a row are set aside for a while: found out by the requests themselves.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// When an endpoint is set aside, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ejection {
    /// Failures in a row after which it is.
    pub failures: u32,
    /// For so long the first time, and each further time for so much longer.
    pub step: Duration,
    /// And never for longer. Who has behaved for so long begins anew.
    pub longest: Duration,
    /// How many of a backend's endpoints may be set aside at one time, in percent: the others would have to do all
    /// of their work.
    pub share: usize,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, step: Duration::from_secs(10), longest: Duration::from_secs(300), share: 50 }
    }
}

impl Ejection {
    /// Whether one more of so many may be set aside.
    pub(super) fn has_room(&self, out: usize, count: usize) -> bool {
        (out + 1) * 100 <= count * self.share
    }
}

/// How an endpoint fails.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Offence {
    /// It takes no connection.
    Connect,
    /// It broke off before a response, or what it sent was not HTTP.
    Broken,
    /// It answered with a status from 500 on.
    Status,
    /// It did not answer in time.
    TimeOut,
}

impl Offence {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Broken, Self::Status, Self::TimeOut];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Status => "status",
            Self::TimeOut => "time_out",
        }
    }
}

/// An endpoint's record.
pub(super) struct Conduct {
    in_a_row: Cell<u32>,
    out_until: Cell<Option<Instant>>,
    /// When it was last taken back, or began.
    back_at: Cell<Instant>,
    times: Cell<u32>,
}

impl Conduct {
    /// Without an offence.
    pub(super) fn new(now: Instant) -> Self {
        let (in_a_row, times) = (Cell::new(0), Cell::new(0));
        Self { in_a_row, out_until: Cell::new(None), back_at: Cell::new(now), times }
    }

    /// Whether it is set aside.
    pub(super) fn is_out(&self) -> bool {
        self.out_until.get().is_some()
    }

    /// It answered as it should.
    pub(super) fn succeeded(&self) {
        self.in_a_row.set(0);
    }

    /// It failed: whether that was once too often.
    pub(super) fn failed(&self, rules: &Ejection) -> bool {
        self.in_a_row.set(self.in_a_row.get().saturating_add(1));
        self.in_a_row.get() >= rules.failures && !self.is_out()
    }

    /// Sets it aside.
    pub(super) fn eject(&self, now: Instant, rules: &Ejection) {
        let behaved = now.saturating_duration_since(self.back_at.get());
        let times = if behaved >= rules.longest { 1 } else { self.times.get().saturating_add(1) };
        self.times.set(times);
        self.in_a_row.set(0);
        self.out_until.set(Some(now + rules.step.saturating_mul(times).min(rules.longest)));
    }

    /// Takes it back if its time is over: whether it is back by that.
    pub(super) fn take_back(&self, now: Instant) -> bool {
        let is_over = self.out_until.get().is_some_and(|until| until <= now);
        if is_over {
            self.out_until.set(None);
            self.in_a_row.set(0);
            self.back_at.set(now);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Ejection =
        Ejection { failures: 3, step: Duration::from_secs(10), longest: Duration::from_secs(25), share: 50 };

    #[test]
    fn only_failures_in_a_row_count() {
        let conduct = Conduct::new(Instant::now());
        for expected in [false, false, true] {
            assert_eq!(conduct.failed(&RULES), expected);
        }
        conduct.succeeded();
        assert!(!conduct.failed(&RULES));
    }

    #[test]
    fn each_time_is_longer_until_it_behaves() {
        let mut now = Instant::now();
        let conduct = Conduct::new(now);
        for seconds in [10, 20, 25, 25] {
            conduct.eject(now, &RULES);
            assert!(conduct.is_out() && !conduct.failed(&RULES), "it is out already");
            let end = now + Duration::from_secs(seconds);
            assert!(!conduct.take_back(end - Duration::from_millis(1)), "{seconds} s");
            assert!(conduct.take_back(end) && !conduct.is_out(), "{seconds} s");
            now = end + Duration::from_secs(1);
        }
        now += RULES.longest;
        conduct.eject(now, &RULES);
        assert!(conduct.take_back(now + RULES.step), "it begins anew");
    }

    #[test]
    fn at_most_so_many_are_out() {
        for (out, count, has_room) in [
            (0, 1, false),
            (0, 2, true),
            (1, 2, false),
            (0, 3, true),
            (1, 3, false),
            (1, 4, true),
            (2, 4, false),
        ] {
            assert_eq!(RULES.has_room(out, count), has_room, "{out} of {count}");
        }
    }
}
