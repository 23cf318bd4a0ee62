//! The time in which requests count, and what became of them.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail, ensure};

/// Shared by all clients of a turn.
#[derive(Default)]
pub(crate) struct Window {
    phase: Cell<Phase>,
    /// Nanoseconds; what took longer than 4 s counts as that.
    latencies: RefCell<Vec<u32>>,
    failed: Cell<u64>,
    first_failure: RefCell<Option<Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Before,
    Open,
    Closed,
}

/// What a turn was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// CPU time of the proxy per request, in microseconds.
    pub(crate) cpu: f64,
    /// Latencies in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// How much of its core the proxy used, percent: with less than all of it, the load sets the rate.
    pub(crate) busy: f64,
}

impl Window {
    pub(crate) fn open(&self) {
        self.phase.set(Phase::Open);
    }

    pub(crate) fn close(&self) {
        self.phase.set(Phase::Closed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase.get() == Phase::Closed
    }

    /// A request that was sent then is answered now.
    pub(crate) fn note(&self, sent: Instant) -> Instant {
        let now = Instant::now();
        if self.phase.get() == Phase::Open {
            let took = u32::try_from((now - sent).as_nanos()).unwrap_or(u32::MAX);
            self.latencies.borrow_mut().push(took);
        }
        now
    }

    /// A request has failed.
    pub(crate) fn fail(&self, error: Error) {
        self.failed.set(self.failed.get() + 1);
        self.first_failure.borrow_mut().get_or_insert(error);
    }

    /// How many have.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// An error if one has: a faster failure is no result.
    pub(crate) fn failure(&self) -> Result<()> {
        match self.first_failure.take() {
            Some(first) => bail!("{} requests failed, the first: {first:#}", self.failed.get()),
            None => Ok(()),
        }
    }

    /// What the turn was like, of its CPU time and its length.
    pub(crate) fn measured(&self, used: Duration, lasted: Duration) -> Result<Measured> {
        let mut latencies = self.latencies.take();
        ensure!(!latencies.is_empty(), "no request was answered");
        latencies.sort_unstable();
        let at = |part: f64| f64::from(latencies[((latencies.len() - 1) as f64 * part) as usize]) / 1e3;
        let requests = latencies.len() as f64;
        Ok(Measured {
            cpu: used.as_secs_f64() * 1e6 / requests,
            p50: at(0.5),
            p99: at(0.99),
            rate: requests / lasted.as_secs_f64(),
            busy: 100.0 * used.as_secs_f64() / lasted.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_within_the_window_count() {
        let window = Window::default();
        window.note(Instant::now());
        window.open();
        for micros in [100, 200, 300] {
            let since = Instant::now().checked_sub(Duration::from_micros(micros)).expect("the past");
            window.note(since);
        }
        window.close();
        window.note(Instant::now());
        let measured =
            window.measured(Duration::from_micros(30), Duration::from_millis(3)).expect("a result");
        assert_eq!(
            (measured.cpu.round(), measured.rate.round(), measured.busy.round()),
            (10.0, 1_000.0, 1.0)
        );
        assert!((200.0..100_000.0).contains(&measured.p50), "{measured:?}");
    }

    #[test]
    fn a_failed_request_spoils_the_turn() {
        let window = Window::default();
        assert!(window.failure().is_ok() && window.measured(Duration::ZERO, Duration::ZERO).is_err());
        window.fail(anyhow::anyhow!("no"));
        assert_eq!(window.failed(), 1);
        assert!(window.failure().is_err());
    }
}
