//! A client's connection as its requests see it: where it came in, whom it comes from, whether it is busy.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;

use super::deadline::Deadline;
use super::headers::Origin;
use super::worker::Worker;
use crate::model::ListenerProtocol;

/// How long a connection without any request yet may take to its first one, once the worker is about to end.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    /// The key of its listener.
    pub(super) listener: SocketAddr,
    /// What the listener speaks.
    pub(super) protocol: ListenerProtocol,
    /// For backends.
    pub(super) origin: Origin,
    /// Set while it is idle, in a handshake, or sends the head of a request.
    pub(super) deadline: Deadline,
    /// Set by its IO whenever something came in.
    pub(super) received: Arc<AtomicBool>,
    /// Whether the last request had a body, of which a part may still be on its way.
    pub(super) uploads: Cell<bool>,
    /// Requests under way.
    active: Cell<u32>,
    /// Whether no request has begun yet.
    fresh: Cell<bool>,
    /// Whether it was told to begin soon, as the worker is about to end.
    hurried: Cell<bool>,
    in_head: Cell<bool>,
}

impl Client {
    /// A connection that has just been accepted; its deadline is for what it sends first.
    pub(super) fn new(
        worker: &Rc<Worker>,
        listener: SocketAddr,
        protocol: ListenerProtocol,
        peer: SocketAddr,
    ) -> Rc<Self> {
        let scheme = match protocol {
            ListenerProtocol::Http => "http",
            ListenerProtocol::Https => "https",
        };
        let address = peer.ip().to_canonical().to_string();
        let address = HeaderValue::from_maybe_shared(bytes::Bytes::from(address));
        let origin = Origin {
            address: address.unwrap_or(HeaderValue::from_static("unknown")),
            scheme: HeaderValue::from_static(scheme),
        };
        let deadline = Deadline::new(&worker.deadlines);
        deadline.set(worker.config.timeouts.head);
        worker.opened();
        Rc::new(Self {
            worker: worker.clone(),
            listener,
            protocol,
            origin,
            deadline,
            received: Arc::default(),
            uploads: Cell::new(false),
            active: Cell::new(0),
            fresh: Cell::new(true),
            hurried: Cell::new(false),
            in_head: Cell::new(true),
        })
    }

    /// Whether requests are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.active.get() > 0
    }

    /// Waits, but not longer than the deadline or the worker's life.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            self.poll_deadline(cx).map(|()| None)
        })
        .await
    }

    /// Ready when the deadline has passed or the worker is about to end. To be polled even if nothing is set,
    /// so that the end of the worker is heard.
    pub(super) fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<()> {
        let is_ending = self.is_ending();
        if self.deadline.poll(cx).is_ready() || is_ending {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Whether the connection is to end after the requests under way. One on which none has begun gets a little
    /// time for its first: its client has just connected, and takes it for open.
    pub(super) fn is_ending(&self) -> bool {
        if !self.worker.is_draining() {
            return false;
        }
        if self.fresh.get() && !self.hurried.replace(true) {
            self.deadline.set(FIRST_REQUEST.min(self.worker.config.timeouts.head));
        }
        !self.fresh.get()
    }

    /// An idle HTTP/1.1 connection that begins to send must get on with it.
    pub(super) fn watch_head(&self) {
        if !self.is_busy() && self.received.swap(false, Ordering::Relaxed) && !self.in_head.replace(true) {
            self.deadline.set(self.worker.config.timeouts.head);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.worker.closed();
    }
}

/// A request under way, to the last byte of its response.
pub(super) struct Busy(Rc<Client>);

impl Busy {
    /// A request begins.
    pub(super) fn new(client: &Rc<Client>) -> Self {
        client.active.set(client.active.get() + 1);
        client.fresh.set(false);
        client.deadline.clear();
        Self(client.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let client = &self.0;
        client.active.set(client.active.get() - 1);
        if !client.is_busy() {
            client.in_head.set(false);
            client.received.store(false, Ordering::Relaxed);
            client.deadline.set(client.worker.config.timeouts.idle);
        }
    }
}
