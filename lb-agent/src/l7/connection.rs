//! A client's connection from accept to close: TLS, choice of protocol, and the HTTP server on it.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::admission::Guest;
use super::client::Client;
use super::forward;
use super::guard::{Guarded, Malformed};
use super::limits::{Limit, Limits};
use super::proxy_header;
use super::refuse::{self, refuse};
use super::sniff::sniff;
use super::worker::Worker;
use crate::model::{ConnectionKind, ListenerProtocol};

/// Serves a connection that came in on the listener with this key.
pub(super) async fn serve(
    worker: Rc<Worker>,
    guest: Guest,
    mut stream: TcpStream,
    peer: SocketAddr,
    listener: SocketAddr,
) {
    let Some((protocol, tls)) = worker.listener(listener) else {
        worker.metrics.strays.inc();
        return;
    };
    let mut client = Client::new(&worker, guest, listener, protocol, peer);
    if worker.config.trust.expects_header(peer.ip()) && !hear_of_client(&mut client, &mut stream).await {
        return;
    }
    let client = Rc::new(client);
    match protocol {
        ListenerProtocol::Http => serve_clear(client, stream).await,
        ListenerProtocol::Https => serve_tls(client, stream, tls).await,
    }
}

/// Whether the proxy in front of us has said whose connection this is, or that it is its own.
async fn hear_of_client(client: &mut Client, stream: &mut TcpStream) -> bool {
    match client.within(proxy_header::read(stream)).await {
        Some(Ok(Some(address))) => client.is_of(address),
        Some(Ok(None)) => {}
        Some(Err(_)) | None => {
            refuse::count(client, Malformed::ProxyHeader.into());
            return false;
        }
    }
    true
}

async fn serve_clear(client: Rc<Client>, mut stream: TcpStream) {
    let Some(Ok((is_http2, prefix))) = client.within(sniff(&mut stream)).await else { return };
    serve_http(client, stream, prefix, is_http2).await;
}

async fn serve_tls(client: Rc<Client>, stream: TcpStream, config: Arc<ServerConfig>) {
    let worker = &client.worker;
    let under_way = match worker.admission.shake_hands() {
        Ok(under_way) => under_way,
        Err(limit) => return worker.metrics.limit_reached(limit),
    };
    let handshake = TlsAcceptor::from(config).accept(stream);
    let accepted = client.within(handshake).await.and_then(Result::ok);
    drop(under_way);
    client.worker.metrics.handshake(accepted.is_some());
    let Some(stream) = accepted else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve_http(client, stream, Bytes::new(), is_http2).await;
}

async fn serve_http<S>(client: Rc<Client>, stream: S, prefix: Bytes, is_http2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (passage, limits) = (client.passage.clone(), client.worker.config.limits);
    match is_http2 {
        true => serve_http2(client, Guarded::http2(prefix, stream, passage, limits)).await,
        false => serve_http1(client, Guarded::http1(prefix, stream, passage, limits)).await,
    }
}

/// Largest head of a request, and what is buffered of a response before the client takes it.
const HTTP1_BUFFER: usize = 128 * 1024;

/// How long a client's bytes are taken that nobody wants any more.
const LINGER: Duration = Duration::from_secs(2);

async fn serve_http1<S>(client: Rc<Client>, stream: Guarded<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.carries(ConnectionKind::Http1);
    let service = service_fn(|request| forward::handle(client.clone(), request));
    let mut connection = http1::Builder::new()
        // `Client::deadline` does this without a timer per request.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut refused = None;
    let end = std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            refused = ended.err().as_ref().and_then(refuse::by_http1);
            return Poll::Ready(End::Http);
        }
        client.watch_head();
        client.poll_deadline(cx).map(|()| End::Time)
    })
    .await;
    let fault = client.passage.fault();
    if let Some(fault) = fault.or(refused) {
        refuse::count(&client, fault);
    }
    if end == End::Time && client.is_overdue() {
        client.cut();
        if client.is_busy() {
            // No close_notify and no FIN in order: a response without a length must not seem complete.
            return;
        }
    }
    // There is no connection any more where a tunnel has it.
    if let Some(parts) = connection.into_parts() {
        end_http1(&client, parts.io.into_inner(), end).await;
    }
}

async fn end_http1<S>(client: &Client, mut stream: Guarded<S>, end: End)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if end == End::Http
        && let Some(fault) = stream.unanswered()
    {
        refuse(client, &mut stream, fault).await;
        return close(client, stream).await;
    }
    match end {
        End::Time => close(client, stream).await,
        End::Http if client.uploads.get() || client.worker.is_draining() => linger(client, stream).await,
        End::Http => {}
    }
}

/// Why a connection is not served any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By the rules of HTTP, which has closed our side.
    Http,
    /// A deadline has passed.
    Time,
}

/// Closes our side, then takes what a client still sends, until it closes its own.
async fn close(client: &Client, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    client.deadline.set(LINGER);
    // A client that is gone need not be told.
    _ = client.deadline.bound(stream.shutdown()).await;
    linger(client, stream).await;
}

/// Takes what a client still sends after the last response: closing a socket with unread bytes resets the
/// connection, and a reset can overtake the response.
async fn linger(client: &Client, mut stream: impl AsyncRead + Unpin) {
    client.deadline.set(LINGER);
    let discard = async { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await };
    drop(client.deadline.bound(discard).await);
}

async fn serve_http2<S>(client: Rc<Client>, stream: Guarded<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    client.carries(ConnectionKind::Http2);
    let service = service_fn(|request| forward::handle(client.clone(), request));
    let builder = http2_builder(&client.worker.config.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut refused = None;
    let mut is_ending = false;
    std::future::poll_fn(|cx| {
        let over = client.poll_deadline(cx).is_ready() || client.is_ending();
        if over && !is_ending {
            // GOAWAY, and time for what is under way; an idle connection ends with it.
            is_ending = true;
            connection.as_mut().graceful_shutdown();
            if !client.is_busy() {
                client.deadline.set(client.worker.config.timeouts.head);
            }
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            refused = ended.err().as_ref().and_then(|error| refuse::by_http2(&client, error));
            return Poll::Ready(());
        }
        if client.is_overdue() {
            client.cut();
            return Poll::Ready(());
        }
        let stuck = is_ending && !client.is_busy() && client.deadline.poll(cx).is_ready();
        if stuck { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    if let Some(fault) = client.passage.fault().or(refused) {
        refuse::count(&client, fault);
    }
}

/// Every limit is explicit: a default of a library is not a decision.
fn http2_builder(limits: &Limits) -> http2::Builder<LocalExecutor> {
    let count = |limit| usize::try_from(limits.of(limit)).unwrap_or(usize::MAX);
    let mut builder = http2::Builder::new(LocalExecutor);
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

/// Spawns the streams of a connection on its own worker.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        drop(tokio::task::spawn_local(stream));
    }
}
