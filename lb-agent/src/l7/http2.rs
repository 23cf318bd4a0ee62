//! A client's HTTP/2 connection: the HTTP server on it, its limits, and its end.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::client::Client;
use super::connection::{End, close, linger};
use super::guard::Guarded;
use super::limits::{Limit, Limits};
use super::{forward, refuse};
use crate::model::{ConnectionKind, LAST_WORDS};

/// Serves it to its end.
pub(super) async fn serve<S>(client: Rc<Client>, mut stream: Guarded<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.carries(ConnectionKind::Http2);
    match serve_requests(&client, &mut stream).await {
        End::Http if client.worker.is_draining() => linger(&client, stream).await,
        End::Http => {}
        End::Time => close(&client, stream).await,
    }
}

async fn serve_requests<S>(client: &Rc<Client>, stream: &mut Guarded<S>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let streams = Streams::default();
    let service = service_fn(|request| forward::handle(client.clone(), request));
    let builder = builder(streams.clone(), &client.worker.config.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut refused = None;
    let mut is_ending = false;
    let end = std::future::poll_fn(|cx| {
        let is_late = client.poll_deadline(cx).is_ready() && !client.has_read_enough(cx);
        let over = is_late || client.is_ending();
        if over && !is_ending {
            // GOAWAY, and time for what is under way; an idle connection ends with it.
            is_ending = true;
            connection.as_mut().graceful_shutdown();
            if !client.is_busy() {
                client.deadline.set(client.worker.config.timeouts.head);
            }
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            refused = ended.err().as_ref().and_then(|error| refuse::by_http2(client, error));
            return Poll::Ready(End::Http);
        }
        client.watch_reading();
        let is_stuck = is_ending && !client.is_busy() && client.deadline.poll(cx).is_ready();
        if is_stuck || client.is_overdue() || client.is_too_slow() {
            Poll::Ready(End::Time)
        } else {
            Poll::Pending
        }
    })
    .await;
    refuse::count_all(client, refused);
    if end == End::Time && client.is_overdue() {
        client.cut();
        streams.cancel();
        // With no stream left, the connection ends as it would have without the deadline.
        if timeout(LAST_WORDS / 2, connection).await.is_ok() {
            return End::Http;
        }
    }
    end
}

/// Every limit is explicit: a default of a library is not a decision.
fn builder(streams: Streams, limits: &Limits) -> http2::Builder<Streams> {
    let count = |limit| usize::try_from(limits.of(limit)).unwrap_or(usize::MAX);
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_pending_accept_reset_streams(count(Limit::Http2PendingResets))
        .max_local_error_reset_streams(count(Limit::Http2LocalResets))
        .max_header_list_size(64 * 1024)
        .header_table_size(4096)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_frame_size(16 * 1024)
        .max_send_buf_size(256 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// The streams of a connection, spawned on its own worker. `None` once they are cancelled.
#[derive(Clone)]
struct Streams(Rc<RefCell<Option<Vec<AbortHandle>>>>);

impl Default for Streams {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Some(Vec::new()))))
    }
}

impl Streams {
    /// Ends all of them. A stream whose task is dropped before its end is reset, with CANCEL: by HTTP/2 it is no longer
    /// needed, and to gRPC a server says so that the call cannot be completed (its mapping of HTTP/2 errors).
    fn cancel(&self) {
        for stream in self.0.take().into_iter().flatten() {
            stream.abort();
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        let mut running = self.0.borrow_mut();
        let Some(running) = running.as_mut() else { return };
        if running.len() == running.capacity() {
            running.retain(|stream| !stream.is_finished());
            // At least as many again until the next look at all.
            running.reserve(running.len().max(4));
        }
        running.push(spawn_local(stream).abort_handle());
    }
}
