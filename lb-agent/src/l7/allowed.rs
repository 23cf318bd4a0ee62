//! How long a request may take on its way to an endpoint.

use std::rc::Rc;
use std::time::Duration;

use super::config::Timeouts;
use super::deadline::Deadlines;
use crate::model::Treatment;

/// Its times, from now on.
pub(super) struct Allowed {
    deadlines: Rc<Deadlines>,
    /// In ticks of them.
    started: u64,
    pub(super) connect: Duration,
    /// An endpoint to take the next part of the request.
    pub(super) send: Duration,
    /// One try.
    pub(super) attempt: Duration,
    in_all: Duration,
    /// What the request itself says.
    own: Option<Duration>,
}

impl Allowed {
    /// As the backend wants it, or as is usual; what the request itself says bounds it.
    pub(super) fn new(
        deadlines: &Rc<Deadlines>,
        usual: &Timeouts,
        treatment: &Treatment,
        own: Option<Duration>,
    ) -> Self {
        let Treatment { times, retries, .. } = treatment;
        let attempt = times.attempt.or(times.request).unwrap_or(usual.response);
        let all = times.attempt.map_or(usual.response, |attempt| attempt.saturating_mul(retries.tries));
        let in_all = times.request.unwrap_or(all);
        let most = own.unwrap_or(Duration::MAX);
        Self {
            deadlines: deadlines.clone(),
            started: deadlines.now(),
            connect: times.connect.unwrap_or(usual.connect),
            send: times.send.unwrap_or(attempt),
            attempt: attempt.min(most),
            in_all: in_all.min(most),
            own,
        }
    }

    /// What is left of the time for all attempts together.
    pub(super) fn left(&self) -> Option<Duration> {
        self.in_all.checked_sub(self.gone()).filter(|left| !left.is_zero())
    }

    /// Whether it is the request's own word that leaves no more of it.
    pub(super) fn is_over_by_own_word(&self) -> bool {
        self.own.is_some_and(|own| own <= self.gone())
    }

    /// What the request's own word leaves, if it says anything. While its body comes, it may take longer than the backend allows
    /// for an answer.
    pub(super) fn own_left(&self) -> Option<Duration> {
        self.own.map(|own| own.saturating_sub(self.gone()))
    }

    /// What is gone of it.
    pub(super) fn gone(&self) -> Duration {
        let ticks = u32::try_from(self.deadlines.now() - self.started).unwrap_or(u32::MAX);
        self.deadlines.tick().saturating_mul(ticks)
    }
}
