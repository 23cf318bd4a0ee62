//! A client's HTTP/2 connection: the requests on it, its limits, and its end.

mod late_head;
mod pings;
mod respond;
mod streams;
mod tunnel;

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use self::late_head::LateHead;
use self::pings::Pings;
use self::respond::{Asked, respond};
use self::tunnel::Opener;
use super::client::Client;
use super::connection::{End, Transport, close, linger};
use super::guard::{Fault, Guarded};
use super::inbox::{Ahead, FRAMES_AHEAD, Inboxes};
use super::incoming::{Continue, Incoming, Parts};
use super::limits::{Limit, Limits};
use super::{forward, refuse};
use crate::model::{ConnectionKind, LAST_WORDS};

pub(super) use self::streams::Streams;
pub(super) use self::tunnel::Opening;

/// With so much of a response waiting for its client, it takes no more: it still may hold one part that was read before.
const SEND_BUFFER: usize = 8 * 1024;

/// Serves it to its end. The stream is lent: it is there once for each connection.
pub(super) fn serve<S>(client: Rc<Client>, mut stream: Guarded<S>) -> impl Future<Output = ()>
where
    S: Transport,
{
    client.carries(ConnectionKind::Http2);
    async move {
        let stream = &mut stream;
        match serve_requests(&client, stream).await {
            End::Http if client.worker.is_draining() => linger(&client, stream).await,
            End::Http => {}
            // Who does not read would hold what the kernel is yet to send for as long as it likes.
            End::Time if client.is_too_slow() => _ = stream.get_ref().socket().set_zero_linger(),
            End::Time => close(&client, stream).await,
        }
    }
}

async fn serve_requests<S>(client: &Rc<Client>, stream: &mut Guarded<S>) -> End
where
    S: Transport,
{
    let mut requests = pin!(Requests::new(client, stream));
    let mut refused = None;
    let (mut is_ending, mut is_over) = (false, false);
    let mut head = LateHead::new(client);
    let end = std::future::poll_fn(|cx| {
        let is_late =
            client.poll_deadline(cx).is_ready() && !client.sends_head() && !client.has_read_enough(cx);
        if (is_late || is_over || client.is_ending()) && !is_ending {
            // GOAWAY, and time for what is under way; an idle connection ends with it.
            is_ending = true;
            if is_late && !client.is_busy() {
                refuse::count_late(client);
                if requests.is_greeting() && !client.worker.is_draining() {
                    return Poll::Ready(End::Time);
                }
            }
            requests.shut_down();
            if !client.is_busy() {
                client.deadline.set(client.worker.config.head_time());
            }
        }
        if let Poll::Ready(ended) = requests.poll(cx) {
            // Its last words say more than its error.
            let limit = refuse::refused_by_http2(client).map(Fault::from);
            refused = limit.or_else(|| refuse::by_http2(ended.as_ref().err()?));
            return Poll::Ready(End::Http);
        }
        client.watch_reading();
        if let Some(limit) = refuse::refused_by_http2(client) {
            refuse::count(client, limit.into());
            is_over = true;
            cx.waker().wake_by_ref();
        }
        let has_late_head = head.is_late(client, cx);
        if has_late_head && !is_over {
            refuse::count_late_head(client);
            // GOAWAY comes first.
            is_over = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_stuck = is_ending && !client.is_busy() && client.deadline.poll(cx).is_ready();
        if is_stuck || has_late_head || client.is_overdue() || client.is_too_slow() {
            Poll::Ready(End::Time)
        } else {
            Poll::Pending
        }
    })
    .await;
    refuse::count_all(client, refused);
    if end == End::Time && client.is_overdue() {
        client.cut();
        client.streams.cancel();
        // With no stream left, the connection ends as it would have without the deadline.
        if timeout(LAST_WORDS / 2, std::future::poll_fn(|cx| requests.poll(cx))).await.is_ok() {
            return End::Http;
        }
    }
    end
}

/// The requests of a connection: each has a task of its own.
struct Requests<'a, T> {
    client: &'a Rc<Client>,
    inboxes: Rc<Inboxes>,
    state: State<Ahead<T>>,
}

