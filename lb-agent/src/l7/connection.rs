//! A client's connection from accept to close: TLS, choice of protocol, and HTTP/1.1 on it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::sniff::{Sniffed, sniff};
use super::worker::Worker;
use super::{forward, http2};
use crate::model::{ConnectionKind, ListenerProtocol};

/// Serves a connection that came in on the listener with this key.
pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, listener: SocketAddr) {
    let Some((protocol, tls)) = worker.listener(listener) else {
        worker.metrics.strays.inc();
        return;
    };
    let client = Client::new(&worker, listener, protocol, peer);
    match protocol {
        ListenerProtocol::Http => serve_clear(client, stream).await,
        ListenerProtocol::Https => serve_tls(client, stream, tls).await,
    }
}

async fn serve_clear(client: Rc<Client>, mut stream: TcpStream) {
    let Some(Ok((is_http2, prefix))) = client.within(sniff(&mut stream)).await else { return };
    let stream = Sniffed::new(prefix, stream, client.received.clone());
    match is_http2 {
        true => http2::serve(client, stream).await,
        false => serve_http1(client, stream).await,
    }
}

async fn serve_tls(client: Rc<Client>, stream: TcpStream, config: Arc<ServerConfig>) {
    let handshake = TlsAcceptor::from(config).accept(stream);
    let accepted = client.within(handshake).await.and_then(Result::ok);
    client.worker.metrics.handshake(accepted.is_some());
    let Some(stream) = accepted else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Sniffed::new(Bytes::new(), stream, client.received.clone());
    match is_http2 {
        true => http2::serve(client, stream).await,
        false => serve_http1(client, stream).await,
    }
}

/// Largest head of a request, and what is buffered of a response before the client takes it.
const HTTP1_BUFFER: usize = 128 * 1024;

/// How long a client's bytes are taken that nobody wants any more.
const LINGER: Duration = Duration::from_secs(2);

/// What HTTP comes over.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Its socket.
    fn socket(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn serve_http1<S>(client: Rc<Client>, stream: Sniffed<S>)
where
    S: Transport,
{
    client.carries(ConnectionKind::Http1);
    let service = service_fn(|request| forward::handle(client.clone(), request));
    let mut connection = http1::Builder::new()
        // `Client::deadline` does this without a timer per request.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let end = std::future::poll_fn(|cx| {
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(End::Http);
        }
        client.watch_head();
        client.poll_deadline(cx).map(|()| End::Time)
    })
    .await;
    if end == End::Time && client.is_overdue() {
        client.cut();
        if client.is_busy() {
            // A response without a length must not seem complete. Over TLS, it does not without a close_notify; in the
            // clear, only a reset tells it from the end.
            let parts = connection.into_parts().filter(|_| client.ends_by_closing.get());
            if let Some(parts) = parts {
                // Then it ends by a FIN after all.
                _ = parts.io.inner().get_ref().socket().set_zero_linger();
            }
            return;
        }
    }
    // There is no connection any more where a tunnel has it.
    if let Some(parts) = connection.into_parts() {
        match end {
            End::Time => close(&client, parts.io.into_inner()).await,
            End::Http if client.uploads.get() || client.worker.is_draining() => {
                linger(&client, parts.io.into_inner()).await;
            }
            End::Http => {}
        }
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
pub(super) async fn close(client: &Client, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    client.deadline.set(LINGER);
    // A client that is gone need not be told.
    _ = client.deadline.bound(stream.shutdown()).await;
    linger(client, stream).await;
}

/// Takes what a client still sends after the last response: closing a socket with unread bytes resets the
/// connection, and a reset can overtake the response.
pub(super) async fn linger(client: &Client, mut stream: impl AsyncRead + Unpin) {
    client.deadline.set(LINGER);
    let discard = async { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await };
    drop(client.deadline.bound(discard).await);
}
