//! A client's HTTP/1.1 connection: the HTTP server on it, and its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::client::Client;
use super::connection::{End, Transport, close, linger};
use super::forward;
use super::guard::Guarded;
use super::limits::{Limit, Limits};
use super::refuse::{self, refuse};
use crate::model::ConnectionKind;

/// Of a request's head, the guard allows less unless it is told otherwise; of a response, its body does.
const BUFFER: usize = 128 * 1024;

/// So many headers the HTTP library takes on its stack; told of more, it makes room for them with each request.
const ON_STACK: u64 = 100;

/// Of the one empty line that may come before a head, and counts for nothing.
const EMPTY_LINE: usize = 2;

/// Serves it to its end. What is known at the beginning is made before there is a future, and lent within it: it is there once
/// for each connection.
pub(super) fn serve<S>(client: Rc<Client>, stream: Guarded<S>) -> impl Future<Output = ()>
where
    S: Transport,
{
    client.carries(ConnectionKind::Http1);
    let serving = client.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = forward::handle(serving.clone(), request.map(Into::into));
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection =
        builder(&client.worker.config.limits).serve_connection(TokioIo::new(stream), service).with_upgrades();
    async move {
        let (mut refused, mut is_broken) = (None, false);
        let end = std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                refused = ended.as_ref().err().and_then(refuse::by_http1);
                // Of the errors that are ours, the usual one is a response's body that breaks off.
                is_broken = ended.is_err_and(|error| error.is_user());
                return Poll::Ready(End::Http);
            }
            // Where the last part was let go and written in one go, the HTTP library (1.12) does not look for a request that has
            // come meanwhile.
            if client.was_held_back.get() && !client.is_busy() {
                client.was_held_back.set(false);
                cx.waker().wake_by_ref();
            }
            client.watch_head();
            client.watch_reading();
            let goes_on = client.poll_deadline(cx).is_pending() || client.has_read_enough(cx);
            if goes_on { Poll::Pending } else { Poll::Ready(End::Time) }
        })
        .await;
        refuse::count_all(&client, refused);
        let is_cut = end == End::Time && (client.is_overdue() || client.is_too_slow());
        if is_cut {
            client.cut();
        } else if end == End::Time {
            refuse::count_late(&client);
        }
        let is_cut = is_cut && client.is_busy();
        // There is no connection any more where a tunnel has it.
        let Some(parts) = connection.into_parts() else { return };
        let mut stream = parts.io.into_inner();
        if client.is_too_slow() || ((is_broken || is_cut) && client.ends_by_closing.get()) {
            // Who does not read would hold what the kernel is yet to send for as long as it likes. And a response without a
            // length must not seem complete: over TLS, it does not without a close_notify; in the clear, only a reset tells it
            // from the end. If it cannot be had, it ends by a FIN after all.
            _ = stream.get_ref().socket().set_zero_linger();
        } else if !is_cut {
            self::end(&client, &mut stream, end).await;
        }
    }
}

/// What the guard lets pass, there is room for: else it would be refused without a word of ours.
fn builder(limits: &Limits) -> http1::Builder {
    let at_most = |limit| usize::try_from(limits.of(limit)).unwrap_or(usize::MAX);
    let mut builder = http1::Builder::new();
    builder
        // `Client::deadline` does this without a timer per request.
        .header_read_timeout(None)
        .max_buf_size(BUFFER.max(at_most(Limit::HeadBytes).saturating_add(EMPTY_LINE)));
    if limits.of(Limit::Headers) > ON_STACK {
        builder.max_headers(at_most(Limit::Headers));
    }
    builder
}

async fn end<S>(client: &Client, stream: &mut Guarded<S>, end: End)
where
    S: Transport,
{
    if end == End::Http
        && let Some(fault) = stream.unanswered()
    {
        refuse(client, &mut *stream, fault).await;
        return close(client, stream).await;
    }
    if end == End::Time && client.late() == Some(Limit::HeadTime) {
        stream.give_up();
        refuse(client, &mut *stream, Limit::HeadTime.into()).await;
    }
    match end {
        End::Time => close(client, stream).await,
        End::Http if client.uploads.get() || client.worker.is_draining() => linger(client, stream).await,
        End::Http => {}
    }
}
