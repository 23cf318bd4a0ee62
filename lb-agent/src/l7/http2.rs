//! A client's HTTP/2 connection: the HTTP server on it, its limits, and its end.

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;

use super::client::Client;
use super::connection::{End, Transport, close, linger};
use super::guard::Guarded;
use super::late_head::LateHead;
use super::limits::{Limit, Limits};
use super::streams::Spawner;
use super::{forward, refuse};
use crate::model::{ConnectionKind, LAST_WORDS};

/// With so much of a response waiting for its client, it takes no more: it still may hold one part that was read before.
const SEND_BUFFER: usize = 8 * 1024;

/// Serves it to its end.
pub(super) async fn serve<S>(client: Rc<Client>, mut stream: Guarded<S>)
where
    S: Transport,
{
    client.carries(ConnectionKind::Http2);
    match serve_requests(&client, &mut stream).await {
        End::Http if client.worker.is_draining() => linger(&client, stream).await,
        End::Http => {}
        // Who does not read would hold what the kernel is yet to send for as long as it likes.
        End::Time if client.is_too_slow() => _ = stream.get_ref().socket().set_zero_linger(),
        End::Time => close(&client, stream).await,
    }
}

async fn serve_requests<S>(client: &Rc<Client>, stream: &mut Guarded<S>) -> End
where
    S: Transport,
{
    let service = service_fn(|request| forward::handle(client.clone(), request));
    let builder = builder(Spawner(client.clone()), &client.worker.config.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
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
            }
            connection.as_mut().graceful_shutdown();
            if !client.is_busy() {
                client.deadline.set(client.worker.config.head_time());
            }
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            // Its last words say more than its error.
            let large = refuse::messages_by_http2(client).then(|| Limit::Http2HeaderListBytes.into());
            refused = large.or_else(|| refuse::by_http2(client, ended.as_ref().err()?));
            return Poll::Ready(End::Http);
        }
        client.watch_reading();
        if refuse::messages_by_http2(client) {
            refuse::count(client, Limit::Http2HeaderListBytes.into());
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
        if timeout(LAST_WORDS / 2, connection).await.is_ok() {
            return End::Http;
        }
    }
    end
}

/// Every limit is explicit: a default of a library is not a decision.
fn builder(spawner: Spawner, limits: &Limits) -> http2::Builder<Spawner> {
    let count = |limit| usize::try_from(limits.of(limit)).unwrap_or(usize::MAX);
    let mut builder = http2::Builder::new(spawner);
    builder
        .timer(TokioTimer::new())
        // WebSocket comes over HTTP/2, too (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(256)
        .max_pending_accept_reset_streams(count(Limit::Http2PendingResets))
        .max_local_error_reset_streams(count(Limit::Http2LocalResets))
        .max_header_list_size(u32::try_from(limits.of(Limit::Http2HeaderListBytes)).unwrap_or(u32::MAX))
        .header_table_size(4096)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_frame_size(16 * 1024)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
