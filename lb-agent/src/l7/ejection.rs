//! Endpoints that fail several times in a row are set aside for a while: found out by the requests themselves.

use std::cell::Cell;
use std::time::Instant;

use http::StatusCode;

use crate::model::Ejection;

/// How an endpoint fails.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Offence {
    /// It takes no connection.
    Connect,
    /// It broke off before a response, or what it sent was not HTTP.
    Broken,
    /// It answered with a status that says so; see `is_failure`.
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

/// Whether an endpoint fails that answers so. Some statuses of servers say what they do not do for anybody, and nothing of
/// how they are: a URL that always has such a one must not cost a Service its endpoints.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() && !matches!(status.as_u16(), 501 | 505 | 511)
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
    use std::time::Duration;

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
    fn what_a_server_never_does_is_no_failure() {
        let failures =
            (400..600).filter(|status| is_failure(StatusCode::from_u16(*status).expect("a status")));
        let expected = (500..600).filter(|status| ![501, 505, 511].contains(status));
        assert!(failures.eq(expected));
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
}
