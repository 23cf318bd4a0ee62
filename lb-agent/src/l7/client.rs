//! A client's connection as its requests see it: where it came in, whom it comes from, whether it is busy.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::access_log::Session;
use super::admission::{Guest, Handshake};
use super::deadline::Deadline;
use super::drain::LEAST;
use super::forwarded::Origin;
use super::guard::{Passage, UploadWay};
use super::http2::Streams;
use super::limits::Limit;
use super::reading::Reading;
use super::send_proxy::Ends;
use super::splice::Splice;
use super::worker::Worker;
use crate::model::{ConnectionKind, ListenerProtocol};

pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    /// The key of its listener.
    pub(super) listener: SocketAddr,
    /// What the listener speaks.
    pub(super) protocol: ListenerProtocol,
    /// For backends.
    pub(super) origin: Origin,
    /// Who connected, or for whom a proxy in front of us did.
    source: SocketAddr,
    /// The name in its TLS handshake, where its requests may be for others with the same certificates only: with HTTP/2,
    /// whose clients take one connection for several names. With HTTP/1.1 the Host alone says where a request goes
    /// (Ingress API, `IngressTLS.secretName`), and so it does for who asked for no name.
    pub(super) asked_for: OnceCell<Box<str>>,
    /// Set while it is idle, in a handshake, or sends the head of a request.
    pub(super) deadline: Deadline,
    /// Shared with its stream.
    pub(super) passage: Arc<Passage>,
    /// Whether the last request had a body, of which a part may still be on its way.
    pub(super) uploads: Cell<bool>,
    /// Whether the end of the connection may be that of a response: with HTTP/1.0, which knows no chunks.
    pub(super) ends_by_closing: Cell<bool>,
    /// Whether the response under way, or the one before, was held back until more of it was written.
    pub(super) was_held_back: Cell<bool>,
    /// Of TLS, if requests are logged.
    pub(super) session: OnceCell<Arc<Session>>,
    /// Among the worker's connections.
    key: usize,
    opened: Instant,
    kind: Cell<ConnectionKind>,
    /// Requests under way.
    active: Cell<u32>,
    /// Whether no request has begun yet.
    fresh: Cell<bool>,
    /// For what it was told to be idle for a shorter time: a drain's deadline, a crowd.
    hurried: Cell<(Option<Instant>, Option<u32>)>,
    /// The requests that the drain's deadline cut, once it did.
    cut: Cell<Option<u32>>,
    /// Whether the head of a request has begun and not ended.
    pub(super) in_head: Cell<bool>,
    pub(super) reading: Reading,
    /// Of HTTP/2.
    pub(super) streams: Streams,
    /// Its place among all connections, given back last.
    guest: Guest,
}

impl Client {
    /// A connection that has just been accepted; its deadline is for what it sends first.
    pub(super) fn new(
        worker: &Rc<Worker>,
        guest: Guest,
        listener: SocketAddr,
        protocol: ListenerProtocol,
        peer: SocketAddr,
    ) -> Self {
        let origin = Origin::new(peer.ip(), listener, protocol, &worker.config.trust);
        let deadline = Deadline::new(&worker.deadlines);
        deadline.set(worker.config.head_time());
        let key = worker.opened();
        Self {
            worker: worker.clone(),
            listener,
            protocol,
            origin,
            source: peer,
            asked_for: OnceCell::new(),
            deadline,
            passage: Arc::new(Passage::new(&worker.pipes)),
            uploads: Cell::new(false),
            ends_by_closing: Cell::new(false),
            was_held_back: Cell::new(false),
            session: OnceCell::new(),
            key,
            opened: Instant::now(),
            kind: Cell::new(ConnectionKind::New),
            active: Cell::new(0),
            fresh: Cell::new(true),
            hurried: Cell::default(),
            cut: Cell::new(None),
            in_head: Cell::new(false),
            reading: Reading::default(),
            streams: Streams::default(),
            guest,
        }
    }

    /// A proxy in front of us says whose connection it is: of one who may have no more, it is not taken.
    pub(super) fn is_of(&mut self, client: SocketAddr) -> Result<(), Limit> {
        let trust = &self.worker.config.trust;
        self.source = client;
        self.origin = Origin::new(client.ip(), self.listener, self.protocol, trust);
        if trust.is_in_front(client.ip()) { Ok(()) } else { self.guest.is_of(client.ip()) }
    }

    /// Begins a TLS handshake, until that is dropped, unless there are too many.
    pub(super) fn shake_hands(&self) -> Result<Handshake, Limit> {
        self.guest.shake_hands()
    }

    /// A place among all connections for a tunnel over a stream, which takes a connection to an endpoint of its own for as
    /// long as its client likes.
    pub(super) fn admit_tunnel(&self) -> Result<Guest, Limit> {
        self.guest.one_more()
    }

    /// Whether it speaks HTTP/1 in the clear.
    pub(super) fn is_plain(&self) -> bool {
        self.kind.get() == ConnectionKind::Http1 && self.protocol == ListenerProtocol::Http
    }

    /// The way round user space for a request's body, where there may be one: where no other request is under way beside it,
    /// and in the clear.
    pub(super) fn upload_way(&self) -> Option<UploadWay> {
        self.is_plain().then(|| UploadWay::new(&self.passage))
    }

    /// The ends of its connection.
    pub(super) fn ends(&self) -> Ends {
        Ends { client: self.source, listener: self.listener }
    }

