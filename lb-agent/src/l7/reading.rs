//! Clients that do not read: what they are to get waits in memory, and their connections hold those of backends.

use std::cell::Cell;
use std::task::{Context, Poll};
use std::time::Duration;

use super::client::Client;
use super::limits::Limit;
use super::refuse;
use super::worker::Worker;

/// The client's side of a response under way.
#[derive(Default)]
pub(super) struct Reading {
    /// Bytes written when it was last looked at, while it is looked at.
    since: Cell<Option<u64>>,
    is_too_slow: Cell<bool>,
}

impl Client {
    /// Begins to look at a client that does not read what waits for it.
    pub(super) fn watch_reading(&self) {
        if self.is_busy() && self.is_waited_for() && self.reading.since.get().is_none() {
            self.look_again();
        }
    }

    /// The deadline has passed: whether it was that of a client who has read enough meanwhile.
    pub(super) fn has_read_enough(&self, cx: &mut Context<'_>) -> bool {
        let Some(before) = self.reading.since.take().filter(|_| self.is_busy() && !self.is_overdue()) else {
            return false;
        };
        self.deadline.clear();
        self.end_stalled_streams();
        if self.passage.is_blocked() {
            let rate = self.worker.config.limits.of(Limit::DownloadRate);
            let enough = rate.saturating_mul(self.worker.config.timeouts.download.as_millis() as u64) / 1000;
            if self.passage.written() - before < enough {
                self.reading.is_too_slow.set(true);
                return false;
            }
        }
        if self.is_waited_for() {
            self.look_again();
        }
        // So that it is woken the next time.
        self.deadline.poll(cx) == Poll::Pending
    }

    /// Whether it was given up because it did not read.
    pub(super) fn is_too_slow(&self) -> bool {
        self.reading.is_too_slow.get()
    }

    /// No response is under way: there is nothing to read.
    pub(super) fn has_read_all(&self) {
        self.reading.since.set(None);
    }

    /// Whether bytes wait for it: to be read, or with HTTP/2 for room on their stream.
    fn is_waited_for(&self) -> bool {
        self.passage.is_blocked() || self.streams.are_waiting()
    }

    /// Resets the streams that their client has given no room for too long.
    fn end_stalled_streams(&self) {
        if !self.streams.are_waiting() {
            return;
        }
        let Worker { config, deadlines, .. } = &*self.worker;
        let longest = Duration::from_secs(config.limits.of(Limit::Http2StreamStall));
        let Some(then) = deadlines.now().checked_sub(deadlines.ticks(longest)) else { return };
        for _ in 0..self.streams.end_waiting_since(then) {
            refuse::count(self, Limit::Http2StreamStall.into());
        }
    }

    fn look_again(&self) {
        self.reading.since.set(Some(self.passage.written()));
        self.deadline.set(self.worker.config.timeouts.download);
    }
}
