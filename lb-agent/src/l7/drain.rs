//! A worker's side of a drain: connections end one by one, each by its own protocol's way.
//!
//! - HTTP/1.1: the next response says `Connection: close`, and the connection ends after it. A response whose head
//!   has gone out already leaves its connection open for one more request: to close after a response that did not
//!   say so would cut the request which the client may have sent meanwhile.
//! - HTTP/1.1 and idle: it stays open for that last request, too, since one may be on its way at any moment. Only after
//!   `Worker::quiet` without a byte it is closed, as an idle connection always is: our side first, by a TLS
//!   close_notify and a FIN, while what comes from the client is still taken. So nothing is answered by a reset,
//!   which could destroy the response before it. A request that crosses that FIN is not read as one: RFC 9112 section
//!   9.3.1 lets its client send it again.
//! - HTTP/2: GOAWAY in two steps (RFC 9113 section 6.8). The first names no stream, so that requests on their way
//!   are still answered; the second follows the client's answer to a ping; then the streams finish. Those that have not
//!   at the deadline are reset, one by one, and the connection ends as it would have without them (`http2`).
//! - WebSocket: at the deadline, Close 1001 in both directions (`tunnel`).

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use super::phase::Phase;
use super::worker::Worker;
use crate::model::{ConnectionKind, LAST_WORDS};

/// A client that has just connected, or had its answer, gets as long at least to send its next request.
pub(super) const LEAST: Duration = Duration::from_secs(1);

/// Where connections need their places, those that are idle have this part of their usual time.
const CROWDED: u32 = 10;

/// How often the age of the oldest connection is told.
const TELLING: Duration = Duration::from_millis(500);

impl Worker {
    /// How far the end is.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether connections are to end.
    pub(super) fn is_draining(&self) -> bool {
        self.phase.get() != Phase::Serving
    }

    /// How long a connection may be idle: in a drain, half of what is left of it, which leaves the other half to the
    /// requests that come; less where others need its place.
    pub(super) fn quiet(&self) -> Duration {
        let usual = self.config.timeouts.idle;
        let idle = if self.admission.crowd().is_some() { usual / CROWDED } else { usual };
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.phase.get().deadline().map_or(idle, |deadline| idle.min(LEAST.max(left(deadline) / 2)))
    }

    /// A client's connection begins; the key is for `closed`.
    pub(super) fn opened(&self) -> usize {
        self.metrics.connections(ConnectionKind::New).inc();
        self.connections.borrow_mut().insert(Instant::now())
    }

    /// A client's connection, or the tunnel that it became, has ended: in order, or cut with so many requests.
    pub(super) fn closed(&self, key: usize, kind: ConnectionKind, cut: Option<u32>) {
        self.connections.borrow_mut().remove(key);
        self.metrics.connections(kind).dec();
        if self.is_draining() {
            self.metrics.drained(kind, cut);
            if self.connections.borrow().is_empty() {
                self.empty.notify_one();
            }
        }
    }

    /// Lets connections end until the deadline, and those that say so then a little longer.
    pub(super) async fn finish(&self, deadline: Instant) {
        self.upstreams.clear();
        if deadline <= Instant::now() {
            return;
        }
        let ended = async {
            while !self.connections.borrow().is_empty() {
                self.empty.notified().await;
            }
        };
        if timeout_at((deadline + LAST_WORDS).into(), ended).await.is_err() {
            let connections = self.connections.borrow().len();
            tracing::warn!(connections, "connections that could not be closed in order are cut");
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.connections.borrow().iter().map(|(_, opened)| *opened).min()
    }
}

/// Has a worker follow the phases, for as long as it is polled. `oldest` is told when the oldest connection began.
pub(super) async fn follow(
    worker: Rc<Worker>,
    mut phases: watch::Receiver<Phase>,
    oldest: watch::Sender<Option<Instant>>,
) {
    loop {
        let phase = *phases.borrow_and_update();
        worker.phase.set(phase);
        // Each connection looks what the phase means for it.
        worker.deadlines.wake_all();
        tokio::select! {
            changed = phases.changed() => if changed.is_err() { return },
            () = tell_oldest(&worker, &oldest), if worker.is_draining() => {}
            () = pass(&worker, phase) => {}
        }
    }
}

async fn tell_oldest(worker: &Worker, oldest: &watch::Sender<Option<Instant>>) {
    loop {
        oldest.send_replace(worker.oldest());
        tokio::time::sleep(TELLING).await;
    }
}

/// Wakes every connection at the deadline; never returns.
async fn pass(worker: &Worker, phase: Phase) {
    if let Some(deadline) = phase.deadline() {
        sleep_until(deadline.into()).await;
        let left = worker.connections.borrow().len();
        if left > 0 {
            let why = if phase.is_stopping() { "the grace is over" } else { "the drain's deadline" };
            tracing::info!(left, "{why}: connections that have not ended are closed");
        }
        worker.deadlines.wake_all();
        // Those that had only just come.
        sleep_until((deadline + LEAST).into()).await;
        worker.deadlines.wake_all();
    }
    std::future::pending().await
}