enum State<T> {
    /// Until the client has said how it begins; whether it is to end then.
    Greeting(Handshake<T, Bytes>, bool),
    Serving(Connection<T, Bytes>, Pings),
}

impl<'a, T: AsyncRead + AsyncWrite + Unpin> Requests<'a, T> {
    fn new(client: &'a Rc<Client>, stream: T) -> Self {
        let inboxes = Rc::default();
        let stream = Ahead::new(stream, &inboxes);
        let greeting = builder(&client.worker.config.limits).handshake(stream);
        Self { client, inboxes, state: State::Greeting(greeting, false) }
    }

    /// Whether the client has not said yet how it begins: it cannot be told anything.
    fn is_greeting(&self) -> bool {
        matches!(self.state, State::Greeting(..))
    }

    /// No more than those that are under way, and those that the client sent before it hears of that.
    fn shut_down(&mut self) {
        match &mut self.state {
            State::Serving(connection, _) => connection.graceful_shutdown(),
            State::Greeting(_, is_ending) => *is_ending = true,
        }
    }

    /// Reads, writes and begins what comes, to the end of the connection.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            match &mut self.state {
                State::Greeting(greeting, is_ending) => {
                    let mut connection = ready!(Pin::new(greeting).poll(cx))?;
                    if *is_ending {
                        connection.graceful_shutdown();
                    }
                    let pings = Pings::new(self.client, connection.ping_pong());
                    self.state = State::Serving(connection, pings);
                }
                State::Serving(connection, pings) => {
                    if pings.poll(self.client, cx).is_ready() {
                        return Poll::Ready(Ok(()));
                    }
                    match connection.poll_accept(cx) {
                        Poll::Ready(Some(accepted)) => {
                            let (request, stream) = accepted?;
                            begin(self.client, &self.inboxes, request, stream);
                        }
                        Poll::Ready(None) => return Poll::Ready(Ok(())),
                        Poll::Pending => {
                            if self.inboxes.gather() {
                                cx.waker().wake_by_ref();
                            }
                            return Poll::Pending;
                        }
                    }
                }
            }
        }
    }
}

fn begin(
    client: &Rc<Client>,
    inboxes: &Rc<Inboxes>,
    request: Request<RecvStream>,
    stream: SendResponse<Bytes>,
) {
    let (parts, incoming) = request.into_parts();
    let incoming = inboxes.open(incoming);
    let mut asked = Asked { is_head: parts.method == Method::HEAD, continues: None, opener: None };
    let body = if parts.method == Method::CONNECT {
        let (opener, opening) = Opener::new(incoming);
        asked.opener = Some(opener);
        Incoming::Tunnel(opening)
    } else {
        asked.continues = Continue::asked_for(&parts.headers);
        Incoming::Http2(Parts::new(incoming, &parts.headers, asked.continues.clone()))
    };
    let answer = forward::handle(client.clone(), Request::from_parts(parts, body));
    let worker = client.worker.clone();
    client.streams.run(Box::pin(async move { respond(answer, stream, asked, &worker.date).await }));
}

/// Every limit is explicit: a default of a library is not a decision.
fn builder(limits: &Limits) -> Builder {
    let count = |limit| usize::try_from(limits.of(limit)).unwrap_or(usize::MAX);
    let mut builder = Builder::new();
    builder
        // WebSocket comes over HTTP/2, too (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(256)
        .max_pending_accept_reset_streams(count(Limit::Http2PendingResets))
        .max_local_error_reset_streams(Some(count(Limit::Http2LocalResets)))
        .max_header_list_size(u32::try_from(limits.of(Limit::Http2HeaderListBytes)).unwrap_or(u32::MAX))
        .header_table_size(4096)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_frame_size(16 * 1024)
        .data_frame_budget(FRAMES_AHEAD)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}
