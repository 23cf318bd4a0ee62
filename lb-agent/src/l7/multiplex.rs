//! HTTP/2 connections to an endpoint: each carries many requests at a time, so one is enough for a worker as long as
//! the endpoint allows as many streams. A task of its own reads and writes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;

use super::inbox::{Ahead, FRAMES_AHEAD, Inboxes};
use super::pool::Keeping;
use super::secured::EndpointStream;
use super::shortage::Unconnected;

/// What an endpoint may send of a body before it is passed on: what a client that does not read can hold.
const WINDOW: u32 = 48 * 1024;

/// Requests on one connection. All of their windows have room in the connection's: who does not read stops nobody else.
const STREAMS: usize = 100;

const CONNECTION_WINDOW: u32 = WINDOW * STREAMS as u32;

/// What waits to be written of one request's body.
const SEND_BUFFER: usize = 64 * 1024;

/// Stands for the endpoint's own limit until its settings have come; no endpoint would choose it.
const UNKNOWN: usize = 0x5eed_5e77;

/// One connection.
pub(super) struct Multiplexed {
    sender: RefCell<SendRequest<Bytes>>,
    inboxes: Rc<Inboxes>,
    under_way: Cell<usize>,
    /// Whether it got a request since it was swept last.
    is_used: Cell<bool>,
    /// When it was last used, as far as sweeping has seen, in ticks of the worker's deadlines.
    used_at: Cell<u64>,
    /// Whether a response has come over it.
    has_answered: Cell<bool>,
    /// It gets no new requests.
    is_left: Cell<bool>,
}

impl Multiplexed {
    /// Over a stream; ready once the endpoint has said how many requests it takes.
    pub(super) async fn new(stream: EndpointStream) -> Option<Rc<Self>> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(UNKNOWN)
            .max_header_list_size(64 * 1024)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(FRAMES_AHEAD);
        let inboxes = Rc::<Inboxes>::default();
        let stream = Ahead::new(stream, &inboxes);
        let (sender, mut connection) = builder.handshake(stream).await.ok()?;
        let (ready, is_ready) = oneshot::channel();
        let mut ready = Some(ready);
        let gathered = inboxes.clone();
        spawn_local(poll_fn(move |cx| {
            // Its errors come out where a response or its body is waited for.
            let end = Pin::new(&mut connection).poll(cx).map(drop);
            if end.is_pending() && gathered.gather() {
                cx.waker().wake_by_ref();
            }
            if ready.is_some() && connection.max_concurrent_send_streams() != UNKNOWN {
                ready.take().map(|ready| ready.send(()));
            }
            end
        }));
        is_ready.await.ok()?;
        Some(Rc::new(Self {
            sender: RefCell::new(sender),
            inboxes,
            under_way: Cell::new(0),
            is_used: Cell::new(true),
            used_at: Cell::new(0),
            has_answered: Cell::new(false),
            is_left: Cell::new(false),
        }))
    }

    /// Whether it is open, and not about to end.
    fn takes_requests(&self) -> bool {
        let mut unwoken = Context::from_waker(Waker::noop());
        !self.is_left.get()
            && !matches!(self.sender.borrow_mut().poll_ready(&mut unwoken), Poll::Ready(Err(_)))
    }

    /// For one more request. What was given up counts for the endpoint until it has been told so: the request that waits for that
    /// has the last place.
    fn has_room(&self) -> bool {
        let allowed = self.sender.borrow().current_max_send_streams().min(STREAMS);
        let mut unwoken = Context::from_waker(Waker::noop());
        self.under_way.get() < allowed && self.sender.borrow_mut().poll_ready(&mut unwoken).is_ready()
    }
}

/// A request's place on a connection.
pub(super) struct Place {
    connection: Rc<Multiplexed>,
}

impl Place {
    /// On a connection that has room, or is this request's own.
    pub(super) fn new(connection: Rc<Multiplexed>) -> Self {
        connection.under_way.set(connection.under_way.get() + 1);
        connection.is_used.set(true);
        Self { connection }
    }

    /// For sending the request.
    pub(super) fn sender(&self) -> &RefCell<SendRequest<Bytes>> {
        &self.connection.sender
    }

    /// For what comes.
    pub(super) fn inboxes(&self) -> &Rc<Inboxes> {
        &self.connection.inboxes
    }

    /// A response came.
    pub(super) fn answered(&self) {
        self.connection.has_answered.set(true);
    }

    /// Whether responses came before, so that the endpoint may have closed it while nobody looked.
    pub(super) fn has_answered(&self) -> bool {
        self.connection.has_answered.get()
    }

    /// An answer was waited for in vain: it may be that nobody is there any more.
    pub(super) fn leave(&self) {
        self.connection.is_left.set(true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.under_way.set(self.connection.under_way.get() - 1);
    }
}

/// Those to one endpoint.
#[derive(Default)]
pub(super) struct Shared {
    open: RefCell<Vec<Rc<Multiplexed>>>,
    is_opening: Cell<bool>,
    /// How often opening one has failed, and why it did last.
    failures: Cell<(u64, Unconnected)>,
    /// Told when opening one has ended, however.
    opened: Notify,
    is_closed: Cell<bool>,
}

impl Shared {
    /// A place on one of them, or on a new one: of those that come while it is opened, all wait for the same, and hear
    /// why it cannot be opened.
    pub(super) async fn place<F>(&self, open: impl Fn() -> F) -> Result<Place, Unconnected>
    where
        F: Future<Output = Result<Rc<Multiplexed>, Unconnected>>,
    {
        loop {
            if let Some(place) = self.free() {
                return Ok(place);
            }
            let (before, _) = self.failures.get();
            if self.is_opening.get() {
                self.opened.notified().await;
                let (failures, why) = self.failures.get();
                if failures != before {
                    return Err(why);
                }
                continue;
            }
            let opening = Opening::new(self);
            let opened = open().await.inspect_err(|why| self.failures.set((before + 1, *why)));
            let connection = opened?;
            let place = Place::new(connection.clone());
            if !self.is_closed.get() {
                self.open.borrow_mut().push(connection);
            }
            drop(opening);
            return Ok(place);
        }
    }

    fn free(&self) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| connection.takes_requests());
        open.iter().find(|connection| connection.has_room()).cloned().map(Place::new)
    }

    /// Lets go of those that have been idle for too long, and of those that have ended.
    pub(super) fn sweep(&self, keeping: &Keeping) {
        let (now, oldest) = keeping.times();
        self.open.borrow_mut().retain(|connection| {
            if connection.is_used.take() || connection.under_way.get() > 0 {
                connection.used_at.set(now);
            }
            connection.takes_requests() && connection.used_at.get() >= oldest
        });
    }

    /// Lets go of all of them: each ends after its last request.
    pub(super) fn clear(&self) {
        self.open.borrow_mut().clear();
    }

    /// Lets go of all of them, and keeps none any more.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.clear();
    }
}

/// One is being opened; dropped, it is not any more, and others go on.
struct Opening<'a>(&'a Shared);

impl<'a> Opening<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.is_opening.set(true);
        Self(shared)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.is_opening.set(false);
        self.0.opened.notify_waiters();
    }
}