    /// Whether requests are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.active.get() > 0
    }

    /// It carries this from now on.
    pub(super) fn carries(&self, kind: ConnectionKind) {
        let before = self.kind.replace(kind);
        self.worker.metrics.connections(before).dec();
        self.worker.metrics.connections(kind).inc();
    }

    /// Waits, but not longer than the deadline or the connection's time in a drain.
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

    /// Ready when the deadline has passed, or that of a drain. To be polled even if nothing is set, so that a drain
    /// is heard of.
    pub(super) fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.hurry();
        if self.deadline.poll(cx).is_ready() || self.is_overdue() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Whether an HTTP/2 connection is to end after the requests under way. One on which none has begun may have its
    /// first: its client has just connected, and might connect again and again for one that is never answered.
    pub(super) fn is_ending(&self) -> bool {
        self.worker.is_draining() && !self.fresh.get()
    }

    /// Whether the deadline of a drain has passed. It counts for connections that were open then; one that had only just
    /// come may have its answer, for where they come all the time there is no moment without one.
    pub(super) fn is_overdue(&self) -> bool {
        let deadline = self.worker.phase().deadline();
        deadline.is_some_and(|deadline| {
            self.opened <= deadline && deadline.max(self.opened + LEAST) <= Instant::now()
        })
    }

    /// Ready when the deadline of a drain has passed.
    pub(super) fn poll_overdue(&self, woken: &Deadline, cx: &mut Context<'_>) -> Poll<()> {
        // With all deadlines, though it is never set.
        _ = woken.poll(cx);
        if self.is_overdue() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// It is closed at the deadline of a drain, with what is under way.
    pub(super) fn cut(&self) {
        let is_tunnel = self.kind.get() == ConnectionKind::WebSocket;
        if self.is_busy() {
            self.cut.set(Some(if is_tunnel { 0 } else { self.active.get() }));
        }
    }

    /// In a drain, and where others need its place, an idle connection is closed sooner. One that sends the head of a
    /// request is not idle.
    fn hurry(&self) {
        let reasons = (self.worker.phase().deadline(), self.worker.admission.crowd());
        if reasons == self.hurried.get() || self.is_busy() || self.in_head.get() {
            return;
        }
        self.hurried.set(reasons);
        if reasons != (None, None) {
            self.deadline.bring_forward(self.worker.quiet());
        }
    }

    /// The limit that ends it now, where no request is under way, and nobody but its client is the reason.
    pub(super) fn late(&self) -> Option<Limit> {
        let limit = if self.in_head.get() { Limit::HeadTime } else { Limit::IdleTime };
        (!self.is_busy() && !self.worker.is_draining()).then_some(limit)
    }

    /// Whether it is idle but for the head of a request, which has a deadline of its own.
    pub(super) fn sends_head(&self) -> bool {
        self.in_head.get() && !self.is_busy()
    }

    /// An idle HTTP/1.1 connection that begins to send must get on with it.
    pub(super) fn watch_head(&self) {
        if self.is_busy() || !self.passage.has_received() {
            return;
        }
        if !self.in_head.replace(true) {
            self.deadline.set(self.worker.config.head_time());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.worker.closed(self.key, self.kind.get(), self.cut.get());
    }
}

/// A request under way, to the last byte of its response.
pub(super) struct Busy {
    client: Rc<Client>,
    /// The key of its stream, with HTTP/2.
    stream: Option<usize>,
}

impl Busy {
    /// Whose.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A request begins.
    pub(super) fn new(client: &Rc<Client>) -> Self {
        if !client.is_busy() {
            client.deadline.clear();
            client.passage.begin();
            client.in_head.set(false);
        }
        client.active.set(client.active.get() + 1);
        client.fresh.set(false);
        let stream = (client.kind.get() == ConnectionKind::Http2).then(|| client.streams.begin());
        Self { client: client.clone(), stream }
    }

    /// A tunnel begins, in the place of a request that ends with that.
    pub(super) fn tunnel(client: &Rc<Client>) -> Self {
        client.active.set(client.active.get() + 1);
        Self { client: client.clone(), stream: None }
    }

    /// Whether it is for the client to take what there is of its response, or else for others to give more.
    pub(super) fn waits_for_client(&self, waits: bool) {
        if let Some(stream) = self.stream {
            self.client.streams.wait(stream, waits.then(|| self.client.worker.deadlines.now()));
        }
    }

    /// Bytes that were written to its client so far, where it is the only one that writes.
    pub(super) fn written(&self) -> Option<u64> {
        self.stream.is_none().then(|| self.client.passage.written())
    }

    /// The way round user space to its client, where there may be one: where nobody else writes, and in the clear.
    pub(super) fn splice(&self) -> Option<&Splice> {
        let may_be = self.stream.is_none() && self.client.protocol == ListenerProtocol::Http;
        may_be.then_some(&self.client.passage.splice)
    }

    /// Its response waits until more of it is written.
    pub(super) fn holds_back(&self) {
        self.client.was_held_back.set(true);
    }

    /// Whether bytes wait for the client to read.
    pub(super) fn is_blocked(&self) -> bool {
        self.client.passage.is_blocked()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let client = &self.client;
        self.stream.iter().for_each(|stream| client.streams.end(*stream));
        client.active.set(client.active.get() - 1);
        if !client.is_busy() {
            client.passage.rest();
            client.has_read_all();
            client.deadline.set(client.worker.quiet());
        }
    }
}
